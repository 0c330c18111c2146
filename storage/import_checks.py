"""Known answers that come with an import: tasks with a purpose of their own, and what is known of them.

The same known answer again changes nothing; another one for the same completions replaces it, as in checks.py.
"""

from collections.abc import Mapping, Sequence

from storage.checks import Check, find_check, insert_check
from storage.database import Cursor
from storage.import_records import ImportRecord, KnownAnswer
from storage.records import EVERYBODY, Campaign, Task
from storage.tasks import insert_tasks

Given = tuple[int, str, ImportRecord, tuple[int, ...]]  # place in the batch, prompt id, the record, completion ids


def insert_checks(cursor: Cursor, campaign: Campaign, entries: Sequence[Given]) -> dict[int, tuple[Task, Check]]:
    """Open the tasks of records with a check; those that are new or known otherwise now, by their place."""
    given = [entry for entry in entries if entry[2].check]
    if not given:
        return {}
    drafts = [
        Task(0, campaign.id, prompt, tuple(dict.fromkeys(ids)), EVERYBODY, 0.0, record.check.purpose)
        for _, prompt, record, ids in given
    ]
    tasks, changed = insert_tasks(cursor, drafts, None), {}
    for (place, _, record, ids), task in zip(given, tasks, strict=True):
        keys = [one.key for one in record.completions]
        known = Check(task.id, _ranks(record.check, dict(zip(keys, ids, strict=True)), task), record.check.explanation)
        if find_check(cursor, task.id) != known:
            changed[place] = (task, insert_check(cursor, known))
    return changed


def _ranks(known: KnownAnswer, id_of: Mapping[str, int], task: Task) -> tuple[int, ...] | None:
    """Dense ranks in the order of the task's completions."""
    if known.ranks is None:
        return None
    rank_of = {id_of[key]: rank for key, rank in known.ranks.items()}
    order = sorted(set(rank_of.values()))
    return tuple(order.index(rank_of[completion]) + 1 for completion in task.completion_ids)
