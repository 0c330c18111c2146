"""The places where runs can go as plain values, for the Backends page and the HTTP API alike.

Asks no backend anything slow: what was found by the last check comes from backend_checks.py. Prices are dollars.
"""

from statistics import median

from pipeline.backend import Backend, Hardware, costs
from pipeline.backend_checks import Check, Checks
from pipeline.resources import Resources, resources_of
from pipeline.run_directory import RunDirectory
from pipeline.services import Services
from storage.records import Run
from storage.runs import runs, unfinished_runs

ABOUT = {
    "local": "Processes on the machine that serves this page.",
    "hf-jobs": "Hugging Face Jobs: GPUs by the minute, paid by an account on the Hub.",
    "ray": "A Ray cluster, through the jobs API of its head.",
}
SETTINGS = {  # what has to be set before the server starts, and what it means
    "local": (("RANKLOOP_DEVICES", "device sets of this machine, such as 0,1;2,3"),),
    "hf-jobs": (
        ("RANKLOOP_HF_BUCKET", "a private bucket that carries the files"),
        ("RANKLOOP_HF_NAMESPACE", "the account that pays"),
        ("RANKLOOP_HF_TOKEN", "its token, unless HF_TOKEN is set"),
        ("RANKLOOP_HF_SLOTS", "a flavor for each run at a time, such as a10g-small;a10g-small"),
    ),
    "ray": (
        ("RANKLOOP_RAY", "the address of its jobs API, such as http://head:8265"),
        ("RANKLOOP_RAY_STORAGE", "a folder or URI that head and workers share"),
        ("RANKLOOP_RAY_SLOTS", "a name for each run at a time"),
        ("RANKLOOP_RAY_TOKEN", "the cluster's token, where it asks for one, unless RAY_AUTH_TOKEN is set"),
        ("RANKLOOP_RAY_INSTALL", "yes: Ray installs what a run needs before its job"),
    ),
}
PAST_RUNS = 20  # succeeded runs of a kind that say how long one takes


def overview(services: Services, checks: Checks) -> list[dict]:
    """Every backend, configured ones first, the usual one at the top."""
    usual = services.backends.usual
    there = sorted(services.backends.there.values(), key=lambda one: one.name != usual)
    going = [(one, backend_name(services, one)) for one in unfinished_runs(services.database)]
    told = [backend_values(services, checks, one, [run for run, name in going if name == one.name]) for one in there]
    missing = [name for name in ABOUT if name not in services.backends.there]
    return told + [_values(name, configured=False) for name in missing]


def backend_values(services: Services, checks: Checks, backend: Backend, going: list[Run]) -> dict:
    """One configured backend: its slots with who is on them, who waits, and its last check. going: its runs."""
    last = checks.last(backend.name)
    return _values(backend.name, configured=True) | {
        "usual": backend.name == services.backends.usual,
        "remote": backend.remote,
        "usual_timeout_minutes": backend.usual_timeout,
        "slots": _slots(backend, [one for one in going if one.state != "queued"]),
        "waiting": [one.id for one in going if one.state == "queued"],
        "check": check_values(backend, last) if last else None,
    }


def _values(name: str, configured: bool) -> dict:
    settings = [{"name": variable, "meaning": meaning} for variable, meaning in SETTINGS.get(name, ())]
    return {"name": name, "about": ABOUT.get(name, ""), "configured": configured, "settings": settings}


def _slots(backend: Backend, on_them: list[Run]) -> list[dict]:
    """Each slot with the run on it; slots may share a name, and each run takes one."""
    waiting, told = list(on_them), []
    for slot in backend.slots():
        found = next((one for one in waiting if one.slot == slot), None)
        if found:
            waiting.remove(found)
        told.append({"slot": slot, "run": found.id if found else None, "state": found.state if found else None})
    return told


def check_values(backend: Backend, check: Check) -> dict:
    """What a check found; `most` is what a run of the usual length can cost on each hardware."""
    return {
        "reachable": check.reachable,
        "said": check.said,
        "seconds": check.seconds,
        "at": check.at.isoformat(timespec="seconds"),
        "hardware": [_hardware(backend, one) for one in check.hardware],
    }


def _hardware(backend: Backend, one: Hardware) -> dict:
    most = costs(backend, Resources(hardware=one.name), (one,)) if backend.usual_timeout else None
    return {
        "name": one.name,
        "about": one.about,
        "accelerators": one.accelerators,
        "memory": one.memory,
        "price": one.price,
        "most": most,
    }


def backend_name(services: Services, run: Run) -> str:
    """Where a run goes, or went; it may not be configured any more."""
    files = RunDirectory(services.directory(run))
    config = files.config() if (files.path / "config.json").is_file() else {}
    return resources_of(config).backend or services.backends.usual


def usual_seconds(services: Services, kind: str) -> float | None:
    """How long the last succeeded runs of a kind took, as their median; None without one."""
    found = []
    for one in runs(services.database, kind, limit=PAST_RUNS):
        result = RunDirectory(services.directory(one)).result() if one.state == "succeeded" else None
        if result and result.get("seconds"):
            found.append(float(result["seconds"]))
    return median(found) if found else None
