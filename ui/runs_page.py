"""The Runs page: start a run, follow it live, cancel it, understand why it failed.

Handlers are plain functions of services, auth and the form's values; layout is at the bottom. Nothing
here waits for a run: `launch` queues it, the monitor follows it, and the page re-reads storage.
"""

from collections.abc import Iterator
from dataclasses import Field, fields

import gradio as gr

from pipeline.configs import CONFIGS, InvalidOption
from pipeline.launch import NEEDED, OPTIONAL, ROLES, WITHOUT_CAMPAIGN, launch
from pipeline.preflight import preflight
from pipeline.run_life import NotCancellable, request_cancel
from pipeline.services import Services
from pipeline.snapshot import LaunchRefused
from storage import run_marks
from storage.campaigns import campaign_by_name, campaigns
from storage.records import RUN_STATES
from storage.runs import run, runs, unfinished_runs
from storage.versions import versions
from ui import run_actions
from ui.auth import Auth
from ui.charts import escape, panels, wrap
from ui.components import FAST, ONCE, Panel, RunChart, bound, live, refresh_every
from ui.run_cards import findings, run_facts, run_list
from ui.run_view import curve_rows, latest_campaign, summary

KINDS = ("reward", "ppo", "dpo", "sft", "generate", "evaluate", "score", "export", "starter")
PLACES = ("policy", "against", "reward", "base", "version")
UNNAMED = {  # what a place holds where nobody names a version
    "policy": "current policy",
    "against": "nothing",
    "reward": "newest reward model",
    "base": "the policy, under a fresh head",
    "version": "name one",
}
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


def _shown(services: Services, chosen: str | None, search: str = "", state: str = "") -> tuple:
    return chosen, run_list(services, chosen, search, state), run_live(services, chosen), run_facts(services, chosen)


def _choices(services: Services, place: str) -> list[tuple[str, str]]:
    there = reversed(versions(services.database, ROLES[place]))
    return [(UNNAMED[place], USUAL)] + [(one.name, one.name) for one in there]


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
    try:
        started = launch(services, *_wish(services, kind, campaign, values), who.id)
    except (InvalidOption, LaunchRefused) as refusal:
        return wrap(f'<div class="error">{escape(refusal)}</div>'), gr.skip(), gr.skip(), gr.skip(), gr.skip()
    said = f'<div class="okay">Run <b>{escape(started.id)}</b> is queued. It goes on when you close this page.</div>'
    return wrap(said), *_shown(services, started.id)


def check_run(services: Services, auth: Auth, request: gr.Request, kind: str, campaign: str | None, *values: object):
    """What starting it now would meet; starts nothing."""
    auth.require(request, "lead")
    return findings(preflight(services, *_wish(services, kind, campaign, values)))


def _wish(services: Services, kind: str, campaign: str | None, values: tuple) -> tuple:
    """(kind, campaign id, options, models) from the form's values."""
    named = {place: str(name) for place, name in zip(PLACES, values, strict=False) if name and name != USUAL}
    given = zip(option_fields(), values[len(PLACES) :], strict=True)
    options = {spec.name: value for (one, spec), value in given if one == kind and value is not None}
    found = campaign_by_name(services.database, campaign) if campaign else None
    allowed = NEEDED.get(kind, ()) + OPTIONAL.get(kind, ())
    models = {place: name for place, name in named.items() if place in allowed}
    return kind, found.id if found and kind not in WITHOUT_CAMPAIGN else None, options, models


def act_on_list(
    services: Services, auth: Auth, event: gr.EventData, request: gr.Request, search: str = "", state: str = ""
):
    """A click in the list opens a run."""
    auth.require(request, "lead")
    return _shown(services, _run_named_in(services, event), search, state)


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


def refresh(services: Services, auth: Auth, chosen: str | None, request: gr.Request, search: str = "", state: str = ""):
    """The list and the facts again; the live view has its own stream."""
    auth.require(request, "lead")
    return run_list(services, chosen, search, state), run_facts(services, chosen)


def show_end(services: Services, auth: Auth, event: gr.EventData, request: gr.Request):
    """A run has ended: read it once more from storage, so that its last rows and its result are there."""
    auth.require(request, "lead")
    return _shown(services, _run_named_in(services, event))


def run_live(services: Services, run_id: str | None, beside: list[str] | None = None) -> dict | None:
    """What the live view begins with: the run, its rows, and those of the runs beside it."""
    found = run(services.database, run_id) if run_id else None
    if found is None:
        return None
    others = run_actions.curves_beside(services, run_id, beside)
    return live(summary(services, found), curve_rows(services, found.id), panels(found.kind), others)


def compare(services: Services, auth: Auth, chosen: str | None, beside: list[str] | None, request: gr.Request):
    """Draw the curves of other runs beside the shown one's."""
    auth.require(request, "lead")
    return run_live(services, chosen, beside)


def act_on_run(
    services: Services,
    auth: Auth,
    chosen: str | None,
    search: str,
    state: str,
    event: gr.EventData,
    request: gr.Request,
):
    """Resume, run again or delete; then show what there is to see."""
    shown, said = run_actions.act(services, auth, chosen, event, request)
    return (said, *_shown(services, shown, search, state))


def marks(services: Services, auth: Auth, chosen: str | None, request: gr.Request):
    """Note, tags and priority of the chosen run, and which runs may stand beside it."""
    auth.require(request, "lead")
    return *run_actions.marks_of(services, chosen), gr.Dropdown(choices=run_actions.others(services, chosen), value=[])


# ---- layout


def build(services: Services, auth: Auth) -> None:
    """The page inside its route."""
    chosen = gr.State(None)
    with gr.Accordion("Start a run", open=False, elem_id="start-run"):
        kind, campaign, models, groups, options, about = _form()
        with gr.Row():
            go = gr.Button("Start run", variant="primary", size="md", scale=0, min_width=180, elem_id="start-button")
            look = gr.Button("Check first", size="md", scale=0, min_width=140, elem_id="check-button")
        said = Panel(elem_id="start-said")
    with gr.Row(equal_height=False):
        with gr.Column(scale=1, min_width=280):
            with gr.Row():
                search = gr.Textbox(label="Search", placeholder="id, note or tag", max_length=200, min_width=120)
                state = gr.Dropdown([("any", ""), *RUN_STATES], value="", label="State", min_width=100)
            runs_shown = Panel(elem_id="run-list")
        with gr.Column(scale=3, min_width=320):
            chart, done = RunChart(elem_id="run-chart"), Panel(elem_id="run-done")
            facts = Panel(elem_id="run-facts")
            beside, note, tags, priority, keep, kept = _marks_form()
    shown, filters = [chosen, runs_shown, chart, facts], [search, state]

    def on(handler):
        return bound(handler, services, auth)

    gr.on(None, on(open_page), None, [*shown, campaign, *models], **FAST)
    kind.change(on(change_kind), kind, [about, *models, *groups], **FAST)
    look.click(on(check_run), [kind, campaign, *models, *options], said, **ONCE)
    go.click(on(start_run), [kind, campaign, *models, *options], [said, *shown], **ONCE)
    runs_shown.act(on(act_on_list), filters, shown, **ONCE)
    facts.act(on(act_on_run), [chosen, *filters], [done, *shown], **ONCE)
    gr.on([search.input, state.input], on(refresh), [chosen, *filters], [runs_shown, facts], **FAST)
    chosen.change(on(marks), chosen, [note, tags, priority, beside], **FAST)
    beside.input(on(compare), [chosen, beside], chart, **FAST)
    keep.click(bound(run_actions.save_marks, services, auth), [chosen, note, tags, priority], kept, **ONCE)
    chart.cancel(on(cancel_run), None, shown, **ONCE)
    chart.ended(on(show_end), None, shown, **ONCE)
    refresh_every(3, on(refresh), [chosen, *filters], [runs_shown, facts])


def _form() -> tuple:
    with gr.Row():
        kind = gr.Dropdown(list(KINDS), value="reward", label="Kind", elem_id="run-kind")
        campaign = gr.Dropdown([], label="Campaign", elem_id="run-campaign")
        labels = {
            "policy": "Start from",
            "against": "Against",
            "reward": "Reward model",
            "base": "Go on from",
            "version": "Version",
        }
        models = [
            gr.Dropdown(
                [],
                label=labels[place],
                visible=place in NEEDED["reward"] + OPTIONAL["reward"],
                allow_custom_value=False,
            )
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


def _marks_form() -> tuple:
    with gr.Accordion("Compare, note, tags", open=False, elem_id="run-marks"):
        beside = gr.Dropdown([], label="Curves beside", info="other runs of this kind", multiselect=True, max_choices=3)
        note = gr.Textbox(label="Note", lines=2, max_length=run_marks.LONGEST_NOTE)
        with gr.Row():
            tags = gr.Textbox(label="Tags", info="separated by commas", max_length=800)
            priority = gr.Number(0, label="Priority", info="in the queue; higher starts earlier")
        keep = gr.Button("Save", size="md", scale=0, min_width=140, elem_id="marks-button")
        return beside, note, tags, priority, keep, Panel(elem_id="marks-said")


def _option(spec: Field) -> gr.Number | gr.Dropdown | gr.Checkbox | gr.Textbox:
    whole = isinstance(spec.default, int)
    label = spec.name.replace("_", " ")
    if isinstance(spec.default, bool):
        return gr.Checkbox(spec.default, label=label, info=spec.metadata["meaning"], min_width=220)
    if spec.metadata.get("pattern"):
        return gr.Textbox(spec.default, label=label, info=spec.metadata["meaning"], max_length=200, min_width=220)
    if spec.metadata["choices"]:
        choices = list(spec.metadata["choices"])
        return gr.Dropdown(choices, value=spec.default, label=label, info=spec.metadata["meaning"], min_width=220)
    return gr.Number(
        spec.default, label=label, info=spec.metadata["meaning"], precision=0 if whole else None, min_width=220
    )
