"""What helps to read and to go on: differences, guidelines, folding, size, veils, help, pause, revision, training."""

import re

import pytest
from playwright.sync_api import expect

from storage import campaigns
from storage.records import Message
from tests.ui.board import PHONE, Board

pytestmark = pytest.mark.slow

TWO = [["the quick brown fox", "the slow brown dog"]]


def saved(board: Board, count: int) -> None:
    """Wait until that many answers are stored and the page says so."""
    board.wait_for_answers(count)
    expect(board.page.locator(".meta, .timing").locator("visible=true")).to_contain_text(f"{count} today")


def test_word_differences_between_any_two(bench, browser):
    bench.campaign([["the quick brown fox", "the slow brown dog", "something else"]])
    with Board(bench, browser) as board:
        texts = dict(zip("ABC", board.texts(), strict=True))
        board.press("d")
        box = board.page.locator(".differ-box")
        for pair in (("Shift+A", "b"), ("Shift+C", "a")):
            board.press(*pair)
            left, right = (texts[key[-1].upper()] for key in pair)
            assert box.locator(".differences").all_inner_texts() == [left, right]
        board.page.get_by_role("radio", name="Completion B").first.click()
        expect(box.locator(".pane h3")).to_have_text(["Completion B", "Completion A"])
        board.press("Escape")
        expect(box).to_have_count(0)
        expect(board.page.locator(".card.current")).to_be_focused()


def test_help_lists_the_keys_of_the_form_keeps_the_focus_and_closes(bench, browser):
    bench.campaign(TWO, setup={"form": "pairwise"}, k=2)
    with Board(bench, browser) as board:
        board.press("?")
        box = board.page.get_by_role("dialog", name="Keys")
        expect(box).to_contain_text("both good")
        expect(box).not_to_contain_text("thumb up")
        for _ in range(4):
            board.press("Tab")
            assert box.evaluate("box => box.contains(document.activeElement)")
        board.press("1", "Escape")  # keys of the board mean nothing while it is open
        expect(box).to_have_count(0)
        expect(board.page.locator(".step[aria-checked=true]")).to_have_count(0)


def test_guidelines_open_once_and_again_when_they_change(bench, browser):
    campaign = bench.campaign(TWO * 3, setup={"examples": "A worked *example*."}, guidelines="# Be fair", k=2)
    with Board(bench, browser) as board:
        guide = board.page.locator(".guide")
        expect(guide).to_contain_text("A worked example.")
        board.press("1", "2")
        board.submit()
        expect(guide).to_be_visible()  # it stays where it is until it is closed
        board.press("i")
        expect(guide).to_be_hidden()
        campaigns.edit_campaign(bench.services.database, campaign.id, guidelines="# Be quick")
        board.open()
        expect(board.page.locator(".banner")).to_contain_text("The guidelines have changed")
        expect(board.page.locator(".live")).to_contain_text("The guidelines have changed")
        expect(guide).to_contain_text("Be quick")
        board.page.get_by_role("button", name="Got it").click()
        board.open()
        expect(guide).to_be_hidden()
        expect(board.page.locator(".banner")).to_be_hidden()


def test_folding_and_the_size_of_the_text(bench, browser):
    bench.campaign(TWO, k=2)
    with Board(bench, browser) as board:
        body = board.page.locator(".card .body").first
        size = "getComputedStyle(document.querySelector('.card .body')).fontSize"
        board.press("c")
        expect(body).to_be_hidden()
        board.press("x", "x")
        expect(board.page.locator(".card .body:visible")).to_have_count(2)
        before = board.page.evaluate(f"parseFloat({size})")
        board.press("]", "]")
        after = board.page.evaluate(f"parseFloat({size})")
        assert after > before * 1.3
        board.open()
        assert board.page.evaluate(f"parseFloat({size})") == after


def test_a_veiled_completion_stays_covered_until_it_is_opened(bench, browser):
    veiled = {"moderation": True, "moderation_words": ("fox",)}
    bench.campaign(TWO, setup=veiled, k=2)
    with Board(bench, browser) as board:
        card = board.page.locator(".card.veiled")
        expect(card).to_contain_text("Covered:")
        expect(card).not_to_contain_text("quick")
        letter = card.get_attribute("data-letter")
        expect(card).to_have_attribute("aria-label", re.compile("covered"))
        board.press("d")
        expect(board.page.locator(".differ-box .sum")).to_contain_text(f"Completion {letter} is covered")
        board.press("Escape", "1", "1")  # it can be ranked covered
        expect(board.page.locator(".submit")).to_be_enabled()
        card.locator(".uncover").focus()
        board.press("Enter")
        expect(board.page.locator(f".card[data-letter={letter}] .body")).to_have_text("the quick brown fox")
        assert board.kinds() == []


def test_pause_keeps_a_begun_task_and_hands_an_untouched_one_back(bench, browser):
    bench.campaign([["one", "two", "three"]])
    with Board(bench, browser) as board:
        work, held = board.page.locator(".work"), bench.services.pool.in_hand
        board.press("2", "p")
        expect(work).to_be_hidden()
        expect(board.page.locator(".waiting h2")).to_have_text("Paused")
        board.press("p")
        expect(work).to_be_visible()
        assert board.ranks() == {"A": "2"}
        assert len(held(board.person.id)) == 1
        board.press("Shift+A", "0")
        with board.page.expect_response("**/rank/release"):
            board.press("p")
        expect(work).to_be_hidden()
        assert len(held(board.person.id)) == 0
        board.page.get_by_role("button", name="Resume").click()
        expect(work).to_be_visible()


def test_the_clock_stands_while_the_tab_is_hidden(bench, browser):
    bench.campaign(TWO, k=2)
    with Board(bench, browser) as board:
        hide = """hidden => { Object.defineProperty(document, 'hidden', { value: hidden, configurable: true });
                  document.dispatchEvent(new Event('visibilitychange')); }"""
        board.page.evaluate(hide, True)
        board.page.wait_for_timeout(2100)
        board.page.evaluate(hide, False)
        sent = []
        board.page.on("request", lambda r: r.url.endswith("rank/answer") and sent.append(r.post_data_json))
        board.press("1", "2", "Enter")
        saved(board, 1)
        assert 0 < sent[0]["seconds"] < 2


def test_u_on_an_untouched_task_goes_back_to_the_last_answer(bench, browser):
    bench.campaign([["one", "two"], ["three", "four"]], k=2)
    with Board(bench, browser) as board:
        board.press("1", "2")
        texts = board.submit()
        board.press("u")
        expect(board.page.locator(".banner")).to_contain_text("Go back to your last answer?")
        board.press("u")
        expect(board.page.locator(".banner")).to_contain_text("You are changing an answer")
        assert board.texts() == texts
        assert board.ranks() == {"A": "1", "B": "2"}
        board.press("Shift+A", "2", "Shift+B", "1", "Enter")
        expect(board.page.locator(".trouble")).to_have_text("Your change is saved.")
        assert board.stored()[-1] == {texts[0]: 2, texts[1]: 1}


def test_a_past_answer_is_opened_by_its_address_kept_or_withdrawn(bench, browser):
    bench.campaign([["one", "two"], ["three", "four"]], setup={"form": "pairwise"}, k=2)
    with Board(bench, browser) as board:
        board.press("2")
        board.submit()
        board.revise()
        expect(board.page.locator(".submit")).to_have_text("Save the change")
        expect(board.page.locator(".verdict-line")).to_have_text("A is better")
        board.page.get_by_role("button", name="Cancel").click()
        expect(board.page.locator(".banner")).to_be_hidden()
        assert "revise" not in board.page.url
        board.revise()
        board.page.get_by_role("button", name="Withdraw it").click()
        expect(board.page.locator(".submit")).to_have_text("Submit choice")
        assert board.kinds() == ["ranking", "skip"]


def test_an_answer_that_stands_says_so(bench, browser):
    bench.campaign(TWO, k=2)
    with Board(bench, browser) as board:
        board.open("/?revise=no-such-answer")
        expect(board.page.locator(".waiting h2")).to_have_text("That is not possible")
        board.page.get_by_role("button", name="Back to the tasks").click()
        expect(board.page.locator(".card")).to_have_count(2)


def test_a_training_task_is_announced_and_shows_the_expected_answer(bench, browser):
    campaign = bench.campaign([["best", "worst"]], k=2)
    bench.training(campaign, "The first is **better**.")
    with Board(bench, browser) as board:
        expect(board.page.locator(".banner")).to_contain_text("This is a training task")
        texts = board.texts()
        board.press(*("21" if texts == ["best", "worst"] else "12"), "Enter")
        feedback = board.page.locator(".feedback")
        expect(feedback).to_contain_text("You agree to 0 %")
        expect(feedback).to_contain_text("The first is better.")
        said, expected = feedback.locator(".both-answers section").all()
        assert re.findall(r"best|worst", said.inner_text()) == ["worst", "best"]
        assert re.findall(r"best|worst", expected.inner_text()) == ["best", "worst"]
        board.press("Enter")
        expect(board.page.locator(".training").locator("visible=true")).to_have_count(0)


def test_consent_comes_first(bench, browser):
    bench.campaign(TWO, setup={"consent": "We keep your **answers**."}, k=2)
    with Board(bench, browser) as board:
        expect(board.page.locator(".consent")).to_have_text("We keep your answers.")
        board.page.get_by_role("button", name="I agree").click()
        expect(board.page.locator(".card")).to_have_count(2)


def test_of_several_campaigns_one_can_be_chosen(bench, browser):
    first = bench.campaign([["one", "two"]], k=2)
    second = bench.campaign([["three", "four"]], k=2)
    campaigns.edit_campaign(bench.services.database, first.id, state="open")
    with Board(bench, browser) as board:
        for campaign, texts in ((first, {"one", "two"}), (second, {"three", "four"})):
            board.page.locator(".campaigns").select_option(str(campaign.id))
            expect(board.page.locator(".card .body").first).to_have_text(re.compile("|".join(texts)))
        board.open()
        assert set(board.texts()) == {"three", "four"}
        expect(board.page.locator(".campaigns")).to_have_value(str(second.id))


def test_text_from_right_to_left_is_laid_out_right(bench, browser):
    arabic = "مرحبا بالعالم"
    bench.campaign([[arabic, "hello"]], [Message("user", arabic)], setup={"edit": True}, k=2)
    with Board(bench, browser) as board:
        card = board.page.locator(".card .body", has_text=arabic)
        assert card.evaluate("body => getComputedStyle(body).direction") == "rtl"
        assert board.page.locator(".turn .text").evaluate("text => getComputedStyle(text).direction") == "rtl"
        board.press("1", "2", "e")
        board.page.locator(".edit-words").fill(arabic)
        assert board.page.locator(".edit-words").evaluate("words => getComputedStyle(words).direction") == "rtl"


@pytest.mark.parametrize("device", [{}, PHONE], ids=["desktop", "phone"])
def test_overlays_stay_inside_the_window(bench, browser, device):
    bench.campaign([["long text " * 400, "other text " * 300]], setup={"edit": True}, guidelines="x " * 900, k=2)
    with Board(bench, browser, **device) as board:
        board.page.locator(".guide .close").click()
        for key, box in (("?", ".dialog"), ("d", ".dialog"), ("e", ".dialog"), ("f", ".dialog"), ("i", ".guide")):
            board.press(key)
            inside = board.page.locator(box).bounding_box()
            window = board.page.viewport_size
            assert inside["x"] >= 0
            assert inside["x"] + inside["width"] <= window["width"] + 1
            assert inside["y"] + inside["height"] <= window["height"] + 1
            board.press("Escape")


def test_the_reply_to_an_answer_carries_the_next_task(bench, browser):
    """How long that takes is measured by tests/benchmarks/next_task.py."""
    bench.campaign([[f"text {letter} {number}" for letter in "wxyz"] for number in range(4)])
    with Board(bench, browser) as board:
        asked = []
        board.page.on("request", lambda sent: asked.append(sent.url.rpartition("/")[2]))
        for number in range(3):
            board.press("1", "2", "3", "4", "Enter")
            saved(board, number + 1)
            board.page.wait_for_function("document.querySelector('[data-painted]')")
        assert asked.count("answer") == 3 and "next" not in asked
