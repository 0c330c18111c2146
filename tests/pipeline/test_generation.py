"""Completions leave in closed pieces; a restart finishes what is missing and changes nothing that is there."""

import json

import pyarrow as pa
import pyarrow.parquet as parquet
import pytest

from pipeline.configs import GenerateConfig
from pipeline.generation import distinct_texts, work
from pipeline.job import Cancelled, Refused
from pipeline.run_directory import RunDirectory

OPTIONS = {"k": 4, "max_new_tokens": 6}


def make_run(folder, models, count=20, options=OPTIONS, content="Write a story"):
    run = RunDirectory.create(folder, {"kind": "generate", "options": options, "models": models})
    rows = [
        {"prompt_id": f"p-{i:02d}", "messages": json.dumps([{"role": "user", "content": f"{content} {i}"}]),
         "split": "eval" if i % 5 == 4 else "train"}
        for i in range(count)
    ]  # fmt: skip
    parquet.write_table(pa.Table.from_pylist(rows), run.data / "prompts.parquet")
    return run


@pytest.fixture
def one(tiny_policy_folder):
    return {"policy": {"name": "starter", "path": str(tiny_policy_folder), "device": "cpu"}}


@pytest.fixture
def two(one, tiny_policy_folder):
    return {**one, "against": {"name": "base", "path": str(tiny_policy_folder), "device": "cpu"}}


def pieces(run):
    return [parquet.read_table(p).to_pylist() for p in sorted((run.artifacts / "completions").iterdir())]


def test_every_prompt_gets_k_distinct_completions_in_one_piece(one, tmp_path):
    run = make_run(tmp_path / "run", one)
    result = work(run, run.config())
    found = pieces(run)
    assert [len({row["prompt_id"] for row in piece}) for piece in found] == [8, 12]
    rows = [row for piece in found for row in piece]
    assert len({(row["prompt_id"], row["text"]) for row in rows}) == len(rows) == result["completions"] == 80
    assert {row["model"] for row in rows} == {"starter"} and result["parts"] == 2
    assert json.loads(rows[0]["settings"]) == {"temperature": 1.0, "max_new_tokens": 6, "seed": 0}


def test_a_comparison_takes_half_from_each_and_eval_prompts_first(two, tmp_path):
    run = make_run(tmp_path / "run", two, options={**OPTIONS, "prompts": 6})
    assert work(run, run.config())["completions"] == 24
    rows = pieces(run)[0]
    assert {row["prompt_id"] for row in rows} == {"p-04", "p-09", "p-14", "p-19", "p-00", "p-01"}
    for prompt in {row["prompt_id"] for row in rows}:
        assert sorted(r["model"] for r in rows if r["prompt_id"] == prompt) == ["base", "base", "starter", "starter"]
    assert {r["text"] for r in rows if r["model"] == "base"} != {r["text"] for r in rows if r["model"] == "starter"}


def test_a_restart_writes_only_the_missing_pieces_and_the_same_texts(one, tmp_path):
    run = make_run(tmp_path / "run", one)
    work(run, run.config())
    before = pieces(run)
    first, last = sorted((run.artifacts / "completions").iterdir())
    untouched = first.stat().st_mtime_ns
    last.unlink()
    work(run, run.config())
    assert pieces(run) == before and first.stat().st_mtime_ns == untouched


def test_cancel_keeps_the_closed_pieces(one, tmp_path, monkeypatch):
    run = make_run(tmp_path / "run", one)
    monkeypatch.setattr(RunDirectory, "append_metrics", lambda self, step, values: self.request_cancel())
    with pytest.raises(Cancelled, match="after 1 of 2 pieces"):
        work(run, run.config())
    assert len(pieces(run)) == 1


def test_a_policy_that_repeats_itself_gives_fewer_completions(tiny_policy):
    head = tiny_policy.model.get_output_embeddings()
    eos = tiny_policy.tokenizer.eos_token_id
    head.register_forward_hook(lambda module, inputs, out: out.index_fill(-1, out.new_tensor([eos]).long(), 50.0))
    assert distinct_texts(tiny_policy, [[5, 6], [7]], 4, GenerateConfig(), 0) == [{"": True}, {"": True}]


def test_prompts_too_long_for_the_model_are_skipped_and_counted(one, tmp_path):
    run = make_run(tmp_path / "run", one, count=3)
    rows = parquet.read_table(run.data / "prompts.parquet").to_pylist()
    rows[0]["messages"] = json.dumps([{"role": "user", "content": "long " * 400}])
    parquet.write_table(pa.Table.from_pylist(rows), run.data / "prompts.parquet")
    assert work(run, run.config())["sizes"] == {"prompts": 2, "skipped": 1}


def test_no_prompts_is_refused(one, tmp_path):
    run = RunDirectory.create(tmp_path / "run", {"kind": "generate", "options": OPTIONS, "models": one})
    with pytest.raises(Refused, match="import prompts first"):
        work(run, run.config())
