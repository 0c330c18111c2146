"""Groups are read whole, cut fairly, and batched without losing or repeating one."""

import pytest

from pipeline.groups import Group, Pair, collate, fit_length, group_batches, pad_right, read_groups, within_budget
from pipeline.job import Refused
from tests.pipeline.training_data import ranked_rows, training_run


def group(name: str, lengths: list[int], prompt: int = 3) -> Group:
    completions = [[7] * n for n in lengths]
    return Group(name, [5] * prompt, completions, [Pair(0, len(lengths) - 1, 1.0, 2.0)], list(range(len(lengths))))


def read(tmp_path, tiny_policy, rows, max_length=512):
    run = training_run(tmp_path / "run", "reward", {}, rows=rows)
    return read_groups(run.data, tiny_policy.tokenizer, max_length)


def test_a_group_holds_each_completion_once_and_all_its_pairs(tmp_path, tiny_policy):
    data = read(tmp_path, tiny_policy, ranked_rows(train=3, held_out=1))
    first = data.train[0]
    assert (len(data.train), len(data.eval), data.truncated) == (3, 1, 0)
    assert first.ids == [0, 1, 2, 3] and len(first.completions) == 4 and len(first.pairs) == 6
    assert first.pairs[0] == Pair(0, 1, 0.25, pytest.approx(1 / 3))
    assert all(c[-1] == tiny_policy.tokenizer.eos_token_id for c in first.completions)
    assert data.sizes["eval_comparisons"] == 6 and data.sizes["train_completions"] == 12


def test_swapping_a_pair_flips_its_preference_and_grade():
    assert Pair(0, 1, 0.75, 2.0, 1.5).swapped() == Pair(1, 0, 0.25, 2.0, -1.5)


def test_grades_are_read_where_there_are_some(tmp_path, tiny_policy):
    rows = ranked_rows()
    assert {p.grade for g in read(tmp_path / "old", tiny_policy, rows).train for p in g.pairs} == {0.0}
    rows["comparisons"] = [{**row, "grade": 2.0 * row["preference"] - 1} for row in rows["comparisons"]]
    pairs = [p for g in read(tmp_path / "new", tiny_policy, rows).train for p in g.pairs]
    assert {(p.preference, p.grade) for p in pairs} == {(0.25, -0.5), (0.75, 0.5)}
    assert collate(read(tmp_path / "again", tiny_policy, rows).train).pairs.grades.abs().max() == 0.5


def test_no_comparison_on_train_prompts_is_refused_in_a_sentence(tmp_path, tiny_policy):
    with pytest.raises(Refused, match="no comparisons on train prompts; 2 eval prompts"):
        read(tmp_path, tiny_policy, ranked_rows(train=0, held_out=2))


def test_only_ties_are_refused(tmp_path, tiny_policy):
    rows = ranked_rows()
    rows["comparisons"] = [{**row, "preference": 0.5} for row in rows["comparisons"]]
    with pytest.raises(Refused, match="are ties"):
        read(tmp_path, tiny_policy, rows)


def test_a_comparison_of_an_unknown_completion_is_refused(tmp_path, tiny_policy):
    rows = ranked_rows()
    del rows["completions"][0]
    with pytest.raises(Refused, match=r"completions \[0\]"):
        read(tmp_path, tiny_policy, rows)


def test_a_missing_file_is_named(tmp_path, tiny_policy):
    with pytest.raises(Refused, match="comparisons"):
        read(tmp_path, tiny_policy, {**ranked_rows(), "comparisons": []})


def test_too_long_completions_are_cut_and_counted(tmp_path, tiny_policy):
    data = read(tmp_path, tiny_policy, ranked_rows(), max_length=24)
    assert data.truncated > 0
    assert max(g.longest for g in [*data.train, *data.eval]) <= 24


def test_cutting_keeps_the_prompts_end_and_the_completions_start():
    prompt = [1, 2, 3, 4]
    assert fit_length([(prompt, [5, 6]), (prompt, [7])], 4) == [([3, 4], [5, 6]), ([3, 4], [7])]
    assert fit_length([(prompt, [5, 6, 7])], 3) == [([4], [5, 6])]


def test_pair_indices_run_over_the_whole_batch():
    batch = collate([group("a", [1, 2, 3]), group("b", [2, 2])])
    assert batch.pairs.indices.tolist() == [[0, 2], [3, 4]] and batch.pairs.weights.tolist() == [2, 2]
    assert len(batch.sequences) == 5


def test_padding_is_on_the_right_and_lengths_are_true():
    ids, lengths = pad_right([[1, 2, 3], [0]], 0)
    assert ids.tolist() == [[1, 2, 3], [0, 0, 0]] and lengths.tolist() == [3, 1]


@pytest.mark.parametrize(
    ("together", "size"),
    [(True, lambda g: len(g.prompt) + sum(map(len, g.completions))), (False, lambda g: 3 * g.longest)],
)
def test_batches_hold_every_group_once_within_the_budget(together, size):
    groups = [group(str(n), [n, 1, 1]) for n in (9, 1, 30, 4, 2)]
    batches = group_batches(groups, 60, together)
    assert sorted(g.prompt_id for batch in batches for g in batch) == ["1", "2", "30", "4", "9"]
    assert all(len(batch) == 1 or len(batch) * max(map(size, batch)) <= 60 for batch in batches)
    assert len(batches) == (2 if together else 4)


def test_an_item_over_the_budget_stands_alone():
    assert within_budget([(1, 5), (1, 500), (1, 6)], 20) == [[0, 2], [1]]
