"""The report of an import as markup: what came in, and each refused line with its reason. Escaped, no gradio."""

from ui.charts import escape, figures, wrap

REFUSED_SHOWN = 50
COUNTS = ("prompts", "completions", "tasks", "preferences", "demonstrations", "rankings", "checks", "unchanged")


def import_report(told: dict) -> str:
    """What came in, and each refused line with its field, what was found and what was expected."""
    refused = told.get("refused") or []
    taken = sum(told.get(name) or 0 for name in COUNTS[:-1])
    tone = "okay" if taken or not refused else "error"
    head = f"Imported into <b>{escape(told.get('campaign') or '–')}</b>" if tone == "okay" else "Nothing was taken in"
    if tone == "okay" and not taken:
        head = f"Nothing new for <b>{escape(told.get('campaign') or '–')}</b>: every record was there already"
    facts = figures([(name, told.get(name) or 0) for name in COUNTS if told.get(name)])
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
