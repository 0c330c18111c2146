"""API keys: shown once, stored hashed, last used, revoked."""

from storage.api_keys import api_keys, create_api_key, person_by_api_key, revoke_api_key
from storage.people import create_person, set_active


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


def test_the_last_use_is_noted_but_not_each(db):
    ann = create_person(db, "Ann", "lead")
    key = create_api_key(db, ann.id, "laptop")
    assert api_keys(db, ann.id)[0].used is None
    for _ in range(3):
        person_by_api_key(db, key)
    assert api_keys(db, ann.id)[0].used is not None
    with db.read() as cursor:
        assert cursor.execute("SELECT count(*) FROM api_key_use").fetchall() == [(1,)]


def test_a_key_of_a_deactivated_person_is_nobodys(db):
    ann = create_person(db, "Ann", "lead")
    key = create_api_key(db, ann.id, "laptop")
    set_active(db, ann.id, False)
    assert person_by_api_key(db, key) is None


def test_somebody_elses_key_is_not_revoked(db):
    ann, bob = create_person(db, "Ann", "lead"), create_person(db, "Bob", "lead")
    key = create_api_key(db, ann.id, "laptop")
    assert not revoke_api_key(db, api_keys(db, ann.id)[0].id, bob.id)
    assert person_by_api_key(db, key) == ann


def test_a_key_is_not_stored(db):
    key = create_api_key(db, create_person(db, "Ann", "lead").id, "x")
    with db.read() as cursor:
        assert key not in str(cursor.execute("SELECT * FROM api_key").fetchall())
