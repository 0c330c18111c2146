"""Passwords, kept as argon2 hashes, and one-time links to set a new one, of which only the hash is kept.

Who may make a link for whom is decided in ui; ending the sessions after a change too.
"""

import hashlib
import secrets
from datetime import UTC, datetime, timedelta

import argon2

from storage.database import Cursor, Database
from storage.person_rows import in_person, name_key, person_with
from storage.records import Person

_hasher = argon2.PasswordHasher()
_NO_PASSWORD = _hasher.hash(secrets.token_urlsafe(16))  # verified for unknown names, so that they cost the same time


class PasswordLinkInvalid(ValueError):
    """The link does not exist, has expired, was used, or a newer one or a new password took its place."""


def hashed(password: str) -> str:
    """The argon2 hash of a password; takes some 50 ms by design."""
    return _hasher.hash(password)


def check_password(db: Database, name: str, password: str) -> Person | None:
    """The active person if name and password fit; an unknown name takes as long as a wrong password."""
    with db.read() as cursor:
        found = person_with(cursor, "name_key = ?", name_key(name))
        stored = _hash_of(cursor, found.id if found else -1)
    try:
        _hasher.verify(stored or _NO_PASSWORD, password)
    except (argon2.exceptions.VerificationError, argon2.exceptions.InvalidHashError):
        return None
    return found if stored and found.active else None


def has_password(db: Database, person_id: int) -> bool:
    """Whether the person can sign in by name."""
    with db.read() as cursor:
        return _hash_of(cursor, person_id) is not None


def set_password(db: Database, person_id: int, password: str) -> None:
    """Replace the password; links made before are void. Sessions go on: see people.bump_session_epoch."""
    password_hash = hashed(password)

    def work(cursor: Cursor) -> None:
        in_person(cursor, person_id)
        store_password(cursor, person_id, password_hash)

    db.write(work)


def create_password_link(db: Database, person_id: int, created_by: int | None, hours: float = 48) -> str:
    """A token with which the person sets a password, once; it takes the place of earlier ones."""
    token, now = secrets.token_urlsafe(24), datetime.now(UTC)

    def work(cursor: Cursor) -> None:
        in_person(cursor, person_id)
        row = [_digest(token), person_id, created_by, now + timedelta(hours=hours), now]
        cursor.execute("INSERT INTO password_link VALUES (?, ?, ?, ?, ?)", row)

    db.write(work)
    return token


def person_of_link(db: Database, token: str) -> int | None:
    """Whose password the link sets; None once it is worth nothing."""
    with db.read() as cursor:
        return _owner(cursor, token)


def redeem_password_link(db: Database, token: str, password: str) -> int:
    """Set the password; the link is used up. Returns the person's id. Raises PasswordLinkInvalid."""
    password_hash = hashed(password)

    def work(cursor: Cursor) -> int:
        owner = _owner(cursor, token)
        if owner is None:
            raise PasswordLinkInvalid("This link was used already or has expired. Ask for a new one.")
        cursor.execute("INSERT INTO password_link_use VALUES (?, ?)", [_digest(token), datetime.now(UTC)])
        store_password(cursor, owner, password_hash)
        return owner

    return db.write(work)


def store_password(cursor: Cursor, person_id: int, password_hash: str) -> None:
    """Within a change: the person's newest password."""
    cursor.execute(
        "INSERT INTO person_password SELECT ?, (SELECT coalesce(max(seq), 0) + 1 FROM person_password), ?, ?",
        [person_id, password_hash, datetime.now(UTC)],
    )


def _hash_of(cursor: Cursor, person_id: int) -> str | None:
    query = "SELECT arg_max(hash, seq) FROM person_password WHERE person_id = ?"
    return cursor.execute(query, [person_id]).fetchall()[0][0]


def _owner(cursor: Cursor, token: str) -> int | None:
    rows = cursor.execute(
        "SELECT l.person_id FROM password_link l ANTI JOIN password_link_use USING (token_hash) "
        "JOIN person_now p ON p.person_id = l.person_id "
        "WHERE token_hash = ? AND expires > ? AND p.active "
        "AND l.created = (SELECT max(created) FROM password_link n WHERE n.person_id = l.person_id) "
        "AND NOT EXISTS (SELECT 1 FROM person_password w WHERE w.person_id = l.person_id AND w.created > l.created)",
        [_digest(token), datetime.now(UTC)],
    ).fetchall()
    return rows[0][0] if rows else None


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
