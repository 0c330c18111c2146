"""The admin's part of the HTTP API: people, roles, invitations, API keys."""

from typing import Annotated, Literal

from fastapi import APIRouter, Request, Response, Security
from pydantic import Field

from pipeline.services import Services
from storage.people import (
    api_keys,
    bump_session_epoch,
    create_api_key,
    create_invitation,
    create_person,
    find_or_create,
    people,
    person,
    revoke_api_key,
    set_role,
)
from storage.records import Person
from ui.api_base import BEARER, Body, CheckedRoute, Loop, Who, fault, known_campaign, needs

router = APIRouter(route_class=CheckedRoute, tags=["admins"], dependencies=[Security(BEARER)])
ADMIN = needs("admin")
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


class NewKey(Body):
    label: str = Field("", max_length=200)


def person_view(found: Person) -> dict:
    return {"id": found.id, "name": found.name, "role": found.role, "kind": found.kind}


def known_person(services: Services, person_id: int) -> Person:
    found = person(services.database, person_id)
    if found is None:
        raise fault(404, "person", person_id, "the id of a person; GET /people lists them")
    return found


@router.get("/people", openapi_extra=ADMIN)
def list_people(services: Loop) -> list[dict]:
    return [person_view(found) for found in people(services.database)]


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


@router.post("/invitations", status_code=201, openapi_extra=ADMIN)
def invite(request: Request, services: Loop, who: Who, wish: NewInvitation) -> dict:
    """An invitation link; its token is shown here only."""
    campaign_id = known_campaign(services, wish.campaign).id if wish.campaign is not None else None
    token = create_invitation(services.database, wish.role, who.id, wish.hours, campaign_id, wish.uses)
    return {"token": token, "link": invitation_link(str(request.base_url), token), "role": wish.role}


def invitation_link(base_url: str, token: str) -> str:
    """Where the invited person opens the page; base_url may end in the API's own path."""
    root = base_url.rstrip("/").removesuffix("/api/v1")
    return f"{root}/join?token={token}"


@router.get("/people/{person_id}/keys", openapi_extra=ADMIN)
def list_keys(services: Loop, person_id: int) -> list[dict]:
    """A person's API keys, without the secret part."""
    keys = api_keys(services.database, known_person(services, person_id).id)
    return [{"id": key.id, "label": key.label, "created": key.created.isoformat()} for key in keys]


@router.post("/people/{person_id}/keys", status_code=201, openapi_extra=ADMIN)
def add_key(services: Loop, person_id: int, wish: NewKey) -> dict:
    """A new API key; shown once."""
    return {"key": create_api_key(services.database, known_person(services, person_id).id, wish.label)}


@router.delete("/keys/{key_id}", status_code=204, openapi_extra=ADMIN)
def remove_key(services: Loop, key_id: int) -> Response:
    """Revoke an API key; requests with it get 401 from now on."""
    revoke_api_key(services.database, key_id)
    return Response(status_code=204)
