"""Follow runs to their end: the only place that changes a run's state after launch.

Each poll starts the first queued run that a free slot takes, takes in what running jobs have written,
and ends those that have ended. Everything is idempotent and read from storage and run directories, so the
app may be killed at any line and a new monitor goes on. Does not train and does not talk to people.
"""

import logging
import shutil
import signal
import threading
import time
from collections.abc import Callable

from pipeline.backend import Backend, Job
from pipeline.configs import MODULES
from pipeline.intake import register_result, take_in_metrics, take_in_pieces
from pipeline.memory import advice
from pipeline.resources import resources_of
from pipeline.run_directory import RunDirectory, read_json
from pipeline.services import Services
from storage import runs
from storage.records import ENDED_STATES, Run

GRACE_SECONDS = 30.0  # from the cancel file to SIGTERM
FORCE_SECONDS = 10.0  # from SIGTERM to SIGKILL
START_SECONDS = 30.0  # a run that is `starting` without a process for so long has lost it
EXIT_SECONDS = 1.0  # how long the note of a process's end is waited for
ATTEMPTS = 5  # polls in a row that may fail before the run does
LOG_LINES = 12

log = logging.getLogger(__name__)


class Monitor:
    """Follows the runs of one data folder, in a thread or inline. One per process."""

    def __init__(self, services: Services, interval: float = 0.5, grace: float = GRACE_SECONDS):
        self.services, self.interval, self.grace = services, interval, grace
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._failures: dict[str, int] = {}
        self._since: dict[tuple[str, str], float] = {}  # (run, what) -> when this monitor first saw it

    def start(self) -> None:
        """Poll in a thread of its own until stop(); first, clear away what a killed launch left half made."""
        forget_unfinished_preparations(self.services)
        self._thread = threading.Thread(target=self._loop, name="monitor", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the thread after the poll it is in; runs go on."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(timeout=30)

    def wait(self, run_id: str, on_progress: Callable[[Run, dict], None] | None = None) -> Run:
        """Follow until this run has ended and return it; polls itself where no thread does.

        on_progress gets the run and its status.json (empty before the job wrote one).
        """
        while True:
            if self._thread is None:
                self.poll_once()
            run = runs.run(self.services.database, run_id)
            if on_progress:
                on_progress(run, RunDirectory(self.services.directory(run)).status() or {})
            if run.state in ENDED_STATES:
                return run
            time.sleep(self.interval)

    def poll_once(self) -> list[Run]:
        """One look at every unfinished run, in the order of the queue; returns those that ended in it."""
        with self._lock:
            waiting = runs.unfinished_runs(self.services.database)
            ended = [run for run in map(self._guarded, waiting) if run is not None]
        for run in ended:
            for call in list(self.services.after_run):
                call(run)
        return ended

    def _loop(self) -> None:
        while not self._stop.wait(self.interval):
            try:
                self.poll_once()
            except Exception:
                log.exception("the monitor could not look at the runs; it tries again")

    def _guarded(self, run: Run) -> Run | None:
        """Follow one run; trouble with it must not stop the others, and trouble that stays ends it."""
        try:
            self._follow(run)
            self._failures.pop(run.id, None)
        except Exception as error:
            log.exception("run %s could not be followed", run.id)
            self._failures[run.id] = self._failures.get(run.id, 0) + 1
            if self._failures[run.id] >= ATTEMPTS:
                self._give_up(run, error)
        now = runs.run(self.services.database, run.id)
        return now if now.state in ENDED_STATES else None

    def _follow(self, run: Run) -> None:
        directory = RunDirectory(self.services.directory(run))
        if run.state == "queued":
            self._queued(run, directory)
            return
        backend = self.services.backend_of(run)
        handle = run.handle or self._recovered(run, directory, backend)
        # Asked before the rest is read: a job seen done, or dead, has written all it will ever write.
        alive = handle is not None and backend.alive(handle)
        if handle is not None:
            backend.sync(directory.path, handle)
        done = directory.result() is not None
        take_in_metrics(self.services, run, directory)
        take_in_pieces(self.services, run, directory)
        if done:
            runs.set_state(self.services.database, run.id, "finishing")
            register_result(self.services, run, directory)
        elif alive:
            self._alive(run, directory, handle, backend)
        elif handle is not None or self._for(run, "lost") > START_SECONDS:
            self._died(run, directory)

    def _queued(self, run: Run, directory: RunDirectory) -> None:
        if not directory.path.exists():
            if run.created < self.services.opened:
                self._end(run, "failed", "RankLoop was stopped while it prepared the run; start it again")
            return
        if directory.cancel_requested():
            self._end(run, "cancelled", "cancelled before it started")
        elif (slot := self._free_slot(directory)) is not None:
            runs.set_slot(self.services.database, run.id, slot)
            runs.set_state(self.services.database, run.id, "starting")
            job = Job(directory.path, MODULES[run.kind], resources_of(directory.config()), slot)
            handle = self.services.backend_of(run).submit(job)
            runs.set_handle(self.services.database, run.id, handle)

    def _free_slot(self, directory: RunDirectory) -> str | None:
        """A device set that the run may have now: of its backend, the one it asks for or any, and nobody on it."""
        wanted = resources_of(directory.config())
        backend = self.services.backends.of(wanted)
        going = [other for other in runs.unfinished_runs(self.services.database) if other.state != "queued"]
        taken = [other.slot for other in going if self.services.backend_of(other) is backend]
        free = list(backend.slots())
        for slot in taken:
            if slot in free:
                free.remove(slot)
        return next((slot for slot in free if wanted.hardware in ("", slot)), None)

    def _recovered(self, run: Run, directory: RunDirectory, backend: Backend) -> str | None:
        """The handle of a job that was started just before the app died."""
        handle = backend.find(directory.path)
        if handle is not None:
            runs.set_handle(self.services.database, run.id, handle)
        return handle

    def _alive(self, run: Run, directory: RunDirectory, handle: str, backend: Backend) -> None:
        phase = (directory.status() or {}).get("phase")
        if phase in ("running", "finishing") and run.state == "starting":
            runs.set_state(self.services.database, run.id, "running")
        if directory.cancel_requested():
            asked = self._for(run, "cancel")
            if asked >= self.grace:
                backend.cancel(handle, force=asked >= self.grace + FORCE_SECONDS)

    def _died(self, run: Run, directory: RunDirectory) -> None:
        """A job that ended without a result: cancelled if somebody asked, else failed with its own words."""
        if directory.cancel_requested():
            self._end(run, "cancelled", "cancelled on request")
            return
        error = directory.error()
        if error is not None:
            self._end(run, "failed", error["message"])
            return
        if not (directory.path / "exit.json").exists() and self._for(run, "dead") < EXIT_SECONDS:
            return  # whoever started it may be about to note how it ended
        tail = directory.log_tail(LOG_LINES)
        said = f"its log ends with:\n{tail}" if tail else "its log is empty"
        self._end(run, "failed", f"{_how_it_ended(run, directory)}; {said}")

    def _give_up(self, run: Run, error: Exception) -> None:
        """End a run whose output cannot be stored, and its job with it."""
        if run.handle is not None:
            self.services.backend_of(run).cancel(run.handle)
        self._end(run, "failed", f"RankLoop could not take in the run: {error}")

    def _for(self, run: Run, what: str) -> float:
        """Seconds since this monitor first saw it of the run; a clock that jumps does not count."""
        now = time.monotonic()
        return now - self._since.setdefault((run.id, what), now)

    def _end(self, run: Run, state: str, reason: str) -> None:
        runs.set_state(self.services.database, run.id, state, reason)
        self._since = {key: since for key, since in self._since.items() if key[0] != run.id}


def _how_it_ended(run: Run, directory: RunDirectory) -> str:
    """What is known of a process that left neither a result nor an error."""
    code = (read_json(directory.path / "exit.json") or {}).get("code")
    if code == -signal.SIGKILL:
        return (
            f"the process was killed, as a system does when memory runs out. {advice(run.kind, run.options)} Resume it"
        )
    ending = "" if code is None else f" (exit code {code})" if code >= 0 else f" (signal {-code})"
    return f"the process ended without a result{ending or ' (killed, or out of memory?)'}"


def forget_unfinished_preparations(services: Services) -> None:
    """Remove directories that a launch had not finished when the app was killed; such a run fails at the next poll."""
    for path in (services.data / "runs").glob(".*.new"):
        shutil.rmtree(path, ignore_errors=True)
