"""Accounts: names, passwords, roles, invitations, keys, signing out everywhere."""

import threading

import pytest

from storage.people import (
    InvitationInvalid,
    NameTaken,
    api_keys,
    bump_session_epoch,
    check_password,
    create_api_key,
    create_invitation,
    create_person,
    find_or_create,
    invitation_role,
    people,
    person,
    person_by_api_key,
    person_by_name,
    redeem_invitation,
    revoke_api_key,
    session_epoch,
    set_password,
    set_role,
)
from storage.records import InvalidRecord


def test_names_are_unique_whatever_their_case(db):
    ann = create_person(db, "Ann Lee", "lead")
    with pytest.raises(NameTaken, match="somebody has already"):
        create_person(db, "ann  lee", "annotator")
    assert person_by_name(db, "ANN LEE") == ann == person(db, ann.id)


def test_of_two_people_who_take_a_name_at_once_one_gets_it(db):
    outcomes = []

    def take():
        try:
            outcomes.append(create_person(db, "Ann", "annotator"))
        except NameTaken as error:
            outcomes.append(error)

    threads = [threading.Thread(target=take) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(isinstance(outcome, NameTaken) for outcome in outcomes) == 7
    assert len(people(db)) == 1


def test_only_the_right_password_lets_in(db):
    ann = create_person(db, "Ann", "annotator", "first password")
    assert check_password(db, "ann", "first password") == ann
    assert check_password(db, "ann", "other") is None
    assert check_password(db, "nobody", "first password") is None


def test_a_new_password_replaces_the_old_one(db):
    ann = create_person(db, "Ann", "annotator", "first password")
    set_password(db, ann.id, "second password")
    assert check_password(db, "Ann", "first password") is None
    assert check_password(db, "Ann", "second password") == ann


def test_without_a_password_nobody_signs_in_by_name(db):
    create_person(db, "Ann", "annotator")
    assert check_password(db, "Ann", "") is None


def test_roles_change_and_wrong_ones_are_refused(db):
    ann = create_person(db, "Ann", "annotator")
    assert set_role(db, ann.id, "lead").role == "lead"
    with pytest.raises(InvalidRecord, match="role"):
        set_role(db, ann.id, "emperor")
    with pytest.raises(InvalidRecord, match="person"):
        set_role(db, 99, "lead")


def test_find_or_create_keeps_kinds_apart(db):
    real = create_person(db, "ann", "annotator")
    imported = find_or_create(db, "ann", "imported")
    assert imported.id != real.id
    assert imported.name == "ann (imported)"
    assert find_or_create(db, "Ann", "imported") == imported


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


def test_an_api_key_names_its_person_until_it_is_revoked(db):
    ann = create_person(db, "Ann", "lead")
    key = create_api_key(db, ann.id, "laptop")
    assert key.startswith("rl_")
    assert person_by_api_key(db, key) == ann
    [shown] = api_keys(db, ann.id)
    assert shown.label == "laptop"
    revoke_api_key(db, shown.id)
    assert person_by_api_key(db, key) is None
    assert api_keys(db, ann.id) == []


def test_neither_tokens_nor_keys_nor_passwords_are_stored(db):
    ann = create_person(db, "Ann", "lead", "the password")
    secrets = [create_api_key(db, ann.id, "x"), create_invitation(db, "lead", ann.id), "the password"]
    with db.read() as cursor:
        rows = [
            cursor.execute(f"SELECT * FROM {table}").fetchall()
            for table in ("api_key", "invitation", "person_password")
        ]
    assert not any(secret in str(rows) for secret in secrets)


def test_signing_out_everywhere_starts_a_new_epoch(db):
    ann = create_person(db, "Ann", "lead")
    assert session_epoch(db, ann.id) == 0
    bump_session_epoch(db, ann.id)
    assert session_epoch(db, ann.id) == 1
