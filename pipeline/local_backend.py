"""Jobs as detached processes on this machine: the backend that needs nothing.

The process writes straight into the run directory, so there is nothing to carry. How it ended is noted in
exit.json while the app that started it lives. The protocol is in `backend.py`.
"""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil

from pipeline.backend import Ending, Hardware, Job, Reach
from pipeline.run_directory import read_json, write_json

NICENESS = 15
START_TIME_TOLERANCE = 1.0  # seconds; process start times are counted in clock ticks since boot


class LocalBackend:
    """Jobs as detached processes on this machine; they live on when the app ends or is killed.

    A handle is `local:<pid>:<start time>`: a process that got the pid later has another start time.
    """

    name = "local"
    remote = False
    usual_timeout = 0

    def __init__(self, project_root: Path):
        self.project_root = Path(project_root)

    def slots(self) -> tuple[str, ...]:
        """One: the whole machine."""
        return ("this machine",)

    def submit(self, job: Job) -> str:
        """Start the job in a session of its own, its output straight to log.txt."""
        directory = Path(job.directory).resolve()
        command = [sys.executable, "-u", "-m", job.module, str(directory)]
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
        if job.nice:
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

    def sync(self, run_directory: Path, handle: str) -> None:
        """Nothing: the job writes into the run directory itself."""

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

    def ending(self, handle: str) -> Ending:
        """Unknown here: exit.json says it where the app saw it."""
        return Ending()

    def reach(self) -> Reach:
        """The processors and memory of this machine."""
        memory = psutil.virtual_memory().total
        about = f"{psutil.cpu_count()} processor cores, {memory / 1024**3:.0f} GiB of memory"
        return Reach(True, "Runs are processes on this machine.", (Hardware("this machine", about, memory=memory),))

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
