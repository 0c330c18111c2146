"""The Campaigns page's handlers as plain functions, asked by real sessions."""

import gradio as gr
import pytest

from storage import campaigns, rankings
from storage.records import Submission
from storage.setups import edit_setup, setup
from tests.ui.leads import HOSTILE, FakeEvent, FakeRequest, new_campaign, new_person, new_services
from ui import campaigns_page as page
from ui.auth import Auth
from ui.campaign_cards import campaign_cards, head, overview
from ui.import_cards import import_report


@pytest.fixture
def asked(tmp_path):
    """(services, auth, request of a lead)."""
    services = new_services(tmp_path)
    auth = Auth(services, "secret")
    yield services, auth, FakeRequest(auth, new_person(services, "lead"))
    services.close()


def rank(services, name="ann", seconds=9.0, count=99):
    """Somebody ranks what is open, in the order of completion ids."""
    person, done = new_person(services, "annotator", name), []
    while len(done) < count and (assignment := services.pool.claim(person.id)):
        tiers = tuple((c,) for c in sorted(assignment.shown))
        sent = Submission(f"{name}-{assignment.id}"[:64], assignment.id, "ranking", tiers, seconds)
        done.append(rankings.submit(services.database, services.pool, person.id, sent))
    return person, done


@pytest.mark.parametrize("role", ["annotator", "reviewer", None])
def test_every_handler_refuses_who_is_no_lead(asked, role):
    services, auth, _ = asked
    request = FakeRequest(auth, new_person(services, role) if role else None)
    calls = [
        lambda: page.open_page(services, auth, request),
        lambda: page.refresh(services, auth, None, request),
        lambda: page.create(services, auth, "new", "helpful", "ranking", 4, 1, request),
        lambda: page.act(services, auth, None, FakeEvent({}), request),
        lambda: page.after_import(services, auth, request),
    ]
    for call in calls:
        with pytest.raises(gr.Error):
            call()
    assert campaigns.campaigns(services.database) == []


def test_without_a_campaign_the_page_says_what_to_do(asked):
    services, auth, request = asked
    *chosen, cards, _names = page.open_page(services, auth, request)
    assert "No campaign yet" in cards and chosen[0] is None


def test_a_card_shows_counts_and_no_text_as_markup(asked):
    services, _auth, _ = asked
    made, _ = new_campaign(services, HOSTILE)
    for markup in (campaign_cards(services), head(services, made.id)):
        assert "<img" not in markup and "&lt;img" in markup
    assert "0 of 2 tasks done" in campaign_cards(services)


def test_create_makes_a_campaign_and_opens_it(asked):
    services, auth, request = asked
    said, number, *_, cards = page.create(services, auth, " new ", "honest", "ratings", 3, 2, request)
    made = campaigns.campaign_by_name(services.database, "new")
    assert (made.id, made.criterion, made.k, made.overlap) == (number, "honest", 3, 2)
    assert said == "" and "new" in cards
    assert [scale.name for scale in setup(services.database, made.id).scales][-1] == "overall quality"


@pytest.mark.parametrize(
    ("name", "form", "k", "overlap"),
    [
        ("new", "ranking", 1, 1),
        ("new", "ranking", 10, 1),
        ("new", "ranking", 4, 0),
        ("new", "essay", 4, 1),
        (" ", "ranking", 4, 1),
    ],
)
def test_create_tells_what_is_wrong_and_makes_nothing(asked, name, form, k, overlap):
    services, auth, request = asked
    assert "error" in page.create(services, auth, name, "honest", form, k, overlap, request)[0]
    assert campaigns.campaigns(services.database) == []


def test_a_name_that_is_taken_is_told(asked):
    services, auth, request = asked
    new_campaign(services)
    assert "no other campaign has" in page.create(services, auth, "TALK", "honest", "ranking", 3, 2, request)[0]


def test_open_on_a_card_shows_the_campaign_and_the_list_is_one_click_away(asked):
    services, auth, request = asked
    made, _ = new_campaign(services)
    number, everything, one, _tabs, top, *_ = page.act(
        services, auth, None, FakeEvent({"act": "open", "campaign": str(made.id)}), request
    )
    assert (number, everything.visible, one.visible) == (made.id, False, True) and "talk" in top
    number, everything, *_ = page.act(services, auth, made.id, FakeEvent({"act": "list"}), request)
    assert (number, everything.visible) == (None, True)


def test_the_address_names_the_campaign_to_open(asked):
    services, auth, _ = asked
    made, _ = new_campaign(services)
    lead = FakeRequest(auth, new_person(services, "admin"), f"campaign={made.id}")
    assert page.open_page(services, auth, lead)[0] == made.id


def test_a_card_pauses_closes_and_reopens_and_says_what_follows(asked):
    services, auth, request = asked
    made, _ = new_campaign(services)
    for state in ("paused", "open", "closed", "open"):
        event = FakeEvent({"act": "state", "campaign": str(made.id), "state": state})
        cards = page.act(services, auth, None, event, request)[-1]
        assert campaigns.campaign(services.database, made.id).state == state and state in cards
    assert "Nobody gets tasks of it" in cards and "data-confirm" in cards


@pytest.mark.parametrize(
    "sent", [None, [], {"campaign": 7}, {"campaign": "x" * 9999}, {"act": "state", "state": "gone"}]
)
def test_strange_events_change_nothing(asked, sent):
    services, auth, request = asked
    made, _ = new_campaign(services)
    assert page.act(services, auth, None, FakeEvent(sent), request)[0] in (None, gr.skip())
    assert campaigns.campaign(services.database, made.id).state == "open"


def test_a_card_says_when_the_campaign_ends_and_how_that_was_computed(asked):
    services, *_ = asked
    new_campaign(services, sets=6, overlap=2)
    assert "nobody answered lately" in campaign_cards(services)
    rank(services)
    markup = campaign_cards(services)
    assert "Done about" in markup and "6 answers left at 36 an hour, the pace of the last 10 min" in markup
    rank(services, "ben")
    assert "All answers are in" in campaign_cards(services)


def test_an_alarm_is_on_the_card_and_in_the_overview(asked):
    services, *_ = asked
    made, _ = new_campaign(services, sets=20)
    edit_setup(services.database, made.id, min_seconds=3, on_fast="exclude")
    rank(services, seconds=1)
    for markup in (campaign_cards(services), overview(services, made.id)):
        assert "The rule “too fast” excludes 100% of 20 answers" in markup


def test_the_refresh_leaves_what_is_typed_alone(asked):
    services, auth, request = asked
    made, _ = new_campaign(services)
    cards, top, facts = page.refresh(services, auth, made.id, request)
    assert cards == gr.skip() and "talk" in top and "Progress" in facts
    assert "talk" in page.refresh(services, auth, None, request)[0]


def test_a_report_names_each_refusal_without_its_markup():
    refused = [{"line": 3, "field": "prompt", "found": HOSTILE, "expected": "text", "message": "no"}]
    markup = import_report({"campaign": HOSTILE, "prompts": 0, "refused": refused})
    assert "Nothing was taken in" in markup and "1 refused" in markup and "<img" not in markup


def test_many_refusals_are_counted_and_cut():
    refused = [{"line": n, "field": "f", "found": "x", "expected": "y"} for n in range(70)]
    markup = import_report({"campaign": "talk", "prompts": 3, "refused": refused})
    assert "70 refused" in markup and "and 20 more" in markup
