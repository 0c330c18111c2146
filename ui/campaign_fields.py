"""The fields of a campaign's form: which there are, how each is shown, and how what is typed becomes a value.

Made from `storage.setups.Setup` and its meanings, so that a new choice of a campaign appears here by itself. No
gradio: campaign_form.py lays the fields out.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from storage.campaigns import edit_campaign
from storage.database import Database
from storage.details import Scale
from storage.forms import FLAGS, FORMS, SCALE_SETS
from storage.records import Campaign, InvalidRecord
from storage.setups import DEFAULT, MEANINGS, ON_FAIL, ON_FAST, RATIONALE, Setup, edit_setup, made, setup

CAMPAIGN_FIELDS = {
    "name": "what annotators and leads call it",
    "criterion": "what makes a completion better, in a word or two",
    "k": "2 to 9; for what is written or imported afterwards",
    "overlap": "annotators per task; holds for tasks opened afterwards",
    "guidelines": "Markdown; annotators read it first, and a change is announced to them",
}
CHOICES = {"form": FORMS, "rationale": RATIONALE, "on_fail": ON_FAIL, "on_fast": ON_FAST}
SEVERAL = {"flags": FLAGS}
LONG = ("guidelines", "examples", "consent")
LINES = ("reasons", "moderation_words")  # one per line
LABELS = {"k": "Completions per task", "on_fail": "On failing", "on_fast": "On a fast answer", "edit": "Edit the best"}
SCALE_HELP = "one per line: name | low | high | words at the low end | words at the high end | overall"


@dataclass(frozen=True)
class Group:
    """Fields that stand together, under a title with a line about them."""

    title: str
    about: str
    names: tuple[str, ...]


GROUPS = (
    Group("What is asked", "", ("name", "criterion", "form", "k", "overlap")),
    Group("Guidelines and examples", "shown to annotators one key away from the task", ("guidelines", "examples")),
    Group("Scales", "to rate each completion on, alone or beside a ranking", ("scales",)),
    Group(
        "Beside the answer",
        "flags, reasons, a rationale, an edited answer",
        ("flags", "rationale", "rationale_min", "reasons", "edit"),
    ),
    Group("Who gets how much", "priority, quota and members", ("priority", "quota", "members_only")),
    Group(
        "Checks and rules",
        "gold tasks, the entry test, repeats, answers that are too fast",
        (
            *("gold_share", "gold_mark", "gold_after", "test_mark", "on_fail", "repeat_share"),
            *("min_seconds", "on_fast", "alarm_share"),
        ),
    ),
    Group("Moderation", "completions veiled until the annotator opens them", ("moderation", "moderation_words")),
    Group("Consent and names", "what annotators agree to, and what exports show", ("consent", "pseudonyms")),
    Group("Who writes the completions", "policies and how they sample", ("policies", "temperature", "max_new_tokens")),
)
NAMES = tuple(name for group in GROUPS for name in group.names)


def label(name: str) -> str:
    """The field's name for people."""
    return LABELS.get(name, name.replace("_", " ").capitalize())


def meaning(name: str) -> str:
    """One line of what the field is."""
    if name == "scales":
        return SCALE_HELP
    more = ", one per line" if name in LINES else ""
    return (CAMPAIGN_FIELDS.get(name) or MEANINGS[name]) + more


def form_values(campaign: Campaign | None, chosen: Setup = DEFAULT) -> list:
    """The values of all fields in their order, as the form shows them."""
    empty = {"name": "", "criterion": "helpful", "k": 4, "overlap": 1, "guidelines": ""}
    return [
        (getattr(campaign, name) if campaign else empty[name])
        if name in CAMPAIGN_FIELDS
        else _shown(name, getattr(chosen, name))
        for name in NAMES
    ]


def save(db: Database, campaign_id: int, values: Sequence[object]) -> tuple[Campaign, Setup]:
    """Store the form's values in a campaign. Raises InvalidRecord and stores nothing where one is wrong."""
    given = {name: parsed(name, value) for name, value in zip(NAMES, values, strict=True)}
    own = {name: given.pop(name) for name in CAMPAIGN_FIELDS}
    kept = setup(db, campaign_id)
    made({name: getattr(kept, name) for name in MEANINGS} | given)  # refuses before anything is stored
    changed = edit_campaign(db, campaign_id, **own)
    return changed, edit_setup(db, campaign_id, **given)


def parsed(name: str, value: object) -> object:
    """What was typed into a field, as storage takes it. Raises InvalidRecord."""
    if name == "scales":
        return scales_of(str(value or ""))
    if name in LINES:
        return [line.strip() for line in str(value or "").splitlines() if line.strip()]
    if name in SEVERAL or name == "policies":
        return list(value or [])
    if name in ("k", "overlap"):
        return _whole(name, value)
    if value is None:
        raise InvalidRecord(name, "nothing", f"a value: {meaning(name)}")
    return value.strip() if name in ("name", "criterion") and isinstance(value, str) else value


def scales_of(text: str) -> list[Scale]:
    """Scales from their lines; only the name must be given. Raises InvalidRecord."""
    made_scales = []
    for line in text.splitlines():
        if not line.strip():
            continue
        parts = [part.strip() for part in line.split("|")]
        name, low, high, low_label, high_label, overall, *more = [*parts, *[""] * max(0, 6 - len(parts))]
        if more or overall not in ("", "overall"):
            raise InvalidRecord("scales", line, SCALE_HELP)
        ends = (_whole("scales", low or 1), _whole("scales", high or 5))
        made_scales.append(Scale(name, *ends, low_label, high_label, overall == "overall"))
    return made_scales


def scale_lines(scales: Sequence[Scale]) -> str:
    """Scales as the lines of the form."""
    rows = ((s.name, s.low, s.high, s.low_label, s.high_label, "overall" if s.overall else "") for s in scales)
    return "\n".join(" | ".join(map(str, row)).rstrip(" |") for row in rows)


def scale_set(name: str) -> str | None:
    """The lines of a ready set; None for a name that is none."""
    return scale_lines(SCALE_SETS[name]) if name in SCALE_SETS else None


def facts(chosen: Setup) -> Mapping[str, str]:
    """What differs from the defaults, in words, for an overview."""
    told = {}
    for name in MEANINGS:
        value = getattr(chosen, name)
        if value != getattr(DEFAULT, name) and name not in ("consent_version", *LONG):
            words = ", ".join(s.name for s in value) if name == "scales" else value
            words = ", ".join(words) if isinstance(words, tuple) else words
            words = f"{words:g}" if isinstance(words, float) else words
            told[label(name)] = "yes" if words is True else "no" if words is False else str(words) or "none"
    if chosen.consent:
        told["Consent"] = f"asked, version {chosen.consent_version}"
    return told


def _shown(name: str, value: object) -> object:
    if name == "scales":
        return scale_lines(value)
    if name in LINES:
        return "\n".join(value)
    return list(value) if isinstance(value, tuple) else value


def _whole(name: str, value: object) -> int:
    try:
        return int(str(value))
    except ValueError:
        try:
            number = float(str(value))
        except ValueError:
            number = 0.5
        if number != int(number):
            raise InvalidRecord(name, value, "a whole number") from None
        return int(number)
