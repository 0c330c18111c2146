"""Answers: stored exactly once, counted or surplus, revised with history, read back."""

import threading
import uuid
from dataclasses import replace

import pytest

from storage.assignments import Assignments
from storage.campaigns import edit_campaign
from storage.people import find_or_create
from storage.rankings import (
    AlreadyAnswered,
    CampaignClosed,
    SubmissionConflict,
    UnknownAssignment,
    add_imported,
    answer,
    answer_table,
    answers,
    exclude,
    revise,
    submit,
    watermark,
)
from storage.records import InvalidRecord, Submission
from storage.tasks import open_tasks


@pytest.fixture
def pool(campaign_with_tasks):
    return Assignments(campaign_with_tasks.database)


@pytest.fixture
def ann(db):
    return find_or_create(db, "Ann", "simulated").id


@pytest.fixture
def bob(db):
    return find_or_create(db, "Bob", "simulated").id


def ranking(assignment, tiers=None, kind="ranking"):
    given = tiers or (assignment.shown[:1], assignment.shown[1:3], assignment.shown[3:])
    return Submission(uuid.uuid4().hex, assignment.id, kind, given if kind == "ranking" else (), 2.5)


def test_a_ranking_is_stored_with_dense_ranks_of_the_tasks_order(db, pool, ann):
    assignment = pool.claim(ann)
    stored = submit(db, pool, ann, ranking(assignment))
    rank_of = dict(zip(pool.task(assignment.task_id).completion_ids, stored.ranks, strict=True))
    assert [rank_of[completion_id] for completion_id in assignment.shown] == [1, 2, 2, 3]
    assert (stored.status, stored.revision, stored.shown, stored.seconds) == ("counted", 1, assignment.shown, 2.5)
    assert answers(db) == [stored]


def test_the_same_submission_again_gives_the_stored_answer(db, pool, ann):
    submission = ranking(pool.claim(ann))
    assert submit(db, pool, ann, submission) == submit(db, pool, ann, replace(submission, seconds=9.0))
    assert len(answers(db)) == 1


def test_of_twenty_duplicates_at_once_one_is_stored(db, pool, ann):
    submission, results = ranking(pool.claim(ann)), []
    threads = [threading.Thread(target=lambda: results.append(submit(db, pool, ann, submission))) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(answers(db)) == 1
    assert results == answers(db) * 20


def test_of_twenty_different_answers_at_once_one_is_stored(db, pool, ann):
    assignment, outcomes = pool.claim(ann), []

    def send():
        try:
            outcomes.append(submit(db, pool, ann, ranking(assignment)))
        except AlreadyAnswered as error:
            outcomes.append(error)

    threads = [threading.Thread(target=send) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(isinstance(outcome, AlreadyAnswered) for outcome in outcomes) == 19
    assert len(answers(db)) == 1


def test_a_key_used_for_something_else_is_a_conflict(db, pool, ann):
    first = ranking(pool.claim(ann))
    submit(db, pool, ann, first)
    with pytest.raises(SubmissionConflict):
        submit(db, pool, ann, replace(first, tiers=first.tiers[::-1]))
    with pytest.raises(SubmissionConflict, match="another task"):
        submit(db, pool, ann, replace(ranking(pool.claim(ann)), submission_id=first.submission_id))
    assert len(answers(db)) == 1


def test_a_second_answer_under_another_key_is_refused(db, pool, ann):
    assignment = pool.claim(ann)
    submit(db, pool, ann, ranking(assignment))
    with pytest.raises(AlreadyAnswered, match="Revise"):
        submit(db, pool, ann, ranking(assignment))


def test_foreign_and_unknown_assignments_are_refused(db, pool, ann, bob):
    assignment = pool.claim(ann)
    for person, submission in ((bob, ranking(assignment)), (ann, replace(ranking(assignment), assignment_id="no"))):
        with pytest.raises(UnknownAssignment):
            submit(db, pool, person, submission)


def test_tiers_must_hold_exactly_the_tasks_completions(db, pool, ann):
    assignment = pool.claim(ann)
    for tiers in ((assignment.shown[:3],), (assignment.shown, (999,))):
        with pytest.raises(InvalidRecord, match="tiers"):
            submit(db, pool, ann, ranking(assignment, tiers))
    assert pool.live(assignment.id) == assignment


def test_all_bad_counts_and_skips_do_not(db, pool, ann, bob):
    first = pool.claim(ann)
    submit(db, pool, ann, ranking(first, kind="all_bad"))
    second = pool.claim(bob)
    submit(db, pool, bob, ranking(second, kind="skip"))
    assert second.task_id == first.task_id
    assert answer_table(db).column("kind").to_pylist() == ["all_bad"]
    assert pool.claim(find_or_create(db, "Cem", "simulated").id).task_id == first.task_id


def test_a_revision_supersedes_and_keeps_history(db, pool, ann):
    first = submit(db, pool, ann, ranking(pool.claim(ann)))
    change = Submission(uuid.uuid4().hex, "any", "ranking", tuple((c,) for c in first.shown[::-1]))
    second = revise(db, ann, first.submission_id, change)
    assert (second.revision, second.status, second.assignment_id) == (2, "counted", first.assignment_id)
    assert [a.status for a in answers(db)] == ["superseded", "counted"]
    assert revise(db, ann, first.submission_id, change) == second
    assert answer_table(db)["seq"].to_pylist() == [second.seq]


def test_only_ones_own_newest_answer_is_revised(db, pool, ann, bob):
    first = submit(db, pool, ann, ranking(pool.claim(ann)))
    change = Submission(uuid.uuid4().hex, "any", "skip")
    with pytest.raises(UnknownAssignment):
        revise(db, bob, first.submission_id, change)
    revise(db, ann, first.submission_id, change)
    with pytest.raises(SubmissionConflict, match="newest"):
        revise(db, ann, first.submission_id, replace(change, submission_id=uuid.uuid4().hex))


def test_revising_to_a_skip_frees_the_place_and_back_takes_it(db, pool, ann):
    first = submit(db, pool, ann, ranking(pool.claim(ann)))
    skipped = revise(db, ann, first.submission_id, Submission(uuid.uuid4().hex, "any", "skip"))
    assert answer_table(db).num_rows == 0
    others = [pool.claim(find_or_create(db, f"o{n}", "simulated").id) for n in range(2)]
    assert {a.task_id for a in others} == {first.task_id}
    back = Submission(uuid.uuid4().hex, "any", "ranking", tuple((c,) for c in first.shown))
    assert revise(db, ann, skipped.submission_id, back).status == "surplus"


def test_a_closed_campaign_is_not_revised(db, pool, ann, campaign_with_tasks):
    first = submit(db, pool, ann, ranking(pool.claim(ann)))
    edit_campaign(db, campaign_with_tasks.campaign.id, state="closed")
    with pytest.raises(CampaignClosed):
        revise(db, ann, first.submission_id, Submission(uuid.uuid4().hex, "any", "skip"))


def test_an_answer_knows_the_guidelines_it_followed(db, pool, ann, campaign_with_tasks):
    edit_campaign(db, campaign_with_tasks.campaign.id, guidelines="new")
    assert submit(db, pool, ann, ranking(pool.claim(ann))).guidelines_version == 2


def test_excluding_frees_the_place_and_says_why(db, pool, ann, bob):
    first = submit(db, pool, ann, ranking(pool.claim(ann)))
    submit(db, pool, bob, ranking(pool.claim(bob)))
    assert exclude(db, first.submission_id, "clicks at random", ann).status == "excluded"
    assert answer(db, first.submission_id).reason == "clicks at random"
    assert answer_table(db)["person"].to_pylist() == ["Bob"]
    assert pool.claim(find_or_create(db, "Cem", "simulated").id).task_id == first.task_id
    with pytest.raises(InvalidRecord, match="submission"):
        exclude(db, "nothing", "why")


def test_who_is_excluded_does_not_come_back_by_revising(db, pool, ann):
    first = submit(db, pool, ann, ranking(pool.claim(ann)))
    exclude(db, first.submission_id, "clicks at random")
    again = Submission(uuid.uuid4().hex, "any", "ranking", tuple((c,) for c in first.shown))
    revised = revise(db, ann, first.submission_id, again)
    assert (revised.status, revised.reason) == ("excluded", "clicks at random")


def test_a_watermark_gives_the_same_table_for_ever(db, pool, ann, bob):
    first = submit(db, pool, ann, ranking(pool.claim(ann)))
    second = submit(db, pool, bob, ranking(pool.claim(bob)))
    mark = watermark(db)
    before = answer_table(db, up_to=mark)
    revise(db, ann, first.submission_id, Submission(uuid.uuid4().hex, "any", "skip"))
    exclude(db, second.submission_id, "late rule")
    assert answer_table(db, up_to=mark).equals(before)
    assert answer_table(db).num_rows == 0
    assert before["seq"].to_pylist() == [first.seq, second.seq]


def test_the_table_carries_what_statistics_need(db, pool, ann, campaign_with_tasks):
    assignment = pool.claim(ann)
    submit(db, pool, ann, ranking(assignment))
    [row] = answer_table(db, campaign_with_tasks.campaign.id).to_pylist()
    task = pool.task(assignment.task_id)
    assert (row["prompt_id"], row["split"], row["person"]) == (task.prompt_id, "train", "Ann")
    assert tuple(row["completion_ids"]) == task.completion_ids
    assert tuple(row["shown"]) == assignment.shown


def test_answers_are_filtered_ordered_and_limited(db, pool, ann, bob, campaign_with_tasks):
    for person in (ann, bob, ann):
        submit(db, pool, person, ranking(pool.claim(person)))
    assert [a.seq for a in answers(db, campaign_with_tasks.campaign.id, ann)] == [1, 3]
    assert [a.seq for a in answers(db, newest_first=True, limit=2)] == [3, 2]
    assert answers(db, campaign_id=99) == []


def test_imported_rankings_count_once_and_repeats_are_excluded(db, ann, campaign_with_tasks):
    task = campaign_with_tasks.tasks[0]
    first = add_imported(db, task.campaign_id, ann, task.id, [1, 2, 3, 4])
    assert add_imported(db, task.campaign_id, ann, task.id, [1, 2, 3, 4]) is None
    repeat = add_imported(db, task.campaign_id, ann, task.id, [2, 1, 1, 3], repeat=True)
    assert (first.status, repeat.status, repeat.reason) == ("counted", "excluded", "repeat")
    assert answer_table(db)["seq"].to_pylist() == [first.seq]
    for wrong in ([1, 2, 3], [1, 2, 4, 4], [0, 1, 2, 3]):
        with pytest.raises(InvalidRecord, match="ranks"):
            add_imported(db, task.campaign_id, ann, task.id, wrong)


def test_an_imported_ranking_has_a_home_that_nobody_can_claim(db, pool, ann, campaign_with_tasks):
    first = campaign_with_tasks.tasks[0]
    [home] = open_tasks(db, first.campaign_id, [(first.prompt_id, first.completion_ids[:2])], overlap=0)
    add_imported(db, first.campaign_id, ann, home.id, [1, 2])
    assert pool.counts() == {"tasks": 3, "open": 3, "leases": 0}
    assert answer_table(db).num_rows == 1
