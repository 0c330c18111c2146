"""The report of a campaign: counts, agreement and strengths under their agreed names."""

import json

import pytest

from pipeline.report import UnknownCampaign, report
from storage.campaigns import create_campaign
from storage.people import find_or_create
from storage.rankings import add_imported
from storage.records import ModelVersion
from storage.versions import register_version

AGREEMENT = {"kendall_tau_b", "kendall_w", "krippendorff_alpha_ordinal", "pairwise_kappa", "pairwise_agreement"}
STRENGTH = {"model", "against", "strength", "low", "high", "win_rate", "win_rate_low", "win_rate_high", "comparisons"}


@pytest.fixture
def ranked(db, campaign_with_tasks):
    """Two annotators agree on every task: b's completions before a's."""
    for name in ("ann", "bob"):
        person = find_or_create(db, name, "simulated")
        for task in campaign_with_tasks.tasks:
            add_imported(db, campaign_with_tasks.campaign.id, person.id, task.id, [2, 1, 3, 1])
    return campaign_with_tasks


def test_a_report_has_the_agreed_names(db, ranked):
    found = report(db)["campaigns"][0]
    assert (found["name"], found["tasks"], found["rankings"], found["annotators"]) == ("demo", 3, 6, 2)
    assert found["agreement"].keys() == AGREEMENT
    assert all(row.keys() >= STRENGTH for row in found["strengths"])
    json.dumps(found, allow_nan=False)


def test_the_better_model_is_first_and_stands_against_its_parent(db, ranked):
    register_version(db, ModelVersion("a", "policy", "somewhere"))
    register_version(db, ModelVersion("b", "policy", "elsewhere", parent="a"))
    best = report(db, "demo")["campaigns"][0]["strengths"][0]
    assert (best["model"], best["against"], best["win_rate"], best["comparisons"]) == ("b", "a", 1.0, 12)
    assert best["win_rate_low"] < 1.0 == best["win_rate_high"]
    assert best["low"] < best["strength"] < best["high"]


def test_equal_annotators_agree_fully(db, ranked):
    figures = report(db)["campaigns"][0]["agreement"]
    assert [figures[name] for name in sorted(AGREEMENT)] == pytest.approx([1.0] * 5)


def test_an_empty_campaign_has_nulls_and_no_strengths(db):
    create_campaign(db, "new")
    found = report(db, "new")["campaigns"][0]
    assert (found["tasks"], found["rankings"], found["annotators"], found["strengths"]) == (0, 0, 0, [])
    assert set(found["agreement"].values()) == {None}


def test_without_campaigns_the_report_is_empty(db):
    assert report(db) == {"campaigns": []}


def test_an_unknown_campaign_is_named_with_those_that_exist(db):
    create_campaign(db, "new")
    with pytest.raises(UnknownCampaign, match="found old, expected one of: new"):
        report(db, "old")
