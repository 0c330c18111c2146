"""A causal language model with its tokenizer: load, save, render prompts, score completions.

Takes any model in Hugging Face format, from a local folder or the Hub (HF_HUB_OFFLINE is honoured), as
safetensors only and without remote code. Sampling is in `sampling.py`, training in the job modules.

Shapes: N completion tokens of a micro-batch packed one after another, D hidden size, V vocabulary,
B rows, T longest row. Rows are padded on the right and attention is causal, so no row sees its padding:
no attention mask is needed, and which tokens are real follows from lengths, never from ids.
"""

import hashlib
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from jinja2 import TemplateError
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase
from transformers.utils.logging import disable_progress_bar

from pipeline.precision import attention_for, autocast, pick_device

__all__ = [
    "Policy",
    "UnsupportedModel",
    "autocast",
    "completion_ids",
    "disable_dropout",
    "load_policy",
    "micro_batches",
    "packed_hidden",
    "project",
    "prompt_ids",
    "save_policy",
    "selected_log_probs",
    "token_log_probs",
    "weights_digest",
]

TOKEN_BUDGET = 2048  # padded tokens of one micro-batch; 512 to 2048 are within 10 % of each other on a CPU
PLAIN_TURN = "{role}:\n{content}\n\n"
PLAIN_OPENING = "Assistant:\n"  # ends in a newline so that completions need no leading space

PromptCompletion = tuple[list[int], list[int]]  # token ids of both


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
    path: str | Path, device: str | torch.device | None = None, length: int = 64, dtype: torch.dtype = torch.float32
) -> Policy:
    """The policy at a folder or Hub id, dropout off, on CUDA where there is one.

    length is the usual prompt + completion length in tokens; it chooses the attention (`precision.py`).
    dtype is the weights' own; float32 is right for training, `autocast` lowers the products.
    Raises FileNotFoundError for a missing folder, UnsupportedModel for a model that cannot be scored.
    """
    _require_folder(path)
    disable_progress_bar()  # a job's log is a file
    device = pick_device(device)
    model = AutoModelForCausalLM.from_pretrained(
        str(path),
        use_safetensors=True,
        trust_remote_code=False,
        dtype=dtype,
        attn_implementation=attention_for(device, length),
    ).to(device)
    tokenizer = AutoTokenizer.from_pretrained(str(path), trust_remote_code=False)
    policy = Policy(disable_dropout(model).eval(), tokenizer, device)
    _require_end(policy)
    _require_plain_head(policy)
    return policy


def save_policy(policy: Policy, path: str | Path) -> None:
    """Write model and tokenizer in Hugging Face format; the folder appears whole or not at all."""
    path = Path(path)
    unfinished = path.with_name(f".{path.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
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


def weights_digest(model: torch.nn.Module) -> str:
    """16 hex digits over names, shapes and bytes of all weights: equal digests mean equal weights."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
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


# ---- scoring


def micro_batches(lengths: Sequence[int], token_budget: int = TOKEN_BUDGET) -> list[list[int]]:
    """Indices in groups of similar length, longest first, each at most `token_budget` tokens with padding.

    A row longer than the budget makes a group of its own.
    """
    order = sorted(range(len(lengths)), key=lambda i: (-lengths[i], i))
    groups: list[list[int]] = []
    for i in order:
        if groups and (len(groups[-1]) + 1) * lengths[groups[-1][0]] <= token_budget:
            groups[-1].append(i)
        else:
            groups.append([i])
    return groups


def packed_hidden(model: PreTrainedModel, sequences: Sequence[PromptCompletion]) -> tuple[torch.Tensor, torch.Tensor]:
    """Hidden states [N, D] that predict the completion tokens, and those tokens [N], rows one after another.

    One forward of the body over all sequences; the caller keeps them within a token budget.
    Raises ValueError for an empty prompt or completion: there is nothing to predict from, or nothing to predict.
    """
    if any(not prompt or not completion for prompt, completion in sequences):
        raise ValueError("sequences: found an empty prompt or completion, expected at least one token in each")
    device = model.get_input_embeddings().weight.device
    rows = [[*prompt, *completion] for prompt, completion in sequences]
    longest = max(map(len, rows))
    ids = torch.tensor([row + [0] * (longest - len(row)) for row in rows], device=device)
    hidden = model.get_decoder()(input_ids=ids, use_cache=False).last_hidden_state  # [B, T, D]
    # The state at position i predicts token i + 1.
    spans = [(b * longest + len(p) - 1, b * longest + len(p) + len(c) - 1) for b, (p, c) in enumerate(sequences)]
    positions = torch.cat([torch.arange(first, last) for first, last in spans]).to(device)
    return hidden.flatten(0, 1).index_select(0, positions), ids.flatten().index_select(0, positions + 1)


def project(model: PreTrainedModel, hidden: torch.Tensor) -> torch.Tensor:
    """The model's logits [N, V] in float32 for hidden states [N, D], with its own scale and soft cap."""
    config = model.config.get_text_config()
    logits = model.get_output_embeddings()(hidden).float()
    logits = logits * (getattr(config, "logit_scale", None) or 1.0)  # Cohere
    logits = logits / (getattr(config, "logits_scaling", None) or 1.0)  # Granite
    cap = getattr(config, "final_logit_softcapping", None)  # Gemma 2
    return torch.tanh(logits / cap) * cap if cap else logits


def selected_log_probs(logits: torch.Tensor, tokens: torch.Tensor, temperature: float = 1.0) -> torch.Tensor:
    """log softmax(logits / temperature) [N, V] at the tokens [N]: a tensor [N]."""
    scaled = logits / temperature
    return scaled.gather(-1, tokens.unsqueeze(-1)).squeeze(-1) - scaled.logsumexp(-1)


def token_log_probs(
    model: PreTrainedModel,
    sequences: Sequence[PromptCompletion],
    temperature: float = 1.0,
    token_budget: int = TOKEN_BUDGET,
) -> list[torch.Tensor]:
    """Log-probabilities of the completion tokens, one tensor [C] per (prompt ids, completion ids), in order.

    Runs under the caller's grad mode and under `autocast` of the model's device.
    """
    found: list[torch.Tensor | None] = [None] * len(sequences)
    device = model.get_input_embeddings().weight.device
    for group in micro_batches([len(p) + len(c) for p, c in sequences], token_budget):
        batch = [sequences[i] for i in group]
        with autocast(device):
            hidden, tokens = packed_hidden(model, batch)
            logits = project(model, hidden)
        log_probs = selected_log_probs(logits, tokens, temperature)
        for i, part in zip(group, log_probs.split([len(c) for _, c in batch]), strict=True):
            found[i] = part
    return found
