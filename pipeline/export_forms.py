"""Thumbs as TRL's KTO trainer takes them, and demonstrations as its SFT trainer does: Parquet, one file per split.

Preferences are in `export.py`. Texts are told as conversations: prompt and completion are lists of {role, content}.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.export_files import CHAT, FILES, open_folder, remove_older, turns, write_parquet
from storage.database import Database
from storage.form_tables import stream_form

KTO = pa.schema([("prompt", CHAT), ("completion", CHAT), ("label", pa.bool_())])
SFT = pa.schema([("prompt", CHAT), ("completion", CHAT)])


def export_kto(database: Database, folder: str | Path, campaign_id: int | None = None) -> dict:
    """One row per completion that people gave thumbs: label is what the majority said; equal votes are dropped and
    counted. Returns the same as `export.export_trl`."""
    tied = []

    def decided(batch: pa.RecordBatch) -> pa.RecordBatch:
        kept = batch.filter(pc.not_equal(batch["balance"], 0))
        tied.append((batch.num_rows - kept.num_rows) / len(FILES))
        return kept

    def rows(batch: pa.RecordBatch) -> list[pa.Array]:
        return [*_conversation(batch), pc.greater(batch["balance"], 0)]

    files = _export(database, folder, campaign_id, "thumbs", KTO, decided, rows)
    return {"files": files, "ties_dropped": round(sum(tied))}


def export_sft(database: Database, folder: str | Path, campaign_id: int | None = None) -> dict:
    """One row per demonstration: imported ones, written ones, and the edited answers that stand. Returns the same as
    `export.export_trl`."""
    return {
        "files": _export(database, folder, campaign_id, "demonstrations", SFT, lambda batch: batch, _conversation),
        "ties_dropped": 0,
    }


def _export(
    database: Database,
    folder: str | Path,
    campaign_id: int | None,
    name: str,
    schema: pa.Schema,
    keep: Callable[[pa.RecordBatch], pa.RecordBatch],
    columns: Callable[[pa.RecordBatch], list[pa.Array]],
) -> list[dict]:
    """One file per split that has rows."""
    folder, files = open_folder(folder), []
    for split, word in FILES.items():
        path = folder / f"{word}-00000.parquet"

        def batches(reader: pa.RecordBatchReader, split: str = split) -> Iterator[pa.RecordBatch]:
            for batch in reader:
                kept = keep(batch)
                kept = kept.filter(pc.equal(kept["split"], split))
                if kept.num_rows:
                    yield pa.record_batch(columns(kept), schema=schema)

        def write(reader: pa.RecordBatchReader, path: Path = path, batches: Callable = batches) -> int:
            return write_parquet(path, schema, batches(reader))

        count = stream_form(database, name, campaign_id, write)
        if count:
            files.append({"path": str(path), "rows": count, "split": split})
    remove_older(folder, {file["path"] for file in files})
    return files


def _conversation(batch: pa.RecordBatch) -> list[pa.Array]:
    prompts = pa.array([turns(text) for text in batch["messages"].to_pylist()], CHAT)
    said = pa.array([[{"role": "assistant", "content": text}] for text in batch["text"].to_pylist()], CHAT)
    return [prompts, said]
