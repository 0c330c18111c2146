"""Take in a model from outside as a version: a folder in Hugging Face format, or a model of the Hub.

Looks at the files without torch and without loading them, refuses what no job could load, and says what to know.
A causal model or its LoRA adapter becomes a policy, a sequence classification model with one label a reward model.
Over HTTP only folders below the data folder's `models/` are taken, so that nobody reads the host's disk through it.
"""

import ast
import os
import re
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

import huggingface_hub as hub
from huggingface_hub.errors import HFValidationError, HTTPError  # the latter of the client it speaks through

from pipeline.model_files import (
    ADAPTER,
    UnusableModel,
    base_of,
    has_chat_template,
    has_end,
    is_adapter,
    parameters,
    read_object,
    require_tokenizer,
)
from pipeline.services import Services
from storage import versions
from storage.records import ModelVersion

MODELS = "models"  # below the data folder: where the host puts folders that leads may register
HUB_ID = re.compile(r"[\w][\w.-]*/[\w.-]+")
NAME = re.compile(r"[\w][\w.-]{0,99}")
HUB_SECONDS = 10.0
LOOKED_AT = ["*.json", "*.jinja", "tokenizer.model", "spiece.model", "vocab.txt"]  # of a Hub model, before its weights
ROLES = {"policy": "CAUSAL_LM", "reward": "SEQUENCE_CLASSIFICATION"}  # and the name of its classes in transformers
TASKS = {"CAUSAL_LM": "policy", "SEQ_CLS": "reward"}  # PEFT's names


@dataclass(frozen=True)
class Looked:
    """What a folder or Hub id was found to be; notes are sentences about what to know."""

    path: str
    role: str
    architecture: str
    parameters: int | None
    notes: tuple[str, ...] = ()


def register(
    services: Services, model: str, name: str | None = None, role: str | None = None, anywhere: bool = False
) -> tuple[ModelVersion, Looked]:
    """Store a base model as a version without a run; the role follows from its architecture unless it is given.

    anywhere: take folders outside `models/` too. Raises UnusableModel, storage.versions.VersionExists.
    """
    looked = look(services.data, model.strip(), role, anywhere)
    there = [v.name for v in versions.versions(services.database, looked.role) if v.path == looked.path]
    if there:
        raise UnusableModel(model, f"it registered already as {there[0]}", "a model that is not known yet")
    chosen = (name or "").strip() or _free_name(services, looked.path)
    if not NAME.fullmatch(chosen):
        raise UnusableModel(model, f"the name {chosen[:80]!r}", "letters, digits, dots, dashes and underscores")
    measured = {"parameters": looked.parameters} if looked.parameters else {}
    made = ModelVersion(chosen, looked.role, looked.path, metrics=measured)
    return versions.register_version(services.database, made), looked


def look(data: Path, model: str, role: str | None = None, anywhere: bool = False) -> Looked:
    """What the model is, after every check that needs no weights in memory. Raises UnusableModel."""
    if role not in (None, *ROLES):
        raise UnusableModel(model, f"the role {role!r}", f"one of {', '.join(ROLES)}")
    folder = Path(os.path.normpath(Path(model).expanduser() if anywhere else model))
    if folder.is_absolute() or model.startswith((".", "~")) or (anywhere and folder.is_dir()):
        folder = folder.absolute()
        if not anywhere and not folder.is_relative_to(data / MODELS):
            inside = f"a folder below {data / MODELS}, or a Hub id; the command line takes any folder"
            raise UnusableModel(model, "a folder elsewhere", inside)
        return look_at_folder(folder, role)
    if not HUB_ID.fullmatch(model):
        raise UnusableModel(model, "neither", "a folder in Hugging Face format, or a Hub id such as owner/name")
    return look_at_hub(model, role)


def look_at_folder(folder: Path, role: str | None = None) -> Looked:
    """The same for a folder."""
    looked = _looked_at_adapter(folder, role) if is_adapter(folder) else _looked_at_whole(folder, str(folder), role)
    require_tokenizer(folder)
    return Looked(looked.path, looked.role, looked.architecture, parameters(folder), looked.notes)


def look_at_hub(model: str, role: str | None = None, endpoint: str | None = None) -> Looked:
    """The same for a Hub id, by its small files, from the cache where they are; weights come with the first run."""
    api = hub.HfApi(endpoint=endpoint)
    try:
        told = api.model_info(model, timeout=HUB_SECONDS)
        names = {one.rfilename for one in told.siblings or ()}
        folder = Path(api.snapshot_download(model, allow_patterns=LOOKED_AT, etag_timeout=HUB_SECONDS))
        count = told.safetensors.total if told.safetensors else None
    except (OSError, HTTPError, HFValidationError) as error:
        folder = _cached(model, error)
        names, count = {path.name for path in folder.iterdir()}, None
    if ADAPTER in names:
        raise UnusableModel(model, "an adapter on the Hub", "a whole model; download it and register its folder")
    if not any(name.endswith(".safetensors") for name in names):
        raise UnusableModel(model, "no safetensors", "weights as safetensors, which cannot carry code")
    looked = _looked_at_whole(folder, model, role)
    require_tokenizer(folder)
    return Looked(model, looked.role, looked.architecture, count, looked.notes)


def _cached(model: str, error: Exception) -> Path:
    try:
        return Path(hub.snapshot_download(model, local_files_only=True))
    except (OSError, HFValidationError):
        found = f"nothing in this machine's cache, and the Hub did not tell ({str(error).splitlines()[0][:200]})"
        raise UnusableModel(
            model, found, "a model that the Hub has; check name and network, or name a folder"
        ) from None


# ---- what it is
def _looked_at_whole(folder: Path, path: str, role: str | None) -> Looked:
    """path: how the model is named in storage."""
    config = read_object(folder / "config.json")
    architecture = str((config.get("architectures") or ["no architecture"])[0])
    kind = str(config.get("model_type", "none"))
    if "quantization_config" in config:
        raise UnusableModel(path, "quantised weights", "weights in bfloat16 or float32; runs quantise by themselves")
    classes = {one: _classes().get(name, {}).get(kind) for one, name in ROLES.items()}
    fitting = [one for one in ROLES if classes[one] == architecture]
    chosen = role or next(iter(fitting), None)
    if chosen not in fitting:
        wanted = " or ".join(filter(None, [classes[role]] if role else classes.values()))
        known = wanted or "an architecture that the installed transformers has, without code of its own"
        raise UnusableModel(path, f"{architecture} of type {kind}", known)
    if chosen == "reward" and (labels := _labels(config)) != 1:
        raise UnusableModel(path, f"a classifier of {labels} labels", "one label, whose score is the reward")
    if not has_end(folder):
        raise UnusableModel(path, "no end-of-sequence token", "one; add eos_token to its tokenizer_config.json")
    return Looked(path, chosen, architecture, None, _notes(folder))


def _looked_at_adapter(folder: Path, role: str | None) -> Looked:
    config = read_object(folder / ADAPTER)
    kind, task = config.get("peft_type"), TASKS.get(config.get("task_type") or "")
    if kind != "LORA":
        raise UnusableModel(folder, f"an adapter of type {kind}", "LORA; merge it into its base and register that")
    if task is None or role not in (None, task):
        raise UnusableModel(folder, f"an adapter for {config.get('task_type')}", f"{role or 'policy or reward'}")
    try:
        base = base_of(folder) or ""
    except FileNotFoundError as missing:
        raise UnusableModel(folder, str(missing), "an adapter with its base; or merge them first") from None
    if Path(base).is_dir():
        _looked_at_whole(Path(base), base, "policy" if task == "policy" else None)
    elif not HUB_ID.fullmatch(base):
        raise UnusableModel(folder, f"an adapter on {base!r}", "a base that is a Hub id or a folder here")
    return Looked(str(folder), task, f"LoRA adapter on {base}", None, _notes(folder))


def _notes(folder: Path) -> tuple[str, ...]:
    plain = "It has no chat template: prompts are written as plain turns, User: and Assistant:."
    return () if has_chat_template(folder) else (plain,)


def _labels(config: dict) -> int:
    """transformers writes the labels only where they are not two."""
    return len(config.get("id2label") or ()) or int(config.get("num_labels") or 2)


@lru_cache(1)
def _classes() -> dict[str, dict[str, str]]:
    """{CAUSAL_LM or SEQUENCE_CLASSIFICATION: {model_type: class}} as transformers lists them, without importing it."""
    found = find_spec("transformers")
    if found is None or not found.submodule_search_locations:
        return {}
    source = Path(found.submodule_search_locations[0]) / "models" / "auto" / "modeling_auto.py"
    wanted = {f"MODEL_FOR_{kind}_MAPPING_NAMES": kind for kind in ROLES.values()}
    listed = {}
    for node in ast.parse(source.read_text(encoding="utf-8")).body:
        name = getattr(node.targets[0], "id", "") if isinstance(node, ast.Assign) else ""
        if name in wanted:
            listed[wanted[name]] = dict(ast.literal_eval(node.value.args[0]))
    return listed


def _free_name(services: Services, path: str) -> str:
    short = re.sub(r"[^\w.-]", "-", Path(path).name).lstrip(".-")[:80] or "base"
    name, number = short, 2
    while versions.version(services.database, name):
        name, number = f"{short}-{number}", number + 1
    return name
