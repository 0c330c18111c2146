"""How a job ended that left no result, in words; and how often the queue has started its run again.

Reads what the job, its backend and the app that started it have left. Decides nothing: that is the monitor.
"""

import signal
from collections.abc import Sequence
from datetime import datetime

from pipeline.backend import Ending
from pipeline.memory import advice
from pipeline.run_directory import RunDirectory, read_json
from storage.records import ENDED_STATES, Run

AGAIN = "the queue starts it again from its last checkpoint"
TOO_DEAR = "its backend lost it, and another start could cost more than was agreed to; resume it to agree anew"
LOG_LINES = 12


def why_it_died(run: Run, directory: RunDirectory, ending: Ending) -> str:
    """The backend's sentence, or what its exit code says, with the end of the log."""
    tail = directory.log_tail(LOG_LINES)
    said = f"its log ends with:\n{tail}" if tail else "its log is empty"
    return f"{ending.said or _by_exit_code(run, directory)}; {said}"


def retries(history: Sequence[tuple[str, str, datetime]]) -> int:
    """How often the queue has started the run again since a person did, from its states with reasons."""
    count = 0
    for state, reason, _ in history:
        if state in ENDED_STATES:
            count = 0
        elif state == "queued" and AGAIN in reason:
            count += 1
    return count


def _by_exit_code(run: Run, directory: RunDirectory) -> str:
    code = (read_json(directory.path / "exit.json") or {}).get("code")
    if code == -signal.SIGKILL:
        return (
            f"the process was killed, as a system does when memory runs out. {advice(run.kind, run.options)} Resume it"
        )
    ending = "" if code is None else f" (exit code {code})" if code >= 0 else f" (signal {-code})"
    return f"the process ended without a result{ending or ' (killed, or out of memory?)'}"
