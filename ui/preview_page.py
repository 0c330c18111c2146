"""A campaign as its annotators see it: the board with sample tasks, for leads. Nothing is claimed or stored.

The board is the real one but for the part that sends: static/preview.js stands in its place and asks /preview/next.
"""

import random
import secrets
from datetime import UTC, datetime, timedelta

from pydantic import BaseModel, Field
from starlette.routing import Route

from pipeline.services import Services
from storage import campaigns, tasks
from storage.records import Assignment, Campaign, Message, Person
from storage.setups import setup
from storage.task_lists import task_page
from ui import markup
from ui.answering import Desk
from ui.auth import Auth
from ui.charts import wrap
from ui.components import Panel
from ui.ranking_board import SCRIPTS, ranking_board
from ui.routes import Conflict, route
from ui.task_answer import LETTERS, read
from ui.task_view import asked_view, completion_view, message_view, task_view

SENDING = ("outbox.js", "tabs.js", "sending.js", "offline.js")
SAMPLE_PROMPT = "This is a sample prompt: the campaign has no tasks yet."
SAMPLES = (
    "A first sample completion. It is short.",
    "A second one, a little longer, with **bold** words and a list:\n\n- one\n- two",
    "A third sample completion.",
    "And a fourth: what is written here does not matter.",
)


class Wish(BaseModel):
    """Which sample of which campaign; agreed: the lead has clicked through the consent."""

    campaign: int = Field(ge=0, lt=2**31)
    nth: int = Field(0, ge=0, lt=2**31)
    agreed: bool = False


def next_view(desk: Desk, _person: Person, sent: object) -> dict:
    """A sample task as /rank/next would give it, or the consent that comes first. Raises Conflict and Refused."""
    wish = read(Wish, sent)
    found = campaigns.campaign(desk.services.database, wish.campaign)
    if found is None:
        raise Conflict("There is no such campaign. Open the preview from the Campaigns page.")
    chosen = setup(desk.services.database, found.id)
    view = {"today": 0, "total": 0, "left": 1, "campaigns": [], "may_lead": True, "blocked": [], "ahead": []}
    if chosen.consent and not wish.agreed:
        why = {"campaign": found.id, "name": found.name, "code": "consent", "version": chosen.consent_version}
        why |= {"message": "This campaign asks for your consent first.", "consent": markup.to_html(chosen.consent)}
        return {"state": "blocked", **view, "blocked": [why]}
    task = sample(desk, found, wish.nth) | {"guidelines_key": f"preview-{found.id}", "remaining": 1}
    return {"state": "task", **view, "task": task}


def sample(desk: Desk, campaign: Campaign, nth: int) -> dict:
    """The nth task of the campaign in an order made for this look, or a made-up one while there are none."""
    services = desk.services
    total = task_page(services.database, campaign.id, limit=1).total
    if not total:
        return made_up(services, campaign)
    row = task_page(services.database, campaign.id, offset=nth % total, limit=1).rows[0]
    task, now = tasks.task(services.database, row.id), datetime.now(UTC)
    shown = tuple(random.sample(task.completion_ids, len(task.completion_ids)))
    key, until = f"preview-{secrets.token_hex(8)}", now + timedelta(hours=1)
    return task_view(services, desk.sheets, Assignment(key, task.id, campaign.id, 0, shown, now, until))


def made_up(services: Services, campaign: Campaign) -> dict:
    """A task with sample texts, in the campaign's form."""
    chosen = setup(services.database, campaign.id)
    count = 2 if chosen.form == "pairwise" else max(2, min(campaign.k, len(SAMPLES)))
    views = [completion_view(text) for text in SAMPLES[:count]]
    return {
        "assignment": f"preview-{secrets.token_hex(8)}",
        "expires": (datetime.now(UTC) + timedelta(hours=1)).isoformat(),
        "campaign": campaign.name,
        "campaign_id": campaign.id,
        "criterion": campaign.criterion,
        **asked_view(chosen),
        "guidelines": markup.to_html(campaign.guidelines) if campaign.guidelines.strip() else "",
        "examples": markup.to_html(chosen.examples) if chosen.examples.strip() else "",
        "guidelines_version": campaign.guidelines_version,
        "training": False,
        "prompt": [message_view(Message("user", SAMPLE_PROMPT))],
        "completions": [{"letter": letter, **one, "veil": None} for letter, one in zip(LETTERS, views, strict=False)],
    }


def scripts() -> tuple[str, ...]:
    """The board's scripts with preview.js where it sends."""
    kept = [name for name in SCRIPTS if name not in SENDING]
    place = SCRIPTS.index(SENDING[0])
    return (*SCRIPTS[:place], "preview.js", *[name for name in kept if name not in SCRIPTS[:place]])


def routes(auth: Auth, desk: Desk) -> list[Route]:
    """What the preview's board asks."""
    return [route("/preview/next", auth, "lead", lambda person, sent: next_view(desk, person, sent))]


def build(services: Services, auth: Auth) -> None:
    """The page inside its route."""
    Panel(wrap(BANNER), elem_id="preview-note")
    ranking_board(scripts())


BANNER = (
    '<div class="okay">This is a preview with sample tasks: nothing you do here is stored. '
    '<a href="campaigns">Back to the campaigns</a></div>'
)
