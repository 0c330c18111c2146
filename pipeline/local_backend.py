"""Jobs as detached processes on this machine: the backend that needs nothing.

The processes write straight into the run directory, so there is nothing to carry. How the first one ended is noted
in exit.json while the app that started it lives. Which GPUs a job sees is the slot's business (`device_sets.py`),
how many processes it is `job_command.py`'s. The protocol is in `backend.py`.
"""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import psutil

from pipeline.backend import Ending, Hardware, Job, Reach, Use
from pipeline.device_sets import WHOLE, gpus_of, visible_devices
from pipeline.gpu_use import gpu_load, gpus
from pipeline.job_command import job_command
from pipeline.run_directory import read_json, write_json

NICENESS = 15
LATELY = 1.0  # seconds over which busy cores are counted at least
START_TIME_TOLERANCE = 1.0  # seconds
SINCE_BOOT = 1e9  # start times below are seconds since boot; above, of the wall clock, as older handles have them


class LocalBackend:
    """Jobs as detached processes on this machine; they live on when the app ends or is killed.

    devices: a slot per device set. A handle is `local:<pid>:<start time>`: a process that got the pid later has
    another start time.
    """

    name = "local"
    remote = False
    usual_timeout = 0
    margin = 0

    def __init__(self, project_root: Path, devices: Sequence[str] = (WHOLE,)):
        self.project_root, self.devices = Path(project_root), tuple(devices) or (WHOLE,)
        self._spent: dict[str, tuple[float, float]] = {}  # by handle: the last look, and what was spent

    def slots(self) -> tuple[str, ...]:
        """The device sets."""
        return self.devices

    def submit(self, job: Job) -> str:
        """Start the job in a session of its own, its output straight to log.txt."""
        directory = Path(job.directory).resolve()
        if (there := self.find(directory)) is not None and self.alive(there):
            return there
        command = job_command(sys.executable, job.module, directory, job.resources)
        with (directory / "log.txt").open("ab") as log:
            child = subprocess.Popen(
                [*_seeing(job.slot), *command],
                cwd=self.project_root,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        process = psutil.Process(child.pid)
        if job.nice:
            process.nice(NICENESS)  # before Python has started a second thread: threads inherit it
        started = started_at(process)
        handle = _handle(child.pid, started)
        write_json(directory / "process.json", {"pid": child.pid, "started": started})
        threading.Thread(target=_reap, args=(child, directory), name=f"reap {child.pid}", daemon=True).start()
        return handle

    def find(self, run_directory: Path) -> str | None:
        """From process.json, or from the command lines of running processes where not even that was written."""
        directory = Path(run_directory).resolve()
        noted = read_json(directory / "process.json")
        if noted:
            return _handle(noted["pid"], noted["started"])
        working = [one for one in _working_on(directory) if not _is_worker(one, directory)]
        with contextlib.suppress(psutil.NoSuchProcess):
            return _handle(working[0].pid, started_at(working[0])) if working else None
        return None

    def alive(self, handle: str) -> bool:
        """Whether that very process runs; one that has ended and waits for its parent does not."""
        pid, started = _parse(handle)
        try:
            process = psutil.Process(pid)
            return _is_of(process, started) and process.status() not in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)
        except psutil.NoSuchProcess:
            return False

    def sync(self, run_directory: Path, handle: str) -> None:
        """Nothing to carry: the job writes into the run directory itself. What a dead one left behind is ended."""
        if not self.alive(handle):
            for process in _left_behind(Path(run_directory).resolve(), *_parse(handle)):
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()

    def clear(self, run_directory: Path, handle: str) -> None:
        """Nothing: all of a run lies in its directory."""

    def usage(self, handle: str) -> Use:
        """Memory and cores of the job and its children since this was last asked, and what they use of GPUs."""
        if not self.alive(handle):
            self._spent.pop(handle, None)
            return Use()
        with contextlib.suppress(psutil.Error):
            process = psutil.Process(_parse(handle)[0])
            everyone = [process, *process.children(recursive=True)]
            memory = sum(one.memory_info().rss for one in everyone) / 1024**3
            cores = self._cores(handle, process, sum(t.user + t.system for t in (one.cpu_times() for one in everyone)))
            gpu, busy = gpu_load([one.pid for one in everyone])
            said = " · ".join(filter(None, [f"{memory:.1f} GiB of memory", f"{cores:.1f} cores busy", gpu]))
            return Use(said, min(1.0, cores / (psutil.cpu_count() or 1)) if busy is None else busy)
        return Use()

    def _cores(self, handle: str, process: psutil.Process, seconds: float) -> float:
        """How many cores were busy since the last call, or since the job started; a child that ended takes its time."""
        now = time.monotonic()
        began, before = self._spent.get(handle, (now - max(1e-3, time.time() - process.create_time()), 0.0))
        if now - began >= LATELY:
            self._spent[handle] = now, seconds
        return max(0.0, seconds - before) / max(1e-3, now - began)

    def ending(self, handle: str) -> Ending:
        """Unknown here: exit.json says it where the app saw it."""
        return Ending()

    def reach(self) -> Reach:
        """The processors, memory and GPUs of this machine, by device set."""
        memory, found = psutil.virtual_memory().total, gpus()
        about = f"{psutil.cpu_count()} processor cores, {memory / 1024**3:.0f} GiB of memory"
        sets = []
        for name in dict.fromkeys(self.devices):
            seen = [g for g in found if gpus_of(name) is None or {str(g.index), g.uuid} & {*name.split(",")}]
            told = f"{about}; {', '.join(g.name for g in seen) or 'no GPU'}"
            room = min((g.memory for g in seen), default=memory)
            sets.append(Hardware(name, told, memory=room, accelerators=len(seen)))
        return Reach(True, "Runs are processes on this machine.", tuple(sets))

    def cancel(self, handle: str, force: bool = False) -> None:
        """Signal the job's processes: the group that the first one leads, and children with groups of their own."""
        if not self.alive(handle):
            return
        number, leader = signal.SIGKILL if force else signal.SIGTERM, _parse(handle)[0]
        with contextlib.suppress(psutil.NoSuchProcess, ProcessLookupError):
            apart = [p for p in psutil.Process(leader).children(recursive=True) if _group(p.pid) != leader]
            os.killpg(leader, number)
            for process in apart if force else ():  # a launcher hands SIGTERM on by itself
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.send_signal(number)


def _seeing(slot: str) -> list[str]:
    """The words before a command that let it see the slot's GPUs only; `env` becomes the command itself."""
    devices = visible_devices(slot) if slot else None
    return [] if devices is None else ["/usr/bin/env", f"CUDA_VISIBLE_DEVICES={devices}"]


def _working_on(directory: Path) -> list[psutil.Process]:
    """The processes whose last word is this directory."""
    found = [(one, one.info["cmdline"] or []) for one in psutil.process_iter(["cmdline"])]
    return [one for one, words in found if len(words) > 3 and "-m" in words and words[-1] == str(directory)]


def _is_worker(process: psutil.Process, directory: Path) -> bool:
    """Whether it is one of several processes that another one on this directory started."""
    with contextlib.suppress(psutil.Error):
        parent = process.parent()
        return parent is not None and parent.cmdline()[-1:] == [str(directory)]
    return False


def _left_behind(directory: Path, leader: int, started: float) -> list[psutil.Process]:
    """What still runs of a job whose first process is gone: its group, and workers in groups of their own."""
    found = _working_on(directory)
    if not _belongs_to_another(leader, started):
        grouped = [p for p in psutil.process_iter() if _group(p.pid) == leader]
        found += [p for p in grouped if p not in found]
    return [p for p in found if _is_younger(p, started)]


def _belongs_to_another(pid: int, started: float) -> bool:
    try:
        return not _is_of(psutil.Process(pid), started)
    except psutil.NoSuchProcess:
        return False


def started_at(process: psutil.Process, by_wall_clock: bool = False) -> float:
    """When a process began: seconds since boot where the system tells, so that no change of the clock touches it.

    Raises psutil.NoSuchProcess.
    """
    if not by_wall_clock:
        with contextlib.suppress(OSError):
            fields = Path(f"/proc/{process.pid}/stat").read_text(encoding="utf-8", errors="replace")
            return int(fields.rpartition(")")[2].split()[19]) / os.sysconf("SC_CLK_TCK")
    return process.create_time()


def _is_of(process: psutil.Process, started: float) -> bool:
    return abs(started_at(process, started > SINCE_BOOT) - started) <= START_TIME_TOLERANCE


def _is_younger(process: psutil.Process, started: float) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess):
        return started_at(process, started > SINCE_BOOT) >= started - START_TIME_TOLERANCE
    return False


def _group(pid: int) -> int | None:
    with contextlib.suppress(OSError):
        return os.getpgid(pid)
    return None


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
