"""One rounding under autocast where there are several.

Under autocast the residual stream stays in float32, so a norm's output is rounded to bfloat16 anew for each of the
products behind it (query, key, value; gate and up), and each rounding is undone again in the backward: here the norm
hands out what all of them would make of it. The rotary cosines and sines get the dtype of the queries they turn, as
in a model whose weights are bfloat16. Without autocast nothing changes.
"""

import torch
from torch import Tensor, nn

BEFORE_PRODUCTS = ("input_layernorm", "post_attention_layernorm")  # in layers that have these two norms and no other


def cast_once(model: nn.Module) -> nn.Module:
    """The model, with hooks on its norms before products and on its rotary embedding."""
    for module in model.modules():
        norms = [name for name, child in module.named_children() if "norm" in type(child).__name__.lower()]
        if sorted(norms) == sorted(BEFORE_PRODUCTS):
            for name in norms:
                getattr(module, name).register_forward_hook(_rounded)
        if type(module).__name__.endswith("RotaryEmbedding"):
            module.register_forward_hook(_rounded)
    return model


def _rounded(_module: nn.Module, _inputs: tuple, out: Tensor | tuple[Tensor, ...]) -> Tensor | tuple[Tensor, ...]:
    if isinstance(out, tuple):
        return tuple(_round(one) for one in out)
    return _round(out)


def _round(out: Tensor) -> Tensor:
    kind = out.device.type
    return out.to(torch.get_autocast_dtype(kind)) if torch.is_autocast_enabled(kind) else out
