"""The Members part of a campaign: who may work on it where it is for members only, added and removed.

Invitations and accounts are the People page's.
"""

import gradio as gr

from pipeline.services import Services
from storage import campaigns, members
from storage.people import people
from storage.records import InvalidRecord, Person
from storage.setups import setup
from ui.auth import Auth
from ui.charts import chip, empty, escape, wrap
from ui.components import ONCE, Panel
from ui.said import error, okay

# ---- handlers


def open_members(services: Services, auth: Auth, campaign_id: int | None, request: gr.Request):
    """The members, and who could become one."""
    auth.require(request, "lead")
    return _shown(services, campaign_id)


def add(services: Services, auth: Auth, campaign_id: int | None, chosen: list, request: gr.Request):
    """Make people members. Returns said, the members, and who else could become one."""
    who = auth.require(request, "lead")
    known = {one.id: one.name for one in people(services.database)}
    wanted = [number for number in chosen or [] if number in known]
    if not wanted:
        return error("Choose people to add first."), gr.skip(), gr.skip()
    try:
        for number in wanted:
            members.add_member(services.database, campaign_id or 0, number, who.id)
    except InvalidRecord as wrong:
        return error(wrong), gr.skip(), gr.skip()
    return okay(f"Added {', '.join(known[n] for n in wanted)}."), *_shown(services, campaign_id)


def remove(services: Services, auth: Auth, campaign_id: int | None, event: gr.EventData, request: gr.Request):
    """Take somebody out; their answers stay. Returns the same as `add`."""
    who = auth.require(request, "lead")
    data = event._data if isinstance(event._data, dict) else {}
    number = str(data.get("person", ""))
    if not number.isdecimal() or len(number) > 9:
        return error("There is no such member."), gr.skip(), gr.skip()
    try:
        members.remove_member(services.database, campaign_id or 0, int(number), who.id)
    except InvalidRecord as wrong:
        return error(wrong), gr.skip(), gr.skip()
    return okay("Removed; the answers given so far stay."), *_shown(services, campaign_id)


def _shown(services: Services, campaign_id: int | None) -> tuple:
    there = members.members(services.database, campaign_id or 0)
    inside = {one.id for one in there}
    others = [
        (f"{one.name} ({one.role})", one.id)
        for one in people(services.database)
        if one.id not in inside and one.kind != "imported" and one.active
    ]
    return _table(services, campaign_id or 0, there), gr.Dropdown(choices=others, value=[], multiselect=True)


def _table(services: Services, campaign_id: int, there: list) -> str:
    only = setup(services.database, campaign_id).members_only
    found = campaigns.campaign(services.database, campaign_id)
    about = (
        "Only members get tasks of this campaign." if only else "Everybody may work on this campaign, member or not."
    )
    hint = "" if only else " Tick “Members only” under Setup to change that."
    link = '<a href="people">Invite somebody on the People page</a>'
    head = f'<p class="muted">{escape(about + hint)} {link}.</p>'
    if found is None or not there:
        return wrap(head, empty("No members", "Add people below, or send them an invitation link for this campaign."))
    rows = "".join(_row(one, found.name) for one in there)
    return wrap(f'{head}<div class="card"><table class="wide stacked"><tbody>{rows}</tbody></table></div>')


def _row(one: Person, campaign: str) -> str:
    ask = escape(f"Remove {one.name} from {campaign}? Their answers stay.")
    data = f'data-act="remove" data-person="{one.id}" data-confirm="{ask}"'
    return (
        f'<tr><td data-label="name"><b>{escape(one.name)}</b></td><td data-label="role">{chip(one.role)}</td>'
        f'<td><button type="button" {data}>Remove</button></td></tr>'
    )


# ---- layout


def build(on, chosen: gr.State) -> tuple[list, list]:
    """The inputs and outputs of `open_members`."""
    shown, said = Panel(elem_id="members"), Panel(elem_id="members-said")
    with gr.Row(equal_height=False):
        who = gr.Dropdown([], label="Add people", multiselect=True, scale=3, elem_id="members-add")
        button = gr.Button("Add", size="md", scale=0, min_width=120, elem_id="members-button")
    button.click(on(add), [chosen, who], [said, shown, who], **ONCE)
    shown.act(on(remove), chosen, [said, shown, who], **ONCE)
    return [chosen], [shown, who]
