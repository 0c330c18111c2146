"""Answers excluded and brought back: what counts, what is free again, and what a restart knows."""

import pytest

from storage import rankings
from storage.assignments import Assignments
from storage.exclusions import bring_back, exclude
from storage.records import InvalidRecord
from storage.setups import edit_setup
from tests.conftest import make_campaign
from tests.storage.test_eligibility import answer, answer_all, gold, someone


def one_answer(db, overlap=1, **rest):
    made = make_campaign(db, tasks=1, overlap=overlap)
    pool, person = Assignments(db), someone(db)
    return made, pool, answer(db, pool, person, pool.claim(person), **rest)


def test_an_excluded_answer_comes_back_and_fills_its_place_again(db):
    _, pool, stored = one_answer(db)
    exclude(db, stored.submission_id, "looked careless", 1)
    other = someone(db, "ben")
    assert pool.remaining(other) == 1
    back = bring_back(db, pool, stored.submission_id, "was fine after all", 1)
    assert (back.status, back.reason) == ("counted", "was fine after all")
    assert pool.remaining(other) == 0 and Assignments(db).remaining(other) == 0
    assert rankings.answer_table(db).num_rows == 1


def test_an_answer_whose_place_was_taken_comes_back_as_surplus(db):
    _, pool, stored = one_answer(db)
    exclude(db, stored.submission_id, "looked careless", 1)
    answer_all(db, pool, someone(db, "ben"))
    assert bring_back(db, pool, stored.submission_id, "fine", 1).status == "surplus"
    assert rankings.answer_table(db).num_rows == 1


def test_what_a_rule_excluded_comes_back_too_and_can_be_excluded_again(db):
    made, pool, person = make_campaign(db, tasks=1), None, someone(db)
    pool = Assignments(db)
    edit_setup(db, made.campaign.id, min_seconds=3, on_fast="exclude")
    stored = answer(db, pool, person, pool.claim(person), seconds=1)
    assert bring_back(db, pool, stored.submission_id, "an easy one", 1).status == "counted"
    assert exclude(db, stored.submission_id, "not so easy", 1).status == "excluded"
    assert rankings.answer(db, stored.submission_id).reason == "not so easy"


def test_a_check_comes_back_as_a_check(db):
    made = make_campaign(db)
    gold(db, made, "test")
    pool, person = Assignments(db), someone(db)
    stored = answer(db, pool, person, pool.claim(person))
    exclude(db, stored.submission_id, "the test was wrong", 1)
    assert bring_back(db, pool, stored.submission_id, "it was right", 1).status == "check"


def test_a_watermark_from_before_gives_the_rows_of_then(db):
    _, pool, stored = one_answer(db)
    before = rankings.watermark(db)
    exclude(db, stored.submission_id, "careless", 1)
    between = rankings.watermark(db)
    bring_back(db, pool, stored.submission_id, "fine", 1)
    assert [rankings.answer_table(db, up_to=w).num_rows for w in (before, between, None)] == [1, 0, 1]


def test_only_an_excluded_answer_comes_back_and_only_with_a_reason(db):
    _, pool, stored = one_answer(db)
    with pytest.raises(InvalidRecord, match="counted"):
        bring_back(db, pool, stored.submission_id, "why not", 1)
    exclude(db, stored.submission_id, "careless", 1)
    for given, reason in ((stored.submission_id, " "), ("nothing here", "why not")):
        with pytest.raises(InvalidRecord):
            bring_back(db, pool, given, reason, 1)
