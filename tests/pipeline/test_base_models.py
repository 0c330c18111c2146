"""Models from outside become versions where a job could load them, and are refused in a sentence where not."""

import json
import shutil
import subprocess
import sys

import pytest
from transformers import BertConfig, BertForSequenceClassification, GPT2Config, GPT2LMHeadModel

from pipeline.base_models import MODELS, look, look_at_hub, register
from pipeline.model_files import UnusableModel
from pipeline.policy import load_policy, save_policy
from pipeline.reward_model import work as train_reward
from storage import versions
from storage.versions import VersionExists
from tests.pipeline.conftest import tiny_tokenizer
from tests.pipeline.hub_stand_in import stand_in
from tests.pipeline.test_adapters import adapted
from tests.pipeline.training_data import training_run


@pytest.fixture
def services(bare_services):
    """No base: each test registers its own."""
    return bare_services


@pytest.fixture
def folder(services, tiny_policy_folder):
    """A copy of the tiny policy where leads may register models from."""
    return shutil.copytree(tiny_policy_folder, services.data / MODELS / "tiny")


def save(model, path):
    model.save_pretrained(path)
    tiny_tokenizer().save_pretrained(path)
    return path


def classifier(path, labels=1):
    tokenizer = tiny_tokenizer()
    shape = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = BertConfig(vocab_size=len(tokenizer), num_labels=labels, max_position_embeddings=128, **shape)
    return save(BertForSequenceClassification(config), path)


def change(path, **values):
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def refusal(services, model, **choice) -> str:
    with pytest.raises(UnusableModel) as refused:
        register(services, str(model), **choice)
    assert versions.versions(services.database) == []
    return str(refused.value)


def test_a_causal_model_becomes_a_policy_that_loads(services, folder):
    made, looked = register(services, str(folder))
    assert (made.name, made.role, made.path, made.run_id) == ("tiny", "policy", str(folder), None)
    assert (looked.architecture, looked.notes) == ("LlamaForCausalLM", ())
    model = load_policy(made.path, "cpu").model
    assert made.metrics["parameters"] == sum(p.numel() for p in model.parameters())
    assert versions.version(services.database, "tiny") == made


def test_another_architecture_without_a_template_comes_with_a_note(services, tmp_path):
    tokenizer = tiny_tokenizer()
    shape = {"vocab_size": len(tokenizer), "n_positions": 128, "n_embd": 16, "n_layer": 1, "n_head": 2}
    config = GPT2Config(**shape, eos_token_id=tokenizer.eos_token_id, bos_token_id=tokenizer.bos_token_id)
    path = save(GPT2LMHeadModel(config), services.data / MODELS / "gpt2")
    (path / "chat_template.jinja").unlink()
    made, looked = register(services, str(path), name="small-gpt2")
    assert made.name == "small-gpt2" and "plain turns" in looked.notes[0]
    run = training_run(tmp_path / "run", "reward", {"policy": made.path}, {"epochs": 1})
    assert train_reward(run, run.config())["role"] == "reward"


def test_a_classifier_of_one_label_becomes_a_reward_model_that_a_run_starts_from(
    services, tmp_path, tiny_policy_folder
):
    made, _ = register(services, str(classifier(services.data / MODELS / "judge")))
    assert (made.name, made.role) == ("judge", "reward")
    run = training_run(tmp_path / "run", "reward", {"policy": tiny_policy_folder, "base": made.path}, {"epochs": 1})
    assert train_reward(run, run.config())["role"] == "reward"


def test_an_adapter_is_taken_with_its_base(services, folder):
    save_policy(adapted(folder), services.data / MODELS / "adapter")
    made, looked = register(services, str(services.data / MODELS / "adapter"))
    assert made.role == "policy" and "LoRA" in looked.architecture
    shutil.rmtree(folder)
    with pytest.raises(UnusableModel, match="which does not exist"):
        look(services.data, made.path)


@pytest.mark.parametrize(
    ("file", "damage", "told"),
    [
        ("config.json", lambda p: p.unlink(), "no config.json"),
        ("config.json", lambda p: p.write_text("[1]"), "is no object"),
        ("config.json", lambda p: p.write_text("{"), "cannot be read"),
        ("config.json", lambda p: change(p, model_type="own", auto_map={"AutoModelForCausalLM": "x.Y"}), "of type own"),
        ("config.json", lambda p: change(p, architectures=["LlamaModel"]), "expected LlamaForCausalLM"),
        ("config.json", lambda p: change(p, quantization_config={"quant_method": "gptq"}), "quantised weights"),
        ("model.safetensors", lambda p: p.unlink(), "no model.safetensors"),
        ("model.safetensors", lambda p: p.write_bytes(p.read_bytes()[:-4]), "cut short"),
        ("model.safetensors", lambda p: p.write_text("version https://git-lfs.github.com/spec/v1"), "no safetensors"),
        ("tokenizer.json", lambda p: p.unlink(), "no tokenizer"),
    ],
)  # fmt: skip
def test_what_no_job_could_load_is_refused(services, folder, file, damage, told):
    damage(folder / file)
    assert told in refusal(services, folder)


def test_a_missing_shard_is_named(services, folder):
    (folder / "model.safetensors").unlink()
    index = {"weight_map": {"a": "model-00001-of-00002.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    assert "no model-00001-of-00002.safetensors" in refusal(services, folder)


def test_a_classifier_of_two_labels_and_a_wrong_role_are_refused(services, folder):
    assert "a classifier of 2 labels" in refusal(services, classifier(services.data / MODELS / "two", 2))
    assert "expected LlamaForSequenceClassification" in refusal(services, folder, role="reward")
    assert "expected one of policy, reward" in refusal(services, folder, role="critic")


def test_only_the_command_line_takes_folders_from_anywhere(services, tiny_policy_folder):
    assert "a folder below" in refusal(services, tiny_policy_folder)
    assert "a folder below" in refusal(services, services.data / MODELS / ".." / "runs")
    assert register(services, str(tiny_policy_folder), anywhere=True)[0].path == str(tiny_policy_folder)


def test_names_are_free_and_the_same_model_is_registered_once(services, folder):
    other = shutil.copytree(folder, services.data / MODELS / "other" / "tiny")
    assert [register(services, str(path))[0].name for path in (folder, other)] == ["tiny", "tiny-2"]
    with pytest.raises(UnusableModel, match="registered already as tiny"):
        register(services, str(folder), name="again")
    third = shutil.copytree(folder, services.data / MODELS / "third")
    with pytest.raises(VersionExists, match="'tiny' taken"):
        register(services, str(third), name="tiny")
    with pytest.raises(UnusableModel, match="the name 'a/b'"):
        register(services, str(third), name="a/b")


def test_a_hub_model_is_known_by_its_small_files_in_the_cache(services, folder, tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    assert "the Hub did not tell" in refusal(services, "owner/tiny")
    snapshot = tmp_path / "cache" / "models--owner--tiny" / "snapshots" / ("0" * 40)
    shutil.copytree(folder, snapshot)
    (snapshot.parents[1] / "refs").mkdir()
    (snapshot.parents[1] / "refs" / "main").write_text("0" * 40)
    made, _ = register(services, "owner/tiny")
    assert (made.path, made.role, made.name) == ("owner/tiny", "policy", "tiny")
    with pytest.raises(UnusableModel, match="neither"):
        look(services.data, "what is this")


def test_a_hub_model_is_looked_at_without_fetching_its_weights(folder, tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    with stand_in() as server:
        files = {path.name: path.read_bytes() for path in folder.iterdir()}
        server.repositories["owner/tiny"] = {"private": False, "files": files}
        looked = look_at_hub("owner/tiny", endpoint=server.endpoint)
        assert (looked.path, looked.role, looked.architecture) == ("owner/tiny", "policy", "LlamaForCausalLM")
        assert not list((tmp_path / "cache").rglob("*.safetensors")) and list((tmp_path / "cache").rglob("config.json"))
        with pytest.raises(UnusableModel, match="the Hub did not tell"):
            look_at_hub("owner/none", endpoint=server.endpoint)
        del files["model.safetensors"]
        with pytest.raises(UnusableModel, match="no safetensors"):
            look_at_hub("owner/tiny", endpoint=server.endpoint)


def test_a_hub_that_cannot_be_reached_is_told_in_a_sentence(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    with pytest.raises(UnusableModel, match="check name and network"):
        look_at_hub("owner/tiny", endpoint="http://127.0.0.1:9")


def test_looking_loads_no_training_library():
    code = "import sys, pipeline.base_models as b; b._classes(); print({'torch', 'transformers'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "set()"
