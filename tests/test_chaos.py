"""A short run of `chaos.py`, and what it makes of the metrics of resumed runs."""

import pytest

from tests.chaos import run_rounds
from tests.chaos_verdict import told


@pytest.mark.slow
def test_runs_survive_kills_of_app_and_job_and_equal_undisturbed_ones(tmp_path):
    report, table = run_rounds(2, tmp_path, seed=5, kinds=["generate"], phases=("first step", "registering"))
    assert report["failures"] == 0, report["wrong"]
    assert sum(table.values()) == 2 and not any("not hit" in ended for _, _, ended in table)


def test_steps_that_a_resumed_job_says_again_are_told_once():
    rows = [{"step": step, "time": n, "loss": step / 10, "lr": 1} for n, step in enumerate((1, 2, 3, 2, 3, 4))]
    rows += [{"step": 4, "sample": text} for text in ("a", "b", "a", "b")]
    found = told(rows)
    assert found["loss"] == [(1, 0.1), (2, 0.2), (3, 0.3), (4, 0.4)] and "time" not in found
    assert found["sample"] == [(4, "a"), (4, "b")]


def test_a_step_that_is_missing_is_seen():
    whole = [{"step": step, "loss": step} for step in (1, 2, 3)]
    assert told(whole[:1] + whole[2:]) != told(whole)
