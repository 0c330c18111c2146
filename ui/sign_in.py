"""The small pages before the workbench: /login, /join, /password and /logout, without Gradio and without scripts.

Handlers read a form, ask storage and answer with a page or a redirect. Failures are counted in memory per name and
per address, to slow guessing down; an address never lets anybody in.
"""

import html
from functools import partial
from urllib.parse import urlencode

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import FileResponse, RedirectResponse, Response
from starlette.routing import Route

from storage import campaigns, people
from storage.invitations import Invitation, InvitationInvalid, invitation, join_with_account, redeem_invitation
from storage.passwords import PasswordLinkInvalid, check_password, person_of_link, redeem_password_link
from storage.people import NameTaken
from storage.records import Person
from ui.auth import Auth
from ui.plain_pages import STATIC, alert, local_path, page, refusal

SHORTEST_PASSWORD, LONGEST_PASSWORD = 8, 200
WAIT = "Too many failed attempts. Please wait a minute."


def routes(auth: Auth, with_hub: bool = False) -> list[Route]:
    """The routes of these pages. with_hub: whether signing in with Hugging Face is offered (ui.hub_sign_in)."""
    return [
        Route("/login", partial(login, auth=auth, with_hub=with_hub), methods=["GET", "POST"]),
        Route("/join", partial(join, auth=auth), methods=["GET", "POST"]),
        Route("/password", partial(new_password, auth=auth), methods=["GET", "POST"]),
        Route("/logout", partial(logout, auth=auth), methods=["GET", "POST"]),
        Route("/favicon.ico", favicon),
    ]


async def login(request: Request, auth: Auth, with_hub: bool = False) -> Response:
    """Sign in by name and password, or by the one-time link that was printed at start."""
    target = local_path(request.query_params.get("next", ""))
    hub = hub_button(request, target) if with_hub else ""
    if request.method == "GET" and "token" in request.query_params:
        return await login_by_link(request, auth)
    if request.method == "GET":
        known = await run_in_threadpool(auth.person_of, request)
        return RedirectResponse(target, 303) if known else login_page(target, hub=hub)
    form = await request.form()
    name, password = str(form.get("name", "")).strip(), str(form.get("password", ""))
    if must_wait(auth, request, name.lower()):
        return login_page(target, WAIT, 429, name, hub)
    person = await run_in_threadpool(check_password, auth.services.database, name, password)
    if person is None:
        failed(auth, request, name.lower())
        return login_page(target, "Name and password do not match.", 401, name, hub)
    return await run_in_threadpool(auth.sign_in, RedirectResponse(target, 303), request, person)


async def login_by_link(request: Request, auth: Auth) -> Response:
    """The operator, once per token."""
    if must_wait(auth, request):
        return login_page("/", WAIT, 429)
    person = await run_in_threadpool(auth.redeem_one_time, request.query_params["token"])
    if person is None:
        failed(auth, request)
        return login_page("/", "This sign-in link was used already, or belongs to an earlier start.", 403)
    return await run_in_threadpool(auth.sign_in, RedirectResponse("/", 303), request, person, "link")


async def join(request: Request, auth: Auth) -> Response:
    """Redeem an invitation: choose a name and a password, or join its campaign with the account one has."""
    token = request.query_params.get("token", "")
    if must_wait(auth, request):
        return refusal("Invitation", WAIT, 429)
    found = await run_in_threadpool(invitation, auth.services.database, token)
    if found is None:
        failed(auth, request)
        return refusal("Invitation", "This invitation is not valid any more. Ask for a new one.", 403)
    known = await run_in_threadpool(auth.person_of, request)
    if known is not None:
        return await join_as(request, auth, token, found, known)
    if request.method == "GET":
        return await run_in_threadpool(join_page, auth, found)
    form = await request.form()
    name, password = str(form.get("name", "")).strip(), str(form.get("password", ""))
    problem = problem_of(password) if name and len(name) <= 64 else "Choose a name of 1 to 64 characters."
    if problem:
        return await run_in_threadpool(join_page, auth, found, problem, 422, name)
    try:
        person = await run_in_threadpool(redeem_invitation, auth.services.database, token, name, password)
    except (NameTaken, InvitationInvalid) as error:
        failed(auth, request)
        return await run_in_threadpool(join_page, auth, found, str(error), 409, name)
    return await run_in_threadpool(auth.sign_in, RedirectResponse("/", 303), request, person, "invitation")


async def join_as(request: Request, auth: Auth, token: str, found: Invitation, known: Person) -> Response:
    """The invitation of somebody who is signed in: no second account, the role stays."""
    where = await run_in_threadpool(campaign_name, auth, found)
    if request.method == "GET" or not where:
        text = ACCOUNT_JOIN_FORM if where else ACCOUNT_THERE_ALREADY
        return page("Join", text.format(name=html.escape(known.name), where=html.escape(where)))
    try:
        await run_in_threadpool(join_with_account, auth.services.database, token, known.id)
    except InvitationInvalid as error:
        return refusal("Invitation", str(error), 409)
    return RedirectResponse("/", 303)


async def new_password(request: Request, auth: Auth) -> Response:
    """Set a password by a one-time link from an admin; every earlier session ends."""
    database, token = auth.services.database, request.query_params.get("token", "")
    if must_wait(auth, request):
        return refusal("New password", WAIT, 429)
    owner = await run_in_threadpool(person_of_link, database, token)
    if owner is None:
        failed(auth, request)
        return refusal("New password", "This link was used already or has expired. Ask for a new one.", 403)
    person = await run_in_threadpool(people.person, database, owner)
    if request.method == "GET":
        return password_page(person)
    password = str((await request.form()).get("password", ""))
    if problem := problem_of(password):
        return password_page(person, problem, 422)
    try:
        await run_in_threadpool(redeem_password_link, database, token, password)
    except PasswordLinkInvalid as error:
        return refusal("New password", str(error), 409)
    await run_in_threadpool(auth.sign_out_everywhere, person)
    return await run_in_threadpool(auth.sign_in, RedirectResponse("/", 303), request, person, "link")


async def logout(request: Request, auth: Auth) -> Response:
    """Ask, then sign out here or everywhere. Only a POST signs out, so no foreign image can."""
    person = await run_in_threadpool(auth.person_of, request)
    if person is None:
        return auth.sign_out(RedirectResponse("/login", 303), request)
    if request.method == "GET":
        return page("Sign out", LOGOUT_FORM.format(name=html.escape(person.name)))
    form = await request.form()
    if form.get("everywhere"):
        await run_in_threadpool(auth.sign_out_everywhere, person)
    return auth.sign_out(RedirectResponse("/login", 303), request)


async def favicon(_request: Request) -> Response:
    """Our mark, for browsers that ask for it by the old name."""
    return FileResponse(STATIC / "favicon.svg", media_type="image/svg+xml")


def must_wait(auth: Auth, request: Request, name: str = "") -> bool:
    """Whether this name or address has failed too often lately."""
    by_name = bool(name) and auth.failures_by_name.must_wait(name)
    return by_name or auth.failures_by_address.must_wait(address_of(request))


def failed(auth: Auth, request: Request, name: str = "") -> None:
    """Count a failure."""
    if name:
        auth.failures_by_name.failed(name)
    auth.failures_by_address.failed(address_of(request))


def address_of(request: Request) -> str:
    """Where a request comes from, to slow guessing down and for nothing else."""
    return request.client.host if request.client else ""


def problem_of(password: str) -> str:
    """What is wrong with a new password, or ""."""
    if SHORTEST_PASSWORD <= len(password) <= LONGEST_PASSWORD:
        return ""
    return f"Choose a password of {SHORTEST_PASSWORD} to {LONGEST_PASSWORD} characters."


def campaign_name(auth: Auth, found: Invitation) -> str:
    """The campaign an invitation leads to, or ""."""
    there = campaigns.campaign(auth.services.database, found.campaign_id) if found.campaign_id is not None else None
    return there.name if there else ""


def login_page(target: str, problem: str = "", status: int = 200, name: str = "", hub: str = "") -> Response:
    """The form for name and password."""
    values = {"problem": alert(problem), "name": html.escape(name), "target": html.escape(quote_next(target))}
    return page("Sign in", hub + LOGIN_FORM.format(**values), status)


def hub_button(request: Request, target: str) -> str:
    """The way to Hugging Face, out of a frame where the page stands in one: its own pages refuse frames."""
    place = ' target="_blank"' if request.headers.get("sec-fetch-dest") == "iframe" else ""
    address = html.escape("/login/hub" + quote_next(target))
    return f'<a class="button" href="{address}"{place}>Sign in with Hugging Face</a><p class="or">or</p>'


def join_page(auth: Auth, found: Invitation, problem: str = "", status: int = 200, name: str = "") -> Response:
    """The form of an invitation."""
    where = campaign_name(auth, found)
    values = {"problem": alert(problem), "name": html.escape(name), "role": html.escape(found.role)}
    values["where"] = f" to <b>{html.escape(where)}</b>" if where else ""
    return page("Join", JOIN_FORM.format(**values, shortest=SHORTEST_PASSWORD), status)


def password_page(person: Person, problem: str = "", status: int = 200) -> Response:
    """The form of a password link."""
    values = {"problem": alert(problem), "name": html.escape(person.name), "shortest": SHORTEST_PASSWORD}
    return page("New password", PASSWORD_FORM.format(**values), status)


def quote_next(target: str) -> str:
    """The query that brings somebody back after signing in."""
    return "" if target == "/" else "?" + urlencode({"next": target})


LOGIN_FORM = """<form method="post" action="/login{target}">{problem}
<label>Name <input name="name" value="{name}" autocomplete="username" autofocus required></label>
<label>Password <input name="password" type="password" autocomplete="current-password" required></label>
<button>Sign in</button>
<p class="hint">No account? Ask your team lead for an invitation link. Whoever started RankLoop finds a sign-in
link in its terminal.</p></form>"""
JOIN_FORM = """<form method="post">{problem}
<p>You are invited{where} as <b>{role}</b>. Choose how you sign in from now on.</p>
<label>Name <input name="name" value="{name}" autocomplete="username" maxlength="64" autofocus required></label>
<label>Password <input name="password" type="password" autocomplete="new-password" minlength="{shortest}" required>
</label><button>Join</button>
<p class="hint">You have an account already? <a href="/login">Sign in</a> first, then open this link again.</p>
</form>"""
ACCOUNT_JOIN_FORM = """<form method="post"><p>You are signed in as <b>{name}</b>.</p>
<button>Join {where} with this account</button>
<p class="hint">Not you? <a href="/logout">Sign out</a> first, then open this link again.</p></form>"""
ACCOUNT_THERE_ALREADY = """<p>You are signed in as <b>{name}</b>, and this invitation only makes new accounts.</p>
<p class="hint"><a href="/">Back to RankLoop</a>, or <a href="/logout">sign out</a> to use it for somebody
else.</p>"""
PASSWORD_FORM = """<form method="post">{problem}
<p>A new password for <b>{name}</b>. You will be signed out everywhere else.</p>
<input type="hidden" name="username" value="{name}" autocomplete="username">
<label>New password <input name="password" type="password" autocomplete="new-password" minlength="{shortest}"
autofocus required></label><button>Set password</button></form>"""
LOGOUT_FORM = """<form method="post"><p>You are signed in as <b>{name}</b>.</p>
<button>Sign out here</button>
<button name="everywhere" value="1" class="second">Sign out on every device</button>
<p class="hint"><a href="/">Back to RankLoop</a></p></form>"""
