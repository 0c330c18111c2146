"""The words of the project as frozen dataclasses; each refuses to be built wrong.

Nothing here touches the database. Ids of completions, tasks, people and campaigns are integers
given by the writer; a prompt keeps the id its import gave it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from storage.details import NO_DETAIL, Detail
from storage.invalid import InvalidRecord as InvalidRecord
from storage.invalid import require
from storage.invalid import shorten as shorten

ROLES = ("annotator", "reviewer", "lead", "admin")
MESSAGE_ROLES = ("system", "user", "assistant", "tool")
SPLITS = ("train", "eval")
ANSWER_KINDS = ("ranking", "ratings", "thumbs", "all_bad", "cannot_judge", "skip")
JUDGEMENTS = ("ranking", "ratings", "thumbs", "all_bad")  # the kinds that count towards overlap
STATUSES = ("counted", "surplus", "superseded", "excluded", "check")  # check: measures the annotator, not the models
WORK_PURPOSES = ("rank", "compare")  # tasks whose answers are data
CHECK_PURPOSES = ("training", "test", "gold")  # tasks with a known answer
EVERYBODY = 1_000_000  # the overlap of a task that each annotator may answer
RUN_STATES = ("queued", "starting", "running", "finishing", "succeeded", "failed", "cancelled")
ENDED_STATES = ("succeeded", "failed", "cancelled")
MIN_COMPLETIONS, MAX_COMPLETIONS = 2, 9


@dataclass(frozen=True)
class Message:
    """One turn of a prompt."""

    role: str
    content: str

    def __post_init__(self):
        require(self.role in MESSAGE_ROLES, "role", self.role, "one of " + ", ".join(MESSAGE_ROLES))
        require(isinstance(self.content, str), "content", self.content, "text")


@dataclass(frozen=True)
class Prompt:
    """What the model is asked. The split is fixed when the prompt enters."""

    id: str
    messages: tuple[Message, ...]
    split: str
    tags: tuple[str, ...] = ()
    metadata: Mapping = field(default_factory=dict)

    def __post_init__(self):
        require(bool(self.id), "id", self.id, "a non-empty text")
        require(len(self.messages) > 0, "messages", self.messages, "at least one message")
        require(self.split in SPLITS, "split", self.split, "train or eval")

    @property
    def text(self) -> str:
        """The last message's text: what a one-line list shows."""
        return self.messages[-1].content


@dataclass(frozen=True)
class Completion:
    """One answer to a prompt by one model; identity is (prompt, model, text)."""

    id: int
    prompt_id: str
    model: str
    text: str
    settings: Mapping = field(default_factory=dict)


@dataclass(frozen=True)
class Demonstration:
    """A good answer to a prompt, written or edited by a person; source says where it came from."""

    id: int
    campaign_id: int
    prompt_id: str
    text: str
    source: str = ""


@dataclass(frozen=True)
class Campaign:
    """A piece of annotation work with its guidelines and its current policy."""

    id: int
    name: str
    criterion: str = "helpful"
    guidelines: str = ""
    guidelines_version: int = 1
    k: int = 4
    overlap: int = 1
    policy: str | None = None
    state: str = "open"

    def __post_init__(self):
        require(bool(self.name.strip()), "name", self.name, "a non-empty text")
        in_range = MIN_COMPLETIONS <= self.k <= MAX_COMPLETIONS
        require(in_range, "k", self.k, f"{MIN_COMPLETIONS} to {MAX_COMPLETIONS} completions")
        require(self.overlap >= 1, "overlap", self.overlap, "at least 1")
        require(self.state in ("open", "paused", "closed"), "state", self.state, "open, paused or closed")


@dataclass(frozen=True)
class Task:
    """One prompt with a fixed set of completions; every annotator of it sees the same set.

    overlap 0 makes a task that nobody can claim: the home of an imported ranking.
    purpose is "rank", "compare" where two versions meet, or training, test or gold where the answer is known.
    """

    id: int
    campaign_id: int
    prompt_id: str
    completion_ids: tuple[int, ...]
    overlap: int
    priority: float = 0.0
    purpose: str = "rank"
    content_hash: str = field(default="", compare=False)  # of what it shows; "" where it was not read

    def __post_init__(self):
        count = len(self.completion_ids)
        fits = MIN_COMPLETIONS <= count <= MAX_COMPLETIONS
        require(fits, "completions", count, f"{MIN_COMPLETIONS} to {MAX_COMPLETIONS}")
        distinct = len(set(self.completion_ids)) == count
        require(distinct, "completions", self.completion_ids, "no completion twice")
        require(self.overlap >= 0, "overlap", self.overlap, "0 or more")
        purposes = (*WORK_PURPOSES, *CHECK_PURPOSES)
        require(self.purpose in purposes, "purpose", self.purpose, "one of " + ", ".join(purposes))


@dataclass(frozen=True)
class Assignment:
    """One annotator's lease on one task; `shown` holds completion ids in the order shown (A, B, …).

    purpose: work, gold, training, test, or repeat where the person has answered the task before.
    """

    id: str
    task_id: int
    campaign_id: int
    person_id: int
    shown: tuple[int, ...]
    started: datetime
    expires: datetime
    purpose: str = "work"

    def letter(self, completion_id: int) -> str:
        """The letter under which a completion is shown."""
        return "ABCDEFGHI"[self.shown.index(completion_id)]


@dataclass(frozen=True)
class Submission:
    """What an annotator sends: the answer to an assignment, under a key made by the sender.

    tiers hold completion ids from best to worst; completions of one tier tie. Only a ranking has tiers.
    detail: what stands beside them.
    """

    submission_id: str
    assignment_id: str
    kind: str
    tiers: tuple[tuple[int, ...], ...] = ()
    seconds: float = 0.0
    detail: Detail = NO_DETAIL

    def __post_init__(self):
        keyed = isinstance(self.submission_id, str) and 8 <= len(self.submission_id) <= 64
        require(keyed, "submission_id", self.submission_id, "a key of 8 to 64 characters")
        require(self.kind in ANSWER_KINDS, "kind", self.kind, "one of " + ", ".join(ANSWER_KINDS))
        require((self.kind == "ranking") == bool(self.tiers), "tiers", self.tiers, "tiers for a ranking, and only then")
        require(all(self.tiers), "tiers", self.tiers, "no empty tier")
        ids = [c for tier in self.tiers for c in tier]
        require(len(ids) == len(set(ids)), "tiers", self.tiers, "each completion once")
        require(0 <= self.seconds <= 86_400, "seconds", self.seconds, "0 to 86400 seconds")


@dataclass(frozen=True)
class Answer:
    """A stored answer. ranks align with the task's completion_ids, 1 = best, dense; None unless a ranking.

    purpose as in Assignment; detail is the JSON of a Detail.
    """

    submission_id: str
    seq: int
    task_id: int
    campaign_id: int
    person_id: int
    assignment_id: str | None
    kind: str
    ranks: tuple[int, ...] | None
    shown: tuple[int, ...]
    seconds: float
    guidelines_version: int
    status: str
    reason: str
    revision: int
    created: datetime
    purpose: str = "work"
    detail: str = "{}"


@dataclass(frozen=True)
class Comparison:
    """Two completions of one prompt and how far the first is preferred: 1 first, 0 second, 0.5 tie.

    weight is the number (or summed reliability) of annotators divided by the number of pairs of the task.
    margin: rank of second minus rank of first; grade: the signed margin (-3 to 3) that people graded, 0 for none.
    """

    prompt_id: str
    first: int
    second: int
    preference: float
    weight: float = 1.0
    margin: float = 0.0
    grade: float = 0.0

    def __post_init__(self):
        require(self.first != self.second, "second", self.second, "another completion than the first")
        require(0.0 <= self.preference <= 1.0, "preference", self.preference, "0 to 1")
        require(self.weight > 0, "weight", self.weight, "above 0")

    def swapped(self) -> "Comparison":
        """The same fact told from the other side."""
        turned = (1.0 - self.preference, self.weight, -self.margin, -self.grade)
        return Comparison(self.prompt_id, self.second, self.first, *turned)


@dataclass(frozen=True)
class Person:
    """Somebody, or something, that answers or leads. kind: person, simulated or imported.

    active: whether the account may sign in; answers given before stay."""

    id: int
    name: str
    role: str
    kind: str = "person"
    active: bool = True

    def __post_init__(self):
        require(bool(self.name.strip()), "name", self.name, "a non-empty text")
        require(self.role in ROLES, "role", self.role, "one of " + ", ".join(ROLES))

    def may(self, role: str) -> bool:
        """Whether this person's role includes what `role` is allowed."""
        return ROLES.index(self.role) >= ROLES.index(role)


@dataclass(frozen=True)
class Run:
    """One job of any kind. directory is relative to the data folder; started is when it last got its slot,
    and slot names it.

    note, tags and priority are what people say of it; a deleted run has no files any more.
    """

    id: str
    kind: str
    campaign_id: int | None
    directory: str
    options: Mapping
    state: str
    reason: str
    created: datetime
    created_by: int | None = None
    data_hash: str | None = None
    handle: str | None = None
    changed: datetime | None = None
    started: datetime | None = None
    note: str = ""
    tags: tuple[str, ...] = ()
    priority: float = 0.0
    deleted: bool = False
    slot: str = ""


@dataclass(frozen=True)
class ModelVersion:
    """A policy or a reward model that knows its parent, its run and the data it learned from.

    path is relative to the data folder when a run made it, else a local path or a Hub id.
    """

    name: str
    role: str
    path: str
    parent: str | None = None
    run_id: str | None = None
    data_hash: str | None = None
    metrics: Mapping = field(default_factory=dict)
    created: datetime | None = None

    def __post_init__(self):
        require(self.role in ("policy", "reward"), "role", self.role, "policy or reward")
