"""Runs over HTTP: start, list, read, cancel, and follow one live by server-sent events."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Annotated

from anyio import to_thread
from fastapi import APIRouter, Header, Query, Request, Security
from fastapi.responses import StreamingResponse
from pydantic import Field

from pipeline.launch import launch
from pipeline.services import Services
from storage.records import ENDED_STATES
from storage.runs import metrics_offset, run, runs
from ui.api_base import BEARER, Body, CheckedRoute, Loop, Who, known_campaign, known_run, needs
from ui.auth import SCOPE_KEY
from ui.run_view import curve_rows, detail, request_cancel, summary

router = APIRouter(route_class=CheckedRoute, tags=["runs"], dependencies=[Security(BEARER)])
LEAD = needs("lead")
LOOK_EVERY = 1.0  # seconds between two looks at storage
HEARTBEAT_EVERY = 10  # looks without news until a comment keeps the connection open and the role is asked again


class NewRun(Body):
    """options and models as in `python app.py train`; what is left out has its default."""

    kind: str = Field(max_length=40)
    campaign: str | None = Field(None, max_length=200)
    options: dict[str, float | int | str] = Field({}, max_length=100)
    models: dict[str, str] = Field({}, max_length=10, description="version names by place: policy, against, reward")


@router.get("/runs", openapi_extra=LEAD)
def list_runs(
    services: Loop,
    kind: str | None = None,
    campaign: str | None = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> list[dict]:
    """Runs, newest first."""
    campaign_id = known_campaign(services, campaign).id if campaign is not None else None
    return [summary(services, found) for found in runs(services.database, kind, campaign_id, limit)]


@router.post("/runs", status_code=201, openapi_extra=LEAD)
def start_run(services: Loop, who: Who, wish: NewRun) -> dict:
    """Queue a run and return at once; 409 where models or data are missing, saying which."""
    anywhere = wish.kind == "starter" and wish.campaign is None
    campaign_id = None if anywhere else known_campaign(services, wish.campaign).id
    started = launch(services, wish.kind, campaign_id, wish.options, wish.models, who.id)
    return summary(services, started)


@router.get("/runs/{run_id}", openapi_extra=LEAD)
def read_run(services: Loop, run_id: str) -> dict:
    """One run with its options, models, result and, where it failed, its sentence and the log's end."""
    return detail(services, known_run(services, run_id))


@router.get("/runs/{run_id}/metrics", openapi_extra=LEAD)
def read_metrics(services: Loop, run_id: str) -> list[dict]:
    """Every metric row taken in so far; each has step and time."""
    return curve_rows(services, known_run(services, run_id).id)


@router.post("/runs/{run_id}/cancel", openapi_extra=LEAD)
def cancel_run(services: Loop, run_id: str) -> dict:
    """Ask a run to save a checkpoint and end; 409 where it has ended."""
    found = known_run(services, run_id)
    request_cancel(services, found)
    return summary(services, found)


@router.get("/runs/{run_id}/events", openapi_extra=LEAD, response_class=StreamingResponse)
async def follow_run(
    request: Request,
    services: Loop,
    run_id: str,
    after: Annotated[int, Query(ge=0)] = 0,
    last_event_id: Annotated[str | None, Header()] = None,
):
    """Server-sent events: `rows` ({from, rows}: metric rows from that position), `run` (its summary), `end`.

    A reconnecting browser sends Last-Event-ID, the number of rows it has, and gets the rest.
    """
    await to_thread.run_sync(known_run, services, run_id)
    known = int(last_event_id) if last_event_id and last_event_id.isdecimal() else after
    headers = {"Cache-Control": "no-cache, no-transform", "X-Accel-Buffering": "no"}
    return StreamingResponse(events(request, services, run_id, known), media_type="text/event-stream", headers=headers)


async def events(request: Request, services: Services, run_id: str, known: int) -> AsyncIterator[str]:
    """The stream's pieces until the run has ended, the reader has gone or may no longer read."""
    offset, told, quiet = -1, None, 0
    while True:
        rows, offset, view = await to_thread.run_sync(look, services, run_id, known, offset)
        quiet += 1
        if rows:
            yield event("rows", {"from": known, "rows": rows}, known + len(rows))
            known, quiet = known + len(rows), 0
        if (news := _without_clock(view)) != told:
            yield event("run", view)
            told, quiet = news, 0
        if view["state"] in ENDED_STATES:
            yield event("end", {"state": view["state"]})
            return
        if quiet >= HEARTBEAT_EVERY:
            await to_thread.run_sync(request.app.state.auth.require_http, _asked_again(request), "lead")
            yield ": still here\n\n"
            quiet = 0
        await asyncio.sleep(LOOK_EVERY)


def look(services: Services, run_id: str, known: int, offset: int) -> tuple[list[dict], int, dict]:
    """Rows after the known ones (read only when bytes came in), the new offset, and the run's summary.

    The state is read first: rows that came in before it was `succeeded` are then in the same look.
    """
    found = run(services.database, run_id)
    now = metrics_offset(services.database, run_id)
    rows = curve_rows(services, run_id)[known:] if now != offset else []
    return rows, now, summary(services, found)


def _asked_again(request: Request) -> Request:
    """The request without what was remembered of its sender, who may have signed out since."""
    return Request({name: value for name, value in request.scope.items() if name != SCOPE_KEY})


def _without_clock(view: dict) -> dict:
    """What makes a summary news; the clock runs in the browser too."""
    return {name: value for name, value in view.items() if name not in ("elapsed", "remaining")}


def event(name: str, data: dict, number: int | None = None) -> str:
    """One server-sent event; JSON has no raw line breaks, so one data line is enough."""
    identity = f"id: {number}\n" if number is not None else ""
    return f"{identity}event: {name}\ndata: {json.dumps(data, ensure_ascii=False)}\n\n"
