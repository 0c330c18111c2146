"""Calls beside the monitor's thread: one per run, a few in all, each outcome once."""

import threading
import time

import pytest

from pipeline.calls import Calls


def taken(calls, run_id, what, work, seconds=10):
    deadline = time.monotonic() + seconds
    while (value := calls.take(run_id, what, work)) is None:
        assert time.monotonic() < deadline, "it did not end in time"
        time.sleep(0.005)
    return value


def test_an_outcome_is_taken_once_and_the_next_call_is_another():
    calls, count = Calls(), iter(range(1, 9))
    assert [taken(calls, "a", "look", lambda: next(count)) for _ in range(3)] == [1, 2, 3]


def test_what_a_call_raised_is_raised_where_its_outcome_is_taken():
    calls = Calls()

    def fails():
        raise OSError("no route")

    with pytest.raises(OSError, match="no route"):
        taken(calls, "a", "look", fails)
    assert taken(calls, "a", "look", lambda: 1) == 1


def test_a_run_has_one_call_at_a_time_and_the_outcome_of_another_is_dropped():
    calls, held, begun = Calls(), threading.Event(), []
    assert calls.take("a", "begin", lambda: held.wait(10)) is None
    assert calls.take("a", "look", lambda: begun.append(1) or "seen") is None and begun == []
    held.set()
    assert taken(calls, "a", "look", lambda: "seen") == "seen"


def test_a_few_calls_go_at_a_time():
    calls, held, begun = Calls(most=2), threading.Event(), []
    for run_id in "abc":
        calls.take(run_id, "look", lambda: begun.append(1) or held.wait(10))
    assert not calls.going("c", "look") and calls.going("b", "look")
    held.set()
    assert taken(calls, "c", "look", lambda: "seen") == "seen"
