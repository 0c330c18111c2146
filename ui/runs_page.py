"""The Runs page: start a run, follow it live, cancel it, understand why it failed, compare it with others.

Handlers are plain functions of services, auth and the page's values; layout is at the bottom. Nothing here waits for
a run: `launch` queues it, the monitor follows it, and the page re-reads storage when the live stream says so.
"""

import gradio as gr

from pipeline.run_life import NotCancellable, request_cancel
from pipeline.services import Services
from storage import run_marks
from storage.campaigns import campaigns
from storage.records import RUN_STATES
from storage.runs import changes_told, run, runs, unfinished_runs
from ui import run_actions, run_form
from ui.auth import Auth
from ui.charts import panels
from ui.components import FAST, ONCE, SLOW, Panel, RunChart, bound, live
from ui.run_cards import run_facts, run_failure, run_list
from ui.run_comparison import side_by_side
from ui.run_form import KINDS, PLACES, USUAL, Form, choices
from ui.run_view import Filters, all_tags, curve_rows, latest_campaign, summary

# ---- handlers


def open_page(services: Services, auth: Auth, request: gr.Request):
    """What the page shows when it opens: the run named in the address, else one that is going on, else the newest."""
    auth.require(request, "lead")
    wanted = run(services.database, str(dict(request.query_params or {}).get("run") or "")[:80])
    there = [wanted] if wanted else unfinished_runs(services.database) or runs(services.database, limit=1)
    chosen = there[0].id if there else None
    names = [one.name for one in campaigns(services.database)]
    return (
        *_opened(services, chosen),
        gr.Dropdown(choices=names, value=latest_campaign(services)),
        *(gr.Dropdown(choices=choices(services, place), value=USUAL) for place in PLACES),
        gr.Dropdown(choices=[("any", ""), *names]),
        gr.Dropdown(choices=[("any", ""), *all_tags(services)]),
    )


def _shown(services: Services, chosen: str | None, filters: tuple = ()) -> tuple:
    listed = run_list(services, chosen, Filters(*filters))
    return chosen, listed, run_live(services, chosen), run_facts(services, chosen), run_failure(services, chosen)


def _opened(services: Services, chosen: str | None, filters: tuple = ()) -> tuple:
    """What is shown, and the forms below it with the run's own marks. Both are set here and not by a change of the
    State: Gradio tells the browser of such a change only for queued events."""
    others = gr.Dropdown(choices=run_actions.others(services, chosen), value=[], multiselect=True)
    return *_shown(services, chosen, filters), *run_actions.marks_of(services, chosen), others, ""


def start_run(services: Services, auth: Auth, request: gr.Request, kind: str, campaign: str | None, *values: object):
    """Queue a run with the form's values, or ask first to agree to what it can cost."""
    who = auth.require(request, "lead")
    said, made = run_form.start(services, who.id, run_form.wish_of(services, kind, campaign, values))
    return said, *(_opened(services, made.id) if made else [gr.skip()] * 10)


def agree(
    services: Services,
    auth: Auth,
    event: gr.EventData,
    request: gr.Request,
    kind: str,
    campaign: str | None,
    *values: object,
):
    """Queue the run whose price the lead has agreed to."""
    who = auth.require(request, "lead")
    wish = run_form.wish_of(services, kind, campaign, values)
    said, made = run_form.start(services, who.id, wish, run_actions.confirmed_cost(event))
    return said, *(_opened(services, made.id) if made else [gr.skip()] * 10)


def act_on_list(services: Services, auth: Auth, event: gr.EventData, request: gr.Request, *filters: object):
    """A click in the list opens a run."""
    auth.require(request, "lead")
    return _opened(services, _run_named_in(services, event), filters)


def cancel_run(services: Services, auth: Auth, event: gr.EventData, request: gr.Request, *filters: object):
    """Ask the shown run to save a checkpoint and end."""
    auth.require(request, "lead")
    found = run(services.database, _run_named_in(services, event) or "")
    try:
        if found is not None:
            request_cancel(services, found)
    except NotCancellable as error:
        gr.Warning(str(error))
    return _shown(services, found.id if found else None, filters)


def _run_named_in(services: Services, event: gr.EventData) -> str | None:
    data = event._data if isinstance(event._data, dict) else {}
    found = run(services.database, str(data.get("run", ""))[:80])
    return found.id if found else None


def refresh(services: Services, auth: Auth, chosen: str | None, request: gr.Request, *filters: object):
    """The list and the facts again; the live view has its own stream, which says when to ask for these."""
    auth.require(request, "lead")
    listed = run_list(services, chosen, Filters(*filters))
    return listed, run_facts(services, chosen), run_failure(services, chosen)


def show_end(services: Services, auth: Auth, event: gr.EventData, request: gr.Request, *filters: object):
    """A run has ended: read it once more from storage, so that its last rows and its result are there."""
    auth.require(request, "lead")
    return _shown(services, _run_named_in(services, event), filters)


def run_live(services: Services, run_id: str | None, beside: list[str] | None = None) -> dict:
    """What the live view begins with: the run, its rows, and those of the runs beside it."""
    found = run(services.database, run_id) if run_id else None
    changes = changes_told(services.database)
    if found is None:
        return live(None, [], [], changes=changes)
    others = run_actions.curves_beside(services, run_id, beside)
    return live(summary(services, found), curve_rows(services, found.id), panels(found.kind), others, changes)


def compare(services: Services, auth: Auth, chosen: str | None, beside: list[str] | None, request: gr.Request):
    """Draw the curves of other runs beside the shown one's, and tell what differs."""
    auth.require(request, "lead")
    others = run_actions.allowed_beside(services, chosen, beside)
    return run_live(services, chosen, others), side_by_side(services, [chosen, *others]) if others else ""


def act_on_run(
    services: Services, auth: Auth, chosen: str | None, event: gr.EventData, request: gr.Request, *filters: object
):
    """Resume, run again or delete; then show what there is to see. Changing the options is the form's business."""
    auth.require(request, "lead")
    if isinstance(event._data, dict) and event._data.get("act") == "change":
        return gr.skip()
    shown, said = run_actions.act(services, auth, chosen, event, request)
    return (said, *_opened(services, shown, filters))


# ---- layout


def build(services: Services, auth: Auth) -> None:
    """The page inside its route."""
    chosen = gr.State(None)
    with gr.Accordion("Start a run", open=False, elem_id="start-run") as whole:
        form = run_form.build(services.backends)
        with gr.Row():
            go = gr.Button("Start run", variant="primary", size="md", scale=0, min_width=180, elem_id="start-button")
            look = gr.Button("Check first", size="md", scale=0, min_width=140, elem_id="check-button")
        said = Panel(elem_id="start-said")
    with gr.Row(equal_height=False):
        with gr.Column(scale=1, min_width=280):
            filters = _filters()
            runs_shown = Panel(elem_id="run-list")
        with gr.Column(scale=3, min_width=320):
            failure, chart = Panel(elem_id="run-failure"), RunChart(elem_id="run-chart")
            done, facts = Panel(elem_id="run-done"), Panel(elem_id="run-facts")
            with gr.Accordion("Compare with other runs", open=False, elem_id="run-compare"):
                info = "of the same kind, up to three: curves are drawn dashed above"
                beside = gr.Dropdown([], label="Runs", info=info, multiselect=True, max_choices=run_actions.BESIDE)
                differ = Panel(elem_id="run-differ")
            note, tags, priority, keep, kept = _marks_form()
    shown = [chosen, runs_shown, chart, facts, failure]
    opened = [*shown, note, tags, priority, beside, differ]

    def on(handler):
        return bound(handler, services, auth)

    _bind_form(form, on, said, opened, (go, look))
    gr.on(None, on(open_page), None, [*opened, form.campaign, *form.models, filters[3], filters[4]], **FAST)
    facts.act(on(run_form.fill), chosen, [whole, said, *form.outputs], **ONCE)
    facts.act(on(act_on_run), [chosen, *filters], [done, *opened], **ONCE)
    done.act(on(act_on_run), [chosen, *filters], [done, *opened], **ONCE)
    runs_shown.act(on(act_on_list), filters, opened, **ONCE)
    narrowed = [filters[0].input, *(one.input for one in filters[1:])]
    gr.on(narrowed, on(refresh), [chosen, *filters], [runs_shown, facts, failure], **FAST)
    chart.listed(on(refresh), [chosen, *filters], [runs_shown, facts, failure], **FAST)
    beside.input(on(compare), [chosen, beside], [chart, differ], **FAST)
    keep.click(bound(run_actions.save_marks, services, auth), [chosen, note, tags, priority], kept, **ONCE)
    chart.cancel(on(cancel_run), filters, shown, **ONCE)
    chart.ended(on(show_end), filters, shown, **ONCE)


def _bind_form(form: Form, on, said: Panel, opened: list, buttons: tuple[gr.Button, gr.Button]) -> None:
    go, look = buttons
    form.kind.change(on(run_form.change_kind), form.kind, [form.about, *form.models, *form.groups], **FAST)
    backend, hardware = form.resources[:2]
    backend.input(on(run_form.change_backend), backend, hardware, **FAST)
    look.click(on(run_form.check_run), form.inputs, said, **SLOW)
    go.click(on(start_run), form.inputs, [said, *opened], **SLOW)
    said.act(on(agree), form.inputs, [said, *opened], **SLOW)


def _filters() -> list:
    """Search, state, kind, campaign and tag, in the order of `Filters`."""
    search = gr.Textbox(label="Search", placeholder="id, note or tag", max_length=200, min_width=120)
    with gr.Accordion("Filter", open=False, elem_id="run-filters"):
        with gr.Row():
            state = gr.Dropdown([("any", ""), *RUN_STATES], value="", label="State", min_width=100)
            kind = gr.Dropdown([("any", ""), *KINDS], value="", label="Kind", min_width=100)
        with gr.Row():
            campaign = gr.Dropdown([("any", "")], value="", label="Campaign", min_width=100)
            tag = gr.Dropdown([("any", "")], value="", label="Tag", min_width=100)
    return [search, state, kind, campaign, tag]


def _marks_form() -> tuple:
    with gr.Accordion("Note, tags, place in the queue", open=False, elem_id="run-marks"):
        note = gr.Textbox(label="Note", lines=2, max_length=run_marks.LONGEST_NOTE)
        with gr.Row():
            tags = gr.Textbox(label="Tags", info="separated by commas", max_length=800)
            priority = gr.Number(0, label="Priority", info="in the queue; higher starts earlier")
        keep = gr.Button("Save", size="md", scale=0, min_width=140, elem_id="marks-button")
        return note, tags, priority, keep, Panel(elem_id="marks-said")
