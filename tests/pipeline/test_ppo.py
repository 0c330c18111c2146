"""PPO as a job: it learns, it resumes bit by bit, it stops where it should, it refuses in sentences."""

import math

import pytest
import torch

from pipeline.configs import InvalidOption, PPOConfig, make_config
from pipeline.job import Cancelled, Refused
from pipeline.policy import load_policy, weights_digest
from pipeline.ppo import work
from pipeline.ppo_training import Training
from pipeline.reward import new_reward, save_reward
from pipeline.rollout import TrainPrompt
from pipeline.run_directory import RunDirectory
from tests.pipeline.training_data import exact_arithmetic, ranked_rows, training_run

QUICK = {"episodes": 40, "batch_size": 8, "epochs": 2, "max_new_tokens": 6, "learning_rate": 1e-3, "kl_stop": 0.0}
LOGGED = [
    "objective/kl",
    "objective/scores",
    "objective/rlhf_reward",
    "objective/entropy",
    "policy/approxkl",
    "policy/clipfrac",
    "policy/ratio_max",
    "policy/grad_norm",
    "value/loss",
    "value/clipfrac",
    "value/explained_var",
    "len/eos_rate",
    "len/mean",
    "kl_coef",
    "time/generate",
    "time/score",
    "time/logprob",
    "time/rollout",
    "time/update",
    "objective/raw_scores",
    "objective/non_score_reward",
    "policy/entropy",
    "loss/policy",
    "lr",
    "episodes",
]


@pytest.fixture(autouse=True)
def exact(monkeypatch):
    exact_arithmetic(monkeypatch)
    monkeypatch.setattr("pipeline.ppo_training.MEASURED", 32)


@pytest.fixture(scope="module")
def reward_folder(tmp_path_factory, tiny_policy_folder):
    folder = tmp_path_factory.mktemp("rewards") / "tiny"
    save_reward(new_reward(tiny_policy_folder, 3, 128, "cpu"), folder)
    return folder


@pytest.fixture
def models(tiny_policy_folder, reward_folder) -> dict:
    return {"policy": tiny_policy_folder, "reward": reward_folder}


def train(path, models, options=None, rows=None) -> tuple[RunDirectory, dict]:
    run = training_run(path, "ppo", models, {**QUICK, **(options or {})}, rows or ranked_rows(train=3))
    return run, work(run, run.config())


def figures(run: RunDirectory) -> list[dict]:
    """The rows of metrics that are not sample texts."""
    return [row for row in run.metrics()[0] if "sample" not in row]


def loop(folder, scorer, **options) -> Training:
    """The loop without a run directory, on two prompts."""
    config = make_config("ppo", {**QUICK, **options})
    return Training.fresh(load_policy(folder, "cpu"), scorer, config)


def prompts(count: int) -> list[TrainPrompt]:
    return [TrainPrompt([{"role": "user", "content": str(n)}], [5 + n, 9]) for n in range(count)]


def run_through(training: Training) -> list[dict]:
    rows = []
    while training.episodes < training.options.episodes:
        rows.append(training.learn(training.collected(prompts(2))))
    return rows


def test_29_three_prompts_and_a_batch_of_eight_train(tmp_path, models):
    run, result = train(tmp_path / "run", models)
    rows = figures(run)
    assert result["sizes"] == {"train_prompts": 3, "episodes": 40, "rollouts": 5}
    assert [r["step"] for r in rows] == [1, 2, 3, 4, 5] and all(set(LOGGED) <= set(r) for r in rows)
    assert rows[-1]["optimizer_steps"] == 4
    assert weights_digest(load_policy(run.model, "cpu").model) == result["weights_digest"]


def test_only_train_prompts_are_asked(tmp_path, models):
    _, result = train(tmp_path / "run", models, {"episodes": 8}, ranked_rows(train=2, held_out=4))
    assert result["sizes"]["train_prompts"] == 2


def test_the_last_rollout_takes_what_is_left_of_the_episodes(tmp_path, models):
    run, result = train(tmp_path / "run", models, {"episodes": 19})
    assert result["sizes"]["episodes"] == 19 and [r["episodes"] for r in figures(run)] == [8, 16, 19]


@pytest.mark.slow
def test_the_score_rises_for_a_wanted_token(tiny_policy_folder):
    wanted = lambda items: [float("e" in text) for _, text in items]  # noqa: E731
    training = loop(tiny_policy_folder, wanted, episodes=320, learning_rate=3e-3, missing_eos_penalty=0)
    rows = run_through(training)
    assert rows[-1]["objective/scores"] > rows[0]["objective/scores"] + 0.3
    assert rows[-1]["objective/kl"] > 0.05


def test_without_reward_the_policy_stays_at_the_reference(tiny_policy_folder):
    zero = loop(
        tiny_policy_folder, lambda items: [0.0] * len(items), missing_eos_penalty=0, learning_rate=1e-5, kl_target=0
    )
    assert abs(run_through(zero)[-1]["objective/kl"]) < 1e-3


def test_the_learning_rate_falls_linearly_by_episodes(tiny_policy_folder):
    rows = run_through(loop(tiny_policy_folder, lambda items: [0.0] * len(items)))
    assert [r["lr"] for r in rows] == pytest.approx([1e-3, 8e-4, 6e-4, 4e-4, 2e-4])


def test_equal_seeds_give_equal_weights(tmp_path, models):
    digests = [train(tmp_path / str(n), models, {"seed": n // 2})[1]["weights_digest"] for n in range(3)]
    assert digests[0] == digests[1] != digests[2]


@pytest.mark.parametrize("lines", [2, 3])
def test_a_cancelled_run_goes_on_bit_by_bit(tmp_path, models, monkeypatch, lines):
    whole_run, whole = train(tmp_path / "whole", models, {"kl_stop": 50.0})
    run = training_run(tmp_path / "run", "ppo", models, {**QUICK, "kl_stop": 50.0}, ranked_rows(train=3))
    with monkeypatch.context() as patched:
        patched.setattr(RunDirectory, "cancel_requested", lambda self: len(figures(self)) >= lines)
        with pytest.raises(Cancelled, match=f"after {8 * lines} of 40"):
            work(run, run.config())
    assert work(run, run.config())["metrics"] == whole["metrics"]
    timeless = [[{k: v for k, v in r.items() if "time" not in k} for r in r.metrics()[0]] for r in (run, whole_run)]
    assert timeless[0] == timeless[1] and not any(run.checkpoints.iterdir())


def test_a_killed_run_goes_on_from_its_last_checkpoint(tmp_path, models, monkeypatch):
    _, whole = train(tmp_path / "whole", models)
    run = training_run(tmp_path / "run", "ppo", models, {**QUICK, "checkpoint_every": 2}, ranked_rows(train=3))
    with monkeypatch.context() as patched:
        patched.setattr(Training, "measured", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            work(run, run.config())
    assert (run.checkpoints / "ppo.pt").exists()
    assert work(run, run.config())["weights_digest"] == whole["weights_digest"]


def test_it_ends_above_kl_stop_with_the_weights_from_before(tmp_path, models):
    options = {"episodes": 160, "learning_rate": 3e-2, "kl_stop": 0.5, "kl_target": 0.0}
    run, result = train(tmp_path / "run", models, options)
    assert result["sizes"]["episodes"] < 160 and "passed kl_stop" in result["notes"][0]
    assert result["metrics"]["objective/kl"] < run.metrics()[0][-1]["objective/kl"]


def test_a_reward_that_is_no_number_is_refused(tmp_path, tiny_policy_folder):
    reward = new_reward(tiny_policy_folder, 3, 128, "cpu")
    with torch.no_grad():
        reward.model.score.weight.fill_(math.nan)
    save_reward(reward, tmp_path / "reward")
    with pytest.raises(Refused, match="gave nan"):
        train(tmp_path / "run", {"policy": tiny_policy_folder, "reward": tmp_path / "reward"})


def test_29_no_train_prompts_are_refused(tmp_path, models):
    with pytest.raises(Refused, match="no train prompts"):
        train(tmp_path / "run", models, rows=ranked_rows(train=0))


def test_a_learning_rate_of_zero_is_refused(tmp_path, models):
    with pytest.raises(Refused, match="changed no weight"):
        train(tmp_path / "run", models, {"learning_rate": 0.0, "episodes": 8})


def test_the_kl_coefficient_follows_the_target_and_stops_at_half_of_its_start(tiny_policy_folder):
    training = loop(tiny_policy_folder, lambda items: [0.0] * len(items), kl_coefficient=0.1, kl_target=5.0)
    for kl, expected in ((0.0, 0.09), (9.0, 0.099), (9.0, 0.1089), (0.0, 0.09801)):
        training.kl.follow(kl, 8)
        assert training.kl.coefficient == pytest.approx(expected)
    for _ in range(40):
        training.kl.follow(0.0, 8)
    assert training.kl.coefficient == 0.05


def test_few_episodes_are_not_all_spent_on_the_value_head(tmp_path, models):
    _, result = train(tmp_path / "run", models, {"episodes": 16, "critic_warmup": 5})
    assert result["sizes"]["rollouts"] == 2


def test_sample_texts_are_of_the_same_prompts_and_show_what_changed(tmp_path, models):
    run, _ = train(tmp_path / "run", models, {"sample_every": 2, "sample_prompts": 2, "learning_rate": 1e-2})
    rows = [row for row in run.metrics()[0] if "sample" in row]
    assert [row["step"] for row in rows] == [1, 1, 3, 3, 5, 5]
    asked = [row["sample"].split("\n→ ")[0] for row in rows]
    assert len(set(asked)) == 2 and asked == asked[:2] * 3 and rows[0]["sample"] != rows[4]["sample"]


def test_steps_count_rollouts_in_place_of_episodes(tmp_path, models):
    run, result = train(tmp_path / "run", models, {"steps": 2, "sample_every": 0})
    assert result["sizes"] == {"train_prompts": 3, "episodes": 16, "rollouts": 2} and len(run.metrics()[0]) == 2
    with pytest.raises(InvalidOption, match="from 0 to 20000"):
        make_config("ppo", {"steps": 20_001})


def test_it_ends_when_a_rollout_reaches_the_wanted_score(tmp_path, tiny_policy_folder):
    scores = iter([0.0, 1.0, 4.5])
    rising = lambda items: [next(scores)] * len(items)  # noqa: E731
    training = loop(tiny_policy_folder, rising, missing_eos_penalty=0, score_stop=4.0)
    training.train(training_run(tmp_path / "run", "ppo", {}), prompts(2))
    assert (training.rollouts, training.stopped) == (2, True) and "4.5, reached score_stop" in training.notes[0]


@pytest.mark.slow
def test_a_lora_run_saves_an_adapter_that_a_second_run_goes_on_from(tmp_path, models):
    _, first = train(tmp_path / "one", models, {"lora_rank": 4})
    again = models | {"policy": tmp_path / "one" / "artifacts" / "model"}
    run, second = train(tmp_path / "two", again, {"lora_rank": 4, "critic": "separate"})
    assert abs(figures(run)[0]["objective/kl"]) < 1e-4
    assert second["weights_digest"] not in (first["weights_digest"], weights_digest(load_policy(again["policy"]).model))
    assert weights_digest(load_policy(run.model, "cpu").model) == second["weights_digest"]


def test_every_option_says_what_it_means_and_refuses_what_it_cannot_be():
    for name, spec in PPOConfig.__dataclass_fields__.items():
        assert len(spec.metadata["meaning"]) > 5, name
        wrong = "perhaps" if isinstance(spec.default, bool | str) else float("nan")
        with pytest.raises(InvalidOption):
            make_config("ppo", {name: wrong})
