"""Sentences to hide and questions that have them said again, word for word: what retrieval heads are detected with.

A score of 1 needs the model to generate the whole sentence, so each question asks for one that the answer repeats.
Others need a step of thought: two things are said, and the question tells by a comparison which of them it wants.

Names and numbers are drawn, so that no model can know an answer and no two seeds give the same tokens. They differ from
the needles of `foveal.evaluation`: what chooses the heads never measures them.
"""

from __future__ import annotations

import random

from foveal.errors import InputError
from foveal.evaluation.needles import Needle

_TRIPLES = (
    (
        "The best thing to do in {town} is to walk along the old canal and drink a glass of {drink} at sunset.",
        "What is the best thing to do in {town}?",
        "walk along the old canal and drink a glass of {drink} at sunset",
    ),
    (
        "The favourite dish of {name} is roasted fennel with {number} grams of {drink} butter and a pinch of saffron.",
        "What is the favourite dish of {name}?",
        "roasted fennel with {number} grams of {drink} butter and a pinch of saffron",
    ),
    (
        "{name} was banned from the library of {town} because he kept {number} bees and a sleeping goat in his coat.",
        "Why was {name} banned from the library of {town}?",
        "because he kept {number} bees and a sleeping goat in his coat",
    ),
    (
        "The password of the {town} observatory is {code}-{drink}-{number}, and it is changed every second Tuesday.",
        "What is the password of the {town} observatory, and when is it changed?",
        "{code}-{drink}-{number}, and it is changed every second Tuesday",
    ),
    (
        "To reach the cabin of {name} one must cross {number} wooden bridges, turn left at the mill and whistle twice.",
        "What must one do to reach the cabin of {name}?",
        "cross {number} wooden bridges, turn left at the mill and whistle twice",
    ),
    (
        "A new survey of {town} shows that foxes, owls and {number} tame badgers live beneath the town hall.",
        "What does a new survey of {town} show?",
        "foxes, owls and {number} tame badgers live beneath the town hall",
    ),
    (
        "The secret ingredient in the soup of {name} is burnt {drink} stirred into grated chestnut and cold cream.",
        "What is the secret ingredient in the soup of {name}?",
        "burnt {drink} stirred into grated chestnut and cold cream",
    ),
    (
        "On the last day of the fair in {town} the mayor gives a copper kettle to whoever can carry {number} pears.",
        "What happens on the last day of the fair in {town}?",
        "the mayor gives a copper kettle to whoever can carry {number} pears",
    ),
    (
        "The will of {name} leaves the piano to the fire brigade and {number} silver spoons to the lighthouse keeper.",
        "What does the will of {name} leave, and to whom?",
        "the piano to the fire brigade and {number} silver spoons to the lighthouse keeper",
    ),
    (
        "{name} repaired the clock of {town} with a bent fork, some {drink} and the string of a broken violin.",
        "With what did {name} repair the clock of {town}?",
        "with a bent fork, some {drink} and the string of a broken violin",
    ),
    (
        "The only cure for the hiccups of {name} is to hum a waltz while standing on {number} folded newspapers.",
        "What is the only cure for the hiccups of {name}?",
        "to hum a waltz while standing on {number} folded newspapers",
    ),
    (
        "Every winter the ferry of {town} is pulled across the ice by nine dogs and a retired {drink} merchant.",
        "By whom is the ferry of {town} pulled across the ice every winter?",
        "by nine dogs and a retired {drink} merchant",
    ),
)

_COMPARED = (
    (
        "{name} is {number} years old and keeps a tame {first}, while {other} is {less} and keeps a tame {second}.",
        (
            "Which animal does the older of {name} and {other} keep?",
            "Which animal does the younger of {name} and {other} keep?",
        ),
    ),
    (
        "{name} owes the bank {number} crowns for a {first}, and {other} owes it {less} crowns for a {second}.",
        (
            "{name} and {other} both owe money for an animal; for which one is more owed?",
            "{name} and {other} both owe money for an animal; for which one is less owed?",
        ),
    ),
    (
        "In {town} the {first} of {name} weighs {number} pounds, and the {second} of {other} weighs {less} pounds.",
        (
            "Which is heavier, the animal of {name} or that of {other}, and what is it?",
            "Which is lighter, the animal of {name} or that of {other}, and what is it?",
        ),
    ),
)
_ANIMALS = ("badger", "falcon", "goose", "heron", "lynx", "marmot", "otter", "raven", "stoat", "tortoise")

_NAMES = ("Mr Halloran", "Aunt Philippa", "Doctor Osei", "Old Bertil", "Captain Varga", "Miss Tanaka", "Uncle Dragan")
_TOWNS = ("Velmora", "Saint Oswin", "Karlstrand", "Ashgrove", "Puerto Lindo", "Nordheim", "Quillby", "Tessaly")
_DRINKS = ("elderflower", "ginger", "walnut", "juniper", "apricot", "almond", "tamarind", "rosemary", "cinnamon")


def retrieval_needles(count: int, seed: int = 0) -> list[Needle]:
    """`count` needles, each form used once before any is used again. InputError: fewer than one was asked for."""
    if count < 1:
        raise InputError(f"{count} needles were asked for; ask for at least 1.")
    draw = random.Random(seed)
    forms: list[tuple[str, str, str]] = []
    while len(forms) < count:
        forms += draw.sample(_TRIPLES, len(_TRIPLES))
    return [_filled(form, draw) for form in forms[:count]]


def reasoning_needles(count: int, seed: int = 0) -> list[Needle]:
    """`count` needles of two things, of which the question wants one without naming it. InputError: fewer than 1."""
    if count < 1:
        raise InputError(f"{count} needles were asked for; ask for at least 1.")
    draw = random.Random(f"reasoning {seed}")
    return [_compared(*_COMPARED[number % len(_COMPARED)], draw) for number in range(count)]


def _compared(form: str, questions: tuple[str, str], draw: random.Random) -> Needle:
    (name, other), (first, second) = draw.sample(_NAMES, 2), draw.sample(_ANIMALS, 2)
    number = draw.randint(51, 98)
    slots = {"name": name, "other": other, "first": first, "second": second, "town": draw.choice(_TOWNS)}
    slots |= {"number": str(number), "less": str(draw.randint(21, number - 9))}
    wants = draw.randrange(2)  # the thing with more, which is said first, or the one with less
    sentence, question = form.format(**slots), questions[wants].format(**slots)
    return Needle("literal", (sentence,), question, (first, second)[wants])


def _filled(form: tuple[str, str, str], draw: random.Random) -> Needle:
    slots = {
        "name": draw.choice(_NAMES),
        "town": draw.choice(_TOWNS),
        "drink": draw.choice(_DRINKS),
        "number": str(draw.randint(21, 989)),
        "code": "".join(draw.sample("BCDFGHJKLMNPQRSTVWXZ", 3)),
    }
    sentence, question, answer = (part.format(**slots) for part in form)
    return Needle("literal", (sentence,), question, answer)
