"""Bradley-Terry strengths with intervals, and win rates with intervals, from weighted comparisons.

A tie is half a win for each side. Pure numpy on arrays: it knows no models, prompts or tables; `leaderboard.py`
brings those. Intervals are robust to the comparisons of one cluster (a prompt) not being independent.
"""

from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

Z95 = NormalDist().inv_cdf(0.975)


@dataclass(frozen=True)
class Pairs:
    """P comparisons between I items: first and second (P,) are item numbers 0..I-1, preference (P,) is 1 where
    the first won, 0.5 a tie; weight (P,) above 0; cluster (P,) numbers what is not independent (a prompt)."""

    items: int
    first: np.ndarray
    second: np.ndarray
    preference: np.ndarray
    weight: np.ndarray
    cluster: np.ndarray

    def where(self, keep: np.ndarray) -> "Pairs":
        """The comparisons at the given rows or under the given mask."""
        columns = (self.first, self.second, self.preference, self.weight, self.cluster)
        return Pairs(self.items, *(column[keep] for column in columns))

    @property
    def wins(self) -> np.ndarray:
        """(I, I) weighted wins of row over column."""
        table = np.zeros((self.items, self.items))
        np.add.at(table, (self.first, self.second), self.weight * self.preference)
        np.add.at(table, (self.second, self.first), self.weight * (1 - self.preference))
        return table


@dataclass(frozen=True)
class Strengths:
    """What `fit` found: log strengths (I,), their covariance (I, I), the component (I,) each item belongs to,
    and the number of clusters per component. P(a beats b) = 1 / (1 + exp(strength b - strength a)).

    Strengths have mean 0 within a component; across components they say nothing.
    """

    values: np.ndarray
    covariance: np.ndarray
    component: np.ndarray
    clusters: np.ndarray

    def difference(self, a: int, b: int) -> tuple[float, float, float]:
        """Log strength of a above b with its 95 % interval. Raises ValueError if nothing links a and b."""
        if self.component[a] != self.component[b]:
            raise ValueError(f"items {a} and {b}: found no chain of comparisons between them, expected one")
        variance = self.covariance[a, a] + self.covariance[b, b] - 2 * self.covariance[a, b]
        reach = student95(int(self.clusters[self.component[a]]) - 1) * np.sqrt(max(variance, 0.0))
        middle = float(self.values[a] - self.values[b])
        return middle, middle - float(reach), middle + float(reach)


def fit(pairs: Pairs) -> Strengths:
    """Maximum likelihood strengths (Bradley and Terry 1952) by Newton's method, a tie as half a win each.

    1. Items that no chain of comparisons links are fitted apart, each component with mean 0.
    2. The maximum exists where wins lead from every item to every other (Ford 1957). Where they do not, as
       when one model won every time, every two items that met also tie once more, with the mean weight they have
       per cluster, in a cluster of its own; so strengths and intervals stay finite.
    3. Intervals come from the cluster sandwich H^-1 (sum over clusters of g g') H^-1 * G / (G - 1), where g is
       a cluster's score (Liang and Zeger 1986), with Student's t for G - 1 clusters. To that sum every two items
       that met add half a win in one cluster, so that nothing but ties does not look like certainty.
    """
    met = pairs.wins + pairs.wins.T > 0
    component = _labels(_reachable(met))
    values, covariance = np.zeros(pairs.items), np.zeros((pairs.items, pairs.items))
    clusters = np.ones(component.max(initial=-1) + 1, dtype=np.int64)
    for label in range(len(clusters)):
        members = np.flatnonzero(component == label)
        part = _renumbered(pairs.where(component[pairs.first] == label), members)
        if len(part.first) == 0:
            continue
        if not _reachable(part.wins > 0).all():
            part = _with_ties(part)
        values[members], covariance[np.ix_(members, members)] = _fit_component(part)
        clusters[label] = len(np.unique(part.cluster))
    return Strengths(values, covariance, component, clusters)


def win_rate(preference: np.ndarray, weight: np.ndarray, cluster: np.ndarray) -> tuple[float, float, float]:
    """Weighted mean preference with its 95 % interval, robust to clusters.

    Wilson's interval (1927) with the number of independent judgements that gives the cluster-robust variance
    v: n = p (1 - p) / v. All wins (or losses) have v = 0; there n is Kish's count of clusters,
    (sum w)^2 / sum w^2. n never passes G^2 for G clusters: one prompt might have come out half a win apart.
    Raises ValueError without a comparison.
    """
    if len(preference) == 0:
        raise ValueError("preference: found no comparison, expected at least one")
    rate = float(np.average(preference, weights=weight))
    _, codes = np.unique(cluster, return_inverse=True)
    totals = np.bincount(codes, weights=weight)
    residuals = np.bincount(codes, weights=weight * (preference - rate))
    count = len(totals)
    independent = float(totals.sum() ** 2 / (totals**2).sum())
    if count > 1 and 1e-12 < rate < 1 - 1e-12:
        variance = count / (count - 1) * float((residuals**2).sum()) / float(totals.sum()) ** 2
        independent = rate * (1 - rate) / max(variance, rate * (1 - rate) / count**2)
    return rate, *wilson(rate, independent)


def wilson(rate: float, count: float) -> tuple[float, float]:
    """Wilson's 95 % score interval of a share `rate` of `count` independent judgements."""
    shrink = 1 + Z95**2 / count
    middle = (rate + Z95**2 / (2 * count)) / shrink
    reach = Z95 / shrink * np.sqrt(rate * (1 - rate) / count + Z95**2 / (4 * count**2))
    return float(max(middle - reach, 0.0)), float(min(middle + reach, 1.0))


def student95(freedom: int) -> float:
    """The 0.975 quantile of Student's t; from 3 degrees on by the expansion in 1/freedom (Abramowitz and Stegun
    26.7.5), within 0.01."""
    exact = {1: 12.7062, 2: 4.3027}
    if freedom < 3:
        return exact[max(freedom, 1)]
    z, v = Z95, float(freedom)
    terms = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160,
    )
    return z + sum(term / v ** (power + 1) for power, term in enumerate(terms))


def _fit_component(pairs: Pairs) -> tuple[np.ndarray, np.ndarray]:
    """Strengths (I,) with mean 0 and their covariance (I, I), for items that wins link both ways."""
    wins = pairs.wins
    games = wins + wins.T
    values = np.zeros(pairs.items)
    for _ in range(100):
        score, curvature = _score_and_curvature(values, wins, games)
        step = np.linalg.pinv(curvature, hermitian=True) @ score
        while _likelihood(values + step, wins) < _likelihood(values, wins) - 1e-12 * games.sum():
            step /= 2  # Newton overshoots when some strengths are far apart
        values = values + step - (values + step).mean()
        if np.abs(step).max() < 1e-10:
            break
    _, curvature = _score_and_curvature(values, wins, games)
    inverse = np.linalg.pinv(curvature, hermitian=True)
    return values, inverse @ _scores_squared(values, pairs) @ inverse


def _score_and_curvature(values, wins, games) -> tuple[np.ndarray, np.ndarray]:
    chance = 1 / (1 + np.exp(values[None, :] - values[:, None]))
    score = (wins - games * chance).sum(axis=1)
    spread = games * chance * chance.T
    return score, np.diag(spread.sum(axis=1)) - spread


def _likelihood(values, wins) -> float:
    return -float((wins * np.logaddexp(0, values[None, :] - values[:, None])).sum())


def _scores_squared(values: np.ndarray, pairs: Pairs) -> np.ndarray:
    """(I, I) sum over clusters of the outer product of their scores, times G / (G - 1), and step 3's half wins."""
    chance = 1 / (1 + np.exp(values[pairs.second] - values[pairs.first]))
    residual = pairs.weight * (pairs.preference - chance)
    _, codes = np.unique(pairs.cluster, return_inverse=True)
    count = int(codes.max()) + 1
    cells = np.concatenate([codes * pairs.items + pairs.first, codes * pairs.items + pairs.second])
    scores = np.bincount(cells, weights=np.concatenate([residual, -residual]), minlength=count * pairs.items)
    scores = scores.reshape(count, pairs.items)
    squared = scores.T @ scores * (count / (count - 1) if count > 1 else 1.0)
    first, second, weight = _typical_meetings(pairs)
    half = np.zeros((len(first), pairs.items))
    half[np.arange(len(first)), first], half[np.arange(len(first)), second] = weight / 2, -weight / 2
    return squared + half.T @ half


def _with_ties(pairs: Pairs) -> Pairs:
    first, second, weight = _typical_meetings(pairs)
    fresh = pairs.cluster.max() + 1 + np.arange(len(first))
    added = (first, second, np.full(len(first), 0.5), weight, fresh)
    old = (pairs.first, pairs.second, pairs.preference, pairs.weight, pairs.cluster)
    return Pairs(pairs.items, *(np.concatenate(both) for both in zip(old, added, strict=True)))


def _typical_meetings(pairs: Pairs) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Every two items that met, first < second, and the mean weight of their comparisons per cluster."""
    low, high = np.minimum(pairs.first, pairs.second), np.maximum(pairs.first, pairs.second)
    key, codes = np.unique(low * pairs.items + high, return_inverse=True)
    clusters = np.unique(np.stack([codes, pairs.cluster]), axis=1)[0]
    weight = np.bincount(codes, weights=pairs.weight) / np.bincount(clusters, minlength=len(key))
    return key // pairs.items, key % pairs.items, weight


def _renumbered(pairs: Pairs, members: np.ndarray) -> Pairs:
    first, second = np.searchsorted(members, pairs.first), np.searchsorted(members, pairs.second)
    return Pairs(len(members), first, second, pairs.preference, pairs.weight, pairs.cluster)


def _reachable(edges: np.ndarray) -> np.ndarray:
    """(I, I) whether a chain of edges leads from row to column; every item reaches itself."""
    reached = edges | np.eye(len(edges), dtype=bool)
    while True:
        further = (reached.astype(np.int64) @ reached.astype(np.int64)) > 0
        if np.array_equal(further, reached):
            return reached
        reached = further


def _labels(linked: np.ndarray) -> np.ndarray:
    """Number the classes of a symmetric, transitive relation 0, 1, … in order of their first item."""
    firsts = linked.argmax(axis=1) if len(linked) else np.zeros(0, dtype=np.int64)
    return np.unique(firsts, return_inverse=True)[1].astype(np.int64)
