"""A stand-in for the Hugging Face Hub on this machine: jobs that really run, buckets that really hold.

Speaks HTTP as `huggingface_hub` and `hf_xet` of requirements.txt speak it (taken from their requests): whoami, jobs
(create, list, inspect, logs, metrics, cancel, hardware), buckets (create, info, tree, paths-info, batch, resolve),
and the storage behind them. `away`, `credit`, `broken` and `allowed` make it fail as the service does.
"""

import json
import re
import secrets
import threading
import time
import types
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

import huggingface_hub.utils._http

from tests.pipeline.hub_machines import ENDED, HubJob
from tests.pipeline.hub_xet import Xet

TOKEN, USER, STORAGE_TOKEN = "hf_stand_in", "ann", "storage"
HARDWARE = [
    {
        "name": "cpu-basic",
        "prettyName": "CPU Basic",
        "cpu": "2 vCPU",
        "ram": "16 GB",
        "ephemeralStorage": "20 GB",
        "accelerator": None,
        "unitCostMicroUSD": 167,
        "unitCostUSD": 0.000167,
        "unitLabel": "minute",
    },
    {
        "name": "a10g-small",
        "prettyName": "Nvidia A10G - small",
        "cpu": "4 vCPU",
        "ram": "14 GB",
        "ephemeralStorage": "110 GB",
        "accelerator": {"type": "gpu", "model": "A10G", "quantity": "1", "vram": "24 GB", "manufacturer": "Nvidia"},
        "unitCostMicroUSD": 16667,
        "unitCostUSD": 0.016667,
        "unitLabel": "minute",
    },
]
METRICS = {
    "cpu_usage_pct": 50,
    "cpu_millicores": 3500,
    "memory_used_bytes": 3 << 30,
    "memory_total_bytes": 14 << 30,
    "rx_bps": 0,
    "tx_bps": 0,
    "gpus": {"882fa930": {"utilization": 87, "memory_used_bytes": 6 << 30, "memory_total_bytes": 24 << 30}},
    "replica": "57vr7",
}


def make_client_quick(monkeypatch) -> None:
    """Let the client ask this machine in a test session that is offline, and wait but little between its retries."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    quick = {name: getattr(time, name) for name in dir(time)} | {"sleep": lambda seconds: time.sleep(0.01)}
    monkeypatch.setattr(huggingface_hub.utils._http, "time", types.SimpleNamespace(**quick))


class HubServer:
    """The service. Its jobs have disks in `folder`, and `machine` in their environment besides what the job sets."""

    def __init__(self, folder: Path, machine: dict[str, str] | None = None, grace: float = 30.0):
        self.folder, self.machine, self.grace = folder, machine or {}, grace
        self.jobs: dict[str, HubJob] = {}
        self.buckets: dict[str, dict[str, dict]] = {}  # bucket -> path -> what its tree says of it
        self.public: set[str] = set()
        self.xet = Xet()
        self.storage = f"/cas/{secrets.token_hex(8)}"  # the client remembers by address what a storage has
        self.allowed = {TOKEN}
        self.away = False
        self.credit = True
        self.waiting = False  # no machine is free: jobs stay in SCHEDULING
        self.broken: Callable[[str, str], int] = lambda method, path: 0  # the status to fail a request with; 0 = none
        self.requests: list[tuple[str, str]] = []
        self.lock = threading.Lock()
        handler = type("Handler", (_Handler,), {"hub": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        self.endpoint = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def __enter__(self) -> "HubServer":
        return self

    def __exit__(self, *_) -> None:
        for job in self.jobs.values():
            job.die()
        self._server.shutdown()
        self._server.server_close()

    def create_job(self, owner: str, spec: dict) -> HubJob:
        """Store and start a job."""
        number = secrets.token_hex(12)
        job = HubJob(number, owner, spec, self.folder / f"machine-{number}", self.machine, self.grace)
        self.jobs[number] = job
        if not self.waiting:
            job.start()
        return job


class _Handler(BaseHTTPRequestHandler):
    """One request; the route's method is found by its pattern."""

    hub: HubServer
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._answer()

    do_POST = do_HEAD = do_GET

    def log_message(self, *_) -> None:
        pass

    def _answer(self) -> None:
        body = self._body()
        address = urlsplit(self.path)
        self.query = parse_qs(address.query)
        self.hub.requests.append((self.command, address.path))
        if self.hub.away:
            self._json({"error": "Service Unavailable"}, 503)
        elif status := self.hub.broken(self.command, address.path):
            self._json({"error": "it broke"}, status)
        elif address.path.startswith("/cas/"):
            self._storage(address.path, body)
        elif self.headers.get("Authorization", "").removeprefix("Bearer ") not in self.hub.allowed:
            self._json({"error": "Invalid username or password."}, 401)
        else:
            self._route(address.path, body)

    def _route(self, path: str, body: bytes) -> None:
        for method, pattern, answer in ROUTES:
            if method == self.command and (match := re.fullmatch(pattern, path)):
                answer(self, *map(unquote, match.groups()), body=body)
                return
        self._json({"error": f"no route {self.command} {path}"}, 404)

    # ---- who
    def whoami(self, body: bytes) -> None:
        self._json({"type": "user", "id": "1", "name": USER, "fullname": USER, "orgs": [], "canPay": self.hub.credit})

    # ---- jobs
    def hardware(self, body: bytes) -> None:
        self._json(HARDWARE)

    def create_job(self, owner: str, body: bytes) -> None:
        if not self.hub.credit:
            self._json({"error": "Pre-paid credit balance is insufficient - add more credits to your account."}, 402)
            return
        self._json(_told(self.hub.create_job(owner, json.loads(body))))

    def list_jobs(self, owner: str, body: bytes) -> None:
        wanted = [tuple(label.split("=", 1)) for label in self.query.get("label", [])]
        stages = self.query.get("stage")
        jobs = [job for job in self.hub.jobs.values() if job.owner == owner]
        jobs = [job for job in jobs if all(job.spec.get("labels", {}).get(key) == value for key, value in wanted)]
        self._json([_told(job) for job in jobs if not stages or job.stage in stages])

    def inspect_job(self, owner: str, number: str, body: bytes) -> None:
        if job := self._job(owner, number):
            self._json(_told(job))

    def cancel_job(self, owner: str, number: str, body: bytes) -> None:
        if job := self._job(owner, number):
            job.end("CANCELED")
            self._json({})

    def logs(self, owner: str, number: str, body: bytes) -> None:
        if job := self._job(owner, number):
            events = [(job.started or job.created, "===== Job started ====="), *job.log]
            self._events([{"timestamp": _time(when), "data": line} for when, line in events])

    def metrics(self, owner: str, number: str, body: bytes) -> None:
        job = self._job(owner, number)
        if job is not None and job.stage in ENDED:
            self._json({"error": "the job has finished"}, 406)
        elif job is not None:
            self._events([METRICS], "metric")

    def _job(self, owner: str, number: str) -> HubJob | None:
        job = self.hub.jobs.get(number)
        if job is None or job.owner != owner:
            self._json({"error": "Job not found"}, 404)
            return None
        return job

    # ---- buckets
    def create_bucket(self, owner: str, name: str, body: bytes) -> None:
        bucket = f"{owner}/{name}"
        fresh = bucket not in self.hub.buckets
        if fresh:
            self.hub.buckets[bucket] = {}
            if json.loads(body or b"{}").get("visibility") != "private":
                self.hub.public.add(bucket)
        self._json({"url": f"{self.hub.endpoint}/buckets/{bucket}"}, 200 if fresh else 409)

    def bucket_info(self, bucket: str, body: bytes) -> None:
        if (files := self._bucket(bucket)) is not None:
            told = {"id": bucket, "private": bucket not in self.hub.public, "createdAt": _time(datetime.now(UTC))}
            self._json({**told, "size": sum(f["size"] for f in files.values()), "totalFiles": len(files)})

    def tree(self, bucket: str, prefix: str, body: bytes) -> None:
        if (files := self._bucket(bucket)) is not None:
            self._json([file for path, file in sorted(files.items()) if path.startswith(prefix)])

    def paths_info(self, bucket: str, body: bytes) -> None:
        if (files := self._bucket(bucket)) is not None:
            self._json([files[path] for path in json.loads(body)["paths"] if path in files])

    def batch(self, bucket: str, body: bytes) -> None:
        """Not in a transaction: what cannot be done is listed, the rest is done."""
        if (files := self._bucket(bucket)) is None:
            return
        failed = []
        for line in body.splitlines():
            order = json.loads(line)
            if order["type"] == "deleteFile":
                if files.pop(order["path"], None) is None:
                    failed.append({"path": order["path"], "error": "not found"})
            elif order["xetHash"] not in self.hub.xet.files:
                failed.append({"path": order["path"], "error": "unknown content"})
            else:
                size = self.hub.xet.size(order["xetHash"])
                told = {"xetHash": order["xetHash"], "mtime": _time(datetime.now(UTC))}
                files[order["path"]] = {"type": "file", "path": order["path"], "size": size, **told}
        self._json({"success": not failed, "failed": failed}, 422 if failed else 200)

    def resolve(self, bucket: str, path: str, body: bytes) -> None:
        files = self._bucket(bucket)
        if files is None or path not in files:
            self._json({"error": "Entry not found"}, 404, {"X-Error-Code": "EntryNotFound"})
            return
        route = f"{self.hub.endpoint}/api/buckets/{bucket}/xet-read-token"
        told = {"X-Xet-Hash": files[path]["xetHash"], "X-Xet-Refresh-Route": route}
        self._json({}, 200, {**told, "X-Linked-Size": str(files[path]["size"])})

    def storage_token(self, bucket: str, kind: str, body: bytes) -> None:
        if self._bucket(bucket) is None:
            return
        url, expires = f"{self.hub.endpoint}{self.hub.storage}", int(time.time()) + 3600
        told = {"X-Xet-Cas-Url": url, "X-Xet-Access-Token": STORAGE_TOKEN, "X-Xet-Token-Expiration": str(expires)}
        self._json({"casUrl": url, "accessToken": STORAGE_TOKEN, "exp": expires}, 200, told)

    def _bucket(self, bucket: str) -> dict | None:
        files = self.hub.buckets.get(bucket)
        if files is None:
            self._json({"error": "Repository not found"}, 404, {"X-Error-Code": "RepoNotFound"})
        return files

    # ---- the storage behind the buckets
    def _storage(self, path: str, body: bytes) -> None:
        path = path.removeprefix(self.hub.storage)
        name = path.rpartition("/")[2]
        if path.startswith("/data/") and name in self.hub.xet.xorbs:
            self._bytes(self.hub.xet.xorbs[name])
        elif self.headers.get("Authorization") != f"Bearer {STORAGE_TOKEN}":
            self._json({"error": "unauthorised"}, 401)
        elif path.startswith("/v1/xorbs/"):
            self.hub.xet.xorbs[name] = body
            self._json({"was_inserted": True})
        elif path == "/v1/shards":
            with self.hub.lock:
                self.hub.xet.add_shard(body)
            self._json({"result": 1})
        elif path.startswith("/v1/reconstructions/") and name in self.hub.xet.files:
            first, last = self._range(self.hub.xet.size(name))
            found = self.hub.xet.reconstruction(name, first, last, f"{self.hub.endpoint}{self.hub.storage}/data")
            self._json(found or {}, 200 if found else 416)
        else:
            self._json({"error": "not found"}, 404)  # also for what is newer than v1, so that the client falls back

    def _range(self, size: int) -> tuple[int, int]:
        match = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        return (int(match[1]), min(int(match[2] or size - 1), size - 1)) if match else (0, size - 1)

    # ---- bytes
    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts = []
        while size := int(self.rfile.readline(), 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def _json(self, value: object, status: int = 200, headers: dict | None = None) -> None:
        self._send(json.dumps(value).encode(), status, {"Content-Type": "application/json", **(headers or {})})

    def _bytes(self, content: bytes) -> None:
        first, last = self._range(len(content))
        told = {"Content-Range": f"bytes {first}-{last}/{len(content)}"}
        self._send(content[first : last + 1], 206 if "Range" in self.headers else 200, told)

    def _events(self, events: list[dict], kind: str = "") -> None:
        """Server-sent events; what a running job has not said yet does not come."""
        name = f"event: {kind}\n" if kind else ""
        text = "".join(f"{name}data: {json.dumps(event)}\n\n" for event in events)
        self._send(text.encode(), 200, {"Content-Type": "text/event-stream"})

    def _send(self, content: bytes, status: int, headers: dict) -> None:
        self.send_response_only(status)
        for key, value in {**headers, "Date": formatdate(usegmt=True), "Content-Length": len(content)}.items():
            self.send_header(key, str(value))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)


def _told(job: HubJob) -> dict:
    """As the service describes a job; secrets by name only."""
    spec = job.spec
    return {
        "id": job.id,
        "createdAt": _time(job.created),
        "startedAt": _time(job.started),
        "finishedAt": _time(job.finished),
        "dockerImage": spec.get("dockerImage"),
        "command": spec["command"],
        "arguments": spec["arguments"],
        "environment": spec["environment"],
        "secrets": dict.fromkeys(spec.get("secrets", {}), ""),
        "flavor": spec["flavor"],
        "labels": spec.get("labels"),
        "status": {"stage": job.stage, "message": job.message},
        "owner": {"id": "1", "name": job.owner, "type": "user"},
        "initiator": {"type": "user", "id": "1", "name": job.owner},
        "retry": 0,
    }


def _time(when: datetime | None) -> str | None:
    return when.strftime("%Y-%m-%dT%H:%M:%S.%fZ") if when else None


NAME, BUCKET = r"([^/]+)", r"([^/]+/[^/]+)"
ROUTES = [
    ("GET", "/api/whoami-v2", _Handler.whoami),
    ("GET", "/api/jobs/hardware", _Handler.hardware),
    ("POST", f"/api/jobs/{NAME}", _Handler.create_job),
    ("GET", f"/api/jobs/{NAME}", _Handler.list_jobs),
    ("GET", f"/api/jobs/{NAME}/{NAME}", _Handler.inspect_job),
    ("POST", f"/api/jobs/{NAME}/{NAME}/cancel", _Handler.cancel_job),
    ("GET", f"/api/jobs/{NAME}/{NAME}/logs", _Handler.logs),
    ("GET", f"/api/jobs/{NAME}/{NAME}/metrics", _Handler.metrics),
    ("POST", f"/api/buckets/{NAME}/{NAME}", _Handler.create_bucket),
    ("GET", f"/api/buckets/{BUCKET}", _Handler.bucket_info),
    ("GET", f"/api/buckets/{BUCKET}/tree/{NAME}", _Handler.tree),
    ("POST", f"/api/buckets/{BUCKET}/paths-info", _Handler.paths_info),
    ("POST", f"/api/buckets/{BUCKET}/batch", _Handler.batch),
    ("GET", f"/api/buckets/{BUCKET}/xet-(read|write)-token", _Handler.storage_token),
    ("HEAD", f"/buckets/{BUCKET}/resolve/{NAME}", _Handler.resolve),
]
