import pytest

from storage import checks
from storage.assignments import Assignments
from storage.people import create_person
from storage.records import InvalidRecord
from tests.conftest import make_campaign


def test_a_check_keeps_its_ranks_with_its_completions(db):
    made = make_campaign(db)
    task = made.tasks[0]
    turned = tuple(reversed(task.completion_ids))
    added = checks.add_check(db, made.campaign.id, task.prompt_id, turned, [4, 3, 2, 1], explanation="why")
    again = checks.add_check(db, made.campaign.id, task.prompt_id, task.completion_ids, [1, 2, 3, 3])
    known = checks.check(db, added.id)
    assert again.id == added.id and added.purpose == "gold"
    assert dict(zip(added.completion_ids, known.ranks, strict=True)) == dict(
        zip(task.completion_ids, [1, 2, 3, 3], strict=True)
    )


def test_ranks_that_say_nothing_are_refused(db):
    made = make_campaign(db)
    task = made.tasks[0]
    for ranks in ([1, 1, 1, 1], [1, 3, 3, 3], [1, 2]):
        with pytest.raises(InvalidRecord) as error:
            checks.add_check(db, made.campaign.id, task.prompt_id, task.completion_ids, ranks)
        assert error.value.field == "ranks"


def test_a_retired_check_is_shown_to_nobody(db):
    made = make_campaign(db, tasks=1)
    task = made.tasks[0]
    pool, person = Assignments(db), create_person(db, "ann", "annotator").id
    added = checks.add_check(db, made.campaign.id, task.prompt_id, task.completion_ids, None, "training")
    checks.retire_check(db, added.id)
    assert pool.claim(person).purpose == "work"
    assert [(t.id, c.active) for t, c in checks.checks(db, made.campaign.id)] == [(added.id, False)]
