"""What an annotator may get next besides the queue: members, pauses, quotas, consent, and checks that are due.

In memory, fed with the same facts as the pool that owns it (assignments.py), under the pool's lock; rebuilt from
storage at start. It decides, and stores nothing.
"""

import math
import zlib
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import NamedTuple

from storage.campaigns import COLUMNS as CAMPAIGN_COLUMNS
from storage.checks import Check, agreement, check_of
from storage.database import Cursor
from storage.details import Detail, stored_ranks
from storage.members import AnnotatorState, Assignees, Member
from storage.records import CHECK_PURPOSES, JUDGEMENTS, Answer, Campaign, Task
from storage.setups import DEFAULT, CampaignSetup, Setup, from_json

REPEAT_AFTER = 10  # answers between a task and its repeat
GOLD_TASKS = "gold tasks:"  # how the reason begins that a lead reads
EVER = datetime.min.replace(tzinfo=UTC)


class Refusal(NamedTuple):
    """Why a campaign gives a person nothing. code: members, consent, paused or quota."""

    campaign_id: int
    code: str
    message: str


@dataclass(frozen=True)
class Consent:
    """A person agreed to a campaign's consent text of that version; 0 takes the agreement back."""

    campaign_id: int
    person_id: int
    version: int


class PastAnswer(NamedTuple):
    """What start-up needs to know of a stored answer; fields as in Answer."""

    submission_id: str
    task_id: int
    campaign_id: int
    person_id: int
    kind: str
    ranks: list[int] | None
    status: str
    created: datetime
    purpose: str
    detail: str


class Score(NamedTuple):
    """The agreement with one known answer, 0 to 1 or None, and when it was shown."""

    share: float | None
    created: datetime


@dataclass
class Record:
    """What one person has done in one campaign: work in order, agreement with known answers, repeats."""

    work: dict[int, None] = field(default_factory=dict)
    scores: dict[str, dict[int, Score]] = field(default_factory=lambda: {p: {} for p in CHECK_PURPOSES})
    repeats: set[int] = field(default_factory=set)

    def mean(self, purpose: str, since: datetime = EVER) -> tuple[float | None, int]:
        """Mean agreement on the checks of a purpose answered after `since`, and over how many."""
        told = [s.share for s in self.scores[purpose].values() if s.share is not None and s.created > since]
        return (sum(told) / len(told) if told else None), len(told)


class Eligibility:
    """The facts and the decisions. Not thread-safe: the pool holds the lock."""

    def __init__(self):
        self.campaigns: dict[int, Campaign] = {}
        self.setups: dict[int, Setup] = {}
        self.assignees: dict[int, frozenset[int]] = {}
        self.flags: dict[int, set[str]] = defaultdict(set)
        self._members: dict[int, set[int]] = defaultdict(set)
        self._states: dict[tuple[int, int], AnnotatorState] = {}
        self._consents: dict[tuple[int, int], int] = {}
        self._checks: dict[int, Check] = {}
        self._due: dict[int, dict[str, list[int]]] = defaultdict(lambda: {p: [] for p in CHECK_PURPOSES})
        self._records: dict[tuple[int, int], Record] = defaultdict(Record)

    # ---- facts
    def learn(self, fact: object, tasks: Mapping[int, Task]) -> bool:
        """Take in a fact; whether it was one of ours."""
        match fact:
            case Campaign():
                self.campaigns[fact.id] = fact
            case CampaignSetup():
                self.setups[fact.campaign_id] = fact.setup
            case Member():
                members = self._members[fact.campaign_id]
                (members.add if fact.member else members.discard)(fact.person_id)
            case AnnotatorState():
                self._states[fact.campaign_id, fact.person_id] = fact
            case Consent():
                self._consents[fact.campaign_id, fact.person_id] = fact.version
            case Assignees():
                self.assignees[fact.task_id] = frozenset(fact.people)
            case Check():
                self._learn_check(fact, tasks.get(fact.task_id))
            case _:
                return False
        return True

    def _learn_check(self, check: Check, task: Task | None) -> None:
        if task is None:
            return
        self._checks[check.task_id] = check
        due = self._due[task.campaign_id][task.purpose]
        if check.active and check.task_id not in due:
            due.append(check.task_id)
        elif not check.active and check.task_id in due:
            due.remove(check.task_id)

    def learn_answer(self, answer: Answer | PastAnswer, task: Task) -> None:
        """Count an answer towards quota, checks and repeats, and remember its flags."""
        record = self._records[answer.campaign_id, answer.person_id]
        if answer.purpose == "repeat":
            record.repeats.add(answer.task_id)
        elif answer.purpose in CHECK_PURPOSES:
            record.scores[answer.purpose][answer.task_id] = Score(self.score(answer, task), answer.created)
        elif answer.kind in JUDGEMENTS or answer.kind == "cannot_judge":
            record.work[answer.task_id] = None
        if answer.detail != "{}":
            for completion, names in Detail.from_json(answer.detail).flags.items():
                self.flags[completion] |= set(names)

    def score(self, answer: Answer | PastAnswer, task: Task) -> float | None:
        """An answer's agreement with the known one of its task."""
        known = self._checks.get(task.id)
        return agreement(known.ranks, answer.kind, self.ranks(answer, task)) if known else None

    def ranks(self, answer: Answer | PastAnswer, task: Task) -> Sequence[int] | None:
        """The ranks an answer gives or, with ratings and thumbs, implies."""
        overall = self.setup(task.campaign_id).overall
        return answer.ranks or stored_ranks(answer.kind, answer.detail, task.completion_ids, overall)

    # ---- decisions
    def setup(self, campaign_id: int) -> Setup:
        """The campaign's setup."""
        return self.setups.get(campaign_id, DEFAULT)

    def check(self, task_id: int) -> Check | None:
        """The known answer to a task."""
        return self._checks.get(task_id)

    def record(self, campaign_id: int, person_id: int) -> Record:
        """What the person has done in the campaign."""
        return self._records[campaign_id, person_id]

    def refusal(self, campaign_id: int, person_id: int) -> Refusal | None:
        """Why the campaign gives the person nothing, or None."""
        setup, state = self.setup(campaign_id), self._states.get((campaign_id, person_id))
        if setup.members_only and person_id not in self._members[campaign_id]:
            return Refusal(campaign_id, "members", "This campaign is for invited members.")
        if state and state.state == "paused":
            reason = "too many of your answers differ from agreed ones" if _by_gold(state) else state.reason
            return Refusal(campaign_id, "paused", f"You are paused here: {reason}. Ask your lead to go on.")
        if setup.consent and self._consents.get((campaign_id, person_id), 0) < setup.consent_version:
            return Refusal(campaign_id, "consent", "This campaign asks for your consent first.")
        done = len(self.record(campaign_id, person_id).work)
        if setup.quota and done >= setup.quota:
            return Refusal(campaign_id, "quota", f"You have done all {setup.quota} tasks meant for you. Thank you.")
        return None

    def due(self, campaign_id: int, person_id: int, answered: Collection[int], busy: Collection[int]) -> int | None:
        """The check that comes next for a person: training, then the test, then gold in their share."""
        checks = self._due.get(campaign_id)
        if not checks:
            return None
        for task in (*checks["training"], *checks["test"]):
            if task not in answered and task not in busy:
                return task
        setup, record = self.setup(campaign_id), self.record(campaign_id, person_id)
        if checks["gold"] and setup.gold_share > 0:
            shown = len(record.scores["gold"]) + sum(t in checks["gold"] for t in busy)
            rank = len(record.work) + shown + len([t for t in busy if t not in self._checks]) + 1
            if shown + 1 <= rank * setup.gold_share + _offset(campaign_id, person_id):
                left = [t for t in checks["gold"] if t not in answered and t not in busy]
                return min(left, key=lambda task: _offset(task, person_id), default=None)
        return None

    def due_repeat(self, campaign_id: int, person_id: int, busy: Collection[int]) -> int | None:
        """A task that the person answered a while ago and should judge once more, in their share."""
        share, record = self.setup(campaign_id).repeat_share, self.record(campaign_id, person_id)
        repeats = len(record.repeats) + sum(t in record.work for t in busy)
        if share <= 0 or repeats + 1 > len(record.work) * share:
            return None
        old = list(record.work)[: max(0, len(record.work) - REPEAT_AFTER)]
        ready = [t for t in old if t not in record.repeats and t not in busy]
        return min(ready, key=lambda task: _offset(task, person_id), default=None)

    def expected(self, campaign_id: int, person_id: int, work: int, answered: Collection[int]) -> int:
        """How many tasks a person gets where `work` ordinary ones are left: up to the quota, with checks and repeats.

        A figure of the work alone would stand still at every check, and so tell which tasks are checks.
        """
        setup, record, checks = self.setup(campaign_id), self.record(campaign_id, person_id), self._due.get(campaign_id)
        left = {p: sum(t not in answered for t in checks[p]) if checks else 0 for p in CHECK_PURPOSES}
        done, last = len(record.work), len(record.work) + work
        if setup.quota and last >= setup.quota:
            last, work = setup.quota - 1, setup.quota - done  # nothing comes after the last one of a quota
        gold, repeats = 0, min(int(last * setup.repeat_share), max(0, last - REPEAT_AFTER)) - len(record.repeats)
        if left["gold"] and setup.gold_share > 0:  # the largest number that `due` lets pass after `last` answers
            room = (last + 1) * setup.gold_share + _offset(campaign_id, person_id) - 1
            gold = math.floor(room / (1 - setup.gold_share)) + 1 - len(record.scores["gold"])
        return work + left["training"] + left["test"] + max(0, min(gold, left["gold"])) + max(0, repeats)

    def failing(self, campaign_id: int, person_id: int) -> str | None:
        """Why the person fails the campaign's test or gold tasks, or None."""
        setup, record = self.setup(campaign_id), self.record(campaign_id, person_id)
        state = self._states.get((campaign_id, person_id))
        since = state.since if state else EVER
        tested, count = record.mean("test", since)
        if count and count >= len(self._due[campaign_id]["test"]) and tested < setup.test_mark:
            return f"entry test: {tested:.0%} agreement, expected at least {setup.test_mark:.0%}"
        gold, count = record.mean("gold", since)
        if count >= setup.gold_after and gold < setup.gold_mark:
            return f"{GOLD_TASKS} {gold:.0%} agreement over {count}, expected at least {setup.gold_mark:.0%}"
        return None

    # ---- at start
    def load(self, cursor: Cursor, tasks: Mapping[int, Task]) -> None:
        """Take in what is stored, but for the answers, which the pool reads anyway."""
        for row in cursor.execute(f"SELECT {CAMPAIGN_COLUMNS} FROM campaign_now").fetchall():
            self.campaigns[row[0]] = Campaign(*row)
        for campaign_id, setup in cursor.execute("SELECT campaign_id, setup FROM setup_now").fetchall():
            self.setups[campaign_id] = from_json(setup)
        for campaign_id, person_id, version in cursor.execute(
            "SELECT campaign_id, person_id, coalesce(version, 0) FROM consent_now"
        ).fetchall():
            self._consents[campaign_id, person_id] = version
        for campaign_id, person_id in cursor.execute("SELECT campaign_id, person_id FROM member_now").fetchall():
            self._members[campaign_id].add(person_id)
        for row in cursor.execute(
            "SELECT campaign_id, person_id, state, reason, created FROM annotator_state_now"
        ).fetchall():
            self._states[row[0], row[1]] = AnnotatorState(*row)
        for task_id, people in cursor.execute("SELECT task_id, people FROM task_assignee_now").fetchall():
            self.assignees[task_id] = frozenset(people)
        for row in cursor.execute(
            "SELECT task_id, ranks, explanation, active FROM task_check_now ORDER BY task_id"
        ).fetchall():
            self._learn_check(check_of(*row), tasks.get(row[0]))


def _by_gold(state: AnnotatorState) -> bool:
    """Whether a rule paused the annotator for gold tasks, whose figures are for leads only."""
    return state.reason.startswith(GOLD_TASKS)


def _offset(one: int, other: int) -> float:
    """A number from 0 to 1 that is always the same for two ids and looks random."""
    return zlib.crc32(f"{one}-{other}".encode()) / 2**32
