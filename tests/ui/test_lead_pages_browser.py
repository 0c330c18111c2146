"""The leads' pages in Chromium: they open cleanly, a run's curves grow live and survive a reload, an import works."""

import json
import re
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from pipeline.backend import Ending, Use
from pipeline.monitor import Monitor
from pipeline.run_directory import RunDirectory
from pipeline.services import only
from storage import people, runs
from tests.ui.conftest import PASSWORD, Bench
from tests.ui.leads import HOSTILE
from ui.auth import COOKIE

pytestmark = pytest.mark.slow

STATIC = Path(__file__).parents[2] / "ui" / "static"
CASES = Path(__file__).with_name("charts.test.mjs")
RUN_CASES = """async ([charts, cases]) => {
  const Charts = new Function(charts + '; return Charts;')();
  const module = await import(URL.createObjectURL(new Blob([cases], { type: 'text/javascript' })));
  const failed = [];
  for (const [name, run] of Object.entries(module.cases(Charts))) {
    try { run(); } catch (error) { failed.push(name + ': ' + error.message); }
  }
  return failed;
}"""
PAGES = {
    "campaigns": "#campaign-cards",
    "runs": "#run-list",
    "backends": "#backend-cards",
    "leaderboard": "#standing",
    "people": "#people-table",
}
PHONE = {"viewport": {"width": 390, "height": 844}}
SOON = 30_000  # milliseconds; two busy cores


class FastBackend:
    """Runs "jobs" as threads that write a few metric lines and a result: what a real job does, in seconds."""

    name, remote, usual_timeout, margin = "local", False, 0, 0

    def __init__(self):
        self.threads: list[threading.Thread] = []
        self.busy = 0.2
        self.go_on = threading.Event()

    def slots(self):
        return ("thread",)

    def submit(self, job):
        thread = threading.Thread(target=self.work, args=(RunDirectory(job.directory),))
        self.threads.append(thread)
        thread.start()
        return str(len(self.threads) - 1)

    def work(self, run: RunDirectory) -> None:
        for step in range(1, 9):
            run.append_metrics(step, {"loss": 1 / step, "sample": f"text {step} {HOSTILE}"})
            run.write_status("running", step, 8, "training")
            if step == 4:
                self.go_on.wait(30)
            if run.cancel_requested():
                return
        run.finish({"metrics": {"loss": 0.125}})

    def find(self, run_directory):
        return None

    def alive(self, handle):
        return self.threads[int(handle)].is_alive()

    def sync(self, run_directory, handle):
        pass

    def clear(self, run_directory, handle):
        pass

    def ending(self, handle):
        return Ending()

    def usage(self, handle):
        self.busy = 1.0 - self.busy
        return Use("1.0 GiB of memory", self.busy)

    def cancel(self, handle, force=False):
        self.go_on.set()


class Visit:
    """A page of one signed-in person, which remembers everything that must not happen."""

    def __init__(self, bench: Bench, browser: Browser, role: str, **device):
        self.bench, self.wrong = bench, []
        self.context = browser.new_context(**({"viewport": {"width": 1440, "height": 1000}} | device))
        person = bench.person(role)
        form = {"name": person.name, "password": PASSWORD}
        assert self.context.request.post(f"{bench.url}/login", form=form, max_redirects=0).status == 303
        self.person, self.page = person, self.context.new_page()
        self.page.on("pageerror", lambda error: self.wrong.append(f"page error {error}"))
        self.page.on("console", lambda said: said.type == "error" and self.wrong.append(f"console {said.text}"))
        self.page.on("request", lambda sent: self._outside(sent.url))

    def __enter__(self) -> "Visit":
        return self

    def __exit__(self, *_) -> None:
        self.context.close()

    def open(self, path: str) -> Page:
        self.page.goto(f"{self.bench.url}/{path}")
        self.page.locator(f"{PAGES[path.split('?')[0]]} .lead").wait_for(timeout=SOON)
        return self.page

    def _outside(self, url: str) -> None:
        if not url.startswith((self.bench.url, "data:", "blob:", "about:")):
            self.wrong.append(f"request {url}")


@pytest.fixture
def jobs(bench: Bench) -> Iterator[FastBackend]:
    """The bench's monitor at work over fast jobs."""
    usual, fast = bench.services.backends, FastBackend()
    bench.services.backends = only(fast)
    monitor = Monitor(bench.services, interval=0.1)
    monitor.start()
    yield fast
    fast.go_on.set()
    for thread in fast.threads:
        thread.join()
    monitor.stop()
    bench.services.backends = usual


def open_form(page: Page, form: str) -> None:
    page.locator(f"{form} > button").click()


def start_generate(page: Page, campaign: str) -> str:
    """Start a generate run over the campaign's prompts from the form; returns its id."""
    open_form(page, "#start-run")
    page.locator("#run-campaign input").click()
    page.get_by_role("option", name=campaign, exact=True).click()
    page.locator("#run-kind input").click()
    page.get_by_role("option", name="generate").click()
    page.locator("#start-button").click()
    said = page.locator("#start-said .okay")
    said.wait_for(timeout=SOON)
    return re.search(r"\d{4}-generate", said.inner_text())[0]


def test_the_part_of_the_charts_that_thinks(browser):
    page = browser.new_page()
    failed = page.evaluate(RUN_CASES, [(STATIC / "charts.js").read_text(), CASES.read_text()])
    page.close()
    assert failed == []


@pytest.mark.parametrize("device", [{}, PHONE], ids=["desktop", "phone"])
def test_pages_open_without_errors_and_fit_their_screen(bench, browser, device):
    bench.campaign([["one", "two"]], guidelines=HOSTILE)
    with Visit(bench, browser, "admin", **device) as visit:
        for path in PAGES:
            page = visit.open(path)
            assert page.evaluate("document.documentElement.scrollWidth") <= page.viewport_size["width"]
            assert page.evaluate("window.hit") is None
        assert visit.wrong == []


@pytest.mark.parametrize("path", PAGES)
def test_an_annotator_gets_403_on_each(bench, browser, path):
    with Visit(bench, browser, "annotator") as visit:
        assert visit.context.request.get(f"{bench.url}/{path}").status == 403


def test_a_run_started_from_the_page_draws_its_curve_while_it_goes_on(bench, browser, jobs):
    campaign = bench.campaign([["one", "two"]])
    with Visit(bench, browser, "lead") as visit:
        page = visit.open("runs")
        run_id = start_generate(page, campaign.name)
        expect(page.locator(f"[data-run='{run_id}'][data-points='4']")).to_be_visible(timeout=SOON)
        expect(page.locator("#run-chart [data-at=state]")).to_have_text("running")
        use = page.locator("#run-chart [data-at=busy] svg")  # two moments make a curve
        expect(use).to_have_attribute("aria-label", re.compile("(20|80) % busy now; the curve shows"), timeout=SOON)
        assert re.fullmatch(r"M0\.0 [\d.]+(L[\d.]+ [\d.]+)+", use.locator("path").get_attribute("d"))
        jobs.go_on.set()
        expect(page.locator(f"[data-run='{run_id}'][data-points='8']")).to_be_visible(timeout=SOON)
        expect(page.locator("#run-chart [data-at=state]")).to_have_text("succeeded", timeout=SOON)
        expect(page.locator("#run-facts")).to_contain_text("0.125", timeout=SOON)
        page = visit.open(f"runs?run={run_id}")
        expect(page.locator(f"[data-run='{run_id}'][data-points='8'] svg .curve").first).to_be_visible(timeout=SOON)
        assert page.evaluate("window.hit") is None and visit.wrong == []
        assert runs.run(bench.services.database, run_id).state == "succeeded"


def test_a_run_goes_on_when_the_browser_closes_and_can_be_cancelled_from_another(bench, browser, jobs):
    campaign = bench.campaign([["one", "two"]])
    with Visit(bench, browser, "lead") as visit:
        run_id = start_generate(visit.open("runs"), campaign.name)
        expect(visit.page.locator(f"[data-run='{run_id}'][data-points='4']")).to_be_visible(timeout=SOON)
    assert runs.run(bench.services.database, run_id).state == "running"
    with Visit(bench, browser, "lead") as visit:
        page = visit.open("runs")
        page.on("dialog", lambda dialog: dialog.accept())
        page.locator(f"[data-run='{run_id}'][data-points='4'] [data-at=cancel]").click()
        expect(page.locator("#run-chart [data-at=cancel]")).to_have_text("Cancelling…", timeout=SOON)
        jobs.go_on.set()
        expect(page.locator("#run-chart [data-at=state]")).to_have_text("cancelled", timeout=SOON)
        assert visit.wrong == []


def test_live_events_end_for_somebody_who_was_signed_out(bench, browser, jobs, monkeypatch):
    monkeypatch.setattr("ui.run_streams.HEARTBEAT_EVERY", 0.1)
    monkeypatch.setattr("ui.run_streams.LOOK_EVERY", 0.05)
    campaign = bench.campaign([["one", "two"]])
    with Visit(bench, browser, "lead") as visit:
        run_id = start_generate(visit.open("runs"), campaign.name)
        opened = """run => new Promise(tell => {
            const source = new EventSource(`api/v1/runs/${run}/events`);
            window.ends = new Promise(end => { source.onerror = () => end('ended'); });
            source.addEventListener('run', () => tell('open')); })"""
        assert visit.page.evaluate(opened, run_id) == "open"
        people.bump_session_epoch(bench.services.database, visit.person.id)
        assert visit.page.evaluate("window.ends") == "ended"


def test_an_open_page_asks_no_more_after_one_refusal(bench, browser):
    with Visit(bench, browser, "lead") as visit:
        page = visit.open("backends")
        people.bump_session_epoch(bench.services.database, visit.person.id)
        asked = []
        page.on("request", lambda sent: "gradio_api/run" in sent.url and asked.append(sent.url))
        page.wait_for_timeout(24_000)  # two ticks and more
        assert len(asked) == 1


def test_a_file_imported_from_the_page_is_told_line_by_line(bench, browser, tmp_path):
    good = {"prompt": "Say hello", "completions": [{"model": "a", "text": "Hi"}, {"model": "b", "text": "Hello"}]}
    file = tmp_path / "greetings.jsonl"
    file.write_text(json.dumps(good) + "\n" + json.dumps({"prompt": HOSTILE, "completions": 3}) + "\n")
    with Visit(bench, browser, "lead") as visit:
        page = visit.open("campaigns")
        open_form(page, "#import-form")
        page.locator("#import-form input[type=file]").set_input_files(file)
        page.locator("#import-form .file-preview").wait_for(timeout=SOON)
        page.locator("#import-button").click()
        expect(page.locator("#import-report")).to_contain_text("1 refused", timeout=SOON)
        expect(page.locator("#campaign-cards")).to_contain_text("greetings")
        assert page.evaluate("window.hit") is None and visit.wrong == []


def test_a_campaign_made_on_the_page_can_be_exported_from_it(bench, browser):
    with Visit(bench, browser, "lead") as visit:
        page = visit.open("campaigns")
        open_form(page, "#new-campaign")
        page.locator("#new-name input, #new-name textarea").first.fill("from the page")
        page.locator("#new-button").click()
        expect(page.locator("#campaign-head h2")).to_have_text("from the page", timeout=SOON)
        page.get_by_role("tab", name="Data", exact=True).click()
        link = page.locator("#exports").get_by_text("RAW", exact=True).get_attribute("href", timeout=SOON)
        cookie = next(one for one in visit.context.cookies() if one["name"] == COOKIE)
        assert cookie and visit.context.request.get(f"{bench.url}/{link}").ok and visit.wrong == []
