"""The reward and DPO jobs in exact arithmetic and without input dropout, whose draws differ between processes.

For `accelerate launch`: `--module tests.pipeline.two_processes_of_groups RUN_DIRECTORY`.
"""

import torch

import pipeline.precision
from pipeline import dpo, reward_model
from pipeline.processes import main

WORK = {"reward": reward_model.work, "dpo": dpo.work}


def exact() -> None:
    pipeline.precision.bfloat16_is_fast = lambda device: False
    reward_model.INPUT_DROPOUT = 0.0
    torch.set_num_threads(1)


def work(run, config):
    exact()
    return WORK[config["kind"]](run, config)


if __name__ == "__main__":
    main(work)
