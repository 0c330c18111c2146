"""Simulated annotators: the same claim and submit as people, and the gold reward of what they ranked."""

import math

import pytest

from pipeline.launch import launch
from pipeline.simulate import gold_by_model, simulate
from storage import people, rankings
from storage.details import Scale
from storage.records import Completion
from storage.setups import edit_setup
from tests.pipeline.following import quick
from tests.pipeline.small_campaign import add_base, add_campaign, add_tasks


@pytest.fixture
def services(bare_services):
    """No base: what people rank needs none."""
    return bare_services


@pytest.fixture
def campaign(services):
    made = add_campaign(services, overlap=2)
    add_tasks(services, made)
    return made


def test_annotators_rank_until_nothing_is_open(services, campaign):
    said = simulate(services, 3)
    assert (said["annotators"], said["rankings"]) == (3, 12)
    assert services.pool.counts()["open"] == 0
    stored = rankings.answers(services.database, campaign.id)
    assert len(stored) == 12 and {answer.status for answer in stored} == {"counted"}
    assert {p.name for p in people.people(services.database) if p.kind == "simulated"} == {"sim-1", "sim-2", "sim-3"}


def test_a_limit_counts_rankings_and_annotators_take_turns(services, campaign):
    assert simulate(services, 2, limit=5)["rankings"] == 5
    by_person = [answer.person_id for answer in rankings.answers(services.database, campaign.id)]
    assert sorted(by_person.count(person) for person in set(by_person)) == [2, 3]
    assert simulate(services, 2)["rankings"] == 7


def test_without_noise_the_ranking_is_the_gold_order_whatever_was_shown(services, campaign):
    add_base(services)
    quick(services).wait(launch(services, "generate", campaign.id).id)
    simulate(services, 2, noise=0)
    by_task = {}
    for answer in rankings.answers(services.database, campaign.id):
        by_task.setdefault(answer.task_id, set()).add(answer.ranks)
    assert all(len(ranks) == 1 for ranks in by_task.values())


@pytest.mark.parametrize("form", ["pairwise", "ratings", "thumbs"])
def test_every_form_is_answered_with_what_it_asks_for(services, campaign, form):
    asked = {"form": form, "rationale": "required", "rationale_min": 20, "min_seconds": 5.0, "on_fast": "exclude"}
    edit_setup(services.database, campaign.id, **asked, scales=[Scale("clear"), Scale("overall", overall=True)][:2])
    assert simulate(services, 2, noise=0)["rankings"] == 12
    table = rankings.answer_table(services.database, campaign.id)
    kinds = {"pairwise": {"ranking", "all_bad"}, "ratings": {"ratings"}, "thumbs": {"thumbs"}}[form]
    assert table.num_rows == 12 and set(table["kind"].to_pylist()) <= kinds
    agreed = {}
    for task, ranks in zip(table["task_id"].to_pylist(), table["ranks"].to_pylist(), strict=True):
        assert agreed.setdefault(task, ranks) == ranks


def test_one_campaign_only(services, campaign):
    other = add_campaign(services, "other")
    assert simulate(services, 1, campaign_id=other.id)["rankings"] == 0
    assert simulate(services, 1, campaign_id=campaign.id)["rankings"] == 6


def test_gold_reward_is_reported_per_model(services, campaign):
    gold = simulate(services, 1)["gold_reward"]
    assert set(gold) == {"outside"} and gold["outside"]["n"] == 18
    assert gold["outside"]["standard_error"] is not None


def test_the_standard_error_takes_completions_of_a_prompt_together(monkeypatch):
    rewards = {"a": 1.0, "b": 3.0, "c": 2.0, "d": 6.0}
    monkeypatch.setattr("pipeline.simulate.gold_reward", lambda prompt, text: rewards[text])
    made = [("p", "a"), ("p", "b"), ("q", "c"), ("r", "d")]
    gold = gold_by_model([("?", Completion(i, prompt, "m", text)) for i, (prompt, text) in enumerate(made)])["m"]
    # mean 3; residual sums by prompt: p -2 + 0, q -1, r 3; sqrt(3/2 * (4 + 1 + 9)) / 4
    assert gold["mean"] == 3.0 and gold["standard_error"] == pytest.approx(math.sqrt(21) / 4)


def test_one_prompt_has_no_standard_error():
    gold = gold_by_model([("?", Completion(0, "p", "m", "Thank you."))])
    assert gold["m"]["n"] == 1 and gold["m"]["standard_error"] is None
