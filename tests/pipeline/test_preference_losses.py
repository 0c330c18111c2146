"""The losses of preferences against numbers worked by hand, published identities, and the exploded pairs."""

import math

import pytest
import torch

from pipeline import configs
from pipeline.preference_losses import (
    POLICY_LOSSES,
    REWARD_LOSSES,
    WITHOUT_REFERENCE,
    LogProbs,
    LossOptions,
    Pairs,
    bradley_terry,
    centering,
    implicit_rewards,
    pair_accuracy,
    preference_nll,
)

INDICES = torch.tensor([[0, 1], [0, 2], [1, 2]])


def pairs(preferences, weights=(1.0, 1.0, 1.0), grades=(0.0, 0.0, 0.0), indices=INDICES) -> Pairs:
    told = (torch.tensor(list(values), dtype=torch.float64) for values in (preferences, weights, grades))
    return Pairs(indices, *told)


def log_probs(*policy: float, reference=None, lengths=None) -> LogProbs:
    own = torch.tensor(policy, dtype=torch.float64, requires_grad=True)
    frozen = own.detach().clone() if reference is None else torch.tensor(reference, dtype=torch.float64)
    return LogProbs(own, frozen, torch.tensor(lengths or [4.0] * len(policy), dtype=torch.float64))


def test_every_loss_can_be_chosen_by_the_name_in_the_configs():
    assert (tuple(REWARD_LOSSES), tuple(POLICY_LOSSES)) == (configs.REWARD_LOSSES, configs.POLICY_LOSSES)


def test_equal_scores_cost_log_two_whatever_the_preference():
    preferences = torch.tensor([0.0, 0.3, 0.5, 1.0])
    assert torch.allclose(preference_nll(torch.zeros(4), preferences), torch.full((4,), math.log(2)))


def test_preference_nll_of_a_margin_worked_by_hand():
    # -log sigma(1) = log(1 + e^-1) = 0.313262; -log sigma(-1) = 1.313262; at p = 0.75: 0.563262
    found = preference_nll(torch.tensor([1.0, 1.0, 1.0]), torch.tensor([1.0, 0.0, 0.75]))
    assert found.tolist() == pytest.approx([0.313262, 1.313262, 0.563262], abs=1e-6)


def test_group_loss_equals_the_exploded_pairwise_loss_and_gradient():
    scores = torch.tensor([0.3, -1.2, 2.0], dtype=torch.float64, requires_grad=True)
    told = pairs([1.0, 0.25, 0.5], [1.0, 2.0, 0.5])
    loss = bradley_terry(scores, told) / 3.5
    loss.backward()
    p, w = told.preferences.tolist(), told.weights.tolist()
    sigma = [1 / (1 + math.exp(-(a - b))) for a, b in ((0.3, -1.2), (0.3, 2.0), (-1.2, 2.0))]
    terms = [-q * math.log(s) - (1 - q) * math.log(1 - s) for q, s in zip(p, sigma, strict=True)]
    assert loss.item() == pytest.approx(sum(a * b for a, b in zip(w, terms, strict=True)) / 3.5, abs=1e-12)
    slopes = [wi * (s - q) / 3.5 for wi, s, q in zip(w, sigma, p, strict=True)]
    expected = [slopes[0] + slopes[1], slopes[2] - slopes[0], -slopes[1] - slopes[2]]
    assert scores.grad.tolist() == pytest.approx(expected, abs=1e-12)


def test_a_graded_margin_asks_for_a_lead_of_its_third():
    # significantly better is grade 3, a lead of 1 (Llama 2, table 27): log(1 + e^1) = 1.313262 at equal scores
    told = pairs([1.0, 1.0, 1.0], grades=[3.0, 1.0, 0.0])
    expected = [math.log(1 + math.exp(m)) for m in (1, 1 / 3, 0)]
    assert bradley_terry(torch.zeros(3).double(), told, 1 / 3).item() == pytest.approx(sum(expected))
    assert bradley_terry(torch.zeros(3).double(), told).item() == pytest.approx(3 * math.log(2))


@pytest.mark.parametrize("name", REWARD_LOSSES)
def test_telling_a_pair_from_the_other_side_changes_no_reward_loss(name):
    scores = torch.tensor([0.3, -1.2, 2.0], dtype=torch.float64)
    told = pairs([1.0, 0.25, 0.5], grades=[2.0, -1.0, 0.0])
    found = [REWARD_LOSSES[name](scores, side, 1 / 3).item() for side in (told, told.swapped())]
    assert found[0] == pytest.approx(found[1], abs=1e-12)


@pytest.mark.parametrize("name", POLICY_LOSSES)
def test_telling_a_pair_from_the_other_side_changes_no_policy_loss(name):
    found = log_probs(-3.0, -5.0, -4.0, reference=[-4.0, -4.5, -3.0], lengths=[3, 5, 2])
    told = pairs([1.0, 0.25, 0.5])
    values = [POLICY_LOSSES[name](found, side, LossOptions()).item() for side in (told, told.swapped())]
    assert values[0] == pytest.approx(values[1], abs=1e-12)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("dpo", math.log(2)),
        ("cdpo", math.log(2)),
        ("robust", math.log(2)),
        ("hinge", 1.0),
        ("ipo", 25.0),  # (1 / 2 tau)^2 at tau = 0.1
        ("plackett-luce", math.log(2)),  # log K! at K = 2
    ],
)
def test_a_policy_at_its_reference_has_the_published_loss(name, value):
    one = pairs([1.0], [2.0], [0.0], torch.tensor([[0, 1]]))
    found = POLICY_LOSSES[name](log_probs(-3.0, -5.0), one, LossOptions(beta=0.1)) / 2.0
    assert found.item() == pytest.approx(value, abs=1e-6)


def test_dpo_gradient_at_the_start_is_half_beta():
    found = log_probs(-3.0, -5.0, -4.0)
    POLICY_LOSSES["dpo"](found, pairs([1.0], [1.0], [0.0], INDICES[:1]), LossOptions(beta=0.1)).backward()
    assert found.policy.grad.tolist() == pytest.approx([-0.05, 0.05, 0.0])


def test_ipo_is_least_where_the_lead_per_token_is_half_over_tau():
    # 1 / (2 * 0.5) = 1 per token: 4 tokens ahead of the reference by 4 in all
    at_best = log_probs(-3.0, -5.0, reference=[-7.0, -5.0])
    one = pairs([1.0], [1.0], [0.0], torch.tensor([[0, 1]]))
    loss = POLICY_LOSSES["ipo"](at_best, one, LossOptions(beta=0.5))
    loss.backward()
    assert loss.item() == pytest.approx(0) and at_best.policy.grad.abs().max().item() == pytest.approx(0)


def test_simpo_and_orpo_need_no_reference_and_others_say_so():
    one = pairs([1.0], [1.0], [0.0], torch.tensor([[0, 1]]))
    found = LogProbs(torch.tensor([-2.0, -6.0]).double(), None, torch.tensor([2.0, 3.0]).double())
    for name in POLICY_LOSSES.keys() - WITHOUT_REFERENCE:
        with pytest.raises(ValueError, match="reference: found none"):
            POLICY_LOSSES[name](found, one, LossOptions())
    # means -1 and -2: beta 2 gives a lead of 2, less the target 0.5: log(1 + e^-1.5) = 0.201413
    assert POLICY_LOSSES["simpo"](found, one, LossOptions(beta=2.0)).item() == pytest.approx(0.201413, abs=1e-6)


def test_orpo_worked_by_hand():
    # mean log-probabilities -1 and -2: odds e^-1 / (1 - e^-1) = 0.581977 and e^-2 / (1 - e^-2) = 0.156518,
    # log of their ratio 1.313262, -log sigma = 0.238183; the better nll is 1: 1 + 0.5 * 0.238183
    one = pairs([1.0], [1.0], [0.0], torch.tensor([[0, 1]]))
    found = LogProbs(torch.tensor([-2.0, -6.0]).double(), None, torch.tensor([2.0, 3.0]).double())
    assert POLICY_LOSSES["orpo"](found, one, LossOptions(beta=0.5)).item() == pytest.approx(1.119092, abs=1e-6)


def test_robust_loss_undoes_flipped_comparisons_in_expectation():
    # a share 0.2 of true preferences told the wrong way round gives the true loss on average
    found, options = log_probs(-3.0, -5.0, reference=[-4.0, -4.0]), LossOptions(beta=1.0, label_smoothing=0.2)
    both = torch.tensor([[0, 1]])
    told = POLICY_LOSSES["robust"](found, pairs([0.8], [1.0], [0.0], both), options)
    true = POLICY_LOSSES["dpo"](found, pairs([1.0], [1.0], [0.0], both), options)
    assert told.item() == pytest.approx(true.item(), abs=1e-12)


def test_implicit_rewards_are_beta_times_the_log_ratio():
    found = implicit_rewards(log_probs(-3.0, -5.0, reference=[-4.0, -4.5]), 0.1)
    assert found.tolist() == pytest.approx([0.1, -0.05])


def test_centering_is_the_summed_square():
    assert centering(torch.tensor([1.0, -2.0])).item() == 5


def test_accuracy_leaves_ties_out_and_counts_equal_scores_half():
    right, decided = pair_accuracy(torch.tensor([1.0, 1.0, 0.0]).double(), pairs([1.0, 0.9, 0.5], [1.0, 3.0, 9.0]))
    assert (right, decided) == (3.5, 4.0)
