"""Accounts, roles, passwords, invitations, API keys and signing out.

Passwords are kept as argon2 hashes, tokens and keys as SHA-256: they are long and random, so nobody can guess
them from the hash. Who is asking a page is decided in ui/auth.py, not here.
"""

import hashlib
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import argon2

from storage.database import Cursor, Database
from storage.records import ROLES, Person, require

KINDS = ("person", "simulated", "imported")
_COLUMNS = "person_id, name, role, kind"
_hasher = argon2.PasswordHasher()
_NO_PASSWORD = _hasher.hash(secrets.token_urlsafe(16))  # verified for unknown names, so that they cost the same time


class NameTaken(ValueError):
    """Somebody has this name already, perhaps in another case."""


class InvitationInvalid(ValueError):
    """The invitation does not exist, has expired, or was used as often as it may be."""


@dataclass(frozen=True)
class ApiKey:
    """What may be shown of a key; the key itself is shown once, when it is made."""

    id: int
    label: str
    created: datetime


def create_person(db: Database, name: str, role: str, password: str | None = None, kind: str = "person") -> Person:
    """A new account; without a password it cannot sign in by name. Raises NameTaken."""
    draft = _draft(name, role, kind)
    password_hash = _hasher.hash(password) if password else None
    return db.write(lambda cursor: _create(cursor, draft, password_hash))


def person(db: Database, person_id: int) -> Person | None:
    """The person as they are now."""
    with db.read() as cursor:
        return _find(cursor, "person_id = ?", person_id)


def person_by_name(db: Database, name: str) -> Person | None:
    """The person of that name, whatever its case."""
    with db.read() as cursor:
        return _find(cursor, "name_key = ?", _key(name))


def people(db: Database) -> list[Person]:
    """Everybody, oldest first, simulated and imported annotators too."""
    with db.read() as cursor:
        rows = cursor.execute(f"SELECT {_COLUMNS} FROM person_now ORDER BY person_id").fetchall()
    return [Person(*row) for row in rows]


def find_or_create(db: Database, name: str, kind: str, role: str = "annotator") -> Person:
    """The person of that name and kind. Where another kind has the name, "NAME (KIND)" stands for this one."""
    draft = _draft(name, role, kind)

    def work(cursor: Cursor) -> Person:
        for candidate in (draft, _draft(f"{draft.name} ({kind})", role, kind)):
            found = _find(cursor, "name_key = ?", _key(candidate.name))
            if found is None:
                return _create(cursor, candidate, None)
            if found.kind == kind:
                return found
        raise NameTaken(f"name: found {draft.name!r}, which others have, like {candidate.name!r}. Use another name.")

    return db.write(work)


def check_password(db: Database, name: str, password: str) -> Person | None:
    """The person if name and password fit; an unknown name takes as long as a wrong password."""
    with db.read() as cursor:
        found = _find(cursor, "name_key = ?", _key(name))
        rows = cursor.execute(
            "SELECT arg_max(hash, seq) FROM person_password WHERE person_id = ?", [found.id if found else -1]
        ).fetchall()
    try:
        _hasher.verify(rows[0][0] or _NO_PASSWORD, password)
    except (argon2.exceptions.VerificationError, argon2.exceptions.InvalidHashError):
        return None
    return found if rows[0][0] else None


def set_password(db: Database, person_id: int, password: str) -> None:
    """Replace the password. Sessions go on: see bump_session_epoch."""
    password_hash = _hasher.hash(password)

    def work(cursor: Cursor) -> None:
        _require_person(cursor, person_id)
        _add_password(cursor, person_id, password_hash)

    db.write(work)


def set_role(db: Database, person_id: int, role: str) -> Person:
    """Give a person another role."""
    require(role in ROLES, "role", role, "one of " + ", ".join(ROLES))

    def work(cursor: Cursor) -> Person:
        _require_person(cursor, person_id)
        _add_role(cursor, person_id, role)
        return _find(cursor, "person_id = ?", person_id)

    return db.write(work)


def create_invitation(
    db: Database, role: str, created_by: int | None, hours: float = 168, campaign_id: int | None = None, uses: int = 1
) -> str:
    """A token that lets somebody make an account with that role; it is not stored, only its hash."""
    require(role in ROLES, "role", role, "one of " + ", ".join(ROLES))
    require(uses >= 1, "uses", uses, "at least 1")
    token, now = secrets.token_urlsafe(24), datetime.now(UTC)
    row = [_digest(token), role, campaign_id, created_by, uses, now + timedelta(hours=hours), now]
    _insert(db, "INSERT INTO invitation VALUES (?, ?, ?, ?, ?, ?, ?)", row)
    return token


def invitation_role(db: Database, token: str) -> str | None:
    """The role a token gives, None once it is worth nothing."""
    with db.read() as cursor:
        return _invited_role(cursor, token)


def redeem_invitation(db: Database, token: str, name: str, password: str) -> Person:
    """Make the account an invitation allows. Raises InvitationInvalid and NameTaken; the latter uses nothing up."""
    password_hash = _hasher.hash(password)

    def work(cursor: Cursor) -> Person:
        role = _invited_role(cursor, token)
        if role is None:
            raise InvitationInvalid("This invitation is used up or has expired. Ask for a new one.")
        created = _create(cursor, _draft(name, role, "person"), password_hash)
        cursor.execute("INSERT INTO invitation_use VALUES (?, ?, ?)", [_digest(token), created.id, datetime.now(UTC)])
        return created

    return db.write(work)


def create_api_key(db: Database, person_id: int, label: str) -> str:
    """A new key "rl_…"; this is the only time it can be seen."""
    key = "rl_" + secrets.token_urlsafe(32)

    def work(cursor: Cursor) -> None:
        _require_person(cursor, person_id)
        cursor.execute(
            "INSERT INTO api_key SELECT (SELECT coalesce(max(key_id), 0) + 1 FROM api_key), ?, ?, ?, ?",
            [person_id, label, _digest(key), datetime.now(UTC)],
        )

    db.write(work)
    return key


def person_by_api_key(db: Database, key: str) -> Person | None:
    """Whose key this is; None for an unknown or revoked one."""
    with db.read() as cursor:
        rows = cursor.execute(
            "SELECT person_id FROM api_key ANTI JOIN api_key_revocation USING (key_id) WHERE key_hash = ?",
            [_digest(key)],
        ).fetchall()
        return _find(cursor, "person_id = ?", rows[0][0]) if rows else None


def api_keys(db: Database, person_id: int) -> list[ApiKey]:
    """A person's keys that are not revoked, oldest first."""
    with db.read() as cursor:
        rows = cursor.execute(
            "SELECT key_id, label, created FROM api_key ANTI JOIN api_key_revocation USING (key_id) "
            "WHERE person_id = ? ORDER BY key_id",
            [person_id],
        ).fetchall()
    return [ApiKey(*row) for row in rows]


def revoke_api_key(db: Database, key_id: int) -> None:
    """Make a key worthless, at once and for good."""
    _insert(db, "INSERT INTO api_key_revocation VALUES (?, ?)", [key_id, datetime.now(UTC)])


def session_epoch(db: Database, person_id: int) -> int:
    """How often the person signed out everywhere; a session of an earlier epoch is over."""
    with db.read() as cursor:
        rows = cursor.execute("SELECT count(*) FROM person_signout WHERE person_id = ?", [person_id]).fetchall()
    return rows[0][0]


def bump_session_epoch(db: Database, person_id: int) -> None:
    """End all sessions of a person."""
    _insert(db, "INSERT INTO person_signout VALUES (?, ?)", [person_id, datetime.now(UTC)])


def _draft(name: str, role: str, kind: str) -> Person:
    require(kind in KINDS, "kind", kind, "one of " + ", ".join(KINDS))
    return Person(0, " ".join(name.split()), role, kind)


def _key(name: str) -> str:
    return " ".join(name.split()).casefold()


def _insert(db: Database, statement: str, row: list) -> None:
    def work(cursor: Cursor) -> None:
        cursor.execute(statement, row)

    db.write(work)


def _find(cursor: Cursor, condition: str, value: object) -> Person | None:
    rows = cursor.execute(f"SELECT {_COLUMNS} FROM person_now WHERE {condition}", [value]).fetchall()
    return Person(*rows[0]) if rows else None


def _require_person(cursor: Cursor, person_id: int) -> None:
    found = _find(cursor, "person_id = ?", person_id)
    require(found is not None, "person", person_id, "an existing person")


def _create(cursor: Cursor, draft: Person, password_hash: str | None) -> Person:
    if _find(cursor, "name_key = ?", _key(draft.name)):
        raise NameTaken(f"name: found {draft.name!r}, which somebody has already. Choose another name.")
    number = cursor.execute("SELECT coalesce(max(person_id), 0) + 1 FROM person").fetchall()[0][0]
    row = [number, draft.name, _key(draft.name), draft.kind, datetime.now(UTC)]
    cursor.execute("INSERT INTO person VALUES (?, ?, ?, ?, ?)", row)
    _add_role(cursor, number, draft.role)
    if password_hash:
        _add_password(cursor, number, password_hash)
    return Person(number, draft.name, draft.role, draft.kind)


def _add_role(cursor: Cursor, person_id: int, role: str) -> None:
    cursor.execute(
        "INSERT INTO person_role SELECT ?, (SELECT coalesce(max(seq), 0) + 1 FROM person_role), ?, ?",
        [person_id, role, datetime.now(UTC)],
    )


def _add_password(cursor: Cursor, person_id: int, password_hash: str) -> None:
    cursor.execute(
        "INSERT INTO person_password SELECT ?, (SELECT coalesce(max(seq), 0) + 1 FROM person_password), ?, ?",
        [person_id, password_hash, datetime.now(UTC)],
    )


def _invited_role(cursor: Cursor, token: str) -> str | None:
    rows = cursor.execute(
        "SELECT role FROM invitation i WHERE token_hash = $token AND expires > $now AND uses > "
        "(SELECT count(*) FROM invitation_use u WHERE u.token_hash = $token)",
        {"token": _digest(token), "now": datetime.now(UTC)},
    ).fetchall()
    return rows[0][0] if rows else None


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
