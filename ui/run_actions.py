"""What a lead does with the shown run on the Runs page: resume, run again, delete, note and tags, curves beside it.

Handlers are plain functions; each returns words for the page and leaves drawing to run_cards.py.
"""

import gradio as gr

from pipeline import run_life
from pipeline.configs import InvalidOption
from pipeline.run_directory import RunDirectory
from pipeline.services import Services
from pipeline.snapshot import LaunchRefused
from storage import run_marks
from storage.records import InvalidRecord, Person, Run
from storage.runs import NotResumable, run, runs
from ui.auth import Auth
from ui.charts import escape, wrap
from ui.run_price import Price, dollars, price_of
from ui.run_view import curve_rows, resources

REFUSALS = (run_life.NotDeletable, NotResumable, InvalidOption, LaunchRefused, InvalidRecord, OSError)
BESIDE = 3  # runs whose curves are drawn beside the shown one


def act(services: Services, auth: Auth, chosen: str | None, event: gr.EventData, request: gr.Request) -> tuple:
    """A button under the run: resume, again or delete. Returns (the run to show now, words).

    Resuming and running again ask first to agree to what that can cost; the button that agrees carries the price.
    """
    who = auth.require(request, "lead")
    found = run(services.database, chosen or "")
    wish = event._data.get("act") if isinstance(event._data, dict) else None
    if found is None or wish not in ACTS:
        return chosen, wrap('<div class="error">Choose a run first.</div>')
    try:
        if wish != "delete" and (asked := _price(services, found, wish, confirmed_cost(event))):
            return chosen, asked
        return ACTS[wish](services, found, who, confirmed_cost(event))
    except REFUSALS as refusal:
        return chosen, wrap(f'<div class="error">{escape(refusal)}</div>')


def _price(services: Services, found: Run, wish: str, confirmed: float | None) -> str:
    """The question whether the lead agrees to the price, "" where there is none or it was answered."""
    price = price_of(services, found.kind, resources(RunDirectory(services.directory(found))))
    return "" if price is None or price.agreed(confirmed) else confirmation(price, wish)


def _resume(services: Services, found: Run, who: Person, confirmed: float | None) -> tuple[str, str]:
    run_life.resume(services, found, who.name, confirmed_cost=confirmed)
    return found.id, _okay(f"{found.id} is queued again. It goes on from its last checkpoint.")


def _again(services: Services, found: Run, who: Person, confirmed: float | None) -> tuple[str, str]:
    started = run_life.again(services, found, created_by=who.id, confirmed_cost=confirmed)
    return started.id, _okay(f"{started.id} is queued: {found.id} once more, on today's data.")


def _delete(services: Services, found: Run, who: Person, _confirmed: float | None) -> tuple[str | None, str]:
    run_life.delete(services, found, who.name)
    left = runs(services.database, limit=1)
    return (left[0].id if left else None), _okay(f"{found.id} and its files are deleted.")


ACTS = {"resume": _resume, "again": _again, "delete": _delete}


def save_marks(
    services: Services, auth: Auth, chosen: str | None, note: str, tags: str, priority: float, request: gr.Request
) -> str:
    """Store note, tags (separated by commas) and the place in the queue."""
    who = auth.require(request, "lead")
    if run(services.database, chosen or "") is None:
        return wrap('<div class="error">Choose a run first.</div>')
    try:
        run_marks.set_note(services.database, chosen, note or "", who.id)
        run_marks.set_tags(services.database, chosen, (tags or "").split(","), who.id)
        run_marks.set_priority(services.database, chosen, float(priority or 0), who.id)
    except InvalidRecord as refusal:
        return wrap(f'<div class="error">{escape(refusal)}</div>')
    return _okay("Saved.")


def marks_of(services: Services, chosen: str | None) -> tuple[str, str, float]:
    """Note, tags and priority of a run, as the form shows them."""
    found = run(services.database, chosen or "")
    return (found.note, ", ".join(found.tags), found.priority) if found else ("", "", 0.0)


def others(services: Services, chosen: str | None) -> list[str]:
    """The runs whose curves may be drawn beside the chosen one: those of its kind, newest first."""
    found = run(services.database, chosen or "")
    return [one.id for one in runs(services.database, found.kind) if one.id != chosen] if found else []


def allowed_beside(services: Services, chosen: str | None, wanted: list[str] | None) -> list[str]:
    """Of the runs that were asked for, up to three of the same kind."""
    allowed = set(others(services, chosen))
    return [name for name in dict.fromkeys(wanted or []) if name in allowed][:BESIDE]


def curves_beside(services: Services, chosen: str | None, wanted: list[str] | None) -> list[dict]:
    """{"run", "rows"} of up to three other runs of the same kind."""
    picked = allowed_beside(services, chosen, wanted)
    return [{"run": name, "rows": curve_rows(services, name)} for name in picked]


def confirmation(price: Price, wish: str) -> str:
    """Asks the lead to agree to what a run can cost. wish: the act that the button repeats."""
    return wrap(
        f'<div class="ask"><b>Nothing has started yet.</b> {escape(price.said)}<div class="row spaced">'
        f'<button type="button" class="main" data-act="{escape(wish)}" data-price="{price.most:.4f}">'
        f"Start it for up to {escape(dollars(price.most))}</button></div></div>"
    )


def confirmed_cost(event: gr.EventData) -> float | None:
    """The dollars on the button that was clicked; None for any other button."""
    sent = event._data.get("price") if isinstance(event._data, dict) else None
    try:
        return float(sent) if isinstance(sent, str) else None
    except ValueError:
        return None


def _okay(words: str) -> str:
    return wrap(f'<div class="okay">{escape(words)}</div>')
