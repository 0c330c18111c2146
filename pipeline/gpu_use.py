"""What processes use of this machine's GPUs, as nvidia-smi tells it; empty where there is none.

Asks the tool, never a library: the server holds no CUDA context.
"""

import subprocess
from collections.abc import Collection
from dataclasses import dataclass

SECONDS = 5  # a driver that answers later is not waited for


@dataclass(frozen=True)
class Gpu:
    """One GPU: its number, UUID and name, bytes of memory, and the share of time it computed lately, 0 to 1."""

    index: int
    uuid: str
    name: str
    memory: int
    busy: float


def gpus() -> list[Gpu]:
    """The GPUs of this machine."""
    rows = _asked("--query-gpu=index,uuid,name,memory.total,utilization.gpu")
    return [
        Gpu(int(index), uuid, name, _number(memory) * 1024**2, _number(busy) / 100)
        for index, uuid, name, memory, busy in rows
    ]


def used_by(pids: Collection[int]) -> dict[str, int]:
    """Bytes of GPU memory that these processes hold, by the GPU's UUID."""
    held: dict[str, int] = {}
    for uuid, pid, memory in _asked("--query-compute-apps=gpu_uuid,pid,used_memory"):
        if int(pid) in pids:
            held[uuid] = held.get(uuid, 0) + _number(memory) * 1024**2
    return held


def gpu_load(pids: Collection[int]) -> tuple[str, float | None]:
    """GPU memory and load of these processes in words, and the load from 0 to 1; ("", None) where they use no GPU."""
    held = used_by(pids)
    if not held:
        return "", None
    there = [gpu for gpu in gpus() if gpu.uuid in held]
    busy = " and ".join(f"{gpu.busy:.0%}" for gpu in there)
    of = sum(gpu.memory for gpu in there) / 1024**3
    said = f"{sum(held.values()) / 1024**3:.1f} of {of:.0f} GiB of GPU memory · GPU {busy} busy"
    return said, sum(gpu.busy for gpu in there) / len(there) if there else None


def _asked(query: str) -> list[list[str]]:
    try:
        done = subprocess.run(
            ["nvidia-smi", query, "--format=csv,noheader,nounits"],
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return []
    return [[word.strip() for word in line.split(",")] for line in done.stdout.splitlines() if line.strip()]


def _number(word: str) -> int:
    """A figure of the tool's; "[N/A]" is none."""
    return int(word) if word.isdecimal() else 0
