"""Kill the app with SIGKILL at random moments while annotators submit over HTTP; lose nothing, store nothing twice.

    python -m tests.kill_app --rounds 20

Each round starts the app on the same data folder, lets eight annotators claim and submit, kills the app after a
random time, and starts it again. An annotator repeats a submission under the same key until it is acknowledged.
At the end every acknowledged key stands in storage once. Prints one JSON object last; exits 1 if anything is wrong.
It kills the app, not a job: `tests/test_loop.py` and the monitor's tests follow runs over a restart.
"""

import argparse
import json
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections import Counter
from pathlib import Path

import httpx

from storage import api_keys, people, rankings
from storage.database import Database
from tests.conftest import make_campaign

ROOT = Path(__file__).parent.parent
TASKS, ANNOTATORS, OVERLAP = 4000, 8, 2


def seed(folder: Path) -> list[str]:
    """A campaign with open tasks and one key per annotator."""
    database = Database(folder)
    make_campaign(database, "kill", tasks=TASKS, overlap=OVERLAP)
    keys = []
    for n in range(ANNOTATORS):
        person = people.create_person(database, f"annotator {n}", "annotator")
        keys.append(api_keys.create_api_key(database, person.id, "kill"))
    database.close()
    return keys


class Annotator(threading.Thread):
    """Claims and submits until told to stop; keeps the keys the server acknowledged."""

    def __init__(self, url: str, key: str, stop: threading.Event, seed: int):
        super().__init__(daemon=True)
        self.client = httpx.Client(base_url=url, headers={"authorization": f"Bearer {key}"}, timeout=10)
        self.stop, self.random = stop, random.Random(seed)
        self.acknowledged: list[str] = []
        self.refused: list[str] = []

    def run(self):
        while not self.stop.is_set():
            task = self.patiently("/api/v1/tasks/claim", {"campaign": "kill"})
            if task is not None:
                self.answer(task.json())

    def answer(self, task: dict) -> None:
        letters = [completion["letter"] for completion in task["completions"]]
        self.random.shuffle(letters)
        body = {
            "submission_id": uuid.uuid4().hex,
            "assignment": task["assignment"],
            "kind": "ranking",
            "tiers": [[letter] for letter in letters],
            "seconds": 1.0,
        }
        reply = self.patiently("/api/v1/rankings", body)
        if reply is not None:
            self.acknowledged.append(body["submission_id"])

    def patiently(self, path: str, body: dict) -> httpx.Response | None:
        """The same request again until the server answers it; None once told to stop or nothing is left."""
        while not self.stop.is_set():
            try:
                reply = self.client.post(path, json=body)
            except httpx.HTTPError:
                time.sleep(0.1)
                continue
            if reply.status_code in (200, 201):
                return reply
            if reply.status_code != 204 and reply.status_code < 500:
                self.refused.append(f"{path} {reply.status_code} {reply.text[:200]}")
            time.sleep(0.1)
            if reply.status_code == 204 or reply.status_code < 500:
                return None
        return None


def start(folder: Path, port: int) -> subprocess.Popen:
    """The app on this folder, once it answers."""
    model = folder / "no-model-needed"
    environment = {
        **os.environ,
        "RANKLOOP_DATA": str(folder),
        "RANKLOOP_PORT": str(port),
        "RANKLOOP_BASE_MODEL": str(model),
        "HF_HUB_OFFLINE": "1",
        "GRADIO_ANALYTICS_ENABLED": "False",
    }
    with (folder / "app.log").open("a") as log:
        process = subprocess.Popen([sys.executable, "app.py"], cwd=ROOT, env=environment, stdout=log, stderr=log)
    for _ in range(600):
        try:
            if httpx.get(f"http://127.0.0.1:{port}/healthz", timeout=2).status_code == 200:
                return process
        except httpx.HTTPError:
            pass
        if process.poll() is not None:
            break
        time.sleep(0.1)
    raise SystemExit(f"the app did not start:\n{(folder / 'app.log').read_text()[-4000:]}")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def verdict(folder: Path, annotators: list[Annotator]) -> dict:
    """What storage holds against what was acknowledged."""
    acknowledged = [key for annotator in annotators for key in annotator.acknowledged]
    database = Database(folder)
    answers = rankings.answers(database)
    stored = Counter(answer.submission_id for answer in answers)
    counted = Counter(answer.task_id for answer in answers if answer.status == "counted")
    twice = Counter((answer.task_id, answer.person_id) for answer in answers)
    database.close()
    return {
        "acknowledged": len(acknowledged),
        "stored": len(answers),
        "lost": sum(1 for key in acknowledged if key not in stored),
        "stored_twice": sum(n > 1 for n in stored.values()) + sum(n > 1 for n in twice.values()),
        "over_overlap": sum(n > OVERLAP for n in counted.values()),
        "refused": sorted({text for annotator in annotators for text in annotator.refused})[:5],
    }


def kill_repeatedly(rounds: int, folder: Path, seed_value: int = 0) -> dict:
    """Run the rounds on an empty folder and return the verdict."""
    chance, stop, port = random.Random(seed_value), threading.Event(), free_port()
    (folder / "no-model-needed").mkdir(parents=True)
    (folder / "no-model-needed" / "config.json").write_text('{"model_type": "llama"}')
    annotators = [Annotator(f"http://127.0.0.1:{port}", key, stop, number) for number, key in enumerate(seed(folder))]
    for annotator in annotators:
        annotator.start()
    for number in range(rounds):
        process = start(folder, port)
        time.sleep(chance.uniform(0.2, 3.0))
        process.send_signal(signal.SIGKILL)
        process.wait()
        print(f"round {number + 1}: {sum(len(a.acknowledged) for a in annotators)} acknowledged", file=sys.stderr)
    process = start(folder, port)
    time.sleep(2)
    stop.set()
    for annotator in annotators:
        annotator.join(15)
    process.send_signal(signal.SIGTERM)
    process.wait(30)
    return {"rounds": rounds, **verdict(folder, annotators)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        result = kill_repeatedly(options.rounds, Path(folder), options.seed)
    print(json.dumps(result))
    sound = result["acknowledged"] and not any(result[k] for k in ("lost", "stored_twice", "over_overlap", "refused"))
    sys.exit(0 if sound else 1)


if __name__ == "__main__":
    main()
