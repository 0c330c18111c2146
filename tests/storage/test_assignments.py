"""Claims and leases: the overlap holds exactly, with threads, expiry and restarts."""

import random
import threading
import uuid
from collections import Counter
from contextlib import suppress

import pytest

from storage.assignments import Assignments
from storage.campaigns import edit_campaign
from storage.database import StorageInterrupted
from storage.leases import find_assignment
from storage.people import find_or_create
from storage.rankings import AlreadyAnswered, answers, submit
from storage.records import Submission
from storage.tasks import set_task_priority
from tests.conftest import make_campaign


class Clock:
    """A clock that moves when told to."""

    def __init__(self):
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def pool(campaign_with_tasks, clock):
    return Assignments(campaign_with_tasks.database, lease_seconds=60, clock=clock)


@pytest.fixture
def team(db):
    return [find_or_create(db, f"sim-{n}", "simulated").id for n in range(5)]


def ranked(assignment):
    tiers = tuple((completion_id,) for completion_id in assignment.shown)
    return Submission(uuid.uuid4().hex, assignment.id, "ranking", tiers, 1.0)


def said(assignment, kind):
    return Submission(uuid.uuid4().hex, assignment.id, kind)


def test_a_claim_is_renewed_not_doubled(pool, team, clock):
    first = pool.claim(team[0])
    clock.now += 30
    again = pool.claim(team[0])
    assert (again.id, again.shown) == (first.id, first.shown)
    assert again.expires > first.expires
    assert pool.counts() == {"tasks": 3, "open": 3, "leases": 1}


def test_a_person_gets_the_task_that_others_began(db, pool, team):
    submit(db, pool, team[0], said(pool.claim(team[0]), "skip"))
    begun = pool.claim(team[0])
    submit(db, pool, team[0], ranked(begun))
    assert pool.claim(team[1]).task_id == begun.task_id


def test_the_shown_order_is_a_stored_shuffle_of_the_task(db, pool, team, campaign_with_tasks):
    assignments = [pool.claim(person) for person in team]
    for assignment in assignments:
        task = pool.task(assignment.task_id)
        assert sorted(assignment.shown) == sorted(task.completion_ids)
        assert find_assignment(db, assignment.id) == assignment


def test_the_highest_priority_comes_first(db, pool, team, campaign_with_tasks):
    wanted = campaign_with_tasks.tasks[2].id
    set_task_priority(db, wanted, 1.0)
    assert pool.claim(team[0]).task_id == wanted


def test_no_task_is_leased_beyond_its_overlap(pool, team):
    taken = Counter(pool.claim(person).task_id for person in team)
    assert max(taken.values()) == 2
    assert sum(taken.values()) == 5


def test_skipped_tasks_go_to_others_and_not_back(db, pool, team, campaign_with_tasks):
    for kind in ("skip", "cannot_judge", "skip"):
        submit(db, pool, team[0], said(pool.claim(team[0]), kind))
    assert pool.claim(team[0]) is None
    assert pool.remaining(team[0]) == 0
    assert pool.remaining(team[1]) == 3
    assert pool.claim(team[1]) is not None


def test_an_expired_lease_is_handed_on(db, clock, team):
    made = make_campaign(db, "small", tasks=1, overlap=1)
    pool = Assignments(db, lease_seconds=60, clock=clock)
    late = pool.claim(team[0], made.campaign.id)
    assert pool.claim(team[1], made.campaign.id) is None
    clock.now += 61
    assert pool.live(late.id) is None
    assert pool.claim(team[1], made.campaign.id).task_id == late.task_id


def test_a_late_answer_is_surplus_while_somebody_else_has_the_last_place(db, clock, team):
    made = make_campaign(db, "small", tasks=1, overlap=1)
    pool = Assignments(db, lease_seconds=60, clock=clock)
    late = pool.claim(team[0], made.campaign.id)
    clock.now += 61
    current = pool.claim(team[1], made.campaign.id)
    assert submit(db, pool, team[0], ranked(late)).status == "surplus"
    assert submit(db, pool, team[1], ranked(current)).status == "counted"


def test_a_late_answer_counts_while_there_is_room(db, pool, team, clock):
    late = pool.claim(team[0])
    clock.now += 61
    assert submit(db, pool, team[0], ranked(late)).status == "counted"


def test_a_released_task_can_be_claimed_again(db, pool, team):
    first = pool.claim(team[0])
    pool.release(first.id)
    pool.release(first.id)
    assert pool.live(first.id) is None
    assert pool.counts()["leases"] == 0
    assert pool.claim(team[0]).task_id == first.task_id


def test_paused_and_closed_campaigns_give_nothing(db, pool, team, campaign_with_tasks):
    assignment = pool.claim(team[0])
    edit_campaign(db, campaign_with_tasks.campaign.id, state="paused")
    assert pool.claim(team[0]) is None
    assert pool.remaining(team[1]) == 0
    assert submit(db, pool, team[0], ranked(assignment)).status == "counted"
    edit_campaign(db, campaign_with_tasks.campaign.id, state="open")
    assert pool.claim(team[1]) is not None


def test_claims_may_be_limited_to_a_campaign(db, team):
    one, two = make_campaign(db, "one"), make_campaign(db, "two")
    pool = Assignments(db)
    first = pool.claim(team[0], two.campaign.id)
    assert first.campaign_id == two.campaign.id
    assert pool.claim(team[0], one.campaign.id).campaign_id == one.campaign.id
    assert pool.claim(team[0], two.campaign.id).id == first.id


def test_remaining_counts_tasks_in_hand(db, pool, team):
    assert pool.remaining(team[0]) == 3
    assignment = pool.claim(team[0])
    assert pool.remaining(team[0]) == 3
    submit(db, pool, team[0], ranked(assignment))
    assert pool.remaining(team[0]) == 2


def test_a_restart_finds_leases_and_answers_again(db, pool, team, clock):
    submit(db, pool, team[0], ranked(pool.claim(team[0])))
    held, released = pool.claim(team[0]), pool.claim(team[1])
    pool.release(released.id)
    submit(db, pool, team[2], said(pool.claim(team[2]), "skip"))
    before = pool.counts(), [pool.remaining(person) for person in team]
    again = Assignments(db, lease_seconds=60, clock=clock)
    assert (again.counts(), [again.remaining(person) for person in team]) == before
    assert again.live(held.id) == held
    assert again.live(released.id) is None


def test_a_claim_that_cannot_be_stored_takes_no_place(db, pool, team, monkeypatch):
    def broken(*_, **__):
        raise StorageInterrupted("disk full")

    with monkeypatch.context() as patch:
        patch.setattr(db, "join", broken)
        with pytest.raises(StorageInterrupted):
            pool.claim(team[0])
    assert pool.counts() == {"tasks": 3, "open": 3, "leases": 0}


def test_unknown_assignments_are_not_found(db, pool):
    assert find_assignment(db, "nothing") is None
    assert pool.live("nothing") is None


def test_a_lease_does_not_run_out_while_its_answer_is_being_stored(db, clock, team, monkeypatch):
    made = make_campaign(db, "small", tasks=1, overlap=1)
    pool = Assignments(db, lease_seconds=60, clock=clock)
    assignment, store = pool.claim(team[0], made.campaign.id), db.join

    def slow_disk(*args, **kwargs):
        clock.now += 61
        assert pool.claim(team[1], made.campaign.id) is None
        return store(*args, **kwargs)

    monkeypatch.setattr(db, "join", slow_disk)
    assert submit(db, pool, team[0], ranked(assignment)).status == "counted"


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_the_overlap_holds_exactly_with_threads_expiry_and_late_answers(db, clock, seed):
    """20 annotators claim, answer twice at once, skip, dawdle and come late; the invariant is watched all the time."""
    made = make_campaign(db, "busy", tasks=12, overlap=3)
    pool = Assignments(db, lease_seconds=50, clock=clock)
    people = [find_or_create(db, f"busy-{n}", "simulated").id for n in range(20)]
    watch = Watch(pool)
    workers = [threading.Thread(target=watch.over, args=(annotate, db, pool, clock, p, seed)) for p in people]
    for thread in [watch, *workers]:
        thread.start()
    for thread in workers:
        thread.join(60)
    watch.stop()
    stored = answers(db, made.campaign.id)
    counted = Counter(a.task_id for a in stored if a.status == "counted" and a.kind == "ranking")
    assert watch.failures == []
    assert max(counted.values()) <= 3
    assert len({(a.task_id, a.person_id) for a in stored}) == len(stored)
    assert {t: len(p) for t, p in pool._counted.items() if p} == dict(counted)
    clock.now += 51
    assert pool.counts()["leases"] == 0
    assert Assignments(db, clock=clock).counts() == pool.counts()


class Watch(threading.Thread):
    """Looks at the pool all the time, and keeps what the workers raise."""

    def __init__(self, pool):
        super().__init__(daemon=True)
        self.pool, self.failures, self._stopped = pool, [], threading.Event()

    def run(self):
        while not self._stopped.wait(0.0005):
            with self.pool._lock:
                for task_id, task in self.pool._tasks.items():
                    taken = self.pool._counted[task_id].keys() | self.pool._holds[task_id].keys()
                    if len(taken) > task.overlap:
                        self.failures.append(task_id)

    def over(self, work, *args):
        try:
            work(*args)
        except BaseException as error:
            self.failures.append(error)

    def stop(self):
        self._stopped.set()
        self.join()


def annotate(db, pool, clock, person_id, seed):
    """What a hurried annotator does: some tasks are left lying until the lease has run out, and answered later."""
    rng, lying = random.Random(1000 * seed + person_id), []
    for _ in range(40):
        assignment = pool.claim(person_id)
        if assignment is None:
            break
        choice = rng.random()
        if choice < 0.4:
            clock.now += 30
            lying.append(assignment)
        elif choice < 0.5:
            submit(db, pool, person_id, said(assignment, "skip"))
        else:
            _twice_at_once(db, pool, person_id, ranked(assignment))
        if lying and rng.random() < 0.3:
            with suppress(AlreadyAnswered):
                submit(db, pool, person_id, ranked(lying.pop(0)))


def _twice_at_once(db, pool, person_id, submission):
    """The network resent the click: both calls succeed, one answer is stored."""
    results = []
    threads = [
        threading.Thread(target=lambda: results.append(submit(db, pool, person_id, submission))) for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 2 and results[0].seq == results[1].seq
