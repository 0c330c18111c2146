"""What runs on a remote machine: `python -m pipeline.remote_job STORE RUN/ATTEMPT MODULE [SECONDS]`, out of code.zip.

Fetches the parcel to the machine's own disk, starts the job as a child that writes there, sends what it closes
while it runs, takes a cancel there, and says last how it ended. Started again after a kill it goes on from what it
had sent. Knows no torch, no database and no pages; credentials of the store come from where its client looks.
"""

import contextlib
import ctypes
import logging
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from pipeline.backend import BackendUnreachable
from pipeline.job_command import job_command
from pipeline.remote_disk import working_folder
from pipeline.remote_parcel import unpack
from pipeline.remote_pieces import (
    CANCEL,
    END,
    KILL,
    PARCEL,
    RETURNED,
    STOP,
    Place,
    Untrusted,
    fetch,
    newest_tree,
    read_or_none,
    tree_name,
    tree_of,
)
from pipeline.remote_upload import Upload
from pipeline.resources import resources_of
from pipeline.run_directory import RunDirectory
from pipeline.store import Missing
from pipeline.stores import open_store

INTERVAL = 5.0  # seconds between two looks at what is new, and whether a cancel is there
PATIENCE = 900.0  # seconds that an unreachable store is asked again at the beginning and at the end
SAVE_SECONDS = 15.0  # from a SIGTERM that nobody announced by a cancel, to the job's own
KILL_SECONDS = 10.0  # from the job's SIGTERM to its SIGKILL
TAKEN = 128 + signal.SIGTERM
DIE_WITH_PARENT = 1  # PR_SET_PDEATHSIG of prctl(2)
PRCTL = getattr(ctypes.CDLL(None), "prctl", None)  # of Linux; looked up here because little is safe after a fork

Answer = TypeVar("Answer")
log = logging.getLogger("remote")


@dataclass(frozen=True)
class Waits:
    """How long it waits for what, in seconds; tests wait less."""

    poll: float = INTERVAL
    patience: float = PATIENCE
    save: float = SAVE_SECONDS
    kill: float = KILL_SECONDS


def run_remote(place: Place, module: str, work: Path, waits: Waits, stop: "Stop") -> int:
    """The whole of it, in a working folder of its own; the job's exit status, 143 where its machine was taken."""
    if patiently(lambda: read_or_none(place, END), waits) is not None:
        log.info("this attempt has ended already")
        return 0
    try:
        run = patiently(lambda: prepare(place, work), waits)
    except (Missing, Untrusted, OSError) as error:
        said = f"the run could not be prepared on its machine: {error!r}"
        patiently(lambda: place.write_json(END, {"code": 1, "error": {"kind": "Unprepared", "message": said}}), waits)
        return 1
    upload = patiently(lambda: Upload(place, run, place.read_json(PARCEL)), waits)
    stop.child = start(module, run)
    watch = Watch(place, run, upload, waits, stop)
    code = watch.follow(stop.child)
    taken = stop.since is not None and not watch.ordered and run.result() is None
    patiently(lambda: say_end(place, run, upload, code, taken), waits)
    return TAKEN if taken else code if code >= 0 else 128 - code


def prepare(place: Place, work: Path) -> RunDirectory:
    """The run directory as the parcel has it, with the checkpoints and artifacts an earlier process had sent."""
    run = unpack(place, work)
    if number := newest_tree(place.pieces()):
        tree = tree_of(place.read_json(tree_name(number)).get("files"))
        for folder in RETURNED:
            shutil.rmtree(run.path / folder)
            (run.path / folder).mkdir()
        fetch(place, {run.path / path: file for path, file in tree.items()})
    return run


def start(module: str, run: RunDirectory) -> subprocess.Popen:
    """The job as a child in a process group of its own, its output straight to log.txt."""
    run.write_status("starting", message="loading")
    with run.log.open("ab") as output:
        return subprocess.Popen(
            job_command(sys.executable, module, run.path, resources_of(run.config())),
            cwd=Path(__file__).resolve().parents[1],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=_die_with_parent if PRCTL else None,
        )


class Stop:
    """Notices SIGTERM, from the backend or its machine. Before the job runs, it ends this process."""

    def __init__(self):
        self.since: float | None = None
        self.child: subprocess.Popen | None = None
        signal.signal(signal.SIGTERM, self._noticed)

    def _noticed(self, *_) -> None:
        self.since = self.since or time.monotonic()
        if self.child is None:
            sys.exit(TAKEN)


class Watch:
    """Follows the child to its end: sends what is new, takes a cancel there, and hands a SIGTERM on."""

    def __init__(self, place: Place, run: RunDirectory, upload: Upload, waits: Waits, stop: Stop):
        self.place, self.run, self.upload, self.waits, self.stop = place, run, upload, waits, stop
        self._pool = ThreadPoolExecutor(2, "send")  # a large checkpoint holds up neither metrics nor a SIGTERM
        self._going: dict[Callable, Future] = {}
        self._told: set[str] = set()  # what the app asks for, by the names of the pieces
        self._since: float | None = None  # when the job was first asked to end here
        self._save = 0.0

    @property
    def ordered(self) -> bool:
        """Whether the app asked to end the job now."""
        return bool(self._told & {STOP, KILL})

    def follow(self, child: subprocess.Popen) -> int:
        """The child's exit code, negative for a signal."""
        looked = 0.0
        while child.poll() is None:
            if time.monotonic() - looked >= self.waits.poll:
                looked = time.monotonic()
                self._begin(self._small)
                self._begin(self.upload.send_files)
            self._hand_on(child)
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(min(0.2, self.waits.poll))
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)  # what the job left behind
        self._pool.shutdown()
        return child.returncode

    def _small(self) -> None:
        self.upload.send_small()
        there = self.place.store.sizes(self.place.name(order) for order in (CANCEL, STOP, KILL))
        self._told = {name.rpartition("/")[2] for name in there}
        if CANCEL in self._told:
            self.run.request_cancel()

    def _begin(self, call: Callable) -> None:
        """Make the call in a thread, unless the one before still goes; what failed is tried again next time."""
        before = self._going.get(call)
        if before is not None and not before.done():
            return
        if before is not None and before.exception() is not None:
            log.warning("%s; it is tried again", before.exception())
        self._going[call] = self._pool.submit(call)

    def _hand_on(self, child: subprocess.Popen) -> None:
        """A SIGTERM asks the job for a checkpoint first, unless a cancel or stop had; then it gets it, then SIGKILL."""
        if self.stop.since is None and not self.ordered:
            return
        if self._since is None:
            self._since = time.monotonic()
            self._save = 0.0 if self.run.cancel_requested() else self.waits.save
            self.run.request_cancel()
        over = time.monotonic() - self._since - (0.0 if self.ordered else self._save)
        if over >= 0:
            force = over >= self.waits.kill or KILL in self._told
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL if force else signal.SIGTERM)


def say_end(place: Place, run: RunDirectory, upload: Upload, code: int, taken: bool) -> None:
    """Send all that is left, then end.json: how the job ended, and what must have arrived before that is believed."""
    while upload.send_small():
        pass
    while not upload.send_files():
        time.sleep(0.1)
    needed = {"tree": upload.number, **upload.offsets}
    told = {"code": code, "taken": taken, "error": run.error(), "result": run.result()}
    place.write_json(END, {**told, "needed": needed})


def patiently(call: Callable[[], Answer], waits: Waits) -> Answer:
    """The call's answer, asked again for a while where the store does not answer."""
    began, pause = time.monotonic(), min(1.0, waits.poll)
    while True:
        try:
            return call()
        except BackendUnreachable as error:
            if time.monotonic() - began >= waits.patience:
                raise
            log.warning("%s; asked again in %.0f s", error, pause)
            time.sleep(pause)
            pause = min(2 * pause, 30.0)


def _die_with_parent() -> None:
    """In the child: the kernel kills it where this process is killed, so that no job runs on unseen."""
    PRCTL(DIE_WITH_PARENT, signal.SIGKILL)


def main() -> None:
    """Entry point."""
    if len(sys.argv) not in (4, 5):
        sys.exit("usage: python -m pipeline.remote_job STORE RUN/ATTEMPT MODULE [SECONDS]")
    waits = Waits(poll=float(sys.argv[4])) if len(sys.argv) == 5 else Waits()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s remote: %(message)s")
    place = Place.of(open_store(sys.argv[1]), sys.argv[2])
    with working_folder(place.prefix.replace("/", "-")) as work:
        sys.exit(run_remote(place, sys.argv[3], work, waits, Stop()))


if __name__ == "__main__":
    main()
