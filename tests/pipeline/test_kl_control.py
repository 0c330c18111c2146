"""The KL coefficient over rollouts, by numbers worked by hand."""

import pytest

from pipeline.configs import PPOConfig
from pipeline.kl_control import KLController


def test_09_the_published_recursion():
    # Ziegler et al. 2019: 0.15, target 6, horizon 10000; error clipped to 0.2: 0.15 (1 + 0.2 * 64 / 10000)
    control = KLController.of(PPOConfig(kl_coefficient=0.15, kl_target=6.0, kl_horizon=10_000))
    control.follow(50.0, 64)
    assert control.coefficient == pytest.approx(0.15 * 1.00128)
    control.follow(5.4, 64)  # error -0.1
    assert control.coefficient == pytest.approx(0.15 * 1.00128 * 0.99936)


def test_a_rollout_changes_it_by_at_most_a_tenth_unless_told():
    control = KLController.of(PPOConfig(kl_coefficient=0.1, kl_target=5.0, batch_size=32))
    control.follow(50.0, 32)
    assert control.coefficient == pytest.approx(0.11)


def test_it_does_not_fall_below_half_of_its_start_and_a_target_of_zero_keeps_it():
    control = KLController.of(PPOConfig(kl_coefficient=0.1, kl_target=5.0))
    for _ in range(50):
        control.follow(0.0, 128)
    fixed = KLController.of(PPOConfig(kl_coefficient=0.1, kl_target=0.0))
    fixed.follow(50.0, 128)
    assert (control.coefficient, fixed.coefficient) == (0.05, 0.1)
