"""The annotators' plain routes over HTTP: who asks comes first, one shape of errors, no cache."""

import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

from storage.database import StorageInterrupted
from tests.ui.leads import new_campaign, new_person, session_of
from ui import rank_page
from ui.auth import COOKIE, Auth
from ui.guard import Guard
from ui.routes import Conflict, route

NAMES = ("next", "answer", "renew", "release", "consent", "revise", "work", "withdraw")


def client_of(services, person=None, routes=None) -> TestClient:
    auth = Auth(services, "secret")
    app = Starlette(routes=routes(auth) if routes else rank_page.routes(services, auth))
    cookies = {COOKIE: session_of(auth, person)} if person else {}
    return TestClient(Guard(app, auth, {}), cookies=cookies, base_url="http://test", raise_server_exceptions=False)


@pytest.mark.parametrize("name", NAMES)
def test_nobody_is_answered_without_a_session(services, name):
    assert client_of(services).post(f"/rank/{name}", content=b"{not json").status_code in (401, 403)


def test_every_route_asks_by_itself_too(services):
    app = Starlette(routes=rank_page.routes(services, Auth(services, "secret")))
    for name in NAMES:
        answer = TestClient(app).post(f"/rank/{name}", content=b"{not json")
        assert answer.status_code == 401 and set(answer.json()) == {"error"}


@pytest.mark.parametrize("name", NAMES)
def test_a_foreign_site_and_a_get_get_nothing(services, name):
    client = client_of(services, new_person(services, "annotator"))
    assert client.post(f"/rank/{name}", json={}, headers={"Origin": "http://evil.example"}).status_code == 403
    assert client.get(f"/rank/{name}").status_code == 405


@pytest.mark.parametrize("body", [b"{not json", b"\xff", b"[]", b'"x"', b"[" * 100_000, b'{"campaign": "x"}'])
def test_what_is_malformed_is_422_in_one_sentence(services, body):
    client = client_of(services, new_person(services, "annotator"))
    answer = client.post("/rank/next", content=body)
    assert answer.status_code == 422 and set(answer.json()) == {"error"}


def test_a_round_by_http(services):
    new_campaign(services)
    client = client_of(services, new_person(services, "annotator"))
    task = client.post("/rank/next", json={}).json()["task"]
    sent = {"submission_id": "key-00000001", "assignment": task["assignment"], "kind": "ranking"}
    answer = client.post("/rank/answer", json=sent | {"tiers": [["A"], ["B"], ["C"]]})
    assert answer.json()["saved"] == "key-00000001" and answer.headers["cache-control"] == "no-store"
    assert client.post("/rank/work", json={}).json()["entries"][0]["said"] == "A > B > C"
    assert client.post("/rank/revise", json={"submission": "key-00000001"}).json()["state"] == "task"
    assert client.post("/rank/revise", json={"submission": "nobody's"}).status_code == 409


@pytest.mark.parametrize(("error", "status"), [(Conflict("late"), 409), (StorageInterrupted("full"), 503)])
def test_what_a_call_raises_is_told_in_its_words(services, error, status):
    def fail(person, sent):
        raise error

    def routes(auth):
        return [route("/rank/x", auth, "annotator", fail)]

    answer = client_of(services, new_person(services, "annotator"), routes).post("/rank/x", json={})
    assert (answer.status_code, answer.json()) == (status, {"error": str(error)})
