"""What `tests/chaos.py` kills: a data folder with a tiny model and ranked prompts, the app on it, and its runs.

The folder is made once and copied for each round. The app is the real one (`python app.py`) or, to be quick, the
same without its pages (`tests/chaos_app.py`); both are spoken to over HTTP.
"""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import httpx
import psutil

from pipeline.launch import launch
from pipeline.monitor import Monitor
from pipeline.services import open_services
from storage import api_keys, campaigns, completions, people, prompts, rankings, tasks, versions
from storage.records import Message, ModelVersion, Prompt, Submission
from tests.pipeline.conftest import TEXTS, tiny_model, tiny_tokenizer

ROOT = Path(__file__).resolve().parent.parent
TRAIN, EVAL = 30, 14  # prompts: enough held-out groups for a reward model to keep its best pass, three pieces
SECONDS = 240  # that a run or a start of the app may take on a busy machine
OPTIONS = {  # small, and with several checkpoints each
    "dpo": {"seed": 3, "epochs": 2, "groups_per_step": 10, "learning_rate": 1e-3},
    "reward": {"seed": 3, "epochs": 3, "groups_per_step": 10},
    "ppo": {"seed": 3, "episodes": 24, "batch_size": 8, "epochs": 1, "minibatches": 1, "max_new_tokens": 6,
            "checkpoint_every": 1, "sample_every": 2, "critic_warmup": 0, "learning_rate": 1e-3},
    "generate": {"seed": 3, "k": 2, "max_new_tokens": 6},
}  # fmt: skip


def make_template(folder: Path) -> str:
    """A data folder in folder/data and a base model beside it, ready for every kind of run; returns an API key."""
    base = folder / "tiny"
    tokenizer = tiny_tokenizer()
    tiny_model(tokenizer).save_pretrained(base)
    tokenizer.save_pretrained(base)
    services = open_services(folder / "data", str(base))
    versions.register_version(services.database, ModelVersion("tiny", "policy", str(base.resolve())))
    campaign = ranked_campaign(services)
    lead = people.create_person(services.database, "lead", "lead")
    key = api_keys.create_api_key(services.database, lead.id, "chaos")
    ended = Monitor(services, interval=0.2).wait(launch(services, "reward", campaign.id, OPTIONS["reward"]).id)
    services.close()
    if ended.state != "succeeded":
        raise SystemExit(f"the template's reward model could not be made: {ended.reason}")
    return key


def ranked_campaign(services):
    """One task per prompt, three completions each, ranked by one person: the shorter the better."""
    made = campaigns.create_campaign(services.database, "chaos", overlap=1)
    asked = []
    for number in range(TRAIN + EVAL):
        messages = (Message("user", f"{TEXTS[number % len(TEXTS)]} Question {number}?"),)
        split = "train" if number < TRAIN else "eval"
        asked.append(Prompt(prompts.prompt_id_of(messages), messages, split))
    prompts.add_prompts(services.database, made.id, asked)
    texts = ["The fox was happy.", "Cut the onion and stir for ten minutes.", "Sorry, I do not know. Thank you."]
    rows = [(one.id, "outside", f"{text} {n}", {}) for n, one in enumerate(asked) for text in texts]
    ids = completions.add_completions(services.database, rows)
    sets = [(one.id, ids[3 * n : 3 * n + 3]) for n, one in enumerate(asked)]
    services.pool.learn(tasks.open_tasks(services.database, made.id, sets))
    person = people.find_or_create(services.database, "ann", "person")
    while assignment := services.pool.claim(person.id):
        tiers = tuple((completion_id,) for completion_id in sorted(assignment.shown))
        submission = Submission(f"ann-{assignment.task_id:08d}", assignment.id, "ranking", tiers)
        rankings.submit(services.database, services.pool, person.id, submission)
    return made


def copy_of(template: Path, folder: Path) -> Path:
    """A data folder like the template's."""
    shutil.copytree(template / "data", folder)
    return folder


class App:
    """The app on one folder: started, spoken to, killed, started again."""

    def __init__(self, folder: Path, base: Path, key: str, plan: dict | None = None, pages: bool = False):
        self.folder, self.plan_file = folder, folder.parent / f"{folder.name}.plan"
        self.command = [sys.executable, "app.py"] if pages else [sys.executable, "-m", "tests.chaos_app"]
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        if plan:
            self.plan_file.write_text(json.dumps(plan))
        self.environment = {
            **os.environ,
            "RANKLOOP_DATA": str(folder),
            "RANKLOOP_PORT": str(self.port),
            "RANKLOOP_BASE_MODEL": str(base),
            "RANKLOOP_CHAOS": str(self.plan_file),
            "PYTHONPATH": str(ROOT / "tests" / "chaos_points"),
            "OMP_NUM_THREADS": "1",
            "HF_HUB_OFFLINE": "1",
            "GRADIO_ANALYTICS_ENABLED": "False",
        }
        headers = {"authorization": f"Bearer {key}"}
        self.client = httpx.Client(base_url=f"http://127.0.0.1:{self.port}/api/v1", headers=headers, timeout=60)
        self.process: subprocess.Popen | None = None

    @property
    def alive(self) -> bool:
        return self.process is not None and self.process.poll() is None

    @property
    def fired(self) -> dict | None:
        """What the plan has done, None while it has done nothing."""
        note = Path(f"{self.plan_file}.fired")
        return json.loads(note.read_text()) if note.exists() else None

    def start(self) -> bool:
        """Start, and wait until it answers; False where it died before."""
        with (self.folder / "app.log").open("a") as log:
            self.process = subprocess.Popen(self.command, cwd=ROOT, env=self.environment, stdout=log, stderr=log)
        deadline = time.monotonic() + SECONDS
        while self.alive and time.monotonic() < deadline:
            try:
                if self.client.get("/runs").status_code == 200:
                    return True
            except httpx.HTTPError:
                time.sleep(0.1)
        return False

    def ask(self, method: str, path: str, **values) -> httpx.Response | None:
        """None where the app died instead of answering."""
        try:
            return self.client.request(method, path, **values)
        except httpx.HTTPError:
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(5)  # a process that is being killed may take a moment
            if self.alive:
                raise
            return None

    def launch(self, kind: str) -> str | None:
        """The id of a new run of the kind; None where the app died meanwhile."""
        reply = self.ask("POST", "/runs", json={"kind": kind, "campaign": "chaos", "options": OPTIONS[kind]})
        if reply is not None and reply.status_code != 201:
            raise AssertionError(f"the app refused a run: {reply.status_code} {reply.text}")
        return reply.json()["run"] if reply is not None else None

    def newest(self) -> dict | None:
        """The newest run that is not the template's."""
        found = self.ask("GET", "/runs", params={"limit": 1})
        told = found.json() if found is not None else []
        return told[0] if told and told[0]["run"] != "0001-reward" else None

    def job(self) -> psutil.Process | None:
        """The live process of the newest run's job."""
        for path in sorted((self.folder / "runs").glob("[0-9]*"), reverse=True):
            for process in psutil.process_iter(["cmdline"]):
                words = process.info["cmdline"] or []
                if words and words[-1] == str(path) and process.status() != psutil.STATUS_ZOMBIE:
                    return process
        return None

    def kill(self, victims: list[str]) -> None:
        """SIGKILL from outside."""
        if "job" in victims and (job := self.job()) is not None:
            job.send_signal(signal.SIGKILL)
        if "app" in victims and self.alive:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()

    def leave(self) -> int:
        """End it as a host does; its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(SECONDS)

    def said(self) -> str:
        return (self.folder / "app.log").read_text()[-3000:]
