"""The quality of answers over HTTP: figures, annotators paused and let go on, answers excluded and brought back."""

from typing import Annotated, Literal

from fastapi import APIRouter, Query, Security
from pydantic import Field

from pipeline.report import quality
from storage import exclusions, members, rankings
from storage.records import Answer
from storage.task_lists import answer_page
from ui.api_base import BEARER, Body, CheckedRoute, Loop, Who, fault, known_campaign, needs
from ui.api_campaigns import known_person

router = APIRouter(route_class=CheckedRoute, tags=["quality"], dependencies=[Security(BEARER)])
LEAD = needs("lead")
Reason = Annotated[str, Field(min_length=1, max_length=500)]


class StateChange(Body):
    """An annotator reads the reason of a pause."""

    state: Literal["active", "paused"]
    reason: Reason


class Exclusion(Body):
    """excluded false brings the answer back: it counts if its task has room, else it is surplus."""

    excluded: bool
    reason: Reason


@router.get("/campaigns/{campaign}/quality", openapi_extra=LEAD)
def read_quality(services: Loop, campaign: str) -> dict:
    """Alarms, what each rule excludes, figures per annotator, position bias."""
    return quality(services.database, known_campaign(services, campaign))


@router.get("/campaigns/{campaign}/annotators", openapi_extra=LEAD)
def list_states(services: Loop, campaign: str) -> list[dict]:
    """Everybody who was ever paused or let go on here, as it is now."""
    found = members.annotator_states(services.database, known_campaign(services, campaign).id)
    return [_state_view(one) for one in found]


@router.put("/campaigns/{campaign}/annotators/{person_id}", openapi_extra=LEAD)
def set_state(services: Loop, who: Who, campaign: str, person_id: int, wish: StateChange) -> dict:
    """Pause an annotator in this campaign, or let them go on; earlier checks are then not held against them."""
    found = known_campaign(services, campaign)
    there = known_person(services, person_id)
    done = members.set_annotator_state(services.database, found.id, there.id, wish.state, wish.reason, who.id)
    return _state_view(done)


@router.get("/campaigns/{campaign}/answers", openapi_extra=LEAD)
def list_answers(
    services: Loop,
    campaign: str,
    person: Annotated[int | None, Query(ge=1, lt=2**31)] = None,
    status: Literal["counted", "surplus", "excluded", "check"] | None = None,
    offset: Annotated[int, Query(ge=0, lt=2**31)] = 0,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
) -> list[dict]:
    """Answers with status and reason, newest first, without those that were revised."""
    found = known_campaign(services, campaign)
    names = ("submission_id", "task_id", "person_id", "name", "kind", "status", "reason", "seconds")
    rows = answer_page(services.database, found.id, person, status, offset, limit)
    return [{name: getattr(row, name) for name in names} | {"created": row.created.isoformat()} for row in rows]


@router.put("/campaigns/{campaign}/answers/{submission_id}", openapi_extra=LEAD)
def decide(services: Loop, who: Who, campaign: str, submission_id: str, wish: Exclusion) -> dict:
    """Exclude an answer with a reason, or bring it back."""
    known_answer(services, campaign, submission_id)
    if wish.excluded:
        done = exclusions.exclude(services.database, submission_id, wish.reason, who.id)
    else:
        done = exclusions.bring_back(services.database, services.pool, submission_id, wish.reason, who.id)
    return {"submission_id": done.submission_id, "status": done.status, "reason": done.reason}


def known_answer(services: Loop, campaign: str, submission_id: str) -> Answer:
    """The answer of that key in that campaign, or 404."""
    found = known_campaign(services, campaign)
    answer = rankings.answer(services.database, submission_id[:80])
    if answer is None or answer.campaign_id != found.id:
        raise fault(404, "submission", submission_id, f"the key of an answer in campaign {found.name}")
    return answer


def _state_view(one: members.AnnotatorState) -> dict:
    return {"person": one.person_id, "state": one.state, "reason": one.reason, "since": one.since.isoformat()}
