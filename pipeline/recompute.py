"""Gradient checkpointing (Chen et al. 2016): of each layer only the input is kept, the backward makes the rest anew.

The switch of `transformers` acts in training mode only, which our models are never in, and knows nothing of what is
in use merely meanwhile: another attention, another adapter. Whatever is put in use for one forward says so by
`standing`, and a layer is made anew under the same. Forwards without gradients stay as they are.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from contextvars import ContextVar
from types import MethodType

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint
from transformers.modeling_layers import GradientCheckpointingLayer

from pipeline.job import Refused

Entry = Callable[[nn.Module], AbstractContextManager]  # from a layer: what it is to be made anew under

_STANDING: ContextVar[tuple[Entry, ...]] = ContextVar("standing", default=())


@contextmanager
def standing(entry: Entry) -> Iterator[None]:
    """Layers whose forward is meanwhile are made anew under `entry(layer)`, in whichever thread the backward is."""
    token = _STANDING.set((*_STANDING.get(), entry))
    try:
        yield
    finally:
        _STANDING.reset(token)


def recompute_layers(*models: nn.Module) -> None:
    """Let every layer of these models be made anew in the backward. Raises Refused for a model without such layers."""
    for model in models:
        layers = [module for module in model.modules() if isinstance(module, GradientCheckpointingLayer)]
        if not layers:
            kind = type(model).__name__
            raise Refused(f"gradient_checkpointing: {kind} has no layers that can be made anew; leave it off.")
        for layer in layers:
            layer.forward = MethodType(_forward, layer)  # a method, because a copied layer has to be its own


def is_made_anew(layer: nn.Module) -> bool:
    """Whether the backward makes this layer anew."""
    return getattr(layer.__dict__.get("forward"), "__func__", None) is _forward


def _forward(layer: nn.Module, *inputs: object, **options: object) -> object:
    return made_anew(layer, MethodType(type(layer).forward, layer), *inputs, **options)


def made_anew(layer: nn.Module, plain: Callable, *inputs: object, **options: object) -> object:
    """What a forward of the layer returns, of which its inputs alone are kept until the backward."""
    if not torch.is_grad_enabled():
        return plain(*inputs, **options)
    under = _Under(layer, _STANDING.get())
    return checkpoint(plain, *inputs, use_reentrant=False, context_fn=lambda: (nullcontext(), under), **options)


class _Under:
    """What stood at a layer's forward, to be entered for each backward."""

    def __init__(self, layer: nn.Module, entries: tuple[Entry, ...]):
        self.layer, self.entries, self.stack = layer, entries, ExitStack()

    def __enter__(self) -> None:
        self.stack = ExitStack()
        for entry in self.entries:
            self.stack.enter_context(entry(self.layer))

    def __exit__(self, *error: object) -> bool | None:
        return self.stack.__exit__(*error)
