"""The load generator: many HTTP annotators on one event loop, in a process of its own, so that no server waits for it.

    python -m tests.benchmarks.load SPEC.json

The spec names the server ("rankloop" or "label-studio", host, port), the headers of each annotator, and for how long
they work with which pause. Prints one JSON object: milliseconds of each submit, acknowledged keys, errors, and the lag
of the event loop itself, which says whether the generator was the bottleneck. Plain sockets: an HTTP library would cost
more than the servers it measures.
"""

import asyncio
import json
import os
import random
import sys
import time
import uuid
from collections.abc import Mapping
from pathlib import Path

TIMEOUT = 60.0


class Refused(Exception):
    """The server answered with something else than success."""


class Connection:
    """One kept-alive HTTP/1.1 connection of one annotator."""

    def __init__(self, host: str, port: int, headers: Mapping[str, str]):
        self.host, self.port = host, port
        lines = {"Host": f"{host}:{port}", "Content-Type": "application/json", "Accept": "application/json", **headers}
        self.head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        self.reader: asyncio.StreamReader | None = None
        self.writer: asyncio.StreamWriter | None = None

    async def ask(self, method: str, path: str, body: object = None) -> object:
        """The JSON that comes back. Raises Refused for an error status, OSError where the connection breaks."""
        if self.writer is None:
            self.reader, self.writer = await asyncio.open_connection(self.host, self.port)
        content = b"" if body is None else json.dumps(body).encode()
        head = f"{method} {path} HTTP/1.1\r\n{self.head}Content-Length: {len(content)}\r\n\r\n"
        self.writer.write(head.encode() + content)
        status, text = await self._read()
        if status >= 400:
            raise Refused(f"{method} {path.split('?')[0]}: {status} {text[:160].decode(errors='replace')}")
        return json.loads(text) if text else None

    async def _read(self) -> tuple[int, bytes]:
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        fields = dict(line.lower().split(": ", 1) for line in head[1:] if ": " in line)
        if "chunked" in fields.get("transfer-encoding", ""):
            body = await self._chunks()
        elif "content-length" in fields:
            body = await self.reader.readexactly(int(fields["content-length"]))
        else:
            body = await self.reader.read()
            fields["connection"] = "close"
        if fields.get("connection") == "close":
            self.close()
        return int(head[0].split(" ")[1]), body

    async def _chunks(self) -> bytes:
        parts = []
        while size := int(await self.reader.readline(), 16):
            parts.append(await self.reader.readexactly(size))
            await self.reader.readline()
        await self.reader.readline()
        return b"".join(parts)

    def close(self) -> None:
        """Break the connection; the next question opens another."""
        if self.writer is not None:
            self.writer.close()
        self.reader = self.writer = None


class RankLoop:
    """One submit is one call: its reply carries the next task."""

    def __init__(self, connection: Connection, spec: Mapping):
        self.connection, self.task = connection, None

    async def begin(self) -> None:
        self.task = self._task(await self.connection.ask("POST", "/rank/next", {}))

    async def submit(self, key: str, seconds: float) -> str:
        """Answer the task with its letters in a random order; returns the key that the server said it saved."""
        letters = [shown["letter"] for shown in self.task["completions"]]
        tiers = [[letter] for letter in random.sample(letters, len(letters))]
        body = {"submission_id": key, "assignment": self.task["assignment"], "kind": "ranking", "tiers": tiers}
        view = await self.connection.ask("POST", "/rank/answer", body | {"seconds": seconds})
        if view.get("saved") != key:
            raise Refused(f"POST /rank/answer: not saved: {view.get('notice')}")
        self.task = self._task(view)
        return key

    def _task(self, view: Mapping) -> Mapping:
        if view["state"] != "task":
            raise Refused(f"no task: {view['state']}")
        return view["task"]


class LabelStudio:
    """One submit is two calls, as its own page makes them: create an annotation, then ask for the next task."""

    def __init__(self, connection: Connection, spec: Mapping):
        self.connection, self.project, self.task = connection, spec["project"], None

    async def begin(self) -> None:
        self.task = await self.connection.ask("GET", f"/api/projects/{self.project}/next")

    async def submit(self, key: str, seconds: float) -> str:
        """Rank the task's items in a random order; returns the id of the annotation."""
        items = [item["id"] for item in self.task["data"]["items"]]
        value = {"ranker": {"rank": random.sample(items, len(items))}}
        result = [{"from_name": "rank", "to_name": "answers", "type": "ranker", "value": value}]
        body = {"result": result, "lead_time": seconds, "project": self.project}
        made = await self.connection.ask("POST", f"/api/tasks/{self.task['id']}/annotations/", body)
        await self.begin()
        return str(made["id"])


KINDS = {"rankloop": RankLoop, "label-studio": LabelStudio}


class Work:
    """What all annotators have done so far."""

    def __init__(self, spec: Mapping):
        self.spec = spec
        self.milliseconds: list[float] = []
        self.acknowledged: list[str] = []
        self.errors: list[str] = []
        self.lags: list[float] = []
        self.end = 0.0

    async def annotate(self, headers: Mapping[str, str]) -> None:
        """One annotator until the time is over; after an error they go on with a fresh task."""
        think = self.spec["think"]
        annotator = KINDS[self.spec["server"]](Connection(self.spec["host"], self.spec["port"], headers), self.spec)
        await asyncio.sleep(random.uniform(0, think or 0.2))
        while time.perf_counter() < self.end:
            try:
                async with asyncio.timeout(TIMEOUT):
                    if annotator.task is None:
                        await annotator.begin()
                pause = random.uniform(0.5, 1.5) * think
                await asyncio.sleep(pause)
                await self.submit(annotator, pause)
            except (Refused, OSError, EOFError, ValueError, KeyError, TimeoutError) as error:
                self.errors.append(f"{type(error).__name__}: {error}"[:300])
                annotator.connection.close()
                annotator.task = None
                await asyncio.sleep(0.1)
        annotator.connection.close()

    async def submit(self, annotator: RankLoop | LabelStudio, pause: float) -> None:
        started = time.perf_counter()
        async with asyncio.timeout(TIMEOUT):
            saved = await annotator.submit(uuid.uuid4().hex, pause)
        self.milliseconds.append((time.perf_counter() - started) * 1e3)
        self.acknowledged.append(saved)

    async def watch(self) -> None:
        """How late the event loop wakes up: what the generator itself adds at most."""
        while time.perf_counter() < self.end:
            asked = time.perf_counter() + 0.01
            await asyncio.sleep(0.01)
            self.lags.append((time.perf_counter() - asked) * 1e3)

    async def run(self) -> dict:
        """Everybody works; returns what there is to report."""
        started = time.perf_counter()
        self.end = started + self.spec["seconds"]
        await asyncio.gather(self.watch(), *(self.annotate(headers) for headers in self.spec["annotators"]))
        used = os.times()
        return {
            "milliseconds": self.milliseconds,
            "acknowledged": self.acknowledged,
            "errors": self.errors,
            "lags": self.lags,
            "seconds": time.perf_counter() - started,
            "cpu": used.user + used.system,
        }


if __name__ == "__main__":
    given = json.loads(Path(sys.argv[1]).read_text())
    random.seed(given.get("seed", 0))
    print(json.dumps(asyncio.run(Work(given).run())))
