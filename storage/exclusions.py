"""Answers taken out of everything that is computed, and brought back: events with a reason, by a lead or a rule.

Nothing is deleted: the status follows from the newest event (answer_at in schema/005_leads.sql). What an answer is
when it arrives is decided in deciding.py.
"""

from contextlib import nullcontext
from datetime import UTC, datetime

from storage.changes import Pool
from storage.database import Cursor, Database
from storage.deciding import COLUMNS, as_answer, highest_seq
from storage.records import JUDGEMENTS, Answer, require


def exclude(db: Database, submission_id: str, reason: str, by: int | str | None = None) -> Answer:
    """Take an answer out of everything that is computed, with a reason; its place on the task is free again.

    by: a person's id or the name of the rule. Raises InvalidRecord for an unknown answer or an empty reason.
    """
    require(bool(reason.strip()), "reason", reason, "why the answer is excluded")

    def work(cursor: Cursor) -> Answer:
        _existing(cursor, submission_id)
        _insert(cursor, submission_id, reason.strip(), by, "excluded")
        return find_answer(cursor, submission_id)

    return db.write(work, tell=lambda excluded: excluded)


def bring_back(db: Database, pool: Pool | None, submission_id: str, reason: str, by: int | str | None = None) -> Answer:
    """Take an excluded answer in again, whoever or whatever excluded it.

    A judgement counts if its task still has room, else it is surplus; a check measures the annotator again. Raises
    InvalidRecord for an answer that is not excluded and for an empty reason.
    """
    require(bool(reason.strip()), "reason", reason, "why the answer is brought back")
    with db.read() as cursor:
        before = _existing(cursor, submission_id)
    place = pool.storing(before.task_id, before.person_id) if pool else nullcontext(True)
    with place as placed:

        def work(cursor: Cursor) -> Answer:
            found = _existing(cursor, submission_id)
            require(found.status == "excluded", "submission", found.status, "an excluded answer")
            _insert(cursor, submission_id, reason.strip(), by, _becomes(cursor, found, placed))
            return find_answer(cursor, submission_id)

        return db.write(work, tell=lambda back: back)


def find_answer(cursor: Cursor, submission_id: str) -> Answer | None:
    """One answer with its current status."""
    rows = cursor.execute(f"SELECT {COLUMNS} FROM answer_now WHERE submission_id = ?", [submission_id]).fetchall()
    return as_answer(rows[0]) if rows else None


def _becomes(cursor: Cursor, found: Answer, placed: bool) -> str:
    """The status of an answer that comes back. An imported ranking counts whatever the overlap, once per person."""
    if found.purpose != "work":
        return "check"
    if found.kind not in JUDGEMENTS:
        return "counted"
    others, own, overlap = cursor.execute(
        "SELECT count(DISTINCT person_id) FILTER (person_id <> $person), count(*) FILTER (person_id = $person), "
        "(SELECT overlap FROM task WHERE task_id = $task) FROM answer_now "
        "WHERE task_id = $task AND status = 'counted' AND kind = ANY($kinds)",
        {"person": found.person_id, "task": found.task_id, "kinds": list(JUDGEMENTS)},
    ).fetchall()[0]
    imported = found.assignment_id is None
    return "counted" if not own and (imported or (placed and others < overlap)) else "surplus"


def _existing(cursor: Cursor, submission_id: str) -> Answer:
    found = find_answer(cursor, submission_id)
    require(found is not None, "submission", submission_id, "a stored answer")
    return found


def _insert(cursor: Cursor, submission_id: str, reason: str, by: int | str | None, becomes: str) -> None:
    cursor.execute(
        "INSERT INTO answer_exclusion (submission_id, seq, reason, excluded_by, created, becomes) "
        "VALUES (?, ?, ?, ?, ?, ?)",
        [submission_id, highest_seq(cursor) + 1, reason, None if by is None else str(by), datetime.now(UTC), becomes],
    )
