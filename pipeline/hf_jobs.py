"""Runs as Hugging Face Jobs: a machine with a GPU for as long as a run takes, paid by the minute.

The job installs the run's pinned requirements with uv, unpacks code.zip from a private bucket and runs
`pipeline.remote_job`; the bucket carries the pieces both ways. Labels say which run of which data folder a job is,
so a restarted app finds it. The token goes as a secret of the job. The protocol is in `backend.py`.
"""

import re
import secrets
import time
import zipfile
from collections.abc import Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

from huggingface_hub import JobInfo, JobStage
from huggingface_hub.errors import JobNotFoundError

from pipeline.backend import BackendUnreachable, Ending, Job, Reach, Use, longest
from pipeline.bucket_store import NAME, SCHEME, BucketStore
from pipeline.hub_client import answering
from pipeline.hub_words import TAKEN, ending_of, exit_code, hardware_of, usage_of
from pipeline.remote_names import folder_id, run_name
from pipeline.remote_parcel import CODE, code_piece, pack
from pipeline.remote_pieces import END, KILL, STOP, Place
from pipeline.remote_sync import forget, sync
from pipeline.run_directory import RunDirectory

APP = "rankloop"
IMAGE = "ghcr.io/astral-sh/uv:python3.12-bookworm"
HERE_ONLY = (  # what the pages, the database and the tests need, and a job does not
    *("argon2-cffi", "duckdb", "gradio", "httpx", "itsdangerous", "markdown-it-py", "mdit-py-plugins", "nh3", "pytz"),
    *("axe-playwright-python", "playwright", "pygments", "pytest", "pytest-xdist"),
)
CARRIERS = ("huggingface_hub", "hf_xet")  # of the versions here, so that both sides speak one protocol
ENDED = (JobStage.COMPLETED, JobStage.CANCELED, JobStage.ERROR, JobStage.DELETED)
LOG_LINES = 12
LINGER = 45.0  # seconds that a cancelled job may need to say its end, before its machine is taken
BOOTSTRAP = """
import os, sys, zipfile
from huggingface_hub import HfApi
bucket, code, *rest = sys.argv[1:]
HfApi().download_bucket_files(bucket, [(code, "code.zip")], raise_on_missing_files=True)
zipfile.ZipFile("code.zip").extractall("code")
os.chdir("code")
os.execv(sys.executable, [sys.executable, "-u", "-m", "pipeline.remote_job", *rest])
"""


class HfJobsBackend:
    """Jobs of one account on the Hub. A handle is `hf-jobs:<job id>:<attempt>`.

    token: one that may run jobs and write to buckets for the namespace. bucket: namespace/name, or a name; it is made,
    private, with the first run. slots: a flavor for each run that may go at a time. endpoint: None is the usual one.
    poll: seconds between two looks into the bucket on either side; the Hub counts an account's requests.
    """

    name = NAME
    remote = True
    usual_timeout = 360
    margin = 20  # the Hub's clock also runs while the job installs, fetches its models, and saves after a cancel

    def __init__(
        self,
        token: str,
        namespace: str,
        bucket: str = APP,
        slots: Sequence[str] = ("a10g-small",),
        project_root: Path | None = None,
        endpoint: str | None = None,
        image: str = IMAGE,
        poll: float = 10.0,
    ):
        path = bucket if "/" in bucket else f"{namespace}/{bucket}"
        self.namespace, self.names, self.image, self.poll = namespace, tuple(slots), image, poll
        self.endpoint, self._token = endpoint, token
        self.store = BucketStore(f"{SCHEME}{path}", token, endpoint)
        self.hub = self.store.hub
        self._cancelled: dict[str, float] = {}  # job -> when it was first seen so
        self._ended: set[str] = set()  # handles
        self._looked: dict[tuple[str, bool], float] = {}  # (handle, cancelled) -> when its pieces were last brought

    def slots(self) -> tuple[str, ...]:
        """As configured."""
        return self.names

    def submit(self, job: Job) -> str:
        """Send what the run needs to the bucket, then start the job with labels and a time limit beyond the run's."""
        directory = Path(job.directory).resolve()
        there = self.find(directory)
        if there is not None and self.alive(there):
            return there
        self.store.make()
        place = self._place(directory, secrets.token_hex(4))
        pack(place, directory)
        with self._answering("starting the job"):
            started = self.hub.run_job(
                image=self.image,
                command=self._command(place, directory, job.module),
                env={"HF_HUB_DISABLE_PROGRESS_BARS": "1"} | ({"HF_ENDPOINT": self.endpoint} if self.endpoint else {}),
                secrets={"HF_TOKEN": self._token},
                flavor=job.resources.hardware or job.slot or self.names[0],
                timeout=f"{longest(self, job.resources)}m",
                labels=self._labels(directory) | {"attempt": place.attempt},
                name=f"{APP}-{directory.name}",
                namespace=self.namespace,
            )
        return f"{self.name}:{started.id}:{place.attempt}"

    def find(self, run_directory: Path) -> str | None:
        """The newest job with the labels of this run and this data folder, ended or not."""
        labels = self._labels(Path(run_directory).resolve())
        with self._answering("listing jobs"):
            found = list(self.hub.list_jobs(labels=labels, namespace=self.namespace))
        if not found:
            return None
        newest = max(found, key=lambda job: (job.created_at, job.id))
        return f"{self.name}:{newest.id}:{(newest.labels or {}).get('attempt', '')}"

    def alive(self, handle: str) -> bool:
        """As its stage says. A cancelled job's machine may still save: until it told its end, for a while."""
        alive = self._alive(self._inspect(handle))
        if not alive:
            self._ended.add(handle)
        return alive

    def _alive(self, info: JobInfo | None) -> bool:
        if info is None:
            return False
        if info.status.stage != JobStage.CANCELED or info.started_at is None:
            return info.status.stage not in ENDED
        since = self._cancelled.setdefault(info.id, time.monotonic())
        return time.monotonic() - since < LINGER and not self._told_end(info)

    def sync(self, run_directory: Path, handle: str) -> None:
        """Through the bucket, while the job lives not too often; a run that is wholly here is removed from it."""
        run, now = RunDirectory(Path(run_directory).resolve()), time.monotonic()
        what = (handle, run.cancel_requested())  # a cancel goes there at once
        soon = now - self._looked.get(what, -self.poll) < self.poll and handle not in self._ended
        if soon or run.result() is not None:
            return
        place = self._place(run.path, handle.rpartition(":")[2])
        done = sync(place, run.path)
        self._looked[what] = now
        if done and run.result() is not None:
            forget(place)

    def clear(self, run_directory: Path, handle: str) -> None:
        """Empty the run's part of the bucket."""
        forget(self._place(Path(run_directory).resolve(), handle.rpartition(":")[2]))

    def usage(self, handle: str) -> Use:
        """What the machine reports of itself right now."""
        info = self._inspect(handle)
        if info is None or info.status.stage in ENDED:
            return Use()
        if info.status.stage != JobStage.RUNNING:
            return Use("waiting for a machine")
        with self._answering("asking for the job's metrics"):
            measured = list(self.hub.fetch_job_metrics(job_id=info.id, namespace=self.namespace))
        return usage_of(measured[-1]) if measured else Use()

    def ending(self, handle: str) -> Ending:
        """From the job's stage and message, and its machine's log; nothing where the job itself told its exit code."""
        info = self._inspect(handle)
        if info is None or info.status.stage != JobStage.ERROR:
            return ending_of(info)
        told, code = self._told_end(info), exit_code(info)
        if told and code != TAKEN and (code is not None or not info.status.message):
            return Ending()
        found, lines = ending_of(info), [] if told else self._last_lines(info)
        return replace(found, said=f"{found.said}; its machine said last:\n" + "\n".join(lines)) if lines else found

    def cancel(self, handle: str, force: bool = False) -> None:
        """Tell the job through the bucket, and the Hub to end it; its machine ends what is left half a minute later."""
        info = self._inspect(handle)
        if info is None or info.status.stage in ENDED:
            return
        self.store.put({self._place_of(info).name(KILL if force else STOP): b"now\n"})
        with self._answering("cancelling the job"):
            self.hub.cancel_job(job_id=info.id, namespace=self.namespace)

    def reach(self) -> Reach:
        """Whose token it is, and the hardware with its prices."""
        try:
            with self._answering("asking who this is"):
                who = self.hub.whoami()["name"]
                offered = self.hub.list_jobs_hardware()
            self.store.make()  # a run would meet what it meets
        except BackendUnreachable as error:
            return Reach(False, str(error))
        said = f"Hugging Face Jobs as {who}, paid by {self.namespace}; pieces lie in the bucket {self.store.bucket}"
        return Reach(True, said, tuple(hardware_of(one) for one in offered))

    def _last_lines(self, info: JobInfo) -> list[str]:
        """Of the machine's own log; nothing where it cannot be had, for the ending is known without it."""
        try:
            with self._answering("asking for the job's log"):
                return list(self.hub.fetch_job_logs(job_id=info.id, namespace=self.namespace, tail=LOG_LINES))
        except BackendUnreachable:
            return []

    def _inspect(self, handle: str) -> JobInfo | None:
        try:
            with self._answering("asking for the job"):
                return self.hub.inspect_job(job_id=handle.split(":")[1], namespace=self.namespace)
        except BackendUnreachable as error:
            if isinstance(error.__cause__, JobNotFoundError):
                return None
            raise

    def _told_end(self, info: JobInfo) -> bool:
        return bool(self.store.sizes([self._place_of(info).name(END)]))

    def _command(self, place: Place, directory: Path, module: str) -> list[str]:
        wanted = [word for one in requirements(directory / CODE) for word in ("--with", one)]
        code = self.store.path_in_bucket(code_piece(place, directory))
        told = [self.store.bucket, code, self.store.uri, place.prefix, module, str(self.poll)]
        return ["uv", "run", "--no-project", *wanted, "python", "-c", BOOTSTRAP, *told]

    def _labels(self, directory: Path) -> dict[str, str]:
        return {"app": APP, "folder": folder_id(directory.parent), "run": directory.name}

    def _place(self, directory: Path, attempt: str) -> Place:
        return Place(self.store, run_name(directory), attempt)

    def _place_of(self, info: JobInfo) -> Place:
        folder, run, attempt = ((info.labels or {}).get(label, "none") for label in ("folder", "run", "attempt"))
        return Place(self.store, f"runs/{folder}/{run}", attempt)

    def _answering(self, what: str):
        return answering(self.name, what)


def requirements(code: Path) -> list[str]:
    """What a job needs of the requirements in code.zip, and what carries its pieces."""
    text = zipfile.ZipFile(code).read("requirements.txt").decode()
    lines = [line.split("#")[0].strip() for line in text.splitlines()]
    needed = [line for line in lines if line and re.split(r"[^\w.-]", line)[0].lower() not in HERE_ONLY]
    return needed + [f"{package}=={version(package)}" for package in CARRIERS]
