"""Simulated annotators over HTTP: what `simulate --url` does to a running server.

Each annotator is a thread with its own client and its own submission ids; a lost connection is tried again
with the same id, so that nothing is counted twice. Sees letters only, as every annotator does, and so knows
no model names: there is no gold reward in its answer.
"""

import threading
import time
import uuid
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import httpx

from pipeline.simulated_answers import Asked, AskedScale, judge
from pipeline.synthetic import SimulatedAnnotator

PATIENCE = 60.0  # seconds a server may be away before an annotator gives up
TIMEOUT = 30.0  # seconds for one request
AGAIN = (429, 500, 502, 503, 504)  # the server is busy or starting: ask again


class ServerRefused(RuntimeError):
    """The server did not accept a request: says which, the status, and the server's own words."""


@dataclass
class _Tally:
    """How many answers were acknowledged, and how many may still be sent; shared by the threads."""

    limit: int | None
    on_progress: Callable[[int, int | None], None] | None
    acknowledged: int = 0
    started: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def may_start(self) -> bool:
        with self.lock:
            open_ = self.limit is None or self.started < self.limit
            self.started += open_
            return open_

    def not_used(self) -> None:
        with self.lock:
            self.started -= 1

    def count(self) -> None:
        with self.lock:
            self.acknowledged += 1
            if self.on_progress:
                self.on_progress(self.acknowledged, self.limit)


def simulate_http(
    url: str,
    keys: Sequence[str],
    team: Sequence[SimulatedAnnotator],
    campaign: str | None = None,
    limit: int | None = None,
    on_progress: Callable[[int, int | None], None] | None = None,
    transport: httpx.BaseTransport | None = None,
) -> dict:
    """Rank until nothing is open; one annotator per key, because a key is a person and a person has one task.

    Returns {"annotators", "rankings", "gold_reward": {}}; rankings counts acknowledged ones.
    Raises ServerRefused, and httpx.TransportError for a server that stays away.
    """
    tally = _Tally(limit, on_progress)
    active = list(zip(team, keys, strict=False))

    def work(pair: tuple[SimulatedAnnotator, str]) -> None:
        annotator, key = pair
        headers = {"Authorization": f"Bearer {key}"}
        with httpx.Client(base_url=url, headers=headers, timeout=TIMEOUT, transport=transport) as client:
            _annotate(client, annotator, campaign, tally)

    with ThreadPoolExecutor(max_workers=max(1, len(active))) as threads:
        list(threads.map(work, active))
    return {"annotators": len(active), "rankings": tally.acknowledged, "gold_reward": {}}


def keys_for(url: str, key: str, names: Sequence[str], transport: httpx.BaseTransport | None = None) -> list[str]:
    """A key for each simulated annotator, made with an admin's key; any other role's key stands for itself alone.

    Raises ServerRefused for a key the server does not know.
    """
    headers = {"Authorization": f"Bearer {key}"}
    with httpx.Client(base_url=url, headers=headers, timeout=TIMEOUT, transport=transport) as client:
        if _send(client, "GET", "/api/v1/me").json()["role"] != "admin":
            return [key]
        keys = []
        for name in names:
            wish = {"name": name, "role": "annotator", "kind": "simulated"}
            person = _send(client, "POST", "/api/v1/people", wish).json()["id"]
            keys.append(_send(client, "POST", f"/api/v1/people/{person}/keys", {"label": "simulate"}).json()["key"])
        return keys


def _annotate(client: httpx.Client, annotator: SimulatedAnnotator, campaign: str | None, tally: _Tally) -> None:
    wish = {"campaign": campaign} if campaign else {}
    while tally.may_start():
        claimed = _send(client, "POST", "/api/v1/tasks/claim", wish)
        if claimed.status_code == 204:
            tally.not_used()
            return
        answered = _send(client, "POST", "/api/v1/rankings", _judgement(annotator, claimed.json()), accept=(404, 409))
        if answered.is_success:
            tally.count()
        else:  # the lease was lost or the task answered otherwise: go on with the next
            tally.not_used()


def _judgement(annotator: SimulatedAnnotator, task: dict) -> dict:
    letters = [completion["letter"] for completion in task["completions"]]
    texts = [completion["text"] for completion in task["completions"]]
    judged = judge(annotator, _asked(task), task["prompt"][-1]["content"], texts)
    detail = {
        "grade": judged.grade,
        "both_good": judged.both_good,
        "ratings": {letters[i]: values for i, values in judged.ratings.items()},
        "thumbs": {letters[i]: value for i, value in judged.thumbs.items()},
        "rationale": judged.rationale,
    }
    return {
        "submission_id": uuid.uuid4().hex,
        "assignment": task["assignment"],
        "kind": judged.kind,
        "tiers": [[letters[i] for i in tier] for tier in judged.tiers],
        "seconds": 0.0,
        "detail": {name: value for name, value in detail.items() if value not in (None, False, "", {})},
    }


def _asked(task: dict) -> Asked:
    scales = tuple(AskedScale(scale["name"], scale["low"], scale["high"]) for scale in task.get("scales", ()))
    rules = (task.get("rationale", "off"), task.get("rationale_min", 0))
    return Asked(task.get("form", "ranking"), scales, *rules)


def _send(client: httpx.Client, method: str, path: str, body: dict | None = None, accept: Sequence[int] = ()):
    """One request, repeated with the same body while the server is away or busy."""
    deadline, pause = time.monotonic() + PATIENCE, 0.1
    while True:
        try:
            answer = client.request(method, path, json=body)
            if answer.status_code not in AGAIN or time.monotonic() > deadline:
                break
        except httpx.TransportError:
            if time.monotonic() > deadline:
                raise
        time.sleep(pause)
        pause = min(2.0, pause * 2)
    if not answer.is_success and answer.status_code not in accept:
        raise ServerRefused(f"{method} {path}: found status {answer.status_code}, expected 2xx: {answer.text[:300]}")
    return answer
