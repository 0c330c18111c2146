"""A disk that fills up, for real: a small tmpfs or a limit of the system. The run says so and can be resumed."""

import os
import resource
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from pipeline import disk, run_life
from pipeline.group_trainer import last_checkpoint
from pipeline.job import run_job
from pipeline.launch import launch
from pipeline.monitor import Monitor
from pipeline.run_directory import RunDirectory
from pipeline.services import open_services
from storage import runs, versions
from storage.records import ModelVersion
from tests.pipeline.small_campaign import add_ranked_campaign
from tests.pipeline.training_data import training_run

MEBIBYTE = 1024 * 1024
LONG = {"epochs": 400, "groups_per_step": 3}  # many checkpoints: the disk fills up between two of them


@contextmanager
def no_file_beyond(size: int):
    """The system refuses to write further into a file (EFBIG), as a quota does."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("write", [torch.save, save_file], ids=["torch", "safetensors"])
def test_what_cannot_be_written_is_told_as_a_full_disk(run, tmp_path, write):
    def work(run, config):
        with no_file_beyond(100_000):
            write({"weights": torch.zeros(100_000)}, tmp_path / "checkpoint")

    assert run_job(run, work) == 1
    assert run.error()["message"].startswith("The disk is full") and "resume" in run.error()["message"]


def test_a_full_device_is_told_as_a_full_disk(run):
    def work(run, config):
        Path("/dev/full").write_bytes(b"x" * 100_000)

    assert run_job(run, work) == 1
    assert run.status()["phase"] == "failed" and "make room" in run.status()["message"]


def test_another_error_is_not_taken_for_a_full_disk():
    assert not disk.is_full(OSError(2, "No such file"))
    assert not disk.is_full(RuntimeError("shape mismatch"))


def test_a_job_keeps_room_while_it_works_and_none_afterwards(run):
    kept = []
    run_job(run, lambda run, config: kept.append((run.path / disk.NAME).stat().st_size) or {})
    assert kept == [disk.ROOM] and not (run.path / disk.NAME).exists()


@pytest.mark.slow
def test_a_checkpoint_that_does_not_fit_leaves_the_one_before(tmp_path, tiny_policy_folder):
    """With the limit below the size of the optimizer's file, weights can be written and the checkpoint cannot."""
    run = training_run(tmp_path / "run", "reward", {"policy": tiny_policy_folder}, {"epochs": 2})
    limited = """
import resource, sys
from pipeline import group_trainer, reward_model
from pipeline.job import main
saved = group_trainer.FollowRun.on_save
def limit(self, *arguments, **named):
    saved(self, *arguments, **named)
    resource.setrlimit(resource.RLIMIT_FSIZE, (150_000, resource.RLIM_INFINITY))
group_trainer.FollowRun.on_save = limit
main(reward_model.work)
"""
    done = subprocess.run([sys.executable, "-c", limited, str(run.path)], capture_output=True, text=True)
    assert done.returncode == 1 and run.error()["message"].startswith("The disk is full"), done.stderr
    whole = Path(last_checkpoint(run))
    assert whole.name == "checkpoint-1" and (whole / "optimizer.pt").stat().st_size > 150_000
    assert [path.name for path in run.checkpoints.glob("checkpoint-*")] == ["checkpoint-1"]


@contextmanager
def small_disk(folder: Path, size: int):
    """The folder on a disk of that size: a tmpfs, or where none may be mounted, a part of the real one."""
    folder.mkdir(parents=True)
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder], capture_output=True)
    try:
        yield mounted.returncode == 0
    finally:
        if mounted.returncode == 0:
            subprocess.run(["umount", "-l", folder], check=True)


def fill(folder: Path, process: int, mounted: bool) -> None:
    """No more room from now on: not on the disk, or else not in the files of the process."""
    if not mounted:
        resource.prlimit(process, resource.RLIMIT_FSIZE, (60_000, 60_000))
        return
    with (folder / "filler").open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(os.urandom(64 * 1024))


@pytest.mark.slow
def test_a_run_whose_disk_fills_up_fails_in_a_sentence_and_goes_on_when_there_is_room(tmp_path, tiny_policy_folder):
    with small_disk(tmp_path / "data" / "runs", 24 * MEBIBYTE) as mounted:
        services = open_services(tmp_path / "data")
        versions.register_version(services.database, ModelVersion("tiny", "policy", str(tiny_policy_folder)))
        campaign = add_ranked_campaign(services)
        run, monitor = launch(services, "dpo", campaign.id, LONG), Monitor(services, interval=0.05)
        directory = RunDirectory(services.directory(run))
        until_checkpoint(monitor, directory)
        fill(services.data / "runs", int(runs.run(services.database, run.id).handle.split(":")[1]), mounted)
        failed = monitor.wait(run.id)
        assert failed.state == "failed" and failed.reason.startswith("The disk is full"), failed.reason
        kept = last_checkpoint(directory)
        assert kept is not None
        (services.data / "runs" / "filler").unlink(missing_ok=True)
        resumed = run_life.resume(services, failed)
        until_checkpoint(monitor, directory, beyond=kept)
        assert resumed.state == "queued" and runs.run(services.database, run.id).state == "running"
        run_life.request_cancel(services, run)
        assert monitor.wait(run.id).state == "cancelled"
        services.close()


def until_checkpoint(monitor, directory, beyond: str | None = None, seconds: float = 240) -> None:
    """Poll until there is a whole checkpoint, another one than `beyond`."""
    deadline = time.monotonic() + seconds
    while last_checkpoint(directory) in (None, beyond):
        assert time.monotonic() < deadline, directory.log_tail()
        monitor.poll_once()
        time.sleep(0.02)
