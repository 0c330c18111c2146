"""One shape for the plain routes that the annotators' pages call: POST, JSON both ways, who asks comes first.

Errors leave as {"error": sentence} with 401, 403, 409, 422 or 503. Foreign origins are stopped in ui/guard.py.
"""

import json
from collections.abc import Callable

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from storage.database import StorageInterrupted
from storage.invalid import InvalidRecord
from storage.records import Person
from ui.auth import Auth
from ui.task_answer import Refused


class Conflict(ValueError):
    """What was asked came too late: the text says what stands instead."""


def route(path: str, auth: Auth, role: str, call: Callable[[Person, object], dict]) -> Route:
    """A POST route that answers with what `call` makes of the person and the body."""

    async def on_post(request: Request) -> Response:
        try:
            person = await run_in_threadpool(auth.require_http, request, role)
            sent = parsed(await request.body())
            return reply(await run_in_threadpool(call, person, sent))
        except ClientDisconnect:
            return reply({"error": "the request ended early"}, 400)  # nobody reads it
        except HTTPException as error:
            return reply({"error": str(error.detail)}, error.status_code)
        except Conflict as error:
            return reply({"error": str(error)}, 409)
        except StorageInterrupted as error:
            return reply({"error": str(error)}, 503)
        except (Refused, InvalidRecord) as error:
            return reply({"error": str(error)}, 422)

    return Route(path, on_post, methods=["POST"])


def parsed(body: bytes) -> object:
    """The body as JSON. Raises Refused for what is none, is nested too deep, or holds a number without end."""
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as error:
        raise Refused(f"body: found no JSON ({error}), expected one JSON object") from error


def reply(content: dict, status: int = 200) -> Response:
    """JSON that no cache keeps."""
    return JSONResponse(content, status, headers={"cache-control": "no-store"})
