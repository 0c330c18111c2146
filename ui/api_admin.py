"""The People page's part of the HTTP API: people, roles, invitations, passwords, API keys, erasure."""

from typing import Annotated, Literal

from fastapi import APIRouter, Request, Response, Security
from pydantic import Field

from pipeline.holdings import holdings
from pipeline.services import Services
from storage import api_keys, erasure
from storage.invitations import Invitation, create_invitation, open_invitations, revoke_invitation
from storage.passwords import create_password_link
from storage.people import (
    accounts,
    bump_session_epoch,
    create_person,
    find_or_create,
    person,
    set_active,
    set_role,
)
from storage.records import Person
from ui.api_base import BEARER, Body, CheckedRoute, Loop, Who, fault, known_campaign, needs
from ui.auth import Auth

router = APIRouter(route_class=CheckedRoute, tags=["admins"], dependencies=[Security(BEARER)])
ADMIN, LEAD = needs("admin"), needs("lead")
Role = Literal["annotator", "reviewer", "lead", "admin"]
Name = Annotated[str, Field(min_length=1, max_length=200)]


class NewPerson(Body):
    """kind `simulated` returns the one of that name where it is there already."""

    name: Name
    role: Role = "annotator"
    password: str | None = Field(None, min_length=8, max_length=200)
    kind: Literal["person", "simulated"] = "person"


class RoleChange(Body):
    role: Role


class NewInvitation(Body):
    role: Role = "annotator"
    hours: int = Field(168, ge=1, le=8760)
    uses: int = Field(1, ge=1, le=1000)
    campaign: str | None = Field(None, max_length=200)


class StateChange(Body):
    active: bool


class Erasing(Body):
    """name: the person's, to be sure; keep_answers: under "erased-N", without a link to the person."""

    name: str = Field(max_length=200)
    keep_answers: bool = False


class NewKey(Body):
    label: str = Field("", max_length=200)


def person_view(found: Person) -> dict:
    names = ("id", "name", "role", "kind", "active")
    return {name: getattr(found, name) for name in names}


def known_person(services: Services, person_id: int) -> Person:
    found = person(services.database, person_id)
    if found is None:
        raise fault(404, "person", person_id, "the id of a person; GET /people lists them")
    return found


@router.get("/people", openapi_extra=ADMIN)
def list_people(services: Loop) -> list[dict]:
    """Everybody, with answers, campaigns (ids) and when they were last seen."""
    return [
        person_view(one.person)
        | {"answers": one.answers, "campaigns": list(one.campaigns), "seen": one.seen and one.seen.isoformat()}
        for one in accounts(services.database)
    ]


@router.post("/people", status_code=201, openapi_extra=ADMIN)
def add_person(services: Loop, wish: NewPerson) -> dict:
    """Create a person; 409 where the name is taken."""
    if wish.kind == "simulated":
        return person_view(find_or_create(services.database, wish.name, "simulated", wish.role))
    return person_view(create_person(services.database, wish.name, wish.role, wish.password))


@router.post("/people/{person_id}/role", openapi_extra=ADMIN)
def change_role(services: Loop, who: Who, person_id: int, wish: RoleChange) -> dict:
    """Change a role; nobody takes their own admin role away, so that one admin stays."""
    found = known_person(services, person_id)
    if found.id == who.id and wish.role != "admin":
        raise fault(409, "role", wish.role, "admin for yourself; ask another admin to change yours")
    set_role(services.database, found.id, wish.role)
    return person_view(known_person(services, person_id))


@router.post("/people/{person_id}/sign-out", status_code=204, openapi_extra=ADMIN)
def sign_out(services: Loop, person_id: int) -> Response:
    """End every browser session of the person; API keys stay."""
    bump_session_epoch(services.database, known_person(services, person_id).id)
    return Response(status_code=204)


@router.post("/people/{person_id}/state", openapi_extra=ADMIN)
def change_state(services: Loop, who: Who, person_id: int, wish: StateChange) -> dict:
    """Deactivate an account, or let it in again; nobody deactivates themselves."""
    found = known_person(services, person_id)
    if found.id == who.id and not wish.active:
        raise fault(409, "active", wish.active, "true for yourself; ask another admin to deactivate you")
    return person_view(set_active(services.database, found.id, wish.active, who.id))


@router.post("/people/{person_id}/password-link", status_code=201, openapi_extra=ADMIN)
def make_password_link(request: Request, services: Loop, who: Who, person_id: int) -> dict:
    """A link with which the person sets a password, once, within 48 hours; shown here only."""
    token = create_password_link(services.database, known_person(services, person_id).id, who.id)
    return {"link": f"{address(request)}/password?token={token}"}


@router.get("/people/{person_id}/holdings", openapi_extra=ADMIN)
def list_holdings(services: Loop, person_id: int) -> dict:
    """The runs, model versions and backups that hold the person's answers: what an erasure does not reach."""
    return holdings(services, known_person(services, person_id).id)


@router.post("/people/{person_id}/erase", openapi_extra=ADMIN)
def erase(services: Loop, who: Who, person_id: int, wish: Erasing) -> dict:
    """Rewrite database and journal without the person; says what still holds their answers. 409 for yourself."""
    found = known_person(services, person_id)
    if found.id == who.id:
        raise fault(409, "person", person_id, "somebody else; ask another admin to erase you")
    if wish.name != found.name:
        raise fault(422, "name", wish.name, "the name of the person, to be sure")
    held = holdings(services, found.id)
    done = erasure.erase(services.database, found.id, wish.keep_answers, who.id)
    return {"answers": done.answers, "kept_as": done.kept_as, "holdings": held}


@router.get("/invitations", openapi_extra=LEAD)
def list_invitations(services: Loop, who: Who) -> list[dict]:
    """Open invitations: all for an admin, a lead's own."""
    return [invitation_view(one) for one in open_invitations(services.database) if mine(one, who)]


@router.post("/invitations", status_code=201, openapi_extra=LEAD)
def invite(request: Request, services: Loop, who: Who, wish: NewInvitation) -> dict:
    """An invitation link; its token is shown here only. Leads invite annotators."""
    if wish.role != "annotator" and not who.may("admin"):
        raise fault(403, "role", wish.role, "annotator, which leads may invite; ask an admin for others")
    campaign_id = known_campaign(services, wish.campaign).id if wish.campaign is not None else None
    token = create_invitation(services.database, wish.role, who.id, wish.hours, campaign_id, wish.uses)
    return {"token": token, "link": f"{address(request)}/join?token={token}", "role": wish.role}


@router.delete("/invitations/{invitation_id}", status_code=204, openapi_extra=LEAD)
def remove_invitation(services: Loop, who: Who, invitation_id: str) -> Response:
    """Revoke an open invitation by its id; a lead their own."""
    found = next((one for one in open_invitations(services.database) if one.id == invitation_id), None)
    if found is None or not mine(found, who):
        raise fault(404, "invitation", invitation_id, "the id of an open invitation; GET /invitations lists them")
    revoke_invitation(services.database, found.id, who.id)
    return Response(status_code=204)


def mine(one: Invitation, who: Person) -> bool:
    return who.may("admin") or one.created_by == who.id


def invitation_view(one: Invitation) -> dict:
    names = ("id", "role", "campaign_id", "created_by", "uses", "used")
    return {name: getattr(one, name) for name in names} | {"expires": one.expires.isoformat()}


def address(request: Request) -> str:
    """Where the pages are."""
    auth: Auth = request.app.state.auth
    return auth.address(request)


@router.get("/people/{person_id}/keys", openapi_extra=ADMIN)
def list_keys(services: Loop, person_id: int) -> list[dict]:
    """A person's API keys, without the secret part."""
    keys = api_keys.api_keys(services.database, known_person(services, person_id).id)
    return [
        {
            "id": key.id,
            "label": key.label,
            "created": key.created.isoformat(),
            "used": key.used and key.used.isoformat(),
        }
        for key in keys
    ]


@router.post("/people/{person_id}/keys", status_code=201, openapi_extra=ADMIN)
def add_key(services: Loop, person_id: int, wish: NewKey) -> dict:
    """A new API key; shown once."""
    return {"key": api_keys.create_api_key(services.database, known_person(services, person_id).id, wish.label)}


@router.delete("/keys/{key_id}", status_code=204, openapi_extra=ADMIN)
def remove_key(services: Loop, key_id: int) -> Response:
    """Revoke an API key; requests with it get 401 from now on."""
    api_keys.revoke_api_key(services.database, key_id)
    return Response(status_code=204)
