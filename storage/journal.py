"""The journal of acknowledged answers: one JSON object per line, on the disk before anybody is told "saved".

It exists because a power cut inside a checkpoint can leave a DuckDB file that does not open, or a write-ahead
log that is cut short. It holds answers only; people, prompts and tasks come back from backups and imports.
Its file lock also keeps a second process out of the data folder.
"""

import fcntl
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import duckdb
import pyarrow as pa

ANSWER_SCHEMA = pa.schema(
    {
        "submission_id": pa.string(),
        "seq": pa.int64(),
        "task_id": pa.int64(),
        "campaign_id": pa.int32(),
        "person_id": pa.int32(),
        "assignment_id": pa.string(),
        "kind": pa.string(),
        "ranks": pa.list_(pa.int8()),
        "shown": pa.list_(pa.int64()),
        "seconds": pa.float64(),
        "guidelines_version": pa.int32(),
        "status": pa.string(),
        "reason": pa.string(),
        "revision": pa.int32(),
        "created": pa.timestamp("us", tz="UTC"),
        "purpose": pa.string(),
        "detail": pa.string(),
    }
)
LATER = {"purpose": "work", "detail": "{}"}  # columns that lines of older versions lack
WITNESSES = ("content_hash", "person")  # what a line knows of its task and person, to be sure they are the same ones


class Journal:
    """One open, locked journal file. Not thread-safe: only the writer thread appends."""

    def __init__(self, path: Path):
        """Open and lock. Raises BlockingIOError while another process (or this one) holds it, or replaces it."""
        self.path = path
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if not os.path.samestat(os.fstat(self._file), os.stat(path)):
                raise BlockingIOError(f"{path} was replaced while it was opened")
        except OSError:
            os.close(self._file)
            raise
        self._owed: list[bytes] = []
        self._drop_torn_line()

    def append(self, lines: Sequence[Mapping]) -> None:
        """Write the lines and wait until the disk has them.

        After an error (a full disk) the lines are owed and written before the next ones.
        """
        self._owed += [json.dumps(line, ensure_ascii=False, default=_plain).encode() + b"\n" for line in lines]
        if not self._owed:
            return
        end = os.lseek(self._file, 0, os.SEEK_END)
        try:
            rest = memoryview(b"".join(self._owed))
            while rest:
                rest = rest[os.write(self._file, rest) :]
            os.fdatasync(self._file)
        except OSError:
            os.ftruncate(self._file, end)  # no torn line in the middle of the file
            raise
        self._owed = []

    def read(self) -> tuple[dict[str, dict], int]:
        """All answers by submission id, and how many lines could not be read."""
        lines, unreadable = {}, 0
        with self.path.open("rb") as file:
            for text in file:
                try:
                    line = LATER | json.loads(text)
                    lines[line["submission_id"]] = line
                except (ValueError, KeyError, TypeError):
                    unreadable += 1
        return lines, unreadable

    def close(self) -> None:
        """Close and unlock."""
        os.close(self._file)

    def _drop_torn_line(self) -> None:
        size = os.lseek(self._file, 0, os.SEEK_END)
        position, whole = size, 0
        while position > 0 and not whole:
            start = max(0, position - 65_536)
            found = os.pread(self._file, position - start, start).rfind(b"\n")
            whole = start + found + 1 if found >= 0 else 0
            position = start
        if whole < size:
            os.ftruncate(self._file, whole)


@dataclass(frozen=True)
class Replay:
    """What start-up found: answers restored to the database, lines added to the journal, lines still waiting."""

    restored: int = 0
    journalled: int = 0
    pending: int = 0
    unreadable: int = 0


def replay(connection: duckdb.DuckDBPyConnection, journal: Journal) -> Replay:
    """Make database and journal hold the same answers.

    A line whose task or person the database does not know (or knows as another one) waits in the journal.
    """
    lines, unreadable = journal.read()
    stored = {row[0] for row in connection.execute("SELECT submission_id FROM answer").fetchall()}
    lost = [line for key, line in lines.items() if key not in stored]
    fitting = _fitting(connection, lost) if lost else []
    if fitting:
        _insert(connection, fitting)
    unwritten = [key for key in stored if key not in lines]
    if unwritten:
        journal.append(lines_of(connection, unwritten))
    return Replay(len(fitting), len(unwritten), len(lost) - len(fitting), unreadable)


def _fitting(connection: duckdb.DuckDBPyConnection, lines: list[dict]) -> list[dict]:
    people = dict(connection.execute("SELECT person_id, name FROM person").fetchall())
    tasks = dict(connection.execute("SELECT task_id, content_hash FROM task").fetchall())
    complete = [line for line in lines if {*ANSWER_SCHEMA.names, *WITNESSES} <= line.keys()]
    return [
        line
        for line in complete
        if people.get(line["person_id"]) == line["person"] and tasks.get(line["task_id"]) == line["content_hash"]
    ]


def _insert(connection: duckdb.DuckDBPyConnection, lines: list[dict]) -> None:
    rows = [{**line, "created": datetime.fromisoformat(line["created"])} for line in lines]
    columns = ", ".join(ANSWER_SCHEMA.names)
    connection.register("journal_lines", pa.Table.from_pylist(rows, schema=ANSWER_SCHEMA))
    connection.execute(f"INSERT INTO answer ({columns}) SELECT {columns} FROM journal_lines ORDER BY seq")
    connection.unregister("journal_lines")


def lines_of(connection: duckdb.DuckDBPyConnection, submission_ids: Sequence[str]) -> list[dict]:
    """The journal lines of stored answers, in the order of their seq."""
    table = connection.sql(
        "SELECT a.*, t.content_hash, p.name AS person FROM answer a LEFT JOIN task t USING (task_id) "
        "LEFT JOIN person p ON p.person_id = a.person_id "
        "WHERE submission_id IN (SELECT unnest($ids)) ORDER BY seq",
        params={"ids": list(submission_ids)},
    ).to_arrow_table()
    return table.to_pylist()


def _plain(value: object) -> str:
    if isinstance(value, datetime):
        return value.isoformat()
    raise TypeError(f"{type(value).__name__} has no place in the journal")
