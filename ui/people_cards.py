"""What the People page shows: the table of people, one person with what an admin can do, open invitations. No gradio.

Every text goes through `escape`. Leads see who takes part in a campaign; the rest is for admins.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from pipeline.services import Services
from storage import api_keys, people
from storage.campaigns import campaigns
from storage.invitations import Invitation, open_invitations
from storage.passwords import has_password
from storage.people import Account
from storage.records import ROLES, Person
from ui.charts import chip, empty, escape, figures, number, wrap

TONES = {"admin": "accent", "lead": "good"}
STATES = ("active", "deactivated")
SHOWN = 200  # rows of the table at most


def seen_by(services: Services, who: Person) -> list[Account]:
    """The people that somebody may see: all for an admin, those who take part in a campaign for a lead."""
    everybody = people.accounts(services.database)
    return everybody if who.may("admin") else [one for one in everybody if one.campaigns]


def filtered(found: Sequence[Account], search: str, role: str, state: str) -> list[Account]:
    """Those whose name holds every word of the search, with that role and state; "" or anything else is no filter."""
    words = (search or "").casefold().split()
    return [
        one
        for one in found
        if all(word in one.person.name.casefold() for word in words)
        and (role not in ROLES or one.person.role == role)
        and (state not in STATES or one.person.active == (state == "active"))
    ]


def people_table(services: Services, who: Person, search: str = "", role: str = "", state: str = "") -> str:
    """The table, filtered; an admin can open each row."""
    everybody = seen_by(services, who)
    found = filtered(everybody, search, role, state)
    if not found:
        words = ("Nobody fits", "Change the filter.") if everybody else ("Nobody yet", "Invite somebody below.")
        return wrap(empty(*words))
    names = {one.id: one.name for one in campaigns(services.database)}
    rows = "".join(_row(one, names, who.may("admin")) for one in found[:SHOWN])
    head = "".join(f"<th>{word}</th>" for word in ("name", "role", "answers", "campaigns", "last seen", ""))
    told = f"{len(found)} of {len(everybody)} people" if len(found) < len(everybody) else f"{len(found)} people"
    told += f", the first {SHOWN} shown" if len(found) > SHOWN else ""
    table = f'<table class="wide people"><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>'
    return wrap(f'<div class="card">{table}<p class="muted">{told}</p></div>')


def _row(one: Account, names: Mapping[int, str], manageable: bool) -> str:
    person = one.person
    chips = chip(person.kind) if person.kind != "person" else ""
    chips += chip("deactivated", "bad") if not person.active else ""
    where = ", ".join(names[c] for c in one.campaigns if c in names) or "–"
    button = (
        f'<button type="button" data-act="open" data-person="{person.id}" aria-label="Manage {escape(person.name)}">'
    )
    cells = (
        ("name", f"<b>{escape(person.name)}</b> {chips}"),
        ("role", chip(person.role, TONES.get(person.role, ""))),
        ("answers", number(one.answers)),
        ("campaigns", escape(where)),
        ("last seen", escape(ago(one.seen))),
        ("", f"{button}Manage</button>" if manageable else ""),
    )
    return "<tr>" + "".join(f'<td data-label="{label}">{cell}</td>' for label, cell in cells) + "</tr>"


def ago(when: datetime | None, now: datetime | None = None) -> str:
    """How long ago, in one unit; the date after a month."""
    if when is None:
        return "never"
    seconds = ((now or datetime.now(UTC)) - when).total_seconds()
    for size, word in ((86_400, "day"), (3600, "hour"), (60, "minute")):
        if seconds >= size:
            count = int(seconds // size)
            return f"{when:%Y-%m-%d}" if count > 30 and size == 86_400 else f"{count} {word}{'s' * (count > 1)} ago"
    return "just now"


def person_card(services: Services, person_id: int, who: Person) -> str:
    """One person, with everything an admin can do about them."""
    one = people.account(services.database, person_id)
    if one is None:
        return wrap('<div class="error">There is no such person any more. Please reload the page.</div>')
    person, own = one.person, one.person.id == who.id
    head = f"<h3>{escape(person.name)}</h3>{chip(person.role, TONES.get(person.role, ''))}"
    head += chip(person.kind) if person.kind != "person" else ""
    head += chip("active", "good") if person.active else chip("deactivated", "bad")
    close = '<span class="grow"></span><button type="button" data-act="close">Close</button>'
    told = [("answers", one.answers), ("campaigns", len(one.campaigns)), ("last seen", ago(one.seen))]
    body = figures(told) + _roles(person, own) + _access(services, person, own) + _keys(services, person)
    body += "" if own else _erasing(person)
    return wrap(f'<div class="card chosen person"><div class="row">{head}{close}</div>{body}</div>')


def _button(act: str, person: Person, words: str, css: str = "", **data: str) -> str:
    told = "".join(f' data-{name}="{escape(value)}"' for name, value in data.items())
    return (
        f'<button type="button" class="{css}" data-act="{act}" data-person="{person.id}"{told}>{escape(words)}</button>'
    )


def _roles(person: Person, own: bool) -> str:
    if own:
        return '<h4>Role</h4><p class="muted">Ask another admin to change your own role.</p>'
    buttons = "".join(
        f'<button type="button" class="main" disabled aria-pressed="true">{role}</button>'
        if role == person.role
        else _button("role", person, role, role=role)
        for role in ROLES
    )
    return f'<h4>Role</h4><div class="row">{buttons}</div>'


def _access(services: Services, person: Person, own: bool) -> str:
    if person.kind != "person":
        return ""
    told = "has a password" if has_password(services.database, person.id) else "no password"
    told += ", signs in with Hugging Face" if people.known_to_hub(services.database, person.id) else ""
    buttons = _button("password", person, "Make a password link")
    buttons += _button("sign-out", person, "Sign out everywhere", confirm="End every browser session of this person?")
    if not own and person.active:
        warn = "Deactivate this account? Its sessions end and its keys stop working; its answers stay."
        buttons += _button("deactivate", person, "Deactivate", "danger", confirm=warn)
    elif not person.active:
        buttons += _button("activate", person, "Reactivate")
    return f'<h4>Access</h4><p class="muted">{told}</p><div class="row">{buttons}</div>'


def _keys(services: Services, person: Person) -> str:
    rows = "".join(_key_row(person, key) for key in api_keys.api_keys(services.database, person.id))
    table = f'<table class="wide people"><tbody>{rows}</tbody></table>' if rows else '<p class="muted">none</p>'
    make = _button("add-key", person, "New API key", ask="Label of the new key (what it is for)")
    return f'<h4>API keys</h4>{table}<div class="row spaced">{make}</div>'


def _key_row(person: Person, key: api_keys.ApiKey) -> str:
    warn = "Revoke this key? Programs that use it stop working."
    revoke = _button("revoke-key", person, "Revoke", "danger", key=str(key.id), confirm=warn)
    dates = f"made {key.created:%Y-%m-%d} · used {ago(key.used)}"
    return f'<tr><td>{escape(key.label or "no label")}<br><span class="muted">{dates}</span></td><td>{revoke}</td></tr>'


def _erasing(person: Person) -> str:
    ask = f"This cannot be undone. Type the name to erase it: {person.name}"
    return (
        '<h4>Erasure</h4><p class="muted">Rewrites database and journal without this person. Runs, models and '
        'backups made with the answers stay: look at the list first.</p><div class="row">'
        f"{_button('holdings', person, 'What holds the answers?')}"
        f"{_button('erase', person, 'Erase, answers too', 'danger', ask=ask, keep='')}"
        f"{_button('erase', person, 'Erase, keep answers without a name', 'danger', ask=ask, keep='1')}</div>"
    )


def holdings_told(held: Mapping[str, list[dict]], title: str = "What holds this person's answers") -> str:
    """Runs, versions and backups that an erasure does not reach."""
    lines = [f"run {one['run']} ({one['kind']}): {one['directory']}" for one in held["runs"]]
    lines += [f"version {one['version']} (learned {one['how']}): {one['path']}" for one in held["versions"]]
    there = {True: "there", False: "not there any more"}
    lines += [f"backup {one['path']} ({there[one['there']]}, {one['created'][:10]})" for one in held["backups"]]
    if not lines:
        return wrap(f'<div class="okay"><b>{escape(title)}</b>: no run, model version or known backup.</div>')
    told = "".join(f"<li>{escape(one)}</li>" for one in lines)
    return wrap(f'<div class="card"><h3>{escape(title)}</h3><ul>{told}</ul></div>')


def invitations_table(services: Services, who: Person) -> str:
    """Open invitations: all for an admin, one's own for a lead."""
    found = [one for one in open_invitations(services.database) if may_revoke(one, who)]
    if not found:
        return ""
    names = {one.id: one.name for one in campaigns(services.database)}
    makers = {one.id: one.name for one in people.people(services.database)}
    rows = "".join(_invitation_row(one, names, makers) for one in found)
    head = "".join(f"<th>{word}</th>" for word in ("role", "campaign", "used", "good until", "made by", ""))
    table = f'<table class="wide people"><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>'
    return wrap(f'<div class="card"><h3>Open invitations</h3>{table}</div>')


def may_revoke(one: Invitation, who: Person) -> bool:
    """An admin any invitation, a lead their own."""
    return who.may("admin") or one.created_by == who.id


def _invitation_row(one: Invitation, names: Mapping[int, str], makers: Mapping[int, str]) -> str:
    warn = "Revoke this invitation? Its link stops working."
    revoke = (
        f'<button type="button" class="danger" data-act="revoke" data-invitation="{escape(one.id)}" '
        f'data-confirm="{warn}">Revoke</button>'
    )
    cells = (
        ("role", chip(one.role, TONES.get(one.role, ""))),
        ("campaign", escape(names.get(one.campaign_id, "–"))),
        ("used", f"{one.used} of {one.uses}"),
        ("good until", escape(f"{one.expires:%Y-%m-%d %H:%M} UTC")),
        ("made by", escape(makers.get(one.created_by, "–"))),
        ("", revoke),
    )
    return "<tr>" + "".join(f'<td data-label="{label}">{cell}</td>' for label, cell in cells) + "</tr>"


def shown_once(what: str, secret: str) -> str:
    """A link or key, which is stored as a hash only."""
    copy = f'<button type="button" data-copy="{escape(secret)}">Copy</button>'
    return wrap(
        f'<div class="okay"><b>{escape(what)}</b> Copy it now, it is not shown again.'
        f'<p class="row"><span class="token">{escape(secret)}</span>{copy}</p></div>'
    )
