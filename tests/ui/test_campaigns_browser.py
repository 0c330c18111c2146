"""A lead's whole way in Chromium: make a campaign, set it up, add prompts, see it as an annotator, check and decide."""

import pytest
from playwright.sync_api import Page, expect

from storage import campaigns, rankings
from storage.records import Submission
from storage.setups import setup
from storage.task_lists import task_page
from tests.ui.leads import HOSTILE
from tests.ui.test_lead_pages_browser import PHONE, SOON, Visit, open_form

pytestmark = pytest.mark.slow


def part(page: Page, name: str) -> None:
    """Open a part of the campaign; on a phone the last ones are behind the tabs' own menu."""
    tab = page.get_by_role("tab", name=name, exact=True)
    if tab.count() and tab.first.is_visible():
        tab.first.click()
        return
    page.locator("#campaign-parts .overflow-menu > button").click()
    page.locator("#campaign-parts .overflow-dropdown button", has_text=name).click()


def open_campaign(visit: Visit, number: int) -> Page:
    visit.page.goto(f"{visit.bench.url}/campaigns?campaign={number}")
    visit.page.locator("#campaign-head .lead").wait_for(timeout=SOON)
    return visit.page


def test_a_lead_makes_a_campaign_sets_it_up_and_adds_a_task(bench, browser):
    with Visit(bench, browser, "lead") as visit:
        page = visit.open("campaigns")
        open_form(page, "#new-campaign")
        page.locator("#new-name input, #new-name textarea").fill("by the book")
        page.locator("#new-button").click()
        expect(page.locator("#campaign-head h2")).to_have_text("by the book", timeout=SOON)
        part(page, "Setup")
        page.locator("#field-guidelines textarea").fill(f"# Read **first** {HOSTILE}")
        expect(page.locator("#guidelines-preview h1")).to_contain_text("Read first", timeout=SOON)
        page.locator("#field-overlap input").fill("2")
        page.locator("#save-campaign").click()
        expect(page.locator("#save-said")).to_contain_text("by the book is saved", timeout=SOON)
        part(page, "Data")
        page.locator("#hand-prompts textarea").fill("Say hello.")
        page.locator("#hand-completions textarea").fill("Hello!\n---\nWhat?")
        page.locator("#hand-button").click()
        expect(page.locator("#hand-said")).to_contain_text("Imported into", timeout=SOON)
        part(page, "Tasks")
        expect(page.locator("#task-list")).to_contain_text("Say hello.", timeout=SOON)
        assert visit.wrong == []
    made = campaigns.campaign_by_name(bench.services.database, "by the book")
    assert (made.overlap, made.guidelines_version) == (2, 2)
    assert task_page(bench.services.database, made.id).total == 1


def test_a_wrong_setup_is_told_beside_the_button_and_not_stored(bench, browser):
    made = bench.campaign([["one", "two"]])
    with Visit(bench, browser, "lead") as visit:
        page = open_campaign(visit, made.id)
        part(page, "Setup")
        expect(page.locator("#field-name input, #field-name textarea")).to_have_value(made.name, timeout=SOON)
        page.locator("#field-k input").fill("12")
        page.locator("#save-campaign").click()
        expect(page.locator("#save-said .error")).to_contain_text("2 to 9 completions", timeout=SOON)
    assert campaigns.campaign(bench.services.database, made.id).k == made.k


@pytest.mark.parametrize("device", [{}, PHONE])
def test_the_preview_is_the_board_and_stores_nothing(bench, browser, device):
    made = bench.campaign([["first text", "second text"], ["third text", "fourth text"]])
    before = len(rankings.answers(bench.services.database))
    with Visit(bench, browser, "lead", **device) as visit:
        page = open_campaign(visit, made.id)
        page.get_by_role("link", name="See it as an annotator does").click()
        expect(page.locator("#board .work")).to_be_visible(timeout=SOON)
        expect(page.locator("#board")).to_contain_text("first text", timeout=SOON)
        page.keyboard.press("1")
        page.keyboard.press("2")
        page.keyboard.press("Enter")
        expect(page.locator("#board")).to_contain_text("nothing was stored", timeout=SOON)
        expect(page.locator("#board")).to_contain_text("third text", timeout=SOON)
        assert visit.wrong == []
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert len(rankings.answers(bench.services.database)) == before
    assert bench.services.pool.in_hand(visit.person.id) == []


def test_a_lead_makes_a_check_pauses_an_annotator_and_excludes_an_answer(bench, browser):
    made = bench.campaign([["one", "two"], ["three", "four"]], overlap=2)
    database, pool = bench.services.database, bench.services.pool
    ann = bench.person()
    assignment = pool.claim(ann.id, made.id)
    tiers = tuple((c,) for c in sorted(assignment.shown))
    sent = Submission(f"browser-{assignment.id}", assignment.id, "ranking", tiers, 5.0)
    rankings.submit(database, pool, ann.id, sent)
    with Visit(bench, browser, "lead") as visit:
        page = open_campaign(visit, made.id)
        part(page, "Tasks")
        page.locator("#task-list [data-act=task]").first.click()
        expect(page.locator("#task-card")).to_contain_text("secret-model-0", timeout=SOON)
        open_form(page, "#task-check")
        page.locator("#check-order input, #check-order textarea").fill("b > a")
        page.locator("#check-button").click()
        expect(page.locator("#task-said")).to_contain_text("is a gold task now", timeout=SOON)
        part(page, "Quality")
        page.once("dialog", lambda dialog: dialog.accept("too hasty"))
        page.locator("#quality [data-act=pause]").first.click()
        expect(page.locator("#quality")).to_contain_text("too hasty", timeout=SOON)
        page.once("dialog", lambda dialog: dialog.accept("looked careless"))
        page.locator("#answers [data-act=exclude]").first.click()
        expect(page.locator("#answers")).to_contain_text("looked careless", timeout=SOON)
        assert visit.wrong == []
    assert pool.refusals(ann.id)[0].message.startswith("You are paused here: too hasty")
    assert rankings.answer(database, sent.submission_id).status == "excluded"


def test_a_card_pauses_after_saying_what_follows(bench, browser):
    made = bench.campaign([["one", "two"]])
    with Visit(bench, browser, "lead") as visit:
        page = visit.open("campaigns")
        asked = []
        page.once("dialog", lambda dialog: (asked.append(dialog.message), dialog.accept()))
        page.locator(f'#campaign-cards [data-state=paused][data-campaign="{made.id}"]').click()
        expect(page.locator(f'#campaign-cards [data-state=open][data-campaign="{made.id}"]')).to_be_visible(
            timeout=SOON
        )
    assert "Nobody gets tasks of it until it is reopened" in asked[0]
    assert campaigns.campaign(bench.services.database, made.id).state == "paused"


def test_the_parts_of_a_campaign_fit_a_phone_and_run_no_text(bench, browser):
    made = bench.campaign([[HOSTILE, "two"]], guidelines=HOSTILE, criterion=HOSTILE)
    with Visit(bench, browser, "lead", **PHONE) as visit:
        page = open_campaign(visit, made.id)
        for name, place in (("Setup", "#field-name"), ("Tasks", "#task-list .lead"), ("Quality", "#quality .lead"),
                            ("Members", "#members .lead"), ("Data", "#exports .lead")):  # fmt: skip
            part(page, name)
            expect(page.locator(place)).to_be_visible(timeout=SOON)
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), name
        assert page.evaluate("window.hit") is None and visit.wrong == []
    assert setup(bench.services.database, made.id).form == "ranking"
