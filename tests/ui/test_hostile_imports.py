"""Hostile texts and broken lines through the importer and the HTTP API, and out again in every export."""

import csv
import io
import json
import zipfile

import httpx
import pytest

from storage import api_keys, completions, prompts
from storage.campaigns import campaign_by_name, create_campaign
from storage.interchange import import_file
from storage.people import create_person
from tests.ui.broken_inputs import BODIES, BROKEN, GOOD
from tests.ui.hostile_texts import NAMES, TEXTS

ROUTES = ["/rank/next", "/rank/answer", "/rank/renew", "/rank/release", "/rank/revise", "/rank/consent", "/rank/work"]
ROUTES += ["/api/v1/tasks/claim", "/api/v1/rankings", "/api/v1/campaigns", "/api/v1/invitations"]


def record(number: int, text: str, name: str = "m") -> dict:
    """A record whose every free field is hostile."""
    rows = [{"model": f"{name} {i}", "text": f"{text}{i}"} for i in range(2)]
    return {"id": f"{number} {name}", "prompt": f"{text} {number}", "completions": rows, "tags": [name], name: text}


def take(db, lines: list[bytes], **more):
    return import_file(db, None, io.BytesIO(b"\n".join(lines)), filename="set.jsonl", **more)


def test_there_are_hundreds_of_different_inputs():
    assert len(set(TEXTS.values())) >= 400
    assert len({line for line, _ in BROKEN}) + len(set(BODIES)) >= 100


def test_hostile_texts_come_in_and_are_read_back_as_they_are(db):
    given = {number: text for number, text in enumerate(TEXTS.values()) if len(text) < 100_000}
    report = take(db, [json.dumps(record(number, text)).encode() for number, text in given.items()])
    assert report.refused == ()
    for number, text in given.items():
        stored = completions.completions_of(db, f"{number} m")
        assert [one.text for one in stored] == [f"{text}{i}" for i in range(2)]


def test_hostile_names_come_in_and_are_read_back_as_they_are(db):
    report = take(db, [json.dumps(record(number, "text", name)).encode() for number, name in enumerate(NAMES)])
    assert report.refused == ()
    for number, name in enumerate(NAMES):
        stored = prompts.prompt(db, f"{number} {name}")
        assert (stored.tags, stored.metadata) == ((name,), {name: "text"})


@pytest.mark.parametrize("ending", [b"\n", b"\r\n"])
def test_a_broken_line_is_refused_with_its_place_and_the_good_ones_beside_it_go_in(db, ending):
    good = [json.dumps(GOOD | {"prompt": f"Hello {n}?"}).encode() for n in range(len(BROKEN) + 1)]
    lines = [line for pair in zip(good, [line.strip(b"\n") for line, _ in BROKEN], strict=False) for line in pair]
    report = import_file(db, None, io.BytesIO(ending.join(lines)), filename="set.jsonl")
    found = {refusal.line: refusal for refusal in report.refused}
    assert report.prompts == len(BROKEN)
    for number, (line, field) in enumerate(BROKEN):
        refusal = found.pop(2 * number + 2)
        assert refusal.field.startswith(field), (line[:80], refusal)
        assert refusal.found and refusal.expected and len(refusal.message) < 1000
        refusal.message.encode()  # no lone surrogate
    assert found == {}


def test_keys_that_come_twice_and_huge_numbers_harm_nothing(db):
    huge = b'{"prompt": "Hi?", "n": ' + b"9" * 4000 + b', "m": 1e400, "prompt": "Ho?"}'
    report = take(db, [huge, b'{"prompt": "He?", "x": 1, "x": {"y": 2}}'])
    assert report.prompts + len(report.refused) == 2
    assert all(refusal.field for refusal in report.refused)


@pytest.mark.slow
@pytest.mark.parametrize("route", ROUTES)
def test_no_route_fails_on_a_broken_body(bench, route):
    lead = bench.person("lead")
    key = api_keys.create_api_key(bench.services.database, lead.id, "broken")
    headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}
    with httpx.Client(base_url=bench.url, headers=headers, timeout=30) as client:
        for body in BODIES:
            reply = client.post(route, content=body)
            assert reply.status_code < 500, (route, body[:80], reply.text[:200])
            assert reply.status_code == 204 or reply.json() is not None


def test_the_api_refuses_broken_files_and_takes_hostile_file_names(bench):
    lead = bench.person("lead")
    key = api_keys.create_api_key(bench.services.database, lead.id, "files")
    with httpx.Client(base_url=bench.url, headers={"authorization": f"Bearer {key}"}, timeout=60) as client:
        for name in (
            "../../../../tmp/escaped.jsonl",
            "..\\x.jsonl",
            "/etc/passwd",
            "a'; DROP TABLE task;--.jsonl",
            "=1.jsonl",
        ):
            line = json.dumps(GOOD | {"prompt": f"Through {name}?"}).encode()
            reply = client.post("/api/v1/imports", files={"file": (name, line + b"\n{broken\n")})
            assert (reply.status_code, len(reply.json()["refused"])) == (200, 1), reply.text
            assert "/" not in reply.json()["campaign"]
        for content in (b"PAR1\0\0", b"\x1f\x8b\x08\0", b"PK\x03\x04", b"\x89PNG\r\n", b"\0" * 1000, b"%PDF-1.7"):
            assert client.post("/api/v1/imports", files={"file": ("x.jsonl", content)}).status_code == 422


def test_exports_have_safe_file_names_and_harmless_cells(bench):
    name = "../../=cmd|' /C calc'!A0\u202e\"; filename=evil.html"
    database = bench.services.database
    if campaign_by_name(database, name) is None:
        create_campaign(database, name)
    rows = [json.dumps(record(number, text, text[:60].strip() or "m")).encode() for number, text in enumerate(NAMES)]
    import_file(database, bench.services.pool, io.BytesIO(b"\n".join(rows)), name, filename="x.jsonl")
    key = api_keys.create_api_key(database, bench.person("lead").id, "exports")
    with httpx.Client(base_url=bench.url, headers={"authorization": f"Bearer {key}"}, timeout=60) as client:
        for form in ("trl", "kto", "sft", "csv", "raw"):
            reply = client.get(f"/api/v1/exports/{form}", params={"campaign": name})
            assert reply.status_code == 200
            assert "evil" not in reply.headers["content-disposition"]
            check_archive(zipfile.ZipFile(io.BytesIO(reply.content)))


def check_archive(archive: zipfile.ZipFile) -> None:
    """Members stay inside the folder they are unpacked to; no cell of a CSV file starts a formula."""
    for member in archive.namelist():
        assert not member.startswith(("/", "\\")) and ".." not in member.split("/") and member.isascii()
        if member.endswith(".csv"):
            check_cells(archive.read(member).decode("utf-8-sig"))


def check_cells(text: str) -> None:
    """Numbers may start with a minus; nothing else starts as spreadsheets' formulas do."""
    for row in csv.reader(io.StringIO(text)):
        for cell in row:
            assert not cell.lstrip(" ").startswith(("=", "+", "@", "\t", "\r", "\n", "＝")), cell[:80]
            assert not cell.startswith("-") or cell[1:].replace(".", "").replace("e-", "").isdigit(), cell[:80]


def test_a_person_with_a_hostile_name_can_be_made_or_is_refused_in_words(db):
    for number, name in enumerate(NAMES):
        try:
            assert create_person(db, f"{name}{number}", "annotator").name
        except ValueError as error:
            assert str(error)
