"""What a run can cost at most, as a lead is asked to agree to it; `launch` refuses what nobody agreed to.

What it is comes from `pipeline.placing`.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from pipeline.backend import longest
from pipeline.placing import CENT, placed
from pipeline.placing import price_of as most_of
from pipeline.services import Services


@dataclass(frozen=True)
class Price:
    """The most that a run can cost, in dollars, and in a sentence."""

    most: float
    said: str

    def agreed(self, confirmed: float | None) -> bool:
        """Whether somebody who confirmed so many dollars has agreed to it."""
        return confirmed is not None and confirmed >= self.most - CENT


def price_of(services: Services, kind: str, resources: Mapping) -> Price | None:
    """The price of a run with these resources; None where it costs nothing.

    Raises InvalidOption and LaunchRefused as `placed` and `pipeline.placing.price_of` do.
    """
    wanted = placed(services, kind, resources)
    backend, most = services.backends.of(wanted), most_of(services, wanted)
    if most is None:
        return None
    where = f"{wanted.hardware or 'the dearest of its slots'} on {backend.name}"
    said = f"It can cost up to {dollars(most)}: {where} for at most {longest(backend, wanted)} minutes"
    spare = f", {backend.margin} of them to set up and to save" if backend.margin else ""
    return Price(most, f"{said}{spare}. If its machine is lost, it starts again only for what is left of that.")


def dollars(value: float | None) -> str:
    """A price; a dash where it is free or not known."""
    return "–" if value is None else f"${value:,.2f}" if value >= 0.005 or value == 0 else f"${value:.4f}"
