"""The real board while connection, server or session fail: nobody is held up, and every answer is stored once."""

import pytest
from playwright.sync_api import BrowserContext, expect

from storage import people
from tests.ui.windows import browser_of, four, sign_in, stored

SHELL_IS_KEPT = """async () => {
  await navigator.serviceWorker.ready;
  while (!(await caches.match('rank/board')) || !(await caches.match('vendor/katex/katex.min.js'))) {
    await new Promise((again) => setTimeout(again, 50));
  }
}"""


class Tab:
    """The board in one tab."""

    def __init__(self, context: BrowserContext, url: str):
        self.page, self.url = context.new_page(), url
        self.page.goto(url)
        self.page.locator("[data-ready='1']").wait_for()

    def prompt(self) -> str:
        """The prompt on screen."""
        return self.page.locator(".prompt .talk").inner_text()

    def rank(self) -> None:
        """1, 2, 3, 4, without submitting."""
        for key in "1234":
            self.page.keyboard.press(key)
        expect(self.page.locator(".card[data-r]")).to_have_count(4)

    def answer(self) -> None:
        """Rank, submit, and wait until something else is on screen."""
        before = self.prompt()
        self.rank()
        self.page.keyboard.press("Enter")
        expect(self.page.locator(".prompt .talk")).not_to_have_text(before, timeout=15_000)

    def says(self, state: str, text: str = "") -> None:
        """Wait until the dock says so."""
        dock = self.page.locator(f".kept[data-state={state}]")
        expect(dock).to_be_visible(timeout=15_000)
        expect(dock).to_contain_text(text)

    def has_sent_all(self) -> None:
        """Wait until no answer is kept in this browser."""
        self.page.wait_for_function(
            "() => !Object.keys(localStorage).some((key) => key.startsWith('rankloop-answer:'))"
        )

    def looked_at(self) -> None:
        """What a browser tells a page that somebody turns to again."""
        self.page.evaluate("() => { window.dispatchEvent(new Event('focus')); }")


@pytest.fixture
def context(bench, browser, person):
    bench.campaign([four(number) for number in range(12)])
    made = browser_of(browser, bench, person)
    yield made
    made.close()


@pytest.mark.slow
def test_three_answers_given_offline_are_stored_in_order_when_the_connection_is_back(bench, context, person, proxy):
    tab = Tab(context, proxy.url)
    context.set_offline(True)
    for number in range(1, 4):
        if tab.page.locator(".work").is_visible():
            tab.says("offline") if number == 1 else tab.says("offline", f"{number - 1} answer")
        prompts = tab.prompt()
        tab.rank()
        tab.page.keyboard.press("Enter")
        if number < 3:
            expect(tab.page.locator(".prompt .talk")).not_to_have_text(prompts)
    expect(tab.page.locator(".waiting h2")).to_have_text("You are offline")
    expect(tab.page.locator(".waiting")).to_contain_text("3 answers wait in this browser")
    context.set_offline(False)
    expect(tab.page.locator(".work")).to_be_visible(timeout=15_000)
    assert stored(bench, person) == proxy.answers()
    assert len(set(proxy.answers())) == 3


@pytest.mark.slow
def test_a_server_that_restarts_in_mid_ranking_costs_nothing(bench, context, person):
    tab = Tab(context, bench.url)
    tab.page.keyboard.press("2")
    tab.page.keyboard.press("1")
    bench.server.close()
    bench.open()
    expect(tab.page.locator(".card[data-r]")).to_have_count(2)
    tab.page.keyboard.press("4")
    tab.page.keyboard.press("3")
    before = tab.prompt()
    tab.page.keyboard.press("Enter")
    expect(tab.page.locator(".prompt .talk")).not_to_have_text(before, timeout=15_000)
    tab.says("saved")
    assert len(stored(bench, person)) == 1


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["500", "html", "lose"])
def test_a_failing_server_holds_nobody_up(bench, context, person, proxy, kind):
    tab = Tab(context, proxy.url)
    fault = proxy.break_("/rank/answer", kind)
    tab.answer()
    first = fault.was_asked()["submission_id"]
    tab.says("offline", "1 answer waits here")
    proxy.heal()
    tab.answer()
    tab.has_sent_all()
    assert (stored(bench, person)[0], len(stored(bench, person))) == (first, 2)


@pytest.mark.slow
def test_a_slow_server_lets_the_annotator_go_on_with_the_next_task(bench, context, person, proxy):
    tab = Tab(context, proxy.url)
    held = proxy.break_("/rank/answer", "hold")
    tab.answer()
    tab.rank()
    held.was_asked()
    proxy.heal()
    tab.has_sent_all()
    expect(tab.page.locator(".card[data-r]")).to_have_count(4)  # what was ranked meanwhile is still there
    assert len(stored(bench, person)) == 1


@pytest.mark.slow
def test_two_tabs_work_on_different_tasks(bench, context, person):
    tabs = [Tab(context, bench.url) for _ in range(2)]
    for _ in range(2):
        assert tabs[0].prompt() != tabs[1].prompt()
        for tab in tabs:
            tab.answer()
            tab.says("saved")
    assert len(set(stored(bench, person))) == 4


@pytest.mark.slow
def test_who_was_signed_out_signs_in_elsewhere_and_the_answer_goes_out_by_itself(bench, context, person):
    tab = Tab(context, bench.url)
    tab.rank()
    people.bump_session_epoch(bench.services.database, person.id)
    tab.page.keyboard.press("Enter")
    expect(tab.page.locator(".trouble")).to_contain_text("you are signed out")
    expect(tab.page.locator(".trouble a")).to_have_attribute("href", "login")
    assert tab.page.locator(".card[data-r]").count() == 4
    sign_in(context, bench, person)
    tab.looked_at()
    expect(tab.page.locator(".trouble")).to_contain_text("Your answer has been saved.", timeout=15_000)
    assert len(stored(bench, person)) == 1


@pytest.mark.slow
def test_the_next_person_in_the_same_browser_neither_sends_nor_sees_what_waits(bench, context, person, proxy):
    tab = Tab(context, proxy.url)
    proxy.break_("/rank/answer", "cut")
    tab.answer()
    tab.says("offline", "1 answer waits here")
    other = bench.person()
    sign_in(context, bench, other)
    proxy.heal()
    tab.looked_at()
    expect(tab.page.locator(".trouble")).to_contain_text("Another account has signed in")
    theirs = Tab(context, proxy.url)
    theirs.answer()
    assert (len(stored(bench, person)), len(stored(bench, other))) == (0, 1)
    sign_in(context, bench, person)
    tab.looked_at()
    tab.has_sent_all()
    assert len(stored(bench, person)) == 1


@pytest.mark.slow
def test_a_reload_while_the_server_is_away_shows_the_board_with_the_kept_tasks(bench, context, person, proxy):
    tab = Tab(context, proxy.url)
    tab.page.evaluate(SHELL_IS_KEPT)
    tab.rank()
    before = tab.prompt()
    proxy.break_("", "cut")  # everything
    tab.page.reload()
    expect(tab.page.locator(".alone > header")).to_contain_text("The server was away")
    expect(tab.page.locator(".prompt .talk")).to_have_text(before)
    expect(tab.page.locator(".card[data-r]")).to_have_count(4)
    tab.page.keyboard.press("Enter")
    expect(tab.page.locator(".prompt .talk")).not_to_have_text(before)
    proxy.heal()
    tab.looked_at()
    tab.has_sent_all()
    assert len(stored(bench, person)) == 1
    tab.page.get_by_role("link", name="Load the whole page").click()
    expect(tab.page.locator("#topbar .out")).to_be_visible(timeout=15_000)
