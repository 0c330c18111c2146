"""Invitations: as often as they say, until they expire or are revoked, into a campaign, with or without an account."""

import pytest

from storage.campaigns import create_campaign
from storage.invitations import (
    InvitationInvalid,
    create_invitation,
    invitation,
    invitation_role,
    join_with_account,
    open_invitations,
    redeem_invitation,
    revoke_invitation,
)
from storage.members import members
from storage.people import NameTaken, create_person, people


def test_an_invitation_works_as_often_as_it_says(db):
    token = create_invitation(db, "reviewer", None, uses=2)
    assert invitation_role(db, token) == "reviewer"
    assert redeem_invitation(db, token, "Ann", "long password").role == "reviewer"
    redeem_invitation(db, token, "Bob", "long password")
    with pytest.raises(InvitationInvalid):
        redeem_invitation(db, token, "Cem", "long password")
    assert invitation_role(db, token) is None


def test_an_expired_or_unknown_invitation_is_worth_nothing(db):
    token = create_invitation(db, "annotator", None, hours=-1)
    for worthless in (token, "made-up"):
        with pytest.raises(InvitationInvalid):
            redeem_invitation(db, worthless, "Ann", "long password")


def test_a_taken_name_does_not_use_up_the_invitation(db):
    create_person(db, "Ann", "annotator")
    token = create_invitation(db, "annotator", None)
    with pytest.raises(NameTaken):
        redeem_invitation(db, token, "Ann", "long password")
    assert redeem_invitation(db, token, "Bob", "long password").name == "Bob"


def test_an_invitation_to_a_campaign_makes_a_member(db):
    talk = create_campaign(db, "talk")
    token = create_invitation(db, "annotator", None, campaign_id=talk.id)
    ann = redeem_invitation(db, token, "Ann", "long password")
    assert members(db, talk.id) == [ann]


def test_somebody_with_an_account_joins_with_it_and_keeps_the_role(db):
    talk, ann = create_campaign(db, "talk"), create_person(db, "Ann", "lead")
    token = create_invitation(db, "annotator", None, campaign_id=talk.id, uses=2)
    for _ in range(2):  # the second time nothing is used up
        join_with_account(db, token, ann.id)
    assert members(db, talk.id) == [ann] == people(db)
    assert invitation(db, token).used == 1


def test_an_invitation_without_a_campaign_is_not_used_up_by_an_account(db):
    ann, token = create_person(db, "Ann", "lead"), create_invitation(db, "admin", None)
    join_with_account(db, token, ann.id)
    assert invitation(db, token).used == 0
    assert people(db) == [ann]


def test_a_revoked_invitation_is_worth_nothing(db):
    token = create_invitation(db, "annotator", None)
    [shown] = open_invitations(db)
    assert revoke_invitation(db, shown.id)
    assert not revoke_invitation(db, shown.id)
    assert invitation(db, token) is None
    assert open_invitations(db) == []
    with pytest.raises(InvitationInvalid):
        redeem_invitation(db, token, "Ann", "long password")


def test_a_token_is_not_stored(db):
    token = create_invitation(db, "lead", None)
    with db.read() as cursor:
        assert token not in str(cursor.execute("SELECT * FROM invitation").fetchall())
