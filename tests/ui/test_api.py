"""The HTTP API as programs meet it: keys and roles, blind tasks, exactly-once answers, one shape of errors."""

import io
import json
import zipfile

import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

from storage import api_keys, campaigns, runs, versions
from storage.records import ModelVersion
from storage.runs import add_metrics, set_state
from tests.ui.leads import new_campaign, new_person, new_run, new_services, session_of
from tests.ui.priced_backend import add_priced
from ui import api
from ui.auth import COOKIE, Auth
from ui.guard import Guard

RANKING = {"submission_id": "key-00000001", "tiers": [["A"], ["B", "C"]], "seconds": 3.5}
LINE = {"prompt": "Say hello", "completions": [{"model": "m1", "text": "Hi"}, {"model": "m2", "text": "Hello"}]}


class Loop:
    """Services, the API behind the guard, and a client for each role."""

    def __init__(self, folder):
        self.services = new_services(folder)
        self.database = self.services.database
        self.auth = Auth(self.services, "secret")
        app = Starlette(routes=api.routes(self.services, self.auth))
        self.app = Guard(app, self.auth, {})
        self.people = {role: new_person(self.services, role) for role in ("annotator", "reviewer", "lead", "admin")}

    def client(self, role: str | None) -> TestClient:
        headers = {}
        if role:
            headers["Authorization"] = f"Bearer {api_keys.create_api_key(self.database, self.people[role].id, 'test')}"
        return TestClient(self.app, headers=headers, raise_server_exceptions=False, base_url="http://test/api/v1")


@pytest.fixture
def loop(tmp_path):
    made = Loop(tmp_path)
    yield made
    made.services.close()


def operations() -> list[tuple[str, str, str]]:
    """(method, path, role) of every route of the API."""
    described = api.application(None, None).openapi()["paths"]
    return [(m.upper(), path, op["x-role"]) for path, ways in described.items() for m, op in ways.items()]


@pytest.mark.slow
@pytest.mark.parametrize(("method", "path", "role"), operations())
def test_every_route_asks_for_its_role_before_it_reads_the_body(loop, method, path, role):
    address = path.replace("{campaign}", "talk").replace("{run_id}", "0001-x").replace("{form}", "trl")
    address = address.replace("{person_id}", "1").replace("{key_id}", "1")
    broken = {"content": b"{not json", "headers": {"content-type": "application/json"}}
    assert loop.client(None).request(method, address, **broken).status_code == 401
    below = {"lead": "reviewer", "admin": "lead"}.get(role)
    if below:
        assert loop.client(below).request(method, address, **broken).status_code == 403


def test_a_wrong_key_is_refused_in_the_one_shape(loop):
    answer = loop.client(None).get("/me", headers={"Authorization": "Bearer rl_wrong"})
    assert answer.status_code == 401 and answer.headers["www-authenticate"] == "Bearer"
    assert set(answer.json()["error"]) == {"field", "found", "expected", "message"}


def test_a_revoked_key_ends_at_once(loop):
    client = loop.client("annotator")
    assert client.get("/me").json()["name"] == "annotator"
    key = api_keys.api_keys(loop.database, loop.people["annotator"].id)[0]
    assert loop.client("admin").delete(f"/keys/{key.id}").status_code == 204
    assert client.get("/me").status_code == 401


def test_the_page_cookie_works_too_but_not_from_another_site(loop):
    cookie = {COOKIE: session_of(loop.auth, loop.people["lead"])}
    client = TestClient(loop.app, cookies=cookie, base_url="http://test/api/v1")
    wish = {"name": "new"}
    assert client.post("/campaigns", json=wish, headers={"Origin": "http://evil.example"}).status_code == 403
    assert campaigns.campaigns(loop.database) == []
    assert client.post("/campaigns", json=wish, headers={"Origin": "http://test"}).status_code == 201


def test_a_claimed_task_shows_letters_and_nothing_else_of_its_completions(loop):
    new_campaign(loop.services)
    claimed = loop.client("annotator").post("/tasks/claim", json={"campaign": "talk"})
    task = claimed.json()
    assert [set(completion) for completion in task["completions"]] == [{"letter", "text"}] * 3
    assert [completion["letter"] for completion in task["completions"]] == ["A", "B", "C"]
    assert task["prompt"][0]["role"] == "user" and task["criterion"] == "helpful"
    assert "m1" not in claimed.text and "completion_id" not in claimed.text


def test_nothing_open_answers_204(loop):
    assert loop.client("annotator").post("/tasks/claim").status_code == 204


def test_a_ranking_is_saved_under_the_letters_shown(loop):
    new_campaign(loop.services)
    client = loop.client("annotator")
    task = client.post("/tasks/claim", json={}).json()
    saved = client.post("/rankings", json=RANKING | {"assignment": task["assignment"]})
    assert saved.json() == {"submission_id": "key-00000001", "status": "counted", "saved": True}
    assert client.post("/tasks/claim", json={}).json()["assignment"] != task["assignment"]


def test_the_same_submission_counts_once_and_another_under_its_key_is_409(loop):
    new_campaign(loop.services)
    client = loop.client("annotator")
    sent = RANKING | {"assignment": client.post("/tasks/claim").json()["assignment"]}
    first, again = client.post("/rankings", json=sent), client.post("/rankings", json=sent)
    assert first.json() == again.json() and again.status_code == 200
    assert client.post("/rankings", json=sent | {"tiers": [["C"], ["B"], ["A"]]}).status_code == 409
    assert client.post("/rankings", json=sent | {"submission_id": "key-00000002"}).status_code == 409


def test_nobody_answers_the_assignment_of_another(loop):
    new_campaign(loop.services)
    assignment = loop.client("annotator").post("/tasks/claim").json()["assignment"]
    assert loop.client("lead").post("/rankings", json=RANKING | {"assignment": assignment}).status_code == 404


@pytest.mark.parametrize(
    "change",
    [
        {"tiers": [["A"], ["B"]]},
        {"tiers": [["A"], ["B"], ["D"]]},
        {"tiers": [["A"], ["A"], ["B", "C"]]},
        {"tiers": [["A", "B", "C"], []]},
        {"submission_id": "short"},
        {"kind": "perhaps"},
        {"seconds": -1},
        {"extra": 1},
    ],
)
def test_a_wrong_ranking_is_422_and_stores_nothing(loop, change):
    new_campaign(loop.services)
    client = loop.client("annotator")
    sent = RANKING | {"assignment": client.post("/tasks/claim").json()["assignment"]}
    answer = client.post("/rankings", json=sent | change)
    assert answer.status_code == 422 and answer.json()["error"]["message"]
    assert client.post("/rankings", json=sent).status_code == 200


def test_a_body_that_is_not_json_is_400(loop):
    answer = loop.client("annotator").post("/rankings", content=b"{oh", headers={"content-type": "application/json"})
    assert answer.status_code == 400 and "error" in answer.json()


@pytest.mark.parametrize("announced", [True, False])
def test_a_body_that_is_too_large_is_413(loop, announced):
    body = b'"' + b"x" * (2 << 20) + b'"'
    content = body if announced else (body[i : i + 65_536] for i in range(0, len(body), 65_536))
    answer = loop.client("annotator").post("/rankings", content=content, headers={"content-type": "application/json"})
    assert answer.status_code == 413


def test_unknown_paths_and_ids_are_404_in_the_one_shape(loop):
    client = loop.client("lead")
    for path in ("/nowhere", "/runs/0099-ppo", "/campaigns/none/policy", "/versions?campaign=none"):
        answer = client.get(path)
        assert (answer.status_code, set(answer.json())) == (404, {"error"})


def test_an_import_takes_good_lines_and_names_the_bad_ones(loop):
    lines = json.dumps(LINE) + "\n" + json.dumps({"prompt": 3}) + "\n"
    upload = {"file": ("talk.jsonl", lines.encode())}
    told = loop.client("lead").post("/imports", files=upload, data={"campaign": "talk"})
    assert told.status_code == 200 and told.json()["tasks"] == 1
    assert [bad["line"] for bad in told.json()["refused"]] == [2]
    assert loop.client("annotator").post("/tasks/claim").status_code == 200


def test_an_import_of_which_nothing_was_good_is_422(loop):
    upload = {"file": ("talk.jsonl", b'{"prompt": 3}\n')}
    assert loop.client("lead").post("/imports", files=upload, data={"campaign": "talk"}).status_code == 422


def test_an_export_is_a_zip_of_parquet(loop):
    new_campaign(loop.services)
    client = loop.client("annotator")
    client.post("/rankings", json=RANKING | {"assignment": client.post("/tasks/claim").json()["assignment"]})
    for form in ("trl", "raw"):
        answer = loop.client("lead").get(f"/exports/{form}", params={"campaign": "talk"})
        names = zipfile.ZipFile(io.BytesIO(answer.content)).namelist()
        assert names and all(name.endswith(".parquet") for name in names)


def test_a_report_counts_and_measures(loop):
    new_campaign(loop.services)
    told = loop.client("lead").get("/report").json()["campaigns"][0]
    assert told["name"] == "talk" and told["tasks"] == 2 and "agreement" in told and told["strengths"] == []


def test_a_run_without_data_is_409_and_says_what_to_do(loop):
    new_campaign(loop.services)
    versions.register_version(loop.database, ModelVersion("starter", "policy", "/models/starter"))
    answer = loop.client("lead").post("/runs", json={"kind": "reward", "campaign": "talk"})
    assert answer.status_code == 409 and "rank some tasks first" in answer.json()["error"]["message"]
    assert runs.runs(loop.database) == []


def test_a_run_starts_with_options_and_is_listed(loop):
    new_campaign(loop.services)
    versions.register_version(loop.database, ModelVersion("starter", "policy", "/models/starter"))
    client = loop.client("lead")
    wish = {"kind": "generate", "campaign": "talk", "options": {"k": 2, "prompts": 5}}
    started = client.post("/runs", json=wish)
    assert started.status_code == 201 and started.json()["state"] == "queued"
    read = client.get(f"/runs/{started.json()['run']}").json()
    assert (read["options"]["k"], read["models"], read["created_by"]) == (2, {"policy": "starter"}, "lead")
    assert [one["run"] for one in client.get("/runs", params={"kind": "generate"}).json()] == [read["run"]]


@pytest.mark.parametrize(("kind", "options"), [("reward", {"speed": 3}), ("reward", {"epochs": "fast"}), ("x", {})])
def test_a_wrong_option_is_422_with_its_name(loop, kind, options):
    new_campaign(loop.services)
    answer = loop.client("lead").post("/runs", json={"kind": kind, "options": options})
    assert answer.status_code == 422 and answer.json()["error"]["field"] == next(iter(options), "kind")


def test_cancel_leaves_the_wish_and_an_ended_run_refuses_it(loop):
    run = new_run(loop.services)
    client = loop.client("lead")
    assert client.post(f"/runs/{run.id}/cancel").json()["cancelling"]
    assert (loop.services.directory(run) / "cancel").exists()
    set_state(loop.database, run.id, "cancelled")
    assert client.post(f"/runs/{run.id}/cancel").status_code == 409


def test_promotion_changes_the_policy_and_keeps_history(loop):
    campaign, _ = new_campaign(loop.services)
    for name, role in (("p-1", "policy"), ("p-2", "policy"), ("r-1", "reward")):
        versions.register_version(loop.database, ModelVersion(name, role, "x"))
    client, path = loop.client("lead"), f"/campaigns/{campaign.id}/policy"
    client.post(path, json={"version": "p-1"})
    told = client.post(path, json={"version": "p-2", "reason": "won"}).json()
    assert told["policy"] == "p-2" and [row["version"] for row in told["history"]] == ["p-1", "p-2"]
    assert told["history"][1]["by"] == "lead"
    assert client.post(path, json={"version": "r-1"}).status_code == 404


def test_admins_make_people_keys_and_invitations(loop):
    client = loop.client("admin")
    made = client.post("/people", json={"name": "sim-1", "kind": "simulated"}).json()
    assert client.post("/people", json={"name": "sim-1", "kind": "simulated"}).json() == made
    key = client.post(f"/people/{made['id']}/keys", json={"label": "script"}).json()["key"]
    assert loop.client(None).get("/me", headers={"Authorization": f"Bearer {key}"}).json()["kind"] == "simulated"
    assert "key" not in client.get(f"/people/{made['id']}/keys").json()[0]
    link = client.post("/invitations", json={"role": "lead"}).json()["link"]
    assert link.startswith("http://test/join?token=")
    assert client.post("/people", json={"name": "LEAD"}).status_code == 409


def test_an_admin_cannot_give_up_the_own_role(loop):
    path = f"/people/{loop.people['admin'].id}/role"
    assert loop.client("admin").post(path, json={"role": "lead"}).status_code == 409


def test_a_run_is_followed_from_its_rows_to_its_end(loop):
    run = new_run(loop.services)
    add_metrics(loop.database, run.id, [{"step": 1, "loss": 0.7}, {"step": 2, "loss": float("nan")}], 50)
    set_state(loop.database, run.id, "failed", "no")
    stream = loop.client("lead").get(f"/runs/{run.id}/events")
    events = [dict(line.split(": ", 1) for line in part.splitlines()) for part in stream.text.strip().split("\n\n")]
    assert [event["event"] for event in events] == ["rows", "run", "log", "end"]
    assert json.loads(events[0]["data"])["rows"] == [{"step": 1, "loss": 0.7}, {"step": 2, "loss": None}]
    assert events[0]["id"] == "2" and json.loads(events[1]["data"])["state"] == "failed"


def test_a_reconnecting_reader_gets_only_what_is_new(loop):
    run = new_run(loop.services)
    add_metrics(loop.database, run.id, [{"step": 1}, {"step": 2}, {"step": 3}], 50)
    set_state(loop.database, run.id, "cancelled")
    stream = loop.client("lead").get(f"/runs/{run.id}/events?after=1", headers={"Last-Event-ID": "2"})
    assert '"from": 2, "rows": [{"step": 3}]' in stream.text


def test_a_program_reads_only_the_metrics_that_are_new_to_it(loop):
    run = new_run(loop.services)
    add_metrics(loop.database, run.id, [{"step": 1}, {"step": 2}, {"step": 3}], 50)
    assert loop.client("lead").get(f"/runs/{run.id}/metrics?after=2").json() == [{"step": 3}]
    assert loop.client("lead").get(f"/runs/{run.id}/metrics?after={10**30}").status_code == 422


def test_runs_are_found_by_tag(loop):
    one, _ = new_run(loop.services), new_run(loop.services)
    loop.client("lead").patch(f"/runs/{one.id}", json={"tags": ["sweep"]})
    assert [found["run"] for found in loop.client("lead").get("/runs?tag=sweep").json()] == [one.id]


def test_backends_are_listed_and_checked(loop):
    add_priced(loop.services)
    client = loop.client("lead")
    assert [one["name"] for one in client.get("/backends").json()] == ["local", "paid", "hf-jobs", "ray"]
    told = client.post("/backends/paid/check").json()
    assert told["reachable"] and told["hardware"][1] | {"about": ""} == {
        "name": "a10g-small", "about": "", "accelerators": 1, "memory": 24 * 1024**3, "price": 1.5, "most": 3.0,
    }  # fmt: skip
    assert client.get("/backends").json()[1]["check"]["reachable"]
    assert client.post("/backends/gone/check").status_code == 404


def test_a_run_that_costs_money_starts_over_http_once_its_price_was_agreed_to(loop):
    add_priced(loop.services)
    versions.register_version(loop.database, ModelVersion("starter", "policy", "/models/starter"))
    new_campaign(loop.services)
    client = loop.client("lead")
    wish = {"kind": "generate", "resources": {"backend": "paid", "hardware": "a10g-small", "timeout_minutes": 30}}
    refused = client.post("/runs", json=wish)
    assert refused.status_code == 422 and "at least 1.00 dollars" in refused.json()["error"]["expected"]
    made = client.post("/runs", json=wish | {"confirmed_cost": 1.0})
    assert made.status_code == 201
    path = f"/runs/{made.json()['run']}"
    assert client.get(path).json()["resources"]["backend"] == "paid"
    assert client.post(f"{path}/again", json={}).status_code == 422
    again = client.post(f"{path}/again", json={"resources": {"backend": "local", "hardware": ""}})
    assert client.get(f"/runs/{again.json()['run']}").json()["resources"]["backend"] == "local"


def test_the_description_needs_no_key_and_no_other_server(loop):
    described = loop.client(None).get("/openapi.json")
    assert described.json()["info"]["title"] == "RankLoop"
    assert loop.client(None).get("/docs").status_code == 404
