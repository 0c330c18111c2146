"""A version's model card: where it comes from, what it was measured at, and how other programs load it.

Reads storage and the run's directory, writes nothing. Names models by their version or Hub id, never by a path.
"""

import json
from collections.abc import Mapping
from pathlib import Path

from pipeline.model_files import UnusableModel, base_of, has_chat_template, portable, weight_files
from pipeline.run_directory import RunDirectory, read_json
from pipeline.services import Services, folder_of, location
from pipeline.snapshot import LaunchRefused
from storage import runs, versions
from storage.records import ModelVersion

CARD, FACTS = "README.md", "export.json"
LEARNED = {  # by kind of run
    "starter": "trained by RankLoop on texts that it makes itself",
    "sft": "trained by RankLoop on people's own answers",
    "reward": "trained by RankLoop on people's rankings",
    "dpo": "trained by RankLoop on people's rankings",
    "ppo": "trained by RankLoop against a reward model of people's rankings",
}


def portable_version(services: Services, version: ModelVersion) -> dict[str, Path | bytes]:
    """A version's files as other programs get them, by name, with its card; an adapter stays alone.

    Raises pipeline.model_files.UnusableModel and FileNotFoundError where the files are not whole.
    """
    folder = _folder(services, version)
    return portable(folder, base_name(services, version)) | {CARD: card(services, version).encode()}


def export_papers(services: Services, version: ModelVersion, merged: bool) -> dict[str, bytes]:
    """What an export run finds in data/ beside the version itself: the card, and what the adapter's base is called.

    Raises LaunchRefused where the version's files are not all there.
    """
    try:
        weight_files(_folder(services, version))
        facts, told = {"base": base_name(services, version)}, card(services, version, merged)
    except (UnusableModel, FileNotFoundError) as refusal:
        raise LaunchRefused(str(refusal)) from refusal
    return {CARD: told.encode(), FACTS: json.dumps(facts).encode()}


def _folder(services: Services, version: ModelVersion) -> Path:
    folder = folder_of(services, version)
    if folder is None:
        found = location(services, version)
        raise UnusableModel(version.name, found, "a folder on this machine; a model of the Hub is there already")
    return folder


def base_name(services: Services, version: ModelVersion) -> str | None:
    """What an adapter's base is called: its version, its Hub id, else the name of its folder; None for whole models."""
    base = base_of(location(services, version))
    if base is None or not Path(base).is_absolute():
        return base
    there = {str(Path(location(services, v)).resolve()): v.name for v in versions.versions(services.database)}
    return there.get(str(Path(base).resolve()), Path(base).name)


def card(services: Services, version: ModelVersion, merged: bool = False) -> str:
    """The card as Markdown with the Hub's front matter; merged: of the folder in which an adapter is folded in."""
    folder = _folder(services, version)
    base = base_name(services, version)
    alone = base is not None and not merged
    reward = version.role == "reward"
    facts = {**_origin(services, version), "base of its adapter": base}
    result = _result(services, version)
    parts = [
        _front_matter(version, base if base and base_of(folder) == base else None, alone),
        f"# {version.name}",
        f"A {'reward model' if reward else 'policy'} {_learned(services, version)}.",
        _table("fact", {name: value for name, value in facts.items() if value is not None}),
        "## Measured",
        _table("figure", version.metrics) if version.metrics else "Nothing was measured.",
        *[f"- {note}" for note in result.get("notes", ())],
        "## Options",
        _table("option", _options(services, version)),
        "## Loading it",
        _how(reward, alone, base),
        _reading(folder, reward),
    ]
    return "\n\n".join(filter(None, parts)) + "\n"


def _origin(services: Services, version: ModelVersion) -> dict[str, object]:
    run = runs.run(services.database, version.run_id) if version.run_id else None
    config = read_json(services.directory(run) / "config.json") or {} if run else {}
    return {
        "role": version.role,
        "parent": version.parent,
        "run": version.run_id,
        "kind of run": run.kind if run else "registered from outside",
        "data (sha256)": version.data_hash,
        "seed": config.get("seed"),
        "code (sha256)": config.get("code_hash"),
        "made": version.created.isoformat(timespec="seconds") if version.created else None,
    }


def _learned(services: Services, version: ModelVersion) -> str:
    run = runs.run(services.database, version.run_id) if version.run_id else None
    return LEARNED.get(run.kind if run else "", "that RankLoop was given, not trained by it")


def _options(services: Services, version: ModelVersion) -> Mapping:
    run = runs.run(services.database, version.run_id) if version.run_id else None
    return run.options if run else {}


def _result(services: Services, version: ModelVersion) -> Mapping:
    run = runs.run(services.database, version.run_id) if version.run_id else None
    return (RunDirectory(services.directory(run)).result() or {}) if run else {}


def _front_matter(version: ModelVersion, hub_base: str | None, alone: bool) -> str:
    """hub_base: the base, where it is a model of the Hub; others would be taken for one."""
    lines = [
        f"library_name: {'peft' if alone else 'transformers'}",
        f"pipeline_tag: {'text-classification' if version.role == 'reward' else 'text-generation'}",
        *([f"base_model: {json.dumps(hub_base)}"] if hub_base else []),
        f"tags: [rankloop, {'reward-model' if version.role == 'reward' else 'rlhf'}]",
    ]
    return "---\n" + "\n".join(lines) + "\n---"


def _table(head: str, rows: Mapping) -> str:
    if not rows:
        return ""
    return "\n".join(
        [f"| {head} | |", "| --- | --- |", *[f"| {name} | {_cell(value)} |" for name, value in rows.items()]]
    )


def _cell(value: object) -> str:
    text = "not known" if value is None else f"{value:.6g}" if isinstance(value, float) else str(value)
    return text.replace("|", "\\|").replace("\n", " ").replace("<", "&lt;")


def _how(reward: bool, alone: bool, base: str | None) -> str:
    loader = "AutoModelForSequenceClassification" if reward else "AutoModelForCausalLM"
    labels = ", num_labels=1" if reward else ""
    lines = [f"from transformers import {loader}, AutoTokenizer", ""]
    if alone:
        lines[1:1] = ["from peft import PeftModel"]
        lines += [f"base = {loader}.from_pretrained({json.dumps(base)}{labels})  # or the folder that holds it"]
        lines += ['model = PeftModel.from_pretrained(base, "this folder")']
    else:
        lines += [f'model = {loader}.from_pretrained("this folder")']
    return "```python\n" + "\n".join([*lines, 'tokenizer = AutoTokenizer.from_pretrained("this folder")']) + "\n```"


def _reading(folder: Path, reward: bool) -> str:
    """How prompts were written, and what a score means."""
    template = (
        "Prompts were written by the tokenizer's chat template, with its generation prompt."
        if has_chat_template(folder)
        else 'There is no chat template. A prompt was written as "User:\\n…\\n\\n" for each turn, then "Assistant:\\n".'
    )
    told = read_json(folder / "reward.json") or {}
    if not reward:
        return template
    scale = (
        f" Its scores on reference samples had mean {told['mean']:.6g} and deviation {told['std']:.6g}." if told else ""
    )
    return f"{template} The completion and the end-of-sequence token follow; the score is the one logit.{scale}"
