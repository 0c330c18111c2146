"""Strengths against published data and hand-worked numbers; intervals that stay sane at the edges."""

import numpy as np
import pytest
from scipy import stats

from pipeline.bradley_terry import Pairs, fit, student95, win_rate


def pairs_of(*rows, items=None):
    """rows: (first, second, preference), each its own cluster unless a fourth value names one."""
    first, second, preference = (np.array(column) for column in list(zip(*rows, strict=True))[:3])
    cluster = np.array([row[3] if len(row) > 3 else place for place, row in enumerate(rows)])
    items = items or int(max(first.max(), second.max())) + 1
    return Pairs(items, first, second, preference.astype(float), np.ones(len(rows)), cluster)


def pairs_from(wins):
    winner, loser = np.nonzero(wins)
    times = np.array(wins)[winner, loser].astype(int)
    first, second = np.repeat(winner, times), np.repeat(loser, times)
    return Pairs(len(wins), first, second, np.ones(len(first)), np.ones(len(first)), np.arange(len(first)))


CITATIONS = [[0, 730, 498, 221], [33, 0, 68, 17], [320, 813, 0, 142], [284, 276, 325, 0]]


def test_two_items_have_the_log_odds():
    # 3 wins of 4: log(3 / 1)
    middle, low, high = fit(pairs_of((0, 1, 1), (0, 1, 1), (0, 1, 1), (0, 1, 0))).difference(0, 1)
    assert middle == pytest.approx(np.log(3))
    assert low < middle < high


def test_a_tie_is_half_a_win():
    tied = fit(pairs_of((0, 1, 1), (0, 1, 0.5), (0, 1, 1), (0, 1, 0.5))).difference(0, 1)
    assert tied[0] == pytest.approx(np.log(3))


def test_journal_citations_have_the_published_strengths():
    # Stigler 1994, in Agresti 2002 p. 448: relative to Biometrika -2.949072, -0.47957, 0.268954
    found = fit(pairs_from(CITATIONS))
    assert found.values - found.values[0] == pytest.approx([0, -2.949072, -0.47957, 0.268954], abs=1e-6)
    assert found.values.sum() == pytest.approx(0)


def test_intervals_of_independent_comparisons_are_those_of_the_information_matrix():
    # standard errors against Biometrika 0.10255, 0.06059, 0.07083; the sandwich estimates the same
    found = fit(pairs_from(CITATIONS))
    errors = [np.subtract(*found.difference(item, 0)[2:0:-1]) / (2 * student95(4000)) for item in (1, 2, 3)]
    assert errors == pytest.approx([0.1025453, 0.0605887, 0.0708300], rel=0.01)


def test_a_cycle_is_even():
    assert fit(pairs_of((0, 1, 1), (1, 2, 1), (2, 0, 1))).values == pytest.approx([0, 0, 0])


def test_swapping_every_side_changes_nothing():
    pairs = pairs_from(CITATIONS)
    turned = Pairs(4, pairs.second, pairs.first, 1 - pairs.preference, pairs.weight, pairs.cluster)
    assert fit(pairs).difference(0, 3) == pytest.approx(fit(turned).difference(0, 3))


def test_weight_two_is_two_comparisons_of_one_cluster():
    heavy = pairs_of((0, 1, 1), (0, 1, 0), (0, 1, 1))
    heavy = Pairs(2, heavy.first, heavy.second, heavy.preference, np.array([2.0, 1.0, 1.0]), heavy.cluster)
    double = pairs_of((0, 1, 1, 0), (0, 1, 1, 0), (0, 1, 0, 1), (0, 1, 1, 2))
    assert fit(heavy).difference(0, 1) == pytest.approx(fit(double).difference(0, 1))


def test_repeating_prompts_does_not_narrow_the_interval():
    once = pairs_of(*[(0, 1, place % 3 > 0, place) for place in range(30)])
    thrice = pairs_of(*[(0, 1, place % 3 > 0, place) for place in range(30)] * 3)
    assert fit(once).difference(0, 1) == pytest.approx(fit(thrice).difference(0, 1))


@pytest.mark.parametrize("games", [1, 2, 20, 500])
def test_winning_every_time_has_a_finite_interval(games):
    middle, low, high = fit(pairs_of(*[(0, 1, 1)] * games)).difference(0, 1)
    # one further tie: (games + 0.5) wins to 0.5
    assert middle == pytest.approx(np.log(2 * games + 1))
    assert -50 < low < middle < high < 50


def test_a_chain_of_sure_winners_is_ordered_and_finite():
    values = fit(pairs_of(*[(0, 1, 1)] * 5, *[(1, 2, 1)] * 5)).values
    assert values[0] > values[1] > values[2]
    assert np.isfinite(values).all()


def test_nothing_but_ties_is_even_but_not_certain():
    middle, low, high = fit(pairs_of(*[(0, 1, 0.5)] * 20)).difference(0, 1)
    assert middle == pytest.approx(0)
    assert low < -0.1 < 0.1 < high


def test_components_are_fitted_apart():
    found = fit(pairs_of((0, 1, 1), (0, 1, 0), (0, 1, 1), (2, 3, 1), (2, 3, 0)))
    assert found.difference(0, 1)[0] == pytest.approx(np.log(2))
    with pytest.raises(ValueError, match="no chain"):
        found.difference(0, 2)


def test_intervals_cover_the_truth():
    rng, covered = np.random.default_rng(0), 0
    for _ in range(200):
        rows = [(0, 1, outcome, place) for place, outcome in enumerate(rng.random(40) < 0.7) for _ in range(3)]
        _, low, high = fit(pairs_of(*rows)).difference(0, 1)
        covered += low <= np.log(0.7 / 0.3) <= high
    assert covered >= 180


def test_win_rate_has_the_standard_error_of_a_mean():
    # without clusters the variance is that of a mean; far from the edges Wilson's interval is about 1.96 errors
    outcomes = np.random.default_rng(0).random(400)
    rate, low, high = win_rate(outcomes, np.ones(400), np.arange(400))
    assert rate == pytest.approx(outcomes.mean())
    assert (high - low) / 2 == pytest.approx(1.96 * outcomes.std(ddof=1) / 20, rel=0.01)


def test_win_rate_of_repeated_prompts_is_no_surer():
    outcomes, prompts = np.array([1.0, 0, 1, 1, 0, 1]), np.arange(6)
    once = win_rate(outcomes, np.ones(6), prompts)
    assert win_rate(np.tile(outcomes, 4), np.ones(24), np.tile(prompts, 4)) == pytest.approx(once)


@pytest.mark.parametrize("games, low", [(1, 0.2065), (10, 0.7225), (100, 0.9630)])
def test_winning_every_time_has_wilsons_interval(games, low):
    # n / (n + 1.96^2)
    assert win_rate(np.ones(games), np.ones(games), np.arange(games)) == pytest.approx((1.0, low, 1.0), abs=1e-4)


def test_losing_mirrors_winning():
    lost = win_rate(np.zeros(10), np.ones(10), np.arange(10))
    assert lost == pytest.approx((0.0, 0.0, 1 - 0.7225), abs=1e-4)


def test_win_rate_of_nothing_is_refused():
    with pytest.raises(ValueError, match="no comparison"):
        win_rate(np.zeros(0), np.zeros(0), np.zeros(0))


@pytest.mark.parametrize("freedom", [1, 2, 3, 5, 20, 1000])
def test_student_quantile_equals_scipy(freedom):
    assert student95(freedom) == pytest.approx(stats.t.ppf(0.975, freedom), abs=0.01)
