"""How a campaign asks and whom: form, scales, rationale, quality checks, distribution, moderation, consent.

One JSON row per edit, beside the campaign's own row (campaigns.py). A campaign without a row has the defaults, so
older campaigns go on as they were.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import UTC, datetime
from functools import lru_cache

from storage.campaigns import edit_within
from storage.database import Cursor, Database, itself
from storage.details import Scale
from storage.forms import FLAGS, FORMS
from storage.records import InvalidRecord, require

ON_FAIL = ("nothing", "warn", "pause")
ON_FAST = ("nothing", "warn", "exclude")
RATIONALE = ("off", "optional", "required")


def setting(default, meaning: str):
    """A field with its meaning, for forms and error messages."""
    return field(default=default, metadata={"meaning": meaning})


@dataclass(frozen=True)
class Setup:
    """Every choice a lead makes for a campaign beyond its name, criterion, guidelines, K and overlap."""

    form: str = setting("ranking", "how annotators answer: ranking, pairwise, ratings or thumbs")
    scales: tuple[Scale, ...] = setting((), "scales to rate each completion on, alone or beside a ranking")
    flags: tuple[str, ...] = setting(FLAGS, "flags that a completion can get while it is judged")
    reasons: tuple[str, ...] = setting((), "reason chips offered beside the rationale")
    rationale: str = setting("off", "off, optional or required")
    rationale_min: int = setting(0, "shortest rationale, in characters")
    edit: bool = setting(False, "whether the best answer may be edited into a demonstration")
    examples: str = setting("", "worked examples beside the guidelines, Markdown")
    priority: float = setting(0.0, "tasks of a campaign with a higher number come first")
    quota: int = setting(0, "most answers per annotator; 0 = no limit")
    members_only: bool = setting(False, "whether only members get tasks")
    gold_share: float = setting(0.0, "share of an annotator's tasks that are gold tasks, 0 to 0.5")
    gold_mark: float = setting(0.7, "mean agreement with the gold answers below which an annotator fails")
    gold_after: int = setting(5, "gold answers before anybody is judged by them")
    on_fail: str = setting("warn", "what follows on failing gold tasks or the test: nothing, warn or pause")
    test_mark: float = setting(0.8, "mean agreement needed to pass the entry test")
    repeat_share: float = setting(0.0, "share of tasks shown to the same annotator once more, 0 to 0.5")
    min_seconds: float = setting(0.0, "an answer faster than this is too fast; 0 = none is")
    on_fast: str = setting("nothing", "what follows on an answer that is too fast: nothing, warn or exclude")
    alarm_share: float = setting(0.1, "share of answers excluded by one rule above which the lead is alarmed")
    moderation: bool = setting(False, "whether completions that hit a word or an unsafe flag are veiled at first")
    moderation_words: tuple[str, ...] = setting((), "words that veil a completion")
    consent: str = setting("", "text that an annotator agrees to before the first task, Markdown")
    consent_version: int = setting(0, "counts the changes of the consent text")
    pseudonyms: bool = setting(False, "whether exports and reports carry pseudonyms")
    policies: tuple[str, ...] = setting((), "versions that write the completions; none = the current policy")
    temperature: float = setting(1.0, "their sampling temperature")
    max_new_tokens: int = setting(64, "their longest completion, in tokens")

    def __post_init__(self):
        require(self.form in FORMS, "form", self.form, "one of " + ", ".join(FORMS))
        require(self.form != "ratings" or len(self.scales) > 0, "scales", "none", "at least one for the ratings form")
        names = [scale.name for scale in self.scales]
        require(len(names) == len(set(names)) <= 12, "scales", names, "at most 12 scales with different names")
        require(sum(s.overall for s in self.scales) <= 1, "scales", names, "at most one overall scale")
        require(set(self.flags) <= set(FLAGS), "flags", self.flags, "some of " + ", ".join(FLAGS))
        for name, words in (("rationale", RATIONALE), ("on_fail", ON_FAIL), ("on_fast", ON_FAST)):
            require(getattr(self, name) in words, name, getattr(self, name), "one of " + ", ".join(words))
        for name in ("gold_share", "repeat_share"):
            require(0 <= getattr(self, name) <= 0.5, name, getattr(self, name), "0 to 0.5")
        for name in ("gold_mark", "test_mark", "alarm_share"):
            require(0 <= getattr(self, name) <= 1, name, getattr(self, name), "0 to 1")
        for name, low, high in (
            ("rationale_min", 0, 2000),
            ("quota", 0, 10**6),
            ("gold_after", 1, 1000),
            ("min_seconds", 0, 3600),
            ("temperature", 0.01, 5),
            ("max_new_tokens", 1, 8192),
            ("priority", -1e6, 1e6),
        ):
            require(low <= getattr(self, name) <= high, name, getattr(self, name), f"{low} to {high}")

    @property
    def overall(self) -> str:
        """The scale that ranks completions where the form is ratings, or ""."""
        return next((scale.name for scale in self.scales if scale.overall), "")


@dataclass(frozen=True)
class CampaignSetup:
    """A campaign's setup, as the pool learns it."""

    campaign_id: int
    setup: Setup


DEFAULT = Setup()
MEANINGS = {f.name: f.metadata["meaning"] for f in fields(Setup)}


@lru_cache(1024)
def from_json(text: str | None) -> Setup:
    """A stored setup; fields that a newer version added have their defaults."""
    if not text:
        return DEFAULT
    stored = {name: value for name, value in json.loads(text).items() if name in MEANINGS}
    return made(stored)


def made(values: Mapping[str, object]) -> Setup:
    """A setup from plain values, as forms and the API send them. Raises InvalidRecord."""
    unknown = [name for name in values if name not in MEANINGS]
    require(not unknown, unknown[0] if unknown else "", "a field", "one of " + ", ".join(MEANINGS))
    return replace(DEFAULT, **{name: _plain(name, value) for name, value in values.items()})


def to_json(setup: Setup) -> str:
    """As it is stored."""
    return json.dumps(asdict(setup), ensure_ascii=False)


def setup(db: Database, campaign_id: int) -> Setup:
    """The campaign's setup as it is now."""
    with db.read() as cursor:
        return _find(cursor, campaign_id)


def edit_setup(db: Database, campaign_id: int, **changes) -> Setup:
    """Change some fields; a changed consent text gets the next version, changed examples renew the guidelines.

    Raises InvalidRecord for an unknown campaign or field and for a wrong value.
    """

    def work(cursor: Cursor) -> list:
        before = _find(cursor, campaign_id)
        after = made({f.name: getattr(before, f.name) for f in fields(Setup)} | changes)
        if after.consent != before.consent:
            after = replace(after, consent_version=before.consent_version + 1)
        campaign = edit_within(cursor, campaign_id, new_guidelines=after.examples != before.examples)
        if after != before:
            cursor.execute(
                "INSERT INTO campaign_setup SELECT ?, (SELECT coalesce(max(seq), 0) + 1 FROM campaign_setup), ?, ?",
                [campaign_id, to_json(after), datetime.now(UTC)],
            )
        return [CampaignSetup(campaign_id, after), campaign]

    return db.write(work, tell=itself)[0].setup


def _find(cursor: Cursor, campaign_id: int) -> Setup:
    rows = cursor.execute("SELECT setup FROM setup_now WHERE campaign_id = ?", [campaign_id]).fetchall()
    return from_json(rows[0][0] if rows else None)


def _plain(name: str, value: object) -> object:
    """One value as the field's own type."""
    default = getattr(DEFAULT, name)
    try:
        if name == "scales":
            return tuple(scale if isinstance(scale, Scale) else Scale(**scale) for scale in value)
        if isinstance(default, tuple):
            require(not isinstance(value, str), name, value, "a list")
            return tuple(str(one).strip() for one in value if str(one).strip())
        if isinstance(default, bool):
            require(isinstance(value, bool), name, value, "true or false")
            return value
        return type(default)(value)
    except (TypeError, ValueError, AttributeError, OverflowError) as error:
        if isinstance(error, InvalidRecord):
            raise
        raise InvalidRecord(name, value, f"a {type(default).__name__}: {MEANINGS[name]}") from error
