"""The board's shell: complete, the same for everybody, and only for people who may rank."""

import httpx
import pytest

from tests.ui.conftest import PASSWORD
from ui import offline_board
from ui.auth import WHO_COOKIE
from ui.ranking_board import SCRIPTS, static_text


def client_of(bench, person) -> httpx.Client:
    client = httpx.Client(base_url=bench.url)
    client.post("/login", data={"name": person.name, "password": PASSWORD})
    return client


def test_the_shell_holds_every_part_of_the_board():
    text = offline_board.page()
    assert all(static_text(name) in text for name in SCRIPTS)
    assert static_text("ranking_board.html") in text
    assert "[[" not in text.split("<script>")[0]


def test_the_shell_says_nothing_about_anybody(bench):
    people = [bench.person(), bench.person("lead")]
    texts = {client_of(bench, person).get("/rank/board").text for person in people}
    assert len(texts) == 1
    assert not any(person.name in texts.copy().pop() for person in people)


@pytest.mark.parametrize("path", ["/rank/board", "/board_worker.js"])
def test_shell_and_worker_are_for_people_who_are_signed_in(bench, path):
    assert client_of(bench, bench.person()).get(path).status_code == 200
    assert httpx.get(bench.url + path).status_code == 303  # to the sign-in page, which offline.js does not keep


def test_a_script_that_would_end_its_element_is_refused(monkeypatch):
    monkeypatch.setattr(offline_board, "static_text", lambda name: "a = '</script>'")
    offline_board.page.cache_clear()
    with pytest.raises(ValueError, match="</script"):
        offline_board.page()


def test_browsers_keep_answers_under_a_name_that_differs_by_person_and_installation(bench):
    first, second = bench.person(), bench.person()
    names = [client_of(bench, person).cookies[WHO_COOKIE] for person in (first, first, second)]
    assert names[0] == names[1] != names[2]
    assert names[0] == bench.server.auth.browser_key(first.id)
    assert len(names[0]) == 16


def test_signing_out_takes_the_name_away(bench):
    client = client_of(bench, bench.person())
    client.post("/logout")
    assert WHO_COOKIE not in client.cookies
