"""Who may work where: a campaign's members, the people a task is for, and annotators paused by a rule or a lead.

Every change is told to the pool of open tasks, which hands out tasks accordingly (eligibility.py).
"""

from collections.abc import Sequence
from dataclasses import astuple, dataclass
from datetime import UTC, datetime

from storage.database import Cursor, Database, itself
from storage.records import Person, require

ANNOTATOR_STATES = ("active", "paused")


@dataclass(frozen=True)
class Member:
    """Somebody joined a campaign, or left it."""

    campaign_id: int
    person_id: int
    member: bool


@dataclass(frozen=True)
class AnnotatorState:
    """An annotator's state in a campaign, with the reason; checks before `since` are not held against them."""

    campaign_id: int
    person_id: int
    state: str
    reason: str
    since: datetime


@dataclass(frozen=True)
class Assignees:
    """The people a task is for; nobody named: it is open to all."""

    task_id: int
    people: tuple[int, ...]


def add_member(db: Database, campaign_id: int, person_id: int, by: int | str | None = None) -> None:
    """Make a person a member of a campaign; again changes nothing. Raises InvalidRecord for unknown ones."""
    _set_member(db, Member(campaign_id, person_id, True), by)


def remove_member(db: Database, campaign_id: int, person_id: int, by: int | str | None = None) -> None:
    """Take a person out of a campaign; their answers stay."""
    _set_member(db, Member(campaign_id, person_id, False), by)


def members(db: Database, campaign_id: int) -> list[Person]:
    """A campaign's members by name."""
    with db.read() as cursor:
        rows = cursor.execute(
            "SELECT person_id, name, role, kind FROM person_now JOIN member_now USING (person_id) "
            "WHERE campaign_id = ? ORDER BY name_key",
            [campaign_id],
        ).fetchall()
    return [Person(*row) for row in rows]


def campaigns_of(db: Database, person_id: int) -> list[int]:
    """The campaigns that a person is a member of."""
    with db.read() as cursor:
        rows = cursor.execute(
            "SELECT campaign_id FROM member_now WHERE person_id = ? ORDER BY campaign_id", [person_id]
        ).fetchall()
    return [row[0] for row in rows]


def assign(db: Database, task_ids: Sequence[int], people: Sequence[int]) -> list[Assignees]:
    """Keep tasks for these people only; no people opens them to all. Raises InvalidRecord for unknown tasks."""

    def work(cursor: Cursor) -> list[Assignees]:
        rows = cursor.execute("SELECT task_id FROM task WHERE task_id = ANY(?)", [list(task_ids)]).fetchall()
        unknown = set(task_ids) - {row[0] for row in rows}
        require(not unknown, "task", sorted(unknown), "existing tasks")
        for person_id in people:
            _require_person(cursor, person_id)
        seq = cursor.execute("SELECT coalesce(max(seq), 0) FROM task_assignee").fetchall()[0][0]
        now, wanted = datetime.now(UTC), sorted(set(people))
        with cursor.appender("task_assignee") as appender:
            appender.append_rows([[t, seq + i, wanted, now] for i, t in enumerate(task_ids, 1)])
        return [Assignees(t, tuple(wanted)) for t in task_ids]

    return db.write(work, tell=itself) if task_ids else []


def set_annotator_state(
    db: Database, campaign_id: int, person_id: int, state: str, reason: str, by: int | str | None = None
) -> AnnotatorState:
    """Pause an annotator in a campaign, or let them go on; by: a person's id or the name of a rule."""
    require(state in ANNOTATOR_STATES, "state", state, "one of " + ", ".join(ANNOTATOR_STATES))

    def work(cursor: Cursor) -> AnnotatorState:
        _require_person(cursor, person_id)
        _require_campaign(cursor, campaign_id)
        now = datetime.now(UTC)
        cursor.execute(
            "INSERT INTO annotator_state "
            "SELECT ?, ?, (SELECT coalesce(max(seq), 0) + 1 FROM annotator_state), ?, ?, ?, ?",
            [campaign_id, person_id, state, reason, None if by is None else str(by), now],
        )
        return AnnotatorState(campaign_id, person_id, state, reason, now)

    return db.write(work, tell=itself)


def annotator_states(db: Database, campaign_id: int) -> list[AnnotatorState]:
    """Everybody whose state was ever set in a campaign, as it is now."""
    with db.read() as cursor:
        rows = cursor.execute(
            "SELECT campaign_id, person_id, state, reason, created FROM annotator_state_now WHERE campaign_id = ?",
            [campaign_id],
        ).fetchall()
    return [AnnotatorState(*row) for row in rows]


def _set_member(db: Database, change: Member, by: int | str | None) -> None:
    def work(cursor: Cursor) -> Member:
        _require_person(cursor, change.person_id)
        _require_campaign(cursor, change.campaign_id)
        cursor.execute(
            "INSERT INTO campaign_member SELECT ?, ?, (SELECT coalesce(max(seq), 0) + 1 FROM campaign_member), ?, ?, ?",
            [*astuple(change), None if by is None else str(by), datetime.now(UTC)],
        )
        return change

    db.write(work, tell=itself)


def _require_person(cursor: Cursor, person_id: int) -> None:
    rows = cursor.execute("SELECT 1 FROM person WHERE person_id = ?", [person_id]).fetchall()
    require(bool(rows), "person", person_id, "an existing person")


def _require_campaign(cursor: Cursor, campaign_id: int) -> None:
    rows = cursor.execute("SELECT 1 FROM campaign WHERE campaign_id = ? LIMIT 1", [campaign_id]).fetchall()
    require(bool(rows), "campaign", campaign_id, "an existing campaign")
