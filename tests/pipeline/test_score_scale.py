"""What scores are measured in."""

import pytest
import torch

from pipeline.score_scale import ScoreScale

RAW = torch.tensor([1.0, 2.0, 6.0, 3.0, 8.0, 4.0])


@pytest.mark.parametrize("cut", [1, 2, 5])
def test_a_running_scale_taken_in_pieces_is_that_of_the_whole(cut):
    scale = ScoreScale("running").taking(RAW[:cut]).taking(RAW[cut:])
    assert (scale.mean, scale.count) == (pytest.approx(4.0), 6)
    assert scale.std == pytest.approx(RAW.std(unbiased=False).item())  # sqrt(34 / 6) = 2.3805
    assert scale(torch.tensor([4.0 + 2.3804761])).item() == pytest.approx(1.0, abs=1e-6)


@pytest.mark.parametrize("kind", ["reference", "demonstrations", "none"])
def test_other_scales_stay_as_they_are(kind):
    scale = ScoreScale(kind, 1.0, 2.0)
    assert scale.taking(RAW) == scale and scale(RAW)[2] == 2.5


def test_scores_that_do_not_vary_are_not_blown_up():
    scale = ScoreScale("running").taking(torch.full((4,), 3.0))
    assert scale.std == 1.0 and scale(torch.tensor([3.0, 4.0])).tolist() == [0.0, 1.0]


def test_no_scores_change_nothing():
    assert ScoreScale("running").taking(torch.tensor([])) == ScoreScale("running")


def test_a_bound_holds_on_both_sides():
    assert ScoreScale("none", bound=2.0)(torch.tensor([-9.0, 1.0, 9.0])).tolist() == [-2.0, 1.0, 2.0]
