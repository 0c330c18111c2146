"""A change to the database, and how a group of waiting changes becomes one transaction.

No thread and no connection of its own: database.py owns both.
"""

import queue
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, field
from typing import Any, Protocol

import duckdb

Cursor = duckdb.DuckDBPyConnection
GROUP = 256  # changes in one transaction at most


class StorageInterrupted(RuntimeError):
    """The database closed or its disk filled up under a change. Sending the same answer again is safe."""


class Pool(Protocol):
    """What the database knows of the pool of open tasks (assignments.py)."""

    def learn(self, fact: object) -> None:
        """Take in what a committed change made."""

    def rebuild(self) -> None:
        """Start afresh from what is stored."""

    def storing(self, task_id: int, person_id: int) -> AbstractContextManager[bool]:
        """While an answer is being stored, keep its place on the task; whether there is one."""


class CommittedButStopped(Exception):
    """The transaction is durable, but DuckDB stopped in the checkpoint after it: reopen, then acknowledge."""

    def __init__(self, outcomes: "Outcomes", reason: duckdb.FatalException):
        self.outcomes, self.reason = outcomes, reason
        super().__init__(str(reason))


@dataclass(eq=False)
class Change:
    """One caller's change: `work` gets the items of all waiting changes that share it, in order of arrival.

    journal makes the lines to keep from the value, tell what the pool learns from it.
    """

    work: Callable[[Cursor, Sequence[Any]], Sequence[Any]]
    item: Any
    journal: Callable[[Any], Iterable[Mapping]] | None = None
    tell: Callable[[Any], object] | None = None
    done: Future = field(default_factory=Future)


class Rewriting(Change):
    """A change of the files themselves: `item` is its work, done alone by the writer (storage/rewriting.py)."""


Outcomes = list[tuple[Change, Any]]  # values, or exceptions as values, in the order in which they took effect


def one_by_one(cursor: Cursor, works: Sequence[Callable[[Cursor], Any]]) -> list[Any]:
    """The work of changes that have nothing in common: each item is a function of the cursor."""
    return [work(cursor) for work in works]


def next_group(changes: "queue.SimpleQueue[Change | None]") -> list[Change]:
    """Wait for a change and take along what waits behind it; empty where None says that the queue ends."""
    if (first := changes.get()) is None:
        return []
    group = [first]
    with suppress(queue.Empty):
        while len(group) < GROUP:
            change = changes.get_nowait()
            if change is None:
                changes.put(None)
                break
            group.append(change)
    return group


def commit(cursor: Cursor, group: list[Change]) -> Outcomes:
    """All changes of the group in one transaction; those with the same work are given to it together.

    The callers wait side by side, so no order between works is owed. Raises CommittedButStopped, and whatever
    went wrong after a rollback.
    """
    together: dict[Callable, list[Change]] = {}
    for change in group:
        together.setdefault(change.work, []).append(change)
    outcomes: Outcomes = []
    cursor.execute("BEGIN")
    try:
        for work, changes in together.items():
            values = work(cursor, [change.item for change in changes])
            outcomes += zip(changes, values, strict=True)
        cursor.execute("COMMIT")
    except BaseException as error:
        if isinstance(error, duckdb.FatalException) and "COMMIT succeeded" in str(error):
            raise CommittedButStopped(outcomes, error) from error
        with suppress(duckdb.Error):  # a failed COMMIT has already ended the transaction
            cursor.execute("ROLLBACK")
        raise
    return outcomes


def refuse(group: Iterable[Change], error: BaseException) -> None:
    """Raise the error to the callers that still wait."""
    for change in group:
        if not change.done.done():
            change.done.set_exception(in_plain_words(error))


def in_plain_words(error: BaseException) -> BaseException:
    """A full disk looks like a failed transaction; say what it is."""
    if isinstance(error, duckdb.Error) and "Could not write file" in str(error):
        return StorageInterrupted(f"Nothing was stored: {error}. Make room on the disk and send again.")
    return error
