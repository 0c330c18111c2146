"""Asks backends whether they can be reached and what they offer, in threads of their own.

A backend that hangs costs one thread, and whoever asks waits for a while at most. Remembers the last answer of each;
decides nothing. What a run costs at most is `backend.costs` over what was offered.
"""

import threading
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache

from pipeline.backend import Hardware, Reach, costs
from pipeline.resources import Resources
from pipeline.services import Services

PATIENCE = 20.0  # seconds that somebody waits for an answer
MOST_WAITING = 4  # people who wait for one backend at the same time; further ones are told so
FRESH = 600.0  # seconds for which an answer is good enough to tell a price
LONGEST = 600  # characters of what a backend said


@dataclass(frozen=True)
class Check:
    """What a backend answered, or that it did not; seconds: how long that took."""

    backend: str
    reachable: bool
    said: str
    hardware: tuple[Hardware, ...]
    seconds: float
    at: datetime


class Checks:
    """The checks of one server's backends."""

    def __init__(self, services: Services, patience: float = PATIENCE):
        self.services, self.patience = services, patience
        self._lock = threading.Lock()
        self._asked: dict[str, threading.Event] = {}
        self._waiting: dict[str, int] = {}
        self._last: dict[str, Check] = {}

    def last(self, name: str) -> Check | None:
        """The last answer of the backend, however old."""
        return self._last.get(name)

    def check(self, name: str) -> Check:
        """Ask the backend and wait for a while; joins a question that is still open. Raises KeyError for no backend."""
        backend = self.services.backends.there[name]
        began = time.monotonic()
        with self._lock:
            if self._waiting.get(name, 0) >= MOST_WAITING:
                return self._without(name, f"{name} is being asked already; look again in a moment", began)
            answered = self._asked.get(name)
            if answered is None:
                answered = self._asked[name] = threading.Event()
                threading.Thread(target=self._ask, args=(backend, answered), name=f"check {name}", daemon=True).start()
            self._waiting[name] = self._waiting.get(name, 0) + 1
        there = answered.wait(self.patience)
        with self._lock:
            self._waiting[name] -= 1
            if not there:
                said = f"{name} has not answered within {self.patience:.0f} s; it is still being asked"
                self._last[name] = self._without(name, said, began)
            return self._last[name]

    def offered(self, name: str, anew: bool = False) -> tuple[Hardware, ...]:
        """What the backend offers, asked where the last answer is old, or anyhow with `anew`. Raises PriceUnknown."""
        last = self.last(name)
        if anew or last is None or not last.reachable or (datetime.now(UTC) - last.at).total_seconds() > FRESH:
            last = self.check(name)
        if not last.reachable:
            raise PriceUnknown(f"{name}: found no answer, expected what it offers and costs: {last.said}")
        return last.hardware

    def most(self, resources: Resources, anew: bool = False) -> float | None:
        """The most that a run with these resources can cost, in dollars; None where it costs nothing.

        Raises PriceUnknown where the backend cannot be asked now.
        """
        backend = self.services.backends.of(resources)
        return costs(backend, resources, self.offered(backend.name, anew))

    def _ask(self, backend, answered: threading.Event) -> None:
        began = time.monotonic()
        try:
            reach = backend.reach()
        except Exception as error:  # whatever a driver raises is what there is to say of it
            reach = Reach(False, str(error) or type(error).__name__)
        found = self._answer(backend.name, reach.reachable, reach.said, reach.hardware, began)
        with self._lock:
            self._last[backend.name] = found
            self._asked.pop(backend.name, None)
        answered.set()

    def _without(self, name: str, said: str, began: float) -> Check:
        return self._answer(name, False, said, (), began)

    def _answer(self, name: str, reachable: bool, said: str, hardware: tuple, began: float) -> Check:
        seconds = round(time.monotonic() - began, 2)
        return Check(name, reachable, said[:LONGEST], tuple(hardware), seconds, datetime.now(UTC))


class PriceUnknown(RuntimeError):
    """What a run may cost cannot be told, because its backend does not answer."""


@lru_cache(8)
def checks_of(services: Services) -> Checks:
    """The one Checks of these services, for pages, API and launches alike."""
    return Checks(services)
