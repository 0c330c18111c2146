"""Options of a run: typed, ranged, refused with a sentence."""

import pytest

from pipeline.configs import CONFIGS, MODULES, InvalidOption, make_config, options_of


def test_every_kind_has_a_module():
    assert CONFIGS.keys() == MODULES.keys()


@pytest.mark.parametrize("kind", CONFIGS)
def test_defaults_are_within_their_own_range(kind):
    assert make_config(kind, options_of(CONFIGS[kind]())) == CONFIGS[kind]()


def test_text_from_a_form_becomes_a_number():
    config = make_config("dpo", {"beta": "0.2", "groups_per_step": "8"})
    assert (config.beta, config.groups_per_step) == (0.2, 8)


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"beta": "much"}, "beta"),
        ({"beta": float("nan")}, "beta"),
        ({"groups_per_step": 1.5}, "groups_per_step"),
        ({"epochs": -1}, "epochs"),
        ({"bta": 1}, "bta"),
    ],
)
def test_a_wrong_option_is_refused_by_name(options, field):
    with pytest.raises(InvalidOption) as refusal:
        make_config("dpo", options)
    assert refusal.value.field == field


def test_a_word_is_one_of_its_choices():
    assert make_config("dpo", {"loss": "ipo"}).loss == "ipo" and make_config("reward").loss == "bradley-terry"
    with pytest.raises(InvalidOption, match="loss: found kto, expected one of dpo, ipo, cdpo"):
        make_config("dpo", {"loss": "kto"})


@pytest.mark.parametrize(("said", "meant"), [("yes", True), (True, True), ("No", False), (False, False), ("0", False)])
def test_yes_and_no_may_be_said_in_several_ways(said, meant):
    assert make_config("reward", {"early_stop": said}).early_stop is meant


def test_neither_yes_nor_no_is_refused():
    with pytest.raises(InvalidOption, match="early_stop: found maybe, expected yes or no"):
        make_config("reward", {"early_stop": "maybe"})


def test_an_unknown_kind_is_refused():
    with pytest.raises(InvalidOption, match="expected one of starter"):
        make_config("magic")
