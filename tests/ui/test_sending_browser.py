"""Sending in a real browser against a real server: every answer once, in order, whatever breaks in between."""

from pathlib import Path

import pytest

from storage import campaigns, people
from storage.rankings import answers, submit
from storage.records import Submission
from tests.ui.windows import STATIC, Window, browser_of, four, sign_in, stored
from ui.auth import WHO_COOKIE

pytestmark = pytest.mark.slow

CASES = Path(__file__).with_name("outbox.test.mjs")
NO_LOCKS = "() => Object.defineProperty(navigator, 'locks', { value: undefined })"
NO_CHANNEL = "() => { delete window.BroadcastChannel; }"
RUN_CASES = """async ([source, cases]) => {
  const Outbox = new Function(source + '; return Outbox;')();
  const module = await import(URL.createObjectURL(new Blob([cases], { type: 'text/javascript' })));
  const all = Object.entries(module.cases(Outbox)), failed = [];
  for (const [name, run] of all) { try { run(); } catch (error) { failed.push(name + ': ' + error.message); } }
  return { count: all.length, failed };
}"""
FULL = """() => { Storage.prototype.setItem = () => { throw new DOMException('full', 'QuotaExceededError'); }; }"""


@pytest.fixture
def context(bench, browser, person):
    made = browser_of(browser, bench, person)
    yield made
    made.close()


@pytest.fixture
def window(bench, context, proxy):
    bench.campaign([four(number) for number in range(5)])
    return Window(context, proxy.url)


def test_the_part_that_thinks(browser):
    page = browser.new_page()
    found = page.evaluate(RUN_CASES, [(STATIC / "outbox.js").read_text(), CASES.read_text()])
    page.close()
    assert found["failed"] == []
    assert found["count"] >= 20


def test_an_answer_is_put_away_before_it_leaves_and_gone_when_it_is_saved(window, proxy, person, bench):
    window.next()
    held = proxy.break_("/rank/answer", "hold")
    sent = window.answer_without_waiting()
    assert held.was_asked()["submission_id"] == sent
    kept = "() => Object.keys(localStorage).filter((key) => key.startsWith('rankloop-answer:')).length"
    assert window.page.evaluate(kept) == 1
    proxy.heal()
    assert window.coming()["saved"] == sent
    assert window.page.evaluate(kept) == 0
    assert stored(bench, person) == [sent]


def test_three_answers_given_offline_are_sent_in_order_once_each(window, context, person, bench):
    window.next()
    context.set_offline(True)
    window.becomes("offline")
    given = []
    for expected in ("task", "task", "offline"):
        given.append("key-" + window.shows())
        view = window.answer()
        assert (view["state"], view["queued_answers"]) == (expected, len(given))
    assert "3 answers are kept in this browser" in window.becomes("offline")["text"]
    context.set_offline(False)
    assert window.is_given()["task"]["assignment"] not in "".join(given)
    window.becomes("saved")
    assert stored(bench, person) == given


def test_a_reload_with_the_server_away_keeps_the_queue_and_the_tasks(window, proxy, person, bench):
    window.next()
    proxy.break_("/rank/answer", "cut")
    proxy.break_("/rank/next", "cut")
    sent = "key-" + window.shows()
    following = window.answer()["task"]["assignment"]
    assert window.open().next()["task"]["assignment"] == following
    proxy.heal()
    window.wakes()
    window.becomes("saved")
    assert stored(bench, person) == [sent]


def test_a_lost_reply_leads_to_the_same_submission_again_and_one_answer(window, proxy, person, bench):
    window.next()
    lost = proxy.break_("/rank/answer", "lose")
    sent = "key-" + window.shows()
    view = window.answer()
    assert (view["state"], view["queued"]) == ("task", True)
    assert lost.was_asked()["submission_id"] == sent
    proxy.heal()
    window.becomes("saved")
    assert set(proxy.answers()) == {sent}
    assert stored(bench, person) == [sent]


@pytest.mark.parametrize("kind", ["500", "html", "captive", "cut"])
def test_a_failing_server_is_no_reason_to_stop_or_to_lose_anything(window, proxy, person, bench, kind):
    window.next()
    proxy.break_("/rank/answer", kind)
    given = ["key-" + window.shows()]
    assert window.answer()["state"] == "task"
    given.append("key-" + window.shows())
    assert window.answer()["state"] == "task"
    assert window.becomes("offline")["queued"] == 2
    proxy.heal()
    window.wakes()
    window.becomes("saved")
    assert stored(bench, person) == given


@pytest.mark.slow
def test_a_slow_server_lets_the_annotator_go_on(window, proxy, person, bench):
    window.next()
    held = proxy.break_("/rank/answer", "hold")
    first = "key-" + window.shows()
    view = window.answer()  # the page waits four seconds, then goes on
    assert (view["state"], view["queued"]) == ("task", True)
    second = "key-" + window.shows()
    window.answer()
    assert held.was_asked()["submission_id"] == first
    current = window.shows()
    proxy.heal()
    window.becomes("saved")
    assert stored(bench, person) == [first, second]
    assert window.shows() == current


def test_a_server_that_restarts_takes_the_answer_by_itself(window, bench, person):
    window.next()
    bench.server.close()
    sent = "key-" + window.shows()
    assert window.answer()["queued"] is True
    bench.open()
    window.wakes()
    window.becomes("saved")
    assert stored(bench, person) == [sent]


def test_who_was_signed_out_is_told_and_the_answer_goes_out_after_signing_in(window, context, bench, person):
    window.next()
    people.bump_session_epoch(bench.services.database, person.id)
    sent = "key-" + window.shows()
    refusal = window.answer()
    assert (refusal["status"], refusal["words"]) == (401, "you are signed out")
    assert "Sign in and sending goes on" in window.becomes("offline")["text"]
    sign_in(context, bench, person)
    window.wakes()
    assert window.is_given()["notice"] == "Your answer has been saved."
    assert stored(bench, person) == [sent]


def test_another_person_in_the_same_browser_neither_sends_nor_sees_an_answer(window, context, proxy, bench, person):
    window.next()
    proxy.break_("/rank/answer", "cut")
    sent = "key-" + window.shows()
    window.answer()
    theirs = window.shows()
    other = bench.person()
    sign_in(context, bench, other)
    proxy.heal()
    window.wakes()
    view = window.is_given()
    assert "Another account has signed in" in view["notice"]
    assert view["task"]["assignment"] != theirs
    assert window.page.evaluate("() => sending.queued()") == 0
    assert proxy.answers() == []
    sign_in(context, bench, person)
    window.wakes()
    window.page.wait_for_function("() => sending.queued() === 0 && seen.states.at(-1).state === 'saved'")
    assert (stored(bench, person), stored(bench, other)) == ([sent], [])


def test_an_answer_ranked_by_one_person_is_not_sent_under_the_name_of_the_next(window, context, proxy, bench, person):
    window.next()
    other = bench.person()
    sign_in(context, bench, other)
    refusal = window.answer()
    assert refusal["status"] == 409
    assert "kept here for its owner" in refusal["words"]
    window.is_given()
    assert proxy.answers() == []
    sign_in(context, bench, person)
    window.wakes()
    window.page.wait_for_function("() => sending.queued() === 0 && seen.views.length > 1")
    assert len(stored(bench, person)) == 1


def test_an_answer_changed_while_it_is_on_its_way_ends_as_it_was_changed(window, proxy, bench, person):
    window.next()
    task = window.page.evaluate("() => window.view.task")
    held = proxy.break_("/rank/answer", "hold")
    window.answer_without_waiting()
    held.was_asked()
    changed = "tiers => { window.coming = Promise.all([window.coming, answer({ tiers })]); }"
    window.page.evaluate(changed, [["D"], ["C"], ["B"], ["A"]])
    proxy.heal()
    window.page.evaluate("() => window.coming")
    window.page.wait_for_function("() => sending.queued() === 0")
    given = answers(bench.services.database, person_id=person.id)
    latest = next(one for one in given if one.status != "superseded")
    assert [one.status == "superseded" for one in given] == [True, False]
    shown = bench.services.pool.task(latest.task_id).completion_ids
    assert dict(zip(shown, latest.ranks, strict=True))[latest.shown[0]] == 4  # A, the first shown, is last now
    assert window.shows() != task["assignment"]


def test_without_knowing_who_is_signed_in_nothing_is_put_away(window, context, proxy, bench, person):
    context.clear_cookies(name=WHO_COOKIE)
    window.open().next()
    proxy.break_("/rank/answer", "cut")
    window.answer()
    assert "only in this window" in window.becomes("offline")["text"]
    assert window.page.evaluate("() => Object.keys(localStorage).filter((key) => key.includes('::')).length") == 0
    proxy.heal()
    window.wakes()
    window.becomes("saved")
    assert len(stored(bench, person)) == 1


def test_what_the_server_does_not_take_is_given_back_to_the_page(window, bench, person):
    window.next()
    refusal = window.answer(tiers=[["A"], ["I"]])
    assert refusal["status"] == 422
    assert "tiers" in refusal["words"]
    assert window.answer()["state"] == "task"
    assert len(stored(bench, person)) == 1


def test_a_queued_answer_that_is_refused_is_kept_with_its_reason(window, proxy, bench, person):
    window.next()
    proxy.break_("/rank/answer", "cut")
    earlier = Submission("another-key", window.shows(), "all_bad")
    window.answer()
    submit(bench.services.database, bench.services.pool, person.id, earlier)
    proxy.heal()
    window.wakes()
    assert "already answered" in window.becomes("refused")["text"]
    kept = window.page.evaluate("() => sending.refused()")
    assert [one["payload"]["kind"] for one in kept] == ["ranking"]
    window.page.evaluate("id => sending.dismiss(id)", kept[0]["id"])
    window.becomes("saved")
    assert stored(bench, person) == ["another-key"]


def test_what_was_answered_offline_counts_though_the_campaign_was_closed_meanwhile(window, context, bench, person):
    window.next()
    context.set_offline(True)
    window.answer()
    for campaign in campaigns.campaigns(bench.services.database):
        campaigns.edit_campaign(bench.services.database, campaign.id, state="closed")
    context.set_offline(False)
    window.becomes("saved")
    assert window.answer()["state"] in ("empty", "blocked")
    assert len(stored(bench, person)) == 2


def test_a_full_storage_is_said_and_the_answer_still_goes_out(context, proxy, bench, person):
    bench.campaign([four(number) for number in range(3)])
    window = Window(context, proxy.url, FULL)
    window.next()
    proxy.break_("/rank/answer", "cut")
    window.answer()
    assert "only in this window" in window.becomes("offline")["text"]
    proxy.heal()
    window.wakes()
    window.becomes("saved")
    assert len(stored(bench, person)) == 1


@pytest.mark.parametrize("start", ["", NO_LOCKS, NO_CHANNEL])
def test_two_tabs_never_show_the_same_task_and_each_answer_is_stored_once(context, proxy, bench, person, start):
    bench.campaign([four(number) for number in range(6)])
    windows = [Window(context, proxy.url, start) for _ in range(2)]
    given = []
    for window in windows:
        window.next()
    for _ in range(2):
        assert windows[0].shows() != windows[1].shows()
        given += [window.answer_without_waiting() for window in windows]
        assert [window.coming()["state"] for window in windows] == ["task", "task"]
    assert sorted(set(proxy.answers())) == sorted(stored(bench, person)) == sorted(given)


@pytest.mark.parametrize("start", ["", NO_CHANNEL])
def test_a_task_answered_in_one_tab_leaves_the_other_with_a_notice(context, proxy, bench, person, start):
    bench.campaign([four(number) for number in range(4)])
    first, second = (Window(context, proxy.url, start) for _ in range(2))
    first.next()
    second.next()
    same = second.page.evaluate("() => window.view.task")
    first.page.evaluate("task => { window.view = { ...window.view, task }; }", same)
    first.answer()
    view = second.is_given()
    assert "You answered this task in another window." in view["notice"]
    assert view["task"]["assignment"] != same["assignment"]


def test_one_tab_sends_what_two_tabs_gave_while_they_were_offline(context, proxy, bench, person):
    bench.campaign([four(number) for number in range(6)])
    windows = [Window(context, proxy.url) for _ in range(2)]
    for window in windows:
        window.next()
    context.set_offline(True)
    given = []
    for window in windows:
        given.append("key-" + window.shows())
        window.answer()
    context.set_offline(False)
    for window in windows:
        assert window.becomes("saved")["queued"] == 0
    assert list(dict.fromkeys(proxy.answers())) == stored(bench, person) == given


def test_a_reload_shows_the_same_task_again(window, context, proxy):
    window.next()
    other = Window(context, proxy.url)
    other.next()
    for one in (other, window, other):
        before = one.shows()
        assert one.open().next()["task"]["assignment"] == before


def test_tasks_whose_lease_has_ended_are_not_offered_but_their_answers_are_sent(window, context, proxy, bench, person):
    window.next()
    context.set_offline(True)
    window.page.evaluate("() => { const real = Date.now; Date.now = () => real() + 3600e3; }")
    sent = "key-" + window.shows()
    view = window.answer()
    assert (view["state"], "lease ended" in view["notice"]) == ("offline", True)
    context.set_offline(False)
    window.becomes("saved")
    assert stored(bench, person) == [sent]


def test_a_pause_hands_the_tasks_back_and_resuming_claims_again(window, proxy, bench, person):
    window.next()
    kept = window.shows()
    window.page.evaluate("kept => sending.pause([kept])", kept)
    assert [one.id for one in bench.services.pool.in_hand(person.id)] == [kept]
    window.page.evaluate("() => sending.pause()")
    assert window.page.evaluate("() => sending.resume().then((view) => view.state)") == "task"


def test_leases_are_renewed_while_somebody_looks(window, bench, person):
    window.next()
    before = {one.id: one.expires for one in bench.services.pool.in_hand(person.id)}
    window.page.evaluate("() => { const real = Date.now; Date.now = () => real() + 301e3; }")
    with window.page.expect_response("**/rank/renew"):
        window.wakes()
    after = {one.id: one.expires for one in bench.services.pool.in_hand(person.id)}
    assert after.keys() == before.keys()
    assert all(after[one] > before[one] for one in before)
