"""How fast a ranking is saved and the next task comes, with many annotators at work: RankLoop beside Label Studio.

    python -m tests.benchmarks.submit [--annotators 100] [--seconds 60] [--think 2] [--rounds 2] [--tasks 4000]
        [--no-peer]

Each server runs in a process of its own on fresh data, the load generator (load.py) in another; the arms run in turns.
Both do the same work: one stored answer and the next task, for people who are signed in. Ours is one call, which
returns once the answer is on the disk; Label Studio's is two, as its page makes them. Measured with the pause of a
person between answers, and without one. Afterwards the database must hold every acknowledged answer once.

Prints one JSON object last. ratio: the peer's p95 over ours, with the pause; ratio_throughput: our submits per second
over the peer's without it. Exits 1 if an answer of ours was lost, doubled or over the overlap, or any call failed.
"""

import argparse
import json
import os
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from contextlib import closing
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response

from pipeline.services import open_services
from storage import people, rankings
from storage.campaigns import create_campaign
from storage.completions import add_completions
from storage.database import Database
from storage.prompts import add_prompts
from storage.records import Message, Prompt
from storage.tasks import open_tasks
from tests.benchmarks import label_studio_peer as label_studio
from ui.auth import COOKIE, Auth, secret_of

ROOT = Path(__file__).parents[2]
OVERLAP, COMPLETIONS = 3, 4
SENTENCE = "The **river** was high that spring, and the mill at its bend stood `still` for nine days. "
FIGURES = ("p50_ms", "p95_ms", "p99_ms", "submits_per_s", "server_cpu", "server_rss_mb", "lag_p95_ms", "load_cpu")


def text(task: int, completion: int) -> str:
    """About a hundred words with some Markdown, no two alike."""
    return f"Answer {completion} to question {task}.\n\n" + SENTENCE * 5 + f"\n\n- {task}\n- {completion}"


class OurServer:
    """RankLoop on a fresh folder: a campaign, and a session cookie for each annotator."""

    name = "rankloop"

    def __init__(self, tasks: int, annotators: int):
        self.folder = Path(tempfile.mkdtemp(prefix="submit-"))
        (self.folder / "no-model").mkdir()
        (self.folder / "no-model" / "config.json").write_text('{"model_type": "llama"}')
        with closing(open_services(self.folder)) as services:
            database = services.database
            campaign = create_campaign(database, "submit", overlap=OVERLAP)
            names = [f"q{n}" for n in range(tasks)]
            asked = [
                Prompt(name, (Message("user", f"Question {name}: what happened at the mill?"),), "train")
                for name in names
            ]
            add_prompts(database, campaign.id, asked)
            rows = [(name, f"m{c % 2}", text(n, c), {}) for n, name in enumerate(names) for c in range(COMPLETIONS)]
            ids = add_completions(database, rows)
            sets = [(name, ids[COMPLETIONS * n : COMPLETIONS * (n + 1)]) for n, name in enumerate(names)]
            open_tasks(database, campaign.id, sets)
            auth = Auth(services, secret_of(self.folder))
            team = [people.create_person(database, f"annotator {n}", "annotator") for n in range(annotators)]
            self.headers = [{"Cookie": f"{COOKIE}={session(auth, person)}"} for person in team]
        self.spec = {}

    def start(self, port: int) -> subprocess.Popen:
        """`python app.py`, as its users start it."""
        settings = {
            "RANKLOOP_DATA": self.folder,
            "RANKLOOP_PORT": port,
            "RANKLOOP_BASE_MODEL": self.folder / "no-model",
        }
        settings |= {"HF_HUB_OFFLINE": 1, "GRADIO_ANALYTICS_ENABLED": "False"}
        environment = os.environ | {name: str(value) for name, value in settings.items()}
        with (self.folder / "app.log").open("a") as log:
            return subprocess.Popen([sys.executable, "app.py"], cwd=ROOT, env=environment, stdout=log, stderr=log)

    def verdict(self, acknowledged: list[str]) -> dict:
        """What storage holds against what was acknowledged."""
        with Database(self.folder) as database:
            answers = rankings.answers(database)
        stored = Counter(answer.submission_id for answer in answers)
        per_person = Counter((answer.task_id, answer.person_id) for answer in answers)
        counted = Counter(answer.task_id for answer in answers if answer.status == "counted")
        return {
            "acknowledged": len(acknowledged),
            "stored": len(answers),
            "lost": sum(stored[key] != 1 for key in acknowledged),
            "stored_twice": sum(n > 1 for n in per_person.values()),
            "over_overlap": sum(n > OVERLAP for n in counted.values()),
        }

    health = "/healthz"


def session(auth: Auth, person) -> str:
    """The value of a session cookie, as signing in gives it."""
    scope = {"type": "http", "method": "GET", "path": "/", "headers": [], "scheme": "http", "query_string": b""}
    made = auth.sign_in(Response(), Request(scope), person)
    return made.headers["set-cookie"].split(";")[0].partition("=")[2]


class PeerServer:
    """Label Studio on a fresh copy of its seed."""

    name, health = "label-studio", "/health"

    def __init__(self, tasks: int, annotators: int):
        self.commands = label_studio.installed()
        ours = [{"id": letter, "title": letter} for letter in "abcd"]
        data = [
            {
                "prompt": f"Question q{n}: what happened at the mill?",
                "items": [item | {"body": text(n, c)} for c, item in enumerate(ours)],
            }
            for n in range(tasks)
        ]
        seed, made = label_studio.seeded(self.commands, data, annotators, OVERLAP)
        self.folder = Path(tempfile.mkdtemp(prefix="peer-"))
        shutil.copytree(seed, self.folder, dirs_exist_ok=True)
        self.headers = [{"Authorization": f"Token {token}"} for token in made["tokens"]]
        self.spec = {"project": made["project"]}

    def start(self, port: int) -> subprocess.Popen:
        """Its own start command."""
        return label_studio.start(self.commands, self.folder, port)

    def verdict(self, acknowledged: list[str]) -> dict:
        """What its database holds."""
        found = label_studio.stored(self.folder)
        return {"acknowledged": len(acknowledged), **found, "lost": max(0, len(acknowledged) - found["stored"])}


def measure(kind: type, given: argparse.Namespace) -> dict[str, dict]:
    """One server from start to end: figures with the pause and without, and the verdict on what it stored."""
    server = kind(given.tasks, given.annotators)
    port = free_port()
    process = server.start(port)
    try:
        wait_for(f"http://127.0.0.1:{port}{server.health}", process, server.folder)
        loads = {}
        for name, seconds, think in (("think", given.seconds, given.think), ("flood", given.flood_seconds, 0.0)):
            loads[name] = load(server, process.pid, port, seconds, think)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)
    acknowledged = [key for one in loads.values() for key in one.pop("acknowledged")]
    loads["verdict"] = server.verdict(acknowledged)
    shutil.rmtree(server.folder, ignore_errors=True)
    return loads


def load(server: OurServer | PeerServer, pid: int, port: int, seconds: float, think: float) -> dict:
    """The generator against the running server; its figures, and what the server used."""
    spec = {"server": server.name, "host": "127.0.0.1", "port": port, "seconds": seconds, "think": think}
    path = server.folder / "spec.json"
    path.write_text(json.dumps(spec | server.spec | {"annotators": server.headers}))
    before, started = cpu_seconds(pid), time.perf_counter()
    command = [sys.executable, "-m", "tests.benchmarks.load", str(path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    passed = time.perf_counter() - started
    found = json.loads(done.stdout)
    cuts = statistics.quantiles(found["milliseconds"], n=100) if len(found["milliseconds"]) > 1 else [float("nan")] * 99
    return {
        "p50_ms": cuts[49],
        "p95_ms": cuts[94],
        "p99_ms": cuts[98],
        "submits_per_s": len(found["milliseconds"]) / found["seconds"],
        "submits": len(found["milliseconds"]),
        "errors": len(found["errors"]),
        "error_texts": Counter(found["errors"]).most_common(3),
        "server_cpu": (cpu_seconds(pid) - before) / passed,
        "server_rss_mb": rss_mb(pid),
        "lag_p95_ms": statistics.quantiles(found["lags"], n=20)[18],
        "load_cpu": found["cpu"] / passed,
        "acknowledged": found["acknowledged"],
    }


def cpu_seconds(pid: int) -> float:
    """What a process has used of the processors so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def rss_mb(pid: int) -> float:
    """The memory that a process holds."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1024


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for(url: str, process: subprocess.Popen, folder: Path, seconds: float = 120) -> None:
    """Until the server answers; raises SystemExit with its log if it does not."""
    until = time.monotonic() + seconds
    while time.monotonic() < until and process.poll() is None:
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except OSError:
            time.sleep(0.2)
    logs = "\n".join(path.read_text()[-3000:] for path in folder.glob("*.log"))
    raise SystemExit(f"{url} does not answer:\n{logs}")


def medians(rounds: list[dict[str, dict]]) -> dict:
    """The median of each figure with the pause, and of the throughput without; errors and verdicts added up."""
    figures = {name: round(statistics.median(one["think"][name] for one in rounds), 2) for name in FIGURES}
    for name in ("submits_per_s", "p95_ms", "server_cpu"):
        figures[f"flood_{name}"] = round(statistics.median(one["flood"][name] for one in rounds), 2)
    figures["errors"] = sum(one[load]["errors"] for one in rounds for load in ("think", "flood"))
    figures["error_texts"] = [
        text for one in rounds for load in ("think", "flood") for text in one[load]["error_texts"]
    ][:3]
    for one in rounds:
        for name, value in one["verdict"].items():
            figures[name] = (
                max(figures.get(name, 0), value) if name == "most_of_a_task" else figures.get(name, 0) + value
            )
    return figures


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--annotators", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--think", type=float, default=2, help="mean pause before an answer, in seconds")
    parser.add_argument("--flood-seconds", type=float, default=15, help="seconds of the part without a pause")
    parser.add_argument("--tasks", type=int, default=4000)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--no-peer", action="store_true", help="leave Label Studio out")
    return parser.parse_args()


def main() -> int:
    """Measure in turns, print a table, and the JSON line last."""
    given = parse()
    kinds = [OurServer] if given.no_peer else [OurServer, PeerServer]
    rounds: dict[str, list] = {kind.name: [] for kind in kinds}
    for number in range(given.rounds):
        for kind in kinds:
            rounds[kind.name].append(measure(kind, given))
            print(f"round {number + 1}, {kind.name}: {summary(rounds[kind.name][-1])}", file=sys.stderr)
    found = {name: medians(ones) for name, ones in rounds.items()}
    print(f"{given.annotators} annotators, {given.think} s think time; load average {os.getloadavg()[0]:.2f}")
    for name in next(iter(found.values())):
        print(f"{name:<22}", *(f"{found[arm].get(name, '')!s:>20}" for arm in found))
    ours, peer = found["rankloop"], found.get("label-studio")
    ratio = {"ratio": None, "ratio_throughput": None}
    if peer:
        ratio = {
            "ratio": round(peer["p95_ms"] / ours["p95_ms"], 2),
            "ratio_throughput": round(ours["flood_submits_per_s"] / peer["flood_submits_per_s"], 2),
        }
    version = None if given.no_peer else label_studio.version(label_studio.installed())
    print(json.dumps({"name": "submit", **ratio, "ours": ours, "peer": peer, "peer_version": version}))
    return 1 if any(ours[name] for name in ("errors", "lost", "stored_twice", "over_overlap")) else 0


def summary(one: dict[str, dict]) -> str:
    """A round in one line."""
    think, flood = one["think"], one["flood"]
    return (
        f"p95 {think['p95_ms']:.1f} ms at {think['submits_per_s']:.1f}/s, "
        f"without pause {flood['submits_per_s']:.1f}/s, "
        f"errors {think['errors']} + {flood['errors']}, {one['verdict']}"
    )


if __name__ == "__main__":
    sys.exit(main())
