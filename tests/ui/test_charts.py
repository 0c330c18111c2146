"""Figures and markup of the leads' pages: bars at the right place, and hostile texts made inert."""

import pytest

from pipeline.configs import CONFIGS
from ui.charts import (
    PANELS,
    Interval,
    chip,
    duration,
    empty,
    figures,
    interval_bars,
    number,
    panels,
    percent,
    strength_bars,
    table,
    win_rates,
)

HOSTILE = "<img src=x onerror=\"alert('1')\">"
STRENGTHS = {"model": "ppo-1", "against": "starter", "strength": 0.8, "low": 0.3, "high": 1.3, "comparisons": 120}
RATES = {"win_rate": 0.62, "win_rate_low": 0.54, "win_rate_high": 0.7}


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.12345, "0.123"),
        (12.345, "12.3"),
        (0.0002, "0.0002"),
        (1234.5, "1,234"),
        (5120, "5,120"),
        (None, "–"),
        (0.0, "0"),
        ("a", "a"),
    ],
)
def test_a_figure_has_three_digits(value, text):
    assert number(value) == text


def test_a_figure_that_is_not_a_number_says_so():
    assert number(float("nan")) == "nan"


@pytest.mark.parametrize(("seconds", "text"), [(7.6, "8 s"), (200, "3 min 20 s"), (7500, "2 h 5 min"), (None, "–")])
def test_a_duration_has_its_two_largest_units(seconds, text):
    assert duration(seconds) == text


@pytest.mark.parametrize(("share", "text"), [(0.5, "50.00%"), (-1, "0.00%"), (7, "100.00%"), (float("nan"), "0.00%")])
def test_a_width_stays_inside_its_bar(share, text):
    assert percent(share) == text


@pytest.mark.parametrize(
    "markup",
    [
        chip(HOSTILE, HOSTILE),
        empty(HOSTILE, HOSTILE),
        figures([(HOSTILE, HOSTILE)]),
        table([(HOSTILE, HOSTILE)]),
        interval_bars([Interval(HOSTILE, 0.5, 0.4, 0.6, HOSTILE, HOSTILE)], 0.5, 0.0, 1.0, HOSTILE),
        win_rates([STRENGTHS | RATES | {"model": HOSTILE, "against": HOSTILE}]),
        strength_bars([STRENGTHS | {"model": HOSTILE, "against": HOSTILE}]),
    ],
)
def test_no_text_becomes_markup(markup):
    assert "<img" not in markup and '="alert' not in markup and "&lt;img" in markup


def test_an_interval_bar_lies_where_its_bounds_are():
    markup = interval_bars([Interval("a", 0.6, 0.5, 0.75)], 0.5, 0.0, 1.0)
    assert "left:50.00%;width:25.00%" in markup and '<b style="left:60.00%">' in markup


def test_an_interval_beyond_the_axis_is_cut_at_its_ends():
    markup = interval_bars([Interval("a", 0.9, 0.5, 1.4)], 0.5, 0.0, 1.0)
    assert "left:50.00%;width:50.00%" in markup


@pytest.mark.parametrize(
    ("low", "high", "verdict"), [(0.51, 0.7, "good"), (0.3, 0.49, "bad"), (0.4, 0.6, ""), (0.5, 0.7, "")]
)
def test_only_a_whole_interval_decides(low, high, verdict):
    assert Interval("a", 0.5, low, high).verdict(0.5) == verdict


def test_a_win_rate_says_its_interval_and_its_number_in_words():
    markup = win_rates([STRENGTHS | RATES])
    assert "62% (54%–70%)" in markup and "120 comparisons" in markup and "above the line" in markup


def test_rows_without_an_interval_are_left_out():
    assert win_rates([STRENGTHS | RATES | {"win_rate": None}]) == ""
    assert strength_bars([STRENGTHS | {"low": float("inf")}]) == ""


def test_strengths_come_strongest_first_on_a_symmetric_axis():
    markup = strength_bars([STRENGTHS, STRENGTHS | {"model": "dpo-1", "strength": 1.0}])
    assert markup.index("dpo-1") < markup.index("ppo-1") and 'style="left:50.00%">as good as' in markup


def test_every_kind_that_trains_has_panels():
    assert {"starter", "reward", "dpo", "ppo"} < set(PANELS) < set(CONFIGS)
    assert panels("ppo")[1]["title"] == "KL to the reference" and panels("evaluate") == []
