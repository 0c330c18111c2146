"""Several processes training one model (`accelerate launch`, `torchrun`): who this one is, and how they end as one.

Data parallel: each process holds the whole policy (or a shard of it: `sharding.py`) and works on its share of the
rows; what is small goes to everybody (`gathered`), gradients are added up. Alone, nothing here costs anything. It
starts no process.
"""

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import nn

from pipeline.job import run_job
from pipeline.run_directory import RunDirectory

Item = TypeVar("Item")


@dataclass(frozen=True)
class Processes:
    """This process among all: its rank, from 0, of `size`."""

    rank: int = 0
    size: int = 1

    @property
    def first(self) -> bool:
        """Whether this is the one that writes."""
        return self.rank == 0

    def share(self, items: Sequence[Item]) -> Sequence[Item]:
        """This process's part: every size-th item from its rank on."""
        return items[self.rank :: self.size]

    def gathered(self, mine: list[Item]) -> list[Item]:
        """Everybody's shares put back in the order of the whole."""
        if self.size == 1:
            return mine
        parts: list[list[Item]] = [[] for _ in range(self.size)]
        dist.all_gather_object(parts, mine)
        return [parts[i % self.size][i // self.size] for i in range(sum(map(len, parts)))]

    def summed(self, values: torch.Tensor) -> torch.Tensor:
        """The sum over all processes."""
        if self.size > 1:
            values = values.clone()
            dist.all_reduce(values)
        return values

    def most(self, counts: list[int]) -> list[int]:
        """Place by place the largest of all processes' numbers; a list that is shorter has nothing there."""
        every: list[list[int]] = [counts]
        if self.size > 1:
            every = [[] for _ in range(self.size)]
            dist.all_gather_object(every, counts)
        return [max(there) for there in zip_longest(*every, fillvalue=0)]

    def highest(self, value: float) -> float:
        """The largest of all processes' values."""
        return max(self.gathered([value]))

    def sum_gradients(self, weights: Sequence[nn.Parameter]) -> None:
        """Add up the gradients; a weight that has one nowhere keeps none."""
        if self.size == 1:
            return
        has = self.summed(torch.tensor([float(w.grad is not None) for w in weights], device=weights[0].device))
        for weight, count in zip(weights, has.tolist(), strict=True):
            if count:
                weight.grad = torch.zeros_like(weight) if weight.grad is None else weight.grad
                dist.all_reduce(weight.grad)

    def agreed(self, said: bool) -> bool:
        """What the first process says."""
        if self.size == 1:
            return said
        told = [said]
        dist.broadcast_object_list(told, src=0)
        return told[0]

    def wait(self) -> None:
        """Until all are here."""
        if self.size > 1:
            dist.barrier()


ALONE = Processes()


def join() -> Processes:
    """Meet the other processes where torchrun started this one; each CUDA process takes a GPU of its own."""
    if not dist.is_available() or not (dist.is_initialized() or dist.is_torchelastic_launched()):
        return ALONE
    if not dist.is_initialized():
        if torch.cuda.is_available():
            torch.cuda.set_device(dist.get_node_local_rank())
        dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
    return Processes(dist.get_rank(), dist.get_world_size())


class Onlooker(RunDirectory):
    """A run directory for all processes but the first: reads, and leaves what is written to that one.

    Its own failure is told where no other was: the launcher ends all processes for it.
    """

    def append_metrics(self, step: int, values: object) -> None:
        """Nothing."""

    def write_status(self, phase: str, step: int = 0, total: int = 0, message: str = "") -> None:
        """Nothing."""

    def fail(self, kind: str, message: str) -> None:
        """What went wrong here, unless another process has said it already."""
        if self.error() is None:
            super().fail(kind, message)

    def finish(self, result: Mapping) -> None:
        """Nothing."""


def main(work: Callable[[RunDirectory, dict], Mapping]) -> None:
    """Entry point of a job that several processes may do together; alone as `pipeline.job.main`."""
    if len(sys.argv) != 2:
        sys.exit("usage: python -m pipeline.<job> RUN_DIRECTORY")
    processes = join()
    run = RunDirectory(sys.argv[1]) if processes.first else Onlooker(sys.argv[1])
    code = run_job(run, work)
    if processes.size > 1 and code == 0:
        dist.destroy_process_group()
    sys.exit(code)
