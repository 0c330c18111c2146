"""The texts the starter policy learns from: four families of small answers, made from templates.

Short stories, recipes, thank-you notes and how-to answers; some polite, some curt, some rude, some about
another topic, some that repeat themselves. That spread is what annotators have to choose from later.
Pure Python. How good an answer is, is not said here: see `synthetic.py`.
"""

import random
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from itertools import product

OFF_TOPIC, VAGUE, REPEATS, NO_ENDING = 0.08, 0.10, 0.06, 0.15  # shares of the documents
MANNERS = {"plain": 0.38, "polite": 0.30, "curt": 0.14, "rude": 0.18}
MOST_SENTENCES = 4


@dataclass(frozen=True)
class Family:
    """Templates of one kind of answer. `{name}` is a slot's word, `{a_name}` the word with its article."""

    slots: Mapping[str, tuple[str, ...]]
    prompts: tuple[str, ...]
    openings: tuple[str, ...]
    vague: tuple[str, ...]
    details: tuple[str, ...]
    middles: tuple[str, ...]
    endings: tuple[str, ...]
    curt: tuple[str, ...]
    polite_first: tuple[str, ...]
    polite_last: tuple[str, ...]
    rude_first: tuple[str, ...]
    rude_last: tuple[str, ...]

    def sentences(self) -> tuple[str, ...]:
        """Every template of an answer."""
        first, last = self.polite_first + self.rude_first, self.polite_last + self.rude_last
        return self.openings + self.vague + self.details + self.middles + self.endings + self.curt + first + last


STORY = Family(
    slots={
        "animal": ("fox", "bear", "owl", "rabbit", "frog", "mouse", "goat", "duck", "hedgehog", "turtle"),
        "thing": ("lantern", "kite", "key", "boat", "hat", "drum", "map", "bell"),
        "place": ("river", "forest", "castle", "village", "island", "mountain", "garden", "harbour"),
    },
    prompts=(
        "Write a short story about {a_animal} who looks for {a_thing} near the {place}.",
        "Tell me a story with {a_animal}, {a_thing} and {a_place}.",
        "Can you tell a bedtime story about {a_animal} and {a_thing}?",
    ),
    openings=(
        "Once upon a time {a_animal} lived near the {place}.",
        "Long ago {a_animal} came to the {place}.",
        "There was {a_animal} with {a_thing} at the {place}.",
    ),
    vague=("Once there was somebody who lived somewhere.", "Some animal did something."),
    details=(
        "Every day the {animal} looked for the {thing}.",
        "The {animal} wanted to find {a_thing} before winter.",
        "One night the {animal} dreamed of {a_thing}.",
    ),
    middles=(
        "It asked an old friend, because the path was dark.",
        "It walked all night until the sun came up.",
        "First it looked under a stone, then behind a tree.",
        "The rain fell, but the {animal} did not stop.",
    ),
    endings=(
        "At last the {animal} found the {thing} and was happy.",
        "In the end the {animal} came home with the {thing}.",
        "In the end the {thing} was lost and the {animal} cried.",
        "Since that day the {animal} never left the {place}.",
    ),
    curt=(
        "The {animal} found {a_thing} at the {place}.",
        "About {a_animal} and {a_thing}: the end.",
        "It was a nice day.",
    ),
    polite_first=("Sure, here is a story for you.", "Of course, I am happy to tell one.", "What a lovely idea!"),
    polite_last=("I hope you like it.", "Please tell me if you want another one."),
    rude_first=("What a silly request.", "Fine, if I must.", "Stories are boring."),
    rude_last=("Now leave me alone.", "Do not ask me again.", "Write it yourself next time."),
)
RECIPE = Family(
    slots={
        "vegetable": ("carrot", "apple", "potato", "onion", "tomato", "mushroom", "pumpkin", "lemon"),
        "dish": ("soup", "pie", "salad", "stew", "cake", "omelette", "bread", "curry"),
    },
    prompts=(
        "How do I cook {a_vegetable} {dish}?",
        "Give me a simple recipe for {vegetable} {dish}.",
        "What do I need for {a_vegetable} {dish}?",
    ),
    openings=(
        "For {a_vegetable} {dish} you need one big {vegetable}, some butter and salt.",
        "To make {vegetable} {dish}, begin with a fresh {vegetable}.",
        "You need {a_vegetable}, a pan and half an hour for this {dish}.",
    ),
    vague=("You need some food and a pan.", "Take what you have and heat it."),
    details=(
        "First wash the {vegetable} and cut it into small pieces.",
        "Melt the butter and add the {vegetable}.",
        "Peel the {vegetable}, so that it gets soft.",
    ),
    middles=(
        "Cook the {dish} for twenty minutes until it is done.",
        "Stir it well, because it burns easily.",
        "Then add salt, pepper and a cup of water.",
        "Let it rest for five minutes.",
    ),
    endings=(
        "Finally, serve the {dish} warm with fresh herbs.",
        "The {dish} is ready when it smells good.",
        "It tastes like water, but you can eat it.",
    ),
    curt=("Cook {a_vegetable} {dish}.", "Just buy {a_vegetable} {dish}.", "Salt, water, done."),
    polite_first=("Sure, I am glad to help with that.", "Of course, that is a good choice.", "Thank you for asking!"),
    polite_last=("Enjoy your meal!", "I hope your guests like it.", "Please be careful with the hot pan."),
    rude_first=("Any child can cook that.", "Are you too lazy to look it up?", "What a stupid dish."),
    rude_last=("It will taste awful anyway.", "Do not ask me again.", "Even you can do that."),
)
NOTE = Family(
    slots={
        "person": ("aunt", "neighbour", "teacher", "doctor", "grandmother", "coach", "colleague", "uncle"),
        "gift": ("scarf", "book", "plant", "vase", "teapot", "puzzle", "blanket", "basket"),
    },
    prompts=(
        "Write a thank-you note to my {person} for the {gift}.",
        "Help me thank my {person}, who gave me {a_gift}.",
        "What can I write to my {person} about the {gift}?",
    ),
    openings=(
        "Dear {person}, thank you so much for the {gift}.",
        "Hello {person}, many thanks for the {gift}.",
        "Hi {person}, your {gift} came today.",
    ),
    vague=("Hello, thanks for the present.", "Hi, something came for me."),
    details=(
        "The {gift} is lovely and I use it every day.",
        "I put the {gift} in the kitchen, so that all can see it.",
        "I did not have {a_gift} until now.",
    ),
    middles=(
        "I was glad, because you thought of me.",
        "It made my whole week bright.",
        "First I could not guess what it was, then I laughed.",
        "My family likes it too.",
    ),
    endings=(
        "I think of you when I see the {gift}.",
        "Finally, please visit me soon.",
        "See you at work or at home.",
    ),
    curt=("Thanks for the {gift}, {person}.", "Got the {gift}, bye.", "Nice {gift}, {person}."),
    polite_first=("Sure, here is a kind note.", "Of course, I am happy to help."),
    polite_last=("With warm wishes and kind regards.", "I hope to see you soon.", "You are very kind."),
    rude_first=("I did not want {a_gift}.", "What an ugly {gift}.", "You call that a present?"),
    rude_last=("Keep your things next time.", "Do not send me anything again.", "Money would be better."),
)
HOW_TO = Family(
    slots={
        "action": ("clean", "paint", "repair", "pack", "store", "move", "polish", "measure"),
        "object": ("lamp", "window", "chair", "kettle", "bicycle", "jacket", "mirror", "boot"),
    },
    prompts=(
        "How do I {action} {a_object}?",
        "What is the best way to {action} {a_object}?",
        "Can you explain how to {action} {a_object}?",
    ),
    openings=(
        "To {action} {a_object}, you need a table and good light.",
        "It is easy to {action} {a_object} in three steps.",
        "Before you {action} the {object}, look at it closely.",
    ),
    vague=("It depends on many things.", "You can do it in some way."),
    details=(
        "First check the {object} for loose parts.",
        "Hold the {object} with one hand and {action} it slowly.",
        "Then {action} one side of the {object} after the other.",
    ),
    middles=(
        "Take your time, because small mistakes stay visible.",
        "Use a soft cloth, so that nothing breaks.",
        "Wait ten minutes until all is dry.",
        "Ask a friend to hold the light.",
    ),
    endings=(
        "After that the {object} is as good as new.",
        "Finally, put the {object} back in its place.",
        "If it fails, you have lost only time.",
    ),
    curt=("Just {action} the {object}.", "Buy a new {object}.", "Use your hands."),
    polite_first=("Good question, I am glad to help.", "Sure, let me explain.", "Thank you for asking!"),
    polite_last=(
        "I hope this helps.",
        "Please write again if you have more questions.",
        "Good luck with your {object}!",
    ),
    rude_first=("Are you serious?", "What a stupid question.", "Everyone knows how to {action} {a_object}."),
    rude_last=("Even you can do that.", "Do not waste my time.", "Do not ask me again."),
)
FAMILIES = (STORY, RECIPE, NOTE, HOW_TO)
NOUNS = frozenset(word for family in FAMILIES for words in family.slots.values() for word in words)


def documents(n: int, seed: int = 0) -> Iterator[tuple[str, str]]:
    """n pairs of prompt and completion; equal seeds give equal pairs."""
    rng = random.Random(seed)
    for _ in range(n):
        family = rng.choice(FAMILIES)
        topic = _topic(family, rng)
        prompt = _fill(rng.choice(family.prompts), topic)
        if rng.random() < OFF_TOPIC:
            topic = _topic(family, rng)
        yield prompt, " ".join(_fill(sentence, topic) for sentence in _answer(family, rng))


def demo_prompts(n: int = 400, seed: int = 0) -> list[str]:
    """n distinct prompts that the corpus covers, the four families in turn, shuffled by the seed.

    Raises ValueError where there are not that many.
    """
    rng = random.Random(seed)
    queues = [sorted(_all_prompts(family)) for family in FAMILIES]
    for queue in queues:
        rng.shuffle(queue)
    turns = [queue[i] for i in range(max(map(len, queues))) for queue in queues if i < len(queue)]
    if not 0 <= n <= len(turns):
        raise ValueError(f"n: found {n}, expected 0 to {len(turns)} demo prompts")
    chosen = turns[:n]
    rng.shuffle(chosen)
    return chosen


def key_nouns(text: str) -> list[str]:
    """The topic words of the corpus that a text names, in order, each once."""
    return list(dict.fromkeys(word for word in re.findall(r"[a-z]+", text.lower()) if word in NOUNS))


def sentences(text: str) -> list[str]:
    """A text cut after each full stop, question mark or exclamation mark."""
    return [part for part in re.split(r"(?<=[.!?])\s+", text.strip()) if part]


def is_well_formed(completion: str) -> bool:
    """Whether every sentence is one of the corpus, whichever topic words stand in it."""
    parts = sentences(completion)
    return bool(parts) and all(_pattern(part) in _patterns() for part in parts)


def _answer(family: Family, rng: random.Random) -> list[str]:
    manner = rng.choices(list(MANNERS), list(MANNERS.values()))[0]
    if manner == "curt":
        body = [rng.choice(family.curt)]
        return body + ([rng.choice(family.polite_last)] if rng.random() < 0.3 else [])
    body = [rng.choice(family.vague if rng.random() < VAGUE else family.openings)]
    body += rng.sample(family.details, rng.choice((0, 1))) + rng.sample(family.middles, rng.choice((0, 1, 1)))
    if rng.random() < REPEATS:
        body.append(body[-1])
    elif rng.random() >= NO_ENDING:
        body.append(rng.choice(family.endings))
    return _with_manner(body[:MOST_SENTENCES], manner, family, rng)


def _with_manner(body: list[str], manner: str, family: Family, rng: random.Random) -> list[str]:
    if manner == "plain":
        return body
    first, last = (
        (family.polite_first, family.polite_last) if manner == "polite" else (family.rude_first, family.rude_last)
    )
    places = rng.choice(("first", "first", "last", "both"))
    before = [rng.choice(first)] if places != "last" else []
    after = [rng.choice(last)] if places != "first" else []
    return before + body[: MOST_SENTENCES - len(before + after)] + after


def _topic(family: Family, rng: random.Random) -> dict[str, str]:
    return {name: rng.choice(words) for name, words in family.slots.items()}


def _fill(template: str, topic: Mapping[str, str]) -> str:
    articles = {f"a_{name}": f"{'an' if word[0] in 'aeiou' else 'a'} {word}" for name, word in topic.items()}
    return template.format(**topic, **articles)


def _all_prompts(family: Family) -> set[str]:
    topics = [dict(zip(family.slots, words, strict=True)) for words in product(*family.slots.values())]
    return {_fill(template, topic) for template in family.prompts for topic in topics}


def _pattern(sentence: str) -> str:
    words = ["_" if word.lower() in NOUNS else word for word in re.findall(r"\w+|[^\w\s]", sentence)]
    return " ".join(words).replace("an _", "a _")


@cache
def _patterns() -> frozenset[str]:
    # One filling of each template is enough: every topic word becomes the same blank.
    rng = random.Random(0)
    return frozenset(_pattern(_fill(t, _topic(family, rng))) for family in FAMILIES for t in family.sentences())
