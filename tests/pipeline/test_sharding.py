"""Reward model and DPO in shards over two processes, as the local backend launches them, equal those by one whole."""

import copy

import pytest
import torch
from safetensors.torch import load_file

from pipeline.backend import Job
from pipeline.configs import DPOConfig, RewardConfig
from pipeline.dpo import preference_objective
from pipeline.group_figures import Objective
from pipeline.groups import Group
from pipeline.job import Refused, run_job
from pipeline.local_backend import LocalBackend
from pipeline.processes import Processes
from pipeline.resources import Resources, plain
from pipeline.reward import new_reward
from pipeline.reward_model import reward_objective
from pipeline.sharding import Shards, divided_state, layers_of, same_weights, whole_state
from tests.pipeline import two_processes_of_groups as exactly
from tests.pipeline.test_processes_of_groups import MODULE, ROOT, by_one_and_by_two, ended, figures
from tests.pipeline.training_data import exact_arithmetic, ranked_rows, training_run

SHARDED = Resources(processes=2, strategy="fsdp")
OPTIONS = {"epochs": 2.0, "groups_per_step": 3, "learning_rate": 1e-3}  # 7 groups: the last step has one only
SMALL = {"parts": (150, 1)}  # up to three parts of a step and up to two forwards of a part, unlike in both processes


def weights_of(run):
    name = "adapter_model.safetensors" if run.config()["options"].get("lora_rank") else "model.safetensors"
    return load_file(run.model / name)


def launched(run, place):
    backend = LocalBackend(ROOT, ("cpu",))
    ended(backend, backend.submit(Job(run.path, MODULE, place, "cpu")), run)


def assert_equal_runs(one, two):
    assert two.result() is not None, two.log_tail()
    assert len(figures(one)) == len(figures(two))
    for row, other in zip(figures(one), figures(two), strict=True):
        assert other == pytest.approx(row, abs=2e-4, rel=2e-3)
    expected, found = weights_of(one), weights_of(two)
    assert all(torch.allclose(expected[name], found[name], atol=1e-4) for name in expected)
    assert two.result()["metrics"] == pytest.approx(one.result()["metrics"], abs=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("more", [{}, {"lora_rank": 4}])
@pytest.mark.parametrize("kind", ["reward", "dpo"])
def test_two_processes_with_a_shard_each_train_as_one_does(tmp_path, monkeypatch, tiny_policy_folder, kind, more):
    options = OPTIONS | more
    one, two = by_one_and_by_two(tmp_path, monkeypatch, tiny_policy_folder, kind, options, SHARDED, SMALL)
    assert_equal_runs(one, two)
    assert "in shards over 2 processes" in two.log_tail()


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
