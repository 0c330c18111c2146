"""The form of a campaign: all its choices in groups, the guidelines with a live preview, and what saving says.

Handlers are plain functions; the fields themselves are described in campaign_fields.py.
"""

import gradio as gr

from pipeline.configs import InvalidOption
from pipeline.launch import launch, resolve_models
from pipeline.services import Services
from pipeline.snapshot import LaunchRefused
from storage import campaigns
from storage.records import Campaign, InvalidRecord
from storage.setups import DEFAULT, Setup, setup
from storage.versions import versions
from ui import campaign_fields as fields
from ui import markup
from ui.auth import Auth
from ui.campaign_cards import head
from ui.charts import escape, wrap
from ui.components import ONCE, Panel, action
from ui.said import error, okay

LIVE = {"queue": False, "show_progress": "hidden", "api_visibility": "private", "trigger_mode": "always_last"}
OWN_SCALES = "own"


# ---- handlers


def values_of(services: Services, campaign: Campaign | None) -> list:
    """The form's values for a campaign; the policies to choose from come along."""
    chosen = setup(services.database, campaign.id) if campaign else DEFAULT
    values = fields.form_values(campaign, chosen)
    place = fields.NAMES.index("policies")
    values[place] = gr.Dropdown(choices=_policies(services, chosen), value=list(chosen.policies), multiselect=True)
    return values


def save(services: Services, auth: Auth, request: gr.Request, campaign_id: int | None, *values: object):
    """Store the form; what was wrong is told beside the button, and nothing is stored then."""
    auth.require(request, "lead")
    found = campaigns.campaign(services.database, campaign_id or 0)
    if found is None:
        return error("Choose a campaign first."), gr.skip()
    try:
        changed, chosen = fields.save(services.database, found.id, values)
    except (InvalidRecord, ValueError, TypeError) as wrong:
        return error(wrong), gr.skip()
    news = changed.guidelines_version != found.guidelines_version or _newer(services, changed)
    told = f"{changed.name} is saved." + (" Annotators are told that the guidelines changed." if news else "")
    return okay(told + _hints(chosen)), head(services, found.id)


def preview(services: Services, auth: Auth, guidelines: str, examples: str, request: gr.Request):
    """Guidelines and examples as annotators see them."""
    auth.require(request, "lead")
    return previewed(guidelines, examples)


def previewed(guidelines: str, examples: str) -> str:
    """The two texts as safe markup."""
    parts = (("", guidelines), ("Examples", examples))
    shown = [f"{f'<h4>{name}</h4>' if name else ''}{markup.to_html(text)}" for name, text in parts if text.strip()]
    body = "".join(shown) or '<p class="muted">What you write appears here as annotators see it.</p>'
    return wrap(f'<div class="card written">{body}</div>')


def use_scales(services: Services, auth: Auth, name: str, request: gr.Request):
    """The lines of a ready set of scales; own ones stay as they are."""
    auth.require(request, "lead")
    lines = fields.scale_set(str(name))
    return gr.skip() if lines is None else lines


def write_completions(services: Services, auth: Auth, campaign_id: int | None, prompts: int, request: gr.Request):
    """Queue the runs in which the campaign's policies write completions, with the settings that are saved."""
    who = auth.require(request, "lead")
    found = campaigns.campaign(services.database, campaign_id or 0)
    if found is None:
        return error("Choose a campaign first.")
    chosen = setup(services.database, found.id)
    options = {
        "k": found.k,
        "prompts": int(prompts or 0),
        "temperature": chosen.temperature,
        "max_new_tokens": chosen.max_new_tokens,
    }
    try:
        for models in meetings(chosen):  # what is missing is told before the first of them starts
            resolve_models(services, "generate", found, models)
        started = [launch(services, "generate", found.id, options, models, who.id).id for models in meetings(chosen)]
    except (InvalidOption, LaunchRefused) as refusal:
        return error(refusal)
    links = ", ".join(f'<a href="runs?run={escape(one)}">{escape(one)}</a>' for one in started)
    return wrap(f'<div class="okay">Queued: {links}. Their completions become tasks as they come in.</div>')


def meetings(chosen: Setup) -> list[dict[str, str]]:
    """Which versions write together: none named, the current policy alone; one alone; several, the first against each
    other one, so that they meet on the board."""
    first, *others = chosen.policies or ("",)
    if not others:
        return [{"policy": first} if first else {}]
    return [{"policy": first, "against": other} for other in others]


def _policies(services: Services, chosen: Setup) -> list[str]:
    known = [one.name for one in reversed(versions(services.database, "policy"))]
    return [*known, *(name for name in chosen.policies if name not in known)]


def _newer(services: Services, campaign: Campaign) -> bool:
    now = campaigns.campaign(services.database, campaign.id)
    return now is not None and now.guidelines_version != campaign.guidelines_version


def _hints(chosen: Setup) -> str:
    """What would surprise a lead: choices that do nothing without another one."""
    told = []
    if chosen.form == "pairwise":
        told.append("The pairwise form shows tasks with two completions as pairs; K = 2 opens such tasks.")
    if chosen.on_fast != "nothing" and not chosen.min_seconds:
        told.append("No answer is too fast while the shortest time is 0.")
    if chosen.members_only:
        told.append("Only members get tasks: see Members.")
    return "".join(f" {one}" for one in told)


# ---- layout


def build(on, chosen: gr.State, head_panel: Panel) -> tuple[list, tuple]:
    """The fields in their order; and guidelines, examples and their preview, for whoever fills the form."""
    made: dict[str, gr.components.Component] = {}
    with gr.Column(elem_id="campaign-form"):
        for number, group in enumerate(fields.GROUPS):
            with gr.Accordion(group.title, open=number < 2, elem_classes="form-group"):
                _group(on, group, made)
                if "policies" in group.names:
                    _writing(on, chosen)
        button, said = action("Save", "save-campaign"), Panel(elem_id="save-said")
    form = [made[name] for name in fields.NAMES]
    button.click(on(save), [chosen, *form], [said, head_panel], **ONCE)
    return form, (made["guidelines"], made["examples"], made["_preview"])


def _group(on, group: fields.Group, made: dict) -> None:
    if "guidelines" in group.names:
        _guidelines(on, made)
        return
    if "scales" in group.names:
        _scales(on, made)
        return
    short = [name for name in group.names if name not in fields.LONG + fields.LINES]
    with gr.Row():
        for name in short:
            made[name] = field(name)
    for name in group.names:
        if name not in short:
            made[name] = field(name)


def _writing(on, chosen: gr.State) -> None:
    prompts = gr.Number(0, label="Prompts", info="how many to write for; 0 = all", precision=0, minimum=0)
    with gr.Row():
        write = gr.Button("Write completions", size="md", scale=0, min_width=180, elem_id="write-button")
    gr.Markdown("Starts runs with the settings that are saved: save first.", elem_classes="muted")
    written = Panel(elem_id="write-said")
    write.click(on(write_completions), [chosen, prompts], written, **ONCE)


def _guidelines(on, made: dict) -> None:
    with gr.Row(equal_height=False):
        with gr.Column(min_width=320):
            made["guidelines"], made["examples"] = field("guidelines", 10), field("examples", 5)
        with gr.Column(min_width=320):
            made["_preview"] = Panel(elem_id="guidelines-preview")
    both = [made["guidelines"], made["examples"]]
    for box in both:
        box.change(on(preview), both, made["_preview"], **LIVE)  # pasted text is no `input` to gradio


def _scales(on, made: dict) -> None:
    ready = gr.Dropdown([OWN_SCALES, *fields.SCALE_SETS], value=OWN_SCALES, label="Ready set", elem_id="scale-set")
    made["scales"] = field("scales")
    ready.input(on(use_scales), ready, made["scales"], **ONCE)


def field(name: str, lines: int = 3):
    """The component of one field, by the kind of its value."""
    default, words = fields.form_values(None)[fields.NAMES.index(name)], {"label": fields.label(name)}
    words |= {"info": fields.meaning(name), "elem_id": f"field-{name}"}
    if name in fields.CHOICES:
        return gr.Dropdown(list(fields.CHOICES[name]), value=default, min_width=200, **words)
    if name in fields.SEVERAL:
        return gr.CheckboxGroup(list(fields.SEVERAL[name]), value=default, **words)
    if name == "policies":
        return gr.Dropdown([], value=[], multiselect=True, min_width=300, **words)
    if isinstance(default, bool):
        return gr.Checkbox(default, min_width=200, **words)
    if isinstance(default, int | float):
        return gr.Number(default, precision=0 if isinstance(default, int) else None, min_width=200, **words)
    long = name in fields.LONG + fields.LINES + ("scales",)
    return gr.Textbox(default, lines=lines if long else 1, max_lines=24, max_length=100_000, min_width=200, **words)
