"""What would happen if this run started now: data, models, disk, memory and time, before anything is queued.

Reads and estimates only; never imports torch, so a device is known by what the system tells. `launch` refuses by
itself what is impossible; here a lead also sees what is merely unwise.
"""

import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path

import psutil
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.configs import InvalidOption, make_config, options_of
from pipeline.device_sets import WHOLE, gpus_of
from pipeline.estimates import speed, work_of
from pipeline.gpu_use import gpus
from pipeline.launch import campaign_of, location, resolve_models
from pipeline.memory import advice
from pipeline.model_folder import ModelFiles, Unloadable, model_files
from pipeline.placing import placed, price_of, require_divisible
from pipeline.resources import Resources, in_shards
from pipeline.services import Services
from pipeline.slots import free_slots
from pipeline.snapshot import LaunchRefused, Snapshot, freeze
from storage.records import ModelVersion

FEW_PROMPTS = 20  # compared prompts below which a model learns little
LARGE, HIGH_RATE = 100_000_000, 1e-4  # weights, and a learning rate that is high for so many
TRAINED = ("starter", "sft", "reward", "dpo", "ppo")
KEPT_CHECKPOINTS = 3  # models' worth of disk: weights and two moments of AdamW
TOKENS = 4096  # of one forward and backward, where no option says it
SPARE_DISK = 1 << 30  # bytes that should stay free


@dataclass(frozen=True)
class Finding:
    """One thing found. level: problem (the run cannot start), warning, or fact."""

    level: str
    about: str
    said: str


def preflight(
    services: Services,
    kind: str,
    campaign_id: int | None,
    options: Mapping,
    models: Mapping[str, str],
    resources: Mapping | None = None,
) -> list[Finding]:
    """Everything worth knowing before the run starts; problems first. Raises nothing for a bad wish: it is told."""
    try:
        config = options_of(make_config(kind, options))
        place = placed(services, kind, resources)
        require_divisible(config, place)
        chosen = resolve_models(services, kind, campaign_of(services, campaign_id, kind), models)
        frozen = freeze(services.database, campaign_id, kind)
    except (InvalidOption, LaunchRefused) as refusal:
        return [Finding("problem", "wish", str(refusal))]
    found = _data(kind, frozen)
    largest = ModelFiles(0, 0)
    for role, version in chosen.items():
        said, files = _model(location(services, version), role, version)
        found += said
        largest = max(largest, files, key=lambda one: one.parameters)
    prompts = frozen.sizes.get("prompts", {}).get("train", 0)
    found += _disk(services.data, kind, largest.bytes) + _memory(kind, config, largest, place) + _place(services, place)
    found += _rate(kind, config, largest) + _duration(services, kind, work_of(kind, config, prompts))
    order = ("problem", "warning", "fact")
    return sorted(found, key=lambda finding: order.index(finding.level))


def as_json(found: list[Finding]) -> dict:
    """{"ready": no problem was found, "findings": […]}."""
    return {"ready": all(one.level != "problem" for one in found), "findings": [asdict(one) for one in found]}


def _data(kind: str, frozen: Snapshot) -> list[Finding]:
    """How much of each split there is, and whether it can teach anything."""
    found = []
    for name, sizes in frozen.sizes.items():
        said = ", ".join(f"{count} {split}" for split, count in sizes.items())
        found.append(Finding("fact", "data", f"{name}: {said}"))
    pairs = frozen.tables.get("comparisons")
    if pairs is None:
        return found
    train = pairs.filter(pc.equal(pairs["split"], "train"))
    prompts = pc.count_distinct(train["prompt_id"]).as_py()
    if prompts < FEW_PROMPTS:
        said = f"only {prompts} compared prompts to train on; a model learns from {FEW_PROMPTS} or more"
        found.append(Finding("warning", "data", said))
    if frozen.sizes["comparisons"].get("eval", 0) == 0:
        found.append(
            Finding("warning", "data", "no comparison in the eval split: nothing is measured on held-out data")
        )
    decided = train.filter(pc.not_equal(train["preference"], 0.5))
    if not decided.num_rows:
        found.append(Finding("problem", "data", "every comparison is a tie: there is no preference to learn"))
    return found + _one_sided(frozen, decided)


def _one_sided(frozen: Snapshot, decided: pa.Table) -> list[Finding]:
    """Whether one model wins always: then the data teach who wrote, not what is better."""
    texts = frozen.tables["completions"]
    model_of = dict(zip(texts["completion_id"].to_pylist(), texts["model"].to_pylist(), strict=True))
    wins: dict[tuple[str, str], list[bool]] = {}
    for first, second, preference in zip(
        *(decided[name].to_pylist() for name in ("first_id", "second_id", "preference")), strict=True
    ):
        one, other = sorted((model_of[first], model_of[second]))
        if one != other:
            wins.setdefault((one, other), []).append((preference > 0.5) == (model_of[first] == one))
    found = []
    for (one, other), won in wins.items():
        if len(won) >= FEW_PROMPTS and len(set(won)) == 1:
            best, rest = (one, other) if won[0] else (other, one)
            said = f"{best} won all {len(won)} comparisons with {rest}: a model may learn who wrote, not what is better"
            found.append(Finding("warning", "data", said))
    return found


def _model(path: str, place: str, version: ModelVersion) -> tuple[list[Finding], ModelFiles]:
    """Whether a model's files are there and whole, and how large it is."""
    folder = Path(path)
    if not folder.is_absolute():
        said = f"{place} {version.name}: {path} is on the Hub; whether it loads is seen when the run starts"
        return [Finding("warning", "model", said)], ModelFiles(0, 0)
    try:
        files = model_files(folder)
    except (Unloadable, OSError) as error:
        return [Finding("problem", "model", f"{place} {version.name}: {error}")], ModelFiles(0, 0)
    millions = f"{files.parameters / 1e6:.1f} million parameters"
    return [Finding("fact", "model", f"{place}: {version.name}, {millions}, {_bytes(files.bytes)} on disk")], files


def _disk(folder: Path, kind: str, weights: int) -> list[Finding]:
    free = shutil.disk_usage(folder).free
    needed = weights * (1 + KEPT_CHECKPOINTS) + SPARE_DISK if kind in TRAINED else SPARE_DISK
    if free < needed:
        said = f"{_bytes(free)} are free, about {_bytes(needed)} are needed; delete old runs or move the data folder"
        return [Finding("problem", "disk", said)]
    return [Finding("fact", "disk", f"{_bytes(free)} are free, about {_bytes(needed)} are needed")]


def _rate(kind: str, config: Mapping, largest: ModelFiles) -> list[Finding]:
    """Whether the learning rate is one for small models while all weights of a large one learn."""
    rate = float(config.get("learning_rate") or 0)
    if kind not in TRAINED or config.get("lora_rank") or largest.parameters < LARGE or rate < HIGH_RATE:
        return []
    millions = f"{largest.parameters / 1e6:.0f} million"
    said = f"learning_rate {rate:g} suits models like the starter; where all of {millions} weights learn, 1e-5 is usual"
    return [Finding("warning", "rate", said)]


def _memory(kind: str, config: Mapping, largest: ModelFiles, place: Resources) -> list[Finding]:
    """A rough estimate against the device that the run would get, where it is one of this machine."""
    held, (name, room) = training_bytes(kind, config, largest, place), device(place.hardware)
    active = activation_bytes(kind, config, largest)
    said = f"about {_bytes(held)} for weights and their training and {_bytes(active)} for activations"
    if place.backend != "local":
        return [Finding("fact", "memory", f"{said}; the machine is {place.backend}'s")]
    said = f"{said}; {name} has {_bytes(room)}"
    if held + active > room:
        return [Finding("problem", "memory", f"{said}. {advice(kind, config)}")]
    if held + active > room // 2:
        return [Finding("warning", "memory", f"{said}: tight. {advice(kind, config)}")]
    return [Finding("fact", "memory", said)]


def training_bytes(kind: str, config: Mapping, model: ModelFiles, place: Resources | None = None) -> int:
    """Weights in float32, and per trained weight a gradient and two moments of AdamW; a frozen copy where there is one.

    With a LoRA adapter the trained part is taken for a twentieth, with trained_layers for these layers' share, which
    is what the reference copies then; a base in 4 bits has half a byte per weight.
    In shards a process has its part of all that while it trains, and the whole weights alone before and after.
    """
    base = 0.55 if config.get("quantize") == "nf4" else 4.0
    frozen = {"dpo": 1.0, "ppo": 2.0, "evaluate": 1.0}.get(kind, 0.0)  # reference, reward model
    share = _learning_layers(config, model) / max(model.layers, 1)
    trained = 0.0 if kind not in TRAINED else 12.0 * (0.05 if config.get("lora_rank") else share)
    if config.get("lora_rank"):
        frozen = max(0.0, frozen - 1)  # the reference is the policy with its adapter off
    elif frozen:
        frozen += share - 1
    alone = base * (1 + frozen)
    if place and in_shards(place):
        return int(model.parameters * max(alone, (base + trained) / place.processes))
    return int(model.parameters * (alone + trained))


def activation_bytes(kind: str, config: Mapping, model: ModelFiles) -> int:
    """Activations of one forward and backward: 34 bytes per token, layer and width (Korthikanti et al. 2022, eq. 1,
    without the attention matrix), and the logits with their gradient in float32; a fourteenth of it without training.
    With gradient checkpointing one layer at a time is whole, and 2 bytes of each are kept (their section 5).
    """
    tokens = int(config.get("micro_batch_tokens") or TOKENS)
    layers = _learning_layers(config, model)
    kept = 34 + 2 * layers if config.get("gradient_checkpointing") else 34 * layers
    whole = tokens * (kept * model.width + 8 * model.vocabulary)
    return whole if kind in TRAINED else whole // 14


def _learning_layers(config: Mapping, model: ModelFiles) -> int:
    return min(int(config.get("trained_layers") or model.layers), model.layers)


@lru_cache(8)
def device(hardware: str = "") -> tuple[str, int]:
    """What jobs of this machine use, and its memory in bytes: the smallest GPU of a device set, else free memory."""
    wanted = set(hardware.split(",")) if gpus_of(hardware or WHOLE) is not None else None
    seen = [gpu for gpu in gpus() if wanted is None or {str(gpu.index), gpu.uuid} & wanted]
    if seen:
        smallest = min(seen, key=lambda gpu: gpu.memory)
        return smallest.name, smallest.memory
    return "this machine", psutil.virtual_memory().available


def _place(services: Services, place: Resources) -> list[Finding]:
    """Where the run would go, what that costs at most, and when it would start."""
    try:
        price = price_of(services, place, anew=True)
    except (InvalidOption, LaunchRefused) as refusal:
        return [Finding("problem", "place", str(refusal))]
    slots = services.backends.of(place).slots()
    busy = len(slots) - len(free_slots(services, services.backends.of(place)))
    said = f"{place.backend}: {busy} of {len(slots)} slots taken"
    found = [Finding("fact", "place", said)]
    if price is not None:
        said = f"at most {price:.2f} dollars, by its price and time limit; to be confirmed by the lead"
        found.append(Finding("warning", "cost", said))
    return found


def _duration(services: Services, kind: str, work: float) -> list[Finding]:
    """The median speed of earlier runs of this kind, applied to this one's size."""
    known = speed(services, kind)
    if known is None or not work:
        return [Finding("fact", "time", "no earlier run of this kind; the page tells after the first steps")]
    return [Finding("fact", "time", f"about {known[0] * work:.0f} s, from {known[1]} earlier runs")]


def _bytes(count: float) -> str:
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"
