"""What must hold after a round of `tests/chaos.py`: one true end, one whole version, the results of a quiet run.

`outcome` reads what a run left, with the app stopped; `troubles` compares it with the same run undisturbed.

Of metrics: storage keeps every line that a job wrote, so a job that went on from a checkpoint says the steps since
then again. `told` is the rule by which the curves read them: a later row takes the place of all rows of the same
figure at its step or beyond. Told so, no step is missing and none stands twice.
"""

from dataclasses import dataclass
from pathlib import Path

from pipeline.policy import load_policy, weights_digest
from pipeline.reward import load_reward
from pipeline.run_directory import RunDirectory
from storage import backup, runs, versions
from storage.database import Database

TIMINGS = ("time", "elapsed", "remaining", "completions/s", "tokens/s")
Told = dict[str, list[tuple[int, object]]]


@dataclass(frozen=True)
class Outcome:
    """What a run left: digest and metrics of its result, rows as curves tell them, pieces, and what does not fit."""

    digest: str | None
    metrics: dict
    sizes: dict
    data_hash: str | None
    rows: Told
    pieces: dict
    unsound: tuple[str, ...]


def told(rows: list[dict]) -> Told:
    """figure -> [(step, value), …] with rising steps, without timings; texts at one step stand together."""
    found: Told = {}
    for row in rows:
        for name in row.keys() - {"step"}:
            if name in TIMINGS or name.startswith("time/"):
                continue
            points = found.setdefault(name, [])
            while points and (points[-1][0] > row["step"] or (name != "sample" and points[-1][0] == row["step"])):
                points.pop()
            if (row["step"], row[name]) not in points:
                points.append((row["step"], row[name]))
    return found


def outcome(folder: Path, run_id: str) -> Outcome:
    """What the run left. Opens the database, so the app must have ended."""
    with Database(folder) as database:
        run = runs.run(database, run_id)
        directory = RunDirectory(folder / run.directory)
        result = directory.result() or {}
        made = [version for version in versions.versions(database) if version.run_id == run_id]
        rows = runs.metrics(database, run_id)
        unsound = [*backup.check(database), *_states(database, run_id), *_version(folder, run, made, result)]
        unsound += _left_over(directory, rows)
        return Outcome(
            result.get("weights_digest"),
            result.get("metrics", {}),
            result.get("sizes", {}),
            run.data_hash,
            told(rows),
            {name: counts for name, counts in runs.pieces(database, run_id).items()},
            tuple(unsound),
        )


def troubles(found: Outcome, quiet: Outcome) -> list[str]:
    """Sentences on what does not hold or differs from the undisturbed run."""
    said = list(found.unsound)
    for name in ("digest", "metrics", "sizes", "data_hash", "pieces"):
        if getattr(found, name) != getattr(quiet, name):
            said.append(f"{name}: found {getattr(found, name)}, undisturbed it is {getattr(quiet, name)}")
    for name in sorted(found.rows.keys() | quiet.rows.keys()):
        if found.rows.get(name) != quiet.rows.get(name):
            said.append(f"rows of {name}: found {found.rows.get(name)}, undisturbed they are {quiet.rows.get(name)}")
    return [text[:600] for text in said]


def _states(database: Database, run_id: str) -> list[str]:
    states = [state for state, _, _ in runs.state_history(database, run_id)]
    if states[-1] != "succeeded" or states.count("succeeded") != 1:
        return [f"states: found {states}, expected one `succeeded`, at the end"]
    return []


def _version(folder: Path, run, made: list, result: dict) -> list[str]:
    expected = 0 if run.kind == "generate" else 1
    if len(made) != expected:
        return [f"versions: found {[one.name for one in made]}, expected {expected}"]
    if not expected:
        return []
    path = folder / made[0].path
    model = load_reward(path, "cpu").model if made[0].role == "reward" else load_policy(path, "cpu").model
    digest = weights_digest(model)
    wanted = result.get("weights_digest")
    return [] if digest == wanted else [f"model: found weights {digest}, result.json says {wanted}"]


def _left_over(directory: RunDirectory, rows: list[dict]) -> list[str]:
    """Lines that storage lacks or has twice, and files that nobody finished or will ever read."""
    written = directory.metrics()[0]
    said = [] if rows == written else [f"metrics: found {len(rows)} rows in storage, {len(written)} lines in the file"]
    unfinished = [str(path.relative_to(directory.path)) for path in directory.artifacts.rglob("*unfinished*")]
    return said + ([f"files: found unfinished {unfinished}, expected none"] if unfinished else [])
