"""Run directories with a few ranked completions for the trainers' tests, and the switch to exact arithmetic."""

import itertools
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as parquet
import pytest

from pipeline.run_directory import RunDirectory

TEXTS = ("Thank you for the warm soup.", "A fox lived near a river.", "Bye.", "I do not know, sorry.")


def write_rows(folder: Path, name: str, rows: list[dict]) -> None:
    """One of a run's data files."""
    parquet.write_table(pa.Table.from_pylist(rows), folder / f"{name}.parquet")


def ranked_rows(train: int = 4, held_out: int = 2, k: int = 4) -> dict[str, list[dict]]:
    """Prompts with k completions each; the shorter of two completions is preferred, shared by two annotators."""
    rows = {"prompts": [], "completions": [], "comparisons": []}
    for number in range(train + held_out):
        prompt, split = f"p-{number}", "train" if number < train else "eval"
        messages = json.dumps([{"role": "user", "content": f"Write a story about a bear, number {number}."}])
        rows["prompts"].append({"prompt_id": prompt, "messages": messages, "split": split})
        ids = range(10 * number, 10 * number + k)
        for i in ids:
            text = TEXTS[i % 10] + " Stir." * (number % 3)
            rows["completions"].append({"completion_id": i, "prompt_id": prompt, "model": "tiny", "text": text})
        for first, second in itertools.combinations(ids, 2):
            preferred = float(len(TEXTS[first % 10]) < len(TEXTS[second % 10]))
            pair = {"prompt_id": prompt, "split": split, "first_id": first, "second_id": second}
            share = {"preference": 0.25 + preferred / 2, "weight": 2 / (k * (k - 1) / 2), "margin": 0.0}
            rows["comparisons"].append({**pair, **share, "annotators": 2})
    return rows


def training_run(
    path: Path, kind: str, models: dict, options: dict | None = None, rows=None, resources: dict | None = None
) -> RunDirectory:
    """A run directory as launch makes it; models maps a role to a folder."""
    named = {role: {"name": role if role != "policy" else "tiny", "path": str(p)} for role, p in models.items()}
    config = {"run": "0001", "kind": kind, "options": options or {}, "seed": 0, "models": named}
    config |= {"resources": resources} if resources else {}
    run = RunDirectory.create(path, config)
    for name, content in (rows or ranked_rows()).items():
        if content:
            write_rows(run.data, name, content)
    return run


def exact_arithmetic(monkeypatch: pytest.MonkeyPatch) -> None:
    """float32 throughout, also where this machine would use bfloat16 products."""
    monkeypatch.setattr("pipeline.precision.bfloat16_is_fast", lambda device: False)
