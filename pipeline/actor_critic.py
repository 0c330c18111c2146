"""The policy and its critic as PPO sees them: log-probabilities and values of the completion tokens.

The critic is a linear head on the policy's own trunk, zero at the start, so one forward serves both
(2 to 3 times as fast as a second model). A critic of its own would be another module with the same
`figures`; nothing else here or in the update knows that the trunk is shared.

Shapes: N completion tokens of a micro-batch, one row after another; V vocabulary; D hidden size.
"""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

from pipeline.job import Refused
from pipeline.policy import Policy, packed_hidden, project, selected_log_probs
from pipeline.precision import autocast

Sequences = Sequence[tuple[list[int], list[int]]]  # prompt ids, completion ids


class ActorCritic(nn.Module):
    """A policy with a value head on its trunk; temperature is that of the sampling, for every log-probability."""

    def __init__(self, policy: Policy, temperature: float = 1.0):
        super().__init__()
        self.policy, self.model, self.temperature = policy, policy.model, temperature
        self.value = nn.Linear(policy.model.config.get_text_config().hidden_size, 1).to(policy.device)
        nn.init.zeros_(self.value.weight)
        nn.init.zeros_(self.value.bias)
        if not any(p.requires_grad for p in self.model.parameters()):
            raise Refused("The policy has no weight that may be trained; check how its adapter was loaded.")

    def figures(self, sequences: Sequences, value_only: bool = False) -> tuple[Tensor | None, Tensor]:
        """Log-probabilities [N] and values [N]; value n is the one before token n was chosen.

        With value_only the trunk gets no gradient and no log-probabilities are made.
        """
        with autocast(self.policy.device), torch.set_grad_enabled(torch.is_grad_enabled() and not value_only):
            hidden, tokens = packed_hidden(self.model, sequences)
            logits = None if value_only else project(self.model, hidden)
        values = self.value(hidden.float()).squeeze(-1)
        if value_only:
            return None, values
        return sampling_log_probs(self.policy, logits, tokens, self.temperature), values

    def parameter_groups(self, learning_rate: float, value_learning_rate: float) -> list[dict]:
        """Trunk and value head for the optimizer; `peak` is what a schedule starts from."""
        trunk = [p for p in self.model.parameters() if p.requires_grad]
        return [
            {"params": trunk, "lr": learning_rate, "peak": learning_rate},
            {"params": list(self.value.parameters()), "lr": value_learning_rate, "peak": value_learning_rate},
        ]

    def trainable(self) -> Iterable[tuple[str, nn.Parameter]]:
        """Names and weights of everything that learns."""
        return ((name, p) for name, p in self.named_parameters() if p.requires_grad)


def sampling_log_probs(policy: Policy, logits: Tensor, tokens: Tensor, temperature: float) -> Tensor:
    """Log-probabilities [N] of tokens under the distribution they were sampled from.

    The pad id is never sampled, so it gets no mass here either, unless it also ends completions.
    """
    if policy.pad_id not in policy.eos_ids:
        never = torch.zeros(logits.shape[-1], device=logits.device)
        never[policy.pad_id] = -torch.inf
        logits = logits + never
    return selected_log_probs(logits, tokens, temperature)


@torch.no_grad()
def reference_log_probs(reference: Policy, sequences: Sequences, temperature: float) -> Tensor:
    """Log-probabilities [N] of the frozen reference, by the same rule as the actor's."""
    with autocast(reference.device):
        hidden, tokens = packed_hidden(reference.model, sequences)
        logits = project(reference.model, hidden)
    return sampling_log_probs(reference, logits, tokens, temperature)
