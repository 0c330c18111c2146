"""What one look at a run finds, as text ready to be sent to everybody who watches it.

A look reads storage and the run directory, in a worker thread; what it found is shown to the watchers afterwards, in
the event loop, as one unchanging value. Sends nothing: that is run_streams.py.
"""

import contextlib
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from pipeline.backend import BackendUnreachable, Use
from pipeline.run_directory import RunDirectory
from pipeline.services import Services
from storage.records import ENDED_STATES, Run
from storage.runs import changes_told, metrics_count, metrics_offset, run, unfinished_runs
from ui.run_view import curve_rows, summary

LOG_EVERY = 3.0  # seconds between two readings of a log and of what the job uses
LIST_EVERY = 3.0  # seconds between two readings of the list of runs
HELD = 200  # newest rows that are held for watchers who have nearly all
LOG_LINES = 40
CLOCKS = ("elapsed", "remaining")  # they go on in the browser too
COARSE = ("silent", "starts_in", "ends_in")  # seconds that are news only when they have changed a good deal
COARSE_SECONDS = 15


@dataclass(frozen=True)
class Moment:
    """A run as the last look found it: the newest rows, `first` the position of the first of them among all; events
    by name with their version, which grows with each change; and the run's state."""

    first: int = 0
    rows: tuple[str, ...] = ()
    events: Mapping[str, tuple[int, str]] = field(default_factory=dict)
    state: str = ""
    pieces: dict[tuple, bytes] = field(default_factory=dict)

    @property
    def count(self) -> int:
        """How many rows there are in all."""
        return self.first + len(self.rows)

    def versions(self) -> dict[str, int]:
        """The version of each event."""
        return {name: version for name, (version, _) in self.events.items()}

    def piece(self, known: int, told: Mapping[str, int]) -> bytes:
        """What is new to a watcher who has `known` rows and these versions; made once for all who are alike."""
        news = [name for name, (version, _) in self.events.items() if told.get(name) != version]
        key = (known, *news)
        if key not in self.pieces:
            rows = rows_event(known, self.rows[known - self.first :]) if self.first <= known < self.count else ""
            text = rows + "".join(self.events[name][1] for name in news)
            if "run" in news and self.state in ENDED_STATES:
                text += event("end", {"state": self.state})
            self.pieces[key] = text.encode()
        return self.pieces[key]


class Watched:
    """One run that somebody watches. `look` belongs to a worker thread, `show` and `moment` to the event loop."""

    def __init__(self, services: Services, run_id: str):
        self.services, self.run_id = services, run_id
        self.moment = self._next = Moment()
        self._offset = -1
        self._seen: dict[str, object] = {}
        self._read_log = 0.0

    def show(self) -> None:
        """What the last look found is what watchers see from now on."""
        self.moment = self._next

    def look(self) -> bool:
        """Read storage and run directory once; returns whether anything is new.

        The state is read first: rows that came in before it was `succeeded` are then in the same look.
        """
        found = run(self.services.database, self.run_id)
        offset = metrics_offset(self.services.database, self.run_id)
        first, rows = (self._next.first, self._next.rows) if offset == self._offset else self._rows()
        view, events = summary(self.services, found), dict(self._next.events)
        self._note(events, "run", view, _news(view))
        ended = view["state"] in ENDED_STATES
        if time.monotonic() - self._read_log >= LOG_EVERY or (ended and self._next.state != view["state"]):
            self._read_log = time.monotonic()
            said = behind(self.services, found)
            self._note(events, "log", said, said)
        if offset == self._offset and events == self._next.events:
            return False
        self._offset, self._next = offset, Moment(first, rows, events, view["state"])
        return True

    def _rows(self) -> tuple[int, tuple[str, ...]]:
        """The rows to hold now, and the position of the first."""
        if self._offset < 0:
            return metrics_count(self.services.database, self.run_id), ()
        fresh = curve_rows(self.services, self.run_id, self._next.count)
        rows = (*self._next.rows, *(json.dumps(row, ensure_ascii=False) for row in fresh))
        spare = max(0, len(rows) - HELD)
        return self._next.first + spare, rows[spare:]

    def _note(self, events: dict, name: str, data: dict, news: object) -> None:
        if self._seen.get(name) != news:
            self._seen[name] = news
            events[name] = (events.get(name, (0, ""))[0] + 1, event(name, data))


class Going:
    """The list of runs as a whole: how often anything in it has changed, and how far the unfinished ones are."""

    def __init__(self, services: Services):
        self.services = services
        self.version, self.text = 0, ""
        self._read, self._seen = 0.0, None

    def look(self) -> bool:
        """Read again after a while; returns whether anything is new."""
        if time.monotonic() - self._read < LIST_EVERY:
            return False
        self._read = time.monotonic()
        views = [summary(self.services, one) for one in unfinished_runs(self.services.database)]
        names = ("run", "state", "step", "total", "elapsed", "remaining")
        going = [{name: view[name] for name in names} for view in views]
        data = {"changes": changes_told(self.services.database), "going": going}
        news = (data["changes"], [(view["run"], view["step"]) for view in views])
        if news == self._seen:
            return False
        self._seen, self.text = news, event("runs", data)
        self.version += 1
        return True


def behind(services: Services, found: Run) -> dict:
    """The end of the log, and what the job uses: in words, and how busy that is, which the page draws over time."""
    tail, use = RunDirectory(services.directory(found)).log_tail(LOG_LINES), Use()
    if found.handle and found.state == "running":
        with contextlib.suppress(BackendUnreachable, KeyError, OSError):  # then it is not known
            use = services.backend_of(found).usage(found.handle)
    return {"tail": tail, "use": use.said, "busy": None if use.busy is None else round(use.busy, 2)}


def _news(view: Mapping) -> dict:
    """What makes a summary news."""
    kept = {name: value for name, value in view.items() if name not in CLOCKS}
    return kept | {name: int(kept[name] / COARSE_SECONDS) for name in COARSE if kept.get(name) is not None}


def rows_event(known: int, rows: Sequence[str]) -> str:
    """The event of the rows from that position on, each given as JSON. Its id is the number of rows then known."""
    data = f'{{"from": {known}, "rows": [{", ".join(rows)}]}}'
    return f"id: {known + len(rows)}\nevent: rows\ndata: {data}\n\n"


def event(name: str, data: Mapping) -> str:
    """One server-sent event; JSON has no raw line breaks, so one data line is enough."""
    return f"event: {name}\ndata: {json.dumps(data, ensure_ascii=False)}\n\n"
