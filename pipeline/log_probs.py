"""Log-probabilities of completions: which states predict their tokens, and the projection to the vocabulary.

Completions of one prompt share it (`packing.py`), and only completion positions are projected, a part at a time:
logits of all positions never exist. Loading and rendering are in `policy.py`.

Shapes: N completion tokens of a micro-batch packed one after another, D hidden size, V vocabulary, B rows, T longest
row. Rows are padded on the right and attention is causal, so no row sees its padding, and which tokens are real
follows from lengths, never from ids.
"""

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn.functional import pad
from torch.utils.checkpoint import checkpoint
from transformers import PreTrainedModel

from pipeline.frozen_layers import Trunk
from pipeline.packing import (
    APART,
    PromptCompletion,
    Row,
    Sharing,
    completion_tokens,
    predicting_positions,
    row_batches,
    rows_of,
    sharing,
    states_at,
)
from pipeline.precision import autocast, width_multiple

TOKEN_BUDGET = 2048  # padded tokens of one micro-batch; 512 to 2048 are within 10 % of each other on a CPU
MOST_LOGITS = 1 << 25  # of one part of a projection to the vocabulary: 128 MiB in float32


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


def packed_hidden(
    model: PreTrainedModel, sequences: Sequence[PromptCompletion], trunk: Trunk | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Hidden states [N, D] that predict the completion tokens, and those tokens [N], rows one after another.

    One forward of the body over all sequences, behind its trunk where it has one that knows them; the caller keeps
    them within a token budget.
    Raises ValueError for an empty prompt or completion: there is nothing to predict from, or nothing to predict.
    """
    if any(not prompt or not completion for prompt, completion in sequences):
        raise ValueError("sequences: found an empty prompt or completion, expected at least one token in each")
    body, device = model.get_decoder(), model.get_input_embeddings().weight.device
    rows = [Row(prompt, [completion], [index]) for index, (prompt, completion) in enumerate(sequences)]
    states = states_at(body, rows, device, predicting_positions, sharing(body), trunk)
    return states, torch.tensor(completion_tokens(rows), device=device)


def project(model: PreTrainedModel, hidden: torch.Tensor) -> torch.Tensor:
    """The model's logits [N, V] in float32 for hidden states [N, D], with its own scale and soft cap."""
    config = model.config.get_text_config()
    logits = model.get_output_embeddings()(hidden).float()
    scale = (getattr(config, "logit_scale", None) or 1.0) / (getattr(config, "logits_scaling", None) or 1.0)
    if scale != 1.0:  # Cohere, Granite; a pass over all logits costs as much as a tenth of the projection
        logits = logits * scale
    cap = getattr(config, "final_logit_softcapping", None)  # Gemma 2
    return torch.tanh(logits / cap) * cap if cap else logits


class SelectedLogProbs(torch.autograd.Function):
    """log softmax(logits) [N, V] at the tokens [N], its gradient g (onehot - softmax) made in one buffer."""

    @staticmethod
    def forward(ctx, logits: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        """[N]; keeps the log-probabilities, so that the logits can be freed."""
        log_probs = logits.log_softmax(-1)
        ctx.save_for_backward(log_probs, tokens)
        return log_probs.gather(-1, tokens.unsqueeze(-1)).squeeze(-1)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad: torch.Tensor) -> tuple[torch.Tensor, None]:
        """[N, V]."""
        log_probs, tokens = ctx.saved_tensors
        column = grad.unsqueeze(-1)
        return log_probs.exp().mul_(-column).scatter_add_(-1, tokens.unsqueeze(-1), column), None


def selected_log_probs(logits: torch.Tensor, tokens: torch.Tensor, temperature: float = 1.0) -> torch.Tensor:
    """log softmax(logits / temperature) [N, V] at the tokens [N]: a tensor [N]."""
    return SelectedLogProbs.apply(logits if temperature == 1.0 else logits / temperature, tokens)


def evened(hidden: torch.Tensor, tokens: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The states [N, D] and tokens [N] with zeros behind, as many as make their number a good one for products."""
    more = -len(tokens) % width_multiple(hidden.device)
    return pad(hidden, (0, 0, 0, more)), pad(tokens, (0, more))


def projected_log_probs(
    model: PreTrainedModel, hidden: torch.Tensor, tokens: torch.Tensor, temperature: float = 1.0
) -> torch.Tensor:
    """Log-probabilities [N] of tokens [N] from the states [N, D] that predict them.

    Logits exist for at most MOST_LOGITS / V positions at once; the backward makes them anew, part by part.
    """

    def part(states: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
        with autocast(states.device):
            logits = project(model, states)
        return selected_log_probs(logits, wanted, temperature)

    size = max(MOST_LOGITS // model.config.get_text_config().vocab_size, 1)
    if len(tokens) <= size:
        return part(*evened(hidden, tokens))[: len(tokens)]
    pieces = zip(hidden.split(size), tokens.split(size), strict=True)
    return torch.cat([checkpoint(part, states, wanted, use_reentrant=False) for states, wanted in pieces])


def token_log_probs(
    model: PreTrainedModel,
    sequences: Sequence[PromptCompletion],
    temperature: float = 1.0,
    token_budget: int = TOKEN_BUDGET,
    share: bool = True,
) -> list[torch.Tensor]:
    """Log-probabilities of the completion tokens, one tensor [C] per (prompt ids, completion ids), in order.

    Sequences with the same prompt share its forward where the model can and `share` allows it. Runs under the
    caller's grad mode and under `autocast` of the model's device.
    """
    found: list[torch.Tensor | None] = [None] * len(sequences)
    body, device = model.get_decoder(), model.get_input_embeddings().weight.device
    how = sharing(body) if share else APART
    for rows in _batches(body, sequences, how, token_budget):
        with autocast(device):
            states = states_at(body, rows, device, predicting_positions, how)  # [N, D]
        tokens = torch.tensor(completion_tokens(rows), device=device)
        log_probs = projected_log_probs(model, states, tokens, temperature)
        lengths = [len(completion) for row in rows for completion in row.completions]
        members = [member for row in rows for member in row.members]
        for member, part in zip(members, log_probs.split(lengths), strict=True):
            found[member] = part
    return found


def forwards(model: PreTrainedModel, sequences: Sequence[PromptCompletion], token_budget: int = TOKEN_BUDGET) -> int:
    """How often `token_log_probs` runs the model's body for these sequences."""
    body = model.get_decoder()
    return len(_batches(body, sequences, sharing(body), token_budget))


def _batches(
    body: nn.Module, sequences: Sequence[PromptCompletion], how: Sharing, token_budget: int
) -> list[list[Row]]:
    return row_batches(rows_of(sequences, how, body.config.hidden_size), token_budget)
