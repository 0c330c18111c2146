"""Training the last layers of a model only: the layers below are frozen, and their states serve every pass.

What a frozen trunk makes of a text never changes, so PPO runs it once per completion and rollout; all passes of the
update, and the reference, begin behind it (the "hydra" of Castricato et al. 2023, trlX). Which models can begin there
is tried on a few tokens, never assumed; one that cannot runs whole every time, with the same results.

Shapes: B rows of T tokens, S = B x T places, D hidden size.
"""

from collections.abc import Hashable, Iterator, Sequence
from contextlib import contextmanager
from types import MethodType

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from pipeline.job import Refused

NORMS_FIRST = ("input_layernorm", "ln_1")  # what a layer does first, of a trunk's states
PROBE = [[1, 2, 3, 4], [5, 6, 7, 1]]
Span = tuple[tuple[int, ...], int]  # the tokens of one text, and the first of their places among S


class KeptStates:
    """States of texts, by what names them, until they are forgotten."""

    def __init__(self):
        self.known: dict[Hashable, Tensor] = {}

    def of(self, names: Sequence[Hashable]) -> list[Tensor] | None:
        """Those of all these texts, or None where one is missing."""
        found = [self.known.get(name) for name in names]
        return None if any(one is None for one in found) else found

    def keep(self, names: Sequence[Hashable], parts: Sequence[Tensor]) -> None:
        """Remember them."""
        self.known.update(zip(names, parts, strict=True))

    def forget(self) -> None:
        """All of them: what comes next is made anew, as a resumed run would."""
        self.known.clear()


class Trunk:
    """The first `depth` layers of a body, frozen, with the states they made last."""

    def __init__(self, depth: int):
        self.depth, self.kept = depth, KeptStates()

    @contextmanager
    def under(self, body: nn.Module, spans: Sequence[Span]) -> Iterator[None]:
        """One forward meanwhile begins behind the trunk where all its texts are known, else it is whole and is kept."""
        names = [tokens for tokens, _ in spans]
        known = self.kept.of(names)
        if known is not None:
            with _beginning_at(body, self.depth, known, spans):
                yield
            return
        with _caught(body, self.depth) as caught:
            yield
        flat = caught[0].flatten(0, 1)
        self.kept.keep(names, [flat[start : start + len(tokens)] for tokens, start in spans])


@contextmanager
def _caught(body: nn.Module, depth: int) -> Iterator[list[Tensor]]:
    """What goes into a layer [B, T, D] meanwhile."""
    caught: list[Tensor] = []
    handle = layers_of(body)[depth].register_forward_pre_hook(
        lambda _module, inputs, options: caught.append(_states(inputs, options).detach()), with_kwargs=True
    )
    try:
        yield caught
    finally:
        handle.remove()


@contextmanager
def _beginning_at(body: nn.Module, depth: int, known: Sequence[Tensor], spans: Sequence[Span]) -> Iterator[None]:
    """Layers below pass their input on meanwhile, and the one at `depth` gets these states instead of it."""
    device = known[0].device
    where = torch.cat([torch.arange(start, start + len(tokens), device=device) for tokens, start in spans])
    states = torch.cat(list(known))

    def put(_module: nn.Module, inputs: tuple, options: dict) -> tuple[tuple, dict]:
        shape = _states(inputs, options).shape
        placed = states.new_zeros(shape[0] * shape[1], shape[2]).index_copy_(0, where, states).view(shape)
        return ((placed, *inputs[1:]), options) if inputs else (inputs, {**options, "hidden_states": placed})

    layers = layers_of(body)
    before = [layer.__dict__.get("forward") for layer in layers[:depth]]
    handle = layers[depth].register_forward_pre_hook(put, with_kwargs=True)
    for layer in layers[:depth]:
        layer.forward = MethodType(_passing, layer)
    try:
        yield
    finally:
        handle.remove()
        for layer, own in zip(layers[:depth], before, strict=True):
            if own is None:
                del layer.forward
            else:
                layer.forward = own


def _passing(_layer: nn.Module, *inputs: object, **options: object) -> object:
    return _states(inputs, options)


def _states(inputs: tuple, options: dict) -> Tensor:
    return inputs[0] if inputs else options["hidden_states"]


def layers_of(body: nn.Module) -> nn.ModuleList | None:
    """The decoder layers of a body, None where there is not one stack of them."""
    stacks = [child for child in body.children() if isinstance(child, nn.ModuleList) and len(child)]
    return stacks[0] if len(stacks) == 1 else None


def norms_of(body: nn.Module) -> list[nn.Module]:
    """The norms around the layers."""
    return [child for child in body.children() if "norm" in type(child).__name__.lower()]


# ---- what learns
def train_last_layers(model: PreTrainedModel, count: int) -> tuple[Trunk | None, list[str]]:
    """Freeze all but the last `count` layers, the norm behind them, and an output head that is not the embedding's too.

    The norm that the first of these layers begins with is frozen: a gradient for its few weights alone would cost as
    much as that of the states below. Of an adapter that is there the same layers learn. Returns the trunk, None where
    the model cannot begin behind it, and what to know as sentences. 0 changes nothing. Raises Refused for a count that
    no layers can be left out of.
    """
    if not count:
        return None, []
    body = model.get_decoder()
    layers = layers_of(body)
    if layers is None or count >= len(layers):
        have = "no stack of layers" if layers is None else f"{len(layers)} layers"
        raise Refused(f"trained_layers: found {count}, and {type(body).__name__} has {have}; take fewer, or 0 for all.")
    whole = sum(weight.numel() for weight in model.parameters())
    _freeze(model, body, layers[-count:])
    learning = sum(weight.numel() for weight in model.parameters() if weight.requires_grad)
    notes = [f"The last {count} of {len(layers)} layers were trained: {learning:,} of {whole:,} weights."]
    trunk = Trunk(len(layers) - count)
    if _can(body, trunk.depth):
        return trunk, notes
    return None, [*notes, f"{type(body).__name__} cannot begin at a later layer, so frozen layers ran in every pass."]


def _freeze(model: PreTrainedModel, body: nn.Module, last: Sequence[nn.Module]) -> None:
    open_to = {id(weight) for module in (*last, *norms_of(body)) for weight in module.parameters()}
    for first in (getattr(last[0], name, None) for name in NORMS_FIRST):
        open_to -= {id(weight) for weight in first.parameters()} if first is not None else set()
    head, embedding = model.get_output_embeddings(), model.get_input_embeddings()
    if head is not None and head.weight is not embedding.weight:
        open_to |= {id(weight) for weight in head.parameters()}
    for weight in model.parameters():
        weight.requires_grad_(weight.requires_grad and id(weight) in open_to)


@torch.no_grad()
def _can(body: nn.Module, depth: int) -> bool:
    device = next(body.parameters()).device
    ids = torch.tensor(PROBE, device=device)
    spans = [(tuple(row), at * len(row)) for at, row in enumerate(PROBE)]
    trunk = Trunk(depth)
    try:
        with torch.autocast(device.type, enabled=False):  # whoever asks
            found = []
            for _ in range(2):  # whole, and behind the trunk
                with trunk.under(body, spans):
                    found.append(body(input_ids=ids, use_cache=False).last_hidden_state.float())
    except Exception:  # whatever a model's own code raises: it runs whole
        return False
    whole, behind = found
    return bool((whole - behind).abs().max() <= 1e-5 * whole.abs().max())
