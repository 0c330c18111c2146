"""Campaigns over HTTP: create and edit with every choice of their setup, guidelines' history, members.

Files in and out are in api_leads.py, tasks in api_tasks.py, the quality of answers in api_quality.py.
"""

from dataclasses import asdict
from typing import Annotated, Literal

from fastapi import APIRouter, Security
from pydantic import Field

from storage import members
from storage.campaigns import campaigns, create_campaign, edit_campaign, guidelines_history
from storage.people import person
from storage.progress import progress
from storage.quality import alarms
from storage.records import Campaign, Person
from storage.setups import edit_setup, made, setup
from storage.summaries import counts
from ui.api_base import BEARER, Body, CheckedRoute, Loop, Who, fault, known_campaign, needs

router = APIRouter(route_class=CheckedRoute, tags=["campaigns"], dependencies=[Security(BEARER)])
LEAD = needs("lead")
Name = Annotated[str, Field(min_length=1, max_length=200)]
Text = Annotated[str, Field(max_length=100_000)]


class NewCampaign(Body):
    """setup: any of the choices that GET /campaigns/{campaign}/setup lists."""

    name: Name
    criterion: Name = "helpful"
    guidelines: Text = ""
    k: int = Field(4, ge=2, le=9)
    overlap: int = Field(1, ge=1, le=100)
    setup: dict = Field({}, max_length=60)


class CampaignChange(Body):
    """What to change; left out, a value stays."""

    name: Name | None = None
    criterion: Name | None = None
    guidelines: Text | None = None
    k: int | None = Field(None, ge=2, le=9)
    overlap: int | None = Field(None, ge=1, le=100)
    state: Literal["open", "paused", "closed"] | None = None


class NewMember(Body):
    person: int = Field(ge=1, lt=2**31)


def campaign_view(services: Loop, found: Campaign) -> dict:
    """A campaign as every route shows it; progress: answers that are in and left, pace per hour, expected end."""
    facts = {name: getattr(found, name) for name in ("id", "name", "criterion", "guidelines", "guidelines_version")}
    facts |= {name: getattr(found, name) for name in ("k", "overlap", "policy", "state")}
    how_far = progress(services.database, found.id)
    end = how_far.end.isoformat() if how_far.end else None
    told = {"answers": how_far.answers, "left": how_far.left, "per_hour": how_far.pace, "expected_end": end}
    noticed = alarms(services.database, found.id)
    return facts | {"counts": counts(services.database, found.id), "progress": told, "alarms": noticed}


@router.get("/campaigns", openapi_extra=LEAD)
def list_campaigns(services: Loop) -> list[dict]:
    """Every campaign with its counts, progress and alarms."""
    return [campaign_view(services, found) for found in campaigns(services.database)]


@router.post("/campaigns", status_code=201, openapi_extra=LEAD)
def add_campaign(services: Loop, wish: NewCampaign) -> dict:
    """Create a campaign; its name must be free."""
    made(wish.setup)  # refused before anything is stored
    created = create_campaign(services.database, **wish.model_dump(exclude={"setup"}))
    if wish.setup:
        edit_setup(services.database, created.id, **wish.setup)
    return campaign_view(services, created)


@router.get("/campaigns/{campaign}", openapi_extra=LEAD)
def read_campaign(services: Loop, campaign: str) -> dict:
    """One campaign, by name or id."""
    return campaign_view(services, known_campaign(services, campaign))


@router.patch("/campaigns/{campaign}", openapi_extra=LEAD)
def change_campaign(services: Loop, campaign: str, wish: CampaignChange) -> dict:
    """Edit a campaign; changed guidelines get a new version number. Pause, close and reopen it by its state."""
    found = known_campaign(services, campaign)
    changes = {name: value for name, value in wish.model_dump().items() if value is not None}
    return campaign_view(services, edit_campaign(services.database, found.id, **changes))


@router.get("/campaigns/{campaign}/setup", openapi_extra=LEAD)
def read_setup(services: Loop, campaign: str) -> dict:
    """Form, scales, checks, quotas, moderation and every other choice."""
    return asdict(setup(services.database, known_campaign(services, campaign).id))


@router.patch("/campaigns/{campaign}/setup", openapi_extra=LEAD)
def change_setup(services: Loop, campaign: str, wish: dict) -> dict:
    """Change some choices; 422 names the field that is wrong, and nothing is stored then."""
    wish.pop("consent_version", None)  # counted by the text itself
    return asdict(edit_setup(services.database, known_campaign(services, campaign).id, **wish))


@router.get("/campaigns/{campaign}/guidelines", openapi_extra=LEAD)
def read_guidelines(services: Loop, campaign: str) -> list[dict]:
    """Every version of the guidelines, newest last; answers carry the version they were given under."""
    rows = guidelines_history(services.database, known_campaign(services, campaign).id)
    return [{"version": version, "guidelines": text, "since": since.isoformat()} for version, text, since in rows]


@router.get("/campaigns/{campaign}/members", openapi_extra=LEAD)
def list_members(services: Loop, campaign: str) -> list[dict]:
    """The campaign's members by name."""
    return _members(services, known_campaign(services, campaign).id)


@router.post("/campaigns/{campaign}/members", status_code=201, openapi_extra=LEAD)
def add_member(services: Loop, who: Who, campaign: str, wish: NewMember) -> list[dict]:
    """Make somebody a member; again changes nothing."""
    found = known_campaign(services, campaign)
    members.add_member(services.database, found.id, known_person(services, wish.person).id, who.id)
    return _members(services, found.id)


@router.delete("/campaigns/{campaign}/members/{person_id}", openapi_extra=LEAD)
def remove_member(services: Loop, who: Who, campaign: str, person_id: int) -> list[dict]:
    """Take somebody out; their answers stay."""
    found = known_campaign(services, campaign)
    members.remove_member(services.database, found.id, known_person(services, person_id).id, who.id)
    return _members(services, found.id)


def known_person(services: Loop, person_id: int) -> Person:
    """The person of that id, or 404."""
    found = person(services.database, person_id) if 0 < person_id < 2**31 else None
    if found is None:
        raise fault(404, "person", person_id, "the id of a person")
    return found


def _members(services: Loop, campaign_id: int) -> list[dict]:
    found = members.members(services.database, campaign_id)
    return [{"id": one.id, "name": one.name, "role": one.role, "kind": one.kind} for one in found]
