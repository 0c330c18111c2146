"""From what an annotator sends to a stored answer, and what they are told beside the next task.

For the page's routes and the HTTP API. Exactly once: the same key again is the stored answer; another content under
it, as when a reply was lost and the annotator went on, revises that answer.
"""

import hashlib
from dataclasses import replace

from pipeline.services import Services
from storage import rankings
from storage.own_answers import newest_answer, told_status
from storage.rankings import AlreadyAnswered, CampaignClosed, SubmissionConflict, UnknownAssignment
from storage.records import Answer, Person
from ui.tally import Tally
from ui.task_answer import LONGEST, Sent, assignment_of, submission_of
from ui.task_view import Sheets, feedback, task_view


class Desk:
    """What the annotators' routes keep between requests: nothing that storage could not tell again."""

    def __init__(self, services: Services):
        self.services, self.tally, self.sheets = services, Tally(services), Sheets(services)


def after(desk: Desk, stored: Answer) -> dict:
    """What follows on an answer beside the next task: {"warning"?, "feedback"?}."""
    told, learned = {}, feedback(desk.services, stored)
    if warning := desk.tally.warning(stored):
        told["warning"] = warning
    if learned is not None:
        assignment = assignment_of(desk.services.database, desk.services.pool, stored.person_id, stored.assignment_id)
        told["feedback"] = {**learned, "task": task_view(desk.services, desk.sheets, assignment)}
    return told


def store(desk: Desk, person: Person, given: Sent) -> Answer:
    """`submit`; where the key had carried another answer to this task before (its reply was lost), revise that one."""
    try:
        return submit(desk, person, given)
    except SubmissionConflict:
        change = _as_change(desk, person, given)
        if change is None:
            raise
    return submit(desk, person, change)


def submit(desk: Desk, person: Person, given: Sent) -> Answer:
    """Store an answer or a revision; a revision counts the time of what it revises too.

    Raises Refused, InvalidRecord, UnknownAssignment, AlreadyAnswered, CampaignClosed, SubmissionConflict.
    """
    database, pool = desk.services.database, desk.services.pool
    if given.revises is None:
        assignment = assignment_of(database, pool, person.id, given.assignment)
        return rankings.submit(database, pool, person.id, submission_of(given, assignment.id, assignment.shown))
    previous = rankings.answer(database, given.revises)
    if previous is None or previous.person_id != person.id:
        raise UnknownAssignment(f"revises: found {given.revises!r}, expected an answer of your own")
    submission = submission_of(given, previous.assignment_id or "", previous.shown)
    seconds = min(LONGEST, previous.seconds + submission.seconds)
    return rankings.revise(database, person.id, given.revises, replace(submission, seconds=seconds))


def _as_change(desk: Desk, person: Person, given: Sent) -> Sent | None:
    """The answer as a revision of the newest one to its task, if its key is one of the person's for that task.

    Once stored it stands under a key of its own: the same change again finds it there.
    """
    database = desk.services.database
    known = rankings.answer(database, given.submission_id)
    if known is None or known.person_id != person.id:
        return None
    before = rankings.answer(database, given.revises) if given.revises else None
    if (before.task_id != known.task_id) if before else (known.assignment_id != given.assignment):
        return None
    key = revision_key(given)
    stands = newest_answer(database, person.id, known.task_id, known.purpose == "repeat")
    counted = known.seconds - (before.seconds if before else 0.0)  # of the time now told
    more = max(0.0, given.seconds - counted)
    return given.model_copy(update={"submission_id": key, "revises": stands, "seconds": more})


def revision_key(given: Sent) -> str:
    """A key made of the changed content, so that sending the change twice stores it once."""
    content = given.model_dump_json(include={"submission_id", "kind", "tiers", "detail"})
    return hashlib.sha256(content.encode()).hexdigest()


def told(desk: Desk, answer: Answer) -> tuple[str, str]:
    """(status, reason) of a stored answer as its annotator is told."""
    setup = desk.services.pool.setup(answer.campaign_id)
    return told_status(answer.status, answer.reason, answer.purpose, answer.kind, answer.seconds, setup)


def notice_of(error: Exception) -> str:
    """What the annotator is told when the task was not theirs to answer any more."""
    if isinstance(error, CampaignClosed):
        return "The campaign has been closed: your earlier answer to that task stands."
    if isinstance(error, AlreadyAnswered):
        return "You had already answered that task, perhaps in another window: the earlier answer stands."
    return "That task is no longer yours: it was withdrawn, or belongs to another account. Nothing was stored."
