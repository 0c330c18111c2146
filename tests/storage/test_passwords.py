"""Passwords and the one-time links that set them."""

import pytest

from storage.passwords import (
    PasswordLinkInvalid,
    check_password,
    create_password_link,
    has_password,
    person_of_link,
    redeem_password_link,
    set_password,
)
from storage.people import create_person, set_active


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


def test_a_deactivated_person_has_no_right_password(db):
    ann = create_person(db, "Ann", "annotator", "first password")
    set_active(db, ann.id, False)
    assert check_password(db, "Ann", "first password") is None


def test_a_link_sets_a_password_once(db):
    ann = create_person(db, "Ann", "annotator")
    token = create_password_link(db, ann.id, None)
    assert person_of_link(db, token) == ann.id
    assert redeem_password_link(db, token, "second password") == ann.id
    assert has_password(db, ann.id)
    with pytest.raises(PasswordLinkInvalid):
        redeem_password_link(db, token, "third password")
    assert check_password(db, "Ann", "second password") == ann


def test_only_the_newest_link_counts_and_none_after_a_new_password(db):
    ann = create_person(db, "Ann", "annotator")
    old, new = create_password_link(db, ann.id, None), create_password_link(db, ann.id, None)
    assert (person_of_link(db, old), person_of_link(db, new)) == (None, ann.id)
    set_password(db, ann.id, "second password")
    assert person_of_link(db, new) is None


def test_an_expired_or_unknown_link_and_one_of_a_deactivated_person_are_worth_nothing(db):
    ann, bob = create_person(db, "Ann", "annotator"), create_person(db, "Bob", "annotator")
    late, closed = create_password_link(db, ann.id, None, hours=-1), create_password_link(db, bob.id, None)
    set_active(db, bob.id, False)
    assert [person_of_link(db, token) for token in (late, closed, "made-up")] == [None] * 3


def test_neither_passwords_nor_links_are_stored(db):
    ann = create_person(db, "Ann", "annotator", "the password")
    token = create_password_link(db, ann.id, None)
    with db.read() as cursor:
        rows = [cursor.execute(f"SELECT * FROM {table}").fetchall() for table in ("person_password", "password_link")]
    assert "the password" not in str(rows)
    assert token not in str(rows)
