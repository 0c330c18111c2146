"""The order of open tasks, and that remembering how far a person looked never hides a task from them."""

import random

import pytest

from storage import task_queue
from storage.task_queue import TaskQueue
from tests.work import calls_of


def first(queue, answered=(), busy=()):
    place = queue.first(1, set(answered), busy)
    return place and place[2]


def queue_of(*tasks):
    queue = TaskQueue()
    for task_id, priority, counted in tasks:
        queue.put(task_id, priority, counted)
    return queue


def test_priority_then_begun_tasks_then_the_lowest_id():
    queue = queue_of((1, 0, 0), (2, 0, 1), (3, 1, 0), (4, 1, 0))
    order = []
    while (task_id := first(queue)) is not None:
        order.append(task_id)
        queue.remove(task_id)
    assert order == [3, 4, 2, 1]


def test_answered_and_busy_tasks_are_passed_over():
    queue = queue_of((1, 0, 0), (2, 0, 0), (3, 0, 0))
    assert first(queue, {1}, {2}) == 3
    assert first(queue, {1}) == 2
    assert first(queue, {1, 2, 3}) is None


def test_a_task_that_comes_back_before_the_reached_place_is_found():
    queue = queue_of((5, 0, 0), (6, 0, 0))
    assert first(queue, {5}) == 6
    queue.put(2, 0, 0)
    assert first(queue, {5}) == 2


def test_putting_a_task_again_moves_it():
    queue = queue_of((1, 0, 0), (2, 0, 0))
    queue.put(2, 9, 0)
    assert first(queue) == 2
    assert len(queue) == 2
    queue.remove(2)
    queue.remove(2)
    assert len(queue) == 1 and 2 not in queue


def test_left_counts_what_is_not_answered():
    assert queue_of((1, 0, 0), (2, 0, 0), (3, 0, 0)).left({2, 99}) == 2


@pytest.mark.parametrize("remembered", [0, 5, 1000])
def test_random_histories_give_what_a_full_scan_gives(remembered, monkeypatch):
    monkeypatch.setattr(task_queue, "SHORTEST_NEWS", remembered)
    for seed in range(30):
        rng, queue, tasks, answered = random.Random(seed), TaskQueue(), {}, {p: set() for p in range(3)}
        for _ in range(300):
            task_id, person_id = rng.randrange(25), rng.randrange(3)
            if rng.random() < 0.5:
                tasks[task_id] = (-rng.randrange(2), -rng.randrange(3), task_id)
                queue.put(task_id, -tasks[task_id][0], -tasks[task_id][1])
            elif rng.random() < 0.5:
                answered[person_id].add(task_id)
            else:
                tasks.pop(task_id, None)
                queue.remove(task_id)
            busy = set(rng.sample(range(25), 3))
            free = (p for t, p in tasks.items() if t not in answered[person_id] and t not in busy)
            assert queue.first(person_id, answered[person_id], busy) == min(free, default=None)


def test_a_reader_that_missed_many_arrivals_looks_from_the_start_again(monkeypatch):
    monkeypatch.setattr(task_queue, "SHORTEST_NEWS", 3)
    queue = queue_of(*((n, 0, 0) for n in range(10, 20)))
    assert first(queue, set(range(10, 15))) == 15
    for n in range(1, 30):
        queue.put(n % 3, 0, 0)
        queue.remove(n % 3)
    queue.put(2, 0, 0)
    assert first(queue, set(range(10, 15))) == 2


def test_who_has_answered_everything_is_told_again_without_a_search():
    queue, answered = queue_of(*((n, 0, 0) for n in range(20_000))), set(range(20_000))
    assert queue.first(1, answered) is None
    assert calls_of(lambda: queue.first(1, answered)) < 20
