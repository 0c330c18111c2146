"""Prompts and demonstrations: what the model is asked, and good answers written by people.

A prompt belongs to any number of campaigns; its messages and its split never change.
"""

import hashlib
import json
import unicodedata
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

from storage.database import Cursor, Database
from storage.records import Demonstration, InvalidRecord, Message, Prompt

EVAL_SHARE = 0.15
_COLUMNS = "prompt_id, messages, split, tags, metadata"


class PromptConflict(ValueError):
    """Prompts that contradict stored ones: same id with other messages, or same messages with another split.

    `conflicts` maps each one's position in the given sequence to an InvalidRecord.
    """

    def __init__(self, conflicts: dict[int, InvalidRecord]):
        self.conflicts = conflicts
        first = next(iter(conflicts.values()))
        self.field, self.found, self.expected = first.field, first.found, first.expected
        more = f" (and {len(conflicts) - 1} more)" if len(conflicts) > 1 else ""
        super().__init__(f"{first}{more}")


def clean(text: str) -> str:
    """The text as UTF-8 can hold it: a lone half of a surrogate pair becomes U+FFFD."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def split_of(messages: Sequence[Message]) -> str:
    """train or eval by a hash of the normalised messages: 15 % eval, the same on every machine."""
    share = int(_normalised_hash(messages)[:8], 16) / 2**32
    return "eval" if share < EVAL_SHARE else "train"


def prompt_id_of(messages: Sequence[Message]) -> str:
    """The id of a prompt that came without one: "p-" and a hash of its exact messages."""
    return "p-" + hashlib.sha256(_as_json(messages).encode()).hexdigest()[:16]


def conflicts(db: Database, prompts: Sequence[Prompt]) -> dict[int, InvalidRecord]:
    """What add_prompts would refuse, by position: against stored prompts and against earlier ones given here."""
    with db.read() as cursor:
        return find_conflicts(cursor, prompts)


def add_prompts(db: Database, campaign_id: int, prompts: Sequence[Prompt]) -> int:
    """Add prompts to a campaign, all or none; return how many were new to it.

    The same prompt again changes nothing. Raises PromptConflict.
    """
    return db.write(lambda cursor: insert_prompts(cursor, campaign_id, prompts)) if prompts else 0


def prompts(db: Database, campaign_id: int, split: str | None = None) -> list[Prompt]:
    """A campaign's prompts in the order in which they came."""
    query = (
        f"SELECT {_COLUMNS} FROM campaign_prompt JOIN prompt USING (prompt_id) "
        "WHERE campaign_id = $campaign AND ($split IS NULL OR split = $split) ORDER BY position"
    )
    with db.read() as cursor:
        rows = cursor.execute(query, {"campaign": campaign_id, "split": split}).fetchall()
    return [_prompt(row) for row in rows]


def prompt(db: Database, prompt_id: str) -> Prompt | None:
    """One prompt by its id."""
    with db.read() as cursor:
        rows = cursor.execute(f"SELECT {_COLUMNS} FROM prompt WHERE prompt_id = ?", [prompt_id]).fetchall()
    return _prompt(rows[0]) if rows else None


def add_demonstrations(db: Database, campaign_id: int, rows: Iterable[tuple[str, str]], source: str = "") -> int:
    """Add (prompt_id, text) rows; return how many were new. The same text for the same prompt is kept once."""
    given = list(dict.fromkeys((prompt_id, clean(text)) for prompt_id, text in rows))
    return len(db.write(lambda cursor: insert_demonstrations(cursor, campaign_id, given, source))) if given else 0


def demonstrations(db: Database, campaign_id: int) -> list[Demonstration]:
    """A campaign's demonstrations, oldest first."""
    with db.read() as cursor:
        rows = cursor.execute(
            "SELECT demonstration_id, campaign_id, prompt_id, text, source FROM demonstration "
            "WHERE campaign_id = ? ORDER BY demonstration_id",
            [campaign_id],
        ).fetchall()
    return [Demonstration(*row) for row in rows]


def settle_splits(cursor: Cursor, asked: Sequence[tuple[Sequence[Message], str | None]]) -> list[str]:
    """The split of each (messages, split): as given; else the one that equal messages have already; else by hash."""
    hashes = [_normalised_hash(messages) for messages, _ in asked]
    query = "SELECT messages_hash, split FROM prompt WHERE messages_hash IN (SELECT unnest($hashes::VARCHAR[]))"
    known = dict(cursor.execute(query, {"hashes": hashes}).fetchall())
    return [split or known.get(key) or split_of(messages) for (messages, split), key in zip(asked, hashes, strict=True)]


def scoped_ids(cursor: Cursor, campaign_id: int, given: Sequence[tuple[str, Sequence[Message]]]) -> dict[str, str]:
    """The ids under which a campaign keeps the prompts of a file that gives these (id, messages).

    Files number their prompts alike. An id that another campaign gave to other messages, and that this campaign does
    not use, becomes "ID@CAMPAIGN", the same at every import; what is stored keeps its id.
    """
    query = "SELECT prompt_id, messages FROM prompt WHERE prompt_id IN (SELECT unnest($ids::VARCHAR[]))"
    mine = "SELECT prompt_id FROM campaign_prompt WHERE campaign_id = $campaign"
    own_of = {name: f"{name}@{campaign_id}" for name, _ in given}
    stored = dict(cursor.execute(query, {"ids": [*own_of, *own_of.values()]}).fetchall())
    used = {row[0] for row in cursor.execute(mine, {"campaign": campaign_id}).fetchall()} if stored else set()
    scoped = {}
    for name, messages in given:
        taken = name in stored and name not in used and stored[name] != _as_json(messages)
        scoped.setdefault(name, own_of[name] if own_of[name] in stored or taken else name)
    return scoped


def insert_prompts(cursor: Cursor, campaign_id: int, prompts: Sequence[Prompt]) -> int:
    """add_prompts within a change."""
    if wrong := find_conflicts(cursor, prompts):
        raise PromptConflict(wrong)
    ids = list(dict.fromkeys(p.id for p in prompts))
    known = {i for (i,) in cursor.execute("SELECT prompt_id FROM prompt WHERE prompt_id = ANY(?)", [ids]).fetchall()}
    mine = cursor.execute("SELECT prompt_id, position FROM campaign_prompt WHERE campaign_id = ?", [campaign_id])
    positions = dict(mine.fetchall())
    first = {p.id: p for p in reversed(prompts)}
    new, linked = [first[i] for i in ids if i not in known], [i for i in ids if i not in positions]
    start, now = max(positions.values(), default=0) + 1, datetime.now(UTC)
    if new:
        with cursor.appender("prompt") as appender:
            appender.append_rows([_row(p, now) for p in new])
    if linked:
        with cursor.appender("campaign_prompt") as appender:
            appender.append_rows([[campaign_id, prompt_id, n] for n, prompt_id in enumerate(linked, start)])
    return len(linked)


def insert_demonstrations(
    cursor: Cursor, campaign_id: int, given: Sequence[tuple[str, str]], source: str
) -> list[tuple[str, str]]:
    """add_demonstrations within a change, for distinct rows; returns the new ones."""
    query = """SELECT prompt_id, text FROM demonstration
               WHERE campaign_id = $campaign AND prompt_id IN (SELECT unnest($ids::VARCHAR[]))"""
    asked = {"campaign": campaign_id, "ids": [prompt_id for prompt_id, _ in given]}
    stored = set(cursor.execute(query, asked).fetchall())
    start = cursor.execute("SELECT coalesce(max(demonstration_id), 0) + 1 FROM demonstration").fetchall()[0][0]
    new, now = [row for row in given if row not in stored], datetime.now(UTC)
    if new:
        with cursor.appender("demonstration") as appender:
            appender.append_rows([[n, campaign_id, p, t, source, now] for n, (p, t) in enumerate(new, start)])
    return new


def find_conflicts(cursor: Cursor, prompts: Sequence[Prompt]) -> dict[int, InvalidRecord]:
    """conflicts within a change."""
    hashes = [_normalised_hash(p.messages) for p in prompts]
    rows = cursor.execute(
        "SELECT prompt_id, messages, messages_hash, split FROM prompt "
        "WHERE prompt_id = ANY(?) OR messages_hash = ANY(?)",
        [[p.id for p in prompts], hashes],
    ).fetchall()
    messages_of = {prompt_id: messages for prompt_id, messages, _, _ in rows}
    split_of_hash = {key: split for _, _, key, split in rows}
    found = {}
    for index, (p, key) in enumerate(zip(prompts, hashes, strict=True)):
        messages = _as_json(p.messages)
        if messages_of.setdefault(p.id, messages) != messages:
            expected = f"the messages that prompt {p.id} already has; give the other prompt another id"
            found[index] = InvalidRecord("messages", p.text, expected)
        elif split_of_hash.setdefault(key, p.split) != p.split:
            expected = f"{split_of_hash[key]}, the split under which the same messages are already stored"
            found[index] = InvalidRecord("split", p.split, expected)
    return found


def _row(p: Prompt, now: datetime) -> list:
    metadata = clean(json.dumps(dict(p.metadata), ensure_ascii=False, default=str))
    tags = [clean(tag) for tag in p.tags]
    return [p.id, _as_json(p.messages), _normalised_hash(p.messages), p.split, tags, metadata, now]


def _prompt(row: tuple) -> Prompt:
    prompt_id, messages, split, tags, metadata = row
    turns = tuple(Message(turn["role"], turn["content"]) for turn in json.loads(messages))
    return Prompt(prompt_id, turns, split, tuple(tags), json.loads(metadata))


def _as_json(messages: Sequence[Message]) -> str:
    return json.dumps([{"role": m.role, "content": clean(m.content)} for m in messages], ensure_ascii=False)


def _normalised_hash(messages: Sequence[Message]) -> str:
    """Unicode forms and runs of white space do not make another question."""
    turns = [[m.role, " ".join(unicodedata.normalize("NFC", clean(m.content)).split())] for m in messages]
    return hashlib.sha256(json.dumps(turns, ensure_ascii=False).encode()).hexdigest()
