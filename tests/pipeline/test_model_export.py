"""Exported models load without RankLoop, say where they come from, and carry no path of this machine."""

import json

import pytest
import torch
from huggingface_hub import HfApi
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer

from pipeline.configs import InvalidOption
from pipeline.job import Refused
from pipeline.launch import launch
from pipeline.model_card import portable_version
from pipeline.model_export import work
from pipeline.policy import Policy, load_policy, save_policy
from pipeline.reward import load_reward, score_texts
from pipeline.reward_model import work as train_reward
from pipeline.run_directory import RunDirectory
from pipeline.snapshot import LaunchRefused
from storage import runs, versions
from storage.records import ModelVersion
from tests.pipeline.conftest import tiny_model, tiny_tokenizer
from tests.pipeline.hub_stand_in import TOKEN, stand_in
from tests.pipeline.test_adapters import ITEMS, QUICK, adapted, log_probs
from tests.pipeline.training_data import exact_arithmetic, training_run

IDS = torch.tensor([[5, 6, 7, 8, 9, 2]])


@pytest.fixture
def services(bare_services, monkeypatch):
    exact_arithmetic(monkeypatch)
    return bare_services


def made(services, name, role="policy", parent=None, write=None, result=None):
    """A version that a run made; `write` puts its files into the run's artifacts/model."""
    run = runs.create_run(services.database, "reward" if role == "reward" else "dpo", None, {"learning_rate": 1e-4})
    config = {"seed": 7, "code_hash": "c0de", "models": {}}
    files = RunDirectory.create(services.directory(run), config)
    write(files.model)
    files.finish(result or {"notes": ["There are few comparisons."]})
    version = ModelVersion(name, role, f"{run.directory}/artifacts/model", parent, run.id, "abc123", {"eval/nll": 0.5})
    return versions.register_version(services.database, version, run.id)


def starter(path):
    save_policy(policy_of(tiny_model(tiny_tokenizer())), path)


def policy_of(model) -> Policy:
    return Policy(model, tiny_tokenizer(), torch.device("cpu"))


@pytest.fixture
def both(services):
    """The folder of a base, and of an adapter on it."""
    base = made(services, "starter", write=starter)
    folder = services.data / base.path
    made(services, "dpo-1", parent="starter", write=lambda path: save_policy(adapted(folder), path))
    return folder, services.data / versions.version(services.database, "dpo-1").path


def exported(services, name, **options):
    run = launch(services, "export", None, options, {"version": name})
    files = RunDirectory(services.directory(run))
    return files, work(files, files.config())


def texts(folder) -> str:
    return " ".join(p.read_text() for p in folder.iterdir() if p.suffix in (".json", ".md", ".jinja"))


def test_a_merged_adapter_loads_alone_and_answers_the_same(services, both, tmp_path):
    files, result = exported(services, "dpo-1", merged=True)
    folder = (files.path / result["export"]).rename(tmp_path / "elsewhere")
    theirs = AutoModelForCausalLM.from_pretrained(folder)
    assert torch.allclose(theirs(IDS).logits, load_policy(both[1], "cpu").model(IDS).logits, atol=1e-5)
    assert AutoTokenizer.from_pretrained(folder).chat_template == tiny_tokenizer().chat_template
    assert str(tmp_path) not in texts(folder) and not (folder / "adapter_config.json").exists()


def test_an_adapter_alone_loads_on_a_base_that_lies_elsewhere(services, both, tmp_path):
    files, result = exported(services, "dpo-1")
    base = both[0].rename(tmp_path / "base")
    folder = files.path / result["export"]
    theirs = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), folder)
    assert torch.allclose(torch.log_softmax(theirs(IDS).logits, -1)[0, 2, 8], log_probs_of(both[1], base), atol=1e-5)
    assert json.loads((folder / "adapter_config.json").read_text())["base_model_name_or_path"] == "starter"
    assert str(tmp_path) not in texts(folder) and not (folder / "base.json").exists()


def log_probs_of(folder, base):
    (folder / "base.json").write_text(json.dumps({"base": str(base)}))
    return log_probs(load_policy(folder, "cpu"))[0]


def test_a_merged_export_has_the_number_format_of_its_base(services, tmp_path):
    half = policy_of(tiny_model(tiny_tokenizer()).to(torch.bfloat16))
    base = made(services, "half", write=lambda path: save_policy(half, path))
    made(services, "dpo-1", write=lambda path: save_policy(adapted(services.data / base.path), path))
    files, result = exported(services, "dpo-1", merged=True)
    assert AutoModelForCausalLM.from_pretrained(files.path / result["export"]).dtype == torch.bfloat16


def test_a_merged_reward_model_scores_the_same_and_keeps_its_scale(services, both, tmp_path):
    run = training_run(tmp_path / "run", "reward", {"policy": both[0]}, QUICK)
    train_reward(run, run.config())
    made(services, "reward-1", "reward", "starter", write=lambda path: run.model.rename(path))
    files, result = exported(services, "reward-1", merged=True)
    folder = files.path / result["export"]
    theirs = AutoModelForSequenceClassification.from_pretrained(folder)
    own = load_reward(services.data / versions.version(services.database, "reward-1").path, "cpu")
    again = load_reward(folder, "cpu")
    assert score_texts(again, ITEMS) == pytest.approx(score_texts(own, ITEMS), abs=1e-5)
    assert (again.mean, again.std) == (own.mean, own.std) and theirs.config.num_labels == 1
    assert "had mean" in (folder / "README.md").read_text()


def test_the_card_says_where_the_model_comes_from(services, both):
    files, result = exported(services, "dpo-1", merged=True)
    card = (files.path / result["export"] / "README.md").read_text()
    facts = {"parent": "starter", "data (sha256)": "abc123", "seed": 7, "eval/nll": 0.5, "learning_rate": 0.0001}
    assert all(f"| {name} | {value} |" in card for name, value in facts.items())
    assert "- There are few comparisons." in card and "library_name: transformers" in card
    assert "base_model:" not in card  # `starter` is no model of the Hub
    alone = portable_version(services, versions.version(services.database, "dpo-1"))["README.md"].decode()
    assert "library_name: peft" in alone and "PeftModel.from_pretrained" in alone


def test_a_base_on_the_hub_keeps_its_name(services, both):
    config = both[1] / "adapter_config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"base_model_name_or_path": "owner/base"}))
    (both[1] / "base.json").unlink()
    files = portable_version(services, versions.version(services.database, "dpo-1"))
    assert json.loads(files["adapter_config.json"])["base_model_name_or_path"] == "owner/base"
    assert 'base_model: "owner/base"' in files["README.md"].decode()


def test_what_cannot_be_exported_is_refused_before_anything_is_stored(services, both):
    versions.register_version(services.database, ModelVersion("hub", "policy", "owner/base"))
    (both[0] / "model.safetensors").unlink()
    before = len(runs.runs(services.database))
    for name, told in (
        ("hub", "a model of the Hub"),
        ("starter", "no model.safetensors"),
        ("none", "no version of that"),
    ):
        with pytest.raises(LaunchRefused, match=told):
            launch(services, "export", None, {}, {"version": name})
    with pytest.raises(LaunchRefused, match="version: found none"):
        launch(services, "export", None)
    assert len(runs.runs(services.database)) == before


def test_a_whole_model_is_copied_as_it_is(services, both):
    files, result = exported(services, "starter")
    folder = files.path / result["export"]
    assert (folder / "model.safetensors").read_bytes() == (both[0] / "model.safetensors").read_bytes()
    assert result["metrics"]["bytes"] == sum(p.stat().st_size for p in folder.iterdir())


@pytest.fixture
def hub(monkeypatch):
    """A stand-in for the Hub to which whoever runs RankLoop has a token."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    with stand_in() as server:
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", server.endpoint)
        monkeypatch.setattr("pipeline.model_export.HfApi", lambda endpoint=None: HfApi(endpoint=server.endpoint))
        yield server


def test_an_export_is_uploaded_whole_and_private(services, both, hub):
    files, result = exported(services, "dpo-1", merged=True, push_to="owner/dpo-1")
    there = hub.repositories["owner/dpo-1"]
    assert there["private"] is True and result["url"] == f"{hub.endpoint}/owner/dpo-1"
    assert there["files"] == {p.name: p.read_bytes() for p in (files.path / result["export"]).iterdir()}
    assert exported(services, "starter", push_to="owner/dpo-1")[1]["url"] and len(there["commits"]) == 2


def test_an_upload_without_a_token_is_refused_and_keeps_the_folder(services, both, hub, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    run = launch(services, "export", None, {"push_to": "owner/dpo-1"}, {"version": "dpo-1"})
    files = RunDirectory(services.directory(run))
    with pytest.raises(Refused, match=r"owner/dpo-1 was not uploaded: .*401.*HF_TOKEN"):
        work(files, files.config())
    assert (files.artifacts / "export" / "README.md").is_file() and hub.repositories == {}


@pytest.mark.parametrize("wish", ["no repository", "owner/", "https://huggingface.co/owner/name", "a/b/c"])
def test_only_a_hub_id_can_be_pushed_to(services, both, wish):
    with pytest.raises(InvalidOption, match="a Hub id, owner/name"):
        launch(services, "export", None, {"push_to": wish}, {"version": "dpo-1"})
