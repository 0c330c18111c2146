"""What people say of a run: a note, tags, its priority in the queue, and that it was deleted.

Marks never touch a run's states or files; deleting the files is pipeline.run_life's business.
"""

import json
from collections.abc import Sequence
from datetime import UTC, datetime

from storage.database import Cursor, Database
from storage.records import Run, require
from storage.runs import UnknownRun, run

LONGEST_NOTE, LONGEST_TAG, MOST_TAGS = 4000, 40, 20


def set_note(db: Database, run_id: str, note: str, by: int | str | None = None) -> Run:
    """Replace the run's note. Raises InvalidRecord where it is too long, UnknownRun."""
    note = note.strip()
    require(len(note) <= LONGEST_NOTE, "note", f"{len(note)} characters", f"at most {LONGEST_NOTE}")
    return _mark(db, run_id, "note", note, by)


def set_tags(db: Database, run_id: str, tags: Sequence[str], by: int | str | None = None) -> Run:
    """Replace the run's tags; each once, without surrounding spaces."""
    kept = list(dict.fromkeys(tag.strip() for tag in tags if tag.strip()))
    require(len(kept) <= MOST_TAGS, "tags", len(kept), f"at most {MOST_TAGS}")
    for tag in kept:
        require(len(tag) <= LONGEST_TAG and "," not in tag, "tags", tag, f"at most {LONGEST_TAG} characters, no comma")
    return _mark(db, run_id, "tags", json.dumps(kept, ensure_ascii=False), by)


def set_priority(db: Database, run_id: str, priority: float, by: int | str | None = None) -> Run:
    """Give a queued run another place: a higher number starts earlier, equal ones in the order of their launch."""
    require(abs(priority) <= 1e6, "priority", priority, "a number from -1000000 to 1000000")
    return _mark(db, run_id, "priority", str(float(priority)), by)


def mark_deleted(db: Database, run_id: str, reason: str, by: int | str | None = None) -> Run:
    """Remember that the run's files are gone, and why; lists leave it out from now on."""
    return _mark(db, run_id, "deleted", reason, by)


def _mark(db: Database, run_id: str, name: str, value: str, by: int | str | None) -> Run:
    if run(db, run_id) is None:
        raise UnknownRun(f"run: found {run_id!r}, expected the id of a run")

    def work(cursor: Cursor) -> None:
        cursor.execute(
            "INSERT INTO run_mark SELECT ?, (SELECT coalesce(max(seq), 0) + 1 FROM run_mark), ?, ?, ?, ?",
            [run_id, name, value, None if by is None else str(by), datetime.now(UTC)],
        )

    db.write(work)
    return run(db, run_id)
