"""A person's own answers: listed with their pace, opened for revision, withdrawn.

Plain functions behind /rank/work, /rank/revise and /rank/withdraw; ui/work_page.py draws the list. Nothing here says
which answers measured the annotator.
"""

from collections.abc import Mapping
from datetime import UTC, date, timedelta

from pydantic import BaseModel, Field

from storage.own_answers import OwnAnswer, newest_answer, own_answer, own_answers, pace, said
from storage.rankings import CampaignClosed, SubmissionConflict, UnknownAssignment, answer
from storage.records import Assignment, Person
from ui import markup
from ui.answering import Desk, notice_of, store
from ui.routes import Conflict
from ui.task_answer import Key, Sent, in_letters, read
from ui.task_view import task_view

SNIPPET = 160  # characters of a prompt in the list
UNKNOWN = "There is no such answer of yours."
SUPERSEDED = "You have revised that answer meanwhile. Load your work again and open the newest one."
CLOSED = "The campaign has been closed: its answers stay as they are."
EXCLUDED = "This answer was excluded ({}); it stays as it is. Ask your lead."


class Wanted(BaseModel):
    """Which part of the list: words to search, a campaign, and the cursor of the page before.

    offset: minutes that the person's clock is ahead of UTC, for days that begin at their midnight.
    """

    search: str = Field("", max_length=200)
    campaign: int | None = None
    before: str | None = Field(None, pattern="^[0-9]{1,18}$")
    offset: int = Field(0, ge=-14 * 60, le=14 * 60)


class Chosen(BaseModel):
    submission: str = Field(max_length=64)


class Withdrawal(Chosen):
    submission_id: Key


def work(desk: Desk, person: Person, sent: Mapping, page: int = 30) -> dict:
    """One page of the person's answers, newest first; with the first page their pace and what is left."""
    wanted, database = read(Wanted, sent), desk.services.database
    before = int(wanted.before) if wanted.before else None
    found = own_answers(database, person.id, wanted.search, wanted.campaign, before, page + 1)
    shown = found[:page]
    listed = {
        "state": "work",
        "entries": [entry(one) for one in shown],
        "next": str(shown[-1].seq) if len(found) > page else None,
    }
    return listed | (standing(desk, person, wanted.offset) if before is None else {})


def entry(one: OwnAnswer) -> dict:
    """One line of the list; texts are plain."""
    return {
        "submission": one.submission_id,
        "campaign": one.campaign,
        "campaign_id": one.campaign_id,
        "prompt": markup.snippet(one.prompt, SNIPPET),
        "when": one.created.astimezone(UTC).isoformat(),
        "seconds": one.seconds,
        "said": said(one),
        "status": "withdrawn" if said(one) == "withdrawn" else one.status,
        "reason": one.reason,
        "revisable": one.revisable,
        "rationale": one.detail.rationale,
        "flags": sorted({name for names in one.detail.flags.values() for name in names}),
        "edited": bool(one.detail.edit),
    }


def standing(desk: Desk, person: Person, offset: int = 0) -> dict:
    """The person's pace, what is left for them and where, tasks in hand, and campaigns that give them nothing."""
    pool, told = desk.services.pool, pace(desk.services.database, person.id, offset)
    campaigns = [{"id": c.id, "name": c.name, "left": pool.remaining(person.id, c.id)} for c in pool.offered(person.id)]
    in_hand = [
        {"assignment": a.id, "campaign": pool.campaign(a.campaign_id).name, "expires": a.expires.isoformat()}
        for a in pool.in_hand(person.id)
    ]
    refusals = [one for one in pool.refusals(person.id) if one.code != "members"]
    return {
        "today": told.today,
        "total": told.total,
        "per_hour": None if told.per_hour is None else round(told.per_hour, 1),
        "median_seconds": told.median_seconds,
        "active_seconds": told.seconds,
        "days": [{"day": (date(1970, 1, 1) + timedelta(day)).isoformat(), "count": n} for day, n in told.days],
        "left": sum(one["left"] for one in campaigns),
        "campaigns": campaigns,
        "in_hand": in_hand,
        "blocked": [
            {"campaign": one.campaign_id, "name": pool.campaign(one.campaign_id).name, "message": one.message}
            | {"code": one.code}
            for one in refusals
        ],
    }


def revise_view(desk: Desk, person: Person, sent: Mapping) -> dict:
    """The task of an own answer, shown as it was, with the newest answer to it in letters.

    Raises Conflict for an answer that is not to be changed.
    """
    one = revisable(desk, person, read(Chosen, sent).submission)
    assignment = Assignment(
        one.assignment_id or "", one.task_id, one.campaign_id, person.id, one.shown, one.created, one.created
    )
    view = task_view(desk.services, desk.sheets, assignment)
    left = desk.services.pool.remaining(person.id)
    told = {"revises": one.submission_id, "answer": in_letters(one), "remaining": left}
    return {"state": "task", "task": {**view, **told}, "ahead": [], **desk.tally.of(person.id), "left": left}


def withdraw(desk: Desk, person: Person, sent: Mapping) -> dict:
    """Take an own answer back: a revision that says `skip`. The history stays. Raises Conflict where it stands."""
    given = read(Withdrawal, sent)
    try:
        stored = store(desk, person, Sent(submission_id=given.submission_id, kind="skip", revises=given.submission))
    except SubmissionConflict as error:
        raise Conflict(SUPERSEDED) from error
    except (CampaignClosed, UnknownAssignment) as error:
        raise Conflict(notice_of(error)) from error
    desk.tally.add(stored)
    return {"state": "withdrawn", "submission": stored.submission_id}


def revisable(desk: Desk, person: Person, submission_id: str) -> OwnAnswer:
    """The person's newest answer to the task of that one. Raises Conflict for one that is not to be changed."""
    database = desk.services.database
    named = answer(database, submission_id)
    if named is None or named.person_id != person.id:
        raise Conflict(UNKNOWN)
    newest = newest_answer(database, person.id, named.task_id, named.purpose == "repeat")
    one = own_answer(database, person.id, newest or submission_id)
    if one is None:
        raise Conflict(UNKNOWN)
    if one.status == "excluded":
        raise Conflict(EXCLUDED.format(one.reason))
    if not one.revisable:
        raise Conflict(CLOSED)
    return one
