"""Who may do what: every Gradio handler and every HTTP route of the running app, asked by raw HTTP as everybody.

The tables in role_tables.py say from which role on a door opens. A door that stands in none of them fails the
test, and so does a line whose door is gone: a new handler or route needs one line there.
"""

import httpx
import pytest

from storage import api_keys, people
from storage.rankings import answers
from tests.ui import doors
from tests.ui.conftest import Bench
from tests.ui.role_tables import HANDLERS, OPEN_FROM, ROLES, ROUTES


@pytest.fixture(scope="module")
def house(tmp_path_factory):
    """(server, headers by role): one person of each role with an API key; somebody else's page is open."""
    made = Bench(tmp_path_factory.mktemp("matrix"))
    database = made.services.database
    headers = {"nobody": {}}
    for role in ROLES[1:]:
        key = api_keys.create_api_key(database, made.person(role).id, "matrix")
        headers[role] = {"authorization": f"Bearer {key}"}
    yield made, headers
    made.close()


def may(role: str, needed: str) -> bool:
    return needed != "closed" and ROLES.index(role) >= ROLES.index(needed)


def differing(found: set[str], listed: set[str]) -> dict[str, list[str]]:
    return {"not in the table": sorted(found - listed), "gone": sorted(listed - found)}


@pytest.mark.slow
def test_every_handler_stands_in_the_table(house):
    found = {one.name for one in doors.handlers(house[0].server.demo)}
    assert differing(found, set(OPEN_FROM["handlers"])) == {"not in the table": [], "gone": []}


def test_every_route_stands_in_the_table(house):
    found = set(doors.routes(house[0].server.demo.app.routes))
    assert differing(found, set(OPEN_FROM["routes"])) == {"not in the table": [], "gone": []}


def test_no_door_stands_twice():
    for texts in (HANDLERS, ROUTES):
        lines = [line.strip() for text in texts.values() for line in text.splitlines() if line.strip()]
        assert len(lines) == len(set(lines))


@pytest.mark.slow
@pytest.mark.parametrize("role", ROLES)
def test_a_handler_answers_whom_it_may_and_nobody_else(house, role):
    bench, headers = house
    wrong = []
    for one in doors.handlers(bench.server.demo):
        reply, allowed = doors.call_handler(bench.url, one, headers[role], f"page of {role}"), OPEN_FROM["handlers"]
        if doors.refused(reply.status_code, reply.text) == may(role, allowed[one.name]):
            wrong.append((one.name, reply.status_code, reply.text[:200]))
    assert wrong == []


@pytest.mark.slow
@pytest.mark.parametrize("role", ROLES)
def test_a_route_answers_whom_it_may_and_nobody_else(house, role):
    bench, headers = house
    wrong = []
    for route, needed in OPEN_FROM["routes"].items():
        status, text = doors.call_route(bench.url, route, headers[role])
        if needed == "nobody":
            fits = not any(words in text for words in doors.GUARDED)
        elif route.startswith("HEAD"):  # no body says why
            fits = (status in (303, 401, 403, 404)) or may(role, needed)
        else:
            fits = doors.refused(status, text) != may(role, needed)
        if not fits or (status >= 500 and "gradio" not in route):
            wrong.append((route, status, text[:200]))
    assert wrong == []


@pytest.mark.slow
def test_the_page_of_somebody_with_more_rights_gives_none(house):
    """The same calls with the session_hash of an admin's open page."""
    bench, headers = house
    page = "open page of admin"
    with httpx.stream("GET", f"{bench.url}/gradio_api/heartbeat/{page}", headers=headers["admin"]) as owner:
        assert owner.status_code == 200
    listens = httpx.get(f"{bench.url}/gradio_api/queue/data?session_hash={page}", headers=headers["annotator"])
    assert listens.status_code == 403
    for one in doors.handlers(bench.server.demo):
        if not may("annotator", OPEN_FROM["handlers"][one.name]):
            reply = doors.call_handler(bench.url, one, headers["annotator"], page)
            assert doors.refused(reply.status_code, reply.text), one.name


def test_no_handler_for_everybody_reads_what_a_session_keeps(house):
    """Gradio gives anybody who knows a session_hash the State of that session."""
    for event in house[0].server.demo.fns.values():
        if any(type(one).__name__ in ("State", "BrowserState") for one in event.inputs) and event.fn is not None:
            needed = {role for name, role in OPEN_FROM["handlers"].items() if name.endswith(doors.name_of(event.fn))}
            assert needed <= {"lead", "admin"}, doors.name_of(event.fn)


OTHERS_THINGS = [  # requests for another person's assignment, submission, key and consent
    ("/rank/answer", {"submission_id": "stolen-key-1", "assignment": "{assignment}", "kind": "skip"}),
    ("/rank/answer", {"submission_id": "{submission}", "assignment": "{assignment}", "kind": "skip"}),
    ("/rank/renew", {"assignment": "{assignment}"}),
    ("/rank/release", {"assignment": "{assignment}"}),
    ("/rank/revise", {"submission_id": "stolen-key-2", "previous": "{submission}", "kind": "skip"}),
    ("/rank/withdraw", {"submission_id": "{submission}"}),
    ("/api/v1/rankings", {"submission_id": "stolen-key-3", "assignment": "{assignment}", "kind": "skip"}),
]


@pytest.mark.slow
@pytest.mark.parametrize(("path", "body"), OTHERS_THINGS)
def test_another_persons_work_stays_theirs(house, path, body):
    bench, headers = house
    bench.campaign([["one", "two"], ["three", "four"]], overlap=5)
    victim = bench.person()
    own = {"authorization": f"Bearer {api_keys.create_api_key(bench.services.database, victim.id, 'x')}"}
    first = httpx.post(f"{bench.url}/api/v1/tasks/claim", headers=own, json={}).json()["assignment"]
    sent = {"submission_id": f"own-key-{victim.id:03}", "assignment": first, "tiers": [["A"], ["B"]]}
    assert httpx.post(f"{bench.url}/api/v1/rankings", headers=own, json=sent).status_code == 200
    held = httpx.post(f"{bench.url}/api/v1/tasks/claim", headers=own, json={}).json()["assignment"]
    filled = {"{assignment}": held, "{submission}": sent["submission_id"]}
    body = {name: filled.get(value, value) for name, value in body.items()}
    before = answers(bench.services.database)
    httpx.post(bench.url + path, headers=headers["reviewer"], json=body)
    assert answers(bench.services.database) == before
    assert bench.services.pool.live(held).person_id == victim.id


def test_nobody_revokes_anothers_key_or_joins_for_them(house):
    bench, headers = house
    database, victim = bench.services.database, bench.person()
    api_keys.create_api_key(database, victim.id, "x")
    [key] = api_keys.api_keys(database, victim.id)
    reply = httpx.post(f"{bench.url}/account/keys/revoke", headers=headers["lead"], data={"key": key.id})
    assert reply.status_code == 404
    assert api_keys.api_keys(database, victim.id) == [key]
    assert people.session_epoch(database, victim.id) == 0
