"""Writes a campaign's data as Parquet: preferences as TRL takes them, or the raw tables; and names every form.

Files appear whole, by rename. It trains nothing and sends nothing; pairs of ids for our own trainers are
the business of `snapshot.py`. What single answer forms gathered is written in `export_forms.py` and `export_csv.py`.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.comparisons import comparisons
from pipeline.export_csv import export_csv
from pipeline.export_files import CHAT, FILES, open_folder, remove_older, turns, write_parquet
from pipeline.export_forms import export_kto, export_sft
from storage.database import Database
from storage.rankings import answer_table
from storage.raw_tables import QUERIES, messages_table, stream
from storage.text_tables import completion_table

PREFERENCES = pa.schema([("prompt", CHAT), ("chosen", CHAT), ("rejected", CHAT)])
GRADED = PREFERENCES.append(pa.field("margin", pa.float64()))
SHARD_ROWS, GROUP_ROWS = 100_000, 5_000


def export_trl(database: Database, folder: str | Path, campaign_id: int | None = None) -> dict:
    """Write `train-00000.parquet`, … and `test-00000.parquet`, … (eval prompts) of conversational preferences.

    Columns prompt, chosen and rejected are lists of {role, content}; each comparison is one row, told from the
    majority's side. Where people graded any of them, margin says how much better the chosen one is: the mean grade,
    0 to 3, and 0 where nobody graded; TRL's reward trainer takes it into its loss. Exact ties are dropped and counted.
    Older files of these names in the folder go.
    Returns {"files": [{"path", "rows", "split"}], "ties_dropped"}.
    """
    folder = open_folder(folder)
    pooled = comparisons(answer_table(database, campaign_id))
    decided = pooled.filter(pc.not_equal(pooled["preference"], 0.5))
    texts = _Texts(database, decided)
    schema = GRADED if pc.any(pc.not_equal(decided["grade"], 0.0)).as_py() else PREFERENCES
    files = []
    for split, name in FILES.items():
        rows = decided.filter(pc.equal(decided["split"], split))
        for shard, start in enumerate(range(0, rows.num_rows, SHARD_ROWS)):
            part = rows.slice(start, SHARD_ROWS)
            path = folder / f"{name}-{shard:05d}.parquet"
            rows_written = write_parquet(path, schema, texts.preferences(part, schema))
            files.append({"path": str(path), "rows": rows_written, "split": split})
    remove_older(folder, {file["path"] for file in files})
    return {"files": files, "ties_dropped": pooled.num_rows - decided.num_rows}


def export_raw(database: Database, folder: str | Path, campaign_id: int | None = None) -> dict:
    """Write one Parquet file per table: answers with their status, ratings, thumbs, flags, completions, prompts, tasks,
    people without passwords or keys, demonstrations, campaigns. Returns the same as `export_trl`, with split None."""
    folder, files = open_folder(folder), []
    for name in QUERIES:
        path = folder / f"{name}.parquet"
        rows = stream(database, name, campaign_id, lambda reader, path=path: write_parquet(path, reader.schema, reader))
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
            [pa.array([turns(text.as_py()) for text in chunk], CHAT) for chunk in asked["messages"].chunks], CHAT
        )

    def preferences(self, pairs: pa.Table, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
        """Rows of PREFERENCES or GRADED, a group at a time: text is copied for one group only."""
        for start in range(0, pairs.num_rows, GROUP_ROWS):
            part = pairs.slice(start, GROUP_ROWS)
            first, second = part["first_id"].to_numpy(), part["second_id"].to_numpy()
            won = part["preference"].to_numpy() > 0.5
            places = pc.index_in(part["prompt_id"].combine_chunks(), self._prompt_ids)
            chosen, rejected = np.where(won, first, second), np.where(won, second, first)
            prompts = self._messages.take(places).combine_chunks()
            columns = [prompts, self._said(chosen), self._said(rejected)]
            if "margin" in schema.names:
                grade = part["grade"].to_numpy()
                columns.append(pa.array(np.maximum(0.0, np.where(won, grade, -grade))))
            yield pa.record_batch(columns, schema=schema)

    def _said(self, ids: np.ndarray) -> pa.Array:
        texts = self._answers.take(pa.array(np.searchsorted(self._ids, ids))).combine_chunks()
        turns = pa.StructArray.from_arrays([pa.repeat("assistant", len(ids)), texts], fields=list(CHAT.value_type))
        return pa.ListArray.from_arrays(pa.array(np.arange(len(ids) + 1), pa.int32()), turns, type=CHAT)


EXPORTS: dict[str, Callable[[Database, str | Path, int | None], dict]] = {
    "trl": export_trl,
    "kto": export_kto,
    "sft": export_sft,
    "csv": export_csv,
    "raw": export_raw,
}
MEANINGS = {
    "trl": "preferences for TRL: prompt, chosen, rejected, and the margin where people graded (Parquet)",
    "kto": "thumbs for TRL's KTO: prompt, completion, label (Parquet)",
    "sft": "demonstrations and edited answers for TRL's SFT: prompt, completion (Parquet)",
    "csv": "answers, ratings, thumbs and flags for a spreadsheet (CSV)",
    "raw": "every table as it is stored (Parquet)",
}
