"""The shared trainer: one forward per completion, and a loss that no split of the work changes."""

import itertools

import pytest
import torch

from pipeline.group_trainer import GroupTrainer, Schedule, evaluate_groups
from pipeline.groups import GroupData, read_groups
from pipeline.reward import forward, new_reward
from pipeline.reward_model import score_groups
from tests.pipeline.training_data import exact_arithmetic, ranked_rows, training_run


@pytest.fixture
def reward(monkeypatch, tiny_policy_folder):
    exact_arithmetic(monkeypatch)
    return new_reward(tiny_policy_folder, 0, 512, "cpu")


@pytest.fixture
def run(tmp_path):
    return training_run(tmp_path / "run", "reward", {}, rows=ranked_rows(train=5, held_out=2))


@pytest.fixture
def data(run, reward) -> GroupData:
    return read_groups(run.data, reward.tokenizer, 512)


def gradient(run, reward, data, **schedule) -> tuple[float, torch.Tensor]:
    trainer = GroupTrainer(run, reward.model, data, score_groups, Schedule(1, 5, 1e-3, 0, **schedule))
    reward.model.zero_grad()
    loss = trainer.training_step(reward.model, {"groups": data.train})
    return float(loss), torch.cat([p.grad.flatten() for p in reward.model.parameters()])


def exploded_loss(reward, data) -> torch.Tensor:
    """The same pairs as a pairwise trainer takes them: two forwards for each pair."""
    total, weights = 0.0, 0.0
    for group, pair in ((g, p) for g in data.train for p in g.pairs):
        first, second = (forward(reward.model, [group.sequences[i]])[0] for i in (pair.first, pair.second))
        sigma = torch.sigmoid(first - second)
        total = total - pair.weight * (pair.preference * sigma.log() + (1 - pair.preference) * (1 - sigma).log())
        weights += pair.weight
    return total / weights


def test_loss_and_gradient_equal_the_exploded_pairwise_ones(run, reward, data):
    loss, grad = gradient(run, reward, data)
    reward.model.zero_grad()
    expected = exploded_loss(reward, data)
    expected.backward()
    assert loss == pytest.approx(expected.item(), abs=1e-5)
    assert torch.allclose(grad, torch.cat([p.grad.flatten() for p in reward.model.parameters()]), atol=1e-5)


def test_the_split_into_micro_batches_changes_nothing(run, reward, data):
    loss, grad = gradient(run, reward, data, centering=0.1)
    small_loss, small_grad = gradient(run, reward, data, centering=0.1, token_budget=1)
    assert loss == pytest.approx(small_loss, abs=1e-6) and torch.allclose(grad, small_grad, atol=1e-6)


def test_each_completion_is_forwarded_once(run, reward, data):
    seen = []

    def counting(model, groups):
        seen.extend(itertools.chain.from_iterable(g.ids for g in groups))
        return score_groups(model, groups)

    trainer = GroupTrainer(run, reward.model, data, counting, Schedule(1, 5, 1e-3, 0))
    trainer.training_step(reward.model, {"groups": data.train})
    assert len(seen) == len(set(seen)) == 20


def test_centering_adds_the_mean_squared_score(run, reward, data):
    plain, centred = gradient(run, reward, data)[0], gradient(run, reward, data, centering=2.0)[0]
    scores = score_groups(reward.model, data.train)
    assert centred - plain == pytest.approx(2 * scores.square().mean().item(), rel=1e-4)


def test_held_out_nll_equals_the_exploded_one(reward, data):
    found = evaluate_groups(reward.model, data.train, score_groups, Schedule(1, 5, 1e-3, 0))
    assert found["eval/nll"] == pytest.approx(exploded_loss(reward, data).item(), abs=1e-5)
    assert found["eval/nll"] == found["eval/loss"]


def test_input_dropout_is_on_in_training_steps_only(run, reward, data):
    clean, dropped = (gradient(run, reward, data, input_dropout=share)[0] for share in (0.0, 0.9))
    assert dropped != pytest.approx(clean, abs=1e-6)
    scores = score_groups(reward.model, data.train)
    assert torch.equal(scores, score_groups(reward.model, data.train))
