"""The annotator's part of the HTTP API: claim a task, send its answer.

Blind like the page: completions have letters only, in the order shown. Neither completion ids nor
model names leave here.
"""

from typing import Annotated, Literal

from fastapi import APIRouter, Response, Security
from pydantic import BaseModel, Field

from pipeline.services import Services
from storage.leases import find_assignment
from storage.campaigns import campaign
from storage.completions import completions
from storage.prompts import prompt
from storage.rankings import UnknownAssignment, submit
from storage.records import Assignment, Person, Submission
from storage.tasks import task
from ui.api_base import BEARER, Body, CheckedRoute, Loop, Who, fault, known_campaign, needs

router = APIRouter(route_class=CheckedRoute, tags=["annotators"], dependencies=[Security(BEARER)])
LETTERS = "ABCDEFGHI"
Letter = Annotated[str, Field(pattern="^[A-I]$")]
Tier = Annotated[list[Letter], Field(min_length=1, max_length=9)]


class Me(BaseModel):
    id: int
    name: str
    role: str
    kind: str


class Claim(Body):
    campaign: str | None = Field(None, max_length=200, description="name of a campaign; any open one without it")


class Shown(BaseModel):
    letter: str
    text: str


class Turn(BaseModel):
    role: str
    content: str


class Claimed(BaseModel):
    """A task on loan until `expires`."""

    assignment: str
    expires: str
    campaign: str
    criterion: str
    guidelines: str
    prompt: list[Turn]
    completions: list[Shown]


class Ranking(Body):
    """The answer to an assignment. Send the same submission_id again after a lost reply: it counts once."""

    submission_id: str = Field(min_length=8, max_length=64, description="a key made by the sender")
    assignment: str = Field(max_length=64)
    kind: Literal["ranking", "all_bad", "cannot_judge", "skip"] = "ranking"
    tiers: list[Tier] = Field([], max_length=9, description="letters from best to worst; letters of one tier tie")
    seconds: float = Field(0.0, ge=0, le=86_400)


class Saved(BaseModel):
    """status: counted, or surplus where overlap was already met."""

    submission_id: str
    status: str
    saved: bool = True


@router.get("/me", openapi_extra=needs("annotator"))
def me(who: Who) -> Me:
    """Who the key or the cookie belongs to."""
    return Me(id=who.id, name=who.name, role=who.role, kind=who.kind)


@router.post("/tasks/claim", openapi_extra=needs("annotator"), response_model=Claimed, responses={204: {}})
def claim_task(services: Loop, who: Who, wish: Claim | None = None):
    """Claim the next task, or get the one already on loan again; 204 where nothing is open for this person."""
    chosen = known_campaign(services, wish.campaign).id if wish and wish.campaign is not None else None
    assignment = services.pool.claim(who.id, chosen)
    return Response(status_code=204) if assignment is None else claimed(services, assignment)


def claimed(services: Services, assignment: Assignment) -> Claimed:
    """The assignment as an annotator may see it."""
    work = campaign(services.database, assignment.campaign_id)
    asked = prompt(services.database, task(services.database, assignment.task_id).prompt_id)
    texts = completions(services.database, assignment.shown)
    return Claimed(
        assignment=assignment.id,
        expires=assignment.expires.isoformat(),
        campaign=work.name,
        criterion=work.criterion,
        guidelines=work.guidelines,
        prompt=[Turn(role=message.role, content=message.content) for message in asked.messages],
        completions=[Shown(letter=letter, text=c.text) for letter, c in zip(LETTERS, texts, strict=False)],
    )


@router.post("/rankings", openapi_extra=needs("annotator"))
def submit_ranking(services: Loop, who: Who, ranking: Ranking) -> Saved:
    """Store an answer; when this returns it is on disk. 409 where the key or the task was used otherwise."""
    answer = submit(services.database, services.pool, who.id, submission(services, who, ranking))
    return Saved(submission_id=answer.submission_id, status=answer.status)


def submission(services: Services, who: Person, ranking: Ranking) -> Submission:
    """The ranking with letters turned into completion ids; raises UnknownAssignment, or 422 for other letters."""
    assignment = find_assignment(services.database, ranking.assignment)
    if assignment is None or assignment.person_id != who.id:
        raise UnknownAssignment(f"assignment: found {ranking.assignment!r}, expected one of yours; claim a task first")
    known = LETTERS[: len(assignment.shown)]
    used = [letter for tier in ranking.tiers for letter in tier]
    if ranking.kind == "ranking" and sorted(used) != list(known):
        raise fault(422, "tiers", ranking.tiers, f"each of {', '.join(known)} once")
    tiers = tuple(tuple(assignment.shown[known.index(letter)] for letter in tier) for tier in ranking.tiers)
    return Submission(ranking.submission_id, ranking.assignment, ranking.kind, tiers, ranking.seconds)
