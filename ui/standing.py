"""What the Leaderboard page shows: win-rates and strengths, the current policy, versions with their lineage.

Escaped markup, no gradio. What the figures mean is computed in `pipeline`, nothing here.
"""

from collections.abc import Mapping, Sequence
from urllib.parse import quote

from pipeline.launch import current_policy
from pipeline.model_files import is_adapter
from pipeline.report import report
from pipeline.services import Services, folder_of
from storage.campaigns import policy_history
from storage.records import Campaign, ModelVersion
from storage.summaries import per_annotator
from storage.versions import versions
from ui.charts import chip, empty, escape, figures, number, strength_bars, win_rates, wrap

AGREEMENT = (
    ("kendall_tau_b", "Kendall τ-b"),
    ("kendall_w", "Kendall W"),
    ("krippendorff_alpha_ordinal", "Krippendorff α"),
    ("pairwise_kappa", "pairwise κ"),
    ("pairwise_agreement", "pairwise agreement"),
)
FIGURES = (
    "parameters",
    "eval/accuracy",
    "objective/kl",
    "objective/scores",
    "reward/mean",
    "eval/nll",
    "eval/loss",
    "eval/perplexity",
)


def standing(services: Services, one: Campaign | None) -> str:
    """Win-rates and strengths, or what is missing until there are some."""
    if one is None:
        return wrap(empty("No campaign yet", "Create one on the Campaigns page, or import a file there."))
    told = next(iter(report(services.database, one.name)["campaigns"]), {})
    rows = told.get("strengths") or []
    if not rows:
        return wrap(_nothing_yet(services, one), _agreement(told), _annotators(services, one))
    rates, strengths = win_rates(rows), strength_bars(rows)
    said = "Intervals are 95 %, clustered by prompt. Green lies wholly above the line, red wholly below."
    return wrap(
        f'<div class="card"><h3>Preferred by people</h3><p class="muted">{said}</p>{rates}</div>',
        f'<div class="card spaced"><h3>Bradley–Terry strength</h3>{strengths}</div>',
        _agreement(told),
        _annotators(services, one),
    )


def _nothing_yet(services: Services, one: Campaign) -> str:
    policies = versions(services.database, "policy", one.id)
    if len(policies) < 2:
        return empty(
            "One policy has nobody to be compared with", "Train one first: Runs page, kind dpo, or reward then ppo."
        )
    return empty(
        "No rankings between two versions yet",
        "Put a version on the board against its baseline (Compare…), then let people rank.",
    )


def _agreement(told: Mapping) -> str:
    found = told.get("agreement") or {}
    if all(found.get(key) is None for key, _ in AGREEMENT):
        return '<p class="muted">Agreement is known once two people have ranked the same task.</p>'
    pairs = [(name, found.get(key)) for key, name in AGREEMENT]
    return f'<div class="card spaced"><h3>Agreement of annotators</h3>{figures(pairs)}</div>'


def _annotators(services: Services, one: Campaign) -> str:
    found = per_annotator(services.database, one.id)
    if not found:
        return ""
    names = ("rankings", "all_bad", "skipped", "excluded", "surplus", "seconds")
    head = "".join(f"<th>{escape(name.replace('_', ' '))}</th>" for name in ("annotator", *names))
    rows = "".join(
        f"<tr><td>{escape(row['name'])}</td>" + "".join(f"<td>{escape(number(row[n]))}</td>" for n in names) + "</tr>"
        for row in found
    )
    table = f'<table class="wide"><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>'
    return f'<details class="card spaced"><summary>Annotators</summary><div class="scroll">{table}</div></details>'


def lineage(found: Sequence[ModelVersion]) -> list[tuple[int, ModelVersion]]:
    """Versions as a tree: (depth, version), children below their parent, oldest first; each exactly once."""
    names = {one.name for one in found}
    children: dict[str | None, list[ModelVersion]] = {}
    for one in found:
        children.setdefault(one.parent if one.parent in names and one.parent != one.name else None, []).append(one)
    ordered, stack = [], [(0, one) for one in reversed(children.get(None, []))]
    while stack:
        depth, one = stack.pop()
        ordered.append((depth, one))
        stack += [(depth + 1, child) for child in reversed(children.get(one.name, []))]
    return ordered


def version_list(services: Services, one: Campaign | None, may_lead: bool = True) -> str:
    found = versions(services.database, None, one.id if one else None)
    if not found:
        return wrap("<h3>Versions</h3>", empty("No model version yet", "The starter policy appears when its run ends."))
    policy = current_policy(services, one) if one else None
    cards = (_version_card(services, depth, each, policy, may_lead) for depth, each in lineage(found))
    return wrap(f'<div class="list">{"".join(cards)}</div>', title="Versions")


def _version_card(
    services: Services, depth: int, one: ModelVersion, policy: ModelVersion | None, may_lead: bool
) -> str:
    current = policy is not None and policy.name == one.name
    chips = chip(one.role) + (chip("current policy", "accent") if current else "")
    facts = [f"from {one.parent}" if one.parent else "no parent"]
    facts += [f"data {one.data_hash[:10]}"] if one.data_hash else []
    facts += [f"{name} {number(one.metrics[name])}" for name in FIGURES if name in one.metrics]
    made = f'<a href="runs?run={escape(one.run_id)}">run {escape(one.run_id)}</a>' if one.run_id else ""
    buttons = (
        _files(services, one) + (_version_buttons(one, current) if one.role == "policy" else "") if may_lead else ""
    )
    return (
        f'<div class="card" style="margin-left:{min(depth, 4) * 18}px">'
        f'<div class="row"><b>{escape(one.name)}</b>{chips}<span class="grow"></span>{buttons}</div>'
        f'<div class="muted">{escape(" · ".join(facts))} {made}</div></div>'
    )


def _files(services: Services, one: ModelVersion) -> str:
    """The way to the version's files, where they lie on this machine; an adapter can be merged first."""
    folder = folder_of(services, one)
    if folder is None:
        return ""
    merge = f'<button type="button" data-act="merge" data-version="{escape(one.name)}">Merge…</button>'
    link = f'<a href="api/v1/versions/{escape(quote(one.name))}/model" download>Download</a>'
    return link + (merge if is_adapter(folder) else "")


def _version_buttons(one: ModelVersion, current: bool) -> str:
    name = escape(one.name)
    ask = escape(f"Make {one.name} the current policy?")
    promote = f'<button type="button" data-act="promote" data-version="{name}" data-confirm="{ask}">Promote</button>'
    compare = f'<button type="button" data-act="compare" data-version="{name}">Compare…</button>'
    return compare + ("" if current else promote)


def policy_card(services: Services, one: Campaign | None, may_lead: bool = True) -> str:
    """The current policy, how it came to be, and the way back."""
    if one is None:
        return ""
    history = policy_history(services.database, one.id)
    current = current_policy(services, one)
    name = escape(current.name) if current else "none yet"
    back = previous(services, one) if may_lead else None
    ask = escape(f"Roll back to {back}?")
    button = (
        f'<button type="button" data-act="rollback" data-confirm="{ask}">Roll back to {escape(back)}</button>'
        if back
        else ""
    )
    rows = "".join(_history_row(row) for row in reversed(history))
    past = f'<details><summary>History</summary><table class="wide">{rows}</table></details>' if history else ""
    head = f'<span class="muted">Current policy of {escape(one.name)}</span><b>{name}</b><span class="grow"></span>'
    return wrap(f'<div class="card"><div class="row">{head}{button}</div>{past}</div>')


def _history_row(row: Sequence) -> str:
    name, by, reason, when = row
    cells = (name, by or "", reason or "", str(when)[:16])
    return "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in cells) + "</tr>"


def previous(services: Services, one: Campaign) -> str | None:
    """What a roll-back returns to: the version that was current before, at first the one all began with."""
    names = [row[0] for row in policy_history(services.database, one.id)]
    first = [each.name for each in versions(services.database, "policy", one.id)[:1]]
    return next((name for name in reversed(first + names) if name != names[-1]), None) if names else None
