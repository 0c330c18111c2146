"""A model in shards over several processes (FSDP 2): each holds its part of weights, gradients and optimizer state.

A layer is gathered for its forward and again for its backward, what lies outside of all layers (embeddings, norm,
head) for a whole piece of work; gradients are added up, never averaged. Every process has to forward and go
backward equally often, else all wait for ever: `GroupTrainer` sees to that. The model that was given is empty
meanwhile and whole again at the end, so each device has to hold the whole weights once, without what training adds.
Weights in 4 bits cannot be divided.
"""

import copy
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor
from transformers import PreTrainedModel

from pipeline.job import Refused
from pipeline.packing import shares_prompts
from pipeline.precision import gathered_dtype
from pipeline.processes import Processes

Made = TypeVar("Made")


class Shards:
    """A model divided among the processes: `model` has the shards, and the weights while it is called."""

    def __init__(self, model: PreTrainedModel, processes: Processes):
        _require_divisible(model)
        self.given, self.processes = model, processes
        self.model = same_weights(model)
        shares_prompts(self.model)  # tried now and known from here on: it forwards the body alone
        self.root = Gathered(self.model)
        layers = layers_of(self.model)
        _divide(self.root, layers, processes)
        total = sum(weight.numel() for weight in model.parameters())
        for weight in model.parameters():
            weight.data = weight.data.new_empty(0)
        if processes.first:
            own = sum(weight.to_local().numel() for weight in self.model.parameters())
            print(f"holds {own} of {total} weights: shards over {processes.size} processes, {len(layers)} layers")

    def __call__(self, work: Callable[[nn.Module], Made]) -> Made:
        """What is made with the model; a loss may be gone backward from, once, before the next call."""
        return self.root(work)

    def reshard(self) -> None:
        """Put away what a call without a backward left gathered."""
        self.root.reshard()

    @torch.no_grad()
    def restore(self) -> nn.Module:
        """The model that was given, with the weights as they are now in the first process, still empty in others."""
        places = dict(self.given.named_parameters())
        for name, weight in self.model.named_parameters():
            gathered = whole(weight.detach())  # by all
            if self.processes.first:
                places[name].data = gathered
        return self.given


class Gathered(nn.Module):
    """The root of the shards: its forward is any work, so that decoder and head may be called apart."""

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = model

    def forward(self, work: Callable[[nn.Module], Made]) -> Made:
        """What is made with the model."""
        return work(self.model)


# ---- divide
def same_weights(model: nn.Module) -> nn.Module:
    """A second model of the same structure on the very same weights: one can be divided, the other emptied."""
    shared = {id(tensor): tensor for tensor in (*model.parameters(), *model.buffers())}
    return copy.deepcopy(model, shared)


def layers_of(model: PreTrainedModel) -> list[nn.Module]:
    """The blocks that the model's class says are to stay in one piece, without those that share a weight outside."""
    names = set(model._no_split_modules or ())
    shared = tied_weights(model)
    blocks = [module for module in model.modules() if type(module).__name__ in names and module is not model]
    return [block for block in blocks if not shared & {id(weight) for weight in block.parameters()}]


def tied_weights(model: nn.Module) -> set[int]:
    """The ids of weights that stand in more than one place."""
    places = Counter(id(weight) for _, weight in model.named_parameters(remove_duplicate=False))
    return {weight for weight, count in places.items() if count > 1}


def _divide(root: Gathered, layers: Iterable[nn.Module], processes: Processes) -> None:
    device = next(root.parameters()).device
    mesh: DeviceMesh = init_device_mesh(device.type, (processes.size,))
    policy = MixedPrecisionPolicy(gathered_dtype(device), torch.float32, cast_forward_inputs=False)
    for layer in reversed(list(layers)):  # inner before outer
        fully_shard(layer, mesh=mesh, mp_policy=policy)
    fully_shard(root, mesh=mesh)
    for module in root.modules():
        if isinstance(module, FSDPModule):
            module.set_gradient_divide_factor(1.0)  # every part of the loss is divided by the whole step's weight
            module.set_force_sum_reduction_for_comms(True)  # a plain sum: gloo knows no other
    root.set_reduce_scatter_unused_params(True)


def _require_divisible(model: nn.Module) -> None:
    if any(not weight.is_floating_point() for weight in model.parameters()):
        raise Refused("strategy=fsdp cannot divide weights in 4 bits: leave quantize at none, or take strategy=ddp.")
    if not hasattr(FSDPModule, "set_reduce_scatter_unused_params"):
        raise Refused(f"strategy=fsdp needs torch 2.13 or newer, and this is {torch.__version__}: take strategy=ddp.")


# ---- whole tensors and shards
def whole(tensor: Tensor) -> Tensor:
    """A shard's whole tensor, which all processes have to ask for together; any other tensor as it is."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def shard_like(values: Tensor, like: Tensor) -> Tensor:
    """This process's shard of a whole tensor that every process has; the whole where `like` is no shard."""
    if not isinstance(like, DTensor):
        return values
    return distribute_tensor(values.to(like.device), like.device_mesh, like.placements, src_data_rank=None)


@torch.no_grad()
def whole_state(state: Mapping, keep: bool) -> dict:
    """An optimizer's state_dict as one process would have it; asked for by all, worth something where kept."""
    found: dict[int, dict] = {}
    for number, values in state["state"].items():
        own = {name: whole(value) for name, value in values.items()}
        if keep:
            found[number] = {name: v.cpu() if isinstance(v, Tensor) else v for name, v in own.items()}
    return {**state, "state": found}


def divided_state(state: Mapping, optimizer: torch.optim.Optimizer) -> dict:
    """The part of a whole state_dict that belongs to this process's shards."""
    weights = [weight for group in optimizer.param_groups for weight in group["params"]]

    def part(value: object, weight: Tensor) -> object:
        per_weight = isinstance(value, Tensor) and value.shape == weight.shape
        return shard_like(value, weight) if per_weight else value

    divided = {
        number: {name: part(value, weights[number]) for name, value in values.items()}
        for number, values in state["state"].items()
    }
    return {**state, "state": divided}
