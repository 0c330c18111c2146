"""The queue: order, priorities and slots, and cancelling a run in any of its states."""

import psutil
import pytest

from pipeline import run_life
from pipeline.backend import Backends
from pipeline.launch import launch
from pipeline.local_backend import LocalBackend
from pipeline.run_directory import RunDirectory
from pipeline.services import PROJECT_ROOT
from storage import run_marks, versions
from tests.pipeline.following import now, quick, until_polled, until_state
from tests.pipeline.small_campaign import behave


def started(services, made):
    """The runs in the order in which they got their slot."""
    found = [now(services, run) for run in made]
    return [run.id for run in sorted((run for run in found if run.started), key=lambda run: run.started)]


def split(services, *devices):
    services.backends = Backends({"local": LocalBackend(PROJECT_ROOT, devices)}, "local")


def working_on(services):
    """Processes of jobs of this data folder."""
    words = [one.info["cmdline"] or [""] for one in psutil.process_iter(["cmdline"])]
    return [line for line in words if line[-1].startswith(str(services.data / "runs"))]


@pytest.mark.slow
def test_three_runs_on_one_slot_run_one_after_the_other_in_order(services, campaign):
    made = [launch(services, kind, campaign.id) for kind in ("reward", "dpo", "reward")]
    monitor, most = quick(services), 0
    while any(now(services, run).state != "succeeded" for run in made):
        monitor.poll_once()
        most = max(most, sum(now(services, run).state in ("starting", "running", "finishing") for run in made))
    assert most == 1 and started(services, made) == [run.id for run in made]


@pytest.mark.slow
def test_a_priority_given_while_the_queue_moves_counts(services, campaign):
    behave(services, "wait")
    made, monitor = [launch(services, "reward", campaign.id) for _ in range(3)], quick(services)
    until_state(monitor, made[0], "running")
    run_marks.set_priority(services.database, made[2].id, 5)
    (services.data / "runs" / "go").touch()
    until_polled(monitor, lambda: all(now(services, run).state == "succeeded" for run in made))
    assert started(services, made) == [made[0].id, made[2].id, made[1].id]


@pytest.mark.slow
def test_each_slot_takes_one_run_and_a_third_waits(services, campaign):
    split(services, "cpu", "cpu")
    behave(services, "wait")
    made, monitor = [launch(services, "reward", campaign.id) for _ in range(3)], quick(services)
    until_polled(monitor, lambda: [now(services, run).state for run in made] == ["running", "running", "queued"])
    (services.data / "runs" / "go").touch()
    until_polled(monitor, lambda: all(now(services, run).state == "succeeded" for run in made))


def test_a_run_that_asks_for_a_slot_gets_that_one_and_holds_up_nobody(services, campaign):
    split(services, "0", "1")
    behave(services, "wait")
    one, two = (launch(services, "reward", campaign.id, resources={"hardware": "1"}) for _ in range(2))
    anywhere, monitor = launch(services, "dpo", campaign.id), quick(services)
    until_polled(monitor, lambda: now(services, anywhere).state == "running" and now(services, one).state == "running")
    assert (now(services, one).slot, now(services, anywhere).slot) == ("1", "0")
    assert now(services, two).state == "queued"
    (services.data / "runs" / "go").touch()
    until_state(monitor, two, "succeeded")


@pytest.mark.parametrize("state", ["queued", "starting", "running"])
def test_a_run_is_cancelled_in_any_state_and_leaves_nothing_behind(services, campaign, state):
    behave(services, "parent")
    run, monitor = launch(services, "reward", campaign.id), quick(services)
    if state != "queued":
        until_state(monitor, run, state)
    run_life.request_cancel(services, now(services, run))
    assert monitor.wait(run.id).state == "cancelled"
    until_polled(monitor, lambda: not working_on(services))
    assert now(services, launch(services, "reward", campaign.id)).state == "queued"  # the slot is free again


def test_a_cancel_that_comes_after_the_result_changes_nothing(services, campaign):
    behave(services, "lingers")
    run, monitor = launch(services, "reward", campaign.id), quick(services, grace=0.3)
    until_state(monitor, run, "finishing")
    run_life.request_cancel(services, now(services, run))
    assert monitor.wait(run.id).state == "succeeded"
    assert [v.run_id for v in versions.versions(services.database, "reward")] == [run.id]


def test_a_job_that_does_not_end_after_its_result_is_ended_before_the_slot_is_free(services, campaign):
    behave(services, "lingers")
    monitor = quick(services, grace=0.3)
    run, queued = launch(services, "reward", campaign.id), launch(services, "reward", campaign.id)
    until_state(monitor, run, "finishing")
    assert now(services, queued).state == "queued"
    assert monitor.wait(run.id).state == "succeeded"
    assert not [line for line in working_on(services) if line[-1].endswith(run.id)]


def test_a_job_that_has_not_begun_to_report_is_ended_at_once(services, campaign):
    behave(services, "mute")
    run, monitor = launch(services, "reward", campaign.id), quick(services)
    until_polled(monitor, lambda: "fake reward does" in RunDirectory(services.directory(run)).log_tail())
    (services.directory(run) / "status.json").unlink()
    run_life.request_cancel(services, now(services, run))
    assert monitor.wait(run.id).state == "cancelled"
