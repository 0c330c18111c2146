"""From scored completions to what PPO learns from: rewards with the KL to the reference, advantages, returns.

Pure tensors of a whole rollout on the CPU; sampling and scoring are in `rollout.py`, the formulas in `losses.py`.
Rows stay ragged, one 1-D tensor per completion; only the recursion of the advantages is padded.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from pipeline.configs import PPOConfig
from pipeline.losses import (
    advantages_and_returns,
    explained_variance,
    importance_weights,
    length_mask,
    masked_whiten,
    token_rewards,
)
from pipeline.sampling import Sampled
from pipeline.score_scale import ScoreScale


@dataclass(frozen=True)
class Rollout:
    """B completions with all that the update needs; each list holds one [length] tensor per completion."""

    sequences: list[tuple[list[int], list[int]]]
    log_probs: list[Tensor]
    values: list[Tensor]
    advantages: list[Tensor]
    returns: list[Tensor]
    metrics: dict[str, float]
    scale: ScoreScale  # as it is once this rollout is learned from
    importance: list[Tensor] | None = None  # weights of the tokens, where a sampler had other arithmetic

    @property
    def lengths(self) -> list[int]:
        """Completion lengths in tokens."""
        return [len(completion) for _, completion in self.sequences]


@dataclass(frozen=True)
class Row:
    """One completion with its figures [length], before advantages."""

    prompt: list[int]
    sampled: Sampled
    score: float  # raw
    log_probs: Tensor
    values: Tensor
    entropy: Tensor
    frozen: Tensor


def rewarded(raw: Tensor, ended: Sequence[bool], scale: ScoreScale, options: PPOConfig) -> Tensor:
    """Scores [B] on the scale, with the penalty where a completion did not end at one of the policy's end tokens."""
    unended = ~torch.tensor(list(ended), dtype=torch.bool)
    scores = scale(raw)
    kept = torch.zeros_like(scores) if options.missing_eos == "replace" else scores
    return torch.where(unended, kept - options.missing_eos_penalty, scores)


def finished(
    rows: Sequence[Row], options: PPOConfig, kl_coefficient: float, scale: ScoreScale, clock: "Clock"
) -> Rollout:
    """The rollout of these completions: rewards with the KL to the reference, advantages, returns, metrics."""
    raw = torch.tensor([row.score for row in rows], dtype=torch.float64)
    scale = scale.taking(raw)
    scores = rewarded(raw, [row.sampled.ended for row in rows], scale, options)
    lengths = torch.tensor([len(row.log_probs) for row in rows])
    old, frozen, values = (_padded([getattr(r, name) for r in rows]) for name in ("log_probs", "frozen", "values"))
    log_ratio, mask = old - frozen, length_mask(lengths, old.shape[1])
    rewards = token_rewards(log_ratio, scores, lengths, kl_coefficient)
    if options.whiten_rewards:
        rewards = masked_whiten(rewards, mask, shift_mean=False)
    # returns are made before whitening: the critic learns rewards, not advantages
    advantages, returns = advantages_and_returns(rewards, values, mask, options.gamma, options.gae_lambda)
    if options.value_lambda:
        _, returns = advantages_and_returns(rewards, values, mask, options.gamma, options.value_lambda)
    if options.whiten_advantages:
        advantages = masked_whiten(advantages, mask)
    kl = (log_ratio * mask).sum(1)
    metrics = rollout_metrics(rows, scores, kl, kl_coefficient)
    advantages, returns = _ragged(advantages, lengths), _ragged(returns, lengths)
    own_values = [row.values for row in rows]
    metrics["value/explained_var"] = explained_variance(torch.cat(own_values), torch.cat(returns))
    importance = _importance(rows, options.importance_cap)
    if importance:
        metrics["policy/importance"] = float(torch.cat(importance).mean())
    return Rollout(
        [(row.prompt, row.sampled.tokens) for row in rows],
        [row.log_probs for row in rows],
        own_values,
        advantages,
        returns,
        metrics | clock.laps | {"time/rollout": sum(clock.laps.values())},
        scale,
        importance,
    )


def _importance(rows: Sequence[Row], cap: float) -> list[Tensor] | None:
    if not cap or any(row.sampled.log_probs is None for row in rows):
        return None
    return [importance_weights(row.log_probs, torch.tensor(row.sampled.log_probs), cap) for row in rows]


def _padded(rows: list[Tensor]) -> Tensor:
    return pad_sequence(rows, batch_first=True)


def _ragged(padded: Tensor, lengths: Tensor) -> list[Tensor]:
    return [row[:n] for row, n in zip(padded, lengths.tolist(), strict=True)]


def rollout_metrics(rows: Sequence[Row], scores: Tensor, kl: Tensor, coefficient: float) -> dict[str, float]:
    """Figures of a rollout under their usual names.

    Means over completions (scores, KL in nats, length) or over their real tokens (entropy in nats: of the sampled
    tokens under objective/, of the whole distributions under policy/).
    """
    sampled = [row.sampled for row in rows]
    return {
        "objective/kl": float(kl.mean()),
        "objective/scores": float(scores.mean()),
        "objective/raw_scores": sum(row.score for row in rows) / len(rows),
        "objective/non_score_reward": float(-coefficient * kl.mean()),
        "objective/rlhf_reward": float((scores - coefficient * kl).mean()),
        "objective/entropy": float(-torch.cat([row.log_probs for row in rows]).mean()),
        "policy/entropy": float(torch.cat([row.entropy for row in rows]).mean()),
        "len/eos_rate": sum(s.ended for s in sampled) / len(sampled),
        "len/mean": sum(len(s.tokens) for s in sampled) / len(sampled),
        "kl_coef": coefficient,
    }


class Clock:
    """Seconds of each phase, under time/<phase>."""

    def __init__(self):
        self.laps: dict[str, float] = {}
        self.last = time.monotonic()

    def lap(self, phase: str) -> None:
        """End a phase."""
        now = time.monotonic()
        self.laps[f"time/{phase}"], self.last = now - self.last, now
