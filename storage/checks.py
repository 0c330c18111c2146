"""Tasks with a known answer: training tasks with feedback, the entry test, and gold tasks among the others.

They are tasks like all others, so nobody sees the difference; their answers have the status `check` and measure
the annotator. When one is due is decided in eligibility.py.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from storage.database import Cursor, Database, itself
from storage.records import CHECK_PURPOSES, EVERYBODY, Task, require
from storage.tasks import insert_tasks


@dataclass(frozen=True)
class Check:
    """The known answer to a task: ranks aligned with its completion_ids, 1 = best; None where all are bad."""

    task_id: int
    ranks: tuple[int, ...] | None
    explanation: str = ""
    active: bool = True


def add_check(
    db: Database,
    campaign_id: int,
    prompt_id: str,
    completion_ids: Sequence[int],
    ranks: Sequence[int] | None,
    purpose: str = "gold",
    explanation: str = "",
) -> Task:
    """Open a training, test or gold task, or give the one of these completions another known answer.

    Raises InvalidRecord for completions of another prompt, and for ranks that are not dense or say nothing.
    """
    require(purpose in CHECK_PURPOSES, "purpose", purpose, "one of " + ", ".join(CHECK_PURPOSES))
    if ranks is not None:
        dense = len(ranks) == len(completion_ids) and set(ranks) == set(range(1, max(ranks, default=0) + 1))
        require(dense, "ranks", list(ranks), f"{len(completion_ids)} dense ranks from 1")
        require(len(set(ranks)) > 1, "ranks", list(ranks), "at least one preference; say that all are bad by no ranks")

    def work(cursor: Cursor) -> list:
        draft = Task(0, campaign_id, prompt_id, tuple(completion_ids), EVERYBODY, 0.0, purpose)
        task = insert_tasks(cursor, [draft], None)[0]
        known = None
        if ranks is not None:
            rank_of = dict(zip(completion_ids, ranks, strict=True))
            known = tuple(rank_of[c] for c in task.completion_ids)
        return [task, insert_check(cursor, Check(task.id, known, explanation))]

    return db.write(work, tell=itself)[0]


def retire_check(db: Database, task_id: int) -> Check:
    """Show a check to nobody any more; answers to it stay as they are. Raises InvalidRecord if it is none."""

    def work(cursor: Cursor) -> Check:
        found = find_check(cursor, task_id)
        require(found is not None, "task", task_id, "a training, test or gold task")
        return insert_check(cursor, Check(task_id, found.ranks, found.explanation, False))

    return db.write(work, tell=itself)


def checks(db: Database, campaign_id: int) -> list[tuple[Task, Check]]:
    """A campaign's checks with their tasks, retired ones too, oldest first."""
    with db.read() as cursor:
        rows = cursor.execute(
            "SELECT t.task_id, t.campaign_id, t.prompt_id, t.completion_ids, t.overlap, t.priority, t.purpose, "
            "c.ranks, c.explanation, c.active FROM task_now t JOIN task_check_now c USING (task_id) "
            "WHERE t.campaign_id = ? ORDER BY t.task_id",
            [campaign_id],
        ).fetchall()
    return [(Task(*row[:3], tuple(row[3]), *row[4:7]), check_of(row[0], *row[7:])) for row in rows]


def check(db: Database, task_id: int) -> Check | None:
    """The known answer to a task, None where there is none."""
    with db.read() as cursor:
        return find_check(cursor, task_id)


def check_of(task_id: int, ranks: Sequence[int] | None, explanation: str, active: bool) -> Check:
    """A Check from a stored row."""
    return Check(task_id, None if ranks is None else tuple(ranks), explanation, active)


def agreement(known: Sequence[int] | None, kind: str, ranks: Sequence[int] | None) -> float | None:
    """How far an answer agrees with the known one, 0 to 1; None where it says nothing (skip, can't judge).

    The share of the pairs with a known preference that the answer orders the same way; a tie counts half. Where
    either says that all are bad, or the known one ties all, it is 1 if both do, else 0.
    """
    if kind in ("skip", "cannot_judge"):
        return None
    if known is None or kind == "all_bad":
        return float(known is None and kind == "all_bad")
    if ranks is None:
        return None
    pairs = [(i, j) for i in range(len(known)) for j in range(len(known)) if known[i] < known[j]]
    if not pairs:
        return float(len(set(ranks)) == 1)
    return sum(1.0 if ranks[i] < ranks[j] else 0.5 if ranks[i] == ranks[j] else 0.0 for i, j in pairs) / len(pairs)


def find_check(cursor: Cursor, task_id: int) -> Check | None:
    """`check` within a change."""
    rows = cursor.execute(
        "SELECT task_id, ranks, explanation, active FROM task_check_now WHERE task_id = ?", [task_id]
    ).fetchall()
    return check_of(*rows[0]) if rows else None


def insert_check(cursor: Cursor, known: Check) -> Check:
    """Within a change: what is known of a task from now on."""
    cursor.execute(
        "INSERT INTO task_check SELECT ?, (SELECT coalesce(max(seq), 0) + 1 FROM task_check), ?, ?, ?, ?",
        [
            known.task_id,
            None if known.ranks is None else list(known.ranks),
            known.explanation,
            known.active,
            datetime.now(UTC),
        ],
    )
    return known
