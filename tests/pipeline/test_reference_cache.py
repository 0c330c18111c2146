"""Reference log-probabilities: computed once per completion, kept under the model they belong to, never confused."""

import pyarrow as pa
import pytest

from pipeline.dpo import reference_of
from pipeline.groups import read_groups
from pipeline.policy import load_policy, token_log_probs
from pipeline.reference_cache import FILE, Known, copy_known, known_log_probs, take_back, token_hash, write_log_probs
from tests.pipeline.conftest import tiny_model, tiny_tokenizer
from tests.pipeline.training_data import exact_arithmetic, ranked_rows, training_run

ROWS = [Known("a" * 32, 1, -3.5), Known("b" * 32, 2, -7.25)]


@pytest.fixture
def counted(monkeypatch) -> list[int]:
    """How many completions were forwarded, call by call."""
    exact_arithmetic(monkeypatch)
    calls = []
    monkeypatch.setattr("pipeline.dpo.token_log_probs", lambda m, s: calls.append(len(s)) or token_log_probs(m, s))
    return calls


def asked(path, policy, cache, rows=None):
    """One run: what launch copies in, what the job computes, what the monitor takes back."""
    run = training_run(path, "dpo", {}, rows=rows or ranked_rows())
    data = read_groups(run.data, policy.tokenizer, 512)
    groups = [*data.train, *data.eval]
    copy_known(cache, "starter", pa.array([i for g in groups for i in g.ids]), run.data)
    found = reference_of(run, policy, groups)
    return found, take_back(cache, "starter", run.artifacts)


def test_a_second_run_computes_nothing_and_finds_the_same_numbers(tmp_path, tiny_policy, counted):
    first, new = asked(tmp_path / "one", tiny_policy, tmp_path / "cache")
    second, none = asked(tmp_path / "two", tiny_policy, tmp_path / "cache")
    assert (first.known, first.computed, new) == (0, 24, 24) and (second.known, second.computed, none) == (24, 0, 0)
    assert counted == [24, 0]
    assert all(first.log_probs[name].equal(second.log_probs[name]) for name in first.log_probs)


def test_after_new_rankings_only_new_completions_are_computed(tmp_path, tiny_policy, counted):
    asked(tmp_path / "one", tiny_policy, tmp_path / "cache", ranked_rows(train=2, held_out=1))
    more, new = asked(tmp_path / "two", tiny_policy, tmp_path / "cache", ranked_rows(train=4, held_out=0))
    assert (more.known, more.computed, new) == (12, 4, 4) and counted == [12, 4]


def test_another_models_numbers_are_never_taken(tmp_path, tiny_policy, tiny_policy_folder, counted):
    asked(tmp_path / "one", tiny_policy, tmp_path / "cache")
    tokenizer = tiny_tokenizer()
    tiny_model(tokenizer, 1).save_pretrained(tmp_path / "other")
    tokenizer.save_pretrained(tmp_path / "other")
    other, _ = asked(tmp_path / "two", load_policy(tmp_path / "other", "cpu"), tmp_path / "cache")
    assert other.known == 0 and counted == [24, 24]


def test_a_text_that_was_cut_is_another_text():
    assert token_hash([1, 2], [3]) != token_hash([1], [2, 3]) != token_hash([1, 2], [3, 4])


def test_taking_a_run_in_twice_adds_nothing(tmp_path):
    (tmp_path / "artifacts").mkdir()
    write_log_probs(tmp_path / "artifacts", "m", ROWS)
    cache = tmp_path / "data" / "cache"
    assert [take_back(cache, "org/name", tmp_path / "artifacts") for _ in range(2)] == [2, 0]
    assert [path.parent for path in cache.iterdir()] == [cache]


def test_only_the_runs_completions_are_copied(tmp_path):
    write_log_probs(tmp_path, "m", ROWS)
    (tmp_path / "run").mkdir()
    take_back(tmp_path / "cache", "v", tmp_path)
    assert copy_known(tmp_path / "cache", "v", pa.array([2, 9]), tmp_path / "run") == 1
    assert known_log_probs(tmp_path / "run", "m") == {"b" * 32: -7.25}
    assert known_log_probs(tmp_path / "run", "n") == {}


def test_a_damaged_file_is_computed_again(tmp_path, caplog):
    (tmp_path / FILE).write_bytes(b"not parquet")
    assert known_log_probs(tmp_path, "m") == {} and "computed again" in caplog.text


def test_no_file_means_nothing_is_known(tmp_path):
    assert known_log_probs(tmp_path, "m") == {} and copy_known(tmp_path, "v", pa.array([1]), tmp_path) == 0
