"""The People page: who takes part, invitations, and for admins roles, passwords, keys, deactivation and erasure.

A link or key is shown once, in the answer to the click that made it; storage keeps only hashes. Leads see the people
of campaigns and invite annotators; everything else asks for an admin.
"""

import gradio as gr

from pipeline.holdings import holdings
from pipeline.services import Services
from storage import api_keys, erasure, passwords, people
from storage.campaigns import campaign_by_name, campaigns
from storage.invitations import create_invitation, open_invitations, revoke_invitation
from storage.records import ROLES, Person
from ui.auth import Auth, plain_request
from ui.charts import escape, wrap
from ui.components import FAST, ONCE, Panel, action, bound
from ui.people_cards import (
    STATES,
    holdings_told,
    invitations_table,
    may_revoke,
    people_table,
    person_card,
    shown_once,
)

NO_CAMPAIGN, ALL = "no campaign", "all"


# ---- handlers


def open_page(services: Services, auth: Auth, request: gr.Request):
    """The people, the roles and campaigns one may invite to, and open invitations."""
    who = auth.require(request, "lead")
    names = [NO_CAMPAIGN, *(one.name for one in campaigns(services.database) if one.state != "closed")]
    roles = gr.Dropdown(choices=list(may_invite(who)), value="annotator")
    where = gr.Dropdown(choices=names, value=names[0])
    return people_table(services, who), roles, where, invitations_table(services, who)


def filter_people(services: Services, auth: Auth, search: str, role: str, state: str, request: gr.Request):
    """The table again, with the filter."""
    who = auth.require(request, "lead")
    return people_table(services, who, str(search or "")[:200], str(role), str(state))


def act_on_person(
    services: Services, auth: Auth, search: str, role: str, state: str, event: gr.EventData, request: gr.Request
):
    """A button of the table or of a person's card: what is said, the card, and the table as it is now."""
    who = auth.require(request, "admin")
    data = event._data if isinstance(event._data, dict) else {}
    if data.get("act") == "close":
        return "", "", gr.skip()
    found = people.person(services.database, _number(data, "person"))
    act = ACTS.get(str(data.get("act")))
    if found is None or act is None:
        raise gr.Error("There is no such person any more. Please reload the page.", print_exception=False)
    said = act(services, auth, who, found, data, request)
    gone = people.person(services.database, found.id) is None
    card = "" if gone else person_card(services, found.id, who)
    return said, card, people_table(services, who, str(search or "")[:200], str(role), str(state))


def invite(
    services: Services,
    auth: Auth,
    role: str,
    campaign: str | None,
    hours: int,
    uses: int,
    request: gr.Request,
):
    """An invitation link for one or several people: the link, and the open invitations."""
    who = auth.require(request, "lead")
    if role not in ROLES or not hours or not uses or not 1 <= hours <= 8760 or not 1 <= uses <= 1000:
        return _error("Choose a role, 1 to 8760 hours and 1 to 1000 people."), gr.skip()
    if role not in may_invite(who):
        return _error("Leads invite annotators; ask an admin to invite others."), gr.skip()
    where = campaign_by_name(services.database, campaign) if campaign and campaign != NO_CAMPAIGN else None
    if where is None and campaign and campaign != NO_CAMPAIGN:
        return _error("There is no such campaign any more. Please reload the page."), gr.skip()
    token = create_invitation(services.database, role, who.id, int(hours), where.id if where else None, int(uses))
    told = f"Invitation as {role}{f' to {where.name}' if where else ''}, good for {int(hours)} hours."
    link = f"{auth.address(plain_request(request))}/join?token={token}"
    return shown_once(told, link), invitations_table(services, who)


def act_on_invitation(services: Services, auth: Auth, event: gr.EventData, request: gr.Request):
    """`Revoke` makes a link worthless at once; leads revoke their own."""
    who = auth.require(request, "lead")
    data = event._data if isinstance(event._data, dict) else {}
    wanted = str(data.get("invitation", ""))
    found = next((one for one in open_invitations(services.database) if one.id == wanted), None)
    if found is not None and may_revoke(found, who):
        revoke_invitation(services.database, found.id, who.id)
    return invitations_table(services, who)


def may_invite(who: Person) -> tuple[str, ...]:
    """The roles that somebody may give by an invitation."""
    return ROLES if who.may("admin") else ("annotator",)


# ---- what an admin does about a person; each returns what is said


def _open(services, auth, who, found, data, request) -> str:
    return ""


def _set_role(services, auth, who, found, data, request) -> str:
    """Nobody takes their own admin role away, so that one admin stays."""
    role = str(data.get("role"))
    if role not in ROLES:
        return _error("Choose a role first.")
    if found.id == who.id:
        return _error("Ask another admin to change your own role.")
    people.set_role(services.database, found.id, role)
    return _okay(f"{found.name} is {role} now.")


def _password(services, auth, who, found, data, request) -> str:
    token = passwords.create_password_link(services.database, found.id, who.id)
    link = f"{auth.address(plain_request(request))}/password?token={token}"
    return shown_once(f"Password link of {found.name}, good once and for 48 hours.", link)


def _sign_out(services, auth, who, found, data, request) -> str:
    people.bump_session_epoch(services.database, found.id)
    return _okay(f"{found.name} is signed out everywhere.")


def _deactivate(services, auth, who, found, data, request) -> str:
    if found.id == who.id:
        return _error("Ask another admin to deactivate your own account.")
    people.set_active(services.database, found.id, False, who.id)
    return _okay(f"{found.name} is deactivated: signed out, and no key works.")


def _activate(services, auth, who, found, data, request) -> str:
    people.set_active(services.database, found.id, True, who.id)
    return _okay(f"{found.name} may sign in again.")


def _add_key(services, auth, who, found, data, request) -> str:
    key = api_keys.create_api_key(services.database, found.id, str(data.get("said") or "").strip()[:200])
    return shown_once(f"API key of {found.name}.", key)


def _revoke_key(services, auth, who, found, data, request) -> str:
    if not api_keys.revoke_api_key(services.database, _number(data, "key"), found.id):
        return _error("There is no such key any more.")
    return _okay("The key is revoked.")


def _holdings(services, auth, who, found, data, request) -> str:
    return holdings_told(holdings(services, found.id), f"What holds the answers of {found.name}")


def _erase(services, auth, who, found, data, request) -> str:
    """After the name was typed; not oneself, so that one admin stays."""
    if found.id == who.id:
        return _error("Ask another admin to erase your own account.")
    if " ".join(str(data.get("said") or "").split()) != found.name:
        return _error("Nothing was erased: the name that was typed is another one.")
    held = holdings(services, found.id)
    done = erasure.erase(services.database, found.id, data.get("keep") == "1", who.id)
    kept = f"kept as {done.kept_as}" if done.kept_as else "erased, too"
    said = _okay(f"The person is erased; {done.answers} answers: {kept}.")
    return said + holdings_told(held, "What still holds the answers")


ACTS = {
    "open": _open,
    "role": _set_role,
    "password": _password,
    "sign-out": _sign_out,
    "deactivate": _deactivate,
    "activate": _activate,
    "add-key": _add_key,
    "revoke-key": _revoke_key,
    "holdings": _holdings,
    "erase": _erase,
}


def _okay(words: str) -> str:
    return wrap(f'<div class="okay">{escape(words)}</div>')


def _error(words: str) -> str:
    return wrap(f'<div class="error">{escape(words)}</div>')


def _number(data: dict, name: str) -> int:
    text = str(data.get(name, ""))
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 10 else -1


# ---- layout


def build(services: Services, auth: Auth) -> None:
    """The page inside its route."""

    def on(handler):
        return bound(handler, services, auth)

    with gr.Row(elem_id="people-filter"):
        search = gr.Textbox(label="Search", placeholder="part of a name", scale=3, min_width=220, max_length=200)
        role = gr.Dropdown([ALL, *ROLES], value=ALL, label="Role", scale=1, min_width=130)
        state = gr.Dropdown([ALL, *STATES], value=ALL, label="State", scale=1, min_width=130)
    said, card = Panel(elem_id="people-said"), Panel(elem_id="person-card")
    shown = Panel(elem_id="people-table")
    with gr.Accordion("Invite", open=True, elem_id="invite-form"):
        with gr.Row():
            new_role = gr.Dropdown(["annotator"], value="annotator", label="Role", min_width=160)
            where = gr.Dropdown([NO_CAMPAIGN], value=NO_CAMPAIGN, label="Campaign", min_width=160)
            hours = gr.Number(168, label="Good for, in hours", precision=0, minimum=1, maximum=8760, min_width=130)
            uses = gr.Number(1, label="People who may use it", precision=0, minimum=1, maximum=1000, min_width=130)
        make, link = action("Make a link", "invite-button"), Panel(elem_id="invite-link")
        invitations = Panel(elem_id="invitations")

    filters = [search, role, state]
    gr.on(None, on(open_page), None, [shown, new_role, where, invitations], **FAST)
    gr.on([search.change, role.change, state.change], on(filter_people), filters, shown, **FAST)
    shown.act(on(act_on_person), filters, [said, card, shown], **ONCE)
    card.act(on(act_on_person), filters, [said, card, shown], **ONCE)
    make.click(on(invite), [new_role, where, hours, uses], [link, invitations], **ONCE)
    invitations.act(on(act_on_invitation), None, invitations, **ONCE)
