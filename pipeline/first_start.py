"""What a new folder needs before somebody can rank: a policy, the demo campaign, its first completions.

Every step is derived from storage, so a restart goes on where the last process ended: `advance` does the
next step that is missing, and the monitor calls it whenever a run has ended. A folder with a campaign of its
own gets a policy only. Does not train or sample: it launches the runs that do.
"""

import re
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from pipeline import corpus
from pipeline.launch import launch
from pipeline.monitor import Monitor
from pipeline.run_directory import RunDirectory
from pipeline.services import Services
from storage import campaigns, prompts, runs, summaries, versions
from storage.records import ENDED_STATES, Campaign, Message, ModelVersion, Prompt, Run

DEMO = "demo"
DEMO_PROMPTS = 400
DEMO_OVERLAP = 2
DEMO_K = 4
GUIDELINES = """Put the answer you would rather have got first.

1. It does what the prompt asks, about the things the prompt names.
2. It is friendly; a rude answer goes below a plain one.
3. It is complete and reads well.

Two answers that are equally good share a place. If none is worth having, say that all are bad."""
HERE = {"backend": "local"}  # small enough for any machine, and nobody has agreed to a price yet
STARTER_SHARE = 0.8  # of the progress bar; the rest is for the first completions
HUB_ID = re.compile(r"[\w.-]+(/[\w.-]+)?")


class FirstStartFailed(RuntimeError):
    """The starter policy or the demo could not be made: carries the run's own reason."""


class InvalidBaseModel(ValueError):
    """RANKLOOP_BASE_MODEL names neither `starter`, nor a folder with a model, nor something like a Hub id."""


def ensure_started(
    services: Services,
    wait: bool = False,
    monitor: Monitor | None = None,
    on_progress: Callable[[dict], None] | None = None,
) -> None:
    """Begin what is missing; with wait, follow it to its end with `monitor` (one of its own if None).

    Raises InvalidBaseModel, and with wait FirstStartFailed.
    """
    step = _Step(services)
    if not any(isinstance(call, _Step) for call in services.after_run):
        services.after_run.append(step)
    advance(services)
    if not wait:
        return
    monitor = monitor or Monitor(services, interval=0.2)
    while (now := state(services)) is not None:
        if now["step"] == "failed":
            raise FirstStartFailed(now["message"])
        if on_progress:
            on_progress(now)
        monitor.poll_once()
        time.sleep(monitor.interval)


def advance(services: Services) -> None:
    """Do the next missing step, if any; safe to call at any time."""
    base = base_version(services)
    if base is None and services.base_model != "starter":
        base = _register_base(services)
    if base is None:
        if _may_launch(services, "starter", None):
            launch(services, "starter", None, resources=HERE)
        return
    if not campaigns.campaigns(services.database):
        campaigns.create_campaign(
            services.database, DEMO, "helpful", GUIDELINES, k=DEMO_K, overlap=DEMO_OVERLAP, policy=base.name
        )
    demo = _unfinished_demo(services)
    if demo is not None and _may_launch(services, "generate", demo.id):
        prompts.add_prompts(services.database, demo.id, _demo_prompts())
        launch(services, "generate", demo.id, {"k": demo.k}, {"policy": base.name}, resources=HERE)


def state(services: Services) -> dict | None:
    """{"step", "message", "progress" 0 to 1, "elapsed", "remaining" in seconds or None}; None when all is there.

    step is "starter", "generate", or "failed" with the reason as its message.
    """
    if base_version(services) is None:
        if services.base_model != "starter":
            return _told("starter", "Looking for the base model", None, 0.0, 0.0)
        return _run_state(services, "starter", None, "Training the starter policy", 0.0, STARTER_SHARE)
    demo = _unfinished_demo(services)
    if demo is None and campaigns.campaigns(services.database):
        return None
    begin = STARTER_SHARE if services.base_model == "starter" else 0.0
    campaign_id = demo.id if demo else -1
    return _run_state(services, "generate", campaign_id, "Writing the first completions", begin, 1.0 - begin)


def something_to_rank(services: Services) -> bool:
    """Whether there is a campaign, and the demo, if it is one, has its first completions."""
    return bool(campaigns.campaigns(services.database)) and _unfinished_demo(services) is None


def base_version(services: Services) -> ModelVersion | None:
    """The policy everything starts from: the starter, or the model named in the settings."""
    if services.base_model == "starter":
        return versions.version(services.database, "starter")
    path = base_path(services.base_model)
    policies = versions.versions(services.database, "policy")
    return next((v for v in policies if v.run_id is None and v.path == path), None)


def base_path(base_model: str) -> str:
    """The absolute folder or the Hub id that a base model names. Raises InvalidBaseModel."""
    folder = Path(base_model).expanduser()
    if folder.is_dir() or base_model.startswith(("/", ".", "~")):
        if not (folder / "config.json").is_file():
            found = "a folder without config.json" if folder.is_dir() else "no such folder"
            wanted = "a folder in Hugging Face format, with config.json, tokenizer and weights"
            raise InvalidBaseModel(f"RANKLOOP_BASE_MODEL {base_model!r}: found {found}, expected {wanted}")
        return str(folder.resolve())
    if not HUB_ID.fullmatch(base_model):
        raise InvalidBaseModel(
            f"RANKLOOP_BASE_MODEL: found {base_model!r}, expected 'starter', a folder, or a Hub id such as owner/name"
        )
    return base_model


class _Step:
    """Called by the monitor after each run: first completions follow the starter."""

    def __init__(self, services: Services):
        self.services = services

    def __call__(self, run: Run) -> None:
        advance(self.services)


def _register_base(services: Services) -> ModelVersion:
    path = base_path(services.base_model)
    short = re.sub(r"[^\w.-]", "-", Path(path).name)
    name, number = short, 2
    while versions.version(services.database, name):
        name, number = f"{short}-{number}", number + 1
    return versions.register_version(services.database, ModelVersion(name, "policy", path))


def _unfinished_demo(services: Services) -> Campaign | None:
    """The demo campaign while its first completions are not all there."""
    demo = campaigns.campaign_by_name(services.database, DEMO)
    if demo is None:
        return None
    if any(run.state not in ENDED_STATES for run in _attempts(services, "generate", demo.id)[:1]):
        return demo
    return None if summaries.counts(services.database, demo.id)["tasks"] else demo


def _attempts(services: Services, kind: str, campaign_id: int | None) -> list[Run]:
    """Runs of that kind, oldest first: the first that succeeded or still goes is the first start's own."""
    found = reversed(runs.runs(services.database, kind, campaign_id))
    return [run for run in found if run.state not in ("failed", "cancelled")]


def _may_launch(services: Services, kind: str, campaign_id: int | None) -> bool:
    """Whether no such run goes on and none has failed since this process opened the folder."""
    found = runs.runs(services.database, kind, campaign_id)
    return all(run.state in ENDED_STATES and services.is_earlier(run) for run in found)


def _run_state(
    services: Services, kind: str, campaign_id: int | None, message: str, begin: float, share: float
) -> dict:
    found = runs.runs(services.database, kind, campaign_id, limit=1)
    if not found:
        return _told(kind, message, None, begin, share)
    run = found[0]
    if run.state in ("failed", "cancelled") and not services.is_earlier(run):
        return {**_told("failed", f"{message} {run.state}: {run.reason}", run, begin, share), "remaining": None}
    return _told(kind, message, run, begin, share, RunDirectory(services.directory(run)).status() or {})


def _told(step: str, message: str, run: Run | None, begin: float, share: float, status: dict | None = None) -> dict:
    total = (status or {}).get("total") or 0
    done = min(1.0, status["step"] / total) if total else 0.0
    elapsed = (datetime.now(UTC) - run.created).total_seconds() if run else 0.0
    remaining = elapsed * (1.0 - done) / done if done > 0.02 else None
    progress = round(begin + share * done, 3)
    return {"step": step, "message": message, "progress": progress, "elapsed": elapsed, "remaining": remaining}


def _demo_prompts() -> list[Prompt]:
    made = []
    for text in corpus.demo_prompts(DEMO_PROMPTS):
        messages = (Message("user", text),)
        made.append(Prompt(prompts.prompt_id_of(messages), messages, prompts.split_of(messages), tags=(DEMO,)))
    return made
