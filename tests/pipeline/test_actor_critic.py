"""Log-probabilities of PPO against torch's own softmax, value and slope."""

from types import SimpleNamespace

import pytest
import torch

from pipeline.actor_critic import sampling_log_probs

PAD = 3


def policy_like(pad_ends: bool) -> SimpleNamespace:
    """As much of a policy as says which id is never sampled."""
    return SimpleNamespace(pad_id=PAD, eos_ids=(PAD,) if pad_ends else (2,))


@pytest.mark.parametrize("pad_ends", [True, False])
@pytest.mark.parametrize("temperature", [0.7, 1.0])
def test_26_value_and_slope_are_those_of_log_softmax(temperature, pad_ends):
    logits = torch.randn(5, 11, generator=torch.Generator().manual_seed(1), dtype=torch.float64, requires_grad=True)
    tokens, weights = torch.tensor([0, 1, 2, 4, 10]), torch.tensor([1.0, -2.0, 0.5, 3.0, 0.0], dtype=torch.float64)
    found = sampling_log_probs(policy_like(pad_ends), logits, tokens, temperature)
    masked = logits if pad_ends else logits.index_fill(1, torch.tensor([PAD]), -torch.inf)
    expected = (masked / temperature).log_softmax(-1).gather(1, tokens[:, None]).squeeze(1)
    slopes = [torch.autograd.grad((weights * one).sum(), logits)[0] for one in (found, expected)]
    assert torch.allclose(found, expected) and torch.allclose(*slopes)


def test_02_a_pad_id_that_the_model_wants_takes_nothing_from_the_rest():
    logits = torch.zeros(1, 11).index_fill(1, torch.tensor([PAD]), 1e4)
    found = sampling_log_probs(policy_like(False), logits, torch.tensor([0]), 1.0)
    assert found.item() == pytest.approx(-torch.tensor(10.0).log().item())


def test_the_logits_are_left_as_they_are():
    logits = torch.randn(2, 11)
    before = logits.clone()
    sampling_log_probs(policy_like(False), logits, torch.tensor([0, 1]), 1.0)
    assert torch.equal(logits, before)
