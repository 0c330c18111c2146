"""DPO on a bandit whose best policy is known: it arrives there, and no policy at its KL is much better."""

import itertools
import math

import pytest
import torch

from pipeline.configs import DPOConfig
from pipeline.dpo import preference_objective, reference_log_probs
from pipeline.group_trainer import GroupTrainer, Schedule
from pipeline.groups import Group, GroupData, Pair
from pipeline.run_directory import RunDirectory
from tests.pipeline.bandit import (
    ARMS,
    PROMPT,
    REWARDS,
    bandit_policy,
    best,
    distribution,
    divergence,
    gain,
    most_gain,
    variation,
)

pytestmark = pytest.mark.usefixtures("exact")


def every_pair() -> Group:
    """All pairs of arms, preferred as Bradley-Terry has it of their rewards."""
    told = [
        Pair(a, b, float(torch.sigmoid(REWARDS[a] - REWARDS[b]))) for a, b in itertools.combinations(range(ARMS), 2)
    ]
    return Group("bandit", PROMPT, [[1 + arm] for arm in range(ARMS)], told, list(range(ARMS)))


def trained(folder, beta: float, steps: int, loss: str = "dpo") -> tuple[torch.Tensor, torch.Tensor]:
    """The policy's and the reference's distribution over the arms, after the real trainer's steps."""
    policy, group = bandit_policy(), every_pair()
    reference = distribution(policy)
    objective = preference_objective(reference_log_probs(policy.model, [group]), DPOConfig(beta=beta, loss=loss))
    run = RunDirectory.create(folder / f"{loss}-{beta}", {})
    GroupTrainer(run, policy.model, GroupData([group] * steps, [], 0), objective, Schedule(1, 1, 1e-2, 0)).fit(run)
    return distribution(policy), reference


def test_the_objective_of_the_best_policy_is_beta_log_z():
    reference = distribution(bandit_policy())
    star = best(reference, 0.5)
    objective = float(star @ REWARDS) - 0.5 * divergence(star, reference)
    assert objective == pytest.approx(0.5 * math.log(float(reference @ (REWARDS / 0.5).exp())), abs=1e-12)


def test_dpo_arrives_at_the_best_policy(tmp_path):
    found, reference = trained(tmp_path, 0.5, 200)
    assert variation(reference, best(reference, 0.5)) > 0.2  # there is something to learn
    assert variation(found, best(reference, 0.5)) <= 0.03


@pytest.mark.slow
@pytest.mark.parametrize("beta", [0.05, 0.1, 0.5, 1.0])
def test_no_policy_at_its_divergence_gains_much_more(tmp_path, beta):
    found, reference = trained(tmp_path, beta, 200)
    kl = divergence(found, reference)
    reached, possible = gain(found, reference), most_gain(kl, reference)
    assert reached >= possible - 0.01 if kl < 0.05 else reached >= 0.95 * possible
