"""Pieces in a folder: whole or not there, by names that stay inside."""

import pytest

from pipeline.backend import BackendUnreachable
from pipeline.store import FolderStore, Missing


@pytest.fixture
def store(tmp_path):
    return FolderStore(tmp_path / "store")


def test_pieces_are_put_listed_read_and_deleted(store, tmp_path):
    (tmp_path / "file").write_bytes(b"from a file")
    store.put({"a/b": b"bytes", "a/c/d": tmp_path / "file", "x": b""})
    assert store.list("a/") == {"a/b": 5, "a/c/d": 11} and store.list("nothing/") == {}
    assert store.sizes(["a/b", "x", "no"]) == {"a/b": 5, "x": 0}
    store.get({"a/c/d": tmp_path / "new" / "got"})
    assert (tmp_path / "new" / "got").read_bytes() == b"from a file" and store.read("a/b") == b"bytes"
    store.delete(["a/b", "no"])
    assert store.list("a/") == {"a/c/d": 11}


def test_a_uri_is_the_same_folder(store):
    store.put({"a": b"1"})
    assert FolderStore(f"file://{store.uri}").read("a") == b"1"


def test_a_missing_piece_is_named_and_leaves_no_file(store, tmp_path):
    with pytest.raises(Missing, match="no/such"):
        store.get({"no/such": tmp_path / "got"})
    assert list(tmp_path.iterdir()) == []


def test_a_piece_that_breaks_off_is_not_there(store, tmp_path, monkeypatch):
    def breaks(source, piece):
        piece.write(b"half")
        raise OSError("connection lost")

    monkeypatch.setattr("pipeline.store._copy", breaks)
    with pytest.raises(BackendUnreachable, match="connection lost"):
        store.put({"a/b": b"whole"})
    assert store.list("a/") == {} and not [p for p in (tmp_path / "store").rglob("*") if p.is_file()]


def test_an_object_that_breaks_off_is_removed(store, tmp_path, monkeypatch):
    store.renames = False  # as in an object store, where a closed stream is an object
    (tmp_path / "store" / "a").mkdir(parents=True)

    def breaks(source, piece):
        piece.write(b"half")
        raise OSError("connection lost")

    monkeypatch.setattr("pipeline.store._copy", breaks)
    with pytest.raises(BackendUnreachable):
        store.put({"a/b": b"whole"})
    assert store.list("a/") == {}


@pytest.mark.parametrize("name", ["../a", "/a", "a/../../b", "", "a\\b"])
def test_a_name_stays_inside(store, name):
    with pytest.raises(ValueError, match="below the store's root"):
        store.put({name: b""})


def test_a_folder_that_cannot_be_written_says_so(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(BackendUnreachable, match="can it be written"):
        FolderStore(tmp_path / "file").put({"a": b""})


def test_a_uri_of_no_file_system_is_refused():
    with pytest.raises(ValueError, match="expected a folder, or a URI"):
        FolderStore("nonsense://x")
