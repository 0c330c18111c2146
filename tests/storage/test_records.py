"""Records refuse to be built wrong and own their rules."""

import pytest

from storage.records import Campaign, Comparison, InvalidRecord, Message, Person, Prompt, Submission, Task


def test_swapping_a_comparison_flips_its_preference():
    comparison = Comparison("p", first=1, second=2, preference=0.75, weight=2.0, margin=1.0)
    assert comparison.swapped() == Comparison("p", 2, 1, 0.25, 2.0, -1.0)
    assert comparison.swapped().swapped() == comparison


@pytest.mark.parametrize(
    ("build", "field"),
    [
        (lambda: Message("boss", "hello"), "role"),
        (lambda: Prompt("p", (), "train"), "messages"),
        (lambda: Prompt("p", (Message("user", "hi"),), "test"), "split"),
        (lambda: Campaign(1, "demo", k=10), "k"),
        (lambda: Task(1, 1, "p", (3, 3), overlap=1), "completions"),
        (lambda: Task(1, 1, "p", (3,), overlap=1), "completions"),
        (lambda: Comparison("p", 1, 1, 0.5), "second"),
        (lambda: Comparison("p", 1, 2, 1.5), "preference"),
        (lambda: Submission("short", "a", "ranking", ((1,),)), "submission_id"),
        (lambda: Submission("12345678", "a", "ranking"), "tiers"),
        (lambda: Submission("12345678", "a", "skip", ((1,),)), "tiers"),
        (lambda: Submission("12345678", "a", "ranking", ((1,), (1,))), "tiers"),
        (lambda: Person(1, "ann", "queen"), "role"),
    ],
)
def test_a_wrong_value_is_refused_by_field(build, field):
    with pytest.raises(InvalidRecord) as refusal:
        build()
    assert refusal.value.field == field


def test_a_role_includes_the_roles_below_it():
    lead = Person(1, "lee", "lead")
    assert lead.may("annotator") and lead.may("reviewer") and not lead.may("admin")
