"""Agreement against published numbers, numbers worked by hand, and scipy."""

import numpy as np
import pytest
from scipy import stats

from pipeline.agreement import (
    agreement,
    kendall_tau_b,
    kendall_w,
    krippendorff_alpha_ordinal,
    pairwise_agreement,
)
from tests.pipeline.answer_rows import answer_table

FIGURES = ("kendall_tau_b", "kendall_w", "krippendorff_alpha_ordinal", "pairwise_kappa", "pairwise_agreement")


def test_equal_rankings_agree_fully():
    same = agreement(answer_table((1, "p", 1, [1, 2, 3], [1, 2, 3]), (1, "p", 2, [1, 2, 3], [1, 2, 3])))
    assert [same[name] for name in FIGURES] == pytest.approx([1.0] * 5)


def test_opposite_rankings_worked_by_hand():
    # W: rank sums 4, 4, 4, so S = 0. alpha: 6 values, two of each of 1, 2, 3. Units (1,3), (2,2), (3,1):
    # delta(1,3)^2 = (2 + 2/2 + 2/2)^2 = 16, delta(1,2)^2 = delta(2,3)^2 = 4. observed 4 * 16 / 4 units of 1-3 = 64
    # (o13 = o31 = 2), expected 2 * 2 * 2 * (4 + 4 + 16) = 192; alpha = 1 - 5 * 64 / 192 = -2/3.
    # kappa: no ties, pE = 1/2, pA = 0, so -1.
    turned = agreement(answer_table((1, "p", 1, [1, 2, 3], [1, 2, 3]), (1, "p", 2, [1, 2, 3], [3, 2, 1])))
    assert [turned[name] for name in FIGURES] == pytest.approx([-1.0, 0.0, -2 / 3, -1.0, 0.0])


@pytest.mark.parametrize(
    "rows",
    [
        [],
        [(1, "p", 1, [1, 2], [1, 2])],
        [(1, "p", 1, [1, 2], [1, 2]), (2, "q", 2, [3, 4], [1, 2])],
        [(1, "p", 1, [1, 2], [1, 2]), (1, "p", 2, [1, 2], None)],
    ],
    ids=["nothing", "one annotator", "no shared task", "all bad"],
)
def test_without_overlap_nothing_is_defined(rows):
    assert agreement(answer_table(*rows)) == dict.fromkeys(FIGURES)


def test_nothing_but_ties_defines_the_share_only():
    tied = agreement(answer_table((1, "p", 1, [1, 2], [1, 1]), (1, "p", 2, [1, 2], [1, 1])))
    assert tied == dict.fromkeys(FIGURES) | {"pairwise_agreement": 1.0}


def test_tau_b_is_the_one_in_the_scipy_documentation():
    assert kendall_tau_b(np.array([[[12, 2, 1, 12, 2], [1, 4, 7, 1, 0]]])) == pytest.approx([-0.47140452079103173])


def test_tau_b_equals_scipy_with_ties():
    ranks = np.random.default_rng(0).integers(1, 4, (50, 2, 6))
    expected = [stats.kendalltau(*pair).statistic for pair in ranks]
    assert kendall_tau_b(ranks) == pytest.approx(expected, nan_ok=True)


def test_w_of_six_raters_is_the_published_value():
    # https://www.math.wustl.edu/~victor/classes/ma322/r-eg-17.txt
    ranks = [[4, 3, 2, 1], [3, 4, 2, 1], [4, 3, 1, 2], [3, 4, 1, 2], [4, 2, 1, 3], [4, 2, 3, 1]]
    assert kendall_w(np.array([ranks])) == pytest.approx([0.6])


def test_w_equals_the_friedman_statistic_with_ties():
    # W = chi^2 / (M (K - 1)), with scipy's tie-corrected chi^2
    ranks = np.random.default_rng(1).integers(1, 5, (20, 4, 5))
    expected = [stats.friedmanchisquare(*task.T).statistic / (4 * 4) for task in ranks]
    assert kendall_w(ranks) == pytest.approx(expected)


def test_alpha_is_the_published_value_of_the_example_with_gaps():
    # three coders, gaps left out: units with two and with three values; 0.8067 with the krippendorff package
    coders = [
        [None, None, None, None, None, 3, 4, 1, 2, 1, 1, 3, 3, None, 3],
        [1, None, 2, 1, 3, 3, 4, 3, None, None, None, None, None, None, None],
        [None, None, 2, 1, 3, 4, 4, None, 2, 1, 1, 3, 3, None, 4],
    ]
    units = [[value for value in unit if value is not None] for unit in zip(*coders, strict=True)]
    blocks = [np.array([unit for unit in units if len(unit) == count])[:, :, None] for count in (2, 3)]
    assert krippendorff_alpha_ordinal(blocks) == pytest.approx(0.806721419941, abs=1e-9)


def test_kappa_counts_ties_in_its_chance_term():
    first = (1, "p", 1, [1, 2, 3, 4], [1, 2, 2, 2])
    other = (1, "p", 2, [1, 2, 3, 4], [1, 2, 1, 2])
    share, kappa = pairwise_agreement(answer_table(first, other))
    # a: < < < = = =; b: < = < > = <. Equal: (1,2), (1,4), (2,4): 3 of 6. Ties 5 of 12.
    chance = (5 / 12) ** 2 + 2 * (7 / 24) ** 2
    assert (share, kappa) == pytest.approx((0.5, (0.5 - chance) / (1 - chance)))


def test_meeting_a_pair_twice_is_no_agreement_with_oneself():
    answers = answer_table((1, "p", 1, [1, 2], [1, 2]), (2, "p", 1, [1, 2, 3], [1, 2, 3]))
    assert pairwise_agreement(answers) == (None, None)
    three = answer_table((1, "p", 1, [1, 2], [1, 2]), (2, "p", 1, [1, 2, 3], [1, 2, 3]), (1, "p", 2, [1, 2], [2, 1]))
    assert pairwise_agreement(three)[0] == 0.0


def test_tau_is_averaged_over_pairs_of_annotators():
    # 1-2 agree (1), 1-3 and 2-3 disagree (-1): mean -1/3
    rows = [(1, "p", person, [1, 2], ranks) for person, ranks in ((1, [1, 2]), (2, [1, 2]), (3, [2, 1]))]
    assert agreement(answer_table(*rows))["kendall_tau_b"] == pytest.approx(-1 / 3)
