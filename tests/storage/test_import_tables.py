"""CSV and Parquet: the same records as JSON Lines, and files that are refused as a whole."""

import csv
import io
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from storage.checks import checks
from storage.import_tables import BATCH_ROWS
from storage.interchange import NotImportable, import_file
from storage.prompts import demonstrations, prompt, prompts
from storage.rankings import answers

COMPLETIONS = [{"id": "a", "model": "m", "text": "yes,\nof course"}, {"id": "b", "model": "n", "text": "“no”"}]


def as_csv(*rows: dict) -> io.BytesIO:
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
    return io.BytesIO(text.getvalue().encode())


def as_parquet(rows: list[dict], schema: pa.Schema | None = None) -> io.BytesIO:
    stream = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows, schema), stream)
    stream.seek(0)
    return stream


def take(db, stream, name, **more):
    return import_file(db, None, stream, filename=name, **more)


def test_a_csv_holds_records_with_json_in_its_cells(db):
    row = {"id": "p1", "prompt": "Hi,\nthere?", "completions": json.dumps(COMPLETIONS), "tags": '["x"]', "note": ""}
    report = take(db, as_csv(row), "set.csv")
    assert (report.prompts, report.completions, report.tasks, report.refused) == (1, 2, 1, ())
    stored = prompt(db, "p1")
    assert (stored.text, stored.tags, stored.metadata) == ("Hi,\nthere?", ("x",), {})


def test_preferences_and_demonstrations_come_from_csv_too(db):
    assert take(db, as_csv({"prompt": "Hi?", "chosen": "a", "rejected": "b"}), "pairs.csv").preferences == 1
    assert take(db, as_csv({"instruction": "Say hi", "input": "", "output": "hi"}), "sft.csv").demonstrations == 1
    assert [one.text for one in demonstrations(db, 2)] == ["hi"]


def test_a_bad_row_of_a_csv_is_refused_with_its_line(db):
    text = 'prompt,completions\n"one\nline",\nsecond,{no json\nthird,,too many\nfourth,\n'
    report = take(db, io.BytesIO(text.encode()), "set.csv")
    assert [(one.line, one.field) for one in report.refused] == [(4, "completions"), (5, "record")]
    assert report.prompts == 2


@pytest.mark.parametrize(
    "text", [b"", b"a,b\n1,2\n", b"prompt,prompt\n1,2\n", b"prompt\n\xff\xfe\n", b'prompt\n"x" y"\n']
)
def test_what_is_no_csv_with_prompts_is_refused_as_a_whole(db, text):
    with pytest.raises(NotImportable, match="expected"):
        take(db, io.BytesIO(text), "set.csv")


def test_a_parquet_file_holds_nested_columns(db):
    rows = [
        {"id": "p1", "messages": [{"role": "user", "content": "Hi?"}], "completions": COMPLETIONS, "score": 0.5},
        {"id": "p2", "messages": [{"role": "user", "content": "Ho?"}], "completions": None, "score": float("nan")},
    ]
    report = take(db, as_parquet(rows), "set.parquet")
    assert (report.prompts, report.tasks, report.refused) == (2, 1, ())
    assert [one.metadata for one in prompts(db, 1)] == [{"score": 0.5}, {"score": "nan"}]


def test_ranks_in_a_map_column_become_annotations_and_checks(db):
    ranks = pa.map_(pa.string(), pa.int64())
    schema = pa.schema(
        [
            ("prompt", pa.string()),
            ("completions", pa.string()),
            ("annotations", pa.list_(pa.struct([("annotator", pa.string()), ("ranks", ranks)]))),
            ("check", pa.struct([("purpose", pa.string()), ("ranks", ranks)])),
        ]
    )
    said = {"prompt": "Hi?", "completions": json.dumps(COMPLETIONS)}
    rows = [
        said | {"annotations": [{"annotator": "ann", "ranks": [("a", 1), ("b", 2)]}], "check": None},
        said | {"annotations": [], "check": {"purpose": "test", "ranks": [("a", 2), ("b", 1)]}},
        {**said, "prompt": "Ho?", "annotations": None, "check": {"purpose": "gold", "ranks": None}},
    ]
    report = take(db, as_parquet(rows, schema), "set.parquet", with_annotations=True)
    assert (report.rankings, report.checks, report.refused) == (1, 2, ())
    assert [one.ranks for one in answers(db)] == [(1, 2)]
    assert [(task.purpose, check.ranks) for task, check in checks(db, 1)] == [("test", (2, 1)), ("gold", None)]


def test_a_large_parquet_file_comes_in_batches_with_progress(db):
    told, rows = [], [{"prompt": f"Question {n}?"} for n in range(BATCH_ROWS + 5)]
    report = take(db, as_parquet(rows), "set.parquet", progress=lambda done, total: told.append((done, total)))
    assert report.prompts == BATCH_ROWS + 5
    assert len(told) == 2 and told[-1][0] == told[-1][1] > 0


@pytest.mark.parametrize("content", [b"", b"PAR1....PAR1", b"{}"])
def test_a_broken_parquet_file_is_refused_as_a_whole(db, content):
    with pytest.raises(NotImportable, match="Parquet"):
        take(db, io.BytesIO(content), "set.parquet")


def test_a_nul_character_in_a_table_is_refused_with_its_field(db):
    report = take(db, as_parquet([{"prompt": "a\0b"}]), "set.parquet")
    assert [(one.line, one.field) for one in report.refused] == [(1, "prompt")]
