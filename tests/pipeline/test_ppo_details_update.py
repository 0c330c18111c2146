"""The thirty implementation details of PPO for language models, rows 18 to 30: the update, the roles, the run."""

import pytest
import torch
from tokenizers import Tokenizer, pre_tokenizers
from tokenizers import models as tokenizer_models
from transformers import PreTrainedTokenizerFast

from pipeline.actor_critic import ActorCritic, log_probs_and_entropy
from pipeline.configs import PPOConfig
from pipeline.critic import make_critic
from pipeline.demonstrations import Demonstrations
from pipeline.job import Cancelled, Refused
from pipeline.losses import clipped_policy_loss
from pipeline.policy import packed_hidden, token_log_probs, weights_digest
from pipeline.ppo import work
from pipeline.ppo_training import Training
from pipeline.ppo_update import Tally
from pipeline.processes import Processes
from pipeline.reward import new_reward, save_reward
from pipeline.roles import load_roles
from pipeline.rollout import Collector, generator
from pipeline.run_directory import RunDirectory
from pipeline.sampling import Sampled, uniform_numbers
from tests.pipeline.conftest import tiny_model
from tests.pipeline.ppo_parts import (
    PROMPTS,
    by_place,
    changed,
    collector,
    gradient,
    rollout_of,
    trained_adapter,
    updater,
)
from tests.pipeline.training_data import exact_arithmetic, ranked_rows, training_run, write_rows

QUICK = {"episodes": 24, "batch_size": 8, "epochs": 2, "max_new_tokens": 6, "learning_rate": 1e-3, "kl_stop": 0.0}


@pytest.fixture(autouse=True)
def exact(monkeypatch):
    exact_arithmetic(monkeypatch)
    monkeypatch.setattr("pipeline.ppo_training.MEASURED", 16)


@pytest.fixture(scope="module")
def models(tmp_path_factory, tiny_policy_folder) -> dict:
    folder = tmp_path_factory.mktemp("rewards") / "tiny"
    save_reward(new_reward(tiny_policy_folder, 3, 128, "cpu"), folder)
    return {"policy": tiny_policy_folder, "reward": folder}


def run_of(path, models, options=None, rows=None) -> RunDirectory:
    return training_run(path, "ppo", models, {**QUICK, **(options or {})}, rows or ranked_rows(train=3))


def roles_of(folder, **options):
    return load_roles({"policy": {"path": folder, "device": "cpu"}}, changed(**options))


def test_18_the_defaults_are_the_published_ones():
    found = PPOConfig()
    assert (found.clip, found.value_clip, found.value_coefficient, found.epochs) == (0.2, 0.2, 0.1, 4)
    assert (found.gamma, found.gae_lambda, found.temperature, found.dual_clip) == (1.0, 0.95, 1.0, 0.0)


def test_19_adam_has_the_published_epsilon_and_the_rate_rises_over_the_warm_up(tiny_policy):
    options = changed(episodes=32, lr_warmup=2, learning_rate=1e-3)
    training = Training.fresh(tiny_policy, by_place, options)
    assert all(group["eps"] == 1e-5 for group in training.updater.optimizer.param_groups)
    rates = [training.learn(training.collected(PROMPTS[:3]))["lr"] for _ in range(4)]
    assert rates == pytest.approx([1e-3 / 3, 2e-3 / 3 * 0.75, 1e-3 * 0.5, 1e-3 * 0.25])


def test_20_extreme_ratios_stay_finite_and_the_dual_clip_bounds_the_loss():
    log_probs, advantages = torch.tensor([1e4, 1.5, 1.5]), torch.tensor([-1.0, -2.0, 1.0])
    loss, ratio = clipped_policy_loss(log_probs, torch.zeros(3), advantages, 0.2)
    assert torch.isfinite(loss).all() and torch.isfinite(ratio).all()
    dual, _ = clipped_policy_loss(log_probs, torch.zeros(3), advantages, 0.2, dual_clip=3.0)
    assert dual.tolist() == pytest.approx([3.0, 6.0, -1.2])  # 3 |A| where A < 0; the usual clip where A > 0


def test_21_micro_batches_and_processes_do_not_change_the_gradient(tiny_policy):
    found = collector(tiny_policy)
    rollout = rollout_of(found)
    gradients = []
    for budget, size in ((4096, 1), (1, 1), (40, 1), (4096, 2)):
        parts = []
        for rank in range(size):
            found.actor.zero_grad()
            one = updater(found.actor, changed(micro_batch_tokens=budget), processes=Share(rank, size))
            one.accumulate(rollout, list(range(8)), Tally())
            parts.append(gradient(found.actor))
        gradients.append(sum(parts))
    assert all(torch.allclose(gradients[0], other, atol=1e-6) for other in gradients[1:])


class Share(Processes):
    """One of several processes that never meet: its part of the rows, and of every sum."""

    def summed(self, values):
        """Its own part."""
        return values

    def gathered(self, mine):
        """Its own part."""
        return mine


def test_22_the_gradient_is_clipped_and_its_norm_logged(tiny_policy):
    found = collector(tiny_policy)
    rollout, norms = rollout_of(found), []
    one = updater(found.actor, changed(max_grad_norm=0.01, epochs=1))
    one.optimizer.step = lambda: norms.append(gradient(found.actor).norm().item())
    metrics = one.update(rollout, torch.Generator())
    assert metrics["policy/grad_norm"] > 0.01 and max(norms) <= 0.01 + 1e-6


@pytest.mark.parametrize(("epochs", "minibatches", "steps"), [(1, 1, 1), (3, 2, 6), (2, 4, 8), (1, 99, 8)])
def test_23_every_minibatch_of_every_pass_is_one_optimizer_step(tiny_policy, epochs, minibatches, steps):
    found = collector(tiny_policy)
    one, counted = updater(found.actor, changed(epochs=epochs, minibatches=minibatches)), []
    one.optimizer.step = lambda: counted.append(1)
    metrics = one.update(rollout_of(found), torch.Generator())
    assert len(counted) == metrics["optimizer_steps"] == steps


def test_24_every_row_has_random_numbers_of_its_own_whichever_process_it_is_in(tiny_policy):
    whole = uniform_numbers(8, 6, generator(0))
    assert len({tuple(row) for row in whole.tolist()}) == 8
    drawn = [Drawn(), Drawn()]
    for rank in (0, 1):
        rollout_of(collector(tiny_policy, sampler=drawn[rank], processes=Share(rank, 2)))
    assert torch.equal(torch.stack([drawn[0].uniform, drawn[1].uniform], 1).flatten(0, 1), whole)


class Drawn:
    """A sampler that keeps the numbers it is given."""

    name = "drawn"

    def write(self, policy, prompts, temperature, uniform, on_progress=None):
        """Token 9 for everybody."""
        self.uniform = uniform
        return [Sampled([9], False) for _ in prompts]


@pytest.mark.parametrize("start", ["full", "fresh adapter", "adapter", "merged adapter"])
def test_25_kl_is_zero_and_the_ratio_one_at_the_start(tmp_path, tiny_policy_folder, start):
    folder = trained_adapter(tiny_policy_folder, tmp_path / "a") if "fresh" not in start else tiny_policy_folder
    folder = tiny_policy_folder if start == "full" else folder
    roles = roles_of(folder, lora_rank=4 if start in ("fresh adapter", "adapter") else 0)
    found = collector(roles.policy, reference=roles.reference)
    rollout = rollout_of(found)
    assert abs(rollout.metrics["objective/kl"]) < 1e-5
    metrics = updater(found.actor, changed(epochs=1, minibatches=1)).update(rollout, torch.Generator())
    assert metrics["policy/ratio_max"] == pytest.approx(1, abs=1e-5)
    assert rollout_of(found).metrics["objective/kl"] != 0  # the policy moved, the reference did not


def test_26_log_probabilities_in_parts_are_those_of_all_logits_at_once(monkeypatch, tiny_policy):
    rows = [([5, 6], [7, 8, 9]), ([4], [10, 11])]
    actor = ActorCritic(tiny_policy)
    whole, slopes = [], []
    for most in (1 << 25, 800):  # 800 logits: two positions of the vocabulary of 400 at a time
        monkeypatch.setattr("pipeline.actor_critic.MOST_LOGITS", most)
        actor.zero_grad()
        whole.append(actor.figures(rows).log_probs)
        whole[-1].sum().backward()
        slopes.append(gradient(actor))
    assert torch.allclose(whole[0], whole[1], atol=1e-6) and torch.allclose(slopes[0], slopes[1], atol=1e-6)
    logits = tiny_policy.model(input_ids=torch.tensor([[5, 6, 7, 8]])).logits[0, 1:]
    logits[:, tiny_policy.pad_id] = -torch.inf
    expected = logits.log_softmax(-1).gather(1, torch.tensor([[7], [8], [9]])).squeeze(1)
    assert torch.allclose(whole[1][:3], expected, atol=1e-5)


def test_26_the_entropy_is_that_of_the_whole_distribution(tiny_policy):
    hidden, tokens = packed_hidden(tiny_policy.model, [([5, 6], [7])])
    _, entropy = log_probs_and_entropy(tiny_policy, hidden, tokens, 1.0)
    logits = tiny_policy.model(input_ids=torch.tensor([[5, 6]])).logits[0, -1]
    logits[tiny_policy.pad_id] = -1e9
    assert entropy.item() == pytest.approx(torch.distributions.Categorical(logits=logits).entropy().item(), abs=1e-4)


def test_27_a_reward_model_with_a_tokenizer_of_its_own_scores_the_text(tmp_path, tiny_policy_folder):
    base = tmp_path / "other"
    tokenizer = other_tokenizer()
    tiny_model(tokenizer, seed=5).save_pretrained(base)
    tokenizer.save_pretrained(base)
    save_reward(new_reward(base, 3, 128, "cpu"), tmp_path / "reward")
    run = run_of(tmp_path / "run", {"policy": tiny_policy_folder, "reward": tmp_path / "reward"})
    result = work(run, run.config())
    assert result["sizes"]["episodes"] == 24 and "the critic is a head on the policy" in " ".join(result["notes"])
    models = {"policy": tiny_policy_folder, "reward": tmp_path / "reward"}
    run = run_of(tmp_path / "refused", models, {"critic": "reward"})
    with pytest.raises(Refused, match="cannot be the critic"):
        work(run, run.config())


def test_28_demonstrations_are_mixed_in_by_their_weight(tiny_policy):
    found = collector(tiny_policy)
    shown = Demonstrations([], [([5, 6], [7, 8]), ([9], [10])])
    one = updater(found.actor, changed(sft_coefficient=0.5, sft_batch_size=4), demonstrations=shown)
    loss = one.mix_in(generator(1))
    mixed = gradient(found.actor)
    found.actor.zero_grad()
    batch = shown.drawn(4, generator(1))
    nll = -torch.cat(token_log_probs(tiny_policy.model, batch)).sum() / sum(len(c) for _, c in batch)
    nll.backward()
    assert loss == pytest.approx(nll.item(), abs=1e-5) and torch.allclose(mixed, 0.5 * gradient(found.actor), atol=1e-6)


def test_28_the_passes_end_where_the_policy_has_moved_too_far(tiny_policy):
    found = collector(tiny_policy)
    rollout = rollout_of(found)
    options = changed(epochs=20, minibatches=1, learning_rate=3e-3, target_kl=1e-3)
    metrics = updater(found.actor, options).update(rollout, torch.Generator())
    assert 1 <= metrics["optimizer_steps"] < 20


def test_28_mixing_in_without_demonstrations_is_refused(tmp_path, models):
    run = run_of(tmp_path / "run", models, {"sft_coefficient": 0.1})
    with pytest.raises(Refused, match="sft_coefficient needs demonstrations"):
        work(run, run.config())


def test_28_people_s_answers_are_what_scores_are_measured_from(tmp_path, models):
    run = run_of(tmp_path / "run", models, {"sft_coefficient": 0.1, "reward_normalisation": "demonstrations"})
    write_rows(run.data, "demonstrations", [{"prompt_id": f"p-{n}", "text": "Thank you."} for n in range(3)])
    work(run, run.config())
    row = run.metrics()[0][-1]
    assert row["loss/sft"] > 0 and abs(row["objective/scores"] - row["objective/raw_scores"]) > 1e-3


def other_tokenizer() -> PreTrainedTokenizerFast:
    """Words, and no chat template: nothing like the policy's."""
    names = ["<unk>", "<end>", "<pad>", *"abcdefghijklmnopqrstuvwxyz", "story", "bear", "number", "User", "Assistant"]
    words = Tokenizer(tokenizer_models.WordLevel({word: i for i, word in enumerate(names)}, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(
        tokenizer_object=words, unk_token="<unk>", eos_token="<end>", bos_token="<end>", pad_token="<pad>"
    )


ADAPTERS = {"lora_rank": 4, "critic": "separate", "reward_normalisation": "running"}
LAST = {"critic": "frozen", "trained_layers": 1}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "after"),
    [({}, 1), ({}, 2), (ADAPTERS, 2), ({"critic": "reward"}, 1), ({"critic": "frozen"}, 1), (LAST, 1)],
)
def test_30_a_resumed_run_equals_an_uninterrupted_one(tmp_path, models, monkeypatch, options, after):
    options = options | {"kl_target": 0.5, "kl_stop": 50.0, "lr_warmup": 1}
    whole = run_of(tmp_path / "whole", models, options)
    run = run_of(tmp_path / "run", models, options)
    expected = work(whole, whole.config())
    with monkeypatch.context() as patched:
        patched.setattr(RunDirectory, "cancel_requested", lambda self: figures(self)[-1:] == [after])
        with pytest.raises(Cancelled):
            work(run, run.config())
    found = work(run, run.config())
    assert found["weights_digest"] == expected["weights_digest"] and found["metrics"] == expected["metrics"]
    assert timeless(run) == timeless(whole)


def figures(run: RunDirectory) -> list[int]:
    return [row["step"] for row in run.metrics()[0] if "sample" not in row]


def timeless(run: RunDirectory) -> list[dict]:
    return [{k: v for k, v in row.items() if "time" not in k} for row in run.metrics()[0]]


def test_a_policy_with_nothing_to_train_is_refused(tiny_policy):
    tiny_policy.model.requires_grad_(False)
    with pytest.raises(Refused, match="no weight that may be trained"):
        ActorCritic(tiny_policy)


def test_13_a_separate_critic_alone_learns_while_it_warms_up(tiny_policy):
    actor = ActorCritic(tiny_policy, 1.0, make_critic(tiny_policy, changed(critic="separate")))
    found = Collector(actor, collector(tiny_policy).reference, by_place, changed())
    before = weights_digest(tiny_policy.model)
    one = updater(actor, changed(epochs=1, minibatches=1, value_clip=100.0))
    losses = [one.update(rollout_of(found), torch.Generator(), value_only=True)["value/loss"] for _ in range(6)]
    assert losses[-1] < losses[0] and weights_digest(tiny_policy.model) == before
