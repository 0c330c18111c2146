"""Launch: models resolved or refused, and a complete directory in the queue."""

import zipfile

import pyarrow.parquet as pq
import pytest

from pipeline.configs import InvalidOption
from pipeline.launch import launch
from pipeline.reference_cache import FILE, FOLDER, Known, known_log_probs, take_back, write_log_probs
from pipeline.run_directory import RunDirectory
from pipeline.snapshot import LaunchRefused
from storage import campaigns, runs, versions
from storage.records import ModelVersion
from tests.pipeline.small_campaign import add_base


@pytest.fixture
def services(bare_services):
    """No base yet: some launches are refused for that."""
    return bare_services


def config_of(services, run):
    return RunDirectory(services.directory(run)).config()


def add_version(services, campaign, name, role):
    run = runs.create_run(services.database, role, campaign.id, {})
    path = f"{run.directory}/artifacts/model"
    return versions.register_version(services.database, ModelVersion(name, role, path, "base", run.id), run.id)


def test_a_queued_run_has_all_a_job_needs(services, campaign):
    add_base(services)
    run = launch(services, "reward", campaign.id, {"epochs": "2"}, created_by=5)
    config = config_of(services, run)
    assert (run.state, run.created_by, run.data_hash) == ("queued", 5, config["data_hash"])
    assert (config["run"], config["kind"], config["campaign"]) == (run.id, "reward", "trial")
    assert config["options"]["epochs"] == 2.0 and config["seed"] == 0
    assert config["models"] == {"policy": {"name": "base", "path": "owner/base"}}
    assert config["sizes"]["comparisons"] == {"train": 15, "eval": 3}
    files = {path.name for path in (services.directory(run) / "data").iterdir()}
    assert files == {f"{name}.parquet" for name in ("prompts", "completions", "comparisons", "judgements")}


def test_the_code_goes_along_and_has_the_same_hash_each_time(services, campaign):
    add_base(services)
    one, two = (launch(services, "reward", campaign.id) for _ in range(2))
    with zipfile.ZipFile(services.directory(one) / "code.zip") as archive:
        assert {"pipeline/job.py", "requirements.txt"} <= set(archive.namelist())
    assert config_of(services, one)["code_hash"] == config_of(services, two)["code_hash"]


def test_ppo_takes_the_newest_reward_and_the_current_policy(services, campaign):
    add_base(services)
    for name, role in [("reward-1", "reward"), ("reward-2", "reward"), ("dpo-1", "policy")]:
        add_version(services, campaign, name, role)
    campaigns.set_policy(services.database, campaign.id, "dpo-1", None, "better")
    models = config_of(services, launch(services, "ppo", campaign.id))["models"]
    assert {place: model["name"] for place, model in models.items()} == {
        "policy": "dpo-1", "reference": "dpo-1", "reward": "reward-2",
    }  # fmt: skip
    assert models["reward"]["path"].startswith(str(services.data))
    named = launch(services, "ppo", campaign.id, models={"policy": "base", "reward": "reward-1"})
    assert config_of(services, named)["models"]["reference"]["name"] == "base"
    assert config_of(services, named)["models"]["reward"]["name"] == "reward-1"


def test_ppo_without_a_reward_model_says_what_to_do(services, campaign):
    add_base(services)
    with pytest.raises(LaunchRefused, match=r"no reward model for campaign 'trial'.*`train reward` first"):
        launch(services, "ppo", campaign.id)
    assert runs.runs(services.database) == []


def test_no_policy_and_wrong_versions_are_refused(services, campaign):
    with pytest.raises(LaunchRefused, match="no policy"):
        launch(services, "dpo", campaign.id)
    add_base(services)
    with pytest.raises(LaunchRefused, match=r"no version of that name.*base"):
        launch(services, "dpo", campaign.id, models={"policy": "ppo-9"})
    with pytest.raises(LaunchRefused, match="a policy version, expected a reward version"):
        launch(services, "ppo", campaign.id, models={"reward": "base"})


def test_a_comparison_has_a_limit_of_prompts_and_both_models(services, campaign):
    add_base(services)
    add_version(services, campaign, "dpo-1", "policy")
    run = launch(services, "generate", campaign.id, {"k": 4}, {"policy": "dpo-1", "against": "base"})
    config = config_of(services, run)
    assert config["options"]["prompts"] == 150 and set(config["models"]) == {"policy", "against"}


def test_wrong_options_and_missing_campaigns_leave_nothing_behind(services, campaign):
    add_base(services)
    with pytest.raises(InvalidOption, match="epochs"):
        launch(services, "reward", campaign.id, {"epochs": -1})
    with pytest.raises(LaunchRefused, match="campaign: found 99"):
        launch(services, "reward", 99)
    with pytest.raises(LaunchRefused, match="no campaign"):
        launch(services, "reward", None)
    assert list((services.data / "runs").iterdir()) == []


@pytest.mark.parametrize(
    "error, said",
    [
        (ValueError("a table of two kinds"), "it could not be prepared: a table of two kinds (ValueError)"),
        (OSError(28, "No space left on device"), "its directory could not be written: [Errno 28] No space left"),
    ],
)
@pytest.mark.parametrize("step", ["Snapshot.write", "runs.set_data_hash", "_code"])
def test_a_run_that_cannot_be_prepared_fails_with_the_reason(services, campaign, monkeypatch, step, error, said):
    def broken(*_):
        raise error

    add_base(services)
    monkeypatch.setattr(f"pipeline.launch.{step}", broken)
    with pytest.raises(type(error)):
        launch(services, "reward", campaign.id)
    [run] = runs.runs(services.database)
    assert run.state == "failed" and run.reason.startswith(said)
    assert list((services.data / "runs").iterdir()) == []


def test_a_dpo_run_gets_the_reference_log_probabilities_that_are_known(services, campaign, tmp_path):
    add_base(services)
    first = launch(services, "dpo", campaign.id)
    assert not (services.directory(first) / "data" / FILE).exists()
    (tmp_path / "artifacts").mkdir()
    ids = pq.read_table(services.directory(first) / "data" / "completions.parquet")["completion_id"].to_pylist()
    write_log_probs(tmp_path / "artifacts", "m", [Known("a" * 32, ids[0], -1.5), Known("b" * 32, 10**9, -2.5)])
    take_back(services.data / FOLDER, "base", tmp_path / "artifacts")
    second = launch(services, "dpo", campaign.id)
    assert known_log_probs(services.directory(second) / "data", "m") == {"a" * 32: -1.5}


def test_a_reward_run_may_go_on_from_a_reward_model_that_was_registered(services, campaign):
    add_base(services)
    versions.register_version(services.database, ModelVersion("judge", "reward", "owner/judge"))
    run = launch(services, "reward", campaign.id, models={"base": "judge"})
    assert {place: model["name"] for place, model in config_of(services, run)["models"].items()} == {
        "policy": "base", "base": "judge",
    }  # fmt: skip
    with pytest.raises(LaunchRefused, match="a policy version, expected a reward version"):
        launch(services, "reward", campaign.id, models={"base": "base"})
