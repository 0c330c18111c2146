"""Training the last layers alone: the same figures from a trunk that runs once, and a trunk that stays what it was."""

from dataclasses import replace

import pytest
import torch
from torch import nn
from transformers import GemmaConfig, GemmaForCausalLM, GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

from pipeline.actor_critic import ActorCritic, reference_log_probs
from pipeline.frozen_layers import KeptStates, layers_of, train_last_layers
from pipeline.job import Refused
from pipeline.policy import load_policy
from pipeline.ppo import work
from pipeline.recompute import recompute_layers
from pipeline.reward import new_reward, save_reward
from pipeline.roles import load_roles
from tests.pipeline.ppo_parts import changed, collector, gradient, rollout_of, updater
from tests.pipeline.training_data import ranked_rows, training_run

pytestmark = pytest.mark.usefixtures("exact")

ROWS = [([5, 6, 7], [8, 9, 10, 11]), ([5, 6], [7]), ([9] * 20, [8, 5])]


def roles_of(folder, **options):
    return load_roles({"policy": {"path": folder, "device": "cpu"}}, changed(trained_layers=1, **options))


def counted(policy) -> list[int]:
    """Grows with every forward through the first layer's attention."""
    ran: list[int] = []
    layers_of(policy.model.get_decoder())[0].self_attn.register_forward_hook(lambda *_: ran.append(1))
    return ran


@pytest.mark.parametrize("rank", [0, 2])
def test_all_passes_and_the_reference_begin_behind_the_trunk_with_the_same_figures(tiny_policy_folder, rank):
    roles = roles_of(tiny_policy_folder, lora_rank=rank)
    actor, whole = (ActorCritic(roles.policy, trunk=trunk) for trunk in (roles.trunk, None))
    expected = whole.figures(ROWS[::-1]).log_probs
    ran = counted(roles.policy)
    with torch.no_grad():
        first = actor.figures(ROWS).log_probs
    assert len(ran) == 1
    found = actor.figures(ROWS[::-1]).log_probs
    frozen = reference_log_probs(roles.reference, ROWS, 1.0)
    assert len(ran) == 1 and torch.equal(first, frozen)
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=0)
    slopes = [
        torch.autograd.grad(one.sum(), [p for p in roles.policy.model.parameters() if p.requires_grad])
        for one in (found, expected)
    ]
    for ours, theirs in zip(*slopes, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-4)


def test_only_the_last_layers_and_the_norm_behind_them_learn(tiny_policy_folder):
    roles = roles_of(tiny_policy_folder)
    learning = {name.removeprefix("model.") for name, p in roles.policy.model.named_parameters() if p.requires_grad}
    assert {name.split(".")[1] for name in learning if name.startswith("layers.")} == {"1"}
    assert not any("input_layernorm" in name for name in learning)  # it reads the trunk alone
    assert {name for name in learning if not name.startswith("layers.")} == {"norm.weight"}
    assert roles.notes[0].startswith("The last 1 of 2 layers were trained: ")


def test_a_head_of_its_own_learns_too():
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 3, "num_attention_heads": 4}
    model = LlamaForCausalLM(LlamaConfig(vocab_size=64, tie_word_embeddings=False, **sizes))
    train_last_layers(model, 2)
    assert model.lm_head.weight.requires_grad and not model.model.embed_tokens.weight.requires_grad


def test_the_reference_copies_what_learns_and_nothing_else(tiny_policy_folder):
    roles = roles_of(tiny_policy_folder)
    own, frozen = (dict(model.named_parameters()) for model in (roles.policy.model, roles.reference.policy.model))
    assert {name for name in own if own[name] is not frozen[name]} == {n for n, p in own.items() if p.requires_grad}


def test_a_rollout_and_its_update_run_the_trunk_once_per_micro_batch(tiny_policy_folder):
    roles = roles_of(tiny_policy_folder)
    actor = ActorCritic(roles.policy, trunk=roles.trunk)
    found = collector(roles.policy, reference=roles.reference, actor=actor)
    rollout = rollout_of(found)
    ran = counted(roles.policy)
    updater(actor).update(rollout, torch.Generator())
    assert not ran and len(roles.trunk.kept.known) == len({tuple(p + c) for p, c in rollout.sequences})
    rollout_of(found)
    assert ran  # what was known is forgotten at the next rollout


def test_layers_made_anew_in_the_backward_give_the_same_gradient(tiny_policy_folder):
    found = []
    for again in (False, True):
        roles = roles_of(tiny_policy_folder)
        actor = ActorCritic(roles.policy, trunk=roles.trunk)
        if again:
            recompute_layers(roles.policy.model)
        for _ in range(2):  # whole, then behind the trunk
            actor.zero_grad()
            actor.figures(ROWS).log_probs.sum().backward()
        found.append(gradient(actor))
    torch.testing.assert_close(*found, atol=1e-5, rtol=1e-4)
    assert found[0].abs().sum() > 0


@pytest.mark.parametrize(
    "model",
    [
        GPT2LMHeadModel(GPT2Config(vocab_size=64, n_positions=64, n_embd=32, n_layer=3, n_head=4)),
        GemmaForCausalLM(
            GemmaConfig(
                vocab_size=64,
                hidden_size=32,
                intermediate_size=48,
                num_hidden_layers=3,
                num_attention_heads=4,
                num_key_value_heads=4,
                head_dim=8,
            )
        ),
    ],
)
def test_other_architectures_begin_behind_their_trunk_too(model):
    trunk, notes = train_last_layers(model.eval(), 1)
    assert trunk.depth == 2 and len(notes) == 1


def test_a_model_that_cannot_begin_later_says_so_and_trains_all_the_same(tiny_policy):
    class Counting(nn.Module):
        """A layer whose result depends on more than its input."""

        def __init__(self, layer):
            super().__init__()
            self.layer, self.calls = layer, 0

        def forward(self, states, **options):
            self.calls += 1
            return self.layer(states, **options) * self.calls

    layers = tiny_policy.model.get_decoder().layers
    layers[1] = Counting(layers[1])
    trunk, notes = train_last_layers(tiny_policy.model, 1)
    assert trunk is None and "cannot begin at a later layer" in notes[1]
    assert any(p.requires_grad for p in tiny_policy.model.parameters())


def test_more_layers_than_can_be_left_out_are_refused(tiny_policy_folder):
    with pytest.raises(Refused, match="trained_layers: found 2, and LlamaModel has 2 layers; take fewer, or 0 for all"):
        load_roles({"policy": {"path": tiny_policy_folder, "device": "cpu"}}, changed(trained_layers=2))


def test_a_run_leaves_the_trunk_as_it_was_and_says_what_it_trained(tmp_path, tiny_policy_folder, monkeypatch):
    monkeypatch.setattr("pipeline.ppo_training.MEASURED", 16)
    save_reward(replace(new_reward(tiny_policy_folder, 3, 128, "cpu"), std=0.1), tmp_path / "reward")
    options = {"episodes": 16, "batch_size": 8, "max_new_tokens": 6, "trained_layers": 1, "critic": "frozen"}
    models = {"policy": tiny_policy_folder, "reward": tmp_path / "reward"}
    run = training_run(tmp_path / "run", "ppo", models, options, ranked_rows(train=3))
    result = work(run, run.config())
    before, after = (load_policy(f, "cpu").model.state_dict() for f in (tiny_policy_folder, run.model))
    changed_names = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed_names and all("layers.1." in name or name == "model.norm.weight" for name in changed_names)
    assert "The last 1 of 2 layers were trained" in " ".join(result["notes"])


def test_states_are_known_for_all_texts_or_for_none():
    kept = KeptStates()
    kept.keep(["a", "b"], [torch.zeros(1), torch.ones(1)])
    assert kept.of(["a", "c"]) is None and [float(one) for one in kept.of(["b", "a"])] == [1.0, 0.0]
    kept.forget()
    assert kept.of(["a"]) is None
