"""Every answer form in a real browser: by keys, by mouse, by touch on a phone; what is stored is what was said."""

import pytest
from playwright.sync_api import expect

from storage.forms import HHH_SCALES, QUALITY_SCALES
from tests.ui.board import PHONE, Board

pytestmark = pytest.mark.slow

PAIR = [["left text", "right text"]]
TWO = [["first text", "second text"]]
STEPS = {"1": ("A", 3), "2": ("A", 2), "3": ("A", 1), "5": ("B", 1), "6": ("B", 2), "7": ("B", 3)}


def finished(board: Board) -> None:
    """Wait until the last task is stored."""
    expect(board.page.locator(".waiting h2")).to_have_text("Nothing to rank right now")


def test_each_of_the_seven_steps_and_both_good_have_a_key(bench, browser):
    bench.campaign(PAIR * 8, setup={"form": "pairwise"}, k=2)
    with Board(bench, browser) as board:
        for number, key in enumerate("1234567g"):
            texts = dict(zip("AB", board.texts(), strict=True))
            board.press(key, "Enter")
            board.wait_for_answers(number + 1)
            shown = board.page.locator(".meta, .timing").locator("visible=true")
            expect(shown).to_contain_text(f"{number + 1} today")
            said = board.last()
            winner, grade = STEPS.get(key, (None, 0))
            assert said.get("grade", 0) == grade
            assert said.get("both_good", False) == (key == "g")
            expected = {text: 1 if winner in (None, letter) else 2 for letter, text in texts.items()}
            assert said["ranks"] == expected
        finished(board)


def test_both_bad_can_be_chosen_and_taken_back_and_arrows_nudge(bench, browser):
    bench.campaign(PAIR, setup={"form": "pairwise"}, k=2)
    with Board(bench, browser) as board:
        verdict, steps = board.page.locator(".verdict-line"), board.page.locator(".step[aria-checked=true]")
        expect(board.page.locator(".submit")).to_be_disabled()
        board.press("b")
        expect(board.page.locator("[data-kind=all_bad]")).to_have_attribute("aria-pressed", "true")
        board.press("ArrowRight", "ArrowRight")
        expect(verdict).to_have_text("B is better")
        expect(steps).to_have_attribute("data-step", "6")
        board.press("u", "u")
        expect(board.page.locator(".submit")).to_have_text("Submit: both bad")
        board.press("Enter")
        finished(board)
        assert board.last()["kind"] == "all_bad"


def test_a_pair_is_compared_by_tapping_on_a_phone(bench, browser):
    bench.campaign(PAIR, setup={"form": "pairwise"}, k=2)
    with Board(bench, browser, **PHONE) as board:
        widths = [step.bounding_box()["width"] for step in board.page.locator(".step").all()]
        assert len(widths) == 7
        assert min(widths) >= 34
        first = board.texts()[0]
        board.page.locator(".step[data-step='3']").tap()
        expect(board.page.locator(".verdict-line")).to_have_text("A is slightly better")
        assert board.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        board.page.locator(".submit").tap()
        finished(board)
        assert (board.last()["grade"], board.last()["ranks"][first]) == (1, 1)


def test_ratings_go_from_scale_to_scale_by_number_keys(bench, browser):
    bench.campaign(TWO, setup={"form": "ratings", "scales": QUALITY_SCALES}, k=2)
    with Board(bench, browser) as board:
        texts = board.texts()
        board.press("4", "5")
        expect(board.page.locator(".scale.here")).to_contain_text("coherence")
        board.press("ArrowUp", "Backspace", "2", "ArrowDown", "3")
        expect(board.page.locator(".progress")).to_have_text("5 ratings to give")
        board.press("Enter")
        assert board.kinds() == []
        board.press("1", "2", "3", "4", "5", "Enter")
        finished(board)
        names = [scale.name for scale in QUALITY_SCALES]
        assert board.last()["ratings"][texts[1]] == dict(zip(names, (2, 3, 4, 5), strict=True))


def test_a_scale_is_a_row_of_radio_buttons_for_tab_and_arrows(bench, browser):
    bench.campaign(TWO, setup={"form": "ratings", "scales": HHH_SCALES}, k=2)
    with Board(bench, browser) as board:
        row = board.page.locator(".card[data-letter=A] .scale").nth(1)
        row.locator(".value").first.focus()
        expect(row).to_have_class("scale here")
        board.press("ArrowRight", "ArrowRight")
        expect(row.locator("[aria-checked=true]")).to_have_text("2")
        expect(row.locator("[aria-checked=true]")).to_be_focused()
        board.press("4")  # and the next open scale has the focus
        expect(board.page.locator(".card[data-letter=A] .scale").nth(2).locator(".value").first).to_be_focused()


def test_ratings_are_tapped_on_a_phone(bench, browser):
    bench.campaign(TWO, setup={"form": "ratings", "scales": HHH_SCALES}, k=2)
    with Board(bench, browser, **PHONE) as board:
        for row in board.page.locator(".scale").all():
            row.locator(".value").nth(3).tap()
        expect(board.page.locator(".submit")).to_be_enabled()
        assert board.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        board.page.locator(".submit").tap()
        finished(board)
        assert set(board.last()["ratings"]["first text"].values()) == {4}


def test_a_ranking_with_scales_needs_both_and_the_keys_lead_from_one_to_the_other(bench, browser):
    bench.campaign(TWO, setup={"scales": HHH_SCALES}, k=2)
    with Board(bench, browser) as board:
        board.press("2", "1")
        expect(board.page.locator(".progress")).to_have_text("6 ratings to give")
        board.press("5", "r", "1")  # back to the ranking: A is first now
        assert board.ranks() == {"A": "1", "B": "1"}
        board.press("5", "5", "1", "1", "1", "Enter")
        finished(board)
        said = board.last()
        assert said["kind"] == "ranking"
        assert sum(sum(values.values()) for values in said["ratings"].values()) == 18


def test_thumbs_by_plus_and_minus_by_arrows_and_by_clicks(bench, browser):
    bench.campaign([["one", "two", "three", "four"]], setup={"form": "thumbs"})
    with Board(bench, browser) as board:
        texts = board.texts()
        board.press("+", "-", "ArrowUp")
        expect(board.page.locator(".progress")).to_have_text("1 left to judge")
        board.page.locator(".card[data-letter=D] .thumb[data-thumb='-1']").click()
        board.press("Enter")
        finished(board)
        assert board.last()["thumbs"] == dict(zip(texts, (1, -1, 1, -1), strict=True))


def test_thumbs_are_tapped_on_a_phone(bench, browser):
    bench.campaign(TWO, setup={"form": "thumbs"}, k=2)
    with Board(bench, browser, **PHONE) as board:
        texts = board.texts()
        for letter, thumb in (("A", "1"), ("B", "-1")):
            board.page.locator(f".card[data-letter={letter}] .thumb[data-thumb='{thumb}']").tap()
        board.page.locator(".submit").tap()
        finished(board)
        assert board.last()["thumbs"] == dict(zip(texts, (1, -1), strict=True))


def test_flags_reason_and_edit_travel_with_the_answer_and_survive_a_reload(bench, browser):
    asked = {"reasons": ("clear", "correct"), "rationale": "required", "rationale_min": 10, "edit": True}
    bench.campaign(TWO, setup=asked, k=2)
    with Board(bench, browser) as board:
        texts = board.texts()
        board.press("1", "2", "Shift+B", "f", "1", "4")
        expect(board.page.get_by_role("checkbox", name="other")).to_be_checked()
        board.page.keyboard.type("rude")
        board.press("Escape", "Enter")  # the reason is missing: Enter leads there
        expect(board.page.locator(".rationale")).to_be_focused()
        board.page.keyboard.type("too short")
        expect(board.page.locator(".count")).to_have_text("9 of 10 characters, 1 to go")
        board.page.keyboard.type("!!")
        board.press("Escape", "Shift+A", "e")
        board.page.locator(".edit-words").fill("first text, improved" if texts[0] == "first text" else "better")
        expect(board.page.locator(".editor ins")).not_to_have_count(0)
        board.press("Control+Enter")
        board.page.locator(".reason").first.click()
        board.open()  # a reload keeps it all
        expect(board.page.locator(".chip")).to_have_text(["edited", "unsafe", "other"])
        board.press("Enter")
        finished(board)
        said = board.last()
        assert said["flags"] == {texts[1]: ("other", "unsafe")}
        assert said["flag_notes"] == {texts[1]: "rude"}
        assert (said["rationale"], said["reasons"], said["edited"]) == ("too short!!", ("clear",), texts[0])


def test_a_flag_that_says_other_asks_for_words(bench, browser):
    bench.campaign(TWO, k=2)
    with Board(bench, browser) as board:
        board.press("1", "2", "f", "4", "Escape", "Enter")
        expect(board.page.locator(".flag-note")).to_be_visible()
        expect(board.page.locator(".live")).to_contain_text("Say what is wrong with")
        assert board.kinds() == []


def test_a_blocked_submit_says_what_is_missing_and_goes_there(bench, browser):
    bench.campaign([["one", "two", "three", "four"]], setup={"form": "thumbs"})
    with Board(bench, browser) as board:
        board.press("+", "ArrowRight", "+")
        board.page.locator(".submit").click(force=True)
        expect(board.page.locator(".live")).to_have_text("2 left to judge")
        expect(board.page.locator(".card.current")).to_have_attribute("data-letter", "B")
        expect(board.page.locator(".card.current")).to_be_focused()
