"""Runs followed by tests: a monitor that looks often, and waits for what is to happen.

A wait that is in vain fails its test after `seconds`, and at once where the run has ended in another state.
"""

import time
from collections.abc import Callable

from pipeline.monitor import Monitor
from pipeline.services import Services
from storage import runs
from storage.records import ENDED_STATES, Run

PATIENCE = 40.0  # seconds until a test gives up


def quick(services: Services, interval: float = 0.02, remote_interval: float = 0.0, **limits: float) -> Monitor:
    """A monitor that looks again and again, at jobs elsewhere too."""
    return Monitor(services, interval=interval, remote_interval=remote_interval, **limits)


def now(services: Services, run: Run) -> Run:
    """The run as it is stored now."""
    return runs.run(services.database, run.id)


def until(condition: Callable[[], object], seconds: float = PATIENCE, every: float = 0.02) -> None:
    """Wait until the condition holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(every)


def until_polled(monitor: Monitor, condition: Callable[[], object]) -> None:
    """Poll until the condition holds; not once more where it holds already."""

    def holds() -> bool:
        if condition():
            return True
        monitor.poll_once()
        return False

    until(holds)


def until_state(monitor: Monitor, run: Run, state: str) -> Run:
    """Poll until the run is in that state."""

    def reached() -> bool:
        found = now(monitor.services, run)
        assert found.state == state or found.state not in ENDED_STATES, f"{found.state}: {found.reason}"
        return found.state == state

    until_polled(monitor, reached)
    return now(monitor.services, run)
