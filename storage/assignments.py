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
from dataclasses import replace
from datetime import UTC, datetime

from storage.database import Cursor, Database
from storage.eligibility import Eligibility, PastAnswer, Refusal
from storage.holds import Hold, Offer
from storage.leases import open_leases, store_events
from storage.members import Assignees
from storage.past_work import claimable_tasks, past_answers
from storage.records import CHECK_PURPOSES, JUDGEMENTS, Answer, Assignment, Campaign, Task
from storage.setups import Setup
from storage.task_queues import TaskQueues

PIECE = 500  # facts learned at once, before others may go on


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
        self.eligibility = Eligibility()
        self._tasks: dict[int, Task] = {}
        self._work = 0  # tasks whose answers are data
        self._queues = TaskQueues()
        self._holds: dict[int, dict[int, Hold]] = defaultdict(dict)  # task -> person -> hold
        self._counted: dict[int, dict[int, str]] = defaultdict(dict)  # task -> person -> submission that counts
        self._answered: dict[int, set[int]] = defaultdict(set)  # person -> tasks
        self._in_hand: dict[int, dict[int, Hold]] = defaultdict(dict)  # person -> task -> hold
        self._leases: dict[str, Hold] = {}
        self._expiries: list[tuple[float, str]] = []

    # ---- for annotators
    def claim(self, person_id: int, campaign_id: int | None = None) -> Assignment | None:
        """The next task for a person, or the one they have in hand, renewed. None where nothing is open for them."""
        claimed = self.claim_ahead(person_id, campaign_id, 1)
        return claimed[0] if claimed else None

    def claim_ahead(self, person_id: int, campaign_id: int | None = None, count: int = 3) -> list[Assignment]:
        """Up to `count` tasks, those in hand first, so that a page can go on while it is offline.

        Fewer where tasks run out: nobody holds what others could do now.
        """
        with self._lock:
            self._expire()
            holds = self._holds_of(person_id, campaign_id)[:count]
            events = [("renew", hold) for hold in holds]
            while (
                len(events) < count
                and (not events or self._plenty(person_id))
                and (hold := self._take(person_id, campaign_id))
            ):
                events.append(("claim", hold))
            for _, hold in events:
                self._renew(hold)
            told = [(kind, hold.assignment) for kind, hold in events]
        try:
            self._store(told)
        except BaseException:
            for kind, assignment in told:
                if kind == "claim":
                    self._forget(assignment.id)
            raise
        return [assignment for _, assignment in told]

    def renew(self, person_id: int, assignment_ids: Sequence[str]) -> list[Assignment]:
        """Make the person's leases last; those that are over are left out of what is returned."""
        with self._lock:
            self._expire()
            holds = [h for one in assignment_ids if (h := self._leases.get(one)) and h.person_id == person_id]
            for hold in holds:
                self._renew(hold)
            renewed = [hold.assignment for hold in holds]
        self._store([("renew", assignment) for assignment in renewed])
        return renewed

    def refusals(self, person_id: int) -> list[Refusal]:
        """Why open campaigns give this person nothing, where it is for another reason than an empty queue."""
        with self._lock:
            found = [self.eligibility.refusal(campaign, person_id) for campaign in self._open(None)]
            return [refusal for refusal in found if refusal]

    def setup(self, campaign_id: int) -> Setup:
        """A campaign's setup, without asking the database."""
        return self.eligibility.setup(campaign_id)

    def campaign(self, campaign_id: int) -> Campaign | None:
        """A campaign as it is now, without asking the database."""
        return self.eligibility.campaigns.get(campaign_id)

    def offered(self, person_id: int) -> list[Campaign]:
        """The open campaigns that a person may work in, oldest first, whether or not they have tasks left."""
        with self._lock:
            return [self.eligibility.campaigns[c] for c in sorted(self._offered(person_id, None))]

    def in_hand(self, person_id: int) -> list[Assignment]:
        """The person's live leases, oldest first."""
        with self._lock:
            self._expire()
            return [hold.assignment for hold in self._in_hand[person_id].values() if hold.assignment]

    def flags(self, completion_ids: Sequence[int]) -> dict[int, frozenset[str]]:
        """The flags that annotators have given these completions."""
        with self._lock:
            return {c: frozenset(self.eligibility.flags[c]) for c in completion_ids if c in self.eligibility.flags}

    def failing(self, campaign_id: int, person_id: int) -> str | None:
        """Why the person fails the campaign's test or gold tasks, or None."""
        with self._lock:
            return self.eligibility.failing(campaign_id, person_id)

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
            self._store([("release", replace(assignment, expires=self._now()))])

    def remaining(self, person_id: int, campaign_id: int | None = None) -> int:
        """How many tasks this person gets as far as is known now, those in hand, checks and repeats included."""
        with self._lock:
            self._expire()
            return sum(self._left(c, person_id) for c in self._offered(person_id, campaign_id))

    def counts(self) -> dict[str, int]:
        """tasks known, tasks open for a claim in open campaigns, and live leases."""
        with self._lock:
            self._expire()
            waiting = self._queues.waiting(self._open(None))
            return {"tasks": self._work, "open": waiting, "leases": len(self._leases)}

    # ---- for the modules that store
    def task(self, task_id: int) -> Task | None:
        """A task that can be claimed, without asking the database."""
        return self._tasks.get(task_id)

    def learn(self, fact: object) -> None:
        """Take in a committed fact: a campaign, a task, an answer, or several. Called in the order of commits."""
        facts = fact if isinstance(fact, list | tuple) else (fact,)
        alike = len({type(one) for one in facts}) == 1  # then others may go on between some and the rest
        size = PIECE if alike else max(len(facts), 1)
        for start in range(0, len(facts), size):
            with self._lock:
                for one in facts[start : start + size]:
                    self._learn(one)
            if len(facts) > size:
                time.sleep(0)

    def _learn(self, fact: object) -> None:
        if isinstance(fact, Task) and fact.overlap > 0:
            self._work += fact.id not in self._tasks and fact.purpose not in CHECK_PURPOSES
            self._tasks[fact.id] = fact
            self._requeue(fact.id)
        elif isinstance(fact, Answer):
            self._learn_answer(fact)
        elif self.eligibility.learn(fact, self._tasks) and isinstance(fact, Assignees):
            self._requeue(fact.task_id)

    @contextmanager
    def storing(self, task_id: int, person_id: int) -> Iterator[bool]:
        """While an answer is being stored: keep the person's place on the task. Yields whether there is one."""
        with self._lock:
            self._expire()
            hold = self._place_for(task_id, person_id)
            if hold:
                hold.storing += 1
            placed = hold is not None or person_id in self._counted.get(task_id, ())
        try:
            yield placed
        finally:
            with self._lock:
                if hold:
                    hold.storing -= 1
                    self._drop_if_over(hold)

    def _store(self, events: list[tuple[str, Assignment]]) -> None:
        """Keep what was done, in one commit; returns when it is on the disk."""
        if events:
            self._database.join(store_events, events)

    # ---- under the lock
    def _now(self) -> datetime:
        return datetime.fromtimestamp(self._clock(), UTC)

    def _open(self, campaign_id: int | None) -> list[int]:
        wanted = self.eligibility.campaigns.values() if campaign_id is None else [self.campaign(campaign_id)]
        return [campaign.id for campaign in wanted if campaign and campaign.state == "open"]

    def _offered(self, person_id: int, campaign_id: int | None) -> list[int]:
        return [c for c in self._open(campaign_id) if not self.eligibility.refusal(c, person_id)]

    def _plenty(self, person_id: int) -> bool:
        """Whether so many tasks wait that the others at work miss nothing."""
        campaigns = self._open(None)
        at_work = {h.person_id for h in self._leases.values() if h.assignment.campaign_id in campaigns}
        return self._queues.waiting(campaigns) >= 2 * len(at_work - {person_id})

    def _is_work(self, task_id: int) -> bool:
        return self._tasks[task_id].purpose not in CHECK_PURPOSES

    def _left(self, campaign_id: int, person_id: int) -> int:
        queues, answered = self._queues.of(campaign_id, person_id), self._answered[person_id]
        held = [self._tasks[hold.task_id] for hold in self._in_hand[person_id].values() if not hold.repeats]
        mine = [task.id for task in held if task.campaign_id == campaign_id and self._is_work(task.id)]
        full = [task_id for task_id in mine if not any(task_id in queue for queue in queues)]
        work = sum(queue.left(answered) for queue in queues) + len(full)
        return self.eligibility.expected(campaign_id, person_id, work, answered)

    def _holds_of(self, person_id: int, campaign_id: int | None) -> list[Hold]:
        """Live leases in open campaigns whose answers are not on their way, oldest first."""
        campaigns = self._offered(person_id, campaign_id)
        mine = [hold for hold in self._in_hand[person_id].values() if hold.assignment and not hold.storing]
        return [hold for hold in mine if hold.assignment.campaign_id in campaigns]

    def _take(self, person_id: int, campaign_id: int | None) -> Hold | None:
        offers = [self._offer(c, person_id) for c in self._offered(person_id, campaign_id)]
        best = min((one for one in offers if one), key=lambda one: (one.priority, one.place), default=None)
        if best is None:
            return None
        task, now = self._tasks[best.place[2]], self._now()
        shown = tuple(random.sample(task.completion_ids, len(task.completion_ids)))
        assignment = Assignment(uuid.uuid4().hex, task.id, task.campaign_id, person_id, shown, now, now, best.purpose)
        return self._hold(Hold(task.id, person_id, assignment))

    def _offer(self, campaign_id: int, person_id: int) -> Offer | None:
        """What a campaign has for a person now: a check or a repeat that is due, else the first of its queues."""
        answered, busy = self._answered[person_id], self._in_hand[person_id]
        priority = -self.eligibility.setup(campaign_id).priority
        due = self.eligibility.due(campaign_id, person_id, answered, busy)
        if due is not None:
            return Offer(priority, (float("-inf"), 0, due), self._tasks[due].purpose)
        again = self.eligibility.due_repeat(campaign_id, person_id, busy)
        if again is not None:
            return Offer(priority, (float("-inf"), 0, again), "repeat")
        places = [queue.first(person_id, answered, busy) for queue in self._queues.of(campaign_id, person_id)]
        best = min((place for place in places if place), default=None)
        return Offer(priority, best) if best else None

    def _hold(self, hold: Hold) -> Hold:
        self._holds[hold.task_id][hold.person_id] = hold
        self._in_hand[hold.person_id][hold.task_id] = hold
        if hold.assignment:
            self._leases[hold.assignment.id] = hold
        self._requeue(hold.task_id)
        return hold

    def _renew(self, hold: Hold) -> None:
        expires = self._clock() + self._lease_seconds
        hold.assignment = replace(hold.assignment, expires=datetime.fromtimestamp(expires, UTC))
        heapq.heappush(self._expiries, (expires, hold.assignment.id))

    def _place_for(self, task_id: int, person_id: int) -> Hold | None:
        """The person's hold on the task, or a passing one while there is room."""
        if held := self._holds.get(task_id, {}).get(person_id):
            return held
        if person_id in self._counted.get(task_id, ()) or not self._has_room(task_id):
            return None
        return self._hold(Hold(task_id, person_id))

    def _has_room(self, task_id: int) -> bool:
        task, counted, holds = self._tasks.get(task_id), self._counted.get(task_id, {}), self._holds.get(task_id, {})
        if task is None or len(counted) + len(holds) < task.overlap:
            return task is not None
        return len(counted.keys() | {person for person, hold in holds.items() if not hold.repeats}) < task.overlap

    def _expire(self) -> None:
        now = self._clock()
        while self._expiries and self._expiries[0][0] <= now:
            hold = self._leases.get(heapq.heappop(self._expiries)[1])
            if hold:
                self._drop_if_over(hold)

    def _drop_if_over(self, hold: Hold) -> None:
        over = hold.assignment is None or hold.assignment.expires <= self._now()
        if over and not hold.storing:
            self._drop(hold)

    def _drop(self, hold: Hold) -> None:
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
        if task is None or not self._is_work(task_id):
            return
        if self._has_room(task_id):
            people = self.eligibility.assignees.get(task_id, ())
            self._queues.put(task, len(self._counted.get(task_id, ())), people)
        else:
            self._queues.remove(task)

    def _learn_answer(self, answer: Answer) -> None:
        if answer.task_id not in self._tasks or answer.status == "superseded":
            return
        self._note_answer(answer)
        if answer.purpose != "repeat":
            self._learn_counted(answer)
        self._requeue(answer.task_id)

    def _note_answer(self, answer: Answer | PastAnswer) -> None:
        """The person does not get this task again, and does not hold it any more."""
        self.eligibility.learn_answer(answer, self._tasks[answer.task_id])
        self._answered[answer.person_id].add(answer.task_id)
        hold = self._holds[answer.task_id].get(answer.person_id)
        if hold and hold.repeats == (answer.purpose == "repeat"):
            self._drop(hold)

    def _learn_counted(self, answer: Answer) -> None:
        counted = self._counted[answer.task_id]
        if answer.status == "counted" and answer.kind in JUDGEMENTS:
            counted[answer.person_id] = answer.submission_id
        elif answer.revision > 1 or counted.get(answer.person_id) == answer.submission_id:
            counted.pop(answer.person_id, None)

    # ---- at start
    def _load(self) -> None:
        with self._database.read() as cursor:
            self._tasks = claimable_tasks(cursor)
            self._work = sum(map(self._is_work, self._tasks))
            self.eligibility.load(cursor, self._tasks)
            for assignment in open_leases(cursor, self._now()):
                self._restore(assignment)
            self._restore_answers(cursor)
        for task_id in self._tasks:
            self._requeue(task_id)

    def _restore(self, assignment: Assignment) -> None:
        hold = Hold(assignment.task_id, assignment.person_id, assignment)
        if assignment.task_id in self._tasks:
            self._holds[hold.task_id][hold.person_id] = hold
            self._in_hand[hold.person_id][hold.task_id] = hold
            self._leases[assignment.id] = hold
            heapq.heappush(self._expiries, (assignment.expires.timestamp(), assignment.id))

    def _restore_answers(self, cursor: Cursor) -> None:
        for answer in past_answers(cursor):
            self._note_answer(answer)
            if answer.status == "counted" and answer.kind in JUDGEMENTS:
                self._counted[answer.task_id][answer.person_id] = answer.submission_id
