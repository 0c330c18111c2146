"""Stores a batch of import records inside one transaction: prompts, completions, tasks, demonstrations, rankings.

`store` is what the writer runs: it touches nothing but its cursor, so it may run twice. It reads no files;
`interchange.py` feeds it. Records that contradict what is stored are refused one by one, the others go in.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from storage.checks import Check
from storage.completions import insert_completions
from storage.database import Cursor
from storage.deciding import Decided
from storage.import_checks import insert_checks
from storage.import_rankings import ImportedRanking, insert_rankings
from storage.import_records import ImportRecord
from storage.prompts import (
    find_conflicts,
    insert_demonstrations,
    insert_prompts,
    prompt_id_of,
    scoped_ids,
    settle_splits,
)
from storage.records import MAX_COMPLETIONS, MIN_COMPLETIONS, Answer, Campaign, InvalidRecord, Person, Prompt, Task
from storage.tasks import insert_tasks


@dataclass(frozen=True)
class Stored:
    """What a batch added: counts as in an import report, the new tasks and rankings; refused: why, by place."""

    counts: Counter = field(default_factory=Counter)
    refused: Mapping[int, InvalidRecord] = field(default_factory=dict)
    tasks: Sequence[Task] = ()
    rankings: Sequence[Decided] = ()
    checks: Sequence[Check] = ()

    @property
    def news(self) -> list[Task | Check | Answer]:
        """What the pool of open tasks must learn."""
        return [*self.tasks, *self.checks, *(decided.answer for decided in self.rankings)]

    @property
    def lines(self) -> list[Mapping]:
        """What goes into the journal."""
        return [line for decided in self.rankings for line in decided.lines]


@dataclass(frozen=True)
class _Entry:
    """A record that goes in: its place in the batch, the prompt it belongs to, and once stored its completions."""

    place: int
    record: ImportRecord
    prompt: Prompt
    ids: tuple[int, ...] = ()

    @property
    def sets(self) -> list[tuple[int, ...]]:
        """The completion sets to rank; one that appears twice in the record is one completion."""
        return balanced(tuple(dict.fromkeys(self.ids)))


def store(
    cursor: Cursor, campaign: Campaign, records: Sequence[ImportRecord], people: Mapping[str, Person], source: str
) -> Stored:
    """Add the records to the campaign.

    people: annotators by name, the file's own under `source`. What is stored already adds nothing; a record that
    added nothing counts as unchanged.
    """
    prompts = _prompts(cursor, campaign, records)
    refused = find_conflicts(cursor, prompts)
    pairs = enumerate(zip(records, prompts, strict=True))
    entries = [_Entry(place, *pair) for place, pair in pairs if place not in refused]
    if not entries:
        return Stored(refused=refused)
    new_prompts = _add_prompts(cursor, campaign, entries)
    entries, new_completions = _add_completions(cursor, entries)
    shown = _add_demonstrations(cursor, campaign, entries, source)
    rankings = [ranking for entry in entries for ranking in _rankings(entry, people, source)]
    tasks, new_tasks = _add_tasks(cursor, campaign, entries, rankings)
    decided = insert_rankings(cursor, [(one, tasks[frozenset(one.completion_ids)]) for one in rankings])
    ranked = [place for place, _ in decided]
    known = insert_checks(cursor, campaign, [(e.place, e.prompt.id, e.record, e.ids) for e in entries])
    new = (new_prompts, new_completions, shown, known, ranked, [place for place, _ in new_tasks])
    touched = {place for places in new for place in places}
    counts = Counter(
        prompts=len(new_prompts),
        completions=len(new_completions),
        demonstrations=len(shown),
        tasks=sum(task.overlap > 0 for _, task in new_tasks),
        preferences=sum(records[place].preference for place in ranked),
        rankings=sum(not records[place].preference for place in ranked),
        checks=len(known),
        unchanged=sum(entry.place not in touched for entry in entries),
    )
    opened = [task for _, task in new_tasks] + [task for task, _ in known.values()]
    return Stored(counts, refused, opened, [one for _, one in decided], [check for _, check in known.values()])


def balanced(ids: Sequence[int], most: int = MAX_COMPLETIONS) -> list[tuple[int, ...]]:
    """Sets of at most `most` whose sizes differ by one at most, in the order given; none from fewer than two."""
    if len(ids) < MIN_COMPLETIONS:
        return []
    parts = -(-len(ids) // most)
    bounds = [part * len(ids) // parts for part in range(parts + 1)]
    return [tuple(ids[start:end]) for start, end in pairwise(bounds)]


def _prompts(cursor: Cursor, campaign: Campaign, records: Sequence[ImportRecord]) -> list[Prompt]:
    splits = settle_splits(cursor, [(record.messages, record.split) for record in records])
    given = [(record.prompt_id, record.messages) for record in records if record.prompt_id]
    scoped = scoped_ids(cursor, campaign.id, given)
    return [
        Prompt(
            scoped.get(record.prompt_id) or prompt_id_of(record.messages),
            record.messages,
            split,
            record.tags,
            record.metadata,
        )
        for record, split in zip(records, splits, strict=True)
    ]


def _add_prompts(cursor: Cursor, campaign: Campaign, entries: list[_Entry]) -> list[int]:
    """The place of each prompt that is new to the campaign."""
    query = """SELECT prompt_id FROM campaign_prompt
               WHERE campaign_id = $campaign AND prompt_id IN (SELECT unnest($ids::VARCHAR[]))"""
    asked = {"campaign": campaign.id, "ids": [entry.prompt.id for entry in entries]}
    known = {prompt_id for (prompt_id,) in cursor.execute(query, asked).fetchall()}
    insert_prompts(cursor, campaign.id, [entry.prompt for entry in entries])
    new = {}
    for entry in entries:
        if entry.prompt.id not in known:
            new.setdefault(entry.prompt.id, entry.place)
    return list(new.values())


def _add_completions(cursor: Cursor, entries: list[_Entry]) -> tuple[list[_Entry], list[int]]:
    """The entries with the ids of their completions, and the place of each new completion."""
    last = cursor.execute("SELECT coalesce(max(completion_id), 0) FROM completion").fetchall()[0][0]
    rows = [(e.prompt.id, one.model, one.text, one.settings) for e in entries for one in e.record.completions]
    ids = iter(insert_completions(cursor, rows))
    filled = [
        _Entry(entry.place, entry.record, entry.prompt, tuple(next(ids) for _ in entry.record.completions))
        for entry in entries
    ]
    new = {}
    for entry in filled:
        for one in entry.ids:
            if one > last:
                new.setdefault(one, entry.place)
    return filled, list(new.values())


def _add_demonstrations(cursor: Cursor, campaign: Campaign, entries: list[_Entry], source: str) -> list[int]:
    """The place of each new demonstration."""
    rows = {}
    for entry in entries:
        if entry.record.demonstration is not None:
            rows.setdefault((entry.prompt.id, entry.record.demonstration), entry.place)
    return [rows[row] for row in insert_demonstrations(cursor, campaign.id, list(rows), source)] if rows else []


def _rankings(entry: _Entry, people: Mapping[str, Person], source: str) -> list[ImportedRanking]:
    """A preference, or annotations, each restricted to the completions of one task."""
    if entry.record.preference:
        return [ImportedRanking(entry.place, people[source].id, entry.ids, (1, 2))]
    found = []
    id_of = {one.key: number for one, number in zip(entry.record.completions, entry.ids, strict=True)}
    for annotation in entry.record.annotations:
        ranks = {id_of[key]: rank for key, rank in annotation.ranks.items()}
        for members in entry.sets:
            ranked = tuple(one for one in members if one in ranks)
            if len(ranked) >= MIN_COMPLETIONS:
                person = people[annotation.annotator].id
                found.append(ImportedRanking(entry.place, person, ranked, tuple(ranks[one] for one in ranked)))
    return found


def _add_tasks(
    cursor: Cursor, campaign: Campaign, entries: list[_Entry], rankings: list[ImportedRanking]
) -> tuple[dict[frozenset[int], Task], list[tuple[int, Task]]]:
    """Tasks by their set of completions, and (place, task) of the new ones.

    A preference, and a ranking of only some of a task's completions, lives in a task with overlap 0.
    """
    prompt_of, drafts = {entry.place: entry.prompt.id for entry in entries}, []
    for entry in entries:
        opens_none = entry.record.preference or entry.record.check
        for members in [] if opens_none else entry.sets:
            drafts.append((entry.place, Task(0, campaign.id, entry.prompt.id, members, campaign.overlap)))
    for ranking in rankings:
        home = Task(0, campaign.id, prompt_of[ranking.record], ranking.completion_ids, 0)
        drafts.append((ranking.record, home))
    last = cursor.execute("SELECT coalesce(max(task_id), 0) FROM task").fetchall()[0][0]
    opened = insert_tasks(cursor, [draft for _, draft in drafts], None) if drafts else []
    new = {}
    for (place, _), task in zip(drafts, opened, strict=True):
        if task.id > last:
            new.setdefault(task.id, (place, task))
    return {frozenset(task.completion_ids): task for task in opened}, list(new.values())
