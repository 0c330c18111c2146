"""Campaigns: name, criterion, versioned guidelines, K, overlap, state, and the current policy with its history.

Prompts are in prompts.py, completions in completions.py, tasks in tasks.py. A campaign is never deleted.
"""

from dataclasses import replace
from datetime import UTC, datetime

from storage.database import Cursor, Database, itself
from storage.records import Campaign, require

EDITABLE = ("name", "criterion", "guidelines", "k", "overlap", "state")
COLUMNS = "campaign_id, name, criterion, guidelines, guidelines_version, k, overlap, policy, state"


def create_campaign(
    db: Database,
    name: str,
    criterion: str = "helpful",
    guidelines: str = "",
    k: int = 4,
    overlap: int = 1,
    policy: str | None = None,
) -> Campaign:
    """A new open campaign. Raises InvalidRecord for a bad value or a name that is taken."""
    draft = Campaign(0, name.strip(), criterion, guidelines, k=k, overlap=overlap, policy=policy)

    def work(cursor: Cursor) -> Campaign:
        _require_free(cursor, draft.name)
        number = cursor.execute("SELECT coalesce(max(campaign_id), 0) + 1 FROM campaign").fetchall()[0][0]
        created = replace(draft, id=number)
        _insert(cursor, created)
        if policy:
            _insert_policy(cursor, number, policy, None, "the campaign starts with it")
        return created

    return db.write(work, tell=itself)


def campaigns(db: Database) -> list[Campaign]:
    """All campaigns, oldest first."""
    with db.read() as cursor:
        rows = cursor.execute(f"SELECT {COLUMNS} FROM campaign_now ORDER BY campaign_id").fetchall()
    return [Campaign(*row) for row in rows]


def campaign(db: Database, campaign_id: int) -> Campaign | None:
    """The campaign as it is now."""
    with db.read() as cursor:
        return _find(cursor, campaign_id)


def campaign_by_name(db: Database, name: str) -> Campaign | None:
    """The campaign of that name, whatever its case."""
    with db.read() as cursor:
        rows = cursor.execute(
            f"SELECT {COLUMNS} FROM campaign_now WHERE lower(name) = lower(?)", [name.strip()]
        ).fetchall()
    return Campaign(*rows[0]) if rows else None


def edit_campaign(db: Database, campaign_id: int, **changes) -> Campaign:
    """Change name, criterion, guidelines, k, overlap or state; new guidelines get the next version number.

    overlap holds for tasks opened afterwards. Raises InvalidRecord for other fields and bad values.
    """
    for name, value in changes.items():
        require(name in EDITABLE, name, value, "one of " + ", ".join(EDITABLE))

    def work(cursor: Cursor) -> Campaign:
        before = _existing(cursor, campaign_id)
        after = replace(before, **changes)
        if after.name.casefold() != before.name.casefold():
            _require_free(cursor, after.name)
        if after.guidelines != before.guidelines:
            after = replace(after, guidelines_version=before.guidelines_version + 1)
        if after != before:
            _insert(cursor, after)
        return after

    return db.write(work, tell=itself)


def edit_within(cursor: Cursor, campaign_id: int, new_guidelines: bool) -> Campaign:
    """Within a change: refuse an unknown campaign, and give its guidelines the next version where asked."""
    now = _existing(cursor, campaign_id)
    if new_guidelines:
        now = replace(now, guidelines_version=now.guidelines_version + 1)
        _insert(cursor, now)
    return now


def guidelines_history(db: Database, campaign_id: int) -> list[tuple[int, str, datetime]]:
    """(version, guidelines, since), newest last."""
    with db.read() as cursor:
        return cursor.execute(
            "SELECT guidelines_version, any_value(guidelines), min(created) FROM campaign "
            "WHERE campaign_id = ? GROUP BY guidelines_version ORDER BY guidelines_version",
            [campaign_id],
        ).fetchall()


def set_policy(
    db: Database, campaign_id: int, version_name: str, by: int | str | None = None, reason: str = ""
) -> Campaign:
    """Make a version the campaign's current policy; by is a person's id, or says what else decided."""

    def work(cursor: Cursor) -> Campaign:
        before = _existing(cursor, campaign_id)
        if before.policy != version_name:
            _insert_policy(cursor, campaign_id, version_name, _name_of(cursor, by), reason)
        return replace(before, policy=version_name)

    return db.write(work, tell=itself)


def policy_history(db: Database, campaign_id: int) -> list[tuple[str, str | None, str, datetime]]:
    """(version, by, reason, when), newest last. Setting the previous version again is a roll-back."""
    with db.read() as cursor:
        return cursor.execute(
            "SELECT version_name, changed_by, reason, created FROM policy_change WHERE campaign_id = ? ORDER BY seq",
            [campaign_id],
        ).fetchall()


def _find(cursor: Cursor, campaign_id: int) -> Campaign | None:
    rows = cursor.execute(f"SELECT {COLUMNS} FROM campaign_now WHERE campaign_id = ?", [campaign_id]).fetchall()
    return Campaign(*rows[0]) if rows else None


def _existing(cursor: Cursor, campaign_id: int) -> Campaign:
    found = _find(cursor, campaign_id)
    require(found is not None, "campaign", campaign_id, "an existing campaign")
    return found


def _require_free(cursor: Cursor, name: str) -> None:
    taken = cursor.execute("SELECT 1 FROM campaign_now WHERE lower(name) = lower(?)", [name]).fetchall()
    require(not taken, "name", name, "a name that no other campaign has")


def _insert(cursor: Cursor, value: Campaign) -> None:
    cursor.execute(
        "INSERT INTO campaign SELECT ?, (SELECT coalesce(max(seq), 0) + 1 FROM campaign), ?, ?, ?, ?, ?, ?, ?, ?",
        [
            value.id,
            value.name,
            value.criterion,
            value.guidelines,
            value.guidelines_version,
            value.k,
            value.overlap,
            value.state,
            datetime.now(UTC),
        ],
    )


def _insert_policy(cursor: Cursor, campaign_id: int, version_name: str, by: str | None, reason: str) -> None:
    cursor.execute(
        "INSERT INTO policy_change SELECT ?, (SELECT coalesce(max(seq), 0) + 1 FROM policy_change), ?, ?, ?, ?",
        [campaign_id, version_name, by, reason, datetime.now(UTC)],
    )


def _name_of(cursor: Cursor, by: int | str | None) -> str | None:
    if not isinstance(by, int):
        return by
    rows = cursor.execute("SELECT name FROM person WHERE person_id = ?", [by]).fetchall()
    return rows[0][0] if rows else str(by)
