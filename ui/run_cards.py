"""What the Runs page shows beside the live curves: the list of runs, and the facts of one.

Escaped markup, no gradio.
"""

from collections.abc import Sequence

from pipeline.preflight import Finding
from pipeline.services import Services
from storage.runs import run, runs
from ui.charts import chip, duration, empty, escape, progress_bar, table, wrap
from ui.reward_report_cards import reward_report
from ui.run_view import detail, matching, summary

SHOWN = 40  # runs in the list
TONES = {"succeeded": "good", "failed": "bad", "cancelled": ""}


def run_list(services: Services, chosen: str | None, search: str = "", state: str = "") -> str:
    """The newest runs that match, the chosen one marked."""
    there = runs(services.database)
    found = matching(there, search or "", state)[:SHOWN]
    if there and not found:
        return wrap(empty("No run matches", "Change the words or the state above."))
    if not found:
        return wrap(empty("No run yet", "Rank some tasks first, then train a reward model or start a DPO run."))
    cards = (_run_card(summary(services, one), one.id == chosen) for one in found)
    return wrap(f'<div class="list runs">{"".join(cards)}</div>')


def _run_card(view: dict, chosen: bool) -> str:
    ended = view["remaining"] is None and view["state"] in TONES
    share = view["step"] / view["total"] if view["total"] else 0.0
    left = f" · about {duration(view['remaining'])} left" if view["remaining"] is not None else ""
    words = f"took {duration(view['elapsed'])}" if ended else f"{duration(view['elapsed'])}{left}"
    if view["state"] == "queued":
        words = "next in the queue" if view["place"] == 1 else f"number {view['place']} in the queue"
    tags = "".join(chip(tag) for tag in view["tags"])
    return (
        f'<div class="card{" chosen" if chosen else ""}"><div class="row">'
        f'<button type="button" class="link" data-act="open" data-run="{escape(view["run"])}">{escape(view["run"])}'
        f"</button>{chip(view['state'], TONES.get(view['state'], 'busy'))}{tags}</div>"
        f'<div class="muted">{escape(view["campaign"] or "no campaign")} · {escape(words)}</div>'
        f"{'' if ended else progress_bar(share)}</div>"
    )


def findings(found: Sequence[Finding]) -> str:
    """What a look before the start found; problems first."""
    tones = {"problem": "bad", "warning": "busy", "fact": ""}
    rows = "".join(
        f"<tr><td>{chip(one.level, tones[one.level])}</td><td>{escape(one.about)}</td><td>{escape(one.said)}</td></tr>"
        for one in found
    )
    ready = all(one.level != "problem" for one in found)
    head = "It can start." if ready else "It cannot start like this."
    return wrap(f'<div class="{"okay" if ready else "error"}"><b>{head}</b></div><table class="wide">{rows}</table>')


def run_facts(services: Services, run_id: str | None) -> str:
    """Error and log of a failed run, result figures, and what was asked."""
    found = run(services.database, run_id) if run_id else None
    if found is None:
        return ""
    view = detail(services, found)
    asked = [("Campaign", view["campaign"]), ("Started by", view["created_by"]), ("Data", view["data_hash"])]
    asked += [(place, name) for place, name in view["models"].items()] + list(view["options"].items())
    came_out = ([("Made version", view["version"])] if view["version"] else []) + list(view["metrics"].items())
    folder = _download(view)
    result = f'<div class="card"><h3>Result</h3>{table(came_out)}{folder}</div>' if came_out else ""
    options = f'<div class="card"><h3>Asked for</h3>{table([(n, v) for n, v in asked if v is not None])}</div>'
    note = f"<p>{escape(view['note'])}</p>" if view["note"] else ""
    shown = reward_report(view["report"])
    return wrap(_acts(view), note, _failure(view), f'<div class="columns">{result}{options}</div>', shown)


def _download(view: dict) -> str:
    """The link to the folder that an export run wrote."""
    if not view["download"]:
        return ""
    return f'<p><a href="{escape(view["download"])}" download>Download the folder</a></p>'


def _acts(view: dict) -> str:
    """The buttons for what may be done with the run now."""
    if view["state"] not in TONES:
        return ""
    ask = "Delete this run and its files? Its curves stay in storage; versions it made can no longer be loaded."
    resume = '<button type="button" data-act="resume">Resume from its checkpoint</button>' if view["resumable"] else ""
    again = '<button type="button" data-act="again">Run again</button>'
    delete = f'<button type="button" class="danger" data-act="delete" data-confirm="{escape(ask)}">Delete</button>'
    return f'<div class="row spaced">{resume}{again}{delete}</div>'


def _failure(view: dict) -> str:
    if view["state"] == "cancelled":
        return f'<p class="muted">{escape(view["reason"] or "cancelled")}</p>'
    if not view["error"]:
        return ""
    log = f"<details><summary>End of the log</summary><pre>{escape(view['log'])}</pre></details>" if view["log"] else ""
    return f'<div class="error"><b>The run failed.</b> {escape(view["error"])}{log}</div>'
