"""What the browser tests do on the board: sign in, read the cards, press, drag, wait for the next task. No tests."""

from playwright.sync_api import Browser, Page, expect

from storage import people
from storage.completions import completions
from storage.details import Detail
from storage.rankings import answers
from storage.records import Person
from tests.ui.conftest import PASSWORD, Bench

PHONE = {"viewport": {"width": 390, "height": 844}, "device_scale_factor": 2, "is_mobile": True, "has_touch": True}


class Board:
    """A page of one signed-in person, which also remembers everything that must not happen."""

    def __init__(self, bench: Bench, browser: Browser, person: Person | None = None, **device):
        self.bench, self.person = bench, person or bench.person()
        self.context = browser.new_context(**({"viewport": {"width": 1440, "height": 900}} | device))
        self.page: Page = self.context.new_page()
        self.wrong: list[str] = []
        self.bodies: list[str] = []
        self.page.on("dialog", lambda dialog: (self.wrong.append(f"dialog {dialog.message}"), dialog.dismiss()))
        self.page.on("pageerror", lambda error: self.wrong.append(f"page error {error}"))
        self.page.on("console", lambda said: said.type == "error" and self.wrong.append(f"console {said.text}"))
        self.page.on("request", lambda sent: self._outside(sent.url))
        self.page.on("response", self._read)

    def __enter__(self) -> "Board":
        form = {"name": self.person.name, "password": PASSWORD}
        assert self.context.request.post(f"{self.bench.url}/login", form=form, max_redirects=0).status == 303
        self.open()
        return self

    def __exit__(self, *_) -> None:
        self.context.close()

    def open(self, query: str = "") -> None:
        """Load the page and wait until the board shows something."""
        self.page.goto(self.bench.url + query)
        self.page.locator("[data-ready='1']").wait_for()

    def revise(self, number: int = -1) -> None:
        """Load the page to change that one of this person's answers."""
        answer = answers(self.bench.services.database, person_id=self.person.id)[number]
        self.open(f"/?revise={answer.submission_id}")

    def texts(self) -> list[str]:
        """The completions as shown, A first."""
        return self.page.locator(".card .body").all_inner_texts()

    def press(self, *keys: str) -> None:
        """Keys, one after the other."""
        for key in keys:
            self.page.keyboard.press(key)

    def submit(self) -> list[str]:
        """Enter, then wait for another task or none. Returns the texts of the submitted task."""
        before, task = self.texts(), self.page.locator(".prompt .talk").inner_text()
        self.press("Enter")
        expect(self.page.locator(".prompt .talk")).not_to_have_text(task, timeout=15_000)
        return before

    def drag(self, letter: str, place: int) -> None:
        """A tile into a place, by mouse."""
        start = self.page.locator(f".tile[data-letter={letter}]").bounding_box()
        end = self.page.locator(f".lane[data-r='{place}']").bounding_box()
        mouse = self.page.mouse
        mouse.move(start["x"] + 8, start["y"] + 8)
        mouse.down()
        mouse.move(start["x"] + 30, start["y"] + 12, steps=2)
        mouse.move(end["x"] + end["width"] / 2, end["y"] + end["height"] / 2, steps=4)
        mouse.up()

    def ranks(self) -> dict[str, str]:
        """The place of each letter as the page shows it; only ranked ones."""
        cards = self.page.locator(".card[data-r]").all()
        return {card.get_attribute("data-letter"): card.get_attribute("data-r") for card in cards}

    def stored(self) -> list[dict[str, int]]:
        """This person's rankings in storage, oldest first: the rank of each text."""
        database = self.bench.services.database
        found = []
        for answer in answers(database, person_id=self.person.id):
            if answer.kind == "ranking":
                task = self.bench.services.pool.task(answer.task_id)
                texts = [one.text for one in completions(database, task.completion_ids)]
                found.append(dict(zip(texts, answer.ranks, strict=True)))
        return found

    def last(self) -> dict:
        """The newest answer in storage: kind, ranks by text, and the parts of its detail by text."""
        database = self.bench.services.database
        answer = answers(database, person_id=self.person.id)[-1]
        task = self.bench.services.pool.task(answer.task_id)
        texts = {one.id: one.text for one in completions(database, task.completion_ids)}
        told = {name: value for name, value in vars(Detail.from_json(answer.detail)).items() if value}
        for name in ("ratings", "thumbs", "flags", "flag_notes"):
            if name in told:
                told[name] = {texts[completion]: value for completion, value in told[name].items()}
        if "edited" in told:
            told["edited"] = texts[told["edited"]]
        ranks = dict(zip(texts.values(), answer.ranks or (), strict=False))
        return {"kind": answer.kind, "ranks": ranks, "status": answer.status, **told}

    def wait_for_answers(self, count: int) -> None:
        """Wait until that many of this person's answers are in storage."""
        for _ in range(100):
            if len(self.kinds()) >= count:
                return
            self.page.wait_for_timeout(50)
        raise AssertionError(f"found {len(self.kinds())} answers after 5 s, expected {count}")

    def kinds(self) -> list[str]:
        """The kinds of this person's answers, oldest first."""
        return [answer.kind for answer in answers(self.bench.services.database, person_id=self.person.id)]

    def sign_out_behind_its_back(self) -> None:
        """End the session as another device would."""
        people.bump_session_epoch(self.bench.services.database, self.person.id)

    def _outside(self, url: str) -> None:
        if not url.startswith((self.bench.url, "data:", "blob:", "about:")):
            self.wrong.append(f"request {url}")

    def _read(self, response) -> None:
        kind = response.headers.get("content-type", "")
        if kind.startswith(("application/json", "text/html")) and response.status == 200:
            self.bodies.append(response.url + " " + response.text())
