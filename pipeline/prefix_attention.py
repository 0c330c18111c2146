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


def attend(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, _mask: object = None, **options
) -> tuple[Tensor, None]:
    """What `transformers` calls in every layer: query, key, value [1, H, S, d] to [1, S, H, d]."""
    options.pop("is_causal", None)

    def attended(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
        if is_short(q, k, options):
            found = attend_plainly(q, k, v, mask, options.get("scaling"))
        else:
            found, _ = sdpa_attention_forward(module, q, k, v, mask, is_causal=mask is None, **options)
        return found.flatten(0, 1)  # [n Q, H, d]

    parts = []
    pieces = _pieces(query, key, value)
    for cluster in _CLUSTERS.get():
        q, k, v = next(pieces)
        parts.append(attended(q, k, v, None))
        for block in cluster.blocks:
            q, *own = next(pieces)
            parts.append(
                attended(q, *(_behind(p, o, block.counts) for p, o in zip((k, v), own, strict=True)), block.seen)
            )
    filled = query.shape[2] - sum(map(len, parts))
    return torch.cat([*parts, parts[0].new_zeros(filled, *parts[0].shape[1:])])[None], None


def _pieces(*states: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """Each state [1, H, S, d] cut into the [n, H, Q, d] of prompts and blocks, without a copy."""
    shapes = [
        shape
        for cluster in _CLUSTERS.get()
        for shape in ((cluster.count, cluster.length), *((sum(b.counts), b.length) for b in cluster.blocks))
    ]
    taken = sum(n * length for n, length in shapes)
    cuts = (state[0, :, :taken].split([n * length for n, length in shapes], dim=1) for state in states)
    for shape, *pieces in zip(shapes, *cuts, strict=True):
        yield tuple(piece.unflatten(1, shape).transpose(0, 1) for piece in pieces)


def _behind(prompts: Tensor, own: Tensor, counts: list[int]) -> Tensor:
    """Each completion's own [n, H, Q, d] after what its prompt has [b, H, P, d], counts[b] completions to a prompt."""
    if len(set(counts)) == 1:
        shape = (len(counts), counts[0])
        repeated = prompts[:, None].expand(-1, counts[0], -1, -1, -1)
        return torch.cat([repeated, own.unflatten(0, shape)], dim=3).flatten(0, 1)
    repeated = [p.expand(n, -1, -1, -1) for p, n in zip(prompts.split(1), counts, strict=True) if n]
    return torch.cat([torch.cat(repeated), own], dim=2)


AttentionInterface.register(NAME, attend)
