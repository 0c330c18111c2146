"""One look per moment for everybody who watches a run: what each gets, when it ends, and what it costs."""

import asyncio
import json
from concurrent.futures import ThreadPoolExecutor

import pytest

from storage import runs
from tests.ui.leads import HOSTILE, new_run, new_services
from ui import run_looks, run_streams
from ui.run_looks import Watched
from ui.run_streams import Streams


@pytest.fixture
def services(tmp_path, monkeypatch):
    monkeypatch.setattr(run_streams, "LOOK_EVERY", 0.01)
    made = new_services(tmp_path)
    yield made
    made.close()


def finished(work):
    """What a coroutine gives, in a thread of its own: a browser of another test may have a loop in this one."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, work).result()


async def always() -> bool:
    return True


async def never() -> bool:
    return False


def add(services, run, *steps: int) -> None:
    """Metric rows taken in, as the monitor does it."""
    offset = runs.metrics_offset(services.database, run.id) + 10
    runs.add_metrics(services.database, run.id, [{"step": step} for step in steps], offset)


def told(pieces: list[bytes]) -> list[tuple[str, dict]]:
    """(name, data) of every event."""
    found = []
    for part in b"".join(pieces).decode().strip().split("\n\n"):
        lines = dict(line.split(": ", 1) for line in part.splitlines() if not line.startswith(":"))
        if "event" in lines:
            found.append((lines["event"], json.loads(lines["data"])))
    return found


def steps_of(pieces: list[bytes]) -> list[int]:
    return [row["step"] for name, data in told(pieces) if name == "rows" for row in data["rows"]]


async def read(stream, enough) -> list[bytes]:
    """The pieces until there are enough of them, or the stream ends."""
    pieces = []
    async for piece in stream:
        pieces.append(piece)
        if enough(pieces):
            break
    await stream.aclose()
    return pieces


def test_everybody_gets_every_row_once_from_one_look(services, monkeypatch):
    run = new_run(services)
    add(services, run, 1, 2, 3)
    looks, usual = [], run_looks.run
    monkeypatch.setattr(run_looks, "run", lambda *given: looks.append(given) or usual(*given))

    async def everybody() -> list[list[bytes]]:
        streams = Streams(services)
        readers = [read(streams.follow(run.id, n % 4, always), lambda p: b"event: end" in p[-1]) for n in range(40)]

        async def grow() -> None:
            for step in range(4, 9):
                await asyncio.sleep(0.02)
                await asyncio.to_thread(add, services, run, step)
            await asyncio.to_thread(runs.set_state, services.database, run.id, "failed", "no")

        *found, _ = await asyncio.gather(*readers, grow())
        assert streams.watched == {} and streams._task is None
        return found

    for number, pieces in enumerate(finished(everybody())):
        assert steps_of(pieces) == list(range(number % 4 + 1, 9))
        assert [name for name, _ in told(pieces)][-1] == "end"
    assert len(looks) < 40  # of a kind that each reader alone would have needed at every moment


def test_who_is_further_behind_than_what_is_held_reads_the_rest_from_storage(services, monkeypatch):
    monkeypatch.setattr(run_looks, "HELD", 3)
    run = new_run(services)
    watched = Watched(services, run.id)
    watched.look()
    for step in range(1, 11):
        add(services, run, step)
        watched.look()
    watched.show()
    assert (watched.moment.first, watched.moment.count) == (7, 10)
    runs.set_state(services.database, run.id, "failed")
    pieces = finished(read(Streams(services).follow(run.id, 2, always), lambda p: False))
    assert steps_of(pieces) == list(range(3, 11))


def test_a_number_of_rows_beyond_what_there_is_spoils_nobody_elses_stream(services):
    run = new_run(services)
    add(services, run, 1, 2)
    runs.set_state(services.database, run.id, "cancelled")

    async def both() -> list:
        streams = Streams(services)
        streams_of = [streams.follow(run.id, known, always) for known in (10**12, 0)]
        return await asyncio.gather(*(read(one, lambda p: False) for one in streams_of))

    liar, honest = finished(both())
    assert steps_of(liar) == [] and steps_of(honest) == [1, 2]


def test_the_role_is_asked_again_although_there_is_news_all_the_time(services, monkeypatch):
    monkeypatch.setattr(run_streams, "HEARTBEAT_EVERY", 0.05)
    run, pieces = new_run(services), []

    async def may_until_there_was_news() -> bool:
        return len(steps_of(pieces)) < 3

    async def busy() -> None:
        async def grow() -> None:
            step = 0
            while True:
                step += 1
                await asyncio.to_thread(add, services, run, step)

        growing = asyncio.create_task(grow())
        async for piece in Streams(services).follow(run.id, 0, may_until_there_was_news):
            pieces.append(piece)
        growing.cancel()

    finished(busy())  # it ends by itself, although rows go on coming
    assert "end" not in [name for name, _ in told(pieces)]


def test_a_quiet_stream_is_kept_open_by_comments(services, monkeypatch):
    monkeypatch.setattr(run_streams, "HEARTBEAT_EVERY", 0.05)
    run = new_run(services)
    stream = Streams(services).follow(run.id, 0, always)
    pieces = finished(read(stream, lambda p: p[-1] == run_streams.ALIVE))
    assert pieces[-1].startswith(b": ")


def test_the_list_is_told_when_any_run_changes_and_goes_on_after_the_runs_end(services, monkeypatch):
    monkeypatch.setattr(run_looks, "LIST_EVERY", 0.0)
    run = new_run(services)
    runs.set_state(services.database, run.id, "cancelled")

    def told_of_another(pieces: list[bytes]) -> bool:
        if len(runs.runs(services.database)) == 1:
            new_run(services)
        return any(data.get("going") for name, data in told(pieces) if name == "runs")

    pieces = finished(read(Streams(services).follow(run.id, 0, always, whole_list=True), told_of_another))
    names = [name for name, _ in told(pieces)]
    assert "end" in names and names[-1] == "runs"


def test_a_page_without_a_run_hears_of_the_list(services):
    stream = Streams(services).follow("", 0, always, whole_list=True)
    [piece] = finished(read(stream, lambda p: True))
    assert told([piece])[0] == ("runs", {"changes": 0, "going": []})


def test_a_look_that_fails_blinds_nobody_else(services, monkeypatch, caplog):
    good = new_run(services)
    runs.set_state(services.database, good.id, "failed")

    async def both() -> list[bytes]:
        streams = Streams(services)
        broken = asyncio.create_task(read(streams.follow("0099-none", 0, always), lambda p: False))
        await asyncio.sleep(0.05)
        pieces = await read(streams.follow(good.id, 0, always), lambda p: False)
        broken.cancel()
        return pieces

    assert [name for name, _ in told(finished(both()))] == ["run", "log", "end"]
    assert "a look at a run failed" in caplog.text


def test_hostile_lines_of_a_log_stay_one_event(services):
    run = new_run(services)
    (services.directory(run) / "log.txt").write_text(f"first\n\nevent: end\ndata: {{}}\n\n{HOSTILE}\n")
    runs.set_state(services.database, run.id, "failed")
    events = told(finished(read(Streams(services).follow(run.id, 0, always), lambda p: False)))
    assert [name for name, _ in events] == ["run", "log", "end"]
    assert HOSTILE in dict(events)["log"]["tail"]
