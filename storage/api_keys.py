"""API keys of people: shown once, kept as SHA-256, with the hour of their last use, revocable for good."""

import hashlib
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from storage.database import Cursor, Database
from storage.person_rows import in_person, person_with
from storage.records import Person

NOTED_EVERY = timedelta(hours=1)  # a use within this time of the last noted one is not noted again


@dataclass(frozen=True)
class ApiKey:
    """What may be shown of a key; the key itself is shown once, when it is made. used: None if never."""

    id: int
    person_id: int
    label: str
    created: datetime
    used: datetime | None = None


def create_api_key(db: Database, person_id: int, label: str) -> str:
    """A new key "rl_…"; this is the only time it can be seen."""
    key = "rl_" + secrets.token_urlsafe(32)

    def work(cursor: Cursor) -> None:
        in_person(cursor, person_id)
        cursor.execute(
            "INSERT INTO api_key SELECT (SELECT coalesce(max(key_id), 0) + 1 FROM api_key), ?, ?, ?, ?",
            [person_id, label, _digest(key), datetime.now(UTC)],
        )

    db.write(work)
    return key


def person_by_api_key(db: Database, key: str) -> Person | None:
    """Whose key this is; None for an unknown or revoked one, or where the person is deactivated. Notes the use."""
    with db.read() as cursor:
        rows = cursor.execute(
            "SELECT key_id, person_id, (SELECT max(created) FROM api_key_use u WHERE u.key_id = k.key_id) "
            "FROM api_key k ANTI JOIN api_key_revocation USING (key_id) WHERE key_hash = ?",
            [_digest(key)],
        ).fetchall()
        if not rows:
            return None
        key_id, person_id, used = rows[0]
        found = person_with(cursor, "person_id = ?", person_id)
    if found is None or not found.active:
        return None
    now = datetime.now(UTC)
    if used is None or now - used > NOTED_EVERY:
        db.write(lambda cursor: cursor.execute("INSERT INTO api_key_use VALUES (?, ?)", [key_id, now]) and None)
    return found


def api_keys(db: Database, person_id: int) -> list[ApiKey]:
    """A person's keys that are not revoked, oldest first."""
    with db.read() as cursor:
        rows = cursor.execute(
            "SELECT key_id, person_id, label, created, "
            "(SELECT max(u.created) FROM api_key_use u WHERE u.key_id = k.key_id) "
            "FROM api_key k ANTI JOIN api_key_revocation USING (key_id) WHERE person_id = ? ORDER BY key_id",
            [person_id],
        ).fetchall()
    return [ApiKey(*row) for row in rows]


def revoke_api_key(db: Database, key_id: int, person_id: int | None = None) -> bool:
    """Make a key worthless, at once and for good; with person_id only a key of theirs. Whether there was one."""

    def work(cursor: Cursor) -> bool:
        owned = "SELECT 1 FROM api_key WHERE key_id = $1 AND ($2 IS NULL OR person_id = $2)"
        if not cursor.execute(owned, [key_id, person_id]).fetchall():
            return False
        cursor.execute("INSERT INTO api_key_revocation VALUES (?, ?)", [key_id, datetime.now(UTC)])
        return True

    return db.write(work)


def _digest(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()
