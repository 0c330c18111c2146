"""The People page's handlers as plain functions, asked by real sessions."""

import re

import gradio as gr
import pytest

from storage import api_keys, campaigns, invitations, members, passwords, people
from tests.ui.leads import HOSTILE, FakeEvent, FakeRequest, new_person, new_services, session_of
from ui import people_page as page
from ui.auth import Auth

NO_FILTER = ("", "all", "all")


@pytest.fixture
def asked(tmp_path):
    """(services, auth, request of an admin, an annotator)."""
    services = new_services(tmp_path)
    auth = Auth(services, "secret", "https://loop.example")
    yield services, auth, FakeRequest(auth, new_person(services, "admin")), new_person(services, "annotator")
    services.close()


def act(asked, what: str, person=None, request=None, **data):
    """A click on one of the buttons about the annotator, by the admin."""
    services, auth, admin, annotator = asked
    event = FakeEvent({"act": what, "person": str((person or annotator).id), **data})
    return page.act_on_person(services, auth, *NO_FILTER, event, request or admin)


def lead_request(asked) -> FakeRequest:
    return FakeRequest(asked[1], new_person(asked[0], "lead"))


@pytest.mark.parametrize("role", ["annotator", "reviewer", None])
def test_every_handler_refuses_who_is_no_lead(asked, role):
    services, auth, _, _annotator = asked
    request = FakeRequest(auth, new_person(services, role, "other") if role else None)
    calls = [
        lambda: page.open_page(services, auth, request),
        lambda: page.filter_people(services, auth, *NO_FILTER, request),
        lambda: page.invite(services, auth, "annotator", None, 1, 1, request),
        lambda: page.act_on_invitation(services, auth, FakeEvent({}), request),
    ]
    for call in calls:
        with pytest.raises(gr.Error):
            call()


@pytest.mark.parametrize("what", page.ACTS)
def test_nothing_about_a_person_is_a_leads(asked, what):
    with pytest.raises(gr.Error, match="needs the role admin"):
        act(asked, what, request=lead_request(asked), role="admin", said="annotator")
    assert people.person(asked[0].database, asked[3].id) == asked[3]


def test_a_name_is_shown_as_text_everywhere(asked):
    services, auth, request, _ = asked
    hostile = new_person(services, "lead", HOSTILE)
    assert "<img" not in page.open_page(services, auth, request)[0]
    assert not any("<img" in shown for shown in act(asked, "open", hostile))


def test_a_lead_sees_who_takes_part_and_nobody_else(asked):
    services, auth, _, annotator = asked
    talk = campaigns.create_campaign(services.database, "talk")
    members.add_member(services.database, talk.id, annotator.id)
    shown = page.open_page(services, auth, lead_request(asked))[0]
    assert "<b>annotator</b>" in shown and "talk" in shown
    assert "<b>admin</b>" not in shown and "Manage" not in shown


def test_the_table_is_searched_and_filtered(asked):
    services, auth, request, annotator = asked
    new_person(services, "lead", "Zoe Lead")
    people.set_active(services.database, annotator.id, False)

    def names(*wanted):
        return set(re.findall("<b>([^<]+)</b>", page.filter_people(services, auth, *wanted, request)))

    assert names("zO le", "all", "all") == {"Zoe Lead"}
    assert names("", "lead", "all") == {"Zoe Lead"}
    assert names("", "all", "deactivated") == {"annotator"}
    assert names("", "all", "active") == {"admin", "Zoe Lead"}
    assert "Nobody fits" in page.filter_people(services, auth, "nobody", "all", "all", request)


def test_an_invitation_link_has_the_settings_address_and_leads_into_the_campaign(asked):
    services, auth, request, _ = asked
    talk = campaigns.create_campaign(services.database, "talk")
    shown, table = page.invite(services, auth, "lead", "talk", 24, 3, request)
    token = re.search(r">https://loop.example/join\?token=([\w-]+)<", shown)[1]
    found = invitations.invitation(services.database, token)
    assert (found.role, found.campaign_id, found.uses) == ("lead", talk.id, 3)
    assert "talk" in table and token not in table


@pytest.mark.parametrize(
    ("role", "campaign", "hours", "uses"),
    [("king", None, 1, 1), ("lead", None, 0, 1), ("lead", None, 1, None), ("lead", "nowhere", 1, 1)],
)
def test_a_wrong_invitation_is_told(asked, role, campaign, hours, uses):
    services, auth, request, _ = asked
    assert "error" in page.invite(services, auth, role, campaign, hours, uses, request)[0]
    assert invitations.open_invitations(services.database) == []


def test_a_lead_invites_annotators_only_and_revokes_own_links_only(asked):
    services, auth, admin, _ = asked
    lead = lead_request(asked)
    assert "error" in page.invite(services, auth, "lead", None, 1, 1, lead)[0]
    page.invite(services, auth, "lead", None, 1, 1, admin)
    page.invite(services, auth, "annotator", page.NO_CAMPAIGN, 1, 1, lead)
    for one in invitations.open_invitations(services.database):
        page.act_on_invitation(services, auth, FakeEvent({"act": "revoke", "invitation": one.id}), lead)
    assert [one.role for one in invitations.open_invitations(services.database)] == ["lead"]


def test_a_role_changes_but_not_the_own(asked):
    database = asked[0].database
    assert "is lead now" in act(asked, "role", role="lead")[0]
    assert people.person(database, asked[3].id).role == "lead"
    admin = people.person_by_name(database, "admin")
    assert "error" in act(asked, "role", admin, role="lead")[0]
    assert "error" in act(asked, "role", role="king")[0]
    assert people.person(database, admin.id).role == "admin"


def test_deactivating_ends_sessions_and_reactivating_lets_in_again(asked):
    services, auth, _, annotator = asked
    cookie = session_of(auth, annotator)
    assert "deactivated" in act(asked, "deactivate")[1]
    assert auth.person_of_cookie(cookie) is None
    act(asked, "activate")
    assert auth.person_of_cookie(session_of(auth, annotator)) == annotator
    assert "error" in act(asked, "deactivate", people.person_by_name(services.database, "admin"))[0]


def test_sign_out_everywhere_ends_sessions(asked):
    cookie = session_of(asked[1], asked[3])
    act(asked, "sign-out")
    assert asked[1].person_of_cookie(cookie) is None


def test_a_password_link_is_shown_once_and_works(asked):
    said, card, table = act(asked, "password")
    token = re.search(r">https://loop.example/password\?token=([\w-]+)<", said)[1]
    assert passwords.person_of_link(asked[0].database, token) == asked[3].id
    assert token not in card + table


def test_a_key_is_shown_once_works_and_can_be_revoked(asked):
    database = asked[0].database
    said, card, _ = act(asked, "add-key", said=HOSTILE)
    key = re.search(r">(rl_[\w-]+)<", said)[1]
    assert api_keys.person_by_api_key(database, key) == asked[3]
    assert key not in card and "<img" not in card
    [stored] = api_keys.api_keys(database, asked[3].id)
    admin = people.person_by_name(database, "admin")
    assert "error" in act(asked, "revoke-key", admin, key=str(stored.id))[0]
    act(asked, "revoke-key", key=str(stored.id))
    assert api_keys.person_by_api_key(database, key) is None


def test_erasing_needs_the_name_and_tells_what_stays(asked):
    database = asked[0].database
    for typed in ("", "Annotator", "admin"):
        assert "Nothing was erased" in act(asked, "erase", said=typed)[0]
    said, card, table = act(asked, "erase", said=" annotator ")
    assert "is erased" in said and "What still holds" in said
    assert card == "" and "<b>annotator</b>" not in table
    assert people.person_by_name(database, "annotator") is None


def test_nobody_erases_themselves(asked):
    admin = people.person_by_name(asked[0].database, "admin")
    assert "error" in act(asked, "erase", admin, said="admin")[0]
    assert people.person_by_name(asked[0].database, "admin") == admin


def test_what_holds_the_answers_is_listed(asked):
    assert "no run, model version or known backup" in act(asked, "holdings")[0]


@pytest.mark.parametrize("sent", [None, "x", {"person": "-1"}, {"person": "9" * 40}, {"act": "erase", "person": "²"}])
def test_a_strange_event_does_nothing(asked, sent):
    services, auth, request, annotator = asked
    with pytest.raises(gr.Error):
        page.act_on_person(services, auth, *NO_FILTER, FakeEvent(sent), request)
    page.act_on_invitation(services, auth, FakeEvent(sent), request)
    assert people.session_epoch(services.database, annotator.id) == 0
