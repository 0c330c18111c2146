"""The small pages before the workbench: /login, /join and /logout, without Gradio and without scripts.

Handlers read a form, ask storage.people and answer with a page or a redirect. Failed sign-ins are counted in
memory per name and per address, to slow guessing down; an address never lets anybody in.
"""

import html
from functools import partial
from pathlib import Path
from urllib.parse import urlencode

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from storage import people
from ui.auth import Auth

STATIC = Path(__file__).parent / "static"
PAGE = (STATIC / "sign_in.html").read_text(encoding="utf-8")
SHORTEST_PASSWORD = 8


def routes(auth: Auth) -> list[Route]:
    """The routes of these pages."""
    return [
        Route("/login", partial(login, auth=auth), methods=["GET", "POST"]),
        Route("/join", partial(join, auth=auth), methods=["GET", "POST"]),
        Route("/logout", partial(logout, auth=auth), methods=["GET", "POST"]),
        Route("/favicon.ico", favicon),
    ]


async def login(request: Request, auth: Auth) -> Response:
    """Sign in by name and password, or by the one-time link that was printed at start."""
    target = local_path(request.query_params.get("next", ""))
    if request.method == "GET" and "token" in request.query_params:
        return await login_by_link(request, auth)
    if request.method == "GET":
        known = await run_in_threadpool(auth.person_of, request)
        return RedirectResponse(target, 303) if known else login_page(target)
    form = await request.form()
    name, password = str(form.get("name", "")).strip(), str(form.get("password", ""))
    address = request.client.host if request.client else ""
    if auth.failures_by_name.must_wait(name.lower()) or auth.failures_by_address.must_wait(address):
        return login_page(target, "Too many failed attempts. Please wait a minute.", 429, name)
    person = await run_in_threadpool(people.check_password, auth.services.database, name, password)
    if person is None:
        auth.failures_by_name.failed(name.lower())
        auth.failures_by_address.failed(address)
        return login_page(target, "Name and password do not match.", 401, name)
    return auth.sign_in(RedirectResponse(target, 303), request, person)


async def login_by_link(request: Request, auth: Auth) -> Response:
    """The operator, once per token."""
    person = await run_in_threadpool(auth.redeem_one_time, request.query_params["token"])
    if person is None:
        return login_page("/", "This sign-in link was used already, or belongs to an earlier start.", 403)
    return auth.sign_in(RedirectResponse("/", 303), request, person)


async def join(request: Request, auth: Auth) -> Response:
    """Redeem an invitation: choose a name and a password."""
    database = auth.services.database
    token = request.query_params.get("token", "")
    role = await run_in_threadpool(people.invitation_role, database, token)
    if role is None:
        text = "This invitation is not valid any more. Ask for a new one."
        return page("Invitation", f'<p class="wrong" role="alert">{text}</p>', 403)
    if request.method == "GET":
        return join_page(role)
    form = await request.form()
    name, password = str(form.get("name", "")).strip(), str(form.get("password", ""))
    if not name or len(name) > 64 or len(password) < SHORTEST_PASSWORD:
        text = f"Choose a name, and a password of at least {SHORTEST_PASSWORD} characters."
        return join_page(role, text, 422, name)
    try:
        person = await run_in_threadpool(people.redeem_invitation, database, token, name, password)
    except (people.NameTaken, people.InvitationInvalid) as error:
        return join_page(role, str(error), 409, name)
    return auth.sign_in(RedirectResponse("/", 303), request, person)


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


def local_path(wanted: str) -> str:
    """A path of this site, or "/": a link to the sign-in page must not lead elsewhere afterwards."""
    safe = wanted.startswith("/") and not wanted.startswith("//") and "\\" not in wanted and wanted.isprintable()
    return wanted if safe else "/"


def page(title: str, body: str, status: int = 200) -> HTMLResponse:
    """One small page. `body` is markup made here."""
    content = PAGE.replace("[title]", html.escape(title)).replace("[body]", body)
    return HTMLResponse(content, status, headers={"cache-control": "no-store"})


def login_page(target: str, problem: str = "", status: int = 200, name: str = "") -> HTMLResponse:
    """The form for name and password."""
    values = {"problem": alert(problem), "name": html.escape(name), "target": html.escape(quote_next(target))}
    return page("Sign in", LOGIN_FORM.format(**values), status)


def join_page(role: str, problem: str = "", status: int = 200, name: str = "") -> HTMLResponse:
    """The form of an invitation."""
    values = {"problem": alert(problem), "name": html.escape(name), "role": html.escape(role)}
    return page("Join", JOIN_FORM.format(**values, shortest=SHORTEST_PASSWORD), status)


def quote_next(target: str) -> str:
    """The query that brings somebody back after signing in."""
    return "" if target == "/" else "?" + urlencode({"next": target})


def alert(text: str) -> str:
    """A problem, said to readers and screen readers."""
    return f'<p class="wrong" role="alert">{html.escape(text)}</p>' if text else ""


LOGIN_FORM = """<form method="post" action="/login{target}">{problem}
<label>Name <input name="name" value="{name}" autocomplete="username" autofocus required></label>
<label>Password <input name="password" type="password" autocomplete="current-password" required></label>
<button>Sign in</button>
<p class="hint">No account? Ask your team lead for an invitation link. Whoever started RankLoop finds a sign-in
link in its terminal.</p></form>"""
JOIN_FORM = """<form method="post">{problem}
<p>You are invited as <b>{role}</b>. Choose how you sign in from now on.</p>
<label>Name <input name="name" value="{name}" autocomplete="username" maxlength="64" autofocus required></label>
<label>Password <input name="password" type="password" autocomplete="new-password" minlength="{shortest}" required>
</label><button>Join</button></form>"""
LOGOUT_FORM = """<form method="post"><p>You are signed in as <b>{name}</b>.</p>
<button>Sign out here</button>
<button name="everywhere" value="1" class="second">Sign out on every device</button>
<p class="hint"><a href="/">Back to RankLoop</a></p></form>"""
