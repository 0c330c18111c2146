"""A known reward and simulated annotators, for demonstrations, tests and benchmarks.

The gold reward is a sum of bounded features, defined for any text. Training never sees it: it reaches the
models only through the rankings. It is no measure of quality; fixed phrases can game it, which is what makes
over-optimisation visible. Pure Python.
"""

import hashlib
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

TIE = 0.25  # perceived rewards closer than this are the same to an annotator: less than the smallest step of a mark
BAD = -0.5  # gold below which an answer is bad
MAX_GOLD = 5.5  # the sum of the features' upper ends

_FILLERS = (
    "a about an and are at be can could do does for from give gave get have help her him his how i if in is it its "
    "like looks make me my near need note of on one or our out please short should simple so some story tell thank "
    "that the their them there this to us want was way we were what when where which who why will with would write "
    "you your best explain recipe bedtime cook"
)
STOP_WORDS = frozenset(_FILLERS.split())
POLITE = (
    r"\bsure\b|\bof course\b", r"\bthank|\bthanks\b", r"\bplease\b", r"\bhappy to\b|\bglad to\b", r"\bi hope\b",
    r"\bdear\b", r"\bkind\b|\bwarm wishes\b", r"\bgood (question|choice|luck)\b|\blovely idea\b", r"\benjoy\b",
)  # fmt: skip
RUDE = (
    r"\bsilly\b|\bstupid\b|\bboring\b|\bugly\b|\bawful\b", r"\blazy\b", r"\bleave me alone\b|\bbye\b",
    r"\bdo not (ask|waste|send)\b", r"\byourself\b|\beven you\b|\bany child\b|\beveryone knows\b", r"\bif i must\b",
    r"\bare you serious\b", r"\bdid not want\b|\byou call that\b|\bkeep your things\b|\bmoney would\b", r"\bjust buy\b",
    r"\bshut up\b|\bidiot\b|\bhate\b|\bwhatever\b",
)  # fmt: skip
REASONS = (
    r"\bbecause\b|\buntil\b|\bso that\b|\bfirst\b|\bthen\b|\bfinally\b|\bsince\b|\bin the end\b|\bat last\b|\bafter\b"
)


def gold_reward(prompt_text: str, completion_text: str) -> float:
    """How good a completion is to the simulated world; from about -4 to `MAX_GOLD`, for any two texts."""
    return round(sum(gold_features(prompt_text, completion_text).values()), 6)


def gold_features(prompt_text: str, completion_text: str) -> dict[str, float]:
    """The parts of the gold reward by name.

    topic 0 to 2 (topic words of the prompt that are named, three are enough), polite 0 to 1.8 (0.6 for each of
    at most three marks), rude -2 to 0, ends -0.5 to 0.5, length 0 to 0.6 (best at 8 to 26 words, 0 from 52),
    repetition -1.5 to 0, reasons 0 to 0.6 (words of order and cause, two are enough).
    """
    text = completion_text.lower()
    words = _words(text)
    return {
        "topic": 2.0 * _topic_share(prompt_text, words),
        "polite": 0.6 * min(3, _marks(POLITE, text)),
        "rude": -1.0 * min(2, _marks(RUDE, text)),
        "ends": 0.5 if re.search(r"[.!?…][\"'”’)]*$", text.strip()) else -0.5,
        "length": 0.6 * _band(len(words), 0, 8, 26, 52),
        "repetition": -1.5 * min(1.0, 2 * _repeated_share(words)),
        "reasons": 0.3 * min(2, len(set(re.findall(REASONS, text)))),
    }


@dataclass(frozen=True)
class SimulatedAnnotator:
    """Ranks by the gold reward as seen through noise of its own.

    Perceived reward = gold + noise * temperature * Gumbel, which makes its rankings Plackett-Luce with that
    scale; noise 0 is the exact gold order. The noise belongs to (seed, prompt, text): the same answer seen again,
    in whichever order, is judged the same.
    """

    name: str
    seed: int = 0
    noise: float = 0.5
    temperature: float = 1.0

    def __post_init__(self):
        if self.noise < 0 or self.temperature < 0:
            raise ValueError(f"noise: found {self.noise} and temperature {self.temperature}, expected 0 or more")

    def rank(self, prompt_text: str, texts: Sequence[str]) -> list[list[int]]:
        """Tiers of indices into `texts`, best first; completions perceived as equal share a tier."""
        seen = [self.perceived(prompt_text, text) for text in texts]
        tiers: list[list[int]] = []
        for i in sorted(range(len(texts)), key=lambda i: (-seen[i], i)):
            if tiers and seen[tiers[-1][0]] - seen[i] < TIE:
                tiers[-1].append(i)
            else:
                tiers.append([i])
        return tiers

    def finds_all_bad(self, prompt_text: str, texts: Sequence[str]) -> bool:
        """Whether not one completion is worth ranking: every perceived reward is below `BAD`."""
        return all(self.perceived(prompt_text, text) < BAD for text in texts)

    def perceived(self, prompt_text: str, text: str) -> float:
        """The reward of one completion as this annotator sees it."""
        gold = gold_reward(prompt_text, text)
        scale = self.noise * self.temperature
        return gold + scale * _gumbel(f"{self.seed}\x1f{self.name}\x1f{prompt_text}\x1f{text}") if scale else gold


def make_annotators(
    count: int, seed: int = 0, noise: float = 0.6, temperature: float = 1.0
) -> list[SimulatedAnnotator]:
    """Annotators of unlike care: noise from half to one and a half times `noise`, evenly spread."""
    spread = [0.5 + i / (count - 1) if count > 1 else 1.0 for i in range(count)]
    return [SimulatedAnnotator(f"simulated-{i + 1}", seed, noise * s, temperature) for i, s in enumerate(spread)]


def _gumbel(key: str) -> float:
    number = int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big")
    return -math.log(-math.log((number + 0.5) / 2**64))


def _words(text: str) -> list[str]:
    return re.findall(r"[^\W_]+", text.lower())


def _stem(word: str) -> str:
    return word[:-1] if len(word) > 3 and word.endswith("s") else word


def _topic_share(prompt_text: str, words: list[str]) -> float:
    asked = {_stem(word) for word in _words(prompt_text) if len(word) > 2 and word not in STOP_WORDS}
    if not asked:
        return 1.0 if words else 0.0
    named = asked & {_stem(word) for word in words}
    return min(1.0, len(named) / min(3, len(asked)))


def _marks(patterns: Sequence[str], text: str) -> int:
    return sum(1 for pattern in patterns if re.search(pattern, text))


def _band(value: float, start: float, full: float, fading: float, end: float) -> float:
    """0 up to start, rising to 1 at full, 1 up to fading, back to 0 at end."""
    return max(0.0, min(1.0, (value - start) / (full - start), (end - value) / (end - fading)))


def _repeated_share(words: list[str]) -> float:
    triples = [tuple(words[i : i + 3]) for i in range(len(words) - 2)]
    return 1 - len(set(triples)) / len(triples) if triples else 0.0
