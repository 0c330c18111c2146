"""Backup, restore, check: one moment in one file, back into an empty folder, and nothing that does not fit."""

import json
import zipfile

import pytest

from storage import backup as backups
from storage import campaigns, completions, people, prompts, rankings, runs, tasks, versions
from storage.assignments import Assignments
from storage.database import Database
from storage.records import Message, ModelVersion, Prompt, Submission


@pytest.fixture
def folder(tmp_path):
    """A data folder with an answer, a version and its run directory, closed."""
    path = tmp_path / "data"
    with Database(path) as database:
        pool = Assignments(database)
        campaign = campaigns.create_campaign(database, "trial")
        messages = (Message("user", "Why?"),)
        prompts.add_prompts(database, campaign.id, [Prompt("p-1", messages, "train")])
        ids = completions.add_completions(database, [("p-1", "m", text, {}) for text in ("one", "two")])
        tasks.open_tasks(database, campaign.id, [("p-1", ids)])
        ann = people.create_person(database, "Ann", "annotator")
        claimed = pool.claim(ann.id)
        submission = Submission("key-00001", claimed.id, "ranking", tuple((i,) for i in ids))
        rankings.submit(database, pool, ann.id, submission)
        run = runs.create_run(database, "starter", None, {})
        (path / run.directory / "artifacts" / "model").mkdir(parents=True)
        (path / run.directory / "artifacts" / "model" / "config.json").write_text("{}")
        (path / run.directory / "checkpoints").mkdir()
        (path / run.directory / "checkpoints" / "large").write_text("x")
        made = ModelVersion("starter", "policy", f"{run.directory}/artifacts/model", run_id=run.id)
        versions.register_version(database, made, run.id)
    return path


def test_a_restored_folder_holds_the_same(folder, tmp_path):
    with Database(folder) as database:
        told = backups.backup(database, tmp_path / "all.zip")
        before = rankings.answers(database)
    assert told["tables"]["answer"] == 1 and told["runs"] == 1
    backups.restore(tmp_path / "all.zip", tmp_path / "new")
    with Database(tmp_path / "new") as database:
        assert rankings.answers(database) == before
        assert versions.version(database, "starter").run_id == "0001-starter"
        assert backups.check(database) == [] and database.notices == []
        assert runs.create_run(database, "ppo", 1, {}).id == "0002-ppo"
    assert (tmp_path / "new" / "runs" / "0001-starter" / "artifacts" / "model" / "config.json").is_file()
    assert not (tmp_path / "new" / "runs" / "0001-starter" / "checkpoints").exists()


def test_a_backup_is_private_and_never_overwrites(folder, tmp_path):
    with Database(folder) as database:
        backups.backup(database, tmp_path / "all.zip", with_runs=False)
        assert (tmp_path / "all.zip").stat().st_mode & 0o777 == 0o600
        with pytest.raises(backups.BackupRefused, match="another name"):
            backups.backup(database, tmp_path / "all.zip")
    with zipfile.ZipFile(tmp_path / "all.zip") as archive:
        assert not [name for name in archive.namelist() if name.startswith("runs/")]


def test_a_folder_with_files_is_not_restored_into(folder, tmp_path):
    with Database(folder) as database:
        backups.backup(database, tmp_path / "all.zip")
    with pytest.raises(backups.BackupRefused, match="expected an empty or new data folder"):
        backups.restore(tmp_path / "all.zip", folder)


@pytest.mark.parametrize("content", [b"no zip", None])
def test_a_foreign_file_is_refused_and_leaves_nothing(tmp_path, content):
    file = tmp_path / "file.zip"
    if content is None:
        with zipfile.ZipFile(file, "w") as archive:
            archive.writestr("backup.json", json.dumps({"format": "other"}))
    else:
        file.write_bytes(content)
    with pytest.raises(backups.BackupRefused):
        backups.restore(file, tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_a_path_out_of_the_folder_is_refused(folder, tmp_path):
    with Database(folder) as database:
        backups.backup(database, tmp_path / "all.zip")
    with zipfile.ZipFile(tmp_path / "all.zip", "a") as archive:
        archive.writestr("runs/../../escaped", "x")
    with pytest.raises(backups.BackupRefused, match="out of the folder"):
        backups.restore(tmp_path / "all.zip", tmp_path / "new")
    assert not (tmp_path / "escaped").exists()


def test_check_names_what_does_not_fit(folder):
    (folder / "runs" / "0001-starter" / "artifacts").rename(folder / "runs" / "0001-starter" / "gone")
    with Database(folder) as database:
        database.write(lambda cursor: cursor.execute("DELETE FROM completion"))
        problems = " | ".join(backups.check(database))
    assert "version starter: found no folder" in problems and "2 tasks without one of their completions" in problems
