"""Completions: one answer to a prompt by one model. The identity is (prompt, model, text); nothing is changed later."""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from storage.database import Cursor, Database
from storage.prompts import clean
from storage.records import Completion, require

_COLUMNS = "completion_id, prompt_id, model, text, settings"


def add_completions(db: Database, rows: Sequence[tuple[str, str, str, Mapping | None]]) -> list[int]:
    """Add (prompt_id, model, text, settings) rows; return their ids in the order of the rows.

    A completion that is stored already keeps its id and its settings. Raises InvalidRecord for an unknown prompt.
    """
    given = [(prompt_id, clean(model), clean(text), settings or {}) for prompt_id, model, text, settings in rows]
    return db.write(lambda cursor: insert_completions(cursor, given)) if given else []


def completions(db: Database, ids: Sequence[int]) -> list[Completion]:
    """The completions in the order of the ids. Raises InvalidRecord for an unknown id."""
    few = f"IN ({', '.join('?' * len(ids))})" if 0 < len(ids) <= 9 else None  # a task's: half the time of ANY
    wanted = list(ids) if few else [list(ids)]
    query = f"SELECT {_COLUMNS} FROM completion WHERE completion_id {few or '= ANY(?)'}"
    with db.read() as cursor:
        rows = cursor.execute(query, wanted).fetchall()
    found = {row[0]: _completion(row) for row in rows}
    for completion_id in ids:
        require(completion_id in found, "completion", completion_id, "an existing completion")
    return [found[i] for i in ids]


def completions_of(db: Database, prompt_id: str) -> list[Completion]:
    """All completions of a prompt, oldest first."""
    with db.read() as cursor:
        rows = cursor.execute(
            f"SELECT {_COLUMNS} FROM completion WHERE prompt_id = ? ORDER BY completion_id", [prompt_id]
        ).fetchall()
    return [_completion(row) for row in rows]


def insert_completions(cursor: Cursor, given: Sequence[tuple[str, str, str, Mapping]]) -> list[int]:
    """add_completions within a change, for texts that are clean."""
    prompt_ids = list(dict.fromkeys(row[0] for row in given))
    _require_prompts(cursor, prompt_ids)
    stored = cursor.execute(
        "SELECT prompt_id, model, text, completion_id FROM completion WHERE prompt_id = ANY(?)", [prompt_ids]
    ).fetchall()
    ids = {(prompt_id, model, text): completion_id for prompt_id, model, text, completion_id in stored}
    following = cursor.execute("SELECT coalesce(max(completion_id), 0) + 1 FROM completion").fetchall()[0][0]
    new, now = [], datetime.now(UTC)
    for *identity, settings in given:
        if tuple(identity) not in ids:
            ids[tuple(identity)] = following + len(new)
            new.append([following + len(new), *identity, json.dumps(dict(settings), default=str), now])
    if new:
        with cursor.appender("completion") as appender:
            appender.append_rows(new)
    return [ids[tuple(identity)] for *identity, _ in given]


def _require_prompts(cursor: Cursor, prompt_ids: list[str]) -> None:
    rows = cursor.execute("SELECT prompt_id FROM prompt WHERE prompt_id = ANY(?)", [prompt_ids]).fetchall()
    known = {prompt_id for (prompt_id,) in rows}
    for prompt_id in prompt_ids:
        require(prompt_id in known, "prompt", prompt_id, "an existing prompt")


def _completion(row: tuple) -> Completion:
    return Completion(*row[:4], json.loads(row[4]))
