"""The app's side of a remote run: bring its new pieces into the run directory, and a cancel to the job.

Every step may be repeated and may die in the middle: streams go on at the size of the file here, files are moved
into place whole, and what ends a run comes last. What came is checked before it is believed.
"""

import os
import shutil
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

from pipeline.remote_parcel import ADAPTER, BASE, NOTE
from pipeline.remote_pieces import (
    CANCEL,
    END,
    LOG,
    METRICS,
    MOST_JSON,
    STATUS,
    TREE,
    File,
    Place,
    Segment,
    Tree,
    Untrusted,
    content_of,
    fetch,
    newest_tree,
    parsed,
    segments,
    tree_name,
    tree_of,
)
from pipeline.run_directory import PHASES, RunDirectory, read_json, write_json
from pipeline.store import Missing

INCOMING = ".incoming"  # in the run directory, so that what has come is moved into place by a rename
FILES = {METRICS: "metrics.jsonl", LOG: "log.txt"}
LONGEST_MESSAGE = 4000
NUMBERS = ("step", "total", "seconds", "first", "first_seconds")  # of a status


def sync(place: Place, directory: Path) -> bool:
    """Bring what is new; whether the job has told its end and all of it is here.

    Raises pipeline.backend.BackendUnreachable, and remote_pieces.Untrusted for what no job of ours sends.
    """
    run = RunDirectory(directory)
    if run.result() is not None:
        return True
    pieces = place.pieces()
    if run.cancel_requested() and CANCEL not in pieces:
        place.store.put({place.name(CANCEL): b"save, and end\n"})
    try:
        new = _read_new(place, pieces, run)
        for stream, name in FILES.items():
            _bring_stream(segments(pieces, stream), new, directory / name)
        if STATUS in new:
            _bring_status(parsed(STATUS, new[STATUS]), run)
        if (number := newest_tree(pieces)) > _tree_here(run):
            _bring_files(place, number, parsed(TREE, new[tree_name(number)]), run)
        return END in new and _bring_end(parsed(END, new[END]), run)
    except Missing:
        return False  # replaced by something newer since it was listed: it is there the next time


def _read_new(place: Place, pieces: Mapping[str, int], run: RunDirectory) -> dict[str, bytes]:
    """All small pieces that say something new, in one call: a store on the network counts calls."""
    sizes = {stream: _size(run.path / name) for stream, name in FILES.items()}
    grown = [s.name for stream in FILES for s in segments(pieces, stream) if s.end > sizes[stream]]
    number = newest_tree(pieces)
    tree = [tree_name(number)] if number > _tree_here(run) else []
    wanted = [*grown, *tree, *(name for name in (STATUS, END) if name in pieces)]
    if too_large := [name for name in (*tree, STATUS, END) if pieces.get(name, 0) > MOST_JSON]:
        raise Untrusted(f"{too_large[0]}: found {pieces[too_large[0]]} bytes, expected at most {MOST_JSON}")
    if not wanted:
        return {}
    with tempfile.TemporaryDirectory() as folder:
        paths = {name: Path(folder) / str(number) for number, name in enumerate(wanted)}
        place.store.get({place.name(name): path for name, path in paths.items()})
        return {name: path.read_bytes() for name, path in paths.items()}


def forget(place: Place) -> None:
    """Remove all that the store holds of a run that is wholly here; models stay, for other runs."""
    place.store.delete(place.store.list(f"{place.run}/"))


# ---- streams
def _bring_stream(found: Sequence[Segment], new: Mapping[str, bytes], path: Path) -> None:
    """Append the bytes that the file here lacks, by their offsets."""
    size = _size(path)
    for segment in found:
        if segment.end <= size or segment.name not in new:
            continue
        content = new[segment.name]
        with path.open("ab") as file:
            if segment.offset > size:  # bytes that were here once: empty lines keep the offsets right
                file.write(b"\n" * (segment.offset - size))
                size = segment.offset
            file.write(content[size - segment.offset :])
        size = max(size, segment.offset + len(content))


# ---- files
def _bring_files(place: Place, number: int, told: Mapping, run: RunDirectory) -> None:
    """Make checkpoints/ and artifacts/ hold what the newest tree names."""
    tree, note = tree_of(told.get("files")), read_json(run.path / NOTE) or {}
    incoming = run.path / INCOMING
    _require_no_links(run.path, tree)
    lacking = {path: file for path, file in tree.items() if not _is_here(run.path / path, file)}
    fetch(place, {incoming / path: f for path, f in lacking.items() if not _is_here(incoming / path, f)})
    _mend_adapters(incoming, lacking, run.path, note.get("models", {}))
    _place_checkpoints(run.path, {path: f for path, f in tree.items() if path.startswith("checkpoints/")})
    for path in lacking:
        if path.startswith("artifacts/"):
            (run.path / path).parent.mkdir(parents=True, exist_ok=True)
            (incoming / path).replace(run.path / path)
    shutil.rmtree(incoming, ignore_errors=True)
    write_json(run.path / NOTE, {**note, TREE: number})


def _tree_here(run: RunDirectory) -> int:
    """The number of the tree that checkpoints/ and artifacts/ hold."""
    return (read_json(run.path / NOTE) or {}).get(TREE, 0)


def _place_checkpoints(root: Path, tree: Tree) -> None:
    """Exchange the whole folder: a resumed job sees the old checkpoints or the new ones, never some of both."""
    fresh, there = root / INCOMING / ".checkpoints", root / "checkpoints"
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True)
    for path in tree:
        target = fresh / PurePosixPath(path).relative_to("checkpoints")
        target.parent.mkdir(parents=True, exist_ok=True)
        came = root / INCOMING / path
        target.hardlink_to(came if came.exists() else root / path)
    old = root / INCOMING / ".old"
    shutil.rmtree(old, ignore_errors=True)
    if there.exists():
        there.rename(old)
    fresh.rename(there)


def _is_here(path: Path, file: File) -> bool:
    return path.is_file() and path.stat().st_size == file.size and content_of(path) == file


def _require_no_links(root: Path, tree: Tree) -> None:
    """Nothing is written through a link that leads out of the run directory."""
    for path in tree:
        for parent in [root / path, *(root / path).parents]:
            if parent == root:
                break
            if parent.is_symlink():
                raise Untrusted(f"{path}: found a link at {parent.name}, expected files and folders of the run")


def _mend_adapters(incoming: Path, lacking: Tree, root: Path, models: Mapping[str, str]) -> None:
    """Say of adapters that came where their base is on this machine."""
    for path in lacking:
        folder = PurePosixPath(path).parent
        if PurePosixPath(path).name == ADAPTER:
            written = read_json(incoming / path) or {}
            here = models.get(PurePosixPath(str(written.get("base_model_name_or_path"))).name)
            if here:
                write_json(incoming / path, {**written, "base_model_name_or_path": here})
        elif PurePosixPath(path).name == BASE:
            seen = PurePosixPath(str((read_json(incoming / path) or {}).get("base")))
            here = models.get(seen.name)
            if here:
                write_json(incoming / path, {"base": _relative(Path(here), root / folder)})
            elif seen.is_absolute() or ".." in seen.parts:
                raise Untrusted(f"{path}: found the base {str(seen)[:200]!r}, expected a model of this run")


def _relative(path: Path, folder: Path) -> str:
    """The path as it is seen from a folder, which need not exist yet."""
    return os.path.relpath(path.resolve(), folder.resolve())


# ---- status and end
def _bring_status(status: Mapping, run: RunDirectory) -> None:
    """The job's status, its heartbeat told by the clock of this machine."""
    sent, here = status.get("sent"), run.status() or {}
    if sent == here.get("sent") or status.get("phase") not in PHASES:
        return
    numbers = {key: status[key] for key in NUMBERS if isinstance(status.get(key), (int, float))}
    beat = status.get("heartbeat")
    age = sent - beat if isinstance(sent, float) and isinstance(beat, float) else 0.0
    told = {"phase": status["phase"], "message": str(status.get("message", ""))[:LONGEST_MESSAGE], **numbers}
    write_json(run.path / "status.json", {**told, "heartbeat": time.time() - max(0.0, age), "sent": sent})


def _bring_end(end: Mapping, run: RunDirectory) -> bool:
    """Believe the end once all it needs is here: error, exit status, and the result last."""
    needed = end.get("needed") or {}
    if _tree_here(run) < needed.get(TREE, 0):
        return False
    if any(_size(run.path / name) < needed.get(stream, 0) for stream, name in FILES.items()):
        return False
    result, error = end.get("result"), end.get("error")
    if result is not None and (wrong := _wrong_result(result)):
        result, error = None, {"kind": "Untrusted", "message": wrong}
    if isinstance(error, dict):
        run.fail(str(error.get("kind"))[:100], str(error.get("message"))[:LONGEST_MESSAGE])
    write_json(run.path / "exit.json", {"code": end.get("code"), "taken": bool(end.get("taken"))})
    if result is not None:
        run.finish(result)
    return True


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _wrong_result(result: object) -> str:
    """What is wrong with a result that came back; "" where nothing is."""
    if not isinstance(result, dict):
        return f"result: found {type(result).__name__}, expected an object"
    model = result.get("model", "artifacts/model")
    path = PurePosixPath(model) if isinstance(model, str) else PurePosixPath("..")
    if ".." in path.parts or path.parts[:1] != ("artifacts",) or "\\" in str(model):
        return f"result: found the model {str(model)[:200]!r}, expected a folder in artifacts"
    return ""
