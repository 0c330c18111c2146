"""CSV and Parquet files as the records that JSON Lines hold: the same columns, a batch of rows at a time.

In CSV every cell is text: columns that hold lists or objects (completions, messages, metadata, …) are JSON in their
cell, and an empty cell means nothing. In Parquet they are nested columns, or JSON texts. What a record must hold is
decided in import_records.py.
"""

import csv
import io
import json
import math
from collections.abc import Iterable, Iterator
from os import SEEK_END, SEEK_SET
from typing import BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from storage.import_records import MAX_LINE_BYTES, require_clean_texts
from storage.records import InvalidRecord

BATCH_ROWS, BATCH_CHARACTERS = 1_000, 32 * 2**20
JSON_COLUMNS = ("messages", "completions", "annotations", "tags", "metadata", "check")
MAYBE_JSON = ("prompt", "chosen", "rejected")  # a text, or a list of messages
Row = tuple[int, dict | InvalidRecord]
Batches = Iterator[tuple[list[Row], int]]


class NotImportable(ValueError):
    """The file as a whole cannot be imported: another format than its name says, or one that is not taken in."""


def csv_batches(stream: BinaryIO) -> Batches:
    """Rows with the line on which each ends, a batch at a time, and the bytes read so far. Raises NotImportable."""
    csv.field_size_limit(MAX_LINE_BYTES)
    text = io.TextIOWrapper(stream, "utf-8-sig", newline="")
    try:
        reader = csv.reader(text, strict=True)
        names = [name.strip() for name in next(reader, [])]
        if not names or len(set(names)) != len(names) or not {"prompt", "messages", "instruction"} & set(names):
            raise NotImportable(f"file: found the columns {names[:12]}, expected a header with prompt or messages")
        yield from _batched(_csv_rows(reader, names), stream)
    except (csv.Error, UnicodeDecodeError) as error:
        raise NotImportable(f"file: found {error}, expected CSV in UTF-8 with a header line") from error
    finally:
        text.detach()


def _csv_rows(reader, names: list[str]) -> Iterator[Row]:
    for cells in reader:
        if not cells:
            continue
        if len(cells) != len(names):
            yield reader.line_num, InvalidRecord("record", f"{len(cells)} cells", f"{len(names)}, as in the header")
            continue
        yield reader.line_num, _record({name: cell for name, cell in zip(names, cells, strict=True) if cell != ""})


def parquet_batches(stream: BinaryIO) -> Batches:
    """Rows with their numbers from 1, a batch at a time, and the bytes read so far, about. Raises NotImportable."""
    try:
        file = pq.ParquetFile(stream)
        total, rows = _length(stream), max(1, file.metadata.num_rows)
        number = 0
        for batch in file.iter_batches(BATCH_ROWS):
            made = [(number + place, _plain_record(row)) for place, row in enumerate(batch.to_pylist(), 1)]
            number += len(made)
            yield made, total * number // rows
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise NotImportable(f"file: found {error}, expected a Parquet file") from error


READERS = {".csv": csv_batches, ".parquet": parquet_batches}


def _batched(rows: Iterable[Row], stream: BinaryIO) -> Batches:
    batch, size = [], 0
    for number, row in rows:
        batch.append((number, row))
        size += sum(map(len, map(str, row.values()))) if isinstance(row, dict) else 0
        if len(batch) == BATCH_ROWS or size >= BATCH_CHARACTERS:
            yield batch, stream.tell()
            batch, size = [], 0
    yield batch, stream.tell()


def _plain_record(row: dict) -> dict | InvalidRecord:
    """A row of Parquet as JSON would hold it: without nulls, maps as objects, no infinite numbers."""
    return _record({name: _plain(value, name) for name, value in row.items() if value is not None})


def _plain(value: object, name: str = "") -> object:
    if isinstance(value, dict):
        kept = {key: _plain(part, key) for key, part in value.items() if part is not None}
        return kept | ({"ranks": None} if "ranks" in value and value["ranks"] is None else {})
    if isinstance(value, list):
        if name == "ranks" and all(isinstance(pair, tuple) and len(pair) == 2 for pair in value):
            return {str(key): rank for key, rank in value}
        return [_plain(part) for part in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value if isinstance(value, str | int | float | bool) else str(value)


def _record(row: dict) -> dict | InvalidRecord:
    """The row with its JSON texts read."""
    try:
        read = {name: _cell(name, value) for name, value in row.items()}
        require_clean_texts(read)
        return read
    except InvalidRecord as error:
        return error


def _cell(name: str, value: object) -> object:
    if not isinstance(value, str):
        return value
    if name in MAYBE_JSON and value.lstrip().startswith("[{"):
        try:
            return json.loads(value)
        except (ValueError, RecursionError):
            return value
    if name not in JSON_COLUMNS or not value.strip():
        return value if name not in JSON_COLUMNS else None
    try:
        return json.loads(value)
    except (ValueError, RecursionError) as error:
        raise InvalidRecord(name, value, f"JSON in this column ({error})") from None


def _length(stream: BinaryIO) -> int:
    start = stream.tell()
    total = stream.seek(0, SEEK_END)
    stream.seek(start, SEEK_SET)
    return total
