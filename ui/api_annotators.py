"""The annotator's part of the HTTP API: claim a task, send its answer, see and revise one's own answers.

Blind like the page: completions have letters only, in the order shown. Neither completion ids nor model names leave
here, nor which tasks measure the annotator; training tasks are announced and give feedback.
"""

from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Query, Request, Response, Security
from pydantic import BaseModel, Field

from pipeline.services import Services
from storage.own_answers import own_answers, said
from storage.prompts import prompt
from storage.records import Assignment, Person
from storage.tasks import task
from ui.answering import Desk, after, submit, told
from ui.api_base import BEARER, Body, CheckedRoute, Loop, Who, fault, known_campaign, needs
from ui.task_answer import Key, Sent, SentDetail, Tier, assignment_of, in_letters
from ui.task_view import asked_view, shown_view

router = APIRouter(route_class=CheckedRoute, tags=["annotators"], dependencies=[Security(BEARER)])
Kind = Literal["ranking", "ratings", "thumbs", "all_bad", "cannot_judge", "skip"]


def desk_of(request: Request) -> Desk:
    return request.app.state.desk


AtDesk = Annotated[Desk, Depends(desk_of)]


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
    veil: str | None = Field(None, description="why the page would veil it at first")


class Turn(BaseModel):
    role: str
    content: str


class AskedScale(BaseModel):
    name: str
    low: int
    high: int
    low_label: str
    high_label: str


class Claimed(BaseModel):
    """A task on loan until `expires`. form says how to answer: ranking, pairwise, ratings or thumbs."""

    assignment: str
    expires: str
    campaign: str
    criterion: str
    form: str
    scales: list[AskedScale]
    flags: list[str]
    reasons: list[str]
    rationale: str
    rationale_min: int
    edit: bool
    training: bool
    guidelines: str
    guidelines_version: int
    examples: str
    prompt: list[Turn]
    completions: list[Shown]


class Judgement(Body):
    """What is said about a task."""

    submission_id: Key = Field(description="a key made by the sender")
    kind: Kind = "ranking"
    tiers: list[Tier] = Field([], max_length=9, description="letters from best to worst; letters of one tier tie")
    seconds: float = Field(0.0, ge=0, le=86_400)
    detail: SentDetail = SentDetail()


class Ranking(Judgement):
    """The answer to an assignment. Send the same submission_id again after a lost reply: it counts once."""

    assignment: str = Field(max_length=64)


class Expected(BaseModel):
    tiers: list[list[str]] | None = None
    kind: str | None = None


class Feedback(BaseModel):
    """On a training task: agreement with the known answer, 0 to 1, that answer, and why."""

    score: float | None
    expected: Expected
    explanation: str


class Saved(BaseModel):
    """status: counted; surplus where overlap was already met; excluded with the reason."""

    submission_id: str
    status: str
    saved: bool = True
    reason: str | None = None
    warning: str | None = None
    feedback: Feedback | None = None


class Renewed(BaseModel):
    assignment: str
    expires: str


class Own(BaseModel):
    """One of one's own answers. status: saved, revised, surplus or excluded; said: the answer in one line."""

    submission_id: str
    campaign: str
    prompt: str
    created: str
    seconds: float
    kind: str
    tiers: list[list[str]]
    detail: dict
    said: str
    status: str
    reason: str
    revisable: bool


class OwnPage(BaseModel):
    """next: the `before` of the following page, null on the last one."""

    answers: list[Own]
    next: str | None


@router.get("/me", openapi_extra=needs("annotator"))
def me(who: Who) -> Me:
    """Who the key or the cookie belongs to."""
    return Me(id=who.id, name=who.name, role=who.role, kind=who.kind)


@router.post(
    "/tasks/claim",
    openapi_extra=needs("annotator"),
    response_model=Claimed,
    response_model_exclude_none=True,
    responses={204: {}},
)
def claim_task(services: Loop, desk: AtDesk, who: Who, wish: Claim | None = None):
    """Claim the next task, or get the one already on loan again; 204 where nothing is open for this person."""
    chosen = known_campaign(services, wish.campaign).id if wish and wish.campaign is not None else None
    assignment = services.pool.claim(who.id, chosen)
    return Response(status_code=204) if assignment is None else claimed(services, desk, assignment)


def claimed(services: Services, desk: Desk, assignment: Assignment) -> Claimed:
    """The assignment as an annotator may see it."""
    work, setup = services.pool.campaign(assignment.campaign_id), services.pool.setup(assignment.campaign_id)
    found = services.pool.task(assignment.task_id) or task(services.database, assignment.task_id)
    shown = shown_view(services, setup, desk.sheets.of(assignment.task_id), assignment.shown)
    return Claimed(
        assignment=assignment.id,
        expires=assignment.expires.isoformat(),
        campaign=work.name,
        criterion=work.criterion,
        **asked_view(setup),
        training=assignment.purpose == "training",
        guidelines=work.guidelines,
        guidelines_version=work.guidelines_version,
        examples=setup.examples,
        prompt=[Turn(role=m.role, content=m.content) for m in prompt(services.database, found.prompt_id).messages],
        completions=[Shown(letter=one["letter"], text=one["text"], veil=one["veil"]) for one in shown],
    )


@router.post("/tasks/{assignment}/renew", openapi_extra=needs("annotator"))
def renew_task(services: Loop, who: Who, assignment: str) -> Renewed:
    """Make a loan last. 404 for one that is over: answer it all the same, or claim again."""
    alive = services.pool.renew(who.id, [assignment])
    if not alive:
        raise fault(404, "assignment", assignment, "a task on loan to you; claim one")
    return Renewed(assignment=alive[0].id, expires=alive[0].expires.isoformat())


@router.post("/tasks/{assignment}/release", openapi_extra=needs("annotator"), status_code=204)
def release_task(services: Loop, who: Who, assignment: str) -> None:
    """Hand a task back unanswered, so that others get it at once."""
    found = assignment_of(services.database, services.pool, who.id, assignment)
    services.pool.release(found.id)


@router.post("/rankings", openapi_extra=needs("annotator"), response_model_exclude_none=True)
def submit_ranking(desk: AtDesk, who: Who, ranking: Ranking) -> Saved:
    """Store an answer of any form; when this returns it is on disk. 409 where the key or the task is used already."""
    return saved(desk, who, Sent(**ranking.model_dump()))


@router.get("/answers", openapi_extra=needs("annotator"))
def list_answers(
    services: Loop,
    who: Who,
    campaign: str | None = None,
    search: Annotated[str, Query(max_length=200)] = "",
    before: Annotated[str | None, Query(pattern="^[0-9]{1,18}$")] = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 30,
) -> OwnPage:
    """One's own answers, newest first; of each task the newest."""
    chosen = known_campaign(services, campaign).id if campaign is not None else None
    found = own_answers(services.database, who.id, search, chosen, int(before) if before else None, limit)
    listed = [
        Own(
            submission_id=one.submission_id,
            campaign=one.campaign,
            prompt=one.prompt,
            created=one.created.isoformat(),
            seconds=one.seconds,
            **in_letters(one),
            said=said(one),
            status=one.status,
            reason=one.reason,
            revisable=one.revisable,
        )
        for one in found
    ]
    return OwnPage(answers=listed, next=str(found[-1].seq) if len(found) == limit else None)


@router.post("/answers/{submission}/revise", openapi_extra=needs("annotator"), response_model_exclude_none=True)
def revise_answer(desk: AtDesk, who: Who, submission: str, judgement: Judgement) -> Saved:
    """Replace one's newest answer to a task; `skip` withdraws it. 409 where it was revised since, or is closed."""
    return saved(desk, who, Sent(**judgement.model_dump(), revises=submission))


def saved(desk: Desk, who: Person, given: Sent) -> Saved:
    """Store what was sent; what its sender is told. A check is told like any other answer."""
    answer = submit(desk, who, given)
    desk.tally.add(answer)
    status, reason = told(desk, answer)
    beside = after(desk, answer)
    return Saved(
        submission_id=answer.submission_id,
        status="counted" if status == "saved" else status,
        reason=reason or None,
        warning=beside.get("warning"),
        feedback=beside.get("feedback"),
    )
