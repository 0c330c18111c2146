import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from pipeline.backend import LocalBackend
from pipeline.services import Services
from storage import campaigns, people, runs, versions
from storage.assignments import Assignments
from storage.rankings import answers
from storage.records import ModelVersion
from ui.rank_page import Refused, Tally, answer, next_view


@pytest.fixture
def services(campaign_with_tasks):
    database = campaign_with_tasks.database
    versions.register_version(database, ModelVersion("starter", "policy", "nowhere"))
    return Services(Path("unused"), database, Assignments(database), LocalBackend(Path.cwd()))


@pytest.fixture
def ann(services):
    return people.create_person(services.database, "ann", "annotator")


def ranking(view: dict, key: str = "key-00000001", **changes) -> dict:
    """A ranking of the shown task, A before B and C, and D last."""
    sent = {"submission_id": key, "assignment": view["task"]["assignment"], "kind": "ranking", "seconds": 3.5}
    return {**sent, "tiers": [["A"], ["B", "C"], ["D"]], **changes}


def test_the_first_view_is_a_task_with_letters_and_markup(services, ann):
    view = next_view(services, Tally(services), ann)
    assert view["state"] == "task"
    assert [one["letter"] for one in view["task"]["completions"]] == ["A", "B", "C", "D"]
    assert view["task"]["completions"][0]["html"].startswith("<p>answer")
    assert view["task"]["remaining"] == 3


def test_a_view_tells_no_model_and_no_completion_id(services, ann):
    view = next_view(services, Tally(services), ann)
    assert set(view["task"]["completions"][0]) == {"letter", "html", "note", "snippet"}
    assert "model" not in json.dumps(view)


def test_asking_again_gives_the_same_task(services, ann):
    tally = Tally(services)
    assert next_view(services, tally, ann)["task"] == next_view(services, tally, ann)["task"]


def test_an_answer_is_stored_in_the_order_shown_and_brings_the_next_task(services, ann):
    tally = Tally(services)
    view = next_view(services, tally, ann)
    shown = services.pool.live(view["task"]["assignment"]).shown
    following = answer(services, tally, ann, ranking(view))
    (stored,) = answers(services.database)
    task = services.pool.task(stored.task_id)
    assert [stored.ranks[task.completion_ids.index(one)] for one in shown] == [1, 2, 2, 3]
    assert following["saved"] == "key-00000001"
    assert following["task"]["assignment"] != view["task"]["assignment"]
    assert (following["today"], following["total"]) == (1, 1)


def test_the_same_answer_twice_is_one_answer(services, ann):
    tally = Tally(services)
    sent = ranking(next_view(services, tally, ann))
    answer(services, tally, ann, sent)
    assert answer(services, tally, ann, sent)["total"] == 1
    assert len(answers(services.database)) == 1


def test_a_changed_answer_under_the_same_key_becomes_a_revision(services, ann):
    tally = Tally(services)
    view = next_view(services, tally, ann)
    answer(services, tally, ann, ranking(view))
    changed = ranking(view, tiers=[["D"], ["A", "B", "C"]])
    answer(services, tally, ann, changed)
    answer(services, tally, ann, changed)
    assert [one.status for one in answers(services.database)] == ["superseded", "counted"]


def test_a_task_answered_elsewhere_gives_a_notice_and_the_next_task(services, ann):
    tally = Tally(services)
    view = next_view(services, tally, ann)
    answer(services, tally, ann, ranking(view))
    again = answer(services, tally, ann, ranking(view, key="key-00000002"))
    assert again["saved"] is None
    assert "already answered" in again["notice"]
    assert again["state"] == "task"


def test_somebody_elses_task_gives_a_notice_and_stores_nothing(services, ann):
    tally = Tally(services)
    bob = people.create_person(services.database, "bob", "annotator")
    sent = ranking(next_view(services, tally, ann))
    assert "no longer yours" in answer(services, tally, bob, sent)["notice"]
    assert answers(services.database) == []


def test_an_answer_after_its_lease_still_counts_while_there_is_room(services, ann):
    tally = Tally(services)
    view = next_view(services, tally, ann)
    services.pool.release(view["task"]["assignment"])
    assert answer(services, tally, ann, ranking(view))["saved"] == "key-00000001"


@pytest.mark.parametrize(
    "change",
    [
        {"tiers": [["A"], ["B"]]},
        {"tiers": [["A", "A"], ["B", "C", "D"]]},
        {"tiers": [["A"], ["B", "C"], ["D"], ["E"]]},
        {"tiers": [["A"], [], ["B", "C", "D"]]},
        {"tiers": []},
        {"tiers": "ABCD"},
        {"kind": "maybe"},
        {"kind": "all_bad"},
        {"submission_id": "short"},
        {"submission_id": None},
        {"seconds": -1},
    ],
)
def test_a_malformed_answer_is_refused_and_stores_nothing(services, ann, change):
    tally = Tally(services)
    view = next_view(services, tally, ann)
    with pytest.raises(Refused):
        answer(services, tally, ann, ranking(view, **change))
    assert answers(services.database) == []


def test_skipping_gives_another_task_and_counts_for_nothing(services, ann):
    tally = Tally(services)
    view = next_view(services, tally, ann)
    following = answer(services, tally, ann, ranking(view, kind="skip", tiers=[]))
    assert following["task"]["assignment"] != view["task"]["assignment"]
    assert following["total"] == 0


def test_yesterdays_answers_are_in_all_but_not_today(services, ann):
    today = Tally(services)
    answer(services, today, ann, ranking(next_view(services, today, ann)))
    tomorrow = Tally(services, today=lambda: (datetime.now(UTC) + timedelta(days=1)).date())
    assert tomorrow.of(ann.id) == {"today": 0, "total": 1}


def test_an_empty_queue_says_so_and_shows_leads_the_way(services, ann):
    for campaign in campaigns.campaigns(services.database):
        campaigns.edit_campaign(services.database, campaign.id, state="paused")
    lead = people.create_person(services.database, "lead", "lead")
    views = [next_view(services, Tally(services), person) for person in (ann, lead)]
    assert [(view["state"], view["may_lead"]) for view in views] == [("empty", False), ("empty", True)]


def test_the_first_start_is_shown_with_its_progress(db):
    services = Services(Path("unused"), db, Assignments(db), LocalBackend(Path.cwd()))
    runs.create_run(db, "starter", None, {})
    view = next_view(services, Tally(services), people.create_person(db, "ann", "annotator"))
    assert view["state"] == "starting"
    assert view["starting"]["step"] == "starter"
    assert 0 <= view["starting"]["progress"] < 1
