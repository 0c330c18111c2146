"""The local backend: detached processes, found again by pid and start time."""

import os
import sys
import time
from pathlib import Path

import psutil
import pytest

from pipeline.backend import Job
from pipeline.local_backend import LocalBackend
from pipeline.run_directory import RunDirectory, read_json

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


def until(condition, seconds=15.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


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
    started = psutil.Process().create_time()
    assert backend.alive(f"local:{os.getpid()}:{started:.2f}")
    assert not backend.alive(f"local:{os.getpid()}:{started - 60:.2f}")


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
