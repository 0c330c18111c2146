"""What every backend must do: one set of tests, which each backend's own test module inherits.

A subclass of Conformance gives a `rig`; of RemoteConformance, one whose backend can also be out of reach. Rig holds
what the rigs share: run directories whose code.zip has the job `pipeline.steady_job`, and the processes it left.
"""

import contextlib
import json
import shutil
import zipfile
from abc import ABC, abstractmethod
from functools import partial
from pathlib import Path

import psutil
import pytest

from pipeline.backend import Backend, BackendUnreachable, Job, Use
from pipeline.remote_names import run_name
from pipeline.run_directory import RunDirectory, read_json
from tests.pipeline import following

PROJECT_ROOT = Path(__file__).resolve().parents[2]
MODULE = "pipeline.steady_job"
KILLED = ("9", "137")  # the signal, or a shell's exit code for it
PATIENCE = 120.0  # seconds until a test gives up


class Rig(ABC):
    """A backend for tests, all of whose jobs run on this machine and read their orders from `folder`."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.project_root = project_with_the_steady_job(folder / "project")
        self.started: list[tuple[Path, str]] = []
        self.ordered: list[str] = []

    @abstractmethod
    def backend(self) -> Backend:
        """A new instance on the same data folder: what a restarted app has."""

    def directory(self, does: str = "count", **how: object) -> RunDirectory:
        """A run directory as launch leaves it, whose job does as told."""
        name = f"{len(self.ordered) + 1:04d}-starter"
        config = {"run": name, "kind": "starter", "options": {}, "models": {}, "sizes": {}, "resources": {}}
        config["steady"] = self.steady(name, does, **how)
        made = RunDirectory.create(self.folder / "data" / "runs" / name, config)
        zip_code(self.project_root, made.path / "code.zip")
        return made

    def steady(self, run: str, does: str = "count", steps: int = 4, hold: int = 2, torn: bool = False) -> dict:
        """What the steady job of a run is told in its config."""
        orders = self.folder / "orders" / run
        orders.mkdir(parents=True)
        self.ordered.append(run)
        return {"does": does, "steps": steps, "hold": hold, "torn": torn, "orders": str(orders)}

    def submit(self, backend: Backend, directory: RunDirectory) -> str:
        """Start the job, and remember it so that nothing stays when the test fails."""
        handle = backend.submit(Job(directory.path, MODULE, slot=backend.slots()[0]))
        self.started.append((directory.path, handle))
        return handle

    def orders(self, directory: RunDirectory) -> Path:
        return Path(directory.config()["steady"]["orders"])

    def go(self, directory: RunDirectory) -> None:
        """Let the job go on from where it holds."""
        (self.orders(directory) / "go").touch()

    def starts(self, directory: RunDirectory) -> int:
        """How often a job began on this directory."""
        return len((self.orders(directory) / "starts").read_text().split())

    def kill(self, directory: RunDirectory) -> None:
        """End all of the job's processes from outside, as a system does that lacks memory."""
        for process in self.processes(directory.path.name):
            process.kill()

    def told(self, backend: Backend, directory: RunDirectory, handle: str) -> str:
        """How a job ended, in the backend's words or as noted beside the run."""
        return backend.ending(handle).said or json.dumps(read_json(directory.path / "exit.json") or {})

    def processes(self, name: str = "") -> list[psutil.Process]:
        """Processes started for a run of this rig (of that name), by their command lines."""
        marks = (str(self.folder), name)
        return [p for p in psutil.process_iter() if all(mark in _command(p) for mark in marks)]

    def close(self) -> None:
        """End what a failed test left."""
        for _, handle in self.started:
            with contextlib.suppress(BackendUnreachable):
                self.backend().cancel(handle, force=True)
        until(lambda: not self.processes())


class Conformance:
    """The tests of every backend."""

    @pytest.fixture
    def backend(self, rig):
        return rig.backend()

    @pytest.fixture(autouse=True)
    def _nothing_stays(self, rig):
        yield
        rig.close()

    def test_what_the_job_writes_comes_here_while_it_runs_and_the_result_last(self, rig, backend):
        directory = rig.directory(torn=True)
        handle = rig.submit(backend, directory)
        follow(backend, directory, handle, lambda: steps(directory) == [1, 2])
        follow(backend, directory, handle, lambda: (directory.status() or {}).get("phase") == "running")
        assert backend.alive(handle) and directory.result() is None
        follow(backend, directory, handle, lambda: "steady job does: count" in directory.log_tail())
        rig.go(directory)
        follow(backend, directory, handle, lambda: directory.result() is not None)
        assert steps(directory) == [1, 2, 3, 4] and read_json(directory.model / "config.json") == {"counted": 4}
        until(lambda: not backend.alive(handle))

    def test_a_job_that_nobody_watched_is_all_here_after_one_look(self, rig, backend):
        directory = rig.directory(hold=9)
        handle = rig.submit(backend, directory)
        restarted = rig.backend()
        until(lambda: not restarted.alive(handle))
        restarted.sync(directory.path, handle)
        assert directory.result()["metrics"] == {"went on from": 0} and steps(directory) == [1, 2, 3, 4]
        assert read_json(directory.model / "config.json") == {"counted": 4}
        assert "steady job does: count" in directory.log_tail() and restarted.usage(handle) == Use()

    def test_one_directory_has_one_job_which_a_restarted_app_finds(self, rig, backend):
        directory = rig.directory()
        handle = rig.submit(backend, directory)
        restarted = rig.backend()
        assert restarted.find(directory.path) == handle and restarted.alive(handle)
        assert rig.submit(restarted, directory) == rig.submit(backend, directory) == handle
        rig.go(directory)
        until(lambda: not restarted.alive(handle))
        assert restarted.find(directory.path) == handle and rig.starts(directory) == 1

    def test_nothing_is_found_where_nothing_was_started(self, rig, backend):
        assert backend.find(rig.directory().path) is None

    def test_a_cancelled_job_saves_and_its_successor_goes_on_from_there(self, rig, backend):
        directory = rig.directory()
        first = rig.submit(backend, directory)
        follow(backend, directory, first, lambda: steps(directory) == [1, 2])
        directory.request_cancel()
        follow(backend, directory, first, lambda: not backend.alive(first))
        backend.sync(directory.path, first)
        assert directory.status()["phase"] == "cancelled" and directory.result() is None
        assert read_json(directory.checkpoints / "state.json") == {"step": 2}
        directory.forget_ending()
        rig.go(directory)
        second = rig.submit(backend, directory)
        follow(backend, directory, second, lambda: directory.result() is not None)
        assert directory.result()["metrics"] == {"went on from": 2} and steps(directory) == [1, 2, 3, 4]
        assert rig.starts(directory) == 2

    @pytest.mark.parametrize(("does", "force"), [("stubborn", False), ("deaf", True)])
    def test_a_job_that_does_not_heed_the_cancel_is_ended_with_its_children(self, rig, backend, does, force):
        directory = rig.directory(does)
        handle = rig.submit(backend, directory)
        follow(backend, directory, handle, lambda: steps(directory) == [1, 2])
        assert len(rig.processes(directory.path.name)) >= 2
        backend.cancel(handle, force)
        until(lambda: not backend.alive(handle))
        until(lambda: not rig.processes())
        backend.cancel(handle, force)  # an ended one is left
        assert directory.result() is None

    def test_a_job_that_ends_without_a_result_tells_its_exit_code(self, rig, backend):
        directory = rig.directory("exit")
        handle = rig.submit(backend, directory)
        until(lambda: not backend.alive(handle))
        backend.sync(directory.path, handle)
        assert directory.result() is None and steps(directory) == [1, 2]
        assert "steady job does: exit" in directory.log_tail()
        until(lambda: "9" in rig.told(backend, directory, handle))
        assert not backend.ending(handle).retry

    def test_a_job_that_was_killed_is_not_alive_and_says_so(self, rig, backend):
        directory = rig.directory()
        handle = rig.submit(backend, directory)
        follow(backend, directory, handle, lambda: steps(directory) == [1, 2])
        rig.kill(directory)
        until(lambda: not backend.alive(handle))
        backend.sync(directory.path, handle)
        until(lambda: any(sign in rig.told(backend, directory, handle) for sign in KILLED))
        assert directory.result() is None and steps(directory) == [1, 2]

    def test_two_jobs_run_side_by_side_and_end_apart(self, rig, backend):
        one, other = rig.directory(), rig.directory()
        handles = [rig.submit(backend, directory) for directory in (one, other)]
        for directory, handle in zip((one, other), handles, strict=True):
            follow(backend, directory, handle, lambda directory=directory: steps(directory) == [1, 2])
        assert backend.alive(handles[0]) and isinstance(backend.usage(handles[0]), Use)
        backend.cancel(handles[0], force=True)
        until(lambda: not backend.alive(handles[0]))
        assert backend.alive(handles[1])
        rig.go(other)
        follow(backend, other, handles[1], lambda: other.result() is not None)
        assert one.result() is None

    def test_it_says_what_it_offers(self, backend):
        reach = backend.reach()
        names = [offered.name for offered in reach.hardware]
        assert reach.reachable and reach.said and names and len(names) == len(set(names))
        assert backend.slots() and backend.usual_timeout >= 0 and backend.margin >= 0 and ":" not in backend.name


class RemoteConformance(Conformance):
    """Beyond that, the tests of a backend behind a network; its rig also has `unreachable()`, a backend that is."""

    def test_what_cannot_be_reached_says_so_and_starts_nothing(self, rig, backend):
        away, directory, handle = rig.unreachable(), rig.directory(), f"{backend.name}:none:none"
        job = Job(directory.path, MODULE, slot=backend.slots()[0])
        asked = (partial(away.alive, handle), partial(away.ending, handle), partial(away.cancel, handle))
        for call in (*asked, partial(away.submit, job)):
            with pytest.raises(BackendUnreachable, match=backend.name):
                call()
        assert not away.reach().reachable and away.reach().said
        assert backend.find(directory.path) is None

    def test_a_run_that_is_deleted_leaves_nothing_elsewhere(self, rig, backend):
        directory = rig.directory("exit")
        handle = rig.submit(backend, directory)
        follow(backend, directory, handle, lambda: not backend.alive(handle))
        run = f"{run_name(directory.path)}/"
        assert backend.store.list(run)
        backend.clear(directory.path, handle)
        assert not backend.store.list(run)


def project_with_the_steady_job(root: Path) -> Path:
    """A copy of the project as a job sees it, with the steady job among its modules."""
    shutil.copytree(PROJECT_ROOT / "pipeline", root / "pipeline", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(PROJECT_ROOT / "requirements.txt", root)
    shutil.copy(Path(__file__).with_name("steady_job.py"), root / "pipeline")
    return root


def zip_code(project_root: Path, target: Path) -> None:
    """As launch writes it: pipeline/ and the requirements."""
    with zipfile.ZipFile(target, "w") as archive:
        for path in [*sorted((project_root / "pipeline").glob("*.py")), project_root / "requirements.txt"]:
            archive.writestr(zipfile.ZipInfo(str(path.relative_to(project_root))), path.read_bytes())


def steps(directory: RunDirectory) -> list[int]:
    """The steps of the whole metric lines that are here."""
    return [line["step"] for line in directory.metrics()[0]]


def until(condition) -> None:
    """As elsewhere, but patient: some backends take their time to start a machine."""
    following.until(condition, PATIENCE, every=0.05)


def follow(backend: Backend, directory: RunDirectory, handle: str, condition) -> None:
    """Look as the monitor does until the condition holds; a job that has ended will not make it hold any more."""

    def looked() -> bool:
        alive = backend.alive(handle)
        backend.sync(directory.path, handle)
        holds = condition()
        assert holds or alive, f"the job ended: {backend.ending(handle).said}\n{directory.log_tail()}"
        return holds

    until(looked)


def _command(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""
