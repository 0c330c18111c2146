"""When queued runs will start and when runs will end: from the speed of earlier runs of a kind and from first steps.

Follows the queue as the monitor does, slot by slot, in seconds from now. What cannot be known is None, and so is
all that waits for it. Reads storage and run directories; changes nothing.
"""

import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from statistics import median

from pipeline.configs import InvalidOption, make_config
from pipeline.passes import passes
from pipeline.resources import resources_of
from pipeline.run_directory import RunDirectory
from pipeline.services import Services
from storage import runs
from storage.records import Run

EARLIER = 20  # runs of a kind whose speed is looked at
FRESH_SECONDS = 2.0  # for which one estimate serves everybody


@dataclass(frozen=True)
class Estimate:
    """Seconds until a run starts (0 = it has) and until it ends; None where that is not known."""

    starts_in: float | None = None
    ends_in: float | None = None


UNKNOWN = Estimate()


def estimate(services: Services, run: Run) -> Estimate:
    """Of one unfinished run; an ended or new one has none yet."""
    return _estimates(services, int(time.monotonic() / FRESH_SECONDS)).get(run.id, UNKNOWN)


def estimates(services: Services, now: datetime | None = None) -> dict[str, Estimate]:
    """Of every unfinished run by id, in the order of the queue."""
    now = now or datetime.now(UTC)
    waiting = runs.unfinished_runs(services.database)
    speeds = {kind: speed(services, kind) for kind in {run.kind for run in waiting}}
    found, free = {}, _Slots(services)
    for run in waiting:
        if run.state != "queued":
            left = _left(services, run, speeds[run.kind], now)
            found[run.id] = Estimate(0.0, left)
            free.take(run, left)
    for run in waiting:
        if run.state == "queued":
            starts = free.next(run)
            whole = _whole(services, run, speeds[run.kind])
            ends = None if starts is None or whole is None else starts + whole
            found[run.id] = Estimate(starts, ends)
            free.take(run, ends)
    return found


@lru_cache(8)
def _estimates(services: Services, _moment: int) -> Mapping[str, Estimate]:
    return estimates(services)


# ---- how long a run takes
def speed(services: Services, kind: str) -> tuple[float, int] | None:
    """The median seconds per unit of work of the last runs of a kind that succeeded, and how many those are."""
    speeds = []
    for run in runs.runs(services.database, kind, limit=EARLIER):
        result = RunDirectory(services.directory(run)).result() if run.state == "succeeded" else None
        prompts = ((result or {}).get("sizes") or {}).get("train_prompts", 0)
        if result and result.get("seconds") and (done := work_of(kind, run.options, prompts)):
            speeds.append(result["seconds"] / done)
    return (median(speeds), len(speeds)) if speeds else None


def work_of(kind: str, options: Mapping, train_prompts: int) -> float:
    """How much a run has to do, in units that are comparable within its kind; 0 where that is not known."""
    if kind in ("reward", "dpo") and train_prompts:
        with suppress(InvalidOption):  # a run of another version
            return passes(train_prompts, make_config(kind, options)) * train_prompts
        return 0.0
    if kind == "sft":
        return float(options.get("epochs") or 0) * train_prompts
    name = {"starter": "steps", "ppo": "episodes", "evaluate": "prompts", "generate": "prompts"}.get(kind, "")
    if kind == "ppo" and options.get("steps"):
        return float(options["steps"]) * float(options.get("batch_size") or 0)
    return float(options.get(name) or 0)


def steps_left(run: Run, status: Mapping, now: datetime) -> float | None:
    """Seconds for the steps still to do, at the speed since this attempt's first one; None before there is one."""
    step, total, first = (int(status.get(name) or 0) for name in ("step", "total", "first"))
    if run.state != "running" or run.changed is None or not 0 < step <= total:
        return None
    if step > first > 0 and {"seconds", "first_seconds"} <= status.keys():
        passed, done = status["seconds"] - status["first_seconds"], step - first
    elif first <= 1:
        passed, done = (now - run.changed).total_seconds(), step
    else:
        return None  # resumed a moment ago
    return max(0.0, passed * (total - step) / done)


def _whole(services: Services, run: Run, known: tuple[float, int] | None) -> float | None:
    """Seconds for the whole run, as earlier ones were."""
    sizes = _config(services, run).get("sizes") or {}
    work = work_of(run.kind, run.options, (sizes.get("prompts") or {}).get("train", 0))
    return known[0] * work if known and work else None


def _left(services: Services, run: Run, known: tuple[float, int] | None, now: datetime) -> float | None:
    """Seconds that a started run still takes: by its own steps where it has some, else as earlier ones were."""
    by_steps = steps_left(run, RunDirectory(services.directory(run)).status() or {}, now)
    if by_steps is not None:
        return by_steps
    whole = _whole(services, run, known)
    passed = (now - run.started).total_seconds() if run.started else 0.0
    return None if whole is None else max(0.0, whole - passed)


def _config(services: Services, run: Run) -> Mapping:
    """The run's config; empty while it is being prepared."""
    try:
        return RunDirectory(services.directory(run)).config()
    except FileNotFoundError:
        return {}


# ---- the queue
class _Slots:
    """When each slot of each backend is free, in seconds from now; None = not known."""

    def __init__(self, services: Services):
        self.services = services
        self.free: dict[str, list[tuple[str, float | None]]] = {
            name: [(slot, 0.0) for slot in backend.slots()] for name, backend in services.backends.there.items()
        }

    def next(self, run: Run) -> float | None:
        """When a slot that suits the run is free: the earliest that is known."""
        moments = [moment for _, moment in self._fitting(run) if moment is not None]
        return min(moments) if moments else None

    def take(self, run: Run, until: float | None) -> None:
        """Put the run on the slot that it has or will have, until then."""
        fitting = self._fitting(run)
        if not fitting:
            return
        slots = self.free[self.services.backend_name(run)]
        slots.remove(chosen := min(fitting, key=lambda one: float("inf") if one[1] is None else one[1]))
        slots.append((chosen[0], until))

    def _fitting(self, run: Run) -> list[tuple[str, float | None]]:
        wanted = run.slot if run.state != "queued" else resources_of(_config(self.services, run)).hardware
        there = self.free.get(self.services.backend_name(run), [])
        return [one for one in there if wanted in ("", one[0])]
