"""What leads do with versions on the Leaderboard besides judging them: take in a base model, export one.

Handlers are plain functions; the page calls `layout` where the form is to stand.
"""

import gradio as gr

from pipeline.base_models import MODELS, register
from pipeline.configs import InvalidOption
from pipeline.launch import launch
from pipeline.model_files import UnusableModel
from pipeline.services import Services
from pipeline.snapshot import LaunchRefused
from storage.campaigns import campaign_by_name
from storage.versions import VersionExists
from ui.auth import Auth
from ui.charts import escape, wrap
from ui.components import Panel, action
from ui.standing import version_list

BY_ARCHITECTURE = "as its architecture says"


def take_in(
    services: Services,
    auth: Auth,
    model: str | None,
    name: str | None,
    role: str | None,
    campaign: str | None,
    request: gr.Request,
) -> tuple[str, str]:
    """Register a base model; returns words and the list of versions."""
    auth.require(request, "lead")
    try:
        made, looked = register(services, model or "", name or None, None if role == BY_ARCHITECTURE else role)
    except (UnusableModel, VersionExists) as refusal:
        return wrap(f'<div class="error">{escape(refusal)}</div>'), gr.skip()
    notes = " ".join(looked.notes)
    said = f"<b>{escape(made.name)}</b> is a {escape(made.role)} version now ({escape(looked.architecture)}). "
    one = campaign_by_name(services.database, campaign) if campaign else None
    return wrap(f'<div class="okay">{said}{escape(notes)}</div>'), version_list(services, one)


def start_export(services: Services, name: str, by: int) -> str:
    """Queue an export that merges an adapter into its base; returns what to tell."""
    try:
        run = launch(services, "export", None, {"merged": "yes"}, {"version": name}, by)
    except (InvalidOption, LaunchRefused) as refusal:
        return f'<div class="error">{escape(refusal)}</div>'
    link = f'<a href="runs?run={escape(run.id)}">{escape(run.id)}</a>'
    return f'<div class="okay">Run {link} merges {escape(name)} into its base. Its page has the download then.</div>'


def layout(services: Services) -> tuple:
    """(the form, its button, its inputs, where it answers)."""
    with gr.Accordion("Register a base model", open=False, elem_id="register-form") as form:
        where = f"a Hub id, or a folder below {services.data / MODELS}"
        with gr.Row():
            model = gr.Textbox(label="Model", info=where, max_length=500, elem_id="register-model")
            name = gr.Textbox(label="Name", info="empty: after the model", max_length=100)
            role = gr.Dropdown([BY_ARCHITECTURE, "policy", "reward"], value=BY_ARCHITECTURE, label="Role")
        return form, action("Register", "register-button"), [model, name, role], Panel(elem_id="register-said")
