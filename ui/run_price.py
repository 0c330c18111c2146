"""What a run can cost at most, and whether the lead has agreed to it. Asks the backend where its prices are old."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from pipeline.configs import InvalidOption
from pipeline.resources import make_resources
from pipeline.services import Services
from ui.backend_checks import PriceUnknown, checks_of


@dataclass(frozen=True)
class Price:
    """The most that a run can cost in dollars (None = not known), in a sentence, and as the key to agree to it."""

    most: float | None
    said: str

    @property
    def key(self) -> str:
        """What somebody who agrees sends back: another price has another key."""
        return "unknown" if self.most is None else f"{self.most:.4f}"


def price_of(services: Services, resources: Mapping) -> Price | None:
    """The price of a run with these resources; None where it costs nothing.

    Raises InvalidOption, also for a backend that is not configured, and for a price that no time limit bounds.
    """
    wanted = make_resources(resources)
    wanted = replace(wanted, backend=wanted.backend or services.backends.usual)
    backend = services.backends.there.get(wanted.backend)
    if backend is None:
        raise InvalidOption("backend", wanted.backend, "one of " + ", ".join(services.backends.there))
    if not backend.remote:
        return None
    try:
        most = checks_of(services).most(wanted)
    except PriceUnknown as unknown:
        return Price(None, f"{unknown}.")
    if most is None:
        return None
    minutes = wanted.timeout_minutes or backend.usual_timeout
    if not minutes:
        raise InvalidOption("timeout_minutes", 0, f"a limit, because {backend.name} costs money by the hour")
    where = wanted.hardware or next(iter(backend.slots()), "")
    return Price(most, f"It can cost up to {dollars(most)}: {where} on {backend.name} for at most {minutes} minutes.")


def dollars(value: float | None) -> str:
    """A price; a dash where it is free or not known."""
    return "–" if value is None else f"${value:,.2f}" if value >= 0.005 or value == 0 else f"${value:.4f}"
