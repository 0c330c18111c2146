"""What is said where something else than a willing Ray cluster answers. The cluster itself: test_ray_jobs.py."""

import json
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from pipeline.backend import BackendUnreachable, Job
from pipeline.ray_api import RayApi
from pipeline.ray_jobs import RayBackend
from pipeline.resources import Resources
from pipeline.run_directory import RunDirectory


@pytest.fixture
def answering():
    """Starts a server that gives one answer to everything, and notes the headers it was asked with."""
    servers = []

    def start(status, body):
        class Answer(BaseHTTPRequestHandler):
            def do_GET(self):
                self.server.asked.append(self.headers)
                self.server.sent = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            do_POST = do_GET

            def log_message(self, *_):
                """Nothing."""

        servers.append(ThreadingHTTPServer(("127.0.0.1", 0), Answer))
        servers[-1].asked = []
        threading.Thread(target=servers[-1].serve_forever, daemon=True).start()
        return servers[-1], f"http://127.0.0.1:{servers[-1].server_port}/"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("status", "body", "said"),
    [
        (401, b"Unauthorized: Missing authentication token", "check the cluster's token"),
        (500, b"Traceback\nTimeoutError: no head node agent", "TimeoutError: no head node agent"),
        (200, b"<html>another service</html>", "expected Ray's dashboard"),
        (200, b"[]", "expected Ray's dashboard"),
        (200, b'{"data": {}}', "expected Ray's dashboard"),
    ],
)
def test_an_answer_that_is_none_names_the_address_and_what_to_do(answering, status, body, said):
    _, address = answering(status, body)
    with pytest.raises(BackendUnreachable, match=said) as refused:
        RayApi(address).submission("any")
    assert address.rstrip("/") in str(refused.value)
    reach = RayBackend(address, "/tmp", ("cpu",)).reach()
    assert not reach.reachable and said in reach.said


def test_nobody_at_the_address(tmp_path):
    reach = RayBackend("http://127.0.0.1:9", str(tmp_path), ("cpu",)).reach()
    assert not reach.reachable and "found nobody at http://127.0.0.1:9" in reach.said


def test_the_token_goes_along(answering):
    server, address = answering(404, b"Job any does not exist")
    assert RayApi(address, "secret").submission("any") is None
    assert server.asked[0]["Authorization"] == "Bearer secret"


def test_a_token_that_is_refused_is_never_repeated(answering):
    _, address = answering(403, b"Forbidden: Bearer secret is no token of this cluster")
    with pytest.raises(BackendUnreachable, match="check the cluster's token, of which another was sent") as refused:
        RayApi(address, "secret").version()
    assert "secret" not in str(refused.value)
    with pytest.raises(ValueError, match="token: found a character that no header can carry") as refused:
        RayApi(address, "secret\n")
    assert "secret" not in str(refused.value)


def test_a_submission_says_what_the_job_needs_and_its_time_limit(answering, tmp_path):
    server, address = answering(200, b"{}")
    directory = RunDirectory.create(tmp_path / "runs" / "0001-starter", {"run": "0001-starter"})
    with zipfile.ZipFile(directory.path / "code.zip", "w") as code:
        code.writestr("requirements.txt", "torch>=2.8\nduckdb==2.0.0\n")
    backend = RayBackend(address, str(tmp_path / "storage"), ("gpu:2",), install=True)
    handle = backend.submit(Job(directory.path, "pipeline.starter", Resources(timeout_minutes=60), "gpu:2"))
    sent = json.loads(server.sent)
    assert handle == f"ray:{sent['submission_id']}" and sent["entrypoint_num_gpus"] == 2
    assert sent["entrypoint"].startswith("timeout --foreground --kill-after=30 62m python -u -m pipeline.remote_job ")
    assert sent["runtime_env"]["working_dir"].startswith("gcs://_ray_pkg_")
    assert "torch>=2.8" in sent["runtime_env"]["pip"] and "duckdb==2.0.0" not in sent["runtime_env"]["pip"]


@pytest.mark.parametrize("address", ["", "head:8265", "ray://head:10001"])
def test_an_address_that_is_no_url_of_the_jobs_api_is_refused(address):
    with pytest.raises(ValueError, match="http://head:8265"):
        RayApi(address)
