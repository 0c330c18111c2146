"""Progress of a verb for people, on stderr: what is done, how long it took, how long it may take.

One line that is rewritten on a terminal; elsewhere a line when the message changes, and every ten seconds.
"""

import time
from typing import TextIO

from pipeline.run_directory import RunDirectory
from pipeline.services import Services
from storage import runs
from storage.records import ENDED_STATES, Run

QUIET_SECONDS = 10.0
REDRAW_SECONDS = 0.2


class Progress:
    """Writes where a verb stands. Give it a stream; it keeps only what it wrote last."""

    def __init__(self, stream: TextIO):
        self.stream, self.began = stream, time.monotonic()
        self._terminal = stream.isatty()
        self._about, self._said, self._width, self._complete = "", 0.0, 0, False

    def say(self, message: str, done: float = 0.0, total: float = 0.0, since: float | None = None) -> None:
        """Show a message with `done` of `total` and the time since `since` (monotonic; default: the verb's start)."""
        now = time.monotonic()
        complete = 0 < total <= done and not self._complete
        quiet = REDRAW_SECONDS if self._terminal else QUIET_SECONDS
        about = message.partition(":")[0]  # figures behind a colon change all the time
        if about == self._about and not complete and now - self._said < quiet:
            return
        self._complete = 0 < total <= done
        self._about, self._said = about, now
        self._write(line(message, done, total, now - (since if since is not None else self.began)))

    def end(self) -> None:
        """Leave the line that was rewritten."""
        if self._terminal and self._width:
            self.stream.write("\n")
            self._width = 0

    def _write(self, text: str) -> None:
        if self._terminal:
            self.stream.write("\r" + text.ljust(self._width))
            self._width = len(text)
        else:
            self.stream.write(text + "\n")
        self.stream.flush()


def line(message: str, done: float, total: float, elapsed: float) -> str:
    """`message  120/700 (17 %)  0:32 elapsed, about 2:35 left`."""
    parts = [message]
    if total > 0:
        parts.append(f"{done:,.0f}/{total:,.0f} ({100 * done / total:.0f} %)")
    times = f"{clock(elapsed)} elapsed"
    if 0 < done < total and elapsed > 1:
        times += f", about {clock(elapsed * (total - done) / done)} left"
    return "  ".join([*parts, times])


def clock(seconds: float) -> str:
    """Seconds as h:mm:ss or m:ss."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


class RunProgress:
    """Shows a run that is being followed: its state, step and message, or what it waits for."""

    def __init__(self, services: Services, progress: Progress):
        self.services, self.progress = services, progress
        self._running_since: float | None = None

    def __call__(self, run: Run, status: dict) -> None:
        if run.state == "queued":
            self.progress.say(f"{run.id} waits for {_ahead(self.services, run)}")
            return
        if run.state in ENDED_STATES:
            self.progress.say(f"{run.id} {run.state}")
            return
        if run.state == "running" and self._running_since is None:
            self._running_since = time.monotonic()
        message = f"{run.id} {run.state}" + (f": {status['message']}" if status.get("message") else "")
        self.progress.say(message, status.get("step", 0), status.get("total", 0), self._running_since)


def _ahead(services: Services, run: Run) -> str:
    ahead = [other for other in runs.unfinished_runs(services.database) if other.id < run.id]
    if not ahead:
        return "its turn"
    status = RunDirectory(services.directory(ahead[0])).status() or {}
    where = f" (step {status['step']} of {status['total']})" if status.get("total") else ""
    return f"{ahead[0].id}{where}"
