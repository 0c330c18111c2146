"""What the Campaigns page shows: a card per campaign, and the report of an import. Escaped markup, no gradio."""

from urllib.parse import quote

from pipeline.services import Services
from storage.campaigns import campaigns
from storage.records import Campaign
from storage.summaries import counts
from ui.charts import chip, empty, escape, figures, number, progress_bar, wrap

REFUSED_SHOWN = 50
STATES = {"open": "good", "paused": "busy", "closed": ""}


def campaign_cards(services: Services) -> str:
    found = campaigns(services.database)
    if not found:
        return wrap(empty("No campaign yet", "Create one below, or import a file: it makes its campaign."))
    return wrap(f'<div class="cards">{"".join(_card(services, one) for one in found)}</div>')


def _card(services: Services, one: Campaign) -> str:
    told = counts(services.database, one.id)
    done, tasks = told.get("tasks_done") or 0, told.get("tasks") or 0
    share = done / tasks if tasks else 0.0
    names = ("prompts", "completions", "rankings", "annotators")
    chips = chip(one.state, STATES.get(one.state, "")) + chip(one.criterion)
    chips += chip(f"policy {one.policy}", "accent") if one.policy else ""
    progress = f"{number(done)} of {number(tasks)} tasks done · each by {one.overlap}"
    return (
        f'<div class="card"><div class="row"><h3>{escape(one.name)}</h3>{chips}</div>'
        f'{progress_bar(share)}<p class="muted">{escape(progress)}</p>'
        f"{figures([(name, told.get(name) or 0) for name in names])}"
        f'<div class="row">{_export_link(one, "trl", "Export for TRL")}{_export_link(one, "raw", "Export everything")}'
        f'<button type="button" data-act="edit" data-campaign="{escape(one.name)}">Edit</button></div></div>'
    )


def _export_link(one: Campaign, form: str, words: str) -> str:
    address = f"api/v1/exports/{form}?campaign={quote(one.name, safe='')}"
    return f'<a class="button" href="{escape(address)}" download>{escape(words)}</a>'


def import_report(told: dict) -> str:
    """What came in, and each refused line with its field, what was found and what was expected."""
    names = ("prompts", "completions", "tasks", "preferences", "demonstrations", "rankings", "unchanged")
    refused = told.get("refused") or []
    taken = sum(told.get(name) or 0 for name in names[:-1])
    tone = "okay" if taken or not refused else "error"
    head = f"Imported into <b>{escape(told.get('campaign') or '–')}</b>" if tone == "okay" else "Nothing was taken in"
    if tone == "okay" and not taken:
        head = f"Nothing new for <b>{escape(told.get('campaign') or '–')}</b>: every record was there already"
    facts = figures([(name, told.get(name) or 0) for name in names if told.get(name)])
    return wrap(f'<div class="{tone}">{head}{facts}</div>', _refused_table(refused))


def _refused_table(refused: list[dict]) -> str:
    if not refused:
        return ""
    lines = "".join(
        "<tr>"
        + "".join(f"<td>{escape(one.get(key, ''))}</td>" for key in ("line", "field", "found", "expected"))
        + "</tr>"
        for one in refused[:REFUSED_SHOWN]
    )
    more = len(refused) - REFUSED_SHOWN
    rest = f'<p class="muted">and {more} more</p>' if more > 0 else ""
    head = "<thead><tr><th>line</th><th>field</th><th>found</th><th>expected</th></tr></thead>"
    table = f'<div class="scroll"><table class="wide">{head}<tbody>{lines}</tbody></table></div>'
    return f'<div class="card"><h3>{len(refused)} refused</h3>{table}{rest}</div>'
