"""Assignments as they are stored: one event for each claim, renewal and release, and how they are read back.

Who gets which task is decided in assignments.py, in memory; these events make it survive a restart.
"""

from collections.abc import Sequence
from datetime import datetime

from storage.database import Cursor, Database
from storage.records import Assignment

_COLUMNS = "assignment_id, task_id, campaign_id, person_id, shown, started, expires, purpose"


def find_assignment(db: Database, assignment_id: str) -> Assignment | None:
    """An assignment from its events, also after its lease ended and after a restart."""
    with db.read() as cursor:
        rows = cursor.execute(
            f"SELECT {_COLUMNS} FROM assignment_event WHERE assignment_id = ? AND kind <> 'release' "
            "ORDER BY expires DESC LIMIT 1",
            [assignment_id],
        ).fetchall()
    return _assignment(rows[0]) if rows else None


def open_leases(cursor: Cursor, now: datetime) -> list[Assignment]:
    """The leases that last beyond now and were not released, oldest first."""
    rows = cursor.execute(
        f"SELECT {_COLUMNS} FROM assignment_event WHERE expires > $now AND kind <> 'release' "
        "AND assignment_id NOT IN (SELECT assignment_id FROM assignment_event WHERE kind = 'release') "
        "QUALIFY row_number() OVER (PARTITION BY assignment_id ORDER BY expires DESC) = 1 ORDER BY started",
        {"now": now},
    ).fetchall()
    return [_assignment(row) for row in rows]


def store_events(cursor: Cursor, groups: Sequence[Sequence[tuple[str, Assignment]]]) -> list[None]:
    """Keep groups of (claim, renew or release, assignment) events; work of `Database.join`."""
    with cursor.appender("assignment_event") as appender:
        appender.append_rows(
            [
                [a.id, kind, a.task_id, a.campaign_id, a.person_id, list(a.shown), a.started, a.expires, a.purpose]
                for events in groups
                for kind, a in events
            ]
        )
    return [None] * len(groups)


def _assignment(row: tuple) -> Assignment:
    return Assignment(*row[:4], tuple(row[4]), *row[5:])
