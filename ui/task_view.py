"""What a task looks like to its annotator: letters, safe HTML and what the campaign asks; the feedback on training.

Never a completion id or a model name, and no word on whether the answer is known: only training tasks are announced.
What a task shows never changes, so it is rendered once and kept; what a campaign asks comes from the pool.
"""

import re
import threading
from collections import OrderedDict
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache

from pipeline.services import Services
from storage import tasks
from storage.completions import completions
from storage.prompts import prompt
from storage.records import Answer, Assignment, Message
from storage.setups import Setup
from ui import markup
from ui.task_answer import LETTERS

LARGEST = 30_000_000  # characters of rendered tasks that are kept
FLAGGED = "Somebody flagged it as unsafe."
LISTED = "It contains a word that this campaign veils."


@dataclass(frozen=True)
class Sheet:
    """What a task shows, rendered: the turns of its prompt, and by completion id each completion without a letter."""

    prompt: list[dict]
    completions: dict[int, dict]
    size: int


class Sheets:
    """The sheets of the tasks shown last. Thread-safe."""

    def __init__(self, services: Services, largest: int = LARGEST):
        self.services, self.largest, self.size = services, largest, 0
        self._kept: OrderedDict[int, Sheet] = OrderedDict()
        self._lock = threading.Lock()

    def of(self, task_id: int) -> Sheet:
        """The task's sheet."""
        with self._lock:
            if task_id in self._kept:
                self._kept.move_to_end(task_id)
                return self._kept[task_id]
        made = self._make(task_id)
        with self._lock:
            if task_id not in self._kept:
                self._kept[task_id], self.size = made, self.size + made.size
            while self.size > self.largest and len(self._kept) > 1:
                self.size -= self._kept.popitem(last=False)[1].size
        return made

    def _make(self, task_id: int) -> Sheet:
        database = self.services.database
        task = self.services.pool.task(task_id) or tasks.task(database, task_id)
        turns = [message_view(message) for message in prompt(database, task.prompt_id).messages]
        texts = {one.id: completion_view(one.text) for one in completions(database, task.completion_ids)}
        size = sum(len(turn["html"]) for turn in turns) + sum(len(t["html"]) + len(t["text"]) for t in texts.values())
        return Sheet(turns, texts, size)


def task_view(services: Services, sheets: Sheets, assignment: Assignment) -> dict:
    """An assignment as the board draws it."""
    campaign, setup = services.pool.campaign(assignment.campaign_id), services.pool.setup(assignment.campaign_id)
    sheet = sheets.of(assignment.task_id)
    return {
        "assignment": assignment.id,
        "expires": assignment.expires.isoformat(),
        "campaign": campaign.name,
        "campaign_id": campaign.id,
        "criterion": campaign.criterion,
        **asked_view(setup),
        "guidelines": markup.to_html(campaign.guidelines) if campaign.guidelines.strip() else "",
        "examples": markup.to_html(setup.examples) if setup.examples.strip() else "",
        "guidelines_key": f"{campaign.id}.{campaign.guidelines_version}",
        "guidelines_version": campaign.guidelines_version,
        "training": assignment.purpose == "training",
        "prompt": sheet.prompt,
        "completions": shown_view(services, setup, sheet, assignment.shown),
    }


def asked_view(setup: Setup) -> dict:
    """What a campaign asks for: the form with its scales, flags, reasons, rationale and edit."""
    scales = [asdict(scale) for scale in setup.scales]
    return {
        "form": setup.form,
        "scales": scales,
        "flags": list(setup.flags),
        "reasons": list(setup.reasons),
        "rationale": setup.rationale,
        "rationale_min": setup.rationale_min,
        "edit": setup.edit,
    }


def shown_view(services: Services, setup: Setup, sheet: Sheet, shown: Sequence[int]) -> list[dict]:
    """The completions under their letters, veiled where the campaign wants it."""
    flags = services.pool.flags(shown) if setup.moderation else {}
    views = []
    for letter, completion_id in zip(LETTERS, shown, strict=False):
        content = sheet.completions[completion_id]
        why = veil(setup, content["text"], flags.get(completion_id, ()))
        covered = {"snippet": "veiled"} if why else {}
        views.append({"letter": letter, **content, **covered, "veil": why})
    return views


def veil(setup: Setup, text: str, flags: Collection[str]) -> str | None:
    """Why a completion is veiled until the annotator opens it, or None. Never in words of other people's own."""
    if not setup.moderation:
        return None
    if "unsafe" in flags:
        return FLAGGED
    words = listed_words(setup.moderation_words)
    return LISTED if words and words.search(text) else None


@lru_cache(256)
def listed_words(words: tuple[str, ...]) -> re.Pattern | None:
    """Finds any of these words as whole words, whatever their case and the white space inside them."""
    given = [r"\s+".join(map(re.escape, word.split())) for word in words if word.strip()]
    return re.compile(rf"(?<!\w)(?:{'|'.join(given)})(?!\w)", re.IGNORECASE) if given else None


def message_view(message: Message) -> dict:
    """One turn of the prompt; the page marks its role and finds its direction."""
    return {"role": message.role, "html": markup.to_html(message.content)}


def completion_view(text: str) -> dict:
    """One completion: as safe HTML, as plain text, its length and its first words."""
    words = len(text.split())
    note = "empty" if not text.strip() else f"{words:,} word{'' if words == 1 else 's'}"
    return {"html": markup.to_html(text), "text": text, "note": note, "snippet": markup.snippet(text)}


def feedback(services: Services, answer: Answer) -> dict | None:
    """What an annotator learns from a training task: {"score", "expected", "explanation"}; None for other tasks."""
    pool = services.pool
    known, task = pool.eligibility.check(answer.task_id), pool.task(answer.task_id)
    if answer.purpose != "training" or known is None or task is None:
        return None
    if known.ranks is None:
        expected = {"kind": "all_bad"}
    else:
        letter = dict(zip(answer.shown, LETTERS, strict=False))
        rank = dict(zip((letter[c] for c in task.completion_ids), known.ranks, strict=True))
        expected = {"tiers": [sorted(x for x in rank if rank[x] == place) for place in sorted(set(rank.values()))]}
    said = markup.to_html(known.explanation) if known.explanation.strip() else ""
    return {"score": pool.eligibility.score(answer, task), "expected": expected, "explanation": said}
