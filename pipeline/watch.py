"""How long something has been so, as this process saw it: a clock that jumps does not count, a restart begins anew."""

import time
from datetime import UTC, datetime, timedelta


class Watch:
    """Since when, by run and by what. Times are the monotonic clock's; used by one thread."""

    def __init__(self):
        self._first: dict[tuple[str, str], float] = {}
        self._values: dict[tuple[str, str], object] = {}

    def seconds(self, run_id: str, what: str) -> float:
        """Seconds since this was first asked of the run; 0 the first time."""
        now = time.monotonic()
        return now - self._first.setdefault((run_id, what), now)

    def since(self, run_id: str, what: str) -> datetime:
        """The same as a moment of the wall clock."""
        return datetime.now(UTC) - timedelta(seconds=self.seconds(run_id, what))

    def unchanged(self, run_id: str, what: str, value: object) -> float:
        """Seconds for which the value has been this one."""
        key = (run_id, what)
        if key not in self._values or self._values[key] != value:
            self._values[key] = value
            self._first[key] = time.monotonic()
        return self.seconds(run_id, what)

    def due(self, run_id: str, what: str, interval: float) -> bool:
        """Whether it was not done within the interval; if so it counts as done now."""
        now, key = time.monotonic(), (run_id, what)
        if key in self._first and now - self._first[key] < interval:
            return False
        self._first[key] = now
        return True

    def forget(self, run_id: str, what: str | None = None) -> None:
        """Begin anew with one thing, or with all of the run."""
        for known in (self._first, self._values):
            for key in [key for key in known if key[0] == run_id and what in (None, key[1])]:
                del known[key]
