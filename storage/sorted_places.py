"""A sorted collection that stays quick at a hundred thousand members: a list of short sorted lists.

Adding and removing move at most one short list; a plain list would move everything behind the place. It knows
nothing of tasks. Not thread-safe.
"""

from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterator
from typing import Generic, TypeVar

Member = TypeVar("Member")
PIECE = 1024  # members of one short list before it is split in two


class SortedPlaces(Generic[Member]):
    """Members in ascending order, each once."""

    def __init__(self):
        self._pieces: list[list[Member]] = []
        self._last: list[Member] = []  # the greatest member of each piece

    def add(self, member: Member) -> None:
        """Put a member in; the caller knows that it is not in yet."""
        if not self._pieces:
            self._pieces, self._last = [[member]], [member]
            return
        number = min(bisect_left(self._last, member), len(self._pieces) - 1)
        piece = self._pieces[number]
        insort(piece, member)
        self._last[number] = piece[-1]
        if len(piece) > PIECE:
            self._pieces[number : number + 1] = [piece[: PIECE // 2], piece[PIECE // 2 :]]
            self._last[number : number + 1] = [piece[PIECE // 2 - 1], piece[-1]]

    def remove(self, member: Member) -> None:
        """Take a member out; the caller knows that it is in."""
        number = bisect_left(self._last, member)
        piece = self._pieces[number]
        del piece[bisect_left(piece, member)]
        if piece:
            self._last[number] = piece[-1]
        else:
            del self._pieces[number], self._last[number]

    def after(self, member: Member | None) -> Iterator[Member]:
        """The members greater than this one, ascending; all of them after None. Change nothing meanwhile."""
        number = 0 if member is None else bisect_right(self._last, member)
        if number == len(self._pieces):
            return
        first = self._pieces[number]
        yield from first if member is None else first[bisect_right(first, member) :]
        for piece in self._pieces[number + 1 :]:
            yield from piece
