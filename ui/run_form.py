"""The form that starts a run: kind, campaign, models, options, and where it runs.

Its fields are made from the dataclasses of pipeline.configs and pipeline.resources. A run that can cost money starts
only after the lead has agreed to the most it can cost. Handlers are plain functions; the fields are at the bottom.
"""

from collections.abc import Iterator, Sequence
from dataclasses import Field, dataclass, fields

import gradio as gr

from pipeline.backend import Backends
from pipeline.configs import CONFIGS, InvalidOption
from pipeline.launch import NEEDED, OPTIONAL, ROLES, WITHOUT_CAMPAIGN, launch
from pipeline.preflight import preflight
from pipeline.resources import Resources
from pipeline.services import Services
from pipeline.snapshot import LaunchRefused
from storage.campaigns import campaign_by_name, campaigns
from storage.records import Run
from storage.runs import run
from storage.versions import versions
from ui.auth import Auth
from ui.charts import escape, wrap
from ui.components import Panel
from ui.run_actions import confirmation
from ui.run_cards import findings
from ui.run_price import price_of
from ui.run_view import detail

KINDS = ("reward", "ppo", "dpo", "sft", "generate", "evaluate", "score", "export", "starter")
PLACES = {  # a model's place and its label
    "policy": "Start from",
    "against": "Against",
    "reward": "Reward model",
    "base": "Go on from",
    "version": "Version",
}
UNNAMED = {  # what a place holds where nobody names a version
    "policy": "current policy",
    "against": "nothing",
    "reward": "newest reward model",
    "base": "the policy, under a fresh head",
    "version": "name one",
}
USUAL = "usual"  # the choice that leaves a model to launch: current policy, newest reward model, no baseline
RESOURCES = fields(Resources)


@dataclass(frozen=True)
class Wish:
    """What the form asks for. campaign: its id."""

    kind: str
    campaign: int | None
    options: dict
    models: dict
    resources: dict


def option_fields() -> Iterator[tuple[str, Field]]:
    """Every option of every kind, in the order of the form."""
    for kind in KINDS:
        for spec in fields(CONFIGS[kind]):
            yield kind, spec


def wish_of(services: Services, kind: str, campaign: str | None, values: Sequence) -> Wish:
    """From the form's values: a model per place, every option of every kind, then the resources."""
    specs = list(option_fields())
    named = {place: str(name) for place, name in zip(PLACES, values, strict=False) if name and name != USUAL}
    given = zip(specs, values[len(PLACES) :], strict=False)
    options = {spec.name: value for (one, spec), value in given if one == kind and value is not None}
    where = zip(RESOURCES, values[len(PLACES) + len(specs) :], strict=False)
    resources = {spec.name: value for spec, value in where if value is not None}
    found = campaign_by_name(services.database, campaign) if campaign else None
    allowed = NEEDED.get(kind, ()) + OPTIONAL.get(kind, ())
    models = {place: name for place, name in named.items() if place in allowed}
    return Wish(kind, found.id if found and kind not in WITHOUT_CAMPAIGN else None, options, models, resources)


# ---- handlers


def choices(services: Services, place: str) -> list[tuple[str, str]]:
    """The versions that a place can have, newest first, behind the usual one."""
    there = reversed(versions(services.database, ROLES[place]))
    return [(UNNAMED[place], USUAL)] + [(one.name, one.name) for one in there]


def change_kind(services: Services, auth: Auth, kind: str, request: gr.Request):
    """Show the options and models of the chosen kind only."""
    auth.require(request, "lead")
    return _for_kind(kind)


def _for_kind(kind: str) -> tuple:
    places = NEEDED[kind] + OPTIONAL.get(kind, ()) if kind in CONFIGS else ()
    return (
        wrap(f'<p class="muted">{escape(meaning(kind))}</p>'),
        *(gr.Dropdown(visible=place in places) for place in PLACES),
        *(gr.Group(visible=one == kind) for one in KINDS),
    )


def meaning(kind: str) -> str:
    """The kind in one sentence."""
    return (CONFIGS[kind].__doc__ or "").split("\n")[0] if kind in CONFIGS else ""


def change_backend(services: Services, auth: Auth, name: str | None, request: gr.Request):
    """The slots of the chosen backend."""
    auth.require(request, "lead")
    known = name if name in services.backends.there else services.backends.usual
    return gr.Dropdown(choices=_slots(services.backends, known), value="")


def _slots(backends: Backends, name: str) -> list[tuple[str, str]]:
    """What a run may ask for: any slot of the backend, or one by its name."""
    return [("the next free one", ""), *((slot, slot) for slot in dict.fromkeys(backends.there[name].slots()))]


def start(services: Services, who: int, wish: Wish, confirmed: float | None = None) -> tuple[str, Run | None]:
    """Queue the run and return it with words for the page; without it where it is refused or its price is to be
    agreed to. confirmed: the dollars that the lead has agreed to."""
    try:
        price = price_of(services, wish.kind, wish.resources)
        if price is not None and not price.agreed(confirmed):
            return confirmation(price, "agree"), None
        asked = (wish.kind, wish.campaign, wish.options, wish.models, who, wish.resources)
        made = launch(services, *asked, confirmed_cost=confirmed)
    except (InvalidOption, LaunchRefused) as refusal:
        return wrap(f'<div class="error">{escape(refusal)}</div>'), None
    said = f'<div class="okay">Run <b>{escape(made.id)}</b> is queued. It goes on when you close this page.</div>'
    return wrap(said), made


def check_run(services: Services, auth: Auth, request: gr.Request, kind: str, campaign: str | None, *values: object):
    """What starting it now would meet; starts nothing."""
    auth.require(request, "lead")
    wish = wish_of(services, kind, campaign, values)
    return findings(preflight(services, wish.kind, wish.campaign, wish.options, wish.models, wish.resources))


def fill(services: Services, auth: Auth, chosen: str | None, event: gr.EventData, request: gr.Request):
    """The form with what the shown run was asked for, so that it can be changed and run again.

    Returns values for `Form.outputs`; nothing changes unless "change" was clicked.
    """
    auth.require(request, "lead")
    found = run(services.database, chosen or "")
    wish = event._data.get("act") if isinstance(event._data, dict) else None
    if found is None or wish != "change" or found.kind not in KINDS:
        return gr.skip()
    view = detail(services, found)
    about, *rest = _for_kind(found.kind)
    groups = rest[len(PLACES) :]
    options = [view["options"].get(s.name, s.default) if one == found.kind else s.default for one, s in option_fields()]
    said = wrap(f'<p class="muted">Filled with the options of {escape(found.id)}. Nothing has started yet.</p>')
    names = [one.name for one in campaigns(services.database)]
    campaign = gr.Dropdown(choices=names, value=view["campaign"]) if view["campaign"] in names else gr.skip()
    resources = [view["resources"].get(spec.name, spec.default) for spec in RESOURCES]
    where = resources[0] if resources[0] in services.backends.there else services.backends.usual
    slots = _slots(services.backends, where)
    resources[:2] = where, gr.Dropdown(choices=slots, value=resources[1] if (resources[1],) * 2 in slots else "")
    models = _models(services, found.kind, view["models"])
    return (gr.Accordion(open=True), said, found.kind, campaign, about, *models, *groups, *options, *resources)


def _models(services: Services, kind: str, named: dict) -> list[gr.Dropdown]:
    """The version of each place where it still exists, else the usual one."""
    places = NEEDED[kind] + OPTIONAL.get(kind, ())
    shown = []
    for place in PLACES:
        there = choices(services, place)
        known = {value for _, value in there}
        value = named.get(place) if named.get(place) in known else USUAL
        shown.append(gr.Dropdown(choices=there, value=value, visible=place in places))
    return shown


# ---- layout


@dataclass(frozen=True)
class Form:
    """The form's components, as the page binds them."""

    kind: gr.Dropdown
    campaign: gr.Dropdown
    models: list
    about: Panel
    groups: list
    options: list
    resources: list

    @property
    def inputs(self) -> list:
        """What `wish_of` reads, behind kind and campaign."""
        return [self.kind, self.campaign, *self.models, *self.options, *self.resources]

    @property
    def outputs(self) -> list:
        """What `fill` writes, behind the panel with its words."""
        return [self.kind, self.campaign, self.about, *self.models, *self.groups, *self.options, *self.resources]


def build(backends: Backends) -> Form:
    """The form inside its accordion."""
    with gr.Row():
        kind = gr.Dropdown(list(KINDS), value="reward", label="Kind", elem_id="run-kind")
        campaign = gr.Dropdown([], label="Campaign", elem_id="run-campaign")
        first = NEEDED["reward"] + OPTIONAL["reward"]
        models = [
            gr.Dropdown([], label=label, visible=place in first, allow_custom_value=False)
            for place, label in PLACES.items()
        ]
    about = Panel(wrap(f'<p class="muted">{escape(meaning("reward"))}</p>'))
    groups, options = [], []
    with gr.Accordion("Options", open=False):
        for name in KINDS:
            with gr.Group(visible=name == "reward") as group, gr.Row():
                options += [field_of(spec) for one, spec in option_fields() if one == name]
            groups.append(group)
    with gr.Accordion("Where it runs", open=len(backends.there) > 1, elem_id="run-resources"), gr.Row():
        resources = [_resource(spec, backends) for spec in RESOURCES]
    return Form(kind, campaign, models, about, groups, options, resources)


def _resource(spec: Field, backends: Backends) -> gr.Number | gr.Dropdown | gr.Checkbox:
    label, info = spec.name.replace("_", " "), spec.metadata["meaning"]
    if spec.name == "backend":
        names = [(f"the usual one ({backends.usual})", ""), *backends.there]
        return gr.Dropdown(names, value="", label=label, info=info, min_width=200, elem_id="run-backend")
    if spec.name == "hardware":
        slots = _slots(backends, backends.usual)
        return gr.Dropdown(slots, value="", label=label, info=info, min_width=200)
    return field_of(spec)


def field_of(spec: Field) -> gr.Number | gr.Dropdown | gr.Checkbox | gr.Textbox:
    """A field for an option, by the type of its default."""
    whole = isinstance(spec.default, int)
    label, info = spec.name.replace("_", " "), spec.metadata["meaning"]
    if isinstance(spec.default, bool):
        return gr.Checkbox(spec.default, label=label, info=info, min_width=220)
    if spec.metadata.get("pattern"):
        return gr.Textbox(spec.default, label=label, info=info, max_length=200, min_width=220)
    if spec.metadata["choices"]:
        return gr.Dropdown(list(spec.metadata["choices"]), value=spec.default, label=label, info=info, min_width=220)
    return gr.Number(spec.default, label=label, info=info, precision=0 if whole else None, min_width=220)
