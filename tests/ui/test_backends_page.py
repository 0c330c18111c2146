"""Where runs can go: what the page and the API tell, how backends are asked, and what a run would cost."""

import threading

import gradio as gr
import pytest

from pipeline.backend_checks import Checks, PriceUnknown, checks_of
from storage import runs
from tests.ui.leads import FakeEvent, FakeRequest, new_person, new_run, new_services
from tests.ui.priced_backend import add_priced
from ui import backends_page as page
from ui.auth import Auth
from ui.backend_view import overview


@pytest.fixture
def asked(tmp_path):
    """(services, auth, request of a lead, the backend with prices)."""
    services = new_services(tmp_path)
    auth = Auth(services, "secret")
    yield services, auth, FakeRequest(auth, new_person(services, "lead")), add_priced(services)
    services.close()


@pytest.mark.parametrize("role", ["annotator", "reviewer", None])
def test_every_handler_refuses_who_is_no_lead(asked, role):
    services, auth, _, paid = asked
    request = FakeRequest(auth, new_person(services, role) if role else None)
    calls = [
        lambda: page.open_page(services, auth, request),
        lambda: page.refresh(services, auth, request),
        lambda: page.check(services, auth, None, FakeEvent({"backend": "paid"}), request),
        lambda: page.choose(services, auth, "paid", request),
        lambda: page.cost(services, auth, "paid", "", "ppo", 0, request),
    ]
    for call in calls:
        with pytest.raises(gr.Error):
            call()
    assert paid.asked == 0


def test_slots_tell_who_is_on_them_and_who_waits(asked):
    services, *_ = asked
    on_it, waits = new_run(services), new_run(services)
    runs.set_slot(services.database, on_it.id, "this machine")
    runs.set_state(services.database, on_it.id, "running")
    local, paid, *missing = overview(services, Checks(services))
    assert local["usual"] and local["slots"] == [{"slot": "this machine", "run": on_it.id, "state": "running"}]
    assert local["waiting"] == [waits.id] and [one["run"] for one in paid["slots"]] == [None, None]
    assert [one["name"] for one in missing] == ["hf-jobs", "ray"]
    assert missing[0]["settings"][0]["name"] == "RANKLOOP_HF_BUCKET"


def test_opening_the_page_asks_no_backend(asked):
    services, auth, request, paid = asked
    shown = page.open_page(services, auth, request)[0]
    assert paid.asked == 0 and "Not checked yet." in shown and "RANKLOOP_RAY" in shown


def test_a_check_tells_hardware_with_prices_as_text(asked):
    services, auth, request, _ = asked
    shown, _ = page.check(services, auth, "local", FakeEvent({"backend": "paid"}), request)
    assert "It answers." in shown and "$1.50" in shown and "$3.00" in shown and "A10G &lt;b&gt;" in shown


@pytest.mark.parametrize("sent", [None, {}, {"backend": "../x"}, {"backend": ["paid"]}])
def test_a_strange_event_asks_nothing(asked, sent):
    services, auth, request, paid = asked
    page.check(services, auth, None, FakeEvent(sent), request)
    assert paid.asked == 0


def test_an_unreachable_backend_is_told_with_its_words(asked):
    services, auth, request, paid = asked
    paid.fault = "paid: found no answer, expected one <b>"
    shown, _ = page.check(services, auth, None, FakeEvent({"backend": "paid"}), request)
    assert "not reachable" in shown and "found no answer, expected one &lt;b&gt;" in shown


def test_a_backend_that_hangs_is_asked_once_and_holds_up_nobody_for_long(asked):
    services, *_, paid = asked
    checks = Checks(services, patience=0.05)
    paid.go_on.clear()
    first, second = checks.check("paid"), checks.check("paid")
    assert not first.reachable and "has not answered within" in second.said and paid.asked == 1
    assert checks.check("local").reachable
    paid.go_on.set()
    answered = next(one for one in threading.enumerate() if one.name == "check paid")
    answered.join(30)
    assert checks.last("paid").reachable


def test_a_crowd_that_waits_for_one_backend_is_told_to_look_again(asked):
    services, *_, paid = asked
    checks = Checks(services, patience=30)
    paid.go_on.clear()
    waiting = [threading.Thread(target=checks.check, args=("paid",)) for _ in range(4)]
    for one in waiting:
        one.start()
    while checks._waiting.get("paid", 0) < 4:
        waiting[0].join(0.01)
    assert "being asked already" in checks.check("paid").said
    paid.go_on.set()
    for one in waiting:
        one.join(30)


def test_a_cost_is_price_times_time_limit_and_margin(asked):
    services, auth, request, _ = asked
    assert "At most $3.00" in page.cost(services, auth, "paid", "a10g-small", "ppo", 0, request)
    assert "At most $1.00" in page.cost(services, auth, "paid", "a10g-small", "ppo", 30, request)
    assert "has no price" in page.cost(services, auth, "local", "", "ppo", 30, request)
    assert "expected one of local, paid" in page.cost(services, auth, "gone", "", "ppo", 30, request)


def test_a_price_that_cannot_be_asked_is_not_guessed(asked):
    services, *_, paid = asked
    paid.fault = "gone"
    with pytest.raises(PriceUnknown):
        checks_of(services).most(page.make_resources({"backend": "paid"}))
