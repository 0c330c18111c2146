"""How far annotators agree: Kendall's tau-b and W, Krippendorff's alpha, kappa and share of equal judgements.

Pure functions of storage's `answer_table`. All five are computed over what at least two people judged;
a figure that is not defined (nobody overlaps, everything is tied) is None. Answers without ranks
(all bad) take no part, and people are not weighed.
"""

from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from pipeline.comparisons import judgements, ranking_blocks


def agreement(answers: pa.Table) -> dict[str, float | None]:
    """The five figures of a report: kendall_tau_b, kendall_w, krippendorff_alpha_ordinal, pairwise_kappa,
    pairwise_agreement. tau-b is the mean over pairs of annotators and their shared tasks, W the mean over tasks."""
    blocks = list(shared_tasks(answers))
    share, kappa = pairwise_agreement(answers)
    return {
        "kendall_tau_b": _mean([kendall_tau_b(ranks) for ranks in blocks]),
        "kendall_w": _mean([kendall_w(ranks) for ranks in blocks]),
        "krippendorff_alpha_ordinal": krippendorff_alpha_ordinal(blocks),
        "pairwise_kappa": kappa,
        "pairwise_agreement": share,
    }


def shared_tasks(answers: pa.Table) -> Iterator[np.ndarray]:
    """Ranks (T, M, K) of the T tasks with K completions that exactly M >= 2 people ranked, one block per (M, K)."""
    tasks = answers["task_id"].to_numpy()
    for rows, _, _, ranks in ranking_blocks(answers):
        order = np.argsort(tasks[rows], kind="stable")
        _, starts, counts = np.unique(tasks[rows][order], return_index=True, return_counts=True)
        for raters in np.unique(counts[counts >= 2]):
            cells = starts[counts == raters][:, None] + np.arange(raters)
            yield ranks[order][cells]


def kendall_tau_b(ranks: np.ndarray) -> np.ndarray:
    """tau-b (Kendall 1945) of every two raters of every task: ranks (T, M, K) -> (T * M(M-1)/2,), NaN where
    a rater ties everything. tau_b = sum of sign products / sqrt(untied pairs of a * untied pairs of b)."""
    left, right = np.triu_indices(ranks.shape[2], k=1)
    signs = np.sign(ranks[:, :, right] - ranks[:, :, left]).astype(float)
    a, b = np.triu_indices(ranks.shape[1], k=1)
    both = (signs[:, a] * signs[:, b]).sum(axis=2)
    untied = np.abs(signs).sum(axis=2)
    return _ratio(both, np.sqrt(untied[:, a] * untied[:, b])).ravel()


def kendall_w(ranks: np.ndarray) -> np.ndarray:
    """Coefficient of concordance of each task, corrected for ties (Kendall and Babington Smith 1939; Siegel 1956):
    W = 12 S / (M^2 (K^3 - K) - M sum T), T = sum over ties of t^3 - t. (T, M, K) -> (T,), NaN if all is tied."""
    _, raters, size = ranks.shape
    equal = ranks[:, :, :, None] == ranks[:, :, None, :]
    ahead = (ranks[:, :, None, :] < ranks[:, :, :, None]).sum(axis=3)
    tied = equal.sum(axis=3)  # how many share this place, itself included: sum of t^3 - t is sum of t^2 - 1 here
    places = ahead + (tied + 1) / 2
    totals = places.sum(axis=1)
    deviation = ((totals - totals.mean(axis=1, keepdims=True)) ** 2).sum(axis=1)
    correction = (tied.astype(float) ** 2 - 1).sum(axis=(1, 2))
    return _ratio(12 * deviation, raters**2 * (size**3 - size) - raters * correction)


def krippendorff_alpha_ordinal(blocks: list[np.ndarray]) -> float | None:
    """alpha with the ordinal metric (Krippendorff 2011, "Computing Krippendorff's alpha-reliability", eqs. D, E).

    Units are the completions of a task, values the ranks its annotators gave, blocks as of `shared_tasks`.
    """
    if not blocks:
        return None
    values = np.unique(np.concatenate([np.unique(ranks) for ranks in blocks]))
    together = np.zeros((len(values), len(values)))
    for ranks in blocks:
        together += _coincidences(np.searchsorted(values, ranks), len(values))
    totals = together.sum(axis=1)
    through = np.cumsum(totals)
    # delta(c, k): the values from c to k, the two ends counted by half
    between = np.abs((through - totals / 2)[:, None] - (through - totals / 2)[None, :]) ** 2
    expected = (np.outer(totals, totals) * between).sum()
    if expected == 0:
        return None
    return float(1 - (totals.sum() - 1) * (together * between).sum() / expected)


def pairwise_agreement(answers: pa.Table) -> tuple[float | None, float | None]:
    """Share of equal judgements and its kappa, over all pairs of completions that two people judged.

    Two judgements are equal when both say better, both worse or both tie. kappa = (pA - pE) / (1 - pE) with
    pE = pTie^2 + 2 ((1 - pTie) / 2)^2, pTie over all judgements (Bojar et al. 2016, WMT16 findings, section 3).
    """
    judged = judgements(answers)
    if not len(judged["person"]):
        return None, None
    outcome = np.sign(judged["margin"])
    agree, comparable = _equal_pairs(outcome, judged["first"], judged["second"])
    # somebody who met a pair in two tasks does not agree with herself
    own_agree, own_comparable = _equal_pairs(outcome, judged["first"], judged["second"], judged["person"])
    agree, comparable = agree - own_agree, comparable - own_comparable
    if comparable == 0:
        return None, None
    share, ties = agree / comparable, float(np.mean(outcome == 0))
    chance = ties**2 + 2 * ((1 - ties) / 2) ** 2
    return share, (share - chance) / (1 - chance) if chance < 1 else None


def _equal_pairs(outcome: np.ndarray, *keys: np.ndarray) -> tuple[int, int]:
    """Among judgements with equal keys: how many two of them are equal, and how many two there are."""
    order = np.lexsort(keys)
    fresh = np.zeros(len(order), dtype=bool)
    for key in keys:
        fresh[1:] |= key[order][1:] != key[order][:-1]
    group = np.cumsum(fresh)
    counts = np.stack([np.bincount(group, weights=outcome[order] == side) for side in (-1, 0, 1)])
    return int(_two_of(counts).sum()), int(_two_of(counts.sum(axis=0)).sum())


def _two_of(counts: np.ndarray) -> np.ndarray:
    return counts * (counts - 1) / 2


def _coincidences(codes: np.ndarray, size: int) -> np.ndarray:
    """How often two values met in one unit, each unit weighing 1 / (M - 1): codes (T, M, K) -> (size, size)."""
    tasks, raters, items = codes.shape
    unit = np.arange(tasks * items).reshape(tasks, 1, items)
    counts = np.bincount((unit * size + codes).ravel(), minlength=tasks * items * size).reshape(-1, size).astype(float)
    return (counts.T @ counts - np.diag(counts.sum(axis=0))) / (raters - 1)


def _ratio(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    return np.divide(above, below, out=np.full(np.shape(above), np.nan), where=below > 0)


def _mean(parts: list[np.ndarray]) -> float | None:
    values = np.concatenate([*parts, np.zeros(0)])
    values = values[np.isfinite(values)]
    return float(values.mean()) if len(values) else None
