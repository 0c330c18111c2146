"""The app as a process: serves, says where, survives kill -9, and leaves cleanly on SIGTERM."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

import app
from pipeline.launch import launch
from pipeline.run_directory import RunDirectory
from pipeline.services import open_services
from storage import api_keys, people, runs
from tests.pipeline.small_campaign import add_base, add_campaign, add_tasks

ROOT = Path(__file__).resolve().parent.parent
STARTED_BY = """
import os, sys, app
from pipeline.configs import MODULES
MODULES.update(dict.fromkeys(MODULES, "tests.pipeline.fake_job"))
sys.exit(app.main([], os.environ))
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class App:
    """One folder and the processes that serve it."""

    def __init__(self, folder: Path):
        self.folder = folder / "data"
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        model = folder / "base"
        model.mkdir()
        (model / "config.json").write_text("{}")
        self.environment = {
            **os.environ,
            "RANKLOOP_DATA": str(self.folder),
            "RANKLOOP_PORT": str(self.port),
            "RANKLOOP_BASE_MODEL": str(model),
        }
        self.process = None

    def start(self):
        log = (self.folder / "app.log").open("a")
        self.process = subprocess.Popen(
            [sys.executable, "-c", STARTED_BY], cwd=ROOT, env=self.environment, stdout=log, stderr=log
        )
        self.until(self.answers)

    def answers(self):
        assert self.process.poll() is None, self.said()
        try:
            return httpx.get(f"{self.url}/healthz").status_code == 200
        except httpx.HTTPError:
            return False

    def until(self, condition, seconds=240):
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, self.said()
            time.sleep(0.1)

    def said(self):
        return (self.folder / "app.log").read_text()

    def end(self, number):
        self.process.send_signal(number)
        return self.process.wait(60)

    def verb(self, *words):
        done = subprocess.run(
            [sys.executable, "app.py", *words], cwd=ROOT, env=self.environment, capture_output=True, text=True
        )
        return done.returncode, done.stdout, done.stderr


@pytest.fixture
def served(tmp_path):
    """The app on a folder with a campaign, six tasks, an admin's key, and a run that waits in the queue."""
    running = App(tmp_path)
    services = open_services(running.folder)
    add_base(services)
    campaign = add_campaign(services, overlap=2)
    add_tasks(services, campaign)
    admin = people.create_person(services.database, "root", "admin")
    running.key = api_keys.create_api_key(services.database, admin.id, "test")
    running.run_id = launch(services, "generate", campaign.id, {"k": 2}).id
    services.close()
    (running.folder / "runs" / "behaviour").write_text("wait")
    running.start()
    yield running
    if running.process.poll() is None:
        running.end(signal.SIGKILL)
    (running.folder / "runs" / "go").touch()


def state(running):
    headers = {"Authorization": f"Bearer {running.key}"}
    return httpx.get(f"{running.url}/api/v1/runs/{running.run_id}", headers=headers).json()["state"]


@pytest.mark.slow
def test_the_app_says_where_it_is_and_leaves_cleanly(served):
    served.until(lambda: "login?token=" in served.said())
    assert f"RankLoop is at {served.url}" in served.said()
    link = re.search(r"http\S+/login\?token=\S+", served.said()).group()
    assert httpx.get(link).status_code < 500
    assert json.loads((served.folder / "server.json").read_text()) == {"pid": served.process.pid, "url": served.url}
    assert served.end(signal.SIGTERM) == 0
    assert not (served.folder / "server.json").exists()


@pytest.mark.slow
def test_a_run_outlives_a_killed_app_and_the_next_one_follows_it(served):
    served.until(lambda: state(served) == "running")
    served.end(signal.SIGKILL)
    served.start()
    assert state(served) == "running"
    (served.folder / "runs" / "go").touch()
    served.until(lambda: state(served) == "succeeded")
    served.end(signal.SIGTERM)
    services = open_services(served.folder)
    assert [name for name, *_ in runs.state_history(services.database, served.run_id)].count("succeeded") == 1
    services.close()


@pytest.mark.slow
def test_a_second_app_on_the_folder_refuses_and_leaves_the_first_alone(served):
    served.until((served.folder / "server.json").exists)
    announced = (served.folder / "server.json").read_text()
    environment = {**served.environment, "RANKLOOP_PORT": str(free_port())}
    second = subprocess.run([sys.executable, "app.py"], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert second.returncode == 1 and second.stdout == ""
    assert second.stderr.startswith("app.py: ") and served.url in second.stderr and "Traceback" not in second.stderr
    assert (served.folder / "server.json").read_text() == announced and served.answers()
    served.until(lambda: state(served) == "running")


@pytest.mark.slow
def test_curves_are_complete_when_a_browser_comes_back_that_was_closed_the_whole_run(served):
    (served.folder / "runs" / "go").touch()
    files = RunDirectory(served.folder / "runs" / served.run_id)
    served.until(lambda: files.result() is not None)
    written = [(row["step"], row["loss"]) for row in files.metrics()[0]]
    served.until(lambda: state(served) == "succeeded")
    path = f"{served.url}/api/v1/runs/{served.run_id}"
    headers = {"Authorization": f"Bearer {served.key}"}
    rows = httpx.get(f"{path}/metrics", headers=headers).json()
    assert [(row["step"], row["loss"]) for row in rows] == written != []
    stream = httpx.get(f"{path}/events", headers=headers).text
    told = json.loads(re.search(r"event: rows\ndata: (.*)", stream).group(1))
    assert told == {"from": 0, "rows": rows} and "event: end" in stream


@pytest.mark.slow
def test_verbs_name_the_server_and_simulate_works_over_http(served):
    code, out, err = served.verb("report", "--json")
    assert (code, out) == (1, "") and served.url in err and len(err.strip().splitlines()) == 1
    code, out, err = served.verb("simulate", "--annotators", "2", "--url", served.url, "--key", served.key, "--json")
    assert code == 0 and json.loads(out)["rankings"] == 12, err


def test_wrong_settings_are_refused_before_anything_opens(tmp_path, capsys):
    assert app.main([], {"RANKLOOP_PORT": "x"}) == 2
    assert app.main([], {"RANKLOOP_BASE_MODEL": str(tmp_path)}) == 2
    said = capsys.readouterr().err
    assert "RANKLOOP_PORT" in said and "without config.json" in said
