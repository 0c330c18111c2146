"""The monitor: every run ends in one truth, once, also when the app dies in between."""

import os
import signal

import pytest

from pipeline import intake
from pipeline.launch import launch
from pipeline.reference_cache import FOLDER, Known, write_log_probs
from pipeline.run_directory import RunDirectory
from pipeline.services import open_services
from pipeline.snapshot import Snapshot
from storage import runs, tasks, versions
from storage.completions import completions_of
from storage.records import ModelVersion
from tests.pipeline.fake_job import row, write_piece
from tests.pipeline.following import quick, until, until_state
from tests.pipeline.small_campaign import add_base, behave, rank_all


class Killed(BaseException):
    """Stands for kill -9: nothing catches it."""


def dies(*_):
    raise Killed


def states(services, run):
    return [state for state, *_ in runs.state_history(services.database, run.id)]


def test_a_run_goes_through_its_states_to_a_version(services, campaign):
    run = quick(services).wait(launch(services, "reward", campaign.id).id)
    assert states(services, run) == ["queued", "starting", "running", "finishing", "succeeded"] or (
        states(services, run) == ["queued", "starting", "finishing", "succeeded"]
    )
    made = versions.version(services.database, "reward-1")
    assert (made.role, made.parent, made.run_id, made.data_hash) == ("reward", "base", run.id, run.data_hash)
    assert made.metrics == {"eval/accuracy": 0.75}
    assert [m["loss"] for m in runs.metrics(services.database, run.id)] == [0.5, 0.25]


def test_a_reward_model_that_went_on_from_another_has_that_one_as_parent(services, campaign):
    versions.register_version(services.database, ModelVersion("judge", "reward", "owner/judge"))
    run = quick(services).wait(launch(services, "reward", campaign.id, models={"base": "judge"}).id)
    [made] = [version for version in versions.versions(services.database) if version.run_id == run.id]
    assert made.parent == "judge"


def test_a_failed_run_gives_its_own_reason(services, campaign):
    behave(services, "fail")
    run = quick(services).wait(launch(services, "reward", campaign.id).id)
    assert (run.state, run.reason) == ("failed", "found 0 groups, expected at least 1")
    assert versions.versions(services.database, "reward") == []


def test_a_run_that_dies_silently_fails_with_the_logs_end(services, campaign):
    behave(services, "die")
    run = quick(services).wait(launch(services, "reward", campaign.id).id)
    assert run.state == "failed" and "without a result" in run.reason and "fake reward does: die" in run.reason


def test_cancel_lets_the_job_save_and_end(services, campaign):
    behave(services, "hang")
    monitor, run = quick(services), launch(services, "reward", campaign.id)
    until_state(monitor, run, "running")
    RunDirectory(services.directory(run)).request_cancel()
    assert monitor.wait(run.id).state == "cancelled"
    assert RunDirectory(services.directory(run)).status()["phase"] == "cancelled"


def test_a_deaf_job_is_ended_by_force(services, campaign, monkeypatch):
    monkeypatch.setattr("pipeline.monitor.FORCE_SECONDS", 0.2)
    behave(services, "deaf")
    monitor, run = quick(services, grace=0.2), launch(services, "reward", campaign.id)
    until_state(monitor, run, "running")
    RunDirectory(services.directory(run)).request_cancel()
    assert monitor.wait(run.id).state == "cancelled"


def test_one_run_at_a_time_in_order(services, campaign):
    behave(services, "wait")
    monitor = quick(services)
    first, second, third = (launch(services, kind, campaign.id) for kind in ("reward", "dpo", "reward"))
    until_state(monitor, first, "running")
    RunDirectory(services.directory(third)).request_cancel()
    until_state(monitor, third, "cancelled")
    assert states(services, second) == ["queued"] and states(services, third) == ["queued", "cancelled"]
    (services.data / "runs" / "go").touch()
    assert monitor.wait(second.id).state == "succeeded"
    assert runs.run(services.database, first.id).state == "succeeded"


def test_a_new_app_follows_a_run_that_the_killed_one_started(services, campaign):
    behave(services, "wait")
    run = launch(services, "reward", campaign.id)
    until_state(quick(services), run, "running")
    services.close()
    reopened = open_services(services.data)
    (services.data / "runs" / "go").touch()
    assert quick(reopened).wait(run.id).state == "succeeded"
    assert [v.name for v in versions.versions(reopened.database, "reward")] == ["reward-1"]
    reopened.close()


def test_a_job_whose_handle_was_never_stored_is_found(services, campaign, monkeypatch):
    behave(services, "wait")
    run = launch(services, "reward", campaign.id)
    with monkeypatch.context() as killed:
        killed.setattr(runs, "set_handle", dies)
        with pytest.raises(Killed):
            quick(services).poll_once()
    assert runs.run(services.database, run.id).handle is None
    (services.data / "runs" / "go").touch()
    assert quick(services).wait(run.id).state == "succeeded"


def test_a_version_registers_once_when_the_app_dies_around_it(services, campaign, monkeypatch):
    run, monitor = launch(services, "reward", campaign.id), quick(services)
    register = versions.register_version
    for after in (False, True):
        with monkeypatch.context() as killed:

            def dies_around(*arguments, after=after):
                if after:
                    register(*arguments)
                raise Killed

            killed.setattr(versions, "register_version", dies_around)
            with pytest.raises(Killed):
                monitor.wait(run.id)
    assert monitor.wait(run.id).state == "succeeded"
    assert [v.name for v in versions.versions(services.database, "reward")] == ["reward-1"]
    assert states(services, run).count("succeeded") == 1


def test_a_killed_job_fails_even_if_its_pid_lives_on_elsewhere(services, campaign):
    behave(services, "hang")
    monitor, run = quick(services), launch(services, "reward", campaign.id)
    now = until_state(monitor, run, "running")
    os.kill(int(now.handle.split(":")[1]), signal.SIGKILL)
    assert monitor.wait(run.id).state == "failed"


def test_generate_opens_tasks_for_prompts_with_two_completions(services, campaign):
    run = quick(services).wait(launch(services, "generate", campaign.id, {"k": 3}).id)
    opened = [task for task in tasks.tasks(services.database, campaign.id) if task.completion_ids[0] > 18]
    assert run.state == "succeeded" and len(opened) == 5  # the sixth prompt got one completion only
    assert {task.purpose for task in opened} == {"rank"}
    assert runs.pieces(services.database, run.id) == {"part-00000.parquet": (12, 4), "part-00001.parquet": (4, 1)}
    assert rank_all(services, "bob") == 5


@pytest.mark.slow
def test_a_comparison_is_shown_first(services, campaign):
    add_base(services, "other")
    quick(services).wait(launch(services, "generate", campaign.id, {"k": 2}).id)
    models = {"policy": "other", "against": "base"}
    quick(services).wait(launch(services, "generate", campaign.id, {"k": 4}, models).id)
    compared = [task for task in tasks.tasks(services.database, campaign.id) if task.purpose == "compare"]
    assert len(compared) == 6 and all(len(task.completion_ids) == 4 for task in compared)
    assert services.pool.claim(99).task_id in {task.id for task in compared}


def test_pieces_come_in_while_the_job_runs(services, campaign):
    behave(services, "hang")
    monitor, run = quick(services), launch(services, "generate", campaign.id)
    until_state(monitor, run, "running")
    prompt = tasks.tasks(services.database, campaign.id)[0].prompt_id
    folder = services.directory(run) / "artifacts" / "completions"
    folder.mkdir()
    write_piece(folder / "part-00000.parquet", [row(prompt, "base", k) for k in range(4)])
    monitor.poll_once()
    assert runs.pieces(services.database, run.id) == {"part-00000.parquet": (4, 1)}
    assert rank_all(services, "bob") == 1


def test_a_piece_taken_in_halfway_is_taken_in_once(services, campaign, monkeypatch):
    run = launch(services, "generate", campaign.id, {"k": 3})
    with monkeypatch.context() as killed:
        killed.setattr(runs, "add_piece", dies)
        with pytest.raises(Killed):
            quick(services).wait(run.id)
    quick(services).wait(run.id)
    asked = {task.prompt_id for task in tasks.tasks(services.database, campaign.id)}
    written = [c for prompt in asked for c in completions_of(services.database, prompt) if c.model == "base"]
    assert len(written) == 5 * 3 + 1
    assert len(tasks.tasks(services.database, campaign.id)) == 6 + 5
    assert rank_all(services, "bob") == 5


def test_trouble_that_stays_ends_the_run_and_not_the_others(services, campaign, monkeypatch):
    broken = launch(services, "reward", campaign.id)
    fine = launch(services, "dpo", campaign.id)
    take_in = intake.take_in_metrics

    def stumbles(services, run, directory):
        if run.id == broken.id:
            raise OSError("no room")
        return take_in(services, run, directory)

    monkeypatch.setattr("pipeline.monitor.take_in_metrics", stumbles)
    monitor = quick(services)
    assert monitor.wait(fine.id).state == "succeeded"
    assert "no room" in runs.run(services.database, broken.id).reason


def test_a_run_prepared_by_a_killed_app_fails(services, campaign):
    run = runs.create_run(services.database, "reward", campaign.id, {})
    monitor = quick(services)
    monitor.poll_once()
    assert runs.run(services.database, run.id).state == "queued"
    services.close()
    reopened = open_services(services.data)
    assert quick(reopened).wait(run.id).reason.startswith("RankLoop was stopped while it prepared")
    reopened.close()


def test_a_starting_monitor_removes_what_a_killed_app_left_but_not_what_is_being_prepared(
    services, campaign, monkeypatch
):
    left = services.data / "runs" / ".0000-reward.new"
    left.mkdir()
    monitor, write = quick(services), Snapshot.write

    def started_meanwhile(snapshot, folder):
        monitor.start()
        write(snapshot, folder)

    monkeypatch.setattr(Snapshot, "write", started_meanwhile)
    run = launch(services, "reward", campaign.id)
    assert monitor.wait(run.id).state == "succeeded" and not left.exists()
    monitor.stop()


def test_a_thread_follows_runs_and_stops(services, campaign):
    monitor = quick(services)
    monitor.start()
    run = monitor.wait(launch(services, "reward", campaign.id).id)
    monitor.stop()
    assert run.state == "succeeded"


def test_a_run_without_a_model_just_succeeds(services, campaign):
    run = quick(services).wait(launch(services, "evaluate", campaign.id).id)
    assert run.state == "succeeded" and versions.versions(services.database, "reward") == []


def test_what_a_job_writes_while_it_is_looked_at_is_not_left_out(services, campaign, monkeypatch):
    behave(services, "wait")
    monitor = quick(services)
    run = launch(services, "generate", campaign.id, {"k": 3})
    until_state(monitor, run, "running")
    directory = RunDirectory(services.directory(run))

    def finish_after_the_look(*looked):
        taken = intake.take_in_pieces(*looked)
        (services.data / "runs" / "go").touch()
        until(lambda: directory.result() is not None)
        return taken

    monkeypatch.setattr("pipeline.monitor.take_in_pieces", finish_after_the_look)
    monitor.poll_once()
    monkeypatch.undo()
    assert monitor.wait(run.id).state == "succeeded"
    assert len(runs.pieces(services.database, run.id)) == len(list((directory.artifacts / "completions").iterdir()))


def test_reference_log_probabilities_of_a_dpo_run_are_kept_once(services, campaign):
    run = launch(services, "dpo", campaign.id)
    directory = RunDirectory(services.directory(run))
    write_log_probs(directory.artifacts, "m", [Known("a" * 32, 1, -1.5)])
    assert [intake.take_in_reference(services, run, directory) for _ in range(2)] == [1, 0]
    assert len(list((services.data / FOLDER).iterdir())) == 1
    other = launch(services, "reward", campaign.id)
    write_log_probs(directory.artifacts, "m", [Known("b" * 32, 2, -1.5)])
    assert intake.take_in_reference(services, other, directory) == 0
