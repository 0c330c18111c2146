"""What all exports share: a folder to write into, files that appear whole by rename, conversations as Arrow.

It knows nothing about what is exported.
"""

import json
import os
import re
from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

CHAT = pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))
FILES = {"train": "train", "eval": "test"}  # the names that `datasets` gives the splits
OURS = re.compile(r"(train|test)-\d{5}\.parquet")


def turns(messages: str) -> list[dict]:
    """A prompt's stored messages as a conversation."""
    return [{"role": turn["role"], "content": turn["content"]} for turn in json.loads(messages)]


def open_folder(path: str | Path) -> Path:
    """The folder, made where it is missing. Raises NotADirectoryError."""
    folder = Path(path).resolve()
    if folder.exists() and not folder.is_dir():
        raise NotADirectoryError(f"{folder}: found a file, expected a folder to export into; name another one")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def write_parquet(path: Path, schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> int:
    """Write all batches beside the path, then rename onto it; how many rows there were."""
    temporary, rows = beside(path), 0
    try:
        with pq.ParquetWriter(temporary, schema, compression="zstd") as writer:
            for batch in batches:
                writer.write_batch(batch)
                rows += batch.num_rows
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    return rows


def beside(path: Path) -> Path:
    """Where a file is written until it is whole."""
    return path.with_name(f".{path.name}.{os.getpid()}.tmp")


def remove_older(folder: Path, written: set[str]) -> None:
    """Shards of an earlier, longer export would otherwise be read together with the new ones."""
    for path in folder.iterdir():
        if OURS.fullmatch(path.name) and str(path) not in written:
            path.unlink()
