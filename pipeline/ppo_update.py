"""The optimizer steps of PPO on one rollout (Schulman et al. 2017), minibatch by minibatch.

Every minibatch is one optimizer step, whatever number of micro-batches and processes it takes: each token's loss
is divided by the tokens of the whole minibatch, so the split changes nothing but rounding. Sampling is in
`rollout.py`, advantages are in `advantages.py`, the schedule around it is in `ppo_training.py`.
"""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from pipeline.actor_critic import ActorCritic
from pipeline.advantages import Rollout
from pipeline.configs import PPOConfig
from pipeline.demonstrations import NONE, Demonstrations
from pipeline.losses import clipped_policy_loss, clipped_value_loss
from pipeline.policy import micro_batches, token_log_probs
from pipeline.processes import ALONE, Processes

SUMS = ("loss/policy", "policy/approxkl", "policy/clipfrac", "value/loss", "value/clipfrac")  # over tokens


@dataclass
class Tally:
    """Sums over the tokens of all passes, and what is one per optimizer step."""

    sums: Tensor = field(default_factory=lambda: torch.zeros(len(SUMS)))
    tokens: int = 0
    steps: int = 0
    ratio_max: float = 1.0
    grad_norm: float = 0.0
    sft_loss: float = 0.0

    def metrics(self) -> dict[str, float]:
        """Means over tokens (gradient norm and loss/sft: over steps, the norm before clipping) by the usual names."""
        means = (self.sums / max(self.tokens, 1)).tolist()
        found = dict(zip(SUMS, means, strict=True)) | {
            "policy/ratio_max": self.ratio_max,
            "policy/grad_norm": self.grad_norm / max(self.steps, 1),
            "optimizer_steps": self.steps,
        }
        return found | ({"loss/sft": self.sft_loss / max(self.steps, 1)} if self.sft_loss else {})


@dataclass
class Updater:
    """An actor and its optimizer, with what every step takes in."""

    actor: ActorCritic
    optimizer: torch.optim.Optimizer
    options: PPOConfig
    demonstrations: Demonstrations = NONE
    processes: Processes = ALONE

    def update(self, rollout: Rollout, draws: torch.Generator, value_only: bool = False) -> dict[str, float]:
        """epochs x minibatches optimizer steps; with value_only the critic alone learns.

        A rollout of fewer completions than `minibatches` takes one step per completion and pass. Ends before a
        step whose minibatch is further than target_kl from the policy that sampled it.
        """
        tally, options = Tally(), self.options
        for _ in range(options.epochs):
            order = torch.randperm(len(rollout.sequences), generator=draws)
            for chosen in order.tensor_split(min(options.minibatches, len(order))):
                moved = self.accumulate(rollout, chosen.tolist(), tally, value_only)
                if 0 < options.target_kl < moved:
                    self.optimizer.zero_grad(set_to_none=True)
                    return tally.metrics()
                if not value_only:
                    tally.sft_loss += self.mix_in(draws)
                self._step(tally)
        return tally.metrics()

    def accumulate(self, rollout: Rollout, chosen: list[int], tally: Tally, value_only: bool = False) -> float:
        """Add the gradient of one minibatch to the weights' gradients; how far its tokens have moved (approxkl)."""
        tokens = sum(len(rollout.sequences[i][1]) for i in chosen)
        mine = self.processes.share(chosen)
        sizes = [len(rollout.sequences[i][0]) + len(rollout.sequences[i][1]) for i in mine]
        sums, highest = torch.zeros(len(SUMS), device=self.actor.policy.device), 1.0
        for part in micro_batches(sizes, self.options.micro_batch_tokens):
            loss, found, ratio = self._loss_sum(rollout, [mine[i] for i in part], value_only)
            (loss / tokens).backward()
            sums += found
            highest = max(highest, ratio)
        sums = self.processes.summed(sums).cpu()
        tally.sums += sums
        tally.tokens += tokens
        tally.ratio_max = max(tally.ratio_max, self.processes.highest(highest))
        return float(sums[SUMS.index("policy/approxkl")]) / tokens

    def mix_in(self, draws: torch.Generator) -> float:
        """Add the gradient of a batch of demonstrations, weighed by sft_coefficient; their loss per token.

        PPO-ptx of Ouyang et al. 2022, equation 2, with demonstrations in place of the pretraining data.
        """
        options = self.options
        if not options.sft_coefficient or not len(self.demonstrations):
            return 0.0
        batch = self.demonstrations.drawn(options.sft_batch_size, draws)
        tokens, total = sum(len(completion) for _, completion in batch), torch.zeros(1)
        mine = self.processes.share(batch)
        for part in micro_batches([len(p) + len(c) for p, c in mine], options.micro_batch_tokens):
            found = token_log_probs(self.actor.model, [mine[i] for i in part], 1.0, options.micro_batch_tokens)
            loss = -torch.cat(found).sum() / tokens
            (options.sft_coefficient * loss).backward()
            total += loss.detach().cpu()
        return float(self.processes.summed(total.to(self.actor.policy.device)))

    def _step(self, tally: Tally) -> None:
        weights = [p for _, p in self.actor.trainable()]
        self.processes.sum_gradients(weights)
        limit = self.options.max_grad_norm or torch.inf
        tally.grad_norm += float(torch.nn.utils.clip_grad_norm_(weights, limit))
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        tally.steps += 1

    def _loss_sum(self, rollout: Rollout, rows: list[int], value_only: bool) -> tuple[Tensor, Tensor, float]:
        """Policy loss + value_coefficient value loss, summed over the tokens of some rows; SUMS; highest ratio."""
        options = self.options
        log_probs, values, _ = self.actor.figures([rollout.sequences[i] for i in rows], value_only)
        old_values, returns = _packed(rollout.values, rows, values), _packed(rollout.returns, rows, values)
        value_loss, value_clipped = clipped_value_loss(values, old_values, returns, options.value_clip)
        critic = [value_loss.detach().sum(), value_clipped.sum()]
        if value_only:
            return value_loss.sum(), torch.stack([torch.zeros_like(critic[0])] * 3 + critic), 1.0
        old, advantages = _packed(rollout.log_probs, rows, values), _packed(rollout.advantages, rows, values)
        policy_loss, ratio = clipped_policy_loss(log_probs, old, advantages, options.clip, options.dual_clip)
        if rollout.importance:
            policy_loss = policy_loss * _packed(rollout.importance, rows, values)
        with torch.no_grad():
            moved = (log_probs - old).square().sum() / 2
            clipped = ((ratio - 1).abs() > options.clip).float().sum()
            sums = torch.stack([policy_loss.sum(), moved, clipped, *critic])
        return policy_loss.sum() + options.value_coefficient * value_loss.sum(), sums, float(ratio.detach().max())


def _packed(rows: list[Tensor], which: list[int], like: Tensor) -> Tensor:
    return torch.cat([rows[i] for i in which]).to(like.device)
