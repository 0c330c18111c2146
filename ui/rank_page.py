"""The page where people rank: claim tasks, show them blind, take the answer, give the next.

`next_view`, `answer`, `consent`, `renew` and `release` are plain functions; `routes` puts them under /rank, with
those of ui/own_work.py, and `build` lays the page out. The board calls these routes itself rather than through
Gradio's queue, which swallows calls while a connection is down: an annotator must be told at once when an answer is
not saved. What goes to the browser are letters and safe HTML (ui/task_view.py).
"""

from collections.abc import Mapping

from pydantic import BaseModel, Field
from starlette.routing import Route

from pipeline import first_start
from pipeline.services import Services
from storage import consents
from storage.rankings import AlreadyAnswered, CampaignClosed, SubmissionConflict, UnknownAssignment
from storage.records import InvalidRecord, Person
from ui import markup, own_work
from ui.answering import Desk, after, notice_of, store
from ui.auth import Auth
from ui.ranking_board import ranking_board
from ui.routes import Conflict, route
from ui.task_answer import Refused, Sent, read
from ui.task_view import task_view

MEMBERS = "There are tasks for invited members only. Ask your lead to add you."
AHEAD = 2  # tasks beyond the one on the page that it may hold for times without a connection


class Wish(BaseModel):
    """Which tasks the page wants: of one campaign or any, how many ahead, and which it holds already."""

    campaign: int | None = None
    ahead: int = Field(0, ge=0, le=AHEAD)
    have: list[str] = Field([], max_length=20)


class Leases(BaseModel):
    assignments: list[str] = Field([], max_length=20)


class Agreement(BaseModel):
    campaign: int
    version: int


def next_view(desk: Desk, person: Person, wish: Wish = Wish()) -> dict:  # noqa: B008, never changed
    """What the board shows now: a task and those ahead of it, or why there is none. Claims what is missing."""
    services, pool = desk.services, desk.services.pool
    claimed = pool.claim_ahead(person.id, wish.campaign, 1 + wish.ahead)
    view = {**desk.tally.of(person.id), **standing(desk, person, wish), "may_lead": person.may("lead")}
    if not claimed:
        starting = first_start.state(services)
        if starting is not None:
            return {"state": "starting", "starting": starting, **view}
        return {"state": "blocked" if view["blocked"] else "empty", **view}
    tasks = [{**task_view(services, desk.sheets, one), "remaining": view["left"]} for one in claimed]
    first, campaign = tasks[0], claimed[0].campaign_id
    if desk.tally.guidelines_changed(person.id, campaign, first["guidelines_version"]):
        view["guidelines_changed"] = True
    ahead = [task for task in tasks[1:] if task["assignment"] not in wish.have]
    return {"state": "task", "task": first, "ahead": ahead, **view}


def standing(desk: Desk, person: Person, wish: Wish) -> dict:
    """{"campaigns", "left", "blocked"}: where this person may work, how much is left there, and what is in the way."""
    pool = desk.services.pool
    open_to = [
        {"id": one.id, "name": one.name, "left": pool.remaining(person.id, one.id), "state": one.state}
        for one in pool.offered(person.id)
    ]
    left = sum(one["left"] for one in open_to if wish.campaign in (None, one["id"]))
    return {"campaigns": open_to, "left": left, "blocked": blocked(desk, person, bool(open_to))}


def blocked(desk: Desk, person: Person, may_work: bool) -> list[dict]:
    """Why open campaigns give this person nothing. Campaigns of others are neither named nor counted."""
    pool, told = desk.services.pool, []
    refusals = pool.refusals(person.id)
    for one in (refusal for refusal in refusals if refusal.code != "members"):
        why = {"campaign": one.campaign_id, "code": one.code, "message": one.message}
        if one.code == "consent":
            setup = pool.setup(one.campaign_id)
            why |= {"consent": markup.to_html(setup.consent), "version": setup.consent_version}
        told.append({**why, "name": pool.campaign(one.campaign_id).name})
    if refusals and not told and not may_work:
        told.append({"campaign": None, "name": "", "code": "members", "message": MEMBERS})
    return told


def answer(desk: Desk, person: Person, sent: Mapping) -> dict:
    """Store an answer, then claim the next task. Returns the next view with `saved`, or with `notice` where the
    task was no longer this person's to answer. Raises Refused, and Conflict for a revision that came too late;
    whatever else is raised, nothing was stored."""
    wish, given = read(Wish, sent), read(Sent, sent)
    try:
        stored = store(desk, person, given)
    except (UnknownAssignment, AlreadyAnswered, CampaignClosed) as error:
        if given.revises:
            raise Conflict(notice_of(error)) from error
        return {**next_view(desk, person, wish), "saved": None, "notice": notice_of(error)}
    except SubmissionConflict as error:
        raise (Conflict if given.revises else Refused)(str(error)) from error
    except InvalidRecord as error:
        raise Refused(str(error)) from error
    desk.tally.add(stored)
    beside = {"saved": given.submission_id, **after(desk, stored)}
    return {**next_view(desk, person, wish), **beside}


def renew(desk: Desk, person: Person, sent: Mapping) -> dict:
    """Make the leases of the tasks that the page holds last; those that are over are left out."""
    alive = desk.services.pool.renew(person.id, read(Leases, sent).assignments)
    return {"state": "renewed", "alive": [{"assignment": a.id, "expires": a.expires.isoformat()} for a in alive]}


def release(desk: Desk, person: Person, sent: Mapping) -> dict:
    """Hand tasks back for a pause; others get them meanwhile. What is not this person's is left alone."""
    wanted = set(read(Leases, sent).assignments)
    for assignment in desk.services.pool.in_hand(person.id):
        if assignment.id in wanted:
            desk.services.pool.release(assignment.id)
    return {"state": "released"}


def consent(desk: Desk, person: Person, sent: Mapping) -> dict:
    """Agree to the campaign's consent text as it is now, then the next task. Raises Conflict for an older text."""
    given = read(Agreement, sent)
    setup = desk.services.pool.setup(given.campaign)
    if not setup.consent or given.version != setup.consent_version:
        raise Conflict("The text has been changed meanwhile. Please read it once more.")
    consents.agree(desk.services.database, person.id, given.campaign, given.version)
    return next_view(desk, person, Wish(campaign=given.campaign))


def routes(services: Services, auth: Auth, desk: Desk | None = None) -> list[Route]:
    """The routes that the board and the page My work call."""
    desk = desk or Desk(services)
    calls = {
        "next": lambda person, sent: next_view(desk, person, read(Wish, sent)),
        "answer": lambda person, sent: answer(desk, person, sent),
        "renew": lambda person, sent: renew(desk, person, sent),
        "release": lambda person, sent: release(desk, person, sent),
        "consent": lambda person, sent: consent(desk, person, sent),
        "revise": lambda person, sent: own_work.revise_view(desk, person, sent),
        "work": lambda person, sent: own_work.work(desk, person, sent),
        "withdraw": lambda person, sent: own_work.withdraw(desk, person, sent),
    }
    return [route(f"/rank/{name}", auth, "annotator", call) for name, call in calls.items()]


def build(services: Services, auth: Auth) -> None:
    """The page: the board, which asks for its first task itself."""
    ranking_board()
