import json
from pathlib import Path

import pytest

from pipeline.local_backend import LocalBackend
from pipeline.services import Services, only
from storage import campaigns, checks, people, rankings
from storage.assignments import Assignments
from storage.details import Scale
from storage.setups import edit_setup
from ui.answering import Desk
from ui.own_work import revise_view, withdraw, work
from ui.rank_page import answer, next_view
from ui.routes import Conflict
from ui.task_answer import Refused


@pytest.fixture
def desk(campaign_with_tasks):
    database = campaign_with_tasks.database
    return Desk(Services(Path("unused"), database, Assignments(database), only(LocalBackend(Path.cwd()))))


@pytest.fixture
def ann(desk):
    return people.create_person(desk.services.database, "ann", "annotator")


def give(desk, person, key: str, **changes) -> dict:
    """An answer to the next task; returns the task."""
    task = next_view(desk, person)["task"]
    sent = {"submission_id": key, "assignment": task["assignment"], "kind": "ranking", "seconds": 12.0}
    answer(desk, person, {**sent, "tiers": [["B"], ["A", "C"], ["D"]], **changes})
    return task


def test_my_work_lists_what_i_said_in_letters(desk, ann):
    give(desk, ann, "key-00000001")
    listed = work(desk, ann, {})
    (entry,) = listed["entries"]
    assert (entry["said"], entry["status"], entry["revisable"]) == ("B > A = C > D", "saved", True)
    assert entry["prompt"].startswith("demo: question") and entry["seconds"] == 12.0
    assert (listed["today"], listed["total"], listed["left"], listed["per_hour"]) == (1, 1, 2, 300.0)
    assert listed["campaigns"] == [{"id": 1, "name": "demo", "left": 2}]
    assert len(listed["days"]) == 30 and listed["days"][-1]["count"] == 1


def test_pages_follow_each_other(desk, ann):
    for n in range(3):
        give(desk, ann, f"key-0000000{n}")
    first = work(desk, ann, {}, page=2)
    second = work(desk, ann, {"before": first["next"]}, page=2)
    keys = [entry["submission"] for entry in first["entries"] + second["entries"]]
    assert keys == ["key-00000002", "key-00000001", "key-00000000"] and second["next"] is None
    assert "days" not in second


@pytest.mark.parametrize("sent", [{"before": "x"}, {"search": "x" * 201}, {"campaign": "demo"}, {"offset": 10_000}, []])
def test_a_malformed_wish_is_refused(desk, ann, sent):
    with pytest.raises(Refused):
        work(desk, ann, sent)


@pytest.mark.parametrize("purpose", ["gold", "test"])
def test_a_check_is_listed_like_any_other_answer(desk, ann, purpose):
    task = desk.services.pool.task(1)
    checks.add_check(desk.services.database, 1, task.prompt_id, task.completion_ids, [4, 3, 2, 1], purpose)
    edit_setup(desk.services.database, 1, gold_share=0.5)
    for n in range(3):
        give(desk, ann, f"key-0000000{n}")
    stored = [one.purpose for one in rankings.answers(desk.services.database)]
    listed = work(desk, ann, {})
    assert purpose in stored and {entry["status"] for entry in listed["entries"]} == {"saved"}
    assert purpose not in json.dumps(listed) and "agreement" not in json.dumps(listed)


def test_an_answer_is_opened_as_it_was_given(desk, ann):
    edit_setup(desk.services.database, 1, rationale="optional", edit=True)
    beside = {"flags": {"D": ["other"]}, "flag_notes": {"D": "rude"}, "rationale": "Clear.", "edited": "B"}
    given = give(desk, ann, "key-00000001", detail={**beside, "edit": "Better."})
    task = revise_view(desk, ann, {"submission": "key-00000001"})["task"]
    assert task["revises"] == "key-00000001" and task["assignment"] == given["assignment"]
    assert task["completions"] == given["completions"]
    assert task["answer"]["tiers"] == [["B"], ["A", "C"], ["D"]]
    assert json.loads(json.dumps(task["answer"]["detail"])) == {**beside, "edit": "Better."}


def test_ratings_are_opened_with_their_values(desk, ann):
    edit_setup(desk.services.database, 1, form="ratings", scales=[Scale("clear")])
    rated = {letter: {"clear": n + 1} for n, letter in enumerate("ABCD")}
    give(desk, ann, "key-00000001", kind="ratings", tiers=[], detail={"ratings": rated})
    given = revise_view(desk, ann, {"submission": "key-00000001"})["task"]["answer"]
    assert given == {"kind": "ratings", "tiers": [], "detail": {"ratings": rated}}


def test_a_revision_is_stored_once_with_the_time_of_both(desk, ann):
    give(desk, ann, "key-00000001")
    sent = {"submission_id": "key-00000002", "revises": "key-00000001", "kind": "all_bad", "seconds": 3.0}
    for _ in range(2):
        assert answer(desk, ann, sent)["saved"] == "key-00000002"
    stored = rankings.answers(desk.services.database)
    assert [(one.kind, one.status, one.seconds) for one in stored] == [
        ("ranking", "superseded", 12.0),
        ("all_bad", "counted", 15.0),
    ]
    assert work(desk, ann, {})["entries"][0]["status"] == "revised"


def test_a_revision_changed_after_a_lost_reply_replaces_the_lost_one(desk, ann):
    give(desk, ann, "key-00000001")
    sent = {"submission_id": "key-00000002", "revises": "key-00000001", "kind": "all_bad", "seconds": 3.0}
    answer(desk, ann, sent)
    answer(desk, ann, sent | {"kind": "cannot_judge", "seconds": 5.0})
    stored = rankings.answers(desk.services.database)
    assert [one.kind for one in stored if one.status != "superseded"] == ["cannot_judge"]
    assert stored[-1].seconds == 17.0


def test_an_answer_revised_elsewhere_is_a_conflict_and_opens_as_it_is_now(desk, ann):
    give(desk, ann, "key-00000001")
    sent = {"submission_id": "key-00000002", "revises": "key-00000001", "kind": "all_bad"}
    answer(desk, ann, sent)
    with pytest.raises(Conflict, match="newest answer"):
        answer(desk, ann, sent | {"submission_id": "key-00000003", "kind": "skip"})
    task = revise_view(desk, ann, {"submission": "key-00000001"})["task"]
    assert (task["revises"], task["answer"]["kind"]) == ("key-00000002", "all_bad")


def test_answers_of_others_cannot_be_opened_revised_or_withdrawn(desk, ann):
    give(desk, ann, "key-00000001")
    bob = people.create_person(desk.services.database, "bob", "annotator")
    with pytest.raises(Conflict):
        revise_view(desk, bob, {"submission": "key-00000001"})
    with pytest.raises(Conflict):
        withdraw(desk, bob, {"submission": "key-00000001", "submission_id": "key-00000002"})
    with pytest.raises(Conflict):
        answer(desk, bob, {"submission_id": "key-00000002", "revises": "key-00000001", "kind": "skip"})
    assert len(rankings.answers(desk.services.database)) == 1


def test_closed_campaigns_and_excluded_answers_stand(desk, ann):
    give(desk, ann, "key-00000001")
    give(desk, ann, "key-00000002")
    rankings.exclude(desk.services.database, "key-00000001", "copied")
    with pytest.raises(Conflict, match="copied"):
        revise_view(desk, ann, {"submission": "key-00000001"})
    campaigns.edit_campaign(desk.services.database, 1, state="closed")
    with pytest.raises(Conflict, match="closed"):
        revise_view(desk, ann, {"submission": "key-00000002"})
    with pytest.raises(Conflict, match="closed"):
        withdraw(desk, ann, {"submission": "key-00000002", "submission_id": "key-00000003"})


def test_withdrawing_frees_the_place_and_counts_no_more(desk, ann):
    give(desk, ann, "key-00000001")
    wish = {"submission": "key-00000001", "submission_id": "key-00000002"}
    assert withdraw(desk, ann, wish) == withdraw(desk, ann, wish)
    listed = work(desk, ann, {})
    assert [entry["status"] for entry in listed["entries"]] == ["withdrawn"] and listed["total"] == 0
    assert desk.tally.of(ann.id)["total"] == 0
    assert rankings.answer_table(desk.services.database).num_rows == 0


def test_tasks_in_hand_and_pauses_are_told(desk, ann):
    next_view(desk, ann)
    edit_setup(desk.services.database, 1, quota=1)
    assert [one["campaign"] for one in work(desk, ann, {})["in_hand"]] == ["demo"]
    give(desk, ann, "key-00000001")
    assert [one["code"] for one in work(desk, ann, {})["blocked"]] == ["quota"]
