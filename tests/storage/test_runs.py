"""Runs: ids, states that end for good, metrics and pieces that enter once."""

import pytest

from storage import runs
from storage.database import Database
from storage.records import InvalidRecord


@pytest.fixture
def database():
    with Database(None) as opened:
        yield opened


def test_ids_count_up_and_name_the_kind(database):
    first = runs.create_run(database, "starter", None, {"seed": 3})
    second = runs.create_run(database, "ppo", 1, {}, created_by=7)
    assert (first.id, first.directory, first.options) == ("0001-starter", "runs/0001-starter", {"seed": 3})
    assert (second.id, second.state, second.created_by) == ("0002-ppo", "queued", 7)
    assert runs.run(database, "0009-ppo") is None


def test_runs_are_listed_newest_first_and_by_kind_and_campaign(database):
    made = [runs.create_run(database, kind, campaign, {}) for kind, campaign in [("ppo", 1), ("dpo", 1), ("ppo", 2)]]
    assert [run.id for run in runs.runs(database)] == [run.id for run in reversed(made)]
    assert [run.id for run in runs.runs(database, "ppo", 1)] == ["0001-ppo"]
    assert [run.id for run in runs.runs(database, limit=1)] == ["0003-ppo"]


def test_every_change_of_state_keeps_time_and_reason(database):
    run = runs.create_run(database, "ppo", 1, {})
    runs.set_state(database, run.id, "starting")
    runs.set_state(database, run.id, "starting")
    now = runs.set_state(database, run.id, "failed", "out of memory")
    assert (now.state, now.reason) == ("failed", "out of memory")
    history = runs.state_history(database, run.id)
    assert [(state, reason) for state, reason, _ in history] == [
        ("queued", ""), ("starting", ""), ("failed", "out of memory"),
    ]  # fmt: skip
    assert all(when.tzinfo is not None for *_, when in history)


@pytest.mark.parametrize("ended", ["succeeded", "failed", "cancelled"])
def test_an_ended_state_is_final(database, ended):
    run = runs.create_run(database, "ppo", 1, {})
    runs.set_state(database, run.id, ended, "first")
    with pytest.raises(runs.RunEnded, match="final"):
        runs.set_state(database, run.id, "running")
    assert runs.set_state(database, run.id, ended, "again").reason == "first"
    assert runs.unfinished_runs(database) == []


def test_unknown_states_and_runs_are_refused(database):
    with pytest.raises(runs.UnknownRun, match="0001-ppo"):
        runs.set_state(database, "0001-ppo", "running")
    run = runs.create_run(database, "ppo", 1, {})
    with pytest.raises(InvalidRecord, match="state"):
        runs.set_state(database, run.id, "paused")


def test_the_oldest_unfinished_run_comes_first(database):
    made = [runs.create_run(database, "ppo", 1, {}) for _ in range(3)]
    runs.set_state(database, made[0].id, "failed")
    assert [run.id for run in runs.unfinished_runs(database)] == [made[1].id, made[2].id]


def test_handle_and_data_hash_do_not_touch_the_state(database):
    run = runs.create_run(database, "ppo", 1, {})
    runs.set_handle(database, run.id, "local:1:2.00")
    runs.set_data_hash(database, run.id, "abc")
    found = runs.run(database, run.id)
    assert (found.handle, found.data_hash, found.state, found.changed) == ("local:1:2.00", "abc", "queued", run.changed)


def test_metrics_enter_once_per_byte_offset(database):
    run = runs.create_run(database, "ppo", 1, {})
    assert runs.add_metrics(database, run.id, [{"step": 1, "loss": 0.5}, {"step": 2}], 80) == 2
    assert runs.add_metrics(database, run.id, [{"step": 1, "loss": 0.5}, {"step": 2}], 80) == 0
    assert runs.add_metrics(database, run.id, [{"step": 3, "sample": "Grüße"}], 120) == 1
    assert runs.metrics(database, run.id) == [{"step": 1, "loss": 0.5}, {"step": 2}, {"step": 3, "sample": "Grüße"}]
    assert runs.metrics_offset(database, run.id) == 120


def test_a_metric_that_is_not_a_number_is_kept(database):
    run = runs.create_run(database, "ppo", 1, {})
    runs.add_metrics(database, run.id, [{"step": 1, "loss": float("nan")}], 10)
    assert runs.metrics(database, run.id)[0]["loss"] != runs.metrics(database, run.id)[0]["loss"]


def test_a_piece_is_remembered_once(database):
    run = runs.create_run(database, "generate", 1, {})
    runs.add_piece(database, run.id, "part-00000.parquet", 8, 2)
    runs.add_piece(database, run.id, "part-00000.parquet", 8, 2)
    assert runs.pieces(database, run.id) == {"part-00000.parquet": (8, 2)}
