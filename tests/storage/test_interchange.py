"""Import: what goes in, what is refused, and that the same again changes nothing."""

import io
import json

import pytest

from storage.assignments import Assignments
from storage.campaigns import campaign_by_name, campaigns, create_campaign
from storage.checks import checks
from storage.completions import completions_of
from storage.database import Database
from storage.import_batch import balanced
from storage.interchange import BATCH_RECORDS, NotImportable, import_file
from storage.people import create_person, people
from storage.prompts import demonstrations, prompt, prompts
from storage.rankings import answer_table, answers
from storage.tasks import tasks


def lines(*records) -> io.BytesIO:
    return io.BytesIO(b"\n".join(one if isinstance(one, bytes) else json.dumps(one).encode() for one in records))


def take(db, *records, name="set.jsonl", **more):
    return import_file(db, None, lines(*records), filename=name, **more)


def record(number=1, count=2, **more):
    rows = [{"id": f"c{k}", "model": f"m{k}", "text": f"answer {k}"} for k in range(count)]
    return {"id": f"p{number}", "prompt": f"Question {number}?", "completions": rows, **more}


def counts(report):
    return {name: value for name, value in report.as_json().items() if isinstance(value, int) and value}


def test_a_record_becomes_a_prompt_its_completions_and_a_task(db):
    report = take(db, record(lang="en", tags=["t"], metadata={"a": 1}))
    assert counts(report) == {"prompts": 1, "completions": 2, "tasks": 1}
    stored = prompt(db, "p1")
    assert (stored.text, stored.tags, stored.metadata) == ("Question 1?", ("t",), {"a": 1, "lang": "en"})
    assert [one.model for one in completions_of(db, "p1")] == ["m0", "m1"]


def test_the_campaign_is_named_after_the_file_or_as_asked(db):
    assert take(db, record(1), name="/tmp/my set.jsonl").campaign == "my set"
    assert take(db, record(2), campaign_name="other").campaign == "other"
    assert [(one.name, one.k, one.overlap) for one in campaigns(db)] == [("my set", 4, 1), ("other", 4, 1)]


def test_an_existing_campaign_is_used_with_its_overlap(db):
    create_campaign(db, "Demo", overlap=3)
    assert take(db, record(), campaign_name="demo").campaign == "Demo"
    assert tasks(db)[0].overlap == 3


def test_the_same_record_again_changes_nothing(db):
    take(db, record())
    report = take(db, record(), record())
    assert counts(report) == {"unchanged": 2}
    assert report.succeeded


def test_the_same_prompt_with_other_completions_is_a_further_task(db):
    other = record() | {"completions": [{"model": "x", "text": "1"}, {"model": "y", "text": "2"}]}
    assert counts(take(db, record(), other)) == {"prompts": 1, "completions": 4, "tasks": 2}


def test_the_same_id_with_other_messages_is_refused(db):
    report = take(db, record(), record() | {"prompt": "Another?"})
    assert [(one.line, one.field) for one in report.refused] == [(2, "messages")]
    assert counts(report) == {"prompts": 1, "completions": 2, "tasks": 1}


def test_an_id_that_another_campaign_uses_for_other_messages_is_kept_apart(db):
    take(db, record())
    other = record() | {"prompt": "Another?"}
    assert counts(take(db, other, campaign_name="second")) == {"prompts": 1, "completions": 2, "tasks": 1}
    assert [one.id for one in prompts(db, 2)] == ["p1@2"]
    assert counts(take(db, other, campaign_name="second")) == {"unchanged": 1}
    assert [one.field for one in take(db, record() | {"prompt": "A third?"}, campaign_name="second").refused]


def test_a_shared_prompt_keeps_its_id_in_every_campaign(db):
    take(db, record())
    take(db, record(), campaign_name="second")
    assert [one.id for one in prompts(db, 2)] == ["p1"]


def known(ranks, purpose="gold", **more):
    return record(count=3) | {"check": {"purpose": purpose, "ranks": ranks, "explanation": "so", **more}}


def test_a_known_answer_opens_a_check_and_no_task_for_all(db):
    report = take(db, known({"c0": 2, "c1": 9, "c2": 2}))
    assert counts(report) == {"prompts": 1, "completions": 3, "checks": 1}
    ((task, check),) = checks(db, 1)
    assert (task.purpose, check.ranks, check.explanation) == ("gold", (1, 2, 1), "so")
    assert counts(take(db, known({"c0": 2, "c1": 9, "c2": 2}))) == {"unchanged": 1}


def test_another_known_answer_replaces_the_first_and_the_pool_learns_it(db):
    pool = Assignments(db)
    take(db, known({"c0": 1, "c1": 2, "c2": 3}, "training"))
    take(db, known(None, "training"))
    assert [check.ranks for _, check in checks(db, 1)] == [None]
    assignment = pool.claim(create_person(db, "ann", "annotator").id)
    assert assignment.purpose == "training"


@pytest.mark.parametrize(
    "ranks", [{"c0": 1, "c1": 2}, {"c0": 1, "c1": 1, "c2": 1}, {"c0": 1, "c1": 2, "x": 3}, "c0", {"c0": 0, "c1": 1}]
)
def test_a_known_answer_that_says_too_little_is_refused(db, ranks):
    assert [one.field.startswith("check.ranks") for one in take(db, known(ranks)).refused] == [True]


def test_a_check_beside_a_preference_is_refused(db):
    row = {"prompt": "Hi?", "chosen": "a", "rejected": "b", "check": {"ranks": None}}
    assert [one.field for one in take(db, row).refused] == ["check"]


def test_equal_messages_with_another_split_are_refused(db):
    report = take(db, record(1, split="eval"), {"prompt": "Question  1?", "split": "train"})
    assert [(one.line, one.field) for one in report.refused] == [(2, "split")]


def test_equal_messages_without_a_split_take_the_stored_one(db):
    for split in ("eval", "train"):
        text = f"only for {split}"
        take(db, {"id": split, "prompt": text, "split": split})
        assert take(db, {"id": f"{split}2", "prompt": text}).refused == ()
        assert prompt(db, f"{split}2").split == split


def test_without_an_id_it_is_made_from_the_messages(db):
    report = take(db, {"prompt": "Hi?"}, {"messages": [{"role": "user", "content": "Hi?"}]})
    assert (report.prompts, report.unchanged) == (1, 1)
    assert prompts(db, 1)[0].id.startswith("p-")


@pytest.mark.parametrize("count", [0, 1])
def test_with_fewer_than_two_completions_the_prompt_waits(db, count):
    report = take(db, record(count=count))
    assert (report.prompts, report.completions, report.tasks) == (1, count, 0)


def test_more_than_nine_completions_are_balanced_tasks(db):
    assert take(db, record(count=20)).tasks == 3
    assert [len(task.completion_ids) for task in tasks(db)] == [6, 7, 7]
    assert take(db, record(count=20)).unchanged == 1


@pytest.mark.parametrize("count", range(2, 40))
def test_balanced_sets_hold_everything_once(count):
    sets = balanced(range(count))
    assert [one for members in sets for one in members] == list(range(count))
    assert all(2 <= len(members) <= 9 for members in sets)
    assert max(map(len, sets)) - min(map(len, sets)) <= 1


def test_the_same_text_by_two_models_is_two_completions(db):
    rows = [{"model": "a", "text": "same"}, {"model": "b", "text": "same"}]
    assert take(db, {"prompt": "Hi?", "completions": rows}).completions == 2


def test_the_same_text_by_the_same_model_is_one_completion(db):
    rows = [{"model": "a", "text": "same"}, {"model": "a", "text": "same"}, {"model": "b", "text": "x"}]
    report = take(db, {"prompt": "Hi?", "completions": rows})
    assert (report.completions, report.tasks) == (2, 1)


def test_a_preference_is_a_ranking_that_nobody_is_asked_for(db):
    pool = Assignments(db)
    report = take(db, {"prompt": "Hi?", "chosen": "good", "rejected": "bad"}, name="hh.jsonl")
    assert counts(report) == {"prompts": 1, "completions": 2, "preferences": 1}
    assert {one.model for one in completions_of(db, prompts(db, 1)[0].id)} == {"imported:hh"}
    row = answer_table(db).to_pylist()[0]
    assert (row["person"], row["ranks"]) == ("hh", [1, 2])
    assert (people(db)[0].kind, tasks(db)[0].overlap, pool.counts()["open"]) == ("imported", 0, 0)


def test_a_preference_again_is_unchanged_and_turned_round_a_repeat(db):
    row = {"prompt": "Hi?", "chosen": "good", "rejected": "bad"}
    take(db, row)
    assert counts(take(db, row)) == {"unchanged": 1}
    assert take(db, {"prompt": "Hi?", "chosen": "bad", "rejected": "good"}).preferences == 1
    assert [(one.status, one.reason) for one in answers(db)] == [("counted", ""), ("excluded", "repeat")]


def test_a_person_of_the_files_name_is_not_given_its_rankings(db):
    create_person(db, "set", "lead")
    take(db, {"prompt": "Hi?", "chosen": "good", "rejected": "bad"})
    assert answer_table(db)["person"].to_pylist() == ["set (imported)"]


def test_demonstrations_are_stored_once(db):
    rows = [{"prompt": "Hi?", "response": "Hello."}, {"instruction": "Add.", "input": "1 2", "output": "3"}]
    assert counts(take(db, *rows)) == {"prompts": 2, "demonstrations": 2}
    assert counts(take(db, *rows)) == {"unchanged": 2}
    assert [one.text for one in demonstrations(db, 1)] == ["Hello.", "3"]


def annotated(*rankings):
    return record(count=3, annotations=[{"annotator": who, "ranks": ranks} for who, ranks in rankings])


def test_annotations_come_in_only_when_asked(db):
    said = annotated(("ann", {"c0": 1, "c1": 5, "c2": 5}), ("bob", {"c0": 2, "c1": 1, "c2": 3}))
    assert take(db, said).rankings == 0
    assert counts(take(db, said, with_annotations=True)) == {"rankings": 2}
    assert counts(take(db, said, with_annotations=True)) == {"unchanged": 1}
    assert answer_table(db)["ranks"].to_pylist() == [[1, 2, 2], [2, 1, 3]]


def test_imported_rankings_fill_a_task_for_the_pool(db):
    pool, ann = Assignments(db), create_person(db, "ann", "annotator")
    take(db, annotated(("x", {"c0": 1, "c1": 2, "c2": 3})), with_annotations=True)
    assert pool.claim(ann.id) is None
    take(db, record(2))
    assert pool.claim(ann.id).task_id == 2


def test_an_annotators_second_ranking_of_a_set_is_a_repeat(db):
    ranks, turned = {"c0": 1, "c1": 2, "c2": 3}, {"c0": 3, "c1": 2, "c2": 1}
    report = take(db, annotated(("ann", ranks), ("ann", ranks), ("ann", turned)), with_annotations=True)
    assert report.rankings == 3
    assert [one.status for one in answers(db)] == ["counted", "excluded", "excluded"]
    assert answer_table(db)["ranks"].to_pylist() == [[1, 2, 3]]


def test_annotations_are_restricted_to_each_tasks_completions(db):
    ranks = {f"c{k}": 12 - k for k in range(12)}
    report = take(db, record(count=12, annotations=[{"annotator": "ann", "ranks": ranks}]), with_annotations=True)
    assert (report.tasks, report.rankings) == (2, 2)
    assert answer_table(db)["ranks"].to_pylist() == [[6, 5, 4, 3, 2, 1]] * 2


def test_a_ranking_of_some_completions_gets_a_home_of_its_own(db):
    report = take(db, annotated(("ann", {"c0": 2, "c2": 1})), with_annotations=True)
    assert (report.tasks, report.rankings) == (1, 1)
    assert [(len(task.completion_ids), task.overlap) for task in tasks(db)] == [(3, 1), (2, 0)]


def test_bad_lines_are_refused_and_good_ones_go_in(db):
    report = take(db, record(1), b"{", {"prompt": ""}, b"", record(2), b'"text"')
    assert [(one.line, one.field) for one in report.refused] == [(2, "record"), (3, "prompt"), (6, "record")]
    assert report.prompts == 2
    refusal = report.as_json()["refused"][1]
    assert refusal["message"] == "prompt: found an empty text, expected a non-empty text"
    assert refusal.keys() == {"line", "field", "found", "expected", "message"}


def test_nothing_good_makes_no_campaign(db):
    report = take(db, b"[]")
    assert (report.succeeded, campaigns(db)) == (False, [])
    assert take(db).succeeded


def test_a_byte_order_mark_and_windows_line_ends_are_read(db):
    text = b"\xef\xbb\xbf" + json.dumps(record(1)).encode() + b"\r\n" + json.dumps(record(2)).encode() + b"\r\n"
    assert import_file(db, None, io.BytesIO(text)).prompts == 2


def test_other_formats_are_refused_as_a_whole(db, tmp_path):
    with pytest.raises(NotImportable, match="JSON Lines"):
        take(db, record(), name="set.xlsx")
    (tmp_path / "set.jsonl").write_bytes(b"PAR1....")
    with pytest.raises(NotImportable, match="Parquet"):
        import_file(db, None, tmp_path / "set.jsonl")


def test_a_path_is_read_and_progress_told(db, tmp_path):
    path, told = tmp_path / "many.jsonl", []
    text = "".join(json.dumps(record(number)) + "\n" for number in range(BATCH_RECORDS + 5))
    path.write_text(text)
    report = import_file(db, None, path, progress=lambda done, total: told.append((done, total)))
    assert (report.campaign, report.tasks) == ("many", BATCH_RECORDS + 5)
    assert len(told) == 2
    assert told[-1] == (len(text), len(text))


def test_a_batch_that_fails_leaves_nothing_behind(db, monkeypatch):
    def fail(*_):
        raise RuntimeError("power cut")

    monkeypatch.setattr("storage.import_batch.insert_rankings", fail)
    with pytest.raises(RuntimeError, match="power cut"):
        take(db, record())
    assert prompt(db, "p1") is None
    assert tasks(db) == []


def test_imported_rankings_survive_a_restart(tmp_path):
    with Database(tmp_path) as database:
        take(database, annotated(("ann", {"c0": 1, "c1": 2, "c2": 3})), with_annotations=True)
    with Database(tmp_path) as database:
        assert answer_table(database, campaign_by_name(database, "set").id).num_rows == 1
        assert database.notices == []
