"""Resume, run again, delete: what may be done with a run after its launch, and what it leaves."""

import shutil

import pytest

from pipeline import run_life
from pipeline.backend import BackendUnreachable
from pipeline.launch import launch
from pipeline.memory import advice, is_out_of_memory
from storage import campaigns, run_marks, runs, versions
from tests.pipeline.following import quick
from tests.pipeline.small_campaign import behave


def ended(services, run):
    return quick(services).wait(run.id)


def test_a_failed_run_is_resumed_on_its_own_directory_and_makes_one_version(services, campaign):
    behave(services, "fail")
    failed = ended(services, launch(services, "reward", campaign.id))
    assert failed.state == "failed"
    behave(services, "succeed")
    queued = run_life.resume(services, failed, "ann")
    assert (queued.state, queued.reason, queued.directory) == ("queued", "resumed by ann", failed.directory)
    assert ended(services, queued).state == "succeeded"
    assert [v.run_id for v in versions.versions(services.database, "reward")] == [failed.id]
    assert [state for state, _, _ in runs.state_history(services.database, failed.id)].count("queued") == 2


def test_a_cancelled_run_is_resumed_without_being_cancelled_again(services, campaign):
    run = launch(services, "reward", campaign.id)
    run_life.request_cancel(services, run)
    cancelled = ended(services, run)
    assert cancelled.state == "cancelled"
    assert ended(services, run_life.resume(services, cancelled)).state == "succeeded"


def test_a_run_that_succeeded_or_lost_its_files_is_not_resumed(services, campaign):
    done = ended(services, launch(services, "reward", campaign.id))
    with pytest.raises(runs.NotResumable, match="found 0001-reward succeeded"):
        run_life.resume(services, done)
    behave(services, "fail")
    failed = ended(services, launch(services, "reward", campaign.id))
    gone = run_life.delete(services, failed, "ann")
    with pytest.raises(runs.NotResumable, match="without its files"):
        run_life.resume(services, gone)


def test_running_again_takes_the_same_options_but_for_the_changed_ones(services, campaign):
    first = ended(services, launch(services, "reward", campaign.id, {"epochs": 2, "seed": 7}))
    second = run_life.again(services, first, {"epochs": 1}, created_by=3)
    assert (second.options["epochs"], second.options["seed"], second.created_by) == (1.0, 7, 3)
    assert second.id != first.id and second.state == "queued"


def test_deleting_a_run_takes_its_files_and_its_place_in_the_lists(services, campaign):
    behave(services, "fail")
    failed = ended(services, launch(services, "reward", campaign.id))
    run_life.delete(services, failed)
    assert not services.directory(failed).exists()
    assert runs.runs(services.database) == []
    assert runs.run(services.database, failed.id).deleted


def test_what_a_backend_holds_of_a_run_goes_with_it_and_nothing_is_deleted_while_it_cannot_be_asked(
    services, campaign, monkeypatch
):
    run = ended(services, launch(services, "generate", campaign.id))
    asked, backend = [], services.backends.there["local"]

    def away(*_):
        raise BackendUnreachable("local: found no answer")

    monkeypatch.setattr(backend, "clear", away, raising=False)
    with pytest.raises(run_life.NotDeletable, match="try again: local: found no answer"):
        run_life.delete(services, run)
    assert services.directory(run).is_dir()
    monkeypatch.setattr(backend, "clear", lambda *given: asked.append(given))
    run_life.delete(services, run)
    assert asked == [(services.directory(run), run.handle)] and not services.directory(run).exists()


def test_what_a_job_writes_while_its_files_are_removed_goes_too(tmp_path, monkeypatch):
    folder, remove, late = tmp_path / "run", shutil.rmtree, ["log.txt", "status.json"]

    def removed(path, ignore_errors):
        remove(path, ignore_errors=ignore_errors)
        if late:
            path.mkdir()
            (path / late.pop()).touch()

    folder.mkdir()
    monkeypatch.setattr(run_life.shutil, "rmtree", removed)
    monkeypatch.setattr(run_life, "PAUSE", 0.0)
    run_life._remove(folder)
    assert not folder.exists() and not late


def test_a_run_whose_version_is_in_use_is_not_deleted(services, campaign):
    done = ended(services, launch(services, "dpo", campaign.id))
    campaigns.set_policy(services.database, campaign.id, "dpo-1")
    with pytest.raises(run_life.NotDeletable, match="in use by campaign trial"):
        run_life.delete(services, done)
    with pytest.raises(run_life.NotDeletable, match="expected one that has ended"):
        run_life.delete(services, launch(services, "reward", campaign.id))


def test_a_run_with_a_higher_priority_starts_first(services, campaign):
    first, second = (launch(services, "reward", campaign.id) for _ in range(2))
    run_marks.set_priority(services.database, second.id, 1)
    behave(services, "wait")
    quick(services).poll_once()
    states = [runs.run(services.database, run.id).state for run in (first, second)]
    (services.data / "runs" / "go").touch()
    assert states[0] == "queued" and states[1] != "queued"
    assert ended(services, first).state == "succeeded"


def test_notes_and_tags_stay_with_the_run(services, campaign):
    run = launch(services, "reward", campaign.id)
    run_marks.set_note(services.database, run.id, "  the first with grades ")
    marked = run_marks.set_tags(services.database, run.id, ["keep", "keep", " baseline "])
    assert (marked.note, marked.tags) == ("the first with grades", ("keep", "baseline"))


def test_a_job_killed_by_the_system_is_told_as_a_lack_of_memory(services, campaign):
    behave(services, "killed")
    failed = ended(services, launch(services, "reward", campaign.id, {"groups_per_step": 8}))
    assert failed.state == "failed"
    assert "try groups_per_step 4 instead of 8" in failed.reason


def test_a_lack_of_memory_becomes_a_smaller_setting_to_try():
    assert is_out_of_memory(RuntimeError("CUDA out of memory. Tried to allocate 2 GiB"))
    assert is_out_of_memory(MemoryError()) and not is_out_of_memory(RuntimeError("shape mismatch"))
    said = advice("ppo", {"batch_size": 128, "max_new_tokens": 64})
    assert said == "The run ran out of memory: try batch_size 64 instead of 128 or max_new_tokens 32 instead of 64."
    assert advice("sft", {"gradient_checkpointing": False}).endswith("larger machine, or gradient_checkpointing.")
    assert "gradient_checkpointing" not in advice("sft", {"gradient_checkpointing": True})
