"""Agreement with the others and position bias, against numbers worked by hand."""

import pyarrow as pa
import pytest

from pipeline.quality import agreement_by_person, position_bias, wilson
from tests.pipeline.answer_rows import answer_table


def shown(table: pa.Table, orders: list[list[int]]) -> pa.Table:
    return table.append_column("shown", pa.array(orders, pa.list_(pa.int64())))


def test_agreement_compares_each_judgement_with_those_of_others_on_the_same_pair():
    # pair 1-2: ann and ben say 1, cleo says 2. ann agrees with 1 of 2, ben too, cleo with 0 of 2
    table = answer_table((1, "p", 1, [1, 2], [1, 2]), (1, "p", 2, [1, 2], [1, 2]), (1, "p", 3, [1, 2], [2, 1]))
    found = agreement_by_person(table)
    assert {person: (share.value, share.n) for person, share in found.items()} == {
        1: (0.5, 2),
        2: (0.5, 2),
        3: (0.0, 2),
    }


def test_a_tie_agrees_with_a_tie_only():
    table = answer_table((1, "p", 1, [1, 2], [1, 1]), (1, "p", 2, [1, 2], [1, 1]), (1, "p", 3, [1, 2], [1, 2]))
    assert [agreement_by_person(table)[person].value for person in (1, 2, 3)] == [0.5, 0.5, 0.0]


def test_nobody_agrees_with_themselves_or_without_a_shared_pair():
    again = answer_table((1, "p", 1, [1, 2], [1, 2]), (2, "p", 1, [1, 2], [1, 2]), (3, "q", 2, [3, 4], [1, 2]))
    assert agreement_by_person(again) == {}
    assert agreement_by_person(answer_table()) == {}


def test_the_order_in_which_completions_are_stored_does_not_matter():
    table = answer_table((1, "p", 1, [1, 2], [1, 2]), (2, "p", 2, [2, 1], [2, 1]))
    assert agreement_by_person(table)[1].value == 1.0


def test_places_are_counted_by_what_was_shown_there_and_ties_share():
    rows = [(n, "p", 1, [1, 2, 3], ranks) for n, ranks in enumerate(([1, 2, 3], [2, 1, 3], [1, 1, 2]))]
    table = shown(answer_table(*rows), [[1, 2, 3], [2, 1, 3], [3, 2, 1]])
    # first: A. second: completion 2, shown at A. third: 1 and 2 tie, shown at C and B
    assert [(one.place, one.share.value) for one in position_bias(table)] == [
        ("A", pytest.approx(2 / 3)), ("B", pytest.approx(1 / 6)), ("C", pytest.approx(1 / 6)),
    ]  # fmt: skip


def test_all_tied_all_bad_and_excepted_people_say_nothing_about_places():
    rows = [(1, "p", 1, [1, 2], [1, 1]), (2, "p", 1, [1, 2], None), (3, "p", 9, [1, 2], [1, 2])]
    assert position_bias(shown(answer_table(*rows), [[1, 2]] * 3), without={9}) == []


def test_a_place_that_always_wins_is_told_and_a_fair_one_is_not():
    rows = [(n, "p", 1, [1, 2], [1, 2]) for n in range(40)]
    assert [one.verdict for one in position_bias(shown(answer_table(*rows), [[1, 2]] * 40))] == ["more", "less"]
    fair = [[1, 2], [2, 1]] * 20
    assert [one.verdict for one in position_bias(shown(answer_table(*rows), fair))] == ["", ""]


def test_the_interval_is_wilsons():
    # p = 0.5, n = 10, z = 1.96: centre 0.5, half width 0.2633 (Newcombe 1998, table I: 0.2366 to 0.7634)
    share = wilson(0.5, 10)
    assert (share.low, share.high) == (pytest.approx(0.2366, abs=1e-4), pytest.approx(0.7634, abs=1e-4))
