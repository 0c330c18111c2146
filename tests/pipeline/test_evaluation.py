"""An evaluation against itself finds nothing; against another policy it finds what is there."""

import pytest

from pipeline import evaluation
from pipeline.evaluation import work
from pipeline.job import Refused
from pipeline.policy import Policy, save_policy
from tests.pipeline.conftest import tiny_model, tiny_tokenizer
from tests.pipeline.test_generation import make_run

OPTIONS = {"prompts": 10, "max_new_tokens": 6}


@pytest.fixture
def policy(tiny_policy_folder):
    return {"name": "starter", "path": str(tiny_policy_folder), "device": "cpu"}


def evaluated(folder, models):
    run = make_run(folder, models, options=OPTIONS)
    return run, work(run, run.config())


def test_without_models_to_measure_with_only_lengths_are_known(policy, tmp_path):
    run, result = evaluated(tmp_path / "run", {"policy": policy})
    metrics = result["metrics"]
    assert metrics["reward/mean"] is metrics["reward/win_rate"] is metrics["objective/kl"] is None
    assert 1 <= metrics["len/mean"] <= 6 and 0 < metrics["distinct"] <= 1
    assert result["sizes"] == {"eval_prompts": 4, "train_prompts": 6}
    assert run.metrics()[0][0]["len/mean"] == metrics["len/mean"]


def test_kl_to_itself_is_zero_and_to_another_model_positive(policy, tmp_path, tiny_policy):
    _, same = evaluated(tmp_path / "same", {"policy": policy, "against": policy})
    save_policy(Policy(tiny_model(tiny_tokenizer(), seed=7), tiny_tokenizer(), tiny_policy.device), tmp_path / "other")
    other = {"name": "other", "path": str(tmp_path / "other"), "device": "cpu"}
    _, far = evaluated(tmp_path / "far", {"policy": policy, "against": other})
    assert same["metrics"]["objective/kl"] == 0 and far["metrics"]["objective/kl"] > 0


def test_rewards_are_normalised_and_the_better_policy_wins(policy, tmp_path, monkeypatch):
    scores = iter([[3.0] * 10, [1.0] * 9 + [3.0]])
    monkeypatch.setattr(evaluation, "load_reward", lambda path, device: None)
    monkeypatch.setattr(evaluation, "normalised", lambda reward, values: [v - 1 for v in values])
    monkeypatch.setattr(evaluation, "score_texts", lambda reward, items: next(scores))
    models = {"policy": policy, "against": policy, "reward": {"name": "reward-1", "path": "nowhere"}}
    metrics = evaluated(tmp_path / "run", models)[1]["metrics"]
    assert metrics["reward/mean"] == 2.0 and metrics["reward/win_rate"] == pytest.approx(0.95)  # 9 wins, 1 tie


def test_a_reward_that_is_not_a_number_is_refused(policy, tmp_path, monkeypatch):
    monkeypatch.setattr(evaluation, "load_reward", lambda path, device: None)
    monkeypatch.setattr(evaluation, "normalised", lambda reward, values: values)
    monkeypatch.setattr(evaluation, "score_texts", lambda reward, items: [float("nan")] * len(items))
    with pytest.raises(Refused, match="not a finite number"):
        evaluated(tmp_path / "run", {"policy": policy, "reward": {"name": "reward-1", "path": "nowhere"}})
