"""A window of a browser with the board's sending and nothing to draw it, for the tests of sending. No tests."""

from pathlib import Path

from playwright.sync_api import Browser, BrowserContext

from storage.rankings import answers
from storage.records import Person
from tests.ui.conftest import PASSWORD, Bench

STATIC = Path(__file__).parents[2] / "ui" / "static"
SCRIPTS = ("outbox.js", "tabs.js", "sending.js")
START = """scripts => {
  const make = new Function(scripts + '; return makeSending;')();
  window.seen = { states: [], views: [], notices: [] };
  const shown = (view) => { window.view = view; return view; };
  const failed = (error) => ({ state: 'rejected', status: error.status, words: error.message });
  const onView = (view) => seen.views.push(shown(view));
  window.sending = make({ onState: (s) => seen.states.push(s), onView, onNotice: (n) => seen.notices.push(n) });
  window.next = (campaign) => sending.next(campaign).then(shown, failed);
  window.payload = () => {
    const { assignment, completions } = window.view.task, tiers = completions.map((one) => [one.letter]);
    return { submission_id: 'key-' + assignment, assignment, kind: 'ranking', tiers, seconds: 1, detail: {} };
  };
  window.answer = (more) => sending.submit({ ...payload(), ...more }).then(shown, failed);
}"""


def four(number: int) -> list[str]:
    """Four texts of one task."""
    return [f"text {letter}{number}" for letter in "wxyz"]


def sign_in(context: BrowserContext, bench: Bench, person: Person) -> None:
    """Give the browser a session of the person's."""
    form = {"name": person.name, "password": PASSWORD}
    assert context.request.post(f"{bench.url}/login", form=form, max_redirects=0).status == 303


def browser_of(browser: Browser, bench: Bench, person: Person) -> BrowserContext:
    """A browser of its own with a session of the person's."""
    context = browser.new_context()
    sign_in(context, bench, person)
    return context


def stored(bench: Bench, person: Person) -> list[str]:
    """The person's submission ids in storage, oldest first."""
    return [answer.submission_id for answer in answers(bench.services.database, person_id=person.id)]


class Window:
    """One tab. `start` is JavaScript that runs before sending does, such as taking a part of the browser away."""

    def __init__(self, context: BrowserContext, url: str, start: str = ""):
        self.page, self.url, self.start = context.new_page(), url, start
        self.open()

    def open(self) -> "Window":
        """Load it, or load it again."""
        self.page.goto(f"{self.url}/healthz")
        if self.start:
            self.page.evaluate(self.start)
        self.page.evaluate(START, "".join((STATIC / name).read_text(encoding="utf-8") for name in SCRIPTS))
        return self

    def next(self, campaign: int | None = None) -> dict:
        """The next view, or {"state": "rejected", "status", "words"}."""
        return self.page.evaluate("campaign => next(campaign)", campaign)

    def answer(self, **more) -> dict:
        """Rank the task on screen A to D and submit it; the view that follows, or the rejection."""
        return self.page.evaluate("more => answer(more)", more)

    def answer_without_waiting(self) -> str:
        """The same, not waiting for the reply; returns the submission's id."""
        return self.page.evaluate(
            "() => { const id = payload().submission_id; window.coming = answer({}); return id; }"
        )

    def coming(self) -> dict:
        """The view that an answer without waiting led to."""
        return self.page.evaluate("() => window.coming")

    def shows(self) -> str:
        """The assignment on screen, or ""."""
        return self.page.evaluate("() => window.view?.task?.assignment || ''")

    def becomes(self, state: str) -> dict:
        """Wait until the dock says this state; returns what it says."""
        self.page.wait_for_function("state => seen.states.at(-1)?.state === state", arg=state, timeout=15_000)
        return self.page.evaluate("() => seen.states.at(-1)")

    def is_given(self, state: str = "task") -> dict:
        """Wait for a view of this state that the page did not ask for; returns it."""
        self.page.wait_for_function("state => seen.views.at(-1)?.state === state", arg=state, timeout=15_000)
        return self.page.evaluate("() => seen.views.at(-1)")

    def wakes(self) -> None:
        """What a browser tells a page that somebody looks at again."""
        self.page.evaluate("() => { window.dispatchEvent(new Event('focus')); }")
