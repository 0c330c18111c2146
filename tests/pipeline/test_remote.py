"""A remote run between two folders and a store: what travels, what comes back, and what is not believed."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.remote_job import Stop, Waits, prepare, run_remote
from pipeline.remote_parcel import pack
from pipeline.remote_pieces import END, Place, Untrusted, content_of, segment_name, send, tree_name
from pipeline.remote_sync import forget, sync
from pipeline.remote_upload import Upload
from pipeline.run_directory import RunDirectory
from pipeline.store import FolderStore
from tests.pipeline.following import until

ROOT = Path(__file__).parents[2]
FAKE = "tests.pipeline.fake_job"
QUICK = Waits(poll=0.05, patience=2.0, save=0.5, kill=0.5)


def model_folder(path: Path, weights: bytes = b"weights") -> Path:
    path.mkdir(parents=True)
    (path / "config.json").write_text("{}")
    (path / "model.safetensors").write_bytes(weights)
    (path / "pytorch_model.bin").write_bytes(b"never loaded")
    return path


@pytest.fixture
def place(tmp_path):
    return Place(FolderStore(tmp_path / "store"), "runs/f/0001-reward", "a1")


@pytest.fixture
def run(tmp_path):
    model = model_folder(tmp_path / "models" / "base")
    models = {"policy": {"name": "base", "path": str(model)}}
    made = RunDirectory.create(tmp_path / "0001-reward", {"kind": "reward", "models": models, "sizes": {}})
    (made.data / "prompts.parquet").write_bytes(b"prompts")
    (made.path / "code.zip").write_bytes(b"code")
    return made


@pytest.fixture
def work(tmp_path):
    folder = tmp_path / "work"
    folder.mkdir()
    return folder


def execute(place, work, behaviour="succeed"):
    (work / "behaviour").write_text(behaviour)
    try:
        return run_remote(place, FAKE, work, QUICK, Stop())
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def started(place, work, behaviour):
    """The same in a process of its own."""
    (work / "behaviour").write_text(behaviour)
    told = f"""
from pathlib import Path
from pipeline.remote_job import *
place = Place.of(FolderStore({place.store.uri!r}), {place.prefix!r})
sys.exit(run_remote(place, {FAKE!r}, Path({str(work)!r}), Waits(0.05, 2.0, 0.5, 0.5), Stop()))"""
    return subprocess.Popen([sys.executable, "-c", "from pipeline.store import FolderStore" + told], cwd=ROOT)


def test_a_run_comes_back_whole(place, run, work):
    pack(place, run.path)
    assert execute(place, work) == 0
    assert sync(place, run.path)
    assert run.result()["model"] == "artifacts/model" and (run.model / "config.json").read_text() == "{}"
    assert [row["loss"] for row in run.metrics()[0]] == [0.5, 0.25]
    assert "fake reward does: succeed" in run.log_tail()


def test_the_job_finds_its_models_on_its_own_disk(place, run, work):
    pack(place, run.path)
    there = prepare(place, work)
    path = Path(there.config()["models"]["policy"]["path"])
    assert path.is_relative_to(work) and (path / "model.safetensors").read_bytes() == b"weights"
    assert not (path / "pytorch_model.bin").exists()
    assert (there.data / "prompts.parquet").read_bytes() == b"prompts"


def test_a_model_is_uploaded_once(place, run):
    first = pack(place, run.path)
    assert first > len(b"weights")
    other = Place(place.store, "runs/f/0002-dpo", "a2")
    assert pack(other, run.path) == len(b"prompts")


def test_only_what_a_run_needs_travels(place, run):
    (run.path / "notes-of-alice.txt").write_text("alice")
    (run.path / "process.json").write_text("{}")
    pack(place, run.path)
    parcel = place.read_json("parcel.json")
    assert set(parcel["files"]) == {"data/prompts.parquet"}
    assert str(run.path.parent) not in json.dumps(parcel)


def test_an_adapter_travels_with_its_base_and_comes_back_on_it(place, run, work, tmp_path):
    adapter = tmp_path / "models" / "adapter"
    adapter.mkdir()
    (adapter / "base.json").write_text(json.dumps({"base": "../base"}))
    (adapter / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": "/elsewhere"}))
    config = run.config()
    config["models"]["policy"]["path"] = str(adapter)
    (run.path / "config.json").write_text(json.dumps(config))
    pack(place, run.path)
    there = prepare(place, work)
    folder = Path(there.config()["models"]["policy"]["path"])
    base = (folder / json.loads((folder / "base.json").read_text())["base"]).resolve()
    assert (base / "model.safetensors").read_bytes() == b"weights"

    made = there.artifacts / "model"
    made.mkdir()
    (made / "base.json").write_text(json.dumps({"base": os.path.relpath(base, made)}))
    (made / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": str(base)}))
    Upload(place, there, place.read_json("parcel.json")).send_files()
    sync(place, run.path)
    seen = json.loads((run.model / "base.json").read_text())["base"]
    assert (run.model / seen).resolve() == (tmp_path / "models" / "base").resolve()
    assert json.loads((run.model / "adapter_config.json").read_text())["base_model_name_or_path"].endswith("/base")


def test_news_comes_while_the_job_runs_and_a_cancel_ends_it(place, run, work):
    pack(place, run.path)
    job = started(place, work, "hang")
    until(lambda: not sync(place, run.path) and run.metrics()[0])
    until(lambda: sync(place, run.path) or (run.status() or {}).get("phase") == "running")
    run.request_cancel()
    until(lambda: sync(place, run.path))
    assert job.wait(10) == 0 and run.status()["phase"] == "cancelled" and run.result() is None


def test_a_failed_job_says_why(place, run, work):
    pack(place, run.path)
    assert execute(place, work, "fail") == 1
    assert sync(place, run.path)
    assert run.error()["message"] == "found 0 groups, expected at least 1"
    assert json.loads((run.path / "exit.json").read_text())["code"] == 1


def test_a_job_killed_by_its_system_tells_the_signal(place, run, work):
    pack(place, run.path)
    assert execute(place, work, "killed") == 128 + 9
    assert sync(place, run.path)
    assert json.loads((run.path / "exit.json").read_text())["code"] == -9


def test_sigterm_lets_the_job_save_and_says_that_the_machine_was_taken(place, run, work):
    pack(place, run.path)
    job = started(place, work, "hang")
    until(lambda: not sync(place, run.path) and run.metrics()[0])
    job.send_signal(signal.SIGTERM)
    assert job.wait(10) == 128 + signal.SIGTERM
    assert sync(place, run.path) and json.loads((run.path / "exit.json").read_text())["taken"]


@pytest.mark.slow
def test_a_deaf_job_ends_by_force_after_sigterm(place, run, work):
    pack(place, run.path)
    job = started(place, work, "deaf")
    until(lambda: not sync(place, run.path) and run.metrics()[0])
    job.send_signal(signal.SIGTERM)
    assert job.wait(10) == 128 + signal.SIGTERM


def test_a_killed_machine_leaves_no_process_and_the_next_one_goes_on(place, run, work):
    pack(place, run.path)
    job = started(place, work, "hang")
    until(lambda: not sync(place, run.path) and run.metrics()[0])
    before = (run.path / "metrics.jsonl").read_bytes()
    job.kill()
    job.wait()
    until(lambda: str(work) not in subprocess.run(["ps", "-ef"], capture_output=True, text=True).stdout)
    shutil.rmtree(work)
    work.mkdir()
    assert execute(place, work) == 0
    assert sync(place, run.path)
    assert (run.path / "metrics.jsonl").read_bytes().startswith(before)
    assert [row["loss"] for row in run.metrics()[0]] == [0.5, 0.5, 0.25]


def test_checkpoints_come_back_and_go_out_again(place, run, work):
    pack(place, run.path)
    there = prepare(place, work)
    (there.checkpoints / "checkpoint-1").mkdir()
    (there.checkpoints / "checkpoint-1" / "state.json").write_text("one")
    upload = Upload(place, there, place.read_json("parcel.json"))
    assert upload.send_files()
    sync(place, run.path)
    assert (run.checkpoints / "checkpoint-1" / "state.json").read_text() == "one"

    again = Place(place.store, place.run, "a2")
    assert pack(again, run.path) == 0  # all of it is there
    assert (prepare(again, work).checkpoints / "checkpoint-1" / "state.json").read_text() == "one"


def test_a_checkpoint_that_was_replaced_is_replaced_here_too(place, run, work):
    pack(place, run.path)
    there = prepare(place, work)
    upload = Upload(place, there, place.read_json("parcel.json"))
    for step in (1, 2, 3, 4):
        (there.checkpoints / f"checkpoint-{step}.pt").write_text(f"state {step}")
        (there.checkpoints / f"checkpoint-{step - 1}.pt").unlink(missing_ok=True)
        upload.send_files()
        sync(place, run.path)
        assert [path.name for path in run.checkpoints.iterdir()] == [f"checkpoint-{step}.pt"]
    blobs = place.store.list(f"{place.run}/blobs/")
    assert len(blobs) == 3  # data and the last two states: older ones are gone


def test_sync_twice_changes_nothing_and_a_torn_append_is_mended(place, run, work):
    pack(place, run.path)
    execute(place, work)
    sync(place, run.path)
    whole = (run.path / "metrics.jsonl").read_bytes()
    (run.path / "result.json").unlink()
    (run.path / "metrics.jsonl").write_bytes(whole[:17])
    assert sync(place, run.path) and sync(place, run.path)
    assert (run.path / "metrics.jsonl").read_bytes() == whole


def test_metrics_here_never_hold_half_a_line(place, run, work):
    pack(place, run.path)
    there = prepare(place, work)
    upload = Upload(place, there, place.read_json("parcel.json"))
    (there.path / "metrics.jsonl").write_text('{"step": 1}\n{"st')
    upload.send_small()
    sync(place, run.path)
    assert (run.path / "metrics.jsonl").read_text() == '{"step": 1}\n'


def test_many_small_segments_are_joined_and_read_the_same(place, run, work):
    pack(place, run.path)
    there = prepare(place, work)
    upload = Upload(place, there, place.read_json("parcel.json"))
    for step in range(150):
        there.append_metrics(step, {})
        upload.send_small()
        if step == 30:
            sync(place, run.path)
    assert len([name for name in place.pieces() if name.startswith("metrics/")]) < 60
    sync(place, run.path)
    assert (run.path / "metrics.jsonl").read_bytes() == (there.path / "metrics.jsonl").read_bytes()


def test_the_result_waits_for_all_that_belongs_to_it(place, run, work):
    pack(place, run.path)
    execute(place, work)
    trees = [name for name in place.pieces() if name.startswith("tree/")]
    held = {name: place.store.read(place.name(name)) for name in trees}
    place.store.delete(place.name(name) for name in trees)
    assert not sync(place, run.path) and run.result() is None
    place.store.put({place.name(name): content for name, content in held.items()})
    assert sync(place, run.path) and run.result()


def test_a_torn_blob_is_not_taken(place, run, work):
    pack(place, run.path)
    there = prepare(place, work)
    (there.checkpoints / "state.pt").write_bytes(b"a whole checkpoint")
    upload = Upload(place, there, place.read_json("parcel.json"))
    upload.send_files()
    [blob] = [n for n in place.store.list(f"{place.run}/blobs/") if place.store.read(n) == b"a whole checkpoint"]
    place.store.put({blob: b"a whole check"})
    with pytest.raises(Untrusted):
        sync(place, run.path)
    assert not (run.checkpoints / "state.pt").exists()
    send(place, {there.checkpoints / "state.pt": content_of(there.checkpoints / "state.pt")})
    sync(place, run.path)
    assert (run.checkpoints / "state.pt").read_bytes() == b"a whole checkpoint"


HOSTILE = [
    "../x",
    "/etc/x",
    "checkpoints/../../x",
    "config.json",
    "data/x",
    "artifacts\\x",
    "artifacts/.x/y",
    3,
    "artifacts",
]


@pytest.mark.parametrize("path", HOSTILE)
def test_a_path_that_leaves_the_run_is_not_written(place, run, path):
    pack(place, run.path)
    content = {path: ["0" * 64, 1]}
    place.store.put({place.name(tree_name(1)): json.dumps({"files": content}).encode()})
    with pytest.raises(Untrusted):
        sync(place, run.path)


def test_a_link_in_the_run_is_not_written_through(place, run, work, tmp_path):
    pack(place, run.path)
    there = prepare(place, work)
    (there.artifacts / "model").mkdir()
    (there.artifacts / "model" / "config.json").write_text("{}")
    Upload(place, there, place.read_json("parcel.json")).send_files()
    run.model.symlink_to(tmp_path)
    with pytest.raises(Untrusted):
        sync(place, run.path)
    assert not (tmp_path / "config.json").exists()


@pytest.mark.parametrize("model", ["../../../0001-reward", "/etc", "artifacts/../../x", 7])
def test_a_result_that_names_a_folder_elsewhere_is_an_error(place, run, model):
    pack(place, run.path)
    place.write_json(END, {"code": 0, "result": {"model": model, "role": "policy"}})
    assert sync(place, run.path)
    assert run.result() is None and "expected a folder in artifacts" in run.error()["message"]


def test_a_segment_with_no_offset_is_left_out(place, run):
    pack(place, run.path)
    place.store.put({place.name("metrics/../../x".replace("../", "")): b"x", place.name("metrics/first"): b"x"})
    place.store.put({place.name(segment_name("metrics", 0)): b"{}\n"})
    sync(place, run.path)
    assert (run.path / "metrics.jsonl").read_bytes() == b"{}\n"


def test_a_new_attempt_removes_what_only_earlier_ones_had(place, run, work):
    pack(place, run.path)
    there = prepare(place, work)
    (there.checkpoints / "old.pt").write_text("old")
    Upload(place, there, place.read_json("parcel.json")).send_files()
    again = Place(place.store, place.run, "a2")
    pack(again, run.path)
    assert place.pieces() == {} and set(again.pieces()) == {"parcel.json"}
    assert len(place.store.list(f"{place.run}/blobs/")) == 1  # the data


def test_the_job_side_loads_no_torch_no_database_and_no_pages():
    told = "import pipeline.remote_job, sys; print(*{name.split('.')[0] for name in sys.modules})"
    loaded = subprocess.run([sys.executable, "-c", told], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert not set(loaded.split()) & {"torch", "transformers", "duckdb", "gradio", "storage", "ui", "fastapi"}


def test_forget_leaves_the_models(place, run):
    pack(place, run.path)
    forget(place)
    assert place.store.list("runs/") == {} and len(place.store.list("blobs/")) == 3
