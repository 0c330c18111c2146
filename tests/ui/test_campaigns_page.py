"""The Campaigns page's handlers as plain functions, asked by real sessions."""

import gradio as gr
import pytest

from storage import campaigns
from storage.summaries import counts
from tests.ui.leads import HOSTILE, FakeEvent, FakeRequest, new_campaign, new_person, new_services
from ui import campaigns_page as page
from ui.auth import Auth
from ui.campaign_cards import campaign_cards, import_report


@pytest.fixture
def asked(tmp_path):
    """(services, auth, request of a lead)."""
    services = new_services(tmp_path)
    auth = Auth(services, "secret")
    yield services, auth, FakeRequest(auth, new_person(services, "lead"))
    services.close()


@pytest.mark.parametrize("role", ["annotator", "reviewer", None])
def test_every_handler_refuses_who_is_no_lead(asked, role):
    services, auth, _ = asked
    request = FakeRequest(auth, new_person(services, role) if role else None)
    calls = [
        lambda: page.open_page(services, auth, request),
        lambda: page.refresh(services, auth, request),
        lambda: page.create(services, auth, "new", "helpful", "", 4, 1, request),
        lambda: page.import_upload(services, auth, "/etc/passwd", None, False, request),
        lambda: page.act_on_card(services, auth, FakeEvent({}), request),
        lambda: page.load_form(services, auth, "talk", request),
        lambda: page.save_edit(services, auth, "talk", "", 1, "open", request),
    ]
    for call in calls:
        with pytest.raises(gr.Error):
            call()
    assert campaigns.campaigns(services.database) == []


def test_without_a_campaign_the_page_says_what_to_do(asked):
    services, auth, request = asked
    assert "No campaign yet" in page.open_page(services, auth, request)[0]


def test_a_card_shows_counts_and_no_text_as_markup(asked):
    services, _auth, _ = asked
    new_campaign(services, HOSTILE)
    markup = campaign_cards(services)
    assert "0 of 2 tasks done" in markup and "<img" not in markup and "exports/trl?campaign=%3Cimg" in markup


def test_create_makes_a_campaign_and_tells_a_name_that_is_taken(asked):
    services, auth, request = asked
    said, cards, *_ = page.create(services, auth, " new ", "honest", "Be kind", 3, 2, request)
    made = campaigns.campaign_by_name(services.database, "new")
    assert (made.criterion, made.k, made.overlap) == ("honest", 3, 2)
    assert "okay" in said and "new" in cards
    assert "error" in page.create(services, auth, "NEW", "honest", "", 3, 2, request)[0]


@pytest.mark.parametrize(("k", "overlap"), [(1, 1), (10, 1), (4, 0)])
def test_create_tells_a_wrong_number(asked, k, overlap):
    services, auth, request = asked
    assert "error" in page.create(services, auth, "new", "honest", "", k, overlap, request)[0]
    assert campaigns.campaigns(services.database) == []


def test_an_upload_is_taken_in_told_and_forgotten(asked, tmp_path):
    services, auth, request = asked
    file = tmp_path / "talk.jsonl"
    good = '{"prompt": "p", "completions": [{"model": "a", "text": "1"}, {"model": "b", "text": "2"}]}'
    file.write_text(good + '\n{"prompt": "<b>", "completions": [{"model": 7}]}\n')
    report, cards, *_ = page.import_upload(services, auth, str(file), "talk", False, request)
    made = campaigns.campaign_by_name(services.database, "talk")
    assert counts(services.database, made.id)["tasks"] == 1 and services.pool.remaining(1) == 1
    assert "1 refused" in report and "<td>2</td>" in report and "talk" in cards
    assert not file.exists()


def test_an_upload_of_another_format_is_refused_whole(asked, tmp_path):
    services, auth, request = asked
    file = tmp_path / "talk.jsonl"
    file.write_bytes(b"PAR1" + bytes(30))
    assert "JSON Lines" in page.import_upload(services, auth, str(file), None, False, request)[0]


def test_a_report_names_each_refusal_without_its_markup():
    refused = [{"line": 3, "field": "prompt", "found": HOSTILE, "expected": "text", "message": "no"}]
    markup = import_report({"campaign": HOSTILE, "prompts": 0, "refused": refused})
    assert "Nothing was taken in" in markup and "1 refused" in markup and "<img" not in markup


def test_many_refusals_are_counted_and_cut():
    refused = [{"line": n, "field": "f", "found": "x", "expected": "y"} for n in range(70)]
    markup = import_report({"campaign": "talk", "prompts": 3, "refused": refused})
    assert "70 refused" in markup and "and 20 more" in markup


def test_editing_guidelines_makes_a_new_version(asked):
    services, auth, request = asked
    campaign, _ = new_campaign(services)
    said, _cards = page.save_edit(services, auth, "talk", "Be kind", 3, "paused", request)
    changed = campaigns.campaign(services.database, campaign.id)
    assert (changed.guidelines_version, changed.overlap, changed.state) == (2, 3, "paused")
    assert "version 2" in said
    assert page.load_form(services, auth, "talk", request) == ("Be kind", 3, "paused")


def test_edit_on_a_card_fills_the_form(asked):
    services, auth, request = asked
    new_campaign(services)
    _editor, chosen, *values = page.act_on_card(services, auth, FakeEvent({"campaign": "talk"}), request)
    assert chosen.value == "talk" and values == ["", 1, "open"]


@pytest.mark.parametrize("sent", [None, [], {"campaign": 7}, {"campaign": "x" * 9999}])
def test_strange_events_change_nothing(asked, sent):
    services, auth, request = asked
    assert page.act_on_card(services, auth, FakeEvent(sent), request)[2:] == ("", 1, "open")
