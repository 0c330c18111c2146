"""Where jobs run: the protocol, and the process on this machine.

A backend starts a job on a run directory, says whether it lives, and ends it. It does not read what
the job writes and never changes a run's state: that is `pipeline.monitor`.
"""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Protocol

import psutil

from pipeline.run_directory import read_json, write_json

NICENESS = 15
START_TIME_TOLERANCE = 1.0  # seconds; process start times are counted in clock ticks since boot


class Backend(Protocol):
    """What starting and following a run needs. A handle is text that survives a restart of the app."""

    def submit(self, run_directory: Path, module: str, nice: bool = True) -> str:
        """Start `python -m module run_directory` and return its handle."""

    def find(self, run_directory: Path) -> str | None:
        """The handle of a job started on this directory earlier, where the app died before storing it."""

    def alive(self, handle: str) -> bool:
        """Whether the job still runs."""

    def usage(self, handle: str) -> str:
        """What the job uses right now, in words; "" where that is not known."""

    def cancel(self, handle: str, force: bool = False) -> None:
        """Ask the job and its children to end (SIGTERM), or end them (SIGKILL) with force."""


class LocalBackend:
    """Jobs as detached processes on this machine; they live on when the app ends or is killed.

    A handle is `local:<pid>:<start time>`: a process that got the pid later has another start time.
    """

    def __init__(self, project_root: Path):
        self.project_root = Path(project_root)

    def submit(self, run_directory: Path, module: str, nice: bool = True) -> str:
        """Start the job in a session of its own, its output straight to log.txt."""
        directory = Path(run_directory).resolve()
        command = [sys.executable, "-u", "-m", module, str(directory)]
        with (directory / "log.txt").open("ab") as log:
            child = subprocess.Popen(
                command,
                cwd=self.project_root,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        process = psutil.Process(child.pid)
        if nice:
            process.nice(NICENESS)  # before Python has started a second thread: threads inherit it
        handle = _handle(child.pid, process.create_time())
        write_json(directory / "process.json", {"pid": child.pid, "started": process.create_time()})
        threading.Thread(target=_reap, args=(child, directory), name=f"reap {child.pid}", daemon=True).start()
        return handle

    def find(self, run_directory: Path) -> str | None:
        """From process.json, or from the command lines of running processes where not even that was written."""
        directory = Path(run_directory).resolve()
        noted = read_json(directory / "process.json")
        if noted:
            return _handle(noted["pid"], noted["started"])
        for process in psutil.process_iter(["cmdline", "create_time"]):
            command = process.info["cmdline"] or []
            if len(command) > 3 and command[-1] == str(directory) and "-m" in command:
                return _handle(process.pid, process.info["create_time"])
        return None

    def alive(self, handle: str) -> bool:
        """Whether that very process runs; one that has ended and waits for its parent does not."""
        pid, started = _parse(handle)
        try:
            process = psutil.Process(pid)
            same = abs(process.create_time() - started) <= START_TIME_TOLERANCE
            return same and process.status() not in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)
        except psutil.NoSuchProcess:
            return False

    def usage(self, handle: str) -> str:
        """Memory and processor time of the job and its children since it started."""
        if not self.alive(handle):
            return ""
        with contextlib.suppress(psutil.Error):
            process = psutil.Process(_parse(handle)[0])
            everyone = [process, *process.children(recursive=True)]
            memory = sum(one.memory_info().rss for one in everyone) / 1024**3
            times = [one.cpu_times() for one in everyone]
            share = sum(t.user + t.system for t in times) / max(1e-3, time.time() - process.create_time())
            return f"{memory:.1f} GiB of memory · {share:.1f} cores busy"
        return ""

    def cancel(self, handle: str, force: bool = False) -> None:
        """Signal the job's process group: it leads its own, so nothing else is in it."""
        if self.alive(handle):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(_parse(handle)[0], signal.SIGKILL if force else signal.SIGTERM)


def _reap(child: subprocess.Popen, directory: Path) -> None:
    """Leave no zombie, and note how the process ended while the app that started it lives."""
    code = child.wait()
    with contextlib.suppress(OSError):  # the run may have been deleted meanwhile
        write_json(directory / "exit.json", {"pid": child.pid, "code": code})


def _handle(pid: int, started: float) -> str:
    return f"local:{pid}:{started:.2f}"


def _parse(handle: str) -> tuple[int, float]:
    _, pid, started = handle.split(":")
    return int(pid), float(started)
