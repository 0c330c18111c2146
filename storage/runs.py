"""Runs: what was asked, every change of state with its reason, metrics, and the pieces taken in.

Keeps facts only. Who starts a run is `pipeline.launch`; who may change its state afterwards is
`pipeline.monitor`; model versions are in `storage.versions`.
"""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from storage.database import Database
from storage.records import ENDED_STATES, RUN_STATES, Run, require

_RUNS = """
    SELECT r.run_id, r.kind, r.campaign_id, r.directory, r.options, s.value, s.reason, r.created, r.created_by,
           d.value, h.value, l.value, s.created, s.started, m.note, m.tags, coalesce(m.priority, 0), m.deleted
    FROM run r
    LEFT JOIN run_mark_now m USING (run_id)
    JOIN (SELECT run_id, arg_max(value, position) AS value, arg_max(reason, position) AS reason,
                 max(created) AS created, max(created) FILTER (value = 'starting') AS started
          FROM run_event WHERE name = 'state' GROUP BY run_id) s USING (run_id)
    LEFT JOIN (SELECT run_id, arg_max(value, position) AS value FROM run_event
               WHERE name = 'data_hash' GROUP BY run_id) d USING (run_id)
    LEFT JOIN (SELECT run_id, arg_max(value, position) AS value FROM run_event
               WHERE name = 'handle' GROUP BY run_id) h USING (run_id)
    LEFT JOIN (SELECT run_id, arg_max(slot, rowid) AS value FROM run_slot GROUP BY run_id) l USING (run_id)
"""


class RunEnded(ValueError):
    """Raised on a change of state of a run that has ended; ended states are final."""


class NotResumable(ValueError):
    """Raised on resuming a run that has not ended, or that has succeeded."""


class UnknownRun(ValueError):
    """Raised where a run id does not exist."""


def create_run(
    database: Database, kind: str, campaign_id: int | None, options: Mapping, created_by: int | None = None
) -> Run:
    """Store a new run in state `queued`; id and directory are given by a counter that never goes back."""

    def work(cursor) -> str:
        [(number,)] = cursor.execute("SELECT coalesce(max(number), 0) + 1 FROM run").fetchall()
        run_id = f"{number:04d}-{kind}"
        row = [run_id, number, kind, campaign_id, f"runs/{run_id}", json.dumps(dict(options)), _now(), created_by]
        cursor.execute("INSERT INTO run VALUES (?, ?, ?, ?, ?, ?, ?, ?)", row)
        _append_event(cursor, run_id, "state", "queued", "")
        return run_id

    return _known(database, database.write(work))


def highest_number(database: Database) -> int:
    """The number of the newest run, deleted ones included; 0 where there was none."""
    with database.read() as cursor:
        return cursor.execute("SELECT coalesce(max(number), 0) FROM run").fetchall()[0][0]


def number_of(run_id: str) -> int:
    """The number that a run's id begins with."""
    return int(run_id.split("-")[0])


def run(database: Database, run_id: str) -> Run | None:
    """The run as it stands, or None."""
    with database.read() as cursor:
        rows = cursor.execute(_RUNS + " WHERE r.run_id = ?", [run_id]).fetchall()
    return _run(rows[0]) if rows else None


def runs(
    database: Database, kind: str | None = None, campaign_id: int | None = None, limit: int | None = None
) -> list[Run]:
    """Runs, newest first, without the deleted ones."""
    where = " WHERE ($kind IS NULL OR r.kind = $kind) AND ($campaign IS NULL OR r.campaign_id = $campaign)"
    where += " AND m.deleted IS NULL"
    query = _RUNS + where + " ORDER BY r.number DESC LIMIT $limit"
    values = {"kind": kind, "campaign": campaign_id, "limit": limit if limit is not None else 1_000_000}
    with database.read() as cursor:
        return [_run(row) for row in cursor.execute(query, values).fetchall()]


def unfinished_runs(database: Database) -> list[Run]:
    """Runs that have not ended in the order in which they get the training slot: by priority, then oldest first."""
    query = _RUNS + " WHERE NOT list_contains(?, s.value) ORDER BY coalesce(m.priority, 0) DESC, r.number"
    with database.read() as cursor:
        return [_run(row) for row in cursor.execute(query, [list(ENDED_STATES)]).fetchall()]


def set_state(database: Database, run_id: str, state: str, reason: str = "") -> Run:
    """Append a change of state; the same state again changes nothing.

    Raises RunEnded for a run in an ended state, UnknownRun for an unknown id.
    """
    require(state in RUN_STATES, "state", state, "one of " + ", ".join(RUN_STATES))
    database.write(lambda cursor: change_state(cursor, run_id, state, reason))
    return _known(database, run_id)


def reopen(database: Database, run_id: str, reason: str) -> Run:
    """Put a run that failed or was cancelled back into the queue; its earlier states stay in its history.

    Raises NotResumable for a run that has not ended or has succeeded, UnknownRun for an unknown id.
    """

    def work(cursor) -> None:
        current = _current_state(cursor, run_id)
        if current not in ("failed", "cancelled"):
            raise NotResumable(f"run: found {run_id} {current}, expected one that failed or was cancelled")
        _append_event(cursor, run_id, "state", "queued", reason)
        _append_event(cursor, run_id, "handle", "", "")

    database.write(work)
    return _known(database, run_id)


def requeue(database: Database, run_id: str, reason: str) -> Run:
    """Put a run whose backend lost its job back into the queue, without its handle. Raises RunEnded, UnknownRun."""

    def work(cursor) -> None:
        change_state(cursor, run_id, "queued", reason)
        _append_event(cursor, run_id, "handle", "", "")

    database.write(work)
    return _known(database, run_id)


def change_state(cursor, run_id: str, state: str, reason: str = "") -> None:
    """What set_state does, inside a transaction that the caller owns."""
    current = _current_state(cursor, run_id)
    if current == state:
        return
    if current in ENDED_STATES:
        raise RunEnded(f"run {run_id}: found state {current}, which is final; it cannot become {state}")
    _append_event(cursor, run_id, "state", state, reason)


def set_handle(database: Database, run_id: str, handle: str) -> None:
    """Remember how the backend finds the run's process again."""
    database.write(lambda cursor: _append_event(cursor, run_id, "handle", handle, ""))


def handles(database: Database, run_id: str) -> set[str]:
    """The handles of all jobs that the run ever had."""
    query = "SELECT DISTINCT value FROM run_event WHERE run_id = ? AND name = 'handle' AND value <> ''"
    with database.read() as cursor:
        return {value for (value,) in cursor.execute(query, [run_id]).fetchall()}


def set_slot(database: Database, run_id: str, slot: str) -> None:
    """Remember the device set that the run is done on."""
    database.write(lambda cursor: cursor.execute("INSERT INTO run_slot VALUES (?, ?, ?)", [run_id, slot, _now()]))


def set_data_hash(database: Database, run_id: str, data_hash: str) -> None:
    """Remember the content hash of the data the run learns from."""
    database.write(lambda cursor: _append_event(cursor, run_id, "data_hash", data_hash, ""))


def state_history(database: Database, run_id: str) -> list[tuple[str, str, datetime]]:
    """Every state with its reason and time, oldest first."""
    query = "SELECT value, reason, created FROM run_event WHERE run_id = ? AND name = 'state' ORDER BY position"
    with database.read() as cursor:
        return cursor.execute(query, [run_id]).fetchall()


def add_metrics(database: Database, run_id: str, rows: Sequence[Mapping], offset: int) -> int:
    """Take in lines of metrics.jsonl that end at byte `offset` of the file; returns how many were new.

    Idempotent: lines up to an offset that is in already are not stored again. The caller reads
    from `metrics_offset`, so a batch is either wholly new or wholly known.
    """

    def work(cursor) -> int:
        if not rows or offset <= _metrics_offset(cursor, run_id):
            return 0
        lines = [[run_id, offset, i, json.dumps(row, ensure_ascii=False)] for i, row in enumerate(rows)]
        cursor.executemany("INSERT INTO run_metric VALUES (?, ?, ?, ?)", lines)
        return len(lines)

    return database.write(work)


def metrics_offset(database: Database, run_id: str) -> int:
    """The byte offset of metrics.jsonl up to which lines are in."""
    with database.read() as cursor:
        return _metrics_offset(cursor, run_id)


def metrics_count(database: Database, run_id: str) -> int:
    """How many lines of metrics are in."""
    with database.read() as cursor:
        return cursor.execute("SELECT count(*) FROM run_metric WHERE run_id = ?", [run_id]).fetchall()[0][0]


def changes_told(database: Database) -> int:
    """A number that grows whenever any run changes: a new one, a state, a note, a tag, a deletion."""
    query = "SELECT (SELECT count(*) FROM run_event) + (SELECT count(*) FROM run_mark)"
    with database.read() as cursor:
        return cursor.execute(query).fetchall()[0][0]


def metrics(database: Database, run_id: str, after: int = 0) -> list[dict]:
    """The lines of metrics taken in but for the first `after`, in the order of the file; each has step and time."""
    query = "SELECT line FROM run_metric WHERE run_id = ? ORDER BY batch_end, position OFFSET ?"
    with database.read() as cursor:
        return [json.loads(line) for (line,) in cursor.execute(query, [run_id, after]).fetchall()]


def add_piece(database: Database, run_id: str, piece: str, completions: int, tasks: int) -> None:
    """Remember that a closed piece of a generate run is in; a second time changes nothing."""

    def work(cursor) -> None:
        known = "SELECT 1 FROM run_piece WHERE run_id = ? AND piece = ?"
        if not cursor.execute(known, [run_id, piece]).fetchall():
            cursor.execute("INSERT INTO run_piece VALUES (?, ?, ?, ?, ?)", [run_id, piece, completions, tasks, _now()])

    database.write(work)


def pieces(database: Database, run_id: str) -> dict[str, tuple[int, int]]:
    """(completions, tasks) by the name of each piece taken in."""
    query = "SELECT piece, completions, tasks FROM run_piece WHERE run_id = ?"
    with database.read() as cursor:
        return {name: (texts, tasks) for name, texts, tasks in cursor.execute(query, [run_id]).fetchall()}


def _append_event(cursor, run_id: str, name: str, value: str, reason: str) -> None:
    query = """INSERT INTO run_event
               SELECT $run, (SELECT count(*) FROM run_event WHERE run_id = $run), $name, $value, $reason, $now"""
    cursor.execute(query, {"run": run_id, "name": name, "value": value, "reason": reason, "now": _now()})


def _current_state(cursor, run_id: str) -> str:
    query = "SELECT value FROM run_event WHERE run_id = ? AND name = 'state' ORDER BY position DESC LIMIT 1"
    rows = cursor.execute(query, [run_id]).fetchall()
    if not rows:
        raise UnknownRun(f"run: found {run_id!r}, expected the id of a run; the runs page and `report` list them")
    return rows[0][0]


def _metrics_offset(cursor, run_id: str) -> int:
    query = "SELECT coalesce(max(batch_end), 0) FROM run_metric WHERE run_id = ?"
    return cursor.execute(query, [run_id]).fetchall()[0][0]


def _known(database: Database, run_id: str) -> Run:
    found = run(database, run_id)
    if found is None:
        raise UnknownRun(f"run: found {run_id!r}, expected the id of a run")
    return found


def _run(row) -> Run:
    run_id, kind, campaign_id, directory, options, *told, note, tags, priority, deleted = row
    state, reason, created, created_by, data_hash, handle, slot, changed, started = told
    return Run(
        run_id, kind, campaign_id, directory, json.loads(options), state, reason, created, created_by, data_hash,
        handle or None, changed, started, note or "", tuple(json.loads(tags or "[]")), priority, deleted is not None,
        slot or "",
    )  # fmt: skip


def _now() -> datetime:
    return datetime.now(UTC)
