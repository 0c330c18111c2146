"""What an answer may hold beside its ranks (grade, ratings, thumbs, flags, rationale, edit), and what follows from it.

Frozen dataclasses and pure functions; which of it a campaign asks for is forms.py's business.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from storage.invalid import require


@dataclass(frozen=True)
class Scale:
    """A named scale from low to high with the words at its ends. overall: the one that ranks the completions."""

    name: str
    low: int = 1
    high: int = 5
    low_label: str = ""
    high_label: str = ""
    overall: bool = False

    def __post_init__(self):
        require(0 < len(self.name.strip()) <= 60, "scale", self.name, "a name of 1 to 60 characters")
        require(0 <= self.low < self.high <= 10, "scale", f"{self.low} to {self.high}", "0 <= low < high <= 10")


@dataclass(frozen=True)
class Detail:
    """What an answer holds beside its ranks; completions by their ids.

    grade: 0 to 3, how much better the first place of a pair is; both_good: a tie of two good ones.
    ratings: completion -> scale -> value. thumbs: completion -> 1 or -1. flags: completion -> names;
    flag_notes: completion -> the text beside "other". edited: the completion that `edit` improves.
    """

    grade: int | None = None
    both_good: bool = False
    ratings: Mapping[int, Mapping[str, int]] = field(default_factory=dict)
    thumbs: Mapping[int, int] = field(default_factory=dict)
    flags: Mapping[int, tuple[str, ...]] = field(default_factory=dict)
    flag_notes: Mapping[int, str] = field(default_factory=dict)
    reasons: tuple[str, ...] = ()
    rationale: str = ""
    edited: int | None = None
    edit: str = ""

    def to_json(self) -> str:
        """As it is stored; what is empty is left out, so that no detail is `{}`."""
        said = {name: value for name, value in vars(self).items() if value or (name == "grade" and value is not None)}
        return json.dumps(said, ensure_ascii=False, sort_keys=True)

    @classmethod
    def from_json(cls, text: str | None) -> "Detail":
        """The stored form read back; completion ids are numbers again."""
        if not text or text == "{}":
            return NO_DETAIL
        stored = json.loads(text)
        for name in ("ratings", "thumbs", "flags", "flag_notes"):
            if name in stored:
                stored[name] = {int(completion): value for completion, value in stored[name].items()}
        stored["flags"] = {completion: tuple(names) for completion, names in stored.get("flags", {}).items()}
        return cls(**{**stored, "reasons": tuple(stored.get("reasons", ()))})


NO_DETAIL = Detail()


def implied_ranks(
    kind: str, detail: Detail, completion_ids: Sequence[int], overall: str = ""
) -> tuple[int, ...] | None:
    """Dense ranks, 1 = best, that ratings or thumbs say about completions; None where they say nothing.

    Ratings rank by the scale named `overall`, else by the mean over the scales; thumbs put up before down.
    """
    if kind == "thumbs" and set(detail.thumbs) >= set(completion_ids):
        worth = [float(detail.thumbs[c]) for c in completion_ids]
    elif kind == "ratings" and set(detail.ratings) >= set(completion_ids):
        worth = [_worth(detail.ratings[c], overall) for c in completion_ids]
    else:
        return None
    order = sorted(set(worth), reverse=True)
    return tuple(order.index(value) + 1 for value in worth)


@lru_cache(65_536)
def stored_ranks(kind: str, detail: str, completion_ids: tuple[int, ...], overall: str = "") -> tuple[int, ...] | None:
    """`implied_ranks` of a detail as it is stored."""
    return implied_ranks(kind, Detail.from_json(detail), completion_ids, overall)


def _worth(ratings: Mapping[str, int], overall: str) -> float:
    return float(ratings[overall]) if overall in ratings else sum(ratings.values()) / len(ratings)
