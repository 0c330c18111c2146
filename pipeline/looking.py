"""What the monitor asks of a backend in one go: begin a run's job, or look at it. Changes no state of a run.

These are the parts that may take long, so for a remote backend they run beside the monitor's thread (`calls.py`).
"""

from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.backend import Backend, Ending, Job
from pipeline.run_directory import RunDirectory

TERM, FORCE = "term", "force"


@dataclass(frozen=True)
class Look:
    """Whether the job lived when asked, before its files were brought; and how it ended where it did not."""

    alive: bool
    ending: Ending = field(default_factory=Ending)


def begin(backend: Backend, job: Job, earlier: Collection[str], recover: bool) -> str:
    """The handle of the run's job: that of one started before where `recover`, else of a new one.

    earlier: handles of ended attempts, which are not taken for this one. "" where somebody asked to cancel before
    there was a job.
    """
    found = backend.find(job.directory) if recover else None
    if found is not None and found not in earlier:
        return found
    if RunDirectory(job.directory).cancel_requested():
        return ""
    return backend.submit(job)


def look_at(backend: Backend, directory: Path, handle: str, signal: str = "") -> Look:
    """Ask whether the job lives, then bring what it wrote; end it where `signal` says so.

    Asked in this order, a job seen dead has written all that the bringing finds.
    """
    alive = backend.alive(handle)
    backend.sync(directory, handle)
    if alive and signal:
        backend.cancel(handle, force=signal == FORCE)
    return Look(alive, Ending() if alive else backend.ending(handle))
