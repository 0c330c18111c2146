"""The report on held-out prompts: each figure where it belongs, and the same facts from either side of a pair."""

import pytest

from pipeline.groups import Group, Pair
from pipeline.reward_report import reward_report
from tests.pipeline.training_data import write_rows

GROUP = Group(
    "p", [1, 2], [[3] * 4, [3] * 2, [3] * 9], [Pair(0, 1, 1.0), Pair(0, 2, 0.0), Pair(1, 2, 0.75)], [10, 11, 12]
)
SCORES = [[1.0, -1.0, 0.5]]  # the first pair in order, the second and third not


@pytest.fixture
def data(tmp_path):
    """A run's data/ with three completions by two models and one tagged prompt."""
    models = {10: "a", 11: "b", 12: "a"}
    write_rows(tmp_path, "prompts", [{"prompt_id": "p", "messages": "[]", "split": "eval", "tags": ["recipes"]}])
    rows = [{"completion_id": i, "prompt_id": "p", "model": m, "text": "x"} for i, m in models.items()]
    write_rows(tmp_path, "completions", rows)
    pairs = [
        {"split": "eval", "preference": p, "weight": 1.0, "annotators": n} for p, n in ((1.0, 2), (0.0, 2), (0.75, 4))
    ]
    write_rows(tmp_path, "comparisons", [*pairs, {"split": "train", "preference": 0.5, "weight": 1.0, "annotators": 2}])
    return tmp_path


def judged(data, *told) -> None:
    names = ("person_id", "first_id", "second_id", "outcome")
    write_rows(data, "judgements", [{"prompt_id": "p", **dict(zip(names, row, strict=True))} for row in told])


def test_the_headline_is_beside_the_longer_ones_rule(data):
    report = reward_report(data, [GROUP], SCORES)
    assert report["held_out"]["comparisons"] == 3 and report["held_out"]["accuracy"] == pytest.approx(1 / 3)
    assert 0 < report["held_out"]["ece"] < 1 and report["held_out"]["temperature"] > 1
    assert report["longer_wins"]["accuracy"] == pytest.approx(2 / 3)  # 4 > 2 right, 9 > 4 right, 9 > 2 wrong


def test_sources_tags_and_lengths_split_the_same_comparisons(data):
    report = reward_report(data, [GROUP], SCORES)
    assert {name: part["comparisons"] for name, part in report["by_source"].items()} == {"a | b": 2, "a | a": 1}
    assert report["by_source"]["a | b"]["accuracy"] == 0.5 and report["by_source"]["a | a"]["accuracy"] == 0
    assert report["by_tag"]["recipes"]["comparisons"] == 3
    assert [(part["from"], part["to"], part["accuracy"]) for part in report["by_length_difference"]] == [
        (2, 2, 1.0),
        (5, 5, 0.0),
        (7, 7, 0.0),
    ]


def test_agreement_comes_from_pooled_comparisons_of_eval_prompts_without_judgements(data):
    report = reward_report(data, [GROUP], SCORES)
    assert report["agreement"] == {
        "pairwise": pytest.approx(2.5 / 3),
        "majority": pytest.approx(2.75 / 3),
        "from": "comparisons",
    }
    assert report["by_annotator"] == {}


def test_judgements_give_figures_per_annotator_whichever_way_they_are_told(data):
    judged(data, (1, 10, 11, 1.0), (1, 10, 12, 0.0), (2, 11, 10, 0.0), (2, 10, 12, 1.0), (2, 77, 78, 1.0))
    report = reward_report(data, [GROUP], SCORES)
    assert {who: part["accuracy"] for who, part in report["by_annotator"].items()} == {"1": 0.5, "2": 1.0}
    assert report["by_annotator"]["2"]["comparisons"] == 2
    assert report["agreement"] == {"pairwise": 0.5, "majority": 0.5, "from": "judgements"}


def test_without_held_out_groups_the_figures_are_null(data):
    report = reward_report(data, [], [])
    assert report["held_out"] == {"comparisons": 0, "accuracy": None, "nll": None, "ece": None, "temperature": None}
    assert report["by_source"] == {} and report["by_length_difference"] == []
