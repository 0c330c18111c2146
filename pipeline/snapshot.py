"""Freeze what a run learns from: prompts, completions and comparisons as Parquet, under one content hash.

Reads storage up to the watermark (the highest answer there is) and writes files; decides which data a
kind needs and refuses where there are none. Does not choose models and does not start anything.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.comparisons import comparisons, judged_pairs
from storage import rankings
from storage.database import Database
from storage.text_tables import campaign_completions, completion_table, demonstration_table, prompt_table

TABLES = {  # what each kind finds in data/
    "starter": (),
    "export": (),
    "generate": ("prompts",),
    "evaluate": ("prompts",),
    "ppo": ("prompts", "demonstrations"),
    "sft": ("prompts", "demonstrations"),
    "score": ("prompts", "completions"),
    "reward": ("prompts", "completions", "comparisons", "judgements"),
    "dpo": ("prompts", "completions", "comparisons"),
}
ORDER = {  # sorted by these, so that row order does not touch the hash
    "prompts": ("prompt_id",),
    "completions": ("completion_id",),
    "comparisons": ("prompt_id", "first_id", "second_id"),
    "demonstrations": ("prompt_id", "demonstration_id"),
    "judgements": ("prompt_id", "first_id", "second_id", "person_id", "outcome"),
}


class LaunchRefused(RuntimeError):
    """A run cannot start because models or data are missing: says what was found, expected, and what to do."""


@dataclass(frozen=True)
class Snapshot:
    """The tables of one run by name, their content hash (None without tables) and the watermark they were read at.

    sizes: {"prompts": {"train": n, "eval": m}, …} with the rows of each split, without one where a table has none.
    papers: further files by name; they are no data and not in the hash.
    """

    tables: dict[str, pa.Table] = field(default_factory=dict)
    data_hash: str | None = None
    watermark: int = 0
    sizes: dict[str, dict[str, int]] = field(default_factory=dict)
    papers: dict[str, bytes] = field(default_factory=dict)

    def write(self, folder: Path) -> None:
        """Write each table as `<name>.parquet` into the folder, and the papers as they are."""
        for name, table in self.tables.items():
            pq.write_table(table, folder / f"{name}.parquet", compression="zstd")
        for name, content in self.papers.items():
            (folder / name).write_bytes(content)


def freeze(database: Database, campaign_id: int | None, kind: str) -> Snapshot:
    """The data of one campaign as a run of this kind sees them. Raises LaunchRefused where it would be empty."""
    watermark = rankings.watermark(database)
    tables: dict[str, pa.Table] = {}
    if "comparisons" in TABLES[kind]:
        tables = _compared(database, campaign_id, kind, watermark)
    elif kind == "score":
        tables = _written(database, campaign_id)
    elif kind == "sft":
        tables = _demonstrated(database, campaign_id)
    elif "prompts" in TABLES[kind]:
        tables = {"prompts": _prompts(database, campaign_id, kind)}
        if "demonstrations" in TABLES[kind] and (shown := demonstration_table(database, campaign_id)).num_rows:
            tables["demonstrations"] = shown
    tables = {name: _sorted(table, ORDER[name]) for name, table in tables.items()}
    data_hash = content_hash(tables) if tables else None
    return Snapshot(tables, data_hash, watermark, {name: _splits(table) for name, table in tables.items()})


def content_hash(tables: dict[str, pa.Table]) -> str:
    """sha256 over names, columns and values; not over files, chunks or the order of rows."""
    digest = hashlib.sha256()
    for name in sorted(tables):
        table = _sorted(tables[name], ORDER[name])
        digest.update(f"{name}:{table.num_rows}\n".encode())
        for column in sorted(table.column_names):
            digest.update(f"{column}\n".encode())
            for part in _canonical(table[column]):
                digest.update(part)
    return digest.hexdigest()


def _compared(database: Database, campaign_id: int, kind: str, watermark: int) -> dict[str, pa.Table]:
    answers = rankings.answer_table(database, campaign_id, up_to=watermark)
    pairs = comparisons(answers)
    trained_on = pc.sum(pc.equal(pairs["split"], "train")).as_py() or 0
    if not trained_on:
        raise LaunchRefused(
            f"{kind}: found {answers.num_rows} answers that give 0 comparisons of prompts in the train split, expected "
            "at least 1; rank some tasks first (Rank page, `simulate`, or `import --with-annotations`)"
        )
    compared = np.unique(np.concatenate([pairs["first_id"].to_numpy(), pairs["second_id"].to_numpy()]))
    prompts = prompt_table(database, campaign_id)
    used = pc.is_in(prompts["prompt_id"], pairs["prompt_id"].unique())
    completions = completion_table(database, compared)
    tables = {"prompts": prompts.filter(used), "completions": completions, "comparisons": pairs}
    if "judgements" in TABLES[kind]:
        tables["judgements"] = judged_pairs(answers)
    return tables


def _written(database: Database, campaign_id: int) -> dict[str, pa.Table]:
    """All completions of the campaign's prompts, with those prompts."""
    completions, prompts = campaign_completions(database, campaign_id), prompt_table(database, campaign_id)
    if not completions.num_rows:
        raise LaunchRefused(
            "score: found 0 completions in the campaign, expected at least 1; `import` or `generate` some"
        )
    used = pc.is_in(prompts["prompt_id"], completions["prompt_id"].unique())
    return {"prompts": prompts.filter(used), "completions": completions}


def _demonstrated(database: Database, campaign_id: int) -> dict[str, pa.Table]:
    """Demonstrations with the prompts they answer."""
    shown, prompts = demonstration_table(database, campaign_id), prompt_table(database, campaign_id)
    prompts = prompts.filter(pc.is_in(prompts["prompt_id"], shown["prompt_id"].unique()))
    if not (pc.sum(pc.equal(prompts["split"], "train")).as_py() or 0):
        raise LaunchRefused(
            f"sft: found {shown.num_rows} demonstrations, 0 of prompts in the train split, expected at least 1; "
            "`import` prompts with a response, or let annotators edit the best answer"
        )
    return {"prompts": prompts, "demonstrations": shown}


def _prompts(database: Database, campaign_id: int, kind: str) -> pa.Table:
    table = prompt_table(database, campaign_id)
    needed = "train" if kind == "ppo" else None
    usable = table if needed is None else table.filter(pc.equal(table["split"], needed))
    if not usable.num_rows:
        which = f"prompts in the {needed} split" if needed else "prompts"
        raise LaunchRefused(f"{kind}: found 0 {which} in the campaign, expected at least 1; `import` some first")
    return table


def _sorted(table: pa.Table, columns: Sequence[str]) -> pa.Table:
    return table.sort_by([(column, "ascending") for column in columns]).combine_chunks()


def _canonical(column: pa.ChunkedArray):
    """Bytes that depend on the values only: fixed-width little-endian numbers; lengths, then UTF-8, for texts."""
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        yield pc.binary_length(column).to_numpy().astype("<i8").tobytes()
        yield b"".join(text.encode() for text in column.to_pylist())
    elif pa.types.is_floating(column.type):
        yield column.to_numpy().astype("<f8").tobytes()
    else:
        yield column.to_numpy().astype("<i8").tobytes()


def _splits(table: pa.Table) -> dict[str, int]:
    if "split" not in table.column_names:
        return {"rows": table.num_rows}
    return {name: pc.sum(pc.equal(table["split"], name)).as_py() or 0 for name in ("train", "eval")}
