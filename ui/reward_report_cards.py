"""A reward model's report on held-out prompts as the run's page shows it: escaped markup, no gradio.

What the figures are is told in `pipeline.reward_report`; beside the model stand the rule "the longer one wins"
and the annotators' own agreement, which no model can be expected to pass.
"""

from collections.abc import Mapping

from ui.charts import escape, number

MOST_ROWS = 30  # of one table; the rest is in artifacts/report.json
FIGURES = ("comparisons", "accuracy", "nll", "longer_wins")
PARTS = (  # the report's key, its title, what its rows are
    ("by_annotator", "By annotator", "annotator"),
    ("by_source", "By the models compared", "models"),
    ("by_tag", "By tag of the prompt", "tag"),
)


def reward_report(report: Mapping) -> str:
    """The whole report; "" where there is none."""
    if not report:
        return ""
    parts = [_headline(report)]
    parts += [_part(title, first, report.get(key) or {}) for key, title, first in PARTS]
    lengths = {f"{row['from']} to {row['to']} tokens": row for row in report.get("by_length_difference") or ()}
    parts.append(_part("By difference in length", "difference", lengths))
    return f'<details class="card spaced" open><summary>Held-out prompts</summary>{"".join(parts)}</details>'


def _headline(report: Mapping) -> str:
    held, people = report.get("held_out") or {}, report.get("agreement") or {}
    rows = (
        ("this model", held.get("accuracy")),
        ("the longer one wins", (report.get("longer_wins") or {}).get("accuracy")),
        ("an annotator with the others' majority", people.get("majority")),
        ("two annotators with each other", people.get("pairwise")),
    )
    told = "".join(f"<tr><td>{escape(name)}</td><td>{escape(number(value))}</td></tr>" for name, value in rows)
    facts = ", ".join(
        f"{name} {number(held.get(key))}"
        for name, key in (
            ("comparisons", "comparisons"),
            ("log-likelihood", "nll"),
            ("calibration error", "ece"),
            ("temperature", "temperature"),
        )
    )
    head = "<thead><tr><th>who orders the pairs</th><th>accuracy</th></tr></thead>"
    return f'<table class="wide">{head}<tbody>{told}</tbody></table><p class="muted">{escape(facts)}</p>'


def _part(title: str, first: str, rows: Mapping[str, Mapping]) -> str:
    if not rows:
        return ""
    names = [name for name in FIGURES if any(name in row for row in rows.values())]
    head = "".join(f"<th>{escape(name.replace('_', ' '))}</th>" for name in (first, *names))
    body = "".join(
        f"<tr><td>{escape(name)}</td>" + "".join(f"<td>{escape(number(row.get(n)))}</td>" for n in names) + "</tr>"
        for name, row in list(rows.items())[:MOST_ROWS]
    )
    table = f'<table class="wide"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'
    return f'<h3>{escape(title)}</h3><div class="scroll">{table}</div>'
