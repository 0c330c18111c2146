"""One file with everything, an empty folder filled from it, and a check that all fits together.

A backup is a zip: every table as Parquet (read in one transaction, so they belong to one moment, also while
annotators submit), the journal, the secret, and the run directories without checkpoints. It holds password
hashes and key hashes: keep it as you keep the data folder. Nothing here repairs data.
"""

import io
import json
import os
import shutil
import zipfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath

import pyarrow as pa
import pyarrow.parquet as pq

from storage.database import Database
from storage.deciding import highest_seq

FORMAT = "rankloop-backup-1"
LOOSE_FILES = ("journal.jsonl", "secret")
LEFT_OUT = "checkpoints"  # of each run: large, and of no use once the run has ended
ORPHANS = {
    "answers without their task": "SELECT count(*) FROM answer ANTI JOIN task USING (task_id)",
    "answers without their person": "SELECT count(*) FROM answer ANTI JOIN person USING (person_id)",
    "rankings that do not fit their task": """SELECT count(*) FROM answer a JOIN task t USING (task_id)
        WHERE a.ranks IS NOT NULL AND len(a.ranks) <> len(t.completion_ids)""",
    "person and task answered twice in one revision": """SELECT count(*) FROM (SELECT 1 FROM answer
        WHERE status <> 'excluded' GROUP BY task_id, person_id, revision HAVING count(*) > 1)""",
    "tasks without their prompt": "SELECT count(*) FROM task ANTI JOIN prompt USING (prompt_id)",
    "tasks without their campaign": "SELECT count(*) FROM task ANTI JOIN campaign USING (campaign_id)",
    "tasks without one of their completions": """SELECT count(*) FROM
        (SELECT unnest(completion_ids) AS completion_id FROM task) ANTI JOIN completion USING (completion_id)""",
    "completions without their prompt": "SELECT count(*) FROM completion ANTI JOIN prompt USING (prompt_id)",
    "assignments without their task": "SELECT count(*) FROM assignment_event ANTI JOIN task USING (task_id)",
    "runs without a state": "SELECT count(*) FROM run ANTI JOIN run_event USING (run_id)",
    "run events without their run": "SELECT count(*) FROM run_event ANTI JOIN run USING (run_id)",
    "metrics without their run": "SELECT count(*) FROM run_metric ANTI JOIN run USING (run_id)",
    "versions without the run that made them": """SELECT count(*) FROM model_version v ANTI JOIN run USING (run_id)
        WHERE v.run_id IS NOT NULL""",
    "versions without their parent": """SELECT count(*) FROM model_version v
        LEFT JOIN model_version p ON p.name = v.parent WHERE v.parent IS NOT NULL AND p.name IS NULL""",
    "runs that made two versions": """SELECT count(*) FROM (SELECT 1 FROM model_version
        WHERE run_id IS NOT NULL GROUP BY run_id HAVING count(*) > 1)""",
}


class BackupRefused(RuntimeError):
    """A backup cannot be written or restored: what was found, what was expected."""


def backup(
    database: Database, file: Path, with_runs: bool = True, on_progress: Callable[[str], None] | None = None
) -> dict:
    """Write the zip; returns {"file", "bytes", "tables": {name: rows}, "runs"}. Raises BackupRefused, OSError."""
    if file.exists():
        raise BackupRefused(f"{file}: found a file of that name, expected a new one; choose another name")
    say = on_progress or (lambda message: None)
    partial = file.with_name(f"{file.name}.part")
    directories = _run_directories(database.folder) if with_runs else []
    try:
        descriptor = os.open(partial, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o600)
        with os.fdopen(descriptor, "wb") as raw, zipfile.ZipFile(raw, "w", allowZip64=True) as archive:
            tables, watermark = _write_tables(database, archive, say)
            for name in LOOSE_FILES:
                _add(archive, database.folder / name, name)
            for number, directory in enumerate(directories):
                say(f"adding runs ({number + 1} of {len(directories)}, now {directory.name})")
                _add_run(archive, directory)
            facts = {"format": FORMAT, "created": datetime.now(UTC).isoformat(), "tables": tables}
            facts["watermark"] = watermark
            archive.writestr("backup.json", json.dumps(facts | {"schema": _schema(database)}, indent=1))
        partial.replace(file)
    finally:
        partial.unlink(missing_ok=True)
    _remember(database, file, facts["watermark"])
    return {"file": str(file), "bytes": file.stat().st_size, "tables": tables, "runs": len(directories)}


def restore(file: Path, folder: Path, on_progress: Callable[[str], None] | None = None) -> dict:
    """Fill an empty folder; returns {"file", "tables", "runs"}. Raises BackupRefused, OSError."""
    if folder.exists() and any(folder.iterdir()):
        raise BackupRefused(f"{folder}: found files in it, expected an empty or new data folder; restore elsewhere")
    say = on_progress or (lambda message: None)
    try:
        with zipfile.ZipFile(file) as archive:
            facts = _facts(archive, file)
            folder.mkdir(parents=True, exist_ok=True)
            runs = _extract_files(archive, folder, say)
            with Database(folder) as database:
                _require_schema(database, facts, file)
                _insert_tables(database, archive, facts["tables"], say)
    except zipfile.BadZipFile:
        raise BackupRefused(f"{file}: found no readable zip, expected a file that `backup` wrote") from None
    except BackupRefused:
        if folder.exists():
            shutil.rmtree(folder)  # it was empty before
        raise
    return {"file": str(file), "tables": facts["tables"], "runs": runs}


def backup_files(database: Database) -> list[dict]:
    """The backups that were made of this folder, oldest first: path, watermark (the highest seq of an answer in it),
    size in bytes, created. Some may have been moved or deleted since."""
    with database.read() as cursor:
        query = "SELECT path, watermark, size, created FROM backup_file ORDER BY created"
        return cursor.sql(query).to_arrow_table().to_pylist()


def _remember(database: Database, file: Path, watermark: int) -> None:
    row = [str(file.resolve()), watermark, file.stat().st_size, datetime.now(UTC)]
    database.write(lambda cursor: cursor.execute("INSERT INTO backup_file VALUES (?, ?, ?, ?)", row) and None)


def check(database: Database) -> list[str]:
    """A sentence for each thing that does not fit; an empty list for a sound folder."""
    problems = []
    with database.read() as cursor:
        for what, query in ORPHANS.items():
            [(count,)] = cursor.execute(query).fetchall()
            if count:
                problems.append(f"found {count} {what}, expected none")
    problems += database.notices
    if database.folder is not None:
        problems += _journal_problems(database) + _missing_folders(database)
    return problems


def _journal_problems(database: Database) -> list[str]:
    journalled = set()
    with (database.folder / "journal.jsonl").open("rb") as lines:
        for line in lines:
            try:
                journalled.add(json.loads(line)["submission_id"])
            except (ValueError, KeyError, TypeError):
                continue  # counted in the database's own notices
    with database.read() as cursor:
        stored = {key for (key,) in cursor.execute("SELECT submission_id FROM answer").fetchall()}
    missing = len(stored - journalled)
    return [f"found {missing} answers that the journal lacks, expected none; start RankLoop once"] if missing else []


def _missing_folders(database: Database) -> list[str]:
    with database.read() as cursor:
        rows = cursor.execute("SELECT name, path FROM model_version WHERE run_id IS NOT NULL ORDER BY name").fetchall()
    return [
        f"version {name}: found no folder {path} in the data folder, expected its model; restore it from a backup"
        for name, path in rows
        if not (database.folder / path).is_dir()
    ]


def _write_tables(
    database: Database, archive: zipfile.ZipFile, say: Callable[[str], None]
) -> tuple[dict[str, int], int]:
    """Every table within one transaction: they show one moment. Returns the rows of each, and the watermark."""
    rows = {}
    with database.read() as cursor:
        cursor.execute("BEGIN")
        watermark = highest_seq(cursor)
        names = cursor.execute(
            "SELECT table_name FROM duckdb_tables() WHERE table_name <> 'schema_version' ORDER BY table_name"
        ).fetchall()
        say(f"writing {len(names)} tables")
        for (name,) in names:
            table = cursor.sql(f'SELECT * FROM "{name}"').to_arrow_table()
            buffer = io.BytesIO()
            pq.write_table(table, buffer, compression="zstd")
            archive.writestr(f"tables/{name}.parquet", buffer.getvalue())
            rows[name] = table.num_rows
        cursor.execute("COMMIT")
    return rows, watermark


def _insert_tables(
    database: Database, archive: zipfile.ZipFile, tables: dict[str, int], say: Callable[[str], None]
) -> None:
    """All or nothing: one transaction."""

    def work(cursor) -> None:
        say(f"reading {len(tables)} tables")
        for name, rows in tables.items():
            table = pq.read_table(io.BytesIO(archive.read(f"tables/{name}.parquet")))
            if table.num_rows != rows:
                raise BackupRefused(f"table {name}: found {table.num_rows} rows, expected {rows}; the file is damaged")
            _insert(cursor, name, table)

    database.write(work)


def _insert(cursor, name: str, table: pa.Table) -> None:
    known = {row[0] for row in cursor.execute("SELECT table_name FROM duckdb_tables()").fetchall()}
    if name not in known:
        raise BackupRefused(f"table {name!r}: found in the backup, expected one of {', '.join(sorted(known))}")
    cursor.execute(f'DELETE FROM "{name}"')  # what the journal brought in a moment ago is in the backup, too
    cursor.register("restored_rows", table)
    cursor.execute(f'INSERT INTO "{name}" BY NAME SELECT * FROM restored_rows')
    cursor.unregister("restored_rows")


def _schema(database: Database) -> list[str]:
    with database.read() as cursor:
        return [row[0] for row in cursor.execute("SELECT name FROM schema_version ORDER BY version").fetchall()]


def _require_schema(database: Database, facts: dict, file: Path) -> None:
    here = _schema(database)
    if facts["schema"] != here:
        newest = facts["schema"][-1] if facts["schema"] else "none"
        raise BackupRefused(
            f"{file}: found a backup of schema {newest}, expected {here[-1]}; restore it with the RankLoop that wrote "
            "it, then start this one on the folder, which brings it up to date"
        )


def _facts(archive: zipfile.ZipFile, file: Path) -> dict:
    try:
        facts = json.loads(archive.read("backup.json"))
    except (KeyError, ValueError):
        facts = {}
    if facts.get("format") != FORMAT:
        raise BackupRefused(f"{file}: found format {facts.get('format')!r}, expected {FORMAT!r}, written by `backup`")
    return facts


def _run_directories(folder: Path) -> list[Path]:
    return sorted(path for path in (folder / "runs").glob("[0-9]*") if path.is_dir())


def _add_run(archive: zipfile.ZipFile, directory: Path) -> None:
    for path in sorted(directory.rglob("*")):
        inside = path.relative_to(directory)
        if path.is_file() and inside.parts[0] != LEFT_OUT:
            _add(archive, path, f"runs/{directory.name}/{inside.as_posix()}")


def _add(archive: zipfile.ZipFile, path: Path, name: str) -> None:
    if path.is_file():
        archive.write(path, name, zipfile.ZIP_DEFLATED, compresslevel=1)


def _extract_files(archive: zipfile.ZipFile, folder: Path, say: Callable[[str], None]) -> int:
    """The loose files and run directories; a name that leads out of the folder is refused."""
    runs = set()
    for entry in archive.infolist():
        parts = PurePosixPath(entry.filename).parts
        if not (entry.filename in LOOSE_FILES or parts[0] == "runs"):
            continue
        if ".." in parts or entry.filename.startswith("/"):
            raise BackupRefused(f"entry {entry.filename!r}: found a path out of the folder, expected one inside")
        if parts[0] == "runs" and parts[1] not in runs:
            runs.add(parts[1])
            say(f"restoring {parts[1]}")
        archive.extract(entry, folder)
    if (folder / "secret").exists():
        (folder / "secret").chmod(0o600)
    return len(runs)
