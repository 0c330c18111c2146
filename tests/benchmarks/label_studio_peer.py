"""Label Studio as a peer: installed once into an environment of its own, seeded once, served from a copy of the seed.

Open source edition from PyPI with SQLite, started as its own command does. Needs the network the first time only. The
environment is kept in ~/.cache/rankloop-benchmarks (or where RANKLOOP_BENCHMARKS says).
"""

import hashlib
import json
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

CACHE = Path(os.environ.get("RANKLOOP_BENCHMARKS", Path.home() / ".cache" / "rankloop-benchmarks"))
SEED_SCRIPT = Path(__file__).with_name("label_studio_seed.py")
QUIET = {"LABEL_STUDIO_COLLECT_ANALYTICS": "0", "LABEL_STUDIO_LATEST_VERSION_CHECK": "0"}


class NotInstalled(RuntimeError):
    """pip could not install it; the text is what pip said last."""


def installed() -> Path:
    """The folder of its commands, in an environment made at the first call. Raises NotInstalled."""
    commands = CACHE / "label-studio" / "bin"
    if (commands / "label-studio").exists():
        return commands
    CACHE.mkdir(parents=True, exist_ok=True)
    subprocess.run([sys.executable, "-m", "venv", str(commands.parent)], check=True)
    done = subprocess.run([commands / "pip", "install", "-q", "label-studio"], capture_output=True, text=True)
    if done.returncode != 0:
        raise NotInstalled(f"pip install label-studio: {' '.join(done.stderr.split()[-60:])}")
    return commands


def version(commands: Path) -> str:
    """The installed version."""
    asked = [commands / "python", "-c", "import importlib.metadata as m; print(m.version('label-studio'))"]
    return subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip()


def seeded(commands: Path, tasks: Sequence[dict], annotators: int, overlap: int) -> tuple[Path, dict]:
    """A data folder with this project, made at the first call for it, and {"project", "tokens"}."""
    text = json.dumps([list(tasks), annotators, overlap, version(commands), SEED_SCRIPT.read_text()])
    folder = CACHE / f"seed-{hashlib.sha256(text.encode()).hexdigest()[:12]}"
    if not (folder / "made.json").exists():
        shutil.rmtree(folder, ignore_errors=True)
        (folder / "data").mkdir(parents=True)
        (folder / "tasks.json").write_text(json.dumps(list(tasks)))
        command = [commands / "python", SEED_SCRIPT, folder / "tasks.json", str(annotators), str(overlap)]
        done = subprocess.run(command, env=environment(folder / "data"), capture_output=True, text=True)
        if done.returncode != 0:
            raise RuntimeError(f"Label Studio could not be seeded:\n{done.stderr[-3000:]}")
        (folder / "made.json").write_text(done.stdout.strip().splitlines()[-1])
    return folder / "data", json.loads((folder / "made.json").read_text())


def start(commands: Path, data: Path, port: int) -> subprocess.Popen:
    """The server on this data folder, as `label-studio start` runs it."""
    command = [commands / "label-studio", "start", "--no-browser", "--port", str(port)]
    command += ["--internal-host", "127.0.0.1", "--log-level", "ERROR"]
    with (data / "server.log").open("a") as log:
        return subprocess.Popen(command, cwd=data, env=environment(data), stdout=log, stderr=log)


def environment(data: Path) -> dict[str, str]:
    """Its settings: the data folder, and no telemetry."""
    return {**os.environ, **QUIET, "LABEL_STUDIO_BASE_DATA_DIR": str(data)}


def stored(data: Path) -> dict[str, int]:
    """How many annotations its database holds, how many were made twice by one person, and the most of one task."""
    with sqlite3.connect(data / "label_studio.sqlite3") as connection:
        rows = connection.execute("SELECT task_id, completed_by_id FROM task_completion").fetchall()
    per_task: dict[int, int] = {}
    for task_id, _ in rows:
        per_task[task_id] = per_task.get(task_id, 0) + 1
    return {
        "stored": len(rows),
        "stored_twice": len(rows) - len(set(rows)),
        "most_of_a_task": max(per_task.values(), default=0),
    }
