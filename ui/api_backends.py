"""Backends over HTTP: where runs can go, what is on them, and whether they answer."""

from fastapi import APIRouter, Security

from pipeline.backend_checks import checks_of
from ui.api_base import BEARER, CheckedRoute, Loop, fault, needs
from ui.backend_view import check_values, overview

router = APIRouter(route_class=CheckedRoute, tags=["backends"], dependencies=[Security(BEARER)])
LEAD = needs("lead")


@router.get("/backends", openapi_extra=LEAD)
def list_backends(services: Loop) -> list[dict]:
    """Every backend: slots with the runs on them, who waits, and the last check; what to set for those not there."""
    return overview(services, checks_of(services))


@router.post("/backends/{name}/check", openapi_extra=LEAD)
def check_backend(services: Loop, name: str) -> dict:
    """Ask a backend now: {"reachable", "said", "hardware": [{"name", "price", "most", …}], "seconds", "at"}.

    price is dollars an hour, most what a run of the usual length can cost; null where nothing is to pay.
    """
    backend = services.backends.there.get(name)
    if backend is None:
        raise fault(404, "backend", name, "one of " + ", ".join(services.backends.there))
    return check_values(backend, checks_of(services).check(name))
