"""Completions: identity (prompt, model, text), ids in order, nothing for unknown prompts."""

import pytest

from storage.completions import add_completions, completions, completions_of
from storage.records import InvalidRecord


def test_ids_come_in_the_order_of_the_rows(campaign_with_tasks):
    db = campaign_with_tasks.database
    rows = [("demo-0", "m", f"text {i}", {"temperature": 0.7}) for i in range(3)]
    ids = add_completions(db, rows)
    assert [c.text for c in completions(db, ids[::-1])] == ["text 2", "text 1", "text 0"]
    assert completions(db, ids[:1])[0].settings == {"temperature": 0.7}


def test_the_same_completion_keeps_its_id(campaign_with_tasks):
    db = campaign_with_tasks.database
    first = add_completions(db, [("demo-0", "m", "yes", {})])
    assert add_completions(
        db, [("demo-0", "m", "no", None), ("demo-0", "m", "yes", {}), ("demo-0", "n", "yes", {})]
    ) == [
        first[0] + 1,
        first[0],
        first[0] + 2,
    ]


def test_unknown_prompts_and_ids_are_refused(campaign_with_tasks):
    db = campaign_with_tasks.database
    with pytest.raises(InvalidRecord, match="prompt: found nowhere"):
        add_completions(db, [("nowhere", "m", "text", {})])
    with pytest.raises(InvalidRecord, match="completion: found 999"):
        completions(db, [999])


def test_completions_of_a_prompt(campaign_with_tasks):
    db = campaign_with_tasks.database
    assert [c.id for c in completions_of(db, "demo-1")] == list(campaign_with_tasks.tasks[1].completion_ids)
