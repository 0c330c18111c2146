"""An 8-armed bandit as a language model: one prompt, one token, eight tokens that may be sampled.

The vocabulary is a pad id, which is never sampled, and the eight arms; the first arm is also the end-of-sequence id.
Everything about the best policy is known by enumeration.
"""

import torch
from tokenizers import Tokenizer, models
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from pipeline.policy import Policy

ARMS = 8
PROMPT = [2]
REWARDS = torch.tensor([0.3, -0.5, 1.0, 0.2, -1.0, 0.7, 0.0, 0.5], dtype=torch.float64)


def bandit_policy(seed: int = 0) -> Policy:
    """A random Llama of one layer whose next-token distribution over the arms is far from even."""
    vocabulary = {"<pad>": 0} | {f"arm{i}": 1 + i for i in range(ARMS)}
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(models.WordLevel(vocabulary, unk_token="<pad>")),
        pad_token="<pad>",
        eos_token="arm0",
    )
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=1 + ARMS,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=16,
        tie_word_embeddings=False,
        pad_token_id=0,
        bos_token_id=None,
        eos_token_id=1,
    )
    model = LlamaForCausalLM(config)
    with torch.no_grad():
        model.lm_head.weight.mul_(12)
    return Policy(model.eval(), tokenizer, torch.device("cpu"))


def arm_of(text: str) -> int:
    """Which arm a completion's text is; the end-of-sequence arm has none."""
    return int(text.removeprefix("arm") or 0)


def score(items) -> list[float]:
    """The reward of each completion."""
    return [float(REWARDS[arm_of(text)]) for _, text in items]


@torch.no_grad()
def distribution(policy: Policy) -> torch.Tensor:
    """The probability of each arm, exactly [8]."""
    logits = policy.model(input_ids=torch.tensor([PROMPT])).logits[0, -1].double()
    return torch.softmax(logits[1:], -1)


def best(reference: torch.Tensor, beta: float) -> torch.Tensor:
    """pi*, in proportion to pi_ref exp(r / beta): the policy that E[r] - beta KL is highest for."""
    return torch.softmax(reference.log() + REWARDS / beta, -1)


def divergence(policy: torch.Tensor, reference: torch.Tensor) -> float:
    """KL(policy || reference) in nats."""
    return float(torch.special.xlogy(policy, policy / reference).sum())


def variation(one: torch.Tensor, other: torch.Tensor) -> float:
    """Total variation distance, 0 to 1."""
    return float((one - other).abs().sum() / 2)


def gain(policy: torch.Tensor, reference: torch.Tensor) -> float:
    """Expected reward above the reference's."""
    return float((policy - reference) @ REWARDS)


def most_gain(kl: float, reference: torch.Tensor) -> float:
    """The highest gain that any policy at this KL to the reference has: that of the pi* that lies there."""
    low, high = 1e-4, 1e4  # of beta; the KL falls as it rises
    for _ in range(200):
        middle = (low * high) ** 0.5
        low, high = (middle, high) if divergence(best(reference, middle), reference) > kl else (low, middle)
    return gain(best(reference, high), reference)
