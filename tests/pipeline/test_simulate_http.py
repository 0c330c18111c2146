"""Simulated annotators over HTTP: a lost reply is sent again under the same key and counts once."""

import json
import threading

import httpx
import pytest

from pipeline.simulate import annotators
from pipeline.simulate_http import ServerRefused, keys_for, simulate_http


class Server:
    """Answers claim and rankings for a number of tasks; loses replies when told to."""

    def __init__(self, tasks: int, lose_every: int = 0):
        self.open, self.lose_every, self.requests = tasks, lose_every, 0
        self.stored: dict[str, dict] = {}
        self.lock = threading.Lock()

    def __call__(self, request: httpx.Request) -> httpx.Response:
        with self.lock:
            self.requests += 1
            answer = self.answer(request)
            if self.lose_every and self.requests % self.lose_every == 0:
                raise httpx.ReadError("the reply was lost")
            return answer

    def answer(self, request):
        body = json.loads(request.content or b"{}")
        if request.url.path.endswith("/me"):
            return httpx.Response(200, json={"role": "admin" if "admin" in request.headers["authorization"] else "x"})
        if request.url.path.endswith("/people"):
            return httpx.Response(201, json={"id": int(body["name"].removeprefix("sim-"))})
        if request.url.path.endswith("/keys"):
            return httpx.Response(201, json={"key": "rl_" + request.url.path.split("/")[-2]})
        if request.url.path.endswith("/rankings"):
            self.stored[body["submission_id"]] = body
            return httpx.Response(200, json={"saved": True})
        if self.open <= len(self.stored):
            return httpx.Response(204)
        shown = [{"letter": letter, "text": letter * 3} for letter in "ABC"]
        asked = [{"role": "user", "content": "?"}]
        return httpx.Response(200, json={"assignment": "a", "prompt": asked, "completions": shown})


def simulate(server, count=2, **wishes):
    keys = [f"rl_{n}" for n in range(count)]
    return simulate_http(
        "http://here", keys, annotators(count, 0, None, None), transport=httpx.MockTransport(server), **wishes
    )


def test_annotators_rank_until_the_server_has_nothing_open():
    server = Server(tasks=10)
    assert simulate(server) == {"annotators": 2, "rankings": len(server.stored), "gold_reward": {}}
    assert len(server.stored) >= 10
    assert all(
        sorted(letter for tier in body["tiers"] for letter in tier) == list("ABC") for body in server.stored.values()
    )


def test_a_lost_reply_is_not_counted_twice():
    server = Server(tasks=12, lose_every=3)
    assert simulate(server, 1)["rankings"] == len(server.stored) == 12


def test_a_limit_is_shared_by_all():
    assert simulate(Server(tasks=100), 3, limit=7)["rankings"] == 7


def test_a_refusal_is_told_in_the_servers_words():
    with pytest.raises(ServerRefused, match=r"found status 401.*no key"):
        simulate(lambda request: httpx.Response(401, text="no key"))


def test_an_admins_key_makes_a_key_for_each_annotator():
    transport = httpx.MockTransport(Server(1))
    assert keys_for("http://here", "rl_admin", ["sim-1", "sim-2"], transport) == ["rl_1", "rl_2"]
    assert keys_for("http://here", "rl_plain", ["sim-1", "sim-2"], transport) == ["rl_plain"]


@pytest.mark.parametrize(
    ("asked", "kind", "parts"),
    [
        ({"form": "pairwise"}, "ranking", {"grade"}),
        ({"form": "ratings", "scales": [{"name": "clear", "low": 1, "high": 5}]}, "ratings", {"ratings"}),
        ({"form": "thumbs", "rationale": "required", "rationale_min": 5}, "thumbs", {"thumbs", "rationale"}),
    ],
)
def test_the_form_that_the_server_asks_for_is_answered_in_letters(asked, kind, parts):
    class Asking(Server):
        def answer(self, request):
            told = super().answer(request)
            claimed = told.status_code == 200 and request.url.path.endswith("/claim")
            return httpx.Response(200, json=told.json() | asked) if claimed else told

    server = Asking(tasks=1)
    simulate(server, 1)
    (body,) = server.stored.values()
    assert body["kind"] == kind and set(body["detail"]) - {"both_good"} == parts
    for name in {"ratings", "thumbs"} & parts:
        assert set(body["detail"][name]) == set("ABC")
