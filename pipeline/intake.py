"""Take in what a job has written: metric lines, closed pieces of completions, the result.

Called by the monitor only. Each step may be repeated after a crash without doing anything twice.
Does not change a run's state except with the version it registers.
"""

import json
from collections.abc import Mapping
from pathlib import Path

import pyarrow.parquet as pq

from pipeline.reference_cache import FOLDER, take_back
from pipeline.run_directory import RunDirectory
from pipeline.services import Services
from storage import runs, versions
from storage.completions import add_completions
from storage.records import MAX_COMPLETIONS, MIN_COMPLETIONS, ModelVersion, Run
from storage.tasks import open_tasks

MODEL_FILES = ("config.json", "adapter_config.json")  # one of them is in every folder in Hugging Face format
COMPARE_PRIORITY = 10.0  # people see a comparison before ordinary tasks


def take_in_metrics(services: Services, run: Run, directory: RunDirectory) -> int:
    """Store the metric lines written since the last time; returns how many."""
    rows, offset = directory.metrics(runs.metrics_offset(services.database, run.id))
    return runs.add_metrics(services.database, run.id, rows, offset) if rows else 0


def take_in_pieces(services: Services, run: Run, directory: RunDirectory) -> int:
    """Store the completions of closed pieces and open a task per prompt; returns how many tasks."""
    folder = directory.artifacts / "completions"
    if run.kind != "generate" or not folder.is_dir():
        return 0
    known = runs.pieces(services.database, run.id)
    fresh = [path for path in sorted(folder.glob("part-*.parquet")) if path.name not in known]
    compare = "against" in directory.config()["models"] if fresh else False
    return sum(_take_in_piece(services, run, path, compare) for path in fresh)


def _take_in_piece(services: Services, run: Run, path: Path, compare: bool) -> int:
    # Completions, then tasks, then the note that the piece is in: a crash in between repeats, it adds nothing.
    rows = pq.read_table(path, columns=["prompt_id", "model", "text", "settings"]).to_pylist()
    completions = [(row["prompt_id"], row["model"], row["text"], json.loads(row["settings"])) for row in rows]
    ids = add_completions(services.database, completions) if completions else []
    tasks = open_tasks(
        services.database,
        run.campaign_id,
        _sets([row["prompt_id"] for row in rows], ids),
        priority=COMPARE_PRIORITY if compare else 0.0,
        purpose="compare" if compare else "rank",
        run_id=run.id,
    )
    runs.add_piece(services.database, run.id, path.name, len(set(ids)), len(tasks))
    return len(tasks)


def _sets(prompt_ids: list[str], ids: list[int]) -> list[tuple[str, list[int]]]:
    """Distinct completions by prompt, at most 9; a prompt with fewer than 2 has nothing to rank."""
    by_prompt: dict[str, dict[int, None]] = {}
    for prompt_id, completion_id in zip(prompt_ids, ids, strict=True):
        by_prompt.setdefault(prompt_id, {})[completion_id] = None
    sets = [(prompt_id, list(found)[:MAX_COMPLETIONS]) for prompt_id, found in by_prompt.items()]
    return [(prompt_id, found) for prompt_id, found in sets if len(found) >= MIN_COMPLETIONS]


def register_result(services: Services, run: Run, directory: RunDirectory) -> ModelVersion | None:
    """End the run as succeeded; where it made a model, together with its version. Ends it once."""
    take_in_reference(services, run, directory)
    result = directory.result()
    if "model" not in result:
        runs.set_state(services.database, run.id, "succeeded")
        return None
    if wrong := _unfit(directory, result):
        runs.set_state(services.database, run.id, "failed", f"result.json {wrong}; resume the run to make it again")
        return None
    return versions.register_version(services.database, _version(services, run, directory, result), run.id)


def _unfit(directory: RunDirectory, result: Mapping) -> str | None:
    """Why no version can be made of a result that names a model, None where one can: a job may write anything."""
    name, role, figures = result["model"], result.get("role"), result.get("metrics", {})
    folder = directory.path / name if isinstance(name, str) else directory.path
    if not isinstance(name, str) or not folder.resolve().is_relative_to(directory.artifacts.resolve()):
        return f"names the model {name!r}, expected a folder under artifacts/"
    if not any((folder / file).is_file() for file in MODEL_FILES):
        return f"names the model {name!r}, but found none there: expected {' or '.join(MODEL_FILES)} in that folder"
    if role not in ("policy", "reward"):
        return f"says the role {role!r}, expected policy or reward"
    return None if isinstance(figures, Mapping) else f"has the metrics {figures!r}, expected an object"


def take_in_reference(services: Services, run: Run, directory: RunDirectory) -> int:
    """Keep the reference log-probabilities a DPO run computed, for the next run; returns how many were new."""
    reference = directory.config().get("models", {}).get("reference") if run.kind == "dpo" else None
    return take_back(services.data / FOLDER, reference["name"], directory.artifacts) if reference else 0


def _version(services: Services, run: Run, directory: RunDirectory, result: Mapping) -> ModelVersion:
    models = directory.config()["models"]
    parent = models.get("base") or models.get("policy")
    return ModelVersion(
        name=versions.next_version_name(services.database, run.kind),
        role=result["role"],
        path=f"{run.directory}/{result['model']}",
        parent=parent["name"] if parent else None,
        run_id=run.id,
        data_hash=run.data_hash,
        metrics=result.get("metrics", {}),
    )
