"""The roles of PPO on one base: policy, critic and reference as adapters, or as whole models.

A base with a fresh adapter is its own reference: the adapter is switched off. A policy that was an adapter
already has moved from its base, so a frozen copy of that adapter is the reference. Without adapters the
reference is a frozen copy of the weights. Nothing here trains or scores.
"""

import copy
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace

import torch
from peft import LoraConfig, inject_adapter_in_model
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import nn
from transformers import PreTrainedModel

from pipeline.adapters import NAME, has_adapter, quantization, set_up
from pipeline.configs import PPOConfig
from pipeline.frozen_layers import Trunk, train_last_layers
from pipeline.policy import Policy, disable_dropout, load_policy
from pipeline.precision import frozen_dtype, pick_device
from pipeline.recompute import standing

CRITIC, FROZEN, REWARD = "critic", "frozen", "reward"  # adapters beside the policy's own


@dataclass(frozen=True)
class Reference:
    """The frozen policy that training stays near; `meanwhile` brings it up where it lives on the policy's base."""

    policy: Policy
    meanwhile: Callable[[], AbstractContextManager] = nullcontext
    trunk: Trunk | None = None  # the policy's, where the reference has the same frozen layers


@dataclass(frozen=True)
class Roles:
    """A policy to train, its reference, and what to know about them, as sentences."""

    policy: Policy
    reference: Reference
    notes: list[str]
    trunk: Trunk | None = None


def load_roles(models: dict, options: PPOConfig) -> Roles:
    """The policy of a run's config and its reference, which is the policy as it starts unless another is named."""
    start, frozen = models["policy"], models.get("reference") or models["policy"]
    bits = quantization(options.quantize, pick_device(start.get("device")), options.lora_rank)
    dtype = frozen_dtype(pick_device(start.get("device"))) if options.lora_rank and not bits else torch.float32
    policy = load_policy(start["path"], start.get("device"), dtype=dtype, quantization=bits)
    was_adapter = has_adapter(policy.model) and options.lora_rank > 0
    notes = set_up(policy.model, options.lora_rank, options.lora_alpha, 0.0, options.seed)
    disable_dropout(policy.model)  # an adapter brings its own
    learn_in_float32(policy.model)
    trunk, more = train_last_layers(policy.model, options.trained_layers)
    notes += more
    if frozen["path"] == start["path"]:
        return Roles(policy, replace(reference_of(policy, was_adapter), trunk=trunk), notes, trunk)
    other = load_policy(frozen["path"], frozen.get("device"))
    other.model.requires_grad_(False)
    return Roles(policy, Reference(other), notes, trunk)


def reference_of(policy: Policy, was_adapter: bool = False) -> Reference:
    """The policy as it is now, frozen; was_adapter says that its adapter is not a fresh one.

    What is frozen in the policy already is not copied.
    """
    if not has_adapter(policy.model):
        shared = {id(weight): weight for weight in policy.model.parameters() if not weight.requires_grad}
        model = copy.deepcopy(policy.model, shared).requires_grad_(False)
        return Reference(Policy(model, policy.tokenizer, policy.device))
    if not was_adapter:
        return Reference(policy, lambda: in_use(policy.model, None))
    add_role(policy.model, FROZEN, copied=True)
    return Reference(policy, lambda: in_use(policy.model, FROZEN))


# ---- several adapters on one base
def add_role(model: PreTrainedModel, name: str, copied: bool = False, seed: int = 0) -> None:
    """Another adapter like the policy's on the same layers; a fresh one is trainable, a `copied` one frozen."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        inject(model, copy.deepcopy(model.peft_config[NAME]), name)
    own = dict(model.named_parameters())
    with torch.no_grad():
        for place, weight in role_weights(model, name):
            weight.copy_(own[place.replace(f".{name}.", f".{NAME}.")]) if copied else weight.requires_grad_(True)


def inject(model: PreTrainedModel, config: LoraConfig, name: str) -> None:
    """Put a frozen adapter beside the policy's, which stays in use; what learns stays as it was."""
    learning = [weight for weight in model.parameters() if weight.requires_grad]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PEFT finds several adapters on one model surprising
        inject_adapter_in_model(config, model, name)
    _activate(model, NAME)
    model.requires_grad_(False)
    for weight in learning:
        weight.requires_grad_(True)
    disable_dropout(model)
    learn_in_float32(model)


def learn_in_float32(model: nn.Module) -> None:
    """Adapters take the kind of number of their base from PEFT; a step of 1e-4 is lost in bfloat16."""
    for name, weight in model.named_parameters():
        if "lora_" in name:
            weight.data = weight.data.float()


def drop_role(model: PreTrainedModel, name: str) -> None:
    """Take an adapter away again; none of that name is fine."""
    if name not in getattr(model, "peft_config", {}):
        return
    for layer in _layers(model):
        layer.delete_adapter(name)
    del model.peft_config[name]


def role_weights(model: nn.Module, name: str) -> list[tuple[str, nn.Parameter]]:
    """Names and weights of one adapter."""
    return [(place, weight) for place, weight in model.named_parameters() if f".{name}." in place]


@contextmanager
def in_use(model: nn.Module, name: str | None) -> Iterator[None]:
    """This adapter instead of the policy's meanwhile, or none; which weights learn stays as it was."""
    learning = [(weight, weight.requires_grad) for layer in _layers(model) for weight in layer.parameters()]
    _activate(model, name)
    _restore(learning)  # PEFT freezes what is not active, and a frozen weight gets no gradient
    try:
        with standing(lambda layer: in_use(layer, name)):
            yield
    finally:
        _activate(model, NAME)
        _restore(learning)


def _activate(model: nn.Module, name: str | None) -> None:
    for layer in _layers(model):
        layer.enable_adapters(name is not None)
        if name is not None:
            layer.set_adapter(name)


def _restore(learning: list[tuple[nn.Parameter, bool]]) -> None:
    for weight, learns in learning:
        weight.requires_grad_(learns)


def _layers(model: nn.Module) -> list[BaseTunerLayer]:
    return [module for module in model.modules() if isinstance(module, BaseTunerLayer)]
