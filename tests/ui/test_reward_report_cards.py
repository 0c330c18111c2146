"""A reward model's report as leads see it: people by the name the campaign shows, hostile names as text."""

import math

from pipeline.run_directory import RunDirectory
from storage import people
from storage.setups import edit_setup
from tests.ui.leads import HOSTILE, new_campaign, new_run
from ui.reward_report_cards import reward_report
from ui.run_cards import run_facts
from ui.run_view import detail

ROW = {"comparisons": 40, "accuracy": 0.75, "nll": 0.51, "longer_wins": 0.6}


def reported(services, people_told: dict, **parts):
    """A reward run of a campaign whose result holds a report."""
    campaign, _ = new_campaign(services)
    run = new_run(services, "reward", campaign.id)
    report = {
        "held_out": {**ROW, "ece": 0.04, "temperature": 1.2},
        "longer_wins": {"comparisons": 40, "accuracy": 0.6},
        "agreement": {"pairwise": 0.7, "majority": 0.8, "from": "judgements"},
        "by_annotator": people_told,
        "by_source": {"a | b": ROW},
        "by_length_difference": [{"from": 0, "to": 9, **ROW}],
        **parts,
    }
    RunDirectory(services.directory(run)).finish({"report": report})
    return campaign, run


def test_the_model_stands_beside_the_longer_one_and_the_annotators(services):
    ann = people.create_person(services.database, "Ann", "annotator")
    _, run = reported(services, {str(ann.id): ROW, "999": ROW})
    shown = run_facts(services, run.id)
    for told in ("the longer one wins", "0.6", "0.8", "calibration error 0.04", "0 to 9 tokens", "a | b"):
        assert told in shown
    assert "<td>Ann</td>" in shown and "<td>annotator 999</td>" in shown


def test_a_campaign_with_pseudonyms_tells_no_name(services):
    ann = people.create_person(services.database, "Ann", "annotator")
    campaign, run = reported(services, {str(ann.id): ROW})
    edit_setup(services.database, campaign.id, pseudonyms=True)
    assert "Ann" not in str(detail(services, run)["report"]) and detail(services, run)["report"]["by_annotator"]


def test_hostile_names_are_text_and_unknown_figures_a_dash(services):
    _, run = reported(services, {}, by_tag={HOSTILE: {**ROW, "nll": math.nan}})
    shown = run_facts(services, run.id)
    assert "<img" not in shown and "<td>–</td>" in shown
    assert detail(services, run)["report"]["by_tag"][HOSTILE]["nll"] is None


def test_other_runs_have_no_report():
    assert reward_report({}) == ""
