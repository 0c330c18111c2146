"""Writes a changed copy of the whole database and journal: how something is removed from the files themselves.

DuckDB leaves deleted rows in the blocks of its file, and the journal is append-only; so the change is made in a
transaction that is never committed, what it sees is copied into a new file, and storage/swapping.py exchanges the
files. What is to be changed is the caller's business (storage/erasure.py).
"""

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb

from storage.changes import Cursor
from storage.connection import connect_new
from storage.journal import Journal, lines_of
from storage.migrations import migrate
from storage.swapping import DATABASE, JOURNAL, staging

BATCH_ROWS = 50_000


@dataclass(frozen=True)
class Rewritten:
    """What a change asks for beside its tables: its value, which journal lines go, and the answers whose lines come."""

    value: Any
    forgets: Callable[[bytes], bool]
    adds: Sequence[str] = ()


def write_copy(cursor: Cursor, folder: Path | None, work: Callable[[Cursor], Rewritten]) -> Any:
    """Write the folder's database and journal as they are after `work`; returns its value. The old ones stay.

    A database in memory, without a folder, is changed itself.
    """
    cursor.execute("BEGIN")
    try:
        asked = work(cursor)
        if folder is None:
            cursor.execute("COMMIT")
            return asked.value
        place = staging(folder)
        _copy_tables(cursor, place / DATABASE)
        _copy_journal(cursor, folder / JOURNAL, place / JOURNAL, asked)
    except BaseException:
        with suppress(duckdb.Error):  # the error may have ended the transaction
            cursor.execute("ROLLBACK")
        raise
    cursor.execute("ROLLBACK")
    return asked.value


def _copy_tables(cursor: Cursor, path: Path) -> None:
    names = cursor.execute("SELECT table_name FROM duckdb_tables() WHERE NOT internal ORDER BY 1").fetchall()
    new = connect_new(path)
    try:
        migrate(new)
        new.execute("BEGIN")
        for (name,) in names:
            _copy_table(cursor, new, name)
        new.execute("COMMIT")
        new.execute("CHECKPOINT")
    finally:
        new.close()


def _copy_table(cursor: Cursor, new: duckdb.DuckDBPyConnection, name: str) -> None:
    new.register("copied_rows", cursor.sql(f'SELECT * FROM "{name}"').to_arrow_reader(BATCH_ROWS))
    new.execute(f'DELETE FROM "{name}"')
    new.execute(f'INSERT INTO "{name}" BY NAME SELECT * FROM copied_rows')
    new.unregister("copied_rows")


def _copy_journal(cursor: Cursor, old: Path, path: Path, asked: Rewritten) -> None:
    with old.open("rb") as lines, path.open("xb") as kept:
        kept.writelines(line for line in lines if not asked.forgets(line))
    journal = Journal(path)
    try:
        journal.append(lines_of(cursor, asked.adds))
    finally:
        journal.close()
