"""The last layer's feed-forward block at the positions whose states are read, and nowhere else.

What follows the last attention works token by token, so at any other position it is work that nobody sees: of a
prompt when only its completion is scored, of all but one token when a reward model reads the last. Attention, and
every layer before, run over all tokens. Which models can is tried on a few tokens, never assumed.

Shapes: B rows of T tokens, D hidden size, N positions among the B x T.
"""

import itertools
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from pipeline.precision import width_multiple
from pipeline.recompute import standing

NAMES = ("mlp", "feed_forward", "ffn")
PROBE, READ = [[1, 2, 3, 4], [5, 6, 7, 1]], [1, 6]


@contextmanager
def feeding_forward_at(body: nn.Module, positions: Iterable[int]) -> Iterator[None]:
    """Meanwhile the last feed-forward block adds nothing at other positions; a model that cannot runs as always.

    States elsewhere are then of no use. Positions may come several times.
    """
    block = feed_forward_of(body)
    if block is None or not _can(body):
        yield
        return
    kept = _kept(block, positions)
    with _only(block, kept), standing(lambda _layer: _only(block, kept)):
        yield


@contextmanager
def _only(block: nn.Module, kept: Tensor) -> Iterator[None]:
    shapes: list[torch.Size] = []

    def take(_module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        shapes.append(inputs[0].shape)
        return (inputs[0].flatten(0, 1).index_select(0, kept)[None], *inputs[1:])

    def put_back(_module: nn.Module, _inputs: tuple, out: Tensor) -> Tensor:
        rows, tokens, width = shapes.pop()
        return out.new_zeros(rows * tokens, width).index_copy(0, kept, out[0]).unflatten(0, (rows, tokens))

    hooks = block.register_forward_pre_hook(take), block.register_forward_hook(put_back)
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _kept(block: nn.Module, positions: Iterable[int]) -> Tensor:
    """The positions in order, and others before the last one where their number is better a multiple."""
    wanted, device = set(positions), next(block.parameters()).device
    others = (at for at in range(max(wanted)) if at not in wanted)
    more = itertools.islice(others, -len(wanted) % width_multiple(device))
    return torch.tensor(sorted([*wanted, *more]), device=device)


def feed_forward_of(body: nn.Module) -> nn.Module | None:
    """The feed-forward block of the last decoder layer, by the names that architectures give it."""
    stacks = [child for child in body.children() if isinstance(child, nn.ModuleList) and len(child)]
    if len(stacks) != 1:
        return None
    return next((getattr(stacks[0][-1], name) for name in NAMES if hasattr(stacks[0][-1], name)), None)


# ---- which models can
_KNOWN: WeakKeyDictionary[nn.Module, bool] = WeakKeyDictionary()


def _can(body: nn.Module) -> bool:
    if body not in _KNOWN:
        with torch.autocast(next(body.parameters()).device.type, enabled=False):  # whoever asks first
            _KNOWN[body] = _tried(body, feed_forward_of(body))
    return _KNOWN[body]


@torch.no_grad()
def _tried(body: nn.Module, block: nn.Module) -> bool:
    ids = torch.tensor(PROBE, device=next(body.parameters()).device)
    whole = body(input_ids=ids, use_cache=False).last_hidden_state.flatten(0, 1)[READ].float()
    try:
        with _only(block, _kept(block, READ)):
            found = body(input_ids=ids, use_cache=False).last_hidden_state.flatten(0, 1)[READ].float()
    except Exception:  # whatever a model's own code raises: it runs whole, as it did above
        return False
    exact = next(body.parameters()).dtype == torch.float32
    return bool((whole - found).abs().max() <= (1e-4 if exact else 5e-2) * whole.abs().max())
