"""What Hugging Face Jobs tells of hardware, use and ends, in this project's values and words. Asks nothing."""

import re
from collections.abc import Mapping

from huggingface_hub import JobHardwareInfo, JobInfo, JobStage

from pipeline.backend import Ending, Hardware, Use

HOURS = {"second": 3600, "minute": 60, "hour": 1}
UNITS = {"KB": 1000, "MB": 1000**2, "GB": 1000**3, "TB": 1000**4, "KIB": 1 << 10, "MIB": 1 << 20, "GIB": 1 << 30}
GIB = 1 << 30
TAKEN = 143  # exit status of a command that SIGTERM ended
MEMORY = re.compile(r"oom|out of memory|memory limit", re.IGNORECASE)
TIME = re.compile(r"time ?out|timed out|time limit|deadline", re.IGNORECASE)
MACHINE = re.compile(r"evict|preempt|node|host|hardware|infrastructure|internal|interrupted|scheduling", re.IGNORECASE)


def hardware_of(told: JobHardwareInfo) -> Hardware:
    """A flavor with its price per hour, and the memory of one of its accelerators."""
    about = f"{told.pretty_name}: {told.cpu}, {told.ram} of memory, {told.ephemeral_storage} of disk"
    price = told.unit_cost_usd * HOURS[told.unit_label] if told.unit_label in HOURS else None
    if told.accelerator is None:
        return Hardware(told.name, about, price, _bytes(told.ram))
    count = int(told.accelerator.quantity) if str(told.accelerator.quantity).isdigit() else 1
    about += f", {count} × {told.accelerator.manufacturer} {told.accelerator.model} with {told.accelerator.vram} in all"
    return Hardware(told.name, about, price, _bytes(told.accelerator.vram) // max(1, count), count)


def usage_of(measured: Mapping) -> Use:
    """One sample of a machine's metrics."""
    parts, loads = [], [gpu.get("utilization", 0) for gpu in (measured.get("gpus") or {}).values()]
    for number, gpu in enumerate((measured.get("gpus") or {}).values()):
        used, there = (gpu.get(f"memory_{what}_bytes", 0) / GIB for what in ("used", "total"))
        parts.append(f"GPU {number}: {gpu.get('utilization', 0):.0f} % busy, {used:.1f} of {there:.1f} GiB")
    parts.append(f"{measured.get('memory_used_bytes', 0) / GIB:.1f} GiB of memory")
    cores = measured.get("cpu_millicores", 0) / 1000 * measured.get("cpu_usage_pct", 0) / 100
    busy = sum(loads) / len(loads) if loads else measured.get("cpu_usage_pct")
    return Use(" · ".join([*parts, f"{cores:.1f} cores busy"]), None if busy is None else busy / 100)


def ending_of(info: JobInfo | None) -> Ending:
    """How a job ended. To be tried again: what its machine or the Hub did to it, not what it did itself."""
    if info is None:
        return Ending("the Hub does not know the job any more", retry=True)
    stage, message = info.status.stage, info.status.message or ""
    told = f" ({message})" if message else ""
    if stage == JobStage.COMPLETED:
        return Ending()
    if stage in (JobStage.CANCELED, JobStage.DELETED):
        return Ending(f"the job was {'cancelled' if stage == JobStage.CANCELED else 'deleted'} on the Hub{told}")
    code = exit_code(info)
    if code is not None and code > 128:
        what = "was asked to end (SIGTERM)" if code == TAKEN else f"was killed by signal {code - 128}"
        return Ending(f"its machine {what}{told}", retry=code == TAKEN)
    if code is not None:
        return Ending(f"the job ended before it could tell why{told}")
    if MEMORY.search(message):
        return Ending(f"its machine's memory ran out{told}")
    if TIME.search(message):
        return Ending(f"its time limit was reached{told}; give it more time, and resume it")
    if MACHINE.search(message):
        return Ending(f"its machine was taken away or broke{told}", retry=True)
    return Ending(f"the job ended with an error{told}")


def exit_code(info: JobInfo) -> int | None:
    """The exit status of a job's command, where its message tells it."""
    match = re.search(r"exit code:? (\d+)", info.status.message or "", re.IGNORECASE)
    return int(match[1]) if match else None


def _bytes(said: str) -> int:
    """`24 GB` in bytes; 0 where it is not understood."""
    match = re.fullmatch(r"\s*([\d.]+)\s*([KMGT]i?B)\s*", str(said), re.IGNORECASE)
    return int(float(match[1]) * UNITS[match[2].upper()]) if match else 0
