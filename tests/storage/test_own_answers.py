from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from storage import campaigns, rankings
from storage.assignments import Assignments
from storage.details import Detail, Scale
from storage.own_answers import (
    answered_tasks,
    guidelines_known,
    own_answer,
    own_answers,
    pace,
    said,
    told_status,
)
from storage.people import create_person
from storage.records import Submission
from storage.setups import DEFAULT, edit_setup
from tests.conftest import make_campaign


@pytest.fixture
def made(db):
    return make_campaign(db, tasks=5)


@pytest.fixture
def pool(made):
    return Assignments(made.database)


@pytest.fixture
def ann(db):
    return create_person(db, "ann", "annotator").id


def answer(db, pool, person, key, kind="ranking", seconds=10.0, **detail):
    claimed = pool.claim(person)
    tiers = tuple((c,) for c in claimed.shown) if kind == "ranking" else ()
    sent = Submission(key, claimed.id, kind, tiers, seconds, Detail(**detail))
    return rankings.submit(db, pool, person, sent)


def test_answers_come_newest_first_and_page_by_page(db, pool, ann):
    for n in range(4):
        answer(db, pool, ann, f"key-0000{n}")
    first = own_answers(db, ann, limit=3)
    assert [one.submission_id for one in first] == ["key-00003", "key-00002", "key-00001"]
    assert [one.submission_id for one in own_answers(db, ann, before=first[-1].seq)] == ["key-00000"]
    assert first[0].campaign == "demo" and first[0].prompt.startswith("demo: question")


def test_nobody_sees_the_answers_of_others(db, pool, ann):
    answer(db, pool, ann, "key-00001")
    ben = create_person(db, "ben", "annotator").id
    assert own_answers(db, ben) == []
    assert own_answer(db, ben, "key-00001") is None


def test_search_finds_prompts_completions_and_rationales(db, pool, ann):
    edit_setup(db, 1, rationale="optional")
    first = answer(db, pool, ann, "key-00001", rationale="Wonderful 100% _rhymes_")
    answer(db, pool, ann, "key-00002")
    number = pool.task(first.task_id).prompt_id.split("-")[1]
    for words in (f"QUESTION {number}", f"answer 2 to demo-{number}", "wonderful", "100% _"):
        assert [one.submission_id for one in own_answers(db, ann, words)] == ["key-00001"]
    assert own_answers(db, ann, "content") == [] and own_answers(db, ann, "%") != own_answers(db, ann)


def test_a_revision_takes_the_place_of_what_it_revises(db, pool, ann):
    first = answer(db, pool, ann, "key-00001")
    again = Submission("key-00002", first.assignment_id, "all_bad", (), 3.0)
    rankings.revise(db, ann, "key-00001", again)
    (shown,) = own_answers(db, ann)
    assert (shown.submission_id, shown.status, said(shown)) == ("key-00002", "revised", "all bad")
    assert own_answer(db, ann, "key-00001") is None


def test_a_withdrawn_answer_says_so_and_counts_no_more(db, pool, ann):
    first = answer(db, pool, ann, "key-00001")
    rankings.revise(db, ann, "key-00001", Submission("key-00002", first.assignment_id, "skip"))
    assert said(own_answers(db, ann)[0]) == "withdrawn"
    assert pace(db, ann).total == 0 and answered_tasks(db, ann) == []


def test_answers_of_a_closed_campaign_and_excluded_ones_are_not_revisable(db, pool, made, ann):
    answer(db, pool, ann, "key-00001")
    answer(db, pool, ann, "key-00002")
    rankings.exclude(db, "key-00001", "copied")
    told = {one.submission_id: one for one in own_answers(db, ann)}
    assert (told["key-00001"].status, told["key-00001"].reason) == ("excluded", "copied")
    assert [told[key].revisable for key in ("key-00001", "key-00002")] == [False, True]
    campaigns.edit_campaign(db, made.campaign.id, state="closed")
    assert not own_answer(db, ann, "key-00002").revisable


def test_a_check_is_told_like_any_other_answer():
    strict = replace(DEFAULT, on_fast="exclude", min_seconds=3.0)
    assert told_status("check", "gold: 0% agreement", "gold", "ranking", 9.0, strict) == ("saved", "")
    assert told_status("check", "gold: 0% agreement", "gold", "ranking", 1.0, strict)[0] == "excluded"
    assert told_status("check", "gold: 0% agreement", "gold", "ranking", 1.0, DEFAULT) == ("saved", "")
    assert told_status("counted", "", "work", "ranking", 9.0, strict) == ("saved", "")


def test_what_was_said_is_told_in_letters(db, pool, ann):
    answer(db, pool, ann, "key-00001")
    assert said(own_answers(db, ann)[0]) == "A > B > C > D"
    answer(db, pool, ann, "key-00002", kind="cannot_judge")
    assert said(own_answers(db, ann)[0]) == "can't judge"
    one = replace(own_answers(db, ann)[0], kind="ranking", shown=(7, 5), completion_ids=(5, 7))
    assert said(replace(one, ranks=(1, 1))) == "A = B"
    assert said(replace(one, ranks=(1, 2), detail=Detail(grade=3))) == "B significantly better than A"
    assert said(replace(one, ranks=(1, 1), detail=Detail(grade=0, both_good=True))) == "both good"
    assert said(replace(one, kind="thumbs", ranks=None, detail=Detail(thumbs={5: 1, 7: -1}))) == "up: B; down: A"
    rated = Detail(ratings={5: {"x": 4, "y": 5}, 7: {"x": 2, "y": 2}})
    assert said(replace(one, kind="ratings", ranks=None, detail=rated)) == "A 2, B 4.5"


def test_pace_counts_days_and_active_time_without_long_breaks(db, pool, ann):
    for n, seconds in enumerate((20.0, 40.0, 80_000.0)):
        answer(db, pool, ann, f"key-0000{n}", seconds=seconds)
    told = pace(db, ann)
    assert (told.today, told.total, told.seconds, told.median_seconds) == (3, 3, 1860.0, 40.0)
    assert told.per_hour == pytest.approx(3 * 3600 / 1860)
    assert len(told.days) == 30 and told.days[-1][1] == 3
    tomorrow = pace(db, ann, now=datetime.now(UTC) + timedelta(days=1))
    assert (tomorrow.today, tomorrow.total, [n for _, n in tomorrow.days[-2:]]) == (0, 3, [3, 0])


def test_a_day_begins_where_the_person_is(db, pool, ann):
    given = answer(db, pool, ann, "key-00001").created
    midnight = given.replace(hour=0, minute=0, second=0, microsecond=0)
    minutes = int((given - midnight).total_seconds() // 60) + 1
    assert pace(db, ann, offset_minutes=0, now=given).today == 1
    behind = pace(db, ann, offset_minutes=-min(minutes, 840), now=given + timedelta(days=1))
    assert behind.total == 1 and behind.today == 0


def test_pace_of_somebody_who_has_done_nothing(db, ann):
    told = pace(db, ann)
    assert (told.today, told.total, told.median_seconds, told.per_hour) == (0, 0, None, None)


def test_the_guidelines_somebody_has_worked_under_are_known(db, pool, made, ann):
    answer(db, pool, ann, "key-00001")
    campaigns.edit_campaign(db, made.campaign.id, guidelines="New.")
    assert guidelines_known(db, ann) == {made.campaign.id: 1}
    answer(db, pool, ann, "key-00002")
    assert guidelines_known(db, ann) == {made.campaign.id: 2}


def test_ratings_are_read_back_by_completion(db, pool, ann):
    edit_setup(db, 1, form="ratings", scales=[Scale("overall quality", overall=True)])
    claimed = pool.claim(ann)
    rated = {c: {"overall quality": n + 1} for n, c in enumerate(claimed.shown)}
    rankings.submit(db, pool, ann, Submission("key-00001", claimed.id, "ratings", (), 5.0, Detail(ratings=rated)))
    assert said(own_answers(db, ann)[0]) == "A 1, B 2, C 3, D 4"
