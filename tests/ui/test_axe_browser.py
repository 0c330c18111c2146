"""No accessibility violation that axe-core can find: every form, overlay and state, light and dark, large and small.

Also under text enlarged as far as the page offers. axe reads the page as it is drawn; nothing is left out of it.
"""

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect

from storage.forms import HHH_SCALES
from storage.records import Message
from tests.ui.board import PHONE, Board
from tests.ui.conftest import Bench

TEXTS = [
    "**Bold** words, `code` and a [link](https://example.org).",
    "1. one\n2. two\n\n> quoted",
    "```python\nprint(1)  # said\n```\n\n| a | b |\n|---|---|\n| 1 | 2 |",
    "Energy is $E = mc^2$. " + "And so it goes on. " * 120,
]
TURNS = [
    Message("system", "Be brief."),
    Message("user", "Why?"),
    Message("assistant", "So."),
    Message("user", "و لماذا؟"),
]
BESIDE = {"reasons": ("clear", "correct"), "rationale": "required", "rationale_min": 20, "edit": True}
FORMS = {
    "ranking": BESIDE,
    "pairwise": {"form": "pairwise", **BESIDE},
    "ratings": {"form": "ratings", "scales": HHH_SCALES},
    "thumbs": {"form": "thumbs", "moderation": True, "moderation_words": ("quoted",)},
    "ranking and ratings": {"scales": HHH_SCALES, **BESIDE},
}
KEYS = {"ranking": "213f1", "pairwise": "3f1", "ratings": "45f1", "thumbs": "+-f1", "ranking and ratings": "213445"}


class Look:
    """Collects what axe finds wrong, with the place, the shade and the node, so that one run tells all."""

    def __init__(self, board: Board):
        self.page, self.found = board.page, set()

    def __call__(self, what: str) -> None:
        for shade in ("light", "dark"):
            self.page.evaluate("dark => document.body.classList.toggle('dark', dark)", shade == "dark")
            self.page.evaluate("Promise.all(document.getAnimations().map(one => one.finished.catch(() => 0)))")
            for rule in Axe().run(self.page).response["violations"]:
                self.found |= {(what, shade, rule["id"], n["html"][:120], n["failureSummary"]) for n in rule["nodes"]}


def made(bench: Bench, form: str, **options):
    """A campaign of that form with guidelines and a conversation."""
    texts = TEXTS[:2] if form == "pairwise" else TEXTS
    setup = {**FORMS[form], "examples": "An *example*."}
    return bench.campaign([texts], TURNS, setup, guidelines="# How\n\nBe fair.", k=len(texts), **options)


@pytest.mark.slow
@pytest.mark.parametrize("device", [{}, PHONE], ids=["desktop", "phone"])
@pytest.mark.parametrize("form", FORMS)
def test_every_form_untouched_and_in_the_middle(bench, browser, form, device):
    made(bench, form)
    with Board(bench, browser, **device) as board:
        look = Look(board)
        expect(board.page.locator(".guide")).to_be_visible()
        look(f"{form} with its guidelines")
        board.page.locator(".guide .close").click()
        board.press(*KEYS[form])
        look(f"{form}, begun")
        board.press("Escape", "b", "x", "]", "]")
        look(f"{form}, all bad, folded and large")
        assert look.found == set()


@pytest.mark.slow
@pytest.mark.parametrize("device", [{}, PHONE], ids=["desktop", "phone"])
def test_every_overlay(bench, browser, device):
    made(bench, "ranking")
    with Board(bench, browser, **device) as board:
        look = Look(board)
        board.page.locator(".guide .close").click()
        for key, box in (("?", ".help-box"), ("d", ".differ-box"), ("e", ".editor")):
            board.press(key)
            expect(board.page.locator(box)).to_be_visible()
            look(box)
            board.press("Escape")
        board.press("p")
        expect(board.page.locator(".waiting h2")).to_have_text("Paused")
        look("paused")
        assert look.found == set()


@pytest.mark.slow
@pytest.mark.parametrize("device", [{}, PHONE], ids=["desktop", "phone"])
def test_consent_members_and_the_empty_page(bench, browser, device):
    bench.campaign([TEXTS], setup={"consent": "# Before you start\n\nYour answers are kept."})
    with Board(bench, browser, **device) as board:
        look = Look(board)
        expect(board.page.locator(".agree")).to_be_visible()
        look("consent")
        assert look.found == set()
    bench.campaign([TEXTS], setup={"members_only": True})
    with Board(bench, browser, **device) as board:
        look = Look(board)
        expect(board.page.locator(".waiting h2")).to_have_text("For members only")
        look("members")
        assert look.found == set()
    bench.campaign([])
    with Board(bench, browser, **device) as board:
        look = Look(board)
        expect(board.page.locator(".waiting h2")).to_have_text("Nothing to rank right now")
        look("empty")
        board.open("/?revise=no-such-answer")
        look("an answer that cannot be changed")
        assert look.found == set()


@pytest.mark.slow
@pytest.mark.parametrize("device", [{}, PHONE], ids=["desktop", "phone"])
def test_training_its_feedback_and_a_revision(bench, browser, device):
    campaign = bench.campaign([TEXTS])
    bench.training(campaign, "Because the first is **clear**.")
    with Board(bench, browser, **device) as board:
        look = Look(board)
        look("training")
        board.press("1", "2", "3", "4", "Enter")
        expect(board.page.locator(".feedback")).to_be_visible()
        look("feedback")
        board.press("Enter", "1", "2", "3", "4", "Enter")
        board.wait_for_answers(2)
        board.revise(1)
        expect(board.page.locator(".banner")).to_contain_text("You are changing an answer")
        look("revision")
        assert look.found == set()
