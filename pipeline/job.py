"""What every job has in common: open the run directory, seed, run, and end truthfully.

A job module ends with `if __name__ == "__main__": main(train)`, where `train(run, config)` does the
work and returns the result. `python -m pipeline.<module> RUN_DIRECTORY` starts it.
"""

import contextlib
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from pipeline import disk
from pipeline.memory import advice, is_out_of_memory
from pipeline.run_directory import RunDirectory

BEAT_SECONDS = 5.0  # between two heartbeats


class Cancelled(Exception):
    """Raised by a job after it saved its checkpoint because somebody asked it to end."""


class Refused(Exception):
    """A job cannot do what was asked: empty data, nothing trainable, a reward that is not a number."""


@dataclass
class Progress:
    """Tells the run directory how far the job is, at most twice a second, and notices a cancel."""

    run: RunDirectory
    total: int = 0
    _last: float = 0.0

    def step(self, step: int, message: str = "") -> None:
        """Report a step. Does not raise: ask `cancelled` where a checkpoint can be saved."""
        now = time.monotonic()
        if now - self._last >= 0.5 or step >= self.total:
            self._last = now
            self.run.write_status("running", step, self.total, message)

    @property
    def cancelled(self) -> bool:
        return self.run.cancel_requested()


@contextlib.contextmanager
def beating(run: RunDirectory, interval: float | None = None) -> Iterator[None]:
    """Heartbeats meanwhile, from a thread of their own: long work without steps is not taken for death.

    A beat says that the process lives; phase, step and message stay those of the last report.
    """
    over, seconds = threading.Event(), interval or BEAT_SECONDS

    def beat() -> None:
        while not over.wait(seconds):
            with contextlib.suppress(OSError):  # a full disk ends the job where it writes what counts
                run.beat()

    thread = threading.Thread(target=beat, name="heartbeat", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def run_job(run: RunDirectory, work: Callable[[RunDirectory, dict], Mapping]) -> int:
    """Do the work and leave exactly one truth behind: result.json, error.json, or phase `cancelled`."""
    started = time.monotonic()
    try:
        run.write_status("starting", message="loading")
        disk.keep_room(run.path)
        with beating(run):
            result = dict(work(run, run.config()))
    except Cancelled as reason:
        disk.give_room(run.path)
        run.write_status("cancelled", message=str(reason))
        return 0
    except Exception as error:
        disk.give_room(run.path)
        message = told(error, run.config(), run.path)
        run.fail(type(error).__name__, message)
        run.write_status("failed", message=message)
        traceback.print_exc()
        return 1
    disk.give_room(run.path)
    result.setdefault("seconds", round(time.monotonic() - started, 2))
    run.write_status("finishing", message="done")
    run.finish(result)
    return 0


def told(error: Exception, config: Mapping, folder: Path) -> str:
    """The error as the run's page says it; a lack of memory or of room on the disk becomes advice."""
    if is_out_of_memory(error):
        return advice(config.get("kind", ""), config.get("options") or {})
    if disk.is_full(error):
        return disk.advice(folder)
    return str(error) or type(error).__name__


def main(work: Callable[[RunDirectory, dict], Mapping]) -> None:
    """Entry point of a job module: one argument, the run directory."""
    if len(sys.argv) != 2:
        sys.exit("usage: python -m pipeline.<job> RUN_DIRECTORY")
    sys.exit(run_job(RunDirectory(sys.argv[1]), work))
