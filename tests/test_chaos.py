"""A short run of `chaos.py`, and what it makes of the metrics of resumed runs."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.chaos_verdict import told

ROOT = Path(__file__).parents[1]


@pytest.mark.slow
def test_runs_survive_kills_of_app_and_job_and_equal_undisturbed_ones():
    command = [sys.executable, "-m", "tests.chaos", "--rounds", "2", "--seed", "5", "--kind", "generate"]
    command += ["--phase", "first step", "registering"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)  # it ends every process under its own
    assert done.returncode == 0, done.stdout + done.stderr[-3000:]
    assert json.loads(done.stdout.splitlines()[-1])["failures"] == 0 and "not hit" not in done.stdout


def test_steps_that_a_resumed_job_says_again_are_told_once():
    rows = [{"step": step, "time": n, "loss": step / 10, "lr": 1} for n, step in enumerate((1, 2, 3, 2, 3, 4))]
    rows += [{"step": 4, "sample": text} for text in ("a", "b", "a", "b")]
    found = told(rows)
    assert found["loss"] == [(1, 0.1), (2, 0.2), (3, 0.3), (4, 0.4)] and "time" not in found
    assert found["sample"] == [(4, "a"), (4, "b")]


def test_a_step_that_is_missing_is_seen():
    whole = [{"step": step, "loss": step} for step in (1, 2, 3)]
    assert told(whole[:1] + whole[2:]) != told(whole)
