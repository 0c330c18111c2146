"""Runs as jobs on a Ray cluster, through its Jobs API; needs no Ray where the app runs.

The job's machine needs Python with the run's requirements and sees the storage: a folder that all machines mount,
or a URI such as s3://bucket/folder. Ray keeps jobs only while its head lives and repeats none: `ending` says which
were lost, so that the queue starts them again from the checkpoints that came here. The protocol is in `backend.py`.
"""

import secrets
import shlex
from collections.abc import Sequence
from pathlib import Path

from pipeline.backend import BackendUnreachable, Ending, Job, Reach, Use, longest
from pipeline.hf_jobs import requirements
from pipeline.ray_api import RayApi
from pipeline.ray_words import demand, ending_of, machine_use, offer
from pipeline.remote_names import run_name
from pipeline.remote_parcel import CODE, pack
from pipeline.remote_pieces import KILL, STOP, Place
from pipeline.remote_sync import forget, sync
from pipeline.resources import Resources
from pipeline.run_directory import read_json, write_json
from pipeline.stores import open_store

STOP_SECONDS = 30  # from Ray's SIGTERM to its SIGKILL; its own usual is 3, too short to send what is left
PREFIX = "rankloop"  # in a submission's metadata: where its pieces lie


class RayBackend:
    """Jobs on the cluster at an address such as http://head:8265.

    storage: where pieces of runs lie between app and job. slots: `cpu`, `cpu:4` (cores), `gpu:1` (any GPUs) or
    `A100:2` (GPUs by Ray's accelerator type); each takes one run at a time, and Ray finds the machine. token: where
    the cluster asks for one. install: let Ray install the run's pinned requirements before a job, where its machines
    lack them. poll: seconds between two looks of a job at what is new.
    Raises ValueError for an address, a storage or a slot that is none. A handle is `ray:<submission id>`.
    """

    name = "ray"
    remote = True
    usual_timeout = 0
    margin = 2  # the app, unless it is away, ends a job first

    def __init__(
        self,
        address: str,
        storage: str,
        slots: Sequence[str] = ("gpu:1",),
        token: str = "",
        install: bool = False,
        poll: float = 2.0,
    ):
        self.api, self.store = RayApi(address, token), open_store(storage)
        self.names, self.install, self.poll = tuple(slots), install, poll
        self._given_up: set[str] = set()
        for slot in self.names:
            demand(slot)

    def slots(self) -> tuple[str, ...]:
        """As configured."""
        return self.names

    def submit(self, job: Job) -> str:
        """Send what the run needs to the storage and its code to Ray, then start the job."""
        directory = Path(job.directory).resolve()
        there = self.find(directory)
        if there is not None and self.alive(there):
            return there
        place = Place(self.store, run_name(directory), secrets.token_hex(4))
        pack(place, directory)
        code = self.api.upload((directory / CODE).read_bytes())
        submission_id = submission_of(place)
        write_json(directory / "process.json", {"submission": submission_id})
        self.api.submit(self._request(directory, place, job, code))
        return f"{self.name}:{submission_id}"

    def find(self, run_directory: Path) -> str | None:
        """From process.json, which is there before Ray is asked: a job that it does not know was lost on the way."""
        noted = (read_json(Path(run_directory) / "process.json") or {}).get("submission")
        return f"{self.name}:{noted}" if noted else None

    def alive(self, handle: str) -> bool:
        """As Ray says. It cannot stop a job that still waits for a machine: such a one counts as ended once asked."""
        found = self.api.submission(_id(handle))
        if found is None or (found.status == "PENDING" and found.id in self._given_up):
            return False
        return found.alive

    def sync(self, run_directory: Path, handle: str) -> None:
        """Through the storage; what it holds of a run that is wholly here is removed."""
        directory = Path(run_directory).resolve()
        place = Place(self.store, run_name(directory), _attempt(handle))
        result = directory / "result.json"
        if not result.exists() and sync(place, directory) and result.exists():
            forget(place)

    def clear(self, run_directory: Path, handle: str) -> None:
        """Empty the run's part of the storage."""
        forget(Place(self.store, run_name(Path(run_directory).resolve()), _attempt(handle)))

    def usage(self, handle: str) -> Use:
        """What the job's machine uses, all of its jobs together."""
        found = self.api.submission(_id(handle))
        if found is None or found.status != "RUNNING" or not found.node:
            return Use()
        return machine_use(self.api.node_use(found.node))

    def ending(self, handle: str) -> Ending:
        """What Ray noted; a job that Ray lost, or whose machine died, is to be started again."""
        return ending_of(self.api.submission(_id(handle)))

    def cancel(self, handle: str, force: bool = False) -> None:
        """SIGTERM by Ray to all of the job's processes; with force the job's runner, told through the storage, kills.

        Where that does not answer, Ray kills all half a minute after the first SIGTERM.
        """
        found = self.api.submission(_id(handle))
        if found is None or not found.alive:
            return
        self._given_up.add(found.id)
        place = Place.of(self.store, found.metadata[PREFIX])
        self.store.put({place.name(KILL if force else STOP): b"now\n"})
        self.api.stop(found.id)

    def reach(self) -> Reach:
        """The cluster's version and machines, and how many jobs of each slot they hold when idle."""
        try:
            nodes, version = self.api.nodes(), self.api.version()
        except BackendUnreachable as error:
            return Reach(False, str(error))
        cores, gpus = (sum(node.resources.get(key, 0) for node in nodes) for key in ("CPU", "GPU"))
        machines = f"{len(nodes)} machine{'' if len(nodes) == 1 else 's'}"
        said = f"Ray {version} at {self.api.address}: {machines}, {cores:g} cores, {gpus:g} GPUs"
        return Reach(True, said, tuple(offer(slot, nodes) for slot in dict.fromkeys(self.names)))

    def _request(self, directory: Path, place: Place, job: Job, code: str) -> dict:
        environment: dict = {"working_dir": code, "env_vars": {"RAY_JOB_STOP_WAIT_TIME_S": str(STOP_SECONDS)}}
        if self.install:
            environment["pip"] = requirements(directory / CODE)
        return {
            "submission_id": submission_of(place),
            "entrypoint": self._entrypoint(place, job.module, job.resources),
            "runtime_env": environment,
            "metadata": {PREFIX: place.prefix},
            **demand(job.slot or self.names[0]),
        }

    def _entrypoint(self, place: Place, module: str, resources: Resources) -> str:
        minutes = longest(self, resources)
        limit = ["timeout", "--foreground", f"--kill-after={STOP_SECONDS}", f"{minutes}m"] if minutes else []
        words = ["python", "-u", "-m", "pipeline.remote_job", self.store.uri, place.prefix, module, str(self.poll)]
        return shlex.join(limit + words)


def submission_of(place: Place) -> str:
    """Ray's name for an attempt."""
    return "rankloop-" + place.prefix.removeprefix("runs/").replace("/", "-")


def _id(handle: str) -> str:
    return handle.partition(":")[2]


def _attempt(handle: str) -> str:
    return handle.rpartition("-")[2]
