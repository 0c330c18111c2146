"""Rankings become comparisons by the rule of the README."""

import numpy as np
import pyarrow as pa
import pytest

from pipeline.comparisons import as_comparisons, comparisons, judged_pairs
from tests.pipeline.answer_rows import answer_table


def by_pair(table):
    return {(row["first_id"], row["second_id"]): row for row in table.to_pylist()}


def test_two_annotators_are_averaged_and_a_tie_is_half():
    # completions 1, 2, 3: one says 1 > 2 = 3, the other 2 > 1 > 3
    found = by_pair(comparisons(answer_table((1, "p", 1, [1, 2, 3], [1, 2, 2]), (1, "p", 2, [1, 2, 3], [2, 1, 3]))))
    assert [found[pair]["preference"] for pair in ((1, 2), (1, 3), (2, 3))] == [0.5, 1.0, 0.75]
    assert [found[pair]["margin"] for pair in ((1, 2), (1, 3), (2, 3))] == [0.0, 1.0, 1.0]
    assert all(row["weight"] == pytest.approx(2 / 3) and row["annotators"] == 2 for row in found.values())


@pytest.mark.parametrize("size", [2, 3, 6, 9])
def test_a_ranking_weighs_one_whatever_its_size(size):
    table = comparisons(answer_table((1, "p", 1, list(range(size)), list(range(1, size + 1)))))
    assert table.num_rows == size * (size - 1) // 2
    assert sum(table["weight"].to_pylist()) == pytest.approx(1.0)


def test_first_id_is_the_smaller_one_whatever_the_order_in_the_task():
    row = comparisons(answer_table((1, "p", 1, [9, 4], [1, 2]))).to_pylist()[0]
    assert (row["first_id"], row["second_id"], row["preference"], row["margin"]) == (4, 9, 0.0, -1.0)


def test_pairs_of_several_tasks_of_a_prompt_are_pooled():
    # 1 against 2 met in a pair (weight 1) and in a triple (weight 1/3), once won each way
    found = by_pair(comparisons(answer_table((1, "p", 1, [1, 2], [1, 2]), (2, "p", 1, [1, 2, 3], [2, 1, 3]))))
    assert found[1, 2]["preference"] == 0.5
    assert found[1, 2]["weight"] == pytest.approx(4 / 3)
    assert found[1, 2]["annotators"] == 1


def test_reliability_weighs_people():
    answers = answer_table((1, "p", 1, [1, 2], [1, 2]), (1, "p", 2, [1, 2], [2, 1]))
    row = comparisons(answers, {1: 3.0}).to_pylist()[0]
    assert (row["preference"], row["weight"], row["margin"]) == (0.75, 4.0, 0.5)
    assert comparisons(answers, {2: 0.0}).to_pylist()[0]["preference"] == 1.0
    assert comparisons(answers, {1: 0.0, 2: 0.0}).num_rows == 0


def test_a_negative_reliability_is_refused():
    with pytest.raises(ValueError, match="reliability"):
        comparisons(answer_table((1, "p", 1, [1, 2], [1, 2])), {1: -1.0})


def test_all_bad_gives_no_comparison():
    assert comparisons(answer_table((1, "p", 1, [1, 2], None))).num_rows == 0
    assert comparisons(answer_table()).num_rows == 0


def test_ranks_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="one rank for each"):
        comparisons(answer_table((1, "p", 1, [1, 2, 3], [1, 2])))


def test_records_own_their_symmetry():
    record = as_comparisons(comparisons(answer_table((1, "p", 1, [1, 2], [1, 2]))))[0]
    assert (record.preference, record.swapped().preference, record.swapped().margin) == (1.0, 0.0, -1.0)


def test_equals_a_plain_loop_over_random_rankings():
    rng = np.random.default_rng(0)
    rows = []
    for task in range(60):
        size = int(rng.integers(2, 7))
        ids = [int(one) for one in rng.permutation(6)[:size] + 10 * (task % 20)]
        rows += [(task, f"p{task % 20}", person, ids, rng.integers(1, 4, size).tolist()) for person in range(3)]
    found = by_pair(comparisons(answer_table(*rows)))
    wins, judged, weight = {}, {}, {}
    for _, _, _, ids, ranks in rows:
        for a in range(len(ids)):
            for b in range(len(ids)):
                if ids[a] < ids[b]:
                    pair = ids[a], ids[b]
                    outcome = 1.0 if ranks[a] < ranks[b] else 0.5 if ranks[a] == ranks[b] else 0.0
                    wins[pair] = wins.get(pair, 0.0) + outcome
                    judged[pair] = judged.get(pair, 0) + 1
                    weight[pair] = weight.get(pair, 0.0) + 2 / (len(ids) * (len(ids) - 1))
    assert found.keys() == wins.keys()
    for pair, row in found.items():
        assert row["preference"] == pytest.approx(wins[pair] / judged[pair])
        assert row["weight"] == pytest.approx(weight[pair])


def test_grades_are_averaged_over_those_who_graded_and_signed():
    answers = answer_table((1, "p", 1, [1, 2], [2, 1]), (1, "p", 2, [1, 2], [1, 2]), (1, "p", 3, [1, 2], [1, 1]))
    graded = answers.append_column("grade", pa.array([3, None, 0], pa.int8()))
    row = comparisons(graded).to_pylist()[0]
    assert row["grade"] == -1.5  # 2 is significantly better, one did not grade, one found them equal
    assert as_comparisons(comparisons(graded))[0].swapped().grade == 1.5
    assert comparisons(answers).to_pylist()[0]["grade"] == 0.0


def test_every_judgement_of_a_pair_keeps_its_person():
    rows = judged_pairs(answer_table((1, "p", 7, [9, 4, 5], [1, 2, 2]))).to_pylist()
    assert [(r["first_id"], r["second_id"], r["outcome"]) for r in rows] == [(4, 9, 0.0), (5, 9, 0.0), (4, 5, 0.5)]
    assert {r["person_id"] for r in rows} == {7}
