"""Decides, inside the writer, what becomes of an answer: stored or known, counted or surplus, first or revision.

Drafts that wait together are decided in order, with one query per table, and stored with one appender. Public
functions for pages are in rankings.py.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import NamedTuple

from storage.checks import agreement
from storage.database import Cursor
from storage.details import stored_ranks
from storage.journal import ANSWER_SCHEMA
from storage.records import JUDGEMENTS, Answer, InvalidRecord
from storage.setups import Setup, from_json

COLUMNS = ", ".join(ANSWER_SCHEMA.names)
REPEAT = "repeat"  # why an imported annotator's second ranking of one task is excluded


class UnknownAssignment(LookupError):
    """The assignment does not exist, or is somebody else's."""


class AlreadyAnswered(ValueError):
    """This person answered the task already under another submission key; it can be revised."""


class SubmissionConflict(ValueError):
    """The submission key was used for something else, or the answer to revise is not this person's newest."""


class CampaignClosed(ValueError):
    """Answers of a closed campaign are not revised."""


@dataclass(frozen=True)
class Draft:
    """An answer on its way. place: whether the pool keeps a place on the task for it."""

    submission_id: str
    task_id: int
    person_id: int
    assignment_id: str | None
    kind: str
    ranks: tuple[int, ...] | None
    shown: tuple[int, ...]
    seconds: float
    place: bool = False
    revises: str | None = None
    imported: bool = False
    purpose: str = "work"
    detail: str = "{}"


class Decided(NamedTuple):
    """The stored answer, and its journal line if it was stored just now."""

    answer: Answer
    line: dict | None

    @property
    def lines(self) -> list[dict]:
        return [self.line] if self.line else []


@dataclass
class _Task:
    """What a decision needs to know of a task; answers are kept up while a group is decided."""

    overlap: int
    content_hash: str
    campaign_id: int
    completion_ids: tuple[int, ...]
    guidelines_version: int
    campaign_state: str
    setup: Setup
    known: tuple[bool, tuple[int, ...] | None]  # whether the answer is known, and its ranks (None: all are bad)
    answers: dict[str, Answer] = field(default_factory=dict)

    def newest(self, person_id: int, repeat: bool = False) -> Answer | None:
        """The person's standing answer, or their standing repeat; imported repeats stand beside it."""
        own = [a for a in self.answers.values() if a.person_id == person_id and a.reason != REPEAT]
        return max((a for a in own if (a.purpose == "repeat") == repeat), key=lambda a: a.revision, default=None)

    def counted_without(self, person_id: int) -> int:
        """How many others' answers count towards overlap."""
        counted = (a for a in self.answers.values() if a.status == "counted" and a.kind in JUDGEMENTS)
        return len({a.person_id for a in counted} - {person_id})

    def ranks(self, answer: "Answer | Draft") -> tuple[int, ...] | None:
        """The ranks that an answer gives or implies."""
        return answer.ranks or stored_ranks(answer.kind, answer.detail, self.completion_ids, self.setup.overall)


def decide(cursor: Cursor, drafts: Sequence[Draft]) -> list[Decided | Exception]:
    """Store what may be stored; per draft, what is stored now or why not."""
    tasks = _tasks(cursor, list({draft.task_id for draft in drafts}))
    people = [draft.person_id for draft in drafts]
    names = dict(cursor.execute("SELECT person_id, name FROM person WHERE person_id = ANY(?)", [people]).fetchall())
    seq, outcomes = highest_seq(cursor), []
    for draft in drafts:
        task = tasks.get(draft.task_id)
        outcome = _decide(draft, task, seq + 1)
        if isinstance(outcome, Answer) and outcome.submission_id not in task.answers:
            seq = outcome.seq
            _take_in(task, outcome)
            witnesses = {"content_hash": task.content_hash, "person": names.get(draft.person_id)}
            outcome = Decided(outcome, vars(outcome) | witnesses)
        outcomes.append(Decided(outcome, None) if isinstance(outcome, Answer) else outcome)
    new = [outcome.line for outcome in outcomes if isinstance(outcome, Decided) and outcome.line]
    with cursor.appender("answer") as appender:
        appender.append_rows([[line[name] for name in ANSWER_SCHEMA.names] for line in new])
    return outcomes


def highest_seq(cursor: Cursor) -> int:
    """The watermark: the highest seq of answers and exclusions, which share one count."""
    return cursor.execute(
        "SELECT greatest((SELECT coalesce(max(seq), 0) FROM answer), "
        "(SELECT coalesce(max(seq), 0) FROM answer_exclusion))"
    ).fetchall()[0][0]


def as_answer(row: Sequence) -> Answer:
    """An Answer from a row with COLUMNS."""
    values = dict(zip(ANSWER_SCHEMA.names, row, strict=True))
    values["ranks"] = tuple(values["ranks"]) if values["ranks"] is not None else None
    return Answer(**values | {"shown": tuple(values["shown"])})


def _tasks(cursor: Cursor, task_ids: list[int]) -> dict[int, _Task]:
    rows = cursor.execute(
        "SELECT task_id, t.overlap, content_hash, t.campaign_id, completion_ids, c.guidelines_version, c.state, "
        "s.setup, k.task_id IS NOT NULL, k.ranks FROM task t JOIN ("
        "SELECT campaign_id, arg_max(guidelines_version, seq) AS guidelines_version, arg_max(state, seq) AS state "
        "FROM campaign GROUP BY ALL) c USING (campaign_id) LEFT JOIN setup_now s USING (campaign_id) "
        "LEFT JOIN task_check_now k USING (task_id) WHERE task_id = ANY(?)",
        [task_ids],
    ).fetchall()
    tasks = {}
    for task_id, *facts, completion_ids, version, state, setup, is_known, ranks in rows:
        known = (is_known, None if ranks is None else tuple(ranks))
        tasks[task_id] = _Task(*facts, tuple(completion_ids), version, state, from_json(setup), known)
    for row in cursor.execute(f"SELECT {COLUMNS} FROM answer_now WHERE task_id = ANY(?)", [task_ids]).fetchall():
        answer = as_answer(row)
        tasks[answer.task_id].answers[answer.submission_id] = answer
    return tasks


def _take_in(task: _Task, new: Answer) -> None:
    """Later drafts of the group are decided as if this answer had been read from the database."""
    for key, old in task.answers.items():
        same = old.person_id == new.person_id and (old.purpose == "repeat") == (new.purpose == "repeat")
        if same and old.revision < new.revision and old.status != "excluded":
            task.answers[key] = replace(old, status="superseded")
    task.answers[new.submission_id] = new


def _decide(draft: Draft, task: _Task | None, seq: int) -> Answer | Exception:
    if task is None:
        return InvalidRecord("task", draft.task_id, "an existing task")
    if known := task.answers.get(draft.submission_id):
        return known if _same(known, draft) else _conflict(draft)
    before = task.newest(draft.person_id, draft.purpose == "repeat")
    if draft.imported:
        return _imported(draft, task, before, seq)
    if draft.revises is None:
        return _already(before) if before else _new(draft, task, seq, *_status(draft, task))
    return _revision(draft, task, before, seq)


def _revision(draft: Draft, task: _Task, before: Answer | None, seq: int) -> Answer | Exception:
    if task.campaign_state == "closed":
        return CampaignClosed("The campaign is closed; its answers stay as they are. Ask a lead to open it again.")
    if before is None or before.submission_id != draft.revises:
        return SubmissionConflict(
            f"submission: found {draft.revises}, expected your newest answer to this task. Load it again, then revise."
        )
    barred = before.status == "excluded"  # who was excluded does not come back by revising
    status = ("excluded", before.reason) if barred else _status(draft, task)
    return replace(_new(draft, task, seq, *status), revision=before.revision + 1)


def _imported(draft: Draft, task: _Task, before: Answer | None, seq: int) -> Answer:
    """An imported ranking counts whatever the overlap; one more by the same annotator is a repeat."""
    return _new(draft, task, seq, "excluded" if before else "counted", REPEAT if before else "")


def _status(draft: Draft, task: _Task) -> tuple[str, str]:
    """Answers that are no judgement stand, and fill no place; checks and repeats measure the annotator."""
    if draft.purpose != "work":
        return "check", _measured(draft, task)
    if draft.kind not in JUDGEMENTS:
        return "counted", ""
    if task.setup.on_fast == "exclude" and draft.seconds < task.setup.min_seconds:
        return "excluded", f"too fast: {draft.seconds:.1f} s, expected at least {task.setup.min_seconds:g} s"
    if draft.place and task.counted_without(draft.person_id) < task.overlap:
        return "counted", ""
    return "surplus", "overlap was met"


def _measured(draft: Draft, task: _Task) -> str:
    """How far a check agrees with the known answer, or a repeat with the first one."""
    if draft.purpose == "repeat":
        first = task.newest(draft.person_id)
        known = (first is not None and first.kind in JUDGEMENTS, task.ranks(first) if first else None)
    else:
        known = task.known
    share = agreement(known[1], draft.kind, task.ranks(draft)) if known[0] else None
    return f"{draft.purpose}: {'nothing to compare' if share is None else f'{share:.0%} agreement'}"


def _new(draft: Draft, task: _Task, seq: int, status: str, reason: str) -> Answer:
    return Answer(
        submission_id=draft.submission_id,
        seq=seq,
        task_id=draft.task_id,
        campaign_id=task.campaign_id,
        person_id=draft.person_id,
        assignment_id=draft.assignment_id,
        kind=draft.kind,
        ranks=draft.ranks,
        shown=draft.shown,
        seconds=float(draft.seconds),
        guidelines_version=task.guidelines_version,
        status=status,
        reason=reason,
        revision=1,
        created=datetime.now(UTC),
        purpose=draft.purpose,
        detail=draft.detail,
    )


def _same(known: Answer, draft: Draft) -> bool:
    told = (draft.person_id, draft.assignment_id, draft.kind, draft.ranks, draft.detail)
    return told == (known.person_id, known.assignment_id, known.kind, known.ranks, known.detail)


def _conflict(draft: Draft) -> SubmissionConflict:
    return SubmissionConflict(
        f"submission_id: found {draft.submission_id}, which is already used for another answer. Send a new key."
    )


def _already(before: Answer) -> AlreadyAnswered:
    return AlreadyAnswered(f"You answered this task already (submission {before.submission_id}). Revise that answer.")
