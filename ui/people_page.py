"""The People page, for admins: people and roles, invitation links, API keys, sign-out everywhere.

A link or key is shown once, in the answer to the click that made it; storage keeps only hashes.
"""

import gradio as gr

from pipeline.services import Services
from storage.people import (
    ApiKey,
    api_keys,
    bump_session_epoch,
    create_api_key,
    create_invitation,
    people,
    person,
    revoke_api_key,
    set_role,
)
from storage.records import ROLES, Person
from ui.auth import Auth
from ui.charts import chip, empty, escape, wrap
from ui.components import FAST, ONCE, Panel, action, bound

TONES = {"admin": "accent", "lead": "good"}


# ---- what the page shows


def people_table(services: Services) -> str:
    rows = "".join(_row(one) for one in people(services.database))
    head = "<thead><tr><th>name</th><th>role</th><th>kind</th><th></th></tr></thead>"
    return wrap(f'<div class="card scroll"><table class="wide">{head}<tbody>{rows}</tbody></table></div>')


def _row(one: Person) -> str:
    out = (
        f'<button type="button" data-act="sign-out" data-person="{one.id}" '
        f'data-confirm="End every browser session of this person?">Sign out everywhere</button>'
    )
    cells = f"<td><b>{escape(one.name)}</b></td><td>{chip(one.role, TONES.get(one.role, ''))}</td>"
    return f"<tr>{cells}<td>{escape(one.kind)}</td><td>{out if one.kind == 'person' else ''}</td></tr>"


def key_table(services: Services, person_id: int | None) -> str:
    found = person(services.database, person_id) if person_id is not None else None
    if found is None:
        return ""
    keys = api_keys(services.database, found.id)
    if not keys:
        return wrap(empty(f"{found.name} has no API key", "Create one for a script or for simulated annotators."))
    rows = "".join(_key_row(one) for one in keys)
    return wrap(
        f'<div class="card scroll"><h3>Keys of {escape(found.name)}</h3><table class="wide">{rows}</table></div>'
    )


def _key_row(key: ApiKey) -> str:
    revoke = (
        f'<button type="button" class="danger" data-act="revoke" data-key="{key.id}" '
        f'data-confirm="Revoke this key? Programs that use it stop working.">Revoke</button>'
    )
    made = escape(f"{key.created:%Y-%m-%d %H:%M}")
    return f"<tr><td>{escape(key.label or 'no label')}</td><td>{made}</td><td>{revoke}</td></tr>"


def shown_once(what: str, secret: str) -> str:
    return wrap(
        f'<div class="okay"><b>{escape(what)}</b> Copy it now, it is not shown again.'
        f'<pre class="token">{escape(secret)}</pre></div>'
    )


def _choices(services: Services) -> list[tuple[str, int]]:
    return [(f"{one.name} ({one.role})", one.id) for one in people(services.database)]


# ---- handlers


def open_page(services: Services, auth: Auth, request: gr.Request):
    auth.require(request, "admin")
    return people_table(services), gr.Dropdown(choices=_choices(services))


def act_on_person(services: Services, auth: Auth, event: gr.EventData, request: gr.Request):
    """`Sign out everywhere` ends every browser session of that person."""
    auth.require(request, "admin")
    found = person(services.database, _number(event, "person"))
    if found is None:
        raise gr.Error("There is no such person any more. Please reload the page.", print_exception=False)
    bump_session_epoch(services.database, found.id)
    return wrap(f'<div class="okay">{escape(found.name)} is signed out everywhere.</div>')


def change_role(services: Services, auth: Auth, person_id: int | None, role: str, request: gr.Request):
    """Give a person a role; nobody takes their own admin role away, so that one admin stays."""
    who = auth.require(request, "admin")
    found = person(services.database, person_id) if person_id is not None else None
    if found is None or role not in ROLES:
        return wrap('<div class="error">Choose a person and a role first.</div>'), gr.skip(), gr.skip()
    if found.id == who.id and role != "admin":
        return wrap('<div class="error">Ask another admin to change your own role.</div>'), gr.skip(), gr.skip()
    set_role(services.database, found.id, role)
    said = wrap(f'<div class="okay">{escape(found.name)} is {escape(role)} now.</div>')
    return said, people_table(services), gr.Dropdown(choices=_choices(services))


def invite(services: Services, auth: Auth, role: str, hours: int, uses: int, request: gr.Request):
    """An invitation link for one or several people."""
    who = auth.require(request, "admin")
    if role not in ROLES or not hours or not uses or not 1 <= hours <= 8760 or not 1 <= uses <= 1000:
        return wrap('<div class="error">Choose a role, 1 to 8760 hours and 1 to 1000 people.</div>')
    token = create_invitation(services.database, role, who.id, hours=int(hours), uses=int(uses))
    return shown_once(
        f"Invitation as {role}, good for {int(hours)} hours.", f"{address_of(request)}/join?token={token}"
    )


def address_of(request: gr.Request) -> str:
    """Scheme and host as the admin's browser sees them, also behind a proxy."""
    headers = request.headers
    host = headers.get("x-forwarded-host") or headers.get("host") or "localhost"
    scheme = (headers.get("x-forwarded-proto") or request.request.url.scheme).split(",")[0].strip()
    return f"{scheme}://{host}"


def show_keys(services: Services, auth: Auth, person_id: int | None, request: gr.Request):
    auth.require(request, "admin")
    return key_table(services, person_id)


def add_key(services: Services, auth: Auth, person_id: int | None, label: str, request: gr.Request):
    """A new API key for the chosen person."""
    auth.require(request, "admin")
    found = person(services.database, person_id) if person_id is not None else None
    if found is None:
        return wrap('<div class="error">Choose a person first.</div>'), gr.skip()
    key = create_api_key(services.database, found.id, (label or "").strip()[:200])
    return shown_once(f"API key of {found.name}.", key), key_table(services, found.id)


def act_on_key(services: Services, auth: Auth, person_id: int | None, event: gr.EventData, request: gr.Request):
    """`Revoke` makes a key useless at once."""
    auth.require(request, "admin")
    revoke_api_key(services.database, _number(event, "key"))
    return key_table(services, person_id)


def _number(event: gr.EventData, name: str) -> int:
    data = event._data if isinstance(event._data, dict) else {}
    text = str(data.get(name, ""))
    return int(text) if text.isdecimal() and len(text) < 12 else -1


# ---- layout


def build(services: Services, auth: Auth) -> None:
    """The page inside its route."""

    def on(handler):
        return bound(handler, services, auth)

    shown, said = Panel(elem_id="people-table"), Panel(elem_id="people-said")
    with gr.Accordion("Invite", open=True, elem_id="invite-form"):
        with gr.Row():
            role = gr.Dropdown(list(ROLES), value="annotator", label="Role")
            hours = gr.Number(168, label="Good for", info="hours", precision=0, minimum=1)
            uses = gr.Number(1, label="People", info="how many may use the link", precision=0, minimum=1)
        make, link = action("Make a link", "invite-button"), Panel(elem_id="invite-link")
    with gr.Accordion("Role and API keys", open=False, elem_id="person-form"):
        with gr.Row():
            whose = gr.Dropdown([], label="Person", elem_id="person-which")
            new_role = gr.Dropdown(list(ROLES), value="annotator", label="Role")
            label = gr.Textbox(label="Label of a new key", max_length=200)
        with gr.Row():
            give = gr.Button("Set role", size="md", scale=0, min_width=160, elem_id="role-button")
            add = gr.Button("Create API key", size="md", scale=0, min_width=160, elem_id="key-button")
        secret, keys = Panel(elem_id="key-secret"), Panel(elem_id="key-table")

    gr.on(None, on(open_page), None, [shown, whose], **FAST)
    shown.act(on(act_on_person), None, said, **ONCE)
    make.click(on(invite), [role, hours, uses], link, **ONCE)
    give.click(on(change_role), [whose, new_role], [said, shown, whose], **ONCE)
    whose.input(on(show_keys), whose, keys, **ONCE)
    add.click(on(add_key), [whose, label], [secret, keys], **ONCE)
    keys.act(on(act_on_key), whose, keys, **ONCE)
