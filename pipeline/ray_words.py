"""How a Ray cluster's answers read: what a slot asks of it, how a job ended, what a machine uses. Asks nothing."""

import re
from collections.abc import Mapping, Sequence

from pipeline.backend import Ending, Hardware, Use
from pipeline.ray_api import Node, Submission

SLOT = re.compile(r"(?P<kind>[A-Za-z][\w.-]*)(?::(?P<count>[1-9]\d*))?")
A_LITTLE = 0.001  # of a resource that marks a kind of machine, as Ray's own accelerator_type does
TIMED_OUT, TAKEN, KILLED = 124, 143, 137  # exit statuses: of `timeout`, of a job whose machine was taken, by SIGKILL
OWN = ("JOB_ENTRYPOINT_COMMAND_ERROR", "JOB_ENTRYPOINT_COMMAND_START_ERROR", "RUNTIME_ENV_SETUP_FAILURE")
LOST = "the Ray cluster does not know the job any more: its head was started anew"


def demand(slot: str) -> dict:
    """What a slot asks of the cluster, as fields of a submission. Raises ValueError for a name that asks nothing."""
    parsed = SLOT.fullmatch(slot)
    if parsed is None:
        raise ValueError(f"slots: found {slot!r}, expected cpu:4, gpu:1, or an accelerator type such as A100:2")
    count, kind = int(parsed["count"] or 1), parsed["kind"]
    if kind == "cpu":
        return {"entrypoint_num_cpus": count}
    typed = {} if kind == "gpu" else {"entrypoint_resources": {f"accelerator_type:{kind}": A_LITTLE}}
    return {"entrypoint_num_gpus": count, **typed}


def ending_of(found: Submission | None) -> Ending:
    """How a job ended, and whether Ray rather than the job was at fault."""
    if found is None:
        return Ending(LOST, retry=True)
    if found.status == "STOPPED":
        return Ending("it was stopped on the Ray cluster")
    if found.status != "FAILED":
        return Ending()
    code = found.exit_code
    if code is None or found.error_type not in OWN:
        return Ending(f"Ray ended it: {_first_line(found.message)}", retry=found.error_type not in OWN)
    status = 128 - code if code < 0 else code
    if status == TAKEN:
        return Ending("its machine was taken from it", retry=True)
    told = {
        TIMED_OUT: "it had not ended at its time limit",
        KILLED: "it was killed (signal 9), as a system does when memory runs out",
    }
    words = _last_line(found.message)
    return Ending(told.get(status, f"its process ended with exit code {status}{f': {words}' if words else ''}"))


def machine_use(use: Mapping) -> Use:
    """A machine's use: cores and memory, and for each GPU its share of time and memory."""
    if not use:
        return Use()
    total, _, share, _ = use["mem"]
    words = [f"machine: {use['cpu']:.0f} % of its cores", f"{share:.0f} % of {total / 1024**3:.0f} GiB of memory"]
    for gpu in use.get("gpus") or []:
        room = f"{gpu['memoryUsed'] / 1024:.1f} of {gpu['memoryTotal'] / 1024:.0f} GiB"
        words.append(f"GPU {gpu['index']}: {gpu['utilizationGpu'] or 0} %, {room}")
    loads = [gpu["utilizationGpu"] or 0 for gpu in use.get("gpus") or []]
    return Use(" · ".join(words), (sum(loads) / len(loads) if loads else use["cpu"]) / 100)


def offer(slot: str, nodes: Sequence[Node]) -> Hardware:
    """A slot as hardware: how many jobs of it the machines hold at once."""
    asked = demand(slot)
    gpus, cores = asked.get("entrypoint_num_gpus", 0), asked.get("entrypoint_num_cpus", 0)
    marks = asked.get("entrypoint_resources", {})
    fitting = [node.resources for node in nodes if all(node.resources.get(mark, 0) > 0 for mark in marks)]
    held = sum(int(node.get("GPU" if gpus else "CPU", 0) // (gpus or cores)) for node in fitting)
    what = f"{gpus} GPU{'s' * (gpus > 1)}" if gpus else f"{cores} core{'s' * (cores > 1)}"
    room = f"room for {held} at once" if held else "no machine of the cluster has that now"
    memory = 0 if gpus else int(min((node.get("memory", 0) for node in fitting), default=0))
    return Hardware(slot, f"{what}; {room}", memory=memory, accelerators=gpus)


def _last_line(text: str) -> str:
    """The last words of the job's runner, where it had any beyond Ray's own."""
    last = text.strip().rpartition("\n")[2][:300]
    return "" if last.startswith(("Running entrypoint", "Job entrypoint")) else last


def _first_line(text: str) -> str:
    return text.strip().partition("\n")[0][:300] or "it gives no reason"
