"""Where the pieces of a remote run lie between the app and the job: put, get, list, delete, by name.

A piece appears whole or not at all. Names are paths with `/`, below the store's root. `FolderStore` is any place
pyarrow can write to; `bucket_store.py` has Hugging Face's buckets. What the pieces mean: `remote_pieces.py`.
"""

import secrets
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath
from typing import Protocol

import pyarrow as pa
from pyarrow import fs

from pipeline.backend import BackendUnreachable

OBJECT_STORES = ("s3", "gcs", "abfs")  # an object there appears when its stream is closed, whole
TEMPORARY = ".tmp"
COPY_BYTES = 1 << 20


class Missing(LookupError):
    """A piece was asked for that is not in the store (yet, or any more): names it."""


class Store(Protocol):
    """Pieces by name. Every call raises pipeline.backend.BackendUnreachable where the store does not answer."""

    uri: str  # what `stores.open_store` makes the same store from, on another machine

    def put(self, pieces: Mapping[str, Path | bytes]) -> None:
        """Write each piece from a file or from bytes, replacing one of that name; in no order."""

    def get(self, pieces: Mapping[str, Path]) -> None:
        """Write each piece to its file, which appears whole. Raises Missing."""

    def read(self, name: str) -> bytes:
        """One small piece. Raises Missing."""

    def list(self, prefix: str) -> dict[str, int]:
        """The size of every piece whose name starts with the prefix, which ends in `/`."""

    def sizes(self, names: Iterable[str]) -> dict[str, int]:
        """The sizes of those pieces that exist."""

    def delete(self, names: Iterable[str]) -> None:
        """Remove pieces; one that is not there is left alone."""


class FolderStore:
    """A folder on this machine, on a network drive, or behind any URI that pyarrow.fs understands (`s3://…`).

    Credentials of a cloud come from where pyarrow finds them. Raises ValueError for a URI it does not understand.
    """

    def __init__(self, uri: str | Path):
        self.uri = str(Path(uri).expanduser().resolve()) if "://" not in str(uri) else str(uri)
        try:
            self.files, self.root = fs.FileSystem.from_uri(self.uri)
        except (pa.ArrowException, OSError) as error:
            expected = "a folder, or a URI such as s3://bucket/folder"
            raise ValueError(f"store: found {self.uri!r}, expected {expected}: {error}") from None
        self.renames = self.files.type_name not in OBJECT_STORES

    def put(self, pieces: Mapping[str, Path | bytes]) -> None:
        """One after the other; on a file system under another name first, then moved."""
        for name, source in pieces.items():
            with _answering(self, name):
                self._put(self._path(name), source)

    def get(self, pieces: Mapping[str, Path]) -> None:
        """One after the other, under a temporary name first."""
        for name, target in pieces.items():
            unfinished = target.with_name(f".{target.name}.{secrets.token_hex(4)}{TEMPORARY}")
            target.parent.mkdir(parents=True, exist_ok=True)
            try:
                with (
                    _answering(self, name),
                    self.files.open_input_stream(self._path(name)) as piece,
                    unfinished.open("wb") as file,
                ):
                    shutil.copyfileobj(piece, file, COPY_BYTES)
                unfinished.replace(target)
            finally:
                unfinished.unlink(missing_ok=True)

    def read(self, name: str) -> bytes:
        """The piece's bytes."""
        with _answering(self, name), self.files.open_input_stream(self._path(name)) as piece:
            return piece.read()

    def list(self, prefix: str) -> dict[str, int]:
        """Recursive; what is being written is not in it."""
        with _answering(self, prefix):
            selector = fs.FileSelector(self._path(prefix.rstrip("/")), allow_not_found=True, recursive=True)
            found = [info for info in self.files.get_file_info(selector) if info.type == fs.FileType.File]
        skip = len(self.root.rstrip("/")) + 1
        return {info.path[skip:]: info.size for info in found if not info.base_name.endswith(TEMPORARY)}

    def sizes(self, names: Iterable[str]) -> dict[str, int]:
        """Asked all at once."""
        names = list(names)
        with _answering(self, "sizes"):
            found = self.files.get_file_info([self._path(name) for name in names])
        return {n: info.size for n, info in zip(names, found, strict=True) if info.type == fs.FileType.File}

    def delete(self, names: Iterable[str]) -> None:
        """One after the other; folders that become empty stay."""
        for name in self.sizes(names):
            with _answering(self, name):
                self.files.delete_file(self._path(name))

    def _put(self, path: str, source: Path | bytes) -> None:
        folder, _, last = path.rpartition("/")
        if self.renames:
            self.files.create_dir(folder, recursive=True)
        written = f"{folder}/.{last}.{secrets.token_hex(4)}{TEMPORARY}" if self.renames else path
        try:
            with self.files.open_output_stream(written) as piece:
                _copy(source, piece)
        except BaseException:  # closing a stream publishes what was written to it so far
            if self.files.get_file_info(written).type == fs.FileType.File:
                self.files.delete_file(written)
            raise
        if self.renames:
            self.files.move(written, path)

    def _path(self, name: str) -> str:
        return f"{self.root.rstrip('/')}/{checked_name(name)}"


def checked_name(name: str) -> str:
    """The name. Raises ValueError for one that would leave the store."""
    path = PurePosixPath(name)
    if not name or path.is_absolute() or ".." in path.parts or "\\" in name or "\0" in name:
        raise ValueError(f"name: found {name!r}, expected a path below the store's root")
    return name


def _copy(source: Path | bytes, piece: pa.NativeFile) -> None:
    if isinstance(source, bytes):
        piece.write(source)
        return
    with source.open("rb") as file:
        shutil.copyfileobj(file, piece, COPY_BYTES)


class _answering:
    """Says the errors of a file system as this project says them."""

    def __init__(self, store: FolderStore, name: str):
        self.store, self.name = store, name

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind, error, trace) -> None:
        if isinstance(error, FileNotFoundError):
            raise Missing(self.name) from error
        if isinstance(error, (OSError, pa.ArrowException)):
            said = f"the store {self.store.uri} failed at {self.name} ({error}); is it mounted, and can it be written?"
            raise BackendUnreachable(said) from error
