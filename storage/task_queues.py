"""All queues of open tasks: for each campaign what is open to all, and for each named person what is theirs.

It puts a task into the right ones and finds a person's again. Which tasks are open is decided in assignments.py,
whose lock covers this too.
"""

from collections import Counter
from collections.abc import Collection, Iterable

from storage.records import Task
from storage.task_queue import TaskQueue

Key = int | tuple[int, int]  # a campaign, or a campaign and a person


class TaskQueues:
    """Queues by campaign and person, and in which of them each task stands."""

    def __init__(self):
        self._queues: dict[Key, TaskQueue] = {}
        self._keys: dict[int, tuple[Key, ...]] = {}  # by task
        self._waiting: Counter[int] = Counter()  # tasks by campaign

    def put(self, task: Task, counted: int, people: Collection[int] = ()) -> None:
        """Add a task or move it; it stands in the campaign's queue, or in those of the people it is for."""
        keys = tuple((task.campaign_id, person) for person in people) or (task.campaign_id,)
        if self._keys.get(task.id) != keys:
            self.remove(task)
            self._keys[task.id] = keys
            self._waiting[task.campaign_id] += 1
        for key in keys:
            if key not in self._queues:
                self._queues[key] = TaskQueue()
            self._queues[key].put(task.id, task.priority, counted)

    def remove(self, task: Task) -> None:
        """Take a task out of every queue, if it is in."""
        keys = self._keys.pop(task.id, ())
        for key in keys:
            self._queues[key].remove(task.id)
        self._waiting[task.campaign_id] -= bool(keys)

    def of(self, campaign_id: int, person_id: int) -> list[TaskQueue]:
        """What is open to all in a campaign, and what is for this person."""
        return [self._queues[key] for key in (campaign_id, (campaign_id, person_id)) if key in self._queues]

    def waiting(self, campaigns: Iterable[int]) -> int:
        """How many tasks of these campaigns somebody could claim."""
        return sum(self._waiting[campaign] for campaign in campaigns)
