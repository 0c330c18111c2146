"""Accounts: names, roles, whether they are active, sign-ins, signing out everywhere, and accounts of the Hub.

Passwords, invitations and API keys have modules of their own. Who is asking a page is decided in ui/auth.py.
"""

from dataclasses import dataclass
from datetime import UTC, datetime

from storage.database import Cursor, Database
from storage.passwords import hashed, store_password
from storage.person_rows import COLUMNS, in_person, name_key, person_with
from storage.records import ROLES, Person, require

KINDS = ("person", "simulated", "imported")


class NameTaken(ValueError):
    """Somebody has this name already, perhaps in another case."""


@dataclass(frozen=True)
class Account:
    """A person with what the People page lists. answers: how many of theirs stand, in all campaigns; seen: their
    last sign-in, claim, answer or use of a key; campaigns: those they are a member of or answered in."""

    person: Person
    answers: int
    seen: datetime | None
    campaigns: tuple[int, ...]
    created: datetime


def create_person(db: Database, name: str, role: str, password: str | None = None, kind: str = "person") -> Person:
    """A new account; without a password it cannot sign in by name. Raises NameTaken."""
    wanted, password_hash = draft(name, role, kind), hashed(password) if password else None

    def work(cursor: Cursor) -> Person:
        created = create_within(cursor, wanted)
        if password_hash:
            store_password(cursor, created.id, password_hash)
        return created

    return db.write(work)


def person(db: Database, person_id: int) -> Person | None:
    """The person as they are now."""
    with db.read() as cursor:
        return person_with(cursor, "person_id = ?", person_id)


def person_by_name(db: Database, name: str) -> Person | None:
    """The person of that name, whatever its case."""
    with db.read() as cursor:
        return person_with(cursor, "name_key = ?", name_key(name))


def people(db: Database) -> list[Person]:
    """Everybody, oldest first, simulated and imported annotators too."""
    with db.read() as cursor:
        rows = cursor.execute(f"SELECT {COLUMNS} FROM person_now ORDER BY person_id").fetchall()
    return [Person(*row) for row in rows]


def account(db: Database, person_id: int) -> Account | None:
    """One person with what they did."""
    return next(iter(accounts(db, person_id)), None)


def accounts(db: Database, person_id: int | None = None) -> list[Account]:
    """Everybody with what they did, oldest first; with an id only that person."""
    query = f"""
        WITH given AS (
            SELECT person_id, count(*) FILTER (status IN ('counted', 'surplus')) AS answers, max(created) AS seen
            FROM answer_now GROUP BY person_id
        ), seen AS (
            SELECT person_id, max(created) AS seen FROM (
                SELECT person_id, created FROM person_signin
                UNION ALL SELECT person_id, seen FROM given
                UNION ALL SELECT person_id, max(started) FROM assignment_event WHERE kind <> 'release' GROUP BY ALL
                UNION ALL SELECT person_id, u.created FROM api_key_use u JOIN api_key USING (key_id)
            ) GROUP BY person_id
        ), works AS (
            SELECT person_id, list(DISTINCT campaign_id ORDER BY campaign_id) AS campaigns FROM (
                SELECT person_id, campaign_id FROM answer UNION ALL SELECT person_id, campaign_id FROM member_now
            ) GROUP BY person_id
        )
        SELECT {COLUMNS}, coalesce(answers, 0), seen.seen, coalesce(campaigns, []), created
        FROM person_now LEFT JOIN given USING (person_id) LEFT JOIN seen USING (person_id)
        LEFT JOIN works USING (person_id) WHERE $1::INTEGER IS NULL OR person_id = $1 ORDER BY person_id"""
    with db.read() as cursor:
        rows = cursor.execute(query, [person_id]).fetchall()
    return [Account(Person(*row[:5]), row[5], row[6], tuple(row[7]), row[8]) for row in rows]


def find_or_create(db: Database, name: str, kind: str, role: str = "annotator") -> Person:
    """The person of that name and kind. Where another kind has the name, "NAME (KIND)" stands for this one."""
    wanted = draft(name, role, kind)

    def work(cursor: Cursor) -> Person:
        for candidate in (wanted, draft(f"{wanted.name} ({kind})", role, kind)):
            found = person_with(cursor, "name_key = ?", name_key(candidate.name))
            if found is None:
                return create_within(cursor, candidate)
            if found.kind == kind:
                return found
        raise NameTaken(f"name: found {wanted.name!r}, which others have, like {candidate.name!r}. Use another name.")

    return db.write(work)


def set_role(db: Database, person_id: int, role: str) -> Person:
    """Give a person another role."""
    require(role in ROLES, "role", role, "one of " + ", ".join(ROLES))

    def work(cursor: Cursor) -> Person:
        in_person(cursor, person_id)
        _add_role(cursor, person_id, role)
        return in_person(cursor, person_id)

    return db.write(work)


def set_active(db: Database, person_id: int, active: bool, by: int | None = None) -> Person:
    """Deactivate an account, or let it in again. Deactivating ends its sessions; its answers and keys stay stored."""

    def work(cursor: Cursor) -> Person:
        in_person(cursor, person_id)
        cursor.execute(
            "INSERT INTO person_state SELECT ?, (SELECT coalesce(max(seq), 0) + 1 FROM person_state), ?, ?, ?",
            [person_id, active, by, datetime.now(UTC)],
        )
        if not active:
            cursor.execute("INSERT INTO person_signout VALUES (?, ?)", [person_id, datetime.now(UTC)])
        return in_person(cursor, person_id)

    return db.write(work)


def note_sign_in(db: Database, person_id: int, way: str) -> None:
    """Remember when and how somebody signed in."""
    _insert(db, "INSERT INTO person_signin VALUES (?, ?, ?)", [person_id, way, datetime.now(UTC)])


def session_epoch(db: Database, person_id: int) -> int:
    """How often the person signed out everywhere; a session of an earlier epoch is over."""
    with db.read() as cursor:
        rows = cursor.execute("SELECT count(*) FROM person_signout WHERE person_id = ?", [person_id]).fetchall()
    return rows[0][0]


def bump_session_epoch(db: Database, person_id: int) -> None:
    """End all sessions of a person."""
    _insert(db, "INSERT INTO person_signout VALUES (?, ?)", [person_id, datetime.now(UTC)])


def person_of_hub(db: Database, provider: str, subject: str, name: str, listed_role: str) -> Person:
    """The account of somebody whom an identity provider vouches for, made at their first sign-in.

    subject is the provider's own id of them. The role is listed_role at first, and again whenever the settings
    list another one than at the last sign-in; in between the People page decides. An account that merely has the
    same name is never taken over.
    """

    def work(cursor: Cursor) -> Person:
        rows = cursor.execute(
            "SELECT person_id, arg_max(listed_role, created) FROM person_identity "
            "WHERE provider = ? AND subject = ? GROUP BY person_id",
            [provider, subject],
        ).fetchall()
        if not rows:
            found = create_within(cursor, _free_draft(cursor, name, listed_role))
        else:
            found = in_person(cursor, rows[0][0])
            if rows[0][1] != listed_role:
                _add_role(cursor, found.id, listed_role)
        if not rows or rows[0][1] != listed_role:
            row = [found.id, provider, subject, listed_role, datetime.now(UTC)]
            cursor.execute("INSERT INTO person_identity VALUES (?, ?, ?, ?, ?)", row)
        return in_person(cursor, found.id)

    return db.write(work)


def known_to_hub(db: Database, person_id: int) -> bool:
    """Whether an identity provider vouched for the person."""
    with db.read() as cursor:
        return bool(cursor.execute("SELECT 1 FROM person_identity WHERE person_id = ?", [person_id]).fetchall())


def draft(name: str, role: str, kind: str) -> Person:
    """A person not stored yet, id 0. Raises InvalidRecord for a wrong name, role or kind."""
    require(kind in KINDS, "kind", kind, "one of " + ", ".join(KINDS))
    return Person(0, " ".join(name.split()), role, kind)


def create_within(cursor: Cursor, wanted: Person) -> Person:
    """Within a change: store a draft. Raises NameTaken."""
    if person_with(cursor, "name_key = ?", name_key(wanted.name)):
        raise NameTaken(f"name: found {wanted.name!r}, which somebody has already. Choose another name.")
    number = next_person_id(cursor)
    row = [number, wanted.name, name_key(wanted.name), wanted.kind, datetime.now(UTC)]
    cursor.execute("INSERT INTO person VALUES (?, ?, ?, ?, ?)", row)
    _add_role(cursor, number, wanted.role)
    return Person(number, wanted.name, wanted.role, wanted.kind)


def next_person_id(cursor: Cursor) -> int:
    """An id that nobody has or had: an old session of somebody erased must not fit a newcomer."""
    query = "SELECT max(n) FROM (SELECT max(person_id) n FROM person UNION ALL SELECT max(highest_person) FROM erasure)"
    return (cursor.execute(query).fetchall()[0][0] or 0) + 1


def _free_draft(cursor: Cursor, name: str, role: str) -> Person:
    for number in range(1, 1000):
        wanted = draft(name if number == 1 else f"{name} ({number})", role, "person")
        if person_with(cursor, "name_key = ?", name_key(wanted.name)) is None:
            return wanted
    raise NameTaken(f"name: found {name!r} and a thousand variants of it, expected a free one")


def _insert(db: Database, statement: str, row: list) -> None:
    def work(cursor: Cursor) -> None:
        cursor.execute(statement, row)

    db.write(work)


def _add_role(cursor: Cursor, person_id: int, role: str) -> None:
    cursor.execute(
        "INSERT INTO person_role SELECT ?, (SELECT coalesce(max(seq), 0) + 1 FROM person_role), ?, ?",
        [person_id, role, datetime.now(UTC)],
    )
