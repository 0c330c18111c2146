"""Pieces in a bucket, over HTTP and by the real transfer library, against the stand-in of the Hub."""

import random

import pytest

from pipeline.backend import BackendUnreachable
from pipeline.bucket_store import BucketStore
from pipeline.store import Missing
from pipeline.stores import open_store
from tests.pipeline.hub_server import TOKEN


@pytest.fixture
def store(hub):
    made = BucketStore("hf://buckets/ann/rankloop/team", TOKEN, hub.endpoint)
    made.make()
    return made


def test_pieces_are_put_listed_read_and_deleted(store, hub, tmp_path):
    (tmp_path / "file").write_bytes(b"from a file")
    store.put({"a/b": b"bytes", "a/c/d": tmp_path / "file", "ab": b"", "x": b"1"})
    assert store.list("a/") == {"a/b": 5, "a/c/d": 11} and store.list("nothing/") == {}
    assert store.sizes(["a/b", "ab", "no"]) == {"a/b": 5, "ab": 0}
    store.get({"a/c/d": tmp_path / "new" / "got"})
    assert (tmp_path / "new" / "got").read_bytes() == b"from a file" and store.read("ab") == b""
    store.delete(["a/b", "no"])
    assert store.list("a/") == {"a/c/d": 11} and "team/a/c/d" in hub.buckets["ann/rankloop"]


def test_a_large_file_of_many_chunks_comes_back_the_same(store, tmp_path):
    content = random.Random(0).randbytes(3_000_000) + b"a" * 1_000_000
    store.put({"large": content, "tail": content[1_234_567:]})
    store.get({"large": tmp_path / "large", "tail": tmp_path / "tail"})
    assert (tmp_path / "large").read_bytes() == content and (tmp_path / "tail").read_bytes() == content[1_234_567:]


def test_the_same_bytes_travel_once(store, hub):
    content = random.Random(1).randbytes(2_000_000)
    store.put({"first": content})
    before = sum(map(len, hub.xet.xorbs.values()))
    store.put({"second": content})
    assert sum(map(len, hub.xet.xorbs.values())) - before < 100_000


def test_a_missing_piece_is_named_and_leaves_no_file(store, tmp_path):
    with pytest.raises(Missing, match="no/such"):
        store.get({"no/such": tmp_path / "here" / "got"})
    assert list((tmp_path / "here").iterdir()) == []


def test_a_batch_that_the_hub_refuses_is_said_and_nothing_appears(store, hub):
    hub.broken = lambda method, path: 500 if path.endswith("/batch") else 0
    with pytest.raises(BackendUnreachable, match="has trouble"):
        store.put({"a": b"1"})
    hub.broken = lambda method, path: 0
    assert store.sizes(["a"]) == {}


def test_a_transfer_that_breaks_off_is_said_and_nothing_appears(store, hub):
    hub.broken = lambda method, path: 403 if "/v1/xorbs" in path else 0
    with pytest.raises(BackendUnreachable, match=r"writing a: .*(no answer|broke off)"):
        store.put({"a": b"1"})
    assert store.sizes(["a"]) == {}


def test_an_answer_that_is_no_json_is_said(store, hub, monkeypatch):
    monkeypatch.setattr("tests.pipeline.hub_server._Handler._json", lambda self, *_: self._send(b"<p>", 200, {}))
    with pytest.raises(BackendUnreachable, match="does not understand"):
        BucketStore(store.uri, TOKEN, hub.endpoint).make()


@pytest.mark.parametrize("uri", ["hf://buckets/", "hf://buckets/ann", "hf://models/a/b", "hf://buckets/a//b"])
def test_a_uri_of_no_bucket_is_refused(uri):
    with pytest.raises(ValueError, match="expected hf://buckets"):
        BucketStore(uri)


def test_a_store_is_opened_by_its_uri(tmp_path):
    assert open_store("hf://buckets/ann/rankloop").bucket == "ann/rankloop"
    assert open_store(str(tmp_path)).uri == str(tmp_path)
