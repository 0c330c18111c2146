"""What the tests of the leads' pages and of the HTTP API start from: in-memory services, people, a request.

Holds no tests. The requests carry a real session cookie or a real key through the real Auth.
"""

from dataclasses import dataclass, field
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response

from pipeline.backend import Ending, Reach, Use
from pipeline.services import Services, only
from storage import campaigns, completions, people, prompts, runs, tasks
from storage.assignments import Assignments
from storage.database import Database
from storage.records import Message, Person, Prompt
from ui.auth import COOKIE, Auth

HOSTILE = '<img src=x onerror="window.hit=1">${Object.assign(window,{hit:1})}{{1}}'


@dataclass
class IdleBackend:
    """A backend that starts nothing: runs stay where the tests put them."""

    asked: list = field(default_factory=list)
    name, remote, usual_timeout, margin = "local", False, 0, 0

    def slots(self):
        return ("this machine",)

    def submit(self, job):
        self.asked.append((job.directory, job.module))
        return "idle"

    def sync(self, run_directory, handle):
        pass

    def clear(self, run_directory, handle):
        pass

    def ending(self, handle):
        return Ending()

    def reach(self):
        return Reach(True, "It starts nothing.")

    def find(self, run_directory):
        return None

    def alive(self, handle):
        return True

    def usage(self, handle):
        return Use("1.0 GiB of memory", 0.9)

    def cancel(self, handle, force=False):
        self.asked.append(handle)


def new_services(folder: Path) -> Services:
    """Services over an in-memory database; run directories lie in the folder."""
    database = Database(None)
    return Services(folder, database, Assignments(database), only(IdleBackend()))


def new_person(services: Services, role: str, name: str | None = None) -> Person:
    return people.create_person(services.database, name or role, role)


def session_of(auth: Auth, person: Person) -> str:
    """The value of a fresh session cookie."""
    answer = auth.sign_in(Response(), plain({}), person)
    return answer.headers["set-cookie"].split(";")[0].partition("=")[2]


def plain(headers: dict, query: str = "") -> Request:
    """A bare request; the host is the tests' own."""
    lines = [(name.lower().encode(), value.encode()) for name, value in ({"host": "test"} | headers).items()]
    scope = {"type": "http", "method": "GET", "path": "/", "query_string": query.encode(), "headers": lines}
    return Request(scope | {"scheme": "http", "server": ("test", 80)})


class FakeRequest:
    """What gradio hands to a handler, with the person's real session cookie."""

    def __init__(self, auth: Auth, person: Person | None, query: str = ""):
        cookie = {"cookie": f"{COOKIE}={session_of(auth, person)}"} if person else {}
        self.request = plain(cookie, query)
        self.headers, self.query_params = self.request.headers, self.request.query_params


@dataclass
class FakeEvent:
    """What gradio hands to a handler as the event: `_data` is whatever the browser sent."""

    _data: object


def new_campaign(services: Services, name: str = "talk", sets: int = 2, overlap: int = 1):
    """A campaign with `sets` tasks of three completions by two models; returns it with its tasks."""
    made = campaigns.create_campaign(services.database, name, overlap=overlap)
    asked = [Prompt(f"{name}-{n}", (Message("user", f"Say {n}"),), "train") for n in range(sets)]
    prompts.add_prompts(services.database, made.id, asked)
    rows = [(p.id, model, text, {}) for p in asked for model, text in (("m1", "one"), ("m2", "two"), ("m2", HOSTILE))]
    ids = completions.add_completions(services.database, rows)
    groups = [(p.id, ids[3 * n : 3 * n + 3]) for n, p in enumerate(asked)]
    opened = tasks.open_tasks(services.database, made.id, groups)
    services.pool.learn(opened)
    return made, opened


def new_run(services: Services, kind: str = "reward", campaign_id: int | None = None):
    """A stored run with an empty directory."""
    made = runs.create_run(services.database, kind, campaign_id, {"seed": 0})
    services.directory(made).mkdir(parents=True)
    return made
