"""Figures of the leads' pages: which curves a run shows, and interval bars as safe markup.

Pure functions, no gradio: records in, plain values or escaped HTML out. The curves themselves are
drawn in the browser by static/charts.js and static/run_chart.js from the panels named here;
colours come from theme variables in static/lead.css, so dark mode needs nothing. Every text that
enters markup goes through `escape`; every number in a style is made by `percent`.
"""

import html
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class Panel:
    """One small chart: its metrics with their labels; low and high fix the axis, line draws a dashed mark."""

    title: str
    series: tuple[tuple[str, str], ...]
    unit: str = ""
    low: float | None = None
    high: float | None = None
    line: float | None = None


LOSS = Panel("Loss", (("loss", "train"), ("eval/loss", "eval")))
LEARNING_RATE = Panel("Learning rate", (("learning_rate", "learning rate"),))
TIMES = (
    ("time/generate", "sampling"),
    ("time/score", "scoring"),
    ("time/logprob", "log-probs"),
    ("time/rollout", "rollout"),
    ("time/update", "steps"),
)
KL = Panel("KL to the reference", (("objective/kl", "KL"),), "nats per completion", low=0.0)
WINS = Panel("Preferred side wins", (("rewards/accuracies", "train"), ("eval/accuracy", "eval")), line=0.5)
MARGIN = Panel("Reward margin", (("rewards/margins", "train"), ("eval/margin", "eval")), line=0.0)
ENDED = Panel("Completions that end by themselves", (("len/eos_rate", "share"),), low=0.0, high=1.0)
PANELS = {
    "starter": (LOSS, LEARNING_RATE, Panel("Speed", (("tokens/s", "tokens"),), "per second", low=0.0)),
    "generate": (Panel("Speed", (("completions/s", "completions"),), "per second", low=0.0), ENDED),
    "score": (Panel("Mean score of each piece", (("reward/mean", "mean"),), "deviations", line=0.0),),
    "reward": (LOSS, WINS, MARGIN, LEARNING_RATE),
    "sft": (LOSS, Panel("Perplexity", (("eval/perplexity", "eval"),), low=1.0), KL, LEARNING_RATE),
    "dpo": (LOSS, WINS, MARGIN, KL),
    "ppo": (
        Panel("Reward", (("objective/scores", "score"), ("objective/rlhf_reward", "score - KL penalty"))),
        KL,
        Panel("Completion length", (("len/mean", "tokens"),), "tokens"),
        ENDED,
        Panel("Entropy", (("objective/entropy", "of samples"), ("policy/entropy", "of the policy")), "nats"),
        Panel("Clipped updates", (("policy/clipfrac", "policy"), ("value/clipfrac", "value")), low=0.0),
        Panel("Value function", (("value/loss", "loss"), ("value/explained_var", "explained variance"))),
        Panel("Learning rate", (("lr", "learning rate"),)),
        Panel("Time per rollout", TIMES, "seconds", low=0.0),
    ),
}


def panels(kind: str) -> list[dict]:
    """The panels of a kind of run as plain values; metrics outside them get a panel each in the browser."""
    return [asdict(panel) for panel in PANELS.get(kind, ())]


def escape(value: object) -> str:
    """The value as text that is inert in markup and in quoted attributes."""
    return html.escape(str(value), quote=True)


def percent(share: float) -> str:
    """A share of the width, 0 to 1, as a CSS length; anything outside or not finite is pulled to the edge."""
    inside = min(1.0, max(0.0, share)) if math.isfinite(share) else 0.0
    return f"{100 * inside:.2f}%"


def number(value: object, digits: int = 3) -> str:
    """A figure as a person reads it: three significant digits, a dash when it is not known."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return "–" if value is None else str(value)
    if not math.isfinite(value):
        return str(value)
    return f"{value:,.0f}" if isinstance(value, int) or abs(value) >= 1000 else f"{value:.{digits}g}"


def duration(seconds: float | None) -> str:
    """A time span in the two largest units: 8 s, 3 min 20 s, 2 h 5 min."""
    if seconds is None or not math.isfinite(seconds):
        return "–"
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def wrap(*parts: str, title: str = "") -> str:
    """Parts of markup as one block with the leads' styles."""
    head = f"<h3>{title}</h3>" if title else ""
    return f'<div class="lead">{head}{"".join(parts)}</div>'


def chip(text: object, tone: str = "") -> str:
    """A small rounded label; tone is a class of lead.css: good, bad, busy, accent or none."""
    return f'<span class="chip {escape(tone)}">{escape(text)}</span>'


def empty(title: str, next_step: str) -> str:
    """What a page says where nothing is yet: the fact, and what to do."""
    return f'<div class="empty"><b>{escape(title)}</b><span>{escape(next_step)}</span></div>'


def figures(pairs: Sequence[tuple[str, object]]) -> str:
    """A row of figures with their names below."""
    cells = (f'<div class="figure"><b>{escape(number(v))}</b><span>{escape(name)}</span></div>' for name, v in pairs)
    return f'<div class="figures">{"".join(cells)}</div>'


def table(rows: Sequence[tuple[str, object]]) -> str:
    """Names and values in two columns."""
    lines = (f"<tr><th>{escape(name)}</th><td>{escape(number(value))}</td></tr>" for name, value in rows)
    return f'<table class="facts">{"".join(lines)}</table>'


def progress_bar(share: float) -> str:
    return f'<div class="bar"><i style="width:{percent(share)}"></i></div>'


@dataclass(frozen=True)
class Interval:
    """One row of interval bars: an estimate with its bounds, in the axis' unit."""

    label: str
    value: float
    low: float
    high: float
    text: str = ""
    note: str = ""

    def verdict(self, line: float) -> str:
        """The tone: good when the whole interval lies above the line, bad when below, else none."""
        return "good" if self.low > line else "bad" if self.high < line else ""


def interval_bars(rows: Sequence[Interval], line: float, low: float, high: float, line_label: str = "") -> str:
    """Bars from low to high with a dot at the estimate and one marked line; all rows share the axis.

    Says in words what colour says, so that nothing is told by colour alone.
    """
    span = (high - low) or 1.0
    mark = percent((line - low) / span)
    head = f'<div class="marked"><span style="left:{mark}">{escape(line_label)}</span></div>' if line_label else ""
    lines = "".join(_interval_row(row, line, low, span, mark) for row in rows)
    return f'<div class="intervals">{head}{lines}</div>'


def _interval_row(row: Interval, line: float, low: float, span: float, mark: str) -> str:
    tone = row.verdict(line)
    left, dot = percent((row.low - low) / span), percent((row.value - low) / span)
    width = percent((min(row.high, low + span) - max(row.low, low)) / span)
    said = {"good": "above the line", "bad": "below the line", "": "not decided"}[tone]
    title = f"{row.label}: {row.text or number(row.value)}, {said}"
    return (
        f'<div class="interval {tone}" title="{escape(title)}">'
        f'<div class="name">{escape(row.label)}<small>{escape(row.note)}</small></div>'
        f'<div class="track" role="img" aria-label="{escape(title)}"><u style="left:{mark}"></u>'
        f'<i style="left:{left};width:{width}"></i><b style="left:{dot}"></b></div>'
        f'<div class="said">{escape(row.text or number(row.value))}</div></div>'
    )


def win_rates(strengths: Sequence[Mapping]) -> str:
    """Interval bars of the win-rates in a report's strengths, against the 50 % line."""
    rows = [
        Interval(
            f"{row['model']} against {row['against']}",
            row["win_rate"],
            row["win_rate_low"],
            row["win_rate_high"],
            f"{row['win_rate']:.0%} ({row['win_rate_low']:.0%}–{row['win_rate_high']:.0%})",
            f"{number(row['comparisons'])} comparisons",
        )
        for row in strengths
        if _known(row, "win_rate", "win_rate_low", "win_rate_high")
    ]
    return interval_bars(rows, 0.5, 0.0, 1.0, "50 %") if rows else ""


def strength_bars(strengths: Sequence[Mapping]) -> str:
    """Interval bars of Bradley-Terry strengths (log odds against the baseline at 0), strongest first."""
    known = [row for row in strengths if _known(row, "strength", "low", "high")]
    if not known:
        return ""
    edge = 1.1 * max([0.1] + [abs(row[name]) for row in known for name in ("low", "high", "strength")])
    rows = [
        Interval(
            row["model"],
            row["strength"],
            row["low"],
            row["high"],
            f"{row['strength']:+.2f} ({row['low']:+.2f} to {row['high']:+.2f})",
            f"against {row['against']}",
        )
        for row in sorted(known, key=lambda row: -row["strength"])
    ]
    return interval_bars(rows, 0.0, -edge, edge, "as good as the baseline")


def _known(row: Mapping, *names: str) -> bool:
    values = [row.get(name) for name in names]
    return all(isinstance(value, int | float) and math.isfinite(value) for value in values)
