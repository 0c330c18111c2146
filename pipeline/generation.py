"""Write completions for a campaign's prompts with one policy, or with two for a comparison.

The completions leave as closed Parquet pieces while the job runs, so that people can rank the first ones
early. A job started again on its directory goes on after the last closed piece. It judges nothing.

    python -m pipeline.generation RUN_DIRECTORY
"""

import hashlib
import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as parquet
import torch

from pipeline.configs import GenerateConfig, make_config
from pipeline.job import Cancelled, Progress, Refused, main
from pipeline.policy import Policy, load_policy, prompt_ids
from pipeline.precision import bfloat16_is_fast, pick_device
from pipeline.run_directory import RunDirectory
from pipeline.sampling import decode, sample
from pipeline.shared_base import Seat, Shelf

FIRST_PIECE, PIECE = 8, 32  # prompts; the first piece is small so that the first task opens early
ROUNDS = 4  # of sampling for one prompt, where completions come out twice
SCHEMA = pa.schema(
    [
        ("prompt_id", pa.string()),
        ("model", pa.string()),
        ("text", pa.string()),
        ("ended", pa.bool_()),
        ("settings", pa.string()),
    ]
)


@dataclass(frozen=True)
class PromptRow:
    """One row of data/prompts.parquet."""

    prompt_id: str
    messages: list[dict]
    split: str


@dataclass(frozen=True)
class Writer:
    """A policy under its version name, and how many completions per prompt it writes."""

    name: str
    seat: Seat
    k: int

    @property
    def policy(self) -> Policy:
        """Answers as itself only within `seat.meanwhile()`: the baseline may be on the same base."""
        return self.seat.policy

    def fits(self, messages: list[dict]) -> bool:
        """Whether the prompt leaves the model a position to write to."""
        return len(prompt_ids(self.policy.tokenizer, messages)) < self.policy.max_length


def work(run: RunDirectory, config: dict) -> dict:
    """Sample, piece by piece. Raises Refused without prompts, Cancelled between two pieces."""
    options: GenerateConfig = make_config("generate", config.get("options"))
    models = config["models"]
    rows = read_prompt_rows(run.data, options.prompts, eval_first="against" in models)
    writers = _writers(models, options.k)
    fitting = [row for row in rows if all(writer.fits(row.messages) for writer in writers)]
    if not fitting:
        raise Refused(f"prompts: found {len(rows)}, none short enough for the model; import shorter ones")
    folder = run.artifacts / "completions"
    folder.mkdir(parents=True, exist_ok=True)
    pieces, progress, begun = list(cut(fitting)), Progress(run, len(fitting) * options.k), time.monotonic()
    done = written = 0
    for number, piece in enumerate(pieces):
        path = folder / f"part-{number:05d}.parquet"
        if not path.exists():
            if progress.cancelled:
                raise Cancelled(f"stopped after {number} of {len(pieces)} pieces; they are kept")
            report = _reporter(progress, done)
            table = _completions(writers, piece, options, number, report)
            written += len(table)
            rate = written / (time.monotonic() - begun)
            # Before the piece is closed: a job killed in between says it again, and no step is missing.
            run.append_metrics(done + len(piece) * options.k, {"completions/s": rate, **_describe([table])})
            _close(table, path)
        done += len(piece) * options.k
    tables = [parquet.read_table(folder / f"part-{number:05d}.parquet") for number in range(len(pieces))]
    return {
        "completions": sum(map(len, tables)),
        "parts": len(pieces),
        "metrics": _describe(tables),
        "sizes": {"prompts": len(fitting), "skipped": len(rows) - len(fitting)},
    }


def read_prompt_rows(data: Path, count: int = 0, eval_first: bool = False) -> list[PromptRow]:
    """The first `count` prompts (0 = all) of a run's data in file order, eval prompts first if asked.

    Raises Refused where there is none.
    """
    path = data / "prompts.parquet"
    table = parquet.read_table(path).to_pylist() if path.exists() else []
    rows = [PromptRow(row["prompt_id"], json.loads(row["messages"]), row["split"]) for row in table]
    if not rows:
        raise Refused("prompts: found none in data/prompts.parquet, expected at least one; import prompts first")
    if eval_first:
        rows.sort(key=lambda row: row.split != "eval")
    return rows[:count] if count else rows


def cut(rows: Sequence[PromptRow]) -> Iterator[Sequence[PromptRow]]:
    """The prompts of each piece; the cut depends on nothing else, so a restarted job finds the same pieces."""
    yield rows[:FIRST_PIECE]
    for start in range(FIRST_PIECE, len(rows), PIECE):
        yield rows[start : start + PIECE]


def distinct_texts(
    policy: Policy,
    prompts: Sequence[list[int]],
    k: int,
    options: GenerateConfig,
    seed: int,
    on_progress: Callable[[int], None] | None = None,
) -> list[dict[str, bool]]:
    """For each prompt (ids) up to k distinct texts, each with whether it ended by itself.

    Texts that come twice are sampled again, `ROUNDS` rounds in all; after that a prompt keeps fewer.
    """
    generator = torch.Generator().manual_seed(seed)
    found: list[dict[str, bool]] = [{} for _ in prompts]
    for _ in range(ROUNDS):
        missing = [i for i, texts in enumerate(found) for _ in range(k - len(texts))]
        if not missing:
            break
        ids = [prompts[i] for i in missing]
        sampled = sample(policy, ids, options.max_new_tokens, options.temperature, generator, options.batch_size)
        for i, one in zip(missing, sampled, strict=True):
            found[i].setdefault(decode(policy.tokenizer, one.tokens), one.ended)
        if on_progress:
            on_progress(sum(map(len, found)))
    return found


def seed_of(*parts: object) -> int:
    """A 63-bit seed from anything that has a text; nearby inputs give unrelated seeds."""
    digest = hashlib.sha256("\x1f".join(map(str, parts)).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def load_writer(path: str | Path, device: str | None = None) -> Policy:
    """The policy at a folder or Hub id, for sampling only: bfloat16 weights on a GPU that is fast with them."""
    where = pick_device(device)
    small = where.type == "cuda" and bfloat16_is_fast(where)
    return load_policy(path, where, dtype=torch.bfloat16 if small else torch.float32)


def _writers(models: dict, k: int) -> list[Writer]:
    shelf = Shelf(load_writer)
    shares = {"policy": k - k // 2, "against": k // 2} if "against" in models else {"policy": k}
    return [
        Writer(models[place]["name"], shelf.get(models[place]["path"], models[place].get("device")), own)
        for place, own in shares.items()
    ]


def _completions(
    writers: Sequence[Writer],
    piece: Sequence[PromptRow],
    options: GenerateConfig,
    number: int,
    report: Callable[[int], None],
) -> pa.Table:
    rows, before = [], 0
    for place, writer in enumerate(writers):
        prompts = [prompt_ids(writer.policy.tokenizer, row.messages) for row in piece]
        # Unlike seeds by place: two policies that are nearly the same should not write the same texts.
        seed = seed_of(options.seed, number, place)
        settings = {"temperature": options.temperature, "max_new_tokens": options.max_new_tokens, "seed": options.seed}
        with writer.seat.meanwhile():
            found = distinct_texts(writer.policy, prompts, writer.k, options, seed, lambda n, b=before: report(b + n))
        for row, texts in zip(piece, found, strict=True):
            rows += [
                {
                    "prompt_id": row.prompt_id,
                    "model": writer.name,
                    "text": text,
                    "ended": ended,
                    "settings": json.dumps(settings),
                }
                for text, ended in texts.items()
            ]
        before += sum(map(len, found))
    rows.sort(key=lambda r: r["prompt_id"])
    return pa.Table.from_pylist(rows, SCHEMA)


def _reporter(progress: Progress, done: int) -> Callable[[int], None]:
    return lambda n: progress.step(done + n, f"{done + n} of {progress.total} completions")


def _close(table: pa.Table, path: Path) -> None:
    unfinished = path.with_suffix(".unfinished")
    parquet.write_table(table, unfinished, compression="zstd")
    unfinished.replace(path)


def _describe(tables: Sequence[pa.Table]) -> dict[str, float]:
    texts = [text for table in tables for text in table["text"].to_pylist()]
    ended = [flag for table in tables for flag in table["ended"].to_pylist()]
    return {"len/eos_rate": sum(ended) / len(ended), "len/words": sum(len(t.split()) for t in texts) / len(texts)}


if __name__ == "__main__":
    main(work)
