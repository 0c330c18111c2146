"""Tasks, quality, members and data of a campaign: the handlers as plain functions, asked by real sessions."""

import gradio as gr
import pytest

from storage import checks, members, prompts, rankings, tasks
from storage.campaigns import campaign_by_name
from storage.records import InvalidRecord
from storage.setups import edit_setup
from storage.summaries import counts
from storage.task_lists import task_page
from tests.ui.leads import FakeEvent, FakeRequest, new_campaign, new_person
from tests.ui.test_campaigns_page import asked, rank  # noqa: F401, a fixture
from ui import campaign_data, campaign_form, campaign_members, campaign_quality, campaign_tasks

TALK = (1, "", "all")  # the campaign, no words, every state


@pytest.mark.parametrize("role", ["annotator", "reviewer", None])
def test_every_handler_refuses_who_is_no_lead(asked, role):  # noqa: F811
    services, auth, _ = asked
    made, opened = new_campaign(services)
    request = FakeRequest(auth, new_person(services, role) if role else None)
    event = FakeEvent({})
    calls = [
        lambda: campaign_tasks.open_list(services, auth, *TALK, request),
        lambda: campaign_tasks.search(services, auth, *TALK, request),
        lambda: campaign_tasks.act_on_list(services, auth, *TALK, 0, None, event, request),
        lambda: campaign_tasks.assign_task(services, auth, 1, opened[0].id, [], "", "all", request),
        lambda: campaign_tasks.assign_found(services, auth, 1, [], "", "all", request),
        lambda: campaign_tasks.make_check(services, auth, 1, opened[0].id, "gold", "typed", "a > b > c", "", request),
        lambda: campaign_quality.open_quality(services, auth, 1, "all", request),
        lambda: campaign_quality.show_answers(services, auth, 1, "all", request),
        lambda: campaign_quality.act_on_person(services, auth, 1, event, request),
        lambda: campaign_quality.act_on_answer(services, auth, 1, "all", 0, event, request),
        lambda: campaign_members.open_members(services, auth, 1, request),
        lambda: campaign_members.add(services, auth, 1, [1], request),
        lambda: campaign_members.remove(services, auth, 1, event, request),
        lambda: campaign_data.open_data(services, auth, 1, request),
        lambda: campaign_data.add_prompts(services, auth, 1, "", "p", "", "", request),
        lambda: campaign_data.import_upload(services, auth, "/etc/passwd", None, False, request),
        lambda: campaign_data.import_here(services, auth, 1, "/etc/passwd", False, request),
        lambda: campaign_form.save(services, auth, request, 1),
        lambda: campaign_form.preview(services, auth, "", "", request),
        lambda: campaign_form.use_scales(services, auth, "quality", request),
        lambda: campaign_form.write_completions(services, auth, 1, 0, request),
    ]
    for call in calls:
        with pytest.raises(gr.Error):
            call()
    assert (checks.checks(services.database, made.id), members.members(services.database, made.id)) == ([], [])


# ---- tasks


def act(asked, data, task=None):  # noqa: F811
    services, auth, request = asked
    return campaign_tasks.act_on_list(services, auth, *TALK, 0, task, FakeEvent(data), request)


def test_a_task_opens_with_its_models_and_nothing_runs(asked):  # noqa: F811
    services, *_ = asked
    _, opened = new_campaign(services)
    found, _offset, task, card, _said = act(asked, {"act": "task", "task": str(opened[0].id)})
    assert task == opened[0].id and "Say 0" in found and "m2" in card and "<img" not in card


def test_a_priority_is_set_by_a_number_only(asked):  # noqa: F811
    services, *_ = asked
    _, opened = new_campaign(services)
    act(asked, {"act": "priority", "task": str(opened[1].id), "said": "7,5"})
    assert tasks.task(services.database, opened[1].id).priority == 7.5
    for typed in ("", "high", "1e99", "nan"):
        assert "error" in act(asked, {"act": "priority", "task": str(opened[1].id), "said": typed})[4]
    assert tasks.task(services.database, opened[1].id).priority == 7.5


def test_a_task_of_another_campaign_is_not_touched(asked):  # noqa: F811
    services, *_ = asked
    new_campaign(services)
    _, foreign = new_campaign(services, "other")
    _, _, task, card, _ = act(asked, {"act": "task", "task": str(foreign[0].id)})
    assert task is None and "Open a task" in card
    act(asked, {"act": "priority", "task": str(foreign[0].id), "said": "9"})
    assert tasks.task(services.database, foreign[0].id).priority == 0


def test_tasks_are_kept_for_people_and_opened_to_all_again(asked):  # noqa: F811
    services, auth, request = asked
    _, opened = new_campaign(services, sets=3)
    ann, ben = new_person(services, "annotator", "ann"), new_person(services, "annotator", "ben")
    said, *_ = campaign_tasks.assign_found(services, auth, 1, [ann.id], "say", "all", request)
    assert "3 tasks are kept for ann" in said and services.pool.claim(ben.id) is None
    campaign_tasks.assign_task(services, auth, 1, opened[0].id, [], "", "all", request)
    assert services.pool.claim(ben.id).task_id == opened[0].id


def test_a_task_becomes_a_check_by_a_typed_order_and_is_retired(asked):  # noqa: F811
    services, auth, request = asked
    _, opened = new_campaign(services)
    said, _card = campaign_tasks.make_check(
        services, auth, 1, opened[0].id, "training", "the order typed here", "b > a = c", "because", request
    )
    ((task, known),) = checks.checks(services.database, 1)
    assert "B &gt; A = C" in said and (task.purpose, known.ranks, known.explanation) == (
        "training",
        (2, 1, 2),
        "because",
    )
    page = task_page(services.database, 1, state="checks")
    act(asked, {"act": "retire", "task": str(page.rows[0].id)})
    assert [known.active for _, known in checks.checks(services.database, 1)] == [False]


def test_a_check_that_cannot_be_is_told(asked):  # noqa: F811
    services, auth, request = asked
    _, opened = new_campaign(services)
    for source, order in (("typed", "a > b"), ("typed", "a = b = c"), ("unanimous", ""), ("own", ""), ("guess", "")):
        said, _ = campaign_tasks.make_check(services, auth, 1, opened[0].id, "gold", source, order, "", request)
        assert "error" in said
    assert checks.checks(services.database, 1) == []


# ---- quality


def test_the_figures_name_annotators_rules_and_places(asked):  # noqa: F811
    services, auth, request = asked
    new_campaign(services, sets=3, overlap=2)
    rank(services)
    rank(services, "ben")
    figures, answers, _ = campaign_quality.open_quality(services, auth, 1, "all", request)
    assert "ann" in figures and "100%" in figures and "Position bias" in figures and "every answer stands" in figures
    assert answers.count("Exclude") == 6
    assert "No answer is like that" in campaign_quality.show_answers(services, auth, 1, "excluded", request)[0]


def test_an_annotator_is_paused_with_a_reason_and_goes_on(asked):  # noqa: F811
    services, auth, request = asked
    new_campaign(services, sets=3)
    person, _ = rank(services, count=1)

    def tell(act, said):
        event = FakeEvent({"act": act, "person": str(person.id), "said": said})
        return campaign_quality.act_on_person(services, auth, 1, event, request)[0]

    assert "error" in tell("pause", " ") and services.pool.refusals(person.id) == []
    assert "paused" in tell("pause", "too hasty")
    assert "too hasty" in services.pool.refusals(person.id)[0].message
    assert "active" in tell("resume", "talked") and services.pool.refusals(person.id) == []


def test_an_answer_is_excluded_and_brought_back_with_reasons(asked):  # noqa: F811
    services, auth, request = asked
    new_campaign(services)
    _, (first, *_) = rank(services)

    def tell(act, said):
        event = FakeEvent({"act": act, "answer": first.submission_id, "said": said})
        return campaign_quality.act_on_answer(services, auth, 1, "all", 0, event, request)[0]

    assert "error" in tell("exclude", "") and "error" in tell("bring_back", "why not")
    assert "okay" in tell("exclude", "careless")
    assert rankings.answer(services.database, first.submission_id).reason == "careless"
    assert "as counted" in tell("bring_back", "fine")


def test_an_answer_of_another_campaign_is_left_alone(asked):  # noqa: F811
    services, auth, request = asked
    new_campaign(services)
    _, (first, *_) = rank(services)
    event = FakeEvent({"act": "exclude", "answer": first.submission_id, "said": "x"})
    assert "error" in campaign_quality.act_on_answer(services, auth, 2, "all", 0, event, request)[0]
    assert rankings.answer(services.database, first.submission_id).status == "counted"


# ---- members


def test_members_are_added_shown_and_removed(asked):  # noqa: F811
    services, auth, request = asked
    new_campaign(services)
    edit_setup(services.database, 1, members_only=True)
    ann = new_person(services, "annotator", "ann & co")
    said, shown, _ = campaign_members.add(services, auth, 1, [ann.id], request)
    assert "Added" in said and "ann &amp; co" in shown and services.pool.claim(ann.id) is not None
    event = FakeEvent({"act": "remove", "person": str(ann.id)})
    assert "No members" in campaign_members.remove(services, auth, 1, event, request)[1]
    assert "error" in campaign_members.add(services, auth, 1, [], request)[0]


# ---- data


def test_prompts_are_added_by_hand_with_a_system_message(asked):  # noqa: F811
    services, auth, request = asked
    new_campaign(services, sets=0)
    typed = "First\nprompt\n---\n\nSecond prompt\n---\n"
    said, *_ = campaign_data.add_prompts(services, auth, 1, "Be brief.", typed, "", "", request)
    stored = prompts.prompts(services.database, 1)
    assert [one.text for one in stored] == ["First\nprompt", "Second prompt"] and "okay" in said
    assert stored[0].messages[0].role == "system"


def test_one_prompt_comes_with_its_completions_as_a_task(asked):  # noqa: F811
    services, auth, request = asked
    new_campaign(services, sets=0)
    campaign_data.add_prompts(services, auth, 1, "", "Hi?", "Hello.\n---\nGo away.", "Me", request)
    assert counts(services.database, 1)["tasks"] == 1
    said, *_ = campaign_data.add_prompts(services, auth, 1, "", "a\n---\nb", "c", "", request)
    assert "one prompt with its completions" in said
    with pytest.raises(InvalidRecord):
        campaign_data.typed_records("", " ", "", "")


def test_an_upload_is_taken_in_told_and_forgotten(asked, tmp_path):  # noqa: F811
    services, auth, request = asked
    file = tmp_path / "talk.jsonl"
    good = '{"prompt": "p", "completions": [{"model": "a", "text": "1"}, {"model": "b", "text": "2"}]}'
    file.write_text(good + '\n{"prompt": "<b>", "completions": [{"model": 7}]}\n')
    report, _ = campaign_data.import_upload(services, auth, str(file), "talk", False, request)
    made = campaign_by_name(services.database, "talk")
    assert counts(services.database, made.id)["tasks"] == 1 and services.pool.remaining(1) == 1
    assert "1 refused" in report and "<td>2</td>" in report
    assert not file.exists()


def test_an_upload_of_another_format_is_refused_whole(asked, tmp_path):  # noqa: F811
    services, auth, request = asked
    file = tmp_path / "talk.jsonl"
    file.write_bytes(b"PAR1" + bytes(30))
    assert "JSON Lines" in campaign_data.import_upload(services, auth, str(file), None, False, request)[0]


def test_an_import_from_within_a_campaign_goes_into_it(asked, tmp_path):  # noqa: F811
    services, auth, request = asked
    new_campaign(services, sets=0)
    file = tmp_path / "more.csv"
    file.write_text("prompt\nHi?\nHo?\n")
    assert "talk" in campaign_data.import_here(services, auth, 1, str(file), False, request)[0]
    assert counts(services.database, 1)["prompts"] == 2


def test_every_form_of_export_has_a_link(asked):  # noqa: F811
    services, auth, request = asked
    new_campaign(services, "a & b?")
    links = campaign_data.open_data(services, auth, 1, request)
    for form in ("trl", "kto", "sft", "csv", "raw"):
        assert f"api/v1/exports/{form}?campaign=a%20%26%20b%3F" in links
