"""The maths of PPO against numbers worked by hand, published identities, and slower ways to the same result."""

import pytest
import torch

from pipeline.losses import (
    adapted_kl_coefficient,
    advantages_and_returns,
    clipped_policy_loss,
    clipped_value_loss,
    explained_variance,
    kl_k1,
    kl_k2,
    kl_k3,
    length_mask,
    masked_whiten,
    token_rewards,
)


def test_kl_estimators_on_known_gaussians():
    # q = N(0, 1), p = N(1, 1): KL(q || p) = 0.5, log q - log p = 0.5 - x; k2 is biased: its mean is 0.625
    x = torch.randn(400_000, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    log_ratio = 0.5 - x
    assert kl_k1(log_ratio).mean().item() == pytest.approx(0.5, abs=0.01)
    assert kl_k2(log_ratio).mean().item() == pytest.approx(0.625, abs=0.01)
    assert kl_k3(log_ratio).mean().item() == pytest.approx(0.5, abs=0.01)
    assert kl_k3(log_ratio).min() >= 0


def test_kl_coefficient_rises_above_the_target_and_falls_below_it():
    # error clipped to 0.2: 0.1 (1 + 0.2 * 64 / 640) = 0.102; exactly on target nothing moves; target 0 is fixed
    assert adapted_kl_coefficient(0.1, 50.0, 5.0, 64, 640) == pytest.approx(0.102)
    assert adapted_kl_coefficient(0.1, 4.5, 5.0, 64, 640) == pytest.approx(0.099)
    assert adapted_kl_coefficient(0.1, 5.0, 5.0, 64, 640) == 0.1
    assert adapted_kl_coefficient(0.1, 50.0, 0.0, 64, 640) == 0.1


def test_whitened_values_have_mean_zero_and_variance_one_over_real_tokens():
    mask = length_mask(torch.tensor([3, 1, 4]), 4)
    found = masked_whiten(torch.arange(12.0).reshape(3, 4), mask)
    real = found[mask.bool()]
    assert real.mean().item() == pytest.approx(0, abs=1e-6) and real.var(unbiased=False).item() == pytest.approx(1)
    assert (found[mask == 0] == 0).all()


def test_score_lies_on_the_last_real_token():
    rewards = token_rewards(torch.full((2, 3), 0.5), torch.tensor([2.0, -1.0]), torch.tensor([3, 1]), 0.1)
    assert rewards.flatten().tolist() == pytest.approx([-0.05, -0.05, 1.95, -1.05, 0, 0])


def test_advantages_equal_the_brute_force_sum():
    gamma, lam, lengths = 0.9, 0.7, [4, 2]
    rewards, values = torch.randn(2, 4).double(), torch.randn(2, 4).double()
    found, returns = advantages_and_returns(rewards, values, length_mask(torch.tensor(lengths), 4), gamma, lam)
    for b, n in enumerate(lengths):
        v = [*values[b, :n].tolist(), 0.0]
        delta = [rewards[b, t].item() + gamma * v[t + 1] - v[t] for t in range(n)]
        for t in range(n):
            expected = sum((gamma * lam) ** (k - t) * delta[k] for k in range(t, n))
            assert found[b, t].item() == pytest.approx(expected)
            assert returns[b, t].item() == pytest.approx(expected + v[t])
        assert (found[b, n:] == 0).all() and (returns[b, n:] == 0).all()


def test_lambda_one_gives_return_minus_value_and_lambda_zero_the_td_error():
    rewards, values = torch.tensor([[0.0, 0.0, 1.0]]), torch.tensor([[0.2, 0.5, 0.4]])
    mask = torch.ones(1, 3)
    assert advantages_and_returns(rewards, values, mask, 1.0, 1.0)[0].tolist()[0] == pytest.approx([0.8, 0.5, 0.6])
    assert advantages_and_returns(rewards, values, mask, 1.0, 0.0)[0].tolist()[0] == pytest.approx([0.3, -0.1, 0.6])


def test_policy_loss_at_ratio_one_is_minus_the_advantage():
    advantages, log_probs = torch.tensor([1.0, -2.0]), torch.tensor([-1.0, -3.0], requires_grad=True)
    loss, ratio = clipped_policy_loss(log_probs, log_probs.detach(), advantages, 0.2)
    loss.sum().backward()
    assert ratio.tolist() == [1, 1] and loss.tolist() == [-1, 2] and log_probs.grad.tolist() == [-1, 2]


def test_policy_loss_is_clipped_only_against_the_gain():
    # ratio 2: a gain is cut at 1.2, a loss is not; ratio 0.5: a gain is not cut, a loss stays at 0.8
    log_probs = torch.log(torch.tensor([2.0, 2.0, 0.5, 0.5]))
    loss, _ = clipped_policy_loss(log_probs, torch.zeros(4), torch.tensor([1.0, -1.0, 1.0, -1.0]), 0.2)
    assert loss.tolist() == pytest.approx([-1.2, 2.0, -0.5, 0.8])


def test_extreme_ratios_stay_finite():
    loss, ratio = clipped_policy_loss(torch.tensor([1e4]), torch.zeros(1), torch.tensor([-1.0]), 0.2)
    assert torch.isfinite(loss).all() and torch.isfinite(ratio).all()


def test_value_loss_takes_the_worse_of_clipped_and_plain():
    # value 1, old 0, return 1: plain 0, clipped to 0.2: 0.64 / 2
    loss, clipped = clipped_value_loss(torch.tensor([1.0]), torch.zeros(1), torch.ones(1), 0.2)
    assert loss.item() == pytest.approx(0.32) and clipped.item() == 1


def test_explained_variance_of_a_perfect_and_of_an_empty_prediction():
    returns = torch.tensor([1.0, 2.0, 4.0])
    assert explained_variance(returns, returns) == 1
    assert explained_variance(torch.zeros(3), returns) == pytest.approx(0)
    assert explained_variance(torch.ones(3), torch.ones(3)) == 0
