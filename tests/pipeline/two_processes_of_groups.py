"""The reward and DPO jobs in exact arithmetic and without input dropout, whose draws differ between processes.

In config.json "parts" makes what is forwarded at once small, "exact": false leaves the arithmetic as it is.

For `accelerate launch`: `--module tests.pipeline.two_processes_of_groups RUN_DIRECTORY`.
"""

from collections.abc import Callable

import torch

import pipeline.precision
from pipeline import dpo, group_trainer, log_probs, reward, reward_model
from pipeline.groups import group_batches
from pipeline.log_probs import micro_batches
from pipeline.packing import row_batches
from pipeline.processes import main

WORK = {"reward": reward_model.work, "dpo": dpo.work}


def repeatable(exact: bool = True) -> None:
    if exact:
        pipeline.precision.bfloat16_is_fast = lambda device: False
    reward_model.INPUT_DROPOUT = 0.0
    torch.set_num_threads(1)


def in_small_parts(groups: int, rows: int, put: Callable[[object, str, object], None] = setattr) -> None:
    """So many tokens at most of a forward and backward, and of a forward: the processes have unlike numbers of them."""
    put(group_trainer, "group_batches", lambda several, _, together: group_batches(several, groups, together))
    put(reward, "micro_batches", lambda lengths, _: micro_batches(lengths, rows))
    for module in (log_probs, reward):
        put(module, "row_batches", lambda several, _: row_batches(several, rows))


def work(run, config):
    repeatable(config.get("exact", True))
    if "parts" in config:
        in_small_parts(*config["parts"])
    return WORK[config["kind"]](run, config)


if __name__ == "__main__":
    main(work)
