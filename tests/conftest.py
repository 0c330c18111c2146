"""What all tests share: no network, no telemetry, a fresh database in memory, a campaign with open tasks."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
os.environ["OMP_NUM_THREADS"] = "1"  # the models of the tests are so small that a second thread only waits

import pytest

from storage.campaigns import create_campaign
from storage.completions import add_completions
from storage.database import Database
from storage.prompts import add_prompts
from storage.records import Campaign, Message, Prompt, Task
from storage.tasks import open_tasks


@dataclass(frozen=True)
class CampaignWithTasks:
    """An open campaign whose tasks have four completions each: two by model a, two by model b."""

    database: Database
    campaign: Campaign
    tasks: list[Task]


def make_campaign(database: Database, name: str = "demo", tasks: int = 3, overlap: int = 2) -> CampaignWithTasks:
    """A campaign with that many prompts and one task for each."""
    campaign = create_campaign(database, name, overlap=overlap)
    prompts = [Prompt(f"{name}-{i}", (Message("user", f"{name}: question {i}"),), "train") for i in range(tasks)]
    add_prompts(database, campaign.id, prompts)
    rows = [(p.id, "ab"[i % 2], f"answer {i} to {p.id}", {}) for p in prompts for i in range(4)]
    ids = add_completions(database, rows)
    sets = [(p.id, ids[4 * i : 4 * i + 4]) for i, p in enumerate(prompts)]
    return CampaignWithTasks(database, campaign, open_tasks(database, campaign.id, sets))


@pytest.fixture
def db() -> Iterator[Database]:
    """A fresh database in memory."""
    with Database(None) as database:
        yield database


@pytest.fixture
def folder_db(tmp_path: Path) -> Iterator[Database]:
    """A fresh database in a data folder, with its journal."""
    with Database(tmp_path / "data") as database:
        yield database


@pytest.fixture
def campaign_with_tasks(db: Database) -> CampaignWithTasks:
    """Campaign "demo": three tasks, overlap 2."""
    return make_campaign(db)


LONGEST = ("test_loop.py", "test_starter.py", "test_chaos.py", "test_kill_app.py")  # files that begin first


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest files first, so that no process works on one alone at the end."""
    place = {name: number for number, name in enumerate(LONGEST)}
    items.sort(key=lambda item: place.get(item.path.name, len(place)))


def pytest_terminal_summary(terminalreporter, exitstatus, config) -> None:
    """Say loudly what did not run: a skipped test is a failed one here."""
    for report in terminalreporter.stats.get("skipped", []):
        terminalreporter.write_line(f"SKIPPED, which counts as failed: {report.nodeid}", red=True)


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session, exitstatus) -> None:
    """No test may be skipped: without a browser or a model the run fails rather than pass by doing less."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if reporter is not None and reporter.stats.get("skipped") and exitstatus == 0:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
