"""One rollout of PPO: completions sampled, scored as text, and turned into advantages and returns.

Rows stay ragged: one 1-D tensor per completion, so nothing is padded but inside a micro-batch and the
recursion of the advantages. It changes no weight.
"""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from pipeline.actor_critic import ActorCritic, reference_log_probs
from pipeline.configs import PPOConfig
from pipeline.job import Refused
from pipeline.losses import advantages_and_returns, explained_variance, length_mask, masked_whiten, token_rewards
from pipeline.policy import Policy, micro_batches
from pipeline.sampling import Sampled, decode, sample

Scorer = Callable[[Sequence[tuple[list[dict], str]]], Sequence[float]]  # (messages, completion) -> normalised score


@dataclass(frozen=True)
class TrainPrompt:
    """What the policy is asked, as messages for the reward and as ids for the policy."""

    messages: list[dict]
    ids: list[int]


@dataclass(frozen=True)
class Rollout:
    """B completions with all that the update needs; each list holds one [length] tensor per completion."""

    sequences: list[tuple[list[int], list[int]]]
    log_probs: list[Tensor]
    values: list[Tensor]
    advantages: list[Tensor]
    returns: list[Tensor]
    metrics: dict[str, float]

    @property
    def lengths(self) -> list[int]:
        """Completion lengths in tokens."""
        return [len(completion) for _, completion in self.sequences]


def prompts_at(prompts: Sequence[TrainPrompt], start: int, count: int, seed: int) -> list[TrainPrompt]:
    """`count` prompts from position `start` of an endless stream: one shuffle of all prompts after another.

    Fewer prompts than `count` come up several times; the position alone decides, so a resumed run goes on.
    """
    taken = []
    for passing in range(start // len(prompts), (start + count - 1) // len(prompts) + 1):
        order = torch.randperm(len(prompts), generator=generator(seed, 1, passing)).tolist()
        first = passing * len(prompts)
        taken += [prompts[i] for at, i in enumerate(order, first) if start <= at < start + count]
    return taken


def generator(*numbers: int) -> torch.Generator:
    """A CPU generator of its own for each combination of numbers: no draw depends on an earlier one."""
    seed = 0
    for number in numbers:
        seed = (seed * 1_000_003 + number + 1) % (2**63 - 25)
    return torch.Generator().manual_seed(seed)


def collect(
    actor: ActorCritic,
    reference: Policy,
    scorer: Scorer,
    prompts: Sequence[TrainPrompt],
    options: PPOConfig,
    kl_coefficient: float,
    draws: torch.Generator,
    on_progress: Callable[[int], None] | None = None,
) -> Rollout:
    """One completion per prompt, with rewards, advantages and returns. Raises Refused for a score that is no number."""
    clock = Clock()
    # 1. sample from the policy as it is
    ids = [p.ids for p in prompts]
    samples = sample(
        actor.policy, ids, options.max_new_tokens, options.temperature, draws, options.batch_size, on_progress
    )
    clock.lap("generate")
    # 2. score the text, as the reward model's own tokenizer reads it
    scores = scored(actor.policy, scorer, prompts, samples, options.missing_eos_penalty)
    clock.lap("score")
    # 3. log-probabilities by the training forward, not by the sampling loop, so that the ratio starts at 1
    sequences = [(p, s.tokens) for p, s in zip(ids, samples, strict=True)]
    old, values, frozen = _figures(actor, reference, sequences)
    clock.lap("logprob")
    # 4. advantages; whitened over the real tokens of the whole rollout, returns are made before
    advantages, returns, kl = _advantages(old, values, frozen, scores, options, kl_coefficient)
    metrics = _metrics(samples, scores, kl, kl_coefficient, old) | clock.laps
    metrics["value/explained_var"] = explained_variance(torch.cat(values), torch.cat(returns))
    return Rollout(sequences, old, values, advantages, returns, metrics)


def scored(
    policy: Policy, scorer: Scorer, prompts: Sequence[TrainPrompt], samples: Sequence[Sampled], penalty: float
) -> Tensor:
    """Normalised scores [B], less the penalty where a completion did not end at one of the policy's end tokens."""
    texts = [decode(policy.tokenizer, s.tokens) for s in samples]
    found = scorer([(p.messages, text) for p, text in zip(prompts, texts, strict=True)])
    for score, text in zip(found, texts, strict=True):
        if not math.isfinite(score):
            raise Refused(f"The reward model gave {score} for {text[:60]!r}; a number is expected. Train it again.")
    endings = torch.tensor([0.0 if s.ended else penalty for s in samples])
    return torch.tensor(list(found), dtype=torch.float32) - endings


@torch.no_grad()
def _figures(actor: ActorCritic, reference: Policy, sequences) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
    """Old log-probabilities, values and the reference's log-probabilities: one [length] tensor per row each."""
    found = [[None] * len(sequences) for _ in range(3)]
    for part in micro_batches([len(p) + len(c) for p, c in sequences]):
        batch = [sequences[i] for i in part]
        packed = (*actor.figures(batch), reference_log_probs(reference, batch, actor.temperature))
        for rows, tensor in zip(found, packed, strict=True):
            for i, row in zip(part, tensor.cpu().split([len(c) for _, c in batch]), strict=True):
                rows[i] = row
    return tuple(found)


def _advantages(
    old: list[Tensor],
    values: list[Tensor],
    frozen: list[Tensor],
    scores: Tensor,
    options: PPOConfig,
    coefficient: float,
) -> tuple[list[Tensor], list[Tensor], Tensor]:
    """Whitened advantages, returns, and KL to the reference of each completion [B] in nats."""
    lengths = torch.tensor([len(row) for row in old])
    log_ratio = pad_sequence(old, batch_first=True) - pad_sequence(frozen, batch_first=True)
    mask = length_mask(lengths, log_ratio.shape[1])
    rewards = token_rewards(log_ratio, scores, lengths, coefficient)
    values = pad_sequence(values, batch_first=True)
    advantages, returns = advantages_and_returns(rewards, values, mask, options.gamma, options.gae_lambda)
    ragged = lengths.tolist()
    advantages = [row[:n] for row, n in zip(masked_whiten(advantages, mask), ragged, strict=True)]
    return advantages, [row[:n] for row, n in zip(returns, ragged, strict=True)], (log_ratio * mask).sum(1)


def _metrics(
    samples: Sequence[Sampled], scores: Tensor, kl: Tensor, coefficient: float, old: list[Tensor]
) -> dict[str, float]:
    return {
        "objective/kl": float(kl.mean()),
        "objective/scores": float(scores.mean()),
        "objective/rlhf_reward": float((scores - coefficient * kl).mean()),
        "objective/entropy": float(-torch.cat(old).mean()),
        "len/eos_rate": sum(s.ended for s in samples) / len(samples),
        "len/mean": sum(len(s.tokens) for s in samples) / len(samples),
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
