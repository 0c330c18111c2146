"""What was acknowledged comes back, whatever happened to the database file."""

import json
import shutil
import uuid

import pytest

from storage import journal as journal_module
from storage.assignments import Assignments
from storage.database import Database, StorageInterrupted
from storage.journal import Journal
from storage.people import find_or_create
from storage.rankings import answers, submit
from storage.records import Submission
from tests.conftest import make_campaign


@pytest.fixture
def data(tmp_path):
    """A data folder that was closed (so that its tasks are in the main file)."""
    with Database(tmp_path / "data") as database:
        make_campaign(database, tasks=5, overlap=1)
        find_or_create(database, "Ann", "simulated")
    return tmp_path / "data"


def rank(database, pool):
    assignment = pool.claim(1)
    tiers = tuple((completion_id,) for completion_id in assignment.shown)
    return submit(database, pool, 1, Submission(uuid.uuid4().hex, assignment.id, "ranking", tiers))


def crashed_copy(folder, target):
    """The folder as a power cut leaves it: copied while it is open."""
    shutil.copytree(folder, target)
    return target


def test_answers_come_back_without_the_write_ahead_log(data, tmp_path):
    with Database(data) as database:
        pool = Assignments(database)
        given = [rank(database, pool) for _ in range(3)]
        copy = crashed_copy(data, tmp_path / "copy")
    (copy / "rankloop.duckdb.wal").unlink()
    with Database(copy) as again:
        assert answers(again) == given
        assert "3 answers were restored" in again.notices[0]
        assert Assignments(again).remaining(1) == 2


def test_answers_come_back_from_any_cut_of_the_write_ahead_log(data, tmp_path):
    with Database(data) as database:
        pool = Assignments(database)
        given = [rank(database, pool) for _ in range(3)]
        copy = crashed_copy(data, tmp_path / "copy")
    log = (copy / "rankloop.duckdb.wal").read_bytes()
    for cut in range(0, len(log), len(log) // 7):
        trial = crashed_copy(copy, tmp_path / f"cut-{cut}")
        (trial / "rankloop.duckdb.wal").write_bytes(log[:cut])
        with Database(trial) as again:
            assert answers(again) == given


def test_a_torn_last_entry_of_the_write_ahead_log_is_repaired(data, tmp_path):
    with Database(data) as database:
        pool = Assignments(database)
        given = [rank(database, pool) for _ in range(3)]
        copy = crashed_copy(data, tmp_path / "copy")
    path = copy / "rankloop.duckdb.wal"
    log = bytearray(path.read_bytes())
    log[-60:-20] = bytes(40)
    path.write_bytes(bytes(log))
    with Database(copy) as again:
        assert answers(again) == given
        assert any("torn entry" in notice for notice in again.notices)
    assert list(copy.glob("*.wal.torn-*"))


def test_without_their_tasks_the_answers_wait_in_the_journal(data, tmp_path):
    with Database(data) as database:
        given = [rank(database, Assignments(database)) for _ in range(2)]
    backup = crashed_copy(data, tmp_path / "backup")
    (data / "rankloop.duckdb").unlink()
    with Database(data) as empty:
        assert answers(empty) == []
        assert "2 answers in" in empty.notices[0] and "stay in the journal" in empty.notices[0]
        make_campaign(empty, "other", tasks=5, overlap=1)
        find_or_create(empty, "Ann", "simulated")
    with Database(data) as other_tasks:
        assert answers(other_tasks) == []
    shutil.copy(backup / "rankloop.duckdb", data)
    with Database(data) as restored:
        assert answers(restored) == given
        assert restored.notices == []


def test_rows_missing_in_the_journal_are_added_at_start(data):
    with Database(data) as database:
        rank(database, Assignments(database))
    (data / "journal.jsonl").unlink()
    Database(data).close()
    [line] = (data / "journal.jsonl").read_text().splitlines()
    assert json.loads(line)["person"] == "Ann"
    (data / "rankloop.duckdb.wal").unlink(missing_ok=True)
    with Database(data) as again:
        assert again.notices == []


def test_a_line_is_on_the_disk_before_the_answer_is_acknowledged(data, monkeypatch):
    order = []
    monkeypatch.setattr(journal_module.os, "fdatasync", lambda file: order.append("flushed"))
    with Database(data) as database:
        pool = Assignments(database)
        order.clear()
        rank(database, pool)
        assert order == ["flushed"]


def test_a_torn_last_line_is_dropped_and_a_broken_one_reported(data):
    with Database(data) as database:
        pool = Assignments(database)
        given = [rank(database, pool) for _ in range(2)]
    path = data / "journal.jsonl"
    path.write_bytes(b"{broken}\n" + path.read_bytes() + b'{"submission_id": "to')
    with Database(data) as again:
        assert answers(again) == given
        assert "1 lines" in again.notices[0]
    assert path.read_bytes().endswith(b"}\n")


def test_a_full_disk_keeps_the_answer_unacknowledged_and_owed(data, monkeypatch):
    with Database(data) as database:
        pool = Assignments(database)
        assignment = pool.claim(1)
        submission = Submission(uuid.uuid4().hex, assignment.id, "all_bad")

        def full(*_):
            raise OSError(28, "No space left on device")

        with monkeypatch.context() as patch:
            patch.setattr(journal_module.os, "fdatasync", full)
            with pytest.raises(StorageInterrupted, match="No space left"):
                submit(database, pool, 1, submission)
        assert (data / "journal.jsonl").read_bytes() == b""
        assert submit(database, pool, 1, submission).status == "counted"
        assert len((data / "journal.jsonl").read_bytes().splitlines()) == 1


def test_a_journal_has_one_owner(tmp_path):
    journal = Journal(tmp_path / "journal.jsonl")
    with pytest.raises(BlockingIOError):
        Journal(tmp_path / "journal.jsonl")
    journal.close()
    Journal(tmp_path / "journal.jsonl").close()
