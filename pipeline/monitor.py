"""Follow runs to their end: the only place that changes a run's state after launch.

Each poll starts the first queued run that a free slot takes, takes in what running jobs have written,
and ends those that have ended. Everything is idempotent and read from storage and run directories, so the
app may be killed at any line and a new monitor goes on. Remote backends are asked beside its thread, and one that
does not answer fails no run. Does not train and does not talk to people.
"""

import contextlib
import logging
import re
import shutil
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TypeVar

from pipeline.agreed import count_attempt, pays_another, resources_now
from pipeline.backend import Backend, BackendUnreachable, Ending, Job
from pipeline.calls import Calls
from pipeline.configs import MODULES
from pipeline.endings import AGAIN, TOO_DEAR, retries, why_it_died
from pipeline.intake import register_result, take_in_metrics, take_in_pieces
from pipeline.launch import find_models_again
from pipeline.limits import SILENT_SECONDS, limit_reached
from pipeline.looking import FORCE, TERM, Look, begin, look_at
from pipeline.resources import resources_of
from pipeline.run_directory import RunDirectory
from pipeline.services import Heard, Services
from pipeline.slots import free_slot
from pipeline.watch import Watch
from storage import runs
from storage.database import StorageInterrupted
from storage.records import ENDED_STATES, Run

GRACE_SECONDS = 30.0  # from the cancel file to SIGTERM
FORCE_SECONDS = 10.0  # from SIGTERM to SIGKILL
REMOTE_SECONDS = 5.0  # between two looks at a run that is done elsewhere
MOST_RETRIES = 2  # times that the queue starts a run again by itself
EXIT_SECONDS = 1.0  # how long the note of a process's end is waited for
ATTEMPTS = 5  # polls in a row that may fail before the run does

Value = TypeVar("Value")
log = logging.getLogger(__name__)


class Monitor:
    """Follows the runs of one data folder, in a thread or inline. One per process."""

    def __init__(
        self,
        services: Services,
        interval: float = 0.5,
        grace: float = GRACE_SECONDS,
        remote_interval: float = REMOTE_SECONDS,
    ):
        self.services, self.interval, self.grace, self.remote_interval = services, interval, grace, remote_interval
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._failures: dict[str, int] = {}
        self._watch = Watch()
        self._calls = Calls()

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
            # Queued ones last: a slot that gets free in this poll goes to the first of them.
            waiting = sorted(runs.unfinished_runs(self.services.database), key=lambda run: run.state == "queued")
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
        except BackendUnreachable as error:
            since = _clock(self._watch.since(run.id, "unreachable"))
            self._hear(run, f"{error} It has not answered since {since}; the run is left as it is and asked for again.")
        except StorageInterrupted as error:  # not the run's fault: its job goes on, and what it writes waits
            log.warning("run %s waits for the database: %s", run.id, error)
            self._hear(run, f"What it writes cannot be stored now and waits in its directory. {error}")
        except Exception as error:
            log.exception("run %s could not be followed", run.id)
            self._failures[run.id] = self._failures.get(run.id, 0) + 1
            if self._failures[run.id] >= ATTEMPTS:
                self._give_up(run, error)
        now = runs.run(self.services.database, run.id)
        return now if now.state in ENDED_STATES else None

    def _follow(self, run: Run) -> None:
        directory = RunDirectory(self.services.directory(run))
        if run.state == "queued" and not directory.path.exists():
            if self.services.is_earlier(run):
                self._end(run, "failed", "RankLoop was stopped while it prepared the run; start it again")
            return
        backend = self.services.backends.there.get(self.services.backend_name(run))
        if run.state == "queued" and directory.cancel_requested():
            self._end(run, "cancelled", "cancelled before it started")
        elif backend is None:
            self._without_backend(run, directory)
        elif run.state == "queued":
            self._queued(run, directory, backend)
        elif run.handle is None:
            self._begin(run, directory, backend, recover=True)
        else:
            self._look(run, directory, backend)

    # ---- start
    def _queued(self, run: Run, directory: RunDirectory, backend: Backend) -> None:
        slot = free_slot(self.services, resources_of(directory.config()), backend)
        if slot is not None:
            runs.set_slot(self.services.database, run.id, slot)
            runs.set_state(self.services.database, run.id, "starting")
            self._begin(runs.run(self.services.database, run.id), directory, backend, recover=False)

    def _begin(self, run: Run, directory: RunDirectory, backend: Backend, recover: bool) -> None:
        """Get the run its job; where the app died, or the backend did not answer, first look for one it has."""
        find_models_again(self.services, directory)
        job = Job(directory.path, MODULES[run.kind], resources_now(directory, backend), run.slot)
        earlier = runs.handles(self.services.database, run.id)
        handle = self._asked(backend, run, "begin", partial(begin, backend, job, earlier, recover))
        if handle == "":
            self._end(run, "cancelled", "cancelled before it started")
        elif handle is not None:
            self._watch.forget(run.id, "unreachable")
            runs.set_handle(self.services.database, run.id, handle)
            self._failures.pop(run.id, None)

    def _without_backend(self, run: Run, directory: RunDirectory) -> None:
        """A run whose backend has no settings any more waits for them; who cancels it is told what is not known."""
        name = self.services.backend_name(run)
        self._hear(run, f"The backend {name} is not configured any more; start RankLoop with its settings again.")
        if directory.cancel_requested() and self._watch.seconds(run.id, "cancel") >= self.grace:
            lost = f"cancelled; the backend {name} is not configured any more, so its job may still be running there"
            self._end(run, "cancelled", lost)

    def _asked(self, backend: Backend, run: Run, what: str, work: Callable[[], Value]) -> Value | None:
        """What the call gives: now where the backend is on this machine, else in a later poll."""
        if not backend.remote:
            return work()
        idle = what == "look" and not self._calls.going(run.id, what)
        if idle and not self._watch.due(run.id, "looked", self.remote_interval):
            return None
        return self._calls.take(run.id, what, work)

    # ---- look
    def _look(self, run: Run, directory: RunDirectory, backend: Backend) -> None:
        signal = self._signal(run, directory)
        look = self._asked(backend, run, "look", partial(look_at, backend, directory.path, run.handle, signal))
        if look is None:
            return
        self._watch.forget(run.id, "unreachable")
        self._watch.seconds(run.id, "attempt")  # since when this process has seen it
        done = directory.result() is not None
        take_in_metrics(self.services, run, directory)
        take_in_pieces(self.services, run, directory)
        if done:
            self._done(run, directory, look)
        elif look.alive:
            self._alive(run, directory, backend)
        else:
            self._died(run, directory, backend, look.ending)
        self._failures.pop(run.id, None)

    def _signal(self, run: Run, directory: RunDirectory) -> str:
        """How a job that should have ended by itself is to be told so now: not yet, by SIGTERM, or by force."""
        if directory.result() is not None:
            passed = self._watch.seconds(run.id, "done")
        elif directory.cancel_requested():
            begun = directory.status() is not None  # else nothing is lost, and it could not notice the request
            passed = self._watch.seconds(run.id, "cancel") + (0.0 if begun else self.grace)
        else:
            return ""
        return "" if passed < self.grace else TERM if passed < self.grace + FORCE_SECONDS else FORCE

    def _done(self, run: Run, directory: RunDirectory, look: Look) -> None:
        """Register the result once the job's processes are gone: its slot is free then."""
        runs.set_state(self.services.database, run.id, "finishing")
        if not look.alive:
            register_result(self.services, run, directory)
            self._forget(run)

    def _alive(self, run: Run, directory: RunDirectory, backend: Backend) -> None:
        status = directory.status() or {}
        if status.get("phase") in ("running", "finishing") and run.state == "starting":
            runs.set_state(self.services.database, run.id, "running")
        resources = resources_now(directory, backend)
        if status or not backend.remote:  # there it may wait for a machine, which is not its own time
            reason = limit_reached(resources, backend.usual_timeout, status, self._watch, run.id)
            if reason and not directory.cancel_requested():
                directory.request_cancel(reason)
        silent = self._watch.unchanged(run.id, "heartbeat", status.get("heartbeat"))
        quiet = silent >= SILENT_SECONDS
        since = _clock(datetime.now(UTC) - timedelta(seconds=silent))
        self._hear(run, f"Its process runs, but has said nothing since {since}." if quiet else "", silent * quiet)

    def _died(self, run: Run, directory: RunDirectory, backend: Backend, ending: Ending) -> None:
        """A job that ended without a result: cancelled if somebody asked, else failed with its own words."""
        if directory.cancel_requested():
            limit = directory.cancel_reason()
            self._end(run, "failed" if limit else "cancelled", limit or "cancelled on request")
            return
        error = directory.error()
        if error is not None:
            self._end(run, "failed", error["message"])
            return
        tried = retries(runs.state_history(self.services.database, run.id)) if ending.retry else MOST_RETRIES
        if tried < MOST_RETRIES:
            self._lost(run, directory, backend, ending, f"{tried + 1} of {MOST_RETRIES}")
            return
        noted = ending.said or (directory.path / "exit.json").exists()
        if noted or self._watch.seconds(run.id, "dead") >= EXIT_SECONDS:  # whoever started it may be about to note it
            self._end(run, "failed", why_it_died(run, directory, ending))

    def _lost(self, run: Run, directory: RunDirectory, backend: Backend, ending: Ending, attempt: str) -> None:
        """Start a run again that its backend lost, for as long as what was agreed to pays."""
        count_attempt(run, directory, backend, self._watch.seconds(run.id, "attempt"))
        if pays_another(directory, backend):
            self._again(run, directory, f"{ending.said or 'its backend lost it'}; {AGAIN} ({attempt})")
        else:
            self._end(run, "failed", f"{TOO_DEAR}; {why_it_died(run, directory, ending)}")

    def _again(self, run: Run, directory: RunDirectory, reason: str) -> None:
        directory.forget_ending(keep=("cancel",))
        runs.requeue(self.services.database, run.id, reason)
        self._forget(run)

    def _give_up(self, run: Run, error: Exception) -> None:
        """End a run whose output cannot be stored, and its job with it."""
        with contextlib.suppress(KeyError, OSError):
            backend = self.services.backend_of(run)
            if run.handle is not None:
                end = partial(backend.cancel, run.handle, force=True)
                threading.Thread(target=_quietly, args=(end,), name=f"end {run.id}", daemon=True).start()
        self._end(run, "failed", f"RankLoop could not take in the run: {error}")

    def _hear(self, run: Run, notice: str, silent: float = 0.0) -> None:
        if notice:
            self.services.heard[run.id] = Heard(notice, silent)
        else:
            self.services.heard.pop(run.id, None)

    def _end(self, run: Run, state: str, reason: str) -> None:
        runs.set_state(self.services.database, run.id, state, reason)
        self._forget(run)

    def _forget(self, run: Run) -> None:
        self._watch.forget(run.id)
        self._failures.pop(run.id, None)
        self.services.heard.pop(run.id, None)


def _clock(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M} UTC"


def _quietly(work: Callable[[], object]) -> None:
    try:
        work()
    except Exception:
        log.exception("a job whose run was given up could not be ended")


def forget_unfinished_preparations(services: Services) -> None:
    """Remove directories that a launch had not finished when the app was killed; such a run fails at the next poll.

    Those of runs that this process made stay: the pages may launch before the monitor starts.
    """
    for path in (services.data / "runs").glob(".*.new"):
        number = re.match(r"\.(\d+)-", path.name)
        if number and int(number[1]) <= services.earlier:
            shutil.rmtree(path, ignore_errors=True)
