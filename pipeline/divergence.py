"""How far a policy is from its reference, measured on completions that the policy samples.

KL(policy || reference) per completion, in nats: the mean over samples of log pi - log pi_ref, summed over
tokens (Schulman's k1: unbiased, may come out slightly negative near 0). It trains nothing.
"""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from pipeline.policy import Policy, token_log_probs
from pipeline.roles import Reference, in_use
from pipeline.sampling import Sampled, decode, sample


@dataclass(frozen=True)
class Divergence:
    """The measured KL with its standard error, and the completions it was measured on."""

    log_ratios: torch.Tensor  # log pi - log pi_ref of each completion [N]
    samples: list[Sampled]
    prompts: list[int]  # index of each sample's prompt

    @property
    def kl(self) -> float:
        """In nats per completion."""
        return float(self.log_ratios.mean())

    @property
    def standard_error(self) -> float:
        """Of the KL."""
        return float(self.log_ratios.std()) / math.sqrt(len(self.log_ratios))

    @property
    def eos_rate(self) -> float:
        """Share of the completions that ended by themselves."""
        return sum(s.ended for s in self.samples) / len(self.samples)

    @property
    def mean_length(self) -> float:
        """Mean tokens per completion."""
        return sum(len(s.tokens) for s in self.samples) / len(self.samples)


def sampled_kl(
    policy: Policy,
    reference: Policy | Reference | None,
    prompts: Sequence[list[int]],
    max_new_tokens: int,
    temperature: float = 1.0,
    seed: int | torch.Generator = 0,
    count: int = 256,
) -> Divergence:
    """KL of policy to reference over `count` completions of the prompts (ids), each prompt about as often.

    Without a reference it is the policy with its adapter switched off.
    """
    which = list(itertools.islice(itertools.cycle(range(len(prompts))), count))
    samples = sample(policy, [prompts[i] for i in which], max_new_tokens, temperature, seed)
    sequences = [(prompts[i], s.tokens) for i, s in zip(which, samples, strict=True)]
    if not isinstance(reference, Reference):
        reference = Reference(reference) if reference else Reference(policy, lambda: in_use(policy.model, None))
    own = completion_log_probs(policy, sequences, temperature)
    with reference.meanwhile():
        frozen = completion_log_probs(reference.policy, sequences, temperature)
    return Divergence(own - frozen, samples, which)


@torch.inference_mode()
def completion_log_probs(
    policy: Policy, sequences: Sequence[tuple[list[int], list[int]]], temperature: float = 1.0
) -> torch.Tensor:
    """log pi of each whole completion [N], float64 on the CPU."""
    found = token_log_probs(policy.model, sequences, temperature)
    return torch.stack([part.double().sum() for part in found]).cpu()


def sample_text(policy: Policy, messages: list[dict], completion: Sequence[int]) -> str:
    """One prompt and completion as a person reads them in a run's metrics."""
    return f"{messages[-1]['content']}\n→ {decode(policy.tokenizer, completion)}"
