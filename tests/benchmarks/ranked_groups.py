"""Rankings of exact size for the preference trainers' benchmarks: prompts of P tokens, K completions of C tokens.

The same rankings as a run directory for our jobs and as pairs for a pairwise trainer, over a tokenizer of one token
per word and a Llama with random weights. Nothing is trained or timed here.
"""

import itertools
import json
import random
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as parquet
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from pipeline.run_directory import RunDirectory

VOCABULARY = 8192
SPECIAL = {"pad_token": "<pad>", "eos_token": "<eos>", "unk_token": "<unk>"}
TEMPLATE = "{% for m in messages %}{{ m['content'] }}{% endfor %}"
SIZES = {  # hidden size, layers, heads, key-value heads, intermediate size, vocabulary
    "small": (256, 6, 8, 8, 688, VOCABULARY),
    "0.5b": (1024, 24, 16, 4, 4096, 32_768),
    "1b": (2048, 16, 32, 8, 8192, 32_768),
}


@dataclass(frozen=True)
class Shape:
    """How many groups, completions of each, tokens of a prompt and of a completion (its end included)."""

    groups: int
    k: int
    prompt: int
    completion: int

    @property
    def pairs(self) -> int:
        """Pairs of one group."""
        return self.k * (self.k - 1) // 2


@dataclass(frozen=True)
class Ranked:
    """One prompt with its completions, the best first."""

    prompt: str
    completions: list[str]


def rankings(shape: Shape, seed: int = 0) -> list[Ranked]:
    """Random words; the words of a completion are one fewer than its tokens, for its end is one."""
    chance = random.Random(seed)

    def words(count: int) -> str:
        return " ".join(f"w{chance.randrange(VOCABULARY - len(SPECIAL))}" for _ in range(count))

    return [
        Ranked(words(shape.prompt), [words(shape.completion - 1) for _ in range(shape.k)]) for _ in range(shape.groups)
    ]


def tokenizer() -> PreTrainedTokenizerFast:
    """One token for each word, with ends and padding of their own."""
    names = [*SPECIAL.values(), *(f"w{i}" for i in range(VOCABULARY - len(SPECIAL)))]
    words = Tokenizer(models.WordLevel({name: i for i, name in enumerate(names)}, unk_token=SPECIAL["unk_token"]))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    made = PreTrainedTokenizerFast(tokenizer_object=words, **SPECIAL)
    made.chat_template = TEMPLATE
    return made


def save_base(folder: Path, size: str, longest: int, seed: int = 0) -> None:
    """A Llama of that size with random weights, and its tokenizer."""
    hidden, layers, heads, shared_heads, intermediate, vocabulary = SIZES[size]
    words = tokenizer()
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=hidden,
        intermediate_size=intermediate,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=shared_heads,
        max_position_embeddings=max(1024, longest),
        tie_word_embeddings=True,
        pad_token_id=words.pad_token_id,
        eos_token_id=words.eos_token_id,
        bos_token_id=None,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    words.save_pretrained(folder)


def run_of(folder: Path, kind: str, base: Path, ranked: list[Ranked], options: dict, device: str) -> RunDirectory:
    """The rankings as `launch` would hand them to a job, all on train prompts."""
    rows = {"prompts": [], "completions": [], "comparisons": []}
    for number, ranking in enumerate(ranked):
        prompt = f"p-{number}"
        messages = json.dumps([{"role": "user", "content": ranking.prompt}])
        rows["prompts"].append({"prompt_id": prompt, "messages": messages, "split": "train"})
        ids = [number * len(ranking.completions) + i for i in range(len(ranking.completions))]
        for completion_id, text in zip(ids, ranking.completions, strict=True):
            row = {"completion_id": completion_id, "prompt_id": prompt, "model": "base", "text": text}
            rows["completions"].append(row)
        for first, second in itertools.combinations(ids, 2):
            pair = {"prompt_id": prompt, "split": "train", "first_id": first, "second_id": second}
            rows["comparisons"].append({**pair, "preference": 1.0, "weight": 1.0, "grade": 0.0})
    models_of_run = {"policy": {"name": "base", "path": str(base), "device": device}}
    config = {"run": "0001", "kind": kind, "options": options, "seed": 0, "models": models_of_run}
    run = RunDirectory.create(folder, config)
    for name, content in rows.items():
        parquet.write_table(pa.Table.from_pylist(content), run.data / f"{name}.parquet")
    return run


def exploded(ranked: list[Ranked], adjacent: bool) -> list[dict[str, str]]:
    """Each pair as prompt, chosen, rejected: all of them, or only neighbours in the ranking."""
    rows = []
    for ranking in ranked:
        told = itertools.combinations(range(len(ranking.completions)), 2)
        for better, worse in told:
            if not adjacent or worse == better + 1:
                chosen, rejected = (f" {ranking.completions[i]}" for i in (better, worse))
                rows.append({"prompt": ranking.prompt, "chosen": chosen, "rejected": rejected})
    return rows
