"""What a live run costs the server when many people watch it: RankLoop's event stream beside polling.

    python -m tests.benchmarks.viewers [--viewers 60] [--seconds 60] [--rounds 1] [--no-peer]

The real server (`python app.py`) follows a process that writes a metric row a second, its status and log lines, as a
training job does. Then, one after another in each round: nobody watches; everybody has the run's event stream open,
each as a lead of their own; everybody polls instead, as dashboards do: the run, and the metric rows that are new to
them, once a second. The watchers live in a process of their own (watchers.py). Figures are the server's processor time
in percent of one core, less what it used while nobody watched.

Prints one JSON object last. ratio: the peer's processor time over ours. Exits 1 if a watcher missed a row or a call
failed.
"""

import argparse
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import psutil

from pipeline.run_directory import RunDirectory, write_json
from pipeline.services import open_services
from storage import people, runs
from storage.campaigns import create_campaign
from tests.benchmarks.submit import free_port, session, wait_for
from ui.auth import COOKIE, Auth, secret_of

ROOT = Path(__file__).parents[2]
ROWS_A_SECOND = 1
METRICS = ("objective/kl", "objective/scores", "objective/rlhf_reward", "objective/entropy", "policy/clipfrac")
METRICS += ("policy/entropy", "value/loss", "value/explained_var", "lr", "len/mean", "len/eos_rate", "time/rollout")


class Watched:
    """A data folder with one run that goes on, the process that writes it, and a session for each watcher."""

    def __init__(self, viewers: int):
        self.folder = Path(tempfile.mkdtemp(prefix="viewers-"))
        (self.folder / "no-model").mkdir()
        (self.folder / "no-model" / "config.json").write_text('{"model_type": "llama"}')
        with closing(open_services(self.folder)) as services:
            campaign = create_campaign(services.database, "viewers")
            run = runs.create_run(services.database, "ppo", campaign.id, {"seed": 0})
            runs.set_state(services.database, run.id, "starting")
            self.run, directory = run.id, services.directory(run)
            auth = Auth(services, secret_of(self.folder))
            team = [people.create_person(services.database, f"lead {n}", "lead") for n in range(viewers)]
            self.cookies = [f"{COOKIE}={session(auth, person)}" for person in team]
        RunDirectory.create(directory, {"run": run.id, "kind": "ppo", "options": {}, "models": {}})
        command = [sys.executable, "-m", "tests.benchmarks.viewers", "--write", str(directory)]
        self.writer = subprocess.Popen(command, cwd=ROOT)
        started = psutil.Process(self.writer.pid).create_time()
        write_json(directory / "process.json", {"pid": self.writer.pid, "started": started})

    def serve(self, port: int) -> subprocess.Popen:
        """`python app.py`, as its users start it."""
        settings = {"RANKLOOP_DATA": self.folder, "RANKLOOP_PORT": port, "HF_HUB_OFFLINE": 1}
        settings |= {"RANKLOOP_BASE_MODEL": self.folder / "no-model", "GRADIO_ANALYTICS_ENABLED": "False"}
        environment = os.environ | {name: str(value) for name, value in settings.items()}
        with (self.folder / "app.log").open("a") as log:
            return subprocess.Popen([sys.executable, "app.py"], cwd=ROOT, env=environment, stdout=log, stderr=log)

    def close(self) -> None:
        """End the writer and remove the folder."""
        self.writer.terminate()
        self.writer.wait(30)
        shutil.rmtree(self.folder, ignore_errors=True)


def write(directory: Path) -> None:
    """What a training job does to its directory, once a second, until it is ended."""
    run, step = RunDirectory(directory), 0
    with run.log.open("a") as log:
        while True:
            step += 1
            run.append_metrics(step, {name: 1 / (step + k) for k, name in enumerate(METRICS)})
            run.write_status("running", step, 100_000, "training")
            print(f"{datetime.now(UTC).isoformat()} step {step}: the loss goes down", file=log, flush=True)
            time.sleep(1 / ROWS_A_SECOND)


def watched(setting: Watched, process: psutil.Process, port: int, way: str, seconds: float) -> dict:
    """The server's processor time in percent while everybody watches in one way ("" = nobody), and what they saw."""
    spec = {"port": port, "run": setting.run, "way": way, "seconds": seconds, "cookies": setting.cookies if way else []}
    path = setting.folder / "spec.json"
    path.write_text(json.dumps(spec))
    command = [sys.executable, "-m", "tests.benchmarks.watchers", str(path)]
    watchers = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    watchers.stdout.readline()  # they are connected; opening the connections is not what is measured
    before, started = cpu_seconds(process), time.perf_counter()
    watchers.stdout.readline()  # the time is over
    used = 100 * (cpu_seconds(process) - before) / (time.perf_counter() - started)
    return {"cpu": used, **json.loads(watchers.communicate()[0])}


def cpu_seconds(process: psutil.Process) -> float:
    times = process.cpu_times()
    return times.user + times.system


def measure(given: argparse.Namespace) -> dict[str, list[dict]]:
    """Every round's figures by way of watching."""
    setting, port = Watched(given.viewers), free_port()
    server = setting.serve(port)
    ways = ("", "events") if given.no_peer else ("", "events", "poll")
    found: dict[str, list[dict]] = {way: [] for way in ways}
    try:
        wait_for(f"http://127.0.0.1:{port}/healthz", server, setting.folder)
        process = psutil.Process(server.pid)
        time.sleep(3)
        for number in range(given.rounds):
            for way in ways:
                found[way].append(watched(setting, process, port, way, given.seconds))
                one = found[way][-1]
                print(f"round {number + 1}, {way or 'nobody'}: {one['cpu']:.2f} % of a core, {one}", file=sys.stderr)
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(60)
        setting.close()
    return found


def figures(found: dict[str, list[dict]], way: str) -> dict:
    """Medians of one way of watching; its cost is what it adds to the server that nobody watches."""
    costs = [one["cpu"] - idle["cpu"] for one, idle in zip(found[way], found[""], strict=True)]
    return {
        "cpu_percent": round(statistics.median(costs), 2),
        "cpu_percent_each": [round(cost, 2) for cost in costs],
        "rows": sum(one["rows"] for one in found[way]),
        "missed": sum(one["missed"] for one in found[way]),
        "errors": sum(len(one["errors"]) for one in found[way]),
        "error_texts": [text for one in found[way] for text in one["errors"]][:3],
        "lag_p95_ms": round(statistics.median(one["lag_p95_ms"] for one in found[way]), 1),
    }


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--viewers", type=int, default=60)
    parser.add_argument("--seconds", type=float, default=60, help="of each way of watching, in each round")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--no-peer", action="store_true", help="leave polling out")
    parser.add_argument("--write", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> int:
    """Measure in turns, print a table, and the JSON line last."""
    given = parse()
    if given.write:
        write(given.write)
    found = measure(given)
    ours, peer = figures(found, "events"), None if given.no_peer else figures(found, "poll")
    idle = round(statistics.median(one["cpu"] for one in found[""]), 2)
    print(
        f"{given.viewers} watchers, {given.seconds:.0f} s each way, rounds: {given.rounds}; nobody: {idle} % of a core"
    )
    for name in ours:
        print(f"{name:<18}{ours[name]!s:>26}{(peer or {}).get(name, '')!s:>26}")
    ratio = round(peer["cpu_percent"] / max(0.01, ours["cpu_percent"]), 2) if peer else None
    told = {"name": "viewers", "ratio": ratio, "ours": ours, "peer": peer, "idle_cpu_percent": idle}
    print(json.dumps(told | {"viewers": given.viewers, "seconds": given.seconds, "rounds": given.rounds}))
    return 1 if any(one["missed"] or one["errors"] for one in (ours, peer) if one) else 0


if __name__ == "__main__":
    sys.exit(main())
