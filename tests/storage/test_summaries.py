"""Counts of a campaign, and the tables that exports are made of."""

import pytest

from storage.assignments import Assignments
from storage.people import create_person, find_or_create
from storage.rankings import add_imported, submit
from storage.raw_tables import QUERIES, messages_table, models_of, stream
from storage.records import Submission
from storage.summaries import counts, models, per_annotator
from storage.tasks import open_tasks


def rank(world, pool, person, kind="ranking"):
    """Claim and answer one task, first completion best."""
    lease = pool.claim(person.id, world.campaign.id)
    tiers = tuple((one,) for one in sorted(lease.shown)) if kind == "ranking" else ()
    submission = Submission(f"key-{lease.id}", lease.id, kind, tiers, 10.0)
    return submit(world.database, pool, person.id, submission)


@pytest.fixture
def ranked(db, campaign_with_tasks):
    """ann ranked two tasks, bob one and found one all bad; of three tasks with overlap 2, two are done."""
    pool = Assignments(db)
    ann, bob = create_person(db, "ann", "annotator"), create_person(db, "bob", "annotator")
    for person, kind in ((ann, "ranking"), (ann, "ranking"), (bob, "ranking"), (bob, "all_bad"), (bob, "skip")):
        rank(campaign_with_tasks, pool, person, kind)
    return campaign_with_tasks


def test_an_empty_campaign_counts_nothing_done(db, campaign_with_tasks):
    assert counts(db, campaign_with_tasks.campaign.id) == {
        "tasks": 3,
        "tasks_done": 0,
        "rankings": 0,
        "annotators": 0,
        "prompts": 3,
        "completions": 12,
    }


def test_counts_are_of_counted_answers(db, ranked):
    found = counts(db, ranked.campaign.id)
    assert [found[name] for name in ("tasks", "tasks_done", "rankings", "annotators")] == [3, 2, 3, 2]


def test_an_imported_preference_is_a_ranking_but_no_task(db, ranked):
    imported = find_or_create(db, "file", "imported")
    first = ranked.tasks[0]
    home = open_tasks(db, ranked.campaign.id, [(first.prompt_id, first.completion_ids[:2])], overlap=0)[0]
    add_imported(db, ranked.campaign.id, imported.id, home.id, [1, 2])
    found = counts(db, ranked.campaign.id)
    assert [found[name] for name in ("tasks", "rankings", "annotators")] == [3, 4, 3]


def test_each_annotator_has_a_row(db, ranked):
    ann, bob = per_annotator(db, ranked.campaign.id)
    assert (ann["name"], ann["rankings"], ann["all_bad"], ann["skipped"], ann["seconds"]) == ("ann", 2, 0, 0, 10.0)
    assert (bob["name"], bob["rankings"], bob["all_bad"], bob["skipped"]) == ("bob", 1, 1, 1)


def test_each_model_has_a_row(db, ranked):
    rows = models(db, ranked.campaign.id)
    assert rows == [{"model": name, "completions": 6, "prompts": 3} for name in "ab"]
    assert sorted(models_of(db, ranked.campaign.id).values()) == ["a"] * 6 + ["b"] * 6


@pytest.mark.parametrize("name", QUERIES)
def test_every_raw_table_can_be_read_for_one_campaign_and_for_all(db, ranked, name):
    rows = {"campaigns": 1, "prompts": 3, "completions": 12, "tasks": 3, "answers": 5, "people": 2, "demonstrations": 0}
    rows |= {"ratings": 0, "thumbs": 0, "flags": 0}
    for campaign_id in (ranked.campaign.id, None):
        assert stream(db, name, campaign_id, lambda reader: reader.read_all().num_rows) == rows[name]
    assert stream(db, name, 99, lambda reader: reader.read_all().num_rows) == 0


def test_raw_tables_hold_no_secrets(db, ranked):
    for name in QUERIES:
        columns = stream(db, name, None, lambda reader: reader.schema.names)
        assert not [column for column in columns if "hash" in column or "password" in column or "key" in column]


def test_messages_are_found_by_id(db, ranked):
    table = messages_table(db, ["demo-2", "demo-0", "nobody"])
    assert table["prompt_id"].to_pylist() == ["demo-0", "demo-2"]
