from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from pipeline.local_backend import LocalBackend
from pipeline.services import Services, only
from storage import rankings
from storage.assignments import Assignments
from storage.people import create_person
from storage.records import Submission
from ui.tally import Tally


@pytest.fixture
def services(campaign_with_tasks):
    database = campaign_with_tasks.database
    return Services(Path("unused"), database, Assignments(database), only(LocalBackend(Path.cwd())))


@pytest.fixture
def stored(services):
    """One answer of ann, who is person 1."""
    claimed = services.pool.claim(create_person(services.database, "ann", "annotator").id)
    sent = Submission("key-00000001", claimed.id, "ranking", tuple((one,) for one in claimed.shown))
    return rankings.submit(services.database, services.pool, 1, sent)


def test_answers_are_read_from_storage_once_and_counted_along(services, stored):
    tally = Tally(services)
    assert tally.of(1) == {"today": 1, "total": 1}
    tally.add(stored)
    assert tally.of(1) == {"today": 1, "total": 1}
    tally.add(replace(stored, task_id=2))
    assert tally.of(1) == {"today": 2, "total": 2}


def test_a_repeat_counts_beside_the_first_answer(services, stored):
    tally = Tally(services)
    tally.add(replace(stored, purpose="repeat"))
    assert tally.of(1)["total"] == 2


def test_a_withdrawn_answer_is_taken_back(services, stored):
    tally = Tally(services)
    tally.add(replace(stored, kind="skip", revision=2))
    assert tally.of(1) == {"today": 0, "total": 0}


def test_a_new_day_begins_at_nought(services, stored):
    tomorrow = Tally(services, today=lambda: (datetime.now(UTC) + timedelta(days=1)).date())
    assert tomorrow.of(1) == {"today": 0, "total": 1}


def test_guidelines_are_news_only_to_who_worked_under_older_ones(services, stored):
    tally = Tally(services)
    ben = create_person(services.database, "ben", "annotator")
    assert tally.guidelines_changed(1, 1, 2) and not tally.guidelines_changed(1, 1, 1)
    assert not tally.guidelines_changed(ben.id, 1, 2)
    tally.add(replace(stored, guidelines_version=2))
    assert not tally.guidelines_changed(1, 1, 2)
