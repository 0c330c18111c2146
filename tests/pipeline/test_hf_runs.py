"""Whole runs on Hugging Face Jobs, from the launch to a version, against a stand-in that really runs them."""

import json
from pathlib import Path

import pytest

from pipeline.configs import MODULES
from pipeline.launch import launch
from pipeline.model_files import base_of
from pipeline.reward import load_reward
from pipeline.run_directory import RunDirectory
from pipeline.run_life import resume
from pipeline.services import only, open_services
from storage import runs, versions
from storage.records import ModelVersion
from tests.pipeline.following import quick, until, until_polled, until_state
from tests.pipeline.hub_backend import JOB, backend_on, job_of
from tests.pipeline.hub_server import TOKEN
from tests.pipeline.small_campaign import add_base, add_ranked_campaign

pytestmark = pytest.mark.slow


def opened(folder, hub):
    return open_services(folder / "data", backends=only(backend_on(hub)))


@pytest.fixture
def services(tmp_path, hub, monkeypatch):
    for kind in MODULES:
        monkeypatch.setitem(MODULES, kind, JOB)
    made = opened(tmp_path, hub)
    add_base(made)
    yield made
    made.close()


@pytest.fixture
def campaign(services):
    return add_ranked_campaign(services, "alice-the-annotator")


def monitor_of(services):
    """Slower than the quick one, as every look asks over HTTP."""
    return quick(services, interval=0.1, remote_interval=0.1)


def losses(services, run):
    return [round(row["loss"], 2) for row in runs.metrics(services.database, run.id)]


def start(services, campaign, options=None):
    """A run whose price somebody agreed to."""
    return launch(services, "reward", campaign.id, options, confirmed_cost=100.0)


def test_a_run_goes_to_a_version_with_its_curve(services, campaign, hub):
    run = monitor_of(services).wait(start(services, campaign).id)
    assert run.state == "succeeded", run.reason
    made = versions.version(services.database, "reward-1")
    assert json.loads((services.data / made.path / "config.json").read_text()) == {"counted": 4}
    assert losses(services, run) == [1.0, 0.5, 0.33, 0.25]
    assert "goes on from 0" in RunDirectory(services.directory(run)).log_tail()
    until(lambda: not job_of(hub).going)
    assert job_of(hub).stage == "COMPLETED" and list(hub.folder.iterdir()) == []
    assert not [path for path in hub.buckets["ann/rankloop"] if path.startswith("runs/")]  # all of it is here


def test_a_job_killed_in_the_middle_fails_truly_and_resumes_from_its_checkpoint(services, campaign, hub, orders):
    (orders / "behaviour").write_text("wait")
    monitor, run = monitor_of(services), start(services, campaign)
    checkpoint = services.directory(run) / "checkpoints" / "state.json"
    until_polled(monitor, lambda: checkpoint.exists() and json.loads(checkpoint.read_text()) == {"step": 2})
    job_of(hub).die("ERROR", "Job failed with exit code: 137")
    assert monitor.wait(run.id).state == "failed"
    (orders / "go").touch()
    resume(services, runs.run(services.database, run.id), confirmed_cost=100.0)
    run = monitor.wait(run.id)
    assert run.state == "succeeded", run.reason
    assert versions.version(services.database, "reward-1").metrics == {"went_on_from": 2}
    assert losses(services, run) == [1.0, 0.5, 0.33, 0.25] and len(hub.jobs) == 2


def test_a_restarted_space_finds_its_job_and_takes_in_all(services, campaign, hub, orders, tmp_path):
    (orders / "behaviour").write_text("wait")
    run = start(services, campaign)
    until_state(monitor_of(services), run, "running")
    services.close()
    (orders / "go").touch()
    until(lambda: job_of(hub).stage == "COMPLETED")
    reopened = opened(tmp_path, hub)
    assert monitor_of(reopened).wait(run.id).state == "succeeded"
    assert losses(reopened, run) == [1.0, 0.5, 0.33, 0.25] and len(hub.jobs) == 1
    reopened.close()


def test_a_cancel_saves_a_checkpoint_first(services, campaign, orders):
    (orders / "behaviour").write_text("wait")
    monitor, run = monitor_of(services), start(services, campaign)
    until_state(monitor, run, "running")
    directory = RunDirectory(services.directory(run))
    directory.request_cancel()
    assert monitor.wait(run.id).state == "cancelled"
    assert directory.status()["phase"] == "cancelled" and (directory.checkpoints / "state.json").exists()


def test_nothing_of_people_the_token_or_this_machine_reaches_the_job(services, campaign, hub, orders, tmp_path):
    (orders / "behaviour").write_text("spill")
    assert monitor_of(services).wait(start(services, campaign).id).state == "succeeded"
    seen = (orders / "seen").read_bytes() + json.dumps(job_of(hub).spec | {"secrets": ""}).encode()
    assert b"'preference': 1.0" in seen and b"answer 1" in seen  # it is the run's data that was looked through
    for secret in ("alice-the-annotator", TOKEN, str(tmp_path / "data"), "journal", "rankloop.duckdb"):
        assert secret.encode() not in seen, secret


def test_a_real_training_comes_back_as_an_adapter_on_the_base_here(hub, tmp_path, tiny_policy_folder):
    made = opened(tmp_path, hub)
    base = ModelVersion("base", "policy", str(tiny_policy_folder))
    versions.register_version(made.database, base)
    campaign = add_ranked_campaign(made)
    options = {"epochs": 1.0, "lora_rank": 2, "max_length": 64}
    run = monitor_of(made).wait(start(made, campaign, options).id)
    assert run.state == "succeeded", run.reason
    folder = made.data / versions.version(made.database, "reward-1").path
    assert Path(base_of(folder)) == tiny_policy_folder.resolve()
    assert load_reward(folder, device="cpu") is not None and runs.metrics(made.database, run.id)
    made.close()


def test_a_run_waits_for_a_hub_that_is_away(services, campaign, hub, orders):
    (orders / "behaviour").write_text("wait")
    monitor, run = monitor_of(services), start(services, campaign)
    until_state(monitor, run, "running")
    hub.away = True
    until_polled(monitor, lambda: run.id in services.heard)
    assert "hf-jobs" in services.heard[run.id].notice and "left as it is" in services.heard[run.id].notice
    (orders / "go").touch()
    hub.away = False
    assert monitor.wait(run.id).state == "succeeded"
    assert losses(services, run) == [1.0, 0.5, 0.33, 0.25]
