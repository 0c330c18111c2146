"""What the Backends page shows: a card for each backend, and what a run would cost. Escaped markup, no gradio."""

from collections.abc import Mapping, Sequence

from ui.charts import chip, duration, escape, wrap
from ui.run_price import dollars

GIB = 1024**3


def cards(backends: Sequence[Mapping]) -> str:
    """Every backend, the configured ones with a button to check them."""
    return wrap(f'<div class="list backends">{"".join(map(_card, backends))}</div>')


def _card(view: Mapping) -> str:
    if not view["configured"]:
        return _missing(view)
    chips = chip("usual", "accent") if view["usual"] else ""
    chips += chip("over the network") if view["remote"] else ""
    limit = view["usual_timeout_minutes"]
    ends = f"A run ends after {duration(60 * limit)} unless told otherwise." if limit else "A run has no time limit."
    waiting = f"<p>{len(view['waiting'])} waiting: {_links(view['waiting'])}</p>" if view["waiting"] else ""
    return (
        f'<section class="card"><div class="row"><h2>{escape(view["name"])}</h2>{chips}<span class="grow"></span>'
        f'<button type="button" data-act="check" data-backend="{escape(view["name"])}" '
        f'aria-label="Check {escape(view["name"])}">Check now</button></div>'
        f'<p class="muted">{escape(view["about"])} {ends}</p>{_slots(view["slots"])}{waiting}{_check(view["check"])}'
        "</section>"
    )


def _missing(view: Mapping) -> str:
    rows = "".join(
        f"<tr><th><code>{escape(one['name'])}</code></th><td>{escape(one['meaning'])}</td></tr>"
        for one in view["settings"]
    )
    return (
        f'<section class="card quiet"><div class="row"><h2>{escape(view["name"])}</h2>{chip("not configured")}</div>'
        f'<p class="muted">{escape(view["about"])} Set these where RankLoop is started, then start it again:</p>'
        f'<table class="facts">{rows}</table></section>'
    )


def _slots(slots: Sequence[Mapping]) -> str:
    cells = "".join(
        f'<li><span class="muted">{escape(one["slot"])}</span> '
        f"{_link(one['run']) + ' ' + chip(one['state'], 'busy') if one['run'] else chip('free', 'good')}</li>"
        for one in slots
    )
    return f'<ul class="slots">{cells}</ul>'


def _links(ids: Sequence[str]) -> str:
    return ", ".join(map(_link, ids))


def _link(run_id: str) -> str:
    return f'<a href="runs?run={escape(run_id)}">{escape(run_id)}</a>'


def _check(check: Mapping | None) -> str:
    if check is None:
        return '<p class="muted">Not checked yet.</p>'
    tone, word = ("good", "reachable") if check["reachable"] else ("bad", "not reachable")
    when = f"asked at {check['at'][11:19]} UTC, answered in {check['seconds']:.1f} s"
    said = f'<p>{chip(word, tone)} {escape(check["said"])} <span class="muted">({escape(when)})</span></p>'
    return said + (_hardware(check["hardware"]) if check["hardware"] else "")


def _hardware(rows: Sequence[Mapping]) -> str:
    """A table of what it offers; on a phone each row stands as a block of its own."""
    priced = any(one["price"] is not None for one in rows)
    names = ["Hardware", "What it is", "GPUs", "Memory", *(["Per hour", "A run at most"] if priced else [])]
    head = "".join(f"<th>{name}</th>" for name in names)
    lines = []
    for one in rows:
        memory = f"{one['memory'] / GIB:,.0f} GiB" if one["memory"] else "–"
        values = [one["name"], one["about"], one["accelerators"] or "–", memory]
        values += [dollars(one["price"]), dollars(one["most"])] if priced else []
        cells = "".join(
            f'<td data-label="{name}">{escape(value)}</td>' for name, value in zip(names, values, strict=True)
        )
        lines.append(f"<tr>{cells}</tr>")
    body = "".join(lines)
    return f'<table class="wide stacked hardware"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'


def estimate(
    name: str, hardware: str, minutes: int, price: float | None, most: float | None, usual: float | None
) -> str:
    """What a run would cost: the most, and what the earlier ones of its kind suggest. usual: their seconds."""
    if price is None:
        return wrap(f'<div class="okay"><b>{escape(hardware or name)}</b> has no price: it costs nothing here.</div>')
    if not minutes:
        return wrap(
            f'<div class="error">{escape(name)} has no time limit: name one, else nothing bounds the cost.</div>'
        )
    said = f"<b>At most {dollars(most)}</b>: {dollars(price)} an hour × {duration(60 * minutes)} on {escape(hardware)}."
    if usual is not None:
        took = (
            f"Earlier runs of this kind took about {duration(usual)}, which would be {dollars(price * usual / 3600)}."
        )
        said += f" {took}"
    return wrap(f'<div class="okay">{said}</div>')
