"""What the pool of open tasks reads at start: the tasks that can be claimed, and what was answered of them.

Hundreds of thousands of rows: only what the pool needs of each is asked for. What follows from them is decided in
assignments.py and eligibility.py.
"""

from collections.abc import Iterator

from storage.database import Cursor
from storage.eligibility import PastAnswer
from storage.records import CHECK_PURPOSES, Task


def claimable_tasks(cursor: Cursor) -> dict[int, Task]:
    """Every task with an overlap, by id."""
    rows = cursor.execute(
        "SELECT task_id, campaign_id, prompt_id, completion_ids, overlap, priority, purpose, content_hash "
        "FROM task_now WHERE overlap > 0 ORDER BY task_id"
    ).fetchall()
    return {row[0]: Task(*row[:3], tuple(row[3]), *row[4:]) for row in rows}


def past_answers(cursor: Cursor) -> Iterator[PastAnswer]:
    """The standing answers to those tasks, in the order in which they were stored.

    ranks and created are None but for checks: nobody asks for the others', and making them takes most of the time.
    """
    rows = cursor.execute(
        "SELECT submission_id, task_id, a.campaign_id, person_id, kind, "
        "CASE WHEN a.purpose = ANY($checks) THEN ranks END, status, "
        "CASE WHEN a.purpose = ANY($checks) THEN a.created END, a.purpose, detail "
        "FROM answer_now a JOIN task t USING (task_id) "
        "WHERE t.overlap > 0 AND status <> 'superseded' ORDER BY seq",
        {"checks": list(CHECK_PURPOSES)},
    ).fetchall()
    return map(PastAnswer._make, rows)
