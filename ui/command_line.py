"""The verbs: parse, do, print, and answer with an exit code.

Progress goes to stderr; stdout gets a few lines for people or, with --json, one object. Exit codes: 0 done,
1 refused or failed, 2 wrong usage, 130 interrupted. What each verb does is in the `verbs_*` modules.
Imports neither gradio nor a training library, and reads no environment.
"""

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields

from pipeline.configs import CONFIGS, InvalidOption
from pipeline.export import EXPORTS, MEANINGS
from pipeline.first_start import FirstStartFailed, InvalidBaseModel
from pipeline.model_files import UnusableModel
from pipeline.resources import Resources
from pipeline.simulate_http import ServerRefused
from pipeline.snapshot import LaunchRefused
from storage.backup import BackupRefused
from storage.connection import DatabaseDamaged
from storage.database import DatabaseInUse, StorageInterrupted
from storage.interchange import NotImportable
from storage.migrations import SchemaRefused
from storage.records import InvalidRecord
from storage.versions import VersionExists
from ui import verbs_data, verbs_models, verbs_people, verbs_runs
from ui.settings import Settings
from ui.verb import Outcome, Refused, WrongUsage

REFUSALS = (
    Refused, LaunchRefused, DatabaseInUse, FirstStartFailed, InvalidBaseModel, InvalidRecord,
    ServerRefused, BackupRefused, SchemaRefused, DatabaseDamaged, StorageInterrupted, NotImportable, OSError,
    UnusableModel, VersionExists,
)  # fmt: skip
TRAINED = ("starter", "sft", "reward", "dpo", "ppo")


@dataclass(frozen=True)
class Verb:
    """A verb's line of help, its flags, and the function that does it."""

    help: str
    flags: Callable[[argparse.ArgumentParser], None]
    work: Callable[[argparse.Namespace, Settings], Outcome]


def run_verb(options: argparse.Namespace, settings: Settings) -> int:
    """Do the parsed verb and return its exit code; prints the answer and every refusal."""
    try:
        outcome: Outcome = VERBS[options.verb].work(options, settings)
    except (InvalidOption, WrongUsage) as error:
        return _complain(options, error, 2)
    except REFUSALS as error:
        return _complain(options, error, 1)
    except KeyboardInterrupt as interrupt:
        print(f"\n{interrupt or 'interrupted'}", file=sys.stderr)
        return 130
    if options.json:
        print(json.dumps(outcome.answer, ensure_ascii=False, default=str))
    else:
        print(outcome.told)
    return outcome.code


def make_parser() -> argparse.ArgumentParser:
    """Every verb with its flags; no verb at all means serve."""
    parser = argparse.ArgumentParser(
        prog="app.py",
        description="RankLoop: people rank completions, a model learns from it. Without a verb: serve the pages.",
        epilog="Settings come from the environment: " + ", ".join(Settings.variables()) + ".",
    )
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", title="verbs")
    for name, verb in VERBS.items():
        child = verbs.add_parser(name, help=verb.help, description=verb.help)
        verb.flags(child)
        if name != "train":
            _json_flag(child)
    return parser


def _complain(options: argparse.Namespace, error: Exception, code: int) -> int:
    print(f"app.py {options.verb}: {error}", file=sys.stderr)
    return code


def _json_flag(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print one JSON object on stdout")


def _campaign_flag(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--campaign", metavar="NAME", help="needed only where several hold data")


def _option_flags(parser: argparse.ArgumentParser, kind: str, without: Sequence[str] = ()) -> None:
    """A flag for each field of the kind's config and of the resources, with dashes as well as underscores."""
    _field_flags(parser, CONFIGS[kind], "option", without)
    _field_flags(parser, Resources, "resource")
    price = "agree to pay up to so many dollars, where the backend has a price; starts after a lost machine count"
    parser.add_argument("--confirmed-cost", type=float, metavar="N", help=price)


def _field_flags(parser: argparse.ArgumentParser, config: type, prefix: str, without: Sequence[str] = ()) -> None:
    for field in fields(config):
        if field.name in without:
            continue
        names = list(dict.fromkeys([f"--{field.name.replace('_', '-')}", f"--{field.name}"]))
        meaning = field.metadata["meaning"].replace("%", "%%")
        choices = ("yes", "no") if isinstance(field.default, bool) else field.metadata["choices"] or None
        usual = {True: "yes", False: "no"}[field.default] if isinstance(field.default, bool) else field.default
        usual = f"{usual:.4g}" if isinstance(usual, float) else usual
        shown = {"choices": choices} if choices else {"metavar": "TEXT" if isinstance(field.default, str) else "N"}
        parser.add_argument(
            *names,
            dest=f"{prefix}_{field.name}",
            **shown,
            help=f"{meaning} (default {usual})" if usual != "" else meaning,
        )


def _import_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("files", nargs="+", metavar="FILE", help="JSON Lines, CSV or Parquet: a record per line or row")
    parser.add_argument("--campaign", metavar="NAME", help="the campaign that gets them; made if it is new")
    parser.add_argument("--with-annotations", action="store_true", help="take in the rankings the file holds, too")


def _export_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", metavar="DIR")
    forms = "; ".join(f"{name}: {meaning}" for name, meaning in MEANINGS.items())
    parser.add_argument("--format", choices=tuple(EXPORTS), default="trl", help=forms)
    parser.add_argument("--campaign", metavar="NAME", help="one campaign only")


def _simulate_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--annotators", type=int, default=5, metavar="N", help="how many (default 5)")
    parser.add_argument("--seed", type=int, default=0, help="seed of their noise (default 0)")
    parser.add_argument("--limit", type=int, metavar="N", help="stop after so many rankings")
    parser.add_argument("--noise", type=float, metavar="X", help="scale of their noise; 0 is the exact gold order")
    parser.add_argument("--temperature", type=float, metavar="T", help="multiplies the noise (default 1)")
    parser.add_argument("--url", help="rank over HTTP on a running server instead")
    parser.add_argument(
        "--key", action="append", metavar="KEY", help="API key for --url: an admin's, or one per annotator (repeat it)"
    )
    _campaign_flag(parser)


def _train_flags(parser: argparse.ArgumentParser) -> None:
    kinds = parser.add_subparsers(dest="kind", metavar="KIND", required=True, title="kinds")
    for kind in TRAINED:
        meaning = CONFIGS[kind].__doc__.strip()
        child = kinds.add_parser(kind, help=meaning, description=meaning)
        if kind != "starter":
            _campaign_flag(child)
            child.add_argument("--policy", metavar="VERSION", help="the version it starts from")
        if kind == "reward":
            child.add_argument("--base", metavar="VERSION", help="a reward model to go on from, instead of the policy")
        if kind == "ppo":
            child.add_argument("--reward", metavar="VERSION", help="the reward model; default: the newest")
        _option_flags(child, kind)
        _json_flag(child)


def _generate_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--policy", metavar="VERSION", help="who writes; default: the campaign's current policy")
    parser.add_argument(
        "--against", metavar="VERSION", help="compare with this one; default: the parent; 'none': write alone"
    )
    _campaign_flag(parser)
    _option_flags(parser, "generate")


def _evaluate_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--policy", metavar="VERSION", help="default: the campaign's current policy")
    parser.add_argument("--against", metavar="VERSION", help="the baseline; default: the parent; 'none': no baseline")
    parser.add_argument("--reward", metavar="VERSION", help="the reward model that measures; default: the newest")
    _campaign_flag(parser)
    _option_flags(parser, "evaluate")


def _register_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="MODEL", help="a folder in Hugging Face format, or a Hub id")
    parser.add_argument("--name", metavar="NAME", help="the version's name; default: after the model")
    parser.add_argument("--role", choices=("policy", "reward"), help="default: as its architecture says")


def _export_model_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("version", metavar="VERSION", help="the version to write")
    parser.add_argument("folder", metavar="DIR", help="a new or empty folder")
    parser.add_argument("--merged", action="store_true", help="fold an adapter into its base")
    parser.add_argument("--push-to", metavar="OWNER/NAME", help="upload it to this repository of the Hub, too")
    parser.add_argument("--public", action="store_true", help="make that repository public where it is new")


def _score_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--reward", metavar="VERSION", help="the reward model; default: the newest")
    _campaign_flag(parser)
    _option_flags(parser, "score")


def _backup_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", help="the zip to write")
    parser.add_argument("--without-runs", action="store_true", help="leave out run directories, models included")


def _restore_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", help="a zip that `backup` wrote; the data folder must be empty")


def _erase_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", help="the person's name")
    parser.add_argument("--keep-answers", action="store_true", help='keep the answers as "erased-N", without a link')
    parser.add_argument("--list", action="store_true", help="only list what holds the answers; erase nothing")


VERBS = {
    "import": Verb("take in prompts, completions and rankings", _import_flags, verbs_data.import_files),
    "export": Verb("write what people said as Parquet", _export_flags, verbs_data.export),
    "simulate": Verb("synthetic annotators rank what is open", _simulate_flags, verbs_data.simulate),
    "train": Verb("start a training run and wait for it", _train_flags, verbs_runs.train),
    "generate": Verb("write completions and open tasks for them", _generate_flags, verbs_runs.generate),
    "evaluate": Verb("measure a version against a baseline, without people", _evaluate_flags, verbs_runs.evaluate),
    "score": Verb("score completions with a reward model", _score_flags, verbs_runs.score),
    "report": Verb("counts, agreement, strengths", _campaign_flag, verbs_data.report),
    "register": Verb("take in a base model as a version", _register_flags, verbs_models.register_model),
    "export-model": Verb("write a version for other programs", _export_model_flags, verbs_models.export_model),
    "backup": Verb("write everything into one file", _backup_flags, verbs_data.backup),
    "restore": Verb("fill an empty data folder from a backup", _restore_flags, verbs_data.restore),
    "erase": Verb("erase a person from database and journal", _erase_flags, verbs_people.erase),
    "check": Verb("look for anything that does not fit together", lambda parser: None, verbs_data.check),
}
