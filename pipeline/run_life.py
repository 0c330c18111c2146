"""What a lead does with a run after its launch: cancel, resume, run it again with changes, delete its files.

Each asks first whether it may; none trains, and only `resume` changes a state, through storage.runs.reopen.
Following a run is the monitor's business.
"""

import shutil
import time
from collections.abc import Mapping
from pathlib import Path

from pipeline.agreed import write_agreed
from pipeline.backend import BackendUnreachable
from pipeline.launch import launch
from pipeline.placing import placed, require_agreed
from pipeline.resources import plain, resources_of
from pipeline.run_directory import RunDirectory, write_json
from pipeline.services import Services
from storage import campaigns, run_marks, runs, versions
from storage.records import ENDED_STATES, Run
from storage.runs import NotResumable

TRIES, PAUSE = 10, 0.2  # times to remove a run's files, and seconds between them


class NotCancellable(ValueError):
    """A run that has ended, or whose directory is not there yet, was asked to end."""


class NotDeletable(ValueError):
    """A run still goes, or something that is in use was made by it."""


def request_cancel(services: Services, run: Run) -> None:
    """Ask a run to end: the job saves a checkpoint first, the monitor changes its state. Raises NotCancellable."""
    if run.state in ENDED_STATES:
        raise NotCancellable(f"run: found {run.id} {run.state}, expected one that has not ended")
    try:
        RunDirectory(services.directory(run)).request_cancel()
    except FileNotFoundError:
        raise NotCancellable(f"run: found {run.id} still being prepared, expected its directory; try again") from None


def resume(
    services: Services,
    run: Run,
    by: str = "",
    timeout_minutes: int | None = None,
    confirmed_cost: float | None = None,
) -> Run:
    """Queue a failed or cancelled run again on its own directory: the job goes on from its last checkpoint.

    Its data, options and models stay what they were; the time limit may be another. Raises storage.runs.NotResumable
    where its files are gone, its job still runs or cannot be asked for, or it has not ended or has succeeded, and
    pipeline.configs.InvalidOption for a limit out of range or a price that nobody agreed to.
    """
    files = RunDirectory(services.directory(run))
    if run.deleted or not (files.path / "config.json").is_file():
        raise NotResumable(f"run: found {run.id} without its files, expected its directory; run it again instead")
    if run.state not in ("failed", "cancelled"):
        raise NotResumable(f"run: found {run.id} {run.state}, expected one that failed or was cancelled")
    _require_no_job(services, run)
    config = files.config()
    limits = {} if timeout_minutes is None else {"timeout_minutes": timeout_minutes}
    place = placed(services, run.kind, {**plain(resources_of(config)), **limits})
    agreed = require_agreed(services, place, confirmed_cost)
    write_json(files.path / "config.json", {**config, "resources": plain(place)})
    write_agreed(files, agreed)
    files.forget_ending()
    return runs.reopen(services.database, run.id, f"resumed{f' by {by}' if by else ''}")


def _require_no_job(services: Services, run: Run) -> None:
    """Raises NotResumable where a job of the run still goes, or its backend cannot say."""
    name = services.backend_name(run)
    if name not in services.backends.there:
        raise NotResumable(f"run: found the backend of {run.id}, {name}, not configured, expected its settings")
    try:
        going = run.handle and services.backends.there[name].alive(run.handle)
    except BackendUnreachable as error:
        raise NotResumable(
            f"run: found no answer about the job of {run.id}, expected one; try again: {error}"
        ) from None
    if going:
        raise NotResumable(
            f"run: found the process of {run.id} still running, expected it to have ended; wait a moment"
        )


def again(
    services: Services,
    run: Run,
    changes: Mapping | None = None,
    created_by: int | None = None,
    resources: Mapping | None = None,
    confirmed_cost: float | None = None,
) -> Run:
    """Launch a new run like this one, on today's data, with some options and resources changed.

    Raises what `launch` raises.
    """
    config = RunDirectory(services.directory(run)).config() if not run.deleted else {}
    models = {place: str(model["name"]) for place, model in config.get("models", {}).items()}
    known = {version.name for version in versions.versions(services.database)}
    models = {place: name for place, name in models.items() if name in known}
    options = {**run.options, **(changes or {})}
    place = {**(config.get("resources") or {}), **(resources or {})}
    return launch(services, run.kind, run.campaign_id, options, models, created_by, place, confirmed_cost)


def delete(services: Services, run: Run, by: str = "") -> Run:
    """Remove the run's files and take it out of the lists; its events and metrics stay in storage.

    Raises NotDeletable where the run has not ended, a version it made is a campaign's policy, the parent of another
    version, or a model of another run that still has its files, or its backend does not answer and may hold data of it.
    """
    if run.state not in ENDED_STATES:
        raise NotDeletable(f"run: found {run.id} {run.state}, expected one that has ended; cancel it first")
    made = [v.name for v in versions.versions(services.database) if v.run_id == run.id]
    for name in made:
        if user := _user_of(services, name):
            raise NotDeletable(f"run: found its version {name} in use by {user}, expected nothing to need it")
    _clear_elsewhere(services, run)
    marked = run_marks.mark_deleted(services.database, run.id, f"deleted{f' by {by}' if by else ''}", by)
    _remove(services.directory(run))
    return marked


def _remove(folder: Path) -> None:
    """A job that has said its result may still be writing its last lines: what came meanwhile goes too."""
    for _ in range(TRIES):
        shutil.rmtree(folder, ignore_errors=True)
        if not folder.exists():
            return
        time.sleep(PAUSE)


def _clear_elsewhere(services: Services, run: Run) -> None:
    """Have the run's backend remove what it holds; one that has no settings any more cannot be asked."""
    backend = services.backends.there.get(services.backend_name(run))
    if backend is None or not run.handle:
        return
    try:
        backend.clear(services.directory(run), run.handle)
    except BackendUnreachable as error:
        raise NotDeletable(
            f"run: found no answer from where {run.id} ran, expected one to remove its data there; try again: {error}"
        ) from None


def _user_of(services: Services, version: str) -> str | None:
    """Who needs the files of a version, in words."""
    for campaign in campaigns.campaigns(services.database):
        if campaign.policy == version:
            return f"campaign {campaign.name} as its policy"
    for other in versions.versions(services.database):
        if other.parent == version:
            return f"version {other.name} as its parent"
    for other in runs.unfinished_runs(services.database):
        config = services.directory(other) / "config.json"
        named = RunDirectory(services.directory(other)).config().get("models", {}) if config.is_file() else {}
        if any(model["name"] == version for model in named.values()):
            return f"run {other.id}"
    return None
