"""The verbs about data: import, export, simulate, report, backup, restore, check."""

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path

from pipeline.export import EXPORTS
from pipeline.first_start import something_to_rank
from pipeline.report import report as make_report
from pipeline.simulate import annotators
from pipeline.simulate import simulate as rank_here
from pipeline.simulate_http import keys_for, simulate_http
from storage import backup as backups
from storage.interchange import import_file
from ui.settings import Settings
from ui.verb import Outcome, WrongUsage, named_campaign, opened, progress
from ui.verbs_runs import start

SHOWN_REFUSALS = 20
COUNTS = ("prompts", "completions", "tasks", "preferences", "demonstrations", "rankings", "checks", "unchanged")


def import_files(options: argparse.Namespace, settings: Settings) -> Outcome:
    """Take in files; exit 0 if anything was taken or nothing was wrong."""
    shown = progress()
    for name in options.files:
        if not Path(name).is_file():
            raise WrongUsage(f"FILE: found no file {name!r}, expected one to import")
    told, useful = [], False
    with opened(settings) as services:
        for name in options.files:
            came = import_file(
                services.database,
                services.pool,
                Path(name),
                options.campaign,
                options.with_annotations,
                filename=Path(name).name,
                progress=lambda done, size, name=name: shown.say(f"importing {name}, bytes", done, size),
            )
            useful |= came.succeeded
            told.append(came.as_json())
    shown.end()
    answer = _together(told, options.files)
    for refusal in answer["refused"][:SHOWN_REFUSALS]:
        print(f"{refusal['file']} line {refusal['line']}: {refusal['message']}", file=sys.stderr)
    counted = ", ".join(f"{answer[name]} {name}" for name in COUNTS if answer[name])
    text = f"{answer['campaign']}: {counted or 'nothing new'}, {len(answer['refused'])} refused"
    return Outcome(answer, text, 0 if useful else 1)


def _together(told: list[dict], files: list[str]) -> dict:
    """One report for all files: counts summed, each refusal with its file."""
    answer = {"campaign": told[0]["campaign"], **{name: sum(one[name] for one in told) for name in COUNTS}}
    names = list(dict.fromkeys(one["campaign"] for one in told))
    if len(names) > 1:
        answer["campaigns"] = names
    answer["refused"] = [
        {**refusal, "file": file} for one, file in zip(told, files, strict=True) for refusal in one["refused"]
    ]
    return answer


def export(options: argparse.Namespace, settings: Settings) -> Outcome:
    """Write what people said as Parquet or CSV files into a folder."""
    folder = Path(options.folder)
    folder.mkdir(parents=True, exist_ok=True)
    with opened(settings) as services:
        campaign = named_campaign(services, options.campaign).id if options.campaign else None
        answer = EXPORTS[options.format](services.database, folder, campaign)
    text = "\n".join(f"{file['path']}  {file['rows']} rows" for file in answer["files"])
    return Outcome(answer, f"{text}\n{answer['ties_dropped']} ties dropped".strip())


def simulate(options: argparse.Namespace, settings: Settings) -> Outcome:
    """Simulated annotators rank what is open, here or on a running server."""
    for name, low in (("annotators", 1), ("limit", 1), ("noise", 0), ("temperature", 0)):
        value = getattr(options, name)
        if value is not None and not value >= low:
            raise WrongUsage(f"--{name}: found {value}, expected {low} or more")
    if bool(options.url) != bool(options.key):
        raise WrongUsage("--url and --key: found one of them, expected both: the server's address and an API key")
    shown, began = progress(), []

    def show(done: int, of: int | None) -> None:
        if not began:  # the clock starts with the first ranking, not with what was made before
            began.append(time.monotonic())
        shown.say("ranking", done, max(of or 0, done), began[0])

    answer = _simulate_there(options, show) if options.url else _simulate_here(options, settings, show)
    shown.end()
    return Outcome(answer, _gold_told(answer))


def _simulate_here(options: argparse.Namespace, settings: Settings, show: Callable) -> dict:
    with opened(settings) as services:
        if not something_to_rank(services):
            start(services)
        campaign = named_campaign(services, options.campaign).id if options.campaign else None
        return rank_here(
            services, options.annotators, options.seed, options.noise, options.temperature,
            campaign, options.limit, show,
        )  # fmt: skip


def _simulate_there(options: argparse.Namespace, show: Callable) -> dict:
    team = annotators(options.annotators, options.seed, options.noise, options.temperature)
    keys = options.key
    if len(keys) == 1 and len(team) > 1:
        keys = keys_for(options.url, keys[0], [annotator.name for annotator in team])
    if len(keys) < len(team):
        found = f"{len(keys)} key{'s' if len(keys) > 1 else ''} for {len(team)} annotators"
        print(f"{found}: {len(keys)} rank; give --key once per annotator, or an admin's key", file=sys.stderr)
    return simulate_http(options.url.rstrip("/"), keys, team, options.campaign, options.limit, show)


def _gold_told(answer: dict) -> str:
    lines = [f"{answer['rankings']} rankings by {answer['annotators']} annotators"]
    for model, gold in answer["gold_reward"].items():
        error = "" if gold["standard_error"] is None else f" ± {gold['standard_error']:.3f}"
        lines.append(f"  gold reward of {model:20} {gold['mean']:.3f}{error}  (n = {gold['n']})")
    return "\n".join(lines)


def report(options: argparse.Namespace, settings: Settings) -> Outcome:
    """Counts, agreement and strengths of every campaign, or of one."""
    with opened(settings) as services:
        name = named_campaign(services, options.campaign).name if options.campaign else None
        answer = make_report(services.database, name)
    return Outcome(answer, "\n".join(map(_campaign_told, answer["campaigns"])) or "no campaigns yet")


def _campaign_told(told: dict) -> str:
    lines = [f"{told['name']}: {told['tasks']} tasks, {told['rankings']} rankings, {told['annotators']} annotators"]
    lines += [f"  ALARM: {words}" for words in told["quality"]["alarms"]]
    lines += [f"  {name:28} {_figure(value)}" for name, value in told["agreement"].items()]
    for row in told["strengths"]:
        interval = f"{_figure(row['win_rate_low'])} to {_figure(row['win_rate_high'])}"
        lines.append(
            f"  {row['model']} against {row['against']}: win rate {_figure(row['win_rate'])} ({interval}), "
            f"strength {_figure(row['strength'])}, {row['comparisons']} comparisons"
        )
    return "\n".join(lines)


def _figure(value: float | None) -> str:
    return "not known yet" if value is None else f"{value:.3f}"


def backup(options: argparse.Namespace, settings: Settings) -> Outcome:
    """Write the whole data folder into one zip."""
    shown = progress()
    with opened(settings) as services:
        answer = backups.backup(services.database, Path(options.file), not options.without_runs, shown.say)
    shown.end()
    rows = sum(answer["tables"].values())
    return Outcome(answer, f"{answer['file']}: {rows} rows, {answer['runs']} runs, {answer['bytes']} bytes")


def restore(options: argparse.Namespace, settings: Settings) -> Outcome:
    """Fill the empty data folder from a zip that `backup` wrote."""
    shown = progress()
    answer = backups.restore(Path(options.file), settings.data, shown.say)
    shown.end()
    return Outcome(answer, f"{settings.data}: {sum(answer['tables'].values())} rows, {answer['runs']} runs")


def check(options: argparse.Namespace, settings: Settings) -> Outcome:
    """Say whether the data folder is sound; exit 1 where something does not fit."""
    with opened(settings) as services:
        problems = backups.check(services.database)
        checks = len(backups.ORPHANS) + 2
    answer = {"sound": not problems, "checks": checks, "problems": problems}
    text = "\n".join(problems) or f"{settings.data} is sound ({checks} checks)"
    return Outcome(answer, text, 1 if problems else 0)
