"""The optimizer steps of PPO: how many, from which ratio, and what no split changes."""

import pytest
import torch

from pipeline.actor_critic import ActorCritic
from pipeline.configs import PPOConfig
from pipeline.policy import load_policy
from pipeline.ppo_update import Tally, accumulate, update
from pipeline.rollout import Rollout, TrainPrompt, collect, generator
from tests.pipeline.training_data import exact_arithmetic

OPTIONS = PPOConfig(batch_size=8, max_new_tokens=6, epochs=3, minibatches=2, learning_rate=1e-3)
PROMPTS = [TrainPrompt([{"role": "user", "content": "x"}], [5 + n] * (1 + n % 3)) for n in range(8)]


@pytest.fixture
def actor(monkeypatch, tiny_policy) -> ActorCritic:
    exact_arithmetic(monkeypatch)
    return ActorCritic(tiny_policy)


@pytest.fixture
def rollout(actor, tiny_policy_folder) -> Rollout:
    reference = load_policy(tiny_policy_folder, "cpu")
    return collect(actor, reference, lambda items: list(range(len(items))), PROMPTS, OPTIONS, 0.05, generator(0))


def learn(actor, rollout, options=OPTIONS, **settings) -> dict:
    optimizer = torch.optim.AdamW(actor.parameter_groups(1e-3, 1e-3), eps=1e-5, weight_decay=0.0)
    steps, step = [], optimizer.step
    optimizer.step = lambda: steps.append(step())
    return update(actor, optimizer, rollout, options, generator(1), **settings) | {"counted": len(steps)}


def gradient(actor, rollout, budget: int) -> tuple[Tally, torch.Tensor]:
    actor.zero_grad()
    tally = Tally()
    accumulate(actor, rollout, list(range(8)), OPTIONS, tally, token_budget=budget)
    return tally, torch.cat([p.grad.flatten() for _, p in actor.trainable()])


@pytest.mark.parametrize(("epochs", "minibatches", "steps"), [(1, 1, 1), (3, 2, 6), (2, 4, 8), (1, 99, 8)])
def test_every_minibatch_of_every_pass_is_one_optimizer_step(actor, rollout, epochs, minibatches, steps):
    found = learn(actor, rollout, PPOConfig(epochs=epochs, minibatches=minibatches))
    assert found["counted"] == found["optimizer_steps"] == steps


def test_the_first_pass_starts_at_ratio_one(actor, rollout):
    tally, _ = gradient(actor, rollout, 4096)
    assert tally.ratio_max == pytest.approx(1, abs=1e-5)
    assert tally.clipped == 0 and tally.approx_kl == pytest.approx(0, abs=1e-8)


def test_the_split_into_micro_batches_changes_nothing(actor, rollout):
    whole, single = gradient(actor, rollout, 4096), gradient(actor, rollout, 1)
    assert whole[0].policy_loss == pytest.approx(single[0].policy_loss, abs=1e-4)
    assert torch.allclose(whole[1], single[1], atol=1e-5)


def test_warm_up_moves_the_value_head_only(actor, rollout):
    before = {name: p.detach().clone() for name, p in actor.trainable()}
    learn(actor, rollout, value_only=True)
    changed = {name for name, p in actor.trainable() if not torch.equal(p, before[name])}
    assert changed == {"value.weight", "value.bias"}


def test_warm_up_lowers_the_value_loss(actor, rollout):
    options = PPOConfig(epochs=1, minibatches=1, value_clip=100.0)
    losses = [learn(actor, rollout, options, value_only=True)["value/loss"] for _ in range(8)]
    assert losses[-1] < losses[0]


def test_the_gradient_is_clipped_to_its_limit(actor, rollout):
    norms = []
    optimizer = torch.optim.SGD(actor.parameter_groups(0.0, 0.0))
    optimizer.step = lambda: norms.append(
        torch.stack([p.grad.norm() for _, p in actor.trainable() if p.grad is not None]).norm().item()
    )
    found = update(actor, optimizer, rollout, PPOConfig(epochs=1, max_grad_norm=0.01), generator(1))
    assert found["policy/grad_norm"] > 0.01 and max(norms) <= 0.01 + 1e-6


def test_the_end_token_is_trained(actor, rollout):
    end = actor.policy.eos_ids[0]
    if not any(completion[-1] == end for _, completion in rollout.sequences):
        sequences = [(p, [*c[:-1], end]) for p, c in rollout.sequences]
        rollout = Rollout(**{**rollout.__dict__, "sequences": sequences})
    _, grad = gradient(actor, rollout, 4096)
    assert grad.abs().sum() > 0 and actor.model.get_output_embeddings().weight.grad[end].abs().sum() > 0
