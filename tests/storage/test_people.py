"""Accounts: names, roles, active or not, signing out everywhere, accounts of the Hub."""

import threading

import pytest

from storage import people as accounts
from storage.assignments import Assignments
from storage.people import (
    NameTaken,
    bump_session_epoch,
    create_person,
    find_or_create,
    note_sign_in,
    people,
    person,
    person_by_name,
    person_of_hub,
    session_epoch,
    set_active,
    set_role,
)
from storage.rankings import submit
from storage.records import InvalidRecord, Submission


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


def test_signing_out_everywhere_starts_a_new_epoch(db):
    ann = create_person(db, "Ann", "lead")
    assert session_epoch(db, ann.id) == 0
    bump_session_epoch(db, ann.id)
    assert session_epoch(db, ann.id) == 1


def test_a_deactivated_person_is_marked_and_signed_out(db):
    ann = create_person(db, "Ann", "lead")
    assert not set_active(db, ann.id, False).active
    assert session_epoch(db, ann.id) == 1
    assert set_active(db, ann.id, True).active


def test_an_account_tells_what_the_person_did(campaign_with_tasks):
    db, pool = campaign_with_tasks.database, Assignments(campaign_with_tasks.database)
    ann = create_person(db, "Ann", "annotator")
    assert accounts.account(db, ann.id).seen is None
    held = pool.claim(ann.id)
    submit(db, pool, ann.id, Submission("key-00001", held.id, "ranking", tuple((one,) for one in held.shown)))
    told = accounts.account(db, ann.id)
    assert (told.answers, told.campaigns) == (1, (campaign_with_tasks.campaign.id,))
    note_sign_in(db, ann.id, "password")
    assert accounts.account(db, ann.id).seen > told.seen


def test_the_hub_is_known_by_its_own_id_and_never_takes_an_account_over(db):
    local = create_person(db, "Ann", "admin")
    first = person_of_hub(db, "huggingface", "id-1", "Ann", "annotator")
    assert first.id != local.id
    assert first.name == "Ann (2)"
    assert person_of_hub(db, "huggingface", "id-1", "Renamed", "annotator") == first


def test_a_role_given_on_the_page_lasts_until_the_list_changes(db):
    ann = person_of_hub(db, "huggingface", "id-1", "ann", "annotator")
    set_role(db, ann.id, "reviewer")
    assert person_of_hub(db, "huggingface", "id-1", "ann", "annotator").role == "reviewer"
    assert person_of_hub(db, "huggingface", "id-1", "ann", "lead").role == "lead"
