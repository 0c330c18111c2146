"""The shared trainer: one forward per completion, and a loss that no split of the work changes."""

import itertools
import os
import time

import pytest
import torch
from safetensors.torch import load_file

from pipeline.configs import RewardConfig
from pipeline.group_figures import evaluate_groups
from pipeline.group_trainer import GroupTrainer, Schedule, last_checkpoint
from pipeline.groups import GroupData, read_groups
from pipeline.job import Refused
from pipeline.reward import forward, new_reward
from pipeline.reward_model import reward_objective
from pipeline.trained_weights import BestPass, put_back, trained_weights
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


OBJECTIVE = reward_objective(RewardConfig())


def scores_of(reward, groups) -> torch.Tensor:
    return OBJECTIVE(reward.model, groups).scores


def gradient(run, reward, data, **schedule) -> tuple[float, torch.Tensor]:
    trainer = GroupTrainer(run, reward.model, data, OBJECTIVE, Schedule(1, 5, 1e-3, 0, **schedule))
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
        return OBJECTIVE(model, groups)

    trainer = GroupTrainer(run, reward.model, data, counting, Schedule(1, 5, 1e-3, 0))
    trainer.training_step(reward.model, {"groups": data.train})
    assert len(seen) == len(set(seen)) == 20


def test_centering_adds_the_mean_squared_score(run, reward, data):
    plain, centred = gradient(run, reward, data)[0], gradient(run, reward, data, centering=2.0)[0]
    scores = scores_of(reward, data.train)
    assert centred - plain == pytest.approx(2 * scores.square().mean().item(), rel=1e-4)


def test_held_out_nll_equals_the_exploded_one(reward, data):
    found = evaluate_groups(reward.model, data.train, OBJECTIVE, 4096).metrics
    assert found["eval/nll"] == pytest.approx(exploded_loss(reward, data).item(), abs=1e-5)
    assert found["eval/nll"] == found["eval/loss"]


def test_input_dropout_is_on_in_training_steps_only(run, reward, data):
    clean, dropped = (gradient(run, reward, data, input_dropout=share)[0] for share in (0.0, 0.9))
    assert dropped != pytest.approx(clean, abs=1e-6)
    assert torch.equal(scores_of(reward, data.train), scores_of(reward, data.train))


def test_scores_of_an_evaluation_come_in_the_groups_order(reward, data):
    found = evaluate_groups(reward.model, data.train, OBJECTIVE, 1)
    assert list(itertools.chain(*found.scores)) == pytest.approx(scores_of(reward, data.train).tolist(), abs=1e-5)


def test_a_model_with_nothing_trainable_is_refused_in_a_sentence(run, reward, data):
    reward.model.requires_grad_(False)
    with pytest.raises(Refused, match="no weight that may be trained"):
        GroupTrainer(run, reward.model, data, OBJECTIVE, Schedule(1, 5, 1e-3, 0))


def test_a_loss_that_is_no_number_is_refused_in_a_sentence(run, reward, data):
    with torch.no_grad():
        reward.model.score.weight.fill_(float("nan"))
    with pytest.raises(Refused, match="The loss is nan at step 0"):
        gradient(run, reward, data)


def test_three_prompts_train_with_a_batch_of_eight(tmp_path, reward):
    run = training_run(tmp_path / "few", "reward", {}, rows=ranked_rows(train=3, held_out=0))
    few = read_groups(run.data, reward.tokenizer, 512)
    trainer, before = (
        GroupTrainer(run, reward.model, few, OBJECTIVE, Schedule(2, 8, 1e-2, 0)),
        scores_of(reward, few.train),
    )
    trainer.fit(run)
    assert trainer.state.global_step == 2 and not torch.equal(before, scores_of(reward, few.train))


def test_training_ends_after_two_worse_passes_with_the_weights_of_the_best(run, reward, data, monkeypatch):
    monkeypatch.setattr("pipeline.group_trainer.ENOUGH_HELD_OUT", 1)
    losses, kept = iter([0.7, 0.5, 0.6, 0.55, 0.1]), {}

    def evaluated(model, *_):
        kept[loss := next(losses)] = trained_weights(model)
        return type("HeldOut", (), {"metrics": {"eval/loss": loss}})

    monkeypatch.setattr("pipeline.group_trainer.evaluate_groups", evaluated)
    trainer = GroupTrainer(run, reward.model, data, OBJECTIVE, Schedule(5, 5, 1e-3, 0, early_stop=True))
    trainer.fit(run)
    assert trainer.state.global_step == 4 and "step 2 of 5" in trainer.notes[0]
    assert all(torch.equal(p, kept[0.5][name]) for name, p in trained_weights(reward.model).items())


def test_a_pass_that_is_told_again_after_a_resume_counts_once(tmp_path, reward):
    best = BestPass(tmp_path)
    assert [best.take(reward.model, loss, step) for loss, step in ((0.5, 1), (0.6, 2), (0.6, 2), (0.7, 3))] == [
        0,
        1,
        1,
        2,
    ]
    weights = trained_weights(reward.model)
    put_back(reward.model, {name: torch.zeros_like(p) for name, p in weights.items()})
    best.restore(reward.model)
    assert all(torch.equal(p, weights[name]) for name, p in trained_weights(reward.model).items())


def test_a_job_killed_while_it_keeps_a_pass_leaves_the_one_before(tmp_path, reward, monkeypatch):
    best, weights = BestPass(tmp_path), trained_weights(reward.model)
    best.take(reward.model, 0.5, 1)
    put_back(reward.model, {name: torch.zeros_like(p) for name, p in weights.items()})
    with monkeypatch.context() as killed, pytest.raises(KeyboardInterrupt):
        killed.setattr("pipeline.trained_weights.write_json", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        best.take(reward.model, 0.4, 2)
    BestPass(tmp_path).restore(reward.model)
    assert best.step == 1
    assert all(torch.equal(p, weights[name]) for name, p in trained_weights(reward.model).items())


def test_the_newest_checkpoint_stays_after_the_clock_jumped_back(run, reward, data):
    (run.checkpoints / "checkpoint-0").mkdir()
    later = time.time() + 3600
    os.utime(run.checkpoints / "checkpoint-0", (later, later))
    GroupTrainer(run, reward.model, data, OBJECTIVE, Schedule(2, 5, 1e-3, 0)).fit(run)
    assert [path.name for path in run.checkpoints.glob("checkpoint-*")] == ["checkpoint-2"]
    assert last_checkpoint(run).endswith("checkpoint-2")


def test_a_checkpoint_holds_what_is_trained_and_nothing_else(run, reward, data):
    reward.model.base_model.requires_grad_(False)
    trainer = GroupTrainer(run, reward.model, data, OBJECTIVE, Schedule(1, 5, 1e-3, 0))
    trainer.fit(run)
    saved = next(run.checkpoints.glob("checkpoint-*/trained.safetensors"))
    assert list(load_file(saved)) == ["score.weight"]
