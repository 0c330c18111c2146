"""The Campaigns page: progress of each campaign, files in and out, new campaigns, guidelines and overlap.

Handlers are plain functions of services, auth and the form's values; layout is at the bottom. Export
links go to the HTTP API, which checks the cookie again.
"""

from pathlib import Path

import gradio as gr

from pipeline.services import Services
from storage.campaigns import campaign_by_name, campaigns, create_campaign, edit_campaign
from storage.interchange import import_file
from storage.records import InvalidRecord
from ui.auth import Auth
from ui.campaign_cards import STATES, campaign_cards, import_report
from ui.charts import escape, wrap
from ui.components import FAST, ONCE, SLOW, Panel, action, bound, refresh_every

IMPORT_HELP = (
    "JSON Lines, one record per line: prompt or messages, and completions with model and text. "
    "Preference pairs (prompt, chosen, rejected) and demonstrations are taken in too."
)


# ---- handlers


def open_page(services: Services, auth: Auth, request: gr.Request):
    """The cards, and the campaigns to choose from in the forms."""
    auth.require(request, "lead")
    return campaign_cards(services), _names(services), _names(services)


def refresh(services: Services, auth: Auth, request: gr.Request):
    auth.require(request, "lead")
    return campaign_cards(services)


def create(
    services: Services,
    auth: Auth,
    name: str,
    criterion: str,
    guidelines: str,
    k: int,
    overlap: int,
    request: gr.Request,
):
    """Create a campaign from the form; a wrong value is told beside it."""
    auth.require(request, "lead")
    try:
        made = create_campaign(services.database, name.strip(), criterion.strip(), guidelines, int(k), int(overlap))
    except (InvalidRecord, ValueError) as error:
        return _error(error), gr.skip(), gr.skip(), gr.skip()
    said = f"Campaign {made.name} is there. Import prompts into it next."
    return _okay(said), campaign_cards(services), _names(services), _names(services)


def import_upload(
    services: Services,
    auth: Auth,
    path: str | None,
    campaign: str | None,
    with_annotations: bool,
    request: gr.Request,
    progress: gr.Progress = gr.Progress(),  # noqa: B008 — gradio finds it by its default value
):
    """Take in an uploaded file, say what came in and what was refused, and forget the upload."""
    auth.require(request, "lead")
    if not path:
        return _error("Choose a file first."), gr.skip(), gr.skip(), gr.skip(), gr.skip()
    file, name = Path(path), (campaign or "").strip() or None
    try:
        told = import_file(
            services.database, services.pool, file, name, with_annotations, filename=file.name, progress=_told(progress)
        )
    except (InvalidRecord, ValueError) as error:
        return _error(error), gr.skip(), gr.skip(), gr.skip(), gr.skip()
    finally:
        file.unlink(missing_ok=True)
    return import_report(told.as_json()), campaign_cards(services), None, _names(services), _names(services)


def _told(progress):
    """gradio's progress as the importer reports it: bytes done and in all, 0 where that is not known."""

    def tell(done: int, total: int) -> None:
        progress(done / total if total else None, desc="reading")

    return tell


def act_on_card(services: Services, auth: Auth, event: gr.EventData, request: gr.Request):
    """`Edit` on a card chooses the campaign in the form below."""
    auth.require(request, "lead")
    data = event._data if isinstance(event._data, dict) else {}
    return (gr.Accordion(open=True), *_form_of(services, str(data.get("campaign", ""))[:200], True))


def load_form(services: Services, auth: Auth, name: str | None, request: gr.Request):
    """The chosen campaign's values in the form."""
    auth.require(request, "lead")
    return _form_of(services, name)


def _form_of(services: Services, name: str | None, choose: bool = False) -> tuple:
    found = campaign_by_name(services.database, name) if name else None
    names = [one.name for one in campaigns(services.database)]
    chosen = (gr.Dropdown(choices=names, value=found.name if found else None),) if choose else ()
    if found is None:
        return (*chosen, "", 1, "open")
    return (*chosen, found.guidelines, found.overlap, found.state)


def save_edit(
    services: Services, auth: Auth, name: str | None, guidelines: str, overlap: int, state: str, request: gr.Request
):
    """Store the form; changed guidelines become a new version that later answers refer to."""
    auth.require(request, "lead")
    found = campaign_by_name(services.database, name) if name else None
    if found is None:
        return _error("Choose a campaign first."), gr.skip()
    try:
        changed = edit_campaign(services.database, found.id, guidelines=guidelines, overlap=int(overlap), state=state)
    except (InvalidRecord, ValueError, TypeError) as error:
        return _error(error), gr.skip()
    return _okay(f"{changed.name} is saved; guidelines version {changed.guidelines_version}."), campaign_cards(services)


def _error(words: object) -> str:
    return wrap(f'<div class="error">{escape(words)}</div>')


def _okay(words: str) -> str:
    return wrap(f'<div class="okay">{escape(words)}</div>')


def _names(services: Services) -> gr.Dropdown:
    """The campaigns to choose from; what is chosen stays."""
    return gr.Dropdown(choices=[one.name for one in campaigns(services.database)])


# ---- layout


def build(services: Services, auth: Auth) -> None:
    """The page inside its route."""

    def on(handler):
        return bound(handler, services, auth)

    cards = Panel(elem_id="campaign-cards")
    with gr.Accordion("Import a file", open=False, elem_id="import-form"):
        file = gr.File(label="File", file_types=[".jsonl", ".ndjson", ".json"], type="filepath", height=140)
        with gr.Row():
            into = gr.Dropdown(
                [],
                label="Campaign",
                info="an existing one, or a new name",
                allow_custom_value=True,
                elem_id="import-into",
            )
            annotations = gr.Checkbox(
                False, label="With annotations", info="take in the rankings of its annotators too"
            )
        gr.Markdown(IMPORT_HELP, elem_classes="muted")
        take = action("Import", "import-button")
        report = Panel(elem_id="import-report")
    with gr.Accordion("New campaign", open=False, elem_id="new-campaign"):
        fields, add, added = _new_campaign_form()
    with gr.Accordion("Edit a campaign", open=False, elem_id="edit-campaign") as editor:
        chosen, guidelines, overlap, state, save, saved = _edit_form()
    values = [guidelines, overlap, state]

    gr.on(None, on(open_page), None, [cards, into, chosen], **FAST)
    take.click(on(import_upload), [file, into, annotations], [report, cards, file, into, chosen], **SLOW)
    add.click(on(create), fields, [added, cards, into, chosen], **ONCE)
    cards.act(on(act_on_card), None, [editor, chosen, *values], **ONCE)
    chosen.input(on(load_form), chosen, values, **ONCE)
    save.click(on(save_edit), [chosen, *values], [saved, cards], **ONCE)
    refresh_every(10, on(refresh), None, cards)


def _new_campaign_form() -> tuple:
    with gr.Row():
        name = gr.Textbox(label="Name", max_length=100, elem_id="new-name")
        criterion = gr.Textbox("helpful", label="Criterion", info="what makes a completion better", max_length=100)
        k = gr.Slider(2, 9, 4, step=1, label="Completions per task")
        overlap = gr.Number(1, label="Overlap", info="annotators per task", precision=0, minimum=1)
    guidelines = gr.Textbox(label="Guidelines", lines=4, max_length=100_000, info="Markdown; annotators read it first")
    add = action("Create campaign", "new-button")
    return [name, criterion, guidelines, k, overlap], add, Panel(elem_id="new-said")


def _edit_form() -> tuple:
    with gr.Row():
        chosen = gr.Dropdown([], label="Campaign", elem_id="edit-which")
        overlap = gr.Number(1, label="Overlap", precision=0, minimum=1)
        state = gr.Dropdown(list(STATES), value="open", label="State", info="paused and closed ones give no tasks")
    guidelines = gr.Textbox(label="Guidelines", lines=6, max_length=100_000)
    save = action("Save", "edit-button")
    return chosen, guidelines, overlap, state, save, Panel(elem_id="edit-said")
