"""Rotary positions (Su et al. 2021, eq. 34) in three passes over the states, for queries and keys of our own layers.

A rotation is x cos + (x with its halves swapped) sin, where the first half of sin is negative: `signed` makes it so.

Shapes: M tokens, H heads of size d; cos and sin broadcast over the heads.
"""

import torch
from torch import Tensor


def signed(sin: Tensor) -> Tensor:
    """sin [..., d] as a model has it, its first half negative."""
    first, second = sin.chunk(2, -1)
    return torch.cat([-first, second], -1)


def turned(states: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """States [..., d] turned by cos and a signed sin."""
    return torch.addcmul(states * cos, swapped(states), sin)


def swapped(states: Tensor) -> Tensor:
    """The halves of [..., d] in each other's place."""
    return states.roll(states.shape[-1] // 2, -1)


class Rotation(torch.autograd.Function):
    """`turned` with a backward as short; cos and sin get no gradient."""

    @staticmethod
    def forward(ctx, states: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        """[M, H, d] of states [M, H, d], cos and signed sin [M, 1, d]."""
        ctx.save_for_backward(cos, sin)
        return turned(states, cos, sin)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, slope: Tensor) -> tuple[Tensor, None, None]:
        """The turn back."""
        cos, sin = ctx.saved_tensors
        return turned(slope, cos, swapped(sin)), None, None
