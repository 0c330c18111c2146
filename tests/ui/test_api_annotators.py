"""The annotators' part of the API in every form: what a claim asks for, how answers are told, renewed and revised."""

import json

import pytest

from storage import checks, rankings
from storage.details import Scale
from storage.setups import edit_setup
from tests.ui.leads import new_campaign
from tests.ui.test_api import Loop


@pytest.fixture
def loop(tmp_path):
    made = Loop(tmp_path)
    yield made
    made.services.close()


@pytest.fixture
def client(loop):
    new_campaign(loop.services, sets=4)
    return loop.client("annotator")


def sent(task: dict, key: str = "key-00000001", **changes) -> dict:
    tiers = [["A"], ["B", "C"]]
    return {"submission_id": key, "assignment": task["assignment"], "tiers": tiers, "seconds": 9} | changes


def claim(client) -> dict:
    return client.post("/tasks/claim", json={}).json()


def test_a_claim_tells_what_the_campaign_asks_for(loop, client):
    scales = [Scale("clear", low_label="no", high_label="yes")]
    asked = {"form": "ratings", "reasons": ["short"], "rationale": "required", "rationale_min": 7, "edit": True}
    edit_setup(loop.database, 1, scales=scales, examples="Look.", **asked)
    task = claim(client)
    assert {name: task[name] for name in asked} == asked and task["examples"] == "Look."
    assert task["scales"] == [{"name": "clear", "low": 1, "high": 5, "low_label": "no", "high_label": "yes"}]
    assert task["training"] is False and task["guidelines_version"] == 2 and "unsafe" in task["flags"]


def test_ratings_and_thumbs_are_saved_with_their_details(loop, client):
    edit_setup(loop.database, 1, form="ratings", scales=[Scale("clear")], rationale="optional")
    rated = {"ratings": {letter: {"clear": 3} for letter in "ABC"}, "rationale": "All alike."}
    first = sent(claim(client), kind="ratings", tiers=[], detail=rated)
    assert client.post("/rankings", json=first).json()["status"] == "counted"
    edit_setup(loop.database, 1, form="thumbs", scales=[])
    thumbs = sent(claim(client), "key-00000002", kind="thumbs", tiers=[], detail={"thumbs": {"A": 1, "B": -1, "C": 1}})
    assert client.post("/rankings", json=thumbs).json()["status"] == "counted"
    told = client.get("/answers").json()["answers"]
    assert [one["said"] for one in told] == ["up: A, C; down: B", "A 3, B 3, C 3"]
    assert told[1]["detail"] == rated and told[0]["kind"] == "thumbs"


@pytest.mark.parametrize(
    "detail",
    [
        {"thumbs": {"A": 2, "B": 1, "C": 1}},
        {"thumbs": {"D": 1}},
        {"grade": 2},
        {"grade": "2"},
        {"flags": {"A": ["evil"]}},
        {"reasons": ["none of ours"]},
        {"rationale": "not asked for"},
        {"edited": "A", "edit": "not asked for"},
        {"unknown": 1},
        "nothing",
    ],
)
def test_a_detail_that_does_not_fit_is_422(loop, client, detail):
    answer = client.post("/rankings", json=sent(claim(client), detail=detail))
    assert answer.status_code == 422 and answer.json()["error"]["message"]
    assert rankings.answers(loop.database) == []


def test_a_training_task_is_announced_and_explained(loop, client):
    task = loop.services.pool.task(1)
    checks.add_check(loop.database, 1, task.prompt_id, task.completion_ids, [1, 2, 3], "training", "Because.")
    claimed = claim(client)
    assert claimed["training"] is True
    told = client.post("/rankings", json=sent(claimed)).json()
    assert told["feedback"]["explanation"] == "<p>Because.</p>\n" and len(told["feedback"]["expected"]["tiers"]) == 3
    assert 0 <= told["feedback"]["score"] <= 1 and told["status"] == "counted"


def test_a_test_task_is_told_like_any_other(loop, client):
    task = loop.services.pool.task(1)
    checks.add_check(loop.database, 1, task.prompt_id, task.completion_ids, [1, 2, 3], "test")
    claimed = claim(client)
    said = client.post("/rankings", json=sent(claimed)).json()
    assert said == {"submission_id": "key-00000001", "status": "counted", "saved": True}
    listed = client.get("/answers").text
    assert rankings.answers(loop.database)[0].purpose == "test"
    assert not any(word in listed for word in ("check", '"test', "agreement"))


def test_a_loan_is_renewed_and_handed_back_by_its_holder_only(loop, client):
    mine = claim(client)["assignment"]
    assert client.post(f"/tasks/{mine}/renew").json()["assignment"] == mine
    other = loop.client("lead")
    assert other.post(f"/tasks/{mine}/renew").status_code == 404
    assert other.post(f"/tasks/{mine}/release").status_code == 404
    assert client.post(f"/tasks/{mine}/release").status_code == 204
    assert loop.services.pool.live(mine) is None
    assert client.post(f"/tasks/{mine}/renew").status_code == 404


def test_own_answers_come_page_by_page(loop, client):
    for n in range(3):
        client.post("/rankings", json=sent(claim(client), f"key-0000000{n}"))
    first = client.get("/answers", params={"limit": 2}).json()
    second = client.get("/answers", params={"limit": 2, "before": first["next"]}).json()
    keys = [one["submission_id"] for one in first["answers"] + second["answers"]]
    assert keys == ["key-00000002", "key-00000001", "key-00000000"] and second["next"] is None
    assert loop.client("lead").get("/answers").json()["answers"] == []
    assert client.get("/answers", params={"before": "x"}).status_code == 422


def test_an_answer_is_revised_once_and_withdrawn_by_a_skip(client):
    client.post("/rankings", json=sent(claim(client)))
    change = {"submission_id": "key-00000002", "kind": "all_bad"}
    path = "/answers/key-00000001/revise"
    assert client.post(path, json=change).json() == client.post(path, json=change).json()
    assert client.post(path, json=change | {"submission_id": "key-00000003"}).status_code == 409
    skip = {"submission_id": "key-00000004", "kind": "skip"}
    assert client.post("/answers/key-00000002/revise", json=skip).status_code == 200
    assert [one["said"] for one in client.get("/answers").json()["answers"]] == ["withdrawn"]


def test_nobody_revises_the_answer_of_another(loop, client):
    client.post("/rankings", json=sent(claim(client)))
    change = {"submission_id": "key-00000002", "kind": "all_bad"}
    assert loop.client("lead").post("/answers/key-00000001/revise", json=change).status_code == 404


def test_a_warning_and_a_veil_reach_programs_too(loop, client):
    edit_setup(loop.database, 1, min_seconds=20, on_fast="warn", moderation=True, moderation_words=["two"])
    task = claim(client)
    veiled = [one["text"] for one in task["completions"] if "veil" in one]
    assert veiled == ["two"] and "m1" not in json.dumps(task)
    assert "It is saved" in client.post("/rankings", json=sent(task)).json()["warning"]
