"""The Quality part of a campaign: what the figures say, pausing annotators, excluding answers and bringing them back.

Handlers are plain functions; what they show is in quality_cards.py. Every decision asks for a reason, which is kept.
"""

import gradio as gr

from pipeline.services import Services
from storage import exclusions, members, rankings
from storage.people import person
from storage.records import STATUSES, InvalidRecord
from ui.auth import Auth
from ui.components import ONCE, Panel
from ui.quality_cards import answers_view, quality_view
from ui.said import error, okay

ALL = "all"
SHOWN = (ALL, *(status for status in STATUSES if status != "superseded"))
LONGEST_REASON = 500


# ---- handlers


def open_quality(services: Services, auth: Auth, campaign_id: int | None, status: str, request: gr.Request):
    """The figures, and the first page of answers."""
    auth.require(request, "lead")
    return quality_view(services, campaign_id or 0), answers_view(services, campaign_id or 0, _status(status), 0), 0


def show_answers(services: Services, auth: Auth, campaign_id: int | None, status: str, request: gr.Request):
    """The first page of the answers with another status."""
    auth.require(request, "lead")
    return answers_view(services, campaign_id or 0, _status(status), 0), 0


def act_on_person(services: Services, auth: Auth, campaign_id: int | None, event: gr.EventData, request: gr.Request):
    """Pause an annotator in this campaign, or let them go on. Returns said and the figures."""
    who = auth.require(request, "lead")
    data = event._data if isinstance(event._data, dict) else {}
    states = {"pause": "paused", "resume": "active"}
    number, state = str(data.get("person", "")), states.get(str(data.get("act")))
    found = person(services.database, int(number)) if number.isdecimal() and len(number) < 10 else None
    reason = str(data.get("said") or "").strip()[:LONGEST_REASON]
    if found is None or state is None:
        return error("There is no such annotator."), gr.skip()
    if not reason:
        return error("reason: found nothing, expected why. Nothing was changed."), gr.skip()
    try:
        members.set_annotator_state(services.database, campaign_id or 0, found.id, state, reason, who.id)
    except InvalidRecord as wrong:
        return error(wrong), gr.skip()
    return okay(f"{found.name} is {state} here."), quality_view(services, campaign_id or 0)


def act_on_answer(
    services: Services,
    auth: Auth,
    campaign_id: int | None,
    status: str,
    offset: int,
    event: gr.EventData,
    request: gr.Request,
):
    """Another page, or an answer excluded or brought back. Returns said, the answers, their offset, the figures."""
    who = auth.require(request, "lead")
    data = event._data if isinstance(event._data, dict) else {}
    if data.get("act") == "page":
        typed = str(data.get("offset"))
        offset = int(typed) if typed.isdecimal() and len(typed) < 10 else 0
        return "", answers_view(services, campaign_id or 0, _status(status), offset), offset, gr.skip()
    found = rankings.answer(services.database, str(data.get("answer", ""))[:80])
    if found is None or found.campaign_id != campaign_id:
        return error("There is no such answer in this campaign."), gr.skip(), gr.skip(), gr.skip()
    try:
        said = _decide(services, str(data.get("act")), found.submission_id, str(data.get("said") or ""), who.id)
    except InvalidRecord as wrong:
        return error(wrong), gr.skip(), gr.skip(), gr.skip()
    shown = answers_view(services, campaign_id, _status(status), int(offset or 0))
    return okay(said), shown, offset, quality_view(services, campaign_id)


def _decide(services: Services, act: str, submission_id: str, reason: str, by: int) -> str:
    reason = reason[:LONGEST_REASON]
    if act == "bring_back":
        back = exclusions.bring_back(services.database, services.pool, submission_id, reason, by)
        return f"The answer is back, as {back.status}."
    exclusions.exclude(services.database, submission_id, reason, by)
    return "The answer is excluded; its place on the task is free again."


def _status(status: str) -> str | None:
    return status if status in SHOWN and status != ALL else None


# ---- layout


def build(on, chosen: gr.State) -> tuple[list, list]:
    """The inputs and outputs of `open_quality`."""
    offset, said = gr.State(0), Panel(elem_id="quality-said")
    shown = Panel(elem_id="quality")
    status = gr.Dropdown(list(SHOWN), value=ALL, label="Answers", info="by their status", elem_id="answer-status")
    answers = Panel(elem_id="answers")
    status.input(on(show_answers), [chosen, status], [answers, offset], **ONCE)
    shown.act(on(act_on_person), chosen, [said, shown], **ONCE)
    answers.act(on(act_on_answer), [chosen, status, offset], [said, answers, offset, shown], **ONCE)
    return [chosen, status], [shown, answers, offset]
