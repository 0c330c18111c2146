"""What tests of PPO put together: an actor, a collector, one rollout, and variants of the tiny policy on disk."""

import shutil
from dataclasses import replace
from pathlib import Path

import torch
from transformers import AutoTokenizer

from pipeline.actor_critic import ActorCritic
from pipeline.adapters import add_adapter
from pipeline.advantages import Rollout
from pipeline.configs import PPOConfig
from pipeline.policy import Policy, load_policy, save_policy
from pipeline.ppo_update import Updater
from pipeline.roles import reference_of
from pipeline.rollout import Collector, TrainPrompt, generator
from pipeline.score_scale import ScoreScale

OPTIONS = PPOConfig(batch_size=8, max_new_tokens=6, epochs=2, minibatches=2, learning_rate=1e-3)
PROMPTS = [TrainPrompt([{"role": "user", "content": "x"}], [5 + n] * (1 + n % 3)) for n in range(8)]


def by_place(items) -> list[float]:
    """A reward that tells the completions of a batch apart."""
    return [float(place) for place in range(len(items))]


def collector(policy: Policy, scorer=by_place, options: PPOConfig = OPTIONS, **roles) -> Collector:
    """With a reference that is the policy as it is now."""
    reference = roles.pop("reference", None) or reference_of(policy)
    actor = roles.pop("actor", None) or ActorCritic(policy, options.temperature)
    return Collector(actor, reference, scorer, options, **roles)


def rollout_of(found: Collector, prompts=PROMPTS, kl_coefficient: float = 0.05, scale=None) -> Rollout:
    """One rollout with seed 0."""
    return found.collect(prompts, kl_coefficient, generator(0), scale or ScoreScale("none"))


def updater(actor: ActorCritic, options: PPOConfig = OPTIONS, **more) -> Updater:
    """With the optimizer of a run."""
    rates = options.learning_rate, options.value_learning_rate
    return Updater(
        actor, torch.optim.AdamW(actor.parameter_groups(*rates), eps=1e-5, weight_decay=0.0), options, **more
    )


def gradient(actor: ActorCritic) -> torch.Tensor:
    """All gradients as one vector, zeros where there is none."""
    weights = [p for _, p in actor.trainable()]
    return torch.cat([(torch.zeros_like(p) if p.grad is None else p.grad).flatten() for p in weights])


def with_pad_as_end(folder: Path, to: Path) -> Path:
    """The same weights under a tokenizer whose pad token is its end-of-sequence token."""
    shutil.copytree(folder, to)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.pad_token = tokenizer.eos_token
    tokenizer.save_pretrained(to)
    return to


def trained_adapter(folder: Path, to: Path) -> Path:
    """A policy folder that is an adapter which has moved from its base, with dropout on its inputs."""
    policy = load_policy(folder, "cpu")
    add_adapter(policy.model, 4, 8.0, dropout=0.3)
    with torch.no_grad():
        for name, weight in policy.model.named_parameters():
            if "lora_B" in name:
                weight.copy_(0.3 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(len(name))))
    save_policy(policy, to)
    return to


def changed(options: PPOConfig = OPTIONS, **fields) -> PPOConfig:
    """The options with other values."""
    return replace(options, **fields)
