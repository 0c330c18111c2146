"""A backend over the network that starts nothing, has prices, and can hang or fail when it is asked. No tests."""

import threading

from pipeline.backend import Backends, BackendUnreachable, Ending, Hardware, Reach, Use
from pipeline.services import Services

GIB = 1024**3
OFFERED = (
    Hardware("cpu-basic", "2 processor cores", 0.01, 16 * GIB),
    Hardware("a10g-small", "one A10G <b>", 1.5, 24 * GIB, 1),
)


class PricedBackend:
    """Offers OFFERED at these prices; `fault` is raised by `reach`, which waits for `go_on` first."""

    name, remote, usual_timeout, margin = "paid", True, 110, 10

    def __init__(self):
        self.asked, self.fault, self.go_on = 0, None, threading.Event()
        self.go_on.set()

    def slots(self):
        return ("a10g-small", "a10g-small")

    def reach(self):
        self.asked += 1
        self.go_on.wait(30)
        if self.fault:
            raise BackendUnreachable(self.fault)
        return Reach(True, "It answers.", OFFERED)

    def submit(self, job):
        return "paid:1"

    def find(self, run_directory):
        return None

    def alive(self, handle):
        return True

    def sync(self, run_directory, handle):
        pass

    def usage(self, handle):
        return Use("one A10G, 90 % busy", 0.9)

    def clear(self, run_directory, handle):
        pass

    def ending(self, handle):
        return Ending()

    def cancel(self, handle, force=False):
        pass


def add_priced(services: Services) -> PricedBackend:
    """Configure one beside the usual backend."""
    made, usual = PricedBackend(), services.backends.usual
    services.backends = Backends({usual: services.backends.there[usual], made.name: made}, usual)
    return made
