"""The reference's log-probabilities of completions, kept from run to run: they never change.

A row is keyed by the model (hash of its weights, and its arithmetic), and by a hash of the token ids of prompt
and completion, so a cut or re-tokenised text is never taken for another. `launch` copies the rows of a run's
completions into its data/, the job computes what is missing and writes all rows to its artifacts/, the monitor
takes new ones back. The app keeps one file per reference version. Imports no torch: both sides use it.
"""

import hashlib
import logging
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

FILE = "reference_log_probs.parquet"
FOLDER = "reference_log_probs"  # of the data folder
SCHEMA = pa.schema(
    [("model", pa.string()), ("tokens", pa.string()), ("completion_id", pa.int64()), ("log_prob", pa.float64())]
)

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Known:
    """One completion's log-probability, summed over its tokens, under the model of the file it stands in."""

    tokens: str
    completion_id: int
    log_prob: float


def token_hash(prompt: Sequence[int], completion: Sequence[int]) -> str:
    """32 hex digits over both lists of token ids."""
    told = f"{','.join(map(str, prompt))}|{','.join(map(str, completion))}"
    return hashlib.sha256(told.encode()).hexdigest()[:32]


# ---- the job's side
def known_log_probs(data: Path, model: str) -> dict[str, float]:
    """What data/ holds for this model, by token hash; empty where there is no file, or none that can be read."""
    table = _read(data / FILE)
    return {row["tokens"]: row["log_prob"] for row in table.filter(pc.equal(table["model"], model)).to_pylist()}


def write_log_probs(artifacts: Path, model: str, rows: Iterable[Known]) -> None:
    """All rows of a run, old and new."""
    columns = [
        {"model": model, "tokens": r.tokens, "completion_id": r.completion_id, "log_prob": r.log_prob} for r in rows
    ]
    _write(pa.Table.from_pylist(columns, schema=SCHEMA), artifacts / FILE)


# ---- the app's side
def copy_known(cache: Path, version: str, completion_ids: pa.ChunkedArray | pa.Array, data: Path) -> int:
    """Put the rows of these completions under a version into a run's data/; returns how many there are."""
    table = _read(_place(cache, version))
    wanted = table.filter(pc.is_in(table["completion_id"], pa.array(completion_ids.to_pylist(), pa.int64())))
    if wanted.num_rows:
        _write(wanted, data / FILE)
    return wanted.num_rows


def take_back(cache: Path, version: str, artifacts: Path) -> int:
    """Add a run's rows to a version's file, each once; returns how many were new. Doing it again adds nothing."""
    fresh, there = _read(artifacts / FILE), _read(_place(cache, version))
    kept = _keyed(there)
    new = [row for key, row in _keyed(fresh).items() if key not in kept]
    if new:
        cache.mkdir(parents=True, exist_ok=True)
        _write(pa.concat_tables([there, pa.Table.from_pylist(new, schema=SCHEMA)]), _place(cache, version))
    return len(new)


def _keyed(table: pa.Table) -> Mapping[tuple, dict]:
    return {(row["model"], row["tokens"], row["completion_id"]): row for row in table.to_pylist()}


def _place(cache: Path, version: str) -> Path:
    """A version's file; its name may hold anything, so the file is named by its hash."""
    return cache / f"{hashlib.sha256(version.encode()).hexdigest()[:24]}.parquet"


def _read(path: Path) -> pa.Table:
    """The file's rows; none where it is missing or damaged, for what it holds can be computed again."""
    if not path.exists():
        return SCHEMA.empty_table()
    try:
        return pq.read_table(path).select(SCHEMA.names).cast(SCHEMA)
    except (pa.ArrowException, OSError, KeyError, ValueError) as error:
        log.warning("%s cannot be read (%s); its rows will be computed again", path, error)
        return SCHEMA.empty_table()


def _write(table: pa.Table, path: Path) -> None:
    """Replace the file: a reader sees the old rows or the new ones."""
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    pq.write_table(table, unfinished, compression="zstd")
    unfinished.replace(path)
