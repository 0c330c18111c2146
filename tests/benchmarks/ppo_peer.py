"""The peer of the PPO benchmark: TRL's PPOTrainer on one setting, in an environment of its own.

    python ppo_peer.py SETTING.json

Imports nothing of this project. Prints one JSON object last: when each rollout with its updates was done, the peak of
memory, tokens trained on. The setting is written by `ppo.py`; its reward model is also the start of the value model, as
in TRL's own example.
"""

import json
import os
import resource
import sys
import time
from pathlib import Path

import torch
from datasets import Dataset
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    TrainerCallback,
)
from trl.experimental.ppo import PPOConfig, PPOTrainer


class Clock(TrainerCallback):
    """Notes wall clock and processor time at the start and after every rollout."""

    def __init__(self):
        self.marks: list[tuple[float, float]] = []

    def on_train_begin(self, args, state, control, **kwargs):
        """The start."""
        self.marks.append((time.monotonic(), time.process_time()))

    def on_step_end(self, args, state, control, **kwargs):
        """A rollout and its updates are done."""
        self.marks.append((time.monotonic(), time.process_time()))


def config(setting: dict) -> PPOConfig:
    """The setting as TRL says it; what both sides have is equal, the rest is off."""
    return PPOConfig(
        output_dir=setting["out"],
        seed=setting["seed"],
        use_cpu=setting["device"] == "cpu",
        bf16=setting["precision"] == "bf16",
        gradient_checkpointing=False,
        per_device_train_batch_size=setting["batch_size"] // setting["micro_batches"],
        gradient_accumulation_steps=setting["micro_batches"],
        local_rollout_forward_batch_size=setting["batch_size"],
        num_mini_batches=1,
        num_ppo_epochs=setting["epochs"],
        total_episodes=setting["episodes"],
        learning_rate=setting["learning_rate"],
        lr_scheduler_type="linear",
        warmup_steps=0,
        adam_epsilon=1e-5,
        weight_decay=0.0,
        kl_coef=setting["kl_coefficient"],
        missing_eos_penalty=setting["missing_eos_penalty"],
        temperature=1.0,
        response_length=setting["max_new_tokens"],
        stop_token="eos",
        num_sample_generations=0,
        save_strategy="no",
        eval_strategy="no",
        logging_strategy="no",
        report_to="none",
        disable_tqdm=True,
    )


def main() -> None:
    """Train, save the policy, print the figures."""
    setting = json.loads(Path(sys.argv[1]).read_text())
    precision = {"bf16": "bf16", "fp32": "no"}[setting["precision"]]
    os.environ["ACCELERATE_MIXED_PRECISION"] = precision  # as accelerate launch does: PPOTrainer ignores its own bf16
    tokenizer = AutoTokenizer.from_pretrained(setting["policy"], padding_side="left")
    load = {"attn_implementation": setting["attention"], "dtype": torch.float32}
    policy, reference = (AutoModelForCausalLM.from_pretrained(setting["policy"], **load) for _ in range(2))
    reward, value = (
        AutoModelForSequenceClassification.from_pretrained(setting["reward"], num_labels=1, **load) for _ in range(2)
    )
    prompts = Dataset.from_dict({"input_ids": setting["prompts"]})
    clock = Clock()
    trainer = PPOTrainer(
        args=config(setting),
        processing_class=tokenizer,
        model=policy,
        ref_model=reference,
        reward_model=reward,
        value_model=value,
        train_dataset=prompts,
        eval_dataset=prompts.select(range(1)),
        callbacks=[clock],
    )
    if trainer.accelerator.mixed_precision != precision:
        sys.exit(f"precision: found {trainer.accelerator.mixed_precision}, expected {precision}")
    trainer.train()
    policy.save_pretrained(setting["out"])
    tokenizer.save_pretrained(setting["out"])
    gpu = torch.cuda.max_memory_allocated() if torch.cuda.is_available() else 0
    rss = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(json.dumps({"marks": clock.marks, "rss_mb": rss / 1024, "gpu_mb": gpu / 2**20}))


if __name__ == "__main__":
    main()
