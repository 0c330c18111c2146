"""How fast a task is claimed: our pool in memory against one SQL query per claim, both stored before they return.

Both arms use the same database, writer thread and group commit, and run in turns. Each claim is by a new person,
so that nobody has to answer in between. The peer keeps a counter of live leases per task, the fastest SQL we found.

    python -m tests.benchmarks.claim [--tasks 100000] [--annotators 200] [--claims 20] [--rounds 3]
"""

import argparse
import itertools
import json
import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

from storage.assignments import Assignments
from storage.campaigns import create_campaign
from storage.completions import add_completions
from storage.database import Cursor, Database
from storage.prompts import add_prompts
from storage.records import Message, Prompt
from storage.tasks import open_tasks

PIECE = 10_000
PEER_TABLES = """
CREATE TABLE peer_task AS SELECT task_id, priority, overlap, 0 AS live FROM task ORDER BY task_id;
CREATE TABLE peer_claim (task_id BIGINT, person_id INTEGER, expires TIMESTAMPTZ);
"""
PEER_PICK = """
SELECT task_id FROM peer_task WHERE live < overlap
AND task_id NOT IN (SELECT task_id FROM peer_claim WHERE person_id = ?)
ORDER BY priority DESC, task_id LIMIT 1
"""


def fill(database: Database, tasks: int) -> None:
    """That many tasks of two short completions, overlap 3."""
    campaign = create_campaign(database, "claims", overlap=3)
    for start in range(0, tasks, PIECE):
        names = [f"q{n}" for n in range(start, min(start + PIECE, tasks))]
        add_prompts(database, campaign.id, [Prompt(n, (Message("user", n),), "train") for n in names])
        ids = add_completions(database, [(n, "m", f"{n} {i}", {}) for n in names for i in range(2)])
        open_tasks(database, campaign.id, [(n, ids[2 * i : 2 * i + 2]) for i, n in enumerate(names)])


def claim_by_sql(database: Database, person_id: int) -> int:
    """The peer: pick, count and note the claim in SQL."""

    def work(cursor: Cursor) -> int:
        task_id = cursor.execute(PEER_PICK, [person_id]).fetchall()[0][0]
        cursor.execute("UPDATE peer_task SET live = live + 1 WHERE task_id = ?", [task_id])
        cursor.execute("INSERT INTO peer_claim VALUES (?, ?, now() + INTERVAL 30 MINUTE)", [task_id, person_id])
        return task_id

    return database.write(work)


def measure(claim: Callable[[int], object], people: itertools.count, annotators: int, claims: int) -> dict:
    """All annotators claim at once, without a pause: claims per second, and milliseconds per claim."""
    seconds: list[float] = []

    def annotate() -> None:
        for _ in range(claims):
            person_id = next(people)
            started = time.perf_counter()
            claim(person_id)
            seconds.append(time.perf_counter() - started)

    threads = [threading.Thread(target=annotate) for _ in range(annotators)]
    started = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    passed = time.perf_counter() - started
    cuts = statistics.quantiles(seconds, n=100)
    return {"claims_per_s": len(seconds) / passed, "p50_ms": cuts[49] * 1e3, "p95_ms": cuts[94] * 1e3}


def median_of(rounds: list[dict]) -> dict:
    """The median of each figure."""
    return {name: round(statistics.median(r[name] for r in rounds), 2) for name in rounds[0]}


def main() -> None:
    """Measure in turns, print a table, and the JSON line last."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, default in {"tasks": 100_000, "annotators": 200, "claims": 20, "rounds": 3}.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, Database(Path(folder)) as database:
        fill(database, given.tasks)
        database.write(lambda cursor: cursor.execute(PEER_TABLES).fetchall())
        started = time.perf_counter()
        pool = Assignments(database)
        print(
            f"{given.tasks} tasks, {given.annotators} annotators; pool built in {time.perf_counter() - started:.2f} s"
        )
        people, ours, peer = itertools.count(1), [], []
        for _ in range(given.rounds):
            ours.append(measure(pool.claim, people, given.annotators, given.claims))
            peer.append(
                measure(lambda p: claim_by_sql(database, p), people, given.annotators, max(1, given.claims // 10))
            )
    print(f"{'arm':<12}{'claims/s':>10}{'p50 ms':>10}{'p95 ms':>10}")
    for name, rounds in (("pool", ours), ("SQL", peer)):
        figures = median_of(rounds)
        print(f"{name:<12}{figures['claims_per_s']:>10}{figures['p50_ms']:>10}{figures['p95_ms']:>10}")
    ratio = median_of(ours)["claims_per_s"] / median_of(peer)["claims_per_s"]
    print(json.dumps({"name": "claim", "ratio": round(ratio, 2), "ours": median_of(ours), "peer": median_of(peer)}))


if __name__ == "__main__":
    main()
