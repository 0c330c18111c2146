"""The Leaderboard page: did people prefer the new policy? Compare versions blind, promote one, roll back.

Reviewers may look, leads may act. What it shows is in `ui.standing`; handlers are plain functions of
services, auth and the form's values; layout is at the bottom.
"""

import gradio as gr

from pipeline.configs import InvalidOption
from pipeline.launch import launch
from pipeline.services import Services
from pipeline.snapshot import LaunchRefused
from storage.campaigns import campaign_by_name, campaigns, set_policy
from storage.records import Campaign
from storage.versions import version, versions
from ui import model_forms
from ui.auth import Auth
from ui.charts import escape, wrap
from ui.components import FAST, ONCE, Panel, action, bound
from ui.run_view import latest_campaign
from ui.standing import policy_card, previous, standing, version_list

PARENT = "parent"  # the baseline that leaves the choice to the version's lineage


# ---- handlers


def open_page(services: Services, auth: Auth, request: gr.Request):
    """Everything for the campaign whose run is newest, else for the first one."""
    who = auth.require(request, "reviewer")
    return _page(services, latest_campaign(services), who.may("lead"))


def choose(services: Services, auth: Auth, name: str | None, request: gr.Request):
    """Everything for another campaign."""
    who = auth.require(request, "reviewer")
    return _page(services, name, who.may("lead"))


def _page(services: Services, name: str | None, may_lead: bool) -> tuple:
    there = [one.name for one in campaigns(services.database)]
    chosen = name if name in there else there[0] if there else None
    one = campaign_by_name(services.database, chosen) if chosen else None
    which = _policies(services, one)
    against = gr.Dropdown(choices=[("its parent", PARENT), *which.choices], value=PARENT)
    forms = which, against, gr.Accordion(visible=may_lead), gr.Accordion(visible=may_lead)
    return gr.Dropdown(choices=there, value=chosen), *_shown(services, one, may_lead), *forms


def _policies(services: Services, one: Campaign | None, chosen: str | None = None) -> gr.Dropdown:
    """The campaign's policy versions to choose from, newest first."""
    names = [each.name for each in reversed(versions(services.database, "policy", one.id if one else None))]
    return gr.Dropdown(choices=names, value=chosen if chosen in names else next(iter(names), None))


def _shown(services: Services, one: Campaign | None, may_lead: bool = True) -> tuple[str, str, str]:
    return standing(services, one), policy_card(services, one, may_lead), version_list(services, one, may_lead)


def _chosen(services: Services, name: str | None) -> Campaign | None:
    return campaign_by_name(services.database, name) if name else None


def act(services: Services, auth: Auth, name: str | None, event: gr.EventData, request: gr.Request):
    """A click on a version or on `Roll back`: promote, roll back, or fill the comparison's form."""
    who = auth.require(request, "lead")
    data = event._data if isinstance(event._data, dict) else {}
    one, wanted = _chosen(services, name), str(data.get("version", ""))[:200]
    said, which, form = "", gr.skip(), gr.skip()
    if one is not None and data.get("act") == "promote":
        said = promote(services, one, wanted, who.id, "promoted on the leaderboard")
    elif one is not None and data.get("act") == "rollback":
        back = previous(services, one)
        said = promote(services, one, back or "", who.id, "rolled back")
    elif data.get("act") == "merge":
        said = model_forms.start_export(services, wanted, who.id)
    elif data.get("act") == "compare" and version(services.database, wanted):
        which, form = _policies(services, one, wanted), gr.Accordion(open=True)
    return wrap(said), *_shown(services, _chosen(services, name)), which, form


def promote(services: Services, one: Campaign, name: str, by: int, reason: str) -> str:
    """Make a policy version the campaign's current one; returns what to tell."""
    found = version(services.database, name) if name else None
    if found is None or found.role != "policy":
        return '<div class="error">There is no such policy version any more. Reload the page.</div>'
    set_policy(services.database, one.id, found.name, by, reason)
    return f'<div class="okay"><b>{escape(found.name)}</b> is the current policy of {escape(one.name)}.</div>'


def compare(
    services: Services,
    auth: Auth,
    name: str | None,
    policy: str | None,
    against: str | None,
    prompts: int | None,
    k: int | None,
    request: gr.Request,
):
    """Start a generate run whose completions of both versions become tasks, blind, before all others."""
    who = auth.require(request, "lead")
    one, chosen = _chosen(services, name), version(services.database, policy) if policy else None
    if one is None or chosen is None:
        return wrap('<div class="error">Choose a campaign and a version first.</div>')
    baseline = chosen.parent if against in (None, "", PARENT) else against
    if not baseline or baseline == chosen.name:
        return wrap('<div class="error">This version has no parent; name another version as its baseline.</div>')
    options = {"prompts": int(prompts or 0), "k": int(k or 4)}
    try:
        run = launch(services, "generate", one.id, options, {"policy": chosen.name, "against": baseline}, who.id)
    except (InvalidOption, LaunchRefused) as refusal:
        return wrap(f'<div class="error">{escape(refusal)}</div>')
    link = f'<a href="runs?run={escape(run.id)}">{escape(run.id)}</a>'
    both = f"<b>{escape(chosen.name)}</b> and <b>{escape(baseline)}</b>"
    return wrap(
        f'<div class="okay">Run {link} writes completions of {both}. They come up for ranking as it goes on.</div>'
    )


# ---- layout


def build(services: Services, auth: Auth) -> None:
    """The page inside its route."""

    def on(handler):
        return bound(handler, services, auth)

    which_campaign = gr.Dropdown([], label="Campaign", elem_id="board-campaign")
    policy, said = Panel(elem_id="policy-card"), Panel(elem_id="policy-said")
    with gr.Accordion("Compare two versions blind", open=False, elem_id="compare-form") as form:
        with gr.Row():
            which = gr.Dropdown([], label="Version", elem_id="compare-version")
            against = gr.Dropdown([], label="Baseline", elem_id="compare-against")
            prompts = gr.Number(150, label="Prompts", info="eval prompts first", precision=0, minimum=1)
            k = gr.Slider(2, 8, 4, step=2, label="Completions per task", info="half from each version")
        go, told = (
            action("Put on the board", "compare-button"),
            Panel(elem_id="compare-said"),
        )
    taking, take, asked, taken = model_forms.layout(services)
    with gr.Row(equal_height=False):
        with gr.Column(scale=3, min_width=320):
            strengths = Panel(elem_id="standing")
        with gr.Column(scale=2, min_width=320):
            shown = Panel(elem_id="version-list")
    views = [strengths, policy, shown]

    everything = [which_campaign, *views, which, against, taking, form]
    gr.on(None, on(open_page), None, everything, **FAST)
    which_campaign.input(on(choose), which_campaign, everything, **ONCE)
    policy.act(on(act), which_campaign, [said, *views, which, form], **ONCE)
    shown.act(on(act), which_campaign, [said, *views, which, form], **ONCE)
    take.click(on(model_forms.take_in), [*asked, which_campaign], [taken, shown], **ONCE)
    go.click(on(compare), [which_campaign, which, against, prompts, k], told, **ONCE)
