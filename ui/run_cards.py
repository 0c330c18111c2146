"""What the Runs page shows beside the live curves: the list of runs, and the facts of one.

Escaped markup, no gradio.
"""

from pipeline.services import Services
from storage.runs import run, runs
from ui.charts import chip, duration, empty, escape, progress_bar, table, wrap
from ui.run_view import detail, summary

SHOWN = 40  # runs in the list
TONES = {"succeeded": "good", "failed": "bad", "cancelled": ""}


def run_list(services: Services, chosen: str | None) -> str:
    found = runs(services.database, limit=SHOWN)
    if not found:
        return wrap(empty("No run yet", "Rank some tasks first, then train a reward model or start a DPO run."))
    cards = (_run_card(summary(services, one), one.id == chosen) for one in found)
    return wrap(f'<div class="list runs">{"".join(cards)}</div>')


def _run_card(view: dict, chosen: bool) -> str:
    ended = view["remaining"] is None and view["state"] in TONES
    share = view["step"] / view["total"] if view["total"] else 0.0
    left = f" · about {duration(view['remaining'])} left" if view["remaining"] is not None else ""
    words = f"took {duration(view['elapsed'])}" if ended else f"{duration(view['elapsed'])}{left}"
    return (
        f'<div class="card{" chosen" if chosen else ""}"><div class="row">'
        f'<button type="button" class="link" data-act="open" data-run="{escape(view["run"])}">{escape(view["run"])}'
        f"</button>{chip(view['state'], TONES.get(view['state'], 'busy'))}</div>"
        f'<div class="muted">{escape(view["campaign"] or "no campaign")} · {escape(words)}</div>'
        f"{'' if ended else progress_bar(share)}</div>"
    )


def run_facts(services: Services, run_id: str | None) -> str:
    """Error and log of a failed run, result figures, and what was asked."""
    found = run(services.database, run_id) if run_id else None
    if found is None:
        return ""
    view = detail(services, found)
    asked = [("Campaign", view["campaign"]), ("Started by", view["created_by"]), ("Data", view["data_hash"])]
    asked += [(place, name) for place, name in view["models"].items()] + list(view["options"].items())
    came_out = ([("Made version", view["version"])] if view["version"] else []) + list(view["metrics"].items())
    result = f'<div class="card"><h3>Result</h3>{table(came_out)}</div>' if came_out else ""
    options = f'<div class="card"><h3>Asked for</h3>{table([(n, v) for n, v in asked if v is not None])}</div>'
    return wrap(_failure(view), f'<div class="columns">{result}{options}</div>')


def _failure(view: dict) -> str:
    if view["state"] == "cancelled":
        return f'<p class="muted">{escape(view["reason"] or "cancelled")}</p>'
    if not view["error"]:
        return ""
    log = f"<details><summary>End of the log</summary><pre>{escape(view['log'])}</pre></details>" if view["log"] else ""
    return f'<div class="error"><b>The run failed.</b> {escape(view["error"])}{log}</div>'
