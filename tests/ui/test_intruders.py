"""Attacks that work on a plain Gradio app, and some on any web page: each tries to get in, and must not."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import httpx
import pytest
from itsdangerous import TimestampSigner, URLSafeTimedSerializer

from storage import api_keys, people
from tests.ui import doors
from tests.ui.conftest import PASSWORD, Bench
from tests.ui.leads import plain
from ui.auth import COOKIE, SESSION_SECONDS, Auth, secret_of
from ui.guard import Sessions, foreign
from ui.workbench import LARGEST_BODY

EVIL = ("https://evil.example", "null", "http://127.0.0.1:1", "http://127.0.0.1.evil.example", "file://")


@contextmanager
def visitor(bench: Bench, role: str = "annotator") -> Iterator[httpx.Client]:
    """A browser of somebody with that role."""
    with httpx.Client(base_url=bench.url, timeout=30) as client:
        assert client.post("/login", data={"name": bench.person(role).name, "password": PASSWORD}).status_code == 303
        yield client


def hidden(bench: Bench) -> doors.Handler:
    """A handler of a page that annotators cannot open: it lists the people."""
    return next(one for one in doors.handlers(bench.server.demo) if one.name.endswith("people_page.open_page"))


@pytest.mark.slow
@pytest.mark.parametrize("way", ["run/predict", "api/predict", "run/open_page", "call/open_page", "call/v2/open_page"])
def test_a_hidden_handler_gives_nothing_by_any_address(bench, way):
    body = {"fn_index": hidden(bench).number, "data": [], "session_hash": "intruder"}
    with visitor(bench) as client:
        reply = client.post(f"/gradio_api/{way}", json=body)
        said = reply.text
        if "call/" in way and reply.status_code == 200:
            said = client.get(f"/gradio_api/{way}/{reply.json()['event_id']}").text
    assert "admin" not in said
    assert reply.status_code != 200 or "error" in said


def test_the_queue_gives_no_hidden_handler_either(bench):
    body = {"fn_index": hidden(bench).number, "data": [], "session_hash": "queued-intruder"}
    with visitor(bench) as client:
        client.post("/gradio_api/queue/join", json=body)
        with client.stream("GET", "/gradio_api/queue/data?session_hash=queued-intruder") as events:
            for line in events.iter_lines():
                if "process_completed" in line:
                    told = json.loads(line.removeprefix("data: "))
                    assert not told["success"]
                    assert "needs the role" in json.dumps(told)
                    return
    pytest.fail("the queue told no end")


@pytest.mark.slow
@pytest.mark.parametrize(
    "path", ["/config", "/config/", "/config?page=", "//config", "/gradio_api/info", "/openapi.json"]
)
def test_the_description_of_the_app_tells_an_annotator_no_other_page(bench, path):
    with visitor(bench) as client:
        assert "people-table" not in client.get(path).text


def test_what_is_sent_to_somebody_elses_page_is_not_heard(bench):
    with visitor(bench, "admin") as owner, visitor(bench) as intruder:
        with owner.stream("GET", "/gradio_api/heartbeat/owners-page") as beat:
            assert beat.status_code == 200
        for path in ("/gradio_api/heartbeat/owners-page", "/gradio_api/queue/data?session_hash=owners-page"):
            assert intruder.get(path).status_code == 403


def test_whose_page_it_is_is_remembered_in_a_bounded_list(bench):
    sessions, one, other = Sessions(), bench.person(), bench.person()
    assert sessions.belong("first", one) and not sessions.belong("first", other)
    for number in range(20_001):
        sessions.belong(f"page-{number}", one)
    assert len(sessions._owners) == 20_000


@pytest.mark.slow
@pytest.mark.parametrize("origin", EVIL)
def test_a_page_of_another_site_drives_nobody(bench, origin):
    with visitor(bench, "admin") as client:
        for method, path in (
            ("POST", "/rank/next"), ("POST", "/gradio_api/queue/join"), ("POST", "/logout"), ("POST", "/account/keys"),
            ("POST", "/login"), ("GET", "/api/v1/people"), ("OPTIONS", "/api/v1/people"), ("DELETE", "/api/v1/keys/1"),
        ):  # fmt: skip
            reply = client.request(method, path, headers={"origin": origin, "access-control-request-method": "POST"})
            assert reply.status_code == 403, (method, path)
            assert "access-control-allow-origin" not in reply.headers


@pytest.mark.parametrize("host", ["127.0.0.1", "loop.example", "team-loop.hf.space"])
def test_no_host_lets_another_site_ask_first(bench, host):
    """Gradio alone says yes to every preflight on a host that is not localhost, also to X-Forwarded-Host."""
    headers = {"host": host, "origin": "https://evil.example", "access-control-request-method": "POST"}
    headers["access-control-request-headers"] = "x-forwarded-host"
    for path in ("/rank/next", "/gradio_api/run/predict", "/api/v1/me", "/"):
        reply = httpx.options(bench.url + path, headers=headers)
        assert reply.status_code == 403
        assert not any(name.startswith("access-control") for name in reply.headers)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["x-forwarded-host", "x-original-host", "x-host", "forwarded"])
def test_no_header_makes_a_foreign_origin_ours(bench, name):
    value = "host=evil.example" if name == "forwarded" else "evil.example"
    headers = {"origin": "https://evil.example", name: value}
    with visitor(bench, "admin") as client:
        assert client.post("/account/keys", headers=headers).status_code == 403


def test_a_form_of_another_site_without_an_origin_is_refused(bench):
    with visitor(bench, "admin") as client:
        assert client.post("/account/keys", headers={"sec-fetch-site": "cross-site"}).status_code == 403
        assert client.get("/account", headers={"sec-fetch-site": "cross-site"}).status_code == 200


def test_behind_a_proxy_the_settings_address_is_ours_and_only_by_its_scheme():
    def asks(origin: str, **headers: str) -> bool:
        return foreign(plain({"host": "10.0.0.7:7860", "origin": origin, **headers}), "https://loop.example")

    assert not asks("https://loop.example")
    assert not asks("http://10.0.0.7:7860")
    assert asks("http://loop.example")
    assert asks("https://evil.example", **{"x-forwarded-host": "evil.example"})
    assert asks("https://loop.example.evil.example")
    assert asks("https://loop.example@evil.example")
    assert asks("")


def test_links_lead_to_the_settings_address_whatever_a_proxy_says(bench):
    auth = Auth(bench.services, "secret", "https://loop.example/")
    spoofed = plain({"x-forwarded-host": "evil.example", "host": "evil.example"})
    assert auth.address(spoofed) == "https://loop.example"
    assert Auth(bench.services, "secret").address(plain({"x-forwarded-host": "evil.example"})) == "http://test"


@pytest.mark.slow
@pytest.mark.parametrize("path", ["", "/", "/sse", "/schema", "/http", "/messages"])
def test_there_are_no_tools_for_agents(bench, path):
    assert httpx.get(f"{bench.url}/gradio_api/mcp{path}").status_code == 401
    with visitor(bench, "admin") as client:
        assert client.get(f"/gradio_api/mcp{path}").status_code == 404
        assert client.post(f"/gradio_api/mcp{path}", json={"method": "tools/list"}).status_code == 404


FILES = ("/etc/passwd", "../../etc/passwd", "{data}/secret", "{data}/rankloop.duckdb", "{data}/journal.jsonl", "app.py")


@pytest.mark.slow
@pytest.mark.parametrize("wanted", FILES)
@pytest.mark.parametrize(
    "way", ["/gradio_api/file={}", "/gradio_api/file/{}", "/static/{}", "/assets/{}", "/vendor/{}"]
)
def test_no_file_of_the_server_is_read(bench, way, wanted):
    path = way.format(wanted.format(data=bench.services.data).replace("..", "%2e%2e"))
    for role in ("annotator", "admin"):
        with visitor(bench, role) as client:
            assert client.get(path).status_code in (303, 401, 403, 404)


def test_an_upload_by_an_annotator_is_refused_and_a_leads_stays_in_its_folder(bench, tmp_path):
    file = {"files": ("../../../../tmp/intruder.jsonl", b"{}", "text/plain")}
    with visitor(bench) as client:
        assert client.post("/gradio_api/upload", files=file).status_code == 403
    with visitor(bench, "lead") as client:
        [stored] = client.post("/gradio_api/upload", files=file).json()
    assert ".." not in stored
    assert "/gradio/" in stored


def test_an_import_reads_no_other_file_of_the_server(bench):
    """A file value made up by a lead: Gradio must not take a path that was not uploaded."""
    handler = next(one for one in doors.handlers(bench.server.demo) if one.name.endswith("import_upload"))
    secret = str(bench.services.data / "secret")
    sent = {"path": secret, "meta": {"_type": "gradio.FileData"}}
    with visitor(bench, "lead") as client:
        body = {"fn_index": handler.number, "data": [sent, None, False], "session_hash": "s"}
        reply = client.post("/gradio_api/run/predict", json=body)
    assert reply.status_code != 200
    assert (bench.services.data / "secret").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    "path", ["/rank/answer", "/gradio_api/queue/join", "/login", "/account/password", "/api/v1/rankings"]
)
def test_thirty_megabytes_are_refused(bench, path):
    # a write error: the server hung up in the middle of the body, which is a refusal, too
    with visitor(bench) as client, suppress(httpx.WriteError):
        assert client.post(path, content=b"x" * 30_000_000).status_code == 413
    assert LARGEST_BODY <= 8 << 30


def test_pages_are_not_rendered_by_a_second_server_in_front(bench):
    assert bench.server.demo.ssr_mode is False
    with visitor(bench) as client:
        assert client.get("/people").status_code == 403


def forged(secret: str, session: object, salt: str = "rankloop-session", age: float = 0) -> str:
    """A cookie signed so many seconds ago."""

    class Old(TimestampSigner):
        def get_timestamp(self):
            return int(time.time() - age)

    return URLSafeTimedSerializer(secret, salt=salt, signer=Old).dumps(session)


def test_only_our_own_fresh_cookie_counts(bench):
    admin, secret = bench.person("admin"), secret_of(bench.services.data)
    session = {"person": admin.id, "epoch": 0}
    good = forged(secret, session)
    bad = [
        forged("another secret", session),
        forged(secret, session, salt="rankloop-hub-sign-in"),
        forged(secret, session, age=SESSION_SECONDS + 60),
        forged(secret, {**session, "epoch": 1}),
        forged(secret, {"person": 10**6, "epoch": 0}),
        forged(secret, {"person": "1 OR 1=1", "epoch": 0}),
        forged(secret, [admin.id, 0]),
        good[:-2] + ("aa" if good[-2:] != "aa" else "bb"),
        good.split(".")[0],
        "",
    ]
    assert bench.server.auth.person_of_cookie(good) == admin
    assert [bench.server.auth.person_of_cookie(one) for one in bad] == [None] * len(bad)


def test_another_secret_signs_everybody_out(bench):
    cookie = forged(secret_of(bench.services.data), {"person": bench.person().id, "epoch": 0})
    assert bench.server.auth.person_of_cookie(cookie)
    assert Auth(bench.services, secret_of(bench.services.data, "rotated")).person_of_cookie(cookie) is None


def test_a_deactivated_person_is_out_at_once_by_cookie_and_by_password(bench):
    with visitor(bench) as client:
        person = people.person_by_name(bench.services.database, f"annotator {bench.count}")
        people.set_active(bench.services.database, person.id, False)
        assert client.post("/rank/next", json={}).status_code == 401
        people.set_active(bench.services.database, person.id, True)
        assert client.post("/rank/next", json={}).status_code == 401, "an old session must not come back to life"


def test_strangers_hold_no_heartbeat_open(bench):
    assert httpx.get(f"{bench.url}/gradio_api/heartbeat/anybody").status_code == 401


@pytest.mark.parametrize(
    "path", ["/login/", "/LOGIN/../people", "/login/../people", "/login/%2e%2e/people", "/login;/people"]
)
def test_no_spelling_of_an_open_path_opens_another(bench, path):
    reply = httpx.get(bench.url + path)
    assert reply.status_code in (303, 401, 404)
    assert "people-table" not in reply.text


def test_gradios_own_sign_in_is_not_there(bench):
    form = {"username": "admin", "password": ""}
    assert httpx.post(f"{bench.url}/login/", data=form).status_code == 401
    with visitor(bench) as client:
        assert client.post("/login/", data=form).status_code == 404


TARGETS = (
    "https://evil.example", "//evil.example", "/\\evil.example", "\\\\evil.example", "javascript:alert(1)",
    "/%09/evil.example", "\t//evil.example", "https:evil.example", "///evil.example", "/\r\nset-cookie: x=1",
)  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("target", TARGETS)
def test_signing_in_leads_to_no_other_site(bench, target):
    form = {"name": bench.person().name, "password": PASSWORD}
    location = httpx.post(f"{bench.url}/login", params={"next": target}, data=form).headers["location"]
    assert location == "/" or (location.startswith("/") and not location.startswith(("//", "/\\")))


def test_a_key_counts_in_its_own_header_only(bench):
    key = api_keys.create_api_key(bench.services.database, bench.person("admin").id, "x")
    address = f"{bench.url}/api/v1/me"
    assert httpx.get(address, headers={"authorization": f"Bearer {key}"}).status_code == 200
    assert httpx.get(address, params={"key": key, "access_token": key, "token": key}).status_code == 401
    for headers in ({"x-api-key": key}, {"cookie": f"{COOKIE}={key}"}, {"authorization": f"Basic {key}"}):
        assert httpx.get(address, headers=headers).status_code == 401


def test_headers_of_a_proxy_sign_nobody_in(bench):
    headers = {"x-forwarded-user": "admin", "remote-user": "admin", "x-ip-token": "x", "x-forwarded-for": "127.0.0.1"}
    assert httpx.get(f"{bench.url}/people", headers=headers).status_code == 303


@pytest.mark.parametrize("path", ["/join?token=guess", "/password?token=guess", "/login?token=guess"])
def test_guessing_links_has_to_wait(bench, path):
    auth = bench.server.auth
    before = auth.failures_by_address
    try:
        auth.failures_by_address = type(before)(3)
        assert [httpx.get(bench.url + path).status_code for _ in range(5)] == [403] * 3 + [429] * 2
    finally:
        auth.failures_by_address = before


@pytest.mark.slow
def test_guessing_the_present_password_has_to_wait(bench):
    with visitor(bench) as client:
        form = {"present": "wrong", "password": "another good password"}
        seen = [client.post("/account/password", data=form).status_code for _ in range(9)]
    assert seen == [403] * 8 + [429]
