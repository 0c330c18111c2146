"""The Tasks part of a campaign: search, priority, who a task is for, and tasks with a known answer.

Handlers are plain functions. Letters here follow the stored order of a task's completions; annotators see another.
"""

import math

import gradio as gr

from pipeline.services import Services
from storage import checks, members, tasks
from storage.known_answers import SOURCES, known_ranks, order_words
from storage.people import people
from storage.records import CHECK_PURPOSES, InvalidRecord
from storage.task_lists import MOST, STATES, task_page
from ui.auth import Auth
from ui.components import FAST, ONCE, Panel
from ui.said import error, okay
from ui.task_cards import PAGE, task_card, task_table

SOURCE_WORDS = {
    "my own answer": "own",
    "what everybody said, if all agree": "unanimous",
    "the order typed here": "typed",
}
MOST_ASSIGNED = 20_000


# ---- handlers


def open_list(services: Services, auth: Auth, campaign_id: int | None, words: str, state: str, request: gr.Request):
    """The first page of the search, no task, and the people tasks can be kept for."""
    auth.require(request, "lead")
    able = [(one.name, one.id) for one in people(services.database) if one.kind != "imported" and one.active]
    kept_for = gr.Dropdown(choices=able, value=[], multiselect=True)
    return *_found(services, campaign_id, words, state, 0), None, "", kept_for


def search(services: Services, auth: Auth, campaign_id: int | None, words: str, state: str, request: gr.Request):
    """The first page of another search."""
    auth.require(request, "lead")
    return _found(services, campaign_id, words, state, 0)


def act_on_list(
    services: Services,
    auth: Auth,
    campaign_id: int | None,
    words: str,
    state: str,
    offset: int,
    task_id: int | None,
    event: gr.EventData,
    request: gr.Request,
):
    """A click in the list: another page, a task, or its priority. Returns list, offset, task id, task card, said."""
    auth.require(request, "lead")
    data = event._data if isinstance(event._data, dict) else {}
    said, act, place = "", data.get("act"), _number(data.get("offset"))
    chosen = _task_of(services, campaign_id, data.get("task"))
    if act == "page":
        offset = min(max(0, place or 0), 10**9)
    elif act == "priority" and chosen:
        said = _prioritise(services, chosen, str(data.get("said") or ""))
    elif act == "retire" and chosen:
        said = _try(lambda: checks.retire_check(services.database, chosen), "The check is retired.")
    task_id = chosen if act in ("task", "retire") else task_id
    found, offset = _found(services, campaign_id, words, state, int(offset or 0))
    return found, offset, task_id, task_card(services, task_id, campaign_id), said


def assign_task(
    services: Services,
    auth: Auth,
    campaign_id: int | None,
    task_id: int | None,
    chosen: list,
    words: str,
    state: str,
    request: gr.Request,
):
    """Keep the shown task for these people, or open it to all where nobody is chosen."""
    auth.require(request, "lead")
    known = _task_of(services, campaign_id, task_id)
    if known is None:
        return error("Open a task in the list first."), gr.skip(), gr.skip()
    return _assigned(services, campaign_id, [known], chosen), *_found(services, campaign_id, words, state, 0)


def assign_found(
    services: Services, auth: Auth, campaign_id: int | None, chosen: list, words: str, state: str, request: gr.Request
):
    """Keep every task of the search for these people, or open them to all."""
    auth.require(request, "lead")
    try:
        found = found_ids(services, campaign_id or 0, words, state)
    except InvalidRecord as wrong:
        return error(wrong), gr.skip(), gr.skip()
    return _assigned(services, campaign_id, found, chosen), *_found(services, campaign_id, words, state, 0)


def found_ids(services: Services, campaign_id: int, words: str, state: str) -> list[int]:
    """The ids of all tasks of a search, at most MOST_ASSIGNED."""
    found: list[int] = []
    while len(found) < MOST_ASSIGNED:
        page = task_page(services.database, campaign_id, str(words or ""), state, len(found), MOST)
        found += [row.id for row in page.rows]
        if not page.rows or len(found) >= page.total:
            break
    return found


def make_check(
    services: Services,
    auth: Auth,
    campaign_id: int | None,
    task_id: int | None,
    purpose: str,
    source: str,
    order: str,
    explanation: str,
    request: gr.Request,
):
    """Make a gold, training or test task of the shown one's completions. Returns said and the task's card."""
    who = auth.require(request, "lead")
    task = tasks.task(services.database, _task_of(services, campaign_id, task_id) or 0)
    if task is None:
        return error("Open a task in the list first."), gr.skip()
    try:
        source = SOURCE_WORDS.get(source, source)
        ranks = known_ranks(services.database, task.id, len(task.completion_ids), source, who.id, order)
        arguments = (task.campaign_id, task.prompt_id, task.completion_ids, ranks, purpose, explanation.strip())
        made = checks.add_check(services.database, *arguments)
    except InvalidRecord as wrong:
        return error(wrong), gr.skip()
    told = f"Task {made.id} is a {purpose} task now, with the known answer {order_words(ranks)}."
    return okay(told), task_card(services, task.id, campaign_id)


def _assigned(services: Services, campaign_id: int | None, found: list[int], chosen: list) -> str:
    if not found:
        return error("No task is like that, so nothing was assigned.")
    wanted = [number for number in map(_number, chosen or []) if number is not None]
    names = [one.name for one in people(services.database) if one.id in wanted]
    kept = f"kept for {', '.join(names)}" if names else "open to all"
    count = "The task is" if len(found) == 1 else f"{len(found)} tasks are"
    return _try(lambda: members.assign(services.database, found, wanted), f"{count} {kept}.")


def _prioritise(services: Services, task_id: int, typed: str) -> str:
    try:
        priority = float(typed.replace(",", "."))
    except ValueError:
        priority = math.nan
    if not abs(priority) <= 1e6:
        return error(f"priority: found {typed[:40]!r}, expected a number such as 10")
    return _try(lambda: tasks.set_task_priority(services.database, task_id, priority), "The priority is set.")


def _try(change, words: str) -> str:
    try:
        change()
    except InvalidRecord as wrong:
        return error(wrong)
    return okay(words)


def _found(services: Services, campaign_id: int | None, words: str, state: str, offset: int) -> tuple[str, int]:
    state = state if state in STATES else "all"
    page = task_page(services.database, campaign_id or 0, str(words or "")[:400], state, offset, PAGE)
    if not page.rows and page.total:
        page = task_page(services.database, campaign_id or 0, str(words or "")[:400], state, 0, PAGE)
    return task_table(services, page), page.offset


def _task_of(services: Services, campaign_id: int | None, task_id: object) -> int | None:
    """The id, if it is a task of this campaign."""
    found = tasks.task(services.database, _number(task_id) or 0)
    return found.id if found and found.campaign_id == campaign_id else None


def _number(value: object) -> int | None:
    text = str(value)
    return int(text) if text.isdecimal() and len(text) < 16 else None


# ---- layout


def build(on, chosen: gr.State) -> tuple[list, list]:
    """The inputs and outputs of `open_list`."""
    offset, task = gr.State(0), gr.State(None)
    with gr.Row():
        words = gr.Textbox(label="Search", info="words of the prompt, or its id", scale=3, elem_id="task-search")
        state = gr.Dropdown(list(STATES), value="all", label="State", scale=1, elem_id="task-state")
    found, said = Panel(elem_id="task-list"), Panel(elem_id="task-said")
    card = Panel(elem_id="task-card")
    with gr.Accordion("Assign", open=False, elem_id="task-assign"):
        kept_for = gr.Dropdown(
            [], label="For", info="nobody chosen: open to all", multiselect=True, elem_id="assign-to"
        )
        with gr.Row():
            one = gr.Button("Assign this task", size="md", scale=0, min_width=180, elem_id="assign-one")
            every = gr.Button("Assign all that were found", size="md", scale=0, min_width=220, elem_id="assign-all")
    with gr.Accordion("Make it a gold, training or test task", open=False, elem_id="task-check"):
        purpose, source, order, explanation, make = _check_form()
    outputs = [found, offset, task, card, kept_for]
    inputs = [chosen, words, state]
    gr.on([words.submit, state.input], on(search), inputs, [found, offset], **FAST)
    for panel in (found, card):
        panel.act(on(act_on_list), [*inputs, offset, task], [found, offset, task, card, said], **ONCE)
    one.click(on(assign_task), [chosen, task, kept_for, words, state], [said, found, offset], **ONCE)
    every.click(on(assign_found), [chosen, kept_for, words, state], [said, found, offset], **ONCE)
    make.click(on(make_check), [chosen, task, purpose, source, order, explanation], [said, card], **ONCE)
    return inputs, outputs


def _check_form() -> tuple:
    with gr.Row():
        purpose = gr.Dropdown(list(CHECK_PURPOSES), value="gold", label="As", elem_id="check-purpose")
        words = list(SOURCE_WORDS)
        source = gr.Dropdown(words, value=words[SOURCES.index("typed")], label="Known answer", elem_id="check-source")
        order = gr.Textbox(label="Order", info="such as B > A = C, or: all bad", elem_id="check-order", max_length=60)
    explanation = gr.Textbox(
        label="Explanation", info="Markdown; shown after a training task", lines=2, max_length=10_000
    )
    with gr.Row():
        make = gr.Button("Make it a check", size="md", scale=0, min_width=180, elem_id="check-button")
    return purpose, source, order, explanation, make
