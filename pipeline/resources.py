"""What a run may use: which backend, which hardware of it, how many processes, and for how long.

Chosen beside a run's options and kept in its config.json, so that a resumed run gets the same. Form and command
line are made from the fields. Says nothing about what a backend offers: that is `backend.py` and the drivers.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass

from pipeline.configs import option, parsed

STRATEGIES = ("ddp", "fsdp")


@dataclass(frozen=True)
class Resources:
    """Where and with what a run is to be done; what is left out is the backend's usual."""

    backend: str = option("", "where it runs; empty = the usual backend")
    hardware: str = option("", "machine type or device set by the backend's name for it; empty = the next free one")
    processes: int = option(1, "training processes, one per GPU", 1, 1024)
    strategy: str = option("ddp", "several processes: a whole model in each, or one in shards", choices=STRATEGIES)
    timeout_minutes: int = option(0, "end it after so long; 0 = the backend's usual limit", 0, 60 * 24 * 30)
    stuck_minutes: int = option(0, "end it after so long without a step or another phase; 0 = never", 0, 60 * 24 * 30)


def make_resources(values: Mapping[str, object] | None = None) -> Resources:
    """Resources from plain values. Raises InvalidOption, naming the field."""
    return parsed(Resources, values or {}, "resources")


def resources_of(config: Mapping) -> Resources:
    """Those in a run's config.json; the usual ones where an older run has none."""
    return make_resources(config.get("resources"))


def in_shards(resources: Resources) -> bool:
    """Whether several processes hold one model together, each a shard of it."""
    return resources.processes > 1 and resources.strategy == "fsdp"


def plain(resources: Resources) -> dict:
    """As values for config.json."""
    return asdict(resources)
