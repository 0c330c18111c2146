"""The verbs about models: take one in from outside, and write a version as a folder for other programs."""

import argparse
import shutil
from pathlib import Path

from pipeline.base_models import register
from pipeline.run_directory import RunDirectory
from ui.settings import Settings
from ui.verb import Outcome, Refused, opened
from ui.verbs_runs import follow


def register_model(options: argparse.Namespace, settings: Settings) -> Outcome:
    """Store a folder or a Hub id as a version that runs can start from."""
    with opened(settings) as services:
        made, looked = register(services, options.model, options.name, options.role, anywhere=True)
    size = f", {looked.parameters:,} parameters" if looked.parameters else ""
    answer = {
        "version": made.name,
        "role": made.role,
        "path": made.path,
        "architecture": looked.architecture,
        "parameters": looked.parameters,
        "notes": list(looked.notes),
    }
    told = f"{made.name}: a {made.role} version, {looked.architecture}{size}"
    return Outcome(answer, "\n".join([told, *looked.notes]))


def export_model(options: argparse.Namespace, settings: Settings) -> Outcome:
    """Write a version into a new or empty folder, an adapter alone or merged, and upload it where asked."""
    target = Path(options.folder).expanduser().absolute()
    if target.exists() and not (target.is_dir() and not any(target.iterdir())):
        raise Refused(f"DIR: found something in {target}, expected a new or an empty folder")
    wish = {"merged": options.merged, "push_to": options.push_to or "", "private": not options.public}
    with opened(settings) as services:
        run = follow(services, "export", None, wish, {"version": options.version})
        files = RunDirectory(services.directory(run))
        result = files.result() or {}
        if result:
            _move(files.path / result["export"], target)
    answer = {
        "run": run.id,
        "version": options.version,
        "state": run.state,
        "folder": str(target) if result else None,
        "merged": options.merged,
        "url": result.get("url"),
        **result.get("metrics", {"files": 0, "bytes": 0}),
    }
    uploaded = f", uploaded to {answer['url']}" if answer["url"] else ""
    told = (
        f"{target}: {answer['files']} files, {answer['bytes']} bytes{uploaded}" if result else f"{run.id}: {run.state}"
    )
    return Outcome(answer, told, 0 if result else 1)


def _move(folder: Path, target: Path) -> None:
    """Where the file system is the same nothing is copied."""
    if target.exists():
        target.rmdir()
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.move(folder, target)
