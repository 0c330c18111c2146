"""Attention of prompts and the completions behind them in blocks: no score is computed that a mask would drop.

Tokens of a batch lie in one row: prompts of like length side by side, then their completions in blocks of like length.
A prompt attends to itself; a completion to its prompt and itself (Juravsky et al. 2024 split a shared prefix so for
generation). Everything but the attention runs over all tokens at once. `packing.py` decides which models can.

Shapes: S tokens of the row, n sequences of a block padded to Q tokens, H heads, d their size.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from pipeline.plain_attention import attend_plainly, is_short
from pipeline.recompute import standing

NAME = "rankloop_blocks"
SLACK = 16  # tokens that a sequence may be padded by whatever its length; one in five always


@dataclass(frozen=True)
class Block:
    """Completions, each padded to `length`: how many are behind each prompt of the cluster, and what they see.

    seen is a mask [1 or n, 1, length, prompt + length], True where a token may look.
    """

    counts: list[int]
    length: int
    seen: Tensor


@dataclass(frozen=True)
class Cluster:
    """So many prompts, each padded to `length`, and the blocks of their completions, which follow in the row."""

    count: int
    length: int
    blocks: tuple[Block, ...]


@dataclass(frozen=True)
class Layout:
    """Where everything lies: token ids and positions [S], the first place of each prompt and of its completions."""

    ids: list[int]
    positions: list[int]
    prompts: list[int]
    completions: list[list[int]]
    clusters: tuple[Cluster, ...]


# ---- where tokens lie
def lay_out(rows: Sequence[tuple[list[int], list[list[int]]]], device: torch.device, multiple: int = 1) -> Layout:
    """The layout of (prompt, completions) rows, S a multiple; a row without completions is a sequence on its own."""
    layout = Layout([], [], [0] * len(rows), [[0] * len(completions) for _, completions in rows], ())
    clusters = tuple(
        _cluster(layout, [(i, *rows[i]) for i in alike], device) for alike in like_lengths([len(p) for p, _ in rows])
    )
    _put(layout, [], 0, -len(layout.ids) % multiple)
    return Layout(layout.ids, layout.positions, layout.prompts, layout.completions, clusters)


def _cluster(layout: Layout, rows: Sequence[tuple[int, list[int], list[list[int]]]], device: torch.device) -> Cluster:
    longest = max(len(prompt) for _, prompt, _ in rows)
    for number, prompt, _ in rows:
        layout.prompts[number] = _put(layout, prompt, 0, longest)
    every = [(at, c) for at, (_, _, completions) in enumerate(rows) for c in range(len(completions))]
    sizes = [len(rows[at][2][c]) for at, c in every]
    blocks = tuple(_block(layout, rows, [every[i] for i in alike], device) for alike in like_lengths(sizes))
    return Cluster(len(rows), longest, blocks)


def _block(layout: Layout, rows: Sequence[tuple], members: Sequence[tuple[int, int]], device: torch.device) -> Block:
    longest = max(len(rows[at][2][c]) for at, c in members)
    counts = [0] * len(rows)
    for at, c in members:
        number, prompt, completions = rows[at]
        layout.completions[number][c] = _put(layout, completions[c], len(prompt), longest)
        counts[at] += 1
    lengths = torch.tensor([len(rows[at][1]) for at, _ in members], device=device)
    return Block(counts, longest, _seen(lengths, max(len(p) for _, p, _ in rows), longest))


def _put(layout: Layout, tokens: list[int], first: int, width: int) -> int:
    start = len(layout.ids)
    layout.ids.extend(tokens)
    layout.ids.extend([0] * (width - len(tokens)))
    layout.positions.extend(range(first, first + width))
    return start


def _seen(prompts: Tensor, width: int, length: int) -> Tensor:
    """[1 or n, 1, length, width + length]: prompts of so many tokens [n], padded to width, then the own tokens."""
    if bool((prompts == width).all()):
        prompts = prompts[:1]
    prompt = torch.arange(width, device=prompts.device) < prompts[:, None, None]
    own = torch.ones(length, length, dtype=torch.bool, device=prompts.device).tril()
    return torch.cat([prompt.expand(-1, length, -1), own.expand(len(prompts), -1, -1)], dim=2)[:, None]


def like_lengths(lengths: Sequence[int]) -> list[list[int]]:
    """Indices in parts whose members need little padding, the longest first."""
    parts: list[list[int]] = []
    longest = 0
    for i in sorted(range(len(lengths)), key=lambda i: (-lengths[i], i)):
        if not parts or longest - lengths[i] > max(SLACK, longest // 5):
            parts.append([])
            longest = lengths[i]
        parts[-1].append(i)
    return [sorted(part) for part in parts]


# ---- the attention
_CLUSTERS: ContextVar[tuple[Cluster, ...]] = ContextVar("clusters")


@contextmanager
def attending(clusters: tuple[Cluster, ...]) -> Iterator[str]:
    """Yields the name under which a model's config finds this attention; it attends by these clusters meanwhile."""
    token = _CLUSTERS.set(clusters)
    try:
        with standing(lambda _layer: attending(clusters)):
            yield NAME
    finally:
        _CLUSTERS.reset(token)


@contextmanager
def attention(body: nn.Module, kind: str | None) -> Iterator[None]:
    """Another attention implementation meanwhile; None changes nothing."""
    if kind is None:
        yield
        return
    before, body.config._attn_implementation = body.config._attn_implementation, kind
    try:
        with standing(lambda _layer: attention(body, kind)):
            yield
    finally:
        body.config._attn_implementation = before


def attend(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, _mask: object = None, **options
) -> tuple[Tensor, None]:
    """What `transformers` calls in every layer: query, key, value [1, H, S, d] to [1, S, H, d]."""
    options.pop("is_causal", None)
    whole = [range(length) for _, length in shapes_of(_CLUSTERS.get())]
    found = attend_at(module, query, key, value, whole, **options)
    return torch.cat([found, found.new_zeros(query.shape[2] - len(found), *found.shape[1:])])[None], None


def attend_at(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, asking: Sequence[range], **options
) -> Tensor:
    """[M, H, d] of keys and values [1, H, S, d] and the queries [1, H, M or more, d] of some tokens.

    asking has for each piece of the row (`shapes_of`) which of the tokens of each of its sequences ask.
    """
    shapes = [(n, len(tokens)) for (n, _), tokens in zip(shapes_of(_CLUSTERS.get()), asking, strict=True)]
    parts = []
    pieces = zip(_pieces(query, shapes), _looked_at(key, value), asking, strict=True)
    for q, (k, v, seen), tokens in pieces:
        if not tokens:
            continue
        seen = _rows(seen, k, tokens)
        if is_short(q, k, options):
            found = attend_plainly(q, k, v, seen, options.get("scaling"))
        else:
            found, _ = sdpa_attention_forward(module, q, k, v, seen, is_causal=seen is None, **options)
        parts.append(found.flatten(0, 1))  # [n Q, H, d]
    return torch.cat(parts)


def shapes_of(clusters: Sequence[Cluster]) -> list[tuple[int, int]]:
    """The pieces of the row in order, prompts and blocks of completions: how many sequences, and their length."""
    return [
        shape
        for cluster in clusters
        for shape in ((cluster.count, cluster.length), *((sum(b.counts), b.length) for b in cluster.blocks))
    ]


def _looked_at(key: Tensor, value: Tensor) -> Iterator[tuple[Tensor, Tensor, Tensor | None]]:
    """What the tokens of each piece look at: keys and values [n, H, K, d], and the mask; None is causal."""
    shapes = shapes_of(_CLUSTERS.get())
    pieces = zip(_pieces(key, shapes), _pieces(value, shapes), strict=True)
    for cluster in _CLUSTERS.get():
        prompts = next(pieces)
        yield *prompts, None
        for block in cluster.blocks:
            own = next(pieces)
            yield *(_behind(p, o, block.counts) for p, o in zip(prompts, own, strict=True)), block.seen


def _rows(seen: Tensor | None, key: Tensor, tokens: range) -> Tensor | None:
    """A mask's rows for these tokens of every sequence."""
    if seen is not None:
        return seen[:, :, tokens.start : tokens.stop]
    length = key.shape[2]
    if len(tokens) == length:
        return None
    causal = torch.ones(length, length, dtype=torch.bool, device=key.device).tril()
    return causal[None, None, tokens.start : tokens.stop]


def _pieces(states: Tensor, shapes: Sequence[tuple[int, int]]) -> list[Tensor]:
    """States [1, H, S, d] cut into the [n, H, Q, d] of these shapes, without a copy."""
    sizes = [n * length for n, length in shapes]
    cuts = states[0, :, : sum(sizes)].split(sizes, dim=1)
    return [piece.unflatten(1, shape).transpose(0, 1) for shape, piece in zip(shapes, cuts, strict=True)]


def _behind(prompts: Tensor, own: Tensor, counts: list[int]) -> Tensor:
    """Each completion's own [n, H, Q, d] after what its prompt has [b, H, P, d], counts[b] completions to a prompt."""
    if len(set(counts)) == 1:
        shape = (len(counts), counts[0])
        repeated = prompts[:, None].expand(-1, counts[0], -1, -1, -1)
        return torch.cat([repeated, own.unflatten(0, shape)], dim=3).flatten(0, 1)
    repeated = [p.expand(n, -1, -1, -1) for p, n in zip(prompts.split(1), counts, strict=True) if n]
    return torch.cat([torch.cat(repeated), own], dim=2)


AttentionInterface.register(NAME, attend)
