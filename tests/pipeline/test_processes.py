"""Several processes: shares, and a run of two that equals a run of one."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from pipeline.job import run_job
from pipeline.ppo import work
from pipeline.processes import ALONE, Onlooker, Processes, join
from pipeline.reward import new_reward, save_reward
from tests.pipeline.training_data import exact_arithmetic, ranked_rows, training_run

ROOT = Path(__file__).parents[2]
OPTIONS = {
    "episodes": 18,
    "batch_size": 6,
    "epochs": 2,
    "max_new_tokens": 6,
    "learning_rate": 1e-3,
    "kl_stop": 0.0,
    "reward_normalisation": "running",
}


def test_one_process_alone_shares_with_nobody():
    assert join() == ALONE and ALONE.first and ALONE.share([1, 2, 3]) == [1, 2, 3]
    assert ALONE.gathered([1]) == [1] and ALONE.agreed(True) is True and ALONE.highest(2.0) == 2.0
    weight = torch.nn.Parameter(torch.ones(2))
    ALONE.sum_gradients([weight])
    ALONE.wait()
    assert weight.grad is None


def test_shares_are_the_whole_and_differ_by_one_at_most():
    parts = [Processes(rank, 3).share(list(range(8))) for rank in range(3)]
    assert sorted(item for part in parts for item in part) == list(range(8)) and {len(part) for part in parts} == {2, 3}


def test_all_but_the_first_leave_no_metrics(tmp_path):
    run = training_run(tmp_path / "run", "ppo", {})
    onlooker = Onlooker(run.path)
    onlooker.append_metrics(1, {"a": 1})
    onlooker.write_status("running")
    assert run.metrics()[0] == [] and run.status() is None and onlooker.config() == run.config()


@pytest.fixture(params=[{}, {"trained_layers": 1, "critic": "frozen"}], ids=["all layers", "the last layer"])
def runs(request, tmp_path, tiny_policy_folder, monkeypatch) -> list:
    """The same run twice: by this process alone, and by two under torchrun."""
    exact_arithmetic(monkeypatch)
    save_reward(new_reward(tiny_policy_folder, 3, 128, "cpu"), tmp_path / "reward")
    models = {"policy": tiny_policy_folder, "reward": tmp_path / "reward"}
    asked = OPTIONS | request.param
    one, two = (training_run(tmp_path / name, "ppo", models, asked, ranked_rows(train=3)) for name in ("1", "2"))
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    command = [*launcher, "tests/pipeline/two_processes.py", str(two.path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    assert run_job(one, work) == 0
    return [one, two]


@pytest.mark.slow
def test_16_and_21_two_processes_train_as_one_does(runs):
    one, two = ([r for r in run.metrics()[0] if "sample" not in r] for run in runs)
    assert [r["step"] for r in one] == [r["step"] for r in two] == [1, 2, 3]
    for row, other in zip(one, two, strict=True):
        kept = {k: v for k, v in row.items() if "time" not in k}
        assert {k: other[k] for k in kept} == pytest.approx(kept, abs=2e-4, rel=1e-3)
    weights = [load_file(run.model / "model.safetensors") for run in runs]
    assert all(torch.allclose(weights[0][name], weights[1][name], atol=1e-4) for name in weights[0])
    assert runs[1].result()["metrics"] == pytest.approx(runs[0].result()["metrics"], abs=1e-3)
