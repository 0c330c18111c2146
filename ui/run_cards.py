"""What the Runs page shows beside the live curves: the list of runs, and the facts of one.

Escaped markup, no gradio.
"""

from collections.abc import Sequence
from dataclasses import asdict

from pipeline.preflight import Finding
from pipeline.resources import Resources
from pipeline.services import Services
from storage.runs import run, runs
from ui.charts import chip, duration, empty, escape, progress_bar, table, wrap
from ui.reward_report_cards import reward_report
from ui.run_view import Filters, detail, matching, summary

SHOWN = 40  # runs in the list
LAST_LINES = 8  # lines of the log that stand beside the reason of a failure
_USUAL = asdict(Resources())
TONES = {"succeeded": "good", "failed": "bad", "cancelled": ""}


def run_list(services: Services, chosen: str | None, filters: Filters | None = None) -> str:
    """The newest runs that fit, the chosen one marked."""
    found = matching(services, filters or Filters())
    if not found and runs(services.database, limit=1):
        return wrap(empty("No run matches", "Change the words or the filters above."))
    if not found:
        return wrap(empty("No run yet", "Rank some tasks first, then train a reward model or start a DPO run."))
    cards = "".join(_run_card(summary(services, one), one.id == chosen) for one in found[:SHOWN])
    more = len(found) - SHOWN
    rest = f'<p class="muted">and {more} older ones: search or filter to see them</p>' if more > 0 else ""
    return wrap(f'<div class="list runs">{cards}</div>{rest}')


def _run_card(view: dict, chosen: bool) -> str:
    ended = view["remaining"] is None and view["state"] in TONES
    share = view["step"] / view["total"] if view["total"] else 0.0
    tags = "".join(chip(tag) for tag in view["tags"])
    current = ' aria-current="true"' if chosen else ""
    silent = f'<div class="alarm">silent for {duration(view["silent"])}</div>' if view["silent"] else ""
    return (
        f'<div class="card{" chosen" if chosen else ""}" data-card="{escape(view["run"])}"><div class="row">'
        f'<button type="button" class="link" data-act="open" data-run="{escape(view["run"])}"{current}>'
        f"{escape(view['run'])}</button>{chip(view['state'], TONES.get(view['state'], 'busy'))}{tags}</div>"
        f'<div class="muted">{escape(view["campaign"] or "no campaign")}</div>'
        f'<div class="muted" data-words>{escape(_words(view, ended))}</div>'
        f"{silent}{'' if ended or view['state'] == 'queued' else progress_bar(share)}</div>"
    )


def _words(view: dict, ended: bool) -> str:
    """How long it took, how long it will, or when it is its turn."""
    if view["state"] == "queued":
        begins = f", starts in about {duration(view['starts_in'])}" if view.get("starts_in") else ""
        return (f"next in the queue{begins}") if view["place"] == 1 else f"number {view['place']} in the queue{begins}"
    left = f" · about {duration(view['remaining'])} left" if view["remaining"] is not None else ""
    return f"took {duration(view['elapsed'])}" if ended else f"{duration(view['elapsed'])}{left}"


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
    """What may be done with a run, its result figures, and what was asked."""
    found = run(services.database, run_id) if run_id else None
    if found is None:
        return ""
    view = detail(services, found)
    asked = [("campaign", view["campaign"]), ("started by", view["created_by"])]
    asked += [("data", view["data_hash"][:16] + "…" if view["data_hash"] else None), ("on", view["slot"] or None)]
    asked += list(view["models"].items()) + list(view["options"].items())
    asked += [(name, value) for name, value in view["resources"].items() if value != _USUAL.get(name)]
    came_out = ([("made version", view["version"])] if view["version"] else []) + list(view["metrics"].items())
    folder = _download(view)
    result = f'<div class="card"><h3>Result</h3>{table(came_out)}{folder}</div>' if came_out or folder else ""
    options = f'<div class="card"><h3>Asked for</h3>{table([(n, v) for n, v in asked if v is not None])}</div>'
    note = f'<p class="note">{escape(view["note"])}</p>' if view["note"] else ""
    shown = reward_report(view["report"])
    return wrap(_acts(view), note, f'<div class="columns">{result}{options}</div>', shown)


def _download(view: dict) -> str:
    """The link to the folder that an export run wrote."""
    if not view["download"]:
        return ""
    return f'<p><a href="{escape(view["download"])}" download>Download the folder</a></p>'


def _acts(view: dict) -> str:
    """The buttons for what may be done with the run now."""
    ask = "Delete this run and its files? Its curves stay in storage; versions it made can no longer be loaded."
    resume = '<button type="button" data-act="resume">Resume from its checkpoint</button>' if view["resumable"] else ""
    again = '<button type="button" data-act="again">Run again</button>'
    change = '<button type="button" data-act="change" data-show="#start-run">Change and run again</button>'
    delete = f'<button type="button" class="danger" data-act="delete" data-confirm="{escape(ask)}">Delete</button>'
    ended = view["state"] in TONES
    return f'<div class="row spaced">{resume if ended else ""}{again}{change}{delete if ended else ""}</div>'


def run_failure(services: Services, run_id: str | None) -> str:
    """Why a run failed, with the last lines of its log; the reason that was given for a cancelled one."""
    found = run(services.database, run_id) if run_id else None
    if found is None or found.state not in ("failed", "cancelled"):
        return ""
    view = detail(services, found)
    if found.state == "cancelled":
        return wrap(f'<p class="muted">{escape(view["reason"] or "cancelled")}</p>')
    reason, _, end = (view["error"] or "").partition("; its log ends with:\n")
    lines = end.splitlines() or view["log"].splitlines()
    last = f"<p>Its log ends with:</p><pre>{escape(chr(10).join(lines[-LAST_LINES:]))}</pre>" if lines else ""
    return wrap(f'<div class="error"><b>The run failed.</b> {escape(reason)}{last}</div>')
