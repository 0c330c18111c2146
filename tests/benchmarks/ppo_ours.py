"""Our arm of the PPO benchmark: the job on a run directory, in the precision that is asked for.

    python -m tests.benchmarks.ppo_ours SETTING.json

Prints one JSON object last: when each rollout with its updates was done, the peak of memory. The setting is written by
`ppo.py`.
"""

import json
import resource
import sys
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as parquet
import torch

import pipeline.precision
from pipeline.ppo import work
from pipeline.run_directory import RunDirectory
from tests.benchmarks.ppo_models import conversation

MARKS: list[tuple[float, float]] = []


class Timed(RunDirectory):
    """Notes wall clock and processor time when a rollout's metrics are written."""

    def append_metrics(self, step: int, values: dict) -> None:
        """As always, and a mark."""
        super().append_metrics(step, values)
        MARKS.append((time.monotonic(), time.process_time()))


def run_of(setting: dict) -> Timed:
    """A run directory with the setting's prompts and models."""
    places = {"policy": "policy", "reward": "reward"}
    models = {
        place: {"name": place, "path": setting[key], "device": setting["device"]} for place, key in places.items()
    }
    config = {"run": "1", "kind": "ppo", "options": options(setting), "models": models}
    run = RunDirectory.create(setting["out"], config)
    rows = [
        {"prompt_id": str(n), "messages": json.dumps(conversation(text)), "split": "train"}
        for n, text in enumerate(setting["texts"])
    ]
    parquet.write_table(pa.Table.from_pylist(rows), run.data / "prompts.parquet")
    return Timed(run.path)


def options(setting: dict) -> dict:
    """The setting as our options; what the peer lacks is off."""
    same = ("seed", "episodes", "batch_size", "epochs", "max_new_tokens", "learning_rate", "kl_coefficient")
    off = {"kl_target": 0, "kl_stop": 0, "critic_warmup": 0, "max_grad_norm": 0, "sample_every": 0}
    rest = {
        "minibatches": 1,
        "value_learning_rate": setting["value_learning_rate"],
        "missing_eos_penalty": setting["missing_eos_penalty"],
        "reward_normalisation": "none",
        "critic": setting["critic"],
        "checkpoint_every": 1_000_000,
    }
    return {name: setting[name] for name in same} | off | rest | setting.get("more", {})


def main() -> None:
    """Train, leave the policy in the run directory, print the figures."""
    setting = json.loads(Path(sys.argv[1]).read_text())
    if setting["precision"] == "fp32":
        pipeline.precision.bfloat16_is_fast = lambda device: False
    run = run_of(setting)
    work(run, run.config())
    gpu = torch.cuda.max_memory_allocated() if torch.cuda.is_available() else 0
    rss = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(json.dumps({"marks": MARKS, "rss_mb": rss / 1024, "gpu_mb": gpu / 2**20}))


if __name__ == "__main__":
    main()
