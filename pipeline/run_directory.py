"""The contract between the app and a job: one directory per run, and who writes what into it.

    config.json     by launch: kind, options, models, seed, data_hash
    code.zip        by launch: pipeline/ as it was
    data/           by snapshot: Parquet files
    agreed.json     by launch, where the run costs something: what somebody agreed to pay, and what attempts used of it
    process.json    by the backend: pid and start time of the job's process
    exit.json       by the backend, while the app lives: how that process ended
    remote.json     by a remote backend: where the run's pieces lie, and what of them is here
    metrics.jsonl   by the job, appended and flushed: one object per line, with "step"
    status.json     by the job, replaced atomically: phase, step, total, message; heartbeat, seconds since it started,
                    and the first step of this attempt with its seconds
    log.txt         stdout and stderr of the job
    accelerate.json by the backend, for several processes: how they are launched
    cancel          by the app: its presence asks the job to save a checkpoint and end; holds why, "" = a person asked
    checkpoints/    by the job
    artifacts/      by the job: the model, tables
    error.json      by a job that failed: one sentence and the kind of error
    result.json     by the job, last, by rename: its presence means success

Imports neither torch nor storage: both sides of the contract use it.
"""

import json
import os
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import BinaryIO

BEGUN = time.monotonic()  # of this process, for the seconds in its status
MISLEADING = ("cancel", "error.json", "process.json", "exit.json", "status.json")  # what an ended attempt leaves
PHASES = ("starting", "running", "finishing", "succeeded", "failed", "cancelled")


def write_json(path: Path, value: Mapping) -> None:
    """Replace a JSON file so that a reader sees the old or the new one, never half."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with temporary.open("w", encoding="utf-8") as file:
        json.dump(value, file, ensure_ascii=False, indent=1, default=str)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def read_json(path: Path) -> dict | None:
    """The file's object; None where there is none (yet), or where it is torn or holds anything else."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


class RunDirectory:
    """Reads and writes one run directory; holds no state but the path and, in a job, the status it last wrote."""

    def __init__(self, path: str | Path):
        self.path = Path(path)
        self._told: dict | None = None
        self._first: dict = {}
        self._telling = threading.Lock()

    @classmethod
    def create(cls, path: str | Path, config: Mapping) -> "RunDirectory":
        """Make the directory with its config; refuse one that exists."""
        run = cls(path)
        run.path.mkdir(parents=True)
        for name in ("data", "checkpoints", "artifacts"):
            (run.path / name).mkdir()
        write_json(run.path / "config.json", config)
        return run

    @property
    def data(self) -> Path:
        return self.path / "data"

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def artifacts(self) -> Path:
        return self.path / "artifacts"

    @property
    def model(self) -> Path:
        """Where a job that makes a model leaves it, in Hugging Face format."""
        return self.artifacts / "model"

    @property
    def log(self) -> Path:
        return self.path / "log.txt"

    # ---- app side
    def config(self) -> dict:
        return json.loads((self.path / "config.json").read_text(encoding="utf-8"))

    def status(self) -> dict | None:
        return read_json(self.path / "status.json")

    def result(self) -> dict | None:
        return read_json(self.path / "result.json")

    def error(self) -> dict | None:
        return read_json(self.path / "error.json")

    def request_cancel(self, reason: str = "") -> None:
        """Ask the job to end. reason: the limit that was reached, as a sentence; "" where a person asks."""
        with (self.path / "cancel").open("a", encoding="utf-8") as file:
            file.write(reason)

    def cancel_reason(self) -> str:
        """Why it was asked to end; "" where a person asked, or nobody."""
        try:
            return (self.path / "cancel").read_text(encoding="utf-8")
        except FileNotFoundError:
            return ""

    def forget_ending(self, keep: tuple[str, ...] = ()) -> None:
        """Remove what an ended attempt left and would mislead the next one; checkpoints stay."""
        for name in MISLEADING:
            if name not in keep:
                (self.path / name).unlink(missing_ok=True)

    def metrics(self, offset: int = 0) -> tuple[list[dict], int]:
        """Whole metric lines from a byte offset, and the offset after them; a torn last line waits."""
        try:
            with (self.path / "metrics.jsonl").open("rb") as file:
                file.seek(offset)
                chunk = file.read()
        except FileNotFoundError:
            return [], offset
        whole = chunk.rfind(b"\n") + 1
        return list(_objects(chunk[:whole])), offset + whole

    def log_tail(self, lines: int = 40) -> str:
        """The last lines of the log, at most 64 KiB of it."""
        try:
            with self.log.open("rb") as file:
                file.seek(0, os.SEEK_END)
                file.seek(max(0, file.tell() - 65_536))
                text = file.read().decode("utf-8", errors="replace")
        except FileNotFoundError:
            return ""
        return "\n".join(text.splitlines()[-lines:])

    # ---- job side
    def append_metrics(self, step: int, values: Mapping[str, object]) -> None:
        """Append one line of metrics; numbers by their usual names, or short texts such as samples.

        After a line that a killed job or a full disk tore, this one begins anew.
        """
        line = json.dumps({"step": step, "time": time.time(), **values}, ensure_ascii=False, default=float) + "\n"
        with (self.path / "metrics.jsonl").open("a+b") as file:
            file.write((b"\n" if _torn(file) else b"") + line.encode("utf-8", errors="replace"))

    def write_status(self, phase: str, step: int = 0, total: int = 0, message: str = "") -> None:
        """Say where the job stands; `heartbeat` is the wall clock of this call."""
        if phase not in PHASES:
            raise ValueError(f"phase: found {phase!r}, expected one of {', '.join(PHASES)}")
        with self._telling:
            if phase == "running" and step > 0 and not self._first:
                self._first = {"first": step, "first_seconds": _seconds()}
            self._told = {"phase": phase, "step": step, "total": total, "message": message, **self._first}
            self._write_told()

    def beat(self) -> None:
        """Say that the process lives, and nothing new otherwise; before the first status, nothing."""
        with self._telling:
            if self._told is not None:
                self._write_told()

    def _write_told(self) -> None:
        write_json(self.path / "status.json", {**self._told, "heartbeat": time.time(), "seconds": _seconds()})

    def cancel_requested(self) -> bool:
        return (self.path / "cancel").exists()

    def fail(self, kind: str, message: str) -> None:
        write_json(self.path / "error.json", {"kind": kind, "message": message})

    def finish(self, result: Mapping) -> None:
        """Write the result, which makes the run a success. Nothing may be written after it."""
        write_json(self.path / "result.json", result)


def _seconds() -> float:
    return round(time.monotonic() - BEGUN, 1)


def _torn(file: BinaryIO) -> bool:
    """Whether the file ends within a line."""
    if not file.seek(0, os.SEEK_END):
        return False
    file.seek(-1, os.SEEK_END)
    return file.read(1) != b"\n"


def _objects(chunk: bytes) -> Iterator[dict]:
    """The rows: objects with a finite step. Anything else, such as a line torn by a killed job, is none."""
    for line in chunk.splitlines():
        try:
            found = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(found, dict) and _finite_number(found.get("step")):
            yield found


def _finite_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < float("inf")
