"""The last layer of Llama and its kin at the positions whose states are read, on a CPU.

What the last layer makes of a token is seen by nobody where its state is not read: there it needs neither a query nor
a sum nor a feed-forward block, only the key and the value that others look at. A reward model reads one position per
completion; a policy none of its prompt but the last. Which models it fits is tried on a few tokens, never assumed; the
others are spared their last feed-forward block alone (`last_feed_forward.py`).

Shapes: S tokens of the row that `prefix_attention.py` lays out, M of them that ask, N that are read, H heads of size
d, D hidden size.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from pipeline.frozen_layers import layers_of, norms_of
from pipeline.last_feed_forward import feeding_forward_at
from pipeline.precision import agree, width_multiple
from pipeline.prefix_attention import Cluster, attend_at, attending, attention, lay_out, shapes_of
from pipeline.recompute import is_made_anew, made_anew
from pipeline.rotations import Rotation, signed

PARTS = {"self_attn", "mlp", "input_layernorm", "post_attention_layernorm"}
PRODUCTS = {"q_proj", "k_proj", "v_proj", "o_proj"}
PROBE = [([1, 2, 3], [[4, 5], [6, 7, 8]]), ([5, 6, 7, 1], [[2, 9]])]


@dataclass(frozen=True)
class Asking:
    """Who asks: per piece of the row the tokens of each sequence that do, their places [M], and which are read [N]."""

    tokens: list[range]
    places: Tensor
    read: Tensor  # among the M
    read_places: Tensor  # among the S


@contextmanager
def last_layer_at(body: nn.Module, clusters: tuple[Cluster, ...], positions: Sequence[int]) -> Iterator[Sequence[int]]:
    """Meanwhile the last layer of a body that attends by these clusters makes the states of these positions alone.

    Yields where they are in the body's output. Positions may come several times.
    """
    layer = _layer_of(body)
    if layer is None:
        with feeding_forward_at(body, positions) as found_at:
            yield found_at
        return
    with _working_at(layer, _asking(clusters, positions, next(layer.parameters()).device)):
        yield range(len(positions))


@contextmanager
def _working_at(layer: nn.Module, asking: Asking) -> Iterator[None]:
    plain, before = partial(_forward, layer, asking), layer.__dict__.get("forward")
    layer.forward = partial(made_anew, layer, plain) if is_made_anew(layer) else plain
    try:
        yield
    finally:
        if before is None:
            del layer.forward
        else:
            layer.forward = before


def _forward(
    layer: nn.Module, asking: Asking, hidden_states: Tensor, *_: object, position_embeddings: tuple, **_options: object
) -> Tensor:
    """[1, N, D] of the layer's input [1, S, D]."""
    own, states = layer.self_attn, layer.input_layernorm(hidden_states)[0]
    cos, sin = (one[0] for one in position_embeddings)
    asked = states.index_select(0, asking.places)
    query = _rotated(own.q_proj(asked), own.head_dim, cos[asking.places], sin[asking.places])
    key, value = _rotated(own.k_proj(states), own.head_dim, cos, sin), _heads(own.v_proj(states), own.head_dim)
    query, key, value = (one.transpose(0, 1)[None] for one in (query, key, value))
    found = attend_at(own, query, key, value, asking.tokens, scaling=own.scaling).flatten(1)  # [M, H d]
    read = hidden_states[0].index_select(0, asking.read_places)[None]
    read = read + own.o_proj(found.index_select(0, asking.read)[None])
    return read + layer.mlp(layer.post_attention_layernorm(read))


def _rotated(states: Tensor, size: int, cos: Tensor, sin: Tensor) -> Tensor:
    """[M, H, d] of a product [M, H d], turned by cos and sin [M, d]."""
    return Rotation.apply(_heads(states, size), cos[:, None], signed(sin)[:, None])


def _heads(states: Tensor, size: int) -> Tensor:
    return states.unflatten(-1, (-1, size))


# ---- who asks
def _asking(clusters: tuple[Cluster, ...], positions: Sequence[int], device: torch.device) -> Asking:
    """The fewest tokens that are the same ones of every sequence of a piece, the positions among them."""
    read_places = torch.tensor(positions)
    read, tokens, places = torch.zeros_like(read_places), [], []
    start, before = 0, 0
    for count, length in shapes_of(clusters):
        mine = (read_places >= start) & (read_places < start + count * length)
        within = read_places[mine] - start
        number, token = within // length, within % length
        asking = range(int(token.min()), int(token.max()) + 1) if len(token) else range(0)
        read[mine] = before + number * len(asking) + token - asking.start
        firsts = torch.arange(start, start + count * length, length)
        places.append((firsts[:, None] + torch.arange(asking.start, asking.stop)).flatten())
        tokens.append(asking)
        start, before = start + count * length, before + count * len(asking)
    return Asking(tokens, *(_evened(one, device) for one in (torch.cat(places), read, read_places)))


def _evened(places: Tensor, device: torch.device) -> Tensor:
    """The places, and the first one again until their number is a good one for products."""
    more = -len(places) % width_multiple(device)
    return torch.cat([places, places[:1].expand(more)]).to(device)


# ---- which models it fits
_KNOWN: WeakKeyDictionary[nn.Module, bool] = WeakKeyDictionary()


def _layer_of(body: nn.Module) -> nn.Module | None:
    """The last layer of a body that it fits."""
    layers = layers_of(body)
    if layers is None or not _looks_like_it(body, layers[-1]):
        return None
    if body not in _KNOWN:
        with torch.autocast(next(body.parameters()).device.type, enabled=False):  # whoever asks first
            _KNOWN[body] = _can(body, layers[-1])
    return layers[-1] if _KNOWN[body] else None


def _looks_like_it(body: nn.Module, layer: nn.Module) -> bool:
    return _names(layer) == PARTS and _names(layer.self_attn) == PRODUCTS and len(norms_of(body)) == 1


def _names(module: nn.Module) -> set[str]:
    return {name for name, _ in module.named_children()}


@torch.no_grad()
def _can(body: nn.Module, layer: nn.Module) -> bool:
    device = next(body.parameters()).device
    layout = lay_out(PROBE, device, width_multiple(device))
    read = [layout.prompts[0] + 2, *(start + 1 for starts in layout.completions for start in starts)]
    ids, positions = (torch.tensor([values], device=device) for values in (layout.ids, layout.positions))

    def states() -> Tensor:
        with attending(layout.clusters) as name, attention(body, name):
            return body(input_ids=ids, position_ids=positions, use_cache=False).last_hidden_state[0].float()

    whole = states()[read]
    try:
        with _working_at(layer, _asking(layout.clusters, read, device)):
            found = states()[: len(read)]
    except Exception:  # whatever a model's own code raises: it runs as it is
        return False
    return agree(whole, found, next(body.parameters()).dtype)
