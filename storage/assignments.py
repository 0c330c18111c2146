"""Who works on what: claims, leases and their expiry, in memory and rebuilt from storage at start.

For every task, live leases and counted answers together never exceed its overlap. A claim is an event in storage
before it is returned, so an answer finds its assignment even after an expiry or a restart. What the answers say is
rankings.py's business; this module only learns that they were stored.
"""

import heapq
import random
import threading
import time
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from storage.database import Cursor, Database
from storage.records import JUDGEMENTS, Answer, Assignment, Campaign, Task
from storage.task_queue import TaskQueue

_COLUMNS = "assignment_id, task_id, campaign_id, person_id, shown, started, expires"


@dataclass(eq=False)
class _Hold:
    """A person's place on a task. Without an assignment it lasts only while an answer is being stored."""

    task_id: int
    person_id: int
    assignment: Assignment | None = None
    storing: int = 0  # answers being stored on it: it does not expire meanwhile


class Assignments:
    """The pool of open tasks. Thread-safe: one lock, never held while the disk is waited for.

    lease_seconds: how long a claim lasts; clock: seconds since 1970. Registers itself as the database's pool.
    """

    def __init__(self, database: Database, lease_seconds: float = 1800, clock: Callable[[], float] = time.time):
        self._database, self._lease_seconds, self._clock = database, lease_seconds, clock
        self._lock = threading.RLock()
        database.pool = self
        self.rebuild()

    def rebuild(self) -> None:
        """Start afresh from what is stored."""
        with self._lock:
            self._forget_all()
            self._load()

    def _forget_all(self) -> None:
        self._states: dict[int, str] = {}
        self._tasks: dict[int, Task] = {}
        self._queues: dict[int, TaskQueue] = defaultdict(TaskQueue)
        self._holds: dict[int, dict[int, _Hold]] = defaultdict(dict)  # task -> person -> hold
        self._counted: dict[int, dict[int, str]] = defaultdict(dict)  # task -> person -> submission that counts
        self._answered: dict[int, set[int]] = defaultdict(set)  # person -> tasks
        self._in_hand: dict[int, dict[int, _Hold]] = defaultdict(dict)  # person -> task -> hold
        self._leases: dict[str, _Hold] = {}
        self._expiries: list[tuple[float, str]] = []

    # ---- for annotators
    def claim(self, person_id: int, campaign_id: int | None = None) -> Assignment | None:
        """The next task for a person, or the one they have in hand, renewed. None where nothing is open for them."""
        with self._lock:
            self._expire()
            hold = self._hold_of(person_id, campaign_id)
            kind = "renew" if hold else "claim"
            hold = hold or self._take(person_id, campaign_id)
            if hold is None:
                return None
            self._renew(hold)
            assignment = hold.assignment
        try:
            self._database.join(_store_events, (kind, assignment))
        except BaseException:
            if kind == "claim":
                self._forget(assignment.id)
            raise
        return assignment

    def live(self, assignment_id: str) -> Assignment | None:
        """The assignment while its lease lasts."""
        with self._lock:
            self._expire()
            hold = self._leases.get(assignment_id)
            return hold.assignment if hold else None

    def release(self, assignment_id: str) -> None:
        """Hand a task back unanswered; others, and this person too, may claim it. Nothing happens if it is over."""
        assignment = self._forget(assignment_id)
        if assignment is not None:
            ended = replace(assignment, expires=self._now())
            self._database.join(_store_events, ("release", ended))

    def remaining(self, person_id: int, campaign_id: int | None = None) -> int:
        """How many tasks this person could rank now, the ones in hand included."""
        with self._lock:
            self._expire()
            campaigns, answered = self._open(campaign_id), self._answered[person_id]
            waiting = sum(self._queues[c].left(answered) for c in campaigns)
            in_hand = [self._tasks[t] for t in self._in_hand[person_id]]
            full = [t for t in in_hand if t.campaign_id in campaigns and t.id not in self._queues[t.campaign_id]]
            return waiting + len(full)

    def counts(self) -> dict[str, int]:
        """tasks known, tasks open for a claim in open campaigns, and live leases."""
        with self._lock:
            self._expire()
            waiting = sum(len(self._queues[c]) for c in self._open(None))
            return {"tasks": len(self._tasks), "open": waiting, "leases": len(self._leases)}

    # ---- for the modules that store
    def add(self, tasks: Sequence[Task]) -> None:
        """Take in new or changed tasks. open_tasks does it by itself; again is harmless."""
        self.learn(list(tasks))

    def task(self, task_id: int) -> Task | None:
        """A task that can be claimed, without asking the database."""
        return self._tasks.get(task_id)

    def learn(self, fact: object) -> None:
        """Take in a committed fact: a campaign, a task, an answer, or several. Called in the order of commits."""
        with self._lock:
            if isinstance(fact, list | tuple):
                for one in fact:
                    self.learn(one)
            elif isinstance(fact, Campaign):
                self._states[fact.id] = fact.state
            elif isinstance(fact, Task) and fact.overlap > 0:
                self._tasks[fact.id] = fact
                self._requeue(fact.id)
            elif isinstance(fact, Answer):
                self._learn_answer(fact)

    @contextmanager
    def storing(self, task_id: int, person_id: int) -> Iterator[bool]:
        """While an answer is being stored: keep the person's place on the task. Yields whether there is one."""
        with self._lock:
            self._expire()
            hold = self._place_for(task_id, person_id)
            if hold:
                hold.storing += 1
            placed = hold is not None or person_id in self._counted[task_id]
        try:
            yield placed
        finally:
            with self._lock:
                if hold:
                    hold.storing -= 1
                    self._drop_if_over(hold)

    # ---- under the lock
    def _now(self) -> datetime:
        return datetime.fromtimestamp(self._clock(), UTC)

    def _open(self, campaign_id: int | None) -> list[int]:
        wanted = self._queues if campaign_id is None else [campaign_id]
        return [c for c in list(wanted) if self._states.get(c) == "open"]

    def _hold_of(self, person_id: int, campaign_id: int | None) -> _Hold | None:
        """A live lease in an open campaign whose answer is not on its way."""
        campaigns = self._open(campaign_id)
        for hold in self._in_hand[person_id].values():
            if hold.assignment and not hold.storing and hold.assignment.campaign_id in campaigns:
                return hold
        return None

    def _take(self, person_id: int, campaign_id: int | None) -> _Hold | None:
        answered, busy = self._answered[person_id], self._in_hand[person_id]
        places = [self._queues[c].first(person_id, answered, busy) for c in self._open(campaign_id)]
        best = min((place for place in places if place), default=None)
        if best is None:
            return None
        task, now = self._tasks[best[2]], self._now()
        shown = tuple(random.sample(task.completion_ids, len(task.completion_ids)))
        assignment = Assignment(uuid.uuid4().hex, task.id, task.campaign_id, person_id, shown, now, now)
        return self._hold(_Hold(task.id, person_id, assignment))

    def _hold(self, hold: _Hold) -> _Hold:
        self._holds[hold.task_id][hold.person_id] = hold
        self._in_hand[hold.person_id][hold.task_id] = hold
        if hold.assignment:
            self._leases[hold.assignment.id] = hold
        self._requeue(hold.task_id)
        return hold

    def _renew(self, hold: _Hold) -> None:
        expires = self._clock() + self._lease_seconds
        hold.assignment = replace(hold.assignment, expires=datetime.fromtimestamp(expires, UTC))
        heapq.heappush(self._expiries, (expires, hold.assignment.id))

    def _place_for(self, task_id: int, person_id: int) -> _Hold | None:
        """The person's hold on the task, or a passing one while there is room."""
        if held := self._holds[task_id].get(person_id):
            return held
        if person_id in self._counted[task_id] or not self._has_room(task_id):
            return None
        return self._hold(_Hold(task_id, person_id))

    def _has_room(self, task_id: int) -> bool:
        taken = self._counted[task_id].keys() | self._holds[task_id].keys()
        return task_id in self._tasks and len(taken) < self._tasks[task_id].overlap

    def _expire(self) -> None:
        now = self._clock()
        while self._expiries and self._expiries[0][0] <= now:
            hold = self._leases.get(heapq.heappop(self._expiries)[1])
            if hold:
                self._drop_if_over(hold)

    def _drop_if_over(self, hold: _Hold) -> None:
        over = hold.assignment is None or hold.assignment.expires <= self._now()
        if over and not hold.storing:
            self._drop(hold)

    def _drop(self, hold: _Hold) -> None:
        if self._holds[hold.task_id].get(hold.person_id) is not hold:
            return
        del self._holds[hold.task_id][hold.person_id], self._in_hand[hold.person_id][hold.task_id]
        if hold.assignment:
            self._leases.pop(hold.assignment.id, None)
        self._requeue(hold.task_id)

    def _forget(self, assignment_id: str) -> Assignment | None:
        with self._lock:
            hold = self._leases.get(assignment_id)
            if hold:
                self._drop(hold)
            return hold.assignment if hold else None

    def _requeue(self, task_id: int) -> None:
        task = self._tasks.get(task_id)
        if task is None:
            return
        queue = self._queues[task.campaign_id]
        if self._has_room(task_id):
            queue.put(task_id, task.priority, len(self._counted[task_id]), self._answered)
        else:
            queue.remove(task_id)

    def _learn_answer(self, answer: Answer) -> None:
        if answer.task_id not in self._tasks or answer.status == "superseded":
            return
        self._answered[answer.person_id].add(answer.task_id)
        counted = self._counted[answer.task_id]
        if answer.status == "counted" and answer.kind in JUDGEMENTS:
            counted[answer.person_id] = answer.submission_id
        elif answer.revision > 1 or counted.get(answer.person_id) == answer.submission_id:
            counted.pop(answer.person_id, None)
        if hold := self._holds[answer.task_id].get(answer.person_id):
            self._drop(hold)
        self._requeue(answer.task_id)

    # ---- at start
    def _load(self) -> None:
        with self._database.read() as cursor:
            self._states = dict(cursor.execute("SELECT campaign_id, state FROM campaign_now").fetchall())
            for row in cursor.execute(
                "SELECT task_id, campaign_id, prompt_id, completion_ids, overlap, priority, purpose FROM task_now "
                "WHERE overlap > 0"
            ).fetchall():
                self._tasks[row[0]] = Task(*row[:3], tuple(row[3]), *row[4:])
            for row in _open_leases(cursor, self._now()):
                self._restore(row)
            self._restore_answers(cursor)
        for task_id in self._tasks:
            self._requeue(task_id)

    def _restore(self, assignment: Assignment) -> None:
        hold = _Hold(assignment.task_id, assignment.person_id, assignment)
        if assignment.task_id in self._tasks:
            self._holds[hold.task_id][hold.person_id] = hold
            self._in_hand[hold.person_id][hold.task_id] = hold
            self._leases[assignment.id] = hold
            heapq.heappush(self._expiries, (assignment.expires.timestamp(), assignment.id))

    def _restore_answers(self, cursor: Cursor) -> None:
        rows = cursor.execute(
            "SELECT a.task_id, person_id, CASE WHEN status = 'counted' AND kind = ANY($kinds) THEN submission_id END "
            "FROM answer_now a JOIN task t USING (task_id) WHERE t.overlap > 0 AND status <> 'superseded'",
            {"kinds": list(JUDGEMENTS)},
        ).fetchall()
        for task_id, person_id, counted in rows:
            self._answered[person_id].add(task_id)
            if counted:
                self._counted[task_id][person_id] = counted
            if hold := self._holds[task_id].get(person_id):
                self._drop(hold)


def find_assignment(db: Database, assignment_id: str) -> Assignment | None:
    """An assignment from its events, also after its lease ended and after a restart."""
    with db.read() as cursor:
        rows = cursor.execute(
            f"SELECT {_COLUMNS} FROM assignment_event WHERE assignment_id = ? AND kind <> 'release' "
            "ORDER BY expires DESC LIMIT 1",
            [assignment_id],
        ).fetchall()
    return _assignment(rows[0]) if rows else None


def _open_leases(cursor: Cursor, now: datetime) -> list[Assignment]:
    rows = cursor.execute(
        f"SELECT {_COLUMNS} FROM assignment_event WHERE expires > $now AND kind <> 'release' "
        "AND assignment_id NOT IN (SELECT assignment_id FROM assignment_event WHERE kind = 'release') "
        "QUALIFY row_number() OVER (PARTITION BY assignment_id ORDER BY expires DESC) = 1 ORDER BY started",
        {"now": now},
    ).fetchall()
    return [_assignment(row) for row in rows]


def _assignment(row: tuple) -> Assignment:
    return Assignment(*row[:4], tuple(row[4]), *row[5:])


def _store_events(cursor: Cursor, events: Sequence[tuple[str, Assignment]]) -> list[None]:
    with cursor.appender("assignment_event") as appender:
        appender.append_rows(
            [
                [a.id, kind, a.task_id, a.campaign_id, a.person_id, list(a.shown), a.started, a.expires]
                for kind, a in events
            ]
        )
    return [None] * len(events)
