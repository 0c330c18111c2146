"""Schema files are applied in order, once, whole; what does not fit is refused."""

import duckdb
import pytest

from storage.migrations import SCHEMA, SchemaRefused, migrate, schema_files


@pytest.fixture
def connection():
    with duckdb.connect(":memory:") as opened:
        yield opened


def write(folder, **files):
    for name, text in files.items():
        (folder / f"{name.removeprefix('n')}.sql").write_text(text)
    return folder


def tables(connection):
    return {row[0] for row in connection.execute("SELECT table_name FROM duckdb_tables()").fetchall()}


def test_files_are_applied_in_order_and_once(connection, tmp_path):
    folder = write(tmp_path, n002_b="INSERT INTO a VALUES (2)", n001_a="CREATE TABLE a (n INTEGER)")
    assert migrate(connection, folder) == ["001_a.sql", "002_b.sql"]
    assert migrate(connection, folder) == []
    assert connection.execute("SELECT n FROM a").fetchall() == [(2,)]


def test_a_failing_file_leaves_nothing_of_itself(connection, tmp_path):
    folder = write(tmp_path, n001_a="CREATE TABLE a (n INTEGER)", n002_b="CREATE TABLE b (n INTEGER); SELECT wrong")
    with pytest.raises(duckdb.Error):
        migrate(connection, folder)
    assert tables(connection) == {"a", "schema_version"}


def test_a_database_newer_than_the_code_is_refused(connection, tmp_path):
    migrate(connection, write(tmp_path, n001_a="CREATE TABLE a (n INTEGER)", n002_b="CREATE TABLE b (n INTEGER)"))
    (tmp_path / "002_b.sql").unlink()
    with pytest.raises(SchemaRefused, match=r"newer RankLoop.*002_b\.sql.*up to 001"):
        migrate(connection, tmp_path)


def test_an_edited_file_is_refused(connection, tmp_path):
    migrate(connection, write(tmp_path, n001_a="CREATE TABLE a (n INTEGER)"))
    with pytest.raises(SchemaRefused, match=r"001_a\.sql changed"):
        migrate(connection, write(tmp_path, n001_a="CREATE TABLE a (n BIGINT)"))


def test_two_files_with_one_number_are_refused(tmp_path):
    with pytest.raises(SchemaRefused, match="number 1"):
        schema_files(write(tmp_path, n001_a="", n001_b=""))


def test_the_schema_of_this_version_applies(connection):
    migrate(connection)
    assert {"person", "campaign", "task", "answer"} <= tables(connection)
    assert len(schema_files()) == len(list(SCHEMA.glob("*.sql")))
