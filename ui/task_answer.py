"""An annotator's letters as a Submission, and a stored answer as letters again.

For the page's routes and the HTTP API alike. Whether an answer fits the campaign's form is storage's business
(storage/forms.py); here letters are turned into completion ids, which never leave the server.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictInt, ValidationError

from storage.assignments import Assignments
from storage.database import Database
from storage.details import NO_DETAIL, Detail
from storage.leases import find_assignment
from storage.own_answers import OwnAnswer
from storage.prompts import clean
from storage.rankings import UnknownAssignment
from storage.records import Assignment, Submission

LETTERS = "ABCDEFGHI"
LONGEST = 86_400.0  # seconds that are believed
Letter = Annotated[str, Field(pattern="^[A-I]$")]
Key = Annotated[str, Field(min_length=8, max_length=64, pattern="^[!-~]+$")]
Tier = Annotated[list[Letter], Field(min_length=1, max_length=9)]
BY_LETTER = ("ratings", "thumbs", "flags", "flag_notes")  # parts of a detail that are told per completion


class Refused(ValueError):
    """An answer that cannot be stored as it is: the text says what was found and what was expected."""


class SentDetail(BaseModel):
    """What stands beside the tiers, completions by their letters. Parts that are empty are left out."""

    model_config = ConfigDict(extra="forbid")
    grade: Annotated[StrictInt, Field(ge=0, le=3, description="how much better the first of a pair is")] | None = None
    both_good: StrictBool = False
    ratings: dict[Letter, dict[str, StrictInt]] = Field({}, description="letter -> scale -> value")
    thumbs: dict[Letter, Literal[1, -1]] = Field({}, description="letter -> 1 (up) or -1 (down)")
    flags: dict[Letter, list[str]] = Field({}, description="letter -> names of flags")
    flag_notes: dict[Letter, str] = Field({}, description="letter -> the words beside the flag `other`")
    reasons: list[str] = Field([], max_length=100)
    rationale: str = ""
    edited: Letter | None = Field(None, description="the completion that `edit` improves")
    edit: str = ""


class Sent(BaseModel):
    """What the board sends: letters from best to worst, under a key it made itself."""

    submission_id: Key
    assignment: str = Field("", max_length=64)
    kind: str = Field(max_length=16)
    tiers: list[Tier] = Field([], max_length=9)
    seconds: float = Field(0.0, ge=0)
    detail: SentDetail = SentDetail()
    revises: str | None = Field(None, max_length=64)


def read(model: type[BaseModel], given: object) -> BaseModel:
    """What was sent, as the model. Raises Refused with the first field that is wrong."""
    try:
        return model.model_validate(given)
    except ValidationError as error:
        first = error.errors()[0]
        raise Refused(f"{'.'.join(map(str, first['loc'])) or 'body'}: {first['msg']}") from error


def assignment_of(database: Database, pool: Assignments, person_id: int, assignment_id: str) -> Assignment:
    """The person's assignment, live or not. Raises UnknownAssignment for one that is not theirs."""
    found = pool.live(assignment_id) or find_assignment(database, assignment_id)
    if found is None or found.person_id != person_id:
        raise UnknownAssignment(f"assignment: found {assignment_id!r}, expected one of yours; claim a task first")
    return found


def submission_of(sent: Sent, assignment_id: str, shown: Sequence[int]) -> Submission:
    """The letters as completion ids; shown: the ids in the order of the letters. Raises Refused, InvalidRecord."""
    ids = dict(zip(LETTERS, shown, strict=False))
    used = [letter for tier in sent.tiers for letter in tier]
    _require_letters("tiers", used, ids)
    if sent.kind == "ranking" and sorted(used) != list(ids):
        raise Refused(f"tiers: found {sent.tiers}, expected each of {', '.join(ids)} once")
    tiers = tuple(tuple(ids[letter] for letter in tier) for tier in sent.tiers)
    detail = detail_of(sent.detail, ids)
    return Submission(sent.submission_id, assignment_id, sent.kind, tiers, min(sent.seconds, LONGEST), detail)


def detail_of(sent: SentDetail, ids: Mapping[str, int]) -> Detail:
    """A detail with completion ids for letters; parts without content are dropped. Raises Refused."""
    for name in BY_LETTER:
        _require_letters(name, getattr(sent, name), ids)
    _require_letters("edited", [sent.edited] if sent.edited else [], ids)
    made = Detail(
        grade=sent.grade,
        both_good=sent.both_good,
        ratings={ids[letter]: values for letter, values in sent.ratings.items() if values},
        thumbs={ids[letter]: value for letter, value in sent.thumbs.items()},
        flags={ids[letter]: tuple(sorted(set(names))) for letter, names in sent.flags.items() if names},
        flag_notes={ids[letter]: note for letter, text in sent.flag_notes.items() if (note := _text(text).strip())},
        reasons=tuple(dict.fromkeys(sent.reasons)),
        rationale=_text(sent.rationale).strip(),
        edited=ids[sent.edited] if sent.edited and sent.edit.strip() else None,
        edit=_text(sent.edit) if sent.edit.strip() else "",
    )
    return NO_DETAIL if made == NO_DETAIL else made


def in_letters(answer: OwnAnswer) -> dict:
    """A stored answer as it was sent: {"kind", "tiers", "detail"} with letters."""
    letter = dict(zip(answer.shown, LETTERS, strict=False))
    rank = dict(zip(answer.completion_ids, answer.ranks or (), strict=False))
    tiers = [sorted(letter[c] for c in rank if rank[c] == place) for place in sorted(set(rank.values()))]
    return {"kind": answer.kind, "tiers": tiers, "detail": detail_in_letters(answer.detail, letter.get)}


def detail_in_letters(detail: Detail, letter: Callable[[int], str | None]) -> dict:
    """A detail as JSON with letters, without its empty parts."""
    told = {name: value for name, value in vars(detail).items() if value not in (None, "", False, ()) and value != {}}
    for name in BY_LETTER:
        if name in told:
            told[name] = {letter(completion): value for completion, value in told[name].items()}
    if "edited" in told:
        told["edited"] = letter(told["edited"])
    return told


def _require_letters(field: str, used: Sequence[str] | Mapping[str, object], ids: Mapping[str, int]) -> None:
    strange = [letter for letter in used if letter not in ids]
    if strange:
        raise Refused(f"{field}: found {strange[0]!r}, expected the letters {', '.join(ids)}")


def _text(text: str) -> str:
    """As storage can hold it: whole characters, and no NUL, at which SQL would end the text."""
    return clean(text).replace("\0", "")
