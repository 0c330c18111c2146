"""Consents: agreed to a version, withdrawn, and told back."""

import pytest

from storage.campaigns import create_campaign
from storage.consents import agree, agreed, consents, withdraw
from storage.people import create_person
from storage.records import InvalidRecord


@pytest.fixture
def ann(db):
    create_campaign(db, "talk")
    return create_person(db, "Ann", "annotator").id


def test_nobody_has_agreed_unasked(db, ann):
    assert agreed(db, ann, 1) is None
    assert consents(db, ann) == []


def test_the_last_version_agreed_to_counts(db, ann):
    for version in (1, 1, 2):
        agree(db, ann, 1, version)
    assert agreed(db, ann, 1) == 2
    [told] = consents(db, ann)
    assert (told.campaign, told.version) == ("talk", 2)
    with db.read() as cursor:
        assert cursor.execute("SELECT count(*) FROM consent").fetchall() == [(2,)]


def test_a_consent_can_be_withdrawn_and_given_again(db, ann):
    agree(db, ann, 1, 1)
    withdraw(db, ann, 1)
    assert agreed(db, ann, 1) is None
    assert consents(db, ann)[0].version is None
    agree(db, ann, 1, 1)
    assert agreed(db, ann, 1) == 1


def test_withdrawing_what_was_never_given_stores_nothing(db, ann):
    withdraw(db, ann, 1)
    assert consents(db, ann) == []


@pytest.mark.parametrize(("person", "campaign", "version"), [(99, 1, 1), (1, 99, 1), (1, 1, 0)])
def test_a_consent_needs_a_person_a_campaign_and_a_version(db, ann, person, campaign, version):
    with pytest.raises(InvalidRecord):
        agree(db, person, campaign, version)
