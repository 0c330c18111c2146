"""Exports: majority side first, ties dropped and counted, whole files, nothing secret."""

import json

import pyarrow.parquet as pq
import pytest

from pipeline.export import export_raw, export_trl
from storage.campaigns import create_campaign
from storage.completions import add_completions
from storage.people import create_person, find_or_create
from storage.prompts import add_prompts
from storage.rankings import add_imported
from storage.records import Message, Prompt
from storage.tasks import open_tasks


def ranked(db, split="train", name="p", *rankings):
    """A prompt with three completions, ranked by one imported annotator per given ranks."""
    campaign = create_campaign(db, f"campaign of {name}")
    turns = (Message("system", "Be brief."), Message("user", f"Question {name}?"))
    add_prompts(db, campaign.id, [Prompt(name, turns, split)])
    ids = add_completions(db, [(name, "m", f"{name} answer {k}", {}) for k in range(3)])
    task = open_tasks(db, campaign.id, [(name, ids)])[0]
    for number, ranks in enumerate(rankings):
        add_imported(db, campaign.id, find_or_create(db, f"ann{number}", "imported").id, task.id, ranks)
    return campaign


def rows_of(export):
    return [row for file in export["files"] for row in pq.read_table(file["path"]).to_pylist()]


def test_rows_are_conversations_with_the_better_answer_chosen(db, tmp_path):
    ranked(db, "train", "p", [2, 1, 3])
    said = {
        (row["chosen"][0]["content"][-1], row["rejected"][0]["content"][-1])
        for row in rows_of(export_trl(db, tmp_path))
    }
    assert said == {("1", "0"), ("1", "2"), ("0", "2")}
    row = rows_of(export_trl(db, tmp_path))[0]
    assert [turn["role"] for turn in row["prompt"]] == ["system", "user"]
    assert row["prompt"][1]["content"] == "Question p?"
    assert [turn["role"] for turn in row["chosen"] + row["rejected"]] == ["assistant", "assistant"]


def test_the_majority_decides_and_exact_ties_are_counted(db, tmp_path):
    # 0 against 1: 1 1 1, so 0; 0 against 2: 1 0.5 0, a tie; 1 against 2: 1 0 0, so 2
    ranked(db, "train", "p", [1, 2, 3], [1, 2, 1], [2, 3, 1])
    export = export_trl(db, tmp_path)
    said = {(row["chosen"][0]["content"][-1], row["rejected"][0]["content"][-1]) for row in rows_of(export)}
    assert said == {("0", "1"), ("2", "1")}
    assert export["ties_dropped"] == 1


def test_eval_prompts_are_the_test_file(db, tmp_path):
    ranked(db, "train", "p", [1, 2, 3])
    ranked(db, "eval", "q", [1, 2, 2])
    files = export_trl(db, tmp_path)["files"]
    assert [(file["path"], file["rows"], file["split"]) for file in files] == [
        (str(tmp_path / "train-00000.parquet"), 3, "train"),
        (str(tmp_path / "test-00000.parquet"), 2, "eval"),
    ]


def test_one_campaign_or_all(db, tmp_path):
    first = ranked(db, "train", "p", [1, 2, 3])
    ranked(db, "train", "q", [1, 2, 3])
    assert len(rows_of(export_trl(db, tmp_path))) == 6
    assert len(rows_of(export_trl(db, tmp_path, first.id))) == 3


def test_long_exports_are_split_and_older_shards_go(db, tmp_path, monkeypatch):
    ranked(db, "train", "p", [1, 2, 3])
    (tmp_path / "train-notes.txt").touch()
    monkeypatch.setattr("pipeline.export.SHARD_ROWS", 2)
    assert [file["rows"] for file in export_trl(db, tmp_path)["files"]] == [2, 1]
    monkeypatch.setattr("pipeline.export.SHARD_ROWS", 100)
    export_trl(db, tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["train-00000.parquet", "train-notes.txt"]


def test_an_empty_export_has_no_files(db, tmp_path):
    assert export_trl(db, tmp_path / "new") == {"files": [], "ties_dropped": 0}


def test_a_file_in_the_folders_place_is_refused(db, tmp_path):
    (tmp_path / "here").touch()
    with pytest.raises(NotADirectoryError, match="expected a folder"):
        export_trl(db, tmp_path / "here")


def test_raw_holds_every_table_and_no_password(db, tmp_path):
    create_person(db, "ann", "lead", "secret word")
    ranked(db, "train", "p", [1, 2, 3], [3, 2, 1])
    rows = {file["path"].rsplit("/", 1)[1]: file["rows"] for file in export_raw(db, tmp_path)["files"]}
    assert rows == {
        "ratings.parquet": 0,
        "thumbs.parquet": 0,
        "flags.parquet": 0,
        "campaigns.parquet": 1,
        "prompts.parquet": 1,
        "completions.parquet": 3,
        "tasks.parquet": 1,
        "answers.parquet": 2,
        "people.parquet": 2,
        "demonstrations.parquet": 0,
    }
    answer = pq.read_table(tmp_path / "answers.parquet").to_pylist()[0]
    assert (answer["ranks"], answer["status"], answer["prompt_id"]) == ([1, 2, 3], "counted", "p")
    assert json.loads(pq.read_table(tmp_path / "prompts.parquet")["messages"][0].as_py())[0]["role"] == "system"
    assert pq.read_schema(tmp_path / "people.parquet").names == ["person_id", "name", "role", "kind", "created"]


def test_a_failed_write_leaves_the_old_file(db, tmp_path, monkeypatch):
    ranked(db, "train", "p", [1, 2, 3])
    export_trl(db, tmp_path)
    monkeypatch.setattr("pipeline.export._Texts.preferences", lambda *_: iter([None]))
    with pytest.raises(AttributeError):
        export_trl(db, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["train-00000.parquet"]
    assert pq.read_table(tmp_path / "train-00000.parquet").num_rows == 3
