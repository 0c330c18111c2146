"""Runs over HTTP: start, list, read, cancel, and follow one live by server-sent events."""

from typing import Annotated

from anyio import to_thread
from fastapi import APIRouter, Header, HTTPException, Query, Request, Response, Security
from fastapi.responses import StreamingResponse
from pydantic import Field

from pipeline import run_life
from pipeline.launch import WITHOUT_CAMPAIGN, launch
from pipeline.preflight import as_json, preflight
from storage import run_marks
from ui.api_base import BEARER, Body, CheckedRoute, Loop, Who, known_campaign, known_run, needs
from ui.auth import SCOPE_KEY
from ui.run_view import Filters, curve_rows, detail, matching, summary

router = APIRouter(route_class=CheckedRoute, tags=["runs"], dependencies=[Security(BEARER)])
LEAD = needs("lead")


PRICE = "dollars that the lead agreed to at most, where the backend has a price; starts after a lost machine count"


class NewRun(Body):
    """options, models and resources as in `python app.py train`; what is left out has its default."""

    kind: str = Field(max_length=40)
    campaign: str | None = Field(None, max_length=200)
    options: dict[str, float | int | str | bool] = Field({}, max_length=100)
    models: dict[str, str] = Field({}, max_length=10, description="version names by place: policy, against, reward")
    resources: dict[str, int | str] = Field({}, max_length=10, description="backend, hardware, processes, limits")
    confirmed_cost: float | None = Field(None, ge=0, le=1e6, description=PRICE)


class Resumed(Body):
    """Another time limit, and the price that was agreed to."""

    timeout_minutes: int | None = Field(None, ge=0, le=60 * 24 * 30)
    confirmed_cost: float | None = Field(None, ge=0, le=1e6, description=PRICE)


class Again(Body):
    """Options and resources that differ from the first run's."""

    options: dict[str, float | int | str | bool] = Field({}, max_length=100)
    resources: dict[str, int | str] = Field({}, max_length=10)
    confirmed_cost: float | None = Field(None, ge=0, le=1e6, description=PRICE)


class Marks(Body):
    note: str | None = Field(None, max_length=4000)
    tags: list[str] | None = Field(None, max_length=20)
    priority: float | None = Field(None, ge=-1e6, le=1e6)


@router.get("/runs", openapi_extra=LEAD)
def list_runs(
    services: Loop,
    kind: str | None = None,
    campaign: str | None = None,
    state: str | None = None,
    tag: Annotated[str, Query(max_length=80)] = "",
    search: Annotated[str, Query(max_length=200)] = "",
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> list[dict]:
    """Runs, newest first; search looks in ids, notes and tags."""
    name = known_campaign(services, campaign).name if campaign is not None else None
    found = matching(services, Filters(search, state, kind, name, tag))
    return [summary(services, one) for one in found[:limit]]


@router.get("/runs/events", openapi_extra=LEAD, response_class=StreamingResponse)
async def follow_runs(
    request: Request,
    services: Loop,
    run: Annotated[str, Query(max_length=80)] = "",
    after: Annotated[int, Query(ge=0, lt=2**60)] = 0,
    last_event_id: Annotated[str | None, Header()] = None,
):
    """The events of one run, and `runs` ({changes, going}) when any run changes: all that the page shows live.

    Goes on after the run's end. changes grows with every change; going: how far each unfinished run is.
    """
    if run:
        await to_thread.run_sync(known_run, services, run)
    return _streamed(request, run, _known(after, last_event_id), whole_list=True)


@router.post("/runs", status_code=201, openapi_extra=LEAD)
def start_run(services: Loop, who: Who, wish: NewRun) -> dict:
    """Queue a run and return at once; 409 where models or data are missing, saying which, and 422 for a price that
    nobody agreed to."""
    anywhere = wish.kind in WITHOUT_CAMPAIGN and wish.campaign is None
    campaign_id = None if anywhere else known_campaign(services, wish.campaign).id
    place, price = wish.resources, wish.confirmed_cost
    started = launch(services, wish.kind, campaign_id, wish.options, wish.models, who.id, place, price)
    return summary(services, started)


@router.post("/runs/preflight", openapi_extra=LEAD)
def look_before(services: Loop, wish: NewRun) -> dict:
    """What starting this run now would meet: {"ready", "findings": [{"level", "about", "said"}]}; starts nothing."""
    campaign_id = known_campaign(services, wish.campaign).id if wish.campaign is not None else None
    return as_json(preflight(services, wish.kind, campaign_id, wish.options, wish.models, wish.resources))


@router.get("/runs/{run_id}", openapi_extra=LEAD)
def read_run(services: Loop, run_id: str) -> dict:
    """One run with its options, models, result and, where it failed, its sentence and the log's end."""
    return detail(services, known_run(services, run_id))


@router.get("/runs/{run_id}/metrics", openapi_extra=LEAD)
def read_metrics(services: Loop, run_id: str, after: Annotated[int, Query(ge=0, lt=2**60)] = 0) -> list[dict]:
    """The metric rows taken in so far but for the first `after`; each has step and time."""
    return curve_rows(services, known_run(services, run_id).id, after)


@router.post("/runs/{run_id}/cancel", openapi_extra=LEAD)
def cancel_run(services: Loop, run_id: str) -> dict:
    """Ask a run to save a checkpoint and end; 409 where it has ended."""
    found = known_run(services, run_id)
    run_life.request_cancel(services, found)
    return summary(services, found)


@router.post("/runs/{run_id}/resume", openapi_extra=LEAD)
def resume_run(services: Loop, who: Who, run_id: str, wish: Resumed | None = None) -> dict:
    """Queue a failed or cancelled run again, from its last checkpoint; 409 where that cannot be."""
    wish, found = wish or Resumed(), known_run(services, run_id)
    return summary(services, run_life.resume(services, found, who.name, wish.timeout_minutes, wish.confirmed_cost))


@router.post("/runs/{run_id}/again", status_code=201, openapi_extra=LEAD)
def run_again(services: Loop, who: Who, run_id: str, wish: Again) -> dict:
    """Start a new run like this one on today's data, with some options changed."""
    found, price = known_run(services, run_id), wish.confirmed_cost
    return summary(services, run_life.again(services, found, wish.options, who.id, wish.resources, price))


@router.patch("/runs/{run_id}", openapi_extra=LEAD)
def mark_run(services: Loop, who: Who, run_id: str, wish: Marks) -> dict:
    """Change the note, the tags or the place in the queue; left out, a value stays."""
    found = known_run(services, run_id)
    if wish.note is not None:
        found = run_marks.set_note(services.database, run_id, wish.note, who.id)
    if wish.tags is not None:
        found = run_marks.set_tags(services.database, run_id, wish.tags, who.id)
    if wish.priority is not None:
        found = run_marks.set_priority(services.database, run_id, wish.priority, who.id)
    return summary(services, found)


@router.delete("/runs/{run_id}", status_code=204, openapi_extra=LEAD)
def delete_run(services: Loop, who: Who, run_id: str) -> Response:
    """Delete an ended run with its files; 409 while something needs what it made."""
    run_life.delete(services, known_run(services, run_id), who.name)
    return Response(status_code=204)


@router.get("/runs/{run_id}/events", openapi_extra=LEAD, response_class=StreamingResponse)
async def follow_run(
    request: Request,
    services: Loop,
    run_id: str,
    after: Annotated[int, Query(ge=0, lt=2**60)] = 0,
    last_event_id: Annotated[str | None, Header()] = None,
):
    """Server-sent events: `rows` ({from, rows}: metric rows from that position), `run` (its summary), `log`, `end`.

    A reconnecting browser sends Last-Event-ID, the number of rows it has, and gets the rest.
    """
    await to_thread.run_sync(known_run, services, run_id)
    return _streamed(request, run_id, _known(after, last_event_id))


def _streamed(request: Request, run_id: str, known: int, whole_list: bool = False) -> StreamingResponse:
    """The answer that goes on while its reader may read it."""

    async def may_still() -> bool:
        try:
            await to_thread.run_sync(request.app.state.auth.require_http, _asked_again(request), "lead")
        except HTTPException:
            return False
        return True

    pieces = request.app.state.streams.follow(run_id, known, may_still, whole_list)
    headers = {"Cache-Control": "no-cache, no-transform", "X-Accel-Buffering": "no"}
    return StreamingResponse(pieces, media_type="text/event-stream", headers=headers)


def _known(after: int, last_event_id: str | None) -> int:
    """How many rows a reader has: what it was told last goes before what it asked for at first."""
    given = last_event_id or ""
    return int(given) if given.isascii() and given.isdecimal() and len(given) < 16 else after


def _asked_again(request: Request) -> Request:
    """The request without what was remembered of its sender, who may have signed out since."""
    return Request({name: value for name, value in request.scope.items() if name != SCOPE_KEY})
