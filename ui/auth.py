"""Who is asking, and may they: asked first in every handler and route.

A person is known by a signed cookie or by a bearer API key, and by nothing else: not by address, not by what
the page says. The cookie names the person and their session epoch, so that it survives a restart of the server
and ends when the person signs out everywhere. Roles are read from storage at each request. Passwords, keys and
invitations are storage's; the pages to sign in are ui.sign_in's; whole requests are stopped in ui.guard.
"""

import hashlib
import os
import secrets
import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable
from pathlib import Path

import gradio as gr
from itsdangerous import BadSignature, URLSafeTimedSerializer
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from pipeline.services import Services
from storage import api_keys, people
from storage.records import Person

COOKIE = "rankloop_session"
WHO_COOKIE = "rankloop_person"  # tells the board's script whose answers it keeps; proves nothing
SESSION_SECONDS = 30 * 24 * 3600
HUB_SESSION_SECONDS = 24 * 3600  # then the Hub is asked again whether somebody may still come in
OPERATOR = "admin"  # the account that the one-time link signs in
SCOPE_KEY = "rankloop.person"  # where one request remembers who sent it


class Auth:
    """Knows people by cookie or key, for one data folder. Holds the unused one-time tokens, in memory only.

    url is the address that people open, where it is known; framed says that pages stand in the frame of another
    site, as on a Space: the cookie then has to travel into it.
    """

    def __init__(self, services: Services, secret: str, url: str = "", framed: bool = False):
        self.services, self.url, self.framed = services, url.rstrip("/"), framed
        self.signer = URLSafeTimedSerializer(secret, salt="rankloop-session")
        self.short_lived = URLSafeTimedSerializer(secret, salt="rankloop-hub-sign-in")
        self.failures_by_name, self.failures_by_address = Attempts(8), Attempts(40)
        self._tokens: set[str] = set()
        self._lock = threading.Lock()

    def person_of(self, request: Request | gr.Request) -> Person | None:
        """The person who sent this request, or None. Looked up once per request."""
        scope = plain_request(request).scope
        if SCOPE_KEY not in scope:
            scope[SCOPE_KEY] = self._look_up(plain_request(request))
        return scope[SCOPE_KEY]

    def _look_up(self, request: Request) -> Person | None:
        scheme, _, key = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            return api_keys.person_by_api_key(self.services.database, key.strip())
        return self.person_of_cookie(request.cookies.get(COOKIE, ""))

    def person_of_cookie(self, cookie: str) -> Person | None:
        """The person a session cookie was made for, while it is signed by us, young enough, not signed out, and the
        account is active."""
        try:
            session, made = self.signer.loads(cookie, max_age=SESSION_SECONDS, return_timestamp=True)
            person_id, epoch = int(session["person"]), int(session["epoch"])
        except (BadSignature, KeyError, TypeError, ValueError):
            return None
        if session.get("hub") and time.time() - made.timestamp() > HUB_SESSION_SECONDS:
            return None
        person = people.person(self.services.database, person_id)
        if person is None or not person.active or people.session_epoch(self.services.database, person_id) != epoch:
            return None
        return person

    def require(self, request: gr.Request, role: str) -> Person:
        """The person, if they may do what `role` may. Raises gr.Error: the first line of every Gradio handler."""
        person = self.person_of(request)
        if person is None:
            raise gr.Error("You are signed out. Please sign in again.", print_exception=False)
        if not person.may(role):
            raise gr.Error(f"This needs the role {role}; yours is {person.role}.", print_exception=False)
        return person

    def require_http(self, request: Request, role: str) -> Person:
        """The same for plain routes. Raises HTTPException 401 for nobody, 403 for a role that is too small."""
        person = self.person_of(request)
        if person is None:
            raise HTTPException(401, "Sign in, or send an API key as `Authorization: Bearer rl_…`.")
        if not person.may(role):
            raise HTTPException(403, f"This needs the role {role}; yours is {person.role}.")
        return person

    def username(self, request: Request) -> str | None:
        """What Gradio is told about the sender: the person's id. Gradio refuses its routes to None."""
        person = self.person_of(request)
        return str(person.id) if person else None

    def sign_in(self, response: Response, request: Request, person: Person, way: str = "password") -> Response:
        """The response with a session cookie for the person; way: password, link, invitation or hub."""
        epoch = people.session_epoch(self.services.database, person.id)
        session = {"person": person.id, "epoch": epoch} | ({"hub": 1} if way == "hub" else {})
        lasts = HUB_SESSION_SECONDS if way == "hub" else SESSION_SECONDS
        people.note_sign_in(self.services.database, person.id, way)
        response = self.set_cookie(response, request, COOKIE, self.signer.dumps(session), lasts)
        return self.set_cookie(response, request, WHO_COOKIE, self.browser_key(person.id), lasts, secret=False)

    def sign_out(self, response: Response, request: Request) -> Response:
        """The response that takes the cookies away."""
        response = self.set_cookie(response, request, COOKIE, "", 0)
        return self.set_cookie(response, request, WHO_COOKIE, "", 0, secret=False)

    def browser_key(self, person_id: int) -> str:
        """Under which name a browser keeps a person's unsent answers: another for each person and installation."""
        return digest(f"browser {person_id} {self.signer.secret_key!r}")[:16]

    def set_cookie(
        self, response: Response, request: Request, name: str, value: str, seconds: int, secret: bool = True
    ) -> Response:
        """The response with a cookie, which scripts cannot read while it is secret.

        Lax; on a Space SameSite=None and Secure, and within a frame Partitioned too, because browsers that refuse
        cookies of other sites keep partitioned ones. Other sites then send it along: ui.guard refuses them.
        """
        flags = {"httponly": secret, "secure": over_https(request), "path": "/"}
        framed = self.framed and flags["secure"]
        response.set_cookie(name, value, max_age=seconds, samesite="none" if framed else "lax", **flags)
        if framed and request.headers.get("sec-fetch-dest") == "iframe":
            key, line = response.raw_headers[-1]
            response.raw_headers[-1] = (key, line + b"; Partitioned")
        return response

    def address(self, request: Request) -> str:
        """Scheme and host as people open them: the settings' address, else the one of this request."""
        scheme = "https" if over_https(request) else request.url.scheme
        return self.url or f"{scheme}://{request.headers.get('host', 'localhost')}"

    def sign_out_everywhere(self, person: Person) -> None:
        """End every session of the person, on every device."""
        people.bump_session_epoch(self.services.database, person.id)

    def one_time_link(self, url: str) -> str:
        """A link that signs in the operator, once. Printed where only whoever started the server reads it."""
        token = secrets.token_urlsafe(32)
        self._operator()  # before the first visitor, so that nobody can join under this name
        with self._lock:
            self._tokens.add(digest(token))
        return f"{url.rstrip('/')}/login?token={token}"

    def redeem_one_time(self, token: str) -> Person | None:
        """The operator's account for an unused token, which is then used; None for any other text."""
        with self._lock:
            if digest(token) not in self._tokens:
                return None
            self._tokens.discard(digest(token))
        return self._operator()

    def _operator(self) -> Person:
        found = people.person_by_name(self.services.database, OPERATOR)
        if found is None:
            return people.create_person(self.services.database, OPERATOR, "admin")
        if not found.may("admin"):
            people.set_role(self.services.database, found.id, "admin")
        return people.person(self.services.database, found.id)


class Attempts:
    """Counts failures by key: more than `limit` within `seconds` and the key has to wait."""

    def __init__(self, limit: int, seconds: float = 60.0, clock: Callable[[], float] = time.monotonic):
        self.limit, self.seconds, self.clock = limit, seconds, clock
        self._failures: dict[str, deque[float]] = defaultdict(deque)
        self._lock = threading.Lock()

    def must_wait(self, key: str) -> bool:
        """Whether this key has failed too often lately."""
        with self._lock:
            return len(self._recent(key)) >= self.limit

    def failed(self, key: str) -> None:
        """Count a failure."""
        with self._lock:
            if len(self._failures) > 10_000:
                self._failures.clear()
            self._recent(key).append(self.clock())

    def _recent(self, key: str) -> deque[float]:
        failures = self._failures[key]
        while failures and failures[0] < self.clock() - self.seconds:
            failures.popleft()
        return failures


def plain_request(request: Request | gr.Request) -> Request:
    """Starlette's request inside Gradio's wrapper."""
    return getattr(request, "request", None) or request


def digest(token: str) -> str:
    """What is kept of a token, so that comparing takes the same time whatever was sent."""
    return hashlib.sha256(token.encode()).hexdigest()


def over_https(request: Request) -> bool:
    """Whether the browser speaks https to us, perhaps through a proxy: decides about the sender's own cookie only."""
    return request.headers.get("x-forwarded-proto", request.url.scheme).split(",")[0].strip() == "https"


def secret_of(data: Path, given: str | None = None) -> str:
    """The secret that signs sessions: the given one, else the data folder's own, made at first use, mode 0600."""
    if given:
        return given
    path = Path(data) / "secret"
    try:
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    except FileExistsError:
        return path.read_text().strip()
    with os.fdopen(descriptor, "w") as file:
        file.write(secrets.token_hex(32))
    return path.read_text().strip()
