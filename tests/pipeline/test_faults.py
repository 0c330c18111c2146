"""What may go wrong around a run: torn and hostile files, a clock that jumps, an app that is down. All ends truly."""

import json
import os
import shutil
import time
from datetime import UTC, datetime, timedelta

import pytest

from pipeline import run_life
from pipeline.launch import launch
from pipeline.monitor import ATTEMPTS
from pipeline.run_directory import RunDirectory, write_json
from pipeline.services import open_services
from storage import campaigns, runs, versions
from storage.database import StorageInterrupted
from storage.records import ModelVersion
from tests.pipeline.following import quick, until, until_state
from tests.pipeline.small_campaign import behave
from ui.run_view import curve_rows, detail, summary

GIBIBYTE = 1024**3


def append(run, raw: bytes) -> None:
    with (run.path / "metrics.jsonl").open("ab") as file:
        file.write(raw)


def running(services, campaign, kind="reward"):
    """A run whose job goes on until it is told to."""
    behave(services, "wait")
    started, monitor = launch(services, kind, campaign.id), quick(services)
    return until_state(monitor, started, "running"), monitor


def refused(*_):
    raise StorageInterrupted("The disk is full.")


def let_go(services) -> None:
    (services.data / "runs" / "go").touch()


# ---- metrics
@pytest.mark.parametrize("torn", [b'{"step": 2, "lo', b'{"step": 2, "sample": "caf\xc3', b"\x00" * 40, b"{"])
def test_a_line_torn_by_a_killed_job_takes_none_of_its_successors_along(run, torn):
    run.append_metrics(1, {"loss": 0.5})
    append(run, torn)
    run.append_metrics(2, {"loss": 0.4})
    run.append_metrics(3, {"loss": 0.3})
    assert [(row["step"], row["loss"]) for row in run.metrics()[0]] == [(1, 0.5), (2, 0.4), (3, 0.3)]


def test_lines_that_are_no_rows_are_passed_over(run):
    for line in (b"5", b'"loss"', b"[1, 2]", b"null", b'{"loss": 1}', b'{"step": "1"}', b'{"step": NaN}', b"[" * 9999):
        append(run, line + b"\n")
    append(run, b'\xff\xfe{"step": 1}\n{"step": 1, "loss": 2}\n')
    assert [row["loss"] for row in run.metrics()[0]] == [2]


def test_hostile_metrics_reach_the_page_as_values_that_json_can_say(services, campaign):
    found, _ = running(services, campaign)
    names = ("__proto__", "<script>alert(1)</script>", "'; DROP TABLE run_metric; --", "x" * 5000, "")
    directory = RunDirectory(services.directory(found))
    directory.append_metrics(2, {name: value for name in names for value in (float("nan"), float("inf"), -1e308)})
    directory.append_metrics(3, {"loss": float("nan"), "sample": "half a \ud83d pair", "deep": {"a": [1]}})
    let_go(services)
    assert quick(services).wait(found.id).state == "succeeded"
    rows = curve_rows(services, found.id)
    assert json.loads(json.dumps(rows, allow_nan=False)) == rows and set(names) <= rows[1].keys()
    assert rows[2]["loss"] is None


def test_a_step_told_again_after_a_resume_stands_in_storage_as_often_as_it_was_written(services, campaign):
    found, monitor = running(services, campaign)
    directory = RunDirectory(services.directory(found))
    for step in (2, 3, 2, 3, 4):
        directory.append_metrics(step, {"loss": 1 / step})
        monitor.poll_once()
    let_go(services)
    monitor.wait(found.id)
    assert [row["step"] for row in curve_rows(services, found.id)] == [1, 2, 3, 2, 3, 4, 2]


# ---- results
@pytest.mark.slow
@pytest.mark.parametrize("raw", [b"", b'{"model": "artifacts/mo', b"[1]", b'"done"', b"null", b"\xff\xfe"])
def test_a_result_that_is_torn_or_no_object_is_none(services, campaign, raw):
    behave(services, "die")
    found = launch(services, "reward", campaign.id)
    (services.directory(found) / "result.json").write_bytes(raw)
    ended = quick(services).wait(found.id)
    assert ended.state == "failed" and "ended without a result" in ended.reason
    assert versions.versions(services.database, "reward") == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("result", "said"),
    [
        ({"model": "artifacts/model", "role": "policy"}, "found none there"),
        ({"model": "../../..", "role": "policy"}, "expected a folder under artifacts/"),
        ({"model": "/etc", "role": "policy"}, "expected a folder under artifacts/"),
        ({"model": ["x"], "role": "policy"}, "expected a folder under artifacts/"),
        ({"model": "artifacts/there"}, "role None, expected policy or reward"),
        ({"model": "artifacts/there", "role": "policy", "metrics": [1]}, "expected an object"),
    ],
)
def test_a_result_of_which_no_version_can_be_made_fails_the_run_in_a_sentence(services, campaign, result, said):
    behave(services, "die")
    found = launch(services, "dpo", campaign.id)
    directory = RunDirectory(services.directory(found))
    (directory.artifacts / "there").mkdir()
    (directory.artifacts / "there" / "config.json").write_text("{}")
    write_json(directory.path / "result.json", result)
    ended = quick(services).wait(found.id)
    assert ended.state == "failed" and said in ended.reason and "resume the run" in ended.reason
    assert [one.name for one in versions.versions(services.database)] == ["base"]


def test_a_result_written_while_the_app_was_down_is_taken_in_by_the_next_one(services, campaign):
    found, _ = running(services, campaign)
    services.close()
    let_go(services)
    directory = RunDirectory(services.directory(found))
    until(lambda: directory.result() is not None)
    reopened = open_services(services.data)
    assert quick(reopened).wait(found.id).state == "succeeded"
    assert [one.name for one in versions.versions(reopened.database, "reward")] == ["reward-1"]
    assert [row["loss"] for row in curve_rows(reopened, found.id)] == [0.5, 0.25]
    reopened.close()


# ---- the log
def test_the_tail_of_a_log_of_gigabytes_is_read_from_its_end(run):
    with run.log.open("wb") as log:
        log.truncate(8 * GIBIBYTE)  # sparse: takes no room
        log.seek(0, os.SEEK_END)
        log.write(b"\nlast but one\nthe last line")
    assert run.log_tail(2) == "last but one\nthe last line"
    assert len(run.log_tail(1000)) <= 65_536


# ---- the clock
def test_no_time_is_negative_after_the_clock_jumped_back(services, campaign):
    found, _ = running(services, campaign)
    directory = RunDirectory(services.directory(found))
    earlier = datetime.now(UTC) - timedelta(hours=1)
    for step in (3, 4):  # the first step is where the speed is counted from
        directory.write_status("running", step, 10)
        time.sleep(0.15)
    told = summary(services, found, now=earlier)
    let_go(services)
    assert told["elapsed"] >= 0 and told["silent"] is None
    assert told["remaining"] is None or told["remaining"] >= 0


def test_rows_keep_their_order_and_none_is_lost_when_the_clock_jumps_back(services, campaign, monkeypatch):
    found, monitor = running(services, campaign)
    directory = RunDirectory(services.directory(found))
    for step, back in ((2, 0), (3, 3600), (4, 7200)):
        with monkeypatch.context() as changed:
            moment = time.time() - back
            changed.setattr("pipeline.run_directory.time.time", lambda moment=moment: moment)
            directory.append_metrics(step, {"loss": 0.1})
        monitor.poll_once()
    let_go(services)
    assert monitor.wait(found.id).state == "succeeded"
    assert [row["step"] for row in curve_rows(services, found.id)][:4] == [1, 2, 3, 4]
    assert detail(services, runs.run(services.database, found.id))["elapsed"] >= 0


def test_a_run_prepared_by_a_killed_app_fails_also_if_the_clock_jumped_back_since(services, campaign):
    ahead = datetime.now(UTC) + timedelta(hours=1)
    with pytest.MonkeyPatch.context() as changed:
        changed.setattr("storage.runs._now", lambda: ahead)
        half_made = runs.create_run(services.database, "reward", campaign.id, {})
    services.close()
    reopened = open_services(services.data)
    assert quick(reopened).wait(half_made.id).reason.startswith("RankLoop was stopped while")
    reopened.close()


def test_slots_and_versions_are_the_newest_also_after_the_clock_jumped_back(services, campaign):
    found, (early, late) = (
        launch(services, "reward", campaign.id),
        (datetime(2020, 1, 1, tzinfo=UTC), datetime.now(UTC)),
    )
    for slot, moment in (("first", late), ("second", early)):
        with pytest.MonkeyPatch.context() as changed:
            changed.setattr("storage.runs._now", lambda moment=moment: moment)
            runs.set_slot(services.database, found.id, slot)
        versions.register_version(services.database, ModelVersion(slot, "reward", f"owner/{slot}", created=moment))
    assert runs.run(services.database, found.id).slot == "second"
    assert versions.newest_version(services.database, "reward").name == "second"


# ---- files and folders
def test_a_run_goes_on_while_the_database_cannot_store_what_it_writes(services, campaign, monkeypatch):
    found, monitor = running(services, campaign)
    with monkeypatch.context() as full:
        full.setattr("pipeline.monitor.take_in_metrics", refused)
        for _ in range(ATTEMPTS + 1):
            monitor.poll_once()
    assert "waits in its directory. The disk is full." in services.heard[found.id].notice
    let_go(services)
    assert monitor.wait(found.id).state == "succeeded"
    assert [row["loss"] for row in curve_rows(services, found.id)] == [0.5, 0.25]


@pytest.mark.slow
def test_a_run_whose_directory_is_gone_fails_and_stops_no_other(services, campaign):
    lost, monitor = running(services, campaign)
    other = launch(services, "dpo", campaign.id)
    shutil.rmtree(services.directory(lost))
    let_go(services)
    assert monitor.wait(other.id).state == "succeeded"
    ended = monitor.wait(lost.id)
    assert ended.state == "failed" and ended.reason


def test_a_queued_run_finds_its_models_after_the_data_folder_was_moved(services, campaign):
    made = quick(services).wait(launch(services, "dpo", campaign.id).id)
    campaigns.set_policy(services.database, campaign.id, "dpo-1")
    waiting = launch(services, "reward", campaign.id)
    services.close()
    moved = services.data.rename(services.data.with_name("moved"))
    reopened = open_services(moved)
    assert quick(reopened).wait(waiting.id).state == "succeeded"
    policy = RunDirectory(reopened.directory(waiting)).config()["models"]["policy"]
    assert policy == {"name": "dpo-1", "path": str(moved / made.directory / "artifacts" / "model")}
    reopened.close()


def test_a_failed_run_is_resumed_where_the_data_folder_was_moved_to(services, campaign):
    quick(services).wait(launch(services, "dpo", campaign.id).id)
    campaigns.set_policy(services.database, campaign.id, "dpo-1")
    behave(services, "fail")
    failed = quick(services).wait(launch(services, "reward", campaign.id).id)
    services.close()
    moved = services.data.rename(services.data.with_name("moved"))
    reopened = open_services(moved)
    behave(reopened, "succeed")
    assert quick(reopened).wait(run_life.resume(reopened, failed).id).state == "succeeded"
    assert str(moved) in RunDirectory(reopened.directory(failed)).config()["models"]["policy"]["path"]
    reopened.close()
