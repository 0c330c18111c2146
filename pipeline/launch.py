"""Start a run: resolve the models it needs, freeze its data, and leave a complete directory in the queue.

Refuses before anything is stored where a model or data are missing. Does not start the process:
the monitor does, when the training slot is free.
"""

import hashlib
import io
import shutil
import zipfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from pipeline.agreed import Agreed, write_agreed
from pipeline.configs import make_config, options_of
from pipeline.model_card import export_papers
from pipeline.placing import placed, require_agreed, require_divisible
from pipeline.reference_cache import FOLDER, copy_known
from pipeline.resources import Resources, plain
from pipeline.run_directory import RunDirectory, write_json
from pipeline.services import Services, location
from pipeline.snapshot import LaunchRefused, Snapshot, freeze
from storage import campaigns, runs, versions
from storage.records import Campaign, ModelVersion, Run

ROLES = {
    "policy": "policy",
    "against": "policy",
    "reference": "policy",
    "reward": "reward",
    "base": "reward",
    "version": None,  # any
}
NEEDED = {  # the models a kind works with, by their place in config.json
    "starter": (),
    "generate": ("policy",),
    "evaluate": ("policy",),
    "sft": ("policy",),
    "score": ("reward",),
    "reward": ("policy",),
    "dpo": ("policy", "reference"),
    "ppo": ("policy", "reference", "reward"),
    "export": ("version",),
}
WITHOUT_CAMPAIGN = ("starter", "export")
OPTIONAL = {"generate": ("against",), "evaluate": ("against", "reward"), "reward": ("base",)}
COMPARED_PROMPTS = 150
EPOCH_OF_ZIP = (1980, 1, 1, 0, 0, 0)  # the same code gives the same bytes, and so the same hash


def launch(
    services: Services,
    kind: str,
    campaign_id: int | None,
    options: Mapping | None = None,
    models: Mapping[str, str] | None = None,
    created_by: int | None = None,
    resources: Mapping | None = None,
    confirmed_cost: float | None = None,
) -> Run:
    """Queue a run. models names versions by place: policy, against, reward, base, version; the rest is resolved here.

    resources: fields of pipeline.resources.Resources; confirmed_cost: the dollars that somebody agreed to, where the
    backend has a price. Raises pipeline.configs.InvalidOption for a wrong option or resource and for a price that
    nobody agreed to, and LaunchRefused for missing models or data.
    """
    config = options_of(make_config(kind, options))
    place = placed(services, kind, resources)
    require_divisible(config, place)
    campaign = campaign_of(services, campaign_id, kind)
    chosen = resolve_models(services, kind, campaign, models or {})
    if kind == "generate" and "against" in chosen and config["prompts"] == 0:
        config["prompts"] = COMPARED_PROMPTS
    frozen = freeze(services.database, campaign_id, kind)
    agreed = require_agreed(services, place, confirmed_cost)
    if kind == "export":
        frozen = replace(frozen, papers=export_papers(services, chosen["version"], config["merged"]))
    run = runs.create_run(services.database, kind, campaign_id, config, created_by)
    try:
        if frozen.data_hash:
            runs.set_data_hash(services.database, run.id, frozen.data_hash)
        _prepare(services, run, campaign, config, chosen, frozen, place, agreed)
    except Exception as error:  # whatever it is: nobody else would take a run without a directory from the queue
        _unprepared(services, run, error)
        raise
    return runs.run(services.database, run.id)


def resolve_models(
    services: Services, kind: str, campaign: Campaign | None, named: Mapping[str, str]
) -> dict[str, ModelVersion]:
    """The version for each place the kind has; raises LaunchRefused naming what is missing and how to get it."""
    unknown = set(named) - set(ROLES)
    if unknown:
        raise LaunchRefused(f"models: found {', '.join(sorted(unknown))}, expected among {', '.join(ROLES)}")
    chosen = {place: _named(services, place, name) for place, name in named.items() if name}
    for place in NEEDED[kind]:
        if place not in chosen:
            chosen[place] = chosen["policy"] if place == "reference" else _usual(services, place, campaign)
    if kind == "evaluate" and "reward" not in chosen:
        reward = versions.newest_version(services.database, "reward", campaign.id)
        chosen |= {"reward": reward} if reward else {}
    allowed = NEEDED[kind] + OPTIONAL.get(kind, ())
    return {place: found for place, found in chosen.items() if place in allowed}


def campaign_of(services: Services, campaign_id: int | None, kind: str) -> Campaign | None:
    """The campaign of that id; None only where the kind needs none. Raises LaunchRefused."""
    if campaign_id is None:
        if kind in WITHOUT_CAMPAIGN:
            return None
        raise LaunchRefused(f"{kind}: found no campaign, expected one whose data the run uses; name a campaign")
    found = campaigns.campaign(services.database, campaign_id)
    if found is None:
        raise LaunchRefused(f"campaign: found {campaign_id}, expected the id of a campaign")
    return found


def find_models_again(services: Services, directory: RunDirectory) -> None:
    """Put into config.json where its models are today: a run may start after its data folder was moved."""
    config = directory.config()
    noted = config.get("models", {})
    known = {place: versions.version(services.database, model["name"]) for place, model in noted.items()}
    now = {place: location(services, found) for place, found in known.items() if found is not None}
    models = {place: {**model, "path": now.get(place, model["path"])} for place, model in noted.items()}
    if models != noted:
        write_json(directory.path / "config.json", {**config, "models": models})


def _named(services: Services, place: str, name: str) -> ModelVersion:
    found = versions.version(services.database, name)
    role = ROLES[place]
    if found is None or role not in (None, found.role):
        known = [v.name for v in versions.versions(services.database, role)]
        there = f"one of {', '.join(known)}" if known else "one, but there is none yet"
        what = f"a {found.role} version" if found else "no version of that name"
        raise LaunchRefused(f"{place} {name!r}: found {what}, expected a {role or 'model'} version: {there}")
    return found


def _usual(services: Services, place: str, campaign: Campaign) -> ModelVersion:
    if place == "version":
        raise LaunchRefused("version: found none, expected the model version that is meant; name one")
    if place == "reward":
        found = versions.newest_version(services.database, "reward", campaign.id)
        missing = f"no reward model for campaign {campaign.name!r}, expected one; run `train reward` first"
    else:
        found = current_policy(services, campaign)
        missing = f"no policy for campaign {campaign.name!r}, expected one; run `train starter` or name a version"
    if found is None:
        raise LaunchRefused(f"{place}: found {missing}")
    return found


def current_policy(services: Services, campaign: Campaign) -> ModelVersion | None:
    """The campaign's current policy, or the oldest version that belongs to no campaign: the base."""
    if campaign.policy:
        return versions.version(services.database, campaign.policy)
    shared = versions.versions(services.database, "policy", campaign.id)
    return shared[0] if shared else None


def _prepare(
    services: Services,
    run: Run,
    campaign: Campaign | None,
    options: Mapping,
    chosen: Mapping,
    frozen: Snapshot,
    place: Resources,
    agreed: Agreed | None,
) -> None:
    """Fill the directory beside its place and move it there whole: a directory in place is complete."""
    final = services.directory(run)
    code, code_hash = _code(services.project_root)
    config = {
        "run": run.id,
        "kind": run.kind,
        "options": dict(options),
        "seed": options.get("seed", 0),
        "campaign": campaign.name if campaign else None,
        "models": {place: {"name": v.name, "path": location(services, v)} for place, v in chosen.items()},
        "data_hash": frozen.data_hash,
        "watermark": frozen.watermark,
        "sizes": frozen.sizes,
        "code_hash": code_hash,
        "resources": plain(place),
    }
    directory = RunDirectory.create(unfinished(final), config)
    frozen.write(directory.data)
    if run.kind == "dpo":
        known = frozen.tables["completions"]["completion_id"]
        copy_known(services.data / FOLDER, chosen["reference"].name, known, directory.data)
    (directory.path / "code.zip").write_bytes(code)
    write_agreed(directory, agreed)
    directory.path.rename(final)


def unfinished(directory: Path) -> Path:
    """Where a run directory is filled before it is moved to its place."""
    return directory.with_name(f".{directory.name}.new")


def _unprepared(services: Services, run: Run, error: Exception) -> None:
    """End a run whose directory could not be made, with the reason, and remove what there is of it."""
    shutil.rmtree(unfinished(services.directory(run)), ignore_errors=True)
    if isinstance(error, OSError):
        said = f"its directory could not be written: {error}"
    else:
        said = f"it could not be prepared: {error or type(error).__name__} ({type(error).__name__})"
    runs.set_state(services.database, run.id, "failed", said)


def _code(project_root: Path) -> tuple[bytes, str]:
    """pipeline/ and requirements.txt as a zip, and the zip's sha256."""
    files = sorted((project_root / "pipeline").rglob("*.py"))
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in [*files, project_root / "requirements.txt"]:
            entry = zipfile.ZipInfo(str(path.relative_to(project_root)), EPOCH_OF_ZIP)
            archive.writestr(entry, path.read_bytes(), zipfile.ZIP_DEFLATED)
    return buffer.getvalue(), hashlib.sha256(buffer.getvalue()).hexdigest()
