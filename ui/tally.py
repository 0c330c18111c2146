"""What an annotator has done, counted along in memory: answers today and in all, guidelines known, warnings told.

Read from storage once for each person. The page says these figures after every answer; what needs more is
storage/own_answers.py's.
"""

import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime

from pipeline.services import Services
from storage import own_answers
from storage.records import JUDGEMENTS, Answer

WARN_AGAIN = 20  # answers between two warnings of the same kind
FAILING = (
    "Your answers often differ from answers that are known to be right. They are saved. "
    "Please read the guidelines once more and take your time."
)


@dataclass
class Done:
    """What one person has done: the day of the answer to each task (or its repeat), and per campaign the newest
    guidelines they worked under and how many answers ago they were warned."""

    days: dict[tuple[int, bool], date] = field(default_factory=dict)
    by_day: Counter = field(default_factory=Counter)
    guidelines: dict[int, int] = field(default_factory=dict)
    since_warning: dict[int, int] = field(default_factory=dict)

    def put(self, key: tuple[int, bool], day: date | None) -> None:
        """Note the day of an answer; None takes it back."""
        before = self.days.pop(key, None)
        if before is not None:
            self.by_day[before] -= 1
        if day is not None:
            self.days[key] = day
            self.by_day[day] += 1


class Tally:
    """Everybody's figures. Thread-safe."""

    def __init__(self, services: Services, today: Callable[[], date] = lambda: datetime.now(UTC).date()):
        self.services, self.today = services, today
        self._done: dict[int, Done] = {}
        self._lock = threading.Lock()

    def of(self, person_id: int) -> dict:
        """{"today", "total"} of a person."""
        done = self._of(person_id)
        with self._lock:
            return {"today": done.by_day[self.today()], "total": len(done.days)}

    def add(self, answer: Answer) -> None:
        """Count an answer just stored; the same one again changes nothing, a revision takes its place."""
        done = self._of(answer.person_id)
        with self._lock:
            day = None if answer.kind == "skip" else answer.created.astimezone(UTC).date()
            done.put((answer.task_id, answer.purpose == "repeat"), day)
            version = max(answer.guidelines_version, done.guidelines.get(answer.campaign_id, 0))
            done.guidelines[answer.campaign_id] = version

    def guidelines_changed(self, person_id: int, campaign_id: int, version: int) -> bool:
        """Whether the person has answered in the campaign, but not under these guidelines."""
        known = self._of(person_id).guidelines.get(campaign_id)
        return known is not None and known < version

    def warning(self, answer: Answer) -> str | None:
        """What the annotator is told about the quality of an answer just stored, where the lead wants it so.

        Told after ordinary work only, and again after WARN_AGAIN answers, so that it points at no check.
        """
        setup = self.services.pool.setup(answer.campaign_id)
        if answer.kind in JUDGEMENTS and answer.revision == 1 and answer.seconds < setup.min_seconds:
            took = f"That took {answer.seconds:.1f} s; this campaign expects at least {setup.min_seconds:g} s"
            if setup.on_fast == "exclude":
                return f"{took}: the answer is kept, and does not count."
            if setup.on_fast == "warn":
                return f"{took} for a careful answer. It is saved; revise it where you were too quick."
        return self._failing(answer) if setup.on_fail == "warn" and answer.purpose == "work" else None

    def _failing(self, answer: Answer) -> str | None:
        if not self.services.pool.failing(answer.campaign_id, answer.person_id):
            return None
        since = self._of(answer.person_id).since_warning
        told = since.get(answer.campaign_id, WARN_AGAIN) >= WARN_AGAIN
        since[answer.campaign_id] = 1 if told else since[answer.campaign_id] + 1
        return FAILING if told else None

    def _of(self, person_id: int) -> Done:
        with self._lock:
            if person_id in self._done:
                return self._done[person_id]
        database, read = self.services.database, Done()
        for task_id, repeat, created in own_answers.answered_tasks(database, person_id):
            read.put((task_id, repeat), created.astimezone(UTC).date())
        read.guidelines = own_answers.guidelines_known(database, person_id)
        with self._lock:
            return self._done.setdefault(person_id, read)
