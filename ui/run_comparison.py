"""Several runs side by side: what was asked of each and what came out, differences marked.

Escaped markup, no gradio.
"""

from collections.abc import Mapping, Sequence

from pipeline.services import Services
from storage.runs import run
from ui.charts import escape, number, wrap
from ui.run_view import detail


def side_by_side(services: Services, ids: Sequence[str]) -> str:
    """A table of two runs or more; "" for fewer. Rows that differ come first, the others can be unfolded."""
    found = [run(services.database, one) for one in ids]
    views = [detail(services, one) for one in found if one is not None]
    if len(views) < 2:
        return ""
    rows = table_rows(views)
    differ = [row for row in rows if len(set(row[1])) > 1]
    same = [row for row in rows if len(set(row[1])) == 1]
    head = "".join(f"<th scope='col'>{escape(view['run'])}</th>" for view in views)
    folded = f"<details><summary>{len(same)} equal rows</summary>{_table(head, same)}</details>" if same else ""
    return wrap(_table(head, differ, "differs") if differ else "<p>These runs differ in nothing.</p>", folded)


def table_rows(views: Sequence[Mapping]) -> list[tuple[str, tuple[str, ...]]]:
    """(name, one text per run): campaign, data, models, options, resources, results; a dash where a run has none."""
    parts = [_facts(view) for view in views]
    names = dict.fromkeys(name for one in parts for name in one)
    return [(name, tuple(number(one.get(name)) for one in parts)) for name in names]


def _facts(view: Mapping) -> dict[str, object]:
    """What a run was asked for and what it gave, flat."""
    told = {"campaign": view["campaign"], "data": (view["data_hash"] or "")[:16] or None}
    told |= {f"model: {place}": name for place, name in view["models"].items()}
    told |= dict(view["options"])
    told |= {f"resources: {name}": value for name, value in view["resources"].items()}
    told |= {"state": view["state"], "seconds": view["seconds"], "made version": view["version"]}
    return told | {f"result: {name}": value for name, value in view["metrics"].items()}


def _table(head: str, rows: Sequence[tuple[str, tuple[str, ...]]], kind: str = "") -> str:
    mark = '<span class="mark" title="differs">≠</span> ' if kind else ""
    lines = "".join(
        f'<tr><th scope="row">{mark}{escape(name)}</th>{"".join(f"<td>{escape(text)}</td>" for text in texts)}</tr>'
        for name, texts in rows
    )
    table = f'<table class="wide beside {kind}"><thead><tr><td></td>{head}</tr></thead><tbody>{lines}</tbody></table>'
    return f'<div class="scroll" tabindex="0" role="region" aria-label="Runs side by side">{table}</div>'
