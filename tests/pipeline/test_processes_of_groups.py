"""Reward model and DPO by two processes on this machine, as the local backend launches them, equal those by one."""

import time
from pathlib import Path

import psutil
import pytest
import torch
from safetensors.torch import load_file

from pipeline.backend import Job
from pipeline.job import run_job
from pipeline.job_command import job_command
from pipeline.local_backend import LocalBackend
from pipeline.processes import Onlooker
from pipeline.resources import Resources, make_resources, plain
from pipeline.run_directory import RunDirectory, read_json, write_json
from tests.pipeline import two_processes_of_groups as exactly
from tests.pipeline.training_data import exact_arithmetic, ranked_rows, training_run

ROOT = Path(__file__).parents[2]
MODULE = "tests.pipeline.two_processes_of_groups"
TWO = Resources(processes=2)


def ended(backend, handle, run, seconds=300):
    deadline = time.monotonic() + seconds
    while backend.alive(handle):
        assert time.monotonic() < deadline, run.log_tail()
        time.sleep(0.1)


def figures(run):
    return [{k: v for k, v in row.items() if "time" not in k} for row in run.metrics()[0] if "sample" not in row]


def by_one_and_by_two(tmp_path, monkeypatch, folder, kind, options, place=TWO, more=None, rows=None):
    more = more or {}
    if more.get("exact", True):
        exact_arithmetic(monkeypatch)
    monkeypatch.setattr("pipeline.reward_model.INPUT_DROPOUT", 0.0)
    models = {"policy": folder} | ({"reference": folder} if kind == "dpo" else {})
    rows = rows or ranked_rows(train=7, held_out=10)
    one, two = (training_run(tmp_path / name, kind, models, options, rows, plain(place)) for name in ("1", "2"))
    write_json(two.path / "config.json", two.config() | more)
    backend = LocalBackend(ROOT, ("cpu",))
    handle = backend.submit(Job(two.path, MODULE, place, "cpu"))
    assert run_job(one, exactly.WORK[kind]) == 0
    ended(backend, handle, two)
    return one, two


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["reward", "dpo"])
def test_two_processes_train_as_one_does(tmp_path, monkeypatch, tiny_policy_folder, kind):
    options = {"epochs": 2.0, "groups_per_step": 3, "learning_rate": 1e-3}
    one, two = by_one_and_by_two(tmp_path, monkeypatch, tiny_policy_folder, kind, options)
    assert two.result() is not None, two.log_tail()
    assert len(figures(one)) == len(figures(two))
    for row, other in zip(figures(one), figures(two), strict=True):
        assert other == pytest.approx(row, abs=2e-4, rel=2e-3)
    weights = [load_file(run.model / "model.safetensors") for run in (one, two)]
    assert all(torch.allclose(weights[0][name], weights[1][name], atol=1e-4) for name in weights[0])
    assert two.result()["metrics"] == pytest.approx(one.result()["metrics"], abs=1e-3)


@pytest.mark.slow
def test_two_processes_save_on_a_cancel_and_go_on_from_there(tmp_path, monkeypatch, tiny_policy_folder):
    rows = ranked_rows(train=7, held_out=2)
    run = training_run(tmp_path / "1", "reward", {"policy": tiny_policy_folder}, {"epochs": 400.0}, rows)
    backend = LocalBackend(ROOT, ("cpu",))
    handle = backend.submit(Job(run.path, MODULE, TWO, "cpu"))
    while not (run.status() or {}).get("step"):
        assert backend.alive(handle), run.log_tail()
        time.sleep(0.05)
    assert len(psutil.Process(int(handle.split(":")[1])).children(recursive=True)) >= 2
    run.request_cancel()
    ended(backend, handle, run)
    assert run.status()["phase"] == "cancelled" and run.result() is None
    assert list(run.checkpoints.glob("checkpoint-*")), run.log_tail()


def test_the_settings_say_how_many_processes(tmp_path):
    command = job_command("python", "pipeline.dpo", tmp_path, make_resources({"processes": 4, "strategy": "fsdp"}))
    assert command[:4] == ["python", "-u", "-m", "accelerate.commands.launch"] and command[-1] == str(tmp_path)
    settings = read_json(tmp_path / "accelerate.json")
    assert (settings["num_processes"], settings["distributed_type"]) == (4, "MULTI_GPU")


def test_one_process_is_started_without_a_launcher(tmp_path):
    assert job_command("python", "pipeline.dpo", tmp_path, Resources()) == [
        "python", "-u", "-m", "pipeline.dpo", str(tmp_path),
    ]  # fmt: skip


def test_a_process_that_fails_is_heard_unless_another_was(tmp_path):
    first, other = RunDirectory.create(tmp_path / "r", {}), Onlooker(tmp_path / "r")
    other.fail("OutOfMemoryError", "this one ran out of memory")
    assert first.error()["message"] == "this one ran out of memory"
    other.fail("RuntimeError", "the others are gone")
    assert first.error()["kind"] == "OutOfMemoryError"
    other.finish({"metrics": {}})
    assert first.result() is None
