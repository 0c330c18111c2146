"""How far a campaign is and when it may end: answers left, the recent pace, and the date that follows.

The pace is that of the last hours in which somebody answered: a team that rests at night has no lower pace for it,
and the date says when the work would be done if people went on without a pause.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from storage.database import Database

SLOT_MINUTES, SLOTS = 10, 36  # the pace is taken over at most six hours, cut into slots of ten minutes
RECENT = timedelta(days=14)
LONGEST = timedelta(days=3650)


@dataclass(frozen=True)
class Progress:
    """answers: judgements that count on open work, of `wanted`; pace: judgements an hour over `hours` active hours."""

    answers: int
    wanted: int
    pace: float
    hours: float
    now: datetime

    @property
    def left(self) -> int:
        """Judgements that are still missing."""
        return max(0, self.wanted - self.answers)

    @property
    def share(self) -> float:
        """How much is done, 0 to 1."""
        return min(1.0, self.answers / self.wanted) if self.wanted else 0.0

    @property
    def end(self) -> datetime | None:
        """When all is done at this pace; None where nothing is left, or nobody answered lately."""
        if not self.left or self.pace <= 0:
            return None
        return self.now + min(LONGEST, timedelta(hours=self.left / self.pace))


def progress(db: Database, campaign_id: int, now: datetime | None = None) -> Progress:
    """The campaign's progress over the tasks that people can claim; checks do not count."""
    now = now or datetime.now(UTC)
    query = """
        WITH judged AS (
            SELECT task_id, count(DISTINCT person_id) AS people FROM answer_now
            WHERE campaign_id = $campaign AND status = 'counted' AND kind NOT IN ('skip', 'cannot_judge')
            GROUP BY task_id
        )
        SELECT coalesce(sum(least(coalesce(people, 0), overlap)), 0)::BIGINT, coalesce(sum(overlap), 0)::BIGINT
        FROM task LEFT JOIN judged USING (task_id)
        WHERE campaign_id = $campaign AND overlap > 0 AND purpose IN ('rank', 'compare')"""
    recent = """
        SELECT coalesce(sum(given), 0)::BIGINT, count(*) FROM (
            SELECT count(*) AS given, epoch(created)::BIGINT // (60 * $minutes) AS slot FROM answer_now
            WHERE campaign_id = $campaign AND status = 'counted' AND kind NOT IN ('skip', 'cannot_judge')
                AND assignment_id IS NOT NULL AND created > $since
            GROUP BY slot ORDER BY slot DESC LIMIT $slots
        )"""
    given = {"campaign": campaign_id, "minutes": SLOT_MINUTES, "since": now - RECENT, "slots": SLOTS}
    with db.read() as cursor:
        answers, wanted = cursor.execute(query, {"campaign": campaign_id}).fetchall()[0]
        done, slots = cursor.execute(recent, given).fetchall()[0]
    hours = slots * SLOT_MINUTES / 60
    return Progress(answers, wanted, done / hours if hours else 0.0, hours, now)
