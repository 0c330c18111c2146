"""LoRA adapters by PEFT (Hu et al. 2021): add, save apart from their base, load, switch off, merge.

Adapters are injected, so a model keeps its class and everything that works on it goes on working; B starts at
zero, so a fresh adapter changes nothing. Saved in PEFT's own format, with the folder of the base as a path
from the adapter's folder, so that a data folder may be moved. 4-bit bases (Dettmers et al. 2023) are for CUDA.
"""

import json
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import torch
from peft import LoraConfig, TaskType, inject_adapter_in_model, prepare_model_for_kbit_training
from peft.tuners.lora import LoraLayer
from peft.tuners.tuners_utils import BaseTunerLayer
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import BitsAndBytesConfig, PreTrainedModel

from pipeline.job import Refused
from pipeline.model_files import ADAPTER as CONFIG
from pipeline.model_files import ADAPTER_WEIGHTS as WEIGHTS
from pipeline.model_files import BASE
from pipeline.run_directory import write_json

NAME, PREFIX = "default", "base_model.model."  # PEFT's own
HEADS = ("score", "classifier")  # of sequence classification, trained whole


# ---- make
def add_adapter(model: PreTrainedModel, rank: int, alpha: float, dropout: float = 0.0, seed: int = 0) -> None:
    """A fresh adapter on every linear layer but the head; the rest is frozen, a scalar head stays trainable."""
    head = head_name(model)
    config = LoraConfig(
        r=rank,
        lora_alpha=alpha,
        lora_dropout=dropout,
        target_modules="all-linear",
        task_type=TaskType.SEQ_CLS if head else TaskType.CAUSAL_LM,
    )
    model.requires_grad_(False)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        inject_adapter_in_model(config, model, NAME)
    _prepare(model)


def set_up(model: PreTrainedModel, rank: int, alpha: float, dropout: float, seed: int) -> list[str]:
    """Make a loaded model ready to train: all of it at rank 0, else an adapter. What to know about it, as sentences.

    An adapter that is there already is folded into the weights at rank 0, and goes on being trained otherwise.
    """
    if has_adapter(model) and not rank:
        merge(model)
        return ["The start was an adapter; it was merged into its base, and all weights were trained."]
    if has_adapter(model):
        there = model.peft_config[NAME].r
        return (
            [f"The start's own adapter of rank {there} was trained on; lora_rank was not used."]
            if there != rank
            else []
        )
    if rank:
        add_adapter(model, rank, alpha, dropout, seed)
    return []


def has_adapter(model: nn.Module) -> bool:
    """Whether the model carries an adapter."""
    return any(isinstance(module, BaseTunerLayer) for module in model.modules())


def head_name(model: nn.Module) -> str | None:
    """The attribute of a sequence classification head, None where there is none."""
    return next((name for name in HEADS if isinstance(getattr(model, name, None), nn.Module)), None)


def quantization(kind: str, device: torch.device, rank: int) -> BitsAndBytesConfig | None:
    """How to load a base in 4 bits; None for "none". Raises Refused where that is not possible here."""
    if kind == "none":
        return None
    if not rank:
        raise Refused(f"quantize={kind} freezes all weights, so nothing could be trained: set lora_rank too, say 16.")
    if device.type != "cuda":
        raise Refused(f"quantize={kind} needs a CUDA GPU, and this run is on {device.type}: leave quantize at none.")
    if find_spec("bitsandbytes") is None:
        raise Refused(f"quantize={kind} needs the package bitsandbytes: install it with `pip install bitsandbytes`.")
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type=kind,
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16,
        llm_int8_skip_modules=["lm_head", *HEADS],
    )


def made_trainable(model: PreTrainedModel) -> PreTrainedModel:
    """A base in 4 bits with its norms in float32, ready for an adapter."""
    return prepare_model_for_kbit_training(model, use_gradient_checkpointing=False)


# ---- save and load
def save_adapter(model: PreTrainedModel, folder: Path, final: Path) -> None:
    """Write the adapter, a trained head with it, and where its base is seen from the folder's final place.

    The base itself is not copied; a Hub id stays as it is.
    """
    state = {
        PREFIX + name.replace(f".{NAME}.", "."): weight.detach().cpu().contiguous()
        for name, weight in model.named_parameters()
        if "lora_" in name or _of_head(model, name)
    }
    save_file(state, folder / WEIGHTS, metadata={"format": "pt"})
    head = head_name(model)
    config = model.peft_config[NAME]
    listed = {
        **config.to_dict(),
        "base_model_name_or_path": model.name_or_path,
        "modules_to_save": [head] if head else None,
    }
    listed = {key: sorted(value) if isinstance(value, set) else value for key, value in listed.items()}
    (folder / CONFIG).write_text(json.dumps(listed, indent=1, default=_plain), encoding="utf-8")
    base = Path(model.name_or_path)
    seen = os.path.relpath(base.resolve(), final.resolve()) if base.is_dir() else model.name_or_path
    write_json(folder / BASE, {"base": seen})


def load_adapter(model: PreTrainedModel, path: str | Path, name: str = NAME) -> set[str]:
    """Put a saved adapter, and the head saved with it, on its base under a name; what it brought. Raises Refused.

    It stays trainable; the base is frozen. Of several adapters on one base the first stays in use (`roles.in_use`).
    """
    config = LoraConfig.from_pretrained(str(path))
    config.modules_to_save, config.inference_mode = None, False
    model.requires_grad_(False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PEFT finds several adapters on one model surprising
        inject_adapter_in_model(config, model, name)
    state = {_own_name(place, name): weight for place, weight in load_file(Path(path) / WEIGHTS).items()}
    unexpected = model.load_state_dict(state, strict=False).unexpected_keys
    if unexpected:
        raise Refused(f"{path} is an adapter for another model: {unexpected[0]} has no place in {type(model).__name__}")
    _prepare(model)
    return set(state)


# ---- use
@contextmanager
def adapters_off(model: nn.Module) -> Iterator[None]:
    """The base alone meanwhile: the reference of a policy whose adapter was fresh."""
    layers = [module for module in model.modules() if isinstance(module, BaseTunerLayer)]
    for layer in layers:
        layer.enable_adapters(False)
    try:
        yield
    finally:
        for layer in layers:
            layer.enable_adapters(True)


def adapter_dropout(model: nn.Module, on: bool) -> None:
    """Switch the dropout of the adapter's inputs, and nothing else, on or off."""
    for module in model.modules():
        if isinstance(module, LoraLayer):
            module.lora_dropout.train(on)


def merge(model: PreTrainedModel) -> PreTrainedModel:
    """Fold the adapter into the base's weights, for good; the same model without one is left alone."""
    for name, module in list(model.named_modules()):
        if isinstance(module, BaseTunerLayer):
            module.merge()
            parent, _, child = name.rpartition(".")
            setattr(model.get_submodule(parent), child, module.get_base_layer())
    if hasattr(model, "peft_config"):
        del model.peft_config
    return model.requires_grad_(True)


def _prepare(model: nn.Module) -> None:
    adapter_dropout(model, on=False)  # injected layers come in training mode
    if getattr(model, "is_quantized", False):
        model._hf_peft_config_loaded = True  # the Trainer refuses a base in 4 bits unless it knows of an adapter
    for name, weight in model.named_parameters():
        if "lora_" in name or _of_head(model, name):
            weight.requires_grad_(True)


def _of_head(model: nn.Module, name: str) -> bool:
    head = head_name(model)
    return head is not None and name.startswith(f"{head}.")


def _own_name(place: str, name: str) -> str:
    bare = place.removeprefix(PREFIX)
    for part in ("lora_A", "lora_B"):
        bare = bare.replace(f".{part}.weight", f".{part}.{name}.weight")
    return bare


def _plain(value: object) -> object:
    return sorted(value) if isinstance(value, (set, frozenset)) else str(getattr(value, "value", value))
