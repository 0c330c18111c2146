"""One run as plain values, for the page, the HTTP API and the event stream alike.

Reads storage and the run directory; changes nothing. Times are seconds; a figure that is not known yet is None.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from pipeline.estimates import UNKNOWN, estimate, steps_left
from pipeline.resources import plain, resources_of
from pipeline.run_directory import RunDirectory
from pipeline.services import NOTHING_HEARD, Services
from storage.campaigns import campaign, campaign_by_name, campaigns
from storage.people import people, person
from storage.pseudonyms import shown_names
from storage.records import ENDED_STATES, Run
from storage.runs import metrics, runs, unfinished_runs
from storage.versions import versions


def summary(services: Services, run: Run, now: datetime | None = None) -> dict:
    """Where a run stands: state and reason, step of total, elapsed and remaining seconds."""
    now = now or datetime.now(UTC)
    files = RunDirectory(services.directory(run))
    status = files.status() or {}
    ended = run.state in ENDED_STATES
    step, total = int(status.get("step") or 0), int(status.get("total") or 0)
    until = (run.changed or now) if ended else now
    heard = services.heard.get(run.id, NOTHING_HEARD)
    expected = UNKNOWN if ended else estimate(services, run)
    return {
        "run": run.id,
        "kind": run.kind,
        "campaign": campaign_name(services, run.campaign_id),
        "state": run.state,
        "reason": run.reason,
        "created": run.created.isoformat(),
        "elapsed": round(max(0.0, (until - (run.started or run.created)).total_seconds()), 1),
        "remaining": None if (left := steps_left(run, status, now)) is None else round(left, 1),
        "step": step,
        "total": total,
        "message": str(status.get("message") or ""),
        "cancelling": not ended and files.cancel_requested(),
        "data_hash": run.data_hash,
        "starts_in": None if expected.starts_in is None else round(expected.starts_in),
        "ends_in": None if expected.ends_in is None else round(expected.ends_in),
        "silent": round(heard.silent) or None,
        "notice": heard.notice,
        "place": _place(services, run) if run.state == "queued" else None,
        "note": run.note,
        "tags": list(run.tags),
        "priority": run.priority,
        "slot": run.slot,
        "resumable": run.state in ("failed", "cancelled") and (files.path / "config.json").is_file(),
    }


def _place(services: Services, run: Run) -> int | None:
    """How many queued runs start before this one, plus one."""
    ids = [one.id for one in unfinished_runs(services.database) if one.state == "queued"]
    return ids.index(run.id) + 1 if run.id in ids else None


def detail(services: Services, run: Run) -> dict:
    """The summary with what was asked, what came out, and for a failure its sentence and the log's end."""
    files = RunDirectory(services.directory(run))
    result, error = files.result() or {}, files.error() or {}
    made = [version.name for version in versions(services.database) if version.run_id == run.id]
    starter = person(services.database, run.created_by) if run.created_by is not None else None
    return summary(services, run) | {
        "options": dict(run.options),
        "models": models(files),
        "resources": resources(files),
        "created_by": starter.name if starter else None,
        "version": made[0] if made else None,
        "metrics": {name: finite(value) for name, value in (result.get("metrics") or {}).items()},
        "sizes": dict(result.get("sizes") or {}),
        "seconds": result.get("seconds"),
        "error": (error.get("message") or run.reason) if run.state == "failed" else None,
        "report": _report(services, run, result.get("report") or {}),
        "download": f"api/v1/runs/{run.id}/model" if _has_folder(files, result) else None,
        "log": files.log_tail(40) if run.state == "failed" else "",
    }


def _report(services: Services, run: Run, found: Mapping) -> dict:
    """A reward model's report on held-out prompts, with its annotators as the campaign shows them."""
    by_person = found.get("by_annotator") or {}
    known = {one.id: one.name for one in people(services.database) if str(one.id) in by_person}
    shown = shown_names(services.database, run.campaign_id, known) if run.campaign_id is not None else known
    named = {shown.get(int(key), f"annotator {key}"): row for key, row in by_person.items() if key.isdecimal()}
    return _finite({**found, "by_annotator": named}) if found else {}


def _finite(value: object) -> object:
    """The same with None for figures that JSON cannot say, at any depth."""
    if isinstance(value, Mapping):
        return {key: _finite(inner) for key, inner in value.items()}
    return [_finite(inner) for inner in value] if isinstance(value, list) else finite(value)


def _has_folder(files: RunDirectory, result: Mapping) -> bool:
    """Whether the folder that an export run wrote is still there."""
    return bool(result.get("export")) and (files.path / result["export"]).is_dir()


def curve_rows(services: Services, run_id: str, after: int = 0) -> list[dict]:
    """The run's metric rows but for the first `after`; figures that JSON cannot say (NaN, infinity) are None."""
    rows = metrics(services.database, run_id, after)
    return [{name: finite(value) for name, value in row.items()} for row in rows]


def finite(value: object) -> object:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def models(files: RunDirectory) -> dict[str, str]:
    """The names of the model versions the run works with, by role."""
    try:
        found = files.config().get("models") or {}
    except (FileNotFoundError, ValueError):
        return {}  # queued: launch has not written the directory yet
    return {role: str(model.get("name")) for role, model in found.items() if isinstance(model, dict)}


def resources(files: RunDirectory) -> dict:
    """Where and with what the run is done; empty for a run whose directory is not there (yet)."""
    try:
        return plain(resources_of(files.config()))
    except (FileNotFoundError, ValueError):
        return {}


def campaign_name(services: Services, campaign_id: int | None) -> str | None:
    found = campaign(services.database, campaign_id) if campaign_id is not None else None
    return found.name if found else None


@dataclass(frozen=True)
class Filters:
    """Which runs a list shows; "" or None = any. search: words of ids, notes and tags; campaign: its name."""

    search: str | None = ""
    state: str | None = ""
    kind: str | None = ""
    campaign: str | None = ""
    tag: str | None = ""


def matching(services: Services, filters: Filters) -> list[Run]:
    """The runs that fit, newest first."""
    named = campaign_by_name(services.database, filters.campaign) if filters.campaign else None
    if filters.campaign and named is None:
        return []
    words = (filters.search or "").lower().split()
    found = runs(services.database, filters.kind or None, named.id if named else None)
    return [one for one in found if _fits(one, filters, words)]


def _fits(one: Run, filters: Filters, words: Sequence[str]) -> bool:
    text = " ".join([one.id, one.note, *one.tags]).lower()
    fits = filters.state in (None, "", one.state) and (not filters.tag or filters.tag in one.tags)
    return fits and all(word in text for word in words)


def all_tags(services: Services) -> list[str]:
    """Every tag that a run has, in the order of the alphabet."""
    return sorted({tag for one in runs(services.database) for tag in one.tags}, key=str.lower)


def latest_campaign(services: Services) -> str | None:
    """The name of the campaign that the newest run worked for, else of the first one: what a form begins with."""
    used = [one.campaign_id for one in runs(services.database, limit=20) if one.campaign_id is not None]
    there = [one for one in campaigns(services.database) if not used or one.id == used[0]]
    return there[0].name if there else None
