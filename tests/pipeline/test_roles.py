"""Policy, critic and reference on one base: which weights are at work, and which learn."""

import pytest
import torch

from pipeline.actor_critic import ActorCritic, reference_log_probs
from pipeline.critic import AdapterCritic, TrunkCritic, make_critic
from pipeline.policy import load_policy, save_policy, weights_digest
from pipeline.roles import CRITIC, FROZEN, add_role, drop_role, in_use, load_roles, role_weights
from tests.pipeline.ppo_parts import changed, collector, gradient, rollout_of, trained_adapter, updater

pytestmark = pytest.mark.usefixtures("exact")

ROW = [([5, 6], [7, 8])]


def roles(folder, reference=None, **options):
    models = {"policy": {"path": folder, "device": "cpu"}}
    return load_roles(models | ({"reference": {"path": reference}} if reference else {}), changed(**options))


def moved(policy) -> None:
    with torch.no_grad():
        for _, weight in policy.model.named_parameters():
            if weight.requires_grad:
                weight.add_(0.3)


@pytest.mark.parametrize("start", ["full", "fresh adapter", "adapter"])
def test_the_reference_stays_where_the_policy_began(tmp_path, tiny_policy_folder, start):
    folder = trained_adapter(tiny_policy_folder, tmp_path / "a") if start == "adapter" else tiny_policy_folder
    found = roles(folder, lora_rank=0 if start == "full" else 4)
    actor = ActorCritic(found.policy)
    began = actor.figures(ROW).log_probs.detach()
    moved(found.policy)
    assert torch.allclose(reference_log_probs(found.reference, ROW, 1.0), began, atol=1e-5)
    assert not torch.allclose(actor.figures(ROW).log_probs, began, atol=1e-2)


def test_an_adapter_and_its_reference_share_one_base(tmp_path, tiny_policy_folder):
    found = roles(trained_adapter(tiny_policy_folder, tmp_path / "a"), lora_rank=4)
    assert found.reference.policy is found.policy and not any(
        w.requires_grad for _, w in role_weights(found.policy.model, FROZEN)
    )


def test_another_reference_may_be_named(tmp_path, tiny_policy_folder):
    adapter = trained_adapter(tiny_policy_folder, tmp_path / "a")
    found = roles(adapter, tiny_policy_folder, lora_rank=4)
    expected = ActorCritic(load_policy(tiny_policy_folder, "cpu")).figures(ROW).log_probs
    assert torch.allclose(reference_log_probs(found.reference, ROW, 1.0), expected, atol=1e-6)
    assert not any(w.requires_grad for w in found.reference.policy.model.parameters())


def test_another_adapter_in_use_leaves_what_learns_as_it_was(tmp_path, tiny_policy_folder):
    policy = roles(trained_adapter(tiny_policy_folder, tmp_path / "a"), lora_rank=4).policy
    add_role(policy.model, CRITIC)
    learning = [name for name, w in policy.model.named_parameters() if w.requires_grad]
    with in_use(policy.model, CRITIC):
        assert learning == [name for name, w in policy.model.named_parameters() if w.requires_grad]
    assert any(".critic." in name for name in learning) and not any(".frozen." in name for name in learning)


@pytest.mark.parametrize(("rank", "kind"), [(0, TrunkCritic), (4, AdapterCritic)])
def test_a_separate_critic_learns_apart_from_the_policy(tiny_policy_folder, rank, kind):
    found = roles(tiny_policy_folder, lora_rank=rank)
    critic = make_critic(found.policy, changed(critic="separate"))
    actor = ActorCritic(found.policy, 1.0, critic)
    assert isinstance(critic, kind) and len(actor.parameter_groups(1.0, 2.0)) == 3
    counted = [id(p) for group in actor.parameter_groups(1.0, 2.0) for p in group["params"]]
    assert len(counted) == len(set(counted)) == len(list(actor.trainable()))
    with torch.no_grad():
        critic.head.weight.fill_(1.0)
    actor.figures(ROW).values.sum().backward()
    apart = {id(p) for p in [*critic.trunk, *critic.head.parameters()]}
    assert {id(p) for _, p in actor.trainable() if p.grad is not None and p.grad.abs().sum() > 0} <= apart
    assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in critic.trunk)


def test_adapters_of_policy_and_critic_both_learn_in_one_step(tiny_policy_folder):
    found = roles(tiny_policy_folder, lora_rank=4)
    actor = ActorCritic(found.policy, 1.0, make_critic(found.policy, changed(critic="separate")))
    one = collector(found.policy, actor=actor, reference=found.reference)
    rollout = rollout_of(one)
    before = {name: p.detach().clone() for name, p in actor.trainable()}
    updater(actor).update(rollout, torch.Generator())
    changed_names = {name for name, p in actor.trainable() if not torch.equal(p, before[name])}
    assert any(".default." in name for name in changed_names) and any(".critic." in name for name in changed_names)
    assert gradient(actor).abs().sum() == 0  # nothing is left for the next step


def test_dropped_roles_leave_the_policys_adapter_alone(tmp_path, tiny_policy_folder):
    policy = roles(trained_adapter(tiny_policy_folder, tmp_path / "a"), lora_rank=4).policy
    before = weights_digest(policy.model, (CRITIC, FROZEN))
    add_role(policy.model, CRITIC)
    for role in (CRITIC, FROZEN, FROZEN):
        drop_role(policy.model, role)
    save_policy(policy, tmp_path / "saved")
    assert before == weights_digest(policy.model) == weights_digest(load_policy(tmp_path / "saved", "cpu").model)
