"""Tasks: one prompt with a fixed set of completions inside a campaign. Who works on them is in assignments.py."""

import hashlib
import json
from collections.abc import Sequence
from datetime import UTC, datetime

from storage.database import Cursor, Database, itself
from storage.records import Task, require

_COLUMNS = "task_id, campaign_id, prompt_id, completion_ids, overlap, priority, purpose, content_hash"


def open_tasks(
    db: Database,
    campaign_id: int,
    sets: Sequence[tuple[str, Sequence[int]]],
    overlap: int | None = None,
    priority: float = 0.0,
    purpose: str = "rank",
    run_id: str | None = None,
) -> list[Task]:
    """Open one task for each (prompt_id, completion ids); return them in order, and tell the pool.

    The same set of completions for the same purpose in the same campaign is one task: it is returned as it
    was opened. overlap None takes the campaign's; 0 makes a task that nobody can claim.
    Raises InvalidRecord for an unknown campaign, and for a completion that is unknown or of another prompt.
    """

    def work(cursor: Cursor) -> list[Task]:
        wanted = _overlap_of(cursor, campaign_id) if overlap is None else overlap
        drafts = [Task(0, campaign_id, p, tuple(ids), wanted, priority, purpose) for p, ids in sets]
        return insert_tasks(cursor, drafts, run_id)

    return db.write(work, tell=itself) if sets else []


def task(db: Database, task_id: int) -> Task | None:
    """One task as it is now."""
    with db.read() as cursor:
        rows = cursor.execute(f"SELECT {_COLUMNS} FROM task_now WHERE task_id = ?", [task_id]).fetchall()
    return _task(rows[0]) if rows else None


def tasks(db: Database, campaign_id: int | None = None) -> list[Task]:
    """All tasks, or a campaign's, oldest first."""
    with db.read() as cursor:
        rows = cursor.execute(
            f"SELECT {_COLUMNS} FROM task_now WHERE $campaign IS NULL OR campaign_id = $campaign ORDER BY task_id",
            {"campaign": campaign_id},
        ).fetchall()
    return [_task(row) for row in rows]


def set_task_priority(db: Database, task_id: int, priority: float) -> Task:
    """Give a task another place in the queue; a higher number comes earlier. Raises InvalidRecord if unknown."""

    def work(cursor: Cursor) -> Task:
        cursor.execute(
            "INSERT INTO task_priority SELECT ?, (SELECT coalesce(max(seq), 0) + 1 FROM task_priority), ?",
            [task_id, float(priority)],
        )
        rows = cursor.execute(f"SELECT {_COLUMNS} FROM task_now WHERE task_id = ?", [task_id]).fetchall()
        require(bool(rows), "task", task_id, "an existing task")
        return _task(rows[0])

    return db.write(work, tell=itself)


def insert_tasks(cursor: Cursor, drafts: Sequence[Task], run_id: str | None) -> list[Task]:
    """open_tasks within a change: drafts of one campaign, with any id."""
    hashes = _content_hashes(cursor, drafts)
    existing = cursor.execute(
        f"SELECT {_COLUMNS} FROM task_now WHERE campaign_id = ? AND prompt_id = ANY(?)",
        [drafts[0].campaign_id, list({t.prompt_id for t in drafts})],
    ).fetchall()
    by_set = {_identity(t): t for t in map(_task, existing)}
    following = cursor.execute("SELECT coalesce(max(task_id), 0) + 1 FROM task").fetchall()[0][0]
    new, now = [], datetime.now(UTC)
    for t, content_hash in zip(drafts, hashes, strict=True):
        if _identity(t) not in by_set:
            fields = [t.campaign_id, t.prompt_id, t.completion_ids, t.overlap, float(t.priority), t.purpose]
            number = following + len(new)
            by_set[_identity(t)] = Task(number, *fields, content_hash)
            new.append([number, *fields, run_id, content_hash, now])
    if new:
        with cursor.appender("task") as appender:
            appender.append_rows(new)
    return [by_set[_identity(t)] for t in drafts]


def _content_hashes(cursor: Cursor, drafts: list[Task]) -> list[str]:
    """What each task shows, as a hash; refuses completions that are unknown or of another prompt."""
    wanted = list({c for t in drafts for c in t.completion_ids})
    rows = cursor.execute(
        "SELECT completion_id, prompt_id, model, text FROM completion WHERE completion_id = ANY(?)", [wanted]
    ).fetchall()
    known = {completion_id: rest for completion_id, *rest in rows}
    hashes = []
    for t in drafts:
        for completion_id in t.completion_ids:
            fits = completion_id in known and known[completion_id][0] == t.prompt_id
            require(fits, "completion", completion_id, f"a completion of prompt {t.prompt_id}")
        shown = [t.prompt_id, *(known[c][1:] for c in t.completion_ids)]
        hashes.append(hashlib.sha256(json.dumps(shown).encode()).hexdigest()[:24])
    return hashes


def _overlap_of(cursor: Cursor, campaign_id: int) -> int:
    rows = cursor.execute("SELECT overlap FROM campaign_now WHERE campaign_id = ?", [campaign_id]).fetchall()
    require(bool(rows), "campaign", campaign_id, "an existing campaign")
    return rows[0][0]


def _identity(t: Task) -> tuple[str, tuple[int, ...]]:
    return t.purpose, tuple(sorted(t.completion_ids))


def _task(row: tuple) -> Task:
    task_id, campaign_id, prompt_id, completion_ids, *rest = row
    return Task(task_id, campaign_id, prompt_id, tuple(completion_ids), *rest)
