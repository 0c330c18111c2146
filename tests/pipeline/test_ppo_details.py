"""The thirty implementation details of PPO for language models, rows 1 to 17: rollouts, rewards, advantages.

Rows 18 to 30 are in `test_ppo_details_update.py`; 7 and 8 in `test_bandit_ppo.py`; the numbers name the row.
"""

import math
from dataclasses import replace

import pytest
import torch

from pipeline.actor_critic import ActorCritic
from pipeline.configs import PPOConfig
from pipeline.critic import make_critic
from pipeline.losses import advantages_and_returns, length_mask, masked_whiten, token_rewards
from pipeline.policy import completion_ids, load_policy, prompt_ids
from pipeline.reward import load_reward, new_reward, save_reward, score_texts
from pipeline.reward_role import load_scorer
from pipeline.roles import load_roles
from pipeline.sampling import Sampled, sample
from pipeline.score_scale import ScoreScale
from tests.pipeline.ppo_parts import (
    changed,
    collector,
    rollout_of,
    trained_adapter,
    updater,
    with_pad_as_end,
)

pytestmark = pytest.mark.usefixtures("exact")

TEXTS = [([{"role": "user", "content": "Hi"}], text) for text in ("Thank you.", "Bye", "A fox lived near a river.")]


def test_01_a_pad_token_that_is_the_end_token_changes_no_score(tmp_path, tiny_policy_folder):
    save_reward(new_reward(tiny_policy_folder, 3, 128, "cpu"), tmp_path / "apart")
    save_reward(new_reward(with_pad_as_end(tiny_policy_folder, tmp_path / "p"), 3, 128, "cpu"), tmp_path / "same")
    apart, same = (score_texts(load_reward(tmp_path / name, "cpu"), TEXTS) for name in ("apart", "same"))
    assert apart == pytest.approx(same, abs=1e-6) and len({round(score, 6) for score in apart}) == 3


@pytest.mark.parametrize("pad_is_end", [True, False])
def test_02_the_end_token_is_trained_whatever_the_pad_token(tmp_path, tiny_policy_folder, pad_is_end):
    folder = with_pad_as_end(tiny_policy_folder, tmp_path / "p") if pad_is_end else tiny_policy_folder
    policy = load_policy(folder, "cpu")
    end = policy.eos_ids[0]
    found = ActorCritic(policy).figures([([5, 6], [7, end])]).log_probs
    logits = policy.model(input_ids=torch.tensor([[5, 6, 7]])).logits[0, -1]
    slope = torch.autograd.grad(found[1], policy.model.lm_head.weight)[0][end].abs().sum()
    assert len(found) == 2 and slope > 0
    logits = logits if pad_is_end else logits.index_fill(0, torch.tensor([policy.pad_id]), -torch.inf)
    assert found[1].item() == pytest.approx(logits.log_softmax(-1)[end].item(), abs=1e-5)


def test_03_padding_on_the_left_changes_neither_samples_nor_log_probabilities(tiny_policy):
    prompts = [[5, 6, 7], [8] * 40]
    together = sample(tiny_policy, prompts, 8, seed=torch.full((2, 8), 0.4))
    alone = [sample(tiny_policy, [p], 8, seed=torch.full((1, 8), 0.4))[0] for p in prompts]
    assert together == alone
    rows = [(p, one.tokens) for p, one in zip(prompts, alone, strict=True)]
    actor = ActorCritic(tiny_policy)
    apart = torch.cat([actor.figures([row]).log_probs for row in rows])
    assert torch.allclose(actor.figures(rows).log_probs, apart, atol=1e-5)


@pytest.mark.parametrize("temperature", [0.7, 1.0])
def test_04_and_06_the_first_ratio_is_one_at_any_temperature(tiny_policy, temperature):
    options = changed(temperature=temperature, epochs=1, minibatches=1)
    found = collector(tiny_policy, options=options)
    rollout = rollout_of(found)
    assert abs(rollout.metrics["objective/kl"]) < 1e-4
    metrics = updater(found.actor, options).update(rollout, torch.Generator())
    assert metrics["policy/ratio_max"] == pytest.approx(1, abs=1e-5) and metrics["policy/clipfrac"] == 0
    assert metrics["policy/approxkl"] < 1e-9


def test_04_no_option_cuts_the_distribution_that_is_sampled_from():
    assert not {"top_p", "top_k", "min_p", "repetition_penalty"} & set(PPOConfig.__dataclass_fields__)


def test_05_two_forwards_in_training_mode_agree(tmp_path, tiny_policy_folder):
    folder = trained_adapter(tiny_policy_folder, tmp_path / "adapter")
    models = {"policy": {"path": folder, "device": "cpu"}}
    actor = ActorCritic(load_roles(models, changed(lora_rank=4)).policy).train()
    one, other = (actor.figures([([5, 6], [7, 8])]).log_probs for _ in range(2))
    assert torch.equal(one, other)


class Elsewhere:
    """A sampler that claims log-probabilities half a nat above the policy's own, but for the last token: 3 below."""

    name = "elsewhere"

    def write(self, policy, prompts, temperature, uniform, on_progress=None):
        actor, rows = ActorCritic(policy), [(p, [7, 8, 9]) for p in prompts]
        own = [actor.figures([row]).log_probs.tolist() for row in rows]
        return [Sampled([7, 8, 9], False, [a + 0.5, b + 0.5, c - 3]) for a, b, c in own]


def test_06_another_samplers_arithmetic_does_not_move_the_ratio_and_is_corrected_for(tiny_policy):
    found = collector(tiny_policy, sampler=Elsewhere(), options=changed(importance_cap=2.0))
    rollout = rollout_of(found)
    metrics = updater(found.actor, changed(epochs=1, minibatches=1)).update(rollout, torch.Generator())
    assert metrics["policy/ratio_max"] == pytest.approx(1, abs=1e-5)
    assert rollout.importance[0].tolist() == pytest.approx([math.exp(-0.5)] * 2 + [2.0], abs=1e-4)


def test_07_the_kl_is_in_the_reward_of_every_token():
    found = token_rewards(torch.tensor([[0.2, -0.1, 9.0]]), torch.tensor([1.0]), torch.tensor([2]), 0.5)
    assert found[0].tolist() == pytest.approx([-0.1, 1.05, 0.0])


def test_10_only_the_policys_own_stop_tokens_end_a_completion(tiny_policy):
    tiny_policy.model.generation_config.eos_token_id = list(range(50, 300))
    rollout = rollout_of(collector(tiny_policy, lambda items: [0.0] * len(items), changed(max_new_tokens=12)))
    ended = [completion[-1] in tiny_policy.eos_ids for _, completion in rollout.sequences]
    assert rollout.metrics["len/eos_rate"] == sum(ended) / 8 > 0.5
    assert rollout.metrics["objective/scores"] == pytest.approx(-1.5 * (1 - sum(ended) / 8))


def test_11_scores_on_the_reference_scale_have_mean_zero_and_deviation_one():
    raw = torch.tensor([3.0, 5.0, 7.0, 9.0])
    found = ScoreScale("reference", float(raw.mean()), float(raw.std(unbiased=False)))(raw)
    assert found.mean().item() == pytest.approx(0) and found.std(unbiased=False).item() == pytest.approx(1)
    assert ScoreScale("reference", 6.0, 2.0, bound=1.0)(raw).tolist() == [-1.0, -0.5, 0.5, 1.0]


def test_12_a_reward_head_begins_at_one_over_the_square_root_of_its_width(tiny_policy_folder):
    heads = [new_reward(tiny_policy_folder, seed, 128, "cpu").model.score.weight for seed in range(12)]
    assert torch.cat(heads).std().item() == pytest.approx(1 / math.sqrt(33), rel=0.1)


def test_13_the_critic_begins_at_zero_or_as_the_reward_model(tmp_path, tiny_policy_folder, tiny_policy):
    assert all((row == 0).all() for row in rollout_of(collector(tiny_policy)).values)
    reward = replace(new_reward(tiny_policy_folder, 3, 128, "cpu"), mean=0.3, std=2.0)
    save_reward(reward, tmp_path / "reward")
    scorer = load_scorer(tiny_policy, tmp_path / "reward", "cpu")
    scores = reward.model(input_ids=torch.tensor([[5, 6, 7, 8]])).logits.item()
    for kind, scale, expected in (
        ("reward", "reference", (scores - 0.3) / 2.0),
        ("frozen", "none", scores),
        ("auto", "none", scores),
    ):
        options = changed(critic=kind, reward_normalisation=scale)
        critic = make_critic(tiny_policy, options, scorer, tmp_path / "reward")
        value = ActorCritic(tiny_policy, 1.0, critic).figures([([5, 6, 7], [8, 9])]).values
        assert value[1].item() == pytest.approx(expected, abs=1e-5)


def test_13_a_frozen_critic_is_forwarded_once_for_all_passes_and_its_head_alone_learns(tmp_path, tiny_policy_folder):
    save_reward(new_reward(tiny_policy_folder, 3, 128, "cpu"), tmp_path / "reward")
    policy = load_policy(tiny_policy_folder, "cpu")
    scorer = load_scorer(policy, tmp_path / "reward", "cpu")
    critic = make_critic(policy, changed(critic="frozen"), scorer, tmp_path / "reward")
    actor, forwards = ActorCritic(policy, 1.0, critic), []
    critic.body[0].register_forward_hook(lambda *_: forwards.append(1))
    rows = [([5, 6, 7], [8, 9]), ([5, 6], [7])]
    with torch.no_grad():
        before = [actor.figures([row]).values for row in rows]
    made = len(forwards)
    after = actor.figures(rows[::-1]).values
    after.sum().backward()
    assert len(forwards) == made and torch.equal(after, torch.cat(before[::-1]))
    assert critic.trunk == [] and critic.head.weight.grad.abs().sum() > 0
    actor.forget()
    assert actor.figures(rows).values.requires_grad and len(forwards) == made + 1


def test_13_a_frozen_critic_reads_what_scoring_made_also_where_a_completion_did_not_end(tmp_path, tiny_policy_folder):
    save_reward(new_reward(tiny_policy_folder, 3, 128, "cpu"), tmp_path / "reward")
    policy, forwards = load_policy(tiny_policy_folder, "cpu"), []
    scorer = load_scorer(policy, tmp_path / "reward", "cpu")
    critic = make_critic(policy, changed(critic="frozen"), scorer, tmp_path / "reward")
    messages = [{"role": "user", "content": "Hi"}]
    asked, (*words, end) = prompt_ids(policy.tokenizer, messages), completion_ids(policy.tokenizer, "Thank you.")
    scorer([(messages, "Thank you.")])
    critic.body[0].register_forward_hook(lambda *_: forwards.append(1))
    rows = [(asked, [*words, end]), (asked, words)]
    found = critic(rows, None)
    assert not forwards and critic.body[0] is scorer.reward.model.base_model
    critic.kept.forget()
    torch.testing.assert_close(found, critic(rows, None), atol=1e-5, rtol=0)
    found.sum().backward()
    assert forwards and critic.head.weight.grad.abs().sum() > 0


def test_14_lambda_one_and_zero_and_a_lambda_of_the_critics_own(tiny_policy):
    one, zero = (rollout_of(collector(tiny_policy, options=changed(gae_lambda=v))) for v in (1.0, 0.0))
    assert torch.allclose(one.returns[3][0], torch.tensor(3.0 - 1.5), atol=1e-4)  # nothing is lost on the way
    assert zero.returns[3][0].item() == pytest.approx(0, abs=1e-5)  # values are 0, so the first token learns nothing
    both = rollout_of(collector(tiny_policy, options=changed(gae_lambda=0.0, value_lambda=1.0)))
    assert torch.equal(both.returns[3], one.returns[3]) and torch.equal(both.advantages[3], zero.advantages[3])


def test_15_whitening_the_advantages_leaves_the_returns_alone(tiny_policy):
    plain, white = (rollout_of(collector(tiny_policy, options=changed(whiten_advantages=v))) for v in (False, True))
    assert all(torch.equal(a, b) for a, b in zip(plain.returns, white.returns, strict=True))
    assert torch.cat(white.advantages).mean().abs() < 1e-5 < torch.cat(plain.advantages).mean().abs()


def test_16_advantages_are_whitened_over_the_real_tokens_of_the_whole_rollout():
    values, lengths = torch.tensor([[1.0, 2.0, 99.0], [6.0, 99.0, 99.0]]), torch.tensor([2, 1])
    # real tokens 1, 2, 6: mean 3, biased variance (4 + 1 + 9) / 3 = 14 / 3
    found = masked_whiten(values, length_mask(lengths, 3))
    assert found[0, :2].tolist() == pytest.approx([-2 / math.sqrt(14 / 3), -1 / math.sqrt(14 / 3)], abs=1e-5)
    assert found[1, 0].item() == pytest.approx(3 / math.sqrt(14 / 3), abs=1e-5) and found[0, 2] == 0


def test_17_whitening_rewards_keeps_their_mean():
    values, mask = torch.tensor([[1.0, 2.0, 6.0]]), torch.ones(1, 3)
    found = masked_whiten(values, mask, shift_mean=False)
    assert found.mean().item() == pytest.approx(3) and found.var(unbiased=False).item() == pytest.approx(1, abs=1e-5)


def test_17_whitened_rewards_are_what_the_advantages_are_made_of(tiny_policy):
    found = rollout_of(collector(tiny_policy, options=changed(whiten_rewards=True, gae_lambda=1.0)))
    plain = rollout_of(collector(tiny_policy, options=changed(gae_lambda=1.0)))
    rewards = torch.zeros(8, 6)
    for row, (_, completion) in enumerate(plain.sequences):
        ended = completion[-1] in tiny_policy.eos_ids
        rewards[row, len(completion) - 1] = row - (0 if ended else 1.5)
    mask = length_mask(torch.tensor(plain.lengths), 6)
    expected = advantages_and_returns(masked_whiten(rewards, mask, False), torch.zeros(8, 6), mask, 1.0, 1.0)[1]
    assert found.returns[5].tolist() == pytest.approx(expected[5][: found.lengths[5]].tolist(), abs=1e-3)
