"""The optimizer steps of PPO on one rollout (Schulman et al. 2017), minibatch by minibatch.

Every minibatch is one optimizer step, whatever number of micro-batches it takes: each token's loss is
divided by the tokens of the whole minibatch, so the split changes nothing but rounding. Sampling and
advantages are in `rollout.py`; the schedule around it is in `ppo.py`.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from pipeline.actor_critic import ActorCritic
from pipeline.configs import PPOConfig
from pipeline.losses import clipped_policy_loss, clipped_value_loss
from pipeline.policy import TOKEN_BUDGET, micro_batches
from pipeline.rollout import Rollout


@dataclass
class Tally:
    """Sums over the tokens of all passes, and what is one per optimizer step."""

    tokens: int = 0
    steps: int = 0
    policy_loss: float = 0.0
    approx_kl: float = 0.0
    clipped: float = 0.0
    ratio_max: float = 1.0
    value_loss: float = 0.0
    value_clipped: float = 0.0
    grad_norm: float = 0.0

    def metrics(self) -> dict[str, float]:
        """Means over tokens (gradient norm: over steps, before clipping) under the usual names."""
        tokens = max(self.tokens, 1)
        return {
            "loss/policy": self.policy_loss / tokens,
            "policy/approxkl": self.approx_kl / tokens,
            "policy/clipfrac": self.clipped / tokens,
            "policy/ratio_max": self.ratio_max,
            "policy/grad_norm": self.grad_norm / max(self.steps, 1),
            "value/loss": self.value_loss / tokens,
            "value/clipfrac": self.value_clipped / tokens,
            "optimizer_steps": self.steps,
        }


def update(
    actor: ActorCritic,
    optimizer: torch.optim.Optimizer,
    rollout: Rollout,
    options: PPOConfig,
    draws: torch.Generator,
    value_only: bool = False,
    token_budget: int = TOKEN_BUDGET,
) -> dict[str, float]:
    """epochs x minibatches optimizer steps; with value_only the critic alone learns.

    A rollout of fewer completions than `minibatches` takes one step per completion and pass.
    """
    tally = Tally()
    for _ in range(options.epochs):
        order = torch.randperm(len(rollout.sequences), generator=draws)
        for chosen in order.tensor_split(min(options.minibatches, len(order))):
            accumulate(actor, rollout, chosen.tolist(), options, tally, value_only, token_budget)
            limit = options.max_grad_norm or torch.inf
            tally.grad_norm += float(torch.nn.utils.clip_grad_norm_([p for _, p in actor.trainable()], limit))
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            tally.steps += 1
    return tally.metrics()


def accumulate(
    actor: ActorCritic,
    rollout: Rollout,
    chosen: list[int],
    options: PPOConfig,
    tally: Tally,
    value_only: bool = False,
    token_budget: int = TOKEN_BUDGET,
) -> None:
    """Add the gradient of one minibatch to the weights' gradients."""
    sizes = [len(rollout.sequences[i][0]) + len(rollout.sequences[i][1]) for i in chosen]
    tokens = sum(len(rollout.sequences[i][1]) for i in chosen)
    for part in micro_batches(sizes, token_budget):
        rows = [chosen[i] for i in part]
        loss = _loss_sum(actor, rollout, rows, options, tally, value_only)
        (loss / tokens).backward()
    tally.tokens += tokens


def _loss_sum(
    actor: ActorCritic, rollout: Rollout, rows: list[int], options: PPOConfig, tally: Tally, value_only: bool
) -> Tensor:
    """Policy loss + value_coefficient value loss, summed over the tokens of some rows."""
    log_probs, values = actor.figures([rollout.sequences[i] for i in rows], value_only)
    old_values, returns = _packed(rollout.values, rows, values), _packed(rollout.returns, rows, values)
    value_loss, value_clipped = clipped_value_loss(values, old_values, returns, options.value_clip)
    tally.value_loss += float(value_loss.detach().sum())
    tally.value_clipped += float(value_clipped.sum())
    if value_only:
        return value_loss.sum()
    old, advantages = _packed(rollout.log_probs, rows, values), _packed(rollout.advantages, rows, values)
    policy_loss, ratio = clipped_policy_loss(log_probs, old, advantages, options.clip)
    with torch.no_grad():
        tally.policy_loss += float(policy_loss.sum())
        tally.approx_kl += float((log_probs - old).square().sum() / 2)
        tally.clipped += float(((ratio - 1).abs() > options.clip).sum())
        tally.ratio_max = max(tally.ratio_max, float(ratio.max()))
    return policy_loss.sum() + options.value_coefficient * value_loss.sum()


def _packed(rows: list[Tensor], which: list[int], like: Tensor) -> Tensor:
    return torch.cat([rows[i] for i in which]).to(like.device)
