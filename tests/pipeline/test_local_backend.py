"""The local backend: detached processes, found again by pid and start time."""

import os
import sys
import time
from pathlib import Path

import psutil
import pytest

from pipeline.backend import Job
from pipeline.gpu_use import gpu_load
from pipeline.local_backend import LocalBackend, started_at
from pipeline.run_directory import RunDirectory, read_json
from tests.pipeline.following import until

PROJECT_ROOT = Path(__file__).resolve().parents[2]

MODULE = "tests.pipeline.fake_job"


@pytest.fixture
def backend():
    return LocalBackend(PROJECT_ROOT)


@pytest.fixture
def directory(tmp_path):
    config = {"kind": "starter", "options": {}, "models": {}, "sizes": {}}
    return RunDirectory.create(tmp_path / "runs" / "0001-starter", config)


def behave(directory, behaviour):
    (directory.path.parent / "behaviour").write_text(behaviour)


def test_a_job_runs_detached_and_nice_with_its_output_in_the_log(backend, directory):
    behave(directory, "hang")
    handle = backend.submit(Job(directory.path, MODULE))
    until(lambda: directory.status() and directory.status()["phase"] == "running")
    process = psutil.Process(int(handle.split(":")[1]))
    assert process.nice() == 15 and os.getpgid(process.pid) == process.pid
    assert read_json(directory.path / "process.json")["pid"] == process.pid
    assert "fake starter does: hang" in directory.log_tail()
    backend.cancel(handle)
    until(lambda: not backend.alive(handle))


def test_a_job_that_ended_is_dead_and_leaves_no_zombie(backend, directory):
    handle = backend.submit(Job(directory.path, MODULE))
    until(lambda: not backend.alive(handle))
    assert directory.result()["role"] == "policy"
    until(lambda: not psutil.pid_exists(int(handle.split(":")[1])))


def test_another_backend_finds_the_job_by_its_directory(backend, directory):
    behave(directory, "hang")
    handle = backend.submit(Job(directory.path, MODULE))
    other = LocalBackend(PROJECT_ROOT)
    assert other.find(directory.path) == handle and other.alive(handle)
    (directory.path / "process.json").unlink()
    until(lambda: other.find(directory.path) is not None)
    assert other.alive(other.find(directory.path))
    backend.cancel(handle, force=True)
    until(lambda: not backend.alive(handle))


def test_a_recycled_pid_is_not_taken_for_the_job(backend):
    started = started_at(psutil.Process())
    assert backend.alive(f"local:{os.getpid()}:{started:.2f}")
    assert not backend.alive(f"local:{os.getpid()}:{started - 60:.2f}")


def test_a_handle_of_an_older_version_still_finds_its_process(backend):
    started = psutil.Process().create_time()
    assert backend.alive(f"local:{os.getpid()}:{started:.2f}")
    assert not backend.alive(f"local:{os.getpid()}:{started - 60:.2f}")


def test_a_clock_that_jumps_back_changes_neither_a_living_job_nor_a_dead_one(backend, directory, monkeypatch):
    behave(directory, "hang")
    handle = backend.submit(Job(directory.path, MODULE))
    booted = psutil._pslinux.boot_time()
    monkeypatch.setattr("psutil._pslinux.boot_time", lambda: booted - 3600)  # as the kernel tells it after a jump
    other = LocalBackend(PROJECT_ROOT)
    assert other.alive(handle) and other.find(directory.path) == handle
    backend.cancel(handle, force=True)
    until(lambda: not other.alive(handle))


def test_nothing_is_found_where_nothing_was_started(backend, directory):
    assert backend.find(directory.path) is None


def test_a_deaf_job_ends_by_force_with_its_whole_group(backend, directory):
    behave(directory, "deaf")
    handle = backend.submit(Job(directory.path, MODULE))
    until(lambda: directory.status() and directory.status()["phase"] == "running")
    backend.cancel(handle)
    time.sleep(0.2)
    assert backend.alive(handle)
    backend.cancel(handle, force=True)
    until(lambda: not backend.alive(handle))


def test_the_job_runs_this_python_from_the_project_root(backend, directory):
    behave(directory, "hang")
    handle = backend.submit(Job(directory.path, MODULE, nice=False))
    process = psutil.Process(int(handle.split(":")[1]))
    until(lambda: "-m" in process.cmdline())
    assert process.cmdline()[0] == sys.executable and process.cwd() == str(PROJECT_ROOT)
    assert process.nice() == psutil.Process().nice()
    backend.cancel(handle, force=True)
    until(lambda: not backend.alive(handle))


def test_a_job_that_runs_is_not_started_a_second_time(backend, directory):
    behave(directory, "hang")
    handle = backend.submit(Job(directory.path, MODULE))
    assert backend.submit(Job(directory.path, MODULE)) == handle
    backend.cancel(handle, force=True)
    until(lambda: not backend.alive(handle))


@pytest.mark.parametrize("slot, seen", [("2,3", "2,3"), ("cpu", ""), ("this machine", None)])
def test_a_job_sees_the_gpus_of_its_slot(directory, slot, seen):
    behave(directory, "hang")
    backend = LocalBackend(PROJECT_ROOT, (slot,))
    handle = backend.submit(Job(directory.path, MODULE, slot=slot))
    process = psutil.Process(int(handle.split(":")[1]))
    until(lambda: process.cmdline()[:1] == [sys.executable])
    assert process.environ().get("CUDA_VISIBLE_DEVICES") == seen
    backend.cancel(handle, force=True)
    until(lambda: not backend.alive(handle))


@pytest.mark.slow
def test_what_a_dead_job_left_behind_is_ended(backend, directory):
    behave(directory, "parent")  # starts a child in a session of its own, and one in the job's group
    handle = backend.submit(Job(directory.path, MODULE))
    leader = psutil.Process(int(handle.split(":")[1]))
    until(lambda: directory.status() and len(leader.children(recursive=True)) == 2)
    children = leader.children(recursive=True)
    leader.kill()
    until(lambda: not backend.alive(handle))
    assert all(child.is_running() for child in children)
    backend.sync(directory.path, handle)
    until(lambda: not any(child.is_running() for child in children))


@pytest.mark.slow
def test_force_reaches_children_with_sessions_of_their_own(backend, directory):
    behave(directory, "parent")
    handle = backend.submit(Job(directory.path, MODULE))
    leader = psutil.Process(int(handle.split(":")[1]))
    until(lambda: directory.status() and len(leader.children(recursive=True)) == 2)
    children = leader.children(recursive=True)
    assert "cores busy" in backend.usage(handle).said and 0 <= backend.usage(handle).busy <= 1
    backend.cancel(handle, force=True)
    until(lambda: not backend.alive(handle) and not any(child.is_running() for child in children))


def test_what_it_offers_is_told_by_device_set(monkeypatch, tmp_path):
    tell_gpus(monkeypatch, tmp_path)
    offered = LocalBackend(PROJECT_ROOT, ("0,1", "cpu")).reach().hardware
    assert [(one.name, one.accelerators) for one in offered] == [("0,1", 2), ("cpu", 0)]
    assert offered[0].memory == 40960 * 1024**2 and "NVIDIA A100" in offered[0].about
    assert all(one.price is None for one in offered)


def test_gpu_memory_and_load_are_those_of_the_jobs_processes(monkeypatch, tmp_path):
    tell_gpus(monkeypatch, tmp_path)
    assert gpu_load([7, 8]) == ("2.0 of 40 GiB of GPU memory · GPU 73% busy", 0.73)
    assert gpu_load([9]) == ("", None)


def test_busy_cores_are_those_since_the_last_look(backend, monkeypatch):
    job, clock = psutil.Process(), [1000.0]
    monkeypatch.setattr("pipeline.local_backend.time.monotonic", lambda: clock[0])
    backend._cores("local:1:1", job, 50.0)
    clock[0] += 4
    assert backend._cores("local:1:1", job, 58.0) == 2.0
    clock[0] += 10
    assert backend._cores("local:1:1", job, 58.0) == 0.0


def tell_gpus(monkeypatch, folder):
    """An nvidia-smi that tells of two GPUs, as the real one prints it."""
    tool = folder / "nvidia-smi"
    tool.write_text(
        "#!/bin/sh\n"
        'case "$1" in *compute-apps*) echo "GPU-aa, 7, 2048"; echo "GPU-bb, 11, [N/A]";;\n'
        '*) echo "0, GPU-aa, NVIDIA A100, 40960, 73"; echo "1, GPU-bb, NVIDIA A100, 40960, [N/A]";; esac\n'
    )
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
