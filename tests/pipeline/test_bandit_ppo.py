"""PPO on a bandit whose best policy is known: it arrives there, and no policy at its KL is much better."""

from functools import cache

import pytest
import torch

from pipeline.configs import make_config
from pipeline.losses import kl_k1, kl_k2, kl_k3
from pipeline.ppo_training import Training
from pipeline.rollout import TrainPrompt
from tests.pipeline.bandit import (
    PROMPT,
    REWARDS,
    bandit_policy,
    best,
    distribution,
    divergence,
    gain,
    most_gain,
    score,
    variation,
)
from tests.pipeline.training_data import exact_arithmetic

OPTIONS = {"batch_size": 128, "steps": 30, "max_new_tokens": 1, "learning_rate": 1e-2, "value_learning_rate": 3e-2}
PLAIN = {"kl_target": 0, "kl_stop": 0, "missing_eos_penalty": 0, "reward_normalisation": "none"}


@cache
def trained(beta: float) -> tuple[torch.Tensor, torch.Tensor]:
    """The policy's and the reference's distribution over the arms, after the real trainer's rollouts."""
    policy = bandit_policy()
    reference = distribution(policy)
    training = Training.fresh(policy, score, make_config("ppo", {**OPTIONS, **PLAIN, "kl_coefficient": beta}))
    prompts = [TrainPrompt([{"role": "user", "content": "pull"}], PROMPT)]
    while training.episodes < training.planned:
        training.learn(training.collected(prompts))
    return distribution(policy), reference


def test_the_best_policy_is_worth_beta_log_z():
    reference = distribution(bandit_policy())
    wanted = best(reference, 0.5)
    worth = float(wanted @ REWARDS) - 0.5 * divergence(wanted, reference)
    assert worth == pytest.approx(0.5 * float((reference * (REWARDS / 0.5).exp()).sum().log()), abs=1e-12)


def test_most_gain_is_that_of_the_best_policy_at_its_own_kl():
    reference = distribution(bandit_policy())
    for beta in (0.05, 0.5):
        wanted = best(reference, beta)
        assert most_gain(divergence(wanted, reference), reference) == pytest.approx(gain(wanted, reference), abs=1e-6)


@pytest.mark.slow
def test_07_ppo_arrives_at_the_best_policy(monkeypatch):
    exact_arithmetic(monkeypatch)
    policy, reference = trained(0.5)
    assert variation(reference, best(reference, 0.5)) > 0.3  # there was something to learn
    assert variation(policy, best(reference, 0.5)) < 0.05


@pytest.mark.slow
@pytest.mark.parametrize("beta", [0.05, 0.1, 0.5, 1.0])
def test_ppo_lies_on_the_frontier_of_reward_and_kl(monkeypatch, beta):
    exact_arithmetic(monkeypatch)
    policy, reference = trained(beta)
    kl = divergence(policy, reference)
    short = most_gain(kl, reference) - gain(policy, reference)
    assert short <= (0.01 if kl < 0.05 else 0.05 * most_gain(kl, reference))


def gradients(estimator, in_reward: bool) -> torch.Tensor:
    """The exact expected gradient of an estimator over eight arms, as a loss or by REINFORCE as a cost."""
    logits = torch.linspace(-1, 1, 8, dtype=torch.float64, requires_grad=True)
    reference = torch.linspace(0.5, -1, 8, dtype=torch.float64).log_softmax(-1)
    log_probs = logits.log_softmax(-1)
    cost = estimator(log_probs - reference)
    per_arm = cost.detach() * log_probs if in_reward else cost
    (log_probs.exp().detach() * per_arm).sum().backward()
    return logits.grad


def true_gradient() -> torch.Tensor:
    logits = torch.linspace(-1, 1, 8, dtype=torch.float64, requires_grad=True)
    reference = torch.linspace(0.5, -1, 8, dtype=torch.float64).log_softmax(-1)
    log_probs = logits.log_softmax(-1)
    (log_probs.exp() * (log_probs - reference)).sum().backward()
    return logits.grad


def test_08_k1_in_the_reward_and_k2_as_loss_have_the_gradient_of_the_kl():
    assert torch.allclose(gradients(kl_k1, True), true_gradient())
    assert torch.allclose(gradients(kl_k2, False), true_gradient())


def test_08_k3_has_another_gradient_and_is_not_offered():
    size = true_gradient().norm()
    assert all((gradients(kl_k3, where) - true_gradient()).norm() > 0.1 * size for where in (True, False))
    assert not any("estimator" in name for name in make_config("ppo").__dict__)
