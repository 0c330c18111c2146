"""Writes a campaign's data as Parquet: preferences as TRL takes them, or the raw tables.

Files appear whole, by rename. It trains nothing and sends nothing; pairs of ids for our own trainers are
the business of `snapshot.py`.
"""

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.comparisons import comparisons
from storage.database import Database
from storage.rankings import answer_table
from storage.raw_tables import QUERIES, messages_table, stream
from storage.text_tables import completion_table

CHAT = pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))
PREFERENCES = pa.schema([("prompt", CHAT), ("chosen", CHAT), ("rejected", CHAT)])
SHARD_ROWS, GROUP_ROWS = 100_000, 5_000
FILES = {"train": "train", "eval": "test"}  # the names that `datasets` gives the splits
OURS = re.compile(r"(train|test)-\d{5}\.parquet")


def export_trl(database: Database, folder: str | Path, campaign_id: int | None = None) -> dict:
    """Write `train-00000.parquet`, … and `test-00000.parquet`, … (eval prompts) of conversational preferences.

    Columns prompt, chosen and rejected are lists of {role, content}; each comparison is one row, told from the
    majority's side. Exact ties are dropped and counted. Older files of these names in the folder go.
    Returns {"files": [{"path", "rows", "split"}], "ties_dropped"}.
    """
    folder = _folder(folder)
    pooled = comparisons(answer_table(database, campaign_id))
    decided = pooled.filter(pc.not_equal(pooled["preference"], 0.5))
    texts = _Texts(database, decided)
    files = []
    for split, name in FILES.items():
        rows = decided.filter(pc.equal(decided["split"], split))
        for shard, start in enumerate(range(0, rows.num_rows, SHARD_ROWS)):
            part = rows.slice(start, SHARD_ROWS)
            path = folder / f"{name}-{shard:05d}.parquet"
            files.append(
                {"path": str(path), "rows": _write(path, PREFERENCES, texts.preferences(part)), "split": split}
            )
    _remove_others(folder, {file["path"] for file in files})
    return {"files": files, "ties_dropped": pooled.num_rows - decided.num_rows}


def export_raw(database: Database, folder: str | Path, campaign_id: int | None = None) -> dict:
    """Write one Parquet file per table: answers with their status, completions, prompts, tasks, people without
    passwords or keys, demonstrations, campaigns. Returns the same as `export_trl`, with split None."""
    folder, files = _folder(folder), []
    for name in QUERIES:
        path = folder / f"{name}.parquet"
        rows = stream(database, name, campaign_id, lambda reader, path=path: _write(path, reader.schema, reader))
        files.append({"path": str(path), "rows": rows, "split": None})
    return {"files": files, "ties_dropped": 0}


class _Texts:
    """The prompts and completions of some comparisons, looked up by id."""

    def __init__(self, database: Database, pairs: pa.Table):
        ids = np.unique(np.concatenate([pairs["first_id"].to_numpy(), pairs["second_id"].to_numpy()]))
        answers = completion_table(database, ids.tolist()).sort_by("completion_id")
        asked = messages_table(database, pc.unique(pairs["prompt_id"]).to_pylist())
        self._ids, self._answers = answers["completion_id"].to_numpy(), answers["text"]
        self._prompt_ids = asked["prompt_id"].combine_chunks()
        self._messages = pa.chunked_array(
            [pa.array([_turns(text.as_py()) for text in chunk], CHAT) for chunk in asked["messages"].chunks], CHAT
        )

    def preferences(self, pairs: pa.Table) -> Iterator[pa.RecordBatch]:
        """Rows of PREFERENCES, a group at a time: text is copied for one group only."""
        for start in range(0, pairs.num_rows, GROUP_ROWS):
            part = pairs.slice(start, GROUP_ROWS)
            first, second = part["first_id"].to_numpy(), part["second_id"].to_numpy()
            won = part["preference"].to_numpy() > 0.5
            places = pc.index_in(part["prompt_id"].combine_chunks(), self._prompt_ids)
            chosen, rejected = np.where(won, first, second), np.where(won, second, first)
            prompts = self._messages.take(places).combine_chunks()
            yield pa.record_batch([prompts, self._said(chosen), self._said(rejected)], schema=PREFERENCES)

    def _said(self, ids: np.ndarray) -> pa.Array:
        texts = self._answers.take(pa.array(np.searchsorted(self._ids, ids))).combine_chunks()
        turns = pa.StructArray.from_arrays([pa.repeat("assistant", len(ids)), texts], fields=list(CHAT.value_type))
        return pa.ListArray.from_arrays(pa.array(np.arange(len(ids) + 1), pa.int32()), turns, type=CHAT)


def _turns(messages: str) -> list[dict]:
    return [{"role": turn["role"], "content": turn["content"]} for turn in json.loads(messages)]


def _folder(path: str | Path) -> Path:
    folder = Path(path).resolve()
    if folder.exists() and not folder.is_dir():
        raise NotADirectoryError(f"{folder}: found a file, expected a folder to export into; name another one")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _write(path: Path, schema: pa.Schema, batches) -> int:
    """Write all batches beside the path, then rename onto it; how many rows there were."""
    temporary, rows = path.with_name(f".{path.name}.{os.getpid()}.tmp"), 0
    try:
        with pq.ParquetWriter(temporary, schema, compression="zstd") as writer:
            for batch in batches:
                writer.write_batch(batch)
                rows += batch.num_rows
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    return rows


def _remove_others(folder: Path, written: set[str]) -> None:
    """Shards of an earlier, longer export would otherwise be read together with the new ones."""
    for path in folder.iterdir():
        if OURS.fullmatch(path.name) and str(path) not in written:
            path.unlink()
