"""A reward adapter on the policy's own base: the scores of the reward model loaded whole, and nothing loaded twice."""

import pytest
import torch

from pipeline.adapters import add_adapter
from pipeline.critic import make_critic
from pipeline.policy import completion_ids, load_policy, prompt_ids, weights_digest
from pipeline.ppo import work
from pipeline.ppo_update import Tally
from pipeline.reward import load_reward, new_reward, save_reward, score_texts
from pipeline.reward_role import load_scorer, on_base
from pipeline.roles import load_roles, reference_of
from tests.pipeline.ppo_parts import changed, collector, gradient, rollout_of, updater
from tests.pipeline.training_data import ranked_rows, training_run

pytestmark = pytest.mark.usefixtures("exact")

ITEMS = [([{"role": "user", "content": "Hi"}], text) for text in ("Thank you.", "Bye", "A fox lived near a river.")]


@pytest.fixture
def reward_folder(tmp_path, tiny_policy_folder):
    """A reward adapter that has moved, on the tiny policy as its base."""
    reward = new_reward(tiny_policy_folder, 3, 128, "cpu")
    add_adapter(reward.model, 4, 8.0)
    with torch.no_grad():
        for name, weight in reward.model.named_parameters():
            if "lora_B" in name:
                weight.copy_(0.3 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(len(name))))
    save_reward(reward, tmp_path / "reward")
    return tmp_path / "reward"


def policy_of(folder, rank: int):
    return load_roles({"policy": {"path": folder, "device": "cpu"}}, changed(lora_rank=rank)).policy


def test_it_scores_as_the_reward_model_loaded_whole_while_the_policy_learns(tiny_policy_folder, reward_folder):
    policy = policy_of(tiny_policy_folder, 2)
    scorer = load_scorer(policy, reward_folder)
    expected = score_texts(load_reward(reward_folder, "cpu"), ITEMS)
    assert scorer.reward.model.base_model is policy.model.get_decoder()
    found = collector(policy, scorer)
    updater(found.actor).update(rollout_of(found), torch.Generator())
    assert scorer(ITEMS) == pytest.approx(expected, abs=1e-5) and len({round(score, 4) for score in expected}) == 3


def test_13_as_a_frozen_critic_it_begins_as_its_score_and_loads_nothing(tiny_policy_folder, reward_folder, monkeypatch):
    policy, whole = policy_of(tiny_policy_folder, 2), load_reward(reward_folder, "cpu")
    scorer = load_scorer(policy, reward_folder)
    monkeypatch.delattr("pipeline.critic.load_reward")
    critic = make_critic(policy, changed(reward_normalisation="none"), scorer, reward_folder)
    sequence = (prompt_ids(policy.tokenizer, ITEMS[0][0]), completion_ids(policy.tokenizer, ITEMS[0][1]))
    expected = whole.model(input_ids=torch.tensor([[*sequence[0], *sequence[1][:-1]]])).logits.item()
    alone = critic([sequence], None)[-1].item()
    scorer(ITEMS)
    assert alone == pytest.approx(expected, abs=1e-5) == critic([sequence], None)[-1].item()
    assert [name for name, p in critic.named_parameters() if p.requires_grad] == ["head.weight", "head.bias"]


def test_it_does_not_learn_and_leaves_what_does(tiny_policy_folder, reward_folder):
    policy = policy_of(tiny_policy_folder, 2)
    learning = [name for name, weight in policy.model.named_parameters() if weight.requires_grad]
    on_base(policy, reward_folder)
    assert learning == [name for name, weight in policy.model.named_parameters() if weight.requires_grad]


def test_another_base_or_a_policy_whose_base_is_trained_gets_a_model_of_its_own(tmp_path, tiny_policy, reward_folder):
    assert on_base(tiny_policy, reward_folder) is None
    tiny_policy.model.save_pretrained(tmp_path / "other")
    tiny_policy.tokenizer.save_pretrained(tmp_path / "other")
    assert on_base(policy_of(tmp_path / "other", 2), reward_folder) is None


def test_the_saved_policy_has_its_own_adapter_alone(tmp_path, tiny_policy_folder, reward_folder, monkeypatch):
    monkeypatch.setattr("pipeline.ppo_training.MEASURED", 16)
    options = {"episodes": 16, "batch_size": 8, "max_new_tokens": 6, "lora_rank": 2, "critic": "separate"}
    models = {"policy": tiny_policy_folder, "reward": reward_folder}
    run = training_run(tmp_path / "run", "ppo", models, options, ranked_rows(train=3))
    result = work(run, run.config())
    saved = load_policy(run.model, "cpu").model
    assert weights_digest(saved) == result["weights_digest"] and list(saved.peft_config) == ["default"]


def test_25_a_frozen_base_in_bfloat16_has_an_adapter_that_learns_in_float32(tiny_policy_folder, monkeypatch):
    monkeypatch.setattr("pipeline.roles.frozen_dtype", lambda device: torch.bfloat16)
    policy = policy_of(tiny_policy_folder, 2)
    kinds = {("lora_" in name, weight.dtype) for name, weight in policy.model.named_parameters()}
    assert kinds == {(True, torch.float32), (False, torch.bfloat16)}
    found = collector(policy, reference=reference_of(policy))
    rollout = rollout_of(found)
    assert rollout.metrics["objective/kl"] == 0
    updater(found.actor).accumulate(rollout, list(range(8)), Tally())
    assert gradient(found.actor).abs().sum() > 0
