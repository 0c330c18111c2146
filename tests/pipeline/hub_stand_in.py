"""A stand-in for the Hub: it takes a commit as the real one does, small files inline and big ones by LFS, and reads.

It refuses a commit without its token, keeps what was committed in `repositories`, and knows nothing else of the Hub.
"""

import base64
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

TOKEN, COMMIT = "hf_stand_in", "1" * 40


class StandIn(ThreadingHTTPServer):
    """repositories: {"owner/name": {"private": …, "files": {path: bytes}}}."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.repositories: dict[str, dict] = {}
        self.blobs: dict[str, bytes] = {}

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    """One request: what it asks for is named by its path."""

    server: StandIn

    def log_message(self, *words) -> None:
        """Quiet."""

    def answer(self, value: object, status: int = 200) -> None:
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def do_PUT(self) -> None:
        """A big file, at the address that the batch named."""
        self.server.blobs[self.path.rsplit("/", 1)[1]] = self.body()
        self.answer({})

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        """A model's list of files, or one file."""
        path = urlsplit(self.path).path
        info = re.fullmatch(r"/api/models/([^/]+/[^/]+)(/revision/[^/]+|/tree/[^/]+)?", path)
        file = re.fullmatch(r"/([^/]+/[^/]+)/resolve/[^/]+/(.+)", path)
        repository = self.server.repositories.get((info or file)[1]) if info or file else None
        if repository is None or (file and file[2] not in repository["files"]):
            self.answer({"error": "Repository not found"}, 404)
        elif file:
            self.give(repository["files"][file[2]])
        elif (info[2] or "").startswith("/tree/"):
            self.answer([{"type": "file", "path": name, "oid": _oid(content), "size": len(content)}
                         for name, content in repository["files"].items()])  # fmt: skip
        else:
            siblings = [{"rfilename": name} for name in repository["files"]]
            self.answer({"id": info[1], "sha": COMMIT, "siblings": siblings, "private": repository["private"]})

    def give(self, content: bytes) -> None:
        self.send_response(200)
        self.send_header("ETag", f'"{_oid(content)}"')
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)

    def do_POST(self) -> None:
        sent = self.body()
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            self.answer({"error": "Invalid user token."}, 401)
        elif self.path == "/api/repos/create":
            self.create(json.loads(sent))
        elif self.path == "/api/validate-yaml":
            self.answer({"errors": [], "warnings": []})
        elif "/preupload/" in self.path:
            self.answer({"files": [_way(file["path"]) for file in json.loads(sent)["files"]]})
        elif self.path.endswith("/info/lfs/objects/batch"):
            actions = [{**one, "actions": {"upload": {"href": f"{self.server.endpoint}/lfs/{one['oid']}"}}}
                       for one in json.loads(sent)["objects"]]  # fmt: skip
            self.answer({"transfer": "basic", "objects": actions})
        elif found := re.fullmatch(r"/api/models/(.+)/commit/main", self.path):
            self.commit(found[1], [json.loads(line) for line in sent.splitlines()])
        else:
            self.answer({"error": f"unknown {self.path}"}, 404)

    def create(self, wish: dict) -> None:
        name = "/".join(filter(None, (wish.get("organization"), wish["name"])))
        there = name in self.server.repositories
        self.server.repositories.setdefault(
            name, {"private": wish.get("visibility") == "private", "files": {}, "commits": []}
        )
        self.answer({"url": f"{self.server.endpoint}/{name}"}, 409 if there else 200)

    def commit(self, name: str, lines: list[dict]) -> None:
        repository = self.server.repositories[name]
        for line in lines:
            value = line["value"]
            if line["key"] == "header":
                repository["commits"].append(value["summary"])
            elif line["key"] == "file":
                repository["files"][value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                repository["files"][value["path"]] = self.server.blobs[value["oid"]]
        self.answer({"commitUrl": f"{self.server.endpoint}/{name}/commit/1", "commitOid": COMMIT, "hookOutput": ""})


def _way(path: str) -> dict:
    mode = "lfs" if path.endswith(".safetensors") else "regular"
    return {"path": path, "shouldIgnore": False, "uploadMode": mode}


def _oid(content: bytes) -> str:
    return hashlib.sha1(content).hexdigest()


@contextmanager
def stand_in() -> Iterator[StandIn]:
    """A stand-in that answers meanwhile."""
    server = StandIn()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
