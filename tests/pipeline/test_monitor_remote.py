"""Runs on a backend over a network: it never blocks the monitor, and what it does not answer fails no run."""

import os
import signal
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from pipeline import run_life
from pipeline.agreed import agreed_of, minutes_used, write_agreed
from pipeline.backend import Backends, Ending
from pipeline.launch import launch
from pipeline.run_directory import RunDirectory
from storage import runs, versions
from tests.pipeline.far_backend import FarBackend
from tests.pipeline.following import now, quick, until_polled, until_state


@pytest.fixture
def far(services, tmp_path):
    """A second backend, elsewhere; none of its jobs outlives the test."""
    made = FarBackend(tmp_path / "far")
    made.folder.mkdir()
    services.backends = Backends({**services.backends.there, "far": made}, "local")
    yield made
    for handle in made.submitted:
        made.here.cancel(handle, force=True)


def start(services, campaign, kind="reward"):
    return launch(services, kind, campaign.id, resources={"backend": "far"})


def far_behaves(far, behaviour):
    (far.folder / "behaviour").write_text(behaviour)


def test_a_run_is_done_elsewhere_and_its_version_registered_here(services, campaign, far):
    run = quick(services).wait(start(services, campaign).id)
    assert run.state == "succeeded" and run.slot == "small" and len(far.submitted) == 1
    assert [m["loss"] for m in runs.metrics(services.database, run.id)] == [0.5, 0.25]
    assert versions.version(services.database, "reward-1").run_id == run.id


def test_a_slow_backend_does_not_hold_up_the_others(services, campaign, far):
    far.hold.clear()
    slow, monitor = start(services, campaign), quick(services)
    monitor.poll_once()
    assert monitor.wait(launch(services, "reward", campaign.id).id).state == "succeeded"
    assert now(services, slow).state == "starting" and far.submitted == []
    far.hold.set()
    assert monitor.wait(slow.id).state == "succeeded"


def test_a_backend_that_does_not_answer_fails_no_run_and_is_named(services, campaign, far):
    far_behaves(far, "wait")
    run, monitor = start(services, campaign), quick(services)
    until_state(monitor, run, "running")
    far.down = True
    until_polled(monitor, lambda: run.id in services.heard)
    for _ in range(20):
        monitor.poll_once()
        time.sleep(0.01)
    assert now(services, run).state == "running"
    assert "far did not answer" in services.heard[run.id].notice
    assert "It has not answered since 20" in services.heard[run.id].notice
    far.down = False
    (far.folder / "go").touch()
    assert monitor.wait(run.id).state == "succeeded" and run.id not in services.heard


def test_a_backend_that_keeps_failing_at_a_run_ends_it_with_its_words(services, campaign, far, monkeypatch):
    def broken(*_):
        raise ValueError("found a piece that is not of this run")

    run, monitor = start(services, campaign), quick(services)
    until_polled(monitor, lambda: now(services, run).handle)
    monkeypatch.setattr(far, "sync", broken)
    until_state(monitor, run, "failed")
    assert "found a piece that is not of this run" in now(services, run).reason


def test_a_start_that_was_not_answered_is_tried_again_and_makes_one_job(services, campaign, far):
    run, monitor = start(services, campaign), quick(services)
    far.down = True
    until_polled(monitor, lambda: run.id in services.heard)
    assert now(services, run).state == "starting"
    far.down = False
    assert monitor.wait(run.id).state == "succeeded" and len(far.submitted) == 1


def test_an_app_killed_before_the_handle_was_stored_finds_the_job_and_starts_no_second(services, campaign, far):
    far_behaves(far, "wait")
    run, killed = start(services, campaign), quick(services)
    until_polled(killed, lambda: far.submitted)  # its outcome is never taken: that monitor is gone
    monitor = quick(services)
    until_polled(monitor, lambda: now(services, run).handle is not None)
    (far.folder / "go").touch()
    assert monitor.wait(run.id).state == "succeeded" and len(far.submitted) == 1


def test_an_app_killed_before_anything_was_started_starts_it(services, campaign, far):
    run = start(services, campaign)
    runs.set_slot(services.database, run.id, "small")
    runs.set_state(services.database, run.id, "starting")
    assert quick(services).wait(run.id).state == "succeeded" and len(far.submitted) == 1


def test_a_job_that_its_backend_lost_is_started_again_twice_and_then_fails(services, campaign, far):
    far.lost = Ending("the machine was taken away", retry=True)
    far_behaves(far, "die")
    run = quick(services).wait(start(services, campaign).id)
    assert run.state == "failed" and run.reason.startswith("the machine was taken away; its log ends with:")
    history = [(state, reason) for state, reason, _ in runs.state_history(services.database, run.id)]
    again = [reason for state, reason in history if state == "queued" and reason]
    assert [reason[-8:] for reason in again] == ["(1 of 2)", "(2 of 2)"] and len(far.submitted) == 3


def paid_run(services, campaign, far, minutes, dollars):
    """One that its backend loses whenever it is there, at a dollar a minute."""
    far.lost, far.price = Ending("the machine was taken away", retry=True), 60.0
    far_behaves(far, "die")
    where = {"backend": "far", "timeout_minutes": minutes}
    return launch(services, "reward", campaign.id, resources=where, confirmed_cost=dollars)


def test_a_paid_run_is_started_again_only_for_the_rest_of_what_was_agreed_to(services, campaign, far):
    run = paid_run(services, campaign, far, 30, 30.0)
    directory = RunDirectory(services.directory(run))
    write_agreed(directory, replace(agreed_of(directory), used={"an earlier one": 18}))
    assert quick(services).wait(run.id).state == "failed" and far.limits == [12, 11, 10]


@pytest.mark.slow
def test_a_paid_run_is_not_started_again_where_that_could_cost_more_than_was_agreed_to(services, campaign, far):
    failed = quick(services).wait(paid_run(services, campaign, far, 5, 5.0).id)
    assert failed.state == "failed" and "another start could cost more than was agreed to" in failed.reason
    assert "the machine was taken away" in failed.reason and far.limits == [5]
    run_life.resume(services, failed, confirmed_cost=15.0)  # agreed anew, and to more than one start
    assert "taken away" in quick(services).wait(failed.id).reason and far.limits == [5, 5, 5, 5]


def test_an_attempt_counts_begun_minutes_whatever_the_clock_did_and_no_more_than_its_limit():
    noon = datetime(2026, 1, 1, 12, tzinfo=UTC)
    assert minutes_used(noon, noon + timedelta(seconds=61), 0.0, 30) == 2
    assert minutes_used(noon, noon - timedelta(hours=3), 200.0, 30) == 4
    assert minutes_used(noon, noon + timedelta(days=3), 0.0, 30) == 30


def test_a_run_started_again_goes_on_to_its_end(services, campaign, far):
    far.lost = Ending("the machine was taken away", retry=True)
    far_behaves(far, "wait")
    run, monitor = start(services, campaign), quick(services)
    until_state(monitor, run, "running")
    os.kill(int(now(services, run).handle.split(":")[1]), signal.SIGKILL)
    until_polled(monitor, lambda: len(far.submitted) == 2)
    (far.folder / "go").touch()
    assert monitor.wait(run.id).state == "succeeded"
    assert [v.name for v in versions.versions(services.database, "reward")] == ["reward-1"]


def test_the_backends_sentence_is_the_reason(services, campaign, far):
    far.lost = Ending("the image could not be pulled")
    far_behaves(far, "die")
    assert quick(services).wait(start(services, campaign).id).reason.startswith("the image could not be pulled")


@pytest.mark.slow
@pytest.mark.parametrize("behaviour", ["hang", "deaf"])
def test_a_run_elsewhere_is_cancelled(services, campaign, far, behaviour, monkeypatch):
    monkeypatch.setattr("pipeline.monitor.FORCE_SECONDS", 0.2)
    far_behaves(far, behaviour)
    run, monitor = start(services, campaign), quick(services, grace=0.2 if behaviour == "deaf" else 30.0)
    until_state(monitor, run, "running")
    run_life.request_cancel(services, now(services, run))
    assert monitor.wait(run.id).state == "cancelled"
    assert not far.here.alive(far.submitted[0])


def test_a_cancel_before_the_backend_answered_starts_no_job(services, campaign, far):
    run, monitor = start(services, campaign), quick(services)
    far.down = True
    until_polled(monitor, lambda: run.id in services.heard)
    run_life.request_cancel(services, now(services, run))
    far.down = False
    ended = monitor.wait(run.id)
    assert (ended.state, ended.reason) == ("cancelled", "cancelled before it started") and far.submitted == []


def test_a_run_whose_backend_is_not_configured_any_more_waits_and_says_so(services, campaign, far):
    far_behaves(far, "hang")
    run, monitor = start(services, campaign), quick(services, grace=0.1)
    until_state(monitor, run, "running")
    queued, there = start(services, campaign), services.backends
    services.backends = Backends({"local": there.there["local"]}, "local")
    until_polled(monitor, lambda: queued.id in services.heard)
    assert "The backend far is not configured any more" in services.heard[run.id].notice
    assert [now(services, one).state for one in (run, queued)] == ["running", "queued"]
    assert monitor.wait(launch(services, "reward", campaign.id).id).state == "succeeded"
    run_life.request_cancel(services, now(services, run))
    assert "may still be running there" in monitor.wait(run.id).reason


@pytest.mark.slow
def test_a_resumed_run_gets_a_job_of_its_own(services, campaign, far):
    far_behaves(far, "die")
    failed = quick(services).wait(start(services, campaign).id)
    far_behaves(far, "succeed")
    assert failed.state == "failed"
    run_life.resume(services, failed)
    runs.set_state(services.database, failed.id, "starting")  # the app was killed here
    assert quick(services).wait(failed.id).state == "succeeded" and len(far.submitted) == 2
    assert not (RunDirectory(services.directory(failed)).path / "error.json").exists()
