"""What all verbs share: their outcome, their refusals, the open data folder, and the choice of a campaign."""

import argparse
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from pipeline.services import Services, open_services
from storage import campaigns, summaries, versions
from storage.records import Campaign
from storage.text_tables import demonstration_table
from ui.progress import Progress
from ui.settings import Settings

HOLDS = {
    "sft": "demonstrations",
    "reward": "rankings",
    "dpo": "rankings",
    "ppo": "prompts",
    "generate": "prompts",
    "evaluate": "prompts",
    "score": "completions",
}


class Refused(RuntimeError):
    """A verb cannot do what was asked; the message says why and what to do."""


class WrongUsage(ValueError):
    """Arguments that do not fit together or leave something open."""


@dataclass(frozen=True)
class Outcome:
    """What a verb answers: the JSON object, the text for people, and the exit code."""

    answer: dict = field(default_factory=dict)
    told: str = ""
    code: int = 0


@contextmanager
def opened(settings: Settings) -> Iterator[Services]:
    """The data folder, open for one verb. Raises DatabaseInUse, with the address of the server that holds it."""
    services = open_services(settings.data, settings.base_model, settings.backends())
    try:
        yield services
    finally:
        services.close()


def progress() -> Progress:
    """Progress on stderr."""
    return Progress(sys.stderr)


def given_options(options: argparse.Namespace) -> dict[str, str]:
    """The options of a run that stand on the command line, by their config's field."""
    found = {name.removeprefix("option_"): value for name, value in vars(options).items() if name.startswith("option_")}
    return {name: value for name, value in found.items() if value is not None}


def given_resources(options: argparse.Namespace) -> dict:
    """What stands there of a run's resources, and the price that was agreed to: arguments of `launch`."""
    found = {n.removeprefix("resource_"): v for n, v in vars(options).items() if n.startswith("resource_")}
    named = {name: value for name, value in found.items() if value is not None}
    return {"resources": named, "confirmed_cost": options.confirmed_cost}


def named_campaign(services: Services, name: str) -> Campaign:
    """The campaign of that name. Raises Refused."""
    found = campaigns.campaign_by_name(services.database, name)
    if found is None:
        there = ", ".join(repr(c.name) for c in campaigns.campaigns(services.database)) or "none"
        raise Refused(f"campaign: found no {name!r}, expected one of those there are: {there}")
    return found


def choose_campaign(services: Services, name: str | None, kind: str) -> Campaign:
    """The named campaign, or the only one with what this kind of run needs. Raises Refused or WrongUsage."""
    if name is not None:
        return named_campaign(services, name)
    there = campaigns.campaigns(services.database)
    if not there:
        raise Refused("campaign: found none, expected one; `import` some prompts first")
    fitting = [c for c in there if _holds(services, c, HOLDS[kind])]
    if kind == "ppo":
        judged = [c for c in fitting if _has_own_reward(services, c)]
        fitting = judged or fitting
    candidates = fitting or there
    if len(candidates) > 1:
        names = ", ".join(repr(c.name) for c in candidates)
        raise WrongUsage(f"--campaign: found none, expected one of {names}, because several hold data")
    return candidates[0]


def _holds(services: Services, campaign: Campaign, what: str) -> int:
    if what == "demonstrations":
        return demonstration_table(services.database, campaign.id).num_rows
    return summaries.counts(services.database, campaign.id)[what]


def _has_own_reward(services: Services, campaign: Campaign) -> bool:
    return versions.newest_version(services.database, "reward", campaign.id) is not None


def interrupted(run_id: str) -> KeyboardInterrupt:
    """What an interrupted wait says: the run goes on."""
    return KeyboardInterrupt(
        f"{run_id} goes on in the background. `python app.py` shows it and can cancel it; the next verb takes it in."
    )
