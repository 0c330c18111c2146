"""Runs on Hugging Face Jobs, against a stand-in of the service that really runs them."""

import json
import time
import zipfile
from pathlib import Path

import pytest
from huggingface_hub import JobHardwareInfo

from pipeline.backend import BackendUnreachable, Job, Use
from pipeline.configs import MODULES
from pipeline.hf_jobs import HfJobsBackend, requirements
from pipeline.hub_words import hardware_of
from pipeline.launch import launch
from pipeline.model_files import base_of
from pipeline.monitor import Monitor
from pipeline.remote_names import folder_id
from pipeline.resources import Resources
from pipeline.reward import load_reward
from pipeline.run_directory import RunDirectory
from pipeline.run_life import resume
from pipeline.services import only, open_services
from storage import runs, versions
from storage.records import ModelVersion
from tests.pipeline.hub_server import HARDWARE, TOKEN, HubServer, make_client_quick
from tests.pipeline.small_campaign import add_base, add_campaign, add_tasks, rank_all

ROOT = Path(__file__).parents[2]
JOB = "tests.pipeline.hub_job"


@pytest.fixture
def orders(tmp_path):
    folder = tmp_path / "orders"
    folder.mkdir()
    return folder


@pytest.fixture
def hub(tmp_path, orders, monkeypatch):
    make_client_quick(monkeypatch)
    machine = {"PYTHONPATH": str(ROOT), "HUB_JOB_ORDERS": str(orders)}
    with HubServer(tmp_path / "machines", machine, grace=5.0) as server:
        yield server


def backend_on(hub, token=TOKEN, **options):
    slots = ("a10g-small", "cpu-basic")
    return HfJobsBackend(token, "ann", "rankloop", slots, endpoint=hub.endpoint, poll=0.1, **options)


@pytest.fixture
def backend(hub):
    return backend_on(hub)


def opened(folder, backend):
    return open_services(folder / "data", backends=only(backend))


@pytest.fixture
def services(tmp_path, backend, monkeypatch):
    for kind in MODULES:
        monkeypatch.setitem(MODULES, kind, JOB)
    made = opened(tmp_path, backend)
    add_base(made)
    yield made
    made.close()


@pytest.fixture
def campaign(services):
    made = add_campaign(services)
    add_tasks(services, made)
    rank_all(services, "alice-the-annotator")
    return made


def quick(services):
    return Monitor(services, interval=0.1, remote_interval=0.1)


def until(condition, seconds=40):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)


def until_state(services, monitor, run, state):
    def looked():
        monitor.poll_once()
        now = runs.run(services.database, run.id)
        assert now.state == state or now.state not in ("failed", "cancelled", "succeeded"), now.reason
        return now.state == state

    until(looked)
    return runs.run(services.database, run.id)


def losses(services, run):
    return [round(row["loss"], 2) for row in runs.metrics(services.database, run.id)]


def job_of(hub):
    return list(hub.jobs.values())[-1]


def start(services, campaign, options=None):
    """A run whose price somebody agreed to."""
    return launch(services, "reward", campaign.id, options, confirmed_cost=100.0)


# ---- a whole run
@pytest.mark.slow
def test_a_run_goes_to_a_version_with_its_curve(services, campaign, hub):
    run = quick(services).wait(start(services, campaign).id)
    assert run.state == "succeeded", run.reason
    made = versions.version(services.database, "reward-1")
    assert json.loads((services.data / made.path / "config.json").read_text()) == {"counted": 4}
    assert losses(services, run) == [1.0, 0.5, 0.33, 0.25]
    assert "goes on from 0" in RunDirectory(services.directory(run)).log_tail()
    until(lambda: not job_of(hub).going)
    assert job_of(hub).stage == "COMPLETED" and list(hub.folder.iterdir()) == []
    assert not [path for path in hub.buckets["ann/rankloop"] if path.startswith("runs/")]  # all of it is here


@pytest.mark.slow
def test_a_job_killed_in_the_middle_fails_truly_and_resumes_from_its_checkpoint(services, campaign, hub, orders):
    (orders / "behaviour").write_text("wait")
    monitor, run = quick(services), start(services, campaign)
    checkpoint = services.directory(run) / "checkpoints" / "state.json"
    until(lambda: monitor.poll_once() or (checkpoint.exists() and json.loads(checkpoint.read_text()) == {"step": 2}))
    job_of(hub).die("ERROR", "Job failed with exit code: 137")
    assert monitor.wait(run.id).state == "failed"
    (orders / "go").touch()
    resume(services, runs.run(services.database, run.id), confirmed_cost=100.0)
    run = monitor.wait(run.id)
    assert run.state == "succeeded", run.reason
    assert versions.version(services.database, "reward-1").metrics == {"went_on_from": 2}
    assert losses(services, run) == [1.0, 0.5, 0.33, 0.25] and len(hub.jobs) == 2


@pytest.mark.slow
def test_a_restarted_space_finds_its_job_and_takes_in_all(services, campaign, hub, orders, tmp_path):
    (orders / "behaviour").write_text("wait")
    run = start(services, campaign)
    until_state(services, quick(services), run, "running")
    services.close()
    (orders / "go").touch()
    until(lambda: job_of(hub).stage == "COMPLETED")
    reopened = opened(tmp_path, backend_on(hub))
    assert quick(reopened).wait(run.id).state == "succeeded"
    assert losses(reopened, run) == [1.0, 0.5, 0.33, 0.25] and len(hub.jobs) == 1
    reopened.close()


@pytest.mark.slow
def test_a_cancel_saves_a_checkpoint_first(services, campaign, orders):
    (orders / "behaviour").write_text("wait")
    monitor, run = quick(services), start(services, campaign)
    until_state(services, monitor, run, "running")
    directory = RunDirectory(services.directory(run))
    directory.request_cancel()
    assert monitor.wait(run.id).state == "cancelled"
    assert directory.status()["phase"] == "cancelled" and (directory.checkpoints / "state.json").exists()


@pytest.mark.slow
def test_nothing_of_people_the_token_or_this_machine_reaches_the_job(services, campaign, hub, orders, tmp_path):
    (orders / "behaviour").write_text("spill")
    assert quick(services).wait(start(services, campaign).id).state == "succeeded"
    seen = (orders / "seen").read_bytes() + json.dumps(job_of(hub).spec | {"secrets": ""}).encode()
    assert b"'preference': 1.0" in seen and b"answer 1" in seen  # it is the run's data that was looked through
    for secret in ("alice-the-annotator", TOKEN, str(tmp_path / "data"), "journal", "rankloop.duckdb"):
        assert secret.encode() not in seen, secret


@pytest.mark.slow
def test_a_real_training_comes_back_as_an_adapter_on_the_base_here(hub, backend, tmp_path, tiny_policy_folder):
    made = opened(tmp_path, backend)
    base = ModelVersion("base", "policy", str(tiny_policy_folder))
    versions.register_version(made.database, base)
    campaign = add_campaign(made)
    add_tasks(made, campaign)
    rank_all(made)
    options = {"epochs": 1.0, "lora_rank": 2, "max_length": 64}
    run = quick(made).wait(start(made, campaign, options).id)
    assert run.state == "succeeded", run.reason
    folder = made.data / versions.version(made.database, "reward-1").path
    assert Path(base_of(folder)) == tiny_policy_folder.resolve()
    assert load_reward(folder, device="cpu") is not None and runs.metrics(made.database, run.id)
    made.close()


@pytest.mark.slow
def test_a_run_waits_for_a_hub_that_is_away(services, campaign, hub, orders):
    (orders / "behaviour").write_text("wait")
    monitor, run = quick(services), start(services, campaign)
    until_state(services, monitor, run, "running")
    hub.away = True
    until(lambda: monitor.poll_once() or run.id in services.heard)
    assert "hf-jobs" in services.heard[run.id].notice and "left as it is" in services.heard[run.id].notice
    (orders / "go").touch()
    hub.away = False
    assert monitor.wait(run.id).state == "succeeded"
    assert losses(services, run) == [1.0, 0.5, 0.33, 0.25]


# ---- what is asked of the service
def zip_code(root, target):
    with zipfile.ZipFile(target, "w") as archive:
        for path in [*sorted((root / "pipeline").glob("*.py")), root / "requirements.txt"]:
            archive.write(path, path.relative_to(root))


def directory_for(tmp_path, name="0001-reward"):
    """A run directory as launch leaves it."""
    config = {"kind": "reward", "models": {}, "sizes": {}, "options": {}}
    made = RunDirectory.create(tmp_path / "data" / "runs" / name, config)
    zip_code(ROOT, made.path / "code.zip")
    return made


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
