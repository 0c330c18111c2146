"""The page where people rank: claim a task, show it blind, take the answer, give the next.

`next_view` and `answer` are plain functions; `routes` puts them at /rank/next and /rank/answer, `build` lays the
page out. The board calls these routes itself rather than through Gradio's queue, which swallows calls while a
connection is down: an annotator must be told at once when an answer is not saved. What goes to the browser are
letters and safe HTML, never completion ids or model names.
"""

import hashlib
import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, date, datetime

from pydantic import BaseModel, Field, ValidationError
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from pipeline import first_start
from pipeline.services import Services
from storage import campaigns, completions, prompts, rankings, tasks
from storage.leases import find_assignment
from storage.rankings import AlreadyAnswered, CampaignClosed, SubmissionConflict, UnknownAssignment
from storage.records import Answer, Assignment, InvalidRecord, Message, Person, Submission
from ui import markup
from ui.auth import Auth
from ui.ranking_board import ranking_board

LETTERS = "ABCDEFGHI"


class Sent(BaseModel):
    """What the board sends: letters from best to worst, under a key it made itself."""

    submission_id: str = Field(min_length=8, max_length=64)
    assignment: str = Field(min_length=1, max_length=64)
    kind: str = Field(max_length=16)
    tiers: list[list[str]] = Field(default=[], max_length=9)
    seconds: float = Field(default=0.0, ge=0)


class Refused(ValueError):
    """An answer that cannot be stored as it is: the text says what was found and what was expected."""


class Tally:
    """How many answers each person has given, today and in all; read from storage once, then counted along."""

    def __init__(self, services: Services, today: Callable[[], date] = lambda: datetime.now(UTC).date()):
        self.services, self.today = services, today
        self._days: dict[int, dict[str, date]] = {}  # by person: submission id -> the day of it
        self._lock = threading.Lock()

    def of(self, person_id: int) -> dict:
        """{"today", "total"} of a person."""
        with self._lock:
            days = self._of(person_id)
            return {"today": sum(day == self.today() for day in days.values()), "total": len(days)}

    def add(self, answer: Answer) -> None:
        """Count an answer just stored; the same one again changes nothing."""
        with self._lock:
            if answer.kind != "skip":
                self._of(answer.person_id)[answer.submission_id] = answer.created.date()

    def _of(self, person_id: int) -> dict[str, date]:
        if person_id not in self._days:
            given = rankings.answers(self.services.database, person_id=person_id)
            counted = [a for a in given if a.kind != "skip" and a.status != "superseded"]
            self._days[person_id] = {a.submission_id: a.created.date() for a in counted}
        return self._days[person_id]


def next_view(services: Services, tally: Tally, person: Person) -> dict:
    """What the board shows now: a task, or why there is none. Claims a task for the person."""
    assignment = services.pool.claim(person.id)
    if assignment is not None:
        return {"state": "task", "task": task_view(services, assignment), **tally.of(person.id)}
    starting = first_start.state(services)
    if starting is not None:
        return {"state": "starting", "starting": starting, **tally.of(person.id)}
    return {"state": "empty", "may_lead": person.may("lead"), **tally.of(person.id)}


def task_view(services: Services, assignment: Assignment) -> dict:
    """An assignment as the board draws it: letters and safe HTML only."""
    campaign = campaigns.campaign(services.database, assignment.campaign_id)
    task = tasks.task(services.database, assignment.task_id)
    prompt = prompts.prompt(services.database, task.prompt_id)
    texts = [completion.text for completion in completions.completions(services.database, assignment.shown)]
    return {
        "assignment": assignment.id,
        "campaign": campaign.name,
        "criterion": campaign.criterion,
        "guidelines": markup.to_html(campaign.guidelines) if campaign.guidelines.strip() else "",
        "guidelines_key": f"{campaign.id}.{campaign.guidelines_version}",
        "prompt": [message_view(message) for message in prompt.messages],
        "completions": [completion_view(letter, text) for letter, text in zip(LETTERS, texts, strict=False)],
        "remaining": services.pool.remaining(assignment.person_id),
    }


def message_view(message: Message) -> dict:
    """One turn of the prompt."""
    return {"role": message.role, "html": markup.to_html(message.content)}


def completion_view(letter: str, text: str) -> dict:
    """One completion under its letter, with its length and its first words."""
    words = len(text.split())
    note = "empty" if not text.strip() else f"{words:,} word{'' if words == 1 else 's'}"
    return {"letter": letter, "html": markup.to_html(text), "note": note, "snippet": markup.snippet(text)}


def answer(services: Services, tally: Tally, person: Person, sent: Mapping) -> dict:
    """Store an answer, then claim the next task. Returns the next view with `saved`, or with `notice` where the
    task was no longer this person's to answer. Raises Refused; whatever else is raised, nothing was stored."""
    try:
        submission = submission_of(services, person, sent)
        stored = store(services, person, submission)
    except (UnknownAssignment, AlreadyAnswered, CampaignClosed) as error:
        return {**next_view(services, tally, person), "saved": None, "notice": notice_of(error)}
    except (InvalidRecord, SubmissionConflict) as error:
        raise Refused(str(error)) from error
    tally.add(stored)
    return {**next_view(services, tally, person), "saved": submission.submission_id}


def store(services: Services, person: Person, submission: Submission) -> Answer:
    """Submit; where the key had carried another answer before (its reply was lost), revise that one."""
    try:
        return rankings.submit(services.database, services.pool, person.id, submission)
    except SubmissionConflict:
        changed = replace(submission, submission_id=revision_key(submission))
        return rankings.revise(services.database, person.id, submission.submission_id, changed)


def revision_key(submission: Submission) -> str:
    """A key made of the changed content, so that sending the change twice stores it once."""
    content = f"{submission.submission_id} {submission.kind} {submission.tiers}"
    return hashlib.sha256(content.encode()).hexdigest()


def submission_of(services: Services, person: Person, sent: Mapping) -> Submission:
    """The board's letters as completion ids. Raises Refused, or UnknownAssignment for one that is not theirs."""
    try:
        given = Sent.model_validate(sent)
    except ValidationError as error:
        first = error.errors()[0]
        raise Refused(f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from error
    assignment = find_assignment(services.database, given.assignment)
    if assignment is None or assignment.person_id != person.id:
        raise UnknownAssignment(given.assignment)
    ids = dict(zip(LETTERS, assignment.shown, strict=False))
    strange = [letter for tier in given.tiers for letter in tier if letter not in ids]
    if strange:
        raise Refused(f"tiers: found {strange[0]!r}, expected the letters {', '.join(ids)}")
    tiers = tuple(tuple(ids[letter] for letter in tier) for tier in given.tiers)
    seconds = min(given.seconds, 86_400.0)
    return Submission(given.submission_id, given.assignment, given.kind, tiers, seconds)


def notice_of(error: Exception) -> str:
    """What the annotator is told when the task was not theirs to answer any more."""
    if isinstance(error, CampaignClosed):
        return "The campaign has been closed: your earlier answer to that task stands."
    if isinstance(error, AlreadyAnswered):
        return "You had already answered that task, perhaps in another window: the earlier answer stands."
    return "That task is no longer yours: it was withdrawn, or belongs to another account. Nothing was stored."


def routes(services: Services, auth: Auth) -> list[Route]:
    """The two routes that the board calls."""
    tally = Tally(services)

    async def on_next(request: Request) -> Response:
        person = await run_in_threadpool(auth.require_http, request, "annotator")
        return reply(await run_in_threadpool(next_view, services, tally, person))

    async def on_answer(request: Request) -> Response:
        person = await run_in_threadpool(auth.require_http, request, "annotator")
        try:
            sent = await request.json()
            return reply(await run_in_threadpool(answer, services, tally, person, sent))
        except ValueError as error:  # Refused, or no JSON
            return reply({"error": str(error)}, 422)

    return [Route("/rank/next", on_next, methods=["POST"]), Route("/rank/answer", on_answer, methods=["POST"])]


def reply(content: dict, status: int = 200) -> Response:
    """JSON that no cache keeps."""
    return JSONResponse(content, status, headers={"cache-control": "no-store"})


def build(services: Services, auth: Auth) -> None:
    """The page: the board, which asks for its first task itself."""
    ranking_board()
