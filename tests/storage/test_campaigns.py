"""Campaigns: names, edits with their history, the current policy and the way back."""

import pytest

from storage.campaigns import (
    campaign,
    campaign_by_name,
    campaigns,
    create_campaign,
    edit_campaign,
    guidelines_history,
    policy_history,
    set_policy,
)
from storage.people import create_person
from storage.records import InvalidRecord


def test_a_campaign_comes_back_as_it_was_made(db):
    made = create_campaign(
        db, "helpful chat", criterion="honest", guidelines="Be kind.", k=5, overlap=3, policy="starter"
    )
    assert campaign(db, made.id) == made == campaign_by_name(db, "Helpful Chat")
    assert campaigns(db) == [made]


def test_a_taken_name_is_refused(db):
    create_campaign(db, "demo")
    with pytest.raises(InvalidRecord, match="no other campaign"):
        create_campaign(db, "Demo")


def test_new_guidelines_get_a_version_and_old_ones_stay(db):
    made = create_campaign(db, "demo", guidelines="first")
    assert edit_campaign(db, made.id, guidelines="second").guidelines_version == 2
    assert edit_campaign(db, made.id, overlap=2).guidelines_version == 2
    assert [row[:2] for row in guidelines_history(db, made.id)] == [(1, "first"), (2, "second")]


def test_a_wrong_edit_changes_nothing(db):
    made = create_campaign(db, "demo")
    for wrong in ({"k": 1}, {"state": "asleep"}, {"colour": "red"}):
        with pytest.raises(InvalidRecord):
            edit_campaign(db, made.id, **wrong)
    assert campaign(db, made.id) == made


def test_a_policy_is_promoted_and_rolled_back(db):
    lead = create_person(db, "Lea", "lead")
    made = create_campaign(db, "demo", policy="starter")
    set_policy(db, made.id, "ppo-1", lead.id, "wins 61 %")
    assert set_policy(db, made.id, "starter", "monitor", "roll back").policy == "starter"
    history = [row[:3] for row in policy_history(db, made.id)]
    assert history[1:] == [("ppo-1", "Lea", "wins 61 %"), ("starter", "monitor", "roll back")]
    assert campaign(db, made.id).policy == "starter"


def test_an_unknown_campaign_is_refused(db):
    with pytest.raises(InvalidRecord, match="campaign"):
        set_policy(db, 5, "ppo-1")
    assert campaign(db, 5) is None
