import json

import pytest

from storage.details import NO_DETAIL
from storage.records import InvalidRecord
from ui.task_answer import Refused, Sent, detail_in_letters, read, submission_of

SHOWN = (30, 10, 20)


def sent(**changes) -> Sent:
    body = {"submission_id": "key-00000001", "kind": "ranking", "tiers": [["A"], ["B", "C"]], "seconds": 2}
    return read(Sent, body | changes)


def test_letters_become_the_ids_shown_under_them():
    made = submission_of(sent(), "a", SHOWN)
    assert made.tiers == ((30,), (10, 20)) and made.detail is NO_DETAIL


def test_a_detail_goes_there_and_back():
    detail = {
        "grade": 2,
        "ratings": {"A": {"x": 4}, "C": {"x": 1}},
        "thumbs": {"B": -1},
        "flags": {"C": ["broken", "other"]},
        "flag_notes": {"C": "cut off"},
        "reasons": ["short"],
        "rationale": "Because.",
        "edited": "A",
        "edit": "Better.\n",
    }
    made = submission_of(sent(detail=detail), "a", SHOWN).detail
    assert made.thumbs == {10: -1} and made.edited == 30
    letters = dict(zip(SHOWN, "ABC", strict=True))
    assert json.loads(json.dumps(detail_in_letters(made, letters.get))) == detail


def test_empty_parts_are_no_detail():
    empty = {
        "flags": {"A": []},
        "flag_notes": {"A": " "},
        "rationale": " \n",
        "edited": "A",
        "edit": " ",
        "ratings": {},
    }
    assert submission_of(sent(detail=empty), "a", SHOWN).detail is NO_DETAIL


def test_half_characters_and_nuls_do_not_reach_storage():
    made = submission_of(sent(detail={"rationale": "a\ud800b\0c"}), "a", SHOWN).detail
    assert made.rationale == "a\ufffdbc"


def test_time_beyond_a_day_is_not_believed():
    assert submission_of(sent(seconds=1e9), "a", SHOWN).seconds == 86_400


@pytest.mark.parametrize(
    "changes",
    [
        {"tiers": [["D"], ["A", "B", "C"]]},
        {"tiers": [["A"], ["B"]]},
        {"detail": {"thumbs": {"D": 1}}},
        {"detail": {"flags": {"E": ["unsafe"]}}},
        {"detail": {"edited": "I", "edit": "x"}},
    ],
)
def test_letters_that_were_not_shown_are_refused(changes):
    with pytest.raises(Refused, match="found"):
        submission_of(sent(**changes), "a", SHOWN)


@pytest.mark.parametrize(
    "changes",
    [
        {"detail": {"grade": True}},
        {"detail": {"grade": 4}},
        {"detail": {"ratings": {"A": {"x": 1.5}}}},
        {"detail": {"thumbs": {"A": 0}}},
        {"detail": {"secret": 1}},
        {"submission_id": "with space"},
        {"seconds": float("nan")},
        {"tiers": [["AB"]]},
    ],
)
def test_what_is_malformed_is_refused_with_its_field(changes):
    with pytest.raises(Refused, match=next(iter(changes))):
        sent(**changes)


def test_a_kind_that_does_not_exist_is_refused():
    with pytest.raises(InvalidRecord, match="kind"):
        submission_of(sent(kind="perhaps", tiers=[]), "a", SHOWN)
