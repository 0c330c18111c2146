"""One arm of the preference trainers' benchmarks in a process of its own: our trainer or TRL's, timed and measured.

    python -m tests.benchmarks.preference_arms '{"kind": "reward", "arm": "ours", ...}'    prints one JSON object

Both sides are `transformers` trainers, so one clock times both: the median optimizer step after the first, and for DPO
the reference pass. Starting up, tokenizing and saving are left out on both sides. The same weights, rankings, optimizer
(AdamW, fused), pairs per step and arithmetic; no evaluation. Rounds and tables are in `preference_speed.py`.
"""

import json
import os
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from datasets import Dataset
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    TrainerCallback,
)
from trl import DPOConfig as TrlDPOConfig
from trl import DPOTrainer, RewardTrainer
from trl import RewardConfig as TrlRewardConfig

from pipeline import precision
from pipeline.configs import make_config
from pipeline.dpo import preference_objective, reference_of
from pipeline.group_trainer import GroupTrainer, Schedule
from pipeline.groups import read_groups
from pipeline.policy import load_policy
from pipeline.reward import new_reward
from pipeline.reward_model import reward_objective, schedule_of
from tests.benchmarks.ranked_groups import Ranked, Shape, exploded, rankings, run_of, save_base


@dataclass(frozen=True)
class Arm:
    """What to run: the kind of trainer, whose, on which rankings, and how.

    split is into how many micro-batches the peer cuts an optimizer step; ours goes by its token budget.
    """

    kind: str  # reward, dpo
    arm: str  # ours, peer, adjacent
    groups: int
    k: int
    prompt: int
    completion: int
    groups_per_step: int
    epochs: int
    device: str
    size: str
    arithmetic: str  # fp32, bf16
    attention: str
    split: int
    threads: int

    @property
    def shape(self) -> Shape:
        """The rankings."""
        return Shape(self.groups, self.k, self.prompt, self.completion)


@dataclass(frozen=True)
class Moment:
    """A time, or the time between two: seconds on the wall, and of processor time over all threads."""

    wall: float = 0.0
    processor: float = 0.0

    @classmethod
    def now(cls, device: str) -> "Moment":
        """Once the device has done what it was given."""
        if device == "cuda":
            torch.cuda.synchronize()
        return cls(time.perf_counter(), time.process_time())

    def __sub__(self, other: "Moment") -> "Moment":
        return Moment(self.wall - other.wall, self.processor - other.processor)


@dataclass(frozen=True)
class Timed:
    """How long the reference pass took, and each optimizer step; weights that multiply every token."""

    reference: Moment
    steps: list[Moment]
    weights: int


class Clock(TrainerCallback):
    """How long each optimizer step takes."""

    def __init__(self, device: str):
        self.device, self.steps, self.began = device, [], Moment()

    def on_step_begin(self, *_, **__) -> None:
        """Note the time."""
        self.began = Moment.now(self.device)

    def on_step_end(self, *_, **__) -> None:
        """Note how long it was."""
        self.steps.append(Moment.now(self.device) - self.began)


# ---- ours
def our_reward(arm: Arm, folder: Path, ranked: list[Ranked]) -> Timed:
    """The calls of `pipeline.reward_model.work` up to the trained model."""
    options = make_config("reward", {"groups_per_step": arm.groups_per_step, "max_length": longest(arm)})
    run = run_of(folder / "run", "reward", folder / "base", ranked, {}, arm.device)
    reward = new_reward(folder / "base", options.seed, options.max_length, arm.device)
    data = read_groups(run.data, reward.tokenizer, reward.max_length)
    schedule = schedule_of(options, arm.epochs, options.learning_rate)
    trainer = GroupTrainer(run, reward.model, data, reward_objective(options), schedule)
    return Timed(Moment(), steps_of(arm, trainer, lambda: trainer.fit(run)), weights_of(trainer))


def our_dpo(arm: Arm, folder: Path, ranked: list[Ranked]) -> Timed:
    """The calls of `pipeline.dpo.work` up to the trained model, with no log-probability known before."""
    options = make_config("dpo", {"groups_per_step": arm.groups_per_step, "max_length": longest(arm)})
    run = run_of(folder / "run", "dpo", folder / "base", ranked, {}, arm.device)
    policy = load_policy(folder / "base", arm.device)
    data = read_groups(run.data, policy.tokenizer, options.max_length)
    started = Moment.now(arm.device)
    known = reference_of(run, policy, data.train)
    passed = Moment.now(arm.device) - started
    schedule = Schedule(arm.epochs, options.groups_per_step, options.learning_rate, options.seed)
    trainer = GroupTrainer(run, policy.model, data, preference_objective(known.log_probs, options), schedule)
    return Timed(passed, steps_of(arm, trainer, lambda: trainer.fit(run)), weights_of(trainer))


# ---- theirs
def their_reward(arm: Arm, folder: Path, ranked: list[Ranked]) -> Timed:
    """TRL's RewardTrainer on the pairs, which are tokenized before."""
    words = AutoTokenizer.from_pretrained(folder / "base")
    end = [words.eos_token_id]
    rows = [
        {f"{side}_ids": words(row["prompt"] + row[side])["input_ids"] + end for side in ("chosen", "rejected")}
        for row in exploded(ranked, arm.arm == "adjacent")
    ]
    model = AutoModelForSequenceClassification.from_pretrained(
        folder / "base", num_labels=1, dtype=torch.float32, attn_implementation=arm.attention
    )
    settings = TrlRewardConfig(**their_settings(arm, folder), max_length=None)
    trainer = RewardTrainer(model, settings, train_dataset=Dataset.from_list(rows), processing_class=words)
    return Timed(Moment(), steps_of(arm, trainer, trainer.train), weights_of(trainer))


def their_dpo(arm: Arm, folder: Path, ranked: list[Ranked]) -> Timed:
    """TRL's DPOTrainer on the pairs, reference log-probabilities computed before as it does."""
    words = AutoTokenizer.from_pretrained(folder / "base")
    rows = Dataset.from_list(exploded(ranked, arm.arm == "adjacent"))
    model = AutoModelForCausalLM.from_pretrained(
        folder / "base", dtype=torch.float32, attn_implementation=arm.attention
    )
    settings = TrlDPOConfig(**their_settings(arm, folder), max_length=None, precompute_ref_log_probs=True)
    trainer = TimedReference(model, None, settings, train_dataset=rows, processing_class=words)
    return Timed(trainer.reference, steps_of(arm, trainer, trainer.train), weights_of(trainer))


class TimedReference(DPOTrainer):
    """TRL's trainer as it is; only its reference pass is timed."""

    def _precompute_ref_logps(self, dataset: Dataset, name: str, batch_size: int) -> Dataset:
        device = self.accelerator.device.type
        started = Moment.now(device)
        found = super()._precompute_ref_logps(dataset, name, batch_size)
        self.reference = Moment.now(device) - started
        return found


def their_settings(arm: Arm, folder: Path) -> dict:
    """The same step as ours: its pairs, AdamW, clipping, arithmetic; nothing else costs time."""
    per_group = arm.k - 1 if arm.arm == "adjacent" else arm.shape.pairs
    return {
        "output_dir": str(folder / "peer"),
        "per_device_train_batch_size": -(-per_group * arm.groups_per_step // arm.split),
        "gradient_accumulation_steps": arm.split,
        "num_train_epochs": arm.epochs,
        "learning_rate": 1e-4,
        "lr_scheduler_type": "linear",
        "bf16": arm.arithmetic == "bf16",
        "gradient_checkpointing": False,
        "use_cpu": arm.device == "cpu",
        "dataloader_pin_memory": arm.device == "cuda",
        "disable_tqdm": True,
        "logging_strategy": "no",
        "save_strategy": "no",
        "report_to": [],
    }


# ---- both
ARMS: dict[tuple[str, str], Callable[[Arm, Path, list[Ranked]], Timed]] = {
    ("reward", "ours"): our_reward,
    ("reward", "peer"): their_reward,
    ("dpo", "ours"): our_dpo,
    ("dpo", "peer"): their_dpo,
}


def longest(arm: Arm) -> int:
    """Tokens of prompt and completion."""
    return arm.prompt + arm.completion


def steps_of(arm: Arm, trainer, train: Callable[[], object]) -> list[Moment]:
    """How long each optimizer step of a training took."""
    clock = Clock(arm.device)
    trainer.add_callback(clock)
    train()
    return clock.steps


def weights_of(trainer) -> int:
    """Parameters of the body's layers, without embeddings and head."""
    body = trainer.model.base_model
    return sum(p.numel() for p in body.parameters()) - body.get_input_embeddings().weight.numel()


def forwarded(arm: Arm) -> int:
    """Tokens of one pass over all groups as this arm forwards them."""
    if arm.arm == "ours":
        return arm.groups * (arm.prompt + arm.k * arm.completion)
    pairs = arm.k - 1 if arm.arm == "adjacent" else arm.shape.pairs
    return arm.groups * pairs * 2 * longest(arm)


def measured(arm: Arm) -> dict:
    """Seconds, groups per second, and peak memory in bytes of this process or of its device."""
    torch.set_num_threads(arm.threads)
    if arm.arithmetic == "fp32":
        precision.bfloat16_is_fast = lambda device: False
    ranked = rankings(arm.shape)
    with tempfile.TemporaryDirectory() as name:
        save_base(Path(name) / "base", arm.size, longest(arm))
        before = resident()
        timed = ARMS[arm.kind, arm.arm.replace("adjacent", "peer")](arm, Path(name), ranked)
    wall, processor = (total(timed, field) for field in ("wall", "processor"))
    return {
        "seconds": wall,
        "processor_seconds": processor,
        "reference_seconds": timed.reference.wall,
        "steps": len(timed.steps),
        "groups_per_s": arm.groups * arm.epochs / wall,
        "tokens_per_s": forwarded(arm) * arm.epochs / wall,
        "flops_per_s": 6 * timed.weights * forwarded(arm) * arm.epochs / wall,
        "device": torch.cuda.get_device_name() if arm.device == "cuda" else "cpu",
        "peak_bytes": torch.cuda.max_memory_allocated() if arm.device == "cuda" else resident(peak=True),
        "start_bytes": 0 if arm.device == "cuda" else before,
    }


def total(timed: Timed, field: str) -> float:
    """Seconds of the whole training, every step as long as the median one after the first."""
    steps = [getattr(step, field) for step in timed.steps]
    return getattr(timed.reference, field) + statistics.median(steps[1:] or steps) * len(steps)


def resident(peak: bool = False) -> int:
    """Bytes of this process in memory, now or at most so far."""
    if peak:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


if __name__ == "__main__":
    print(json.dumps(measured(Arm(**json.loads(sys.argv[1])))))
