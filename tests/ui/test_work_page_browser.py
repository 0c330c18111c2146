"""The page My work in a real browser: what was answered, search, withdraw, handing back, hostile texts, a phone."""

import pytest
from playwright.sync_api import Page, expect

from storage import people, rankings
from storage.records import Message, Submission
from tests.ui.board import PHONE
from tests.ui.conftest import PASSWORD
from tests.ui.leads import HOSTILE

pytestmark = pytest.mark.slow


@pytest.fixture
def ann(bench):
    """Somebody with three answers in a campaign of five tasks."""
    person = bench.person()
    campaign = bench.campaign([[f"text {n} {k}" for k in range(3)] for n in range(5)])
    for n in range(3):
        claimed = bench.services.pool.claim(person.id, campaign.id)
        tiers = tuple((one,) for one in claimed.shown)
        sent = Submission(f"work-{person.id}-{n}", claimed.id, "ranking", tiers, 30.0)
        rankings.submit(bench.services.database, bench.services.pool, person.id, sent)
    return person


@pytest.fixture
def page(bench, browser, ann):
    yield from opened(bench, browser, ann)


def opened(bench, browser, person, **device):
    context = browser.new_context(**device)
    form = {"name": person.name, "password": PASSWORD}
    assert context.request.post(f"{bench.url}/login", form=form, max_redirects=0).status == 303
    shown, wrong = context.new_page(), []
    shown.on("pageerror", lambda error: wrong.append(str(error)))
    shown.on("dialog", lambda dialog: (wrong.append(dialog.message), dialog.dismiss()))
    load(bench, shown)
    yield shown
    assert wrong == []
    context.close()


def load(bench, page: Page) -> None:
    page.goto(f"{bench.url}/work")
    page.locator("#work [data-state=ready]").wait_for(timeout=20_000)


def test_the_page_shows_pace_and_answers(bench, page, ann):
    expect(page.locator("[data-at=total]")).to_have_text("3")
    expect(page.locator("[data-at=per_hour]")).to_have_text("120")
    expect(page.locator("[data-at=left]")).to_have_text("2")
    expect(page.locator(".entry")).to_have_count(3)
    first = page.locator(".entry").first
    expect(first.locator(".said")).to_have_text("A > B > C")
    expect(first.get_by_role("link")).to_have_attribute("href", f"./?revise=work-{ann.id}-2")


def test_search_narrows_the_list_and_says_when_nothing_is_found(page):
    asked = page.locator(".entry .prompt").last.inner_text()
    page.get_by_role("searchbox").fill(asked.upper())
    expect(page.locator(".entry")).to_have_count(1)
    page.get_by_role("searchbox").fill("nowhere to be found")
    expect(page.locator(".none")).to_have_text("Nothing of yours matches.")


def test_withdrawing_needs_a_second_press_and_leaves_a_way_back(bench, page, ann):
    first = page.locator(".entry").first
    first.locator(".take").click()
    expect(first.locator(".take")).to_have_text("Really withdraw?")
    first.locator(".take").click()
    expect(page.locator(".entry .chip").first).to_have_text("withdrawn")
    expect(page.locator("[data-at=total]")).to_have_text("2")
    kinds = [one.kind for one in rankings.answers(bench.services.database, person_id=ann.id)]
    assert kinds[-1] == "skip"


def test_tasks_in_hand_can_be_handed_back(bench, page, ann):
    bench.services.pool.claim_ahead(ann.id, None, 2)
    load(bench, page)
    expect(page.locator(".hand p")).to_contain_text("2 tasks are kept for you until")
    page.get_by_role("button", name="Hand them back").click()
    expect(page.locator(".hand")).to_be_hidden()
    assert bench.services.pool.in_hand(ann.id) == []


def test_hostile_texts_stay_texts(bench, browser):
    person = bench.person()
    campaign = bench.campaign([[HOSTILE, "b"]], [Message("user", HOSTILE)])
    claimed = bench.services.pool.claim(person.id, campaign.id)
    tiers = tuple((one,) for one in claimed.shown)
    sent = Submission(f"work-{person.id}-0", claimed.id, "ranking", tiers, 30.0)
    rankings.submit(bench.services.database, bench.services.pool, person.id, sent)
    rankings.exclude(bench.services.database, sent.submission_id, HOSTILE)
    for page in opened(bench, browser, person):
        expect(page.locator(".entry .chip")).to_have_text(f"excluded: {HOSTILE}")
        expect(page.locator(".entry .prompt")).to_contain_text("img src=x")
        assert page.locator("#work img").count() == 0 and page.evaluate("window.hit") is None


def test_a_phone_shows_it_without_scrolling_sideways(bench, browser, ann):
    for page in opened(bench, browser, ann, **PHONE):
        expect(page.locator(".entry")).to_have_count(3)
        assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_who_is_signed_out_is_led_to_the_sign_in(bench, page, ann):
    people.bump_session_epoch(bench.services.database, ann.id)
    page.get_by_role("searchbox").fill("x")
    expect(page).to_have_url(f"{bench.url}/login", timeout=10_000)
