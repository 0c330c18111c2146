"""Figures per rule and per annotator, and the alarm of a rule that excludes too much."""

from storage import exclusions, quality
from storage.assignments import Assignments
from storage.setups import edit_setup
from tests.conftest import make_campaign
from tests.storage.test_eligibility import answer, answer_all, gold, someone


def fast_campaign(db, tasks=20, fast=3, **choices):
    """A campaign where the first answers are too fast and excluded."""
    made = make_campaign(db, tasks=tasks)
    pool, person = Assignments(db), someone(db)
    edit_setup(db, made.campaign.id, min_seconds=3, on_fast="exclude", **choices)
    for number in range(tasks):
        answer(db, pool, person, pool.claim(person), seconds=1 if number < fast else 5)
    return made, person


def test_a_rule_that_excludes_more_than_its_share_raises_an_alarm(db):
    made, _ = fast_campaign(db)
    (rule,) = quality.exclusions(db, made.campaign.id)
    assert (rule.rule, rule.excluded, rule.answers, rule.alarm) == ("too fast", 3, 20, True)
    assert quality.alarms(db, made.campaign.id) == ["The rule “too fast” excludes 15% of 20 answers; 10% are allowed."]


def test_few_answers_and_an_allowed_share_raise_none(db):
    few, _ = fast_campaign(db, tasks=19, fast=19)
    assert quality.alarms(db, few.campaign.id) == []


def test_a_share_that_is_allowed_raises_no_alarm(db):
    made, _ = fast_campaign(db, alarm_share=0.15)
    assert quality.alarms(db, made.campaign.id) == []


def test_what_a_lead_excludes_is_counted_apart_and_raises_no_alarm(db):
    made = make_campaign(db, tasks=20)
    done = answer_all(db, Assignments(db), someone(db))
    for one in done[:10]:
        exclusions.exclude(db, one.submission_id, "careless: see chat", 1)
    (rule,) = quality.exclusions(db, made.campaign.id)
    assert (rule.rule, rule.excluded, rule.alarm) == ("by hand", 10, False)


def test_each_annotator_has_pace_share_of_fast_answers_and_state(db):
    made, person = fast_campaign(db)
    (row,) = quality.annotators(db, made.campaign.id)
    assert (row.person_id, row.answers, row.counted, row.excluded) == (person, 20, 17, 3)
    assert (row.seconds, row.fast, row.state) == (5, 0.15, "active")


def test_checks_and_repeats_are_scored_per_annotator(db):
    made = make_campaign(db, tasks=20, overlap=1)
    pool, person = Assignments(db), someone(db)
    gold(db, made, "test", 2)
    edit_setup(db, made.campaign.id, repeat_share=0.1)
    wrong = {0: ((4,), (3,), (2,), (1,))}
    count = 0
    while assignment := pool.claim(person):
        tiers = tuple((c,) for c in sorted(assignment.shown, reverse=count in wrong))
        answer(db, pool, person, assignment, tiers)
        count += 1
    (row,) = quality.annotators(db, made.campaign.id)
    assert row.checks == {"test": (0.5, 2), "repeat": (1.0, 2)}
    assert row.answers == 20


def test_a_repeat_of_a_task_that_was_all_tied_is_compared_with_the_tie(db):
    made = make_campaign(db, tasks=12, overlap=1)
    pool, person = Assignments(db), someone(db)
    edit_setup(db, made.campaign.id, repeat_share=0.1)
    while assignment := pool.claim(person):
        tiers = (tuple(assignment.shown),) if assignment.purpose == "work" else None
        answer(db, pool, person, assignment, tiers)
    (row,) = quality.annotators(db, made.campaign.id)
    assert row.checks == {"repeat": (0.0, 1)}


def test_names_give_way_to_pseudonyms_where_the_campaign_asks(db):
    made, _ = fast_campaign(db, pseudonyms=True)
    assert quality.annotators(db, made.campaign.id)[0].name.startswith("annotator-")
