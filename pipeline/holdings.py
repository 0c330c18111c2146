"""Which run directories, model versions and backups hold a person's answers: what an erasure does not reach.

Read before the erasure, while it is known which answers are whose. Nothing is deleted here.
"""

from collections.abc import Mapping
from pathlib import Path

from pipeline.run_directory import read_json
from pipeline.services import Services
from pipeline.snapshot import TABLES
from storage import runs, versions
from storage.backup import backup_files
from storage.rankings import answers
from storage.records import ModelVersion, Run

HOLDING = {"comparisons", "demonstrations"}  # tables of a run that are made from answers


def holdings(services: Services, person_id: int) -> dict[str, list[dict]]:
    """For whoever has to decide what becomes of them: {"runs": [{"run", "kind", "directory"}],
    "versions": [{"version", "how", "path"}], "backups": [{"path", "created", "there"}]}.

    A run holds the answers where comparisons or demonstrations of the campaign were frozen after the person's first
    answer. A version learned from them directly where such a run made it, else indirectly, from a version that did.
    """
    first = _first_answers(services, person_id)
    held = [one for one in runs.runs(services.database) if _holds(services, one, first)]
    return {
        "runs": [{"run": one.id, "kind": one.kind, "directory": str(services.directory(one))} for one in held],
        "versions": _versions(services, {one.id for one in held}),
        "backups": _backups(services, min(first.values(), default=None)),
    }


def _first_answers(services: Services, person_id: int) -> dict[int, int]:
    """The seq of the person's first answer in each campaign."""
    first: dict[int, int] = {}
    for answer in answers(services.database, person_id=person_id):
        first[answer.campaign_id] = min(answer.seq, first.get(answer.campaign_id, answer.seq))
    return first


def _config(services: Services, run: Run) -> Mapping:
    return read_json(services.directory(run) / "config.json") or {}


def _holds(services: Services, run: Run, first: Mapping[int, int]) -> bool:
    """A run whose config is gone is counted as holding them: nobody can tell any more.

    Edited answers are among the demonstrations.
    """
    if run.campaign_id not in first or HOLDING.isdisjoint(TABLES.get(run.kind, HOLDING)):
        return False
    return _config(services, run).get("watermark", first[run.campaign_id]) >= first[run.campaign_id]


def _versions(services: Services, held: set[str]) -> list[dict]:
    """Those made by a run that holds the answers, and all that were made from them, oldest first."""
    made_by = {one.id: one for one in runs.runs(services.database)}
    touched: set[str] = set()
    rows = []
    for one in versions.versions(services.database):
        direct = one.run_id in held
        if direct or _learned_from(services, one, made_by, touched):
            touched.add(one.name)
            path = str(services.data / one.path) if one.run_id else one.path
            rows.append({"version": one.name, "how": "directly" if direct else "indirectly", "path": path})
    return rows


def _learned_from(services: Services, one: ModelVersion, made_by: Mapping[str, Run], touched: set[str]) -> bool:
    run = made_by.get(one.run_id or "")
    used = _config(services, run).get("models", {}).values() if run else ()
    return one.parent in touched or any(model.get("name") in touched for model in used)


def _backups(services: Services, first: int | None) -> list[dict]:
    return [
        {"path": one["path"], "created": one["created"].isoformat(), "there": Path(one["path"]).exists()}
        for one in backup_files(services.database)
        if first is not None and one["watermark"] >= first
    ]
