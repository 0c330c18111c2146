"""A reward model at work: one number for a completion, from text, with the model's own tokenizer and template.

Saved as AutoModelForSequenceClassification with one label, so other tools can load it, and reward.json
beside it with mean and standard deviation over reference samples. The score is read at the last real
token, found by length. Where pad and end-of-sequence token are one, config.pad_token_id stays unset:
transformers would otherwise take the end for padding and read one token too early.
Only decoders with a linear `score` head; training is in `reward_model.py`.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn
from transformers import AutoModelForSequenceClassification, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from pipeline.groups import fit_length, pad_right
from pipeline.job import Refused
from pipeline.policy import Policy, completion_ids, disable_dropout, micro_batches, prompt_ids, save_policy
from pipeline.precision import attention_for, autocast, pick_device
from pipeline.run_directory import read_json, write_json

CARD = "reward.json"
SCORING_BUDGET = 8192  # padded tokens of one forward without gradients


@dataclass(frozen=True)
class Reward:
    """A scalar model with its tokenizer; mean and std are those of its scores on reference samples."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    device: torch.device
    mean: float = 0.0
    std: float = 1.0
    max_length: int = 512


def new_reward(base: str | Path, seed: int, max_length: int, device: str | torch.device | None = None) -> Reward:
    """A causal language model's trunk under a fresh scalar head, N(0, 1/sqrt(d + 1)) (Ziegler et al. 2019)."""
    reward = _load(base, pick_device(device), max_length)
    weight = reward.model.score.weight
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(weight.shape, generator=generator) / math.sqrt(weight.shape[1] + 1)
    with torch.no_grad():
        weight.copy_(values)
    return reward


def load_reward(path: str | Path, device: str | torch.device | None = None) -> Reward:
    """A saved reward model; mean 0 and std 1 where it has no reward.json. Raises FileNotFoundError, Refused."""
    card = read_json(Path(path) / CARD) or {}
    reward = _load(path, pick_device(device), int(card.get("max_length", 512)))
    return replace(reward, mean=float(card.get("mean", 0.0)), std=float(card.get("std", 1.0)))


def save_reward(reward: Reward, path: Path, facts: dict | None = None) -> None:
    """Write model, tokenizer and reward.json with mean, std, max_length and further facts."""
    save_policy(Policy(reward.model, reward.tokenizer, reward.device), path)
    write_json(path / CARD, {"mean": reward.mean, "std": reward.std, "max_length": reward.max_length, **(facts or {})})


def score_texts(reward: Reward, items: Sequence[tuple[list[dict], str]]) -> list[float]:
    """The raw score of each (messages, completion text), in order."""
    sequences = []
    for messages, text in items:
        whole = prompt_ids(reward.tokenizer, messages), completion_ids(reward.tokenizer, text)
        sequences += fit_length([whole], reward.max_length)
    return score_tokens(reward, sequences)


def normalised(reward: Reward, scores: Sequence[float]) -> list[float]:
    """Scores in standard deviations from the mean of the reference samples."""
    return [(score - reward.mean) / reward.std for score in scores]


@torch.inference_mode()
def score_tokens(reward: Reward, sequences: Sequence[tuple[list[int], list[int]]]) -> list[float]:
    """The raw score of each (prompt ids, completion ids) in the reward model's own ids, in order."""
    found = [0.0] * len(sequences)
    for part in micro_batches([len(p) + len(c) for p, c in sequences], SCORING_BUDGET):
        for i, score in zip(part, forward(reward.model, [sequences[i] for i in part]).tolist(), strict=True):
            found[i] = score
    return found


def forward(model: nn.Module, sequences: Sequence[tuple[list[int], list[int]]]) -> Tensor:
    """Scores [N] at each sequence's last real token, in float32; one forward of the trunk.

    Rows are padded on the right and attention is causal, so no mask is needed.
    """
    device = model.score.weight.device
    ids, lengths = pad_right([[*prompt, *completion] for prompt, completion in sequences], 0, device)
    with autocast(device):
        hidden = model.base_model(input_ids=ids, use_cache=False).last_hidden_state  # [N, T, D]
    last = hidden[torch.arange(len(lengths), device=device), lengths - 1]
    return model.score(last.to(model.score.weight.dtype)).squeeze(-1).float()


def _load(path: str | Path, device: torch.device, max_length: int) -> Reward:
    if Path(path).is_absolute() and not (Path(path) / "config.json").is_file():
        raise FileNotFoundError(f"model: found no config.json in {path}, expected a folder in Hugging Face format")
    try:
        model = AutoModelForSequenceClassification.from_pretrained(
            str(path),
            num_labels=1,
            use_safetensors=True,
            trust_remote_code=False,
            dtype=torch.float32,
            attn_implementation=attention_for(device, min(max_length, 64)),
        ).to(device)
    except ValueError as error:  # no class of this architecture with a classification head
        raise Refused(f"{path} cannot be the base of a reward model: {error}") from error
    if not isinstance(getattr(model, "score", None), nn.Linear):
        raise Refused(f"{path} is a {type(model).__name__}; a reward model needs a decoder with a linear score head")
    tokenizer = AutoTokenizer.from_pretrained(str(path), trust_remote_code=False)
    if tokenizer.eos_token_id is None:
        raise Refused(f"{path} has a tokenizer without an end-of-sequence token; set eos_token in it")
    pad, end = tokenizer.pad_token_id, tokenizer.eos_token_id
    model.config.get_text_config().pad_token_id = None if pad == end else pad
    limit = getattr(model.config.get_text_config(), "max_position_embeddings", None) or max_length
    return Reward(disable_dropout(model).eval(), tokenizer, device, max_length=min(max_length, limit))


def spread(scores: Sequence[float]) -> tuple[float, float]:
    """Mean and standard deviation; the latter is 1 where the scores do not vary, so that nothing is divided by 0."""
    values = torch.tensor(scores, dtype=torch.float64)
    std = float(values.std(unbiased=False))
    return float(values.mean()), std if std > 1e-6 else 1.0
