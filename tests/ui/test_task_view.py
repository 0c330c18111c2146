from pathlib import Path

import pytest

from pipeline.local_backend import LocalBackend
from pipeline.services import Services, only
from storage import completions, prompts, rankings, tasks
from storage.assignments import Assignments
from storage.campaigns import create_campaign, edit_campaign
from storage.details import Detail, Scale
from storage.people import create_person
from storage.records import Message, Prompt, Submission
from storage.setups import DEFAULT, edit_setup, made
from ui.task_view import FLAGGED, LISTED, Sheets, task_view, veil

HOSTILE = '<img src=x onerror="hit()">'
TALK = (
    Message("system", "You are a **careful** assistant."),
    Message("user", "ما هي عاصمة فرنسا؟"),
    Message("assistant", "باريس"),
    Message("tool", '{"found": "<script>hit()</script>"}'),
    Message("user", "And of Italy?"),
)


@pytest.fixture
def services(db):
    return Services(Path("unused"), db, Assignments(db), only(LocalBackend(Path.cwd())))


@pytest.fixture
def ann(db):
    return create_person(db, "ann", "annotator")


@pytest.fixture
def campaign(services):
    """One task: a conversation and three completions, of which one is hostile."""
    made = create_campaign(services.database, "talk", criterion="kind", guidelines="Be *kind*.", overlap=3)
    prompts.add_prompts(services.database, made.id, [Prompt("p", TALK, "train")])
    rows = [("p", f"secret-{n}", text, {}) for n, text in enumerate(("Rome.", "To KILL time: Rome.", HOSTILE))]
    tasks.open_tasks(services.database, made.id, [("p", completions.add_completions(services.database, rows))])
    return made


def view(services, ann) -> dict:
    return task_view(services, Sheets(services), services.pool.claim(ann.id))


def by_text(task: dict, text: str) -> dict:
    return next(one for one in task["completions"] if one["text"] == text)


def test_a_conversation_keeps_its_roles_and_its_letters_of_every_script(services, campaign, ann):
    turns = view(services, ann)["prompt"]
    assert [turn["role"] for turn in turns] == ["system", "user", "assistant", "tool", "user"]
    assert turns[0]["html"] == "<p>You are a <strong>careful</strong> assistant.</p>\n"
    assert "عاصمة" in turns[1]["html"]
    assert "<script>" not in turns[3]["html"]


def test_html_is_safe_and_text_is_what_the_model_wrote(services, campaign, ann):
    shown = by_text(view(services, ann), HOSTILE)
    assert "<img" not in shown["html"] and shown["note"] == "3 words"


def test_what_the_campaign_asks_is_told(services, campaign, ann):
    scale = Scale("helpful", low_label="no", high_label="yes", overall=True)
    asked = {"scales": [scale], "reasons": ["shorter"], "rationale": "required", "rationale_min": 9, "edit": True}
    edit_setup(services.database, campaign.id, form="ratings", examples="See **this**.", **asked)
    task = view(services, ann)
    told = {"name": "helpful", "low": 1, "high": 5, "low_label": "no", "high_label": "yes", "overall": True}
    assert task["scales"] == [told]
    assert (task["form"], task["rationale"], task["rationale_min"], task["edit"]) == ("ratings", "required", 9, True)
    assert task["reasons"] == ["shorter"] and "unsafe" in task["flags"]
    assert "<strong>this</strong>" in task["examples"] and "<em>kind</em>" in task["guidelines"]
    assert task["guidelines_version"] == 2 and task["guidelines_key"] == f"{campaign.id}.2"


def test_edited_guidelines_are_shown_at_once(services, campaign, ann):
    edit_campaign(services.database, campaign.id, guidelines="New.", name="other")
    task = view(services, ann)
    assert (task["guidelines"], task["guidelines_version"], task["campaign"]) == ("<p>New.</p>\n", 2, "other")


def test_a_listed_word_veils_a_completion_and_its_snippet(services, campaign, ann):
    edit_setup(services.database, campaign.id, moderation=True, moderation_words=["kill"])
    task = view(services, ann)
    covered = by_text(task, "To KILL time: Rome.")
    assert (covered["veil"], covered["snippet"]) == (LISTED, "veiled")
    assert by_text(task, "Rome.")["veil"] is None


def test_an_unsafe_flag_of_anybody_veils_a_completion_for_the_next(services, campaign, ann):
    edit_setup(services.database, campaign.id, moderation=True)
    claimed, sheets = services.pool.claim(ann.id), Sheets(services)
    flags = {claimed.shown[0]: ("unsafe",), claimed.shown[1]: ("off-topic",)}
    tiers = tuple((one,) for one in claimed.shown)
    sent = Submission("key-00000001", claimed.id, "ranking", tiers, 5.0, Detail(flags=flags))
    rankings.submit(services.database, services.pool, ann.id, sent)
    again = services.pool.claim(create_person(services.database, "ben", "annotator").id)
    shown = task_view(services, sheets, again)["completions"]
    assert {one: s["veil"] for one, s in zip(again.shown, shown, strict=True) if s["veil"]} == {
        claimed.shown[0]: FLAGGED
    }


@pytest.mark.parametrize(
    ("words", "text", "hit"),
    [
        (["kill"], "Kill!", True),
        (["kill"], "skills and killing", False),
        (["c++"], "Learn C++ now", True),
        (["two  words"], "with two\nwords in it", True),
        (["été"], "L'ÉTÉ dernier", True),
        ([" "], "anything", False),
        ([], "anything", False),
    ],
)
def test_words_hit_as_whole_words_in_any_case(words, text, hit):
    setup = made({"moderation": True, "moderation_words": words})
    assert (veil(setup, text, ()) is not None) == hit


def test_nothing_is_veiled_where_moderation_is_off():
    assert veil(DEFAULT, "kill", {"unsafe"}) is None


def test_sheets_hold_the_latest_tasks_only(services, campaign, ann):
    sheets = Sheets(services, largest=1)
    claimed = services.pool.claim(ann.id)
    task_view(services, sheets, claimed)
    sheets.of(claimed.task_id)
    assert list(sheets._kept) == [claimed.task_id] and sheets.size > 1
