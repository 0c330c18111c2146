"""The preference benchmarks' arms at the smallest counts: both sides train, and on the same comparisons."""

import json
import random

import pytest

from tests.benchmarks.preference_arms import Arm, exploded, forwarded, measured, rankings
from tests.benchmarks.preference_pairs import MOST, groups_of, read_preferences

TINY = {"groups": 4, "k": 3, "prompt": 6, "completion": 4, "groups_per_step": 2, "device": "cpu", "size": "small"}


def arm(kind: str, whose: str) -> Arm:
    epochs = 2 if kind == "dpo" else 1
    return Arm(kind, whose, **TINY, epochs=epochs, arithmetic="fp32", attention="sdpa", split=1, threads=1)


@pytest.fixture(autouse=True)
def exact(monkeypatch, tmp_path):
    monkeypatch.setattr("pipeline.precision.bfloat16_is_fast", lambda device: False)
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["reward", "dpo"])
@pytest.mark.parametrize("whose", ["ours", "peer", "adjacent"])
def test_an_arm_takes_the_steps_asked_for_and_measures_itself(kind, whose):
    asked = arm(kind, whose)
    found = measured(asked)
    assert found["steps"] == 2 * asked.epochs and found["seconds"] > 0 and found["peak_bytes"] > found["start_bytes"]
    assert (found["reference_seconds"] > 0) == (kind == "dpo")


def test_the_peer_is_given_every_pair_or_the_neighbours_and_ours_each_completion_once():
    asked = arm("reward", "ours")
    rows = {adjacent: exploded(rankings(asked.shape), adjacent) for adjacent in (False, True)}
    assert [len(rows[adjacent]) for adjacent in (False, True)] == [12, 8]
    assert [forwarded(arm("reward", a)) for a in ("ours", "peer", "adjacent")] == [4 * 18, 12 * 20, 8 * 20]


def test_every_pair_of_other_peoples_data_is_in_one_group_of_moderate_size(tmp_path):
    chance = random.Random(0)
    pairs = [chance.sample(range(40), 2) for _ in range(100)]
    meta = {"votes_for_chosen": 3, "votes_total": 4}
    lines = [{"prompt": "q", "chosen": f"{a}", "rejected": f"{b}", "source": "s", "meta": meta} for a, b in pairs]
    (tmp_path / "pairs.jsonl").write_text("\n".join(map(json.dumps, lines)))
    groups = groups_of(read_preferences(tmp_path / "pairs.jsonl"), 0)
    assert sorted((p.chosen, p.rejected) for g in groups for p in g) == sorted((f"{a}", f"{b}") for a, b in pairs)
    assert all(len({t for p in g for t in (p.chosen, p.rejected)}) <= MOST for g in groups)
    assert groups[0][0].share == 0.75
