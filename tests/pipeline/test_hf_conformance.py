"""Hugging Face Jobs does what every backend must, against the stand-in of the service."""

import pytest

from pipeline.hf_jobs import HfJobsBackend
from tests.pipeline.conformance import RemoteConformance, Rig
from tests.pipeline.hub_server import TOKEN, HubServer, make_client_quick

pytestmark = pytest.mark.slow


class HubRig(Rig):
    """Jobs on the stand-in's machines, whose disks are in the rig's folder."""

    def __init__(self, folder):
        super().__init__(folder)
        self.hub = HubServer(folder / "machines", grace=15.0)

    def backend(self):
        return HfJobsBackend(TOKEN, "ann", "rankloop", ("cpu-basic", "cpu-basic"), endpoint=self.hub.endpoint, poll=0.1)

    def unreachable(self):
        return HfJobsBackend(TOKEN, "ann", "rankloop", ("cpu-basic",), endpoint="http://127.0.0.1:9")

    def close(self):
        super().close()
        self.hub.__exit__()


@pytest.fixture
def rig(tmp_path, monkeypatch):
    make_client_quick(monkeypatch)
    return HubRig(tmp_path)


class TestHfJobs(RemoteConformance):
    pass
