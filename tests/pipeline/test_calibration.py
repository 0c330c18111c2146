"""Accuracy, likelihood and calibration against numbers worked by hand and preferences that are known."""

import math

import numpy as np
import pytest

from pipeline.calibration import accuracy, agreement_of_pooled, expected_calibration_error, nll, temperature


def columns(*values):
    return tuple(np.array(column, dtype=float) for column in values)


def sampled(scale: float, count: int = 4000):
    """Margins that are `scale` times too large, with preferences drawn from the true ones."""
    draws = np.random.default_rng(0)
    true = draws.normal(0, 1.5, count)
    return scale * true, (draws.random(count) < 1 / (1 + np.exp(-true))).astype(float), np.ones(count)


def test_accuracy_leaves_ties_out_and_counts_equal_scores_half():
    found = accuracy(*columns([2, -1, 0, 5], [1, 1, 0, 0.5], [1, 2, 3, 9]))
    assert found == pytest.approx((1 + 0 + 1.5) / 6)
    assert accuracy(*columns([1], [0.5], [1])) is None


def test_nll_worked_by_hand():
    # log 2 at 0; at margin 1: 0.313262 where the first is preferred
    assert nll(*columns([0, 1], [0.3, 1], [1, 3])) == pytest.approx((math.log(2) + 3 * 0.313262) / 4, abs=1e-6)
    assert nll(*columns([], [], [])) is None


def test_calibration_error_worked_by_hand():
    # confidence sigma(log 3) = 0.75 in both pairs; one was right and one wrong: 0.75 against 0.5
    found = expected_calibration_error(*columns([math.log(3), -math.log(3)], [1, 1], [1, 1]))
    assert found == pytest.approx(0.25)
    assert expected_calibration_error(*columns([0.0], [0.5], [1])) == 0


def test_true_margins_are_calibrated_at_temperature_one():
    found = sampled(1.0)
    assert expected_calibration_error(*found) < 0.03 and temperature(*found) == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize("scale", [0.25, 3.0])
def test_the_temperature_undoes_a_scale_and_mends_the_calibration(scale):
    margins, preferences, weights = sampled(scale)
    found = temperature(margins, preferences, weights)
    assert found == pytest.approx(scale, rel=0.1)
    before = expected_calibration_error(margins, preferences, weights)
    assert expected_calibration_error(margins / found, preferences, weights) < 0.03 < before


def test_agreement_from_pooled_preferences_worked_by_hand():
    # three of four agree: of 6 pairs of judges 3 agree; two of two agree; one judge says nothing about agreement
    found = agreement_of_pooled(np.array([0.75, 1.0, 1.0]), np.array([4, 2, 1]), np.ones(3))
    assert found == pytest.approx(((0.5 + 1.0) / 2, (0.75 + 1.0) / 2))
    assert agreement_of_pooled(np.array([1.0]), np.array([1]), np.ones(1)) is None
