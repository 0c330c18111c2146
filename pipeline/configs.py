"""One frozen dataclass per kind of run: real defaults, one line of meaning per field.

Forms, the command line and config.json are made from these; nothing here imports torch.
"""

import re
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields


class InvalidOption(ValueError):
    """An option of a run that does not exist or has a wrong value: name, what was found, what was expected."""

    def __init__(self, name: str, found: object, expected: str):
        self.field, self.found, self.expected = name, str(found)[:80], expected
        super().__init__(f"{name}: found {self.found}, expected {expected}")


def option(default, meaning: str, low=None, high=None, choices: tuple[str, ...] = ()):
    """A field with its meaning: a number with its allowed range, one word of `choices`, or yes or no (a bool)."""
    return field(default=default, metadata={"meaning": meaning, "low": low, "high": high, "choices": choices})


def text(default: str, meaning: str, pattern: str, expected: str):
    """A field of words: what fits the regular expression, told as `expected`; the default always fits."""
    return field(
        default=default, metadata={"meaning": meaning, "choices": (), "pattern": pattern, "expected": expected}
    )


REWARD_LOSSES = ("bradley-terry", "plackett-luce")
POLICY_LOSSES = ("dpo", "ipo", "cdpo", "robust", "hinge", "simpo", "orpo", "plackett-luce")
QUANTIZED = ("none", "nf4")
REWARD_SCALES = ("reference", "running", "demonstrations", "none")
MISSING_EOS = ("subtract", "replace")
CRITICS = ("auto", "shared", "separate", "reward", "frozen")
SAMPLERS = ("auto", "own", "continuous", "vllm")
RECOMPUTED = "keep only each layer's input and make the rest anew in the backward: less memory, one more forward"
HUB_ID = r"\w[\w.-]*/[\w.-]+"
YES, NO = ("yes", "true", "1", "on"), ("no", "false", "0", "off")


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
class SFTConfig:
    """Train a policy on demonstrations: people's own, edited or imported answers."""

    seed: int = option(0, "seed of order and shuffles", 0)
    learning_rate: float = option(2e-4, "AdamW's peak learning rate, linear to 0", 0.0)
    epochs: float = option(3.0, "passes over the demonstrations", 0.01)
    batch_size: int = option(8, "demonstrations per optimizer step", 1)
    max_length: int = option(512, "longest prompt and completion together, in tokens", 8)
    early_stop: bool = option(True, "keep the pass with the lowest held-out loss, and end after two worse ones")
    lora_rank: int = option(0, "rank of a LoRA adapter to train instead of all weights; 0 = all weights", 0, 1024)
    lora_alpha: float = option(16.0, "the adapter's scale, divided by its rank", 0.001)
    lora_dropout: float = option(0.0, "share of the adapter's inputs dropped while training", 0.0, 0.9)
    quantize: str = option("none", "keep the frozen weights in 4 bits; CUDA and lora_rank only", choices=QUANTIZED)
    gradient_checkpointing: bool = option(False, RECOMPUTED)


@dataclass(frozen=True)
class RewardConfig:
    """Train a reward model on groups of ranked completions."""

    seed: int = option(0, "seed of the head, the order and the shuffles", 0)
    learning_rate: float = option(1e-3, "AdamW's peak learning rate; 1e-3 falls above 100 prompts, to 3e-4", 0.0)
    epochs: float = option(1.0, "passes over the groups; few groups get more than 1", 0.01)
    groups_per_step: int = option(4, "prompts per optimizer step", 1)
    max_length: int = option(512, "longest prompt and completion together, in tokens", 8)
    loss: str = option("bradley-terry", "likelihood of pairs, or of whole rankings", choices=REWARD_LOSSES)
    margin_scale: float = option(1 / 3, "score lead that one step of a graded margin asks for; 0 = none", 0.0)
    centering: float = option(0.01, "weight of the mean squared reward, keeps rewards near 0", 0.0)
    early_stop: bool = option(True, "keep the pass with the lowest held-out loss, and end after two worse ones")
    lora_rank: int = option(0, "rank of a LoRA adapter to train instead of all weights; 0 = all weights", 0, 1024)
    lora_alpha: float = option(16.0, "the adapter's scale, divided by its rank", 0.001)
    lora_dropout: float = option(0.0, "share of the adapter's inputs dropped while training", 0.0, 0.9)
    quantize: str = option("none", "keep the frozen weights in 4 bits; CUDA and lora_rank only", choices=QUANTIZED)
    gradient_checkpointing: bool = option(False, RECOMPUTED)


@dataclass(frozen=True)
class DPOConfig:
    """Train a policy directly on groups of ranked completions (Rafailov et al. 2023)."""

    seed: int = option(0, "seed of order and shuffles", 0)
    beta: float = option(0.1, "strength of the tie to the reference", 1e-4)
    learning_rate: float = option(3e-4, "AdamW's peak learning rate", 0.0)
    epochs: float = option(3.0, "passes over the groups", 0.01)
    groups_per_step: int = option(8, "prompts per optimizer step", 1)
    max_length: int = option(512, "longest prompt and completion together, in tokens", 8)
    loss: str = option("dpo", "which preference loss; simpo and orpo need no reference", choices=POLICY_LOSSES)
    label_smoothing: float = option(0.1, "cdpo, robust: share of comparisons taken to be wrong", 0.0, 0.49)
    target_margin: float = option(0.5, "simpo: lead of the better completion that is asked for", 0.0)
    lora_rank: int = option(0, "rank of a LoRA adapter to train instead of all weights; 0 = all weights", 0, 1024)
    lora_alpha: float = option(16.0, "the adapter's scale, divided by its rank", 0.001)
    lora_dropout: float = option(0.0, "share of the adapter's inputs dropped while training", 0.0, 0.9)
    quantize: str = option("none", "keep the frozen weights in 4 bits; CUDA and lora_rank only", choices=QUANTIZED)
    gradient_checkpointing: bool = option(False, RECOMPUTED)


@dataclass(frozen=True)
class PPOConfig:
    """Train a policy against a reward model by proximal policy optimisation."""

    seed: int = option(0, "seed of prompts, sampling and shuffles", 0)
    episodes: int = option(3840, "completions sampled in all", 1)
    steps: int = option(0, "rollouts in all, instead of episodes; 0 = as many as the episodes take", 0, 20_000)
    batch_size: int = option(128, "completions per rollout", 1)
    epochs: int = option(4, "passes over each rollout", 1)
    minibatches: int = option(2, "optimizer steps per pass", 1)
    micro_batch_tokens: int = option(2048, "tokens of one forward and backward; gradients add up to a minibatch", 1)
    learning_rate: float = option(1e-4, "AdamW's peak learning rate of the policy, linear to 0", 0.0)
    value_learning_rate: float = option(3e-3, "AdamW's peak learning rate of the value head", 0.0)
    lr_warmup: int = option(0, "first rollouts over which the learning rates rise to their peak", 0)
    kl_coefficient: float = option(0.1, "weight of the KL term at the start, and twice the least it adapts to", 0.0)
    kl_target: float = option(5.0, "nats per completion above which the KL coefficient rises; 0 = fixed", 0.0)
    kl_horizon: int = option(0, "episodes over which the KL coefficient adapts; 0 = two rollouts", 0)
    kl_stop: float = option(10.0, "end early above this many nats per completion; 0 = never", 0.0)
    target_kl: float = option(0.0, "end the passes over a rollout where policy/approxkl passes this; 0 = never", 0.0)
    score_stop: float = option(0.0, "end when the mean score of a rollout reaches this; 0 = never")
    gamma: float = option(1.0, "discount", 0.0, 1.0)
    gae_lambda: float = option(0.95, "lambda of generalised advantage estimation", 0.0, 1.0)
    value_lambda: float = option(0.0, "lambda of the returns that the critic learns; 0 = gae_lambda", 0.0, 1.0)
    clip: float = option(0.2, "clip range of the probability ratio", 0.0)
    dual_clip: float = option(0.0, "bound of the loss where the advantage is negative, about 3; 0 = none", 0.0)
    value_clip: float = option(0.2, "clip range of the value", 0.0)
    value_coefficient: float = option(0.1, "weight of the value loss", 0.0)
    whiten_rewards: bool = option(False, "divide rewards by their deviation in each rollout, keeping their mean")
    whiten_advantages: bool = option(True, "bring advantages to mean 0 and variance 1 in each rollout")
    reward_normalisation: str = option("reference", "what scores are measured in", choices=REWARD_SCALES)
    reward_clip: float = option(0.0, "bound of a normalised score on both sides; 0 = none", 0.0)
    missing_eos_penalty: float = option(1.5, "taken off the reward of a completion that did not end", 0.0)
    missing_eos: str = option("subtract", "take the penalty off the score, or let it replace it", choices=MISSING_EOS)
    max_grad_norm: float = option(1.0, "gradient clipping; 0 = none", 0.0)
    critic: str = option(
        "auto",
        "a head on the policy, a trunk of its own, the reward model, or a head on it frozen; auto = frozen if it fits",
        choices=CRITICS,
    )
    critic_warmup: int = option(1, "first rollouts that train the critic only", 0)
    sft_coefficient: float = option(0.0, "weight of the loss on demonstrations mixed into every step", 0.0)
    sft_batch_size: int = option(8, "demonstrations per optimizer step", 1)
    temperature: float = option(1.0, "sampling temperature", 0.01, 5.0)
    max_new_tokens: int = option(64, "longest completion, in tokens", 1, 8192)
    sampler: str = option("auto", "what writes the completions; auto = the fastest that is here", choices=SAMPLERS)
    importance_cap: float = option(2.0, "bound of the correction for a sampler with other arithmetic; 0 = none", 0.0)
    sample_every: int = option(5, "rollouts between sample texts; 0 = never", 0)
    sample_prompts: int = option(3, "prompts that sample texts are written for", 1, 20)
    checkpoint_every: int = option(10, "rollouts between checkpoints", 1)
    lora_rank: int = option(0, "rank of a LoRA adapter to train instead of all weights; 0 = all weights", 0, 1024)
    lora_alpha: float = option(16.0, "the adapter's scale, divided by its rank", 0.001)
    trained_layers: int = option(0, "train the last so many layers only, the others serve all passes; 0 = all", 0)
    quantize: str = option("none", "keep the frozen weights in 4 bits; CUDA and lora_rank only", choices=QUANTIZED)
    gradient_checkpointing: bool = option(False, RECOMPUTED)


@dataclass(frozen=True)
class EvaluateConfig:
    """Sample from a policy on eval prompts and measure it against a baseline, without people."""

    seed: int = option(0, "seed of sampling", 0)
    prompts: int = option(128, "how many prompts, eval prompts first", 1)
    temperature: float = option(1.0, "sampling temperature", 0.01, 5.0)
    max_new_tokens: int = option(64, "longest completion, in tokens", 1, 8192)


@dataclass(frozen=True)
class ScoreConfig:
    """Score a campaign's completions with a reward model."""

    completions: int = option(0, "how many completions, by prompt; 0 = all", 0)


@dataclass(frozen=True)
class ExportConfig:
    """Write a model version as a folder for other programs, and upload it where asked."""

    merged: bool = option(False, "fold an adapter into its base, so that the folder stands alone")
    push_to: str = text("", "Hub repository to upload to, owner/name; empty = none", HUB_ID, "a Hub id, owner/name")
    private: bool = option(True, "make the repository private where it is new")


CONFIGS = {
    "starter": StarterConfig,
    "generate": GenerateConfig,
    "sft": SFTConfig,
    "reward": RewardConfig,
    "dpo": DPOConfig,
    "ppo": PPOConfig,
    "evaluate": EvaluateConfig,
    "score": ScoreConfig,
    "export": ExportConfig,
}
MODULES = {
    "starter": "pipeline.starter",
    "generate": "pipeline.generation",
    "sft": "pipeline.sft",
    "reward": "pipeline.reward_model",
    "dpo": "pipeline.dpo",
    "ppo": "pipeline.ppo",
    "evaluate": "pipeline.evaluation",
    "score": "pipeline.scoring",
    "export": "pipeline.model_export",
}


def make_config(kind: str, options: Mapping[str, object] | None = None):
    """The config of a kind with the given options; text values become the field's type.

    Raises InvalidOption for an unknown kind or option and for a value of the wrong type or range.
    """
    if kind not in CONFIGS:
        raise InvalidOption("kind", kind, "one of " + ", ".join(CONFIGS))
    return parsed(CONFIGS[kind], options or {}, kind)


def parsed(config: type, given: Mapping[str, object], of: str):
    """A dataclass of options from plain values, each made the type of its field. Raises InvalidOption."""
    known = {f.name: f for f in fields(config)}
    values = {}
    for name, value in given.items():
        if name not in known:
            raise InvalidOption(name, value, f"an option of {of}: " + ", ".join(known))
        values[name] = _parsed(known[name], value)
    return config(**values)


def options_of(config) -> dict:
    """The config as plain values for config.json."""
    return asdict(config)


def _parsed(spec, value):
    assert spec.default is not MISSING
    if isinstance(spec.default, bool):
        return _yes_or_no(spec, value)
    if isinstance(spec.default, str):
        return _words(spec, value) if "pattern" in spec.metadata else _choice(spec, value)
    return _number(spec, value)


def _yes_or_no(spec, value) -> bool:
    said = str(value).strip().lower()
    if said not in YES + NO:
        raise InvalidOption(spec.name, value, "yes or no")
    return said in YES


def _choice(spec, value) -> str:
    if spec.metadata["choices"] and value not in spec.metadata["choices"]:
        raise InvalidOption(spec.name, value, "one of " + ", ".join(spec.metadata["choices"]))
    return str(value)


def _words(spec, value) -> str:
    said = str(value).strip()
    if said != spec.default and not re.fullmatch(spec.metadata["pattern"], said):
        raise InvalidOption(spec.name, value, spec.metadata["expected"])
    return said


def _number(spec, value) -> int | float:
    kind = int if isinstance(spec.default, int) else float
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
