"""A reward model at work: one number for a completion, from text, with the model's own tokenizer and template.

Any sequence classification model with one label, or any causal model under a fresh head. Saved as
AutoModelForSequenceClassification, or as an adapter beside its base, so other tools can load it, with
reward.json: mean and standard deviation over reference samples. The score of a decoder is read at the last real
token, found by length. Where pad and end-of-sequence token are one, config.pad_token_id stays unset:
transformers would otherwise take the end for padding and read one token too early. Encoders (BERT and its kin)
score the whole text by their own head. Training is in `reward_model.py`.
"""

import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    BitsAndBytesConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from pipeline.adapters import head_name, load_adapter
from pipeline.frozen_layers import KeptStates
from pipeline.groups import fit_length, pad_right
from pipeline.job import Refused
from pipeline.model_files import base_of
from pipeline.packing import (
    APART,
    Places,
    Row,
    Sharing,
    last_positions,
    predicting_positions,
    row_batches,
    rows_of,
    sharing,
    states_at,
)
from pipeline.policy import Policy, completion_ids, loading, micro_batches, placed, prompt_ids, save_policy
from pipeline.precision import autocast, pick_device
from pipeline.run_directory import read_json, write_json

CARD = "reward.json"
SCORING_BUDGET = 8192  # padded tokens of one forward without gradients
FRESH = ("score.weight", "classifier.weight", "classifier.out_proj.weight")  # heads a causal or masked model lacks


@dataclass(frozen=True)
class Reward:
    """A scalar model with its tokenizer; mean and std are those of its scores on reference samples."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    device: torch.device
    mean: float = 0.0
    std: float = 1.0
    max_length: int = 512


# ---- load and save
def new_reward(
    base: str | Path,
    seed: int,
    max_length: int,
    device: str | torch.device | None = None,
    quantization: BitsAndBytesConfig | None = None,
) -> Reward:
    """A reward model to train: a model's trunk under a fresh head, N(0, 1/sqrt(d + 1)) (Ziegler et al. 2019, 2.1).

    A base that is a reward model already keeps the head it has learned.
    """
    reward, fresh = _load(base, pick_device(device), max_length, quantization)
    generator = torch.Generator().manual_seed(seed)
    for name in fresh:
        module = reward.model.get_submodule(name.rpartition(".")[0])
        values = torch.randn(module.weight.shape, generator=generator) / math.sqrt(module.weight.shape[1] + 1)
        with torch.no_grad():
            module.weight.copy_(values)
            if module.bias is not None:
                module.bias.zero_()
    return reward


def load_reward(path: str | Path, device: str | torch.device | None = None) -> Reward:
    """A saved reward model; mean 0 and std 1 where it has no reward.json. Raises FileNotFoundError, Refused."""
    card = read_json(Path(path) / CARD) or {}
    reward, fresh = _load(path, pick_device(device), int(card.get("max_length", 512)))
    if fresh:
        raise Refused(f"{path} has no trained reward head (no {fresh[0]}); train a reward model on it first")
    return replace(reward, mean=float(card.get("mean", 0.0)), std=float(card.get("std", 1.0)))


def save_reward(reward: Reward, path: Path, facts: dict | None = None) -> None:
    """Write model, tokenizer and reward.json with mean, std, max_length and further facts."""
    save_policy(Policy(reward.model, reward.tokenizer, reward.device), path)
    write_json(path / CARD, {"mean": reward.mean, "std": reward.std, "max_length": reward.max_length, **(facts or {})})


def _load(
    path: str | Path, device: torch.device, max_length: int, quantization: BitsAndBytesConfig | None = None
) -> tuple[Reward, list[str]]:
    """The model with one label, and the names of head weights that the folder did not hold."""
    base = base_of(path)
    folder = Path(base or path)
    if folder.is_absolute() and not (folder / "config.json").is_file():
        raise FileNotFoundError(f"model: found no config.json in {folder}, expected a folder in Hugging Face format")
    model, fresh = _weights(str(folder) if base else path, device, max_length, quantization)
    brought = load_adapter(model, path) if base else set()
    fresh = [name for name in fresh if name not in brought]
    tokenizer = AutoTokenizer.from_pretrained(str(path), trust_remote_code=False)
    if tokenizer.eos_token_id is None:
        tokenizer.eos_token = tokenizer.sep_token  # encoders end their texts with it
    if tokenizer.eos_token_id is None:
        raise Refused(f"{path} has a tokenizer without an end-of-sequence token; set eos_token in it")
    pad, end = tokenizer.pad_token_id, tokenizer.eos_token_id
    model.config.get_text_config().pad_token_id = None if pad == end else pad
    limit = getattr(model.config.get_text_config(), "max_position_embeddings", None) or max_length
    return Reward(model.eval(), tokenizer, device, max_length=min(max_length, limit)), fresh


def _weights(
    path: str | Path, device: torch.device, max_length: int, quantization
) -> tuple[PreTrainedModel, list[str]]:
    options = loading(device, min(max_length, 64), torch.float32, quantization)
    try:
        model, found = AutoModelForSequenceClassification.from_pretrained(
            str(path), num_labels=1, output_loading_info=True, **options
        )
    except (ValueError, RuntimeError) as error:  # no such head for this architecture, or a head of several labels
        raise Refused(f"{path} cannot be the base of a reward model: {str(error)[:300]}") from error
    if head_name(model) is None:
        raise Refused(f"{path} is a {type(model).__name__}; a reward model needs a head named score or classifier")
    fresh = [name for name in FRESH if name in found["missing_keys"]]
    return placed(model, device), fresh


# ---- score
def score_texts(reward: Reward, items: Sequence[tuple[list[dict], str]], kept: KeptStates | None = None) -> list[float]:
    """The raw score of each (messages, completion text), in order; `kept` as in `forward`."""
    sequences = []
    for messages, text in items:
        whole = prompt_ids(reward.tokenizer, messages), completion_ids(reward.tokenizer, text)
        sequences += fit_length([whole], reward.max_length)
    return score_tokens(reward, sequences, kept)


@dataclass
class TextScorer:
    """Raw scores of (messages, completion text) by a reward model, brought up `meanwhile`; `kept` as in `forward`."""

    reward: Reward
    meanwhile: Callable[[], AbstractContextManager] = nullcontext
    kept: KeptStates | None = None

    def __call__(self, items: Sequence[tuple[list[dict], str]]) -> list[float]:
        """One number each, in order."""
        with self.meanwhile():
            return score_texts(self.reward, items, self.kept)


def normalised(reward: Reward, scores: Sequence[float]) -> list[float]:
    """Scores in standard deviations from the mean of the reference samples."""
    return [(score - reward.mean) / reward.std for score in scores]


@torch.no_grad()
def score_tokens(
    reward: Reward, sequences: Sequence[tuple[list[int], list[int]]], kept: KeptStates | None = None
) -> list[float]:
    """The raw score of each (prompt ids, completion ids) in the reward model's own ids, in order."""
    return forward(reward.model, sequences, SCORING_BUDGET, kept=kept).tolist() if sequences else []


def forward(
    model: nn.Module,
    sequences: Sequence[tuple[list[int], list[int]]],
    token_budget: int = SCORING_BUDGET,
    share: bool = True,
    kept: KeptStates | None = None,
) -> Tensor:
    """Scores [N] at each sequence's last real token, in float32 and in order.

    Completions of one prompt share it where the model can and `share` allows it; batches keep a token budget. `kept`
    takes the states that predict the completions' tokens, for a critic of the same body (not of an encoder).
    """
    head = getattr(model, "score", None)
    if not isinstance(head, nn.Linear):
        return _encoded(model, sequences, token_budget)
    device, body = head.weight.device, model.base_model
    how = sharing(body) if share else APART
    parts, members = [], []
    for batch in _batches(model, sequences, how, token_budget):
        with autocast(device):
            states = states_at(body, batch, device, last_positions if kept is None else _both, how)  # [N, D]
        if kept is not None:
            states = _without_kept(kept, batch, states)
        parts.append(head(states.to(head.weight.dtype)).squeeze(-1).float())
        members += [member for row in batch for member in row.members]
    return torch.cat(parts)[torch.tensor(members, device=device).argsort()]


def _both(rows: Sequence[Row], places: Places) -> list[int]:
    return predicting_positions(rows, places) + last_positions(rows, places)


def _without_kept(kept: KeptStates, rows: Sequence[Row], states: Tensor) -> Tensor:
    """The states [N, D] at last tokens; what is before them is kept by prompt and completion.

    The same completion without its last token, the end that a text always gets here, is known by that too.
    """
    names = [(tuple(row.prompt), tuple(completion)) for row in rows for completion in row.completions]
    *parts, last = states.split([*(len(completion) for _, completion in names), len(names)])
    kept.keep([(prompt, completion[:-1]) for prompt, completion in names], [part[:-1] for part in parts])
    kept.keep(names, parts)
    return last


def forwards(
    model: nn.Module, sequences: Sequence[tuple[list[int], list[int]]], token_budget: int = SCORING_BUDGET
) -> int:
    """How often `forward` runs the model's body for these sequences."""
    if not isinstance(getattr(model, "score", None), nn.Linear):
        return len(micro_batches([len(prompt) + len(completion) for prompt, completion in sequences], token_budget))
    return len(_batches(model, sequences, sharing(model.base_model), token_budget))


def _batches(
    model: nn.Module, sequences: Sequence[tuple[list[int], list[int]]], how: Sharing, token_budget: int
) -> list[list[Row]]:
    return row_batches(rows_of(sequences, how, model.config.get_text_config().hidden_size), token_budget)


def reward_sharing(model: nn.Module) -> Sharing:
    """Whether this reward model shares prompts, and if not why."""
    if isinstance(getattr(model, "score", None), nn.Linear):
        return sharing(model.base_model)
    return Sharing(0, f"{type(model).__name__} reads prompt and completion together, so prompts were not shared.")


def _encoded(model: nn.Module, sequences: Sequence[tuple[list[int], list[int]]], token_budget: int) -> Tensor:
    """The model's own logits [N]: for encoders, whose tokens see padding unless a mask says where it is."""
    device = next(model.parameters()).device
    pad = model.config.get_text_config().pad_token_id or 0
    whole = [[*prompt, *completion] for prompt, completion in sequences]
    found: list[Tensor | None] = [None] * len(whole)
    for part in micro_batches([len(tokens) for tokens in whole], token_budget):
        ids, lengths = pad_right([whole[i] for i in part], pad, device)
        mask = (torch.arange(ids.shape[1], device=device) < lengths[:, None]).long()
        with autocast(device):
            logits = model(input_ids=ids, attention_mask=mask).logits.squeeze(-1).float()
        for i, score in zip(part, logits, strict=True):
            found[i] = score
    return torch.stack(found)


def spread(scores: Sequence[float]) -> tuple[float, float]:
    """Mean and standard deviation; the latter is 1 where the scores do not vary, so that nothing is divided by 0."""
    values = torch.tensor(scores, dtype=torch.float64)
    std = float(values.std(unbiased=False))
    return float(values.mean()), std if std > 1e-6 else 1.0
