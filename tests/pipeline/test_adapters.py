"""LoRA adapters: they start as nothing, are kept apart from their base, can be switched off, merged and continued."""

import json

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

from pipeline.adapters import adapter_dropout, adapters_off, add_adapter, has_adapter, quantization, set_up
from pipeline.divergence import sampled_kl
from pipeline.dpo import work as train_dpo
from pipeline.job import Refused
from pipeline.policy import load_policy, merged_policy, save_policy, token_log_probs
from pipeline.reward import load_reward, score_texts
from pipeline.reward_model import work as train_reward
from tests.pipeline.training_data import TEXTS, exact_arithmetic, training_run

SEQUENCES = [([5, 6, 7], [8, 9, 2]), ([5, 6, 7], [10, 11, 12, 2])]
ITEMS = [([{"role": "user", "content": "Write a short story."}], text) for text in TEXTS]
QUICK = {"epochs": 2, "groups_per_step": 2, "learning_rate": 2e-2, "lora_rank": 4}


@pytest.fixture(autouse=True)
def exact(monkeypatch):
    exact_arithmetic(monkeypatch)
    monkeypatch.setattr("pipeline.dpo.KL_SAMPLES", 16)


def log_probs(policy) -> torch.Tensor:
    with torch.no_grad():
        return torch.cat(token_log_probs(policy.model, SEQUENCES))


def adapted(folder, rank: int = 4, scale: float = 0.1):
    """The tiny policy with an adapter that has learned something."""
    policy = load_policy(folder, "cpu")
    add_adapter(policy.model, rank, 16.0)
    with torch.no_grad():
        for name, p in policy.model.named_parameters():
            if "lora_B" in name:
                p.copy_(scale * torch.randn(p.shape, generator=torch.Generator().manual_seed(len(name))))
    return policy


def trained(path, work, kind, models, **options):
    run = training_run(path, kind, models, {**QUICK, **options})
    return run, work(run, run.config())


def test_a_fresh_adapter_changes_nothing_and_is_all_that_learns(tiny_policy):
    before = log_probs(tiny_policy)
    add_adapter(tiny_policy.model, 4, 16.0)
    assert torch.equal(log_probs(tiny_policy), before)
    learning = {name for name, p in tiny_policy.model.named_parameters() if p.requires_grad}
    assert learning and all("lora_" in name for name in learning)


def test_an_adapter_is_saved_alone_and_comes_back_on_its_base(tiny_policy_folder, tmp_path):
    policy = adapted(tiny_policy_folder)
    save_policy(policy, tmp_path / "model")
    assert not list((tmp_path / "model").glob("model*.safetensors"))
    again = load_policy(tmp_path / "model", "cpu")
    assert torch.equal(log_probs(again), log_probs(policy)) and has_adapter(again.model)


def test_other_programs_read_the_saved_adapter(tiny_policy_folder, tmp_path):
    policy = adapted(tiny_policy_folder)
    save_policy(policy, tmp_path / "model")
    theirs = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(tiny_policy_folder), tmp_path / "model")
    logits = theirs(torch.tensor([[5, 6, 7, 8, 9, 2]])).logits.log_softmax(-1)[0, 2:-1]
    assert torch.allclose(
        logits.gather(-1, torch.tensor([[8], [9], [2]])).squeeze(-1), log_probs(policy)[:3], atol=1e-5
    )


def test_a_moved_data_folder_keeps_adapter_and_base_together(tiny_policy_folder, tmp_path):
    base = load_policy(tiny_policy_folder, "cpu")
    save_policy(base, tmp_path / "here" / "runs" / "base")
    policy = adapted(tmp_path / "here" / "runs" / "base")
    save_policy(policy, tmp_path / "here" / "runs" / "adapter")
    (tmp_path / "here").rename(tmp_path / "there")
    assert torch.equal(log_probs(load_policy(tmp_path / "there" / "runs" / "adapter", "cpu")), log_probs(policy))


def test_an_adapter_without_its_base_is_refused_by_name(tiny_policy_folder, tmp_path):
    save_policy(adapted(tiny_policy_folder), tmp_path / "model")
    config = tmp_path / "model" / "adapter_config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"base_model_name_or_path": "/nowhere"}))
    (tmp_path / "model" / "base.json").unlink()
    with pytest.raises(FileNotFoundError, match="adapter on /nowhere, which does not exist"):
        load_policy(tmp_path / "model", "cpu")


def test_a_merged_policy_answers_the_same_without_an_adapter(tiny_policy_folder, tmp_path):
    policy = adapted(tiny_policy_folder)
    expected = log_probs(policy)
    save_policy(merged_policy(policy), tmp_path / "model")
    plain = load_policy(tmp_path / "model", "cpu")
    assert not has_adapter(plain.model) and torch.allclose(log_probs(plain), expected, atol=1e-5)


def test_with_adapters_off_the_base_answers(tiny_policy, tiny_policy_folder):
    policy, expected = adapted(tiny_policy_folder), log_probs(tiny_policy)
    learning = [name for name, p in policy.model.named_parameters() if p.requires_grad]
    with adapters_off(policy.model):
        assert torch.equal(log_probs(policy), expected)
    assert not torch.equal(log_probs(policy), expected)
    assert [name for name, p in policy.model.named_parameters() if p.requires_grad] == learning


def test_dropout_of_an_adapter_is_on_only_where_it_is_switched_on(tiny_policy_folder):
    policy = adapted(tiny_policy_folder)
    dropping = load_policy(tiny_policy_folder, "cpu")
    add_adapter(dropping.model, 4, 16.0, dropout=0.5)
    dropping.model.load_state_dict(policy.model.state_dict())
    assert torch.equal(log_probs(dropping), log_probs(policy))
    adapter_dropout(dropping.model, on=True)
    assert not torch.equal(log_probs(dropping), log_probs(dropping))
    dropping.model.eval()
    assert torch.equal(log_probs(dropping), log_probs(policy))


def test_dpo_with_an_adapter_starts_at_its_reference_and_leaves_the_base_alone(
    tmp_path, tiny_policy, tiny_policy_folder
):
    run, result = trained(tmp_path / "run", train_dpo, "dpo", {"policy": tiny_policy_folder})
    steps = [m for m in run.metrics()[0] if "loss" in m]
    assert steps[0]["loss"] == pytest.approx(0.693147, abs=1e-6) and steps[0]["rewards/margins"] == 0
    policy = load_policy(run.model, "cpu")
    assert not torch.equal(log_probs(policy), log_probs(tiny_policy)) and result["metrics"]["eval/nll"] < 0.693
    with adapters_off(policy.model):
        assert torch.equal(log_probs(policy), log_probs(tiny_policy))


def test_dpo_that_starts_from_an_adapter_starts_at_that_adapter(tmp_path, tiny_policy_folder):
    first, _ = trained(tmp_path / "first", train_dpo, "dpo", {"policy": tiny_policy_folder})
    start = load_policy(first.model, "cpu")
    assert sampled_kl(load_policy(first.model, "cpu"), start, [[5, 6]], 6, count=8).kl == 0
    run, result = trained(tmp_path / "second", train_dpo, "dpo", {"policy": first.model}, lora_rank=8)
    steps = [m for m in run.metrics()[0] if "loss" in m]
    assert steps[0]["loss"] == pytest.approx(0.693147, abs=1e-6) and steps[0]["rewards/margins"] == 0
    assert any("own adapter of rank 4" in note for note in result["notes"])
    assert load_policy(run.model, "cpu").model.name_or_path == start.model.name_or_path


def test_all_weights_of_an_adapter_are_trained_after_merging_it(tmp_path, tiny_policy_folder):
    save_policy(adapted(tiny_policy_folder), tmp_path / "adapter")
    policy = load_policy(tmp_path / "adapter", "cpu")
    expected = log_probs(policy)
    assert "merged into its base" in set_up(policy.model, 0, 16.0, 0.0, 0)[0]
    assert torch.allclose(log_probs(policy), expected, atol=1e-5)
    assert all(p.requires_grad for p in policy.model.parameters())


def test_a_reward_model_with_an_adapter_learns_and_is_read_by_others(tmp_path, tiny_policy_folder):
    run, result = trained(tmp_path / "run", train_reward, "reward", {"policy": tiny_policy_folder}, epochs=6)
    assert result["metrics"]["eval/accuracy"] > 0.7 and (run.model / "adapter_model.safetensors").exists()
    scores = score_texts(load_reward(run.model, "cpu"), ITEMS)
    base = AutoModelForSequenceClassification.from_pretrained(tiny_policy_folder, num_labels=1)
    theirs = PeftModel.from_pretrained(base, run.model)
    reward = load_reward(run.model, "cpu")
    ids = reward.tokenizer.apply_chat_template(ITEMS[0][0], add_generation_prompt=True, return_dict=False)
    whole = [*ids, *reward.tokenizer(ITEMS[0][1])["input_ids"], reward.tokenizer.eos_token_id]
    assert theirs(torch.tensor([whole])).logits.item() == pytest.approx(scores[0], abs=1e-5)


def test_four_bits_are_refused_where_they_cannot_be():
    assert quantization("none", torch.device("cpu"), 0) is None
    with pytest.raises(Refused, match="set lora_rank too"):
        quantization("nf4", torch.device("cuda"), 0)
    with pytest.raises(Refused, match="needs a CUDA GPU, and this run is on cpu"):
        quantization("nf4", torch.device("cpu"), 8)
