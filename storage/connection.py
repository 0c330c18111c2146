"""Opens the DuckDB file of a data folder: alone, hardened, and with a plain sentence where it does not open.

It repairs one kind of damage, a write-ahead log whose last entry was torn by a power cut: the log is copied
aside and cut before that entry; the journal brings back the answers after it. It changes no other file.
"""

import os
import re
import shutil
import time
from contextlib import suppress
from json import JSONDecodeError, loads
from pathlib import Path

import duckdb

from storage.journal import Journal
from storage.swapping import DATABASE, JOURNAL

SERVER = "server.json"
TORN_LOG = re.compile(r"Corrupt WAL file: entry at byte position (\d+)")


class DatabaseInUse(RuntimeError):
    """Another process holds the data folder; the message says which, from server.json where there is one."""


class DatabaseDamaged(RuntimeError):
    """The database file does not open; the message says what DuckDB found and what to do."""


def lock_folder(folder: Path) -> Journal:
    """Make the folder if need be and take its lock, which is on the journal. Raises DatabaseInUse."""
    folder.mkdir(parents=True, exist_ok=True)
    try:
        return Journal(folder / JOURNAL)
    except BlockingIOError:
        raise DatabaseInUse(_who_holds(folder)) from None


def connect(folder: Path | None, notices: list[str]) -> duckdb.DuckDBPyConnection:
    """A hardened connection to the folder's database, or to a new one in memory; repairs go into `notices`."""
    if folder is None:
        return _harden(duckdb.connect(":memory:", config=_limits()), None)
    try:
        connection = _connect_to(folder / DATABASE)
    except duckdb.Error as error:
        if "Conflicting lock" in str(error):
            raise DatabaseInUse(_who_holds(folder)) from None
        torn = TORN_LOG.search(str(error))
        if not torn:
            raise DatabaseDamaged(_how_to_recover(folder, error)) from error
        notices.append(_cut_log(folder, int(torn[1])))
        try:
            connection = _connect_to(folder / DATABASE)
        except duckdb.Error as again:
            raise DatabaseDamaged(_how_to_recover(folder, again)) from again
    return _harden(connection, folder)


def connect_new(path: Path) -> duckdb.DuckDBPyConnection:
    """A hardened connection to a database file that is not there yet."""
    return _harden(_connect_to(path), path.parent)


def _connect_to(path: Path) -> duckdb.DuckDBPyConnection:
    scratch = path.parent / "tmp"
    return duckdb.connect(str(path), config={**_limits(), "temp_directory": str(scratch)})


def _limits() -> dict[str, str | int | bool]:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "memory_limit": f"{min(4 << 30, memory // 4) >> 20}MiB",
        "threads": min(4, os.cpu_count() or 1),
        "autoload_known_extensions": False,
        "autoinstall_known_extensions": False,
    }


def _harden(connection: duckdb.DuckDBPyConnection, folder: Path | None) -> duckdb.DuckDBPyConnection:
    """No SQL text may reach files, the network or Python variables; the order of these settings matters."""
    connection.execute("SET GLOBAL TimeZone = 'UTC'")
    if folder is not None:
        reachable = str(folder.resolve() / "exchange").replace("'", "''")
        connection.execute(f"SET allowed_directories = ['{reachable}/']")  # for backups; SET takes no parameters
    connection.execute("SET python_enable_replacements = false")
    connection.execute("SET enable_external_access = false")
    connection.execute("SET lock_configuration = true")
    return connection


def _who_holds(folder: Path) -> str:
    server = None
    with suppress(OSError, JSONDecodeError):
        server = loads((folder / SERVER).read_text(encoding="utf-8"))
    if isinstance(server, dict) and "pid" in server:
        return (
            f"The data folder {folder} is in use by process {server['pid']}, which serves {server.get('url')}. "
            "Use that server, or stop it first."
        )
    return f"The data folder {folder} is in use by another process. Wait until it has ended, or stop it first."


def _cut_log(folder: Path, position: int) -> str:
    wal = folder / f"{DATABASE}.wal"
    kept = folder / f"{DATABASE}.wal.torn-{int(time.time())}"
    shutil.copy2(wal, kept)
    with wal.open("r+b") as file:
        file.truncate(position)
        os.fsync(file.fileno())
    return (
        f"The write-ahead log ended in a torn entry (a power cut). It was cut at byte {position}; "
        f"the log as it was is {kept.name}."
    )


def _how_to_recover(folder: Path, error: duckdb.Error) -> str:
    path = folder / DATABASE
    return (
        f"The database {path} does not open: {error}\n"
        f"Every acknowledged answer is in {folder / JOURNAL}. Move {path.name} and {path.name}.wal aside, "
        "restore the newest backup, and start again: the answers made since are added from the journal. "
        "Without a backup RankLoop starts empty and the answers wait in the journal."
    )
