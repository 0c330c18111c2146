"""A Ray cluster's Jobs API over HTTP: what `ray.job_submission.JobSubmissionClient` asks, without installing Ray.

Speaks of Ray's words only: packages, submissions, nodes. What they mean for a run is `ray_jobs.py`'s business.
Written against the API's version 4; see "Ray Jobs REST API" in Ray's documentation.
"""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar
from urllib.parse import quote

import httpx

from pipeline.backend import BackendUnreachable

TIMEOUT = httpx.Timeout(20.0, connect=5.0)  # seconds
Value = TypeVar("Value")
LONGEST = 300  # characters of a cause within an error


@dataclass(frozen=True)
class Submission:
    """A job as the cluster knows it: PENDING, RUNNING, STOPPED, SUCCEEDED or FAILED, and why."""

    id: str
    status: str
    message: str = ""
    error_type: str = ""
    exit_code: int | None = None
    node: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict)

    @property
    def alive(self) -> bool:
        """Whether it waits for its machine or runs."""
        return self.status in ("PENDING", "RUNNING")


@dataclass(frozen=True)
class Node:
    """A machine of the cluster that is up: what it offers in all, by Ray's names such as CPU, GPU, memory."""

    id: str
    resources: Mapping[str, float]


class RayApi:
    """The API at an address such as http://head:8265. Every call raises BackendUnreachable, saying what to do.

    token: where the cluster asks for one (RAY_AUTH_MODE=token); it goes into a header and into no text that is said.
    """

    def __init__(self, address: str, token: str = ""):
        self.address = checked_address(address)
        self._token = checked_token(token)
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._http = httpx.Client(base_url=self.address, headers=headers, timeout=TIMEOUT)

    def version(self) -> str:
        """The cluster's version of Ray."""
        return self._checked(self._asked("GET", "/api/version"), lambda said: str(said["ray_version"]))

    def nodes(self) -> list[Node]:
        """The machines that are up."""
        return self._checked(self._asked("GET", "/api/v0/nodes", params={"limit": 1000}), _nodes)

    def node_use(self, node_id: str) -> dict:
        """What a machine uses now, as its agent reports it: cpu in percent, mem, gpus; {} where nobody knows it."""
        answer = self._asked("GET", f"/nodes/{quote(node_id, safe='')}")
        return self._checked(answer, lambda said: said["data"].get("detail") or {})

    def submission(self, submission_id: str) -> Submission | None:
        """None where the cluster does not know it (any more)."""
        answer = self._asked("GET", _path(submission_id))
        return None if answer.status_code == 404 else self._checked(answer, _submission)

    def upload(self, code: bytes) -> str:
        """The URI of a zip that runs on any machine of the cluster, sent unless the cluster has it."""
        name = f"_ray_pkg_{hashlib.sha256(code).hexdigest()[:32]}.zip"
        if self._asked("GET", f"/api/packages/gcs/{name}").status_code != 200:
            self._checked(self._asked("PUT", f"/api/packages/gcs/{name}", content=code))
        return f"gcs://{name}"

    def submit(self, body: Mapping) -> bool:
        """Start a job; False where one of that submission_id is there already."""
        answer = self._asked("POST", "/api/jobs/", json=dict(body))
        if answer.status_code == 500 and "already exists" in answer.text:
            return False
        self._checked(answer)
        return True

    def stop(self, submission_id: str) -> None:
        """Ask Ray to end it: SIGTERM, then SIGKILL; one that it does not know, or that has ended, is left alone."""
        answer = self._asked("POST", f"{_path(submission_id)}/stop")
        if answer.status_code != 404:
            self._checked(answer)

    def _asked(self, method: str, path: str, **options: object) -> httpx.Response:
        try:
            answer = self._http.request(method, path, **options)
        except httpx.HTTPError as error:
            raise BackendUnreachable(
                f"ray: found nobody at {self.address} ({error or type(error).__name__}), expected the dashboard of a "
                "Ray cluster; is the cluster up, and its port open to this machine?"
            ) from error
        if answer.status_code in (401, 403):
            raise BackendUnreachable(
                f"ray: {self.address} refuses ({answer.status_code}: {self._short(answer.text)}); check the cluster's "
                f"token, of which {'another' if self._token else 'none'} was sent"
            )
        return answer

    def _checked(self, answer: httpx.Response, read: Callable[[Any], Value] = lambda said: None) -> Value:
        """What `read` makes of the answer's JSON."""
        if answer.status_code != 200:
            cause = self._short(answer.text.strip().rpartition("\n")[2] or answer.reason_phrase)
            raise BackendUnreachable(f"ray: {self.address} answers {answer.status_code} ({cause}); see the head's logs")
        try:
            return read(answer.json() if answer.content else None)
        except (ValueError, LookupError, TypeError, AttributeError):
            raise BackendUnreachable(
                f"ray: found something else at {self.address} ({self._short(answer.text)!r}), expected Ray's dashboard"
            ) from None

    def _short(self, text: str) -> str:
        """What the other side says, without the token, which it may repeat."""
        said = text.replace(self._token, "…") if self._token else text
        return said if len(said) <= LONGEST else f"{said[:LONGEST]}…"


def checked_address(address: str) -> str:
    """The address without a trailing slash. Raises ValueError for one that is no http URL."""
    url = httpx.URL(address)
    if url.scheme not in ("http", "https") or not url.host:
        raise ValueError(f"address: found {address!r}, expected one such as http://head:8265")
    return address.rstrip("/")


def checked_token(token: str) -> str:
    """The token. Raises ValueError, which does not show it, for one that no header can carry."""
    if not all("!" <= letter <= "~" for letter in token):
        raise ValueError("token: found a character that no header can carry, expected letters, digits and signs")
    return token


def _nodes(said: Mapping) -> list[Node]:
    rows = said["data"]["result"]["result"]
    return [Node(row["node_id"], row["resources_total"]) for row in rows if row["state"] == "ALIVE"]


def _submission(row: Mapping) -> Submission:
    return Submission(
        row["submission_id"],
        row["status"],
        row.get("message") or "",
        row.get("error_type") or "",
        row.get("driver_exit_code"),
        row.get("driver_node_id") or "",
        row.get("metadata") or {},
    )


def _path(submission_id: str) -> str:
    return f"/api/jobs/{quote(submission_id, safe='')}"
