"""Erases a person from the database file and the journal: name, password, keys, sessions, consents, and their answers.

The answers go as well, or stay under "erased-N" without a link to the person, without their rationale and notes.
The files are written anew (storage/rewriting.py). Run directories, model versions and backups are not touched:
pipeline/holdings.py lists those that hold the person's answers. A text in which somebody else wrote the name, such
as guidelines, stays.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from storage.database import Cursor, Database
from storage.deciding import highest_seq
from storage.people import next_person_id
from storage.person_rows import in_person
from storage.rewriting import Rewritten

BY_KEY = {  # rows that belong to the person's rows: table -> (column, the table that holds it and person_id)
    "api_key_revocation": ("key_id", "api_key"),
    "api_key_use": ("key_id", "api_key"),
    "password_link_use": ("token_hash", "password_link"),
    "answer_exclusion": ("submission_id", "answer"),
}
OWN = (  # tables whose rows of the person go
    "person", "person_role", "person_password", "person_signout", "person_state", "person_signin", "person_identity",
    "password_link", "api_key", "invitation_use", "consent", "pseudonym", "campaign_member", "annotator_state",
    "assignment_event", "answer",
)  # fmt: skip
DONE_BY = (  # (table, column) that tell who did something, by id or, where they are texts, by id or name
    ("invitation", "created_by"), ("run", "created_by"), ("person_state", "changed_by"),
    ("password_link", "created_by"), ("invitation_revocation", "revoked_by"), ("erasure", "erased_by"),
    ("policy_change", "changed_by"), ("answer_exclusion", "excluded_by"), ("campaign_member", "changed_by"),
    ("annotator_state", "changed_by"), ("run_mark", "marked_by"),
)  # fmt: skip
PEOPLE_LISTS = (("task_assignee", "people"),)  # (table, column) of lists of ids
IN_WORDS = '{"rationale": null, "flag_notes": null}'  # of an answer's detail: what a person wrote in their own words


@dataclass(frozen=True)
class Erasure:
    """That somebody was erased. answers: how many were theirs; kept_as: the name they stay under, if they do."""

    id: int
    answers: int
    kept_as: str | None


def erase(db: Database, person_id: int, keep_answers: bool = False, by: int | None = None) -> Erasure:
    """Erase a person; returns when no byte of the database file or the journal names them any more.

    Everybody else's answers, and the order of all, stay as they are. Raises InvalidRecord for an unknown person.
    """
    with db.read() as cursor:
        in_person(cursor, person_id)
    return db.rewrite(lambda cursor: _erase(cursor, person_id, keep_answers, by))


def _erase(cursor: Cursor, person_id: int, keep_answers: bool, by: int | None) -> Rewritten:
    found = in_person(cursor, person_id)
    ids = cursor.execute("SELECT submission_id FROM answer WHERE person_id = ?", [person_id]).fetchall()
    gone, newest = {row[0] for row in ids}, highest_seq(cursor)
    number = cursor.execute("SELECT coalesce(max(erasure_id), 0) + 1 FROM erasure").fetchall()[0][0]
    row = [number, len(gone), keep_answers, next_person_id(cursor) - 1, by if by != person_id else None, _now()]
    cursor.execute("INSERT INTO erasure VALUES (?, ?, ?, ?, ?, ?)", row)
    kept = _keep_answers(cursor, person_id, f"erased-{number}") if keep_answers and gone else []
    _forget(cursor, person_id, found.name)
    if highest_seq(cursor) < newest:  # a seq is never given twice: snapshots are read up to one
        mark = [f"erased-{number}", newest, "the answer with this seq was erased", None, _now()]
        names = "submission_id, seq, reason, excluded_by, created"
        cursor.execute(f"INSERT INTO answer_exclusion ({names}) VALUES (?, ?, ?, ?, ?)", mark)
    done = Erasure(number, len(gone), f"erased-{number}" if kept else None)
    return Rewritten(done, _forgets(gone, found.name), kept)


def _forget(cursor: Cursor, person_id: int, name: str) -> None:
    for table, (column, owner) in BY_KEY.items():
        cursor.execute(
            f"DELETE FROM {table} WHERE {column} IN (SELECT {column} FROM {owner} WHERE person_id = ?)", [person_id]
        )
    for table in OWN:
        cursor.execute(f"DELETE FROM {table} WHERE person_id = ?", [person_id])
    for table, column in DONE_BY:
        cursor.execute(f"UPDATE {table} SET {column} = NULL WHERE {column}::VARCHAR IN (?, ?)", [str(person_id), name])
    for table, column in PEOPLE_LISTS:
        cursor.execute(
            f"UPDATE {table} SET {column} = list_filter({column}, lambda one: one <> $1) "
            f"WHERE list_contains({column}, $1)",
            [person_id],
        )


def _keep_answers(cursor: Cursor, person_id: int, name: str) -> list[str]:
    """Copy the answers, under new keys, to an account that nobody can use; returns the keys."""
    number, now = next_person_id(cursor), _now()
    cursor.execute("INSERT INTO person VALUES (?, ?, ?, 'person', ?)", [number, name, name, now])
    cursor.execute(
        "INSERT INTO person_role SELECT ?, (SELECT coalesce(max(seq), 0) + 1 FROM person_role), 'annotator', ?",
        [number, now],
    )
    cursor.execute(
        "INSERT INTO person_state SELECT ?, (SELECT coalesce(max(seq), 0) + 1 FROM person_state), false, NULL, ?",
        [number, now],
    )
    cursor.execute(
        "CREATE TEMP TABLE renamed AS "
        "SELECT submission_id AS old, uuid()::VARCHAR AS new FROM answer WHERE person_id = ?",
        [person_id],
    )
    cursor.execute(
        "INSERT INTO answer BY NAME SELECT a.* REPLACE (new AS submission_id, ?::INTEGER AS person_id, "
        "NULL::VARCHAR AS assignment_id, json_merge_patch(detail, ?)::VARCHAR AS detail) "
        "FROM answer a JOIN renamed ON old = submission_id ORDER BY seq",
        [number, IN_WORDS],
    )
    cursor.execute(
        "INSERT INTO answer_exclusion BY NAME SELECT x.* REPLACE (new AS submission_id) "
        "FROM answer_exclusion x JOIN renamed ON old = submission_id"
    )
    keys = [row[0] for row in cursor.execute("SELECT new FROM renamed").fetchall()]
    cursor.execute("DROP TABLE renamed")
    return keys


def _forgets(gone: set[str], name: str) -> Callable[[bytes], bool]:
    """Whether a journal line is the person's: one of their answers, or one under their name that waits for its task.

    A line that cannot be read goes where it holds the name.
    """

    def forgets(line: bytes) -> bool:
        try:
            told = json.loads(line)
            return told["submission_id"] in gone or told["person"] == name
        except (ValueError, KeyError, TypeError):
            return name.encode() in line or json.dumps(name).encode()[1:-1] in line

    return forgets


def _now() -> datetime:
    return datetime.now(UTC)
