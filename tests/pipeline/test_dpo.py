"""DPO on groups: its start, its agreement with the pairwise loss, what it measures and refuses."""

import math

import pytest
import torch
from transformers import BloomConfig, BloomForCausalLM

from pipeline.configs import DPOConfig
from pipeline.divergence import completion_log_probs, sampled_kl
from pipeline.dpo import preference_objective, reference_log_probs, work
from pipeline.group_trainer import GroupTrainer, Schedule
from pipeline.groups import read_groups
from pipeline.job import Cancelled, Refused
from pipeline.policy import load_policy
from pipeline.preference_losses import POLICY_LOSSES
from pipeline.run_directory import RunDirectory
from tests.pipeline.conftest import tiny_tokenizer
from tests.pipeline.training_data import exact_arithmetic, ranked_rows, training_run

QUICK = {"epochs": 2, "groups_per_step": 2, "learning_rate": 2e-3, "beta": 0.5}


@pytest.fixture(autouse=True)
def exact(monkeypatch):
    exact_arithmetic(monkeypatch)
    monkeypatch.setattr("pipeline.dpo.KL_SAMPLES", 16)


def train(path, folder, options=None, rows=None) -> tuple[RunDirectory, dict]:
    run = training_run(path, "dpo", {"policy": folder}, {**QUICK, **(options or {})}, rows)
    return run, work(run, run.config())


def test_first_loss_is_log_two_and_training_learns_the_preferences(tmp_path, tiny_policy_folder):
    run, result = train(tmp_path / "run", tiny_policy_folder)
    steps = [m for m in run.metrics()[0] if "loss" in m]
    assert steps[0]["loss"] == pytest.approx(math.log(2), abs=1e-5)
    assert steps[-1]["rewards/accuracies"] > 0.7 and steps[-1]["rewards/margins"] > 0
    assert result["metrics"]["eval/nll"] < math.log(2) and result["role"] == "policy"


def test_the_result_says_how_far_the_policy_went_and_shows_samples(tmp_path, tiny_policy_folder):
    run, result = train(tmp_path / "run", tiny_policy_folder)
    assert math.isfinite(result["metrics"]["objective/kl"])
    rows = run.metrics()[0]
    assert sum("sample" in r for r in rows) == 4 and sum("objective/kl" in r for r in rows) == 1
    assert load_policy(run.model, "cpu").tokenizer.chat_template


def test_a_policy_that_cannot_share_prompts_is_trained_and_the_result_says_so(tmp_path):
    tokenizer = tiny_tokenizer()
    config = BloomConfig(vocab_size=len(tokenizer), hidden_size=32, n_layer=2, n_head=4)  # positions by ALiBi
    BloomForCausalLM(config).save_pretrained(tmp_path / "bloom")
    tokenizer.save_pretrained(tmp_path / "bloom")
    _, result = train(tmp_path / "run", tmp_path / "bloom", {"epochs": 1})
    assert any("BloomModel" in note and "not shared" in note for note in result["notes"])


def test_loss_and_gradient_equal_the_pairwise_dpo_loss(tmp_path, tiny_policy, tiny_policy_folder):
    run = training_run(tmp_path / "run", "dpo", {}, rows=ranked_rows(train=2))
    data, model = read_groups(run.data, tiny_policy.tokenizer, 512), tiny_policy.model
    frozen = reference_log_probs(model, data.train)
    with torch.no_grad():
        model.get_input_embeddings().weight.add_(0.05 * torch.randn_like(model.get_input_embeddings().weight))
    trainer = GroupTrainer(run, model, data, preference_objective(frozen, DPOConfig(beta=0.3)), Schedule(1, 2, 1e-3, 0))
    model.zero_grad()
    loss = float(trainer.training_step(model, {"groups": data.train}))
    grad = torch.cat([p.grad.flatten() for p in model.parameters()])
    model.zero_grad()
    expected = exploded_dpo_loss(model, data.train, frozen, 0.3)
    expected.backward()
    assert loss == pytest.approx(expected.item(), abs=1e-5)
    assert torch.allclose(grad, torch.cat([p.grad.flatten() for p in model.parameters()]), atol=1e-5)


def exploded_dpo_loss(model, groups, frozen, beta) -> torch.Tensor:
    """Rafailov et al. 2023, equation 7, one pair at a time from the model's full logits."""
    total, weights = 0.0, 0.0
    for group, pair in ((g, p) for g in groups for p in g.pairs):
        sides = []
        for i in (pair.first, pair.second):
            ids = torch.tensor([group.prompt + group.completions[i]])
            logs = model(input_ids=ids).logits.log_softmax(-1)[0, len(group.prompt) - 1 : -1]
            chosen = logs.gather(-1, ids[0, len(group.prompt) :, None]).sum()
            sides.append(beta * (chosen - frozen[group.prompt_id][i]))
        sigma = torch.sigmoid(sides[0] - sides[1])
        total = total - pair.weight * (pair.preference * sigma.log() + (1 - pair.preference) * (1 - sigma).log())
        weights += pair.weight
    return total / weights


@pytest.mark.slow
@pytest.mark.parametrize("loss", [name for name in POLICY_LOSSES if name != "dpo"])
def test_every_loss_trains(tmp_path, tiny_policy_folder, loss):
    run, result = train(tmp_path / "run", tiny_policy_folder, {"loss": loss, "epochs": 3})
    steps = [m for m in run.metrics()[0] if "loss" in m]
    assert steps[-1]["rewards/accuracies"] > 0.6 and steps[-1]["loss"] < steps[0]["loss"]
    computed = 0 if loss in ("simpo", "orpo") else 24
    assert result["sizes"]["reference_computed"] == computed


def test_a_policy_is_at_distance_zero_from_itself(tiny_policy, tiny_policy_folder):
    other = load_policy(tiny_policy_folder, device="cpu")
    found = sampled_kl(tiny_policy, other, [[5, 6], [7, 8, 9]], 6, count=10)
    assert found.kl == pytest.approx(0, abs=1e-5) and len(found.samples) == 10
    assert found.prompts[:4] == [0, 1, 0, 1]


def test_whole_completion_log_probability_is_the_sum_over_its_tokens(tiny_policy):
    ids = torch.tensor([[5, 6, 7, 8]])
    logs = tiny_policy.model(input_ids=ids).logits.log_softmax(-1)[0]
    found = completion_log_probs(tiny_policy, [([5, 6], [7, 8])])
    assert found.item() == pytest.approx((logs[1, 7] + logs[2, 8]).item(), abs=1e-5)


def test_a_learning_rate_of_zero_is_refused(tmp_path, tiny_policy_folder):
    with pytest.raises(Refused, match="changed no weight"):
        train(tmp_path / "run", tiny_policy_folder, {"learning_rate": 0.0})


def test_a_divergence_that_is_no_number_is_refused(tmp_path, tiny_policy_folder, monkeypatch):
    monkeypatch.setattr("pipeline.divergence.completion_log_probs", lambda *_: torch.full((16,), math.nan))
    with pytest.raises(Refused, match="KL to the reference is nan"):
        train(tmp_path / "run", tiny_policy_folder)


@pytest.mark.slow
def test_equal_seeds_give_equal_weights_and_another_seed_other_ones(tmp_path, tiny_policy_folder):
    digests = [train(tmp_path / str(n), tiny_policy_folder, {"seed": n // 2})[1]["weights_digest"] for n in range(3)]
    assert digests[0] == digests[1] != digests[2]


@pytest.mark.slow
def test_a_cancelled_run_goes_on_from_its_checkpoint_to_the_same_weights(tmp_path, tiny_policy_folder, monkeypatch):
    _, whole = train(tmp_path / "whole", tiny_policy_folder)
    run = training_run(tmp_path / "run", "dpo", {"policy": tiny_policy_folder}, QUICK)
    with monkeypatch.context() as patched:
        patched.setattr(RunDirectory, "cancel_requested", lambda self: len(self.metrics()[0]) >= 2)
        with pytest.raises(Cancelled):
            work(run, run.config())
    assert work(run, run.config())["weights_digest"] == whole["weights_digest"]


@pytest.mark.slow
def test_another_reference_than_the_start_is_taken(tmp_path, tiny_policy_folder):
    first, _ = train(tmp_path / "first", tiny_policy_folder)
    models = {"policy": first.model, "reference": tiny_policy_folder}
    run = training_run(tmp_path / "second", "dpo", models, QUICK)
    work(run, run.config())
    steps = [m for m in run.metrics()[0] if "loss" in m]
    assert steps[0]["loss"] < math.log(2) - 1e-3  # the start is already ahead of the base
