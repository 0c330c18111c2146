"""The corpus repeats with its seed, knows its own sentences and covers its demo prompts."""

import pytest

from pipeline.corpus import FAMILIES, NOUNS, demo_prompts, documents, is_well_formed, key_nouns, sentences


def test_the_same_seed_gives_the_same_documents():
    assert list(documents(50, 3)) == list(documents(50, 3)) != list(documents(50, 4))


def test_every_document_is_well_formed_and_short_enough_to_sample():
    for _, completion in documents(2000, 1):
        assert is_well_formed(completion) and 1 <= len(sentences(completion)) <= 4


@pytest.mark.parametrize(
    "text",
    ["", "One night the potato omelette and salt.", "Thanks for the scarf. And then", "Cook the Cook the onion."],
)
def test_broken_sentences_are_not_well_formed(text):
    assert not is_well_formed(text)


def test_articles_follow_their_noun():
    texts = [part for pair in documents(3000, 2) for part in pair]
    wrong = [t for t in texts if any(f" a {n}" in t for n in NOUNS if n[0] in "aeiou")]
    assert not wrong and any("an owl" in t for t in texts)


def test_all_four_families_and_all_manners_occur():
    joined = "\n".join(completion for _, completion in documents(3000, 0))
    for family in FAMILIES:
        for part in (family.polite_first[0], family.rude_first[0]):
            assert part.split("{")[0] in joined
    assert "Got the" in joined and "Salt, water, done." in joined


def test_demo_prompts_are_distinct_and_name_their_topic():
    prompts = demo_prompts()
    assert len(prompts) == len(set(prompts)) == 400
    assert all(len(key_nouns(prompt)) >= 2 for prompt in prompts)
    assert demo_prompts(400, 0) == prompts != demo_prompts(400, 1)


def test_more_demo_prompts_than_there_are_is_refused():
    with pytest.raises(ValueError, match="found 100000"):
        demo_prompts(100_000)
