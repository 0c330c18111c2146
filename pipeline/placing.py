"""Where a run may go: its resources checked against its kind, its backend, and what a lead agreed to pay.

Refuses before anything is stored, naming the field. Asks a backend what it offers only where it may cost something.
"""

from collections.abc import Mapping
from dataclasses import replace

from pipeline.agreed import Agreed, bought
from pipeline.backend import Backend, longest
from pipeline.backend_checks import PriceUnknown, checks_of
from pipeline.configs import InvalidOption
from pipeline.device_sets import gpus_of
from pipeline.gpu_use import gpus
from pipeline.resources import Resources, in_shards, make_resources
from pipeline.services import Services
from pipeline.snapshot import LaunchRefused

SEVERAL = {"reward": ("ddp", "fsdp"), "dpo": ("ddp", "fsdp"), "ppo": ("ddp",)}  # kinds for several processes, and how
WHOLE_ONLY = {"ppo": "each process samples at its own pace, and a model in shards needs all of them for every token"}
CENT = 0.005


def placed(services: Services, kind: str, wanted: Mapping | None) -> Resources:
    """The resources with their backend named. Raises InvalidOption for what the kind or the backend cannot do."""
    asked = make_resources(wanted)
    name = asked.backend or services.backends.usual
    if name not in services.backends.there:
        raise InvalidOption("backend", name, "one of " + ", ".join(services.backends.there))
    backend = services.backends.there[name]
    if asked.hardware and asked.hardware not in backend.slots():
        raise InvalidOption(
            "hardware", asked.hardware, f"a slot of {name}: " + ", ".join(dict.fromkeys(backend.slots()))
        )
    _require_processes(kind, asked, backend)
    return replace(asked, backend=name)


def require_divisible(config: Mapping, resources: Resources) -> None:
    """Raises InvalidOption where the run's options make weights that cannot be in shards."""
    if in_shards(resources) and config.get("quantize", "none") != "none":
        said = f"ddp with quantize={config['quantize']}: weights in 4 bits cannot be divided"
        raise InvalidOption("strategy", resources.strategy, said)


def require_agreed(services: Services, resources: Resources, agreed: float | None) -> Agreed | None:
    """Refuse a start that may cost more than the lead agreed to; what that pays, None where nothing has a price.

    Raises InvalidOption naming the price, and LaunchRefused where a backend that may cost something cannot be asked.
    """
    price = price_of(services, resources)
    if price is not None and (agreed is None or agreed < price - CENT):
        said = f"at least {price:.2f} dollars, the most that it can cost ({resources.backend})"
        raise InvalidOption("confirmed_cost", "none" if agreed is None else f"{agreed:.2f}", said)
    return None if price is None else bought(agreed, price, longest(services.backends.of(resources), resources))


def price_of(services: Services, resources: Resources, anew: bool = False) -> float | None:
    """The most that a run can cost, in dollars; None where nothing has a price.

    anew: ask also where the last answer is fresh. Raises LaunchRefused where the backend does not say what it offers
    (it is waited for a while at most), and InvalidOption for a price that no time limit bounds.
    """
    backend = services.backends.of(resources)
    if not backend.remote:
        return None
    try:
        most = checks_of(services).most(resources, anew)
    except PriceUnknown as unknown:
        raise LaunchRefused(f"{unknown}; try again, or choose another backend") from None
    if most is not None and not longest(backend, resources):
        raise InvalidOption("timeout_minutes", 0, f"a limit, because {backend.name} costs money by the hour")
    return most


def _require_processes(kind: str, asked: Resources, backend: Backend) -> None:
    if asked.processes == 1:
        return
    ways = SEVERAL.get(kind, ())
    if not ways:
        raise InvalidOption("processes", asked.processes, f"1 for a {kind} run; {', '.join(SEVERAL)} can use several")
    if asked.strategy not in ways:
        reason = f": {WHOLE_ONLY[kind]}" if kind in WHOLE_ONLY else ""
        raise InvalidOption("strategy", asked.strategy, f"{' or '.join(ways)} for a {kind} run{reason}")
    room = [_gpus(slot) for slot in backend.slots() if asked.hardware in ("", slot)] if not backend.remote else [0]
    if all(0 < there < asked.processes for there in room):
        raise InvalidOption("processes", asked.processes, f"at most {max(room)}, one for each GPU of a device set")


def _gpus(slot: str) -> int:
    named = gpus_of(slot)
    return len(gpus()) if named is None else named
