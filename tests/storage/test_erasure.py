"""Erasing a person: no byte of database or journal names them, everybody else's data stays, a kill loses nothing."""

import subprocess
import sys
from pathlib import Path

import pytest

from storage import api_keys, campaigns, consents, invitations, members, passwords, people, pseudonyms, rankings
from storage.assignments import Assignments
from storage.backup import check
from storage.database import Database
from storage.erasure import BY_KEY, DONE_BY, OWN, PEOPLE_LISTS, erase
from storage.records import InvalidRecord, Submission
from tests.conftest import make_campaign

NAME = "Zaphod Beeblebrox"
PERSONAL = "%person%|%_by|%people%|%submission_id%|%author%|%annotator%|%user%"


def answer(db: Database, pool: Assignments, person_id: int, key: str) -> None:
    """The person's next task, answered under the key."""
    held = pool.claim(person_id)
    rankings.submit(db, pool, person_id, Submission(key, held.id, "ranking", tuple((one,) for one in held.shown)))


def fill(folder: Path) -> int:
    """A folder in which somebody did everything, beside Ann; their id."""
    with Database(folder) as db:
        pool, talk = Assignments(db), make_campaign(db, "talk").campaign
        ann = people.create_person(db, "Ann", "annotator")
        gone = people.create_person(db, NAME, "lead", "the password")
        for number in range(2):
            answer(db, pool, ann.id, f"key-of-ann-{number}")
            answer(db, pool, gone.id, f"key-of-zaphod-{number}")
        rankings.exclude(db, "key-of-zaphod-1", "too fast", by=gone.id)
        campaigns.set_policy(db, talk.id, "starter", gone.id, "first")
        api_keys.person_by_api_key(db, api_keys.create_api_key(db, gone.id, "laptop of Zaphod"))
        invitations.create_invitation(db, "annotator", gone.id)
        passwords.create_password_link(db, gone.id, gone.id)
        members.add_member(db, talk.id, gone.id, gone.id)
        consents.agree(db, gone.id, talk.id, 1)
        people.note_sign_in(db, gone.id, "password")
        people.person_of_hub(db, "huggingface", "zaphods-id", "zaph", "annotator")
        pseudonyms.numbers(db, [gone.id])
        members.assign(db, [1], [ann.id, gone.id])
    return gone.id


@pytest.fixture
def filled(tmp_path):
    """(folder, id of the person to erase)."""
    return tmp_path / "data", fill(tmp_path / "data")


def traces(folder: Path) -> list[str]:
    """The files that hold a word of the person."""
    words = (NAME.encode(), NAME.casefold().encode(), b"laptop of Zaphod", b"key-of-zaphod")
    files = [path for path in folder.rglob("*") if path.is_file()]
    return [path.name for path in files if any(word in path.read_bytes() for word in words)]


@pytest.mark.parametrize("keep", [False, True])
def test_no_byte_of_the_files_names_the_person(filled, keep):
    folder, gone = filled
    assert set(traces(folder)) == {"rankloop.duckdb", "journal.jsonl"}
    with Database(folder) as db:
        erase(db, gone, keep)
        assert traces(folder) == []
        assert people.person(db, gone) is None
    assert traces(folder) == []


@pytest.mark.parametrize("keep", [False, True])
def test_everybody_elses_data_stays_and_fits(filled, keep):
    folder, gone = filled
    with Database(folder) as db:
        before = rankings.answers(db, person_id=1)
        erase(db, gone, keep)
        assert rankings.answers(db, person_id=1) == before
    with Database(folder) as db:
        assert rankings.answers(db, person_id=1) == before
        assert check(db) == []
        with db.read() as cursor:
            assert cursor.execute("SELECT people FROM task_assignee_now").fetchall() == [([1],)]


def test_kept_answers_have_neither_name_nor_id_nor_key_nor_words(filled):
    folder, gone = filled
    with Database(folder) as db:
        before = [(a.seq, a.task_id, a.ranks, a.status) for a in rankings.answers(db, person_id=gone)]
        done = erase(db, gone, keep_answers=True)
        kept = people.person_by_name(db, done.kept_as)
        found = rankings.answers(db, person_id=kept.id)
        assert [(a.seq, a.task_id, a.ranks, a.status) for a in found] == before
        assert kept.id != gone and not kept.active
        assert not any("zaphod" in a.submission_id or a.assignment_id for a in found)


def test_an_id_and_a_seq_are_never_given_twice(filled):
    folder, _gone = filled
    with Database(folder) as db:
        highest, mark = max(one.id for one in people.people(db)), rankings.watermark(db)
        for person in people.people(db):
            erase(db, person.id)
        assert people.create_person(db, "New", "annotator").id == highest + 1
        assert rankings.watermark(db) == mark


def test_work_goes_on_after_an_erasure(filled):
    folder, gone = filled
    with Database(folder) as db:
        pool = Assignments(db)
        erase(db, gone)
        answer(db, pool, 1, "key-after-01")
    with Database(folder) as db:
        assert "key-after-01" in {a.submission_id for a in rankings.answers(db)}
        assert db.notices == []


def test_waiting_journal_lines_under_the_name_go_and_others_stay(filled):
    folder, gone = filled
    with (folder / "journal.jsonl").open("a") as journal:
        for number, name in enumerate((NAME, "Ann")):
            journal.write(f'{{"submission_id": "waiting-{number}", "person": "{name}", "task_id": 99}}\n')
        journal.write(f"not JSON but with {NAME}\n")
    with Database(folder) as db:
        erase(db, gone)
    assert traces(folder) == []
    assert "waiting-1" in (folder / "journal.jsonl").read_text()


def test_nobody_can_be_erased_who_is_not_there(db):
    with pytest.raises(InvalidRecord, match="person"):
        erase(db, 99)


def test_a_database_in_memory_forgets_too(campaign_with_tasks):
    db = campaign_with_tasks.database
    ann = people.create_person(db, "Ann", "annotator")
    answer(db, Assignments(db), ann.id, "key-00001")
    assert erase(db, ann.id).answers == 1
    assert people.people(db) == []
    assert rankings.answers(db) == []


def test_every_column_that_may_name_a_person_is_dealt_with(db):
    known = {(table, "person_id") for table in OWN} | {(table, key) for table, (key, _) in BY_KEY.items()}
    known |= {*DONE_BY, *PEOPLE_LISTS, ("answer", "submission_id"), ("erasure", "highest_person")}
    with db.read() as cursor:
        found = cursor.execute("""SELECT table_name, column_name FROM duckdb_columns() c JOIN duckdb_tables() t
            USING (schema_name, table_name) WHERE NOT t.internal""").fetchall()
    parts = [pattern.strip("%") for pattern in PERSONAL.split("|")]
    personal = {(table, column) for table, column in found if any(part in column for part in parts)}
    assert personal - known == set(), "tell storage/erasure.py what becomes of them"


KILLED = """
import os, sys
from pathlib import Path
import storage.swapping as swapping
from storage.database import Database
from storage.erasure import erase
left = int(sys.argv[3])
def dying(real):
    def call(*given, **named):
        global left
        left -= 1
        if left < 0:
            os._exit(9)
        return real(*given, **named)
    return call
os.rename, os.replace = dying(os.rename), dying(os.replace)
Path.unlink, swapping.shutil.rmtree = dying(Path.unlink), dying(swapping.shutil.rmtree)
swapping._sync = dying(swapping._sync)
db = Database(Path(sys.argv[1]))
erase(db, int(sys.argv[2]))
os._exit(0)
"""


@pytest.mark.slow
def test_a_kill_at_any_moment_leaves_the_old_or_the_new_state(tmp_path):
    ends = set()
    for step in range(30):
        folder = tmp_path / str(step)
        gone = fill(folder)
        call = [sys.executable, "-c", KILLED, str(folder), str(gone), str(step)]
        code = subprocess.run(call, cwd=Path(__file__).parents[2], check=False).returncode
        with Database(folder) as db:
            there = people.person(db, gone) is not None
            assert len(rankings.answers(db, person_id=1)) == 2
            assert check(db) == []
        assert bool(traces(folder)) == there
        assert not (folder / "rewritten").exists() and not (folder / "rewritten.part").exists()
        ends.add((code, there))
        if code == 0:
            break
    assert ends == {(9, True), (9, False), (0, False)}
