"""A campaign's tasks for leads: searched, in pages, with their state; and everything about one task.

What annotators get next is decided in assignments.py; known answers are kept in checks.py.
"""

from dataclasses import dataclass
from datetime import datetime

from storage.database import Database
from storage.details import stored_ranks
from storage.pseudonyms import shown_names
from storage.records import CHECK_PURPOSES, JUDGEMENTS, require
from storage.setups import setup

STATES = ("all", "open", "done", "assigned", "checks", "retired")
MOST = 200  # tasks on one page


@dataclass(frozen=True)
class TaskRow:
    """One line of the list. text: the prompt's last turn; answers: judgements that count, of `overlap`;
    people: the ids of those it is kept for, nobody: all; active: whether a check is shown to annotators."""

    id: int
    prompt_id: str
    text: str
    completions: int
    purpose: str
    priority: float
    overlap: int
    answers: int
    people: tuple[int, ...]
    active: bool
    created: datetime

    @property
    def state(self) -> str:
        """open, done, check or retired."""
        if self.purpose in CHECK_PURPOSES:
            return "check" if self.active else "retired"
        return "done" if self.answers >= self.overlap else "open"


@dataclass(frozen=True)
class TaskPage:
    """A page of tasks, and how many match in all."""

    rows: list[TaskRow]
    total: int
    offset: int


_LISTED = """
    WITH judged AS (
        SELECT task_id, count(DISTINCT person_id) AS answers FROM answer_now
        WHERE campaign_id = $campaign AND status IN ('counted', 'check') AND kind = ANY($kinds) GROUP BY task_id
    ), listed AS (
        SELECT t.task_id, t.prompt_id, p.messages ->> '$[*].content' AS said, len(t.completion_ids) AS completions,
            t.purpose, t.priority, t.overlap, coalesce(j.answers, 0) AS answers, coalesce(a.people, []) AS people,
            coalesce(c.active, false) AS active, t.created, t.purpose IN ('rank', 'compare') AS work
        FROM task_now t JOIN prompt p USING (prompt_id) LEFT JOIN judged j USING (task_id)
        LEFT JOIN task_assignee_now a USING (task_id) LEFT JOIN task_check_now c USING (task_id)
        WHERE t.campaign_id = $campaign AND t.overlap > 0
    ), found AS (
        SELECT * FROM listed WHERE
            list_bool_and([true] || list_transform($words::VARCHAR[],
                lambda w: contains(lower(array_to_string(said, ' ')), w) OR lower(prompt_id) = w))
            AND CASE $state
                WHEN 'open' THEN work AND answers < overlap
                WHEN 'done' THEN work AND answers >= overlap
                WHEN 'assigned' THEN len(people) > 0
                WHEN 'checks' THEN NOT work AND active
                WHEN 'retired' THEN NOT work AND NOT active
                ELSE true END
    )"""


def task_page(
    db: Database, campaign_id: int, words: str = "", state: str = "all", offset: int = 0, limit: int = 25
) -> TaskPage:
    """Tasks whose prompt holds all the words (or has that id), highest priority first, then oldest first.

    state: all, open, done, assigned, checks or retired. Imported rankings' own tasks are not listed.
    Raises InvalidRecord for another state and a wrong range.
    """
    require(state in STATES, "state", state, "one of " + ", ".join(STATES))
    require(offset >= 0 and 1 <= limit <= MOST, "limit", (offset, limit), f"an offset from 0 and 1 to {MOST} tasks")
    given = {"campaign": campaign_id, "kinds": list(JUDGEMENTS), "state": state, "words": words.lower().split()[:20]}
    query = f"""{_LISTED} SELECT task_id, prompt_id, coalesce(said[-1], ''), completions, purpose, priority, overlap,
        answers, people, active, created, count(*) OVER () FROM found
        ORDER BY priority DESC, task_id LIMIT $limit OFFSET $offset"""
    with db.read() as cursor:
        rows = cursor.execute(query, given | {"limit": limit, "offset": offset}).fetchall()
        if not rows and offset:
            total = cursor.execute(f"{_LISTED} SELECT count(*) FROM found", given).fetchall()[0][0]
            return TaskPage([], total, offset)
    made = [TaskRow(*row[:8], tuple(row[8]), *row[9:11]) for row in rows]
    return TaskPage(made, rows[0][11] if rows else 0, offset)


@dataclass(frozen=True)
class TaskAnswer:
    """One answer to a task as a lead reads it; ranks also where ratings or thumbs imply them."""

    submission_id: str
    person_id: int
    name: str
    kind: str
    ranks: tuple[int, ...] | None
    status: str
    reason: str
    seconds: float
    detail: str
    created: datetime


def task_answers(db: Database, task_id: int) -> list[TaskAnswer]:
    """The answers to a task without those that were revised, oldest first; names as the campaign may show them."""
    query = """
        SELECT a.submission_id, a.person_id, p.name, a.kind, a.ranks, a.status, a.reason, a.seconds, a.detail,
            a.created, a.campaign_id, t.completion_ids
        FROM answer_now a JOIN person p USING (person_id) JOIN task t USING (task_id)
        WHERE a.task_id = ? AND a.status <> 'superseded' ORDER BY a.seq"""
    with db.read() as cursor:
        rows = cursor.execute(query, [task_id]).fetchall()
    if not rows:
        return []
    campaign_id, ids = rows[0][10], tuple(rows[0][11])
    overall = setup(db, campaign_id).overall
    names = shown_names(db, campaign_id, {row[1]: row[2] for row in rows})
    made = []
    for submission, person, _, kind, ranks, status, reason, seconds, detail, created, *_ in rows:
        said = tuple(ranks) if ranks else stored_ranks(kind, detail, ids, overall)
        made.append(TaskAnswer(submission, person, names[person], kind, said, status, reason, seconds, detail, created))
    return made


@dataclass(frozen=True)
class AnswerRow:
    """One answer in the list of a campaign's answers; text: the prompt's last turn."""

    submission_id: str
    task_id: int
    person_id: int
    name: str
    kind: str
    status: str
    reason: str
    by: str | None
    seconds: float
    created: datetime
    text: str


def answer_page(
    db: Database, campaign_id: int, person_id: int | None = None, status: str | None = None,
    offset: int = 0, limit: int = 25,
) -> list[AnswerRow]:  # fmt: skip
    """A campaign's answers without those that were revised, newest first; of one person or status where asked."""
    query = """
        SELECT a.submission_id, a.task_id, a.person_id, w.name, a.kind, a.status, a.reason, a.excluded_by, a.seconds,
            a.created, coalesce((p.messages ->> '$[*].content')[-1], '')
        FROM answer_now a JOIN task t USING (task_id) JOIN prompt p USING (prompt_id) JOIN person w USING (person_id)
        WHERE a.campaign_id = $campaign AND a.status <> 'superseded'
            AND ($person IS NULL OR a.person_id = $person) AND ($status IS NULL OR a.status = $status)
        ORDER BY a.seq DESC LIMIT $limit OFFSET $offset"""
    given = {"campaign": campaign_id, "person": person_id, "status": status, "limit": limit, "offset": offset}
    with db.read() as cursor:
        rows = cursor.execute(query, given).fetchall()
    names = shown_names(db, campaign_id, {row[2]: row[3] for row in rows})
    return [AnswerRow(*row[:3], names[row[2]], *row[4:]) for row in rows]
