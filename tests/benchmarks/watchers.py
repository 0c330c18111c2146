"""People who watch a run over HTTP, all on one event loop, in a process of its own: the other half of viewers.py.

    python -m tests.benchmarks.watchers SPEC.json

The spec names the port, the run, the way of watching (events or poll), for how many seconds, and a session cookie for
each watcher. Prints a line when all are connected and one when the time is over; then everybody goes on until they
have what the server had at that moment, and one JSON object follows: rows received by all together, rows that somebody
missed, errors, and how late rows came (from the time in the row, in milliseconds).
"""

import asyncio
import json
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from tests.benchmarks.load import Connection, Refused

HOST = "127.0.0.1"
PATIENCE = 30.0  # seconds in which everybody must have what was there when the time was over


class Watcher:
    """One lead who watches the run, in either way, and what they have seen of it."""

    def __init__(self, spec: Mapping, cookie: str):
        self.spec, self.cookie = spec, cookie
        self.steps: list[int] = []
        self.lags: list[float] = []
        self.errors: list[str] = []
        self.begun = False

    async def watch(self) -> None:
        """Watch until cancelled; a failure is noted and ends it."""
        try:
            await (self.follow() if self.spec["way"] == "events" else self.poll())
        except (Refused, OSError, EOFError, ValueError, KeyError) as error:
            self.errors.append(f"{type(error).__name__}: {error}"[:300])

    async def follow(self) -> None:
        """The server-sent events of the Runs page, as a browser reads them."""
        reader, writer = await asyncio.open_connection(HOST, self.spec["port"], limit=1 << 24)
        host, path = f"{HOST}:{self.spec['port']}", f"/api/v1/runs/events?run={self.spec['run']}"
        writer.write(f"GET {path} HTTP/1.1\r\nHost: {host}\r\nCookie: {self.cookie}\r\n\r\n".encode())
        head = await reader.readuntil(b"\r\n\r\n")
        if b" 200 " not in head.split(b"\r\n")[0]:
            raise Refused(head.decode("latin-1").split("\r\n")[0])
        text = b""
        while size := int(await reader.readline(), 16):
            text += await reader.readexactly(size)
            await reader.readline()
            *whole, text = text.split(b"\n\n")
            for one in whole:
                self.event(one.decode())
        raise EOFError("the stream ended")

    def event(self, text: str) -> None:
        """Take in one event; comments are none."""
        self.begun = True
        lines = dict(line.split(": ", 1) for line in text.splitlines() if not line.startswith(":"))
        if lines.get("event") == "rows":
            told = json.loads(lines["data"])
            self.rows(told["from"], told["rows"])

    async def poll(self) -> None:
        """The run and its new rows, once a second."""
        connection = Connection(HOST, self.spec["port"], {"Cookie": self.cookie})
        while True:
            await connection.ask("GET", f"/api/v1/runs/{self.spec['run']}")
            known = len(self.steps)
            self.rows(known, await connection.ask("GET", f"/api/v1/runs/{self.spec['run']}/metrics?after={known}"))
            self.begun = True
            await asyncio.sleep(1.0)

    def rows(self, start: int, rows: list[dict]) -> None:
        """Note what came; the first time it is the run's past, later only news."""
        if start != len(self.steps):
            self.errors.append(f"rows from {start}, expected from {len(self.steps)}")
        if self.begun and rows:
            self.lags.append(1e3 * (time.time() - rows[-1]["time"]))
        self.steps += [row["step"] for row in rows]


def missed(watchers: list[Watcher], there: int) -> int:
    """Of the rows that the server had, how many each lacks or has out of order, added up."""
    return sum(there - sum(step == n + 1 for n, step in enumerate(one.steps[:there])) for one in watchers)


async def rows_there(spec: Mapping) -> int:
    """How many rows the server has now."""
    if not spec["cookies"]:
        return 0
    connection = Connection(HOST, spec["port"], {"Cookie": spec["cookies"][0]})
    there = await connection.ask("GET", f"/api/v1/runs/{spec['run']}/metrics")
    connection.close()
    return len(there)


async def until_all(told: Callable[[], bool], seconds: float) -> None:
    """Return when it is so, or after these seconds."""
    end = time.monotonic() + seconds
    while not told() and time.monotonic() < end:
        await asyncio.sleep(0.05)


async def main(spec: Mapping) -> None:
    """Everybody watches; prints what there is to report."""
    watchers = [Watcher(spec, cookie) for cookie in spec["cookies"]]
    jobs = [asyncio.create_task(one.watch()) for one in watchers]
    await until_all(lambda: all(one.begun or one.errors for one in watchers), PATIENCE)
    await asyncio.sleep(3)  # what opening the connections costs is over
    print("connected", flush=True)
    await asyncio.sleep(spec["seconds"])
    print("over", flush=True)
    there = await rows_there(spec)
    await until_all(lambda: all(len(one.steps) >= there or one.errors for one in watchers), PATIENCE)
    for job in jobs:
        job.cancel()
    lags = [lag for one in watchers for lag in one.lags]
    told = {
        "rows": sum(len(one.steps) for one in watchers),
        "missed": missed(watchers, there),
        "errors": [text for one in watchers for text in one.errors],
        "lag_p95_ms": statistics.quantiles(lags, n=20)[18] if len(lags) > 1 else 0.0,
    }
    print(json.dumps(told))


if __name__ == "__main__":
    asyncio.run(main(json.loads(Path(sys.argv[1]).read_text())))
