"""Where jobs run: one protocol for every backend, and the values it speaks in.

A backend starts a job on a run directory, says whether it lives, carries what it writes to this machine, and ends
it. It does not read what the job writes and never changes a run's state: that is `pipeline.monitor`. The drivers
are in modules of their own; `tests/pipeline/conformance.py` holds what all of them must do.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from pipeline.resources import Resources


class BackendUnreachable(RuntimeError):
    """A backend did not answer, or refused: names it, what it said, and what to do. The run itself is not touched."""


@dataclass(frozen=True)
class Job:
    """What to start: `python -m module directory`, with these resources on this slot, gently where `nice`."""

    directory: Path
    module: str
    resources: Resources = field(default_factory=Resources)
    slot: str = ""
    nice: bool = True


@dataclass(frozen=True)
class Ending:
    """How a job ended as its backend knows it: a sentence ("" = unknown), and whether the backend and not the job
    was at fault, so that the queue may start the run again from its last checkpoint."""

    said: str = ""
    retry: bool = False


@dataclass(frozen=True)
class Hardware:
    """Something a backend offers, by its own name. price is per hour in dollars; None where it costs nothing or
    that is not known; memory is that of the accelerator, or of the machine without one, in bytes (0 = unknown)."""

    name: str
    about: str
    price: float | None = None
    memory: int = 0
    accelerators: int = 0


@dataclass(frozen=True)
class Reach:
    """Whether a backend can be used now: a sentence with what was found, and what it offers."""

    reachable: bool
    said: str
    hardware: tuple[Hardware, ...] = ()


@dataclass(frozen=True)
class Use:
    """What a job uses right now: in words ("" = not known), and the share of its GPUs that is busy, else of the
    machine's cores, from 0 to 1 (None = not known)."""

    said: str = ""
    busy: float | None = None


class Backend(Protocol):
    """What starting and following a run needs. A handle is text that survives a restart of the app.

    Every call but `submit`, `sync` and `reach` returns quickly. Where one raises BackendUnreachable, it is asked again.
    """

    name: str  # as in settings and in a run's resources
    remote: bool  # whether calls go over a network: the monitor then makes them beside its own thread
    usual_timeout: int  # minutes; what resources.timeout_minutes = 0 means here; 0 = no limit
    margin: int  # minutes after a run's limit until the backend ends its job by itself; setting up counts there

    def slots(self) -> tuple[str, ...]:
        """The device sets that jobs run on, by name; each takes one run at a time."""

    def submit(self, job: Job) -> str:
        """Start the job and return its handle. Again for a directory whose job still runs: that job's handle."""

    def find(self, run_directory: Path) -> str | None:
        """The handle of a job started on this directory earlier, where the app died before storing it."""

    def alive(self, handle: str) -> bool:
        """Whether the job is waiting for its machine or runs."""

    def sync(self, run_directory: Path, handle: str) -> None:
        """Bring here what the job has closed (metrics, status, log, checkpoints, artifacts, result last), and take
        a `cancel` there. After `alive` was false, this brings all there will ever be. Where both are one: nothing."""

    def usage(self, handle: str) -> Use:
        """What the job uses right now."""

    def ending(self, handle: str) -> Ending:
        """How a job that is not alive ended."""

    def cancel(self, handle: str, force: bool = False) -> None:
        """Ask the job and its children to end (SIGTERM), or end them (SIGKILL) with force; an ended one is left."""

    def clear(self, run_directory: Path, handle: str) -> None:
        """Remove what lies outside this machine of a run that ended and is to be deleted; models of others stay."""

    def reach(self) -> Reach:
        """Ask it: can it be reached, what does it offer, and at what price."""


@dataclass(frozen=True)
class Backends:
    """The configured backends by name, and the one that runs go to unless told otherwise."""

    there: Mapping[str, Backend]
    usual: str

    def of(self, resources: Resources) -> Backend:
        """The backend that a run's resources mean. Raises KeyError where it is not configured (any more)."""
        return self.there[resources.backend or self.usual]


def longest(backend: Backend, resources: Resources) -> int:
    """Minutes after which the backend ends a run's job whatever happens: limit and margin; 0 = never."""
    minutes = resources.timeout_minutes or backend.usual_timeout
    return minutes and minutes + backend.margin


def dearest(backend: Backend, resources: Resources, offered: tuple[Hardware, ...]) -> Hardware | None:
    """Of what a run may get, what costs most; None where nothing of it has a price."""
    names = (resources.hardware,) if resources.hardware else backend.slots()
    priced = [one for one in offered if one.name in names and one.price is not None]
    return max(priced, key=lambda one: one.price, default=None)


def costs(backend: Backend, resources: Resources, offered: tuple[Hardware, ...]) -> float | None:
    """The most that a job can be charged, in dollars: price per hour × limit and margin; None without a price."""
    found = dearest(backend, resources, offered)
    return None if found is None else found.price * longest(backend, resources) / 60
