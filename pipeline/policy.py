"""A causal language model with its tokenizer: load, save, render prompts, score completions.

Takes any model in Hugging Face format, from a local folder or the Hub (HF_HUB_OFFLINE is honoured), as
safetensors only and without remote code. Sampling is in `sampling.py`, training in the job modules.

Log-probabilities are in `log_probs.py`; they are importable from here too.
"""

import hashlib
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from jinja2 import TemplateError
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    BitsAndBytesConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils.logging import disable_progress_bar

from pipeline.adapters import has_adapter, load_adapter, made_trainable, merge, save_adapter
from pipeline.casting import cast_once
from pipeline.log_probs import (
    MOST_LOGITS,
    TOKEN_BUDGET,
    micro_batches,
    packed_hidden,
    project,
    projected_log_probs,
    selected_log_probs,
    token_log_probs,
)
from pipeline.model_files import base_of
from pipeline.packing import PromptCompletion
from pipeline.precision import attention_for, autocast, pick_device

__all__ = [
    "MOST_LOGITS",
    "TOKEN_BUDGET",
    "Policy",
    "PromptCompletion",
    "UnsupportedModel",
    "autocast",
    "completion_ids",
    "disable_dropout",
    "load_policy",
    "loading",
    "merged_policy",
    "micro_batches",
    "packed_hidden",
    "placed",
    "project",
    "projected_log_probs",
    "prompt_ids",
    "save_policy",
    "selected_log_probs",
    "token_log_probs",
    "weights_digest",
    "with_tokenizer",
]

PLAIN_TURN = "{role}:\n{content}\n\n"
PLAIN_OPENING = "Assistant:\n"  # ends in a newline so that completions need no leading space


class UnsupportedModel(ValueError):
    """A model that can be loaded but not scored here: says what was found and what is expected."""


@dataclass(frozen=True)
class Policy:
    """A causal language model on a device, and the tokenizer that belongs to it."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    device: torch.device

    @property
    def eos_ids(self) -> tuple[int, ...]:
        """Every id that ends a completion: the generation config's and the tokenizer's, never empty."""
        listed = getattr(self.model.generation_config, "eos_token_id", None)
        listed = listed if isinstance(listed, list) else [listed]
        return tuple(sorted({i for i in [*listed, self.tokenizer.eos_token_id] if i is not None}))

    @property
    def pad_id(self) -> int:
        """The id that fills rows; may equal an end-of-sequence id, which nothing here minds."""
        pad = self.tokenizer.pad_token_id
        return self.eos_ids[0] if pad is None else pad

    @property
    def max_length(self) -> int:
        """The longest prompt and completion together that the model has positions for."""
        return getattr(self.model.config.get_text_config(), "max_position_embeddings", None) or 1_000_000


# ---- load and save


def load_policy(
    path: str | Path,
    device: str | torch.device | None = None,
    length: int = 64,
    dtype: torch.dtype = torch.float32,
    quantization: BitsAndBytesConfig | None = None,
) -> Policy:
    """The policy at a folder or Hub id, dropout off, on CUDA where there is one; an adapter with its base under it.

    length is the usual prompt + completion length in tokens; it chooses the attention (`precision.py`).
    dtype is the weights' own; float32 is right for training, `autocast` lowers the products. quantization
    keeps the base in 4 bits (`adapters.quantization`).
    Raises FileNotFoundError for a missing folder, UnsupportedModel for a model that cannot be scored.
    """
    base = base_of(path)
    _require_folder(base or path)
    disable_progress_bar()  # a job's log is a file
    device = pick_device(device)
    options = loading(device, length, dtype, quantization)
    model = placed(AutoModelForCausalLM.from_pretrained(str(base or path), **options), device)
    if base:
        load_adapter(model, path)
    policy = with_tokenizer(model.eval(), path, device)
    _require_plain_head(policy)
    return policy


def with_tokenizer(model: PreTrainedModel, path: str | Path, device: torch.device) -> Policy:
    """A loaded model with the tokenizer at a folder or Hub id. Raises UnsupportedModel where neither knows an end."""
    policy = Policy(model, AutoTokenizer.from_pretrained(str(path), trust_remote_code=False), device)
    _require_end(policy)
    return policy


def loading(device: torch.device, length: int, dtype: torch.dtype, quantization: BitsAndBytesConfig | None) -> dict:
    """How this project loads every model: safetensors only, no remote code, attention by device and length."""
    options = {
        "use_safetensors": True,
        "trust_remote_code": False,
        "dtype": dtype,
        "attn_implementation": attention_for(device, length),
    }
    in_bits = {"quantization_config": quantization, "device_map": {"": device}} if quantization else {}
    return options | in_bits


def placed(model: PreTrainedModel, device: torch.device) -> PreTrainedModel:
    """A loaded model on its device, dropout off; one in 4 bits is there already and is made ready for an adapter."""
    quantized = getattr(model, "is_loaded_in_4bit", False)
    return cast_once(disable_dropout(made_trainable(model) if quantized else model.to(device)))


def merged_policy(policy: Policy) -> Policy:
    """The policy with its adapter folded into the weights, as other programs want it; changes the model in place."""
    return replace(policy, model=merge(policy.model))


def save_policy(policy: Policy, path: str | Path, merged: bool = False) -> None:
    """Write model and tokenizer in Hugging Face format; the folder appears whole or not at all.

    An adapter is saved alone, in PEFT's format, unless it is to be `merged`.
    """
    path = Path(path)
    policy = merged_policy(policy) if merged else policy
    unfinished = path.with_name(f".{path.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    if has_adapter(policy.model):
        save_adapter(policy.model, unfinished, path)
    else:
        policy.model.save_pretrained(unfinished)
    policy.tokenizer.save_pretrained(unfinished)
    shutil.rmtree(path, ignore_errors=True)
    unfinished.replace(path)


def disable_dropout(model: torch.nn.Module) -> torch.nn.Module:
    """Set every dropout of the model to zero, also in training mode: log-probabilities must repeat."""
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
        if isinstance(getattr(module, "attention_dropout", None), float):
            module.attention_dropout = 0.0
    return model


def weights_digest(model: torch.nn.Module, without: Sequence[str] = ()) -> str:
    """16 hex digits over names, shapes and bytes of all weights: equal digests mean equal weights.

    Weights of modules by a name in `without` are left out, as other adapters on the same base are.
    """
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        if not set(without).isdisjoint(name.split(".")):
            continue
        digest.update(f"{name}{tuple(tensor.shape)}{tensor.dtype}".encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:16]


def _require_folder(path: str | Path) -> None:
    local = Path(path)
    if (local.is_absolute() or str(path).startswith((".", "~"))) and not (local / "config.json").is_file():
        raise FileNotFoundError(
            f"model: found no config.json in {path}, expected a folder in Hugging Face format; check the path"
        )


def _require_end(policy: Policy) -> None:
    if not policy.eos_ids:
        raise UnsupportedModel("model: found no end-of-sequence token, expected one in its tokenizer; add eos_token")
    if policy.tokenizer.eos_token_id is None:
        policy.tokenizer.eos_token = policy.tokenizer.convert_ids_to_tokens(policy.eos_ids[0])


@torch.no_grad()
def _require_plain_head(policy: Policy) -> None:
    # Scoring projects completion positions only; that is sound where `project` gives the model's own logits.
    ids = torch.tensor([[policy.eos_ids[0], policy.pad_id]], device=policy.device)
    expected = policy.model(input_ids=ids, use_cache=False).logits[0].float()
    found = project(policy.model, policy.model.get_decoder()(input_ids=ids, use_cache=False).last_hidden_state[0])
    if not torch.allclose(expected, found, atol=2e-2, rtol=2e-2):
        raise UnsupportedModel(f"model: found {type(policy.model).__name__}, whose logits are not its head's output")


# ---- text to ids


def prompt_ids(tokenizer: PreTrainedTokenizerBase, messages: Sequence[dict]) -> list[int]:
    """Chat messages as the ids an answer follows: by the tokenizer's chat template, else the plain default."""
    if tokenizer.chat_template:
        return tokenizer(_rendered(tokenizer, list(messages)), add_special_tokens=False)["input_ids"]
    turns = [PLAIN_TURN.format(role=m["role"].capitalize(), content=m["content"]) for m in messages]
    ids = tokenizer("".join(turns) + PLAIN_OPENING)["input_ids"]
    return ids[:-1] if ids[-1] == tokenizer.eos_token_id else ids  # some tokenizers close every text


def completion_ids(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    """A completion's ids, ended by the tokenizer's end-of-sequence id."""
    return [*tokenizer(text, add_special_tokens=False)["input_ids"], tokenizer.eos_token_id]


def _rendered(tokenizer: PreTrainedTokenizerBase, messages: list[dict]) -> str:
    try:
        return tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    except TemplateError:
        if len(messages) < 2 or messages[0]["role"] != "system":
            raise
    # Some templates refuse a system message: put its text before the first user turn.
    merged = {**messages[1], "content": f"{messages[0]['content']}\n\n{messages[1]['content']}"}
    return tokenizer.apply_chat_template([merged, *messages[2:]], tokenize=False, add_generation_prompt=True)
