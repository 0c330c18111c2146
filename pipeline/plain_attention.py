"""Attention by plain matrix products, in the fewest passes over the scores: the faster one for short CPU sequences.

The fused kernel's backward costs more there, in bfloat16 several times as much, and autograd's own takes two passes
more each way. Only the probabilities are kept; what a mask drops is added as minus infinity, in place. Queries and
keys are padded to a multiple of EVEN, at which the products are up to half as long.

Shapes: n sequences, H heads, Q queries and K keys of each (Q', K' padded), d their size.
"""

import torch
from torch import Tensor

SHORT = {torch.float32: 64, torch.bfloat16: 256}  # keys up to which it is the faster one on a CPU
EVEN = 16
KNOWN = {"scaling", "dropout", "position_ids", "use_cache", "output_attentions"}  # what it heeds, or needs not


def is_short(query: Tensor, key: Tensor, options: dict) -> bool:
    """Whether `attend_plainly` is the faster one for keys [n, H, K, d], and has what these options ask for."""
    others = {name for name, value in options.items() if value is not None} - KNOWN
    return (
        key.device.type == "cpu"
        and key.shape[2] <= SHORT.get(_kind(query), 0)
        and not options.get("dropout")
        and not others
    )


def attend_plainly(query: Tensor, key: Tensor, value: Tensor, seen: Tensor | None, scaling: float | None) -> Tensor:
    """[n, Q, H, d] for query [n, H, Q, d] and keys and values [n, H or fewer, K, d].

    seen is a mask [1 or n, 1, Q, K], True where a query may look; without one attention is causal.
    """
    queries, keys, kind = query.shape[2], key.shape[2], _kind(query)
    groups = query.shape[1] // key.shape[1]
    if groups > 1:
        key, value = (one.repeat_interleave(groups, 1) for one in (key, value))
    if seen is None:
        seen = torch.ones(queries, keys, dtype=torch.bool).tril()[None, None]
    barred = torch.full((len(seen), 1, _even(queries), _even(keys)), -torch.inf, dtype=kind)
    barred[:, :, :queries, :keys].masked_fill_(seen, 0)
    barred[:, :, queries:, 0] = 0  # the padding's own queries have to see something
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    with torch.autocast("cpu", enabled=False):
        return PlainAttention.apply(query.to(kind), key.to(kind), value.to(kind), barred, scale)


def _kind(query: Tensor) -> torch.dtype:
    """What the products are made in."""
    return torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else query.dtype


def _even(length: int) -> int:
    return -(-length // EVEN) * EVEN


class PlainAttention(torch.autograd.Function):
    """softmax(scale q k^T + barred) v."""

    @staticmethod
    def forward(ctx, query: Tensor, key: Tensor, value: Tensor, barred: Tensor, scale: float) -> Tensor:
        """[n, Q, H, d], with barred [1 or n, 1, Q', K']."""
        q, k, v = (_flat(one) for one in (query, key, value))  # [nH, Q' or K', d]
        scores = torch.baddbmm(q.new_empty(()), q, k.transpose(1, 2), beta=0, alpha=scale)
        scores.unflatten(0, query.shape[:2]).add_(barred)
        seen = torch.softmax(scores, -1)
        ctx.save_for_backward(q, k, v, seen)
        ctx.scale, ctx.shapes = scale, (query.shape, key.shape, value.shape)
        return _back(torch.bmm(seen, v), query.shape).transpose(1, 2)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, slope: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None]:
        """To query, key and value."""
        q, k, v, seen = ctx.saved_tensors
        slope = _flat(slope.transpose(1, 2))
        to_seen = torch.bmm(slope, v.transpose(1, 2))
        to_scores = torch._softmax_backward_data(to_seen, seen, -1, seen.dtype)
        none = q.new_empty(())
        to_query = torch.baddbmm(none, to_scores, k, beta=0, alpha=ctx.scale)
        to_key = torch.baddbmm(none, to_scores.transpose(1, 2), q, beta=0, alpha=ctx.scale)
        to_value = torch.bmm(seen.transpose(1, 2), slope)
        found = zip((to_query, to_key, to_value), ctx.shapes, strict=True)
        return *(_back(one, shape) for one, shape in found), None, None


def _flat(states: Tensor) -> Tensor:
    """[n, H, L, d] to [nH, L', d], zeros behind."""
    n, heads, length, size = states.shape
    if length == _even(length):
        return states.reshape(-1, length, size)
    padded = states.new_zeros(n, heads, _even(length), size)
    padded[:, :, :length] = states
    return padded.flatten(0, 1)


def _back(flat: Tensor, shape: torch.Size) -> Tensor:
    return flat.unflatten(0, shape[:2])[:, :, : shape[2]]
