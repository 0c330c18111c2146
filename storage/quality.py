"""How good the answers of a campaign are, counted in SQL: per rule, per annotator, per check.

Agreement between annotators and position bias are statistics over the rankings: pipeline/quality.py.
"""

from dataclasses import dataclass
from datetime import datetime

from storage.checks import agreement
from storage.database import Cursor, Database
from storage.details import stored_ranks
from storage.pseudonyms import shown_names
from storage.setups import from_json, setup

ALARM_FROM = 20  # answers that a share is judged over
BY_HAND = "by hand"


@dataclass(frozen=True)
class RuleShare:
    """How many of a campaign's answers one rule excludes; alarm: whether that is more than the lead allows."""

    rule: str
    excluded: int
    answers: int
    allowed: float

    @property
    def share(self) -> float:
        """Excluded answers among all that stand or were excluded."""
        return self.excluded / self.answers if self.answers else 0.0

    @property
    def alarm(self) -> bool:
        """Whether a rule, not a person, excludes more than the allowed share of enough answers."""
        return self.rule != BY_HAND and self.answers >= ALARM_FROM and self.share > self.allowed


def exclusions(db: Database, campaign_id: int) -> list[RuleShare]:
    """Each rule that excludes answers of the campaign, and what leads excluded by hand, most first.

    Imported rankings are no annotator's answers here: an import's repeats raise no alarm.
    """
    query = """
        WITH given AS (
            SELECT a.status, a.reason, TRY_CAST(a.excluded_by AS INTEGER) IS NOT NULL AS by_hand
            FROM answer_now a WHERE a.campaign_id = $campaign AND a.status <> 'superseded'
            AND NOT (a.assignment_id IS NULL AND a.reason = 'repeat')
        )
        SELECT if(by_hand, $by_hand, trim(split_part(reason, ':', 1))) AS rule, count(*),
            (SELECT count(*) FROM given)
        FROM given WHERE status = 'excluded' GROUP BY ALL ORDER BY 2 DESC, 1"""
    with db.read() as cursor:
        rows = cursor.execute(query, {"campaign": campaign_id, "by_hand": BY_HAND}).fetchall()
    allowed = setup(db, campaign_id).alarm_share
    return [RuleShare(*row, allowed) for row in rows]


def alarms(db: Database, campaign_id: int) -> list[str]:
    """What a lead must look at, in sentences: rules that exclude too much."""
    return [
        f"The rule “{one.rule}” excludes {one.share:.0%} of {one.answers} answers; {one.allowed:.0%} are allowed."
        for one in exclusions(db, campaign_id)
        if one.alarm
    ]


@dataclass(frozen=True)
class Annotator:
    """One annotator's work in a campaign. seconds: the median of a judgement, None without one; fast: the share of
    judgements under the campaign's shortest time; gold, test, training, repeat: mean agreement, None without one,
    and over how many; state: active or paused, with its reason."""

    person_id: int
    name: str
    kind: str
    answers: int
    counted: int
    surplus: int
    excluded: int
    skipped: int
    seconds: float | None
    fast: float
    last: datetime
    checks: dict[str, tuple[float | None, int]]
    state: str = "active"
    reason: str = ""


def annotators(db: Database, campaign_id: int) -> list[Annotator]:
    """Everybody who answered, most answers first; names as the campaign may show them."""
    chosen = setup(db, campaign_id)
    query = """
        SELECT p.person_id, p.name, p.kind,
            count(*) FILTER (a.purpose = 'work' AND a.kind NOT IN ('skip', 'cannot_judge')) AS answers,
            count(*) FILTER (a.status = 'counted' AND a.kind NOT IN ('skip', 'cannot_judge')),
            count(*) FILTER (a.status = 'surplus'),
            count(*) FILTER (a.status = 'excluded'),
            count(*) FILTER (a.kind IN ('skip', 'cannot_judge')),
            median(a.seconds) FILTER (a.kind NOT IN ('skip', 'cannot_judge') AND a.assignment_id IS NOT NULL),
            coalesce(avg((a.seconds < $shortest)::INTEGER)
                FILTER (a.kind NOT IN ('skip', 'cannot_judge') AND a.assignment_id IS NOT NULL), 0.0),
            max(a.created)
        FROM answer_now a JOIN person p USING (person_id)
        WHERE a.campaign_id = $campaign AND a.status <> 'superseded' GROUP BY ALL ORDER BY answers DESC, p.person_id"""
    with db.read() as cursor:
        rows = cursor.execute(query, {"campaign": campaign_id, "shortest": chosen.min_seconds}).fetchall()
        scores = _scores(cursor, campaign_id)
        states = cursor.execute(
            "SELECT person_id, state, reason FROM annotator_state_now WHERE campaign_id = ?", [campaign_id]
        ).fetchall()
    names = shown_names(db, campaign_id, {row[0]: row[1] for row in rows})
    state_of = {person: rest for person, *rest in states}
    return [
        Annotator(row[0], names[row[0]], *row[2:], scores.get(row[0], {}), *state_of.get(row[0], ("active", "")))
        for row in rows
    ]


def _scores(cursor: Cursor, campaign_id: int) -> dict[int, dict[str, tuple[float | None, int]]]:
    """Per person and purpose: mean agreement with the known (of a repeat: the first) answer, and over how many."""
    query = """
        SELECT a.person_id, a.purpose, a.kind, a.ranks, a.detail, t.completion_ids, s.setup,
            a.purpose = 'repeat', k.ranks, k.task_id IS NOT NULL, f.kind, f.ranks, f.detail
        FROM answer_now a JOIN task t USING (task_id)
        LEFT JOIN setup_now s ON s.campaign_id = a.campaign_id
        LEFT JOIN task_check_now k ON k.task_id = a.task_id
        LEFT JOIN answer_now f ON a.purpose = 'repeat' AND f.task_id = a.task_id AND f.person_id = a.person_id
            AND f.purpose = 'work' AND f.status IN ('counted', 'surplus')
        WHERE a.campaign_id = ? AND a.status = 'check'"""
    found: dict[int, dict[str, list[float]]] = {}
    for person, purpose, *told in cursor.execute(query, [campaign_id]).fetchall():
        share = _share(*told)
        if share is not None:
            found.setdefault(person, {}).setdefault(purpose, []).append(share)
    return {
        person: {purpose: (sum(shares) / len(shares), len(shares)) for purpose, shares in one.items()}
        for person, one in found.items()
    }


def _share(
    kind, ranks, detail, ids, setup_text, is_repeat, known, has_known, first_kind, first_ranks, first_detail
) -> float | None:
    overall, ids = from_json(setup_text).overall, tuple(ids)
    said = ranks or stored_ranks(kind, detail, ids, overall)
    if not is_repeat:
        return agreement(known, kind, said) if has_known else None
    if first_kind is None or first_kind in ("skip", "cannot_judge"):
        return None
    first = first_ranks or stored_ranks(first_kind, first_detail, ids, overall)
    return agreement(first, kind, said)
