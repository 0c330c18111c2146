import random

import pytest

from storage import sorted_places
from storage.sorted_places import SortedPlaces


@pytest.mark.parametrize("seed", range(5))
def test_random_additions_and_removals_keep_the_order(seed, monkeypatch):
    monkeypatch.setattr(sorted_places, "PIECE", 8)
    rng, places, members = random.Random(seed), SortedPlaces(), set()
    for _ in range(2000):
        member = rng.randrange(300)
        if member in members:
            places.remove(member)
            members.remove(member)
        else:
            places.add(member)
            members.add(member)
        since = rng.choice([None, rng.randrange(-5, 305)])
        assert list(places.after(since)) == sorted(m for m in members if since is None or m > since)


def test_an_empty_one_gives_nothing():
    assert list(SortedPlaces().after(None)) == []
    assert list(SortedPlaces().after(3)) == []
