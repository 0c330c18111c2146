"""The Runs and Backends pages in Chromium: compare, change and run again, agree to a price, check a backend, axe."""

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect

from storage import run_marks, runs
from storage.records import Campaign
from tests.ui.conftest import Bench
from tests.ui.leads import HOSTILE
from tests.ui.priced_backend import add_priced
from tests.ui.test_lead_pages_browser import PHONE, SOON, Visit, open_form

pytestmark = pytest.mark.slow

ROWS = [{"step": n, "loss": 1 / n, "sample": f"text {n} {HOSTILE}"} for n in range(1, 9)]


@pytest.fixture
def paid(bench: Bench):
    """A backend with prices beside the usual one."""
    usual = bench.services.backends
    made = add_priced(bench.services)
    yield made
    bench.services.backends = usual


def ended(bench: Bench, campaign: Campaign, state: str = "failed", **options) -> str:
    """A run that has ended, with rows, a log and a note that somebody hostile wrote."""
    run = runs.create_run(bench.services.database, "dpo", campaign.id, {"beta": 0.1} | options)
    directory = bench.services.directory(run)
    directory.mkdir(parents=True)
    (directory / "config.json").write_text('{"models": {}, "options": {}}')
    (directory / "log.txt").write_text(f"one\n{HOSTILE}\nthe last line")
    runs.add_metrics(bench.services.database, run.id, ROWS, 99)
    run_marks.set_note(bench.services.database, run.id, HOSTILE)
    run_marks.set_tags(bench.services.database, run.id, ["a-tag-without-any-space-in-it-for-phones"])
    runs.set_state(bench.services.database, run.id, state, f"out of memory; try batch_size 4 {HOSTILE}")
    return run.id


def violations(page) -> set[tuple[str, ...]]:
    """What axe finds in both shades, and finds again: a part that is just being refreshed is dimmed for a moment."""
    found = set()
    for shade in ("light", "dark"):
        page.evaluate("dark => document.body.classList.toggle('dark', dark)", shade == "dark")
        seen = _seen(page)
        if seen:
            page.wait_for_timeout(1500)
            seen &= _seen(page)
        found |= {(shade, *one) for one in seen}
    return found


def _seen(page) -> set[tuple[str, ...]]:
    page.evaluate("Promise.all(document.getAnimations().map(one => one.finished.catch(() => 0)))")
    return {
        (rule["id"], node["html"][:160]) for rule in Axe().run(page).response["violations"] for node in rule["nodes"]
    }


@pytest.mark.parametrize("device", [{}, PHONE], ids=["desktop", "phone"])
def test_a_failed_run_tells_why_and_its_samples_can_be_followed_back(bench, browser, device):
    run_id = ended(bench, bench.campaign([["one", "two"]]))
    with Visit(bench, browser, "lead", **device) as visit:
        page = visit.open(f"runs?run={run_id}")
        expect(page.locator("#run-failure .error")).to_contain_text("try batch_size 4", timeout=SOON)
        expect(page.locator("#run-failure pre")).to_contain_text("the last line")
        expect(page.locator("#run-chart [data-at=step]")).to_have_text("step 8, the newest", timeout=SOON)
        page.locator("#run-chart [data-at=when]").press("ArrowLeft")
        expect(page.locator("#run-chart .sample")).to_contain_text("text 7")
        assert page.evaluate("document.documentElement.scrollWidth") <= page.viewport_size["width"]
        assert page.evaluate("window.hit") is None and visit.wrong == []
        assert violations(page) == set()


def test_runs_are_compared_with_their_differences_marked(bench, browser):
    campaign = bench.campaign([["one", "two"]])
    first, other = ended(bench, campaign), ended(bench, campaign, beta=0.3)
    with Visit(bench, browser, "lead") as visit:
        page = visit.open(f"runs?run={first}")
        open_form(page, "#run-compare")
        page.locator("#run-compare input").first.click()
        page.get_by_role("option", name=other).click()
        expect(page.locator("#run-differ")).to_contain_text("0.3", timeout=SOON)
        expect(page.locator("#run-chart .curve.beside").first).to_be_attached()
        assert visit.wrong == []


def test_the_options_of_a_run_can_be_changed_and_a_new_run_shows_up_by_itself(bench, browser):
    campaign = bench.campaign([["one", "two"]])
    run_id = ended(bench, campaign, beta=0.7)
    with Visit(bench, browser, "lead") as visit:
        page = visit.open(f"runs?run={run_id}")
        page.get_by_role("button", name="Change and run again").click(timeout=SOON)
        expect(page.locator("#start-said")).to_contain_text(f"Filled with the options of {run_id}", timeout=SOON)
        expect(page.locator("#run-kind input")).to_have_value("dpo")
        made = runs.create_run(bench.services.database, "reward", campaign.id, {})  # as another lead would
        expect(page.locator(f"#run-list [data-card='{made.id}']")).to_be_visible(timeout=SOON)
        runs.set_state(bench.services.database, made.id, "cancelled")
        expect(page.locator(f"#run-list [data-card='{made.id}']")).to_contain_text("cancelled", timeout=SOON)
        assert visit.wrong == []


@pytest.mark.parametrize("device", [{}, PHONE], ids=["desktop", "phone"])
def test_a_backend_is_checked_and_tells_its_prices(bench, browser, paid, device):
    with Visit(bench, browser, "lead", **device) as visit:
        page = visit.open("backends")
        page.get_by_role("button", name="Check paid").click(timeout=SOON)
        expect(page.locator("#backend-cards .hardware")).to_contain_text("$1.50", timeout=SOON)
        assert page.evaluate("document.documentElement.scrollWidth") <= page.viewport_size["width"]
        assert violations(page) == set() and visit.wrong == []
