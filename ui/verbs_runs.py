"""The verbs that start a run and wait for it: train, generate, evaluate, score.

They launch, then run the monitor inline until the run has ended. An interrupt leaves the run running.
"""

import argparse
import sys

from pipeline import first_start
from pipeline.launch import current_policy, launch
from pipeline.monitor import Monitor
from pipeline.run_directory import RunDirectory
from pipeline.services import Services
from storage import campaigns, runs, versions
from storage.records import Campaign, ModelVersion, Run
from ui.progress import RunProgress
from ui.settings import Settings
from ui.verb import (
    Outcome,
    Refused,
    choose_campaign,
    given_options,
    given_resources,
    interrupted,
    named_campaign,
    opened,
    progress,
)

POLL_SECONDS = 0.2


def train(options: argparse.Namespace, settings: Settings) -> Outcome:
    """Start a training run and wait for its end."""
    with opened(settings) as services:
        campaign = None
        if options.kind != "starter":
            start(services)
            campaign = choose_campaign(services, options.campaign, options.kind)
        models = {place: getattr(options, place, None) for place in ("policy", "reward", "base")}
        run = follow(services, options.kind, campaign, given_options(options), models, given_resources(options))
        result = RunDirectory(services.directory(run)).result() or {}
        made = [v.name for v in versions.versions(services.database) if v.run_id == run.id]
    answer = {
        "run": run.id,
        "kind": run.kind,
        "state": run.state,
        "version": made[0] if made else None,
        "seconds": result.get("seconds"),
        "data_hash": run.data_hash,
        "metrics": result.get("metrics", {}),
    }
    name = f" made {made[0]}" if made else f": {run.state}"
    return Outcome(answer, f"{run.id}{name}\n{_listed(answer['metrics'])}".rstrip(), _code(run))


def generate(options: argparse.Namespace, settings: Settings) -> Outcome:
    """Write completions with a version, against its parent where it has one, and open tasks for them."""
    with opened(settings) as services:
        start(services)
        campaign, policy, against = versions_of(services, options, "generate")
        models = {"policy": policy.name, "against": against}
        run = follow(services, "generate", campaign, given_options(options), models, given_resources(options))
        taken = runs.pieces(services.database, run.id).values()
    completions, tasks = sum(c for c, _ in taken), sum(t for _, t in taken)
    answer = {
        "run": run.id,
        "policy": policy.name,
        "against": against,
        "completions": completions,
        "tasks": tasks,
        "state": run.state,
    }
    versus = f" against {against}" if against else ""
    return Outcome(answer, f"{run.id}: {completions} completions by {policy.name}{versus}, {tasks} tasks", _code(run))


def evaluate(options: argparse.Namespace, settings: Settings) -> Outcome:
    """Measure a version against its parent or another baseline with the reward model."""
    with opened(settings) as services:
        start(services)
        campaign, policy, against = versions_of(services, options, "evaluate")
        models = {"policy": policy.name, "against": against, "reward": options.reward}
        run = follow(services, "evaluate", campaign, given_options(options), models, given_resources(options))
        metrics = (RunDirectory(services.directory(run)).result() or {}).get("metrics", {})
    answer = {"run": run.id, "policy": policy.name, "against": against, "metrics": metrics, "state": run.state}
    return Outcome(answer, f"{run.id}: {policy.name} against {against}\n{_listed(metrics)}".rstrip(), _code(run))


def score(options: argparse.Namespace, settings: Settings) -> Outcome:
    """Score a campaign's completions with a reward model."""
    with opened(settings) as services:
        campaign = choose_campaign(services, options.campaign, "score")
        run = follow(services, "score", campaign, given_options(options), {"reward": options.reward})
        files = RunDirectory(services.directory(run))
        metrics, used = (files.result() or {}).get("metrics", {}), files.config()["models"]["reward"]["name"]
    folder = str(files.artifacts / "scores")
    answer = {"run": run.id, "reward": used, "metrics": metrics, "state": run.state, "folder": folder}
    told = f"{run.id}: completions of {campaign.name} by {used}, in {folder}"
    return Outcome(answer, f"{told}\n{_listed(metrics)}".rstrip(), _code(run))


def start(services: Services) -> None:
    """Make what a new folder lacks, showing how far it is."""
    shown = progress()

    def show(now: dict) -> None:
        shown.say(now["message"], round(100 * now["progress"]), 100)

    first_start.ensure_started(services, wait=True, monitor=Monitor(services, POLL_SECONDS), on_progress=show)
    shown.end()


def follow(
    services: Services, kind: str, campaign: Campaign | None, options: dict, models: dict, place: dict | None = None
) -> Run:
    """Launch, wait to the end, and say on stderr why a run that failed did. place: see `given_resources`."""
    named = {place: name for place, name in models.items() if name}
    run = launch(services, kind, campaign.id if campaign else None, options, named, **(place or {}))
    shown = progress()
    try:
        run = Monitor(services, POLL_SECONDS).wait(run.id, RunProgress(services, shown))
    except KeyboardInterrupt:
        raise interrupted(run.id) from None
    finally:
        shown.end()
    if run.state != "succeeded":
        directory = RunDirectory(services.directory(run))
        print(f"{run.id} {run.state}: {run.reason}", file=sys.stderr)
        print(f"the end of {directory.log}:\n{directory.log_tail()}", file=sys.stderr)
    return run


def versions_of(
    services: Services, options: argparse.Namespace, kind: str
) -> tuple[Campaign, ModelVersion, str | None]:
    """Campaign, policy and the name of the baseline that the options mean. Raises Refused."""
    named = policy_named(services, options.policy) if options.policy else None
    campaign = _campaign_of(services, named) if named and options.campaign is None else None
    if campaign is None:
        chosen = options.campaign
        campaign = named_campaign(services, chosen) if chosen else choose_campaign(services, None, kind)
    policy = named or current_policy(services, campaign)
    if policy is None:
        raise Refused(f"policy: found none for campaign {campaign.name!r}; run `train starter` or name a version")
    if options.against == "none":
        return campaign, policy, None
    # Writing on with the current policy is for training data; a version that is named is to be judged.
    parent = policy.parent if named or kind == "evaluate" else None
    return campaign, policy, options.against or parent


def policy_named(services: Services, name: str) -> ModelVersion:
    """The policy version of that name. Raises Refused with the names there are."""
    found = versions.version(services.database, name)
    if found is None or found.role != "policy":
        known = ", ".join(v.name for v in versions.versions(services.database, "policy")) or "none yet"
        what = "a reward model" if found else "no version of that name"
        raise Refused(f"policy {name!r}: found {what}, expected a policy version: {known}")
    return found


def _campaign_of(services: Services, policy: ModelVersion) -> Campaign | None:
    """The campaign whose data a version learned from."""
    run = runs.run(services.database, policy.run_id) if policy.run_id else None
    return campaigns.campaign(services.database, run.campaign_id) if run and run.campaign_id is not None else None


def _code(run: Run) -> int:
    return 0 if run.state == "succeeded" else 1


def _listed(metrics: dict) -> str:
    return "\n".join(
        f"  {name:28} {value:.4g}" if isinstance(value, float) else f"  {name:28} {value}"
        for name, value in metrics.items()
    )
