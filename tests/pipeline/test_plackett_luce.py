"""Plackett-Luce: its value at equal scores, its agreement with Bradley-Terry at two, and what ties mean."""

import itertools
import math

import pytest
import torch

from pipeline.plackett_luce import consensus, ordered_log_likelihood
from pipeline.preference_losses import Pairs, bradley_terry, plackett_luce


def ranked(k: int, preference: float = 1.0, weight: float = 1.0) -> Pairs:
    """All pairs of k completions, lower index preferred."""
    indices = torch.tensor(list(itertools.combinations(range(k), 2)))
    count = len(indices)
    return Pairs(indices, torch.full((count,), preference), torch.full((count,), weight), torch.zeros(count))


@pytest.mark.parametrize("preference", [1.0, 0.8, 0.5, 0.0])
def test_two_completions_are_bradley_terry(preference):
    found, expected = [], []
    for loss, into in ((plackett_luce, found), (bradley_terry, expected)):
        scores = torch.tensor([0.3, -0.9], requires_grad=True)
        value = loss(scores, ranked(2, preference, 3.0))
        value.backward()
        into += [value.item(), *scores.grad.tolist()]
    assert found == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("preference", [1.0, 0.7, 0.5])
def test_equal_scores_cost_the_log_of_the_number_of_orders(preference):
    pairs = ranked(4, preference)
    assert plackett_luce(torch.zeros(4), pairs).item() / 6 == pytest.approx(math.log(24), abs=1e-5)  # 3.178054


def test_likelihood_of_an_order_worked_by_hand():
    # P(0 > 1 > 2) with strengths e, 1, 1: e / (e + 2) * 1 / 2
    found = ordered_log_likelihood(torch.tensor([1.0, 0.0, 0.0]), [[0], [1], [2]])
    assert found.item() == pytest.approx(math.log(math.e / (math.e + 2) / 2), abs=1e-6)


def test_a_tie_is_the_mean_over_the_orders_it_leaves_open():
    scores = torch.tensor([0.4, -0.3, 1.1, 0.2]).double()
    orders = [[*first, *last] for first in itertools.permutations((0, 1, 2)) for last in ([3],)]
    expected = sum(ordered_log_likelihood(scores, [[i] for i in order]).item() for order in orders) / len(orders)
    assert ordered_log_likelihood(scores, [[0, 1, 2], [3]]).item() == pytest.approx(expected, abs=1e-12)


def test_the_consensus_is_the_order_of_mean_preferences():
    # 0 beats 1 by 0.9 and 2 by 0.8; 1 and 2 tie: their mean preferences are 0.3 and 0.35
    found = consensus([(0, 1), (0, 2), (2, 1)], [0.9, 0.8, 0.5], [1.0, 1.0, 1.0])
    assert found[0].tiers == [[0], [2], [1]] and found[0].weight == 3
    assert found[0].agreement == pytest.approx((0.9 + 0.8 + 0.5) / 3)


def test_equal_mean_preferences_share_a_tier():
    found = consensus([(0, 1), (0, 2), (1, 2)], [1.0, 1.0, 0.5], [1.0, 1.0, 1.0])
    assert found[0].tiers == [[0], [1, 2]] and found[0].agreement == 1


def test_completions_that_nobody_compared_are_ranked_apart():
    found = consensus([(0, 1), (3, 2)], [1.0, 1.0], [1.0, 2.0])
    assert [(order.tiers, order.weight) for order in found] == [([[0], [1]], 1.0), ([[3], [2]], 2.0)]


def test_higher_scores_for_the_better_ones_cost_less():
    pairs = ranked(4)
    right, wrong = torch.tensor([3.0, 2.0, 1.0, 0.0]), torch.tensor([0.0, 1.0, 2.0, 3.0])
    assert plackett_luce(right, pairs) < plackett_luce(torch.zeros(4), pairs) < plackett_luce(wrong, pairs)
