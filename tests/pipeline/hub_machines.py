"""The machines of the stand-in for Hugging Face Jobs: each job is a process with a disk of its own.

Does what the service does around the command: environment, secrets, time limit, SIGTERM before SIGKILL, stages, the
log; and wipes the disk at the end. What it does not do is pull the image and install with uv: this Python stands in.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

RUNNING, SCHEDULING, ENDED = "RUNNING", "SCHEDULING", ("COMPLETED", "CANCELED", "ERROR", "DELETED")


@dataclass
class HubJob:
    """One job: what was asked for, its process, and how it went."""

    id: str
    owner: str
    spec: dict
    disk: Path
    machine: dict[str, str]  # what the image sets in the environment
    grace: float
    stage: str = SCHEDULING
    message: str | None = None
    created: datetime = field(default_factory=lambda: datetime.now(UTC))
    started: datetime | None = None
    finished: datetime | None = None
    log: list[tuple[datetime, str]] = field(default_factory=list)
    process: subprocess.Popen | None = None

    def start(self) -> None:
        """Run the command on a disk of its own, as a group of processes."""
        self.disk.mkdir(parents=True)
        environment = {"PATH": os.environ["PATH"], "HOME": str(self.disk), "TMPDIR": str(self.disk)}
        environment |= {"OMP_NUM_THREADS": "1", "JOB_ID": self.id} | self.machine
        environment |= self.spec.get("environment", {}) | self.spec.get("secrets", {})
        self.started, self.stage = datetime.now(UTC), RUNNING
        self.process = subprocess.Popen(
            translated(self.spec["command"]),
            cwd=self.disk,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
        )
        threading.Thread(target=self._read, daemon=True).start()
        threading.Thread(target=self._watch, daemon=True).start()

    def end(self, stage: str, message: str | None = None) -> None:
        """Ask the process to end, kill it after the grace, and show the stage at once, as the service does."""
        if self.stage in ENDED:
            return
        self.stage, self.message, self.finished = stage, message, datetime.now(UTC)
        if self.process is not None:
            threading.Thread(target=self._end_process, daemon=True).start()

    def die(self, stage: str = "ERROR", message: str | None = None) -> None:
        """The machine is gone: every process of it, at once."""
        self.stage, self.message, self.finished = stage, message, datetime.now(UTC)
        for group in self._groups():
            _kill(group, signal.SIGKILL)

    @property
    def going(self) -> bool:
        """Whether any process of it still runs."""
        return self.process is not None and self.process.poll() is None

    def _read(self) -> None:
        for line in self.process.stdout:
            self.log.append((datetime.now(UTC), line.rstrip("\n")))

    def _watch(self) -> None:
        limit = self.spec.get("timeoutSeconds", 30 * 60)
        try:
            code = self.process.wait(limit)
        except subprocess.TimeoutExpired:
            self.end("ERROR", "Job timeout")
            code = self.process.wait()
        for group in self._groups():
            _kill(group, signal.SIGKILL)
        if self.stage not in ENDED:
            self.finished = datetime.now(UTC)
            self.message = None if code == 0 else f"Job failed with exit code: {code if code >= 0 else 128 - code}"
            self.stage = "COMPLETED" if code == 0 else "ERROR"
        shutil.rmtree(self.disk, ignore_errors=True)

    def _end_process(self) -> None:
        _kill(self.process.pid, signal.SIGTERM)
        time.sleep(self.grace)
        for group in self._groups():
            _kill(group, signal.SIGKILL)

    def _groups(self) -> set[int]:
        """The process groups on this machine: those of processes whose folder is its disk, and the command's own."""
        found = {self.process.pid} if self.process is not None else set()
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                if f"TMPDIR={self.disk}".encode() in (entry / "environ").read_bytes().split(b"\0"):
                    found.add(os.getpgid(int(entry.name)))
            except OSError:
                continue
        return found


def translated(command: list[str]) -> list[str]:
    """`uv run … python …` with this environment's Python; anything else as it is."""
    if command[:2] != ["uv", "run"]:
        return command
    return [sys.executable, *command[command.index("python") + 1 :]]


def _kill(group: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, number)
