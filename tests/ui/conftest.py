"""A really launched workbench on a temporary folder, and a real Chromium to look at it; services for tests without.

Nothing is trained.
"""

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from playwright.sync_api import Browser, sync_playwright

from pipeline.services import Services, open_services
from storage import campaigns, completions, people, prompts, tasks, versions
from storage.checks import add_check
from storage.records import Campaign, Message, ModelVersion, Person, Prompt
from storage.setups import edit_setup
from tests.ui.flaky_proxy import FlakyProxy
from tests.ui.leads import new_services
from ui import workbench
from ui.settings import Settings

CHROMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
PASSWORD = "a good long password"


class Bench:
    """A running server with its services; makes people and campaigns for one test."""

    def __init__(self, data: Path):
        self.services: Services = open_services(data)
        versions.register_version(self.services.database, ModelVersion("starter", "policy", "nowhere"))
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.settings = Settings(data=data, port=probe.getsockname()[1])
        self.count = 0
        self.open()

    def open(self) -> None:
        """Serve, at the same address each time."""
        self.server = workbench.serve(self.services, self.settings, block=False)
        self.url = self.server.url

    def person(self, role: str = "annotator") -> Person:
        """A new account with PASSWORD."""
        self.count += 1
        return people.create_person(self.services.database, f"{role} {self.count}", role, PASSWORD)

    def campaign(
        self, sets: list[list[str]], messages: list[Message] | None = None, setup: Mapping | None = None, **options
    ) -> Campaign:
        """The only open campaign, with a task for each set of texts; models are called secret-model-N.

        setup: fields of storage.setups.Setup that differ from the defaults.
        """
        database = self.services.database
        for other in campaigns.campaigns(database):
            campaigns.edit_campaign(database, other.id, state="paused")
        self.count += 1
        made = campaigns.create_campaign(database, f"campaign {self.count}", **options)
        if setup:
            edit_setup(database, made.id, **setup)
        opened = []
        for number, texts in enumerate(sets):
            asked = messages or [Message("user", f"Question {number} of campaign {self.count}?")]
            prompt = Prompt(f"p{self.count}-{number}", tuple(asked), prompts.split_of(asked))
            prompts.add_prompts(database, made.id, [prompt])
            rows = [(prompt.id, f"secret-model-{i}", text, {}) for i, text in enumerate(texts)]
            opened.append((prompt.id, completions.add_completions(database, rows)))
        tasks.open_tasks(database, made.id, opened)
        return made

    def training(self, campaign: Campaign, explanation: str) -> None:
        """A training task of the campaign's first prompt: its completions are expected in the order of their ids."""
        task = tasks.tasks(self.services.database, campaign.id)[0]
        ids = sorted(task.completion_ids)
        ranks = range(1, len(ids) + 1)
        add_check(self.services.database, campaign.id, task.prompt_id, ids, ranks, "training", explanation)

    def close(self) -> None:
        """Stop the server and the database."""
        self.server.close()
        self.services.close()


@pytest.fixture(scope="session")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    """One server for all tests of the pages."""
    made = Bench(tmp_path_factory.mktemp("bench"))
    yield made
    made.close()


@pytest.fixture
def person(bench: Bench) -> Person:
    """An annotator of the running server."""
    return bench.person()


@pytest.fixture
def proxy(bench: Bench) -> Iterator[FlakyProxy]:
    """A way to the running server that can break."""
    with FlakyProxy(bench.settings.port) as made:
        yield made


@pytest.fixture
def services(tmp_path: Path) -> Iterator[Services]:
    """Services over a database in memory; nothing is served and nothing runs."""
    made = new_services(tmp_path)
    yield made
    made.close()


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Chromium or Chrome, installed first where there is none."""
    with sync_playwright() as playwright:
        found = chrome()
        started = playwright.chromium.launch(executable_path=found, args=["--no-sandbox", "--disable-dev-shm-usage"])
        yield started
        started.close()


def chrome() -> str | None:
    """The browser of this machine, or None for Playwright's own, which is then there."""
    found = next((path for name in CHROMES if (path := shutil.which(name))), None)
    if found or playwright_has_one():
        return found
    if shutil.which("apt-get") and os.geteuid() == 0:
        environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        subprocess.run(["apt-get", "update", "-q"], check=False, env=environment)
        if subprocess.run(["apt-get", "install", "-qy", "chromium"], check=False, env=environment).returncode == 0:
            return shutil.which("chromium")
    subprocess.run([sys.executable, "-m", "playwright", "install", "chromium"], check=True)
    return None


def playwright_has_one() -> bool:
    """Whether Playwright's own Chromium was installed before."""
    with sync_playwright() as playwright:
        return Path(playwright.chromium.executable_path).exists()
