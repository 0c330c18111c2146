"""The local backend does what every backend must."""

import pytest

from pipeline.local_backend import LocalBackend
from tests.pipeline.conformance import Conformance, Rig


class LocalRig(Rig):
    """Jobs as processes of this machine, started from the copy of the project."""

    def backend(self):
        return LocalBackend(self.project_root)


class TestLocalBackend(Conformance):
    @pytest.fixture
    def rig(self, tmp_path):
        return LocalRig(tmp_path)
