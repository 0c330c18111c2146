"""One frozen dataclass per kind of run: real defaults, one line of meaning per field.

Forms, the command line and config.json are made from these; nothing here imports torch.
"""

from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields


class InvalidOption(ValueError):
    """An option of a run that does not exist or has a wrong value: name, what was found, what was expected."""

    def __init__(self, name: str, found: object, expected: str):
        self.field, self.found, self.expected = name, str(found)[:80], expected
        super().__init__(f"{name}: found {self.found}, expected {expected}")


def option(default, meaning: str, low=None, high=None):
    """A field with its meaning and, for numbers, its allowed range."""
    return field(default=default, metadata={"meaning": meaning, "low": low, "high": high})


@dataclass(frozen=True)
class StarterConfig:
    """Train the small policy that stands in when no other model is configured."""

    seed: int = option(0, "seed of corpus, weights and order", 0)
    steps: int = option(560, "optimizer steps", 1)
    tokens: int = option(1024, "tokens per step, about", 64)
    width: int = option(256, "hidden size", 32)
    layers: int = option(2, "decoder layers", 1)
    heads: int = option(8, "attention heads", 1)
    documents: int = option(20_000, "texts in the generated corpus", 100)
    learning_rate: float = option(0.015, "Muon's learning rate", 0.0)


@dataclass(frozen=True)
class GenerateConfig:
    """Write completions with one policy, or with two for a comparison."""

    seed: int = option(0, "seed of sampling", 0)
    k: int = option(4, "completions per prompt; halved between policy and baseline in a comparison", 2, 9)
    prompts: int = option(0, "how many prompts; 0 = all. A comparison takes eval prompts first, 150 unless told", 0)
    temperature: float = option(1.0, "sampling temperature", 0.01, 5.0)
    max_new_tokens: int = option(64, "longest completion, in tokens", 1, 8192)
    batch_size: int = option(64, "completions sampled together", 1)


@dataclass(frozen=True)
class RewardConfig:
    """Train a reward model on groups of ranked completions."""

    seed: int = option(0, "seed of the head, the order and the shuffles", 0)
    learning_rate: float = option(1e-3, "AdamW's peak learning rate", 0.0)
    epochs: float = option(3.0, "passes over the groups", 0.01)
    groups_per_step: int = option(4, "prompts per optimizer step", 1)
    max_length: int = option(512, "longest prompt and completion together, in tokens", 8)
    centering: float = option(0.01, "weight of the mean squared reward, keeps rewards near 0", 0.0)


@dataclass(frozen=True)
class DPOConfig:
    """Train a policy directly on groups of ranked completions (Rafailov et al. 2023)."""

    seed: int = option(0, "seed of order and shuffles", 0)
    beta: float = option(0.1, "strength of the tie to the reference", 1e-4)
    learning_rate: float = option(2e-4, "AdamW's peak learning rate", 0.0)
    epochs: float = option(3.0, "passes over the groups", 0.01)
    groups_per_step: int = option(16, "prompts per optimizer step", 1)
    max_length: int = option(512, "longest prompt and completion together, in tokens", 8)


@dataclass(frozen=True)
class PPOConfig:
    """Train a policy against a reward model by proximal policy optimisation."""

    seed: int = option(0, "seed of prompts, sampling and shuffles", 0)
    episodes: int = option(3840, "completions sampled in all", 1)
    batch_size: int = option(128, "completions per rollout", 1)
    epochs: int = option(4, "passes over each rollout", 1)
    minibatches: int = option(2, "optimizer steps per pass", 1)
    learning_rate: float = option(1e-4, "AdamW's peak learning rate of the policy, linear to 0", 0.0)
    value_learning_rate: float = option(6e-4, "AdamW's peak learning rate of the value head", 0.0)
    kl_coefficient: float = option(0.1, "weight of the KL term at the start and at least", 0.0)
    kl_target: float = option(5.0, "nats per completion above which the KL coefficient rises; 0 = fixed", 0.0)
    kl_stop: float = option(10.0, "end early above this many nats per completion; 0 = never", 0.0)
    gamma: float = option(1.0, "discount", 0.0, 1.0)
    gae_lambda: float = option(0.95, "lambda of generalised advantage estimation", 0.0, 1.0)
    clip: float = option(0.2, "clip range of the probability ratio", 0.0)
    value_clip: float = option(0.2, "clip range of the value", 0.0)
    value_coefficient: float = option(0.1, "weight of the value loss", 0.0)
    missing_eos_penalty: float = option(1.5, "taken off the reward of a completion that did not end", 0.0)
    max_grad_norm: float = option(1.0, "gradient clipping", 0.0)
    critic_warmup: int = option(1, "first rollouts that train the value head only", 0)
    temperature: float = option(1.0, "sampling temperature", 0.01, 5.0)
    max_new_tokens: int = option(64, "longest completion, in tokens", 1, 8192)
    checkpoint_every: int = option(10, "rollouts between checkpoints", 1)


@dataclass(frozen=True)
class EvaluateConfig:
    """Sample from a policy on eval prompts and measure it against a baseline, without people."""

    seed: int = option(0, "seed of sampling", 0)
    prompts: int = option(128, "how many prompts, eval prompts first", 1)
    temperature: float = option(1.0, "sampling temperature", 0.01, 5.0)
    max_new_tokens: int = option(64, "longest completion, in tokens", 1, 8192)


CONFIGS = {
    "starter": StarterConfig,
    "generate": GenerateConfig,
    "reward": RewardConfig,
    "dpo": DPOConfig,
    "ppo": PPOConfig,
    "evaluate": EvaluateConfig,
}
MODULES = {
    "starter": "pipeline.starter",
    "generate": "pipeline.generation",
    "reward": "pipeline.reward_model",
    "dpo": "pipeline.dpo",
    "ppo": "pipeline.ppo",
    "evaluate": "pipeline.evaluation",
}


def make_config(kind: str, options: Mapping[str, object] | None = None):
    """The config of a kind with the given options; text values become the field's type.

    Raises InvalidOption for an unknown kind or option and for a value of the wrong type or range.
    """
    if kind not in CONFIGS:
        raise InvalidOption("kind", kind, "one of " + ", ".join(CONFIGS))
    known = {f.name: f for f in fields(CONFIGS[kind])}
    values = {}
    for name, value in (options or {}).items():
        if name not in known:
            raise InvalidOption(name, value, f"an option of {kind}: " + ", ".join(known))
        values[name] = _parsed(known[name], value)
    return CONFIGS[kind](**values)


def options_of(config) -> dict:
    """The config as plain values for config.json."""
    return asdict(config)


def _parsed(spec, value):
    kind = int if isinstance(spec.default, int) else float
    assert spec.default is not MISSING
    try:
        number = kind(value)
        exact = kind is float or float(value) == number
    except (TypeError, ValueError):
        exact = False
    if not exact:
        raise InvalidOption(spec.name, value, "a whole number" if kind is int else "a number")
    low, high = spec.metadata["low"], spec.metadata["high"]
    if (low is not None and number < low) or (high is not None and number > high) or number != number:
        raise InvalidOption(spec.name, value, f"a number from {low} to {'any' if high is None else high}")
    return number
