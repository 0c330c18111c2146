"""Who agreed to which version of a campaign's consent text, and who withdrew. The text is the campaign's setup's.

Withdrawing stops nothing that was given before; what follows on it is decided where tasks are offered
(storage/eligibility.py), which is told of every change.
"""

from dataclasses import dataclass
from datetime import UTC, datetime

from storage.database import Cursor, Database, itself
from storage.eligibility import Consent as Agreed
from storage.person_rows import in_person
from storage.records import require


@dataclass(frozen=True)
class Consent:
    """What a person agreed to in a campaign; version None: withdrawn."""

    campaign_id: int
    campaign: str
    version: int | None
    created: datetime


def agreed(db: Database, person_id: int, campaign_id: int) -> int | None:
    """The version of the text that the person agreed to last, None if never or withdrawn."""
    with db.read() as cursor:
        rows = cursor.execute(
            "SELECT version FROM consent_now WHERE person_id = ? AND campaign_id = ?", [person_id, campaign_id]
        ).fetchall()
    return rows[0][0] if rows else None


def agree(db: Database, person_id: int, campaign_id: int, version: int) -> None:
    """Remember that the person agrees to this version; again changes nothing. Raises InvalidRecord."""
    require(version >= 1, "version", version, "the version of the campaign's consent text, 1 or more")
    _store(db, person_id, campaign_id, version)


def withdraw(db: Database, person_id: int, campaign_id: int) -> None:
    """Take the consent back: before the next task of the campaign the person is asked again."""
    _store(db, person_id, campaign_id, None)


def consents(db: Database, person_id: int) -> list[Consent]:
    """Everything the person ever agreed to, as it stands, by campaign."""
    with db.read() as cursor:
        rows = cursor.execute(
            "SELECT campaign_id, c.name, version, n.created FROM consent_now n JOIN campaign_now c USING (campaign_id) "
            "WHERE person_id = ? ORDER BY campaign_id",
            [person_id],
        ).fetchall()
    return [Consent(*row) for row in rows]


def _store(db: Database, person_id: int, campaign_id: int, version: int | None) -> None:
    def work(cursor: Cursor) -> Agreed:
        in_person(cursor, person_id)
        known = cursor.execute("SELECT 1 FROM campaign WHERE campaign_id = ? LIMIT 1", [campaign_id]).fetchall()
        require(bool(known), "campaign", campaign_id, "an existing campaign")
        before = cursor.execute(
            "SELECT version FROM consent_now WHERE person_id = ? AND campaign_id = ?", [person_id, campaign_id]
        ).fetchall()
        if before != [(version,)] and (before or version is not None):
            cursor.execute(
                "INSERT INTO consent SELECT ?, ?, (SELECT coalesce(max(seq), 0) + 1 FROM consent), ?, ?",
                [person_id, campaign_id, version, datetime.now(UTC)],
            )
        return Agreed(campaign_id, person_id, version or 0)

    db.write(work, tell=itself)
