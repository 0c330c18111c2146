"""What would happen if this run started now: data, models, disk, memory and time, before anything is queued.

Reads and estimates only; never imports torch, so a device is known by what the system tells. `launch` refuses by
itself what is impossible; here a lead also sees what is merely unwise.
"""

import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path

import psutil
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.configs import InvalidOption, make_config, options_of
from pipeline.estimates import speed, work_of
from pipeline.launch import campaign_of, location, resolve_models
from pipeline.memory import advice
from pipeline.services import Services
from pipeline.snapshot import LaunchRefused, Snapshot, freeze
from storage.records import ModelVersion

FEW_PROMPTS = 20  # compared prompts below which a model learns little
TRAINED = ("starter", "reward", "dpo", "ppo")
KEPT_CHECKPOINTS = 3  # models' worth of disk: weights and two moments of AdamW
SPARE_DISK = 1 << 30  # bytes that should stay free


@dataclass(frozen=True)
class Finding:
    """One thing found. level: problem (the run cannot start), warning, or fact."""

    level: str
    about: str
    said: str


def preflight(
    services: Services, kind: str, campaign_id: int | None, options: Mapping, models: Mapping[str, str]
) -> list[Finding]:
    """Everything worth knowing before the run starts; problems first. Raises nothing for a bad wish: it is told."""
    try:
        config = options_of(make_config(kind, options))
        chosen = resolve_models(services, kind, campaign_of(services, campaign_id, kind), models)
        frozen = freeze(services.database, campaign_id, kind)
    except (InvalidOption, LaunchRefused) as refusal:
        return [Finding("problem", "wish", str(refusal))]
    found = _data(kind, frozen)
    weights = 0
    for place, version in chosen.items():
        said, size = _model(location(services, version), place, version)
        found += said
        weights = max(weights, size)
    prompts = frozen.sizes.get("prompts", {}).get("train", 0)
    found += _disk(services.data, kind, weights) + _memory(kind, config, weights)
    found += _duration(services, kind, work_of(kind, config, prompts))
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


def _model(path: str, place: str, version: ModelVersion) -> tuple[list[Finding], int]:
    """Whether a model's files are there, and the bytes of its weights."""
    folder = Path(path)
    if not folder.is_absolute():
        said = f"{place} {version.name}: {path} is on the Hub; whether it loads is seen when the run starts"
        return [Finding("warning", "model", said)], 0
    weights = [*folder.glob("*.safetensors"), *folder.glob("*.bin")]
    if not ((folder / "config.json").is_file() or (folder / "adapter_config.json").is_file()) or not weights:
        missing = "its weights" if (folder / "config.json").is_file() else "config.json"
        said = f"{place} {version.name}: {folder} lacks {missing}; was its run deleted?"
        return [Finding("problem", "model", said)], 0
    size = sum(path.stat().st_size for path in weights)
    return [Finding("fact", "model", f"{place}: {version.name}, {_bytes(size)} of weights")], size


def _disk(folder: Path, kind: str, weights: int) -> list[Finding]:
    free = shutil.disk_usage(folder).free
    needed = weights * (1 + KEPT_CHECKPOINTS) + SPARE_DISK if kind in TRAINED else SPARE_DISK
    if free < needed:
        said = f"{_bytes(free)} are free, about {_bytes(needed)} are needed; delete old runs or move the data folder"
        return [Finding("problem", "disk", said)]
    return [Finding("fact", "disk", f"{_bytes(free)} are free, about {_bytes(needed)} are needed")]


def _memory(kind: str, config: Mapping, weights: int) -> list[Finding]:
    """A rough estimate: weights, gradients and two moments in fp32, and a copy per frozen model."""
    full = not config.get("lora_rank")
    copies = {"reward": 4, "dpo": 4, "ppo": 6}.get(kind, 1) if full else {"ppo": 2}.get(kind, 1) + 0.2
    needed, (name, room) = int(weights * copies), device()
    said = f"about {_bytes(needed)} for weights and their training, beside activations; {name} has {_bytes(room)}"
    if needed > room:
        return [Finding("problem", "memory", f"{said}. {advice(kind, config)}")]
    if needed > room // 2:
        return [Finding("warning", "memory", f"{said}: tight. {advice(kind, config)}")]
    return [Finding("fact", "memory", said)]


@lru_cache(1)
def device() -> tuple[str, int]:
    """The device that jobs of this machine will use, and its memory in bytes: the first GPU, else the free memory."""
    try:
        told = subprocess.run(
            ["nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader,nounits"],
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        ).stdout.splitlines()[0]
        name, mebibytes = told.rsplit(",", 1)
        return name.strip(), int(mebibytes) * 1024**2
    except (OSError, subprocess.SubprocessError, IndexError, ValueError):
        return "this machine", psutil.virtual_memory().available


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
