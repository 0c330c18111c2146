"""The PPO job in exact arithmetic, for torchrun: `python tests/pipeline/two_processes.py RUN_DIRECTORY`."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

import torch

import pipeline.precision
from pipeline.job import main
from pipeline.ppo import work

if __name__ == "__main__":
    pipeline.precision.bfloat16_is_fast = lambda device: False
    torch.set_num_threads(1)
    main(work)
