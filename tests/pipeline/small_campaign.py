"""An opened folder with a campaign, a registered base policy, and jobs that are fake: what runs are tested on."""

from pathlib import Path

from pipeline import services as opening
from pipeline.configs import MODULES
from storage import campaigns, completions, people, prompts, rankings, tasks, versions
from storage.records import Message, ModelVersion, Prompt, Submission

FAKE = "tests.pipeline.fake_job"


def open_folder(folder: Path, monkeypatch):
    """Services on a folder whose every job is the fake one; a base policy stands for the starter."""
    for kind in MODULES:
        monkeypatch.setitem(MODULES, kind, FAKE)
    return opening.open_services(folder)


def end_jobs(services) -> None:
    """End the jobs of this machine that a test left running."""
    backend = services.backends.there["local"]
    for directory in (services.data / "runs").glob("0*"):
        if handle := backend.find(directory):
            backend.cancel(handle, force=True)


def behave(services, behaviour: str) -> None:
    """What fake jobs do from now on."""
    (services.data / "runs" / "behaviour").write_text(behaviour)


def add_base(services, name: str = "base") -> ModelVersion:
    return versions.register_version(services.database, ModelVersion(name, "policy", f"owner/{name}"))


def make_prompt(number: int, split: str = "train") -> Prompt:
    messages = (Message("user", f"Question {number}?"),)
    return Prompt(prompts.prompt_id_of(messages), messages, split)


def add_campaign(services, name: str = "trial", count: int = 6, overlap: int = 1):
    """A campaign with prompts, the last of them in the eval split, and no completions."""
    campaign = campaigns.create_campaign(services.database, name, overlap=overlap)
    made = [make_prompt(n, "eval" if n == count - 1 else "train") for n in range(count)]
    prompts.add_prompts(services.database, campaign.id, made)
    return campaign


def add_tasks(services, campaign, k: int = 3):
    """One task per prompt, k completions by an outside model."""
    asked = prompts.prompts(services.database, campaign.id)
    rows = [(prompt.id, "outside", f"answer {n}", {}) for prompt in asked for n in range(k)]
    ids = completions.add_completions(services.database, rows)
    sets = [(prompt.id, ids[k * i : k * i + k]) for i, prompt in enumerate(asked)]
    opened = tasks.open_tasks(services.database, campaign.id, sets)
    services.pool.learn(opened)
    return opened


def rank_all(services, name: str = "ann") -> int:
    """One person ranks all that is open, in the order of completion ids; returns how many."""
    person = people.find_or_create(services.database, name, "person")
    done = 0
    while assignment := services.pool.claim(person.id):
        tiers = tuple((completion_id,) for completion_id in sorted(assignment.shown))
        submission = Submission(f"{name}-{assignment.task_id:08d}", assignment.id, "ranking", tiers)
        rankings.submit(services.database, services.pool, person.id, submission)
        done += 1
    return done


def add_ranked_campaign(services, name: str = "ann"):
    """A campaign whose every task that person has ranked."""
    campaign = add_campaign(services)
    add_tasks(services, campaign)
    rank_all(services, name)
    return campaign
