"""The contract between app and job, seen from both sides."""

import json

import pytest

from pipeline.job import Cancelled, Refused, run_job
from pipeline.run_directory import RunDirectory


def test_a_directory_is_made_once(run):
    with pytest.raises(FileExistsError):
        RunDirectory.create(run.path, {})


def test_a_torn_last_metric_line_waits_for_its_rest(run):
    run.append_metrics(1, {"loss": 0.5})
    with (run.path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 2, "lo')
    rows, offset = run.metrics()
    assert [row["step"] for row in rows] == [1]
    with (run.path / "metrics.jsonl").open("a") as file:
        file.write('ss": 0.4}\n')
    assert [row["loss"] for row in run.metrics(offset)[0]] == [0.4]


def test_a_finished_job_leaves_a_result_with_its_seconds(run):
    assert run_job(run, lambda run, config: {"metrics": {"kind": config["kind"]}}) == 0
    assert run.result()["metrics"] == {"kind": "dpo"}
    assert run.result()["seconds"] >= 0
    assert run.error() is None


def test_a_refused_job_leaves_its_sentence_and_no_result(run):
    def work(run, config):
        raise Refused("the data holds no comparison")

    assert run_job(run, work) == 1
    assert run.error() == {"kind": "Refused", "message": "the data holds no comparison"}
    assert run.result() is None
    assert run.status()["phase"] == "failed"


def test_a_cancelled_job_says_so(run):
    def work(run, config):
        raise Cancelled("after step 3")

    assert run_job(run, work) == 0
    assert run.status()["phase"] == "cancelled"
    assert run.result() is None and run.error() is None


def test_a_half_written_status_reads_as_none(run):
    (run.path / "status.json").write_text(json.dumps({"phase": "running"})[:-4])
    assert run.status() is None


def test_the_log_tail_is_its_last_lines(run):
    run.log.write_text("\n".join(f"line {n}" for n in range(100)))
    assert run.log_tail(2) == "line 98\nline 99"
