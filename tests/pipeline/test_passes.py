"""Few prompts get more passes and many a lower learning rate, unless somebody chose."""

import pytest

from pipeline.configs import DPOConfig, RewardConfig
from pipeline.estimates import work_of
from pipeline.passes import pass_notes, passes, peak_rate, rate_notes


@pytest.mark.parametrize(
    "kind, expected", [(DPOConfig, [3, 3, 4, 5, 8]), (RewardConfig, [1, 3, 8, 8, 8])], ids=["dpo", "reward"]
)
def test_few_groups_get_more_passes_unless_somebody_chose_their_number(kind, expected):
    assert [passes(groups, kind()) for groups in (5000, 250, 50, 34, 5)] == expected
    assert passes(34, kind(epochs=2)) == 2
    assert "8 passes" in pass_notes(8, kind())[0] and not pass_notes(kind().epochs, kind())


def test_the_default_learning_rate_falls_with_many_prompts_and_a_chosen_one_stands():
    rates = [peak_rate(groups, RewardConfig()) for groups in (1, 100, 400, 5000)]
    assert rates == pytest.approx([1e-3, 1e-3, 5e-4, 3e-4])
    assert peak_rate(5000, RewardConfig(learning_rate=2e-3)) == 2e-3
    assert "0.0005 instead of 0.001" in rate_notes(5e-4, RewardConfig())[0] and not rate_notes(1e-3, RewardConfig())


def test_the_work_of_a_run_counts_the_passes_it_will_take():
    assert work_of("reward", {}, 34) == 8 * 34 and work_of("reward", {}, 5000) == 5000
    assert work_of("dpo", {"epochs": 2}, 34) == 68 and work_of("dpo", {}, 0) == 0
    assert work_of("dpo", {"an option of another version": 1}, 34) == 0
