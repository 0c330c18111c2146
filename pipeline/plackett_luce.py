"""Rankings from pooled comparisons, and their likelihood under Plackett-Luce (Luce 1959; Plackett 1975).

Pure maths for `preference_losses.py`: no model, no data, no device.
"""

import itertools
import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

SAME = 1e-9  # mean preferences closer than this are a tie


@dataclass(frozen=True)
class Consensus:
    """The pooled order of completions that were compared: tiers from best to worst, those in one tier tie.

    agreement is the weighted mean preference for the higher one over pairs of different tiers (1 without any);
    weight is the summed weight of the pairs.
    """

    tiers: list[list[int]]
    agreement: float
    weight: float


def consensus(
    indices: Sequence[Sequence[int]], preferences: Sequence[float], weights: Sequence[float]
) -> list[Consensus]:
    """One order for each set of completions that comparisons connect, by mean preference (Borda 1781)."""
    won: dict[int, float] = defaultdict(float)
    seen: dict[int, float] = defaultdict(float)
    for (first, second), preference, weight in zip(indices, preferences, weights, strict=True):
        won[first] += weight * preference
        won[second] += weight * (1 - preference)
        seen[first] += weight
        seen[second] += weight
    share = {i: won[i] / seen[i] if seen[i] else 0.5 for i in seen}
    rows = list(zip(indices, preferences, weights, strict=True))
    orders = []
    for members in _connected(indices):
        own = [row for row in rows if row[0][0] in members]
        orders.append(Consensus(_tiers(members, share), _agreement(own, share), sum(w for _, _, w in own)))
    return orders


def ordered_log_likelihood(scores: Tensor, tiers: Sequence[Sequence[int]]) -> Tensor:
    """log P(order) from scores [N]; for a tie, the mean over all orders it leaves open, exactly.

    A tier of t members costs 2^t - 1 terms instead of t! orders: after m of them are placed, every subset of
    the other t - m is equally likely to be what is left.
    """
    total = scores.sum() * 0.0
    below = scores.new_full((1,), -torch.inf)
    for tier in reversed(tiers):
        own = scores[list(tier)]
        masks, shares = _subsets(len(tier))
        left = torch.where(masks.to(own.device), own, -torch.inf)  # [2^t - 1, t]
        remaining = torch.cat([left, below.expand(len(left), -1)], dim=1).logsumexp(1)
        total = total + own.sum() - (shares.to(own) * remaining).sum()
        below = torch.cat([below, own])
    return total


@cache
def _subsets(size: int) -> tuple[Tensor, Tensor]:
    """Every subset that is not empty as a mask [2^t - 1, t], and how likely it is to be what is left of its size."""
    masks = [m for m in itertools.product((False, True), repeat=size) if any(m)]
    with torch.inference_mode(False):  # kept for later calls, which may want a gradient
        shares = [1 / math.comb(size, sum(m)) for m in masks]
        return torch.tensor(masks), torch.tensor(shares, dtype=torch.float64)


def _connected(indices: Sequence[Sequence[int]]) -> list[set[int]]:
    of: dict[int, set[int]] = {}
    for first, second in indices:
        joined = of.get(first, {first}) | of.get(second, {second})
        for member in joined:
            of[member] = joined
    return list({id(members): members for members in of.values()}.values())


def _tiers(members: set[int], share: dict[int, float]) -> list[list[int]]:
    tiers: list[list[int]] = []
    for i in sorted(members, key=lambda i: (-share[i], i)):
        if tiers and share[tiers[-1][0]] - share[i] < SAME:
            tiers[-1].append(i)
        else:
            tiers.append([i])
    return tiers


def _agreement(rows: Sequence, share: dict[int, float]) -> float:
    told, weight = 0.0, 0.0
    for (first, second), preference, w in rows:
        lead = share[first] - share[second]
        if abs(lead) >= SAME:
            told += w * (preference if lead > 0 else 1 - preference)
            weight += w
    return told / weight if weight else 1.0
