"""How fast a task is claimed: our pool in memory against one SQL query per claim, both stored before they return.

Both arms use the same database, writer thread and group commit, and run in turns. Each claim is by a new person,
so that nobody has to answer in between. The peer keeps a counter of live leases per task, the fastest SQL we found.
Measured twice: with a pause before each claim, as many annotators would (the latency), and without one (the most
that goes through; the ratio compares this).

    python -m tests.benchmarks.claim [--tasks 100000] [--annotators 200] [--claims 20] [--think 0.25] [--rounds 3]
"""

import argparse
import itertools
import json
import os
import random
import statistics
import tempfile
import threading
import time
from collections import defaultdict
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


def fill(database: Database, tasks: int, overlap: int = 3) -> None:
    """That many tasks of two short completions."""
    campaign = create_campaign(database, "claims", overlap=overlap)
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


def measure(
    claim: Callable[[int], object], people: itertools.count, annotators: int, claims: int, think: float
) -> dict:
    """All annotators claim, each after a pause of 0.5 to 1.5 times `think` seconds: claims per second, and milliseconds
    per claim."""
    seconds: list[float] = []

    def annotate() -> None:
        for _ in range(claims):
            person_id = next(people)
            if think:
                time.sleep(random.uniform(0.5, 1.5) * think)
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
    figures = {"claims_per_s": len(seconds) / passed}
    return figures | {f"p{part}_ms": cuts[part - 1] * 1e3 for part in (50, 95, 99)}


def median_of(rounds: list[dict]) -> dict:
    """The median of each figure."""
    return {name: round(statistics.median(r[name] for r in rounds), 2) for name in rounds[0]}


def main() -> None:
    """Measure in turns, print a table, and the JSON line last."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, default in {"tasks": 100_000, "annotators": 200, "claims": 20, "rounds": 3}.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--think", type=float, default=0.25, help="seconds between two claims of one annotator")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, Database(Path(folder)) as database:
        fill(database, given.tasks)
        database.write(lambda cursor: cursor.execute(PEER_TABLES).fetchall())
        started = time.perf_counter()
        pool = Assignments(database)
        print(
            f"{given.tasks} tasks, {given.annotators} annotators; pool built in {time.perf_counter() - started:.2f} s"
        )
        arms = {"pool": pool.claim, "SQL": lambda person_id: claim_by_sql(database, person_id)}
        found = {name: median_of(rounds) for name, rounds in in_turns(arms, given).items()}
    print(f"load average {os.getloadavg()[0]:.2f}")
    print(f"{'arm':<8}{'think s':>8}{'claims/s':>10}{'p50 ms':>9}{'p95 ms':>9}{'p99 ms':>9}")
    for (name, think), figures in found.items():
        print(f"{name:<8}{think:>8}{figures['claims_per_s']:>10}", *(f"{figures[f'p{p}_ms']:>8}" for p in (50, 95, 99)))
    ours, peer = found["pool", 0.0], found["SQL", 0.0]
    ratio = round(ours["claims_per_s"] / peer["claims_per_s"], 2)
    paused = {"ours_with_think": found["pool", given.think], "peer_with_think": found["SQL", given.think]}
    print(json.dumps({"name": "claim", "ratio": ratio, "ours": ours, "peer": peer, "think_s": given.think, **paused}))


def in_turns(arms: dict[str, Callable], given: argparse.Namespace) -> dict[tuple[str, float], list[dict]]:
    """Each arm with and without a pause, in turns; the peer makes a tenth of the claims, as it is slow."""
    people, found = itertools.count(1), defaultdict(list)
    for _ in range(given.rounds):
        for think in (given.think, 0.0):
            for name, claim in arms.items():
                claims = given.claims if name == "pool" else max(1, given.claims // 10)
                found[name, think].append(measure(claim, people, given.annotators, claims, think))
    return found


if __name__ == "__main__":
    main()
