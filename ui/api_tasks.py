"""A campaign's tasks over HTTP: list and search, priority, who they are for, and tasks with a known answer."""

from dataclasses import asdict
from typing import Annotated, Literal

from fastapi import APIRouter, Query, Security
from pydantic import Field

from storage import checks, completions, members, prompts, tasks
from storage.known_answers import known_ranks
from storage.records import Task
from storage.task_lists import MOST, TaskRow, task_answers, task_page
from ui.api_base import BEARER, Body, CheckedRoute, Loop, Who, fault, known_campaign, needs
from ui.api_campaigns import known_person

router = APIRouter(route_class=CheckedRoute, tags=["tasks"], dependencies=[Security(BEARER)])
LEAD = needs("lead")
Id = Annotated[int, Field(ge=1, lt=2**62)]


class Priority(Body):
    priority: float = Field(ge=-1e6, le=1e6)


class Assignment(Body):
    """people: ids; nobody: open to all."""

    tasks: list[Id] = Field(min_length=1, max_length=20_000)
    people: list[Annotated[int, Field(ge=1, lt=2**31)]] = Field([], max_length=1000)


class NewCheck(Body):
    """ranks: one per completion in the task's stored order, 1 = best, or null for all bad, where source is `ranks`;
    `typed` takes `order` ("B > A = C"), `own` the asker's own answer, `unanimous` what everybody said alike."""

    task: Id
    purpose: Literal["gold", "training", "test"] = "gold"
    source: Literal["ranks", "typed", "own", "unanimous"] = "ranks"
    ranks: list[int] | None = Field(None, max_length=9)
    order: str = Field("", max_length=60)
    explanation: str = Field("", max_length=10_000)


def task_view(row: TaskRow) -> dict:
    """A line of the list."""
    return asdict(row) | {"state": row.state, "people": list(row.people), "created": row.created.isoformat()}


@router.get("/campaigns/{campaign}/tasks", openapi_extra=LEAD)
def list_tasks(
    services: Loop,
    campaign: str,
    search: Annotated[str, Query(max_length=400)] = "",
    state: Literal["all", "open", "done", "assigned", "checks", "retired"] = "all",
    offset: Annotated[int, Query(ge=0, lt=2**31)] = 0,
    limit: Annotated[int, Query(ge=1, le=MOST)] = 50,
) -> dict:
    """Tasks whose prompt holds all the words, highest priority first: {"total", "tasks"}."""
    found = known_campaign(services, campaign)
    page = task_page(services.database, found.id, search, state, offset, limit)
    return {"total": page.total, "offset": page.offset, "tasks": [task_view(row) for row in page.rows]}


@router.get("/campaigns/{campaign}/tasks/{task_id}", openapi_extra=LEAD)
def read_task(services: Loop, campaign: str, task_id: int) -> dict:
    """One task with its prompt, its completions in their stored order, its answers and its known answer."""
    task = known_task(services, campaign, task_id)
    prompt = prompts.prompt(services.database, task.prompt_id)
    told = completions.completions(services.database, task.completion_ids)
    known = checks.check(services.database, task.id)
    return asdict(task) | {
        "messages": [asdict(message) for message in prompt.messages],
        "completions": [{"id": one.id, "model": one.model, "text": one.text} for one in told],
        "answers": [
            asdict(one) | {"created": one.created.isoformat()} for one in task_answers(services.database, task.id)
        ],
        "check": asdict(known) if known else None,
    }


@router.patch("/campaigns/{campaign}/tasks/{task_id}", openapi_extra=LEAD)
def prioritise(services: Loop, campaign: str, task_id: int, wish: Priority) -> dict:
    """Give a task another place in the queue; a higher number comes first."""
    task = known_task(services, campaign, task_id)
    return asdict(tasks.set_task_priority(services.database, task.id, wish.priority))


@router.post("/campaigns/{campaign}/assignments", openapi_extra=LEAD)
def assign(services: Loop, campaign: str, wish: Assignment) -> dict:
    """Keep tasks for some people, or open them to all."""
    found = known_campaign(services, campaign)
    for person_id in wish.people:
        known_person(services, person_id)
    foreign = [one for one in wish.tasks if not _is_of(services, found.id, one)]
    if foreign:
        raise fault(404, "tasks", foreign[:10], f"tasks of campaign {found.name}")
    done = members.assign(services.database, wish.tasks, wish.people)
    return {"tasks": [one.task_id for one in done], "people": sorted(set(wish.people))}


@router.get("/campaigns/{campaign}/checks", openapi_extra=LEAD)
def list_checks(services: Loop, campaign: str) -> list[dict]:
    """Gold, training and test tasks with their known answers, retired ones too."""
    found = checks.checks(services.database, known_campaign(services, campaign).id)
    return [_check_view(task, known) for task, known in found]


@router.post("/campaigns/{campaign}/checks", status_code=201, openapi_extra=LEAD)
def add_check(services: Loop, who: Who, campaign: str, wish: NewCheck) -> dict:
    """Make a gold, training or test task of a task's completions; the task itself stays as it is."""
    task = known_task(services, campaign, wish.task)
    ranks = wish.ranks
    if wish.source != "ranks":
        count = len(task.completion_ids)
        ranks = known_ranks(services.database, task.id, count, wish.source, who.id, wish.order)
    made = checks.add_check(
        services.database,
        task.campaign_id,
        task.prompt_id,
        task.completion_ids,
        ranks,
        wish.purpose,
        wish.explanation.strip(),
    )
    return _check_view(made, checks.check(services.database, made.id))


@router.delete("/campaigns/{campaign}/checks/{task_id}", openapi_extra=LEAD)
def retire_check(services: Loop, campaign: str, task_id: int) -> dict:
    """Show a check to nobody any more; the answers to it stay as they are."""
    task = known_task(services, campaign, task_id)
    return _check_view(task, checks.retire_check(services.database, task.id))


def known_task(services: Loop, campaign: str, task_id: int) -> Task:
    """The task of that id in that campaign, or 404."""
    found = known_campaign(services, campaign)
    task = tasks.task(services.database, task_id) if 0 < task_id < 2**62 else None
    if task is None or task.campaign_id != found.id:
        raise fault(404, "task", task_id, f"the id of a task of campaign {found.name}")
    return task


def _is_of(services: Loop, campaign_id: int, task_id: int) -> bool:
    """Whether the pool, or else storage, knows the task as one of the campaign."""
    task = services.pool.task(task_id) or tasks.task(services.database, task_id)
    return task is not None and task.campaign_id == campaign_id


def _check_view(task: Task, known: checks.Check) -> dict:
    return {
        "task": task.id,
        "prompt_id": task.prompt_id,
        "completion_ids": list(task.completion_ids),
        "purpose": task.purpose,
        "ranks": None if known.ranks is None else list(known.ranks),
        "explanation": known.explanation,
        "active": known.active,
    }
