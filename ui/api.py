"""The HTTP API under /api/v1: the same work as the pages, for programs.

Composes the routers and describes them in /api/v1/openapi.json. Bearer keys or the page's cookie say
who asks; every route names the role it needs. No documentation page: those load scripts from elsewhere.
"""

from fastapi import FastAPI
from starlette.routing import BaseRoute, Mount

from pipeline.services import Services
from ui import (
    api_admin,
    api_annotators,
    api_backends,
    api_campaigns,
    api_leads,
    api_quality,
    api_runs,
    api_tasks,
    api_versions,
)
from ui.answering import Desk
from ui.api_base import ErrorAnswer, handle_errors
from ui.auth import Auth
from ui.run_streams import Streams

PREFIX = "/api/v1"
DESCRIPTION = """Claim tasks and send rankings; for leads also files, runs, versions and reports.

Send `Authorization: Bearer rl_…`. Errors are `{"error": {"field", "found", "expected", "message"}}`:
400 not JSON, 401 no key, 403 role too low, 404 unknown, 409 in conflict with what is stored, 413 too large,
422 a wrong value. `x-role` in each operation is the role it needs; `x-max-bytes` the largest body."""


def application(services: Services, auth: Auth, desk: Desk | None = None) -> FastAPI:
    """The API as an app of its own, to be mounted at PREFIX."""
    errors = {code: {"model": ErrorAnswer} for code in (400, 401, 403, 404, 409, 413, 422)}
    api = FastAPI(
        title="RankLoop", version="1", description=DESCRIPTION, docs_url=None, redoc_url=None, responses=errors
    )
    api.state.services, api.state.auth, api.state.desk = services, auth, desk or Desk(services)
    api.state.streams = Streams(services)
    handle_errors(api)
    parts = (api_annotators, api_campaigns, api_tasks, api_quality, api_leads, api_runs, api_backends, api_versions)
    for part in (*parts, api_admin):
        api.include_router(part.router)
    return api


def routes(services: Services, auth: Auth, desk: Desk | None = None) -> list[BaseRoute]:
    """What the server adds to its own routes. desk: the one that the annotators' page has too."""
    return [Mount(PREFIX, application(services, auth, desk))]
