"""The one connection: groups, isolation of what fails, the folder's lock, reopening, closing."""

import json
import os
import subprocess
import sys
import threading

import duckdb
import pytest

from storage.database import Database, DatabaseDamaged, DatabaseInUse, StorageInterrupted


def insert(value):
    def work(cursor):
        cursor.execute("INSERT INTO note VALUES (?)", [value])
        return value

    return work


def stored(database):
    with database.read() as cursor:
        return sorted(row[0] for row in cursor.execute("SELECT n FROM note").fetchall())


@pytest.fixture
def notes(db):
    db.write(lambda cursor: cursor.execute("CREATE TABLE note (n INTEGER PRIMARY KEY)").fetchall())
    return db


def in_one_group(database, works):
    """Hand in all works while the writer is busy, so that they share a transaction; values or errors, in order."""
    busy, go, outcomes = threading.Event(), threading.Event(), [None] * len(works)

    def block(cursor):
        busy.set()
        go.wait(5)

    def send(index, work):
        try:
            outcomes[index] = database.write(work)
        except Exception as error:
            outcomes[index] = error

    blocker = threading.Thread(target=database.write, args=(block,))
    blocker.start()
    busy.wait(5)
    threads = [threading.Thread(target=send, args=pair) for pair in enumerate(works)]
    for thread in threads:
        thread.start()
    while database._changes.qsize() < len(works):
        pass
    go.set()
    for thread in [*threads, blocker]:
        thread.join(5)
    return outcomes


def test_write_returns_after_the_commit(notes):
    assert notes.write(insert(1)) == 1
    assert stored(notes) == [1]


def test_one_failing_change_does_not_take_its_group_along(notes):
    outcomes = in_one_group(notes, [insert(1), insert(2), insert(2), insert(3)])
    assert stored(notes) == [1, 2, 3]
    assert sum(isinstance(outcome, duckdb.ConstraintException) for outcome in outcomes) == 1


def test_a_python_error_in_a_change_rolls_it_back_and_reaches_its_caller(notes):
    def work(cursor):
        insert(7)(cursor)
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        notes.write(work)
    assert stored(notes) == []


def test_waiting_changes_share_one_transaction(notes):
    ids = in_one_group(notes, [lambda cursor: cursor.execute("SELECT txid_current()").fetchall()] * 5)
    assert ids == ids[:1] * 5


def test_joined_changes_get_their_items_together_and_errors_apart(notes):
    groups = []

    def work(cursor, items):
        groups.append(list(items))
        return [ValueError(item) if item < 0 else item * 10 for item in items]

    assert notes.join(work, 4) == 40
    with pytest.raises(ValueError):
        notes.join(work, -1)
    assert groups == [[4], [-1]]


def test_a_change_inside_a_change_is_refused(notes):
    with pytest.raises(RuntimeError, match="inside a change"):
        notes.write(lambda cursor: notes.write(insert(1)))


def test_readers_in_many_threads_see_whole_changes(notes):
    errors = []

    def read():
        for _ in range(30):
            with notes.read() as cursor:
                count = cursor.execute("SELECT count(*) FROM note").fetchall()[0][0]
                if count % 2:
                    errors.append(count)

    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    for n in range(0, 60, 2):
        notes.write(lambda cursor, n=n: [insert(n)(cursor), insert(n + 1)(cursor)])
    for thread in threads:
        thread.join()
    assert errors == []


def test_a_second_database_on_the_folder_is_refused_by_name(tmp_path):
    with Database(tmp_path):
        (tmp_path / "server.json").write_text(json.dumps({"pid": 4711, "url": "http://127.0.0.1:7860"}))
        with pytest.raises(DatabaseInUse, match=r"4711.*http://127.0.0.1:7860"):
            Database(tmp_path)
    Database(tmp_path).close()


def test_another_process_is_refused(tmp_path):
    code = "import sys; from storage.database import Database; Database(__import__('pathlib').Path(sys.argv[1]))"
    with Database(tmp_path):
        other = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, timeout=60)
    assert other.returncode != 0
    assert "DatabaseInUse" in other.stderr


@pytest.mark.parametrize(
    "query",
    [
        "SELECT * FROM read_text('/etc/passwd')",
        "COPY (SELECT 1) TO '/tmp/rankloop-leak.csv'",
        "ATTACH '/tmp/rankloop-other.duckdb'",
        "INSTALL httpfs",
        "SET enable_external_access = true",
        "SELECT * FROM secret_rows",
    ],
)
def test_sql_reaches_neither_files_nor_settings_nor_variables(folder_db, query):
    secret_rows = [("hidden",)]
    assert secret_rows
    with folder_db.read() as cursor, pytest.raises(duckdb.Error):
        cursor.execute(query)


def test_a_fatal_error_reopens_the_database_and_keeps_what_was_stored(folder_db):
    folder_db.write(lambda cursor: cursor.execute("CREATE TABLE note (n INTEGER PRIMARY KEY)").fetchall())
    folder_db.write(insert(1))

    def fatal(cursor):
        raise duckdb.FatalException("database has been invalidated")

    with pytest.raises(StorageInterrupted, match="room"):
        folder_db.write(fatal)
    folder_db.write(insert(2))
    assert stored(folder_db) == [1, 2]


def test_a_file_that_does_not_open_says_what_to_do(tmp_path):
    Database(tmp_path).close()
    path = tmp_path / "rankloop.duckdb"
    path.write_bytes(b"x" * path.stat().st_size)
    with pytest.raises(DatabaseDamaged, match=r"journal\.jsonl.*backup"):
        Database(tmp_path)


def test_after_close_everything_is_refused(tmp_path):
    database = Database(tmp_path)
    database.close()
    database.close()
    with pytest.raises(StorageInterrupted):
        database.write(lambda cursor: None)
    with pytest.raises(StorageInterrupted), database.read():
        pass


def test_what_waits_is_finished_before_the_database_closes(tmp_path):
    database = Database(tmp_path)
    database.write(lambda cursor: cursor.execute("CREATE TABLE note (n INTEGER)").fetchall())
    threads = [threading.Thread(target=database.write, args=(insert(n),)) for n in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    database.close()
    with Database(tmp_path) as again:
        assert stored(again) == list(range(20))


KILLED = """
import sys
from pathlib import Path
from storage.database import Database
database = Database(Path(sys.argv[1]))
database.write(lambda cursor: cursor.execute("CREATE TABLE IF NOT EXISTS note (n INTEGER)").fetchall())
for n in range(100_000):
    database.write(lambda cursor: cursor.execute("INSERT INTO note VALUES (?)", [n]).fetchall())
    print(n, flush=True)
"""


def test_nothing_acknowledged_is_lost_when_the_process_is_killed(tmp_path):
    writer = subprocess.Popen([sys.executable, "-c", KILLED, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    told = [int(writer.stdout.readline()) for _ in range(50)]
    os.kill(writer.pid, 9)
    told += [int(line) for line in writer.stdout.read().rpartition("\n")[0].split()]  # the last line may be torn
    writer.wait()
    with Database(tmp_path) as again:
        assert set(told) <= set(stored(again))


FULL_DISK = """
import resource, signal, sys
from pathlib import Path
from storage import connection
from storage.database import Database, StorageInterrupted
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # a file that may not grow fails like a full disk
limits = connection._limits()
connection._limits = lambda: {**limits, "checkpoint_threshold": "200KiB"}
database = Database(Path(sys.argv[1]))
database.write(lambda cursor: cursor.execute("CREATE TABLE note (n INTEGER, t VARCHAR)").fetchall())
resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, resource.RLIM_INFINITY))
text = "SELECT ?, string_agg(md5(random()::VARCHAR), '') FROM range(1500)"
for n in range(60):
    if n == 45:
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    try:
        database.write(lambda cursor: cursor.execute("INSERT INTO note " + text, [n]).fetchall())
        print(n)
    except StorageInterrupted:
        pass
database.close()
"""


def test_a_full_disk_refuses_loses_nothing_and_recovers(tmp_path):
    done = subprocess.run([sys.executable, "-c", FULL_DISK, str(tmp_path)], capture_output=True, text=True, timeout=120)
    told = [int(line) for line in done.stdout.split()]
    assert "autocheckpoint failed" in done.stderr
    assert 0 < len(told) < 60 and told[-1] == 59
    with Database(tmp_path) as again:
        assert stored(again) == told
