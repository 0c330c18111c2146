"""Margins, thumbs, demonstrations, ratings and flags leave in the forms that trainers and spreadsheets read."""

import csv

import pyarrow.parquet as pq
import pytest

from pipeline.export import EXPORTS, export_raw, export_trl
from pipeline.export_csv import export_csv, harmless, order
from pipeline.export_forms import export_kto, export_sft
from storage import rankings
from storage.assignments import Assignments
from storage.details import Detail
from storage.people import create_person
from storage.prompts import add_demonstrations
from storage.records import Submission
from storage.setups import edit_setup
from tests.conftest import make_campaign


def answered(db, answers, tasks=1, overlap=9, **choices):
    """A campaign whose one task is answered by one person per (kind, detail by completion ids)."""
    made = make_campaign(db, tasks=tasks, overlap=overlap)
    pool = Assignments(db)
    edit_setup(db, made.campaign.id, **choices)
    for number, (kind, tell) in enumerate(answers):
        person = create_person(db, f"ann {number}", "annotator")
        assignment = pool.claim(person.id)
        ids = sorted(assignment.shown)
        detail, tiers = tell(ids)
        sent = Submission(f"key-{number:08d}", assignment.id, kind, tiers, 5.0, Detail(**detail))
        rankings.submit(db, pool, person.id, sent)
    return made


def rows_of(export):
    return [row for file in export["files"] for row in pq.read_table(file["path"]).to_pylist()]


def thumbs(*signs):
    return "thumbs", lambda ids: ({"thumbs": dict(zip(ids, signs, strict=True))}, ())


def graded(grade, turned=False):
    def tell(ids):
        tiers = [(ids[1],), (ids[0],)] if turned else [(ids[0],), (ids[1],)]
        return {"grade": grade}, (*tiers, *((c,) for c in ids[2:]))

    return "ranking", tell


def test_grades_become_a_margin_for_the_chosen_side(db, tmp_path):
    answered(db, [graded(3), graded(1), graded(2, turned=True)], form="pairwise")
    rows = rows_of(export_trl(db, tmp_path))
    first = next(r for r in rows if r["chosen"][0]["content"][7] == "0" and r["rejected"][0]["content"][7] == "1")
    assert first["margin"] == pytest.approx((3 + 1 - 2) / 3)  # two say 0 by 3 and by 1, one says 1 by 2
    assert all(row["margin"] >= 0 for row in rows)


def test_without_grades_there_is_no_margin(db, tmp_path):
    answered(db, [("ranking", lambda ids: ({}, tuple((c,) for c in ids)))])
    assert rows_of(export_trl(db, tmp_path))[0].keys() == {"prompt", "chosen", "rejected"}


def test_thumbs_become_labels_by_majority_and_ties_are_dropped(db, tmp_path):
    answered(db, [thumbs(1, 1, -1, 1), thumbs(1, -1, -1, -1), thumbs(1, 1, -1, -1)], form="thumbs")
    export = export_kto(db, tmp_path)
    said = {row["completion"][0]["content"][7]: row["label"] for row in rows_of(export)}
    assert said == {"0": True, "1": True, "2": False, "3": False}
    assert [turn["role"] for turn in rows_of(export)[0]["prompt"]] == ["user"]
    assert export["ties_dropped"] == 0


def test_equal_thumbs_are_dropped_and_counted(db, tmp_path):
    answered(db, [thumbs(1, 1, 1, 1), thumbs(-1, 1, 1, 1)], form="thumbs")
    export = export_kto(db, tmp_path)
    assert (len(rows_of(export)), export["ties_dropped"]) == (3, 1)


def test_demonstrations_and_edited_answers_are_for_sft(db, tmp_path):
    def tell(ids):
        return {"edited": ids[0], "edit": "better words"}, tuple((c,) for c in ids)

    made = answered(db, [("ranking", tell)], edit=True)
    add_demonstrations(db, made.campaign.id, [(made.tasks[0].prompt_id, "a good answer")], "file")
    rows = rows_of(export_sft(db, tmp_path, made.campaign.id))
    assert [row["completion"][0]["content"] for row in rows] == ["better words", "a good answer"]
    assert rows_of(export_sft(db, tmp_path, 99)) == []


def test_an_excluded_edit_is_no_demonstration(db, tmp_path):
    def tell(ids):
        return {"edited": ids[0], "edit": "better words"}, tuple((c,) for c in ids)

    answered(db, [("ranking", tell)], edit=True)
    rankings.exclude(db, "key-00000000", "careless", 1)
    assert rows_of(export_sft(db, tmp_path)) == []


def everything(ids):
    detail = {
        "ratings": {c: {"helpful": n + 1} for n, c in enumerate(ids)},
        "flags": {ids[0]: ("unsafe", "other")},
        "flag_notes": {ids[0]: "=2+5"},
        "rationale": "@SUM(1+1)*cmd|' /C calc'!A0",
    }
    return detail, ((ids[0],), (ids[1], ids[2]), (ids[3],))


def test_raw_has_ratings_and_flags_one_per_row(db, tmp_path):
    answered(db, [("ranking", everything)], scales=[{"name": "helpful"}], rationale="optional")
    export_raw(db, tmp_path)
    ratings = pq.read_table(tmp_path / "ratings.parquet").to_pylist()
    assert [(row["scale"], row["value"]) for row in ratings] == [("helpful", n) for n in (1, 2, 3, 4)]
    flags = pq.read_table(tmp_path / "flags.parquet").to_pylist()
    assert [(row["flag"], row["note"]) for row in flags] == [("other", "=2+5"), ("unsafe", None)]


def test_a_spreadsheet_gets_answers_without_formulas(db, tmp_path):
    answered(db, [("ranking", everything)], scales=[{"name": "helpful"}], rationale="optional")
    export_csv(db, tmp_path)
    (row,) = csv.DictReader((tmp_path / "answers.csv").open(newline=""))
    assert row["rationale"].startswith("'@SUM") and row["order"] == "1 > 2 = 3 > 4"
    notes = [flag["note"] for flag in csv.DictReader((tmp_path / "flags.csv").open(newline=""))]
    assert notes == ["'=2+5", ""]


@pytest.mark.parametrize("text", ["=1", "+1", "-1", "@x", "\tx", "\rx", "  =1", "＝1"])
def test_a_cell_that_would_be_run_becomes_text(text):
    assert harmless(text) == "'" + text


@pytest.mark.parametrize("value", ["a=1", "", 5, -5, None, 2.5])
def test_other_cells_stay_as_they_are(value):
    assert harmless(value) == value


def test_an_order_of_ids_is_told_in_words():
    assert order([7, 8, 9], [2, 1, 2]) == "8 > 7 = 9"
    assert order([7, 8], None) == ""


@pytest.mark.parametrize("form", EXPORTS)
def test_a_campaign_with_pseudonyms_names_nobody(db, tmp_path, form):
    answered(db, [("ranking", everything)], scales=[{"name": "helpful"}], rationale="optional", pseudonyms=True)
    EXPORTS[form](db, tmp_path)
    assert not any(b"ann 0" in file.read_bytes() for file in tmp_path.iterdir() if file.suffix == ".csv")
    tables = [pq.read_table(file).to_pylist() for file in tmp_path.iterdir() if file.suffix == ".parquet"]
    assert "ann 0" not in str(tables)
