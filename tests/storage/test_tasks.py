"""Tasks: opened once per set, with priorities that can change."""

import pytest

from storage.records import InvalidRecord
from storage.tasks import open_tasks, set_task_priority, task, tasks


def test_tasks_come_back_as_opened(campaign_with_tasks):
    db, opened = campaign_with_tasks.database, campaign_with_tasks.tasks
    assert tasks(db) == opened == tasks(db, campaign_with_tasks.campaign.id)
    assert task(db, opened[1].id) == opened[1]
    assert opened[0].overlap == 2


def test_the_same_set_in_any_order_is_the_same_task(campaign_with_tasks):
    db, first = campaign_with_tasks.database, campaign_with_tasks.tasks[0]
    again = open_tasks(db, first.campaign_id, [(first.prompt_id, first.completion_ids[::-1])], overlap=5)
    assert again == [first]


def test_another_purpose_or_another_set_is_another_task(campaign_with_tasks):
    db, first = campaign_with_tasks.database, campaign_with_tasks.tasks[0]
    pair = (first.prompt_id, first.completion_ids[:2])
    made = open_tasks(db, first.campaign_id, [pair, pair])
    compared = open_tasks(db, first.campaign_id, [pair], purpose="compare", overlap=0)
    assert made[0] == made[1] != compared[0]
    assert len(tasks(db)) == 5


def test_foreign_completions_are_refused(campaign_with_tasks):
    db, (first, second, _) = campaign_with_tasks.database, campaign_with_tasks.tasks
    for ids in ((first.completion_ids[0], second.completion_ids[0]), (first.completion_ids[0], 999)):
        with pytest.raises(InvalidRecord, match="a completion of prompt demo-0"):
            open_tasks(db, first.campaign_id, [(first.prompt_id, ids)])


def test_a_priority_can_be_changed(campaign_with_tasks):
    db, second = campaign_with_tasks.database, campaign_with_tasks.tasks[1]
    assert set_task_priority(db, second.id, 2.5).priority == 2.5
    assert task(db, second.id).priority == 2.5
    with pytest.raises(InvalidRecord, match="task"):
        set_task_priority(db, 999, 1)
