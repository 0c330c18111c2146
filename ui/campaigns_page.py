"""The Campaigns page: all campaigns as cards, new ones, files in; and one chosen campaign in its parts.

Handlers are plain functions of services, auth and the form's values; layout is at the bottom. The parts of a campaign
are modules of their own: campaign_form, campaign_tasks, campaign_quality, campaign_members, campaign_data.
"""

import gradio as gr

from pipeline.services import Services
from storage import campaigns
from storage.forms import FORMS
from storage.records import InvalidRecord
from storage.setups import edit_setup
from ui import campaign_data, campaign_form, campaign_members, campaign_quality, campaign_tasks
from ui.auth import Auth
from ui.campaign_cards import CHANGES, campaign_cards, head, overview
from ui.components import FAST, ONCE, SLOW, Panel, action, bound, refresh_every
from ui.said import error

OVERVIEW = "overview"


# ---- handlers


def open_page(services: Services, auth: Auth, request: gr.Request):
    """The campaign named in the address (?campaign=ID), else all of them."""
    auth.require(request, "lead")
    wanted = str(dict(request.query_params or {}).get("campaign") or "")
    return *_chosen(services, wanted), campaign_cards(services), names(services)


def refresh(services: Services, auth: Auth, campaign_id: int | None, request: gr.Request):
    """Cards, head and overview as they are now; what is typed into the form is left alone."""
    auth.require(request, "lead")
    if campaign_id is None:
        return campaign_cards(services), gr.skip(), gr.skip()
    return gr.skip(), head(services, campaign_id), overview(services, campaign_id)


def act(services: Services, auth: Auth, campaign_id: int | None, event: gr.EventData, request: gr.Request):
    """A button of a card or of the head: open, back to the list, or another state."""
    auth.require(request, "lead")
    data = event._data if isinstance(event._data, dict) else {}
    named = str(data.get("campaign", ""))
    if data.get("act") == "state":
        _set_state(services, named, str(data.get("state")))
        if campaign_id is None:
            return *_nothing(), campaign_cards(services)
        kept = _nothing()
        return *kept[:4], head(services, campaign_id), overview(services, campaign_id), *kept[6:], gr.skip()
    return *_chosen(services, named if data.get("act") == "open" else ""), campaign_cards(services)


def create(
    services: Services,
    auth: Auth,
    name: str,
    criterion: str,
    form: str,
    k: int,
    overlap: int,
    request: gr.Request,
):
    """Create a campaign and open it; a wrong value is told beside it, and nothing is made then."""
    auth.require(request, "lead")
    if form not in FORMS:
        return error(f"form: found {form}, expected one of {', '.join(FORMS)}"), *_nothing(), gr.skip()
    try:
        made = campaigns.create_campaign(services.database, name.strip(), criterion.strip(), "", int(k), int(overlap))
        if form == "ratings":
            edit_setup(services.database, made.id, form=form, scales=campaign_form.fields.SCALE_SETS["quality"])
        elif form != "ranking":
            edit_setup(services.database, made.id, form=form)
    except (InvalidRecord, ValueError, TypeError) as wrong:
        return error(wrong), *_nothing(), gr.skip()
    return "", *_chosen(services, str(made.id)), campaign_cards(services)


def after_import(services: Services, auth: Auth, request: gr.Request):
    """The cards and names once a file has come in."""
    auth.require(request, "lead")
    return campaign_cards(services), names(services)


def names(services: Services) -> gr.Dropdown:
    """The campaigns to choose from; what is chosen stays."""
    return gr.Dropdown(choices=[one.name for one in campaigns.campaigns(services.database)])


def _set_state(services: Services, named: str, state: str) -> None:
    found = _named(services, named)
    if found is not None and state in [becomes for becomes, _ in CHANGES[found.state]]:
        campaigns.edit_campaign(services.database, found.id, state=state)


def _named(services: Services, named: str):
    number = int(named) if named.isdecimal() and len(named) < 10 else 0
    return campaigns.campaign(services.database, number)


def _chosen(services: Services, named: str) -> tuple:
    """What the page shows of a campaign, or of none: id, list, part, tab, head, overview, preview, the form."""
    found = _named(services, named)
    number = found.id if found else None
    texts = (found.guidelines, campaign_form.setup(services.database, found.id).examples) if found else ("", "")
    return (
        number,
        gr.Column(visible=found is None),
        gr.Column(visible=found is not None),
        gr.Tabs(selected=OVERVIEW),
        head(services, number),
        overview(services, number),
        campaign_form.previewed(*texts),
        *campaign_form.values_of(services, found),
    )


def _nothing() -> tuple:
    """The outputs of `_chosen` left as they are."""
    return (gr.skip(),) * (7 + len(campaign_form.fields.NAMES))


# ---- layout


def build(services: Services, auth: Auth) -> None:
    """The page inside its route."""

    def on(handler):
        return bound(handler, services, auth)

    chosen = gr.State(None)
    with gr.Column(elem_id="all-campaigns") as everything:
        cards = Panel(elem_id="campaign-cards")
        with gr.Accordion("New campaign", open=False, elem_id="new-campaign"):
            fields, add, added = _new_campaign_form()
        with gr.Accordion("Import a file", open=False, elem_id="import-form"):
            into = gr.Dropdown(
                [],
                label="Campaign",
                info="an existing one, a new name, or empty for the file's name",
                allow_custom_value=True,
                elem_id="import-into",
            )
            file, annotations, take, report = campaign_data.import_form("import")
    with gr.Column(visible=False, elem_id="one-campaign") as one:
        top = Panel(elem_id="campaign-head")
        with gr.Tabs(elem_id="campaign-parts") as tabs:
            facts, form, shown = _parts(on, chosen, top)
    outputs = [chosen, everything, one, tabs, top, facts, shown, *form]

    gr.on(None, on(open_page), None, [*outputs, cards, into], **FAST)
    for panel in (cards, top):
        panel.act(on(act), chosen, [*outputs, cards], **ONCE)
    add.click(on(create), fields, [added, *outputs, cards], **ONCE)
    taken = take.click(on(campaign_data.import_upload), [file, into, annotations], [report, file], **SLOW)
    taken.then(on(after_import), None, [cards, into], **FAST)
    refresh_every(10, on(refresh), chosen, [cards, top, facts])


def _parts(on, chosen: gr.State, top: Panel) -> tuple:
    """One tab for each part of a campaign; those that count a lot are filled when they are opened."""
    with gr.Tab("Overview", id=OVERVIEW):
        facts = Panel(elem_id="campaign-overview")
    with gr.Tab("Setup", id="setup"):
        form, (_, _, shown) = campaign_form.build(on, chosen, top)
    for title, part, handler in (
        ("Tasks", campaign_tasks, campaign_tasks.open_list),
        ("Quality", campaign_quality, campaign_quality.open_quality),
        ("Members", campaign_members, campaign_members.open_members),
        ("Data", campaign_data, campaign_data.open_data),
    ):
        with gr.Tab(title, id=title.lower()) as tab:
            inputs, outputs = part.build(on, chosen)
        tab.select(on(handler), inputs, outputs, **FAST)
    return facts, form, shown


def _new_campaign_form() -> tuple:
    with gr.Row():
        name = gr.Textbox(label="Name", max_length=100, elem_id="new-name")
        criterion = gr.Textbox("helpful", label="Criterion", info="what makes a completion better", max_length=100)
    with gr.Row():
        form = gr.Dropdown(list(FORMS), value="ranking", label="Form", info="how annotators answer")
        k = gr.Slider(2, 9, 4, step=1, label="Completions per task")
        overlap = gr.Number(1, label="Overlap", info="annotators per task", precision=0, minimum=1)
    gr.Markdown("Guidelines, scales, checks and everything else come next, under Setup.", elem_classes="muted")
    add = action("Create campaign", "new-button")
    return [name, criterion, form, k, overlap], add, Panel(elem_id="new-said")
