"""Answers: submit, revise, import, and read back as records or as an Arrow table.

An answer is committed and journalled before these functions return. It is never changed or deleted: a revision
is a new row, an exclusion an event (exclusions.py), and the status is derived from all of them (answer_at in
schema/005_leads.sql).
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace

import duckdb
import pyarrow as pa

from storage.assignments import Assignments
from storage.changes import Pool
from storage.database import Database
from storage.deciding import (
    COLUMNS,
    AlreadyAnswered,
    CampaignClosed,
    Decided,
    Draft,
    Facts,
    SubmissionConflict,
    UnknownAssignment,
    as_answer,
    decide,
    highest_seq,
)
from storage.details import stored_ranks
from storage.exclusions import exclude, find_answer
from storage.forms import check
from storage.leases import find_assignment
from storage.members import set_annotator_state
from storage.records import JUDGEMENTS, Answer, Submission, Task, require
from storage.setups import Setup, from_json, setup
from storage.tasks import task as find_task

__all__ = [
    "AlreadyAnswered",
    "CampaignClosed",
    "SubmissionConflict",
    "UnknownAssignment",
    "add_imported",
    "answer",
    "answer_table",
    "answers",
    "exclude",
    "revise",
    "submit",
    "watermark",
]


def submit(db: Database, pool: Assignments, person_id: int, submission: Submission) -> Answer:
    """Store the answer to an assignment, exactly once, also after its lease ended.

    The same submission again returns the stored answer. A judgement counts if its lease lives or there is still
    room on the task, else it is surplus. Raises UnknownAssignment, AlreadyAnswered, SubmissionConflict, and
    InvalidRecord where the tiers do not hold exactly the task's completions.
    """
    assignment = pool.live(submission.assignment_id) or find_assignment(db, submission.assignment_id)
    if assignment is None or assignment.person_id != person_id:
        raise UnknownAssignment(
            f"assignment: found {submission.assignment_id}, expected one of your own. Claim a task."
        )
    task = pool.task(assignment.task_id) or find_task(db, assignment.task_id)
    check(submission, pool.setup(task.campaign_id), task.completion_ids)
    draft = _draft(person_id, submission, task, assignment.id, assignment.shown)
    stored = _send(db, pool, replace(draft, purpose=assignment.purpose, facts=_facts(pool, task)))
    _follow_rules(db, pool, stored)
    return stored


def revise(db: Database, person_id: int, submission_id_of_previous: str, submission: Submission) -> Answer:
    """Replace one's newest answer to a task by another; the history stays.

    The same submission again returns the stored answer. A revised answer keeps its place on the task; one that did
    not count takes a place if there is room. The submission's assignment is not looked at: the previous one's holds.
    Raises UnknownAssignment for an answer that is not one's own, SubmissionConflict, CampaignClosed, InvalidRecord.
    """
    previous = answer(db, submission_id_of_previous)
    if previous is None or previous.person_id != person_id:
        raise UnknownAssignment(f"submission: found {submission_id_of_previous}, expected an answer of your own.")
    task = find_task(db, previous.task_id)
    check(submission, setup(db, task.campaign_id), task.completion_ids)
    draft = _draft(person_id, submission, task, previous.assignment_id, previous.shown)
    return _send(db, db.pool, replace(draft, revises=previous.submission_id, purpose=previous.purpose))


def _facts(pool: Assignments, task: Task) -> Facts | None:
    """What the pool knows of a task, so that deciding need not read it."""
    campaign, known = pool.campaign(task.campaign_id), pool.eligibility.check(task.id)
    if campaign is None or not task.content_hash:
        return None
    return Facts(
        overlap=task.overlap,
        content_hash=task.content_hash,
        campaign_id=task.campaign_id,
        completion_ids=task.completion_ids,
        guidelines_version=campaign.guidelines_version,
        campaign_state=campaign.state,
        setup=pool.setup(task.campaign_id),
        known=(known is not None, known.ranks if known else None),
    )


def _follow_rules(db: Database, pool: Assignments, stored: Answer) -> None:
    """Pause an annotator who fails the campaign's gold tasks or test, where the lead wants it so."""
    if stored.purpose not in ("gold", "test") or pool.setup(stored.campaign_id).on_fail != "pause":
        return
    reason = pool.failing(stored.campaign_id, stored.person_id)
    if reason:
        set_annotator_state(db, stored.campaign_id, stored.person_id, "paused", reason, by="rule")


def add_imported(
    db: Database,
    campaign_id: int,
    person_id: int,
    task_id: int,
    ranks: Sequence[int],
    repeat: bool = False,
    source: str = "",
) -> Answer | None:
    """Store a ranking that came in a file; None if it is stored already.

    ranks align with the task's completion_ids, 1 = best, dense. It counts whatever the overlap; an annotator's
    second ranking of a task is excluded as a repeat. Raises InvalidRecord.
    """
    task = find_task(db, task_id)
    known = task is not None and task.campaign_id == campaign_id
    require(known, "task", task_id, f"a task of campaign {campaign_id}")
    tiers = [rank in range(1, len(ranks) + 1) for rank in ranks]
    dense = all(tiers) and set(ranks) == set(range(1, max(ranks) + 1)) and len(ranks) == len(task.completion_ids)
    require(dense, "ranks", list(ranks), f"{len(task.completion_ids)} dense ranks from 1")
    said = json.dumps([task_id, person_id, list(ranks), bool(repeat), source])
    key = "imported-" + hashlib.sha256(said.encode()).hexdigest()[:32]
    draft = Draft(key, task_id, person_id, None, "ranking", tuple(ranks), task.completion_ids, 0.0, imported=True)
    decided = db.join(decide, draft, journal=_lines, tell=_answer)
    return decided.answer if decided.line else None


def answer(db: Database, submission_id: str) -> Answer | None:
    """One answer with its current status."""
    with db.read() as cursor:
        return find_answer(cursor, submission_id)


def answers(
    db: Database,
    campaign_id: int | None = None,
    person_id: int | None = None,
    limit: int | None = None,
    newest_first: bool = False,
) -> list[Answer]:
    """Answers with their current status, in the order in which they were stored, or the other way round."""
    order = "DESC" if newest_first else "ASC"
    with db.read() as cursor:
        rows = cursor.execute(
            f"SELECT {COLUMNS} FROM answer_now WHERE ($campaign IS NULL OR campaign_id = $campaign) "
            f"AND ($person IS NULL OR person_id = $person) ORDER BY seq {order} LIMIT $limit",
            {"campaign": campaign_id, "person": person_id, "limit": 2**62 if limit is None else limit},
        ).fetchall()
    return [as_answer(row) for row in rows]


def answer_table(db: Database, campaign_id: int | None = None, up_to: int | None = None) -> pa.Table:
    """The counted judgements, one per person and task, as known at the watermark `up_to`.

    Columns: seq, task_id, campaign_id, prompt_id, split, person_id, person, kind, completion_ids list<int64>,
    ranks list<int8> (aligned with completion_ids; null for all_bad), grade int8 (how much better the first place
    is, 0 to 3; null where nobody graded), shown list<int64>, seconds, created. Ratings and thumbs have the ranks
    that they imply (storage.details.implied_ranks).
    """
    query = (
        "SELECT a.seq, a.task_id, a.campaign_id, t.prompt_id, p.split, a.person_id, w.name AS person, a.kind, "
        "t.completion_ids, a.ranks, CASE WHEN a.detail <> '{}' THEN (a.detail ->> '$.grade')::TINYINT END AS grade, "
        "a.shown, a.seconds, a.created, CASE WHEN a.kind IN ('ratings', 'thumbs') THEN a.detail END AS detail "
        "FROM answer_at($up_to) a JOIN task t USING (task_id) JOIN prompt p USING (prompt_id) "
        "JOIN person w ON w.person_id = a.person_id "
        "WHERE a.status = 'counted' AND a.kind = ANY($kinds) AND ($campaign IS NULL OR a.campaign_id = $campaign) "
        "ORDER BY a.seq"
    )
    values = {"up_to": 2**62 if up_to is None else up_to, "kinds": list(JUDGEMENTS), "campaign": campaign_id}
    with db.read() as cursor:
        table = cursor.sql(query, params=values).to_arrow_table()
        setups = dict(cursor.execute("SELECT campaign_id, setup FROM setup_now").fetchall())
    return _with_implied_ranks(table, {number: from_json(text) for number, text in setups.items()})


def _with_implied_ranks(table: pa.Table, setups: dict[int, Setup]) -> pa.Table:
    """The table with the ranks of ratings and thumbs filled in, without its column `detail`."""
    place = table.column_names.index("ranks")
    if table["detail"].null_count < table.num_rows:
        names = ("kind", "detail", "completion_ids", "campaign_id", "ranks")
        rows = zip(*(table[name].to_pylist() for name in names), strict=True)
        filled = [
            ranks if detail is None else stored_ranks(kind, detail, tuple(ids), setups[campaign].overall)
            for kind, detail, ids, campaign, ranks in rows
        ]
        table = table.set_column(place, "ranks", pa.array(filled, pa.list_(pa.int8())))
    return table.drop_columns(["detail"])


def watermark(db: Database) -> int:
    """The highest seq so far; `answer_table(up_to=…)` gives the same rows for it for ever."""
    with db.read() as cursor:
        return highest_seq(cursor)


def _draft(person_id: int, submission: Submission, task: Task, assignment_id: str | None, shown: tuple) -> Draft:
    return Draft(
        submission_id=submission.submission_id,
        task_id=task.id,
        person_id=person_id,
        assignment_id=assignment_id,
        kind=submission.kind,
        ranks=_ranks(submission, task) if submission.kind == "ranking" else None,
        shown=shown,
        seconds=submission.seconds,
        detail=submission.detail.to_json(),
    )


def _ranks(submission: Submission, task: Task) -> tuple[int, ...]:
    rank_of = {c: rank for rank, tier in enumerate(submission.tiers, 1) for c in tier}
    fits = rank_of.keys() == set(task.completion_ids)
    require(fits, "tiers", submission.tiers, f"each of the {len(task.completion_ids)} completions of the task once")
    return tuple(rank_of[c] for c in task.completion_ids)


def _send(db: Database, pool: Pool | None, draft: Draft) -> Answer:
    if pool is None:
        raise RuntimeError("No pool serves this database, so nobody knows who is at work. Make an Assignments first.")
    try:
        with pool.storing(draft.task_id, draft.person_id) as place:
            return db.join(decide, replace(draft, place=place), journal=_lines, tell=_answer).answer
    except duckdb.ConstraintException:  # the primary key: the same submission_id on another task
        raise SubmissionConflict(
            f"submission_id: found {draft.submission_id}, which is already used for another task. Send a new key."
        ) from None


def _lines(decided: Decided) -> list[dict]:
    return decided.lines


def _answer(decided: Decided) -> Answer:
    return decided.answer
