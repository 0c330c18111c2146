"""A person's hold on a task, and what a person may get next: what the pool of open tasks is made of."""

from dataclasses import dataclass

from storage.records import Assignment
from storage.task_queue import Place


@dataclass(eq=False)
class Hold:
    """A person's place on a task. Without an assignment it lasts only while an answer is being stored."""

    task_id: int
    person_id: int
    assignment: Assignment | None = None
    storing: int = 0  # answers being stored on it: it does not expire meanwhile

    @property
    def repeats(self) -> bool:
        """Whether the person has answered the task before; such a hold takes no place on it."""
        return self.assignment is not None and self.assignment.purpose == "repeat"


@dataclass(frozen=True)
class Offer:
    """What a person may get next; lower comes first: the campaign's priority, then the place in its queue."""

    priority: float
    place: Place
    purpose: str = "work"
