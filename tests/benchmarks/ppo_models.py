"""What both arms of the PPO benchmark train: the project's starter, a reward model on simulated rankings, prompts.

Made once by the project's own jobs and kept in the benchmarks' folder under a hash of the recipe. The rankings are
those of five simulated annotators over four samples per prompt; nothing here is timed.
"""

import hashlib
import itertools
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as parquet
from transformers import AutoTokenizer

from pipeline.corpus import demo_prompts
from pipeline.policy import load_policy, prompt_ids
from pipeline.run_directory import RunDirectory
from pipeline.sampling import decode, sample
from pipeline.synthetic import make_annotators

CACHE = Path(os.environ.get("RANKLOOP_BENCHMARKS", Path.home() / ".cache" / "rankloop-benchmarks"))
ROOT = Path(__file__).parents[2]
RECIPE = {"seed": 0, "prompts": 800, "ranked": 300, "k": 4, "annotators": 5}  # the last 200 prompts are held out
HELD_OUT = 200


@dataclass(frozen=True)
class Models:
    """Folders in Hugging Face format, and prompts as text; those to train on also as the policy's ids."""

    policy: Path
    reward: Path
    train: list[str]
    held_out: list[str]

    @property
    def train_ids(self) -> list[list[int]]:
        """What the policy is asked, rendered."""
        tokenizer = AutoTokenizer.from_pretrained(self.policy)
        return [prompt_ids(tokenizer, conversation(prompt)) for prompt in self.train]


def made() -> Models:
    """The models, trained at the first call (a few minutes on two cores)."""
    folder = CACHE / f"ppo-{hashlib.sha256(json.dumps(RECIPE).encode()).hexdigest()[:12]}"
    prompts = demo_prompts(RECIPE["prompts"], RECIPE["seed"])
    for name, make in (("starter", _make_starter), ("reward", _make_reward)):
        if not (folder / name / "config.json").exists():
            print(f"making the {name} in {folder}", file=sys.stderr)
            shutil.rmtree(folder / f"{name}-run", ignore_errors=True)
            make(folder, prompts[: RECIPE["ranked"]])
            (folder / f"{name}-run" / "artifacts" / "model").rename(folder / name)
    return Models(folder / "starter", folder / "reward", prompts[:-HELD_OUT], prompts[-HELD_OUT:])


def _make_starter(folder: Path, _: Sequence[str]) -> None:
    run = RunDirectory.create(folder / "starter-run", {"run": "1", "kind": "starter", "options": {}, "models": {}})
    finish("pipeline.starter", run)


def _make_reward(folder: Path, prompts: Sequence[str]) -> None:
    models = {"policy": {"name": "starter", "path": str(folder / "starter")}}
    config = {"run": "2", "kind": "reward", "options": {}, "models": models}
    run = RunDirectory.create(folder / "reward-run", config)
    for name, rows in ranked(folder / "starter", prompts).items():
        parquet.write_table(pa.Table.from_pylist(rows), run.data / f"{name}.parquet")
    finish("pipeline.reward_model", run)


def ranked(starter: Path, prompts: Sequence[str]) -> dict[str, list[dict]]:
    """The starter's answers as simulated annotators rank them: the rows of a run's data/."""
    policy, k = load_policy(starter), RECIPE["k"]
    asked = [prompt_ids(policy.tokenizer, conversation(prompt)) for prompt in prompts for _ in range(k)]
    texts = [decode(policy.tokenizer, one.tokens) for one in sample(policy, asked, 64, seed=RECIPE["seed"])]
    people = make_annotators(RECIPE["annotators"], RECIPE["seed"])
    rows: dict[str, list[dict]] = {"prompts": [], "completions": [], "comparisons": []}
    for number, prompt in enumerate(prompts):
        name, split = f"p{number}", "eval" if number % 7 == 6 else "train"
        ids = range(k * number, k * number + k)
        rows["prompts"].append({"prompt_id": name, "messages": json.dumps(conversation(prompt)), "split": split})
        rows["completions"] += [
            {"completion_id": i, "prompt_id": name, "model": "starter", "text": texts[i]} for i in ids
        ]
        seen = [[person.perceived(prompt, texts[i]) for i in ids] for person in people]
        for first, second in itertools.combinations(range(k), 2):
            wins = sum(one[first] > one[second] for one in seen) / len(people)
            pair = {"prompt_id": name, "split": split, "first_id": ids[first], "second_id": ids[second]}
            known = {"preference": wins, "weight": len(people) / 6, "margin": 0.0, "annotators": len(people)}
            rows["comparisons"].append(pair | known)
    return rows


def conversation(prompt: str) -> list[dict]:
    """The prompt as messages."""
    return [{"role": "user", "content": prompt}]


def finish(module: str, run: RunDirectory) -> None:
    """Run a job in a process of its own. Raises SystemExit with the end of its log where it fails."""
    with run.log.open("ab") as log:
        done = subprocess.run([sys.executable, "-m", module, str(run.path)], cwd=ROOT, stdout=log, stderr=log)
    if done.returncode != 0 or run.result() is None:
        raise SystemExit(f"{module} failed:\n{run.log_tail(30)}")
