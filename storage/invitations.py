"""Invitation links: a role, perhaps a campaign, an expiry and a number of uses; only the token's hash is kept.

Redeeming makes an account, or lets somebody who has one join the campaign. Who may invite whom is decided in ui.
"""

import hashlib
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from storage import members
from storage.database import Cursor, Database
from storage.passwords import hashed, store_password
from storage.people import create_within, draft
from storage.person_rows import in_person
from storage.records import ROLES, Person, require

NOT_VALID = "This invitation was used up, revoked or has expired. Ask for a new one."
_COLUMNS = """i.token_hash, i.role, i.campaign_id, i.created_by, i.uses, i.expires, i.created,
    (SELECT count(*) FROM invitation_use u WHERE u.token_hash = i.token_hash) AS used"""


class InvitationInvalid(ValueError):
    """The invitation does not exist, has expired, was revoked, or was used as often as it may be."""


@dataclass(frozen=True)
class Invitation:
    """What may be shown of an invitation. id is the token's hash: of no use without the token."""

    id: str
    role: str
    campaign_id: int | None
    created_by: int | None
    uses: int
    expires: datetime
    created: datetime
    used: int


def create_invitation(
    db: Database, role: str, created_by: int | None, hours: float = 168, campaign_id: int | None = None, uses: int = 1
) -> str:
    """A token that lets somebody make an account with that role; it is not stored, only its hash."""
    require(role in ROLES, "role", role, "one of " + ", ".join(ROLES))
    require(uses >= 1, "uses", uses, "at least 1")
    token, now = secrets.token_urlsafe(24), datetime.now(UTC)
    row = [digest(token), role, campaign_id, created_by, uses, now + timedelta(hours=hours), now]
    db.write(lambda cursor: cursor.execute("INSERT INTO invitation VALUES (?, ?, ?, ?, ?, ?, ?)", row) and None)
    return token


def invitation(db: Database, token: str) -> Invitation | None:
    """What a token gives, None once it is worth nothing."""
    with db.read() as cursor:
        return _valid(cursor, digest(token))


def invitation_role(db: Database, token: str) -> str | None:
    """The role a token gives, None once it is worth nothing."""
    found = invitation(db, token)
    return found.role if found else None


def open_invitations(db: Database) -> list[Invitation]:
    """Those that somebody can still use, newest first."""
    with db.read() as cursor:
        rows = cursor.execute(
            f"SELECT {_COLUMNS} FROM invitation i ANTI JOIN invitation_revocation USING (token_hash) "
            "WHERE expires > ? AND used < uses ORDER BY created DESC",
            [datetime.now(UTC)],
        ).fetchall()
    return [Invitation(*row) for row in rows]


def redeem_invitation(db: Database, token: str, name: str, password: str) -> Person:
    """Make the account an invitation allows. Raises InvitationInvalid and NameTaken; the latter uses nothing up.

    With a campaign, the new person becomes a member of it.
    """
    password_hash = hashed(password)

    def work(cursor: Cursor) -> tuple[Person, Invitation]:
        found = _require(cursor, token)
        created = create_within(cursor, draft(name, found.role, "person"))
        store_password(cursor, created.id, password_hash)
        _use(cursor, found, created.id)
        return created, found

    person, used = db.write(work)
    if used.campaign_id is not None:
        members.add_member(db, used.campaign_id, person.id, used.created_by)
    return person


def join_with_account(db: Database, token: str, person_id: int) -> Invitation:
    """Let somebody who has an account join the invitation's campaign; their role stays. Raises InvitationInvalid.

    A second time, or where they are a member already, nothing is used up.
    """

    def work(cursor: Cursor) -> Invitation:
        in_person(cursor, person_id)
        found = _require(cursor, token)
        own = "SELECT 1 FROM invitation_use WHERE token_hash = ? AND person_id = ?"
        if not cursor.execute(own, [found.id, person_id]).fetchall():
            _use(cursor, found, person_id)
        return found

    found = invitation(db, token)
    if found is None:
        raise InvitationInvalid(NOT_VALID)
    if found.campaign_id is not None and found.campaign_id not in members.campaigns_of(db, person_id):
        found = db.write(work)
        members.add_member(db, found.campaign_id, person_id, found.created_by)
    return found


def revoke_invitation(db: Database, invitation_id: str, by: int | None = None) -> bool:
    """Make an invitation worthless, at once and for good; whether there was an open one of that id."""

    def work(cursor: Cursor) -> bool:
        if _valid(cursor, invitation_id) is None:
            return False
        row = [invitation_id, by, datetime.now(UTC)]
        cursor.execute("INSERT INTO invitation_revocation VALUES (?, ?, ?)", row)
        return True

    return db.write(work)


def digest(token: str) -> str:
    """What is kept of a token or key: they are long and random, so nobody can guess them from it."""
    return hashlib.sha256(token.encode()).hexdigest()


def _valid(cursor: Cursor, token_hash: str) -> Invitation | None:
    rows = cursor.execute(
        f"SELECT {_COLUMNS} FROM invitation i ANTI JOIN invitation_revocation USING (token_hash) "
        "WHERE token_hash = ? AND expires > ? AND used < uses",
        [token_hash, datetime.now(UTC)],
    ).fetchall()
    return Invitation(*rows[0]) if rows else None


def _require(cursor: Cursor, token: str) -> Invitation:
    found = _valid(cursor, digest(token))
    if found is None:
        raise InvitationInvalid(NOT_VALID)
    return found


def _use(cursor: Cursor, found: Invitation, person_id: int) -> None:
    cursor.execute("INSERT INTO invitation_use VALUES (?, ?, ?)", [found.id, person_id, datetime.now(UTC)])
