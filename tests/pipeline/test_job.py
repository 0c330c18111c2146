"""Heartbeats of a job: alive while its main thread works, never past its end, and saying nothing new."""

import threading

import pytest

from pipeline.job import beating, run_job
from pipeline.run_directory import RunDirectory
from tests.pipeline.following import until


@pytest.fixture
def run(tmp_path):
    return RunDirectory.create(tmp_path / "0001-reward", {"kind": "reward", "options": {}})


def test_a_job_without_steps_beats_and_tells_the_step_it_is_at(run):
    run.write_status("running", 3, 9, "loading the reference")
    first = run.status()
    with beating(run, interval=0.01):
        until(lambda: run.status()["heartbeat"] > first["heartbeat"])
    later = run.status()
    assert {**later, "heartbeat": 0, "seconds": 0} == {**first, "heartbeat": 0, "seconds": 0}
    assert later["seconds"] >= first["seconds"]


def test_nothing_beats_after_the_work_is_over(run, monkeypatch):
    monkeypatch.setattr("pipeline.job.BEAT_SECONDS", 0.01)
    assert run_job(run, lambda *_: {"metrics": {}}) == 0
    assert not [thread for thread in threading.enumerate() if thread.name == "heartbeat"]
    assert run.status()["phase"] == "finishing" and run.result() is not None


def test_a_job_that_has_said_nothing_yet_has_no_heartbeat(run):
    run.beat()
    assert run.status() is None


def test_a_full_disk_stops_no_heartbeat(run, monkeypatch):
    run.write_status("running")
    beats = []

    def full():
        beats.append(1)
        raise OSError("no space left on device")

    monkeypatch.setattr(run, "beat", full)
    with beating(run, interval=0.01):
        until(lambda: len(beats) >= 2)


def test_a_report_while_the_heart_beats_is_not_lost(run):
    run.write_status("running", 0, 500)
    with beating(run, interval=0.0005):
        for step in range(50):
            run.write_status("running", step, 500)
    assert run.status()["step"] == 49
