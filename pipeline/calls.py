"""Calls to backends over a network, beside the monitor's own thread: at most one per run, and a few in all.

A call is started in one poll and its outcome taken in a later one; what hangs holds up only its own run. Threads
are daemons: an app that ends waits for no network.
"""

import threading
from collections.abc import Callable
from typing import TypeVar

Value = TypeVar("Value")
MOST = 8  # calls at a time


class _Call:
    def __init__(self, what: str, work: Callable[[], object]):
        self.what, self.work = what, work
        self.value: object = None
        self.error: Exception | None = None
        self.ended = threading.Event()

    def run(self) -> None:
        try:
            self.value = self.work()
        except Exception as error:
            self.error = error  # raised where the outcome is taken
        finally:
            self.ended.set()


class Calls:
    """The calls that are going, by run. Used by one thread."""

    def __init__(self, most: int = MOST):
        self.most = most
        self._calls: dict[str, _Call] = {}

    def take(self, run_id: str, what: str, work: Callable[[], Value]) -> Value | None:
        """What the run's call `what` gave, once; None while it goes, after starting it where none does.

        Raises what the call raised. The outcome of a call of another name is dropped. work never returns None.
        """
        call = self._calls.get(run_id)
        if call is not None and not call.ended.is_set():
            return None
        self._calls.pop(run_id, None)
        if call is None or call.what != what:
            self._start(run_id, what, work)
            return None
        if call.error is not None:
            raise call.error
        return call.value

    def going(self, run_id: str, what: str) -> bool:
        """Whether that call of the run was started and its outcome not taken."""
        call = self._calls.get(run_id)
        return call is not None and call.what == what

    def _start(self, run_id: str, what: str, work: Callable[[], object]) -> None:
        busy = sum(not call.ended.is_set() for call in self._calls.values())
        if busy >= self.most:
            return  # the next poll asks again
        call = self._calls[run_id] = _Call(what, work)
        threading.Thread(target=call.run, name=f"{what} {run_id}", daemon=True).start()
