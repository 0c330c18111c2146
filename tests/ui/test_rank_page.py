import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from pipeline.local_backend import LocalBackend
from pipeline.services import Services, only
from storage import campaigns, checks, people, runs, versions
from storage.assignments import Assignments
from storage.rankings import answers
from storage.records import ModelVersion
from storage.setups import edit_setup
from storage.tasks import tasks
from tests.conftest import make_campaign
from ui.answering import Desk
from ui.rank_page import Wish, answer, consent, next_view, release, renew
from ui.routes import Conflict
from ui.tally import Tally
from ui.task_answer import Refused, read


@pytest.fixture
def services(campaign_with_tasks):
    database = campaign_with_tasks.database
    versions.register_version(database, ModelVersion("starter", "policy", "nowhere"))
    return Services(Path("unused"), database, Assignments(database), only(LocalBackend(Path.cwd())))


@pytest.fixture
def desk(services):
    return Desk(services)


@pytest.fixture
def ann(services):
    return people.create_person(services.database, "ann", "annotator")


def ranking(view: dict, key: str = "key-00000001", **changes) -> dict:
    """A ranking of the shown task, A before B and C, and D last."""
    sent = {"submission_id": key, "assignment": view["task"]["assignment"], "kind": "ranking", "seconds": 3.5}
    return {**sent, "tiers": [["A"], ["B", "C"], ["D"]], **changes}


def test_the_first_view_is_a_task_with_letters_and_markup(services, ann):
    view = next_view(Desk(services), ann)
    assert view["state"] == "task"
    assert [one["letter"] for one in view["task"]["completions"]] == ["A", "B", "C", "D"]
    assert view["task"]["completions"][0]["html"].startswith("<p>answer")
    assert view["task"]["remaining"] == 3


def test_a_view_tells_no_model_and_no_completion_id(services, ann):
    view = next_view(Desk(services), ann)
    assert set(view["task"]["completions"][0]) == {"letter", "html", "text", "note", "snippet", "veil"}
    assert "model" not in json.dumps(view)


def test_asking_again_gives_the_same_task(desk, ann):
    first, again = next_view(desk, ann)["task"], next_view(desk, ann)["task"]
    assert again | {"expires": ""} == first | {"expires": ""}


def test_an_answer_is_stored_in_the_order_shown_and_brings_the_next_task(services, desk, ann):
    view = next_view(desk, ann)
    shown = services.pool.live(view["task"]["assignment"]).shown
    following = answer(desk, ann, ranking(view))
    (stored,) = answers(services.database)
    task = services.pool.task(stored.task_id)
    assert [stored.ranks[task.completion_ids.index(one)] for one in shown] == [1, 2, 2, 3]
    assert following["saved"] == "key-00000001"
    assert following["task"]["assignment"] != view["task"]["assignment"]
    assert (following["today"], following["total"]) == (1, 1)


def test_the_same_answer_twice_is_one_answer(services, desk, ann):
    sent = ranking(next_view(desk, ann))
    answer(desk, ann, sent)
    assert answer(desk, ann, sent)["total"] == 1
    assert len(answers(services.database)) == 1


def test_a_changed_answer_under_the_same_key_becomes_a_revision(services, desk, ann):
    view = next_view(desk, ann)
    answer(desk, ann, ranking(view))
    changed = ranking(view, tiers=[["D"], ["A", "B", "C"]])
    answer(desk, ann, changed)
    answer(desk, ann, changed)
    assert [one.status for one in answers(services.database)] == ["superseded", "counted"]


def test_a_task_answered_elsewhere_gives_a_notice_and_the_next_task(desk, ann):
    view = next_view(desk, ann)
    answer(desk, ann, ranking(view))
    again = answer(desk, ann, ranking(view, key="key-00000002"))
    assert again["saved"] is None
    assert "already answered" in again["notice"]
    assert again["state"] == "task"


def test_somebody_elses_task_gives_a_notice_and_stores_nothing(services, desk, ann):
    bob = people.create_person(services.database, "bob", "annotator")
    sent = ranking(next_view(desk, ann))
    assert "no longer yours" in answer(desk, bob, sent)["notice"]
    assert answers(services.database) == []


def test_an_answer_after_its_lease_still_counts_while_there_is_room(services, desk, ann):
    view = next_view(desk, ann)
    services.pool.release(view["task"]["assignment"])
    assert answer(desk, ann, ranking(view))["saved"] == "key-00000001"


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
def test_a_malformed_answer_is_refused_and_stores_nothing(services, desk, ann, change):
    view = next_view(desk, ann)
    with pytest.raises(Refused):
        answer(desk, ann, ranking(view, **change))
    assert answers(services.database) == []


def test_skipping_gives_another_task_and_counts_for_nothing(desk, ann):
    view = next_view(desk, ann)
    following = answer(desk, ann, ranking(view, kind="skip", tiers=[]))
    assert following["task"]["assignment"] != view["task"]["assignment"]
    assert following["total"] == 0


def test_yesterdays_answers_are_in_all_but_not_today(services, ann):
    desk = Desk(services)
    answer(desk, ann, ranking(next_view(desk, ann)))
    tomorrow = Tally(services, today=lambda: (datetime.now(UTC) + timedelta(days=1)).date())
    assert tomorrow.of(ann.id) == {"today": 0, "total": 1}


def test_an_empty_queue_says_so_and_shows_leads_the_way(services, ann):
    for campaign in campaigns.campaigns(services.database):
        campaigns.edit_campaign(services.database, campaign.id, state="paused")
    lead = people.create_person(services.database, "lead", "lead")
    views = [next_view(Desk(services), person) for person in (ann, lead)]
    assert [(view["state"], view["may_lead"]) for view in views] == [("empty", False), ("empty", True)]


def test_the_first_start_is_shown_with_its_progress(db):
    services = Services(Path("unused"), db, Assignments(db), only(LocalBackend(Path.cwd())))
    runs.create_run(db, "starter", None, {})
    view = next_view(Desk(services), people.create_person(db, "ann", "annotator"))
    assert view["state"] == "starting"
    assert view["starting"]["step"] == "starter"
    assert 0 <= view["starting"]["progress"] < 1


def test_tasks_ahead_are_leased_and_told_once(desk, ann):
    view = next_view(desk, ann, Wish(ahead=2))
    held = [view["task"]["assignment"], *(task["assignment"] for task in view["ahead"])]
    assert len(set(held)) == 3
    again = next_view(desk, ann, Wish(ahead=2, have=held))
    assert (again["task"]["assignment"], again["ahead"]) == (held[0], [])
    following = answer(desk, ann, ranking(view) | {"ahead": 2, "have": held})
    assert following["task"]["assignment"] == held[1]


def test_a_view_says_what_is_left_and_where(services, desk, ann):
    other = make_campaign(services.database, "other", tasks=2)
    view = next_view(desk, ann)
    assert view["left"] == 5 and view["task"]["remaining"] == 5
    assert [(one["name"], one["left"], one["state"]) for one in view["campaigns"]] == [
        ("demo", 3, "open"),
        ("other", 2, "open"),
    ]
    chosen = next_view(desk, ann, Wish(campaign=other.campaign.id))
    assert chosen["task"]["campaign"] == "other" and chosen["left"] == 2


def test_leases_are_renewed_while_they_live_and_handed_back_by_their_holder_only(services, desk, ann):
    bob = people.create_person(services.database, "bob", "annotator")
    mine = next_view(desk, ann)["task"]["assignment"]
    assert [one["assignment"] for one in renew(desk, ann, {"assignments": [mine, "gone"]})["alive"]] == [mine]
    assert renew(desk, bob, {"assignments": [mine]})["alive"] == []
    release(desk, bob, {"assignments": [mine]})
    assert services.pool.live(mine)
    release(desk, ann, {"assignments": [mine]})
    assert services.pool.live(mine) is None


def test_consent_is_asked_before_the_first_task_and_again_for_a_new_text(services, desk, ann):
    edit_setup(services.database, 1, consent="We **keep** your answers.")
    view = next_view(desk, ann)
    assert view["state"] == "blocked" and "task" not in view
    (why,) = view["blocked"]
    assert (why["code"], why["version"]) == ("consent", 1) and "<strong>keep</strong>" in why["consent"]
    assert consent(desk, ann, {"campaign": 1, "version": 1})["state"] == "task"
    edit_setup(services.database, 1, consent="We keep them for ever.")
    assert next_view(desk, ann)["state"] == "blocked"
    with pytest.raises(Conflict):
        consent(desk, ann, {"campaign": 1, "version": 1})
    assert Assignments(services.database).refusals(ann.id)[0].code == "consent"


def test_consent_holds_after_a_restart(services, desk, ann):
    edit_setup(services.database, 1, consent="Yes?")
    consent(desk, ann, {"campaign": 1, "version": 1})
    assert Assignments(services.database).claim(ann.id) is not None


def test_campaigns_of_others_are_not_named(services, desk, ann):
    edit_setup(services.database, 1, members_only=True)
    view = next_view(desk, ann)
    assert [(one["code"], one["name"]) for one in view["blocked"]] == [("members", "")]
    make_campaign(services.database, "open to all")
    assert next_view(desk, ann)["blocked"] == []


def test_changed_guidelines_are_announced_to_who_worked_under_the_old_ones(services, desk, ann):
    bob = people.create_person(services.database, "bob", "annotator")
    answer(desk, ann, ranking(next_view(desk, ann)))
    campaigns.edit_campaign(services.database, 1, guidelines="Shorter is better.")
    assert next_view(desk, ann)["guidelines_changed"] is True
    assert next_view(Desk(services), ann)["guidelines_changed"] is True
    assert "guidelines_changed" not in next_view(desk, bob)
    assert "guidelines_changed" not in answer(desk, ann, ranking(next_view(desk, ann), key="key-00000002"))


def test_a_changed_answer_is_counted_once_and_a_withdrawn_one_no_more(desk, ann):
    view = next_view(desk, ann)
    answer(desk, ann, ranking(view))
    for tiers in ([["D"], ["A", "B", "C"]], [["B"], ["A", "C", "D"]]):
        assert answer(desk, ann, ranking(view, tiers=tiers))["total"] == 1
    assert answer(desk, ann, ranking(view, kind="skip", tiers=[]))["total"] == 0


def test_a_key_used_for_another_task_is_refused_and_changes_nothing(services, desk, ann):
    answer(desk, ann, ranking(next_view(desk, ann)))
    with pytest.raises(Refused, match="already used"):
        answer(desk, ann, ranking(next_view(desk, ann), kind="all_bad", tiers=[]))
    assert [one.kind for one in answers(services.database)] == ["ranking"]


def training(services, purpose: str = "training"):
    task = next(t for t in tasks(services.database) if t.purpose == "rank")
    ranks = [1, 2, 3, 4]
    return checks.add_check(
        services.database, 1, task.prompt_id, task.completion_ids, ranks, purpose, "**First** wins."
    )


def test_a_training_task_is_announced_and_gives_feedback(services, desk, ann):
    task = training(services)
    view = next_view(desk, ann)
    assert view["task"]["training"] is True
    letters = dict(zip(services.pool.live(view["task"]["assignment"]).shown, "ABCD", strict=True))
    best = [[letters[c]] for c in task.completion_ids]
    learned = answer(desk, ann, ranking(view, tiers=best))["feedback"]
    assert (learned["score"], learned["expected"]) == (1.0, {"tiers": best})
    assert "<strong>First</strong>" in learned["explanation"]
    assert learned["task"]["assignment"] == view["task"]["assignment"]


@pytest.mark.parametrize("purpose", ["gold", "test"])
def test_gold_and_test_tasks_look_like_any_other(services, desk, ann, purpose):
    work = next_view(desk, ann)
    training(services, purpose)
    edit_setup(services.database, 1, gold_share=0.5)
    view = answer(desk, ann, ranking(work))
    assert services.pool.live(view["task"]["assignment"]).purpose == purpose
    reply = answer(desk, ann, ranking(view, key="key-00000002"))
    assert set(view["task"]) == set(work["task"]) and view["task"]["training"] is False
    assert "feedback" not in reply and purpose not in json.dumps([view, reply])


def test_who_fails_is_warned_after_ordinary_work_and_not_every_time(services, desk, ann):
    edit_setup(services.database, 1, gold_after=1, gold_share=0.5, on_fail="warn")
    told = []
    training(services, "gold")
    while (view := next_view(desk, ann))["state"] == "task":
        assignment = services.pool.live(view["task"]["assignment"])
        worst = [["ABCD"[assignment.shown.index(c)]] for c in sorted(assignment.shown, reverse=True)]
        sent = ranking(view, key=f"key-{assignment.id[:20]}", tiers=worst)
        told.append((assignment.purpose, "warning" in answer(desk, ann, sent)))
    assert dict(told)["gold"] is False
    assert [warned for purpose, warned in told if warned] == [True]


@pytest.mark.parametrize(("rule", "words"), [("warn", "It is saved"), ("exclude", "does not count"), ("nothing", None)])
def test_an_answer_that_is_too_fast_is_told_so(services, desk, ann, rule, words):
    edit_setup(services.database, 1, min_seconds=10, on_fast=rule)
    reply = answer(desk, ann, ranking(next_view(desk, ann)))
    assert (words in reply["warning"]) if words else "warning" not in reply


@pytest.mark.parametrize("sent", [[], "no", {"ahead": 3}, {"campaign": "x"}, {"have": 3}])
def test_a_malformed_wish_is_refused(sent):
    with pytest.raises(Refused):
        read(Wish, sent)
