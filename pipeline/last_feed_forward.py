"""The last layer's feed-forward block at the positions whose states are read, and nowhere else.

What follows the last attention works token by token, so at any other position it is work that nobody sees: of a
prompt when only its completion is scored, of all but one token when a reward model reads the last. Attention, and
every layer before, run over all tokens. Which models can is tried on a few tokens, never assumed.

Shapes: B rows of T tokens, D hidden size, N positions among the B x T.
"""

import itertools
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from pipeline.frozen_layers import layers_of, norms_of
from pipeline.precision import agree, width_multiple
from pipeline.recompute import standing

NAMES = ("mlp", "feed_forward", "ffn")
NORMS_BEFORE = ("post_attention_layernorm", "ln_2")  # of the block, which work where it does
PROBE, READ = [[1, 2, 3, 4], [5, 6, 7, 1]], [1, 6]


@dataclass(frozen=True)
class Tail:
    """What works token by token at the end of a body: the block, the norm before it, the norm behind all layers.

    Without those norms the block alone is spared positions.
    """

    block: nn.Module
    before: nn.Module | None = None
    behind: nn.Module | None = None


@contextmanager
def feeding_forward_at(body: nn.Module, positions: Sequence[int]) -> Iterator[Sequence[int]]:
    """Meanwhile the last feed-forward block adds nothing at other positions; a model that cannot runs as always.

    Yields where the states of these positions will be in the body's output; states elsewhere are then of no use.
    Positions may come several times.
    """
    tail = _tail_of(body)
    if tail is None:
        yield positions
        return
    kept = _kept(tail.block, positions)
    with _only(tail, kept), standing(lambda _layer: _fed(tail, torch.tensor(kept))):
        yield _places_in(kept, positions) if tail.behind else positions


def _places_in(kept: Sequence[int], positions: Sequence[int]) -> list[int]:
    place = {position: at for at, position in enumerate(kept)}
    return [place[position] for position in positions]


@contextmanager
def _only(tail: Tail, kept: Sequence[int]) -> Iterator[None]:
    where = torch.tensor(kept, device=next(tail.block.parameters()).device)
    with _fed(tail, where):
        if tail.behind is None:
            yield
            return
        handle = tail.behind.register_forward_pre_hook(lambda _module, inputs: (_at(inputs[0], where), *inputs[1:]))
        try:
            yield
        finally:
            handle.remove()


@contextmanager
def _fed(tail: Tail, where: Tensor) -> Iterator[None]:
    shapes: list[torch.Size] = []

    def take(_module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        shapes.append(inputs[0].shape)
        return (_at(inputs[0], where.to(inputs[0].device)), *inputs[1:])

    def put_back(_module: nn.Module, _inputs: tuple, out: Tensor) -> Tensor:
        rows, tokens, width = shapes.pop()
        flat = out.new_zeros(rows * tokens, width).index_copy(0, where.to(out.device), out[0])
        return flat.unflatten(0, (rows, tokens))

    hooks = (
        (tail.before or tail.block).register_forward_pre_hook(take),
        tail.block.register_forward_hook(put_back),
    )
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _at(states: Tensor, where: Tensor) -> Tensor:
    """[B, T, D] to [1, N, D]."""
    return states.flatten(0, 1).index_select(0, where)[None]


def _kept(block: nn.Module, positions: Iterable[int]) -> list[int]:
    """The positions in order, and others before the last one where their number is better a multiple."""
    wanted, device = set(positions), next(block.parameters()).device
    others = (at for at in range(max(wanted)) if at not in wanted)
    return sorted([*wanted, *itertools.islice(others, -len(wanted) % width_multiple(device))])


def feed_forward_of(body: nn.Module) -> nn.Module | None:
    """The feed-forward block of the last decoder layer, by the names that architectures give it."""
    layers = layers_of(body)
    return None if layers is None else _child(layers[-1], NAMES)


def _child(module: nn.Module, names: Sequence[str]) -> nn.Module | None:
    return next((getattr(module, name) for name in names if hasattr(module, name)), None)


# ---- which models can
_KNOWN: WeakKeyDictionary[nn.Module, Tail | None] = WeakKeyDictionary()


def _tail_of(body: nn.Module) -> Tail | None:
    if body not in _KNOWN:
        with torch.autocast(next(body.parameters()).device.type, enabled=False):  # whoever asks first
            _KNOWN[body] = next((tail for tail in _tails(body) if _can(body, tail)), None)
    return _KNOWN[body]


def _tails(body: nn.Module) -> Iterator[Tail]:
    """What may be spared, the most first."""
    block = feed_forward_of(body)
    if block is None:
        return
    before, behind = _child(layers_of(body)[-1], NORMS_BEFORE), norms_of(body)
    if before is not None and len(behind) == 1:
        yield Tail(block, before, behind[0])
    yield Tail(block)


@torch.no_grad()
def _can(body: nn.Module, tail: Tail) -> bool:
    ids = torch.tensor(PROBE, device=next(body.parameters()).device)
    whole = body(input_ids=ids, use_cache=False).last_hidden_state.flatten(0, 1)[READ].float()
    kept = _kept(tail.block, READ)
    try:
        with _only(tail, kept):
            found = body(input_ids=ids, use_cache=False).last_hidden_state.flatten(0, 1)
            found = found[_places_in(kept, READ) if tail.behind else READ].float()
    except Exception:  # whatever a model's own code raises: it runs whole, as it did above
        return False
    return agree(whole, found, next(body.parameters()).dtype)
