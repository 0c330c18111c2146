"""The order in which a campaign's open tasks are offered: priority, then answers already counted, then id.

Tasks that others have begun come first among equals, so that a second annotator completes them. Finding the
first task that a person has not answered costs no scan over the answered ones: the queue remembers how far each
person has looked. Not thread-safe; assignments.py holds the lock.
"""

from bisect import bisect_left, bisect_right, insort
from collections.abc import Collection, Iterator, Mapping

Place = tuple[float, int, int]  # (-priority, -counted answers, task id)


class TaskQueue:
    """Sorted places of the tasks that can be claimed now."""

    def __init__(self):
        self._places: list[Place] = []
        self._place_of: dict[int, Place] = {}
        self._reached: dict[int, Place] = {}  # per person: everything up to here is answered by them

    def __len__(self) -> int:
        return len(self._places)

    def __iter__(self) -> Iterator[int]:
        return iter(self._place_of)

    def __contains__(self, task_id: int) -> bool:
        return task_id in self._place_of

    def put(self, task_id: int, priority: float, counted: int, answered: Mapping[int, Collection[int]]) -> None:
        """Add a task or move it. answered: per person, the ids of tasks that are not offered to them again."""
        place = (-priority, -counted, task_id)
        if self._place_of.get(task_id) == place:
            return
        self.remove(task_id)
        insort(self._places, place)
        self._place_of[task_id] = place
        for person_id, reached in self._reached.items():
            if reached >= place and task_id not in answered.get(person_id, ()):
                self._reached[person_id] = (*place[:2], task_id - 1)

    def remove(self, task_id: int) -> None:
        """Take a task out, if it is in."""
        place = self._place_of.pop(task_id, None)
        if place is not None:
            del self._places[bisect_left(self._places, place)]

    def first(self, person_id: int, answered: Collection[int], busy: Collection[int] = ()) -> Place | None:
        """The first place that the person has neither answered nor, just now, in hand."""
        start = bisect_right(self._places, self._reached[person_id]) if person_id in self._reached else 0
        only_answered = True
        for index in range(start, len(self._places)):
            place = self._places[index]
            if place[2] in answered:
                if only_answered:
                    self._reached[person_id] = place
            elif place[2] in busy:
                only_answered = False
            else:
                return place
        return None

    def left(self, answered: Collection[int]) -> int:
        """How many tasks could be claimed by somebody who answered these."""
        return len(self._places) - sum(task_id in self._place_of for task_id in answered)
