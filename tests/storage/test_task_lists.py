"""Tasks searched and paged, the answers to one, and where a known answer comes from."""

import pytest

from storage import checks, members, prompts, tasks
from storage.assignments import Assignments
from storage.completions import add_completions
from storage.exclusions import exclude
from storage.known_answers import known_ranks, order_words, typed_ranks
from storage.records import InvalidRecord, Message, Prompt
from storage.task_lists import STATES, answer_page, task_answers, task_page
from tests.conftest import make_campaign
from tests.storage.test_eligibility import answer, answer_all, gold, someone


def ids(page):
    return [row.id for row in page.rows]


def test_tasks_are_found_by_words_of_their_prompt_in_any_case_and_by_id(db):
    made = make_campaign(db, tasks=12)
    assert ids(task_page(db, made.campaign.id, "QUESTION 3")) == [made.tasks[3].id]
    assert ids(task_page(db, made.campaign.id, "demo-4")) == [made.tasks[4].id]
    assert ids(task_page(db, made.campaign.id, "user role content")) == []  # words of the stored form are no text


@pytest.mark.parametrize("words", ["100%", "a_b", '"quoted"', "back\\slash", "%"])
def test_a_search_takes_every_sign_as_itself(db, words):
    made = make_campaign(db)
    texts = ["it is 100% sure", "a_b", 'he said "quoted"', "back\\slash", "axb"]
    asked = [Prompt(f"s{n}", (Message("user", text),), "train") for n, text in enumerate(texts)]
    prompts.add_prompts(db, made.campaign.id, asked)
    rows = [(p.id, "m", f"{k}", {}) for p in asked for k in range(2)]
    made_ids = add_completions(db, rows)
    tasks.open_tasks(db, made.campaign.id, [(p.id, made_ids[2 * n : 2 * n + 2]) for n, p in enumerate(asked)])
    found = task_page(db, made.campaign.id, words).rows
    assert [row.text for row in found] == [text for text in texts if words in text]


def test_pages_follow_priority_and_tell_how_many_there_are(db):
    made = make_campaign(db, tasks=7)
    tasks.set_task_priority(db, made.tasks[6].id, 2)
    first, last = (task_page(db, made.campaign.id, offset=n, limit=3) for n in (0, 6))
    assert ids(first) == [made.tasks[6].id, made.tasks[0].id, made.tasks[1].id]
    assert (len(last.rows), last.total) == (1, 7)
    assert (task_page(db, made.campaign.id, offset=30).rows, task_page(db, made.campaign.id, offset=30).total) == (
        [],
        7,
    )


def test_each_state_lists_its_tasks(db):
    made = make_campaign(db, tasks=4, overlap=1)
    pool, person = Assignments(db), someone(db)
    answer(db, pool, person, pool.claim(person))
    members.assign(db, [made.tasks[3].id], [person])
    retired = gold(db, made, count=2)[0]
    checks.retire_check(db, retired.id)
    totals = {state: task_page(db, made.campaign.id, state=state).total for state in STATES}
    assert totals == {"all": 6, "open": 3, "done": 1, "assigned": 1, "checks": 1, "retired": 1}
    assert {row.state for row in task_page(db, made.campaign.id).rows} == {"open", "done", "check", "retired"}


def test_a_wrong_state_or_range_is_refused(db):
    for wrong in ({"state": "lost"}, {"offset": -1}, {"limit": 0}, {"limit": 10_000}):
        with pytest.raises(InvalidRecord):
            task_page(db, make_campaign(db, str(wrong)).campaign.id, **wrong)


def test_the_answers_to_a_task_come_with_names_and_status(db):
    made = make_campaign(db, tasks=1)
    stored = answer_all(db, Assignments(db), someone(db))[0]
    exclude(db, stored.submission_id, "careless", 1)
    (told,) = task_answers(db, made.tasks[0].id)
    assert (told.name, told.ranks, told.status, told.reason) == ("ann", (1, 2, 3, 4), "excluded", "careless")
    assert [(row.by, row.text) for row in answer_page(db, made.campaign.id, status="excluded")] == [
        ("1", "demo: question 0")
    ]
    assert answer_page(db, made.campaign.id, status="counted") == []


def test_a_known_answer_is_ones_own_or_what_all_said_alike(db):
    made = make_campaign(db, tasks=1, overlap=3)
    pool, task = Assignments(db), made.tasks[0]
    ann, ben, cleo = (someone(db, name) for name in ("ann", "ben", "cleo"))
    answer_all(db, pool, ann)
    with pytest.raises(InvalidRecord, match="1 judgements"):
        known_ranks(db, task.id, 4, "unanimous", ann)
    answer_all(db, pool, ben)
    assert known_ranks(db, task.id, 4, "own", ann) == known_ranks(db, task.id, 4, "unanimous", cleo) == (1, 2, 3, 4)
    with pytest.raises(InvalidRecord, match="no answer of yours"):
        known_ranks(db, task.id, 4, "own", cleo)
    answer(db, pool, cleo, pool.claim(cleo), ((4, 3), (2, 1)))
    with pytest.raises(InvalidRecord, match="differ"):
        known_ranks(db, task.id, 4, "unanimous", ann)


@pytest.mark.parametrize(
    ("text", "ranks"), [("b > a = c", (2, 1, 2)), ("A>B>C", (1, 2, 3)), (" ALL BAD ", None), ("c=b > a", (2, 1, 1))]
)
def test_an_order_is_typed_in_letters(text, ranks):
    assert typed_ranks(text, 3) == ranks
    assert typed_ranks(order_words(ranks), 3) == ranks


@pytest.mark.parametrize("text", ["", "a > b", "a > b > c > d", "a > a > b", "a, b, c", "> a > b > c"])
def test_an_order_that_is_not_whole_is_refused(text):
    with pytest.raises(InvalidRecord, match="such as A > B > C"):
        typed_ranks(text, 3)
