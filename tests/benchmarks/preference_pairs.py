"""Preference pairs of other people's data as a run directory: groups of moderate size, a tenth of the prompts held out.

A line of the file is {"prompt" or "messages", "chosen", "rejected", "source", "meta": {"votes_for_chosen",
"votes_total"}}. The share of the votes is the preference. Where a prompt has many completions, its pairs are cut into
groups of at most MOST completions, each pair in one of them. Nothing is trained here.
"""

import json
import random
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as parquet

from pipeline.run_directory import RunDirectory

MOST = 12  # completions of one group
HELD_OUT = 0.1  # of the prompts, for choosing the pass; of the training file, never of the one that is reported on


@dataclass(frozen=True)
class Preference:
    """One pair: who sent it in, the messages, both texts, and how far the first is preferred."""

    source: str
    messages: tuple[tuple[str, str], ...]  # (role, content)
    chosen: str
    rejected: str
    share: float

    @property
    def chat(self) -> list[dict]:
        """The messages as chat templates take them."""
        return [{"role": role, "content": content} for role, content in self.messages]


def read_preferences(path: Path) -> list[Preference]:
    """Every line of a file."""
    return [_preference(json.loads(line)) for line in path.read_text(encoding="utf-8").splitlines()]


def _preference(row: dict) -> Preference:
    said = row.get("messages") or [{"role": "user", "content": row["prompt"]}]
    meta = row.get("meta") or {}
    share = meta["votes_for_chosen"] / meta["votes_total"] if meta.get("votes_total") else 1.0
    messages = tuple((m["role"], m["content"]) for m in said)
    return Preference(row.get("source", ""), messages, row["chosen"], row["rejected"], share)


def groups_of(preferences: Sequence[Preference], seed: int) -> list[list[Preference]]:
    """Pairs of one prompt together, at most MOST different texts in a group."""
    by_prompt: dict[tuple, list[Preference]] = defaultdict(list)
    for preference in preferences:
        by_prompt[preference.messages].append(preference)
    return [group for pairs in by_prompt.values() for group in _pieces(pairs, random.Random(seed))]


def _pieces(pairs: list[Preference], chance: random.Random) -> list[list[Preference]]:
    left, pieces = list(pairs), []
    chance.shuffle(left)
    while left:
        texts: set[str] = set()
        for pair in left:  # texts that are compared with one another a lot, the first pair's neighbours before others
            joined = texts | {pair.chosen, pair.rejected}
            if len(joined) <= MOST and (not texts or texts & {pair.chosen, pair.rejected}):
                texts = joined
        pieces.append([p for p in left if {p.chosen, p.rejected} <= texts])
        left = [p for p in left if not {p.chosen, p.rejected} <= texts]
    return pieces


def run_of(folder: Path, base: Path, preferences: Sequence[Preference], options: dict) -> RunDirectory:
    """A run directory as `launch` would make it; a tenth of the prompts are its eval split."""
    prompts = sorted({p.messages for p in preferences})
    random.Random(options["seed"]).shuffle(prompts)
    held_out = set(prompts[: round(len(prompts) * HELD_OUT)])
    rows: dict[str, list[dict]] = {"prompts": [], "completions": [], "comparisons": []}
    for number, group in enumerate(groups_of(preferences, options["seed"])):
        split = "eval" if group[0].messages in held_out else "train"
        _add(rows, f"p-{number}", split, group)
    models = {"policy": {"name": "base", "path": str(base)}}
    config = {"run": "0001", "kind": "reward", "options": options, "seed": options["seed"], "models": models}
    run = RunDirectory.create(folder, config)
    for name, content in rows.items():
        parquet.write_table(pa.Table.from_pylist(content), run.data / f"{name}.parquet")
    return run


def _add(rows: dict[str, list[dict]], prompt: str, split: str, group: Sequence[Preference]) -> None:
    rows["prompts"].append({"prompt_id": prompt, "messages": json.dumps(group[0].chat), "split": split})
    ids: dict[str, int] = {}
    for text in (text for pair in group for text in (pair.chosen, pair.rejected)):
        if text not in ids:
            ids[text] = len(rows["completions"])
            row = {"completion_id": ids[text], "prompt_id": prompt, "model": group[0].source, "text": text}
            rows["completions"].append(row)
    for pair in group:
        sides = {"first_id": ids[pair.chosen], "second_id": ids[pair.rejected]}
        told = {"preference": pair.share, "weight": 1.0, "grade": 0.0}
        rows["comparisons"].append({"prompt_id": prompt, "split": split, **sides, **told})
