"""Pseudonyms: stable, random, unique; and whom an export hides."""

from storage import people
from storage.assignments import Assignments
from storage.pseudonyms import hidden_people, numbers, pseudonym, shown_names
from storage.rankings import submit
from storage.records import Submission
from storage.setups import edit_setup
from storage.summaries import per_annotator
from tests.conftest import make_campaign


def answered(db, *campaigns):
    """Ann answers once in each campaign; her id."""
    pool, ann = Assignments(db), people.create_person(db, "Ann", "annotator")
    for number, one in enumerate(campaigns):
        held = pool.claim(ann.id, one.campaign.id)
        tiers = tuple((completion,) for completion in held.shown)
        submit(db, pool, ann.id, Submission(f"key-0000{number}", held.id, "ranking", tiers))
    return ann.id


def test_a_pseudonym_stays_and_is_nobody_elses(db):
    ids = [people.create_person(db, f"p{number}", "annotator").id for number in range(50)]
    first = numbers(db, ids)
    assert numbers(db, ids[:3]) == {one: first[one] for one in ids[:3]}
    assert len(set(first.values())) == 50


def test_a_pseudonym_reads_like_a_name():
    assert pseudonym(0x7F3A) == "annotator-7f3a"


def test_without_the_setting_names_are_shown(db):
    ann = answered(db, made := make_campaign(db))
    assert shown_names(db, made.campaign.id, {ann: "Ann"}) == {ann: "Ann"}
    assert per_annotator(db, made.campaign.id)[0]["name"] == "Ann"


def test_with_the_setting_no_name_is_shown(db):
    ann = answered(db, made := make_campaign(db))
    edit_setup(db, made.campaign.id, pseudonyms=True)
    shown = shown_names(db, made.campaign.id, {ann: "Ann"})
    assert shown == {ann: pseudonym(numbers(db, [ann])[ann])}
    assert per_annotator(db, made.campaign.id)[0]["name"] == shown[ann]


def test_an_export_of_everything_hides_whoever_is_hidden_anywhere(db):
    open_one, secret = make_campaign(db, "open"), make_campaign(db, "secret")
    ann = answered(db, open_one, secret)
    edit_setup(db, secret.campaign.id, pseudonyms=True)
    hidden = numbers(db, [ann])
    assert hidden_people(db, open_one.campaign.id) == {}
    assert hidden_people(db, secret.campaign.id) == hidden == hidden_people(db, None)
