"""Rankings that come with an import, as answers without an assignment or a time taken.

The key of an imported answer follows from what it says, so that importing it again changes nothing. Whether it
counts or is a repeat is decided in `deciding.py`; which tasks the rankings belong to, in `import_batch.py`.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from storage.database import Cursor
from storage.deciding import Decided, Draft, decide
from storage.records import Task


@dataclass(frozen=True)
class ImportedRanking:
    """One annotator's ranks, aligned with completion_ids; record is the place in the batch it came with."""

    record: int
    person_id: int
    completion_ids: tuple[int, ...]
    ranks: tuple[int, ...]

    def in_order_of(self, task: Task) -> tuple[int, ...]:
        """Dense ranks (1, 2, … without gaps) in the order of the task's completions, which are the same."""
        rank_of = dict(zip(self.completion_ids, self.ranks, strict=True))
        order = sorted(set(self.ranks))
        return tuple(order.index(rank_of[one]) + 1 for one in task.completion_ids)


def insert_rankings(cursor: Cursor, rankings: Sequence[tuple[ImportedRanking, Task]]) -> list[tuple[int, Decided]]:
    """Store the rankings that are not stored yet; of each new one its record's place and what was decided.

    The same ranks by the same person are the same answer, unless one record holds them twice. Other ranks of a
    task that the person has ranked already are a repeat, which is kept but excluded.
    """
    outcomes = decide(cursor, list(_drafts(rankings)))
    for outcome in outcomes:
        if isinstance(outcome, Exception):
            raise outcome
    places = [ranking.record for ranking, _ in rankings]
    return [(place, one) for place, one in zip(places, outcomes, strict=True) if one.line]


def _drafts(rankings: Sequence[tuple[ImportedRanking, Task]]) -> Iterator[Draft]:
    copies = Counter()
    for ranking, task in rankings:
        said = (task.id, ranking.person_id, ranking.in_order_of(task))
        copies[ranking.record, said] += 1
        key = _submission_id(*said, copies[ranking.record, said])
        yield Draft(key, *said[:2], None, "ranking", said[2], task.completion_ids, 0.0, imported=True)


def _submission_id(task_id: int, person_id: int, ranks: Sequence[int], copy: int) -> str:
    said = json.dumps([task_id, person_id, list(ranks), copy])
    return "imported-" + hashlib.sha256(said.encode()).hexdigest()[:32]
