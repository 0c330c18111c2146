"""Model versions: policies and reward models, each with its parent, its run and its data.

A version and the `succeeded` of the run that made it enter in one transaction, so that neither
exists without the other and a run killed in between registers once.
"""

import json
from datetime import UTC, datetime

from storage.database import Database
from storage.records import ModelVersion
from storage.runs import change_state

_COLUMNS = "v.name, v.role, v.path, v.parent, v.run_id, v.data_hash, v.metrics, v.created"


class VersionExists(ValueError):
    """Raised where a version's name already belongs to another version."""


def register_version(database: Database, model_version: ModelVersion, finish_run_id: str | None = None) -> ModelVersion:
    """Store a version and, in the same transaction, end its run as `succeeded`.

    A second call for the same run returns the version stored first. Raises VersionExists for a
    name that is taken, storage.runs.RunEnded for a run that ended otherwise.
    """
    return database.write(lambda cursor: _register(cursor, model_version, finish_run_id))


def version(database: Database, name: str) -> ModelVersion | None:
    """The version of that name, or None."""
    with database.read() as cursor:
        return _one(cursor, "name", name)


def versions(database: Database, role: str | None = None, campaign_id: int | None = None) -> list[ModelVersion]:
    """Versions, the first registered first; those of a campaign include the ones of none, such as the starter."""
    query = f"""SELECT {_COLUMNS} FROM model_version v LEFT JOIN run r USING (run_id)
                WHERE ($role IS NULL OR v.role = $role)
                  AND ($campaign IS NULL OR r.campaign_id IS NULL OR r.campaign_id = $campaign)
                ORDER BY v.rowid"""
    with database.read() as cursor:
        rows = cursor.execute(query, {"role": role, "campaign": campaign_id}).fetchall()
    return [_version(row) for row in rows]


def newest_version(database: Database, role: str, campaign_id: int | None = None) -> ModelVersion | None:
    """The version of that role registered last, or None."""
    found = versions(database, role, campaign_id)
    return found[-1] if found else None


def next_version_name(database: Database, kind: str) -> str:
    """`ppo-1`, `ppo-2`, … by kind; the first starter is plain `starter`."""
    with database.read() as cursor:
        taken = {name for (name,) in cursor.execute("SELECT name FROM model_version").fetchall()}
    if kind == "starter" and kind not in taken:
        return kind
    number = 2 if kind == "starter" else 1
    while f"{kind}-{number}" in taken:
        number += 1
    return f"{kind}-{number}"


def _register(cursor, new: ModelVersion, finish_run_id: str | None) -> ModelVersion:
    stored = _one(cursor, "run_id", new.run_id) if new.run_id else None
    if stored is None:
        if _one(cursor, "name", new.name):
            raise VersionExists(f"version: found {new.name!r} taken, expected a name that is free")
        created = new.created or datetime.now(UTC)
        facts = [new.name, new.role, new.path, new.parent, new.run_id, new.data_hash, json.dumps(dict(new.metrics))]
        cursor.execute("INSERT INTO model_version VALUES (?, ?, ?, ?, ?, ?, ?, ?)", [*facts, created])
        stored = _one(cursor, "name", new.name)
    if finish_run_id is not None:
        change_state(cursor, finish_run_id, "succeeded", f"made {stored.name}")
    return stored


def _one(cursor, column: str, value: str) -> ModelVersion | None:
    where = {"name": "v.name = ?", "run_id": "v.run_id = ?"}[column]
    rows = cursor.execute(f"SELECT {_COLUMNS} FROM model_version v WHERE {where}", [value]).fetchall()
    return _version(rows[0]) if rows else None


def _version(row) -> ModelVersion:
    name, role, path, parent, run_id, data_hash, metrics, created = row
    return ModelVersion(name, role, path, parent, run_id, data_hash, json.loads(metrics), created)
