"""One forward for completions of the same prompt: the prompt once, the completions behind it, none sees another.

A row is a prompt with one or more completions behind it. A token sees the prompt and its own completion up
to itself, and positions restart after every completion, so hidden states are those of separate forwards
(Krell et al. 2021; Wang and Hegde 2024). On a CPU the attention runs in blocks (`prefix_attention.py`), or over a
dense mask where a model's attention cannot be replaced; on CUDA it is FlexAttention's, since a dense mask turns the
fast kernels off. What an architecture can do is tried on a few tokens (`sharing`), never assumed: recurrent and
convolutional layers, ALiBi and encoders cannot share. It scores nothing.

Shapes: B rows, T longest row in tokens, S places of all tokens with padding, D hidden size, N completions or tokens.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from itertools import accumulate
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from pipeline.frozen_layers import Span, Trunk
from pipeline.last_feed_forward import feeding_forward_at
from pipeline.last_layer import last_layer_at
from pipeline.precision import agree, width_multiple
from pipeline.prefix_attention import attending, attention, lay_out
from pipeline.prefix_masks import FLEX_BLOCK, block_mask, dense_mask, takes_flex

PromptCompletion = tuple[list[int], list[int]]  # token ids of both
PROBE = [([1, 2, 3], [4, 5]), ([1, 2, 3], [6, 7, 8, 9]), ([5, 1], [2, 3]), ([5, 1], [3])]


@dataclass(frozen=True)
class Row:
    """A prompt, the completions behind it, and the index each of them had among the caller's sequences."""

    prompt: list[int]
    completions: list[list[int]]
    members: list[int]

    @property
    def tokens(self) -> list[int]:
        """All token ids in order."""
        return [*self.prompt, *(token for completion in self.completions for token in completion)]

    @property
    def length(self) -> int:
        """How many tokens that is."""
        return len(self.prompt) + sum(map(len, self.completions))

    @property
    def longest(self) -> int:
        """How many tokens the prompt and its longest completion have."""
        return len(self.prompt) + max(map(len, self.completions))


@dataclass(frozen=True)
class Sharing:
    """How a model may share prompts, up to what length of prompt and completion; else a sentence why it may not.

    by is the attention: in "blocks", over a "dense" mask, or "flex". With limit 0 every sequence is forwarded alone.
    """

    limit: int
    reason: str = ""
    by: str = "dense"


@dataclass(frozen=True)
class Places:
    """Where among the S places of a forward each row's prompt begins, and each of its completions."""

    prompts: list[int]
    completions: list[list[int]]


ALWAYS = 1 << 30  # no limit to the length
APART = Sharing(0)


# ---- which sequences share a row
def rows_of(sequences: Sequence[PromptCompletion], how: Sharing, width: int) -> list[Row]:
    """Sequences of one prompt together where that is less work, the rest alone.

    Blocks are always less. Under a mask, work is counted as 6 width t + t^2 for a row of t tokens: the matrix products
    of a transformer layer of that width and its attention. Raises ValueError for an empty prompt or completion.
    """
    if any(not prompt or not completion for prompt, completion in sequences):
        raise ValueError("sequences: found an empty prompt or completion, expected at least one token in each")
    rows: list[Row] = []
    newest: dict[tuple[int, ...], Row] = {}
    for index, (prompt, completion) in enumerate(sequences):
        fits = len(prompt) + len(completion) <= how.limit
        row = newest.get(tuple(prompt)) if fits else None
        if row is not None and (how.by != "dense" or _is_less(row, completion, width)):
            row.completions.append(completion)
            row.members.append(index)
            continue
        rows.append(Row(prompt, [completion], [index]))
        if fits:
            newest[tuple(prompt)] = rows[-1]
    return rows


def _is_less(row: Row, completion: list[int], width: int) -> bool:
    alone, longer = len(row.prompt) + len(completion), row.length + len(completion)
    return _work(longer, width) - _work(row.length, width) <= _work(alone, width)


def _work(tokens: int, width: int) -> int:
    return 6 * width * tokens + tokens * tokens


def row_batches(rows: Sequence[Row], token_budget: int) -> list[list[Row]]:
    """Rows in batches of similar length, longest first, each at most `token_budget` tokens with padding.

    Rows that share a prompt and rows that do not are kept apart: the latter need no mask. A row longer than the
    budget makes a batch of its own.
    """
    order = sorted(range(len(rows)), key=lambda i: (len(rows[i].members) == 1, -rows[i].length, i))
    batches: list[list[Row]] = []
    for row in (rows[i] for i in order):
        if batches and _fits(batches[-1], row, token_budget):
            batches[-1].append(row)
        else:
            batches.append([row])
    return batches


def _fits(batch: list[Row], row: Row, token_budget: int) -> bool:
    same_kind = (len(batch[0].members) == 1) == (len(row.members) == 1)
    return same_kind and (len(batch) + 1) * batch[0].length <= token_budget


# ---- one forward
def states_at(
    body: nn.Module,
    rows: Sequence[Row],
    device: torch.device,
    read: Callable[..., list[int]],
    how: Sharing = APART,
    trunk: Trunk | None = None,
) -> Tensor:
    """The last hidden states [N, D] at the positions that read(rows, places) names among all tokens.

    A trunk of the body spares its layers the rows it knows, where no row has several completions.
    """
    alone = all(len(row.members) == 1 for row in rows)
    if how.by == "blocks" and all(row.longest <= how.limit for row in rows):
        return _in_blocks(body, rows, device, alone, read, trunk)
    longest = max(row.length for row in rows)
    width = -(-longest // FLEX_BLOCK) * FLEX_BLOCK if how.by == "flex" and not alone else longest
    places = _in_rows(rows, width)
    positions = read(rows, places)
    with feeding_forward_at(body, positions) as found_at, _behind(trunk, body, rows, places):
        if alone:  # causal attention and right padding: no mask is needed
            ids = _padded([row.tokens for row in rows], longest, 0, device)
            states = body(input_ids=ids, use_cache=False)
        else:
            states = _masked(body, rows, device, width, how.by == "flex")
    return states.last_hidden_state.flatten(0, 1).index_select(0, torch.tensor(found_at, device=device))


def _in_blocks(
    body: nn.Module,
    rows: Sequence[Row],
    device: torch.device,
    alone: bool,
    read: Callable[..., list[int]],
    trunk: Trunk | None,
) -> Tensor:
    shown = [(row.tokens, []) if alone else (row.prompt, row.completions) for row in rows]
    layout = lay_out(shown, device, width_multiple(device))
    behind = [[at + len(row.prompt)] for at, row in zip(layout.prompts, rows, strict=True)]
    places = Places(layout.prompts, behind if alone else layout.completions)
    read_at = read(rows, places)
    ids, positions = (torch.tensor([values], device=device) for values in (layout.ids, layout.positions))
    with (
        last_layer_at(body, layout.clusters, read_at) as found_at,
        attending(layout.clusters) as name,
        attention(body, name),
        _behind(trunk, body, rows, places),
    ):
        states = body(input_ids=ids, position_ids=positions, use_cache=False).last_hidden_state[0]
    if isinstance(found_at, range):
        return states[found_at.start : found_at.stop]
    return states.index_select(0, torch.tensor(found_at, device=device))


def _behind(trunk: Trunk | None, body: nn.Module, rows: Sequence[Row], places: Places) -> AbstractContextManager:
    if trunk is None or any(len(row.members) > 1 for row in rows):
        return nullcontext()
    spans: list[Span] = [(tuple(row.tokens), start) for row, start in zip(rows, places.prompts, strict=True)]
    return trunk.under(body, spans)


def _masked(body: nn.Module, rows: Sequence[Row], device: torch.device, width: int, flex: bool):
    """The body's output for rows padded on the right to so many tokens."""
    ids = _padded([row.tokens for row in rows], width, 0, device)
    positions = _padded([_positions(row) for row in rows], width, 0, device)
    segments = _padded([_segments(row) for row in rows], width, -1, device)
    with attention(body, "flex_attention" if flex else None):
        mask = block_mask(segments) if flex else dense_mask(segments, next(body.parameters()).dtype)
        return body(input_ids=ids, position_ids=positions, attention_mask=mask, use_cache=False)


# ---- where the figures of the completions are
def last_positions(rows: Sequence[Row], places: Places) -> list[int]:
    """Where each completion's last token is, in the order of the rows' members."""
    return [at + len(completion) - 1 for _, at, completion in _completions(rows, places)]


def predicting_positions(rows: Sequence[Row], places: Places) -> list[int]:
    """Places of the states that predict the completion tokens [N] (`completion_tokens`).

    The first token of every completion is predicted by the prompt's last state, the others by their predecessor.
    """
    return [
        position
        for before, at, completion in _completions(rows, places)
        for position in (before, *range(at, at + len(completion) - 1))
    ]


def completion_tokens(rows: Sequence[Row]) -> list[int]:
    """The tokens of all completions [N], in order."""
    return [token for row in rows for completion in row.completions for token in completion]


def _completions(rows: Sequence[Row], places: Places) -> Iterator[tuple[int, int, list[int]]]:
    """Where the prompt's last token is, where the completion begins, and the completion."""
    for row, prompt, starts in zip(rows, places.prompts, places.completions, strict=True):
        for start, completion in zip(starts, row.completions, strict=True):
            yield prompt + len(row.prompt) - 1, start, completion


def _in_rows(rows: Sequence[Row], width: int) -> Places:
    """The places in rows padded to a width, completions one after another."""
    prompts = [number * width for number in range(len(rows))]
    completions = []
    for start, row in zip(prompts, rows, strict=True):
        sizes = [len(row.prompt), *map(len, row.completions[:-1])]
        completions.append([start + before for before in accumulate(sizes)])
    return Places(prompts, completions)


def _positions(row: Row) -> list[int]:
    start = len(row.prompt)
    return [*range(start), *(start + i for completion in row.completions for i in range(len(completion)))]


def _segments(row: Row) -> list[int]:
    marks = (number for number, completion in enumerate(row.completions, 1) for _ in completion)
    return [*(0 for _ in row.prompt), *marks]


def _padded(rows: Sequence[list[int]], width: int, fill: int, device: torch.device) -> Tensor:
    return torch.tensor([row + [fill] * (width - len(row)) for row in rows], dtype=torch.long, device=device)


# ---- which models can
_KNOWN: WeakKeyDictionary[nn.Module, Sharing] = WeakKeyDictionary()


def sharing(body: nn.Module) -> Sharing:
    """How this model's body may share prompts: asked once per model, by comparing it with separate forwards."""
    if body not in _KNOWN:
        _KNOWN[body] = _tried(body)
    return _KNOWN[body]


def shares_prompts(model: nn.Module) -> bool:
    """Whether a whole model, head and all, forwards the prompt of several completions once."""
    if isinstance(getattr(model, "score", None), nn.Linear):
        return sharing(model.base_model).limit > 0
    return hasattr(model, "get_decoder") and sharing(model.get_decoder()).limit > 0


def _tried(body: nn.Module) -> Sharing:
    flex = takes_flex(next(body.parameters()).device)
    found = APART
    for way in (*(["flex"] if flex else []), "blocks", "dense"):
        found = _way_tried(body, way)
        if found.limit:
            return found
    return found


@torch.no_grad()
def _way_tried(body: nn.Module, by: str) -> Sharing:
    name = type(body).__name__
    try:
        with torch.autocast(next(body.parameters()).device.type, enabled=False):  # whoever asks first
            together, apart = _probe(body, Sharing(ALWAYS, by=by)), _probe(body, APART)
    except Exception as error:  # whatever a model's own code raises: it cannot, and the reason is told
        return Sharing(0, f"{name} takes no mask of its own ({type(error).__name__}), so prompts were not shared.")
    if not agree(apart, together, next(body.parameters()).dtype):
        return Sharing(0, f"{name} does not keep completions behind one prompt apart, so prompts were not shared.")
    return Sharing(_window(body.config), by=by)


def _probe(body: nn.Module, how: Sharing) -> Tensor:
    rows = rows_of(PROBE, how, 1 << 20)
    return states_at(body, rows, next(body.parameters()).device, predicting_positions, how).float()


def _window(config) -> int:
    """The shortest window of a layer that looks back only so far: our masks have none, so longer rows go alone."""
    kinds = set(getattr(config, "layer_types", None) or [])
    sliding = getattr(config, "sliding_window", None)
    used = not kinds or "sliding_attention" in kinds
    limits = [sliding if used else None, getattr(config, "attention_chunk_size", None)]
    return min([limit for limit in limits if limit], default=ALWAYS)
