"""Campaigns, tasks and quality over HTTP: the same work as the Campaigns page, with one shape of error."""

import httpx
import pytest
from fastapi.testclient import TestClient

from storage import checks, people, rankings
from storage.api_keys import create_api_key
from tests.ui.leads import new_campaign
from tests.ui.test_campaigns_page import rank
from ui.api import application
from ui.auth import Auth


@pytest.fixture
def lead(services) -> TestClient:
    """A client with a lead's key."""
    person = people.create_person(services.database, "lea", "lead")
    key = create_api_key(services.database, person.id, "test")
    client = TestClient(application(services, Auth(services, "secret")), raise_server_exceptions=False)
    client.headers["authorization"] = f"Bearer {key}"
    return client


def fault(reply: httpx.Response) -> tuple:
    return reply.status_code, reply.json()["error"]["field"]


def test_a_campaign_is_made_with_its_setup_or_not_at_all(lead):
    made = lead.post("/campaigns", json={"name": "talk", "k": 2, "setup": {"form": "pairwise", "quota": 5}}).json()
    assert made["progress"] == {"answers": 0, "left": 0, "per_hour": 0.0, "expected_end": None} and made["alarms"] == []
    assert lead.get("/campaigns/talk/setup").json()["form"] == "pairwise"
    assert fault(lead.post("/campaigns", json={"name": "other", "setup": {"quota": -1}})) == (422, "quota")
    assert fault(lead.get("/campaigns/other")) == (404, "campaign")


def test_the_setup_is_changed_field_by_field(services, lead):
    new_campaign(services)
    changed = lead.patch("/campaigns/talk/setup", json={"scales": [{"name": "kind"}], "consent": "Yes?"}).json()
    assert (changed["scales"][0]["high"], changed["consent_version"]) == (5, 1)
    again = lead.patch("/campaigns/talk/setup", json=changed).json()
    assert again == changed


@pytest.mark.parametrize(
    "wish",
    [
        {"form": "essay"},
        {"scales": 5},
        {"scales": [{"name": 5}]},
        {"quota": "many"},
        {"flags": "unsafe"},
        {"nonsense": 1},
    ],
)
def test_a_wrong_setup_names_its_field(services, lead, wish):
    new_campaign(services)
    assert fault(lead.patch("/campaigns/talk/setup", json=wish)) == (422, next(iter(wish)))


def test_a_campaign_is_renamed_paused_and_its_guidelines_are_kept_in_every_version(services, lead):
    new_campaign(services)
    lead.patch("/campaigns/talk", json={"guidelines": "one"})
    assert lead.patch("/campaigns/talk", json={"name": "chat", "state": "paused", "k": 2}).json()["state"] == "paused"
    assert [row["guidelines"] for row in lead.get("/campaigns/chat/guidelines").json()] == ["", "one"]


def test_members_come_and_go(services, lead):
    new_campaign(services)
    ann = people.create_person(services.database, "ann", "annotator")
    assert lead.post("/campaigns/talk/members", json={"person": ann.id}).json()[0]["name"] == "ann"
    assert fault(lead.post("/campaigns/talk/members", json={"person": 99})) == (404, "person")
    assert lead.delete(f"/campaigns/talk/members/{ann.id}").json() == []


def test_tasks_are_searched_read_prioritised_and_assigned(services, lead):
    _, opened = new_campaign(services, sets=3)
    ann = people.create_person(services.database, "ann", "annotator")
    page = lead.get("/campaigns/talk/tasks", params={"search": "say 1", "limit": 5}).json()
    assert (page["total"], page["tasks"][0]["id"]) == (1, opened[1].id)
    assert len(lead.get(f"/campaigns/talk/tasks/{opened[0].id}").json()["completions"]) == 3
    assert lead.patch(f"/campaigns/talk/tasks/{opened[2].id}", json={"priority": 3}).json()["priority"] == 3
    lead.post("/campaigns/talk/assignments", json={"tasks": [opened[2].id], "people": [ann.id]})
    assert lead.get("/campaigns/talk/tasks", params={"state": "assigned"}).json()["tasks"][0]["people"] == [ann.id]
    assert services.pool.claim(ann.id).task_id == opened[2].id


def test_tasks_of_another_campaign_are_unknown(services, lead):
    new_campaign(services)
    _, foreign = new_campaign(services, "other")
    number = foreign[0].id
    assert fault(lead.get(f"/campaigns/talk/tasks/{number}")) == (404, "task")
    assert fault(lead.patch(f"/campaigns/talk/tasks/{number}", json={"priority": 1})) == (404, "task")
    assert fault(lead.post("/campaigns/talk/assignments", json={"tasks": [number]})) == (404, "tasks")
    assert fault(lead.post("/campaigns/talk/checks", json={"task": number, "ranks": [1, 2, 3]})) == (404, "task")


def test_checks_are_made_from_ranks_or_an_order_and_retired(services, lead):
    _, opened = new_campaign(services)
    first = lead.post("/campaigns/talk/checks", json={"task": opened[0].id, "ranks": [1, 2, 2]})
    typed = {"task": opened[1].id, "purpose": "test", "source": "typed", "order": "c > b > a"}
    second = lead.post("/campaigns/talk/checks", json=typed).json()
    assert (first.status_code, first.json()["purpose"], second["ranks"]) == (201, "gold", [3, 2, 1])
    assert lead.delete(f"/campaigns/talk/checks/{second['task']}").json()["active"] is False
    assert [one["active"] for one in lead.get("/campaigns/talk/checks").json()] == [True, False]
    assert fault(lead.post("/campaigns/talk/checks", json={"task": opened[0].id, "ranks": [1, 1, 1]})) == (422, "ranks")
    assert len(checks.checks(services.database, 1)) == 2


def test_the_quality_and_the_state_of_annotators(services, lead):
    new_campaign(services, sets=2)
    person, _ = rank(services)
    told = lead.get("/campaigns/talk/quality").json()
    assert told["annotators"][0]["answers"] == 2 and len(told["position_bias"]) == 3
    wish = {"state": "paused", "reason": "too hasty"}
    assert lead.put(f"/campaigns/talk/annotators/{person.id}", json=wish).json()["reason"] == "too hasty"
    assert lead.get("/campaigns/talk/annotators").json()[0]["state"] == "paused"
    assert fault(lead.put(f"/campaigns/talk/annotators/{person.id}", json=wish | {"reason": ""}))[0] == 422


def test_answers_are_listed_excluded_and_brought_back(services, lead):
    new_campaign(services)
    _, (first, *_) = rank(services)
    address = f"/campaigns/talk/answers/{first.submission_id}"
    assert lead.put(address, json={"excluded": True, "reason": "careless"}).json()["status"] == "excluded"
    assert [one["reason"] for one in lead.get("/campaigns/talk/answers?status=excluded").json()] == ["careless"]
    assert lead.put(address, json={"excluded": False, "reason": "fine"}).json()["status"] == "counted"
    assert fault(lead.put(address, json={"excluded": False, "reason": "fine"})) == (422, "submission")
    assert rankings.answer(services.database, first.submission_id).status == "counted"


@pytest.mark.parametrize("form", ["trl", "kto", "sft", "csv", "raw"])
def test_every_form_of_export_is_a_zip(services, lead, form):
    new_campaign(services)
    rank(services)
    assert lead.get(f"/exports/{form}?campaign=talk").content.startswith(b"PK")
