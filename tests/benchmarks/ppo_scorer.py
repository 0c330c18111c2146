"""What trained policies learned, by one scorer for both arms of the PPO benchmark: reward and KL on fresh samples.

Held-out prompts, the same random numbers for every policy, float32. The reward is the reward model's own number on the
text; the KL to the starter is per completion in nats.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from unittest import mock

import torch

from pipeline.divergence import sampled_kl
from pipeline.policy import load_policy, prompt_ids
from pipeline.reward import load_reward, score_texts
from pipeline.sampling import decode
from tests.benchmarks.ppo_models import Models, conversation


@dataclass(frozen=True)
class Learned:
    """Means over the samples of all policies, with standard errors; the reward's counts policies where it can."""

    reward: float
    reward_error: float
    kl: float
    kl_error: float
    eos_rate: float
    length: float


def learned(folders: Sequence[str], models: Models, count: int, max_new_tokens: int) -> Learned:
    """What the policies in these folders, one per seed, write on average; `count` samples of each."""
    with mock.patch("pipeline.precision.bfloat16_is_fast", lambda device: False):
        ones = [_measured(folder, models, count, max_new_tokens) for folder in folders]
    reward, kl, eos, length = (torch.stack([one[i] for one in ones]) for i in range(4))
    return Learned(
        float(reward.mean()),
        _error(reward),
        float(kl.mean()),
        _error(kl),
        float(eos.mean()),
        float(length.mean()),
    )


def _measured(folder: str, models: Models, count: int, max_new_tokens: int) -> list[torch.Tensor]:
    """Reward, log-ratio, whether it ended, length: [count] each."""
    policy, reference, reward = load_policy(folder), load_policy(models.policy), load_reward(models.reward)
    ids = [prompt_ids(policy.tokenizer, conversation(text)) for text in models.held_out]
    found = sampled_kl(policy, reference, ids, max_new_tokens, 1.0, 7, count)
    texts = [decode(policy.tokenizer, one.tokens) for one in found.samples]
    asked = [conversation(models.held_out[i]) for i in found.prompts]
    rewards = score_texts(reward, list(zip(asked, texts, strict=True)))
    ended, length = (
        [float(value) for value in values]
        for values in zip(*((one.ended, len(one.tokens)) for one in found.samples), strict=True)
    )
    return [torch.tensor(rewards), found.log_ratios.float(), torch.tensor(ended), torch.tensor(length)]


def _error(values: torch.Tensor) -> float:
    """The standard error of the mean of [policies, samples]: over samples, or over policies where that is more."""
    within = float(values.std()) / math.sqrt(values.numel())
    between = float(values.mean(1).std()) / math.sqrt(len(values)) if len(values) > 1 else 0.0
    return max(within, between)
