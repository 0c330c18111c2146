"""Stops requests before any page or handler sees them: foreign origins, anonymous visitors, pages above one's role.

Pure ASGI around the whole app, so that Gradio's own routes are covered too. It is the outer wall only: handlers
and routes still ask `auth.require` themselves. It never trusts an address.
"""

import threading
from collections import OrderedDict
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from urllib.parse import quote, urlsplit

from gradio.route_utils import CustomCORSMiddleware
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from storage.records import Person
from ui.auth import Auth

PUBLIC = ("/login", "/login/hub", "/login/callback", "/join", "/password", "/logout", "/healthz", "/favicon.ico")
PUBLIC += ("/robots.txt", "/theme.css")
PUBLIC += ("/gradio_api/theme.css", "/gradio_api/startup-events")  # the second is asked by launch() itself
PUBLIC_FOLDERS = ("/vendor/", "/assets/", "/static/", "/api/v1/")  # program files, and the API, which asks itself
WHOLE_APP = (
    "/config",
    "/gradio_api/info",
    "/gradio_api/openapi.json",
    "/openapi.json",
)  # every page, unless one is named
CLOSED = (
    "/login/",  # Gradio's own, which knows no accounts; ours lie before it
    "/monitoring",
    "/gradio_api/mcp",
    "/gradio_api/runs",
    "/gradio_api/run-history",
    "/gradio_api/dev",
    "/svelte/",
)
CLOSED_TOO = ("/gradio_api/vibe", "/gradio_api/undo-vibe", "/gradio_api/deep_link", "/gradio_api/proxy=")
CLOSED_TOO += ("/gradio_api/process_recording", "/gradio_api/stream", "/gradio_api/profiling", "/gradio_api/token")
CLOSED_TOO += ("/gradio_api/custom_component", "/gradio_api/user", "/pwa_icon", "/manifest.json")
FILES = ("/gradio_api/upload", "/gradio_api/file", "/api/v1/imports")  # what leads bring and take away
LARGE_BODIES = ("/gradio_api/upload", "/api/v1/imports")  # files that leads bring
BODY_LIMIT = 4_000_000  # bytes of any other request
SAFE = ("GET", "HEAD", "OPTIONS")
SESSIONS_KEPT = 20_000
POLICY = (  # Gradio needs inline scripts and eval; nothing may come from, or go to, another site
    b"default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:; object-src 'none'; base-uri 'self'; "
    b"form-action 'self'; frame-ancestors 'self' https://huggingface.co"
)
HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"same-origin"),
    (b"content-security-policy", POLICY),
)


class BodyTooLarge(Exception):
    """A request body above the limit of its path."""


class Guard:
    """ASGI middleware. `pages` maps page paths without slashes ("" is the first page) to the role they need."""

    def __init__(self, app: ASGIApp, auth: Auth, pages: Mapping[str, str]):
        self.app, self.auth, self.pages = app, auth, pages
        self.sessions = Sessions()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            return await self.app(scope, receive, send)
        if scope["type"] != "http":  # no web sockets here
            return await send({"type": "websocket.close", "code": 1008})
        request = Request(scope)
        send = with_headers(send)
        refusal = await self.refusal(request)
        if refusal is not None:
            return await refusal(scope, receive, send)
        started = Started(send)
        try:
            await self.app(scope, limited(receive, request), started)
        except BodyTooLarge:
            if not started.begun:
                await PlainTextResponse("The request is too large.", 413)(scope, receive, send)

    async def refusal(self, request: Request) -> Response | None:
        """The answer that ends this request here, or None to let it pass."""
        if foreign(request, self.auth.url):
            return PlainTextResponse("Refused: the request comes from another site.", 403)
        path = request.url.path
        if too_large(request):
            return PlainTextResponse("The request is too large.", 413)
        if path in PUBLIC or path.startswith(PUBLIC_FOLDERS):
            return None
        person = await run_in_threadpool(self.auth.person_of, request)
        if person is None:
            return ask_to_sign_in(request)
        if path.startswith(CLOSED + CLOSED_TOO):
            return PlainTextResponse("Not offered here.", 404)
        if not self.sessions.belong(session_of(request), person):
            return PlainTextResponse("This is somebody else's page.", 403)
        return self.role_refusal(request, person)

    def role_refusal(self, request: Request, person: Person) -> Response | None:
        """A 403 where the path needs more than this person's role."""
        role = self.role_for(request)
        if role is None or person.may(role):
            return None
        return PlainTextResponse(f"This page needs the role {role}; yours is {person.role}.", 403)

    def role_for(self, request: Request) -> str | None:
        """The role that a path needs, or None where any signed-in person may ask (handlers ask again)."""
        path = request.url.path
        if path.startswith(FILES):
            return "lead"
        page = path.strip("/")
        if path.rstrip("/") in WHOLE_APP or page == "":
            page = request.query_params.get("page", "" if page == "" else "*")
            return self.pages.get(page, "admin")
        return self.pages.get(page)


class Started:
    """Passes messages on and remembers whether the answer has begun."""

    def __init__(self, send: Send):
        self.send, self.begun = send, False

    async def __call__(self, message: Message) -> None:
        self.begun = True
        await self.send(message)


class Sessions:
    """Whose each open Gradio page is: the first who listens on it. Nobody else hears what is sent to it."""

    def __init__(self):
        self._owners: OrderedDict[str, int] = OrderedDict()
        self._lock = threading.Lock()

    def belong(self, session: str, person: Person) -> bool:
        """Whether the page is this person's, or nobody's yet. "" is no page and anybody's."""
        if not session:
            return True
        with self._lock:
            owner = self._owners.setdefault(session, person.id)
            self._owners.move_to_end(session)
            if len(self._owners) > SESSIONS_KEPT:
                self._owners.popitem(last=False)
        return owner == person.id


def session_of(request: Request) -> str:
    """The Gradio page that a request listens to, or ""."""
    path = request.url.path
    if path.startswith("/gradio_api/heartbeat/"):
        return path.removeprefix("/gradio_api/heartbeat/").strip("/")
    return request.query_params.get("session_hash", "") if path.startswith("/gradio_api/queue/data") else ""


@asynccontextmanager
async def same_origin_only(app: Starlette) -> AsyncIterator[None]:
    """A lifespan that takes Gradio's CORS middleware out, before the first request.

    It stands before the guard, and on any host but localhost it answers every site's preflight with a yes, for all
    headers and with credentials; our pages need no other site.
    """
    app.user_middleware = [one for one in app.user_middleware if one.cls is not CustomCORSMiddleware]
    app.middleware_stack = None  # built anew by the next request
    yield


def foreign(request: Request, own: str = "") -> bool:
    """Whether a browser sent this from a page of another site. own: the address that people open, if it is known.

    A page's origin has to be the settings' address or the host that was asked for; X-Forwarded-Host counts for
    nothing. A browser that names no origin still says when a form of another site sent the request.
    """
    origin = request.headers.get("origin")
    if origin is None:
        return request.method not in SAFE and request.headers.get("sec-fetch-site") == "cross-site"
    asked, home = urlsplit(origin), urlsplit(own)
    if own and asked.netloc.lower() == home.netloc.lower():
        return asked.scheme != home.scheme
    return not asked.netloc or asked.netloc.lower() != request.headers.get("host", "").lower()


def ask_to_sign_in(request: Request) -> Response:
    """To the sign-in page for somebody who opens a page, 401 for a script."""
    opens_page = request.method in ("GET", "HEAD") and not request.url.path.startswith(("/gradio_api", "/config"))
    if not opens_page:
        return PlainTextResponse("Sign in first.", 401)
    wanted = request.url.path + (f"?{request.url.query}" if request.url.query else "")
    return RedirectResponse("/login" if wanted == "/" else f"/login?next={quote(wanted)}", 303)


def body_limit(request: Request) -> int | None:
    """The bytes a body may have; None where files come in."""
    return None if request.url.path.startswith(LARGE_BODIES) else BODY_LIMIT


def too_large(request: Request) -> bool:
    """Whether the announced length is above the limit."""
    announced, limit = request.headers.get("content-length", ""), body_limit(request)
    return limit is not None and announced.isdigit() and int(announced) > limit


def limited(receive: Receive, request: Request) -> Receive:
    """The receiving side, counting: a body without an announced length ends at the limit too."""
    limit, taken = body_limit(request), 0

    async def counted() -> Message:
        nonlocal taken
        message = await receive()
        taken += len(message.get("body", b""))
        if limit is not None and taken > limit:
            raise BodyTooLarge
        return message

    return counted


def with_headers(send: Send) -> Send:
    """The sending side, adding what keeps browsers careful: no sniffing, no foreign frames, no leaking addresses."""

    async def careful(message: Message) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*message.get("headers", []), *HEADERS]}
        await send(message)

    return careful
