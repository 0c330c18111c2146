"""Statistics over rankings that say how far to trust them: each annotator's agreement with the others, position bias.

Pure functions of storage's `answer_table`. Shares of rules and results of checks are counted in storage/quality.py.
"""

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.comparisons import judgements

Z = 1.959963984540054  # of a two-sided 95 % interval


@dataclass(frozen=True)
class Share:
    """A share with its 95 % interval and how much it was taken over."""

    value: float
    low: float
    high: float
    n: int


@dataclass(frozen=True)
class PlaceShare:
    """How often the completion shown at a place came first, among tasks with k completions. A tie for the first
    place counts in parts; by chance it is 1 / k."""

    k: int
    place: str
    share: Share

    @property
    def verdict(self) -> str:
        """more or less often than by chance, or "" where the interval holds 1 / k."""
        chance = 1 / self.k
        return "more" if self.share.low > chance else "less" if self.share.high < chance else ""


def agreement_by_person(answers: pa.Table) -> dict[int, Share]:
    """Per person, the share of other people's judgements of the same two completions that equal theirs.

    Two judgements are equal when both say better, both worse or both tie, as in `agreement.pairwise_agreement`. n
    counts the judgements of others they are compared with; people who share no pair with anybody are left out.
    """
    judged = judgements(answers)
    if not len(judged["person"]):
        return {}
    people, person = np.unique(judged["person"], return_inverse=True)
    pairs, pair = np.unique(np.stack([judged["first"], judged["second"]]), axis=1, return_inverse=True)
    pair, outcome = pair.ravel(), np.sign(judged["margin"]).astype(int) + 1
    said = np.zeros((pairs.shape[1], 3))
    np.add.at(said, (pair, outcome), 1)
    own_keys, own = np.unique(pair * len(people) + person, return_inverse=True)
    own_said = np.zeros((len(own_keys), 3))
    np.add.at(own_said, (own.ravel(), outcome), 1)
    others = said[pair] - own_said[own.ravel()]
    equal = np.bincount(person, weights=others[np.arange(len(pair)), outcome], minlength=len(people))
    compared = np.bincount(person, weights=others.sum(axis=1), minlength=len(people))
    return {
        int(one): wilson(equal[i] / compared[i], int(compared[i])) for i, one in enumerate(people) if compared[i] > 0
    }


def position_bias(answers: pa.Table, without: Collection[int] = ()) -> list[PlaceShare]:
    """How often each place shown, A first, holds the best completion; for each k that occurs, fewest first.

    without: people whose answers were shown to nobody, such as imported ones. Rankings that tie everything say nothing.
    """
    rows = answers.filter(pc.is_valid(answers["ranks"])).select(["person_id", "completion_ids", "ranks", "shown"])
    firsts: dict[int, list[np.ndarray]] = {}
    for row in rows.to_pylist():
        best = {c for c, rank in zip(row["completion_ids"], row["ranks"], strict=True) if rank == 1}
        if row["person_id"] not in without and len(best) < len(row["shown"]):
            won = np.array([c in best for c in row["shown"]], dtype=float)
            firsts.setdefault(len(won), []).append(won / won.sum())
    return [
        PlaceShare(k, "ABCDEFGHI"[place], wilson(float(share), len(firsts[k])))
        for k in sorted(firsts)
        for place, share in enumerate(np.mean(firsts[k], axis=0))
    ]


def wilson(share: float, n: int) -> Share:
    """A share with its score interval (Wilson 1927, JASA 22: 209–212): centre (p + z²/2n) / (1 + z²/n)."""
    centre = (share + Z**2 / (2 * n)) / (1 + Z**2 / n)
    half = Z / (1 + Z**2 / n) * np.sqrt(share * (1 - share) / n + Z**2 / (4 * n**2))
    return Share(share, float(max(0.0, centre - half)), float(min(1.0, centre + half)), n)
