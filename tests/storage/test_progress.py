"""How far a campaign is, how fast, and when it ends at that pace."""

from datetime import timedelta

from storage import rankings
from storage.assignments import Assignments
from storage.progress import progress
from tests.conftest import make_campaign
from tests.storage.test_eligibility import answer, answer_all, gold, someone


def test_a_campaign_without_answers_has_no_pace_and_no_end(db):
    told = progress(db, make_campaign(db, tasks=3, overlap=2).campaign.id)
    assert (told.answers, told.wanted, told.left, told.pace, told.end) == (0, 6, 6, 0, None)


def test_the_end_follows_from_what_is_left_and_the_pace_of_active_time(db):
    made = make_campaign(db, tasks=6, overlap=2)
    answer_all(db, Assignments(db), someone(db))
    told = progress(db, made.campaign.id)
    slots = len({a.created.timestamp() // 600 for a in rankings.answers(db)})  # 10 minutes, rarely two of them
    assert (told.answers, told.left, told.hours, told.pace) == (6, 6, slots / 6, 36 / slots)
    assert told.end == told.now + timedelta(hours=6 / told.pace)


def test_answers_of_long_ago_give_no_pace(db):
    made = make_campaign(db)
    answer_all(db, Assignments(db), someone(db))
    now = rankings.answers(db)[0].created
    assert progress(db, made.campaign.id, now + timedelta(days=15)).pace == 0


def test_checks_are_no_progress(db):
    made = make_campaign(db, tasks=2, overlap=1)
    gold(db, made, "test")
    pool, person = Assignments(db), someone(db)
    answer(db, pool, person, pool.claim(person))
    told = progress(db, made.campaign.id)
    assert (told.answers, told.wanted) == (0, 2)
    answer_all(db, pool, person)
    assert progress(db, made.campaign.id).share == 1 and progress(db, made.campaign.id).end is None
