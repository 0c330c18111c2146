"""How good a campaign's answers are: alarms, rules, annotators, position bias, answers. Escaped markup, no gradio."""

from collections.abc import Mapping

from pipeline.quality import PlaceShare, agreement_by_person, position_bias
from pipeline.services import Services
from storage.quality import ALARM_FROM, Annotator, RuleShare, alarms, annotators, exclusions
from storage.rankings import answer_table
from storage.setups import setup
from storage.task_lists import AnswerRow, answer_page
from ui import markup
from ui.campaign_cards import when
from ui.charts import Interval, chip, duration, empty, escape, interval_bars, number, wrap

CHECKS = ("gold", "test", "training", "repeat")
ANSWERS = 20  # on one page


def quality_view(services: Services, campaign_id: int) -> str:
    """Everything about the quality of a campaign's answers."""
    table = answer_table(services.database, campaign_id)
    people = annotators(services.database, campaign_id)
    if not people:
        return wrap(empty("No answers yet", "Here you will see how far annotators agree, and what rules exclude."))
    agreed = {person: share.value for person, share in agreement_by_person(table).items()}
    places = position_bias(table, {one.person_id for one in people if one.kind == "imported"})
    told = "".join(
        f'<p class="alarm" role="alert">{escape(words)}</p>' for words in alarms(services.database, campaign_id)
    )
    failing = {one.person_id: services.pool.failing(campaign_id, one.person_id) for one in people}
    rules = _rules(exclusions(services.database, campaign_id))
    return wrap(
        f'{told}<div class="list">{_people(services, campaign_id, people, agreed, failing)}'
        f'<div class="columns">{rules}{_places(places)}</div></div>'
    )


def _people(
    services: Services, campaign_id: int, people: list[Annotator], agreed: Mapping[int, float], failing: Mapping
) -> str:
    shortest = setup(services.database, campaign_id).min_seconds
    names = ["annotator", "answers", "pace", "agrees", *CHECKS, *(["too fast"] if shortest else []), "state", ""]
    head = "".join(f"<th>{name}</th>" for name in names)
    rows = "".join(_person(one, agreed.get(one.person_id), failing.get(one.person_id), shortest) for one in people)
    about = "Pace is the median time of a judgement. Agrees: the share of others’ judgements of the same two "
    about += "completions that say the same."
    return (
        f'<div class="card"><h3>Annotators</h3><table class="wide stacked many">'
        f'<thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table><p class="muted">{about}</p></div>'
    )


def _person(one: Annotator, agreed: float | None, failing: str | None, shortest: float) -> str:
    cells = [("answers", number(one.answers) + _excluded(one)), ("pace", _pace(one)), ("agrees", _percent(agreed))]
    cells += [(purpose, _score(one, purpose)) for purpose in CHECKS]
    cells += [("too fast", f"{one.fast:.0%}")] if shortest else []
    told = "".join(f'<td data-label="{name}">{value}</td>' for name, value in cells)
    kind = f' <span class="muted">{escape(one.kind)}</span>' if one.kind != "person" else ""
    return (
        f'<tr><td data-label="annotator"><b>{escape(one.name)}</b>{kind}</td>{told}'
        f'<td class="wide" data-label="state">{_state(one, failing)}</td><td>{_state_button(one)}</td></tr>'
    )


def _pace(one: Annotator) -> str:
    return "–" if one.kind == "imported" else escape(duration(one.seconds))


def _excluded(one: Annotator) -> str:
    return f' <span class="muted">{one.excluded} excluded</span>' if one.excluded else ""


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{share:.0%}"


def _score(one: Annotator, purpose: str) -> str:
    share, n = one.checks.get(purpose, (None, 0))
    return f'{_percent(share)} <span class="muted">of {n}</span>' if n else "–"


def _state(one: Annotator, failing: str | None) -> str:
    if one.state == "paused":
        return f'{chip("paused", "bad")} <span class="muted">{escape(one.reason)}</span>'
    return (
        f'{chip("failing", "busy")} <span class="muted">{escape(failing)}</span>' if failing else chip("active", "good")
    )


def _state_button(one: Annotator) -> str:
    if one.kind == "imported":
        return ""
    if one.state == "paused":
        ask = f"Why may {one.name} go on? Earlier checks are not held against them any more."
        return _button("resume", "person", one.person_id, ask, "Let go on")
    return _button("pause", "person", one.person_id, f"Why is {one.name} paused? They read this.", "Pause")


def _button(act: str, name: str, value: object, ask: str, words: str) -> str:
    data = f'data-act="{act}" data-{name}="{escape(value)}" data-ask="{escape(ask)}"'
    return f'<button type="button" {data}>{words}</button>'


def _rules(found: list[RuleShare]) -> str:
    if not found:
        return '<div class="card"><h3>Excluded answers</h3><p class="muted">None: every answer stands.</p></div>'
    rows = "".join(
        f"<tr><td>{escape(one.rule)}</td><td>{number(one.excluded)} of {number(one.answers)}</td>"
        f"<td>{one.share:.0%}</td><td>{chip('alarm', 'bad') if one.alarm else ''}</td></tr>"
        for one in found
    )
    about = f"A rule that excludes more than {found[0].allowed:.0%} of at least {ALARM_FROM} answers raises an alarm."
    return (
        '<div class="card"><h3>Excluded answers</h3><div class="scroll"><table class="wide">'
        f"<thead><tr><th>rule</th><th>answers</th><th>share</th><th></th></tr></thead><tbody>{rows}</tbody></table></div>"
        f'<p class="muted">{about}</p></div>'
    )


def _places(places: list[PlaceShare]) -> str:
    """Bars of how often each place shown held the best completion, for each number of completions."""
    parts = []
    for k in dict.fromkeys(one.k for one in places):
        rows = [_interval(one) for one in places if one.k == k]
        high = min(1.0, max(0.5, *(row.high for row in rows)))
        n = next(one.share.n for one in places if one.k == k)
        parts.append(
            f'<p class="muted">{k} completions, {number(n)} rankings</p>'
            f"{interval_bars(rows, 1 / k, 0.0, high, f'{1 / k:.0%} by chance')}"
        )
    if not parts:
        return ""
    about = (
        "How often the completion shown in each place was put first. Orders are shuffled, so places should be equal."
    )
    bars = f'<div class="places">{"".join(parts)}</div>'
    return f'<div class="card"><h3>Position bias</h3>{bars}<p class="muted">{about}</p></div>'


def _interval(one: PlaceShare) -> Interval:
    share = one.share
    said = f"{share.value:.0%} ({share.low:.0%}–{share.high:.0%})" + (f", {one.verdict} often" if one.verdict else "")
    return Interval(one.place, share.value, share.low, share.high, said)


def answers_view(services: Services, campaign_id: int, status: str | None, offset: int) -> str:
    """A page of answers, newest first; each can be excluded, or brought back."""
    rows = answer_page(services.database, campaign_id, None, status, offset, ANSWERS + 1)
    if not rows:
        return wrap(empty("No answer is like that", "Choose another status."))
    head = "<thead><tr><th>prompt</th><th>annotator</th><th>kind</th><th>status</th><th>when</th><th></th></tr></thead>"
    lines = "".join(_answer(one) for one in rows[:ANSWERS])
    back, forth = "" if offset else " disabled", "" if len(rows) > ANSWERS else " disabled"
    steps = ((max(0, offset - ANSWERS), back, "‹ Newer"), (offset + ANSWERS, forth, "Older ›"))
    buttons = (
        f'<button type="button" data-act="page" data-offset="{to}"{off}>{words}</button>' for to, off, words in steps
    )
    pager = f'<div class="row pager">{"".join(buttons)}</div>'
    return wrap(f'<div class="card"><table class="wide stacked">{head}<tbody>{lines}</tbody></table>{pager}</div>')


def _answer(one: AnswerRow) -> str:
    tone = {"counted": "good", "excluded": "bad", "check": "accent"}.get(one.status, "")
    if one.status == "excluded":
        button = _button("bring_back", "answer", one.submission_id, "Why is this answer brought back?", "Bring back")
    else:
        button = _button("exclude", "answer", one.submission_id, "Why is this answer excluded?", "Exclude")
    took = f" · {duration(one.seconds)}" if one.seconds else ""
    return (
        f'<tr><td data-label="prompt">{escape(markup.snippet(one.text, 90) or "empty prompt")}'
        f'<div class="muted">task {one.task_id}</div></td><td data-label="annotator">{escape(one.name)}</td>'
        f'<td data-label="kind">{escape(one.kind.replace("_", " "))}{took}</td>'
        f'<td data-label="status">{chip(one.status, tone)} <span class="muted">{escape(one.reason)}</span></td>'
        f'<td data-label="when">{escape(when(one.created))}</td><td>{button}</td></tr>'
    )
