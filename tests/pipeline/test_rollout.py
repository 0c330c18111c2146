"""A rollout: what is sampled, where its reward lies, and which prompts come when."""

import math

import pytest
import torch

from pipeline.actor_critic import ActorCritic, sampling_log_probs
from pipeline.advantages import rewarded
from pipeline.configs import PPOConfig
from pipeline.job import Refused
from pipeline.policy import load_policy
from pipeline.roles import Reference
from pipeline.rollout import Collector, TrainPrompt, generator, prompts_at
from pipeline.score_scale import ScoreScale
from tests.pipeline.training_data import exact_arithmetic

PROMPTS = [TrainPrompt([{"role": "user", "content": str(n)}], [5 + n, 9]) for n in range(3)]
OPTIONS = PPOConfig(batch_size=8, max_new_tokens=6, kl_coefficient=0.1, missing_eos_penalty=1.5)


@pytest.fixture
def actor(monkeypatch, tiny_policy) -> ActorCritic:
    exact_arithmetic(monkeypatch)
    return ActorCritic(tiny_policy)


def rollout(actor, folder, scorer=lambda items: [0.0] * len(items), options=OPTIONS):
    batch = prompts_at(PROMPTS, 0, 8, 0)
    collector = Collector(actor, Reference(load_policy(folder, "cpu")), scorer, options)
    return collector.collect(batch, 0.1, generator(0), ScoreScale("none"))


def test_three_prompts_fill_a_batch_of_eight_evenly():
    taken = [p.messages[0]["content"] for p in prompts_at(PROMPTS, 0, 8, 0)]
    assert sorted(taken[:3]) == sorted(taken[3:6]) == ["0", "1", "2"] and len(taken) == 8


def test_the_stream_of_prompts_does_not_depend_on_the_batches():
    whole = prompts_at(PROMPTS, 0, 20, 3)
    assert prompts_at(PROMPTS, 0, 7, 3) + prompts_at(PROMPTS, 7, 13, 3) == whole
    assert prompts_at(PROMPTS, 0, 20, 4) != whole


def test_a_fresh_policy_is_at_distance_zero_with_values_zero(actor, tiny_policy_folder):
    found = rollout(actor, tiny_policy_folder)
    assert found.metrics["objective/kl"] == pytest.approx(0, abs=1e-5)
    assert all((row == 0).all() for row in found.values)
    assert found.metrics["len/mean"] == sum(found.lengths) / 8


def test_the_reward_reaches_every_token_of_its_completion_through_the_returns(actor, tiny_policy_folder):
    options = PPOConfig(max_new_tokens=6, missing_eos_penalty=0.0, gae_lambda=1.0)
    found = rollout(actor, tiny_policy_folder, lambda items: list(range(len(items))), options)
    for row, score in zip(found.returns, range(8), strict=True):
        assert row.tolist() == pytest.approx([score] * len(row), abs=1e-4)
    flat = torch.cat(found.advantages)
    assert flat.mean().item() == pytest.approx(0, abs=1e-5) and flat.var(unbiased=False).item() == pytest.approx(1)


@pytest.mark.parametrize(("how", "expected"), [("subtract", [1.0, -0.5]), ("replace", [1.0, -1.5])])
def test_10_a_completion_that_did_not_end_pays_the_penalty(how, expected):
    options = PPOConfig(missing_eos_penalty=1.5, missing_eos=how)
    assert rewarded(torch.ones(2), [True, False], ScoreScale("none"), options).tolist() == expected


def test_a_score_that_is_no_number_is_refused(actor, tiny_policy_folder):
    with pytest.raises(Refused, match="gave nan"):
        rollout(actor, tiny_policy_folder, lambda items: [math.nan] * len(items))


def test_the_reward_reads_messages_and_text(actor, tiny_policy_folder):
    read = []
    rollout(actor, tiny_policy_folder, lambda items: read.extend(items) or [0.0] * len(items))
    assert [messages for messages, _ in read] == [p.messages for p in prompts_at(PROMPTS, 0, 8, 0)]
    assert not any("<|eos|>" in text for _, text in read)


def test_the_pad_id_has_no_mass(tiny_policy):
    logits, pad = torch.randn(1, 400), tiny_policy.pad_id
    every = torch.arange(400)
    found = sampling_log_probs(tiny_policy, logits.expand(400, -1), every, 1.0)
    assert found[pad] == -torch.inf and found.exp().sum().item() == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("temperature", [0.7, 1.0])
def test_temperature_divides_the_logits_of_every_log_probability(monkeypatch, tiny_policy, temperature):
    exact_arithmetic(monkeypatch)
    found = ActorCritic(tiny_policy, temperature).figures([([5, 6], [7])]).log_probs
    logits = tiny_policy.model(input_ids=torch.tensor([[5, 6]])).logits[0, -1] / temperature
    logits[tiny_policy.pad_id] = -torch.inf
    assert found.item() == pytest.approx(logits.log_softmax(-1)[7].item(), abs=1e-5)
