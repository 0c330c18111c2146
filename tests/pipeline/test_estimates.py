"""When runs start and end: from earlier runs, from first steps, slot by slot."""

from datetime import timedelta

import pytest

from pipeline.backend import Backends
from pipeline.estimates import Estimate, estimates, steps_left
from pipeline.launch import launch
from pipeline.local_backend import LocalBackend
from pipeline.run_directory import RunDirectory, write_json
from pipeline.services import PROJECT_ROOT
from storage import run_marks, runs
from tests.pipeline.following import quick


def start(services, campaign, **resources):
    return launch(services, "reward", campaign.id, {"epochs": 2}, resources=resources)


def took(services, campaign, seconds):
    """An earlier run over five train prompts, two passes, that took so long."""
    done = quick(services).wait(start(services, campaign).id)
    directory = RunDirectory(services.directory(done))
    result = {**directory.result(), "seconds": seconds, "sizes": {"train_prompts": 5}}
    write_json(directory.path / "result.json", result)


def running(services, run, **status):
    runs.set_slot(services.database, run.id, services.backends.there["local"].slots()[0])
    runs.set_state(services.database, run.id, "starting")
    runs.set_state(services.database, run.id, "running")
    found = runs.run(services.database, run.id)
    write_json(services.directory(found) / "status.json", {"phase": "running", **status})
    return found


def test_nothing_is_known_before_a_run_of_the_kind_was_seen(services, campaign):
    first, second = start(services, campaign), start(services, campaign)
    assert estimates(services) == {first.id: Estimate(0.0, None), second.id: Estimate(None, None)}


@pytest.mark.slow
def test_queued_runs_start_one_after_the_other_as_earlier_runs_took(services, campaign):
    for seconds in (90.0, 100.0, 500.0):
        took(services, campaign, seconds)
    first, second, third = (start(services, campaign) for _ in range(3))
    run_marks.set_priority(services.database, third.id, 1)
    found = estimates(services)
    assert [found[run.id] for run in (third, first, second)] == [
        Estimate(0, 100),
        Estimate(100, 200),
        Estimate(200, 300),
    ]


def test_two_slots_take_two_runs_at_a_time(services, campaign):
    took(services, campaign, 60.0)
    services.backends = Backends({"local": LocalBackend(PROJECT_ROOT, ("cpu", "cpu"))}, "local")
    made = [start(services, campaign) for _ in range(3)]
    assert [estimates(services)[run.id].starts_in for run in made] == pytest.approx([0, 0, 60])


def test_a_run_that_asks_for_a_slot_waits_for_that_one(services, campaign):
    took(services, campaign, 60.0)
    services.backends = Backends({"local": LocalBackend(PROJECT_ROOT, ("0", "1"))}, "local")
    made = [start(services, campaign, hardware="1") for _ in range(2)]
    assert [estimates(services)[run.id].starts_in for run in made] == pytest.approx([0, 60])


def test_first_steps_tell_more_than_earlier_runs(services, campaign):
    took(services, campaign, 60.0)
    run = running(services, start(services, campaign), step=30, total=100, first=10, first_seconds=20, seconds=60)
    queued = start(services, campaign)
    found = estimates(services)
    assert found[run.id] == Estimate(0.0, pytest.approx(70 * 2.0))
    assert found[queued.id].starts_in == pytest.approx(140) and found[queued.id].ends_in == pytest.approx(200)


def test_a_resumed_run_is_not_taken_for_a_fast_one(services, campaign):
    run = running(services, start(services, campaign))
    later = run.changed + timedelta(seconds=10)
    assert steps_left(run, {"step": 50, "total": 100, "first": 50, "first_seconds": 3, "seconds": 3}, later) is None
    assert steps_left(run, {"step": 1, "total": 11, "first": 1, "first_seconds": 3, "seconds": 3}, later) == 100


def test_a_started_run_without_steps_ends_when_earlier_ones_did(services, campaign):
    took(services, campaign, 60.0)
    run = running(services, start(services, campaign))
    found = estimates(services, run.started + timedelta(seconds=20))
    assert found[run.id].ends_in == pytest.approx(40)
    assert estimates(services, run.started + timedelta(seconds=90))[run.id].ends_in == 0
