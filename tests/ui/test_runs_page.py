"""The Runs page's handlers as plain functions, and a run as plain values."""

import inspect
import json
from datetime import timedelta

import gradio as gr
import pytest

from pipeline.configs import CONFIGS
from storage import runs, versions
from storage.records import ModelVersion
from tests.ui.leads import HOSTILE, FakeEvent, FakeRequest, new_campaign, new_person, new_run, new_services
from ui import run_form
from ui import runs_page as page
from ui.auth import Auth
from ui.components import bound
from ui.run_cards import run_facts, run_failure, run_list
from ui.run_view import curve_rows, detail, summary


@pytest.fixture
def asked(tmp_path):
    """(services, auth, request of a lead), with a policy and a campaign."""
    services = new_services(tmp_path)
    auth = Auth(services, "secret")
    versions.register_version(services.database, ModelVersion("starter", "policy", "/models/starter"))
    new_campaign(services)
    yield services, auth, FakeRequest(auth, new_person(services, "lead"))
    services.close()


def form(**changed) -> list:
    """The option fields of the form with their defaults, some changed."""
    return [changed.get(f"{kind}_{spec.name}", spec.default) for kind, spec in run_form.option_fields()]


USUAL = [page.USUAL] * 3


@pytest.mark.parametrize("role", ["annotator", "reviewer", None])
def test_every_handler_refuses_who_is_no_lead(asked, role):
    services, auth, _ = asked
    request = FakeRequest(auth, new_person(services, role) if role else None)
    run = new_run(services)
    event = FakeEvent({"run": run.id})
    calls = [
        lambda: page.open_page(services, auth, request),
        lambda: run_form.change_kind(services, auth, "ppo", request),
        lambda: page.start_run(services, auth, request, "generate", "talk", *USUAL, *form()),
        lambda: page.act_on_list(services, auth, event, request),
        lambda: page.cancel_run(services, auth, event, request),
        lambda: page.refresh(services, auth, run.id, request),
        lambda: page.show_end(services, auth, event, request),
    ]
    for call in calls:
        with pytest.raises(gr.Error):
            call()
    assert not summary(services, run)["cancelling"] and len(runs.runs(services.database)) == 1


def test_the_form_has_every_option_with_its_meaning():
    there = {(kind, spec.name) for kind, spec in run_form.option_fields()}
    assert {kind for kind, _ in there} == set(CONFIGS) and ("ppo", "kl_target") in there
    assert all(spec.metadata["meaning"] for _, spec in run_form.option_fields())


def test_a_run_starts_with_the_options_of_its_kind_only(asked):
    services, auth, request = asked
    values = form(generate_k=2, generate_prompts=7, reward_epochs=99.0)
    said, chosen, *_ = page.start_run(services, auth, request, "generate", "talk", *USUAL, *values)
    run = runs.run(services.database, chosen)
    assert (run.options["k"], run.options["prompts"]) == (2, 7) and "epochs" not in run.options
    assert "queued" in said and run.created_by is not None


def test_an_empty_field_has_its_default(asked):
    services, auth, request = asked
    values = form(generate_temperature=None)
    chosen = page.start_run(services, auth, request, "generate", "talk", *USUAL, *values)[1]
    assert runs.run(services.database, chosen).options["temperature"] == 1.0


def test_a_baseline_is_handed_on_only_where_the_kind_has_one(asked):
    services, auth, request = asked
    versions.register_version(services.database, ModelVersion("ppo-1", "policy", "/models/ppo", "starter"))
    models = ["ppo-1", "starter", "nonsense"]
    chosen = page.start_run(services, auth, request, "generate", "talk", *models, *form())[1]
    assert detail(services, runs.run(services.database, chosen))["models"] == {"policy": "ppo-1", "against": "starter"}


def test_a_refusal_is_told_and_starts_nothing(asked):
    services, auth, request = asked
    said = page.start_run(services, auth, request, "reward", "talk", *USUAL, *form())[0]
    assert "rank some tasks first" in said
    assert "k: found" in page.start_run(services, auth, request, "generate", "talk", *USUAL, *form(generate_k=1))[0]
    assert runs.runs(services.database) == []


def test_the_page_opens_on_the_run_in_the_address_else_on_one_that_goes_on(asked):
    services, auth, _ = asked
    first, second = new_run(services), new_run(services)
    runs.set_state(services.database, second.id, "failed", "no")
    lead = new_person(services, "lead", "other")
    assert page.open_page(services, auth, FakeRequest(auth, lead))[0] == first.id
    assert page.open_page(services, auth, FakeRequest(auth, lead, f"run={second.id}"))[0] == second.id
    assert page.open_page(services, auth, FakeRequest(auth, lead, "run=%3Cb%3E"))[0] == first.id


def test_the_live_view_starts_with_every_row_in_storage(asked):
    services, auth, request = asked
    run = new_run(services, "ppo")
    runs.add_metrics(services.database, run.id, [{"step": n, "objective/kl": n / 10} for n in range(50)], 999)
    shown = page.act_on_list(services, auth, FakeEvent({"run": run.id}), request)[2]
    assert len(shown["rows"]) == 50 and shown["events"] == "api/v1/runs/events"
    assert shown["panels"][1]["title"] == "KL to the reference"


def test_cancel_leaves_the_wish_in_the_directory(asked):
    services, auth, request = asked
    run = new_run(services)
    shown = page.cancel_run(services, auth, FakeEvent({"run": run.id}), request)[2]
    assert shown["run"]["cancelling"] and (services.directory(run) / "cancel").exists()


@pytest.mark.parametrize("sent", [None, "x", {}, {"run": "../../etc"}, {"run": ["a"]}])
def test_a_strange_event_cancels_nothing(asked, sent):
    services, auth, request = asked
    run = new_run(services)
    assert page.cancel_run(services, auth, FakeEvent(sent), request)[0] is None
    assert not (services.directory(run) / "cancel").exists()


def test_a_failed_run_tells_its_sentence_and_the_end_of_its_log_as_text(asked):
    services, _auth, _ = asked
    run = new_run(services, "dpo")
    directory = services.directory(run)
    (directory / "error.json").write_text(json.dumps({"kind": "Refused", "message": f"no data {HOSTILE}"}))
    (directory / "log.txt").write_text(f"line\n{HOSTILE}\n")
    runs.set_state(services.database, run.id, "failed", "no data")
    facts = run_failure(services, run.id)
    assert "The run failed." in facts and "Its log ends with" in facts and "<img" not in facts


def test_a_finished_run_tells_its_figures_and_its_version(asked):
    services, _auth, _ = asked
    run = new_run(services, "dpo")
    (services.directory(run) / "result.json").write_text(json.dumps({"metrics": {"eval/accuracy": 0.7123, "x": None}}))
    versions.register_version(services.database, ModelVersion("dpo-1", "policy", "p", "starter", run.id), run.id)
    facts = run_facts(services, run.id)
    assert "0.712" in facts and "dpo-1" in facts and "succeeded" in run_list(services, run.id)


def test_remaining_time_follows_the_speed_so_far(asked):
    services, _auth, _ = asked
    run = new_run(services)
    for state in ("starting", "running"):
        run = runs.set_state(services.database, run.id, state)
    status = {"phase": "running", "step": 25, "total": 100, "message": "training", "heartbeat": 0}
    (services.directory(run) / "status.json").write_text(json.dumps(status))
    view = summary(services, run, run.changed + timedelta(seconds=30))
    assert view["remaining"] == pytest.approx(90, abs=0.1)  # 30 s for a quarter, so 90 s for the rest
    assert summary(services, run, run.changed)["step"] == 25


def test_figures_that_json_cannot_say_are_none(asked):
    services, _auth, _ = asked
    run = new_run(services)
    runs.add_metrics(services.database, run.id, [{"step": 1, "loss": float("nan"), "kl": float("inf")}], 9)
    assert curve_rows(services, run.id) == [{"step": 1, "loss": None, "kl": None}]


def test_a_bound_handler_shows_gradio_what_is_left_of_it():
    left = inspect.signature(bound(page.refresh, None, None)).parameters
    assert list(left) == ["chosen", "request", "filters"] and left["request"].annotation is gr.Request
