"""Rows of the leaderboard: who stands against whom, and from whose side."""

import numpy as np
import pytest

from pipeline.comparisons import comparisons
from pipeline.leaderboard import leaderboard
from tests.pipeline.answer_rows import answer_table


def duels(*results):
    """results: (model a, model b, wins of a, wins of b); each win is a prompt of its own."""
    rows, model_of = [], {}
    for a, b, won, lost in results:
        for game in range(won + lost):
            first = len(model_of)
            model_of |= {first: a, first + 1: b}
            rows.append((first, f"p{first}", 1, [first, first + 1], [1, 2] if game < won else [2, 1]))
    return comparisons(answer_table(*rows)), model_of


def test_a_version_stands_against_its_parent():
    table, model_of = duels(("new", "base", 30, 10), ("other", "new", 50, 50))
    rows = {row["model"]: row for row in leaderboard(table, model_of, {"new": "base", "base": None})}
    assert (rows["new"]["against"], rows["new"]["comparisons"], rows["new"]["prompts"]) == ("base", 40, 40)
    assert rows["new"]["win_rate"] == 0.75
    assert rows["new"]["win_rate_low"] < 0.75 < rows["new"]["win_rate_high"]
    assert rows["new"]["low"] < rows["new"]["strength"] < rows["new"]["high"]


def test_without_a_met_parent_the_most_frequent_opponent_stands():
    table, model_of = duels(("a", "b", 3, 2), ("a", "c", 6, 3))
    rows = {row["model"]: row["against"] for row in leaderboard(table, model_of, {"a": "never met"})}
    assert rows == {"a": "c", "b": "a", "c": "a"}


def test_two_models_mirror_each_other_strongest_first():
    rows = leaderboard(*duels(("a", "b", 1, 3)), {})
    assert [row["model"] for row in rows] == ["b", "a"]
    assert rows[0]["strength"] == pytest.approx(np.log(3))
    assert rows[0]["strength"] == pytest.approx(-rows[1]["strength"])
    assert rows[0]["win_rate_low"] == pytest.approx(1 - rows[1]["win_rate_high"])


def test_completions_of_one_model_say_nothing():
    table, _ = duels(("a", "b", 3, 2))
    assert leaderboard(table, dict.fromkeys(range(10), "a"), {}) == []
    assert leaderboard(comparisons(answer_table()), {}, {}) == []


def test_a_completion_without_a_model_is_refused():
    table, model_of = duels(("a", "b", 1, 1))
    model_of.pop(0)
    with pytest.raises(ValueError, match="no model for completion 0"):
        leaderboard(table, model_of)


def test_models_that_never_met_are_both_on_the_board():
    rows = leaderboard(*duels(("a", "b", 3, 2), ("c", "d", 3, 2)), {})
    assert {row["model"] for row in rows} == {"a", "b", "c", "d"}


def test_three_models_in_one_task_are_compared_pairwise():
    table = comparisons(answer_table((1, "p", 1, [1, 2, 3], [1, 2, 3]), (2, "q", 1, [4, 5, 6], [2, 1, 3])))
    rows = leaderboard(table, {1: "a", 2: "b", 3: "c", 4: "a", 5: "b", 6: "c"}, {"a": "c", "b": "c"})
    against_c = {row["model"]: row for row in rows if row["against"] == "c"}
    assert against_c["a"]["win_rate"] == against_c["b"]["win_rate"] == 1.0
    assert against_c["a"]["strength"] == pytest.approx(against_c["b"]["strength"])
