"""Where the known answer of a check comes from: a lead's own answer, what everybody said alike, or typed text.

Ranks align with the task's completion_ids, 1 = best; None says that all are bad. Nothing is stored here: checks.py
keeps the result.
"""

from collections.abc import Sequence

from storage.database import Database
from storage.records import JUDGEMENTS, InvalidRecord, require
from storage.task_lists import task_answers

LETTERS = "ABCDEFGHI"
SOURCES = ("own", "unanimous", "typed")
Ranks = tuple[int, ...] | None


def known_ranks(db: Database, task_id: int, count: int, source: str, person_id: int, typed: str = "") -> Ranks:
    """The known answer of a task with `count` completions. source: own, unanimous or typed.

    Raises InvalidRecord where there is no such answer.
    """
    require(source in SOURCES, "source", source, "one of " + ", ".join(SOURCES))
    if source == "typed":
        return typed_ranks(typed, count)
    return own_ranks(db, task_id, person_id) if source == "own" else unanimous_ranks(db, task_id)


def own_ranks(db: Database, task_id: int, person_id: int) -> Ranks:
    """What this person answered."""
    mine = [one for one in task_answers(db, task_id) if one.person_id == person_id and one.kind in JUDGEMENTS]
    require(
        bool(mine), "source", "no answer of yours to this task", "one; answer it on the Rank page first, or type it"
    )
    return mine[-1].ranks


def unanimous_ranks(db: Database, task_id: int) -> Ranks:
    """What at least two annotators answered, all alike; answers that were excluded do not speak."""
    told = [one for one in task_answers(db, task_id) if one.status != "excluded" and one.kind in JUDGEMENTS]
    require(len(told) >= 2, "source", f"{len(told)} judgements", "at least two that agree")
    said = {one.ranks for one in told}
    require(len(said) == 1, "source", f"{len(told)} judgements that differ", "judgements that all agree")
    return said.pop()


def typed_ranks(text: str, count: int) -> Ranks:
    """Ranks from an order such as "B > A = C", or "all bad". Every letter once, in any case.

    >>> typed_ranks("b > a = c", 3)
    (2, 1, 2)
    """
    wanted = LETTERS[:count]
    example = " > ".join(wanted)
    if text.strip().lower() == "all bad":
        return None
    tiers = [[part.strip().upper() for part in tier.split("=")] for tier in text.split(">")]
    found = [letter for tier in tiers for letter in tier]
    if sorted(found) != list(wanted):
        raise InvalidRecord("order", text, f"each of {', '.join(wanted)} once, such as {example}, or: all bad")
    rank_of = {letter: rank for rank, tier in enumerate(tiers, 1) for letter in tier}
    return tuple(rank_of[letter] for letter in wanted)


def order_words(ranks: Sequence[int] | None) -> str:
    """Ranks as an order of letters: (2, 1, 2) is "B > A = C"; None is "all bad"."""
    if ranks is None:
        return "all bad"
    tiers = [[LETTERS[i] for i, rank in enumerate(ranks) if rank == place] for place in sorted(set(ranks))]
    return " > ".join(" = ".join(tier) for tier in tiers)
