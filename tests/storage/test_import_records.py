"""Each shape of an import record, and why a bad one is refused."""

import json

import pytest

from storage.import_records import parse_line
from storage.records import InvalidRecord, Message


def parse(record, **more):
    line = record if isinstance(record, bytes) else json.dumps(record).encode()
    return parse_line(line, "imported:file", **more)


def two(**more):
    return {"prompt": "Hi?", "completions": [{"model": "a", "text": "x"}, {"model": "b", "text": "y"}], **more}


def refusal(record, **more):
    with pytest.raises(InvalidRecord) as caught:
        parse(record, **more)
    return caught.value


def test_a_prompt_with_completions():
    record = parse(two(id="p1", tags=["t"], split="eval", metadata={"a": 1}))
    assert (record.prompt_id, record.split, record.tags, record.metadata) == ("p1", "eval", ("t",), {"a": 1})
    assert record.messages == (Message("user", "Hi?"),)
    assert [(one.key, one.model, one.text) for one in record.completions] == [("#1", "a", "x"), ("#2", "b", "y")]


def test_a_model_that_said_nothing_is_a_completion():
    assert parse(two(completions=[{"model": "a", "text": ""}])).completions[0].text == ""


def test_messages_win_over_the_prompt_text_which_is_kept():
    record = parse(
        {"prompt": "Human: a", "messages": [{"role": "system", "content": "s"}, {"role": "user", "content": "a"}]}
    )
    assert [turn.role for turn in record.messages] == ["system", "user"]
    assert record.metadata == {"prompt": "Human: a"}


def test_unknown_keys_go_to_metadata_and_metadata_wins():
    assert parse(two(lang="en", a=1, metadata={"a": 2})).metadata == {"lang": "en", "a": 2}


def test_further_keys_of_a_completion_become_its_settings():
    rows = [{"model": "a", "text": "x", "temperature": 0.7, "settings": {"top_p": 1}}]
    assert parse({"prompt": "Hi?", "completions": rows}).completions[0].settings == {"temperature": 0.7, "top_p": 1}


def test_a_prompt_may_come_alone():
    assert parse({"prompt": "Hi?"}).completions == ()
    assert parse({"prompt": "Hi?", "completions": []}).completions == ()


def test_a_preference_is_two_completions_of_the_imported_model():
    record = parse({"prompt": "Hi?", "chosen": "good", "rejected": "bad", "kind": "human"})
    assert record.preference
    assert [(one.model, one.text) for one in record.completions] == [
        ("imported:file", "good"),
        ("imported:file", "bad"),
    ]
    assert record.metadata == {"kind": "human"}


def test_a_conversational_preference_is_taken():
    said = {name: [{"role": "assistant", "content": name}] for name in ("chosen", "rejected")}
    record = parse({"prompt": [{"role": "user", "content": "Hi?"}], **said})
    assert [one.text for one in record.completions] == ["chosen", "rejected"]


def test_a_response_is_a_demonstration():
    record = parse({"prompt": "Hi?", "response": "Hello.", "instruction": "Hi?", "input": ""})
    assert (record.demonstration, record.metadata) == ("Hello.", {"instruction": "Hi?", "input": ""})


@pytest.mark.parametrize("given, text", [("", "Add."), (None, "Add."), ("1 2", "Add.\n\n1 2")])
def test_an_instruction_with_its_input_is_a_demonstration(given, text):
    record = parse({"instruction": "Add.", "input": given, "output": "3"})
    assert (record.messages[0].content, record.demonstration, record.metadata) == (text, "3", {})


def test_annotations_come_in_only_when_asked():
    rows = [{"id": "x", "model": "a", "text": "x"}, {"id": "y", "model": "b", "text": "y"}]
    record = {"prompt": "Hi?", "completions": rows, "annotations": [{"annotator": "ann", "ranks": {"x": 1, "y": 2}}]}
    assert parse(record).annotations == ()
    assert parse(record, with_annotations=True).annotations[0].ranks == {"x": 1, "y": 2}


@pytest.mark.parametrize(
    "line, field",
    [
        (b"{not json", "record"),
        (b"[1, 2]", "record"),
        (b"\xff\xfe", "record"),
        (b'{"prompt": "a", "x": NaN}', "record"),
        (b'{"prompt": "a\\ud800"}', "prompt"),
        (b'{"prompt": "a", "metadata": {"k": ["\\u0000"]}}', "metadata.k[0]"),
        (b"[" * 100_000, "record"),
        ({}, "prompt"),
        ({"prompt": 5}, "prompt"),
        ({"prompt": "  "}, "prompt"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "robot", "content": "a"}]}, "messages[0].role"),
        ({"messages": [{"role": "user"}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": "a", "name": "b"}]}, "messages[0]"),
        (two(id=7), "id"),
        (two(id=""), "id"),
        (two(split="test"), "split"),
        (two(split=["train"]), "split"),
        (two(tags="a"), "tags"),
        (two(tags=[1]), "tags[0]"),
        (two(metadata=[]), "metadata"),
        (two(completions={}), "completions"),
        (two(completions=["a"]), "completions[0]"),
        (two(completions=[{"model": "a"}]), "completions[0].text"),
        (two(completions=[{"text": "a"}]), "completions[0].model"),
        (two(completions=[{"model": "a", "text": 7}]), "completions[0].text"),
        (
            two(completions=[{"id": "c", "model": "a", "text": "x"}, {"id": "c", "model": "b", "text": "y"}]),
            "completions",
        ),
        ({"prompt": "a", "chosen": "b"}, "rejected"),
        ({"prompt": "a", "rejected": "b"}, "chosen"),
        ({"prompt": "a", "chosen": "b", "rejected": "b"}, "rejected"),
        ({"prompt": "a", "chosen": 1, "rejected": "b"}, "chosen"),
        ({"chosen": "a", "rejected": "b"}, "prompt"),
        ({"prompt": "a", "response": ""}, "response"),
        ({"instruction": "a"}, "output"),
        ({"instruction": "a", "input": 3, "output": "b"}, "input"),
    ],
)
def test_a_bad_record_is_refused_by_field(line, field):
    error = refusal(line)
    assert error.field == field
    assert error.found
    assert error.expected


@pytest.mark.parametrize(
    "annotation, field",
    [
        ("ann", "annotations[0]"),
        ({"ranks": {"#1": 1, "#2": 2}}, "annotations[0].annotator"),
        ({"annotator": "ann"}, "annotations[0].ranks"),
        ({"annotator": "ann", "ranks": {"#1": 1}}, "annotations[0].ranks"),
        ({"annotator": "ann", "ranks": {"#1": 1, "#9": 2}}, "annotations[0].ranks"),
        ({"annotator": "ann", "ranks": {"#1": 0, "#2": 1}}, "annotations[0].ranks.#1"),
        ({"annotator": "ann", "ranks": {"#1": True, "#2": 1}}, "annotations[0].ranks.#1"),
    ],
)
def test_a_bad_annotation_is_refused_by_field(annotation, field):
    assert refusal(two(annotations=[annotation]), with_annotations=True).field == field
