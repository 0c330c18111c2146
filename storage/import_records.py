"""One record of an import, checked and turned into a frozen value, or refused with its reason.

Knows the three shapes of a record (prompt with completions, preference, demonstration) and nothing about
the database: ids, splits and tasks are made by `interchange.py`. Rows of tables become records in `import_tables.py`.
"""

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from storage.records import CHECK_PURPOSES, MAX_COMPLETIONS, MESSAGE_ROLES, SPLITS, InvalidRecord, Message, require

MAX_LINE_BYTES = 16 * 2**20
COMMON_KEYS = ("id", "prompt", "messages", "tags", "split", "metadata")


@dataclass(frozen=True)
class NewCompletion:
    """A completion of a record; key is its id within the record."""

    key: str
    model: str
    text: str
    settings: Mapping = field(default_factory=dict)


@dataclass(frozen=True)
class Annotation:
    """One annotator's ranks by completion key, 1 = best; at least two completions."""

    annotator: str
    ranks: Mapping[str, int]


@dataclass(frozen=True)
class KnownAnswer:
    """The known answer of a gold, training or test task: ranks by completion key; None where all are bad."""

    purpose: str
    ranks: Mapping[str, int] | None
    explanation: str = ""


@dataclass(frozen=True)
class ImportRecord:
    """A good record. preference: completions are chosen, rejected. demonstration: the good answer's text.
    check: the record opens a task with a known answer.

    prompt_id and split are None where the record leaves them open.
    """

    prompt_id: str | None
    messages: tuple[Message, ...]
    split: str | None = None
    tags: tuple[str, ...] = ()
    metadata: Mapping = field(default_factory=dict)
    completions: tuple[NewCompletion, ...] = ()
    annotations: tuple[Annotation, ...] = ()
    preference: bool = False
    demonstration: str | None = None
    check: KnownAnswer | None = None


def parse_line(line: bytes, imported_model: str, with_annotations: bool = False) -> ImportRecord:
    """The record on one line. imported_model names the author of chosen and rejected texts, which have none.

    Raises InvalidRecord naming the field, what was found and what was expected.
    """
    return parse_record(_object(line), imported_model, with_annotations)


def parse_record(record: dict, imported_model: str, with_annotations: bool = False) -> ImportRecord:
    """The record of plain values as JSON has them. Raises InvalidRecord as `parse_line` does."""
    shape = _shape(record)
    misplaced = shape != "prompt" and isinstance(record.get("check"), dict)
    require(not misplaced, "check", shape, "a check beside a prompt with its completions")
    messages, asked = _messages(record, shape)
    tags = _array(record, "tags")
    for place, tag in enumerate(tags):
        _text(tag, f"tags[{place}]")
    split = record.get("split")
    require(split is None or split in SPLITS, "split", split, "train or eval")
    metadata = record.get("metadata")
    require(metadata is None or isinstance(metadata, dict), "metadata", metadata, "an object")
    parts, used = _body(record, shape, imported_model, with_annotations)
    left = {key: value for key, value in record.items() if key not in {*COMMON_KEYS, *used, *asked}}
    if shape != "instruction" and "messages" in record and "prompt" in record:
        left["prompt"] = record["prompt"]  # messages are what is asked; the text beside them is kept
    extra = {**left, **(metadata or {})}
    return ImportRecord(_identity(record), messages, split, tuple(tags), extra, **parts)


def _object(line: bytes) -> dict:
    require(len(line) <= MAX_LINE_BYTES, "record", f"a line of more than {len(line)} bytes", "a line under 16 MiB")
    try:
        text = line.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InvalidRecord("record", f"byte {line[error.start]:#04x} at {error.start}", "UTF-8 text") from None
    try:
        record = json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise InvalidRecord("record", text.strip(), f"one JSON object ({error})") from None
    require(isinstance(record, dict), "record", record, "one JSON object")
    if b"\\u0000" in line or b"\\ud" in line.lower():
        require_clean_texts(record)
    return record


def require_clean_texts(record: dict) -> None:
    """Refuse texts that storage or a page cannot hold. Raises InvalidRecord."""
    for name, part in _texts(record, ""):
        require("\0" not in part, name, "a NUL character", "text without NUL characters")
        broken = any("\ud800" <= letter <= "\udfff" for letter in part)
        require(not broken, name, ascii(part), "text without lone surrogates")


def _refuse_constant(name: str):
    raise ValueError(f"{name} is not a JSON number")


def _texts(value: object, name: str) -> Iterator[tuple[str, str]]:
    """Every text inside a value, keys too, with the name of its field."""
    if isinstance(value, str):
        yield name or "record", value
    elif isinstance(value, list):
        for place, part in enumerate(value):
            yield from _texts(part, f"{name}[{place}]")
    elif isinstance(value, dict):
        for key, part in value.items():
            yield name or "record", key
            yield from _texts(part, f"{name}.{ascii(key)[1:-1]}" if name else ascii(key)[1:-1])


def _shape(record: dict) -> str:
    if "completions" in record:
        return "prompt"
    if "chosen" in record or "rejected" in record:
        return "preference"
    asks = "prompt" in record or "messages" in record
    if asks and "response" in record:
        return "response"
    return "instruction" if not asks and "instruction" in record else "prompt"


def _identity(record: dict) -> str | None:
    name = record.get("id")
    return None if name is None else _text(name, "id")


def _messages(record: dict, shape: str) -> tuple[tuple[Message, ...], tuple[str, ...]]:
    """What is asked, and the further keys that it was made from."""
    if shape == "instruction":
        asked = [_text(record["instruction"], "instruction")]
        given = record.get("input")
        require(given is None or isinstance(given, str), "input", given, "text")
        text = "\n\n".join(asked + ([given] if given and given.strip() else []))
        return (Message("user", text),), ("instruction", "input")
    if record.get("messages") is not None:
        return _chat(record["messages"], "messages"), ()
    value = record.get("prompt")
    require(value is not None, "prompt", "nothing", "a prompt text or a list of messages")
    if isinstance(value, list):
        return _chat(value, "prompt"), ()
    return (Message("user", _text(value, "prompt")),), ()


def _chat(value: object, name: str) -> tuple[Message, ...]:
    require(isinstance(value, list) and bool(value), name, value, "a list of at least one message")
    messages = []
    for place, turn in enumerate(value):
        where = f"{name}[{place}]"
        require(isinstance(turn, dict), where, turn, "an object with role and content")
        require(turn.get("role") in MESSAGE_ROLES, f"{where}.role", turn.get("role"), ", ".join(MESSAGE_ROLES))
        further = [key for key, part in turn.items() if key not in ("role", "content") and part is not None]
        require(not further, where, ", ".join(further), "role and content only")
        messages.append(Message(turn["role"], _text(turn.get("content"), f"{where}.content")))
    return tuple(messages)


def _body(record: dict, shape: str, model: str, with_annotations: bool) -> tuple[dict, tuple[str, ...]]:
    """The fields of the ImportRecord that differ by shape, and the keys they were made from."""
    if shape == "preference":
        return {"completions": _preference(record, model), "preference": True}, ("chosen", "rejected")
    if shape == "response":
        return {"demonstration": _text(record["response"], "response")}, ("response",)
    if shape == "instruction":
        return {"demonstration": _text(record.get("output"), "output")}, ("output",)
    completions = tuple(_completion(row, place) for place, row in enumerate(_array(record, "completions")))
    for key, count in Counter(one.key for one in completions).items():
        require(count == 1, "completions", f"the id {key} {count} times", "each id once within its record")
    taken = _annotations(record, completions) if with_annotations else ()
    parts = {"completions": completions, "annotations": taken, "check": _check(record, completions)}
    return parts, ("completions", "annotations", "check")


def _completion(row: object, place: int) -> NewCompletion:
    where = f"completions[{place}]"
    require(isinstance(row, dict), where, row, "an object with model and text")
    key = row.get("id")
    key = f"#{place + 1}" if key is None else _text(key, f"{where}.id")
    model, text = _text(row.get("model"), f"{where}.model"), _reply(row.get("text"), f"{where}.text")
    settings = row.get("settings")
    require(settings is None or isinstance(settings, dict), f"{where}.settings", settings, "an object")
    further = {name: value for name, value in row.items() if name not in ("id", "model", "text", "settings")}
    return NewCompletion(key, model, text, {**further, **(settings or {})})


def _preference(record: dict, model: str) -> tuple[NewCompletion, ...]:
    texts = {name: _answer(record.get(name), name) for name in ("chosen", "rejected")}
    differ = texts["chosen"] != texts["rejected"]
    require(differ, "rejected", texts["rejected"], "another text than chosen")
    return tuple(NewCompletion(name, model, text) for name, text in texts.items())


def _answer(value: object, name: str) -> str:
    """A text, or the one assistant message of a conversational row."""
    if isinstance(value, list):
        turns = _chat(value, name)
        alone = len(turns) == 1 and turns[0].role == "assistant"
        require(alone, name, value, "text, or one assistant message with the conversation before it in prompt")
        return turns[0].content
    return _reply(value, name)


def _annotations(record: dict, completions: tuple[NewCompletion, ...]) -> tuple[Annotation, ...]:
    identity = {one.key: (one.model, one.text) for one in completions}
    taken = []
    for place, row in enumerate(_array(record, "annotations")):
        where = f"annotations[{place}]"
        require(isinstance(row, dict), where, row, "an object with annotator and ranks")
        ranks = _ranks(row.get("ranks"), f"{where}.ranks", identity)
        taken.append(Annotation(_text(row.get("annotator"), f"{where}.annotator"), dict(ranks)))
    return tuple(taken)


def _ranks(ranks: object, where: str, identity: dict[str, tuple[str, str]]) -> dict[str, int]:
    """Ranks by completion key, as a record gives them. identity: model and text by key."""
    several = isinstance(ranks, dict) and len(ranks) >= 2
    require(several, where, ranks, "ranks of at least two completions")
    for key, rank in ranks.items():
        require(key in identity, where, key, "ids of this record's completions")
        whole = isinstance(rank, int) and not isinstance(rank, bool) and rank >= 1
        require(whole, f"{where}.{key}", rank, "a whole number from 1, the best, on")
    places = {(identity[key], rank) for key, rank in ranks.items()}
    single = len(places) == len({one for one, _ in places})
    require(single, where, ranks, "one rank for a completion that is listed twice (same model and text)")
    return dict(ranks)


def _check(record: dict, completions: tuple[NewCompletion, ...]) -> KnownAnswer | None:
    """The record's known answer, over all its completions; None where it has none."""
    row = record.get("check")
    if row is None:
        return None
    require(isinstance(row, dict), "check", row, "an object with purpose and ranks")
    further = [key for key in row if key not in ("purpose", "ranks", "explanation")]
    require(not further, "check", ", ".join(further), "purpose, ranks and explanation only")
    purpose = row.get("purpose", "gold")
    require(purpose in CHECK_PURPOSES, "check.purpose", purpose, "one of " + ", ".join(CHECK_PURPOSES))
    identity = {one.key: (one.model, one.text) for one in completions}
    count = len(set(identity.values()))
    require(2 <= count <= MAX_COMPLETIONS, "check", f"{count} completions", f"2 to {MAX_COMPLETIONS} beside a check")
    explanation = row.get("explanation") or ""
    require(isinstance(explanation, str), "check.explanation", explanation, "a text")
    require("ranks" in row, "check.ranks", "nothing", "ranks of all completions, or null where all are bad")
    if row["ranks"] is None:
        return KnownAnswer(purpose, None, explanation)
    ranks = _ranks(row["ranks"], "check.ranks", identity)
    missing = sorted(set(identity.values()) - {identity[key] for key in ranks})
    require(not missing, "check.ranks", ranks, "a rank for every completion of the record")
    require(len(set(ranks.values())) > 1, "check.ranks", ranks, "at least one preference; null where all are bad")
    return KnownAnswer(purpose, ranks, explanation)


def _array(record: dict, name: str) -> list:
    value = record.get(name)
    require(value is None or isinstance(value, list), name, value, "a list")
    return value or []


def _reply(value: object, name: str) -> str:
    """What a model said: text that may be empty, since saying nothing is an answer that people can rank."""
    require(value is not None, name, "nothing", "a text (an empty one where the model said nothing)")
    require(isinstance(value, str), name, value, "a text")
    return value


def _text(value: object, name: str) -> str:
    require(value is not None, name, "nothing", "a non-empty text")
    require(isinstance(value, str), name, value, "a non-empty text")
    require(bool(value.strip()), name, "an empty text", "a non-empty text")
    return value
