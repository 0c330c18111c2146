"""A random name per person, such as annotator-7f3a, that exports and reports carry where a campaign asks for it.

A pseudonym is made at first need and stays. Its number also takes the place of the person's id, negated, so that
two exports cannot be joined on the id to learn a name.
"""

import secrets
from collections.abc import Iterable
from datetime import UTC, datetime

from storage.database import Cursor, Database
from storage.setups import from_json, setup


def pseudonym(number: int) -> str:
    """The name that a number stands for."""
    return f"annotator-{number:04x}"


def numbers(db: Database, person_ids: Iterable[int]) -> dict[int, int]:
    """The number of each person, made where there is none yet."""
    wanted = sorted(set(person_ids))
    with db.read() as cursor:
        known = _known(cursor)
    if any(one not in known for one in wanted):
        known = db.write(lambda cursor: _make(cursor, wanted))
    return {one: known[one] for one in wanted}


def shown_names(db: Database, campaign_id: int, names: dict[int, str]) -> dict[int, str]:
    """The names of people, by id, as outputs of the campaign may show them."""
    if not setup(db, campaign_id).pseudonyms:
        return names
    return {one: pseudonym(number) for one, number in numbers(db, names).items()}


def hidden_people(db: Database, campaign_id: int | None) -> dict[int, int]:
    """Whose name an export of the campaign (None: of all) must not tell, with their numbers.

    An export of everything hides whoever answered in any campaign with pseudonyms, in all campaigns.
    """
    with db.read() as cursor:
        setups = cursor.execute("SELECT campaign_id, setup FROM setup_now").fetchall()
        secret = [one for one, text in setups if from_json(text).pseudonyms and campaign_id in (None, one)]
        query = "SELECT DISTINCT person_id FROM answer WHERE campaign_id = ANY(?)"
        people = [row[0] for row in cursor.execute(query, [secret]).fetchall()]
    return numbers(db, people)


def _known(cursor: Cursor) -> dict[int, int]:
    return dict(cursor.execute("SELECT person_id, number FROM pseudonym").fetchall())


def _make(cursor: Cursor, wanted: list[int]) -> dict[int, int]:
    known = _known(cursor)
    taken, now = set(known.values()), datetime.now(UTC)
    for person_id in wanted:
        if person_id in known:
            continue
        number = next(n for n in iter(lambda: _random(len(taken)), None) if n not in taken)
        cursor.execute("INSERT INTO pseudonym VALUES (?, ?, ?)", [person_id, number, now])
        known[person_id] = number
        taken.add(number)
    return known


def _random(taken: int) -> int:
    """A number of four hexadecimal digits, of seven once many are taken."""
    digits = 4 if taken < 10_000 else 7
    return secrets.randbelow(15 * 16 ** (digits - 1)) + 16 ** (digits - 1)
