"""The gold reward is bounded and rewards what it says; annotators repeat themselves and err as told."""

import statistics

import pytest

from pipeline.corpus import documents
from pipeline.synthetic import MAX_GOLD, SimulatedAnnotator, gold_features, gold_reward, make_annotators

PROMPT = "How do I clean a lamp?"
GOOD = "Sure, let me explain. To clean a lamp, first use a soft cloth. I hope this helps."
TEXTS = [GOOD, "To clean a lamp, first use a soft cloth.", "Use your hands.", "What a stupid question. Look"]


def test_gold_falls_from_good_to_rude():
    found = [gold_reward(PROMPT, text) for text in TEXTS]
    assert found == sorted(found, reverse=True) and found[0] - found[-1] > 3


@pytest.mark.parametrize("text", ["", " ", "!", "🙂" * 40, "please " * 500, "thank you " * 3, "Grüße\n\nan alle"])
def test_gold_is_bounded_for_any_text(text):
    for prompt in ("", PROMPT, text):
        assert -5 <= gold_reward(prompt, text) <= MAX_GOLD


@pytest.mark.parametrize(
    ("feature", "better", "worse"),
    [
        ("topic", "Clean the lamp.", "Clean the boot."),
        ("polite", "Sure, please clean it.", "Please clean it."),
        ("rude", "Clean it.", "Clean it yourself."),
        ("ends", "Clean it.", "Clean it and then"),
        ("length", "Clean it with a soft cloth and some water.", "Clean it."),
        ("repetition", "Clean it with care.", "Clean it with care. Clean it with care."),
        ("reasons", "First clean it, because it is old.", "Clean it, it is old."),
    ],
)
def test_each_feature_prefers_the_better_text(feature, better, worse):
    assert gold_features(PROMPT, better)[feature] > gold_features(PROMPT, worse)[feature]


def test_features_saturate():
    polite = "Sure, thank you, please, I hope, dear, enjoy."
    assert gold_features(PROMPT, polite)["polite"] == pytest.approx(1.8)
    assert gold_features(PROMPT, "lamp clean " * 9)["topic"] == 2.0


def test_length_alone_explains_little_of_gold():
    pairs = list(documents(3000, 5))
    gold = [gold_reward(*pair) for pair in pairs]
    words = [len(completion.split()) for _, completion in pairs]
    assert statistics.correlation(gold, words) ** 2 < 0.3


def test_no_noise_is_the_gold_order_and_equal_gold_ties():
    texts = [TEXTS[2], TEXTS[0], TEXTS[3], TEXTS[1], TEXTS[0]]
    assert SimulatedAnnotator("a", noise=0).rank(PROMPT, texts) == [[1, 4], [3], [0], [2]]


def test_the_order_shown_does_not_change_the_judgement():
    annotator = SimulatedAnnotator("a", seed=1, noise=0.8)
    forward, backward = annotator.rank(PROMPT, TEXTS), annotator.rank(PROMPT, TEXTS[::-1])
    assert forward == [[3 - i for i in tier] for tier in backward] == annotator.rank(PROMPT, TEXTS)


def test_seed_name_and_temperature_change_the_noise():
    base = SimulatedAnnotator("a", seed=1, noise=0.8)
    others = [SimulatedAnnotator("a", 2, 0.8), SimulatedAnnotator("b", 1, 0.8), SimulatedAnnotator("a", 1, 0.8, 2.0)]
    assert all(other.perceived(PROMPT, GOOD) != base.perceived(PROMPT, GOOD) for other in others)
    exact = SimulatedAnnotator("a", 1, 0.8, 0.0)
    assert exact.perceived(PROMPT, GOOD) == gold_reward(PROMPT, GOOD)


def test_noise_is_gumbel_with_the_scale_asked_for():
    annotator = SimulatedAnnotator("a", seed=0, noise=0.5)
    noise = [annotator.perceived(str(i), GOOD) - gold_reward(str(i), GOOD) for i in range(4000)]
    assert statistics.mean(noise) == pytest.approx(0.5 * 0.5772, abs=0.03)  # Euler's constant
    assert statistics.stdev(noise) == pytest.approx(0.5 * 1.2825, abs=0.03)  # pi / sqrt(6)


def test_all_bad_needs_every_completion_bad():
    annotator = SimulatedAnnotator("a", noise=0)
    rude = ["Whatever, do it yourself", "Just buy it, you idiot"]
    assert annotator.finds_all_bad(PROMPT, rude) and not annotator.finds_all_bad(PROMPT, [*rude, GOOD])


def test_annotators_differ_in_care_around_the_noise():
    made = make_annotators(5, seed=3, noise=0.6)
    assert [a.noise for a in made] == pytest.approx([0.3, 0.45, 0.6, 0.75, 0.9])
    assert len({a.name for a in made}) == 5 and make_annotators(1)[0].noise == 0.6


def test_negative_noise_is_refused():
    with pytest.raises(ValueError, match="expected 0 or more"):
        SimulatedAnnotator("a", noise=-1)
