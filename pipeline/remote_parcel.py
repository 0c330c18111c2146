"""What travels to the machine of a remote run: configuration, code, data, models, and what a resumed run has.

Model folders go by content, once for all runs, an adapter with its base; ids on the Hub stay ids. Files of the
database, names of people, secrets and settings do not travel. The app packs, the job unpacks.
"""

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from pipeline.remote_pieces import PARCEL, Place, Tree, content_of, fetch, plain, send, stamps, tree_of
from pipeline.run_directory import RunDirectory, read_json, write_json

SENT = ("data", "checkpoints", "artifacts")
CODE = "code.zip"
BASE, ADAPTER = "base.json", "adapter_config.json"  # as `adapters.py` writes them
OTHER_WEIGHTS = (".bin", ".pt", ".pth", ".gguf", ".h5", ".msgpack", ".onnx", ".ot", ".tflite")  # never loaded here
TEMPLATES = "additional_chat_templates"  # the only folder within a model that tokenizers read
MODEL = "models/"  # a model of the parcel, in place of a path
NOTE = "remote.json"  # in the run directory: where this attempt lies, and which model is which folder here


@dataclass(frozen=True)
class Model:
    """A model folder by content, and the id of the model in the parcel that it is an adapter on."""

    files: Tree
    base: str | None = None

    @property
    def id(self) -> str:
        """32 hex digits over names, contents and base."""
        told = json.dumps([plain(dict(sorted(self.files.items()))), self.base])
        return sha256(told.encode()).hexdigest()[:32]


# ---- the app's side
def pack(place: Place, directory: Path) -> int:
    """Upload all that the run needs, parcel.json last; returns the bytes that had to be sent.

    To be called while no job of the run goes: what the store holds of earlier attempts is then removed.
    Raises pipeline.backend.BackendUnreachable, and FileNotFoundError where a model's folder is gone.
    """
    run = RunDirectory(directory)
    config, folders = run.config(), {}
    models: dict[str, Model] = {}
    for named in config.get("models", {}).values():
        if (folder := Path(named["path"]).expanduser()).is_dir():
            named["path"] = MODEL + _add(folder, models, folders)
    tree = {path: content_of(directory / path) for path in stamps(directory, SENT)}
    sent = send(place, {directory / path: file for path, file in tree.items()})
    sent += send(place, {directory / CODE: content_of(directory / CODE)}, shared=True)
    for model_id, model in models.items():
        sent += send(place, {folders[model_id] / path: file for path, file in model.files.items()}, shared=True)
    write_json(directory / NOTE, {"prefix": place.prefix, "models": {key: str(path) for key, path in folders.items()}})
    place.write_json(PARCEL, _parcel(directory, config, tree, models))
    _forget_earlier(place, tree)
    return sent


def _forget_earlier(place: Place, tree: Tree) -> None:
    """Remove pieces of other attempts, and files that only they had."""
    kept = {place.blob(file) for file in tree.values()}
    there = place.store.list(f"{place.run}/")
    place.store.delete([name for name in there if not name.startswith(f"{place.prefix}/") and name not in kept])


def _parcel(directory: Path, config: Mapping, tree: Tree, models: Mapping[str, Model]) -> dict:
    return {
        "config": config,
        "files": plain(tree),
        "models": {key: {"files": plain(model.files), "base": model.base} for key, model in models.items()},
        "metrics": _size(directory / "metrics.jsonl"),  # where the job's own bytes begin
        "log": _size(directory / "log.txt"),
    }


def _add(folder: Path, models: dict[str, Model], folders: dict[str, Path]) -> str:
    """Take a folder, and an adapter's base, into the parcel; returns its id."""
    base = _base(folder)
    model = Model(_model_files(folder), _add(base, models, folders) if base else None)
    models[model.id], folders[model.id] = model, folder.resolve()
    return model.id


def _base(folder: Path) -> Path | None:
    """The folder of an adapter's base; None for a whole model, or a base on the Hub."""
    if not (folder / ADAPTER).is_file():
        return None
    seen = (read_json(folder / BASE) or {}).get("base", "")
    written = (read_json(folder / ADAPTER) or {}).get("base_model_name_or_path", "")
    for found in (folder / seen if seen else None, Path(written)):
        if found is not None and (found / "config.json").is_file():
            return found.resolve()
    if Path(written).is_absolute():
        raise FileNotFoundError(f"model: {folder} is an adapter on {written}, which does not exist; restore that model")
    return None


def _model_files(folder: Path) -> Tree:
    """What loading reads: no weights in other formats, nothing hidden; links are followed, as in a cache of the Hub."""
    paths = [*sorted(folder.iterdir()), *sorted((folder / TEMPLATES).glob("*"))]
    return {
        path.relative_to(folder).as_posix(): content_of(path)
        for path in paths
        if path.is_file() and path.name != BASE and path.name[0] != "." and path.suffix not in OTHER_WEIGHTS
    }


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def code_piece(place: Place, directory: Path) -> str:
    """The name in the store of the run's code.zip, which whoever starts the job unpacks first."""
    return place.blob(content_of(directory / CODE), shared=True)


# ---- the job's side
def unpack(place: Place, work: Path) -> RunDirectory:
    """Make the run directory at work/run and the models beside it, at work/models.

    Raises pipeline.store.Missing, BackendUnreachable, and remote_pieces.Untrusted.
    """
    parcel = place.read_json(PARCEL)
    shutil.rmtree(work / "run", ignore_errors=True)
    for key, model in parcel["models"].items():
        _unpack_model(place, work / "models" / key, model)
    config = parcel["config"]
    for named in config.get("models", {}).values():
        if named["path"].startswith(MODEL):
            named["path"] = str((work / named["path"]).resolve())
    run = RunDirectory.create(work / "run", config)
    fetch(place, {run.path / path: file for path, file in tree_of(parcel["files"], SENT).items()})
    return run


def _unpack_model(place: Place, folder: Path, model: Mapping) -> None:
    tree = {f"{MODEL}{path}": content for path, content in model["files"].items()}
    files = {folder / path.removeprefix(MODEL): file for path, file in tree_of(tree, (MODEL.rstrip("/"),)).items()}
    fetch(place, {path: file for path, file in files.items() if not path.is_file()}, shared=True)
    folder.mkdir(parents=True, exist_ok=True)
    if model["base"]:
        write_json(folder / BASE, {"base": f"../{model['base']}"})
