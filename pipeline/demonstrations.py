"""People's own answers in a run's data/: what sft learns, PPO mixes in, and scores may be measured from.

`demonstrations.parquet` has prompt_id and text; the prompts are those of `prompts.parquet`. A run without the
file has no demonstrations.
"""

from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as parquet
import torch

from pipeline.groups import fit_length, read_prompts
from pipeline.policy import Policy, completion_ids, prompt_ids

FILE = "demonstrations.parquet"


@dataclass(frozen=True)
class Demonstrations:
    """The same answers as (messages, text) and as (prompt ids, completion ids)."""

    texts: list[tuple[list[dict], str]]
    sequences: list[tuple[list[int], list[int]]]
    cut: int = 0  # how many were longer than allowed

    def __len__(self) -> int:
        return len(self.sequences)

    def drawn(self, count: int, draws: torch.Generator) -> list[tuple[list[int], list[int]]]:
        """So many at random, with replacement."""
        return [self.sequences[i] for i in torch.randint(len(self), (count,), generator=draws).tolist()]


NONE = Demonstrations([], [])


def read_demonstrations(data: Path, policy: Policy, limit: int, split: str = "train") -> Demonstrations:
    """Those on prompts of one split in the file's order, each cut to `limit` tokens with its prompt; none, no file."""
    if not (data / FILE).is_file():
        return NONE
    prompts = read_prompts(data, split)
    rows = parquet.read_table(data / FILE, columns=["prompt_id", "text"]).to_pylist()
    texts = [(prompts[row["prompt_id"]], row["text"]) for row in rows if row["prompt_id"] in prompts]
    whole = [(prompt_ids(policy.tokenizer, m), completion_ids(policy.tokenizer, text)) for m, text in texts]
    sequences = [fitted for one in whole for fitted in fit_length([one], limit)]
    return Demonstrations(texts, sequences, sum(a != b for a, b in zip(whole, sequences, strict=True)))
