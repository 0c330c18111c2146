"""/account: what every signed-in person can do for themselves, as a plain page without Gradio and without scripts.

Change the password, make and revoke own API keys, sign out everywhere, withdraw a consent, and see what is stored.
Each action is a POST, which the guard takes from our own pages only.
"""

import html
from collections.abc import Callable
from datetime import datetime

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from storage import api_keys, campaigns, consents, people
from storage.passwords import check_password, has_password, set_password
from storage.records import Person
from ui.auth import Auth
from ui.plain_pages import alert, done, page
from ui.sign_in import SHORTEST_PASSWORD, WAIT, failed, must_wait, problem_of

MOST_KEYS = 20


def routes(auth: Auth) -> list[Route]:
    """The page and its actions."""
    actions = {"password": change_password, "keys": add_key, "keys/revoke": revoke_key, "consents/withdraw": withdraw}
    made = [Route(f"/account/{path}", posting(auth, act), methods=["POST"]) for path, act in actions.items()]

    async def show(request: Request) -> Response:
        who = await run_in_threadpool(auth.require_http, request, "annotator")
        return await run_in_threadpool(account_page, auth, who)

    async def sign_out(request: Request) -> Response:
        who = await run_in_threadpool(auth.require_http, request, "annotator")
        await run_in_threadpool(auth.sign_out_everywhere, who)
        return auth.sign_out(RedirectResponse("/", 303), request)

    return [Route("/account", show), Route("/account/sign-out", sign_out, methods=["POST"]), *made]


def posting(auth: Auth, act: Callable) -> Callable:
    """A route that asks who it is, reads the form and does the action in a thread."""

    async def answer(request: Request) -> Response:
        who = await run_in_threadpool(auth.require_http, request, "annotator")
        form = {name: str(value) for name, value in (await request.form()).items()}
        return await run_in_threadpool(act, auth, request, who, form)

    return answer


def change_password(auth: Auth, request: Request, who: Person, form: dict) -> Response:
    """Replace the password by the present one; every other session ends."""
    database, key = auth.services.database, f"password of {who.id}"
    if must_wait(auth, request, key):
        return account_page(auth, who, alert(WAIT), 429)
    if not may_set_password(auth, who):
        return account_page(auth, who, alert("You sign in with Hugging Face: there is no password here."), 409)
    if has_password(database, who.id) and check_password(database, who.name, form.get("present", "")) is None:
        failed(auth, request, key)
        return account_page(auth, who, alert("The present password is another one."), 403)
    if problem := problem_of(form.get("password", "")):
        return account_page(auth, who, alert(problem), 422)
    set_password(database, who.id, form["password"])
    auth.sign_out_everywhere(who)
    response = account_page(auth, who, done("Your password is changed. You are signed out everywhere else."))
    return auth.sign_in(response, request, who)


def may_set_password(auth: Auth, who: Person) -> bool:
    """Not who signs in with Hugging Face: a password would outlive their place on its list."""
    return has_password(auth.services.database, who.id) or not people.known_to_hub(auth.services.database, who.id)


def add_key(auth: Auth, request: Request, who: Person, form: dict) -> Response:
    """A new API key, shown in this answer only."""
    if len(api_keys.api_keys(auth.services.database, who.id)) >= MOST_KEYS:
        return account_page(auth, who, alert(f"You have {MOST_KEYS} keys. Revoke one first."), 409)
    key = api_keys.create_api_key(auth.services.database, who.id, form.get("label", "").strip()[:200])
    shown = (
        f'<p class="done" role="status">Copy your new key now, it is not shown again:<br><b class="token">{key}</b></p>'
    )
    return account_page(auth, who, shown)


def revoke_key(auth: Auth, request: Request, who: Person, form: dict) -> Response:
    """Revoke one of one's own keys; nobody else's."""
    if not api_keys.revoke_api_key(auth.services.database, number_of(form, "key"), who.id):
        return account_page(auth, who, alert("That key is not yours."), 404)
    return account_page(auth, who, done("The key is revoked."))


def withdraw(auth: Auth, request: Request, who: Person, form: dict) -> Response:
    """Take back the consent to a campaign."""
    database, campaign = auth.services.database, number_of(form, "campaign")
    if consents.agreed(database, who.id, campaign) is None:
        return account_page(auth, who, alert("You have not agreed to that campaign."), 404)
    consents.withdraw(database, who.id, campaign)
    return account_page(
        auth, who, done("Your consent is withdrawn. The campaign gives you no task until you agree again.")
    )


def number_of(form: dict, name: str) -> int:
    """A number in a form, -1 for anything else."""
    text = form.get(name, "")
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 10 else -1


# ---- what it shows


def account_page(auth: Auth, who: Person, said: str = "", status: int = 200) -> Response:
    """The whole page, with what was said about the last action on top."""
    database = auth.services.database
    parts = [said, '<p class="hint"><a href="/">Back to RankLoop</a></p>', facts(auth, who)]
    parts += [agreed_to(auth, who), keys(database, who), password(auth, who), SIGN_OUT]
    return page("My account", "".join(parts), status, wide=True)


def facts(auth: Auth, who: Person) -> str:
    """What is stored about the person."""
    database = auth.services.database
    own = people.account(database, who.id)
    names = [campaigns.campaign(database, one).name for one in own.campaigns]
    rows = [
        ("Name", who.name), ("Role", who.role), ("Account since", moment(own.created)), ("Last seen", moment(own.seen)),
        ("Answers", f"{own.answers:,}"), ("Campaigns", ", ".join(names) or "none"),
        ("Password", "set; only a hash is kept" if has_password(database, who.id) else "none"),
    ]  # fmt: skip
    lines = "".join(f"<tr><th>{name}</th><td>{html.escape(value)}</td></tr>" for name, value in rows)
    return f"<section><h2>What is stored about me</h2><table class='facts'>{lines}</table>{STORED}</section>"


def agreed_to(auth: Auth, who: Person) -> str:
    """Consents, with a way to withdraw each."""
    rows = "".join(
        f"<tr><td>{html.escape(one.campaign)}</td><td>{consent_state(one)}, {moment(one.created)}</td>"
        f"<td>{withdraw_button(one) if one.version is not None else ''}</td></tr>"
        for one in consents.consents(auth.services.database, who.id)
    )
    return f"<section><h2>My consents</h2><table>{rows}</table></section>" if rows else ""


def consent_state(one: consents.Consent) -> str:
    """In words."""
    return "withdrawn" if one.version is None else f"agreed to version {one.version}"


def withdraw_button(one: consents.Consent) -> str:
    """A form of one button."""
    return small_form("/account/consents/withdraw", "campaign", one.campaign_id, "Withdraw")


def keys(database, who: Person) -> str:
    """Own API keys, and a form for a new one."""
    rows = "".join(
        f"<tr><td>{html.escape(one.label or 'no label')}</td>"
        f"<td>made {moment(one.created)}<br>used {moment(one.used)}</td>"
        f"<td>{small_form('/account/keys/revoke', 'key', one.id, 'Revoke')}</td></tr>"
        for one in api_keys.api_keys(database, who.id)
    )
    return f"<section><h2>My API keys</h2>{f'<table>{rows}</table>' if rows else ''}{KEY_FORM}</section>"


def password(auth: Auth, who: Person) -> str:
    """The form for a new password."""
    if not may_set_password(auth, who):
        return ""
    present = PRESENT if has_password(auth.services.database, who.id) else ""
    form = PASSWORD_FORM.format(present=present, shortest=SHORTEST_PASSWORD, name=html.escape(who.name))
    return f"<section><h2>Password</h2>{form}</section>"


def small_form(address: str, name: str, value: int, words: str) -> str:
    """A form of one button."""
    hidden = f'<input type="hidden" name="{name}" value="{value}">'
    return f'<form method="post" action="{address}">{hidden}<button class="second small">{words}</button></form>'


def moment(when: datetime | None) -> str:
    """A time as people read it."""
    return f"{when:%Y-%m-%d %H:%M} UTC" if when else "never"


STORED = """<p class="hint">Beside these: when you signed in, which tasks you were given, and every answer with its
time, the order shown and the seconds it took. Keys and passwords are stored as hashes. An admin can erase
all of it.</p>"""
KEY_FORM = """<form method="post" action="/account/keys" class="row">
<label>Label <input name="label" maxlength="200" placeholder="what it is for"></label><button>New key</button></form>"""
PRESENT = """<label>Present password
<input name="present" type="password" autocomplete="current-password" required></label>"""
PASSWORD_FORM = """<form method="post" action="/account/password">
<input type="hidden" name="username" value="{name}" autocomplete="username">{present}
<label>New password <input name="password" type="password" autocomplete="new-password" minlength="{shortest}" required>
</label><button>Change password</button></form>"""
SIGN_OUT = """<section><h2>Sessions</h2><form method="post" action="/account/sign-out">
<button class="second">Sign out on every device</button></form></section>"""
