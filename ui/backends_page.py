"""The Backends page: where runs can go, what is on them now, whether they answer, and what a run would cost.

Handlers are plain functions; layout is at the bottom. Nothing is changed here: backends are configured by settings.
"""

import gradio as gr

from pipeline.backend import dearest, longest
from pipeline.backend_checks import PriceUnknown, checks_of
from pipeline.configs import CONFIGS, InvalidOption
from pipeline.resources import Resources, make_resources
from pipeline.services import Services
from ui.auth import Auth
from ui.backend_cards import cards, estimate
from ui.backend_view import overview, usual_seconds
from ui.charts import escape, wrap
from ui.components import FAST, Panel, action, bound, refresh_every

CHECKING = {"concurrency_limit": 6, "show_progress": "minimal", "api_visibility": "private", "trigger_mode": "once"}


def open_page(services: Services, auth: Auth, request: gr.Request):
    """Every backend as it stands, and the choices of the cost form."""
    auth.require(request, "lead")
    usual = services.backends.usual
    names = gr.Dropdown(choices=list(services.backends.there), value=usual)
    return _shown(services), names, hardware_field(services, usual)


def refresh(services: Services, auth: Auth, request: gr.Request) -> str:
    """Slots and who waits, again."""
    auth.require(request, "lead")
    return _shown(services)


def check(services: Services, auth: Auth, chosen: str | None, event: gr.EventData, request: gr.Request):
    """Ask the backend whose button was clicked, and show what it said."""
    auth.require(request, "lead")
    name = str(event._data.get("backend", "")) if isinstance(event._data, dict) else ""
    if name in services.backends.there:
        checks_of(services).check(name)
    return _shown(services), hardware_field(services, chosen) if name == chosen else gr.skip()


def choose(services: Services, auth: Auth, name: str | None, request: gr.Request):
    """The hardware of another backend."""
    auth.require(request, "lead")
    return hardware_field(services, name)


def cost(
    services: Services,
    auth: Auth,
    name: str | None,
    hardware: str | None,
    kind: str | None,
    minutes: float | None,
    request: gr.Request,
) -> str:
    """What a run of that kind would cost there; asks the backend for its prices where that was long ago."""
    auth.require(request, "lead")
    try:
        wanted = make_resources({"backend": name, "hardware": hardware or "", "timeout_minutes": int(minutes or 0)})
        return _cost(services, wanted, kind if kind in CONFIGS else "")
    except (InvalidOption, PriceUnknown) as refusal:
        return wrap(f'<div class="error">{escape(refusal)}</div>')


def _cost(services: Services, wanted: Resources, kind: str) -> str:
    backend = services.backends.there.get(wanted.backend)
    if backend is None:
        raise InvalidOption("backend", wanted.backend, "one of " + ", ".join(services.backends.there))
    most = checks_of(services).most(wanted)
    found = dearest(backend, wanted, checks_of(services).offered(backend.name))
    hardware, price = (found.name, found.price) if found else (wanted.hardware, None)
    usual = usual_seconds(services, kind) if kind else None
    return estimate(backend.name, hardware, longest(backend, wanted), price, most, usual)


def _shown(services: Services) -> str:
    return cards(overview(services, checks_of(services)))


def hardware_field(services: Services, name: str | None) -> gr.Dropdown:
    """The hardware that a backend was last known to offer, else its slots; any other name may be typed."""
    return gr.Dropdown(choices=[("the next free one", ""), *hardware_names(services, name)], value="")


def hardware_names(services: Services, name: str | None) -> list[str]:
    """By the last check, else the names of the slots."""
    backend = services.backends.there.get(name or services.backends.usual)
    last = checks_of(services).last(backend.name) if backend else None
    offered = [one.name for one in last.hardware] if last and last.reachable else []
    return list(dict.fromkeys([*offered, *(backend.slots() if backend else ())]))


# ---- layout


def build(services: Services, auth: Auth) -> None:
    """The page inside its route."""
    shown = Panel(elem_id="backend-cards")
    with gr.Accordion("What would a run cost?", open=False, elem_id="cost-form"):
        with gr.Row():
            name = gr.Dropdown([], label="Backend", min_width=160)
            hardware = gr.Dropdown([""], value="", label="Hardware", allow_custom_value=True, min_width=160)
            kind = gr.Dropdown(list(CONFIGS), value="ppo", label="Kind of run", min_width=160)
            minutes = gr.Number(
                0, label="Time limit in minutes", info="0 = its usual limit", precision=0, min_width=160
            )
        go = action("Tell me", "cost-button")
        told = Panel(elem_id="cost-said")

    def on(handler):
        return bound(handler, services, auth)

    gr.on(None, on(open_page), None, [shown, name, hardware], **FAST)
    shown.act(on(check), name, [shown, hardware], **CHECKING)
    name.input(on(choose), name, hardware, **FAST)
    go.click(on(cost), [name, hardware, kind, minutes], told, **CHECKING)
    refresh_every(10, on(refresh), None, shown)
