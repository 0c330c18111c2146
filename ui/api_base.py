"""What every route of the HTTP API shares: who asks, how big a body may be, and one shape of error.

Errors leave as {"error": {"field", "found", "expected", "message"}} with a status code that fits.
Roles are checked before a body is read. Cookie requests from other origins are stopped earlier, by
the guard in `ui.auth`.
"""

import json
from collections.abc import Callable
from typing import Annotated

from anyio import to_thread
from fastapi import Depends, FastAPI, HTTPException, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.routing import APIRoute
from fastapi.security import HTTPBearer
from pydantic import BaseModel, ConfigDict
from starlette.exceptions import HTTPException as StarletteHTTPException

from pipeline.configs import InvalidOption
from pipeline.model_files import UnusableModel
from pipeline.run_life import NotCancellable, NotDeletable
from pipeline.services import Services
from pipeline.snapshot import LaunchRefused
from storage.campaigns import campaign, campaign_by_name, campaigns
from storage.database import StorageInterrupted
from storage.interchange import NotImportable
from storage.invitations import InvitationInvalid
from storage.people import NameTaken
from storage.prompts import clean
from storage.rankings import AlreadyAnswered, CampaignClosed, SubmissionConflict, UnknownAssignment
from storage.records import Campaign, InvalidRecord, Person, Run, shorten
from storage.runs import NotResumable, UnknownRun, run
from storage.versions import VersionExists
from ui.auth import Auth
from ui.task_answer import Refused

JSON_LIMIT = 1 << 20  # bytes of a request body, 1 MiB
IMPORT_LIMIT = 1 << 30  # bytes of an uploaded file, 1 GiB
BEARER = HTTPBearer(auto_error=False, description="An API key from the People page (rl_…).")
STATUS_OF = {
    InvalidRecord: 422,
    InvalidOption: 422,
    LaunchRefused: 409,
    NotCancellable: 409,
    NotDeletable: 409,
    NotResumable: 409,
    UnknownRun: 404,
    NotImportable: 422,
    UnusableModel: 422,
    VersionExists: 409,
    SubmissionConflict: 409,
    AlreadyAnswered: 409,
    NameTaken: 409,
    InvitationInvalid: 404,
    CampaignClosed: 409,
    UnknownAssignment: 404,
    Refused: 422,
    StorageInterrupted: 503,
}


class Body(BaseModel):
    """A request's JSON: unknown keys are refused, so that a typing error is noticed."""

    model_config = ConfigDict(extra="forbid", strict=False)


class Fault(BaseModel):
    """What was wrong with a request."""

    field: str | None = None
    found: str | None = None
    expected: str | None = None
    message: str


class ErrorAnswer(BaseModel):
    error: Fault


def needs(role: str, limit: int = JSON_LIMIT) -> dict:
    """The `openapi_extra` of a route: the role it asks for and the largest body it reads."""
    return {"x-role": role, "x-max-bytes": limit}


class CheckedRoute(APIRoute):
    """Asks who it is before anything else, and stops a body that is too large while it arrives."""

    def get_route_handler(self) -> Callable:
        handle, extra = super().get_route_handler(), self.openapi_extra or {}
        role, limit = extra["x-role"], extra["x-max-bytes"]

        async def checked(request: Request):
            auth: Auth = request.app.state.auth
            request.state.person = await to_thread.run_sync(auth.require_http, request, role)
            return await handle(Request(request.scope, _limited(request, limit)))

        return checked


def _limited(request: Request, limit: int) -> Callable:
    """The request's `receive`, raising 413 past the limit whether or not a length was announced."""
    announced = request.headers.get("content-length", "")
    if announced.isdigit() and int(announced) > limit:
        raise too_large(limit)
    read = 0

    async def receive():
        nonlocal read
        message = await request.receive()
        read += len(message.get("body", b""))
        if read > limit:
            raise too_large(limit)
        return message

    return receive


def too_large(limit: int) -> HTTPException:
    return fault(413, "body", "more", f"at most {limit} bytes")


def fault(status: int, field: str | None, found: object, expected: str) -> HTTPException:
    """An error with the usual three facts."""
    facts = Fault(field=field, found=shorten(found), expected=expected, message="")
    message = f"{field}: found {facts.found}, expected {expected}"
    return HTTPException(status, facts.model_copy(update={"message": message}).model_dump())


def services_of(request: Request) -> Services:
    return request.app.state.services


def person_of(request: Request) -> Person:
    return request.state.person


Loop = Annotated[Services, Depends(services_of)]
Who = Annotated[Person, Depends(person_of)]


def known_campaign(services: Services, name: str | None) -> Campaign:
    """The campaign of that name or id; without one, the only campaign there is."""
    if name is not None:
        found = campaign_by_name(services.database, name)
        if found is None and name.isdecimal() and len(name) < 10:
            found = campaign(services.database, int(name))
        if found is None:
            raise fault(404, "campaign", name, "the name of a campaign")
        return found
    there = campaigns(services.database)
    if len(there) != 1:
        raise fault(422, "campaign", f"{len(there)} campaigns", "the name of one of them")
    return there[0]


def known_run(services: Services, run_id: str) -> Run:
    found = run(services.database, run_id)
    if found is None:
        raise fault(404, "run", run_id, "the id of a run; GET /runs lists them")
    return found


def handle_errors(api: FastAPI) -> None:
    """Give every error of the app the one shape."""
    api.add_exception_handler(StarletteHTTPException, _http_error)
    api.add_exception_handler(RequestValidationError, _invalid_request)
    api.add_exception_handler(Exception, _unforeseen)
    for kind, status in STATUS_OF.items():
        api.add_exception_handler(kind, _refusal(status))


def _answer(status: int, facts: Fault, headers: dict | None = None) -> JSONResponse:
    told = {name: text and clean(text) for name, text in facts.model_dump().items()}
    return JSONResponse({"error": told}, status, headers=headers)


def _http_error(request: Request, error: StarletteHTTPException) -> JSONResponse:
    facts = error.detail if isinstance(error.detail, dict) else {"message": str(error.detail)}
    headers = dict(error.headers or {})
    if error.status_code == 401:
        headers.setdefault("WWW-Authenticate", "Bearer")
    return _answer(error.status_code, Fault(**facts), headers)


def _invalid_request(request: Request, error: RequestValidationError) -> JSONResponse:
    """The first thing wrong; a body that is not JSON at all is 400, a wrong value 422."""
    first = error.errors()[0]
    field = ".".join(str(part) for part in first["loc"][1:]) or str(first["loc"][0])
    found, expected = shorten(_plain(first.get("input"))), first["msg"]
    status = 400 if first["type"] == "json_invalid" else 422
    return _answer(
        status, Fault(field=field, found=found, expected=expected, message=f"{field}: {expected}; found {found}")
    )


def _plain(value: object) -> str:
    try:
        return json.dumps(value, ensure_ascii=False)
    except (TypeError, ValueError):
        return type(value).__name__


def _refusal(status: int) -> Callable:
    def refuse(request: Request, error: Exception) -> JSONResponse:
        facts = {name: getattr(error, name, None) for name in ("field", "found", "expected")}
        return _answer(status, Fault(**facts, message=str(error)))

    return refuse


def _unforeseen(request: Request, error: Exception) -> JSONResponse:
    """The traceback goes to the server's log; the answer says no more than where to look."""
    return _answer(500, Fault(message="The server failed on this request; its log has the traceback."))
