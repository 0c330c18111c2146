"""What a lead is told before a run starts."""

import pytest

from pipeline import preflight as look
from pipeline.estimates import work_of
from pipeline.preflight import as_json, preflight
from storage import versions
from storage.records import ModelVersion
from tests.pipeline.small_campaign import add_campaign, add_tasks, open_folder, rank_all


@pytest.fixture
def services(tmp_path, monkeypatch):
    opened = open_folder(tmp_path, monkeypatch)
    folder = tmp_path / "base"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(bytes(3000))
    versions.register_version(opened.database, ModelVersion("base", "policy", str(folder)))
    yield opened
    opened.close()


@pytest.fixture
def campaign(services):
    made = add_campaign(services)
    add_tasks(services, made)
    return made


def said(found, level):
    return " | ".join(one.said for one in found if one.level == level)


def test_what_launch_refuses_is_a_problem(services, campaign):
    found = preflight(services, "reward", campaign.id, {}, {})
    assert not as_json(found)["ready"] and "rank some tasks first" in said(found, "problem")
    assert "found 0" in said(preflight(services, "reward", campaign.id, {"epochs": 0}, {}), "problem")


def test_a_run_that_can_start_tells_its_data_models_disk_memory_and_time(services, campaign):
    rank_all(services)
    found = preflight(services, "reward", campaign.id, {}, {})
    assert as_json(found)["ready"]
    assert {one.about for one in found} == {"data", "model", "disk", "memory", "time"}
    assert "comparisons: 15 train, 3 eval" in said(found, "fact")
    assert "only 5 compared prompts" in said(found, "warning")


def test_missing_weights_are_a_problem(services, campaign, tmp_path):
    rank_all(services)
    (tmp_path / "base" / "model.safetensors").unlink()
    assert "lacks its weights" in said(preflight(services, "reward", campaign.id, {}, {}), "problem")


def test_too_little_disk_or_memory_is_a_problem_with_advice(services, campaign, monkeypatch):
    rank_all(services)
    monkeypatch.setattr(look, "device", lambda: ("a small GPU", 4000))
    monkeypatch.setattr(look.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 1000})())
    problems = said(preflight(services, "reward", campaign.id, {"groups_per_step": 8}, {}), "problem")
    assert "a small GPU has 3.9 KiB" in problems and "try groups_per_step 4 instead of 8" in problems
    assert "delete old runs or move the data folder" in problems


def test_duration_follows_the_size_of_the_work():
    assert work_of("reward", {"epochs": 3}, 100) == 300
    assert work_of("ppo", {"episodes": 64}, 0) == 64
