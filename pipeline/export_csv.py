"""Answers, ratings, thumbs, flags and completions as CSV files for a spreadsheet.

Cells that a spreadsheet would run as a formula are told to be text by a leading apostrophe. Nothing else is changed;
whoever computes with the data takes the Parquet files.
"""

import csv
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa

from pipeline.export_files import beside, open_folder
from storage.database import Database
from storage.form_tables import stream_form
from storage.raw_tables import stream

FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")  # OWASP, CSV injection; full-width signs too
TABLES = ("ratings", "thumbs", "flags", "completions", "prompts")


def export_csv(database: Database, folder: str | Path, campaign_id: int | None = None) -> dict:
    """Write answers.csv (order: completion ids from best to worst, such as 12 > 14 = 15), ratings.csv, thumbs.csv,
    flags.csv, completions.csv and prompts.csv. Returns the same as `export.export_trl`, with split None."""
    folder = open_folder(folder)
    files = [_write(database, folder / "answers.csv", "answers", campaign_id, stream_form)]
    files += [_write(database, folder / f"{name}.csv", name, campaign_id, stream) for name in TABLES]
    return {"files": files, "ties_dropped": 0}


def harmless(value: object) -> object:
    """A cell as a spreadsheet shows it rather than runs it."""
    if isinstance(value, list):
        value = " ".join(map(str, value))
    if isinstance(value, str) and value.lstrip(" ").startswith(FORMULA):
        return "'" + value
    return value


def order(ids: list[int], ranks: list[int] | None) -> str:
    """Completion ids from best to worst, equal ones joined by "="; empty without ranks."""
    if not ranks:
        return ""
    tiers = [[str(c) for c, rank in zip(ids, ranks, strict=True) if rank == place] for place in sorted(set(ranks))]
    return " > ".join(" = ".join(tier) for tier in tiers)


def _write(database: Database, path: Path, name: str, campaign_id: int | None, read) -> dict:
    temporary = beside(path)
    try:
        with temporary.open("w", encoding="utf-8", newline="") as file:
            rows = read(database, name, campaign_id, lambda reader: _write_rows(csv.writer(file), reader))
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    return {"path": str(path), "rows": rows, "split": None}


def _write_rows(writer, reader: pa.RecordBatchReader) -> int:
    names = [name for name in reader.schema.names if name not in ("ranks", "completion_ids")]
    ranked = "ranks" in reader.schema.names
    writer.writerow([*names, "order"] if ranked else names)
    count = 0
    for row in _rows(reader):
        cells = [_cell(row[name]) for name in names]
        writer.writerow([*cells, order(row["completion_ids"], row["ranks"])] if ranked else cells)
        count += 1
    return count


def _rows(reader: pa.RecordBatchReader) -> Iterator[dict]:
    for batch in reader:
        yield from batch.to_pylist()


def _cell(value: object) -> object:
    return value.isoformat() if hasattr(value, "isoformat") else harmless(value)
