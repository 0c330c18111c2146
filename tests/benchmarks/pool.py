"""The pool of open tasks where it has the most to do: start-up, people who have answered everything, named people.

Each figure is in milliseconds, the median of its calls; storing is left out, as `claim` measures it. "blocked" is the
longest that another thread had to wait for the pool meanwhile.

    python -m tests.benchmarks.pool [--tasks 100000] [--annotators 200]
"""

import argparse
import json
import os
import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

from storage.assignments import Assignments
from storage.database import Database
from storage.members import Assignees
from tests.benchmarks.claim import fill

ANSWERS_EACH = 3
FILL_ANSWERS = """
INSERT INTO answer SELECT 'key-' || n, n, 1 + n // $each, 1, 1 + n % $each, NULL, 'ranking', [1, 2], [1, 2], 1.0, 1,
    'counted', '', 1, now(), 'work', '{}'
FROM range($each * $tasks) r(n)
"""


def milliseconds(work: Callable[[], object], times: int = 1) -> float:
    """The median time of that many calls."""
    taken = []
    for _ in range(times):
        started = time.perf_counter()
        work()
        taken.append(time.perf_counter() - started)
    return round(statistics.median(taken) * 1e3, 3)


def with_longest_wait(pool: Assignments, work: Callable[[], object]) -> tuple[float, float]:
    """How long the work took, and the longest that a call from another thread waited meanwhile."""
    over, waited = threading.Event(), [0.0]

    def look() -> None:
        while not over.is_set():
            waited.append(milliseconds(lambda: pool.live("nothing")))
            time.sleep(0.002)

    watcher = threading.Thread(target=look)
    watcher.start()
    took = milliseconds(work)
    over.set()
    watcher.join()
    return took, max(waited)


def answered_everything(database: Database, tasks: int) -> dict[str, float]:
    """Start-up with answers to all tasks by three people, with room for a fourth."""
    database.write(lambda cursor: cursor.execute(FILL_ANSWERS, {"each": ANSWERS_EACH, "tasks": tasks}).fetchall())
    made: list[Assignments] = []
    figures = {"rebuild": milliseconds(lambda: made.append(Assignments(database)))}
    pool = made[0]
    pool._store = lambda events: None
    figures["claim_who_answered_all_first"] = milliseconds(lambda: pool.claim(1))
    figures["claim_who_answered_all_again"] = milliseconds(lambda: pool.claim(1), 100)
    figures["remaining_who_answered_all"] = milliseconds(lambda: pool.remaining(1), 20)
    figures["counts"] = milliseconds(pool.counts, 20)
    people = iter(range(10, 10_000))
    figures["claim_new_person"] = milliseconds(lambda: pool.claim(next(people)), 1000)
    return figures


def named_people(database: Database, tasks: int, annotators: int) -> dict[str, float]:
    """Every task assigned to one of many people, in one change."""
    pool = Assignments(database)
    pool._store = lambda events: None
    facts = [Assignees(1 + n, (100 + n % annotators,)) for n in range(tasks)]
    took, blocked = with_longest_wait(pool, lambda: pool.learn(facts))
    people = iter(range(100, 100 + annotators))
    return {
        "assign_all_to_named_people": took,
        "assign_all_to_named_people_blocked": blocked,
        "claim_named_person": milliseconds(lambda: pool.claim(next(people)), annotators),
        "remaining_named_person": milliseconds(lambda: pool.remaining(100), 20),
    }


def main() -> None:
    """Measure, print a table, and the JSON line last."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tasks", type=int, default=100_000)
    parser.add_argument("--annotators", type=int, default=200)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, Database(Path(folder)) as database:
        fill(database, given.tasks, overlap=ANSWERS_EACH + 1)
        figures = named_people(database, given.tasks, given.annotators)
        figures |= answered_everything(database, given.tasks)
    print(f"{given.tasks} tasks, {ANSWERS_EACH * given.tasks} answers; load average {os.getloadavg()[0]:.2f}")
    for name, value in figures.items():
        print(f"{name.replace('_', ' '):<42}{value:>12.3f} ms")
    print(json.dumps({"name": "pool", "ms": figures}))


if __name__ == "__main__":
    main()
