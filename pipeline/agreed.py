"""What somebody agreed to pay for a run, as the minutes that it buys, and how many its ended attempts may have used.

Kept in agreed.json of the run directory, where a run costs something: so the queue starts a lost run again only for
as long as the agreed price pays. Counts what the app saw, which is not less than what is charged. Asks no backend.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime

from pipeline.backend import Backend, longest
from pipeline.resources import Resources, resources_of
from pipeline.run_directory import RunDirectory, read_json, write_json
from storage.records import Run

FILE = "agreed.json"
LEAST = 5  # minutes of training that make another attempt worth its setup


@dataclass(frozen=True)
class Agreed:
    """The dollars, the minutes of the hardware that they buy, and those that each ended attempt may have used."""

    dollars: float
    minutes: int
    used: Mapping[str, int] = field(default_factory=dict)  # by handle: an attempt counts once

    @property
    def left(self) -> int:
        """Minutes that are still paid."""
        return self.minutes - sum(self.used.values())


def bought(dollars: float, most: float, minutes: int) -> Agreed:
    """What so many dollars buy where one start takes these minutes at most and costs `most`."""
    return Agreed(dollars, int(minutes * max(1.0, dollars / most)) if most else minutes)


def write_agreed(run: RunDirectory, agreed: Agreed | None) -> None:
    """Keep it with the run; None is a run that costs nothing."""
    if agreed is None:
        (run.path / FILE).unlink(missing_ok=True)
    else:
        write_json(run.path / FILE, asdict(agreed))


def agreed_of(run: RunDirectory) -> Agreed | None:
    """What was agreed to, None for a run that costs nothing."""
    noted = read_json(run.path / FILE)
    return None if noted is None else Agreed(**noted)


def resources_now(run: RunDirectory, backend: Backend) -> Resources:
    """The run's resources, with no more time than is still paid."""
    asked, agreed = resources_of(run.config()), agreed_of(run)
    if agreed is None or agreed.left >= longest(backend, asked):
        return asked
    return replace(asked, timeout_minutes=max(1, agreed.left - backend.margin))


def count_attempt(run: Run, directory: RunDirectory, backend: Backend, seen: float) -> None:
    """Note what the attempt that ended may have used. seen: seconds for which this process saw it."""
    agreed = agreed_of(directory)
    if agreed is not None:
        status = directory.status() or {}
        at_most = longest(backend, resources_now(directory, backend))
        used = minutes_used(run.started, datetime.now(UTC), max(seen, float(status.get("seconds") or 0.0)), at_most)
        write_agreed(directory, replace(agreed, used={**agreed.used, run.handle or "": used}))


def minutes_used(started: datetime | None, now: datetime, seen: float, at_most: int) -> int:
    """Begun minutes since the attempt started, and not less than was seen of it, should the clock have been set."""
    passed = (now - started).total_seconds() if started else 0.0
    return min(at_most, max(1, math.ceil(max(passed, seen) / 60)))


def pays_another(run: RunDirectory, backend: Backend) -> bool:
    """Whether what is left is worth another start; always where nothing costs."""
    agreed = agreed_of(run)
    return agreed is None or agreed.left >= backend.margin + LEAST
