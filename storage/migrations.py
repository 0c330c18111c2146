"""Applies the numbered files in schema/ in order, each in one transaction, and remembers them by hash.

It never edits or skips: a database that is newer than the code, or a file that changed after it was
applied, is refused.
"""

import hashlib
from pathlib import Path

import duckdb

SCHEMA = Path(__file__).parent / "schema"


class SchemaRefused(RuntimeError):
    """The database's schema and the files in schema/ do not fit: what was found and what to do."""


def schema_files(folder: Path = SCHEMA) -> list[tuple[int, Path]]:
    """The numbered files, lowest first. Raises SchemaRefused where two carry one number."""
    files = sorted((int(path.name[:3]), path) for path in folder.glob("[0-9][0-9][0-9]_*.sql"))
    numbers = [number for number, _ in files]
    twice = {str(n) for n in numbers if numbers.count(n) > 1}
    if twice:
        raise SchemaRefused(
            f"Two files in {folder} carry the number {', '.join(sorted(twice))}. Renumber the newer one."
        )
    return files


def migrate(connection: duckdb.DuckDBPyConnection, folder: Path = SCHEMA) -> list[str]:
    """Bring the database to the newest schema; return the names of the files applied now."""
    connection.execute(
        "CREATE TABLE IF NOT EXISTS schema_version "
        "(version INTEGER NOT NULL, name VARCHAR NOT NULL, hash VARCHAR NOT NULL, applied TIMESTAMPTZ NOT NULL)"
    )
    rows = connection.execute("SELECT version, name, hash FROM schema_version ORDER BY version").fetchall()
    applied = {version: (name, digest) for version, name, digest in rows}
    files = schema_files(folder)
    _check_fits(applied, files)
    pending = [(number, path) for number, path in files if number not in applied]
    for number, path in pending:
        _apply(connection, number, path)
    return [path.name for _, path in pending]


def _check_fits(applied: dict[int, tuple[str, str]], files: list[tuple[int, Path]]) -> None:
    known = dict(files)
    for version, (name, digest) in applied.items():
        if version not in known:
            raise SchemaRefused(
                f"The database was written by a newer RankLoop (it has {name}; this one knows up to "
                f"{max(known, default=0):03d}). Start the newer version, or restore an older backup."
            )
        if _hash(known[version]) != digest:
            raise SchemaRefused(
                f"{known[version].name} changed after this database applied it. A released schema file is never "
                "edited: put the file back and write the change as the next number."
            )


def _apply(connection: duckdb.DuckDBPyConnection, number: int, path: Path) -> None:
    connection.execute("BEGIN")
    try:
        connection.execute(path.read_text(encoding="utf-8"))
        connection.execute("INSERT INTO schema_version VALUES (?, ?, ?, now())", [number, path.name, _hash(path)])
        connection.execute("COMMIT")
    except BaseException:
        connection.execute("ROLLBACK")
        raise


def _hash(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
