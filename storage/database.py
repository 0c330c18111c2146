"""Owns the one DuckDB connection: read cursors for everybody, one writer thread for all changes, the journal.

`write` and `join` return after the change is committed (and, for answers, fsynced into the journal). What is
waiting is committed in groups: one transaction, one flush, many callers. A change that fails is taken out of
its group, tried alone, and raises to its own caller only. Nobody else calls `duckdb.connect`.
It knows no table but those of start-up; what is stored is the business of the modules beside it.
"""

import atexit
import logging
import queue
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import duckdb

from storage.changes import (
    Change,
    CommittedButStopped,
    Cursor,
    Outcomes,
    Pool,
    Rewriting,
    StorageInterrupted,
    commit,
    in_plain_words,
    next_group,
    one_by_one,
    refuse,
)
from storage.connection import DatabaseDamaged, DatabaseInUse, connect, lock_folder
from storage.journal import Journal, Replay, replay
from storage.migrations import migrate
from storage.rewriting import Rewritten, write_copy
from storage.swapping import decide, finish

__all__ = ["Cursor", "Database", "DatabaseDamaged", "DatabaseInUse", "StorageInterrupted", "itself"]
log = logging.getLogger(__name__)
Item = TypeVar("Item")
Result = TypeVar("Result")
READERS_GRACE = 10.0  # seconds that a reopening waits for readers to end


class Database:
    """The opened data folder. Close it, or use it as a context manager.

    folder None keeps everything in memory (tests). `notices` are sentences for the person who hosts: repairs
    made and answers waiting in the journal. `pool`, once there is one, is told of committed facts.
    """

    def __init__(self, folder: Path | None):
        self.folder = Path(folder) if folder is not None else None
        self.notices: list[str] = []
        self.pool: Pool | None = None
        self._journal: Journal | None = lock_folder(self.folder) if self.folder else None
        self._readers: set[Cursor] = set()
        self._door = threading.Condition(threading.RLock())
        self._changes: queue.SimpleQueue[Change | None] = queue.SimpleQueue()
        self._closed = self._swapping = False
        self._connection: duckdb.DuckDBPyConnection | None = None
        try:
            self._open()
        except BaseException:
            if self._journal:
                self._journal.close()
            raise
        self._writer = threading.Thread(target=self._write_until_closed, name="writer", daemon=True)
        self._writer.start()
        atexit.register(self.close)  # a thread that dies inside DuckDB at the interpreter's end takes the process along

    def __enter__(self) -> "Database":
        return self

    def __exit__(self, *_) -> None:
        self.close()

    # ---- for everybody
    @contextmanager
    def read(self) -> Iterator[Cursor]:
        """A cursor of its own for this block. Read only: changes go through `write`."""
        with self._door:
            self._door.wait_for(lambda: not self._swapping, READERS_GRACE)
            if self._connection is None:
                raise StorageInterrupted("The database is closed; start RankLoop again, with room on the disk.")
            cursor = self._connection.cursor()
            self._readers.add(cursor)
        try:
            yield cursor
        finally:
            with self._door:
                self._readers.discard(cursor)
                self._door.notify_all()
            cursor.close()

    def write(
        self,
        work: Callable[[Cursor], Result],
        journal: Mapping | Callable[[Result], Iterable[Mapping]] | None = None,
        tell: Callable[[Result], object] | None = None,
    ) -> Result:
        """Run `work` in the writer thread and return its value once it is committed.

        `work` may run twice (its group was rolled back), so it touches nothing but the cursor, and it never
        swallows a database error: a COMMIT after one silently keeps nothing. What it raises is raised here.
        journal is the line to keep, or makes the lines from the value; tell makes what the pool learns from it.
        """
        lines = journal if callable(journal) or journal is None else lambda _: [journal]
        return self._send(Change(one_by_one, work, lines, tell))

    def join(
        self,
        work: Callable[[Cursor, Sequence[Item]], Sequence[Result | Exception]],
        item: Item,
        journal: Callable[[Result], Iterable[Mapping]] | None = None,
        tell: Callable[[Result], object] | None = None,
    ) -> Result:
        """Like `write` for frequent changes: `work` gets the items of everybody who waits with the same `work`.

        It returns one value per item; an exception among them is raised to that item's caller, and the others
        are kept. It must have changed nothing for an item that it answers with an exception.
        """
        return self._send(Change(work, item, journal, tell))

    def rewrite(self, work: Callable[[Cursor], Rewritten]) -> Any:
        """Change the files themselves, so that what `work` removes is in none of their bytes; returns its value.

        The writer does it alone: changes wait meanwhile, readers only while the files are exchanged.
        """
        return self._send(Rewriting(one_by_one, work))

    def close(self) -> None:
        """Finish what is waiting, checkpoint and unlock. Calling it again does nothing."""
        atexit.unregister(self.close)
        with self._door:
            if self._closed:
                return
            self._closed = True
            self._changes.put(None)
        self._writer.join()
        self._shut_connection()
        if self._journal:
            self._journal.close()

    # ---- opening
    def _open(self) -> None:
        said = len(self.notices)
        if self._journal:
            self._journal = finish(self.folder, self._journal)  # of a rewriting that was interrupted
        connection = connect(self.folder, self.notices)
        try:
            migrate(connection)
            if self._journal:
                self._report(replay(connection, self._journal))
        except BaseException:
            connection.close()
            raise
        for notice in self.notices[said:]:
            log.warning(notice)
        with self._door:
            self._connection = connection

    def _report(self, found: Replay) -> None:
        """Say in `notices` what start-up repaired or could not place."""
        name = self._journal.path
        if found.restored:
            self.notices.append(f"{found.restored} answers were restored from {name}.")
        if found.pending:
            self.notices.append(
                f"{found.pending} answers in {name} belong to tasks or people that this database does not know. "
                "They stay in the journal; restore the backup that holds those tasks and start again to get them back."
            )
        if found.unreadable:
            self.notices.append(f"{found.unreadable} lines of {name} cannot be read and were left as they are.")

    def _shut_connection(self) -> None:
        """Close once the readers have ended; those that do not end in time are interrupted."""
        with self._door:
            if not self._door.wait_for(lambda: not self._readers, READERS_GRACE):
                for cursor in self._readers:
                    cursor.interrupt()
                self._door.wait_for(lambda: not self._readers, READERS_GRACE)
            if self._connection is not None:
                with suppress(duckdb.Error):  # an invalidated database cannot checkpoint; its log is replayed
                    self._connection.close()
            self._connection = None

    # ---- the writer thread
    def _send(self, change: Change) -> Any:
        if threading.current_thread() is self._writer:
            raise RuntimeError("write() was called inside a change; do it all in one `work`.")
        with self._door:
            if self._closed:
                raise StorageInterrupted("The database is closed; nothing was stored.")
            self._changes.put(change)
        return change.done.result()

    def _write_until_closed(self) -> None:
        while group := next_group(self._changes):
            changes = [change for change in group if not isinstance(change, Rewriting)]
            try:
                for failed in self._commit(changes) if changes else []:  # one of them is at fault: each for itself
                    self._commit([failed])
                for rewriting in [change for change in group if isinstance(change, Rewriting)]:
                    self._rewrite(rewriting)
            except BaseException as error:  # nobody may wait for ever, whatever happened
                log.exception("The writer failed.")
                refuse(group, error)

    def _commit(self, group: list[Change]) -> list[Change]:
        """The group in one transaction; returns its changes if something in it failed."""
        try:
            with self._connection_of_writer().cursor() as cursor:
                outcomes = commit(cursor, group)
        except CommittedButStopped as stopped:
            outcomes = stopped.outcomes
            self._reopen(stopped.reason)
        except duckdb.FatalException as error:
            self._reopen(error)
            reason = f"The database had to be reopened ({error}). Check that the disk has room, then send again."
            refuse(group, StorageInterrupted(reason))
            return []
        except Exception as error:
            if len(group) > 1:
                return group
            refuse(group, error)
            return []
        self._acknowledge(outcomes)
        return []

    def _rewrite(self, change: Rewriting) -> None:
        """Write new files, decide for them, exchange them, and open again. In memory there are none."""
        try:
            with self._connection_of_writer().cursor() as cursor:
                value = write_copy(cursor, self.folder, change.item)
            if self.folder is not None:
                decide(self.folder)
                self._exchange_files()
        except Exception as error:
            change.done.set_exception(in_plain_words(error))
            return
        if self.pool is not None:
            self.pool.rebuild()
        change.done.set_result(value)

    def _exchange_files(self) -> None:
        with self._door:
            self._swapping = True
        try:
            self._shut_connection()
            self._open()
        finally:
            with self._door:
                self._swapping = False
                self._door.notify_all()

    def _connection_of_writer(self) -> duckdb.DuckDBPyConnection:
        if self._connection is None:  # the last reopening failed; the disk may have room by now
            self._open()
        return self._connection

    def _acknowledge(self, outcomes: Outcomes) -> None:
        """Tell the pool, write the journal, and only then let the callers go."""
        kept = [(change, value) for change, value in outcomes if not isinstance(value, Exception)]
        for change, value in kept:
            if change.tell and self.pool is not None:
                self.pool.learn(change.tell(value))
        lines = [line for change, value in kept if change.journal for line in change.journal(value)]
        failure = self._write_journal(lines)
        for change, value in outcomes:
            if isinstance(value, Exception):
                change.done.set_exception(value)
            elif failure and change.journal:
                change.done.set_exception(failure)
            else:
                change.done.set_result(value)

    def _write_journal(self, lines: list[Mapping]) -> StorageInterrupted | None:
        if self._journal is None:
            return None
        try:
            self._journal.append(lines)
        except OSError as error:
            return StorageInterrupted(
                f"The journal {self._journal.path} could not be written ({error}). "
                "Make room on the disk and send again."
            )
        return None

    def _reopen(self, error: duckdb.FatalException) -> None:
        """After a FatalException even reads fail until every connection has closed; what was committed is kept.

        The pool starts afresh from storage: it cannot know what became of the change that failed.
        """
        log.error("DuckDB stopped: %s. Reopening.", error)
        if self.folder is None:
            return
        try:
            self._shut_connection()
            self._open()
            if self.pool is not None:
                self.pool.rebuild()
        except Exception:
            log.exception("The database could not be opened again; the next change tries once more.")


def itself(value: Result) -> Result:
    """What a change tells the pool where its value is the news."""
    return value
