"""Hundreds of hostile texts and names on the real pages in Chromium: nothing runs, is fetched, or breaks out.

Every text comes in through the HTTP API and is looked at on the board, which must go on ranking; names of models, tags,
campaigns, people and versions, guidelines, rationales, notes and edits are looked at on every page of an admin.
"""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Browser, Page, expect

from storage import api_keys, people, rankings, versions
from storage.campaigns import campaigns, create_campaign, edit_campaign
from storage.details import Detail
from storage.records import ModelVersion, Person, Submission
from storage.setups import edit_setup
from tests.ui.board import PHONE, Board
from tests.ui.conftest import PASSWORD, Bench
from tests.ui.hostile_texts import FAMILIES, NAMES, TEXTS
from ui import navigation

pytestmark = pytest.mark.slow

READY = ".lead, [data-ready='1'], .own[data-state=ready]"
SOON = 20_000  # milliseconds; two busy cores
WORST = [*FAMILIES["tag"][60:75], *FAMILIES["tex"][:18], *FAMILIES["nesting"][:6], *FAMILIES["unicode"][:15]]
ALLOWED = "P BR HR STRONG EM S CODE PRE BLOCKQUOTE UL OL LI H1 H2 H3 H4 H5 H6 TABLE THEAD TBODY TR TH TD A SPAN DIV"
FAULTS = Path(__file__).with_name("hostile_faults.js").read_text(encoding="utf-8")
ON_BOARD = f"(allowed) => {{ {FAULTS}\nreturn onBoard(allowed); }}"
ON_LEADS_PAGE = f"() => {{ {FAULTS}\nreturn onLeadsPage(); }}"


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    """A server of its own: what these tests leave behind is in nobody's way."""
    made = Bench(tmp_path_factory.mktemp("hostile"))
    yield made
    made.close()


def marked(number: int, text: str) -> str:
    """The text with a mark behind it, which must be on the page too; empty and tiny texts are left as they are."""
    return text if len(text) < 8 else f"{text}\n\n§{number}§"


def bring_in(bench: Bench, name: str, texts: Sequence[str], **options) -> int:
    """Import the texts, nine to a task, into the only open campaign; how many tasks that makes."""
    database = bench.services.database
    for other in campaigns(database):
        edit_campaign(database, other.id, state="paused")
    create_campaign(database, name, **options)
    lines = []
    shown = [marked(n, text) for n, text in enumerate(texts)]
    for number, group in enumerate(shown[start : start + 9] for start in range(0, len(shown), 9)):
        rows = [{"model": NAMES[n % len(NAMES)], "text": text} for n, text in enumerate([*group, "one more"][:9])]
        turns = [
            {"role": "system", "content": group[0][:20_000] or " x"},
            {"role": "user", "content": f"{number}: {group[-1][:20_000]}"},
        ]
        record = {"messages": turns, "completions": rows, "tags": list(NAMES[number : number + 2])}
        lines.append(json.dumps(record if group[0].strip() else record | {"messages": turns[1:]}))
    key = api_keys.create_api_key(database, bench.person("lead").id, "import")
    sent = {"file": ("hostile.jsonl", "\n".join(lines).encode())}
    headers = {"authorization": f"Bearer {key}"}
    reply = httpx.post(f"{bench.url}/api/v1/imports", files=sent, data={"campaign": name}, headers=headers, timeout=60)
    assert reply.json()["refused"] == [], reply.text
    return reply.json()["tasks"]


def look(page: Page) -> list[str]:
    """What is wrong with the board as it is now; every marked text must stand on it whole."""
    faults = page.evaluate(ON_BOARD, ALLOWED)
    marks = page.evaluate("[...document.querySelectorAll('.card')].map((card) => card.textContent.match(/§\\d+§/g))")
    tiny = page.evaluate("[...document.querySelectorAll('.card .body')].map((body) => body.textContent.length < 12)")
    lost = [number for number, (mark, small) in enumerate(zip(marks, tiny, strict=True)) if not mark and not small]
    return faults + [f"the end of text {number} is not shown" for number in lost]


def rank_all(board: Board, tasks: int) -> list[str]:
    """Look at every task of the campaign and rank it by keys; what was wrong on the way."""
    page, faults = board.page, []
    for done in range(tasks):
        cards = page.locator(".card").count()
        faults += [f"task {done}: {fault}" for fault in look(page)]
        board.press(*"123456789"[:cards])
        expect(page.locator(".submit")).to_have_attribute("aria-disabled", "false", timeout=SOON)
        with page.expect_response("**/rank/answer", timeout=SOON) as sent:
            board.press("Enter")
        assert sent.value.ok
        if done < tasks - 1:
            expect(page.locator(".meta")).to_contain_text(f"{done + 1} today", timeout=SOON)
    expect(page.locator(".waiting")).to_be_visible(timeout=SOON)
    return faults


def test_every_hostile_text_stays_a_text_on_the_board(hostile: Bench, browser: Browser):
    tasks = bring_in(hostile, "every text", list(TEXTS.values()), guidelines="\n\n".join(WORST)[:20_000])
    with Board(hostile, browser) as board:
        opened = []
        board.context.on("page", lambda page: opened.append(page.url))
        assert rank_all(board, tasks) == []
        assert (board.wrong, opened) == ([], [])
        assert board.page.url.rstrip("/") == hostile.url
        assert len(board.stored()) == tasks


def test_the_worst_of_them_stay_in_their_cards_on_a_phone(hostile: Bench, browser: Browser):
    tasks = bring_in(hostile, "on a phone", WORST)
    with Board(hostile, browser, **PHONE) as board:
        assert rank_all(board, tasks) == []
        assert board.wrong == []


@pytest.fixture(scope="module")
def speaker(hostile: Bench) -> Person:
    """Who has said hostile things."""
    return say_hostile_things(hostile)


def say_hostile_things(bench: Bench) -> Person:
    """Answers with hostile rationales, notes, edits and reasons, in a campaign of hostile words."""
    database, words = bench.services.database, NAMES[:8]
    tasks = bring_in(bench, f"sentinel {NAMES[0]}", WORST[:27], criterion=NAMES[3])
    campaign = campaigns(database)[-1].id
    texts = {"examples": WORST[0], "reasons": words, "rationale": "optional", "edit": True, "consent": ""}
    edit_setup(database, campaign, **texts)
    person = people.create_person(database, NAMES[1][:60], "annotator", PASSWORD)
    for number in range(tasks):
        assignment = bench.services.pool.claim(person.id)
        first, text = assignment.shown[0], TEXTS[f"tag-{number}"]
        said = Detail(
            flags={first: ("other",)},
            flag_notes={first: text},
            reasons=(words[number % 8].strip(),),
            rationale=text,
            edited=first,
            edit=text,
        )
        tiers = tuple((completion,) for completion in assignment.shown)
        answer = Submission(f"hostile-{number:04}", assignment.id, "ranking", tiers, 3.0, said)
        rankings.submit(database, bench.services.pool, person.id, answer)
    return person


def test_hostile_names_and_words_stay_words_on_every_page(hostile: Bench, speaker: Person, browser: Browser):
    database = hostile.services.database
    for number, name in enumerate(NAMES):
        people.create_person(database, f"{name[:50]} {number}", "annotator")
        create_campaign(database, f"{name} {number}"[:200], criterion=name[:100], guidelines=name)
        if number < 12:
            versions.register_version(database, ModelVersion(f"{name} {number}"[:80], "policy", "nowhere"))
    with Board(hostile, browser, hostile.person("admin")) as board:
        for path in navigation.ROLES:
            page = board.page
            page.goto(f"{hostile.url}/{path}")
            page.locator(READY).first.wait_for(timeout=SOON)
            if path == "campaigns":
                expect(page.locator("body")).to_contain_text("sentinel", timeout=SOON)
            assert (path, page.evaluate(ON_LEADS_PAGE)) == (path, [])
        assert board.wrong == []


def test_own_hostile_answers_are_listed_and_revised_as_text(hostile: Bench, speaker: Person, browser: Browser):
    database = hostile.services.database
    with Board(hostile, browser, speaker) as board:
        for path in ("work", ""):
            board.page.goto(f"{hostile.url}/{path}")
            board.page.locator(READY).first.wait_for(timeout=SOON)
            assert (path, board.page.evaluate(ON_LEADS_PAGE)) == (path, [])
        newest = rankings.answers(database, person_id=speaker.id, newest_first=True, limit=1)[0]
        asked = board.context.request.post(f"{hostile.url}/rank/revise", data={"submission": newest.submission_id})
        assert asked.ok and asked.json()["task"]["answer"]["detail"]["rationale"]
        assert board.wrong == []
