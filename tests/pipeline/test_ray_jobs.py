"""The Ray backend does what every backend must, on a real cluster of this machine."""

import secrets

import pytest

from pipeline.configs import MODULES
from pipeline.launch import launch
from pipeline.monitor import Monitor
from pipeline.ray_jobs import RayBackend
from pipeline.run_directory import RunDirectory, read_json, write_json
from pipeline.services import NOTHING_HEARD, only, open_services
from storage import runs, versions
from tests.pipeline.conformance import MODULE, RemoteConformance, Rig, steps, until
from tests.pipeline.ray_cluster import RayCluster

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def cluster():
    with RayCluster() as started:
        yield started


class RayRig(Rig):
    """Jobs on the cluster, with a folder as storage."""

    def __init__(self, folder, cluster):
        super().__init__(folder)
        self.cluster = cluster

    def backend(self, slots=("cpu", "cpu")):
        return RayBackend(self.cluster.address, str(self.folder / "storage"), slots, poll=0.1)

    def unreachable(self):
        return RayBackend("http://127.0.0.1:9", str(self.folder / "storage"), ("cpu",))


@pytest.fixture
def rig(tmp_path, cluster):
    return RayRig(tmp_path, cluster)


class TestRayBackend(RemoteConformance):
    """All of it, and what only a cluster does."""

    def test_a_job_that_waits_for_a_machine_in_vain_is_given_up_when_cancelled(self, rig):
        backend = rig.backend(slots=("gpu:1",))
        handle = rig.submit(backend, rig.directory())
        assert backend.alive(handle) and "no machine" in backend.reach().hardware[0].about
        backend.cancel(handle)
        assert not backend.alive(handle)


def test_a_cluster_that_asks_for_a_token_gets_it(tmp_path):
    token = secrets.token_hex(32)
    with RayCluster(token) as cluster:
        there = [RayBackend(cluster.address, str(tmp_path), ("cpu",), sent).reach() for sent in (token, "", "f" * 64)]
    assert [reach.reachable for reach in there] == [True, False, False]
    assert "none was sent" in there[1].said and "another was sent" in there[2].said


@pytest.fixture
def services(rig, monkeypatch):
    """An opened folder all of whose runs go to the cluster and are steady jobs."""
    for kind in MODULES:
        monkeypatch.setitem(MODULES, kind, MODULE)
    opened = open_services(rig.folder / "data", backends=only(rig.backend()))
    opened.project_root = rig.project_root
    yield opened
    for run in runs.runs(opened.database):
        if run.handle:
            rig.started.append((opened.directory(run), run.handle))
    rig.close()
    opened.close()


def start(services, rig):
    """A queued run whose job holds after its second step."""
    run = launch(services, "starter", None)
    path = services.directory(run) / "config.json"
    write_json(path, {**read_json(path), "steady": rig.steady(run.id)})
    return run, RunDirectory(path.parent)


def look_until(monitor, condition):
    def looked():
        monitor.poll_once()
        return condition()

    until(looked)


def test_of_three_runs_on_two_slots_one_is_killed_one_cancelled_and_the_queued_one_succeeds(rig, services):
    monitor = Monitor(services, interval=0.05, remote_interval=0.0)
    (killed, one), (cancelled, other), (queued, third) = (start(services, rig) for _ in range(3))
    look_until(monitor, lambda: steps(one) == steps(other) == [1, 2])
    assert runs.run(services.database, queued.id).state == "queued"
    rig.kill(one)
    other.request_cancel()
    rig.go(third)
    assert "signal 9" in monitor.wait(killed.id).reason
    assert monitor.wait(cancelled.id).state == "cancelled" and read_json(other.checkpoints / "state.json")["step"] == 2
    assert monitor.wait(queued.id).state == "succeeded"
    assert [line["loss"] for line in runs.metrics(services.database, queued.id)] == [1, 1 / 2, 1 / 3, 1 / 4]
    assert [made.run_id for made in versions.versions(services.database)] == [queued.id]
    left = rig.backend().store.list("runs/")
    assert left and not [name for name in left if queued.id in name]  # what is all here is removed there


def test_a_run_goes_on_from_its_checkpoint_when_the_cluster_was_lost(rig, services, cluster):
    monitor = Monitor(services, interval=0.05, remote_interval=0.0)
    run, directory = start(services, rig)
    look_until(monitor, lambda: (directory.checkpoints / "state.json").exists() and steps(directory) == [1, 2])
    handle = runs.run(services.database, run.id).handle
    until(lambda: "of its cores" in rig.backend().usage(handle).said)
    cluster.kill()
    look_until(monitor, lambda: "found nobody" in services.heard.get(run.id, NOTHING_HEARD).notice)
    assert runs.run(services.database, run.id).state == "running"
    cluster.start()
    rig.go(directory)
    assert monitor.wait(run.id).state == "succeeded"
    assert directory.result()["metrics"] == {"went on from": 2} and steps(directory) == [1, 2, 3, 4]
    assert "the Ray cluster does not know" in str(runs.state_history(services.database, run.id))
