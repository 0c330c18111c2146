"""What a lead is told before a run starts."""

import json
import struct

import pytest

from pipeline import preflight as look
from pipeline.backend import Backends
from pipeline.estimates import work_of
from pipeline.model_folder import ModelFiles
from pipeline.preflight import as_json, preflight
from pipeline.resources import Resources
from storage import versions
from storage.records import ModelVersion
from tests.pipeline.far_backend import FarBackend
from tests.pipeline.small_campaign import add_campaign, add_tasks, rank_all


@pytest.fixture
def services(bare_services, tmp_path):
    """The base is a folder with weights, whose size is told."""
    folder = tmp_path / "base"
    folder.mkdir()
    (folder / "config.json").write_text('{"num_hidden_layers": 2, "hidden_size": 8, "vocab_size": 50}')
    write_weights(folder / "model.safetensors", 750)
    versions.register_version(bare_services.database, ModelVersion("base", "policy", str(folder)))
    return bare_services


@pytest.fixture
def campaign(services):
    made = add_campaign(services)
    add_tasks(services, made)
    return made


def write_weights(path, count):
    header = json.dumps({"w": {"dtype": "F32", "shape": [count], "data_offsets": [0, 4 * count]}}).encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header + bytes(4 * count))


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
    assert {one.about for one in found} == {"data", "model", "disk", "memory", "time", "place"}
    assert "comparisons: 15 train, 3 eval" in said(found, "fact")
    assert "only 5 compared prompts" in said(found, "warning")


def test_missing_weights_are_a_problem(services, campaign, tmp_path):
    rank_all(services)
    (tmp_path / "base" / "model.safetensors").unlink()
    assert "lacks its weights" in said(preflight(services, "reward", campaign.id, {}, {}), "problem")


def test_too_little_disk_or_memory_is_a_problem_with_advice(services, campaign, monkeypatch):
    rank_all(services)
    monkeypatch.setattr(look, "device", lambda hardware: ("a small GPU", 4000))
    monkeypatch.setattr(look.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 1000})())
    problems = said(preflight(services, "reward", campaign.id, {"groups_per_step": 8}, {}), "problem")
    assert "a small GPU has 3.9 KiB" in problems and "try groups_per_step 4 instead of 8" in problems
    assert "delete old runs or move the data folder" in problems


def test_gradient_checkpointing_takes_activations_of_one_layer_and_the_input_of_each():
    large = ModelFiles(1_000_000, 4_000_000, layers=32, width=4096, vocabulary=32_000)
    kept, anew = (look.activation_bytes("sft", {"gradient_checkpointing": on}, large) for on in (False, True))
    assert kept == 4096 * (34 * 32 * 4096 + 8 * 32_000) and anew == 4096 * ((34 + 2 * 32) * 4096 + 8 * 32_000)
    said = [one.said for one in look._memory("sft", {"gradient_checkpointing": True}, large, Resources(backend="far"))]
    assert look._bytes(anew) in said[0]


def test_duration_follows_the_size_of_the_work():
    assert work_of("reward", {"epochs": 3}, 100) == 300
    assert work_of("ppo", {"episodes": 64}, 0) == 64


def test_a_damaged_model_is_a_problem(services, campaign, tmp_path):
    rank_all(services)
    path = tmp_path / "base" / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-5])
    assert "is damaged: found" in said(preflight(services, "reward", campaign.id, {}, {}), "problem")
    path.write_bytes(b"version https://git-lfs")
    assert "no header of a safetensors file" in said(preflight(services, "reward", campaign.id, {}, {}), "problem")
    path.rename(path.with_name("pytorch_model.bin"))
    assert "only safetensors are loaded" in said(preflight(services, "reward", campaign.id, {}, {}), "problem")


def test_memory_is_counted_by_parameters_and_what_is_trained():
    model = ModelFiles(0, 1_000_000, layers=2, width=64, vocabulary=1000)
    assert look.training_bytes("reward", {}, model) == 16_000_000
    assert look.training_bytes("dpo", {}, model) == 20_000_000
    assert look.training_bytes("reward", {"lora_rank": 8}, model) == 4_600_000
    assert look.training_bytes("generate", {}, model) == 4_000_000
    assert look.training_bytes("reward", {}, model, Resources(processes=2, strategy="fsdp")) == 8_000_000
    assert look.training_bytes("reward", {}, model, Resources(processes=8, strategy="fsdp")) == 4_000_000
    assert look.training_bytes("reward", {}, model, Resources(processes=2)) == 16_000_000
    assert look.activation_bytes("ppo", {"micro_batch_tokens": 100}, model) == 100 * (34 * 2 * 64 + 8000)


@pytest.mark.parametrize(
    ("options", "weights", "warned"),
    [
        ({"learning_rate": 1e-3, "lora_rank": 0}, 500_000_000, True),
        ({"learning_rate": 1e-5, "lora_rank": 0}, 500_000_000, False),
        ({"learning_rate": 1e-3, "lora_rank": 16}, 500_000_000, False),
        ({"learning_rate": 1e-3, "lora_rank": 0}, 1_700_000, False),
    ],
)
def test_a_rate_for_small_models_is_warned_of_where_all_of_a_large_one_learns(options, weights, warned):
    found = look._rate("reward", options, ModelFiles(0, weights))
    assert bool(found) == warned
    assert all(one.level == "warning" and "500 million weights learn, 1e-5 is usual" in one.said for one in found)


def test_memory_of_the_last_layers_alone_is_their_share():
    model = ModelFiles(0, 1_000_000, layers=4, width=64, vocabulary=1000)
    assert look.training_bytes("ppo", {}, model) == 24_000_000
    assert look.training_bytes("ppo", {"trained_layers": 1}, model) == 4_000_000 + 3_000_000 + 1_000_000 + 4_000_000
    assert look.activation_bytes("ppo", {"trained_layers": 1, "micro_batch_tokens": 1}, model) == 34 * 64 + 8000


def test_the_memory_of_another_machine_is_not_ours_and_its_price_is_told(services, campaign, tmp_path):
    rank_all(services)
    far = FarBackend(tmp_path / "far")
    far.price = 1.5
    services.backends = Backends({**services.backends.there, "far": far}, "local")
    found = preflight(services, "reward", campaign.id, {}, {}, {"backend": "far", "timeout_minutes": 120})
    assert "at most 3.00 dollars" in said(found, "warning") and "the machine is far's" in said(found, "fact")
    far.down = True
    found = preflight(services, "reward", campaign.id, {}, {}, {"backend": "far"})
    assert "found no answer" in said(found, "problem")
