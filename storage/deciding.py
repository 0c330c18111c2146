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
class Facts:
    """What a decision needs to know of a task besides its answers.

    known: whether the right answer is known, and its ranks (None: all are bad).
    """

    overlap: int
    content_hash: str
    campaign_id: int
    completion_ids: tuple[int, ...]
    guidelines_version: int
    campaign_state: str
    setup: Setup
    known: tuple[bool, tuple[int, ...] | None] = (False, None)


@dataclass(frozen=True)
class Draft:
    """An answer on its way. place: whether the pool keeps a place on the task for it.

    facts: of its task, where the pool knows them; else they are read.
    """

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
    facts: Facts | None = field(default=None, compare=False)


class Decided(NamedTuple):
    """The stored answer, and its journal line if it was stored just now."""

    answer: Answer
    line: dict | None

    @property
    def lines(self) -> list[dict]:
        return [self.line] if self.line else []


class _Task:
    """A task with its answers, kept up while a group is decided."""

    def __init__(self, facts: Facts):
        self.facts, self.answers = facts, {}

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
        return answer.ranks or stored_ranks(
            answer.kind, answer.detail, self.facts.completion_ids, self.facts.setup.overall
        )


def decide(cursor: Cursor, drafts: Sequence[Draft]) -> list[Decided | Exception]:
    """Store what may be stored; per draft, what is stored now or why not."""
    tasks = _tasks(cursor, drafts)
    people = [draft.person_id for draft in drafts]
    names = dict(cursor.execute("SELECT person_id, name FROM person WHERE person_id = ANY(?)", [people]).fetchall())
    seq, outcomes = highest_seq(cursor), []
    for draft in drafts:
        task = tasks.get(draft.task_id)
        outcome = _decide(draft, task, seq + 1)
        if isinstance(outcome, Answer) and outcome.submission_id not in task.answers:
            seq = outcome.seq
            _take_in(task, outcome)
            witnesses = {"content_hash": task.facts.content_hash, "person": names.get(draft.person_id)}
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


def _tasks(cursor: Cursor, drafts: Sequence[Draft]) -> dict[int, _Task]:
    facts = {draft.task_id: draft.facts for draft in drafts}
    facts |= _read_facts(cursor, [task_id for task_id, known in facts.items() if known is None])
    tasks = {task_id: _Task(known) for task_id, known in facts.items() if known}
    for answer in _standing(cursor, list(tasks)):
        tasks[answer.task_id].answers[answer.submission_id] = answer
    return tasks


def _standing(cursor: Cursor, task_ids: Sequence[int]) -> list[Answer]:
    """All answers to these tasks with their status.

    Mostly none was revised or excluded; then a plain query says the same as answer_now, at a quarter of its cost.
    """
    places = ", ".join("?" * len(task_ids)) or "NULL"
    rows = cursor.execute(f"SELECT {COLUMNS} FROM answer WHERE task_id IN ({places})", task_ids).fetchall()
    found = [as_answer(row) for row in rows]
    if not found:
        return found
    keys = [answer.submission_id for answer in found]
    plain = all(answer.revision == 1 for answer in found)
    query = "SELECT 1 FROM answer_exclusion WHERE submission_id = ANY(?) LIMIT 1"
    if plain and not cursor.execute(query, [keys]).fetchall():
        return found
    rows = cursor.execute(f"SELECT {COLUMNS} FROM answer_now WHERE task_id IN ({places})", task_ids).fetchall()
    return [as_answer(row) for row in rows]


def _read_facts(cursor: Cursor, task_ids: list[int]) -> dict[int, Facts]:
    if not task_ids:
        return {}
    rows = cursor.execute(
        "SELECT task_id, t.overlap, content_hash, t.campaign_id, completion_ids, c.guidelines_version, c.state, "
        "s.setup, k.task_id IS NOT NULL, k.ranks FROM task t JOIN ("
        "SELECT campaign_id, arg_max(guidelines_version, seq) AS guidelines_version, arg_max(state, seq) AS state "
        "FROM campaign GROUP BY ALL) c USING (campaign_id) LEFT JOIN setup_now s USING (campaign_id) "
        "LEFT JOIN task_check_now k USING (task_id) WHERE task_id = ANY(?)",
        [task_ids],
    ).fetchall()
    facts = {}
    for task_id, *told, completion_ids, version, state, setup, is_known, ranks in rows:
        known = (is_known, None if ranks is None else tuple(ranks))
        facts[task_id] = Facts(*told, tuple(completion_ids), version, state, from_json(setup), known)
    return facts


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
    if task.facts.campaign_state == "closed":
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
    if task.facts.setup.on_fast == "exclude" and draft.seconds < task.facts.setup.min_seconds:
        return "excluded", f"too fast: {draft.seconds:.1f} s, expected at least {task.facts.setup.min_seconds:g} s"
    if draft.place and task.counted_without(draft.person_id) < task.facts.overlap:
        return "counted", ""
    return "surplus", "overlap was met"


def _measured(draft: Draft, task: _Task) -> str:
    """How far a check agrees with the known answer, or a repeat with the first one."""
    if draft.purpose == "repeat":
        first = task.newest(draft.person_id)
        known = (first is not None and first.kind in JUDGEMENTS, task.ranks(first) if first else None)
    else:
        known = task.facts.known
    share = agreement(known[1], draft.kind, task.ranks(draft)) if known[0] else None
    return f"{draft.purpose}: {'nothing to compare' if share is None else f'{share:.0%} agreement'}"


def _new(draft: Draft, task: _Task, seq: int, status: str, reason: str) -> Answer:
    return Answer(
        submission_id=draft.submission_id,
        seq=seq,
        task_id=draft.task_id,
        campaign_id=task.facts.campaign_id,
        person_id=draft.person_id,
        assignment_id=draft.assignment_id,
        kind=draft.kind,
        ranks=draft.ranks,
        shown=draft.shown,
        seconds=float(draft.seconds),
        guidelines_version=task.facts.guidelines_version,
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
