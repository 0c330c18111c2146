"""The People page's handlers as plain functions, asked by real sessions."""

import re

import gradio as gr
import pytest

from storage import people
from tests.ui.leads import HOSTILE, FakeEvent, FakeRequest, new_person, new_services, session_of
from ui import people_page as page
from ui.auth import Auth


@pytest.fixture
def asked(tmp_path):
    """(services, auth, request of an admin, an annotator)."""
    services = new_services(tmp_path)
    auth = Auth(services, "secret")
    yield services, auth, FakeRequest(auth, new_person(services, "admin")), new_person(services, "annotator")
    services.close()


@pytest.mark.parametrize("role", ["annotator", "lead", None])
def test_every_handler_refuses_who_is_no_admin(asked, role):
    services, auth, _, annotator = asked
    request = FakeRequest(auth, new_person(services, role, "other") if role else None)
    calls = [
        lambda: page.open_page(services, auth, request),
        lambda: page.act_on_person(services, auth, FakeEvent({"person": str(annotator.id)}), request),
        lambda: page.change_role(services, auth, annotator.id, "admin", request),
        lambda: page.invite(services, auth, "admin", 1, 1, request),
        lambda: page.show_keys(services, auth, annotator.id, request),
        lambda: page.add_key(services, auth, annotator.id, "mine", request),
        lambda: page.act_on_key(services, auth, annotator.id, FakeEvent({"key": "1"}), request),
    ]
    for call in calls:
        with pytest.raises(gr.Error):
            call()
    assert people.person(services.database, annotator.id).role == "annotator"


def test_a_name_is_shown_as_text(asked):
    services, auth, request, _ = asked
    new_person(services, "lead", HOSTILE)
    assert "<img" not in page.open_page(services, auth, request)[0]


def test_an_invitation_link_is_worth_its_role(asked):
    services, auth, request, _ = asked
    link = re.search(r"http://test/join\?token=([\w-]+)", page.invite(services, auth, "lead", 24, 1, request))
    assert people.invitation_role(services.database, link[1]) == "lead"


@pytest.mark.parametrize(("role", "hours", "uses"), [("king", 1, 1), ("lead", 0, 1), ("lead", 1, None)])
def test_a_wrong_invitation_is_told(asked, role, hours, uses):
    services, auth, request, _ = asked
    assert "error" in page.invite(services, auth, role, hours, uses, request)


def test_a_key_is_shown_once_works_and_can_be_revoked(asked):
    services, auth, request, annotator = asked
    shown, table = page.add_key(services, auth, annotator.id, HOSTILE, request)
    key = re.search(r"rl_[\w-]+", shown)[0]
    assert people.person_by_api_key(services.database, key) == annotator
    assert key not in table and "<img" not in table
    page.act_on_key(
        services, auth, annotator.id, FakeEvent({"key": table.split('data-key="')[1].split('"')[0]}), request
    )
    assert people.person_by_api_key(services.database, key) is None


def test_sign_out_everywhere_ends_sessions(asked):
    services, auth, request, annotator = asked
    cookie = session_of(auth, annotator)
    page.act_on_person(services, auth, FakeEvent({"act": "sign-out", "person": str(annotator.id)}), request)
    assert auth.person_of_cookie(cookie) is None


def test_a_role_changes_but_not_the_own(asked):
    services, auth, request, annotator = asked
    page.change_role(services, auth, annotator.id, "lead", request)
    assert people.person(services.database, annotator.id).role == "lead"
    admin = people.person_by_name(services.database, "admin")
    assert "error" in page.change_role(services, auth, admin.id, "lead", request)[0]
    assert people.person(services.database, admin.id).role == "admin"


@pytest.mark.parametrize("sent", [None, "x", {"person": "-1"}, {"person": "9" * 40}])
def test_a_strange_event_signs_nobody_out(asked, sent):
    services, auth, request, annotator = asked
    with pytest.raises(gr.Error):
        page.act_on_person(services, auth, FakeEvent(sent), request)
    assert people.session_epoch(services.database, annotator.id) == 0
