"""Simulated annotators answer every form by the same perceived reward."""

import pytest

from pipeline.simulated_answers import Asked, AskedScale, judge, margin, rating
from pipeline.synthetic import SimulatedAnnotator, gold_reward

PROMPT = "Please explain how bees make honey"
GOOD = "Sure! First the bees collect nectar, then they make honey in the hive, because it keeps. I hope this helps!"
FAIR = "Bees make honey from nectar in the hive for the winter."
BAD = "Shut up, idiot. I hate this, whatever"
EXACT = SimulatedAnnotator("exact", noise=0.0)
SCALE = AskedScale("overall quality", 1, 5)


def test_the_texts_are_as_good_as_they_look():
    assert gold_reward(PROMPT, GOOD) > gold_reward(PROMPT, FAIR) > 0 > gold_reward(PROMPT, BAD)


def test_a_ranking_is_the_annotators_own_with_ratings_beside_where_asked():
    texts = [BAD, GOOD, FAIR]
    assert judge(EXACT, Asked(), PROMPT, texts).tiers == EXACT.rank(PROMPT, texts) == [[1], [2], [0]]
    rated = judge(EXACT, Asked(scales=(SCALE,)), PROMPT, texts).ratings
    assert rated[1]["overall quality"] > rated[2]["overall quality"] > rated[0]["overall quality"]


def test_a_pair_gets_a_margin_by_the_difference():
    graded = judge(EXACT, Asked("pairwise"), PROMPT, [BAD, GOOD])
    assert (graded.kind, graded.tiers, graded.grade) == ("ranking", [[1], [0]], 3)
    equal = judge(EXACT, Asked("pairwise"), PROMPT, [GOOD, GOOD])
    assert (equal.tiers, equal.grade, equal.both_good) == ([[0, 1]], 0, True)
    assert judge(EXACT, Asked("pairwise"), PROMPT, [BAD, BAD]).kind == "all_bad"


@pytest.mark.parametrize(("difference", "grade"), [(0.5, 1), (1.0, 2), (2.4, 2), (2.5, 3)])
def test_the_margin_grows_with_the_difference(difference, grade):
    assert margin([[0], [1]], [difference, 0.0]) == grade


def test_thumbs_go_up_for_what_is_good():
    assert judge(EXACT, Asked("thumbs"), PROMPT, [BAD, GOOD]).thumbs == {0: -1, 1: 1}


@pytest.mark.parametrize(("reward", "value"), [(-9.0, 0), (-2.0, 0), (1.75, 5), (5.5, 10), (9.0, 10)])
def test_a_rating_spans_its_scale(reward, value):
    assert rating(reward, AskedScale("x", 0, 10)) == value


def test_a_required_rationale_is_long_enough():
    said = judge(EXACT, Asked("thumbs", rationale="required", rationale_min=300), PROMPT, [GOOD]).rationale
    assert 300 <= len(said) < 500
    assert judge(EXACT, Asked("thumbs", rationale="optional"), PROMPT, [GOOD]).rationale == ""
