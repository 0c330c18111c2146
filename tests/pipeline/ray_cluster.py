"""A real Ray cluster of one machine for tests: `ray start --head` on free ports, restarted or killed as asked.

Ray lives in an environment of its own, made by pip at the first call (the only one that needs the network) and kept
in ~/.cache/rankloop-tests, or where RANKLOOP_TEST_CACHE says: the app itself needs no Ray. No telemetry is sent.
"""

import contextlib
import fcntl
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

import httpx
import psutil

RAY = "2.60.0"
CACHE = Path(os.environ.get("RANKLOOP_TEST_CACHE", Path.home() / ".cache" / "rankloop-tests"))
MARK = "RANKLOOP_TEST_CLUSTER"  # in the environment of every process of a cluster
PORTS = ("port", "dashboard-port", "dashboard-agent-listen-port", "dashboard-agent-grpc-port", "metrics-export-port")
PORTS += ("ray-client-server-port",)  # a fixed one else, which two clusters would want
QUIET = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_DISABLE_IMPORT_WARNING": "1", "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "1"}
START_SECONDS = 120
BESIDE = ("pyarrow", "psutil", "huggingface_hub")  # what a job that trains nothing needs, of the versions here


class NotInstalled(RuntimeError):
    """pip could not install Ray; the text is what pip said last."""


def installed() -> Path:
    """The folder of Ray's commands. Raises NotInstalled."""
    home = CACHE / f"ray-{RAY}-python{sys.version_info.major}.{sys.version_info.minor}"
    CACHE.mkdir(parents=True, exist_ok=True)
    needs = [f"ray[default]=={RAY}", *(f"{name}=={version(name)}" for name in BESIDE)]
    holds = home / "holds.txt"  # written last
    with (CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not holds.exists() or holds.read_text().split() != needs:
            _install(home, needs)
            holds.write_text("\n".join(needs))
    return home / "bin"


def _install(home: Path, needs: Sequence[str]) -> None:
    shutil.rmtree(home, ignore_errors=True)
    subprocess.run([sys.executable, "-m", "venv", str(home)], check=True)
    command = [home / "bin" / "python", "-m", "pip", "install", "-q", "--disable-pip-version-check", *needs]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        raise NotInstalled(f"pip install {' '.join(needs)}: {' '.join(done.stderr.split()[-60:])}")


class RayCluster:
    """One head with two CPUs and no GPU, at `address`, for as long as the context lasts; token: it asks for that."""

    def __init__(self, token: str = ""):
        self.settings = QUIET | ({"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": token} if token else {})
        self.headers = {"Authorization": f"Bearer {token}"} if token else {}
        self.commands = installed()
        self.mark = secrets.token_hex(8)
        self.ports = dict(zip(PORTS, _free_ports(len(PORTS)), strict=True))
        self.address = f"http://127.0.0.1:{self.ports['dashboard-port']}"

    def __enter__(self) -> "RayCluster":
        try:
            self.start()
        except BaseException:
            self.kill()
            raise
        return self

    def __exit__(self, *_) -> None:
        self.kill()

    def start(self) -> None:
        """Start the head and wait until its jobs API answers."""
        self.folder = Path(tempfile.mkdtemp(prefix="rl-ray-", dir="/tmp"))  # short: paths of sockets have a limit
        options = {**self.ports, "num-cpus": 2, "object-store-memory": 100_000_000, "temp-dir": self.folder}
        options |= {"dashboard-host": "127.0.0.1", "log-style": "record", "include-log-monitor": False}
        words = [f"--{name}={value}" for name, value in options.items()]
        environment = {**os.environ, **self.settings, MARK: self.mark, "PATH": f"{self.commands}:{os.environ['PATH']}"}
        with (self.folder / "start.log").open("w") as log:
            done = subprocess.run(
                [self.commands / "ray", "start", "--head", "--no-monitor", *words],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                timeout=START_SECONDS,
                check=False,
            )
        if done.returncode != 0:
            raise RuntimeError(f"Ray did not start:\n{self._start_log()}")
        self._wait_until_up()

    def kill(self) -> None:
        """End every process of the cluster at once, as a power cut does, and the jobs with it."""
        while left := self.processes():
            for process in left:
                with contextlib.suppress(psutil.Error):
                    process.kill()
            psutil.wait_procs(left, timeout=5)
        shutil.rmtree(self.folder, ignore_errors=True)

    def restart(self) -> None:
        """Kill it, and start an empty one at the same address."""
        self.kill()
        self.start()

    def processes(self) -> list[psutil.Process]:
        """All that were started by or in this cluster: by the mark in their environment, and what they started.

        Some of Ray's processes write their title over their environment.
        """
        marked = [process for process in psutil.process_iter() if _environment(process).get(MARK) == self.mark]
        return list({one for process in marked for one in (process, *_descendants(process))})

    def _start_log(self) -> str:
        return (self.folder / "start.log").read_text()[-3000:]

    def _wait_until_up(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while True:
            with contextlib.suppress(httpx.HTTPError):
                if httpx.get(f"{self.address}/api/jobs/", headers=self.headers, timeout=5).status_code == 200:
                    return
            if time.monotonic() > deadline:
                raise RuntimeError(f"Ray's jobs API does not answer:\n{self._start_log()}")
            time.sleep(0.1)


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def _descendants(process: psutil.Process) -> list[psutil.Process]:
    try:
        return process.children(recursive=True)
    except psutil.Error:
        return []


def _environment(process: psutil.Process) -> dict[str, str]:
    try:
        return process.environ()
    except psutil.Error:
        return {}
