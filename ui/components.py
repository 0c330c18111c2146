"""What the leads' pages are made of: two gr.HTML subclasses and the binding of handlers.

`Panel` shows server-made, escaped markup and sends clicks on its buttons up as the event `act`.
`RunChart` shows one run live; its template is static and its script builds everything from JSON, so
no text of a model or a person is ever part of a template.
"""

import inspect
import secrets
from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from pathlib import Path

import gradio as gr

STATIC = Path(__file__).parent / "static"
FAST = {"queue": False, "concurrency_limit": None, "show_progress": "hidden", "api_visibility": "private"}
ONCE = FAST | {"trigger_mode": "once"}
SLOW = {"concurrency_limit": 2, "show_progress": "minimal", "api_visibility": "private", "trigger_mode": "once"}


def asset(name: str) -> str:
    return (STATIC / name).read_text(encoding="utf-8")


class Panel(gr.HTML):
    """Markup from ui.charts and the pages; `<button data-act=…>` inside it triggers `act` with the button's data."""

    def __init__(self, value: str = "", **settings):
        super().__init__(
            value, css_template=asset("lead.css"), js_on_load=asset("panel.js"), apply_default_css=False, **settings
        )


class RunChart(gr.HTML):
    """One run's head, curves and samples, live. Value: see `live`; without a run it says that none is chosen.

    Sends `cancel` and `ended`, each with {"run": id}, and `listed` when any run has changed.
    """

    def __init__(self, value: dict | None = None, **settings):
        super().__init__(
            value,
            html_template=asset("run_chart.html"),
            css_template=asset("lead.css"),
            js_on_load="".join(map(asset, ("charts.js", "run_parts.js", "run_curves.js", "run_chart.js"))),
            apply_default_css=False,
            **settings,
        )

    def api_info(self) -> dict:
        return {"type": "object"}


def live(
    run: Mapping | None, rows: list[dict], panels: list[dict], beside: Sequence[dict] = (), changes: int = 0
) -> dict:
    """The value of a RunChart; beside: {"run", "rows"} of other runs whose curves are drawn too.

    changes: how often any run had changed, so that the stream need not tell it again. The nonce makes the browser
    notice a value that is equal to the last one.
    """
    value = {"run": run, "rows": rows, "panels": panels, "beside": list(beside), "changes": changes}
    return value | {"events": "api/v1/runs/events", "nonce": secrets.token_hex(4)}


def action(words: str, elem_id: str) -> gr.Button:
    """The one main button of a form, as wide as its words need."""
    with gr.Row():
        return gr.Button(words, variant="primary", size="md", scale=0, min_width=180, elem_id=elem_id)


def refresh_every(seconds: float, handler: Callable, inputs: object, outputs: object) -> None:
    """Call the handler again and again while the page is open, until it fails once.

    An open page of somebody who signed out would otherwise show the same refusal every few seconds.
    """
    timer = gr.Timer(seconds)
    rest = "() => ({ __type__: 'update', active: false })"  # in the browser: the server would have to ask who it is
    timer.tick(handler, inputs, outputs, **ONCE).failure(None, None, timer, js=rest)


def bound(handler: Callable, *given: object) -> Callable:
    """The handler with its first arguments given, in a shape whose remaining parameters gradio can read.

    functools.partial hides the annotations by which gradio passes the request and the event.
    """
    rest = list(inspect.signature(handler).parameters.values())[len(given) :]

    @wraps(handler)
    def call(*arguments):
        return handler(*given, *arguments)

    call.__signature__ = inspect.Signature(rest)
    call.__annotations__ = {p.name: p.annotation for p in rest if p.annotation is not inspect.Parameter.empty}
    return call
