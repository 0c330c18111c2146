"""The Runs page: start a run, follow it live, cancel it, understand why it failed.

Handlers are plain functions of services, auth and the form's values; layout is at the bottom. Nothing
here waits for a run: `launch` queues it, the monitor follows it, and the page re-reads storage.
"""

from collections.abc import Iterator
from dataclasses import Field, fields

import gradio as gr

from pipeline.configs import CONFIGS, InvalidOption
from pipeline.launch import NEEDED, OPTIONAL, launch
from pipeline.services import Services
from pipeline.snapshot import LaunchRefused
from storage.campaigns import campaign_by_name, campaigns
from storage.runs import run, runs, unfinished_runs
from storage.versions import versions
from ui.auth import Auth
from ui.charts import escape, panels, wrap
from ui.components import FAST, ONCE, Panel, RunChart, action, bound, live, refresh_every
from ui.run_cards import run_facts, run_list
from ui.run_view import NotCancellable, curve_rows, latest_campaign, request_cancel, summary

KINDS = ("reward", "ppo", "dpo", "generate", "evaluate", "starter")
PLACES = ("policy", "against", "reward")
USUAL = "usual"  # the choice that leaves a model to launch: current policy, newest reward model, no baseline


def option_fields() -> Iterator[tuple[str, Field]]:
    """Every option of every kind, in the order of the form."""
    for kind in KINDS:
        for spec in fields(CONFIGS[kind]):
            yield kind, spec


# ---- handlers


def open_page(services: Services, auth: Auth, request: gr.Request):
    """What the page shows when it opens: the run named in the address, else one that is going on, else the newest."""
    auth.require(request, "lead")
    wanted = run(services.database, str(dict(request.query_params or {}).get("run") or "")[:80])
    there = [wanted] if wanted else unfinished_runs(services.database) or runs(services.database, limit=1)
    chosen = there[0].id if there else None
    names = [one.name for one in campaigns(services.database)]
    return (
        *_shown(services, chosen),
        gr.Dropdown(choices=names, value=latest_campaign(services)),
        *(gr.Dropdown(choices=_choices(services, place), value=USUAL) for place in PLACES),
    )


def _shown(services: Services, chosen: str | None) -> tuple:
    return chosen, run_list(services, chosen), run_live(services, chosen), run_facts(services, chosen)


def _choices(services: Services, place: str) -> list[tuple[str, str]]:
    usual = {"policy": "current policy", "against": "nothing", "reward": "newest reward model"}[place]
    role = "reward" if place == "reward" else "policy"
    return [(usual, USUAL)] + [(one.name, one.name) for one in reversed(versions(services.database, role))]


def change_kind(services: Services, auth: Auth, kind: str, request: gr.Request):
    """Show the options and models of the chosen kind only."""
    auth.require(request, "lead")
    places = NEEDED[kind] + OPTIONAL.get(kind, ()) if kind in CONFIGS else ()
    return (
        wrap(f'<p class="muted">{escape(meaning(kind))}</p>'),
        *(gr.Dropdown(visible=place in places) for place in PLACES),
        *(gr.Group(visible=one == kind) for one in KINDS),
    )


def meaning(kind: str) -> str:
    return (CONFIGS[kind].__doc__ or "").split("\n")[0] if kind in CONFIGS else ""


def start_run(services: Services, auth: Auth, request: gr.Request, kind: str, campaign: str | None, *values: object):
    """Queue a run with the form's values: one model per place, then every option of every kind."""
    who = auth.require(request, "lead")
    named = {place: str(name) for place, name in zip(PLACES, values, strict=False) if name and name != USUAL}
    given = zip(option_fields(), values[len(PLACES) :], strict=True)
    options = {spec.name: value for (one, spec), value in given if one == kind and value is not None}
    found = campaign_by_name(services.database, campaign) if campaign else None
    allowed = NEEDED.get(kind, ()) + OPTIONAL.get(kind, ())
    models = {place: name for place, name in named.items() if place in allowed}
    try:
        campaign_id = found.id if found and kind != "starter" else None
        started = launch(services, kind, campaign_id, options, models, who.id)
    except (InvalidOption, LaunchRefused) as refusal:
        return wrap(f'<div class="error">{escape(refusal)}</div>'), gr.skip(), gr.skip(), gr.skip(), gr.skip()
    said = f'<div class="okay">Run <b>{escape(started.id)}</b> is queued. It goes on when you close this page.</div>'
    return wrap(said), *_shown(services, started.id)


def act_on_list(services: Services, auth: Auth, event: gr.EventData, request: gr.Request):
    """A click in the list opens a run."""
    auth.require(request, "lead")
    return _shown(services, _run_named_in(services, event))


def cancel_run(services: Services, auth: Auth, event: gr.EventData, request: gr.Request):
    """Ask the shown run to save a checkpoint and end."""
    auth.require(request, "lead")
    found = run(services.database, _run_named_in(services, event) or "")
    try:
        if found is not None:
            request_cancel(services, found)
    except NotCancellable as error:
        gr.Warning(str(error))
    return _shown(services, found.id if found else None)


def _run_named_in(services: Services, event: gr.EventData) -> str | None:
    data = event._data if isinstance(event._data, dict) else {}
    found = run(services.database, str(data.get("run", ""))[:80])
    return found.id if found else None


def refresh(services: Services, auth: Auth, chosen: str | None, request: gr.Request):
    """The list and the facts again; the live view has its own stream."""
    auth.require(request, "lead")
    return run_list(services, chosen), run_facts(services, chosen)


def show_end(services: Services, auth: Auth, event: gr.EventData, request: gr.Request):
    """A run has ended: read it once more from storage, so that its last rows and its result are there."""
    auth.require(request, "lead")
    return _shown(services, _run_named_in(services, event))


def run_live(services: Services, run_id: str | None) -> dict | None:
    found = run(services.database, run_id) if run_id else None
    if found is None:
        return None
    return live(summary(services, found), curve_rows(services, found.id), panels(found.kind))


# ---- layout


def build(services: Services, auth: Auth) -> None:
    """The page inside its route."""
    chosen = gr.State(None)
    with gr.Accordion("Start a run", open=False, elem_id="start-run"):
        kind, campaign, models, groups, options, about = _form()
        go, said = action("Start run", "start-button"), Panel(elem_id="start-said")
    with gr.Row(equal_height=False):
        with gr.Column(scale=1, min_width=280):
            runs_shown = Panel(elem_id="run-list")
        with gr.Column(scale=3, min_width=320):
            chart, facts = RunChart(elem_id="run-chart"), Panel(elem_id="run-facts")
    shown = [chosen, runs_shown, chart, facts]

    def on(handler):
        return bound(handler, services, auth)

    gr.on(None, on(open_page), None, [*shown, campaign, *models], **FAST)
    kind.change(on(change_kind), kind, [about, *models, *groups], **FAST)
    go.click(on(start_run), [kind, campaign, *models, *options], [said, *shown], **ONCE)
    runs_shown.act(on(act_on_list), None, shown, **ONCE)
    chart.cancel(on(cancel_run), None, shown, **ONCE)
    chart.ended(on(show_end), None, shown, **ONCE)
    refresh_every(3, on(refresh), chosen, [runs_shown, facts])


def _form() -> tuple:
    with gr.Row():
        kind = gr.Dropdown(list(KINDS), value="reward", label="Kind", elem_id="run-kind")
        campaign = gr.Dropdown([], label="Campaign", elem_id="run-campaign")
        labels = {"policy": "Start from", "against": "Against", "reward": "Reward model"}
        models = [
            gr.Dropdown([], label=labels[place], visible=place in NEEDED["reward"], allow_custom_value=False)
            for place in PLACES
        ]
    about = Panel(wrap(f'<p class="muted">{escape(meaning("reward"))}</p>'))
    groups, options = [], []
    with gr.Accordion("Options", open=False):
        for name in KINDS:
            with gr.Group(visible=name == "reward") as group, gr.Row():
                options += [_option(spec) for one, spec in option_fields() if one == name]
            groups.append(group)
    return kind, campaign, models, groups, options, about


def _option(spec: Field) -> gr.Number:
    whole = isinstance(spec.default, int)
    label = spec.name.replace("_", " ")
    return gr.Number(
        spec.default, label=label, info=spec.metadata["meaning"], precision=0 if whole else None, min_width=220
    )
