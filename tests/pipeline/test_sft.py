"""Supervised fine-tuning: learns the completions and only them, measured on demonstrations it has not seen."""

import json
import math

import pytest
import torch
from transformers import AutoModelForCausalLM

from pipeline.group_trainer import Schedule
from pipeline.job import Cancelled, Refused
from pipeline.policy import load_policy, save_policy
from pipeline.run_directory import RunDirectory
from pipeline.sft import Shown, SupervisedTrainer, likelihood, work
from tests.pipeline.test_adapters import adapted, log_probs
from tests.pipeline.training_data import exact_arithmetic, training_run

SEQUENCES = [([5, 6, 7], [8, 9, 2]), ([5, 6], [10, 11, 12, 13, 2]), ([9], [2])]
QUICK = {"epochs": 6, "batch_size": 4, "learning_rate": 2e-2}


@pytest.fixture(autouse=True)
def exact(monkeypatch):
    exact_arithmetic(monkeypatch)
    monkeypatch.setattr("pipeline.sft.KL_SAMPLES", 8)


def demonstrations(train: int = 12, held_out: int = 4) -> dict[str, list[dict]]:
    """The same sort of answer to every prompt."""
    rows = {"prompts": [], "demonstrations": []}
    for number in range(train + held_out):
        messages = json.dumps([{"role": "user", "content": f"Write a story about a bear, number {number}."}])
        split = "train" if number < train else "eval"
        rows["prompts"].append({"prompt_id": f"p-{number}", "messages": messages, "split": split})
        text = f"Once upon a time a fox lived near river {number}."
        rows["demonstrations"].append({"demonstration_id": number, "prompt_id": f"p-{number}", "text": text})
    return rows


def trained(path, folder, rows=None, **options) -> tuple[RunDirectory, dict]:
    run = training_run(path, "sft", {"policy": folder}, {**QUICK, **options}, rows or demonstrations())
    return run, work(run, run.config())


def test_unseen_demonstrations_become_likelier_and_the_policy_loads(tmp_path, tiny_policy_folder):
    run, result = trained(tmp_path / "run", tiny_policy_folder)
    metrics = result["metrics"]
    assert metrics["eval/perplexity"] < 0.3 * metrics["eval/perplexity_before"]
    assert metrics["eval/perplexity"] == pytest.approx(math.exp(metrics["eval/loss"]))
    assert metrics["objective/kl"] > 0 and result["sizes"] == {"train_prompts": 12, "eval_prompts": 4}
    rows = run.metrics()[0]
    assert rows[0]["step"] == 0 and rows[0]["eval/perplexity"] == metrics["eval/perplexity_before"]
    assert any("sample" in row for row in rows) and not any("rewards/accuracies" in row for row in rows)
    assert load_policy(run.model, "cpu") and list(run.checkpoints.iterdir()) == []


def test_the_loss_is_of_completion_tokens_only(tiny_policy, tiny_policy_folder):
    plain = AutoModelForCausalLM.from_pretrained(tiny_policy_folder)
    told = torch.zeros(())
    for prompt, completion in SEQUENCES:
        labels = torch.tensor([[-100] * len(prompt) + completion])
        told += plain(torch.tensor([prompt + completion]), labels=labels).loss.detach() * len(completion)
    found = likelihood(tiny_policy.model, SEQUENCES)
    assert found["eval/loss"] == pytest.approx(float(told) / 9, abs=1e-5)


def gradients(tmp_path, folder, budget: int) -> torch.Tensor:
    policy = load_policy(folder, "cpu")
    run = training_run(tmp_path / str(budget), "sft", {"policy": folder}, rows=demonstrations())
    schedule = Schedule(1, 3, 1e-3, 0, token_budget=budget)
    trainer = SupervisedTrainer(run, policy.model, Shown(SEQUENCES, []), None, schedule)
    trainer.training_step(policy.model, {"groups": SEQUENCES})
    return torch.cat([p.grad.flatten() for p in policy.model.parameters()])


def test_the_split_into_micro_batches_changes_nothing(tmp_path, tiny_policy_folder):
    whole, split = (gradients(tmp_path, tiny_policy_folder, budget) for budget in (1000, 1))
    assert whole.abs().sum() > 0 and torch.allclose(whole, split, atol=1e-6)


def test_an_adapter_learns_and_its_base_stays(tmp_path, tiny_policy_folder, tiny_policy):
    run, result = trained(tmp_path / "run", tiny_policy_folder, lora_rank=4)
    assert (run.model / "adapter_model.safetensors").exists()
    assert result["metrics"]["eval/perplexity"] < result["metrics"]["eval/perplexity_before"]
    assert not torch.equal(log_probs(load_policy(run.model, "cpu")), log_probs(tiny_policy))


def test_a_start_that_is_an_adapter_is_trained_on(tmp_path, tiny_policy_folder):
    save_policy(adapted(tiny_policy_folder), tmp_path / "adapter")
    run, result = trained(tmp_path / "run", tmp_path / "adapter", lora_rank=4, epochs=1)
    assert (run.model / "adapter_model.safetensors").exists() and result["metrics"]["objective/kl"] != 0


def test_three_demonstrations_train_with_a_batch_of_eight(tmp_path, tiny_policy_folder):
    _, result = trained(tmp_path / "run", tiny_policy_folder, demonstrations(3, 0), batch_size=8, epochs=1)
    assert result["metrics"]["eval/loss"] is None and "not known" in result["notes"][0]


def test_long_demonstrations_are_cut_and_counted(tmp_path, tiny_policy_folder):
    _, result = trained(tmp_path / "run", tiny_policy_folder, max_length=12, epochs=1)
    assert "16 demonstrations were longer than max_length" in result["notes"][0]


def test_nothing_to_learn_from_is_refused_in_a_sentence(tmp_path, tiny_policy_folder):
    with pytest.raises(Refused, match="no demonstrations of train prompts"):
        trained(tmp_path / "run", tiny_policy_folder, demonstrations(0, 3))
    with pytest.raises(Refused, match="changed no weight"):
        trained(tmp_path / "still", tiny_policy_folder, learning_rate=0.0)


@pytest.mark.slow
def test_a_cancelled_run_goes_on_from_its_checkpoint_to_the_same_weights(tmp_path, tiny_policy_folder, monkeypatch):
    _, whole = trained(tmp_path / "whole", tiny_policy_folder)
    run = training_run(tmp_path / "run", "sft", {"policy": tiny_policy_folder}, QUICK, demonstrations())
    with monkeypatch.context() as patched:
        patched.setattr(RunDirectory, "cancel_requested", lambda self: len(self.metrics()[0]) >= 7)
        with pytest.raises(Cancelled, match="of 18, checkpoint saved"):
            work(run, run.config())
    assert work(run, run.config())["weights_digest"] == whole["weights_digest"]
