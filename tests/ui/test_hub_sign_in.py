"""Signing in with Hugging Face: the whole flow against a strict stand-in, and each way to cheat it."""

import re
import time
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

from storage import people
from tests.ui.leads import new_services
from tests.ui.openid_provider import CLIENT, SECRET, Provider
from ui import sign_in
from ui.auth import COOKIE, Auth
from ui.hub_sign_in import FLOW_COOKIE, HubSignIn, listed
from ui.settings import HubApp, Settings

SPACE = "https://team-loop.hf.space"
ROLES = {"annotator": "bob, org:Crowd", "reviewer": "org:team", "lead": "ann", "admin": "boss"}


class World:
    """A Space with sign-in, its provider, and browsers."""

    def __init__(self, folder):
        self.provider, self.services = Provider(), new_services(folder)
        self.auth = Auth(self.services, "secret", SPACE, framed=True)
        self.hub = HubSignIn(self.auth, HubApp(CLIENT, SECRET, provider=self.provider.url), ROLES)
        self.app = Starlette(routes=[*sign_in.routes(self.auth, with_hub=True), *self.hub.routes()])

    def browser(self) -> TestClient:
        return TestClient(self.app, base_url=SPACE, follow_redirects=False)

    def agree(self, browser: TestClient, path: str = "/login/hub") -> str:
        """Leave, and agree at the provider: the address of the way back."""
        away = browser.get(path).headers["location"]
        return httpx.get(away).headers["location"]

    def sign_in(self, browser: TestClient | None = None, **user):
        """The whole flow as a user with these facts; the last reply."""
        self.provider.user |= user
        browser = browser or self.browser()
        return browser.get(self.agree(browser))


@pytest.fixture
def world(tmp_path):
    made = World(tmp_path)
    yield made
    made.provider.close()
    made.services.close()


def said(reply) -> str:
    return re.search(r'role="alert">(.*?)</p>', reply.text)[1]


def test_a_listed_user_gets_in_with_the_role_of_the_list(world):
    browser = world.browser()
    reply = world.sign_in(browser)
    assert (reply.status_code, reply.headers["location"]) == (303, "/")
    found = world.auth.person_of_cookie(browser.cookies[COOKIE])
    assert (found.name, found.role) == ("ann", "lead")


def test_what_is_asked_has_state_nonce_and_a_challenge(world):
    away = urlsplit(world.browser().get("/login/hub").headers["location"])
    asked = {name: values[0] for name, values in parse_qs(away.query).items()}
    assert asked["redirect_uri"] == f"{SPACE}/login/callback"
    assert asked["code_challenge_method"] == "S256"
    assert len({asked["state"], asked["nonce"], asked["code_challenge"]}) == 3
    assert min(len(asked[name]) for name in ("state", "nonce", "code_challenge")) >= 43


def test_the_cookies_of_a_space_reach_its_frame_and_no_script(world):
    browser = world.browser()
    lines = world.sign_in(browser).headers.get_list("set-cookie")
    secret = [line for line in lines if line.startswith((COOKIE, FLOW_COOKIE))]
    assert len(secret) == 2
    for line in secret:
        assert {"httponly", "secure", "samesite=none"} <= {part.strip().lower() for part in line.split(";")}
    in_frame = browser.get("/login/hub", headers={"sec-fetch-dest": "iframe"}).headers["set-cookie"]
    assert in_frame.endswith("; Partitioned")


def test_the_way_back_leads_to_the_page_that_was_wanted_and_nowhere_else(world):
    for wanted, goes in (("/runs", "/runs"), ("//evil.example", "/"), ("https://evil.example", "/")):
        browser = world.browser()
        back = world.agree(browser, f"/login/hub?next={wanted}")
        assert browser.get(back).headers["location"] == goes


def test_nobody_unlisted_gets_in_and_no_account_is_made(world):
    reply = world.sign_in(sub="id-eve", preferred_username="eve", name="ann", email="ann@example.org")
    assert reply.status_code == 403
    assert "eve is not invited here" in said(reply)
    assert people.people(world.services.database) == []


def test_members_of_a_listed_organisation_get_in(world):
    orgs = [{"sub": "o1", "name": "The Team", "preferred_username": "team"}]
    reply = world.sign_in(sub="id-cem", preferred_username="cem", orgs=orgs)
    assert reply.status_code == 303
    assert people.person_by_name(world.services.database, "cem").role == "reviewer"


@pytest.mark.slow
@pytest.mark.parametrize(
    "orgs", [[{"preferred_username": "other", "name": "team"}], ["team"], [{"name": "team"}], None]
)
def test_an_organisation_counts_by_its_handle_not_by_what_it_calls_itself(world, orgs):
    assert world.sign_in(sub="id-cem", preferred_username="cem", orgs=orgs).status_code == 403


def test_the_highest_listed_role_counts_whatever_the_case(world):
    world.sign_in(sub="id-boss", preferred_username="Boss", orgs=[{"preferred_username": "crowd"}])
    assert people.person_by_name(world.services.database, "boss").role == "admin"


def test_a_second_sign_in_is_the_same_account_after_a_change_of_name(world):
    world.sign_in()
    world.sign_in(preferred_username="bob")
    [found] = people.people(world.services.database)
    assert (found.name, found.role) == ("ann", "annotator")


def test_a_local_account_of_the_same_name_is_not_taken_over(world):
    people.create_person(world.services.database, "ann", "admin", "a good long password")
    browser = world.browser()
    world.sign_in(browser)
    assert world.auth.person_of_cookie(browser.cookies[COOKIE]).name == "ann (2)"


def test_a_deactivated_account_stays_out(world):
    world.sign_in()
    people.set_active(world.services.database, 1, False)
    reply = world.sign_in()
    assert (reply.status_code, "deactivated" in said(reply)) == (403, True)


def test_a_wrong_state_is_refused(world):
    browser = world.browser()
    back = world.agree(browser)
    reply = browser.get(re.sub(r"state=[^&]+", "state=other", back))
    assert (reply.status_code, COOKIE in browser.cookies) == (403, False)


def test_somebody_elses_answer_is_refused(world):
    """Login fixation: an attacker sends the victim their own answer to open."""
    attacker, victim = world.browser(), world.browser()
    back = world.agree(attacker)
    victim.get("/login/hub")
    assert victim.get(back).status_code == 403
    assert world.browser().get(back).status_code == 403


def test_an_answer_works_once(world):
    browser = world.browser()
    back = world.agree(browser)
    flow = dict(browser.cookies)
    assert browser.get(back).status_code == 303
    again = world.browser()
    again.cookies.update(flow)
    assert "completed already" in said(again.get(back))


def test_a_replayed_code_is_refused(world):
    first, second = world.browser(), world.browser()
    used = world.agree(first)
    code = parse_qs(urlsplit(used).query)["code"][0]
    first.get(used)
    fresh = world.agree(second)
    assert second.get(re.sub(r"code=[^&]+", f"code={code}", fresh)).status_code == 403


def test_a_stolen_code_is_worth_nothing_without_the_verifier(world):
    victim, thief = world.browser(), world.browser()
    code = parse_qs(urlsplit(world.agree(victim)).query)["code"][0]
    back = world.agree(thief)
    assert thief.get(re.sub(r"code=[^&]+", f"code={code}", back)).status_code == 403


@pytest.mark.slow
@pytest.mark.parametrize(
    ("claim", "word"),
    [
        ({"nonce": "of another sign-in"}, "nonce"),
        ({"aud": "another client"}, "audience"),
        ({"aud": [CLIENT, "x"], "azp": "x"}, "audience"),
        ({"iss": "https://evil.example"}, "issuer"),
        ({"exp": 1000}, "age"),
        ({"exp": None}, "age"),
        ({"sub": ""}, "subject"),
    ],
)
def test_a_confirmation_that_does_not_fit_is_refused(world, claim, word):
    world.provider.lies = {"claims": claim}
    reply = world.sign_in()
    assert (reply.status_code, word in said(reply)) == (403, True)


def test_a_profile_of_another_subject_is_refused(world):
    world.provider.lies = {"userinfo": {"sub": "id-boss", "preferred_username": "boss"}}
    assert "another account" in said(world.sign_in())


@pytest.mark.parametrize("told", [{"issuer": "https://evil.example"}, {"token_endpoint": "http://evil.example/token"}])
def test_a_provider_that_is_another_or_can_be_overheard_is_not_asked(world, told):
    world.provider.lies = {"discovery": told}
    assert world.browser().get("/login/hub").status_code == 502


def test_refusing_at_the_provider_is_told(world):
    browser = world.browser()
    state = parse_qs(urlsplit(browser.get("/login/hub").headers["location"]).query)["state"][0]
    reply = browser.get(f"/login/callback?error=access_denied&state={state}")
    assert "did not confirm" in said(reply)


def test_headers_and_addresses_prove_nothing(world):
    headers = {"x-forwarded-user": "ann", "remote-user": "ann", "x-forwarded-host": "evil.example", "x-ip-token": "x"}
    assert world.browser().get("/login/callback?code=x&state=", headers=headers).status_code == 403
    away = world.browser().get("/login/hub", headers=headers).headers["location"]
    assert "evil.example" not in away


def test_a_hub_session_ends_after_a_day(world, monkeypatch):
    browser = world.browser()
    world.sign_in(browser)
    now = time.time()
    monkeypatch.setattr("ui.auth.time.time", lambda: now + 25 * 3600)
    assert world.auth.person_of_cookie(browser.cookies[COOKIE]) is None


def test_it_is_offered_on_a_space_with_a_client_only():
    space = {"SPACE_ID": "team/loop", "SPACE_HOST": "team-loop.hf.space"}
    client = {"OAUTH_CLIENT_ID": "a", "OAUTH_CLIENT_SECRET": "b", "OPENID_PROVIDER_URL": "https://hub.example"}
    assert Settings.from_environment(client).hub_app is None
    assert Settings.from_environment(space).hub_app is None
    made = Settings.from_environment({**space, **client, "RANKLOOP_HUB_LEADS": "ann, org:team"})
    assert made.hub_app == HubApp("a", "b", provider="https://hub.example")
    assert listed(made.hub_roles["lead"]) == {"ann", "org:team"}
    assert "b'" not in repr(made).split("client_id")[1]


def test_the_sign_in_page_offers_it_and_leaves_a_frame(world):
    assert 'href="/login/hub?next=%2Fruns"' in world.browser().get("/login?next=/runs").text
    assert 'target="_blank"' in world.browser().get("/login", headers={"sec-fetch-dest": "iframe"}).text
