"""How good and how honest predicted preferences are: accuracy, likelihood, calibration, temperature.

Pure numpy on one row per judged pair; it knows no model and no file. Shapes: P pairs. margins are
score(first) - score(second), preferences in [0, 1] with 1 = first preferred, weights not negative. A margin m
says that the first is preferred with probability sigma(m).
"""

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar

Values = NDArray[np.float64]
BINS = 10
COOLEST, HOTTEST = 0.01, 100.0  # bounds of the temperature


def accuracy(margins: Values, preferences: Values, weights: Values) -> float | None:
    """Weighted share of the pairs in the preferred order; ties left out, equal scores count half; None without any."""
    decided = preferences != 0.5
    total = weights[decided].sum()
    if not total:
        return None
    right = (1 + np.sign(margins[decided]) * np.sign(preferences[decided] - 0.5)) / 2
    return float((weights[decided] * right).sum() / total)


def nll(margins: Values, preferences: Values, weights: Values) -> float | None:
    """Weighted mean of -p log sigma(m) - (1-p) log sigma(-m); log 2 at m = 0; None without pairs."""
    total = weights.sum()
    if not total:
        return None
    terms = preferences * np.logaddexp(0, -margins) + (1 - preferences) * np.logaddexp(0, margins)
    return float((weights * terms).sum() / total)


def expected_calibration_error(margins: Values, preferences: Values, weights: Values, bins: int = BINS) -> float | None:
    """Weighted mean gap between confidence and preference over equal bins of confidence (Guo et al. 2017, eq. 3).

    Each pair is told from the side the model favours, so confidence lies in [0.5, 1].
    """
    total = weights.sum()
    if not total:
        return None
    confidence = 1 / (1 + np.exp(-np.abs(margins).clip(max=500)))
    agreed = np.where(margins >= 0, preferences, 1 - preferences)
    which = np.minimum(((confidence - 0.5) * 2 * bins).astype(int), bins - 1)
    gaps = np.bincount(which, weights * (confidence - agreed), minlength=bins)
    return float(np.abs(gaps).sum() / total)


def temperature(margins: Values, preferences: Values, weights: Values) -> float | None:
    """The T at which sigma(m / T) is likeliest (Guo et al. 2017, section 4.2): above 1 the scores are overconfident.

    Between 0.01 and 100; None where there are no pairs or all margins are 0.
    """
    if not weights.sum() or not np.any(margins):
        return None
    found = minimize_scalar(
        lambda log_t: nll(margins / np.exp(log_t), preferences, weights),
        bounds=(np.log(COOLEST), np.log(HOTTEST)),
        method="bounded",
    )
    return float(np.exp(found.x))


def agreement_of_pooled(
    preferences: Values, annotators: NDArray[np.int64], weights: Values
) -> tuple[float, float] | None:
    """How often two annotators of a pair agree, and how often one agrees with the majority; None where none share one.

    From pooled preferences p of n annotators each: n (p^2 + (1-p)^2) - 1 over n - 1, and max(p, 1-p). A tie counts as
    half a vote for each side, so with many ties the first is too low.
    """
    shared = annotators >= 2
    if not shared.any() or not weights[shared].sum():
        return None
    p, n, w = preferences[shared], annotators[shared], weights[shared]
    pairwise = ((n * (p**2 + (1 - p) ** 2) - 1) / (n - 1)).clip(0, 1)
    return float((w * pairwise).sum() / w.sum()), float((w * np.maximum(p, 1 - p)).sum() / w.sum())
