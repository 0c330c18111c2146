"""The command that starts a job: one process, or several by `accelerate launch` with a settings file of the run.

`python -m module directory` either way, and the directory is the last word of every process of the job, so that
they are found again. Reads no device and starts nothing. Used by every backend that runs a command.
"""

from pathlib import Path

from pipeline.resources import Resources
from pipeline.run_directory import write_json

SETTINGS = "accelerate.json"


def accelerate_settings(resources: Resources) -> dict:
    """What `accelerate launch` reads: so many processes on this machine, on any free port.

    Mixed precision is the job's own business, and so is whether each has a whole model or a shard of one: the strategy
    is in the run's config.json. Without a CUDA device the processes meet over gloo.
    """
    return {
        "compute_environment": "LOCAL_MACHINE",
        "distributed_type": "MULTI_GPU",
        "num_processes": resources.processes,
        "num_machines": 1,
        "machine_rank": 0,
        "main_process_port": 0,
        "main_training_function": "main",
        "rdzv_backend": "static",
        "same_network": True,
        "mixed_precision": "no",
        "downcast_bf16": "no",
        "use_cpu": False,
        "debug": False,
    }


def job_command(python: str, module: str, directory: Path, resources: Resources) -> list[str]:
    """The words of the command; for several processes their settings are written into the directory."""
    if resources.processes == 1:
        return [python, "-u", "-m", module, str(directory)]
    settings = Path(directory) / SETTINGS
    write_json(settings, accelerate_settings(resources))
    launcher = [python, "-u", "-m", "accelerate.commands.launch", "--config_file", str(settings)]
    return [*launcher, "--module", module, str(directory)]
