"""The Leaderboard page's handlers as plain functions, asked by real sessions, over real rankings."""

import gradio as gr
import pytest

from storage import campaigns, rankings, runs, versions
from storage.records import ModelVersion, Submission
from tests.ui.leads import HOSTILE, FakeEvent, FakeRequest, new_campaign, new_person, new_services
from ui import leaderboard_page as page
from ui.auth import Auth
from ui.standing import lineage, policy_card, previous, standing, version_list


@pytest.fixture
def asked(tmp_path):
    """(services, auth, request of a lead, campaign); starter, ppo-1 from it, and a reward model are there."""
    services = new_services(tmp_path)
    auth = Auth(services, "secret")
    for name, role, parent in (
        ("starter", "policy", None),
        ("reward-1", "reward", "starter"),
        ("ppo-1", "policy", "starter"),
    ):
        versions.register_version(services.database, ModelVersion(name, role, "/models/x", parent))
    campaign, _ = new_campaign(services, sets=6)
    yield services, auth, FakeRequest(auth, new_person(services, "lead")), campaign
    services.close()


def rank_everything(services) -> None:
    """An annotator ranks every task as shown: A before B before C."""
    person = new_person(services, "annotator")
    while (assignment := services.pool.claim(person.id)) is not None:
        tiers = tuple((one,) for one in assignment.shown)
        sent = Submission(f"key-{assignment.id}"[:64], assignment.id, "ranking", tiers)
        rankings.submit(services.database, services.pool, person.id, sent)


@pytest.mark.parametrize("role", ["annotator", None])
def test_every_handler_refuses_an_annotator(asked, role):
    services, auth, _, _ = asked
    request = FakeRequest(auth, new_person(services, role) if role else None)
    for call in (
        lambda: page.open_page(services, auth, request),
        lambda: page.choose(services, auth, "talk", request),
        lambda: page.act(services, auth, "talk", FakeEvent({"act": "promote", "version": "ppo-1"}), request),
        lambda: page.compare(services, auth, "talk", "ppo-1", page.PARENT, 5, 4, request),
    ):
        with pytest.raises(gr.Error):
            call()


def test_a_reviewer_looks_but_does_not_act(asked):
    services, auth, _, campaign = asked
    request = FakeRequest(auth, new_person(services, "reviewer"))
    _campaign, _standing, _policy, shown, *_, form = page.open_page(services, auth, request)
    assert "ppo-1" in shown and "data-act" not in shown and form.visible is False
    with pytest.raises(gr.Error):
        page.act(services, auth, "talk", FakeEvent({"act": "promote", "version": "ppo-1"}), request)
    assert campaigns.campaign(services.database, campaign.id).policy is None


def test_before_any_ranking_the_page_says_what_to_do(asked):
    services, _auth, _, campaign = asked
    assert "Put a version on the board" in standing(services, campaign)
    assert "No campaign yet" in standing(services, None)


def test_rankings_between_models_become_bars_with_the_even_line(asked):
    services, _auth, _, campaign = asked
    rank_everything(services)
    shown = standing(services, campaign)
    assert "m1" in shown and "m2" in shown and "50 %" in shown and "comparisons" in shown
    assert "Annotators" in shown and "<td>6</td>" in shown


def test_lineage_puts_children_below_their_parent_each_once():
    made = [ModelVersion(name, "policy", "x", parent) for name, parent in
            [("a", None), ("b", None), ("c", "a"), ("d", "c"), ("e", "gone"), ("f", "f")]]  # fmt: skip
    assert [(depth, one.name) for depth, one in lineage(made)] == [
        (0, "a"), (1, "c"), (2, "d"), (0, "b"), (0, "e"), (0, "f"),
    ]  # fmt: skip


def test_a_version_name_is_shown_as_text(asked):
    services, _auth, _, campaign = asked
    versions.register_version(services.database, ModelVersion(HOSTILE, "policy", "x", HOSTILE + "p"))
    campaigns.set_policy(services.database, campaign.id, HOSTILE, HOSTILE, HOSTILE)
    now = campaigns.campaign(services.database, campaign.id)
    markup = version_list(services, now) + policy_card(services, now)
    assert "<img" not in markup and 'onerror="' not in markup


def test_promote_and_roll_back_leave_their_history(asked):
    services, auth, request, campaign = asked
    said = page.act(services, auth, "talk", FakeEvent({"act": "promote", "version": "ppo-1"}), request)[0]
    assert "ppo-1" in said and previous(services, campaign) == "starter"
    page.act(services, auth, "talk", FakeEvent({"act": "rollback"}), request)
    history = campaigns.policy_history(services.database, campaign.id)
    assert [(row[0], row[1]) for row in history] == [("ppo-1", "lead"), ("starter", "lead")]


@pytest.mark.parametrize("name", ["reward-1", "gone", ""])
def test_only_a_policy_version_can_be_promoted(asked, name):
    services, auth, request, campaign = asked
    said = page.act(services, auth, "talk", FakeEvent({"act": "promote", "version": name}), request)[0]
    assert "error" in said and campaigns.campaign(services.database, campaign.id).policy is None


def test_compare_on_a_version_fills_the_form(asked):
    services, auth, request, _ = asked
    *_, which, form = page.act(services, auth, "talk", FakeEvent({"act": "compare", "version": "ppo-1"}), request)
    assert which.value == "ppo-1" and form.open is True


def test_a_comparison_is_a_generate_run_of_both_versions(asked):
    services, auth, request, campaign = asked
    told = page.compare(services, auth, "talk", "ppo-1", page.PARENT, 5, 4, request)
    run = runs.runs(services.database)[0]
    assert (run.kind, run.campaign_id, run.options["prompts"]) == ("generate", campaign.id, 5)
    assert "ppo-1" in told and "starter" in told and f"runs?run={run.id}" in told


@pytest.mark.parametrize(("policy", "against"), [(None, page.PARENT), ("starter", page.PARENT), ("ppo-1", "ppo-1")])
def test_a_comparison_without_two_versions_is_told(asked, policy, against):
    services, auth, request, _ = asked
    assert "error" in page.compare(services, auth, "talk", policy, against, 5, 4, request)
    assert runs.runs(services.database) == []
