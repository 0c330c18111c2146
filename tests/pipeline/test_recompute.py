"""Gradient checkpointing: the same weights as without, from layers that are made anew, under what stood at first."""

import copy
from threading import Thread

import pytest
import torch
from safetensors.torch import load_file
from transformers.models.llama.modeling_llama import LlamaDecoderLayer

from pipeline.actor_critic import ActorCritic
from pipeline.critic import make_critic
from pipeline.dpo import work as train_dpo
from pipeline.job import Refused
from pipeline.policy import token_log_probs
from pipeline.ppo import work as train_ppo
from pipeline.recompute import recompute_layers
from pipeline.reward import new_reward, save_reward
from pipeline.reward_model import work as train_reward
from pipeline.sft import work as train_sft
from tests.pipeline.ppo_parts import changed, gradient, trained_adapter
from tests.pipeline.test_roles import roles
from tests.pipeline.test_sft import demonstrations
from tests.pipeline.training_data import exact_arithmetic, ranked_rows, training_run

LORA = {"lora_rank": 4, "lora_dropout": 0.2}
GROUPS = {"epochs": 1, "groups_per_step": 2, "learning_rate": 2e-3}
PPO = {"episodes": 16, "batch_size": 8, "epochs": 1, "max_new_tokens": 6, "learning_rate": 1e-3, "kl_stop": 0.0}
SEQUENCES = [([5, 6, 7], [8, 9, 2]), ([5, 6, 7], [10, 11, 12, 2]), ([9], [2])]
JOBS = {
    "reward": (train_reward, GROUPS, ranked_rows),
    "dpo": (train_dpo, GROUPS, ranked_rows),
    "sft": (train_sft, {"epochs": 1, "batch_size": 4}, demonstrations),
    "ppo": (train_ppo, PPO, ranked_rows),
}


@pytest.fixture(autouse=True)
def exact(monkeypatch):
    exact_arithmetic(monkeypatch)
    for samples in ("dpo.KL_SAMPLES", "sft.KL_SAMPLES", "ppo_training.MEASURED"):
        monkeypatch.setattr(f"pipeline.{samples}", 8)


@pytest.fixture
def calls(monkeypatch):
    """Counts the forwards of decoder layers: with a gradient wanted, and without."""
    found, forward = {True: 0, False: 0}, LlamaDecoderLayer.forward

    def counting(self, *inputs, **options):
        found[torch.is_grad_enabled()] += 1
        return forward(self, *inputs, **options)

    monkeypatch.setattr(LlamaDecoderLayer, "forward", counting)
    return found


def weights(path, kind, folder, options):
    work, usual, rows = JOBS[kind]
    models = {"policy": folder}
    if kind == "ppo":
        save_reward(new_reward(folder, 3, 128, "cpu"), path / "reward")
        models["reward"] = path / "reward"
    run = training_run(path / "run", kind, models, {**usual, **options}, rows())
    work(run, run.config())
    [file] = run.model.glob("*.safetensors")
    return load_file(file)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "options"),
    [
        *((kind, more) for kind in ("reward", "dpo", "sft") for more in ({}, LORA)),
        ("ppo", {"critic_warmup": 0}),
        ("ppo", {"critic": "separate", "critic_warmup": 0}),
        ("ppo", {"critic": "separate", "critic_warmup": 0, "lora_rank": 4}),
    ],
)
def test_a_run_trains_the_same_weights_and_calls_each_layer_twice(tmp_path, tiny_policy_folder, calls, kind, options):
    kept = weights(tmp_path / "kept", kind, tiny_policy_folder, options)
    before = dict(calls)
    anew = weights(tmp_path / "anew", kind, tiny_policy_folder, {**options, "gradient_checkpointing": True})
    assert kept.keys() == anew.keys()
    assert all(torch.allclose(kept[name], anew[name], atol=1e-6) for name in kept)
    assert calls[True] - before[True] == 2 * before[True] > 0 and calls[False] == 2 * before[False]


def slopes(model) -> torch.Tensor:
    """The gradient of the log-probabilities of completions, two of which share a prompt."""
    model.zero_grad()
    torch.cat(token_log_probs(model, SEQUENCES)).sum().backward()
    return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])


def test_a_copied_layer_is_its_own(tiny_policy):
    recompute_layers(tiny_policy.model)
    copied = copy.deepcopy(tiny_policy.model)
    with torch.no_grad():
        for weight in tiny_policy.model.parameters():
            weight.zero_()
    assert slopes(copied).abs().sum() > 0 and all(weight.grad is None for weight in tiny_policy.model.parameters())


def test_a_layer_is_made_anew_under_the_adapter_of_its_forward(tmp_path, tiny_policy_folder):
    found = []
    for anew in (False, True):
        policy = roles(trained_adapter(tiny_policy_folder, tmp_path / str(anew)), lora_rank=4).policy
        actor = ActorCritic(policy, 1.0, make_critic(policy, changed(critic="separate")))
        if anew:
            recompute_layers(policy.model)
        torch.nn.init.ones_(actor.critic.head.weight)
        values = actor.figures(SEQUENCES).values.square().sum()
        values.backward(retain_graph=True)
        values.backward()
        found.append(gradient(actor))
    assert found[0].abs().sum() > 0 and torch.allclose(*found, atol=1e-5)


def test_a_backward_in_another_thread_makes_layers_anew_under_the_same_attention(tiny_policy):
    expected = slopes(tiny_policy.model)
    recompute_layers(tiny_policy.model)
    tiny_policy.model.zero_grad()
    loss = torch.cat(token_log_probs(tiny_policy.model, SEQUENCES)).sum()
    thread = Thread(target=loss.backward)
    thread.start()
    thread.join()
    found = torch.cat([p.grad.flatten() for p in tiny_policy.model.parameters() if p.grad is not None])
    assert torch.equal(found, expected)


def test_a_model_whose_layers_cannot_be_made_anew_is_refused():
    with pytest.raises(Refused, match="gradient_checkpointing: Linear has no layers that can be made anew"):
        recompute_layers(torch.nn.Linear(2, 2))
