"""The order in which a queue's open tasks are offered: priority, then answers already counted, then id.

Tasks that others have begun come first among equals, so that a second annotator completes them. Finding the first
task that a person has not answered costs no scan over the answered ones: the queue remembers how far each person
has looked, and which tasks came in behind that place since. Not thread-safe; assignments.py holds the lock.
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from heapq import heappop, heappush

from storage.sorted_places import SortedPlaces

Place = tuple[float, int, int]  # (-priority, -counted answers, task id)
SHORTEST_NEWS = 1000  # how many arrivals are remembered at least


@dataclass
class _Reader:
    """How far one person has looked: everything up to `reached` is answered by them, but for `behind`."""

    heard: int
    reached: Place | None = None
    behind: list[Place] = field(default_factory=list)  # a heap of places that were taken after they passed


class TaskQueue:
    """Sorted places of the tasks that can be claimed now."""

    def __init__(self):
        self._places: SortedPlaces[Place] = SortedPlaces()
        self._place_of: dict[int, Place] = {}
        self._readers: dict[int, _Reader] = {}
        self._news: list[Place] = []  # the arrivals that the readers have not all heard of
        self._forgotten = 0  # arrivals before these

    def __len__(self) -> int:
        return len(self._place_of)

    def __iter__(self) -> Iterator[int]:
        return iter(self._place_of)

    def __contains__(self, task_id: int) -> bool:
        return task_id in self._place_of

    def put(self, task_id: int, priority: float, counted: int) -> None:
        """Add a task or move it."""
        place = (-priority, -counted, task_id)
        if self._place_of.get(task_id) == place:
            return
        self.remove(task_id)
        self._places.add(place)
        self._place_of[task_id] = place
        if self._readers:
            self._news.append(place)
            if len(self._news) > max(SHORTEST_NEWS, len(self._place_of)):
                self._forgotten += len(self._news)
                self._news.clear()

    def remove(self, task_id: int) -> None:
        """Take a task out, if it is in."""
        place = self._place_of.pop(task_id, None)
        if place is not None:
            self._places.remove(place)

    def first(self, person_id: int, answered: Collection[int], busy: Collection[int] = ()) -> Place | None:
        """The first place that the person has neither answered nor, just now, in hand.

        answered: ids of tasks that are not offered to them again; it only grows.
        """
        reader = self._reader(person_id, answered)
        return self._first_behind(reader, answered, busy) or self._first_ahead(reader, answered, busy)

    def left(self, answered: Collection[int]) -> int:
        """How many tasks could be claimed by somebody who answered these."""
        return len(self._place_of) - sum(map(self._place_of.__contains__, answered))

    def _reader(self, person_id: int, answered: Collection[int]) -> _Reader:
        """The person's reader, told of what came in since; one that missed arrivals looks from the start again."""
        now = self._forgotten + len(self._news)
        reader = self._readers.get(person_id)
        if reader is None or reader.heard < self._forgotten:
            reader = self._readers[person_id] = _Reader(now)
        elif reader.heard < now and reader.reached is not None:
            for place in self._news[reader.heard - self._forgotten :]:
                if place <= reader.reached and place[2] not in answered:
                    heappush(reader.behind, place)
        reader.heard = now
        return reader

    def _first_behind(self, reader: _Reader, answered: Collection[int], busy: Collection[int]) -> Place | None:
        """Of what came in behind the reached place; what has moved, gone or been answered is dropped on the way."""
        waiting, found = [], None
        while reader.behind and found is None:
            place = reader.behind[0]
            if self._place_of.get(place[2]) == place and place[2] not in answered:
                if place[2] not in busy:
                    found = place
                    break
                waiting.append(place)
            heappop(reader.behind)
        for place in waiting:
            heappush(reader.behind, place)
        return found

    def _first_ahead(self, reader: _Reader, answered: Collection[int], busy: Collection[int]) -> Place | None:
        passed, only_answered = reader.reached, True
        found = None
        for place in self._places.after(reader.reached):
            if place[2] in answered:
                if only_answered:
                    passed = place
            elif place[2] in busy:
                only_answered = False
            else:
                found = place
                break
        reader.reached = passed
        return found
