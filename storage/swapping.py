"""Exchanges database and journal of a data folder for rewritten ones, so that a crash leaves the old or the new pair.

The new files are written into a folder beside them; renaming that folder decides. What is left to do after that
is finished at once, or by the next start. Knows files only, no SQL.
"""

import os
import shutil
from pathlib import Path

from storage.journal import Journal

DATABASE, JOURNAL = "rankloop.duckdb", "journal.jsonl"
WRITING, DECIDED = "rewritten.part", "rewritten"


def staging(folder: Path) -> Path:
    """An empty folder for the new files."""
    path = folder / WRITING
    shutil.rmtree(path, ignore_errors=True)
    path.mkdir(mode=0o700)
    return path


def decide(folder: Path) -> None:
    """From here on the new files hold, whatever happens. Raises FileNotFoundError where one is missing."""
    for name in (DATABASE, JOURNAL):
        _sync(folder / WRITING / name)
    _sync(folder / WRITING)
    os.rename(folder / WRITING, folder / DECIDED)
    _sync(folder)


def finish(folder: Path, journal: Journal) -> Journal:
    """Put decided files in place and forget undecided ones; again is harmless. Returns the journal that holds now.

    Call it while the lock is held and the database is closed. Copies of torn logs hold what the old database held:
    they go, too.
    """
    shutil.rmtree(folder / WRITING, ignore_errors=True)
    new = folder / DECIDED
    if not new.exists():
        return journal
    if (new / DATABASE).exists():
        for log in folder.glob(f"{DATABASE}.wal*"):
            log.unlink()
        os.replace(new / DATABASE, folder / DATABASE)
    if (new / JOURNAL).exists():
        taken = Journal(new / JOURNAL)  # locked before it takes the old one's place
        os.replace(new / JOURNAL, folder / JOURNAL)
        taken.path = folder / JOURNAL
        journal.close()
        journal = taken
    _sync(folder)
    shutil.rmtree(new)
    return journal


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
