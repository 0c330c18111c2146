"""The optimizer steps of PPO while the critic warms up; the rest is in `test_ppo_details_update.py`."""

import pytest
import torch

from pipeline.policy import weights_digest
from tests.pipeline.ppo_parts import changed, collector, rollout_of, updater

pytestmark = pytest.mark.usefixtures("exact")


def test_13_warm_up_moves_the_value_head_only_and_lowers_the_value_loss(tiny_policy):
    found = collector(tiny_policy)
    rollout, before = rollout_of(found), weights_digest(tiny_policy.model)
    one = updater(found.actor, changed(epochs=1, minibatches=1, value_clip=100.0, value_learning_rate=1e-3))
    losses = [one.update(rollout, torch.Generator(), value_only=True)["value/loss"] for _ in range(8)]
    assert losses[-1] < losses[0] and weights_digest(tiny_policy.model) == before
    assert found.actor.critic.head.weight.abs().sum() > 0


def test_demonstrations_are_not_mixed_in_while_the_critic_warms_up(tiny_policy):
    found = collector(tiny_policy)
    one = updater(found.actor, changed(sft_coefficient=1.0))
    one.mix_in = lambda draws: pytest.fail("mixed in")
    assert "loss/sft" not in one.update(rollout_of(found), torch.Generator(), value_only=True)
