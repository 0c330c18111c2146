"""What lies in a store for a remote run, and under which names. Both sides of a remote run speak in these.

    blobs/<sha256>                     files of models, shared by all runs: uploaded once
    <run>/blobs/<sha256>               files of one run: data, code, checkpoints, artifacts
    <run>/<attempt>/parcel.json        by the app, last of what it sends: `remote_parcel.py`
    <run>/<attempt>/cancel             by the app: asks the job to save a checkpoint and end
    <run>/<attempt>/stop, kill         by the app: the job gets SIGTERM, SIGKILL, where its backend has none
    <run>/<attempt>/metrics/<offset>   by the job: bytes of metrics.jsonl from that offset on, whole lines
    <run>/<attempt>/log/<offset>       by the job: bytes of log.txt from that offset on
    <run>/<attempt>/tree/<number>      by the job: which files checkpoints/ and artifacts/ hold; the highest counts
    <run>/<attempt>/status.json        by the job, replaced
    <run>/<attempt>/end.json           by the job, last: how it ended, and what must be here before that is believed

A file is known by its sha256 and checked against it wherever it arrives, so a torn or foreign upload is never taken.
Names that come back are not trusted. Imports no torch, no storage: both sides use it.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePosixPath

from pipeline.store import Missing, Store

Stamp = tuple[int, int]  # size in bytes, time of the last change in ns

PARCEL, STATUS, END = "parcel.json", "status.json", "end.json"
CANCEL, STOP, KILL = "cancel", "stop", "kill"
METRICS, LOG, TREE = "metrics", "log", "tree"
RETURNED = ("checkpoints", "artifacts")  # the only folders a job may send files for
UNFINISHED = (".tmp", ".unfinished")
SHA256 = re.compile(r"[0-9a-f]{64}")
BATCH = 32  # blobs sent or fetched in one call, so that a call that fails has not lost all
MOST_JSON = 32 << 20  # bytes of a JSON piece


class Untrusted(ValueError):
    """Something came back that a job of ours does not send: says what."""


@dataclass(frozen=True)
class File:
    """The content of a file: its sha256 as 64 hex digits, and its size in bytes."""

    sha256: str
    size: int


Tree = dict[str, File]  # by path below the run directory, with `/`


@dataclass(frozen=True)
class Place:
    """Where one attempt at a run lies in a store: `run` is a name such as runs/<folder>/<run id>."""

    store: Store
    run: str
    attempt: str

    @classmethod
    def of(cls, store: Store, prefix: str) -> "Place":
        """From `<run>/<attempt>`, as a job is told it."""
        run, _, attempt = prefix.rpartition("/")
        return cls(store, run, attempt)

    @property
    def prefix(self) -> str:
        return f"{self.run}/{self.attempt}"

    def name(self, piece: str) -> str:
        """The full name of a piece of this attempt."""
        return f"{self.prefix}/{piece}"

    def blob(self, file: File, shared: bool = False) -> str:
        """The name of a file's content: among all models where shared, else of this run."""
        return f"blobs/{file.sha256}" if shared else f"{self.run}/blobs/{file.sha256}"

    def pieces(self) -> dict[str, int]:
        """What there is of this attempt: sizes by name below its prefix."""
        skip = len(self.prefix) + 1
        return {name[skip:]: size for name, size in self.store.list(f"{self.prefix}/").items()}

    def read_json(self, piece: str) -> dict:
        """A JSON object. Raises pipeline.store.Missing, and Untrusted for anything else."""
        return parsed(piece, self.store.read(self.name(piece)))

    def write_json(self, piece: str, value: Mapping) -> None:
        """Replace a JSON object."""
        self.store.put({self.name(piece): json.dumps(value, ensure_ascii=False, default=str).encode()})


def parsed(piece: str, content: bytes) -> dict:
    """The JSON object that a piece holds. Raises Untrusted for anything else."""
    try:
        value = json.loads(content) if len(content) <= MOST_JSON else None
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise Untrusted(f"{piece}: found {len(content)} bytes, expected one JSON object of at most {MOST_JSON}")
    return value


# ---- files on this machine
def stamps(root: Path, folders: Iterable[str]) -> dict[str, Stamp]:
    """Every closed file in these folders, by its path below root, with the stamp that tells whether it changed.

    Hidden files, links and what is still being written by another name are no closed files.
    """
    found = {}
    for folder in folders:
        for path in sorted((root / folder).rglob("*")):
            relative = path.relative_to(root)
            hidden = any(part.startswith(".") for part in relative.parts)
            if hidden or path.name.endswith(UNFINISHED) or path.is_symlink() or not path.is_file():
                continue
            found[relative.as_posix()] = stamp(path)
    return found


def stamp(path: Path) -> Stamp:
    """Size and time of the last change."""
    state = path.stat()
    return state.st_size, state.st_mtime_ns


def content_of(path: Path) -> File:
    """A file's sha256 and size; read again only where its stamp changed."""
    return _content(str(path), *stamp(path))


@lru_cache(65_536)
def _content(path: str, size: int, _changed: int) -> File:
    with open(path, "rb") as file:
        return File(hashlib.file_digest(file, "sha256").hexdigest(), size)


# ---- files to and from the store
def send(place: Place, files: Mapping[Path, File], shared: bool = False) -> int:
    """Upload what the store does not hold yet; returns how many bytes that was."""
    names = {place.blob(file, shared): (path, file) for path, file in files.items()}
    there = place.store.sizes(names)
    missing = [(name, path, file) for name, (path, file) in names.items() if there.get(name) != file.size]
    for begin in range(0, len(missing), BATCH):
        place.store.put({name: path for name, path, _ in missing[begin : begin + BATCH]})
    return sum(file.size for *_, file in missing)


def fetch(place: Place, files: Mapping[Path, File], shared: bool = False) -> None:
    """Download to these paths, each checked. Raises pipeline.store.Missing, and Untrusted where a content differs."""
    wanted = list(files.items())
    for begin in range(0, len(wanted), BATCH):
        batch = wanted[begin : begin + BATCH]
        by_name = {place.blob(file, shared): path for path, file in batch}
        place.store.get(by_name)
        for path, file in batch:
            got = by_name[place.blob(file, shared)]
            if content_of(got) != file:
                got.unlink()
                raise Untrusted(f"{path.name}: found other content than {file.sha256}, expected what was announced")
            if got != path:  # two files of one content
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(got.read_bytes())


# ---- trees as JSON
def plain(tree: Tree) -> dict:
    """As values for JSON."""
    return {path: [file.sha256, file.size] for path, file in tree.items()}


def tree_of(value: object, folders: Iterable[str] = RETURNED) -> Tree:
    """A tree from JSON. Raises Untrusted for a path outside the folders, or anything that is no path and content."""
    if not isinstance(value, dict):
        raise Untrusted(f"tree: found {type(value).__name__}, expected an object")
    return {checked_path(path, folders): _file(path, content) for path, content in value.items()}


def checked_path(path: object, folders: Iterable[str]) -> str:
    """The path. Raises Untrusted where it is none of a file within one of the folders."""
    parts = PurePosixPath(path).parts if isinstance(path, str) else ()
    plain_path = "/".join(parts) == path and not any(part.startswith(".") for part in parts)
    if not plain_path or "\\" in path or "\0" in path or len(parts) < 2 or parts[0] not in tuple(folders):
        raise Untrusted(f"path: found {str(path)[:200]!r}, expected one of a file in {' or '.join(folders)}")
    return path


def _file(path: str, content: object) -> File:
    match content:
        case [str(digest), int(size)] if SHA256.fullmatch(digest) and size >= 0:
            return File(digest, size)
    raise Untrusted(f"{path}: found {str(content)[:80]}, expected its sha256 and its size")


# ---- streams: files that only grow
@dataclass(frozen=True)
class Segment:
    """Bytes of a stream: from offset on, as many as size."""

    name: str
    offset: int
    size: int

    @property
    def end(self) -> int:
        return self.offset + self.size


def segment_name(stream: str, offset: int) -> str:
    """The piece that holds a stream's bytes from an offset on."""
    return f"{stream}/{offset:015d}"


def segments(pieces: Mapping[str, int], stream: str) -> list[Segment]:
    """The segments of a stream among the pieces of an attempt, in order; names that are no offset are left out."""
    found = []
    for name, size in pieces.items():
        folder, _, offset = name.partition("/")
        if folder == stream and offset.isdigit():
            found.append(Segment(name, int(offset), size))
    return sorted(found, key=lambda segment: (segment.offset, -segment.size))


def newest_tree(pieces: Mapping[str, int]) -> int:
    """The highest number of a tree among the pieces; 0 where there is none."""
    numbers = [name.partition("/")[2] for name in pieces if name.startswith(f"{TREE}/")]
    return max((int(number) for number in numbers if number.isdigit()), default=0)


def tree_name(number: int) -> str:
    """The piece that lists the files of checkpoints/ and artifacts/ for the number-th time."""
    return f"{TREE}/{number:06d}"


def read_or_none(place: Place, piece: str) -> dict | None:
    """A JSON piece, None where it is not there."""
    try:
        return place.read_json(piece)
    except Missing:
        return None
