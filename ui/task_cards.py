"""A campaign's tasks as markup: the list, and one task with its completions and answers. Escaped, no gradio."""

from pipeline.services import Services
from storage import checks, completions, prompts, tasks
from storage.known_answers import order_words
from storage.people import people
from storage.records import CHECK_PURPOSES
from storage.task_lists import TaskAnswer, TaskPage, TaskRow, task_answers
from ui import markup
from ui.charts import chip, duration, empty, escape, number, wrap

TONES = {"open": "busy", "done": "good", "check": "accent", "retired": ""}
LETTERS = "ABCDEFGHI"
PAGE = 20


def task_table(services: Services, page: TaskPage) -> str:
    """A page of tasks; each opens, and its priority can be set."""
    if not page.total:
        return wrap(empty("No task is like that", "Change the search, or add prompts and completions under Data."))
    names = {one.id: one.name for one in people(services.database)}
    rows = "".join(_row(row, names) for row in page.rows)
    head = "<thead><tr><th>prompt</th><th>state</th><th>answers</th><th>priority</th><th>for</th><th></th></tr></thead>"
    return wrap(
        f'<div class="card"><table class="wide stacked">{head}<tbody>{rows}</tbody></table>{pager(page, PAGE)}</div>'
    )


def _row(row: TaskRow, names: dict[int, str]) -> str:
    kept_for = ", ".join(names.get(one, f"person {one}") for one in row.people) or "all"
    of = "" if row.purpose in CHECK_PURPOSES else f" of {row.overlap}"
    state = row.purpose if row.state == "check" else row.state
    return (
        f'<tr><td data-label="prompt"><button type="button" class="link quiet" data-act="task" data-task="{row.id}" '
        f'data-show="#task-card">'
        f"{escape(markup.snippet(row.text, 120) or 'empty prompt')}</button>"
        f'<div class="muted">task {row.id} · {escape(row.prompt_id)} · {row.completions} completions</div></td>'
        f'<td data-label="state">{chip(state, TONES[row.state])}</td><td data-label="answers">{row.answers}{of}</td>'
        f'<td data-label="priority">{number(row.priority)}</td><td data-label="for">{escape(kept_for)}</td>'
        f'<td><button type="button" data-act="priority" data-task="{row.id}" '
        f'data-ask="Priority of this task: a higher number comes first">Priority</button></td></tr>'
    )


def pager(page: TaskPage, size: int) -> str:
    """Which part of the list is shown, and the way to the others."""
    first, last = page.offset + 1, min(page.offset + size, page.total)
    back = "" if page.offset else " disabled"
    forth = "" if last < page.total else " disabled"
    return (
        f'<div class="row pager"><span class="muted">{number(first)}–{number(last)} of {number(page.total)}</span>'
        f'<button type="button" data-act="page" data-offset="{max(0, page.offset - size)}"{back}>‹ Earlier</button>'
        f'<button type="button" data-act="page" data-offset="{last}"{forth}>Later ›</button></div>'
    )


def task_card(services: Services, task_id: int | None, campaign_id: int | None) -> str:
    """One task of the campaign: conversation, completions under letters with their models, answers, known answer."""
    task = tasks.task(services.database, task_id or 0)
    if task is None or task.campaign_id != campaign_id:
        return wrap('<p class="muted">Open a task in the list to see it, assign it or make it a check.</p>')
    prompt = prompts.prompt(services.database, task.prompt_id)
    turns = "".join(
        f'<div class="sample"><small>{escape(turn.role)}</small>{markup.to_html(turn.content)}</div>'
        for turn in prompt.messages
    )
    told = completions.completions(services.database, task.completion_ids)
    shown = "".join(
        f'<div class="sample"><small><b>{letter}</b> · {escape(one.model)}</small>{markup.to_html(one.text)}</div>'
        for letter, one in zip(LETTERS, told, strict=False)
    )
    return wrap(
        f'<div class="card written"><div class="row"><h3>Task {task.id}</h3>{chip(task.purpose)}'
        f"{chip(prompt.split)}</div>{turns}<h4>Completions</h4>"
        f'<div class="samples">{shown}</div>{_known(services, task.id)}{_answers(services, task.id)}</div>'
    )


def _known(services: Services, task_id: int) -> str:
    known = checks.check(services.database, task_id)
    if known is None:
        return ""
    retire = (
        f'<button type="button" data-act="retire" data-task="{task_id}" data-confirm="Retire this check? '
        'Nobody gets it any more; answers to it stay as they are.">Retire it</button>'
    )
    explanation = f"<p>{escape(known.explanation)}</p>" if known.explanation else ""
    state = retire if known.active else chip("retired")
    return f'<h4>Known answer</h4><div class="row"><b>{escape(order_words(known.ranks))}</b>{state}</div>{explanation}'


def _answers(services: Services, task_id: int) -> str:
    told = task_answers(services.database, task_id)
    if not told:
        return '<h4>Answers</h4><p class="muted">None yet.</p>'
    rows = "".join(_answer(one) for one in told)
    head = "<thead><tr><th>annotator</th><th>said</th><th>status</th><th>time</th></tr></thead>"
    return f'<h4>Answers</h4><table class="wide stacked">{head}<tbody>{rows}</tbody></table>'


def _answer(one: TaskAnswer) -> str:
    said = order_words(one.ranks) if one.ranks or one.kind == "all_bad" else one.kind.replace("_", " ")
    return (
        f'<tr><td data-label="annotator">{escape(one.name)}</td><td data-label="said">{escape(said)}</td>'
        f'<td data-label="status">{chip(one.status)} <span class="muted">{escape(one.reason)}</span></td>'
        f'<td data-label="time">{escape(duration(one.seconds))}</td></tr>'
    )
