"""How a simulated annotator answers each form: ranking, pairwise with a margin, ratings, thumbs, and a rationale.

Pure: the annotator's perceived rewards in, an answer over positions out. Local runs put completion ids in the place of
the positions (simulate.py), runs over HTTP letters (simulate_http.py).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from pipeline.synthetic import BAD, MAX_GOLD, SimulatedAnnotator

GOOD = 1.5  # perceived reward from which a completion gets a thumb up
BETTER, MUCH_BETTER = 1.0, 2.5  # differences of perceived reward from which the margin is 2, or 3
LOWEST = -2.0  # perceived reward that gets the lowest rating; MAX_GOLD gets the highest
RATIONALE = "The first one does what was asked, names the topic and is kinder than the others."


class AskedScale(NamedTuple):
    """A scale as far as it matters here."""

    name: str
    low: int
    high: int


@dataclass(frozen=True)
class Asked:
    """What a campaign asks for: form, scales, whether a rationale is required, and its shortest length."""

    form: str = "ranking"
    scales: tuple[AskedScale, ...] = ()
    rationale: str = "off"
    rationale_min: int = 0


@dataclass(frozen=True)
class Judged:
    """An answer over positions: tiers from best to worst, grade 0 to 3, ratings and thumbs by position."""

    kind: str
    tiers: list[list[int]] = field(default_factory=list)
    grade: int | None = None
    both_good: bool = False
    ratings: dict[int, dict[str, int]] = field(default_factory=dict)
    thumbs: dict[int, int] = field(default_factory=dict)
    rationale: str = ""


def judge(annotator: SimulatedAnnotator, asked: Asked, prompt_text: str, texts: Sequence[str]) -> Judged:
    """The annotator's answer to a task in the form that the campaign asks for."""
    seen = [annotator.perceived(prompt_text, text) for text in texts]
    why = rationale(asked)
    rated = {i: {s.name: rating(reward, s) for s in asked.scales} for i, reward in enumerate(seen)}
    ratings = rated if asked.scales else {}
    if asked.form == "thumbs":
        thumbs = {i: 1 if reward >= GOOD else -1 for i, reward in enumerate(seen)}
        return Judged("thumbs", ratings=ratings, thumbs=thumbs, rationale=why)
    if asked.form == "ratings":
        return Judged("ratings", ratings=ratings, rationale=why)
    if asked.form == "pairwise" and max(seen) < BAD:
        return Judged("all_bad", rationale=why)
    tiers = annotator.rank(prompt_text, texts)
    if asked.form != "pairwise":
        return Judged("ranking", tiers, ratings=ratings, rationale=why)
    grade = margin(tiers, seen)
    return Judged("ranking", tiers, grade, grade == 0 and min(seen) >= GOOD, ratings, rationale=why)


def margin(tiers: Sequence[Sequence[int]], seen: Sequence[float]) -> int:
    """0 about equal, 1 slightly better, 2 better, 3 significantly better: the best tier over the next."""
    if len(tiers) == 1:
        return 0
    difference = seen[tiers[0][0]] - seen[tiers[1][0]]
    return 1 + (difference >= BETTER) + (difference >= MUCH_BETTER)


def rating(reward: float, scale: AskedScale) -> int:
    """A perceived reward on a scale: LOWEST is its low end, MAX_GOLD its high end."""
    share = min(1.0, max(0.0, (reward - LOWEST) / (MAX_GOLD - LOWEST)))
    return scale.low + round(share * (scale.high - scale.low))


def rationale(asked: Asked) -> str:
    """Some words where a rationale is required, as long as it has to be."""
    if asked.rationale != "required":
        return ""
    return " ".join([RATIONALE] * (1 + asked.rationale_min // len(RATIONALE)))
