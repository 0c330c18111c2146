"""Which device set a queued run may have now: of its backend, the one it asks for or any, and nobody on it."""

from pipeline.backend import Backend
from pipeline.device_sets import gpus_of
from pipeline.resources import Resources
from pipeline.services import Services
from storage import runs


def free_slot(services: Services, wanted: Resources, backend: Backend) -> str | None:
    """A free slot for the run, or None while all that suit it are taken."""
    free = [slot for slot in free_slots(services, backend) if wanted.hardware in ("", slot)]
    return next((slot for slot in free if backend.remote or holds(slot, wanted.processes)), None)


def holds(slot: str, processes: int) -> bool:
    """Whether a named device set has a GPU for each process, or none at all: then they share the processors."""
    there = gpus_of(slot)
    return not there or there >= processes


def free_slots(services: Services, backend: Backend) -> list[str]:
    """The backend's slots that no run is on; slots of one name are told apart by their number."""
    free = list(backend.slots())
    for other in runs.unfinished_runs(services.database):
        if other.state != "queued" and services.backend_name(other) == backend.name and other.slot in free:
            free.remove(other.slot)
    return free
