"""Who may do what: every Gradio handler and every HTTP route of the running app, asked by raw HTTP as everybody.

The tables below say from which role on a door opens. A door that stands in none of them fails the test, and so does a
line whose door is gone: a new handler or route needs one line here.
"""

import httpx
import pytest

from storage import api_keys, people
from storage.rankings import answers
from tests.ui import doors
from tests.ui.conftest import Bench

ROLES = ("nobody", "annotator", "reviewer", "lead", "admin")

HANDLERS = {
    "annotator": """
        / ui.navigation.build.on_load
        /work ui.navigation.build.on_load
    """,
    "reviewer": """
        /leaderboard ui.navigation.build.on_load
        /leaderboard ui.leaderboard_page.open_page
        /leaderboard ui.leaderboard_page.choose
    """,
    "lead": """
        /campaigns ui.navigation.build.on_load
        /campaigns ui.campaigns_page.open_page
        /campaigns ui.campaigns_page.create
        /campaigns ui.campaigns_page.refresh
        /campaigns ui.campaign_data.add_prompts
        /campaigns ui.campaign_data.import_here
        /campaigns ui.campaign_data.import_upload
        /campaigns ui.campaign_data.open_data
        /campaigns ui.campaign_form.preview
        /campaigns ui.campaign_form.save
        /campaigns ui.campaign_form.use_scales
        /campaigns ui.campaign_form.write_completions
        /campaigns ui.campaign_members.add
        /campaigns ui.campaign_members.open_members
        /campaigns ui.campaign_members.remove
        /campaigns ui.campaign_quality.act_on_answer
        /campaigns ui.campaign_quality.act_on_person
        /campaigns ui.campaign_quality.open_quality
        /campaigns ui.campaign_quality.show_answers
        /campaigns ui.campaign_tasks.act_on_list
        /campaigns ui.campaign_tasks.assign_found
        /campaigns ui.campaign_tasks.assign_task
        /campaigns ui.campaign_tasks.make_check
        /campaigns ui.campaign_tasks.open_list
        /campaigns ui.campaign_tasks.search
        /campaigns ui.campaigns_page.act
        /campaigns ui.campaigns_page.after_import
        /preview ui.navigation.build.on_load
        /runs ui.navigation.build.on_load
        /runs ui.runs_page.open_page
        /runs ui.runs_page.change_kind
        /runs ui.runs_page.start_run
        /runs ui.runs_page.act_on_list
        /runs ui.runs_page.cancel_run
        /runs ui.runs_page.show_end
        /runs ui.runs_page.refresh
        /runs ui.run_actions.save_marks
        /runs ui.runs_page.act_on_run
        /runs ui.runs_page.check_run
        /runs ui.runs_page.compare
        /runs ui.runs_page.marks
        /leaderboard ui.leaderboard_page.act
        /leaderboard ui.leaderboard_page.compare
        /people ui.navigation.build.on_load
        /people ui.people_page.open_page
        /people ui.people_page.filter_people
        /people ui.people_page.invite
        /people ui.people_page.act_on_invitation
    """,
    "admin": """
        /people ui.people_page.act_on_person
    """,
}

ROUTES = {
    "nobody": """
        GET /healthz
        GET /vendor/*
        GET /login
        POST /login
        GET /join
        POST /join
        GET /password
        POST /password
        GET /logout
        POST /logout
        GET /favicon.ico
        GET /robots.txt
        GET /theme.css
        GET /gradio_api/theme.css
        GET /gradio_api/startup-events
        GET /static/{path:path}
        GET /assets/{path:path}
        GET /api/v1/openapi.json
    """,
    "annotator": """
        GET /
        HEAD /
        GET /work
        GET /work/
        GET /account
        POST /account/sign-out
        POST /account/password
        POST /account/keys
        POST /account/keys/revoke
        POST /account/consents/withdraw
        GET /rank/board
        GET /board_worker.js
        POST /rank/next
        POST /rank/answer
        POST /rank/renew
        POST /rank/release
        POST /rank/consent
        POST /rank/revise
        POST /rank/work
        POST /rank/withdraw
        GET /api/v1/me
        POST /api/v1/tasks/claim
        POST /api/v1/rankings
        GET /api/v1/answers
        POST /api/v1/answers/{submission}/revise
        POST /api/v1/tasks/{assignment}/release
        POST /api/v1/tasks/{assignment}/renew
        GET /gradio_api/login_check
        GET /gradio_api/login_check/
        GET /gradio_api/app_id
        GET /gradio_api/app_id/
        GET /gradio_api/heartbeat/{session_hash}
        POST /gradio_api/reset
        POST /gradio_api/reset/
        POST /gradio_api/api/{api_name}
        POST /gradio_api/api/{api_name}/
        POST /gradio_api/run/{api_name}
        POST /gradio_api/run/{api_name}/
        POST /gradio_api/call/{api_name}
        POST /gradio_api/call/{api_name}/
        POST /gradio_api/call/v2/{api_name}
        POST /gradio_api/call/v2/{api_name}/
        GET /gradio_api/call/{api_name}/{event_id}
        GET /gradio_api/call/v2/{api_name}/{event_id}
        POST /gradio_api/queue/join
        GET /gradio_api/queue/data
        GET /gradio_api/queue/status
        POST /gradio_api/cancel
        POST /gradio_api/component_server
        POST /gradio_api/component_server/
    """,
    "reviewer": """
        GET /leaderboard
        GET /leaderboard/
    """,
    "lead": """
        GET /campaigns
        GET /campaigns/
        GET /preview
        GET /preview/
        POST /preview/next
        GET /runs
        GET /runs/
        GET /people
        GET /people/
        GET /api/v1/campaigns
        POST /api/v1/campaigns
        PATCH /api/v1/campaigns/{campaign}
        GET /api/v1/campaigns/{campaign}/policy
        POST /api/v1/campaigns/{campaign}/policy
        DELETE /api/v1/campaigns/{campaign}/checks/{task_id}
        DELETE /api/v1/campaigns/{campaign}/members/{person_id}
        GET /api/v1/campaigns/{campaign}
        GET /api/v1/campaigns/{campaign}/annotators
        GET /api/v1/campaigns/{campaign}/answers
        GET /api/v1/campaigns/{campaign}/checks
        GET /api/v1/campaigns/{campaign}/guidelines
        GET /api/v1/campaigns/{campaign}/members
        GET /api/v1/campaigns/{campaign}/quality
        GET /api/v1/campaigns/{campaign}/setup
        GET /api/v1/campaigns/{campaign}/tasks
        GET /api/v1/campaigns/{campaign}/tasks/{task_id}
        PATCH /api/v1/campaigns/{campaign}/setup
        PATCH /api/v1/campaigns/{campaign}/tasks/{task_id}
        POST /api/v1/campaigns/{campaign}/assignments
        POST /api/v1/campaigns/{campaign}/checks
        POST /api/v1/campaigns/{campaign}/members
        PUT /api/v1/campaigns/{campaign}/annotators/{person_id}
        PUT /api/v1/campaigns/{campaign}/answers/{submission_id}
        POST /api/v1/runs/preflight
        GET /api/v1/versions
        GET /api/v1/report
        POST /api/v1/imports
        GET /api/v1/exports/{form}
        GET /api/v1/runs
        POST /api/v1/runs
        GET /api/v1/runs/{run_id}
        PATCH /api/v1/runs/{run_id}
        DELETE /api/v1/runs/{run_id}
        GET /api/v1/runs/{run_id}/metrics
        POST /api/v1/runs/{run_id}/cancel
        POST /api/v1/runs/{run_id}/resume
        POST /api/v1/runs/{run_id}/again
        GET /api/v1/runs/{run_id}/events
        GET /api/v1/invitations
        POST /api/v1/invitations
        DELETE /api/v1/invitations/{invitation_id}
        GET /gradio_api/file={path_or_url:path}
        HEAD /gradio_api/file={path_or_url:path}
        GET /gradio_api/file/{path:path}
        POST /gradio_api/upload
        GET /gradio_api/upload_progress
    """,
    "admin": """
        GET /config
        GET /config/
        GET /openapi.json
        GET /gradio_api/info
        GET /gradio_api/info/
        GET /gradio_api/openapi.json
        GET /api/v1/people
        POST /api/v1/people
        POST /api/v1/people/{person_id}/role
        POST /api/v1/people/{person_id}/sign-out
        POST /api/v1/people/{person_id}/state
        POST /api/v1/people/{person_id}/password-link
        GET /api/v1/people/{person_id}/holdings
        POST /api/v1/people/{person_id}/erase
        GET /api/v1/people/{person_id}/keys
        POST /api/v1/people/{person_id}/keys
        DELETE /api/v1/keys/{key_id}
    """,
    "closed": """
        POST /login/
        GET /svelte/{path:path}
        GET /pwa_icon
        GET /pwa_icon/{size}
        GET /manifest.json
        GET /monitoring
        GET /monitoring/summary
        GET /monitoring/{key}
        GET /gradio_api/user
        GET /gradio_api/user/
        GET /gradio_api/token
        GET /gradio_api/token/
        GET /gradio_api/dev/reload
        GET /gradio_api/runs
        GET /gradio_api/runs/
        GET /gradio_api/deep_link
        GET /gradio_api/custom_component/{id}/{environment}/{type}/{file_name}
        GET /gradio_api/proxy={url_path:path}
        HEAD /gradio_api/proxy={url_path:path}
        POST /gradio_api/stream/{event_id}
        POST /gradio_api/stream/{event_id}/close
        GET /gradio_api/stream/{session_hash}/{run}/{component_id}/playlist.m3u8
        GET /gradio_api/stream/{session_hash}/{run}/{component_id}/{segment_id}.{ext}
        GET /gradio_api/stream/{session_hash}/{run}/{component_id}/playlist-file
        POST /gradio_api/process_recording
        POST /gradio_api/vibe-edit
        POST /gradio_api/vibe-edit/
        POST /gradio_api/undo-vibe-edit
        POST /gradio_api/undo-vibe-edit/
        GET /gradio_api/vibe-code
        GET /gradio_api/vibe-code/
        POST /gradio_api/vibe-code
        POST /gradio_api/vibe-code/
        POST /gradio_api/vibe-starter-queries
        POST /gradio_api/vibe-starter-queries/
    """,
}


def table(texts: dict[str, str]) -> dict[str, str]:
    """Door -> the role from which on it opens."""
    return {line.strip(): role for role, text in texts.items() for line in text.splitlines() if line.strip()}


OPEN_FROM = {"handlers": table(HANDLERS), "routes": table(ROUTES)}


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
