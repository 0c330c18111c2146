"""Prompts: identity, split, conflicts, order; demonstrations."""

import pytest

from storage.campaigns import create_campaign
from storage.prompts import (
    PromptConflict,
    add_demonstrations,
    add_prompts,
    conflicts,
    demonstrations,
    prompt,
    prompt_id_of,
    prompts,
    split_of,
)
from storage.records import Message, Prompt


@pytest.fixture
def campaign(db):
    return create_campaign(db, "demo")


def said(text):
    return (Message("user", text),)


def asked(name, text, split="train", **rest):
    return Prompt(name, said(text), split, **rest)


def test_prompts_come_back_in_order_with_everything(db, campaign):
    given = [asked("b", "Why?", tags=("maths",), metadata={"source": {"page": 3}}), asked("a", "How? 😀", "eval")]
    assert add_prompts(db, campaign.id, given) == 2
    assert prompts(db, campaign.id) == given
    assert prompts(db, campaign.id, "eval") == given[1:]
    assert prompt(db, "b") == given[0]


def test_the_same_prompt_again_changes_nothing(db, campaign):
    add_prompts(db, campaign.id, [asked("a", "Why?")])
    assert add_prompts(db, campaign.id, [asked("a", "Why?"), asked("b", "How?"), asked("b", "How?")]) == 1


def test_a_prompt_may_be_in_two_campaigns(db, campaign):
    other = create_campaign(db, "other")
    add_prompts(db, campaign.id, [asked("a", "Why?")])
    assert add_prompts(db, other.id, [asked("a", "Why?")]) == 1


def test_conflicts_are_named_and_nothing_is_stored(db, campaign):
    add_prompts(db, campaign.id, [asked("a", "Why?")])
    given = [asked("a", "Who?"), asked("c", "Why?", "eval"), asked("d", " Why? ", "eval"), asked("e", "When?")]
    assert set(conflicts(db, given)) == {0, 1, 2}
    with pytest.raises(PromptConflict, match="messages: found Who") as refused:
        add_prompts(db, campaign.id, given)
    assert refused.value.conflicts[1].field == "split"
    assert len(prompts(db, campaign.id)) == 1


def test_about_fifteen_percent_are_eval_and_white_space_does_not_matter():
    splits = [split_of(said(f"question {i}")) for i in range(2000)]
    assert 0.12 < splits.count("eval") / 2000 < 0.18
    assert all(split_of(said(f" question   {i}\n")) == splits[i] for i in range(50))


def test_ids_follow_the_exact_messages():
    assert prompt_id_of(said("a")) == prompt_id_of(said("a")) != prompt_id_of(said("a "))
    assert prompt_id_of(said("a")).startswith("p-")


def test_half_a_surrogate_pair_is_replaced_not_refused(db, campaign):
    add_prompts(db, campaign.id, [asked("a", "broken \ud83d emoji")])
    assert prompt(db, "a").text == "broken \ufffd emoji"
    assert add_prompts(db, campaign.id, [asked("a", "broken \ud83d emoji")]) == 0


def test_demonstrations_are_kept_once(db, campaign):
    add_prompts(db, campaign.id, [asked("a", "Why?")])
    assert add_demonstrations(db, campaign.id, [("a", "Because."), ("a", "Because."), ("a", "So.")], "file") == 2
    assert add_demonstrations(db, campaign.id, [("a", "So.")]) == 0
    assert [(d.text, d.source) for d in demonstrations(db, campaign.id)] == [("Because.", "file"), ("So.", "file")]
