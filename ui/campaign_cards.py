"""What the Campaigns page shows: a card per campaign, the head and the overview of a chosen one. Escaped, no gradio."""

from datetime import UTC, datetime

from pipeline.services import Services
from storage import campaigns
from storage.progress import Progress, progress
from storage.quality import alarms
from storage.records import Campaign
from storage.setups import setup
from storage.summaries import counts, models
from ui.campaign_fields import facts
from ui.charts import chip, duration, empty, escape, figures, number, progress_bar, table, wrap

STATES = {"open": "good", "paused": "busy", "closed": ""}
CHANGES = {  # what a campaign in a state can become: the word on the button, and what follows
    "open": (("paused", "Pause"), ("closed", "Close")),
    "paused": (("open", "Reopen"), ("closed", "Close")),
    "closed": (("open", "Reopen"),),
}
FOLLOWS = {
    "paused": "Nobody gets tasks of it until it is reopened. Answers that are on their way are still taken, and "
    "annotators can revise.",
    "closed": "Nobody gets tasks of it and nobody can revise an answer. Answers that are on their way are still taken. "
    "It can be reopened.",
    "open": "Annotators get its tasks again and can revise their answers.",
}


def campaign_cards(services: Services) -> str:
    """All campaigns, open ones first."""
    found = campaigns.campaigns(services.database)
    if not found:
        return wrap(empty("No campaign yet", "Create one below, or import a file: it makes its campaign."))
    order = sorted(found, key=lambda one: (list(STATES).index(one.state), -one.id))
    return wrap(f'<div class="cards">{"".join(_card(services, one) for one in order)}</div>')


def _card(services: Services, one: Campaign) -> str:
    told, how_far = counts(services.database, one.id), progress(services.database, one.id)
    names = ("prompts", "completions", "rankings", "annotators")
    return (
        f'<div class="card campaign"><div class="row">'
        f'<button type="button" class="link" data-act="open" data-campaign="{one.id}">{escape(one.name)}</button>'
        f"{chips(services, one)}</div>"
        f"{_progress(services, one, told, how_far)}{alarm_lines(services, one)}"
        f"{figures([(name, told.get(name) or 0) for name in names])}"
        f'<div class="row"><button type="button" class="main" data-act="open" data-campaign="{one.id}">Open</button>'
        f"{state_buttons(one)}</div></div>"
    )


def chips(services: Services, one: Campaign) -> str:
    """State, criterion, form and policy of a campaign."""
    chosen = setup(services.database, one.id)
    marks = chip(one.state, STATES.get(one.state, "")) + chip(one.criterion)
    marks += chip(chosen.form) if chosen.form != "ranking" else ""
    marks += chip("members only") if chosen.members_only else ""
    return marks + (chip(f"policy {one.policy}", "accent") if one.policy else "")


def state_buttons(one: Campaign) -> str:
    """Pause, close, reopen; each asks first and says what happens."""
    return "".join(
        f'<button type="button" data-act="state" data-campaign="{one.id}" data-state="{state}" '
        f'data-confirm="{escape(f"{words} {one.name}? {FOLLOWS[state]}")}">{words}</button>'
        for state, words in CHANGES[one.state]
    )


def alarm_lines(services: Services, one: Campaign) -> str:
    """What a lead must look at."""
    return "".join(f'<p class="alarm">{escape(words)}</p>' for words in alarms(services.database, one.id))


def _progress(services: Services, one: Campaign, told: dict, how_far: Progress) -> str:
    tasks, done = told.get("tasks") or 0, told.get("tasks_done") or 0
    words = f"{number(done)} of {number(tasks)} tasks done · each by {one.overlap}"
    return (
        f'{progress_bar(how_far.share)}<p class="muted">{escape(words)}</p>'
        f'<p class="muted" title="{escape(how_it_was_computed(how_far))}">{escape(expected_end(how_far))}</p>'
    )


def expected_end(how_far: Progress) -> str:
    """When the campaign ends at the recent pace, in a few words."""
    if not how_far.wanted:
        return "No tasks yet"
    if not how_far.left:
        return "All answers are in"
    if how_far.end is None:
        return f"{number(how_far.left)} answers left; nobody answered lately, so the end is not known"
    return f"Done about {when(how_far.end, how_far.now)} at the recent pace"


def how_it_was_computed(how_far: Progress) -> str:
    """The figures behind the expected end."""
    if how_far.end is None:
        return f"{number(how_far.answers)} of {number(how_far.wanted)} answers are in."
    return (
        f"{number(how_far.left)} answers left at {number(how_far.pace)} an hour, the pace of the last "
        f"{duration(how_far.hours * 3600)} in which somebody answered, if work goes on without a pause."
    )


def when(moment: datetime, now: datetime | None = None) -> str:
    """A moment as people say it: with the time while it is near, with the year while it is not. In UTC."""
    days = (moment - (now or datetime.now(UTC))).days
    form = "%-d %b %H:%M UTC" if days < 14 else "%-d %b %Y"
    return moment.astimezone(UTC).strftime(form)


def head(services: Services, campaign_id: int | None) -> str:
    """The chosen campaign's name, state and what can be done with it."""
    one = campaigns.campaign(services.database, campaign_id or 0)
    if one is None:
        return ""
    return wrap(
        f'<div class="campaign-head"><button type="button" data-act="list">‹ All campaigns</button>'
        f'<div class="row"><h2>{escape(one.name)}</h2>{chips(services, one)}</div>'
        f'<div class="row"><a class="button" href="preview?campaign={one.id}">See it as an annotator does</a>'
        f"{state_buttons(one)}</div></div>"
    )


def overview(services: Services, campaign_id: int | None) -> str:
    """How far it is, what it holds and how it is set up."""
    one = campaigns.campaign(services.database, campaign_id or 0)
    if one is None:
        return ""
    told, how_far = counts(services.database, one.id), progress(services.database, one.id)
    names = ("prompts", "completions", "tasks", "tasks_done", "rankings", "annotators")
    first = (
        f'<div class="card"><h3>Progress</h3>{_progress(services, one, told, how_far)}'
        f'<p class="muted">{escape(how_it_was_computed(how_far))}</p>{alarm_lines(services, one)}'
        f"{figures([(name.replace('_', ' '), told.get(name) or 0) for name in names])}{_next_step(told)}</div>"
    )
    return wrap(f'<div class="columns">{first}{_setup_card(services, one)}{_models_card(services, one)}</div>')


def _next_step(told: dict) -> str:
    if not told.get("prompts"):
        return '<p class="muted">Next: add prompts under Data, or import a file.</p>'
    if not told.get("tasks"):
        return '<p class="muted">Next: let a policy write completions under Setup, or import some.</p>'
    return ""


def _setup_card(services: Services, one: Campaign) -> str:
    chosen = setup(services.database, one.id)
    rows = [("Form", chosen.form), ("Criterion", one.criterion), ("Completions per task", one.k)]
    rows += [
        ("Overlap", one.overlap),
        ("Guidelines", f"version {one.guidelines_version}" if one.guidelines else "none"),
    ]
    rows += [(name, value) for name, value in facts(chosen).items() if name != "Form"]
    return f'<div class="card"><h3>How it is set up</h3>{table(rows)}</div>'


def _models_card(services: Services, one: Campaign) -> str:
    rows = models(services.database, one.id)
    if not rows:
        return ""
    lines = "".join(
        f"<tr><td>{escape(row['model'])}</td><td>{number(row['completions'])}</td><td>{number(row['prompts'])}</td></tr>"
        for row in rows
    )
    head_row = "<thead><tr><th>model</th><th>completions</th><th>prompts</th></tr></thead>"
    body = f'<div class="scroll"><table class="wide">{head_row}<tbody>{lines}</tbody></table></div>'
    return f'<div class="card"><h3>Who wrote the completions</h3>{body}</div>'
