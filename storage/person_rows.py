"""A person's row within a read or a change: what people, passwords, keys and consents share. No writes."""

from storage.database import Cursor
from storage.records import Person, require

COLUMNS = "person_id, name, role, kind, active"


def name_key(name: str) -> str:
    """The name without case and double spaces: what is unique."""
    return " ".join(name.split()).casefold()


def person_with(cursor: Cursor, condition: str, value: object) -> Person | None:
    """The person for whom the condition, one of this package's own, holds with the value bound."""
    rows = cursor.execute(f"SELECT {COLUMNS} FROM person_now WHERE {condition}", [value]).fetchall()
    return Person(*rows[0]) if rows else None


def in_person(cursor: Cursor, person_id: int) -> Person:
    """The person. Raises InvalidRecord where there is none of that id."""
    found = person_with(cursor, "person_id = ?", person_id)
    require(found is not None, "person", person_id, "an existing person")
    return found
