"""Signing in with Hugging Face on a Space: OpenID Connect's authorization code flow with state, nonce and PKCE.

Offered only where the Space has an OAuth client. Who may come in, and as what, is listed in the settings by user
name and organisation; nobody else gets an account. The provider is asked over TLS with a code that only we can use
(RFC 7636), and its answer to that request is what counts: no header and nothing in the browser's address is trusted.
An ID token that comes straight from the token endpoint over TLS needs no check of its signature (OpenID Connect Core
1.0, 3.1.3.7, 6); its issuer, audience, age and nonce are checked, and the profile has to be of the same subject.
"""

import base64
import hashlib
import hmac
import json
import secrets
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlencode, urlsplit

import httpx
from itsdangerous import BadSignature
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from storage import people
from storage.records import ROLES
from ui.auth import Auth
from ui.plain_pages import local_path, refusal
from ui.settings import HubApp

FLOW_COOKIE, FLOW_SECONDS = "rankloop_hub", 600
CALLBACK = "/login/callback"
CLOCK_SKEW = 60  # seconds that the provider's clock may differ
ENDPOINTS = ("authorization_endpoint", "token_endpoint", "userinfo_endpoint")


class HubRefused(Exception):
    """Somebody cannot sign in this way: the sentence they are told."""


@dataclass(frozen=True)
class Profile:
    """Whom the provider vouches for. Names are handles, which are unique; display names prove nothing."""

    subject: str
    name: str
    organisations: frozenset[str]


class HubSignIn:
    """The flow for one provider and one list of people per role. Remembers used states, so that none works twice."""

    def __init__(self, auth: Auth, app: HubApp, roles: Mapping[str, str]):
        self.auth, self.app, self.roles = auth, app, {role: listed(text) for role, text in roles.items()}
        self._discovered: dict | None = None
        self._used: dict[str, float] = {}
        self._lock = threading.Lock()

    def routes(self) -> list[Route]:
        """Away to the provider, and back."""
        return [Route("/login/hub", self.leave), Route(CALLBACK, self.come_back)]

    async def leave(self, request: Request) -> Response:
        """To the provider, with a cookie that only this browser has."""
        flow = {name: secrets.token_urlsafe(32) for name in ("state", "nonce", "verifier")}
        challenge = hashlib.sha256(flow["verifier"].encode()).digest()
        asked = {
            "client_id": self.app.client_id, "redirect_uri": self.callback(request), "scope": self.app.scopes,
            "response_type": "code", "state": flow["state"], "nonce": flow["nonce"],
            "code_challenge": unpadded(challenge), "code_challenge_method": "S256",
        }  # fmt: skip
        try:
            address = (await self.provider())["authorization_endpoint"]
        except HubRefused as problem:
            return refusal("Sign in", str(problem), 502)
        flow["next"] = local_path(request.query_params.get("next", ""))
        response = RedirectResponse(f"{address}?{urlencode(asked)}", 303)
        value = self.auth.short_lived.dumps(flow)
        return self.auth.set_cookie(response, request, FLOW_COOKIE, value, FLOW_SECONDS)

    async def come_back(self, request: Request) -> Response:
        """From the provider: sign in, or say why not. The cookie is used up either way."""
        try:
            flow = self.flow_of(request)
            profile = await self.profile(request, flow)
            role = self.role_of(profile)
            person = await run_in_threadpool(self.account, profile, role)
            response = RedirectResponse(flow["next"], 303)
            response = await run_in_threadpool(self.auth.sign_in, response, request, person, "hub")
        except HubRefused as problem:
            response = refusal("Sign in", str(problem), 403)
        return self.auth.set_cookie(response, request, FLOW_COOKIE, "", 0)

    def account(self, profile: Profile, role: str):
        """The profile's account. Raises HubRefused where it is deactivated."""
        person = people.person_of_hub(self.auth.services.database, "huggingface", profile.subject, profile.name, role)
        if not person.active:
            raise HubRefused("Your account here is deactivated. Ask your team's admin.")
        return person

    def callback(self, request: Request) -> str:
        """Our own address of the way back, as it is registered with the provider."""
        return self.auth.address(request) + CALLBACK

    def flow_of(self, request: Request) -> dict:
        """What this browser left with, if the answer belongs to it and is the first. Raises HubRefused."""
        try:
            flow = self.auth.short_lived.loads(request.cookies.get(FLOW_COOKIE, ""), max_age=FLOW_SECONDS)
        except BadSignature:
            raise HubRefused("This sign-in was not begun in this browser, or too long ago. Start again.") from None
        if not hmac.compare_digest(flow["state"].encode(), request.query_params.get("state", "").encode()):
            raise HubRefused("This answer does not belong to the sign-in of this browser. Start again.")
        with self._lock:
            self._used = {state: until for state, until in self._used.items() if until > time.time()}
            if flow["state"] in self._used:
                raise HubRefused("This sign-in was completed already. Start again.")
            self._used[flow["state"]] = time.time() + FLOW_SECONDS
        return flow

    async def profile(self, request: Request, flow: Mapping) -> Profile:
        """Whom the code stands for. Raises HubRefused."""
        if "code" not in request.query_params:
            raise HubRefused("Hugging Face did not confirm the sign-in. Start again, and allow it there.")
        provider = await self.provider()
        asked = {
            "grant_type": "authorization_code", "code": request.query_params["code"],
            "redirect_uri": self.callback(request), "code_verifier": flow["verifier"], "client_id": self.app.client_id,
        }  # fmt: skip
        identity = httpx.BasicAuth(self.app.client_id, self.app.client_secret)
        tokens = await fetched("POST", provider["token_endpoint"], data=asked, auth=identity)
        claims = self.checked_claims(tokens.get("id_token"), provider["issuer"], flow["nonce"])
        bearer = {"authorization": f"Bearer {tokens.get('access_token', '')}"}
        told = await fetched("GET", provider["userinfo_endpoint"], headers=bearer)
        if not told.get("sub") or told["sub"] != claims["sub"]:
            raise HubRefused("Hugging Face answered about another account than the one that signed in. Start again.")
        return profile_of(told)

    def checked_claims(self, id_token: object, issuer: str, nonce: str) -> dict:
        """The claims of the ID token, if it was made by the issuer, for us, for this sign-in, and is not too old."""
        claims = claims_of(id_token)
        audience = claims.get("aud")
        audiences = audience if isinstance(audience, list) else [audience]
        fits = {
            "issuer": claims.get("iss") == issuer,
            "audience": self.app.client_id in audiences and claims.get("azp", self.app.client_id) == self.app.client_id,
            "age": isinstance(claims.get("exp"), int | float) and claims["exp"] > time.time() - CLOCK_SKEW,
            "nonce": hmac.compare_digest(str(claims.get("nonce", "")).encode(), nonce.encode()),
            "subject": bool(claims.get("sub")),
        }
        wrong = [name for name, fit in fits.items() if not fit]
        if wrong:
            raise HubRefused(f"The confirmation by Hugging Face does not fit ({', '.join(wrong)}). Start again.")
        return claims

    def role_of(self, profile: Profile) -> str:
        """The highest role the profile is listed for. Raises HubRefused where it is for none."""
        own = {profile.name.casefold()} | {f"org:{one.casefold()}" for one in profile.organisations}
        for role in reversed(ROLES):
            if own & self.roles.get(role, frozenset()):
                return role
        raise HubRefused(f"The Hugging Face account {profile.name} is not invited here. Ask your team's admin.")

    async def provider(self) -> dict:
        """Where the provider says its endpoints are: read once, over TLS only."""
        if self._discovered is None:
            home = self.app.provider.rstrip("/")
            told = await fetched("GET", f"{safe(home)}/.well-known/openid-configuration")
            if str(told.get("issuer", "")).rstrip("/") != home:
                raise HubRefused(f"Found issuer {told.get('issuer')!r}, expected {home!r}: check OPENID_PROVIDER_URL.")
            self._discovered = {"issuer": told["issuer"]} | {name: safe(str(told.get(name))) for name in ENDPOINTS}
        return self._discovered


def listed(text: str) -> frozenset[str]:
    """`ann, org:team` as a set; handles have no case."""
    return frozenset(one.strip().casefold() for one in text.split(",") if one.strip())


def profile_of(told: Mapping) -> Profile:
    """The profile in an answer of the userinfo endpoint."""
    handle = str(told.get("preferred_username") or "").strip()
    if not handle:
        raise HubRefused("Hugging Face told no user name; the sign-in needs the scope `profile`.")
    organisations = [one for one in told.get("orgs") or () if isinstance(one, Mapping)]
    handles = {str(one["preferred_username"]) for one in organisations if one.get("preferred_username")}
    return Profile(str(told["sub"]), handle, frozenset(handles))


def claims_of(id_token: object) -> dict:
    """What an ID token says; {} where it is none."""
    try:
        body = str(id_token).split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
    except (IndexError, ValueError):
        return {}
    return claims if isinstance(claims, dict) else {}


def safe(address: str) -> str:
    """The address, if nobody can read along: https, or this machine. Raises HubRefused."""
    parts = urlsplit(address)
    if parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in ("127.0.0.1", "localhost", "::1")):
        return address
    raise HubRefused(f"Found the provider's address {address!r}, expected https: check OPENID_PROVIDER_URL.")


async def fetched(method: str, address: str, **sent) -> dict:
    """The JSON object that the provider answers. Raises HubRefused for anything else."""
    try:
        async with httpx.AsyncClient(timeout=10, trust_env=False) as client:
            answer = await client.request(method, address, **sent)
        told = answer.json() if answer.status_code == 200 else None
    except (httpx.HTTPError, ValueError):
        raise HubRefused("Hugging Face cannot be reached. Try again in a minute.") from None
    if not isinstance(told, dict):
        raise HubRefused("Hugging Face refused the sign-in. Start again.")
    return told


def unpadded(data: bytes) -> str:
    """Base64url without padding (RFC 7636)."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
