"""The Runs page's handlers as plain functions, and a run as plain values."""

import inspect
import json
from datetime import timedelta

import gradio as gr
import pytest

from pipeline.configs import CONFIGS
from pipeline.services import Heard
from storage import run_marks, runs, versions
from storage.records import ModelVersion
from tests.ui.leads import HOSTILE, FakeEvent, FakeRequest, new_campaign, new_person, new_run, new_services
from tests.ui.priced_backend import add_priced
from ui import run_form
from ui import runs_page as page
from ui.auth import Auth
from ui.components import bound
from ui.run_cards import run_facts, run_failure, run_list
from ui.run_view import Filters, curve_rows, detail, summary


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


USUAL = [page.USUAL] * len(page.PLACES)


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
    models = ["ppo-1", "starter", "nonsense", page.USUAL, page.USUAL]
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


def where(**changed) -> list:
    """The fields of "Where it runs" with their defaults, some changed."""
    return [changed.get(spec.name, spec.default) for spec in run_form.RESOURCES]


def test_a_run_goes_where_the_form_says(asked):
    services, auth, request = asked
    values = [*USUAL, *form(), *where(hardware="this machine", timeout_minutes=90)]
    chosen = page.start_run(services, auth, request, "generate", "talk", *values)[1]
    told = detail(services, runs.run(services.database, chosen))["resources"]
    assert (told["backend"], told["hardware"], told["timeout_minutes"]) == ("local", "this machine", 90)
    said = page.start_run(services, auth, request, "generate", "talk", *USUAL, *form(), *where(backend="gone"))[0]
    assert "backend: found gone" in said or "backend: found 'gone'" in said


def test_a_priced_run_starts_only_after_the_lead_agreed_to_that_price(asked):
    services, auth, request = asked
    add_priced(services)
    values = [*USUAL, *form(), *where(backend="paid", hardware="a10g-small", timeout_minutes=60)]
    said = page.start_run(services, auth, request, "generate", "talk", *values)[0]
    assert "Nothing has started yet" in said and 'data-price="1.7500"' in said
    assert "a10g-small on paid for at most 70 minutes, 10 of them to set up and to save" in said
    for sent in (None, {}, {"act": "agree", "price": "0.1000"}, {"act": "agree", "price": "much"}, {"price": 9}):
        assert "Nothing" in page.agree(services, auth, FakeEvent(sent), request, "generate", "talk", *values)[0]
    assert runs.runs(services.database) == []
    agreed = FakeEvent({"act": "agree", "price": "1.7500"})
    chosen = page.agree(services, auth, agreed, request, "generate", "talk", *values)[1]
    assert detail(services, runs.run(services.database, chosen))["resources"]["backend"] == "paid"
    again = page.act_on_run(services, auth, chosen, FakeEvent({"act": "again"}), request)
    assert "Nothing has started yet" in again[0] and len(runs.runs(services.database)) == 1
    page.act_on_run(services, auth, chosen, FakeEvent({"act": "again", "price": "1.7500"}), request)
    assert len(runs.runs(services.database)) == 2


def test_a_run_whose_price_cannot_be_asked_does_not_start(asked):
    services, auth, request = asked
    add_priced(services).fault = "paid: no answer"
    values = [*USUAL, *form(), *where(backend="paid")]
    said = page.start_run(services, auth, request, "generate", "talk", *values)[0]
    assert "expected what it offers and costs: paid: no answer" in said and runs.runs(services.database) == []


def test_the_form_can_be_filled_with_the_options_of_a_run(asked):
    services, auth, request = asked
    values = [*USUAL, *form(generate_k=3), *where(timeout_minutes=7)]
    chosen = page.start_run(services, auth, request, "generate", "talk", *values)[1]
    filled = run_form.fill(services, auth, chosen, FakeEvent({"act": "change"}), request)
    count = len(list(run_form.option_fields()))
    options = dict(zip(run_form.option_fields(), filled[-count - len(run_form.RESOURCES) :], strict=False))
    assert filled[2] == "generate" and filled[5].value == "starter"
    assert next(value for (kind, spec), value in options.items() if (kind, spec.name) == ("generate", "k")) == 3
    names = [spec.name for spec in run_form.RESOURCES]
    told = dict(zip(names, filled[-len(names) :], strict=True))
    assert told["timeout_minutes"] == 7 and len(runs.runs(services.database)) == 1


def test_the_list_can_be_filtered(asked):
    services, auth, request = asked
    campaign, _ = new_campaign(services, "other")
    one, other = new_run(services, "dpo", campaign.id), new_run(services, "reward")
    run_marks.set_tags(services.database, other.id, ["sweep"])
    runs.set_state(services.database, other.id, "failed")

    def listed(**filters) -> set[str]:
        shown = page.refresh(services, auth, None, request, *vars(Filters(**filters)).values())[0]
        return {run.id for run in (one, other) if run.id in shown}

    assert listed() == {one.id, other.id} and listed(kind="dpo") == listed(campaign="other") == {one.id}
    assert listed(tag="sweep") == listed(state="failed") == listed(search="SWEEP") == {other.id}
    assert listed(tag="sweep", kind="dpo") == listed(campaign="gone") == set()


def test_runs_side_by_side_have_their_differences_first(asked):
    services, auth, request = asked
    first, other = [
        page.start_run(services, auth, request, "generate", "talk", *USUAL, *form(generate_k=k))[1] for k in (2, 3)
    ]
    shown, differ = page.compare(services, auth, first, [other, "nonsense", other], request)
    assert [one["run"] for one in shown["beside"]] == [other]
    marked, same = differ.split("<details>")
    assert "≠</span> k</th><td>2</td><td>3</td>" in marked and "temperature" in same
    assert page.compare(services, auth, first, [], request)[1] == ""


def test_a_silent_run_is_pointed_out(asked):
    services, *_ = asked
    run = new_run(services)
    services.heard[run.id] = Heard("Its process runs, but has said nothing.", 600.0)
    assert "silent for 10 min" in run_list(services, run.id)
    assert summary(services, run)["notice"] == "Its process runs, but has said nothing."


def test_the_last_lines_stand_beside_the_reason_once(asked):
    services, *_ = asked
    run = new_run(services)
    lines = [f"line {n}" for n in range(30)]
    (services.directory(run) / "log.txt").write_text("\n".join(lines))
    reason = "the process was killed; its log ends with:\n" + "\n".join(lines[-12:])
    runs.set_state(services.database, run.id, "failed", reason)
    shown = run_failure(services, run.id)
    assert shown.count("line 29") == 1 and "line 22" in shown and "line 21" not in shown
