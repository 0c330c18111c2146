"""A remote backend on this machine: jobs run in a folder of their own, and only `sync` carries files.

down: it answers nothing. hold: calls wait for it, as over a slow network, and `reach` for telling. price: of every
flavor, per hour; prices: of some. lost: how a job that it loses is said to have ended.
"""

import shutil
import threading
from pathlib import Path

from pipeline.backend import BackendUnreachable, Ending, Hardware, Job, Reach
from pipeline.local_backend import LocalBackend
from pipeline.services import PROJECT_ROOT

CARRIED = ("metrics.jsonl", "status.json", "log.txt", "error.json")


class FarBackend:
    """Conforms to pipeline.backend.Backend; a handle is the local one's."""

    name, remote, usual_timeout, margin = "far", True, 240, 0

    def __init__(self, folder: Path, slots: tuple[str, ...] = ("small",)):
        self.folder, self.names, self.here = folder, slots, LocalBackend(PROJECT_ROOT)
        self.down, self.price, self.lost = False, None, Ending()
        self.prices: dict[str, float] = {}
        self.hold, self.telling = threading.Event(), threading.Event()
        self.hold.set()
        self.telling.set()
        self.submitted: list[str] = []
        self.limits: list[int] = []  # of the time, as submitted

    def slots(self):
        return self.names

    def submit(self, job: Job) -> str:
        self._answer()
        far = self._far(job.directory)
        if not far.exists():
            shutil.copytree(job.directory, far)
        far.joinpath("process.json").unlink(missing_ok=True)
        handle = self.here.submit(Job(far, job.module))
        self.submitted.append(handle)
        self.limits.append(job.resources.timeout_minutes)
        return handle

    def find(self, run_directory):
        self._answer()
        far = self._far(run_directory)
        return self.here.find(far) if far.exists() else None

    def alive(self, handle):
        self._answer()
        return self.here.alive(handle)

    def sync(self, run_directory, handle):
        self._answer()
        far = self._far(run_directory)
        if (run_directory / "cancel").exists():
            (far / "cancel").touch()
        behaviour = run_directory.parent / "go"
        if behaviour.exists():
            (far.parent / "go").touch()
        for name in CARRIED:
            if (far / name).exists():
                shutil.copy(far / name, run_directory / name)
        shutil.copytree(far / "artifacts", run_directory / "artifacts", dirs_exist_ok=True)
        if (far / "result.json").exists():
            shutil.copy(far / "result.json", run_directory / "result.json")

    def usage(self, handle):
        return self.here.usage(handle)

    def clear(self, run_directory, handle):
        pass

    def ending(self, handle):
        return self.lost

    def cancel(self, handle, force=False):
        self._answer()
        self.here.cancel(handle, force)

    def reach(self):
        self.telling.wait(30)
        if self.down:
            return Reach(False, "far did not answer: connection refused.")
        return Reach(
            True, "There.", tuple(Hardware(name, name, self.prices.get(name, self.price)) for name in self.names)
        )

    def _far(self, run_directory):
        return self.folder / Path(run_directory).name

    def _answer(self):
        self.hold.wait(30)
        if self.down:
            raise BackendUnreachable("far did not answer: connection refused.")
