"""Masks that keep completions behind one prompt apart: dense, or FlexAttention's, which skips what nobody looks at.

Segments [B, T] say what a token is: 0 the prompt, 1 and up the completions behind it, -1 padding. Which of the masks a
model takes, or neither, is for `packing.py`.
"""

import torch
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask, create_block_mask

FLEX_BLOCK = 128  # FlexAttention works in blocks of so many tokens


def takes_flex(device: torch.device) -> bool:
    """Whether FlexAttention is the fastest there."""
    return device.type == "cuda"


def dense_mask(segments: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """What is added to attention scores [B, 1, T, T], from segments [B, T]: 0 where a token may look, else -inf.

    A finite lowest value stands for -inf. Padding looks at itself, so that no row of the softmax is empty.
    """
    at = torch.arange(segments.shape[1], device=segments.device)
    seen = _may_look(segments[:, :, None], segments[:, None, :], at[:, None], at[None, :])
    lowest = torch.finfo(torch.float32 if dtype == torch.float32 else torch.bfloat16).min
    return torch.where(seen, 0.0, lowest).to(dtype if dtype.is_floating_point else torch.float32)[:, None]


def block_mask(segments: Tensor) -> BlockMask:
    """The same as a FlexAttention block mask, which skips whole blocks of tokens that nobody looks at."""

    def look(batch: Tensor, _head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        return _may_look(segments[batch, query], segments[batch, key], query, key)

    rows, width = segments.shape
    return create_block_mask(look, rows, None, width, width, device=segments.device)


def _may_look(own: Tensor, other: Tensor, query: Tensor, key: Tensor) -> Tensor:
    return (query >= key) & ((other == 0) | (other == own)) & ((other >= 0) | (query == key))
