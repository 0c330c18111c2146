"""K completions of one prompt as one training example: read from a run's data/, batched without padding waste.

A group holds token ids and its pairs as indices, so each completion is forwarded once however many
pairs it is in. Masks are made from lengths; a token's id never decides whether it is padding.
It does not sample, score or train, and never looks into a database.
"""

import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as parquet
import torch
from torch import Tensor

from pipeline.job import Refused
from pipeline.policy import completion_ids, prompt_ids
from pipeline.preference_losses import Pairs


@dataclass(frozen=True)
class Pair:
    """Two completions of a group by index, how far the first is preferred (0 to 1), and its weight.

    grade is the mean signed margin of those who graded it, -3 to 3, positive = first better, 0 = nobody did.
    """

    first: int
    second: int
    preference: float
    weight: float = 1.0
    grade: float = 0.0

    def swapped(self) -> "Pair":
        """The same fact told from the other side."""
        return Pair(self.second, self.first, 1.0 - self.preference, self.weight, -self.grade)


@dataclass(frozen=True)
class Group:
    """One prompt with the completions that were compared; `ids` are the database's completion ids."""

    prompt_id: str
    prompt: list[int]
    completions: list[list[int]]
    pairs: list[Pair]
    ids: list[int]

    @property
    def sequences(self) -> list[tuple[list[int], list[int]]]:
        """(prompt tokens, completion tokens) of each completion."""
        return [(self.prompt, completion) for completion in self.completions]

    @property
    def tokens(self) -> int:
        """Tokens of the prompt once and of all completions."""
        return len(self.prompt) + sum(map(len, self.completions))

    @property
    def longest(self) -> int:
        """Tokens of the longest prompt and completion together."""
        return len(self.prompt) + max(len(c) for c in self.completions)


@dataclass(frozen=True)
class GroupData:
    """The groups of both splits, and how many completions had to be cut to the longest length."""

    train: list[Group]
    eval: list[Group]
    truncated: int

    @property
    def sizes(self) -> dict[str, int]:
        """How much there is to learn from and to measure on: prompts, completions, comparisons of each split."""
        sizes = {}
        for split, groups in (("train", self.train), ("eval", self.eval)):
            sizes[f"{split}_prompts"] = len(groups)
            sizes[f"{split}_completions"] = sum(len(g.completions) for g in groups)
            sizes[f"{split}_comparisons"] = sum(len(g.pairs) for g in groups)
        return sizes


@dataclass(frozen=True)
class GroupBatch:
    """Several groups: N sequences and P pairs whose indices run over all N."""

    sequences: list[tuple[list[int], list[int]]]
    pairs: Pairs


# ---- reading
def read_rows(data: Path, name: str) -> list[dict]:
    """The rows of one Parquet file of a run's data/. Raises Refused where it is missing."""
    path = data / f"{name}.parquet"
    if not path.exists():
        raise Refused(f"{path} does not exist; this run needs {name}. Start the run again from the page.")
    return parquet.read_table(path).to_pylist()


def read_prompts(data: Path, split: str | None = None) -> dict[str, list[dict]]:
    """Messages by prompt id, in file order; one split or all."""
    rows = read_rows(data, "prompts")
    return {r["prompt_id"]: json.loads(r["messages"]) for r in rows if split in (None, r["split"])}


def read_groups(data: Path, tokenizer, max_length: int) -> GroupData:
    """Comparisons with the texts they are about, as groups in file order.

    Raises Refused where there are no comparisons to train on, or all of them are ties.
    """
    prompts = read_prompts(data)
    texts = {row["completion_id"]: row["text"] for row in read_rows(data, "completions")}
    by_prompt: dict[tuple[str, str], list[dict]] = defaultdict(list)
    for row in read_rows(data, "comparisons"):
        by_prompt[row["split"], row["prompt_id"]].append(row)
    splits: dict[str, list[Group]] = {"train": [], "eval": []}
    truncated = 0
    for (split, prompt_id), rows in by_prompt.items():
        group, cut = _group(prompt_id, rows, prompts, texts, tokenizer, max_length)
        splits[split].append(group)
        truncated += cut
    _refuse_unless_learnable(splits["train"], len(splits["eval"]))
    return GroupData(splits["train"], splits["eval"], truncated)


def _group(prompt_id, rows, prompts, texts, tokenizer, max_length: int) -> tuple[Group, int]:
    ids = sorted({row[side] for row in rows for side in ("first_id", "second_id")})
    unknown = [i for i in ids if i not in texts]
    if unknown or prompt_id not in prompts:
        found = f"completions {unknown[:3]}" if unknown else f"prompt {prompt_id}"
        raise Refused(f"data/comparisons.parquet names {found}, which data/ does not hold; take a new snapshot")
    at = {completion_id: index for index, completion_id in enumerate(ids)}
    pairs = [_pair(row, at) for row in rows]
    whole = [(prompt_ids(tokenizer, prompts[prompt_id]), completion_ids(tokenizer, texts[i])) for i in ids]
    fitted = fit_length(whole, max_length)
    cut = sum(a != b for a, b in zip(whole, fitted, strict=True))
    return Group(prompt_id, fitted[0][0], [completion for _, completion in fitted], pairs, ids), cut


def _pair(row: dict, at: dict[int, int]) -> Pair:
    grade = float(row.get("grade") or 0.0)  # runs from before there were grades have no such column
    return Pair(at[row["first_id"]], at[row["second_id"]], float(row["preference"]), float(row["weight"]), grade)


def fit_length(sequences: Sequence[tuple[list[int], list[int]]], limit: int) -> list[tuple[list[int], list[int]]]:
    """Completions of one prompt cut to `limit` tokens together with it.

    A completion keeps its start, at most limit - 1 tokens; the prompt keeps its end, the same for
    all completions, so that they stay comparable.
    """
    completions = [completion[: limit - 1] for _, completion in sequences]
    room = limit - max(len(c) for c in completions)
    return [(prompt[-room:], completion) for (prompt, _), completion in zip(sequences, completions, strict=True)]


def _refuse_unless_learnable(train: list[Group], held_out: int) -> None:
    pairs = [pair for group in train for pair in group.pairs]
    if not pairs:
        aside = f"; {held_out} eval prompts have some, but eval data is never trained on" if held_out else ""
        raise Refused(f"There are no comparisons on train prompts{aside}. Rank some tasks first.")
    if all(pair.preference == 0.5 for pair in pairs):
        raise Refused(f"All {len(pairs)} comparisons are ties: there is no preference to learn. Rank more tasks.")


# ---- batching
def collate(groups: Sequence[Group], device: torch.device | str = "cpu") -> GroupBatch:
    """Groups side by side; pair indices are moved to the batch's numbering."""
    sequences, rows, offset = [], [], 0
    for group in groups:
        sequences += group.sequences
        rows += [(p.first + offset, p.second + offset, p.preference, p.weight, p.grade) for p in group.pairs]
        offset += len(group.completions)
    pairs = torch.tensor([row[:2] for row in rows], dtype=torch.long, device=device).reshape(-1, 2)
    values = torch.tensor([row[2:] for row in rows], dtype=torch.float32, device=device).reshape(-1, 3)
    return GroupBatch(sequences, Pairs(pairs, *values.unbind(1)))


def sequences_of(groups: Iterable[Group]) -> list[tuple[list[int], list[int]]]:
    """The (prompt ids, completion ids) of every completion, group by group."""
    return [sequence for group in groups for sequence in group.sequences]


def total_weight(groups: Iterable[Group]) -> float:
    """Summed weight of all pairs."""
    return sum(pair.weight for group in groups for pair in group.pairs)


def pad_right(sequences: Sequence[Sequence[int]], pad_id: int, device=None) -> tuple[Tensor, Tensor]:
    """Token ids [N, T] filled up on the right, and the lengths [N] that masks are made from."""
    lengths = torch.tensor([len(s) for s in sequences], device=device)
    width = max(len(s) for s in sequences)
    rows = [list(s) + [pad_id] * (width - len(s)) for s in sequences]
    return torch.tensor(rows, dtype=torch.long, device=device), lengths


def within_budget(sizes: Sequence[tuple[int, int]], token_budget: int) -> list[list[int]]:
    """Indices in batches of similar length whose padded size stays within a token budget.

    sizes: (rows, longest row) of each item. One item larger than the budget is a batch of its own.
    """
    batches: list[list[int]] = []
    rows = 0
    for index in sorted(range(len(sizes)), key=lambda i: sizes[i][1]):
        count, longest = sizes[index]
        if not batches or (rows + count) * longest > token_budget:
            batches.append([])
            rows = 0
        batches[-1].append(index)
        rows += count
    return batches


def group_batches(groups: Sequence[Group], token_budget: int, together: bool = True) -> list[list[Group]]:
    """Whole groups in batches of similar length under a token budget; together: the completions share the prompt."""
    sizes = [(1, g.tokens) if together else (len(g.completions), g.longest) for g in groups]
    return [[groups[i] for i in batch] for batch in within_budget(sizes, token_budget)]
