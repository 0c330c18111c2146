"""Simulated annotators answer what is open, in whichever form, through the same claim and submit as people.

Local (this module) or over HTTP (`simulate_http`). The gold reward is only read here to report it;
the annotators see it through their noise. Makes no tasks and no completions.
"""

import math
import statistics
import time
import uuid
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

from pipeline.services import Services
from pipeline.simulated_answers import Asked, AskedScale, Judged, judge
from pipeline.synthetic import SimulatedAnnotator, gold_reward, make_annotators
from storage import people, rankings
from storage.completions import completions
from storage.details import Detail
from storage.prompts import prompt
from storage.records import Assignment, Completion, Submission, Task
from storage.setups import Setup
from storage.tasks import task as task_of

DEFAULT_NOISE = 0.6
Progress = Callable[[int, int | None], None]  # rankings so far, and how many are meant to come where known


def annotators(count: int, seed: int, noise: float | None, temperature: float | None) -> list[SimulatedAnnotator]:
    """`sim-1`, `sim-2`, …: some more careful than others, around the given noise."""
    scale = DEFAULT_NOISE if noise is None else noise
    made = make_annotators(count, seed, scale, 1.0 if temperature is None else temperature)
    return [replace(annotator, name=f"sim-{i + 1}") for i, annotator in enumerate(made)]


def simulate(
    services: Services,
    count: int,
    seed: int = 0,
    noise: float | None = None,
    temperature: float | None = None,
    campaign_id: int | None = None,
    limit: int | None = None,
    on_progress: Progress | None = None,
) -> dict:
    """Let `count` annotators take turns until nothing is open for anyone, or `limit` rankings are in.

    Returns {"annotators", "rankings", "gold_reward": {model: {"mean", "standard_error", "n"}}} over the tasks
    ranked in this call.
    """
    team = [
        (people.find_or_create(services.database, annotator.name, "simulated"), annotator)
        for annotator in annotators(count, seed, noise, temperature)
    ]
    ranked: dict[int, None] = {}
    done, busy = 0, True
    expected = sum(services.pool.remaining(person.id, campaign_id) for person, _ in team) if on_progress else None
    while busy and (limit is None or done < limit):
        busy = False
        for person, annotator in team:
            if limit is not None and done >= limit:
                break
            assignment = services.pool.claim(person.id, campaign_id)
            if assignment is None:
                continue
            busy, done = True, done + 1
            _answer(services, person.id, annotator, assignment)
            ranked[assignment.task_id] = None
            if on_progress:
                on_progress(done, limit or expected)
    return {"annotators": count, "rankings": done, "gold_reward": gold_by_model(_ranked_texts(services, ranked))}


def _answer(services: Services, person_id: int, annotator: SimulatedAnnotator, assignment: Assignment) -> None:
    task = task_of(services.database, assignment.task_id)
    texts = [completion.text for completion in completions(services.database, task.completion_ids)]
    began = time.monotonic()
    setup = services.pool.setup(task.campaign_id)
    judged = judge(annotator, _asked(setup), prompt(services.database, task.prompt_id).text, texts)
    submission = Submission(
        submission_id=uuid.uuid4().hex,
        assignment_id=assignment.id,
        kind=judged.kind,
        tiers=tuple(tuple(task.completion_ids[i] for i in tier) for tier in judged.tiers),
        seconds=max(setup.min_seconds, time.monotonic() - began),
        detail=_detail(judged, task),
    )
    rankings.submit(services.database, services.pool, person_id, submission)


def _asked(setup: Setup) -> Asked:
    scales = tuple(AskedScale(scale.name, scale.low, scale.high) for scale in setup.scales)
    return Asked(setup.form, scales, setup.rationale, setup.rationale_min)


def _detail(judged: Judged, task: Task) -> Detail:
    ids = task.completion_ids
    return Detail(
        grade=judged.grade,
        both_good=judged.both_good,
        ratings={ids[i]: values for i, values in judged.ratings.items()},
        thumbs={ids[i]: value for i, value in judged.thumbs.items()},
        rationale=judged.rationale,
    )


def _ranked_texts(services: Services, task_ids: Iterable[int]) -> list[tuple[str, Completion]]:
    """(prompt text, completion) of every completion in these tasks, each once."""
    found: dict[int, tuple[str, Completion]] = {}
    for task_id in task_ids:
        task = task_of(services.database, task_id)
        asked = prompt(services.database, task.prompt_id).text
        for completion in completions(services.database, task.completion_ids):
            found[completion.id] = (asked, completion)
    return list(found.values())


def gold_by_model(texts: Iterable[tuple[str, Completion]]) -> dict[str, dict]:
    """Mean gold reward of each model's completions, n of them, with a standard error clustered by prompt."""
    by_model: dict[str, dict[str, list[float]]] = {}
    for asked, completion in texts:
        rewards = by_model.setdefault(completion.model, {}).setdefault(completion.prompt_id, [])
        rewards.append(gold_reward(asked, completion.text))
    return {model: _mean_and_error(clusters) for model, clusters in sorted(by_model.items())}


def _mean_and_error(clusters: Mapping[str, list[float]]) -> dict:
    """The cluster-robust standard error of a mean: G/(G-1) times the summed squares of each cluster's residual sum.

    Liang and Zeger 1986, for an intercept only: completions of one prompt share its difficulty.
    """
    rewards = [reward for cluster in clusters.values() for reward in cluster]
    mean, groups = statistics.fmean(rewards), len(clusters)
    error = None
    if groups > 1:
        squares = sum(sum(reward - mean for reward in cluster) ** 2 for cluster in clusters.values())
        error = math.sqrt(groups / (groups - 1) * squares) / len(rewards)
    return {"mean": mean, "standard_error": error, "n": len(rewards)}
