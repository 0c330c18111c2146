"""Scores of completions: in closed pieces, the same as one by one, and gone on with after a stop."""

import math

import pyarrow.parquet as parquet
import pytest

from pipeline import scoring
from pipeline.job import Cancelled, Refused
from pipeline.reward import load_reward, score_texts
from pipeline.reward_model import work as train_reward
from pipeline.run_directory import RunDirectory
from pipeline.scoring import measure, work
from tests.pipeline.training_data import exact_arithmetic, ranked_rows, training_run


@pytest.fixture(autouse=True)
def exact(monkeypatch):
    exact_arithmetic(monkeypatch)
    monkeypatch.setattr(scoring, "PIECE", 10)


@pytest.fixture(scope="module")
def reward(tmp_path_factory, tiny_policy_folder):
    run = training_run(
        tmp_path_factory.mktemp("reward") / "run", "reward", {"policy": tiny_policy_folder}, {"epochs": 1}
    )
    train_reward(run, run.config())
    return run.model


def make_run(path, reward, rows=None, **options) -> RunDirectory:
    rows = rows or {name: ranked_rows()[name] for name in ("prompts", "completions")}
    return training_run(path, "score", {"reward": reward}, options, rows)


def scores(run) -> list[dict]:
    return [row for p in sorted((run.artifacts / "scores").iterdir()) for row in parquet.read_table(p).to_pylist()]


def test_every_completion_gets_the_score_it_has_alone(tmp_path, reward):
    run = make_run(tmp_path / "run", reward)
    result = work(run, run.config())
    found, model = scores(run), load_reward(reward, "cpu")
    assert len(found) == 24 and result["sizes"] == {"completions": 24, "parts": 3}
    text = ranked_rows()["completions"][5]
    messages = [{"role": "user", "content": "Write a story about a bear, number 1."}]
    alone = score_texts(model, [(messages, text["text"])])[0]
    row = next(row for row in found if row["completion_id"] == text["completion_id"])
    assert row["score"] == pytest.approx(alone, abs=1e-5)
    assert row["normalised"] == pytest.approx((alone - model.mean) / model.std, abs=1e-5)
    assert result["metrics"]["reward/mean/tiny"] == result["metrics"]["reward/mean"]


def test_the_means_are_worked_by_hand():
    rows = [("a", 1.0), ("b", 4.0), ("a", 3.0)]
    table = scoring.pa.table({"model": [name for name, _ in rows], "normalised": [value for _, value in rows]})
    found = measure(table)
    assert list(found) == ["reward/mean", "reward/standard_error", "reward/mean/b", "reward/mean/a"]
    assert found["reward/mean"] == pytest.approx(8 / 3) and found["reward/mean/a"] == 2.0
    assert found["reward/standard_error"] == pytest.approx(math.sqrt((25 / 9 + 16 / 9 + 1 / 9) / 2 / 3))


def test_a_stopped_run_keeps_its_pieces_and_goes_on(tmp_path, reward, monkeypatch):
    run = make_run(tmp_path / "run", reward)
    with monkeypatch.context() as patched:
        patched.setattr(RunDirectory, "cancel_requested", lambda self: bool(self.metrics()[0]))
        with pytest.raises(Cancelled, match="after 10 of 24 completions"):
            work(run, run.config())
    kept = scores(run)
    work(run, run.config())
    assert len(kept) == 10 and scores(run)[:10] == kept and len(scores(run)) == 24


def test_so_many_completions_as_asked_for(tmp_path, reward):
    run = make_run(tmp_path / "run", reward, completions=7)
    assert work(run, run.config())["sizes"]["completions"] == 7


def test_what_cannot_be_scored_is_refused_in_a_sentence(tmp_path, reward, monkeypatch):
    run = make_run(tmp_path / "run", reward)
    monkeypatch.setattr(scoring, "score_texts", lambda reward, items: [math.nan] * len(items))
    with pytest.raises(Refused, match="not a finite number"):
        work(run, run.config())
    monkeypatch.setattr(scoring, "read_rows", lambda data, name: [])
    with pytest.raises(Refused, match="no completions to score"):
        work(run, run.config())
