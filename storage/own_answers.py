"""What one person has answered: page by page with search, and how fast they go. Read only.

Of each task only the newest answer is shown, a repeat beside it. Nothing here says which answers measure the
annotator: such an answer is told as any other would be.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from storage.database import Database
from storage.details import Detail
from storage.records import JUDGEMENTS
from storage.setups import Setup, from_json

LONGEST_BREAK = 1800.0  # seconds: an answer that took longer had a pause in it
CHART_DAYS = 30
MOST = 100  # answers of one page


@dataclass(frozen=True)
class OwnAnswer:
    """A person's newest answer to a task. completion_ids as the ranks are aligned; shown as the letters are."""

    submission_id: str
    seq: int
    task_id: int
    assignment_id: str | None
    campaign_id: int
    campaign: str
    prompt: str
    kind: str
    ranks: tuple[int, ...] | None
    completion_ids: tuple[int, ...]
    shown: tuple[int, ...]
    detail: Detail
    seconds: float
    created: datetime
    status: str
    reason: str
    revision: int
    revisable: bool


@dataclass(frozen=True)
class Pace:
    """How much and how fast. today and total count answers without skips; seconds are of active time.

    days: answers of each of the last CHART_DAYS days, oldest first, as (days since 1970, count).
    """

    today: int
    total: int
    seconds: float
    median_seconds: float | None
    days: tuple[tuple[int, int], ...]

    @property
    def per_hour(self) -> float | None:
        """Answers per hour of active time, None before there is any."""
        return 3600.0 * self.total / self.seconds if self.seconds > 0 else None


_MINE = """
    SELECT a.*, t.completion_ids, t.prompt_id FROM answer_now a JOIN task t USING (task_id)
    WHERE a.person_id = $person AND a.reason <> 'repeat'
    QUALIFY a.revision = max(a.revision) OVER (PARTITION BY a.task_id, a.purpose = 'repeat')"""
_ROW = """submission_id, seq, task_id, assignment_id, campaign_id, campaign, asked, kind, ranks, completion_ids, shown,
    detail, seconds, created, status, reason, revision, purpose, state, setup"""
_CAMPAIGN = """
    JOIN (SELECT campaign_id, name AS campaign, state FROM campaign_now) USING (campaign_id)
    LEFT JOIN setup_now USING (campaign_id)"""


def own_answers(
    db: Database,
    person_id: int,
    search: str = "",
    campaign_id: int | None = None,
    before: int | None = None,
    limit: int = 30,
) -> list[OwnAnswer]:
    """A person's newest answers, newest first; `before` is the seq of the last one that is known already.

    search: words that the prompt, a shown completion, the rationale or the edit must hold, whatever their case.
    """
    query = f"""
        WITH mine AS ({_MINE}), read AS (
            SELECT mine.*, array_to_string(json_extract_string(p.messages, '$[*].content'), chr(10)) AS talk,
                json_extract_string(p.messages, '$[#-1].content') AS asked
            FROM mine JOIN prompt p USING (prompt_id)
            WHERE ($campaign IS NULL OR mine.campaign_id = $campaign) AND ($before IS NULL OR mine.seq < $before)
        ), said AS (
            SELECT DISTINCT submission_id FROM (SELECT submission_id, unnest(shown) AS completion_id FROM read)
            JOIN completion USING (completion_id) WHERE $search <> '' AND contains(lower(text), lower($search))
        )
        SELECT {_ROW} FROM read {_CAMPAIGN}
        WHERE $search = '' OR contains(lower(talk), lower($search)) OR submission_id IN (FROM said)
            OR contains(lower(coalesce(detail ->> '$.rationale', '')), lower($search))
            OR contains(lower(coalesce(detail ->> '$.edit', '')), lower($search))
        ORDER BY seq DESC LIMIT $limit"""
    values = {"person": person_id, "campaign": campaign_id, "before": before, "search": search.strip()}
    with db.read() as cursor:
        rows = cursor.execute(query, values | {"limit": max(1, min(limit, MOST))}).fetchall()
    return [_own(row) for row in rows]


def own_answer(db: Database, person_id: int, submission_id: str) -> OwnAnswer | None:
    """One newest answer of a person; None for somebody else's, and for one that was revised since."""
    query = f"SELECT {_ROW} FROM (SELECT *, '' AS asked FROM ({_MINE})) {_CAMPAIGN} WHERE submission_id = $submission"
    with db.read() as cursor:
        rows = cursor.execute(query, {"person": person_id, "submission": submission_id}).fetchall()
    return _own(rows[0]) if rows else None


def newest_answer(db: Database, person_id: int, task_id: int, repeat: bool = False) -> str | None:
    """The submission that stands for a person on a task, or on its repeat."""
    query = f"SELECT submission_id FROM ({_MINE}) WHERE task_id = $task AND (purpose = 'repeat') = $repeat"
    with db.read() as cursor:
        rows = cursor.execute(query, {"person": person_id, "task": task_id, "repeat": repeat}).fetchall()
    return rows[0][0] if rows else None


def pace(db: Database, person_id: int, offset_minutes: int = 0, now: datetime | None = None) -> Pace:
    """How much a person did and how fast; days begin at midnight, `offset_minutes` ahead of UTC."""
    shift = 60 * max(-14 * 60, min(offset_minutes, 14 * 60))
    today = int(((now or datetime.now(UTC)).timestamp() + shift) // 86_400)
    query = f"""
        WITH given AS (
            SELECT floor((epoch(created) + $shift) / 86400)::INTEGER AS day, least(seconds, $longest) AS took
            FROM ({_MINE}) WHERE kind <> 'skip'
        )
        SELECT (SELECT count(*) FILTER (day = $today) FROM given), (SELECT count(*) FROM given),
            (SELECT coalesce(sum(took), 0) FROM given), (SELECT median(took) FILTER (took > 0) FROM given),
            (SELECT list((day, n) ORDER BY day) FROM (SELECT day, count(*) AS n FROM given GROUP BY day)
             WHERE day > $today - $days)"""
    values = {"person": person_id, "shift": shift, "longest": LONGEST_BREAK, "today": today, "days": CHART_DAYS}
    with db.read() as cursor:
        done_today, total, seconds, median, days = cursor.execute(query, values).fetchall()[0]
    counts = {int(day): n for day, n in days or []}
    filled = tuple((day, counts.get(day, 0)) for day in range(today - CHART_DAYS + 1, today + 1))
    return Pace(done_today, total, float(seconds), median, filled)


def answered_tasks(db: Database, person_id: int) -> list[tuple[int, bool, datetime]]:
    """(task, whether it was a repeat, when) of every answer of a person that is no skip."""
    query = f"SELECT task_id, purpose = 'repeat', created FROM ({_MINE}) WHERE kind <> 'skip'"
    with db.read() as cursor:
        return cursor.execute(query, {"person": person_id}).fetchall()


def guidelines_known(db: Database, person_id: int) -> dict[int, int]:
    """By campaign: the newest version of the guidelines under which the person has answered."""
    query = "SELECT campaign_id, max(guidelines_version) FROM answer WHERE person_id = ? GROUP BY campaign_id"
    with db.read() as cursor:
        return dict(cursor.execute(query, [person_id]).fetchall())


def told_status(status: str, reason: str, purpose: str, kind: str, seconds: float, setup: Setup) -> tuple[str, str]:
    """(status, reason) as an annotator is told: saved, excluded or surplus, a check like any other answer.

    An answer is told as too fast where work would be, so that being spared does not give a check away.
    """
    if kind in JUDGEMENTS and setup.on_fast == "exclude" and seconds < setup.min_seconds and status == "check":
        return "excluded", f"too fast: {seconds:.1f} s, expected at least {setup.min_seconds:g} s"
    if status in ("excluded", "surplus", "superseded"):
        return status, reason
    return "saved", ""


def said(answer: OwnAnswer) -> str:
    """An answer in one line of letters: "B > A = C", "A 4, B 2", "up: A; down: B"."""
    letter = dict(zip(answer.shown, "ABCDEFGHI", strict=False))
    if answer.kind in ("all_bad", "cannot_judge", "skip"):
        withdrawn = answer.kind == "skip" and answer.revision > 1
        words = {"all_bad": "all bad", "cannot_judge": "can't judge", "skip": "skipped"}
        return "withdrawn" if withdrawn else words[answer.kind]
    if answer.kind == "thumbs":
        up = [letter[c] for c in answer.shown if answer.detail.thumbs.get(c) == 1]
        down = [letter[c] for c in answer.shown if answer.detail.thumbs.get(c) == -1]
        return "; ".join(f"{name}: {', '.join(who)}" for name, who in (("up", up), ("down", down)) if who)
    if answer.kind == "ratings":
        return ", ".join(f"{letter[c]} {_mean(answer.detail.ratings.get(c, {}))}" for c in answer.shown)
    return _order(answer, letter)


def _order(answer: OwnAnswer, letter: Mapping[int, str]) -> str:
    rank = dict(zip(answer.completion_ids, answer.ranks or (), strict=False))
    tiers = [sorted(letter[c] for c in rank if rank[c] == place) for place in sorted(set(rank.values()))]
    if answer.detail.grade is not None and len(rank) == 2:
        if len(tiers) == 1:
            return "both good" if answer.detail.both_good else f"{tiers[0][0]} about equal to {tiers[0][1]}"
        how = ("about equal to", "slightly better than", "better than", "significantly better than")
        return f"{tiers[0][0]} {how[answer.detail.grade]} {tiers[1][0]}"
    return " > ".join(" = ".join(tier) for tier in tiers)


def _mean(values: Mapping[str, int]) -> str:
    return f"{sum(values.values()) / len(values):.2g}" if values else "not rated"


def _own(row: Sequence) -> OwnAnswer:
    *facts, ranks, completion_ids, shown, detail, seconds, created, status, reason, revision = row[:17]
    purpose, state, setup = row[17:]
    status, reason = told_status(status, reason, purpose, row[7], seconds, from_json(setup))
    return OwnAnswer(
        *facts,
        None if ranks is None else tuple(ranks),
        tuple(completion_ids),
        tuple(shown),
        Detail.from_json(detail),
        seconds,
        created,
        "revised" if status == "saved" and revision > 1 else status,
        reason,
        revision,
        state != "closed" and status != "excluded",
    )
