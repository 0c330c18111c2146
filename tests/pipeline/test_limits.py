"""Limits, heartbeats and silence: what ends a job that runs, and what is only shown."""

import os
import signal

from pipeline.launch import launch
from pipeline.limits import limit_reached
from pipeline.resources import make_resources
from pipeline.watch import Watch
from tests.pipeline.following import now, quick, until_polled, until_state
from tests.pipeline.small_campaign import behave


def reached(status, watch, **limits):
    return limit_reached(make_resources(limits), 0, status, watch, "0001-reward")


def test_a_time_limit_counts_the_jobs_own_seconds_also_after_a_restart_of_the_app():
    assert reached({"seconds": 59}, Watch(), timeout_minutes=1) == ""
    assert reached({"seconds": 60}, Watch(), timeout_minutes=1).startswith("It reached its time limit of 1 minutes")
    assert reached({"seconds": 9e9}, Watch()) == ""


def test_the_backends_usual_limit_counts_where_none_is_given():
    assert "30 minutes" in limit_reached(make_resources(), 30, {"seconds": 1800}, Watch(), "0001-reward")


def test_a_job_that_gets_no_further_is_ended_only_where_a_limit_says_so(monkeypatch):
    clock = [100.0]
    monkeypatch.setattr("pipeline.watch.time.monotonic", lambda: clock[0])
    watch, status = Watch(), {"phase": "running", "step": 3, "total": 9, "message": ""}
    assert reached(status, watch, stuck_minutes=2) == ""
    clock[0] += 119
    assert reached({**status, "heartbeat": 5, "seconds": 7}, watch, stuck_minutes=2) == ""
    clock[0] += 1
    assert "no further for 2 minutes" in reached(status, watch, stuck_minutes=2)
    assert reached(status, watch) == "" and reached({**status, "step": 4}, watch, stuck_minutes=2) == ""


def test_a_run_past_its_time_limit_saves_ends_and_says_how_to_go_on(services, campaign, monkeypatch):
    monkeypatch.setattr("pipeline.limits.MINUTE", 0.1)
    behave(services, "hang")
    run = launch(services, "reward", campaign.id, resources={"timeout_minutes": 3})
    ended = quick(services).wait(run.id)
    said = "It reached its time limit of 3 minutes; resume it with a longer one, from its last checkpoint."
    assert (ended.state, ended.reason) == ("failed", said)


def test_a_silent_job_is_shown_as_such_and_goes_on_when_it_speaks_again(services, campaign, monkeypatch):
    monkeypatch.setattr("pipeline.monitor.SILENT_SECONDS", 0.3)
    behave(services, "chatter")
    run, monitor = launch(services, "reward", campaign.id), quick(services)
    until_state(monitor, run, "running")
    pid = int(now(services, run).handle.split(":")[1])
    os.kill(pid, signal.SIGSTOP)
    until_polled(monitor, lambda: run.id in services.heard)
    assert "has said nothing since 20" in services.heard[run.id].notice and services.heard[run.id].silent >= 0.3
    assert now(services, run).state == "running"
    os.kill(pid, signal.SIGCONT)
    until_polled(monitor, lambda: run.id not in services.heard)


def test_a_silent_job_that_is_dead_ends_at_once(services, campaign):
    behave(services, "chatter")
    run, monitor = launch(services, "reward", campaign.id), quick(services)
    until_state(monitor, run, "running")
    os.kill(int(now(services, run).handle.split(":")[1]), signal.SIGKILL)
    assert monitor.wait(run.id).state == "failed"
