"""The policy and its critic as PPO sees them: log-probabilities and values of the completion tokens.

Log-probabilities of the policy, of its old self and of the reference come from one function: by the training
forward, at the temperature of the sampling, without the mass of what is never sampled. What the critic is made
of is in `critic.py`.

Shapes: N completion tokens of a micro-batch, one row after another; V vocabulary; D hidden size. Logits exist for
a part of the N tokens at a time.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from pipeline.critic import Critic, width_of
from pipeline.frozen_layers import Trunk
from pipeline.job import Refused
from pipeline.log_probs import evened
from pipeline.policy import MOST_LOGITS, Policy, packed_hidden, project
from pipeline.precision import autocast
from pipeline.roles import Reference

Sequences = Sequence[tuple[list[int], list[int]]]  # prompt ids, completion ids


class Figures(NamedTuple):
    """Of N completion tokens: log-probabilities, values, entropy of the distribution each was drawn from, in nats."""

    log_probs: Tensor | None
    values: Tensor
    entropy: Tensor | None = None


class ActorCritic(nn.Module):
    """A policy with a critic; temperature is that of the sampling, for every log-probability."""

    def __init__(
        self, policy: Policy, temperature: float = 1.0, critic: Critic | None = None, trunk: Trunk | None = None
    ):
        super().__init__()
        if not any(p.requires_grad for p in policy.model.parameters()):
            raise Refused("The policy has no weight that may be trained; check how its adapter was loaded.")
        self.policy, self.model, self.temperature = policy, policy.model, temperature
        self.critic = critic or Critic(width_of(policy.model), policy.device)
        self.trunk = trunk  # of the policy's frozen layers, where only the last ones learn

    def figures(self, sequences: Sequences, value_only: bool = False, with_entropy: bool = False) -> Figures:
        """Of the completion tokens; with value_only the policy gets no gradient and no log-probabilities are made."""
        if value_only and not self.critic.shares:
            return Figures(None, self.critic(sequences, None))
        with autocast(self.policy.device), torch.set_grad_enabled(torch.is_grad_enabled() and not value_only):
            hidden, tokens = packed_hidden(self.model, sequences, self.trunk)
        values = self.critic(sequences, hidden)
        if value_only:
            return Figures(None, values)
        if with_entropy:
            log_probs, entropy = log_probs_and_entropy(self.policy, hidden, tokens, self.temperature)
            return Figures(log_probs, values, entropy)
        return Figures(token_log_probs(self.policy, hidden, tokens, self.temperature), values)

    def forget(self) -> None:
        """States that were made of earlier texts, by what is frozen of the policy and the critic."""
        self.critic.forget()
        if self.trunk:
            self.trunk.kept.forget()

    def parameter_groups(self, learning_rate: float, value_learning_rate: float) -> list[dict]:
        """Policy, critic's trunk and value head for the optimizer; `peak` is what a schedule starts from."""
        head = list(self.critic.head.parameters())
        trunk = self.critic.trunk
        apart = {id(weight) for weight in (*head, *trunk)}
        policy = [p for p in self.model.parameters() if p.requires_grad and id(p) not in apart]
        groups = [(policy, learning_rate), (head, value_learning_rate)] + ([(trunk, learning_rate)] if trunk else [])
        return [{"params": weights, "lr": rate, "peak": rate} for weights, rate in groups]

    def trainable(self) -> Iterable[tuple[str, nn.Parameter]]:
        """Names and weights of everything that learns."""
        return ((name, p) for name, p in self.named_parameters() if p.requires_grad)


def token_log_probs(policy: Policy, hidden: Tensor, tokens: Tensor, temperature: float) -> Tensor:
    """Log-probabilities [N] of tokens [N] from the states [N, D] that predict them, as `sampling_log_probs`.

    The backward makes the logits anew, part by part, where they are too many to keep.
    """
    parts = list(zip(*_parts(policy, hidden, tokens), strict=True))
    if len(parts) == 1:
        return _log_probs(policy, hidden, tokens, temperature)
    return torch.cat([checkpoint(_log_probs, policy, *part, temperature, use_reentrant=False) for part in parts])


@torch.no_grad()
def log_probs_and_entropy(policy: Policy, hidden: Tensor, tokens: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """The same [N], and the entropy [N] in nats of the whole distributions, without a gradient."""
    found = []
    for states, wanted in zip(*_parts(policy, hidden, tokens), strict=True):
        logits = _logits(policy, states)
        mass, whole, total = _distribution(logits, temperature, _never(policy))
        chosen = logits.gather(-1, wanted[:, None]).squeeze(-1) / temperature - total
        # the entropy is log Z - E[logit], which needs no logarithm of V numbers
        found.append((chosen, total - torch.linalg.vecdot(mass, logits) / (whole * temperature)))
    log_probs, entropies = zip(*found, strict=True)
    return torch.cat(log_probs), torch.cat(entropies)


def _parts(policy: Policy, *tensors: Tensor) -> list[Sequence[Tensor]]:
    size = max(MOST_LOGITS // policy.model.config.get_text_config().vocab_size, 1)
    return [tensor.split(size) for tensor in tensors]


def _log_probs(policy: Policy, hidden: Tensor, tokens: Tensor, temperature: float) -> Tensor:
    hidden, wanted = evened(hidden, tokens)
    return sampling_log_probs(policy, _logits(policy, hidden), wanted, temperature)[: len(tokens)]


def _logits(policy: Policy, hidden: Tensor) -> Tensor:
    with autocast(policy.device):
        return project(policy.model, hidden)


def sampling_log_probs(policy: Policy, logits: Tensor, tokens: Tensor, temperature: float) -> Tensor:
    """Log-probabilities [N] of tokens [N] under the distribution they were sampled from, given logits [N, V].

    The pad id is never sampled, so it gets no mass here either, unless it also ends completions.
    """
    return SampledLogProbs.apply(logits, tokens, temperature, _never(policy))


def _never(policy: Policy) -> int | None:
    return None if policy.pad_id in policy.eos_ids else policy.pad_id


class SampledLogProbs(torch.autograd.Function):
    """log softmax(logits / temperature) at the tokens, in half the passes over [N, V] that autograd takes.

    Only the mass exp(logit / temperature - highest) is kept, that over its sum being the probabilities p; the gradient
    is (1 at the token - p) / temperature.
    """

    @staticmethod
    def forward(ctx, logits: Tensor, tokens: Tensor, temperature: float, never: int | None) -> Tensor:
        """[N] of logits [N, V] and tokens [N]; `never` is an id without mass."""
        mass, whole, total = _distribution(logits, temperature, never)
        ctx.save_for_backward(mass, whole, tokens)
        ctx.temperature = temperature
        chosen = logits.gather(-1, tokens[:, None]).squeeze(-1) / temperature - total
        return chosen if never is None else chosen.masked_fill(tokens == never, -torch.inf)

    @staticmethod
    def backward(ctx, slope: Tensor) -> tuple[Tensor, None, None, None]:
        """To the logits [N, V]; the kept mass stays as it is, for a second backward."""
        mass, whole, tokens = ctx.saved_tensors
        slope = slope / ctx.temperature
        found = mass * (-slope / whole)[:, None]
        return found.scatter_add_(-1, tokens[:, None], slope[:, None]), None, None, None


def _distribution(logits: Tensor, temperature: float, never: int | None) -> tuple[Tensor, Tensor, Tensor]:
    """Mass exp(logit / temperature - highest) [N, V], its sum [N], and the log of the sum of exp(logit / temperature)
    [N]. In few passes over [N, V], and the logits stay as they are.
    """
    scaled = logits if temperature == 1 else logits / temperature
    highest = _highest(scaled, never)
    mass = (scaled - highest).exp_()
    if never is not None:
        mass[:, never] = 0
    whole = mass.sum(-1)
    return mass, whole, highest.squeeze(-1) + whole.log()


def _highest(logits: Tensor, never: int | None) -> Tensor:
    """[N, 1], of all but one."""
    if never is None:
        return logits.amax(-1, keepdim=True)
    parts = [part for part in (logits[:, :never], logits[:, never + 1 :]) if part.shape[1]]
    return torch.stack([part.amax(-1, keepdim=True) for part in parts]).amax(0)


@torch.no_grad()
def reference_log_probs(reference: Reference, sequences: Sequences, temperature: float) -> Tensor:
    """Log-probabilities [N] of the frozen reference, by the same rule as the actor's."""
    policy = reference.policy
    with reference.meanwhile():
        with autocast(policy.device):
            hidden, tokens = packed_hidden(policy.model, sequences, reference.trunk)
        return token_log_probs(policy, hidden, tokens, temperature)
