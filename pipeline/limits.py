"""When a job that runs is asked to end: its time limit, and the time it may pass without getting any further.

A job that is merely silent is shown as such and never ended for it: its heartbeat says that the process lives, and
long work (loading a model, evaluating) has no steps. Only `stuck_minutes`, which a lead sets, ends one that stands.
"""

from collections.abc import Mapping

from pipeline.resources import Resources
from pipeline.watch import Watch

SILENT_SECONDS = 120.0  # without a heartbeat before a job is shown as silent; it beats every few seconds
MINUTE = 60.0  # seconds
PROGRESS = ("phase", "step", "total", "message")


def limit_reached(resources: Resources, usual_timeout: int, status: Mapping, watch: Watch, run_id: str) -> str:
    """The limit that a running job has reached, as a sentence for its run; "" while there is none.

    The job's own seconds count, which survive a restart of the app and a clock that jumps, and at least those that
    this process saw; they begin anew when the run is resumed.
    """
    minutes = resources.timeout_minutes or usual_timeout
    going = max(float(status.get("seconds") or 0.0), watch.seconds(run_id, "going"))
    if minutes and going >= MINUTE * minutes:
        return f"It reached its time limit of {minutes} minutes; resume it with a longer one, from its last checkpoint."
    still = watch.unchanged(run_id, "progress", tuple(status.get(name) for name in PROGRESS))
    stuck = resources.stuck_minutes
    if stuck and still >= MINUTE * stuck:
        return f"It got no further for {stuck} minutes (stuck_minutes); resume it from its last checkpoint."
    return ""
