import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import pytest
from starlette.responses import Response

from storage import api_keys, campaigns, invitations, members, passwords, people
from tests.ui.conftest import PASSWORD, Bench
from tests.ui.leads import plain
from ui import navigation
from ui.auth import COOKIE, Auth, secret_of

PAGES = {"": "annotator", "campaigns": "lead", "runs": "lead", "leaderboard": "reviewer", "people": "lead"}
GRADIO = [
    ("GET", "/config"),
    ("GET", "/config?page=people"),
    ("GET", "/gradio_api/info"),
    ("GET", "/gradio_api/openapi.json"),
    ("GET", "/gradio_api/heartbeat/abc"),
    ("GET", "/gradio_api/queue/data?session_hash=a"),
    ("GET", "/gradio_api/file=/etc/passwd"),
    ("GET", "/gradio_api/mcp/schema"),
    ("GET", "/gradio_api/app_id"),
    ("POST", "/gradio_api/run/predict"),
    ("POST", "/gradio_api/queue/join"),
    ("POST", "/gradio_api/upload"),
    ("POST", "/gradio_api/reset"),
    ("POST", "/rank/next"),
    ("POST", "/rank/answer"),
]


@contextmanager
def signed_in(bench: Bench, role: str) -> Iterator[httpx.Client]:
    """A client with the cookie of a new person."""
    with httpx.Client(base_url=bench.url) as client:
        name = bench.person(role).name
        assert client.post("/login", data={"name": name, "password": PASSWORD}).status_code == 303
        yield client


@pytest.mark.parametrize("page", PAGES)
def test_a_page_sends_strangers_to_sign_in_and_back(bench, page):
    reply = httpx.get(f"{bench.url}/{page}")
    assert reply.status_code == 303
    assert reply.headers["location"] == ("/login" if page == "" else f"/login?next=/{page}")


@pytest.mark.parametrize(("method", "path"), GRADIO)
def test_no_gradio_route_answers_a_stranger(bench, method, path):
    reply = httpx.request(method, bench.url + path, json={} if method == "POST" else None)
    assert reply.status_code == 401


@pytest.mark.parametrize("path", ["/healthz", "/login", "/favicon.ico", "/vendor/katex/katex.min.js"])
def test_what_needs_no_account_is_open(bench, path):
    assert httpx.get(bench.url + path).status_code == 200


@pytest.mark.slow
@pytest.mark.parametrize("role", ["annotator", "reviewer", "lead", "admin"])
def test_each_role_opens_its_pages_and_no_others(bench, role):
    with signed_in(bench, role) as client:
        for page, needed in navigation.ROLES.items():
            allowed = people.person_by_name(bench.services.database, f"{role} {bench.count}").may(needed)
            expected = 200 if allowed else 403
            for path in (f"/{page}", f"/?page={page}", f"/config?page={page}", f"/gradio_api/info?page={page}"):
                assert client.get(path).status_code == expected, path


@pytest.mark.slow
@pytest.mark.parametrize("path", ["/config", "/config/", "/config?page=none", "/?page=none", "/gradio_api/info"])
def test_the_description_of_all_pages_is_for_admins(bench, path):
    with signed_in(bench, "lead") as client:
        assert client.get(path).status_code == 403


@pytest.mark.slow
def test_every_handler_of_another_page_refuses_an_annotator(bench):
    config = bench.server.demo.config
    open_to_all = [page for page, role in navigation.ROLES.items() if role == "annotator"]
    own = {number for page in open_to_all for number in config["page"][page]["dependencies"]}
    with signed_in(bench, "annotator") as client:
        for handler in config["dependencies"]:
            if handler["id"] not in own and handler["backend_fn"]:
                body = {"fn_index": handler["id"], "data": [None] * len(handler["inputs"]), "session_hash": "s"}
                assert client.post("/gradio_api/run/predict", json=body).status_code != 200, handler


def test_annotators_bring_and_take_no_files(bench):
    with signed_in(bench, "annotator") as client:
        assert client.get("/gradio_api/file=anything").status_code == 403
        assert client.post("/gradio_api/upload", files={"files": b"x"}).status_code == 403


@pytest.mark.slow
@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://127.0.0.1:1"])
def test_a_foreign_page_cannot_drive_a_signed_in_person(bench, origin):
    with signed_in(bench, "admin") as client:
        for path in ("/rank/next", "/gradio_api/run/predict", "/logout", "/api/v1/me"):
            reply = client.post(path, headers={"origin": origin}, json={})
            assert reply.status_code == 403


def test_our_own_pages_may_call(bench):
    with signed_in(bench, "annotator") as client:
        assert client.post("/rank/next", headers={"origin": bench.url}, json={}).status_code == 200


def test_the_session_cookie_is_hidden_from_scripts(bench):
    name = bench.person().name
    reply = httpx.post(f"{bench.url}/login", data={"name": name, "password": PASSWORD})
    cookie = reply.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=lax" in cookie


@pytest.mark.parametrize(("framed", "same_site"), [(False, "lax"), (True, "none")])
def test_behind_https_the_cookie_is_secure_and_reaches_a_frame_on_a_space_only(bench, framed, same_site):
    auth = Auth(bench.services, "secret", framed=framed)
    for headers in ({}, {"sec-fetch-dest": "iframe"}):
        request = plain({"x-forwarded-proto": "https", **headers})
        cookie = auth.sign_in(Response(), request, bench.person()).headers["set-cookie"].lower()
        assert f"samesite={same_site}" in cookie and "secure" in cookie
        assert ("partitioned" in cookie) == (framed and bool(headers))


def test_a_session_outlives_a_restart(bench):
    with signed_in(bench, "annotator") as client:
        again = Auth(bench.services, secret_of(bench.services.data))
        assert again.person_of_cookie(client.cookies[COOKIE]).role == "annotator"


@pytest.mark.parametrize("cookie", ["", "x", "eyJwZXJzb24iOjEsImVwb2NoIjowfQ.aaaa.bbbb"])
def test_a_made_up_cookie_is_nobody(bench, cookie):
    assert Auth(bench.services, "secret").person_of_cookie(cookie) is None


def test_a_cookie_of_another_secret_is_nobody(bench):
    with signed_in(bench, "admin") as client:
        assert Auth(bench.services, "another secret").person_of_cookie(client.cookies[COOKIE]) is None


def test_signing_out_everywhere_ends_every_session(bench):
    with signed_in(bench, "annotator") as first:
        second = httpx.Client(base_url=bench.url, cookies=dict(first.cookies))
        first.post("/logout", data={"everywhere": "1"})
        assert second.post("/rank/next", json={}).status_code == 401


def test_signing_out_here_takes_the_cookie_away(bench):
    with signed_in(bench, "annotator") as client:
        client.post("/logout")
        assert client.get("/").status_code == 303


@pytest.mark.slow
def test_a_wrong_password_signs_nobody_in_and_soon_has_to_wait(bench):
    form = {"name": bench.person().name, "password": "wrong"}
    seen = [httpx.post(f"{bench.url}/login", data=form).status_code for _ in range(9)]
    assert seen == [401] * 8 + [429]
    assert httpx.post(f"{bench.url}/login", data={**form, "password": PASSWORD}).status_code == 429


@pytest.mark.parametrize("target", ["https://evil.example", "//evil.example", "/\\evil.example"])
def test_signing_in_leads_nowhere_else(bench, target):
    form = {"name": bench.person().name, "password": PASSWORD}
    reply = httpx.post(f"{bench.url}/login", params={"next": target}, data=form)
    assert reply.headers["location"] == "/"


def test_the_printed_link_signs_the_operator_in_once(bench):
    link = bench.server.auth.one_time_link(bench.url)
    with httpx.Client() as client:
        assert client.get(link).headers["location"] == "/"
        assert client.get(f"{bench.url}/people").status_code == 200
    assert httpx.get(link).status_code == 403
    assert people.person_by_name(bench.services.database, "admin").role == "admin"


def test_a_made_up_token_signs_nobody_in(bench):
    assert httpx.get(f"{bench.url}/login?token=guess").status_code == 403


def test_an_invitation_makes_an_account_of_its_role(bench):
    admin = bench.person("admin")
    link = f"{bench.url}/join?token={invitations.create_invitation(bench.services.database, 'reviewer', admin.id)}"
    with httpx.Client() as client:
        assert "reviewer" in client.get(link).text
        assert client.post(link, data={"name": "", "password": PASSWORD}).status_code == 422
        assert client.post(link, data={"name": admin.name, "password": PASSWORD}).status_code == 409
        assert client.post(link, data={"name": "newcomer", "password": PASSWORD}).status_code == 303
        assert client.get(f"{bench.url}/leaderboard").status_code == 200
    assert httpx.get(link).status_code == 403


def test_an_invitation_lets_somebody_signed_in_join_with_their_account(bench):
    database = bench.services.database
    talk = campaigns.create_campaign(database, f"talk {bench.count}")
    link = f"/join?token={invitations.create_invitation(database, 'annotator', None, campaign_id=talk.id)}"
    with signed_in(bench, "reviewer") as client:
        before = people.people(database)
        assert talk.name in client.get(link).text
        assert client.post(link).status_code == 303
    assert people.people(database) == before
    assert [one.role for one in members.members(database, talk.id)] == ["reviewer"]


def test_an_invitation_for_new_accounts_makes_none_for_somebody_signed_in(bench):
    link = f"/join?token={invitations.create_invitation(bench.services.database, 'admin', None)}"
    with signed_in(bench, "annotator") as client:
        assert "only makes new accounts" in client.post(link).text
        assert client.get("/people").status_code == 403


def test_a_password_link_works_once_and_ends_older_sessions(bench):
    with signed_in(bench, "annotator") as client:
        person = people.person_by_name(bench.services.database, f"annotator {bench.count}")
        link = f"{bench.url}/password?token={passwords.create_password_link(bench.services.database, person.id, None)}"
        assert person.name in httpx.get(link).text
        assert httpx.post(link, data={"password": "short"}).status_code == 422
        assert httpx.post(link, data={"password": "another good password"}).status_code == 303
        assert httpx.post(link, data={"password": "a third good password"}).status_code == 403
        assert client.post("/rank/next", json={}).status_code == 401
    form = {"name": person.name, "password": "another good password"}
    assert httpx.post(f"{bench.url}/login", data=form).status_code == 303


def test_an_api_key_works_until_it_is_revoked(bench):
    database, person = bench.services.database, bench.person()
    headers = {"authorization": f"Bearer {api_keys.create_api_key(database, person.id, 'script')}"}
    assert httpx.post(f"{bench.url}/rank/next", headers=headers, json={}).status_code == 200
    api_keys.revoke_api_key(database, api_keys.api_keys(database, person.id)[0].id)
    assert httpx.post(f"{bench.url}/rank/next", headers=headers, json={}).status_code == 401


def test_a_changed_role_counts_at_once(bench):
    with signed_in(bench, "annotator") as client:
        person = people.person_by_name(bench.services.database, f"annotator {bench.count}")
        people.set_role(bench.services.database, person.id, "lead")
        assert client.get("/runs").status_code == 200


@pytest.mark.parametrize("chunked", [False, True])
def test_a_huge_body_is_refused(bench, chunked):
    body = b"x" * 5_000_000
    with signed_in(bench, "annotator") as client:
        sent = iter([body[:2_500_000], body[2_500_000:]]) if chunked else body
        assert client.post("/rank/answer", content=sent).status_code == 413


def test_answers_carry_careful_headers(bench):
    headers = httpx.get(f"{bench.url}/login").headers
    assert headers["x-content-type-options"] == "nosniff"
    assert "frame-ancestors" in headers["content-security-policy"]


def test_the_secret_is_made_once_and_for_its_owner_only(tmp_path):
    first = secret_of(tmp_path)
    assert re.fullmatch(r"[0-9a-f]{64}", first)
    assert secret_of(tmp_path) == first
    assert stat.S_IMODE((tmp_path / "secret").stat().st_mode) == 0o600
    assert secret_of(tmp_path, "given") == "given"
