"""Runs as they change, for everybody who watches: one look at storage per moment, however many look on.

While somebody watches, a task of the server's event loop looks at the watched runs once a moment (run_looks.py) and
wakes the watchers; each is sent what is new to them. Whether they still may is asked again at intervals.
"""

import asyncio
import contextlib
import json
import logging
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from anyio import to_thread

from pipeline.services import Services
from storage.records import ENDED_STATES
from ui.run_looks import Going, Watched, rows_event
from ui.run_view import curve_rows

LOOK_EVERY = 1.0  # seconds between two looks at storage
HEARTBEAT_EVERY = 10.0  # seconds after which the role is asked again; a comment then keeps a quiet connection open
ALIVE = b": still here\n\n"

log = logging.getLogger(__name__)


@dataclass
class Reader:
    """What one watcher has: metric rows, the versions of the events told, and that of the list of runs."""

    known: int
    whole_list: bool = False
    told: dict[str, int] = field(default_factory=dict)
    listed: int = 0


class Streams:
    """All watchers of one server. Lives in its event loop; looks only while somebody watches."""

    def __init__(self, services: Services):
        self.services, self.going = services, Going(services)
        self.watched: dict[str, Watched] = {}
        self._watchers: Counter[str] = Counter()  # by run; "" = the list of runs
        self._fresh = self._wanted = asyncio.Event()
        self._task: asyncio.Task | None = None

    async def follow(
        self, run_id: str, known: int, may_still: Callable[[], Awaitable[bool]], whole_list: bool = False
    ) -> AsyncIterator[bytes]:
        """The stream's pieces, until the run has ended or its reader has gone or may no longer read.

        run_id: "" for none. known: how many metric rows the reader has. whole_list: news of the list of runs too; the
        stream then goes on after the run's end.
        """
        reader = Reader(known, whole_list)
        asked = spoke = time.monotonic()
        with self._watching(run_id, whole_list) as watched:
            while True:
                fresh = self._fresh
                async for piece in self._news(watched, reader):
                    yield piece
                    spoke = time.monotonic()
                if watched and watched.moment.state in ENDED_STATES and not whole_list:
                    return
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(fresh.wait(), max(0.0, asked + HEARTBEAT_EVERY - time.monotonic()))
                if (now := time.monotonic()) - asked >= HEARTBEAT_EVERY:
                    if not await may_still():
                        return
                    if now - spoke >= HEARTBEAT_EVERY:
                        yield ALIVE
                    asked = now

    async def _news(self, watched: Watched | None, reader: Reader) -> AsyncIterator[bytes]:
        """What the reader has not been told yet."""
        if watched and watched.moment.events:
            if reader.known < watched.moment.first:
                rows = await to_thread.run_sync(curve_rows, self.services, watched.run_id, reader.known)
                piece = rows_event(reader.known, [json.dumps(row, ensure_ascii=False) for row in rows])
                reader.known += len(rows)
                yield piece.encode()
            moment = watched.moment
            if piece := moment.piece(reader.known, reader.told):
                reader.told |= moment.versions()
                reader.known = max(reader.known, moment.count)
                yield piece
        if reader.whole_list and self.going.text and reader.listed != self.going.version:
            reader.listed = self.going.version
            yield self.going.text.encode()

    @contextmanager
    def _watching(self, run_id: str, whole_list: bool) -> Iterator[Watched | None]:
        """Count a reader in and out; the first one starts the looking, the last one ends it."""
        names = [name for name, wanted in ((run_id, bool(run_id)), ("", whole_list)) if wanted]
        if self._task is None or self._task.done():
            self._fresh, self._wanted = asyncio.Event(), asyncio.Event()
            self._task = asyncio.create_task(self._look_on())
        self._watchers.update(names)
        if run_id and run_id not in self.watched:
            self.watched[run_id] = Watched(self.services, run_id)
            self._wanted.set()
        try:
            yield self.watched.get(run_id)
        finally:
            self._watchers -= Counter(names)  # drops what nobody watches
            if run_id not in self._watchers:
                self.watched.pop(run_id, None)
            if "" not in self._watchers:
                self.going = Going(self.services)  # what it last saw grows old while nobody looks
            if not self._watchers:
                self._task.cancel()
                self._task = None

    async def _look_on(self) -> None:
        """Look once a moment, and at once where somebody watches a run that nobody watched before."""
        while True:
            self._wanted.clear()
            looks = [one.look for one in self.watched.values()]
            if self._watchers[""]:
                looks.append(self.going.look)
            if await to_thread.run_sync(_all, looks):
                for one in self.watched.values():
                    one.show()
                fresh, self._fresh = self._fresh, asyncio.Event()
                fresh.set()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._wanted.wait(), LOOK_EVERY)


def _all(looks: list[Callable[[], bool]]) -> bool:
    """Every look, one after another; whether any found news. One that fails must not blind the others."""
    found = []
    for look in looks:
        try:
            found.append(look())
        except Exception:
            log.exception("a look at a run failed; it is tried again")
    return any(found)
