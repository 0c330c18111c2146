"""Pieces in a private bucket on the Hugging Face Hub: the store of runs on Hugging Face Jobs.

Bytes go by Xet, in which equal chunks travel once. A piece appears when the batch that names it is accepted; a
batch is sent once all its bytes are there. A bucket is used through its API: mounted, it is not a file system.
"""

import tempfile
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path

from huggingface_hub import BucketFile

from pipeline.backend import BackendUnreachable
from pipeline.hub_client import answering, connect
from pipeline.store import Missing, checked_name

SCHEME = "hf://buckets/"
NAME = "hf-jobs"


class BucketStore:
    """A bucket, or a folder of one, by its URI hf://buckets/namespace/bucket[/folder].

    Raises ValueError for another URI.
    """

    def __init__(self, uri: str, token: str | None = None, endpoint: str | None = None):
        parts = uri.removeprefix(SCHEME).strip("/").split("/")
        if not uri.startswith(SCHEME) or len(parts) < 2 or not all(parts):
            raise ValueError(f"store: found {uri!r}, expected {SCHEME}namespace/bucket")
        self.uri = uri.rstrip("/")
        self.bucket, self.root = "/".join(parts[:2]), "".join(f"{part}/" for part in parts[2:])
        self.hub = connect(endpoint, token)
        self._ready = False

    def make(self) -> None:
        """Make the bucket, private, where there is none yet. Refuses one that everybody can read."""
        if self._ready:
            return
        with self._answering("making the bucket"):
            self.hub.create_bucket(self.bucket, private=True, exist_ok=True)
            private = self.hub.bucket_info(self.bucket).private
        if not private:
            raise BackendUnreachable(
                f"{NAME}: the bucket {self.bucket} is public, expected a private one; make it private, or name another"
            )
        self._ready = True

    def put(self, pieces: Mapping[str, Path | bytes]) -> None:
        """All in one batch."""
        added = [(source, self.path_in_bucket(name)) for name, source in pieces.items()]
        with self._answering(f"writing {', '.join(list(pieces)[:3])}"):
            self.hub.batch_bucket_files(self.bucket, add=added)

    def get(self, pieces: Mapping[str, Path]) -> None:
        """All at once, beside their places first."""
        for target in pieces.values():
            target.parent.mkdir(parents=True, exist_ok=True)
        unfinished = {name: target.with_name(f".{target.name}.coming.tmp") for name, target in pieces.items()}
        try:
            with self._answering(f"reading {', '.join(list(pieces)[:3])}"):
                wanted = [(self.path_in_bucket(name), path) for name, path in unfinished.items()]
                self.hub.download_bucket_files(self.bucket, wanted, raise_on_missing_files=True)
            for name, path in unfinished.items():
                path.replace(pieces[name])
        finally:
            for path in unfinished.values():
                path.unlink(missing_ok=True)

    def read(self, name: str) -> bytes:
        """Through a temporary file."""
        with tempfile.TemporaryDirectory() as folder:
            self.get({name: Path(folder) / "piece"})
            return (Path(folder) / "piece").read_bytes()

    def list(self, prefix: str) -> dict[str, int]:
        """Recursive; a folder that is not there is empty."""
        wanted = self.path_in_bucket(prefix)
        try:
            with self._answering(f"listing {prefix}"):
                found = list(self.hub.list_bucket_tree(self.bucket, wanted.rstrip("/"), recursive=True))
        except Missing:
            return {}
        files = [one for one in found if isinstance(one, BucketFile) and one.path.startswith(wanted)]
        return {file.path.removeprefix(self.root): file.size for file in files}

    def sizes(self, names: Iterable[str]) -> dict[str, int]:
        """Asked a thousand at a time."""
        paths = [self.path_in_bucket(name) for name in names]
        try:
            with self._answering("looking for pieces"):
                found = list(self.hub.get_bucket_paths_info(self.bucket, paths)) if paths else []
        except Missing:
            return {}
        return {file.path.removeprefix(self.root): file.size for file in found}

    def delete(self, names: Iterable[str]) -> None:
        """Those that are there, in one batch."""
        there = self.sizes(names)
        with self._answering("removing pieces"):
            self.hub.batch_bucket_files(self.bucket, delete=[self.path_in_bucket(name) for name in there])

    def path_in_bucket(self, name: str) -> str:
        """Where a piece lies in the bucket itself."""
        return self.root + checked_name(name)

    def _answering(self, what: str) -> AbstractContextManager:
        return answering(NAME, what)
