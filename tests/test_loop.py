"""The whole loop by the command line alone, on an empty folder, smaller than a real one.

starter -> completions -> simulated rankings -> reward model -> PPO and DPO -> comparison -> leaderboard.
"""

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
pytestmark = pytest.mark.slow


def verb(folder: Path, *words: str) -> dict:
    """Run a verb with --json in its own process and return its answer."""
    environment = {**os.environ, "RANKLOOP_DATA": str(folder)}
    if "PYTEST_XDIST_WORKER" not in os.environ:
        environment.pop("OMP_NUM_THREADS", None)  # alone, jobs use every core; beside other tests they would wait
    done = subprocess.run(
        [sys.executable, "app.py", *words, "--json"], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, f"{words} ended with {done.returncode}:\n{done.stderr[-3000:]}"
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def loop(tmp_path_factory) -> dict:
    """The answers of every verb of the loop, run once."""
    folder = tmp_path_factory.mktemp("loop")
    said = {"ranked": verb(folder, "simulate", "--annotators", "3", "--seed", "0", "--limit", "200", "--noise", "0")}
    said["reward"] = verb(folder, "train", "reward")
    said["dpo"] = verb(folder, "train", "dpo")
    said["ppo"] = verb(folder, "train", "ppo", "--episodes", "1024")
    said["compared_dpo"] = verb(folder, "generate", "--policy", said["dpo"]["version"], "--prompts", "60")
    said["compared_ppo"] = verb(folder, "generate", "--policy", said["ppo"]["version"], "--prompts", "60")
    said["judged"] = verb(folder, "simulate", "--annotators", "3", "--seed", "1", "--limit", "240", "--noise", "0")
    said["report"] = verb(folder, "report")
    said["checked"] = verb(folder, "check")
    return said


def test_simulated_annotators_rank_through_the_same_door(loop):
    assert loop["ranked"]["rankings"] == 200
    assert set(loop["ranked"]["gold_reward"]) == {"starter"}


def test_the_reward_model_orders_held_out_completions(loop):
    assert loop["reward"]["state"] == "succeeded"
    assert loop["reward"]["metrics"]["eval/accuracy"] > 0.65  # about 14 held-out prompts


@pytest.mark.parametrize("kind", ["dpo", "ppo"])
def test_a_policy_stays_near_its_reference(loop, kind):
    kl = loop[kind]["metrics"]["objective/kl"]
    assert math.isfinite(kl) and -0.5 < kl < 10


@pytest.mark.parametrize("kind", ["dpo", "ppo"])
def test_a_trained_policy_beats_the_starter_in_gold_reward(loop, kind):
    gold = loop["judged"]["gold_reward"]
    new, old = gold[loop[kind]["version"]], gold["starter"]
    assert new["mean"] - old["mean"] > 2 * math.hypot(new["standard_error"], old["standard_error"])


@pytest.mark.parametrize("kind", ["dpo", "ppo"])
def test_the_leaderboard_sees_that_people_prefer_it(loop, kind):
    rows = {row["model"]: row for row in loop["report"]["campaigns"][0]["strengths"]}
    row = rows[loop[kind]["version"]]
    assert row["against"] == "starter"
    assert row["win_rate_low"] > 0.5 and row["win_rate_low"] < row["win_rate"] < row["win_rate_high"]


def test_the_folder_is_sound_at_the_end(loop):
    assert loop["checked"]
