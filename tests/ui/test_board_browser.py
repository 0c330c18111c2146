import re
from pathlib import Path

import pytest
from playwright.sync_api import expect

from storage.records import Message
from tests.ui.board import PHONE, Board
from tests.ui.windows import four

pytestmark = pytest.mark.slow

STATIC = Path(__file__).parents[2] / "ui" / "static"
CASES = Path(__file__).with_name("answer.test.mjs")
THINKING = ("answer.js", "answer_sent.js", "answer_keys.js", "differences.js")
RUN_CASES = """async ([thinking, cases]) => {
  const parts = new Function(thinking + '; return { Answer, Sent, Keys, Words, Differences };')();
  const module = await import(URL.createObjectURL(new Blob([cases], { type: 'text/javascript' })));
  const failed = [];
  const all = Object.entries(module.cases(parts));
  for (const [name, run] of all) { try { run(); } catch (error) { failed.push(name + ': ' + error.message); } }
  return { count: all.length, failed };
}"""
PAYLOADS = [
    '<img src=x onerror="alert(1)"> <svg onload=alert(2)> <script>alert(3)</script>',
    "${alert(4)} {{constructor.constructor('alert(5)')()}} `${alert(6)}` [a](javascript:alert(7))",
    "$\\href{javascript:alert(8)}{x} \\includegraphics{http://evil.example/x.png} \\htmlData{a=b}{y}$ "
    "![x](http://evil.example/pixel.png) <iframe src=http://evil.example></iframe>",
    '```"><img src=x onerror=alert(9)>\n<img src=x onerror=alert(10)>\n```\n<form action=http://evil.example>',
]


def test_the_part_that_thinks(browser):
    page = browser.new_page()
    thinking = "\n".join((STATIC / name).read_text() for name in THINKING)
    found = page.evaluate(RUN_CASES, [thinking, CASES.read_text()])
    page.close()
    assert found["failed"] == []
    assert found["count"] >= 50


def test_seven_tasks_by_keyboard_and_mouse_are_stored_exactly_once_as_shown(bench, browser):
    bench.campaign([four(number) for number in range(7)])
    expected = []
    with Board(bench, browser) as board:
        for round_number in range(5):
            board.press("2", "1", "4", "1")
            if round_number == 2:  # a reload in the middle of an answer
                board.open()
                assert board.ranks() == {"A": "2", "B": "1", "C": "4", "D": "1"}
                expect(board.page.locator(".kept")).to_have_text("Draft kept")
            texts = board.submit()
            expected.append(dict(zip(texts, [2, 1, 3, 1], strict=True)))
            expect(board.page.locator(".kept")).to_contain_text(f"Saved ✓ ({round_number + 1} today")
        for last in (False, True):
            for letter, place in zip("ABCD", (3, 1, 2, 3), strict=True):
                board.drag(letter, place)
            expected.append(dict(zip(board.texts(), [3, 1, 2, 3], strict=True)))
            if not last:
                board.submit()
        board.press("Enter", "Enter")  # twice quickly
        expect(board.page.locator(".waiting h2")).to_have_text("Nothing to rank right now")
        assert board.stored() == expected
        assert board.wrong == []


def test_new_tasks_appear_by_themselves(bench, browser):
    bench.campaign([])
    with Board(bench, browser) as board:
        expect(board.page.locator(".waiting h2")).to_have_text("Nothing to rank right now")
        bench.campaign([four(0)])
        expect(board.page.locator(".card")).to_have_count(4, timeout=8000)


def test_nothing_is_preset_and_enter_sends_nothing_unranked(bench, browser):
    bench.campaign([four(0)])
    with Board(bench, browser) as board:
        expect(board.page.locator(".submit")).to_be_disabled()
        board.press("Enter", "1", "2", "3", "Enter")
        expect(board.page.locator(".progress")).to_have_text("1 left to rank")
        assert board.stored() == []


def test_undo_arrows_and_clear_change_ranks(bench, browser):
    bench.campaign([four(0)])
    with Board(bench, browser) as board:
        board.press("1", "2", "ArrowLeft", "ArrowDown", "ArrowDown")
        assert board.ranks() == {"A": "1", "B": "4"}
        board.press("u", "u", "0")
        assert board.ranks() == {"A": "1"}
        board.press("Control+z", "Shift+D", "ArrowUp")
        assert board.ranks() == {"A": "1", "B": "2", "D": "4"}


def test_the_other_answers_have_keys_and_buttons(bench, browser):
    bench.campaign([four(number) for number in range(4)])
    with Board(bench, browser) as board:
        board.press("b")
        expect(board.page.locator("[data-kind=all_bad]")).to_have_attribute("aria-pressed", "true")
        board.submit()
        board.page.click("[data-kind=cannot_judge]")
        board.submit()  # the next Enter submits; it does not press the button again
        board.page.wait_for_timeout(450)
        task = board.page.locator(".talk").inner_text()
        board.press("s")
        expect(board.page.locator(".talk")).not_to_have_text(task)
        board.press("1", "b", "1", "1", "1", "1")  # ranking takes "all bad" back
        board.press("Enter")
        expect(board.page.locator(".waiting")).to_be_visible()
        assert board.kinds() == ["all_bad", "cannot_judge", "skip", "ranking"]


@pytest.mark.parametrize("k", [2, 9])
def test_the_smallest_and_the_largest_task(bench, browser, k):
    bench.campaign([[f"text number {i}" for i in range(k)]], k=k)
    with Board(bench, browser) as board:
        board.press(*[str(i % k + 1) for i in range(k)])
        expected = dict(zip(board.texts(), range(1, k + 1), strict=True))
        board.press("Enter")
        expect(board.page.locator(".waiting")).to_be_visible()
        assert board.stored() == [expected]


@pytest.mark.parametrize("fault", ["aborted", "500"])
def test_a_failed_save_is_shown_and_sent_again_by_itself_once(bench, browser, fault):
    bench.campaign([four(0)])
    with Board(bench, browser) as board:
        fail = (lambda route: route.abort()) if fault == "aborted" else (lambda route: route.fulfill(status=500))
        board.page.route("**/rank/answer", fail)
        board.press("1", "2", "3", "4", "Enter")
        expect(board.page.locator(".waiting h2")).to_have_text("You are offline")
        expect(board.page.locator(".why-not")).to_contain_text("1 answer waits in this browser")
        board.page.unroute("**/rank/answer")
        expect(board.page.locator(".waiting h2")).to_have_text("Nothing to rank right now", timeout=20_000)
        assert len(board.stored()) == 1


def test_without_a_connection_the_next_leased_task_is_shown_and_the_dock_says_so(bench, browser):
    bench.campaign([four(number) for number in range(40)])  # tasks are leased ahead where there are plenty
    with Board(bench, browser) as board:
        board.page.route("**/rank/*", lambda route: route.abort())
        board.press("1", "2", "3", "4")
        board.submit()
        expect(board.page.locator(".kept")).to_have_text("Offline · 1 answer waits here")
        board.press("2")
        expect(board.page.locator(".kept")).to_have_text("Offline · 1 answer waits here · draft kept")


def test_who_was_signed_out_is_told_and_loses_nothing(bench, browser):
    bench.campaign([four(0)])
    with Board(bench, browser) as board:
        board.press("1", "2", "3", "4")
        board.sign_out_behind_its_back()
        board.press("Enter")
        expect(board.page.locator(".trouble")).to_contain_text("Not saved: you are signed out")
        expect(board.page.locator(".trouble a")).to_have_attribute("href", "login")
        assert board.ranks() == {"A": "1", "B": "2", "C": "3", "D": "4"}


def test_a_task_answered_in_another_window_gives_a_notice_and_the_next(bench, browser):
    bench.campaign([four(0), four(1)])
    with Board(bench, browser) as first, Board(bench, browser, first.person) as second:
        first.press("1", "2", "3", "4")
        first.submit()
        second.press("4", "3", "2", "1")
        second.submit()
        expect(second.page.locator(".trouble")).to_contain_text("already answered that task")
        assert len(second.stored()) == 1


def test_hostile_texts_run_nothing_and_ask_nobody(bench, browser):
    bench.campaign([PAYLOADS], [Message("system", PAYLOADS[0]), Message("user", PAYLOADS[2])], guidelines=PAYLOADS[1])
    with Board(bench, browser) as board:
        expect(board.page.locator(".card")).to_have_count(4)
        board.page.wait_for_timeout(500)
        board.press("d")
        expect(board.page.locator(".differ-box del").first).to_be_visible()
        assert board.wrong == []
        assert board.page.locator(".text :is(img, script, iframe, form, svg:not(.katex svg))").count() == 0
        assert board.page.locator(".text a[href^='javascript']").count() == 0


def test_long_texts_stay_inside_their_cards(bench, browser):
    bench.campaign([["x" * 20_000, ">" * 500 + " deep", "word " * 8000, "short"]])
    with Board(bench, browser) as board:
        assert board.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        board.page.locator(".more").first.click()
        expect(board.page.locator(".more").first).to_have_text("Show less")


def test_the_browser_never_learns_a_model_or_a_completion_id(bench, browser):
    bench.campaign([four(number) for number in range(2)])
    with Board(bench, browser) as board:
        board.press("1", "2", "3", "4")
        board.submit()
        everything = "\n".join(board.bodies)
        assert "text w0" in everything
        assert not re.search(r"secret-model|completion_id", everything)


def test_a_conversation_is_shown_turn_by_turn(bench, browser):
    turns = [
        Message("system", "be brief"),
        Message("user", "one"),
        Message("assistant", "two"),
        Message("user", "three"),
    ]
    bench.campaign([four(0)], turns)
    with Board(bench, browser) as board:
        assert board.page.locator(".turn .who").all_inner_texts() == ["System", "User", "Assistant", "User"]
        assert board.page.locator(".turn .text").all_inner_texts() == ["be brief", "one", "two", "three"]


def test_a_phone_ranks_by_tapping_and_scrolling_moves_no_rank(bench, browser):
    bench.campaign([[f"{name} " + "long text " * 120 for name in "wxyz"]])
    with Board(bench, browser, **PHONE) as board:
        for letter, place in zip("ABCD", "2143", strict=True):
            board.page.locator(f".card[data-letter={letter}] .rank[data-r='{place}']").tap()
            board.page.mouse.wheel(0, 300)
        assert board.ranks() == dict(zip("ABCD", "2143", strict=True))
        expect(board.page.locator(".dock")).to_be_in_viewport()
        assert board.page.locator(".dock").bounding_box()["height"] < 200
        assert board.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        board.page.locator(".submit").tap()
        expect(board.page.locator(".waiting")).to_be_visible()
        assert sorted(board.stored()[0].values()) == [1, 2, 3, 4]


def test_a_finger_drags_a_tile(bench, browser):
    bench.campaign([four(0)])
    with Board(bench, browser, **PHONE) as board:
        start = board.page.locator(".tile[data-letter=C]").bounding_box()
        end = board.page.locator(".lane[data-r='1']").bounding_box()
        path = [(start["x"] + 8, start["y"] + 8), (start["x"] + 30, start["y"] - 5), (end["x"] + 20, end["y"] + 20)]
        session = board.context.new_cdp_session(board.page)
        for kind, (x, y) in zip(("touchStart", "touchMove", "touchMove"), path, strict=True):
            session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": [{"x": x, "y": y}]})
        session.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
        assert board.ranks() == {"C": "1"}


def test_the_bar_shows_only_the_pages_of_the_role(bench, browser):
    bench.campaign([four(0)])
    for role, shown in (("annotator", []), ("lead", ["Campaigns", "Runs", "Backends", "Leaderboard", "People"])):
        with Board(bench, browser, bench.person(role)) as board:
            expect(board.page.locator("#topbar .out")).to_be_visible()
            assert board.page.locator("#topbar nav a").all_inner_texts() == ["Rank", "My work", *shown]
            assert board.page.locator("h1").count() == 1


def test_dark_stays_dark_on_the_next_page(bench, browser):
    bench.campaign([four(0)])
    with Board(bench, browser, bench.person("lead")) as board:
        board.page.click("#topbar .shade")
        board.page.goto(f"{bench.url}/runs")
        expect(board.page.locator("body.dark")).to_be_visible()
