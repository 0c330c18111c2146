"""/account: what a person can do for themselves, and for nobody else."""

import re

import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

from storage import api_keys, campaigns, consents, passwords, people
from tests.ui.leads import HOSTILE, new_services, session_of
from ui import account
from ui.auth import COOKIE, Auth

PRESENT, NEW = "the present password", "a new good password"


@pytest.fixture
def site(tmp_path):
    """(database, auth, browser signed in as Ann, Ann)."""
    services = new_services(tmp_path)
    auth, ann = Auth(services, "secret"), people.create_person(services.database, "Ann", "annotator", PRESENT)
    app = Starlette(routes=account.routes(auth))
    browser = TestClient(app, base_url="http://test", follow_redirects=False, cookies={COOKIE: session_of(auth, ann)})
    yield services.database, auth, browser, ann
    services.close()


def test_strangers_see_nothing(site):
    site[2].cookies.clear()
    assert site[2].get("/account").status_code == 401
    for path in ("password", "keys", "keys/revoke", "consents/withdraw", "sign-out"):
        assert site[2].post(f"/account/{path}").status_code == 401


def test_it_tells_what_is_stored(site):
    shown = site[2].get("/account").text
    assert "Ann" in shown and "annotator" in shown and "only a hash is kept" in shown


def test_the_password_changes_by_the_present_one_and_ends_other_sessions(site):
    database, auth, browser, ann = site
    other = session_of(auth, ann)
    assert browser.post("/account/password", data={"present": "wrong", "password": NEW}).status_code == 403
    assert browser.post("/account/password", data={"present": PRESENT, "password": "short"}).status_code == 422
    assert browser.post("/account/password", data={"present": PRESENT, "password": NEW}).status_code == 200
    assert passwords.check_password(database, "Ann", NEW) == ann
    assert auth.person_of_cookie(other) is None
    assert browser.get("/account").status_code == 200


def test_who_signs_in_with_hugging_face_gets_no_password(site):
    database, auth, browser, _ = site
    hub = people.person_of_hub(database, "huggingface", "id-1", "cem", "annotator")
    browser.cookies.set(COOKIE, session_of(auth, hub))
    assert "New password" not in browser.get("/account").text
    assert browser.post("/account/password", data={"password": NEW}).status_code == 409


def test_a_key_is_shown_once_and_revoked_by_its_owner(site):
    database, _, browser, ann = site
    shown = browser.post("/account/keys", data={"label": HOSTILE}).text
    key = re.search(r"rl_[\w-]+", shown)[0]
    assert api_keys.person_by_api_key(database, key) == ann
    assert key not in browser.get("/account").text and "<img src=x" not in shown
    [stored] = api_keys.api_keys(database, ann.id)
    assert browser.post("/account/keys/revoke", data={"key": str(stored.id)}).status_code == 200
    assert api_keys.person_by_api_key(database, key) is None


@pytest.mark.parametrize("number", ["1", "-1", "x", "9" * 30, "²"])
def test_somebody_elses_key_is_not_revoked(site, number):
    database, _, browser, _ = site
    bob = people.create_person(database, "Bob", "lead")
    api_keys.create_api_key(database, bob.id, "x")
    assert browser.post("/account/keys/revoke", data={"key": number}).status_code == 404
    assert len(api_keys.api_keys(database, bob.id)) == 1


def test_keys_are_not_made_without_end(site, monkeypatch):
    monkeypatch.setattr(account, "MOST_KEYS", 2)
    seen = [site[2].post("/account/keys").status_code for _ in range(3)]
    assert seen == [200, 200, 409]


def test_a_consent_is_shown_and_withdrawn(site):
    database, _, browser, ann = site
    talk = campaigns.create_campaign(database, HOSTILE)
    consents.agree(database, ann.id, talk.id, 3)
    shown = browser.get("/account").text
    assert "agreed to version 3" in shown and "<img src=x" not in shown
    assert browser.post("/account/consents/withdraw", data={"campaign": str(talk.id)}).status_code == 200
    assert consents.agreed(database, ann.id, talk.id) is None
    assert browser.post("/account/consents/withdraw", data={"campaign": str(talk.id)}).status_code == 404


def test_signing_out_everywhere_ends_every_session(site):
    _, auth, browser, ann = site
    other = session_of(auth, ann)
    assert browser.post("/account/sign-out").status_code == 303
    assert auth.person_of_cookie(other) is None
    assert browser.get("/account").status_code == 401
