"""Reward model and DPO in shards over two processes, as the local backend launches them, equal those by one whole."""

import copy
import re

import pytest
import torch
import torch.distributed as dist
from safetensors.torch import load_file

from pipeline.backend import Job
from pipeline.configs import DPOConfig, RewardConfig
from pipeline.dpo import preference_objective
from pipeline.groups import Group, Pair
from pipeline.job import Refused, run_job
from pipeline.local_backend import LocalBackend
from pipeline.processes import Processes
from pipeline.resources import Resources, plain
from pipeline.reward import new_reward
from pipeline.reward_model import reward_objective
from pipeline.sharding import Shards, divided_state, layers_of, same_weights, whole_state
from tests.pipeline import two_processes_of_groups as exactly
from tests.pipeline.test_base_models import classifier
from tests.pipeline.test_processes_of_groups import MODULE, ROOT, TWO, by_one_and_by_two, ended, figures
from tests.pipeline.training_data import exact_arithmetic, ranked_rows, training_run

SHARDED = Resources(processes=2, strategy="fsdp")
OPTIONS = {"epochs": 2.0, "groups_per_step": 3, "learning_rate": 1e-3}  # 7 groups: the last step has one only
SMALL = {"parts": (150, 1)}  # up to three parts of a step and up to two forwards of a part, unlike in both processes


def weights_of(run):
    name = "adapter_model.safetensors" if run.config()["options"].get("lora_rank") else "model.safetensors"
    return load_file(run.model / name)


def held(run) -> float:
    """Which share of the model the first process had."""
    own, total = re.search(
        r"holds (\d+) of (\d+) weights: shards over 2 processes, [12] layers", run.log_tail()
    ).groups()
    return int(own) / int(total)


def launched(run, place):
    backend = LocalBackend(ROOT, ("cpu",))
    ended(backend, backend.submit(Job(run.path, MODULE, place, "cpu")), run)


def assert_equal_runs(one, two):
    assert two.result() is not None and two.error() is None, two.log_tail()
    assert len(figures(one)) == len(figures(two))
    for row, other in zip(figures(one), figures(two), strict=True):
        assert other == pytest.approx(row, abs=2e-4, rel=2e-3)
    expected, found = weights_of(one), weights_of(two)
    assert all(torch.allclose(expected[name], found[name], atol=1e-4) for name in expected)
    assert two.result()["metrics"] == pytest.approx(one.result()["metrics"], abs=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("more", [{}, {"lora_rank": 4}, {"gradient_checkpointing": True}])
@pytest.mark.parametrize("kind", ["reward", "dpo"])
def test_two_processes_with_a_shard_each_train_as_one_does(tmp_path, monkeypatch, tiny_policy_folder, kind, more):
    options = OPTIONS | more
    one, two = by_one_and_by_two(tmp_path, monkeypatch, tiny_policy_folder, kind, options, SHARDED, SMALL)
    assert_equal_runs(one, two)
    assert held(two) < 0.6


@pytest.mark.slow
def test_shards_are_left_alone_where_the_trainer_knows_of_the_processes(tmp_path, monkeypatch, tiny_policy_folder):
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")  # without it, it knows of several processes on GPUs only
    one, two = by_one_and_by_two(tmp_path, monkeypatch, tiny_policy_folder, "dpo", OPTIONS, SHARDED, SMALL)
    assert_equal_runs(one, two)
    assert held(two) < 0.6 and "parallel_mode" not in two.log_tail()


@pytest.mark.slow
@pytest.mark.parametrize("later", [SHARDED, Resources()])
def test_a_cancelled_run_goes_on_in_shards_or_whole_as_if_nothing_had_been(
    tmp_path, monkeypatch, tiny_policy_folder, later
):
    exact_arithmetic(monkeypatch)
    monkeypatch.setattr("pipeline.reward_model.INPUT_DROPOUT", 0.0)
    models, rows = {"policy": tiny_policy_folder}, ranked_rows(train=7, held_out=10)
    one, two = (training_run(tmp_path / n, "reward", models, OPTIONS, rows, plain(SHARDED)) for n in ("1", "2"))
    assert run_job(one, exactly.WORK["reward"]) == 0
    two.request_cancel()
    launched(two, SHARDED)
    assert two.status()["phase"] == "cancelled", two.log_tail()
    assert [path.name for path in two.checkpoints.glob("checkpoint-*")] == ["checkpoint-1"]
    two.forget_ending()
    launched(two, later)
    assert two.result() is not None, two.log_tail()
    expected, found = weights_of(one), weights_of(two)
    assert all(torch.allclose(expected[name], found[name], atol=1e-4) for name in expected)


@pytest.mark.slow
@pytest.mark.parametrize("place", [SHARDED, TWO])
def test_the_best_pass_is_kept_where_the_held_out_loss_rises(tmp_path, monkeypatch, tiny_policy_folder, place):
    rows = ranked_rows(train=7, held_out=10)
    for pair in rows["comparisons"]:
        pair["preference"] = 1 - pair["preference"] if pair["split"] == "eval" else pair["preference"]
    options = OPTIONS | {"epochs": 4.0}
    one, two = by_one_and_by_two(tmp_path, monkeypatch, tiny_policy_folder, "reward", options, place, rows=rows)
    assert_equal_runs(one, two)
    assert any("The held-out loss rose" in note for note in two.result()["notes"])


@pytest.mark.slow
def test_an_encoder_in_shards_trains_as_a_whole_one_does(tmp_path, monkeypatch):
    base = classifier(tmp_path / "bert")
    one, two = by_one_and_by_two(tmp_path, monkeypatch, base, "reward", OPTIONS, SHARDED, SMALL)
    assert_equal_runs(one, two)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["reward", "dpo"])
def test_shards_do_as_well_in_the_arithmetic_of_this_machine(tmp_path, monkeypatch, tiny_policy_folder, kind):
    options, own = OPTIONS | ({"lora_rank": 4} if kind == "dpo" else {}), {"exact": False}
    one, two = by_one_and_by_two(tmp_path, monkeypatch, tiny_policy_folder, kind, options, SHARDED, own)
    assert two.result() is not None, two.log_tail()
    found, expected = ([row["loss"] for row in figures(run) if "loss" in row] for run in (two, one))
    assert found == pytest.approx(expected, rel=0.02)


# ---- one process that is a whole group
@pytest.fixture
def alone(tmp_path):
    dist.init_process_group("gloo", store=dist.FileStore(str(tmp_path / "store"), 1), rank=0, world_size=1)
    yield Processes(0, 1)
    dist.destroy_process_group()


@pytest.fixture
def reward(monkeypatch, tiny_policy_folder):
    exact_arithmetic(monkeypatch)
    return new_reward(tiny_policy_folder, 0, 512, "cpu")


GROUP = Group("p", [3, 4, 5], [[6, 2], [7, 8, 2], [9, 2]], [Pair(0, 1, 0.75, 1.0), Pair(1, 2, 0.5, 2.0)], [0, 1, 2])


def test_the_model_is_empty_meanwhile_and_whole_again_at_the_end(reward, alone):
    before = {name: weight.clone() for name, weight in reward.model.named_parameters()}
    shards = Shards(reward.model, alone)
    assert all(weight.numel() == 0 for weight in reward.model.parameters())
    assert shards.restore() is reward.model
    assert all(torch.equal(weight, before[name]) for name, weight in reward.model.named_parameters())


def test_gradients_and_state_of_shards_are_those_of_the_whole(reward, alone):
    plain_model = copy.deepcopy(reward.model)
    shards, objective = Shards(reward.model, alone), reward_objective(RewardConfig())
    whole_optimizer, optimizer = (torch.optim.AdamW(m.parameters(), lr=1e-2) for m in (plain_model, shards.model))
    objective(plain_model, [GROUP]).loss.backward()
    shards(lambda model: objective(model, [GROUP]).loss + objective.idle(model)).backward()
    for each in (whole_optimizer, optimizer):
        each.step()
    expected, found = whole_optimizer.state_dict(), whole_state(optimizer.state_dict(), keep=True)
    assert found["param_groups"] == expected["param_groups"] and found["state"].keys() == expected["state"].keys()
    for number, values in expected["state"].items():
        assert all(torch.allclose(found["state"][number][name], value, atol=1e-6) for name, value in values.items())
    optimizer.load_state_dict(divided_state(expected, optimizer))
    assert torch.equal(
        whole_state(optimizer.state_dict(), True)["state"][0]["exp_avg"], expected["state"][0]["exp_avg"]
    )


def test_weights_that_cannot_be_divided_are_refused_in_a_sentence(reward, alone):
    reward.model.score.weight = torch.nn.Parameter(torch.zeros(1, 2, dtype=torch.uint8), requires_grad=False)
    with pytest.raises(Refused, match="cannot divide weights in 4 bits: leave quantize at none"):
        Shards(reward.model, alone)


def test_layers_are_divided_one_by_one_and_tied_weights_outside_of_them(tiny_policy):
    layers = layers_of(tiny_policy.model)
    assert layers == list(tiny_policy.model.get_decoder().layers)
    assert layers_of(same_weights(tiny_policy.model))[0].mlp.up_proj.weight is layers[0].mlp.up_proj.weight


# ---- in step
def counted(body, work) -> int:
    calls = []
    hook = body.register_forward_hook(lambda *_: calls.append(1))
    work()
    hook.remove()
    return len(calls)


@pytest.mark.parametrize("tokens", [1, 40, 10_000])
def test_the_forwards_of_an_objective_are_known_beforehand(reward, tiny_policy, monkeypatch, tokens):
    exactly.in_small_parts(1, tokens, monkeypatch.setattr)
    groups = [GROUP, Group("q", [3] * 30, [[6, 2] * 9, [7, 2]], [Pair(0, 1, 1.0, 1.0)], [3, 4])]
    known = {group.prompt_id: torch.zeros(len(group.completions)) for group in groups}
    for model, body, objective in (
        (reward.model, reward.model.base_model, reward_objective(RewardConfig())),
        (tiny_policy.model, tiny_policy.model.get_decoder(), preference_objective(known, DPOConfig())),
    ):
        count = objective.count(model, groups)
        assert count == counted(body, lambda: objective(model, groups)) > 0  # noqa: B023
        assert counted(body, lambda: objective.idle(model)) == 1  # noqa: B023


def test_an_idle_forward_has_a_gradient_of_nothing_for_every_weight(reward):
    loss = reward_objective(RewardConfig()).idle(reward.model)
    loss.backward()
    assert loss.item() == 0 and all(not weight.grad.any() for weight in reward.model.parameters())
