"""The backend of Hugging Face Jobs, against a stand-in of the service: what it asks for and what it says."""

import json
import time

import pytest
from huggingface_hub import JobHardwareInfo

from pipeline.backend import BackendUnreachable, Job, Use
from pipeline.hf_jobs import HfJobsBackend, requirements
from pipeline.hub_words import hardware_of
from pipeline.remote_names import folder_id
from pipeline.resources import Resources
from pipeline.run_directory import RunDirectory
from pipeline.services import PROJECT_ROOT
from tests.pipeline.conformance import zip_code
from tests.pipeline.following import until
from tests.pipeline.hub_backend import JOB, backend_on, job_of
from tests.pipeline.hub_server import HARDWARE, TOKEN


@pytest.fixture
def backend(hub):
    return backend_on(hub)


def directory_for(tmp_path, name="0001-reward"):
    """A run directory as launch leaves it."""
    config = {"kind": "reward", "models": {}, "sizes": {}, "options": {}}
    made = RunDirectory.create(tmp_path / "data" / "runs" / name, config)
    zip_code(PROJECT_ROOT, made.path / "code.zip")
    return made


# ---- what is asked of the service
def test_a_time_limit_that_leaves_time_to_set_up_and_to_save_is_always_told(backend, hub, tmp_path):
    hub.waiting = True
    for name, minutes, seconds in (("0001-reward", 0, 6 * 3600 + 1200), ("0002-reward", 90, 5400 + 1200)):
        directory = directory_for(tmp_path, name)
        backend.submit(Job(directory.path, JOB, Resources(timeout_minutes=minutes), "cpu-basic"))
        assert job_of(hub).spec["timeoutSeconds"] == seconds
        assert job_of(hub).spec["flavor"] == "cpu-basic"


def test_the_chosen_hardware_comes_before_the_slot(backend, hub, tmp_path):
    hub.waiting = True
    resources = Resources(hardware="a100-large")
    backend.submit(Job(directory_for(tmp_path).path, JOB, resources, "cpu-basic"))
    assert job_of(hub).spec["flavor"] == "a100-large"


def test_the_token_is_a_secret_and_stands_nowhere_else(backend, hub, tmp_path):
    hub.waiting = True
    backend.submit(Job(directory_for(tmp_path).path, JOB))
    spec = dict(job_of(hub).spec)
    assert spec.pop("secrets") == {"HF_TOKEN": TOKEN} and TOKEN not in json.dumps(spec)


def test_two_workbenches_do_not_take_each_others_jobs(backend, hub, tmp_path):
    hub.waiting = True
    one, other = (directory_for(tmp_path / place) for place in ("one", "other"))
    handle = backend.submit(Job(one.path, JOB))
    assert backend_on(hub).find(one.path) == handle and backend_on(hub).find(other.path) is None


def test_the_folders_id_moves_with_it(tmp_path):
    (tmp_path / "runs").mkdir()
    first = folder_id(tmp_path / "runs")
    (tmp_path / "runs").rename(tmp_path / "moved")
    assert folder_id(tmp_path / "moved") == first and len(first) == 16


def test_a_job_installs_what_it_needs_and_no_more(tmp_path):
    needed = requirements(directory_for(tmp_path).path / "code.zip")
    names = {line.split("=")[0].split(">")[0] for line in needed}
    assert {"torch", "transformers", "trl", "peft", "pyarrow", "huggingface_hub", "hf_xet"} <= names
    assert not names & {"gradio", "duckdb", "playwright", "pytest", "argon2-cffi"}


def test_the_bucket_is_private_and_a_public_one_is_refused(backend, hub, tmp_path):
    backend.store.make()
    assert "ann/rankloop" not in hub.public
    hub.public.add("ann/rankloop")
    with pytest.raises(BackendUnreachable, match="is public"):
        backend_on(hub).submit(Job(directory_for(tmp_path).path, JOB))
    assert hub.jobs == {}


def test_a_public_bucket_gets_nothing(hub, tmp_path):
    hub.buckets["ann/rankloop"] = {}
    hub.public.add("ann/rankloop")
    assert not backend_on(hub).reach().reachable and hub.buckets["ann/rankloop"] == {}


# ---- what it says
def test_it_says_what_it_offers_and_costs(backend):
    reach = backend.reach()
    small, gpu = reach.hardware
    assert reach.reachable and "ann" in reach.said
    assert (small.name, small.memory, round(small.price, 2)) == ("cpu-basic", 16 * 1000**3, 0.01)
    assert (gpu.name, gpu.accelerators, gpu.memory, round(gpu.price, 2)) == ("a10g-small", 1, 24 * 1000**3, 1.0)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("breaks", "said"),
    [
        ({"allowed": set()}, "the token is not valid"),
        ({"broken": lambda method, path: 403}, "the token may not"),
        ({"broken": lambda method, path: 429}, "asked too often"),
        ({"away": True}, "has trouble"),
    ],
)
def test_a_hub_that_refuses_is_said_in_a_sentence(backend, hub, breaks, said):
    for name, value in breaks.items():
        setattr(hub, name, value)
    assert not backend.reach().reachable and said in backend.reach().said
    with pytest.raises(BackendUnreachable, match=f"hf-jobs.*{said}"):
        backend.alive("hf-jobs:1:a")


def test_no_credit_is_said_when_a_job_is_to_start(backend, hub, tmp_path):
    hub.credit = False
    with pytest.raises(BackendUnreachable, match=r"no credit.*billing"):
        backend.submit(Job(directory_for(tmp_path).path, JOB))
    assert hub.jobs == {}


def test_no_answer_at_all_is_said(hub, tmp_path):
    away = HfJobsBackend(TOKEN, "ann", "rankloop", endpoint="http://127.0.0.1:9")
    with pytest.raises(BackendUnreachable, match=r"hf-jobs.*no answer"):
        away.alive("hf-jobs:1:a")


def test_use_is_told_while_it_runs(backend, hub, tmp_path, orders):
    hub.waiting = True
    handle = backend.submit(Job(directory_for(tmp_path).path, JOB))
    assert backend.usage(handle) == Use("waiting for a machine")
    job_of(hub).stage = "RUNNING"
    said = "GPU 0: 87 % busy, 6.0 of 24.0 GiB · 3.0 GiB of memory · 1.8 cores busy"
    assert backend.usage(handle) == Use(said, 0.87)
    job_of(hub).stage = "COMPLETED"
    assert backend.usage(handle) == Use()


def test_several_accelerators_share_what_the_hub_gives_as_one_sum():
    gpus = {"type": "gpu", "model": "L4", "quantity": "4", "vram": "96 GB", "manufacturer": "Nvidia"}
    told = HARDWARE[1] | {"accelerator": gpus, "unitLabel": "fortnight"}
    offered = hardware_of(JobHardwareInfo(**told))
    assert (offered.accelerators, offered.memory, offered.price) == (4, 24 * 1000**3, None)


ENDINGS = [
    ("ERROR", "Job timeout", "time limit", False),
    ("ERROR", "OOMKilled", "memory ran out", False),
    ("ERROR", "Pod was evicted", "machine was taken away", True),
    ("ERROR", "Job failed with exit code: 1", "ended before it could tell why", False),
    ("ERROR", "Job failed with exit code: 137", "killed by signal 9", False),
    ("ERROR", "Job failed with exit code: 143", "asked to end", True),
    ("ERROR", "Something new", "ended with an error (Something new)", False),
    ("CANCELED", None, "cancelled on the Hub", False),
    ("DELETED", None, "deleted on the Hub", False),
    ("COMPLETED", None, "", False),
]


@pytest.mark.slow
@pytest.mark.parametrize(("stage", "message", "said", "retry"), ENDINGS)
def test_how_a_job_ended(backend, hub, tmp_path, stage, message, said, retry):
    hub.waiting = True
    handle = backend.submit(Job(directory_for(tmp_path).path, JOB))
    job_of(hub).stage, job_of(hub).message = stage, message
    ending = backend.ending(handle)
    assert said in ending.said and ending.retry is retry and not backend.alive(handle)


def test_a_job_the_hub_forgot_is_to_be_started_again(backend, hub):
    assert not backend.alive("hf-jobs:nosuch:a") and backend.ending("hf-jobs:nosuch:a").retry


def test_a_job_cancelled_while_it_waits_is_ended_at_once(backend, hub, tmp_path):
    hub.waiting = True
    handle = backend.submit(Job(directory_for(tmp_path).path, JOB))
    backend.cancel(handle)
    assert not backend.alive(handle)


# ---- what breaks in between
@pytest.mark.slow
def test_a_time_limit_ends_the_job_and_is_said(backend, hub, tmp_path, orders):
    (orders / "behaviour").write_text("wait")
    directory = directory_for(tmp_path)
    handle = backend.submit(Job(directory.path, JOB, Resources(timeout_minutes=1)))
    replaced = job_of(hub)
    until(lambda: backend.sync(directory.path, handle) or directory.metrics()[0])
    replaced.end("ERROR", "Job timeout")
    until(lambda: not replaced.going)
    backend.sync(directory.path, handle)
    assert not backend.alive(handle) and "time limit" in backend.ending(handle).said
    assert json.loads((directory.checkpoints / "state.json").read_text()) == {"step": 2}


@pytest.mark.slow
def test_a_hub_away_for_a_while_loses_nothing(backend, hub, tmp_path, orders):
    (orders / "behaviour").write_text("wait")
    directory = directory_for(tmp_path)
    handle = backend.submit(Job(directory.path, JOB))
    until(lambda: backend.sync(directory.path, handle) or directory.metrics()[0])
    hub.away = True
    with pytest.raises(BackendUnreachable):
        backend.sync(directory.path, handle)
    (orders / "go").touch()
    time.sleep(1.0)
    hub.away = False
    until(lambda: backend.sync(directory.path, handle) or directory.result())
    assert [row["step"] for row in directory.metrics()[0]] == [1, 2, 3, 4]


@pytest.mark.slow
def test_a_job_whose_installation_fails_says_what_its_machine_said(hub, tmp_path):
    backend = backend_on(hub, image="broken")
    hub.machine["PYTHONPATH"] = str(tmp_path)
    (tmp_path / "huggingface_hub.py").write_text("raise ImportError('no such wheel')")
    handle = backend.submit(Job(directory_for(tmp_path).path, JOB))
    until(lambda: not backend.alive(handle))
    assert "no such wheel" in backend.ending(handle).said and not backend.ending(handle).retry


@pytest.mark.slow
def test_uploads_that_break_off_are_made_again(backend, hub, tmp_path):
    count = iter(range(10_000))
    hub.broken = lambda method, path: 500 if path.endswith("/batch") and next(count) % 3 == 1 else 0
    directory = directory_for(tmp_path)
    handle = backend.submit(Job(directory.path, JOB))
    until(lambda: backend.sync(directory.path, handle) or directory.result())
    assert [row["step"] for row in directory.metrics()[0]] == [1, 2, 3, 4]


@pytest.mark.slow
def test_a_deaf_job_is_ended_by_force(backend, hub, tmp_path, orders):
    (orders / "behaviour").write_text("deaf")
    directory = directory_for(tmp_path)
    handle = backend.submit(Job(directory.path, JOB))
    until(lambda: backend.sync(directory.path, handle) or directory.metrics()[0])
    backend.cancel(handle, force=True)
    until(lambda: not backend.alive(handle))
    until(lambda: not job_of(hub).going)
