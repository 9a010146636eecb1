"""People and what they like: texts like those of LIMIT, made up, to train on what LIMIT then asks.

Shapes     a person's text is "<name> likes A, B, … and Z."; a query is "Who likes A?"; each thing is liked by two
Words      ours: none of the things is one of LIMIT's, and no name is (`shared` counts them)
Source     the task: Weller et al., "On the Theoretical Limitations of Embedding-Based Retrieval", 2025
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from foveal.training.examples import Examples


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


FIRST = _words("""
    Adalheid Bartholomew Casimir Drusilla Emeric Fredegund Gisela Hildebrand Ingolf Jocasta Kunigunde Leopold
    Mechthild Norbert Ottilie Pankraz Quirin Rosamund Sigismund Theodora Ulrich Valeska Wendelin Xaver Yolanda
    Zacharias
""")
LAST = _words("""
    Ackerbrand Birkenfeld Czernin Dornbusch Eichwald Falkner Greifenau Habermehl Immenhof Jungblut Kesselring
    Lindhorst Mauersberg Nachtigall Oberholz Pfeilschmidt Quandt Rabenalt Steinmetz Torwarth Uhlenbruck
    Vogelsang
""")
KINDS = _words("""
    Copper Woollen Painted Foldable Ancient Striped Smoked Hollow Silver Wooden Frozen Quilted Rusty Velvet
    Roasted Miniature Crooked Braided Glazed Borrowed Pickled Oval Patched Luminous Waxed Gilded Dusty Knotted
    Feathered Salted Tin Ivory Wandering Whispering Northern Desert Alpine Floating Clockwork Candied Marbled
    Mossy Paper Tartan Amber Leather Bronze Linen Cedar Granite
""")
THINGS = _words("""
    Kettles Ladders Barometers Cushions Doorknobs Lanterns Rowboats Saddles Thimbles Umbrellas Wheelbarrows
    Zithers Anvils Bookends Compasses Drawbridges Envelopes Footstools Gargoyles Hinges Inkwells Jugs Kites
    Locks Mittens Noodles Ovens Pulleys Quills Ribbons Spoons Teapots Urns Vases Weathervanes Xylophones Yokes
    Zippers Bridles Chimneys Dumplings Easels Fences Goblets Hammocks Lozenges Mirrors Nets Oars Pretzels
""")


def people(count: int, *, likes: int = 48, seed: int = 0) -> Examples:
    """`count` people (even) who like `likes` things each, every thing liked by two of them; one query a thing."""
    generator = np.random.default_rng(seed)
    names = [f"{first} {last}" for first in FIRST for last in LAST]
    things = [f"{kind} {thing}" for kind in KINDS for thing in THINGS]
    chosen = [things[place] for place in generator.permutation(len(things))[: count * likes // 2]]
    owners = _owners(count, likes, generator)
    held: list[list[str]] = [[] for _ in range(count)]
    for thing, pair in zip(chosen, owners, strict=True):
        for person in pair:
            held[person].append(thing)
    called = [names[place] for place in generator.permutation(len(names))[:count]]
    corpus = [
        (name, f"{name} likes {', '.join(liked[:-1])} and {liked[-1]}.")
        for name, liked in zip(called, held, strict=True)
    ]
    queries = [(f"q{number}", f"Who likes {thing}?") for number, thing in enumerate(chosen)]
    judged = [(f"q{number}", called[person], 1) for number, pair in enumerate(owners) for person in pair]
    return Examples.gathered(queries, corpus, judged, name="people")


def shared(examples: Examples, texts: Iterable[str]) -> int:
    """Names and things of the examples that stand in the texts."""
    whole = "\n".join(texts).lower()
    asked = [query.removeprefix("Who likes ").removesuffix("?") for query in examples.queries.values()]
    return sum(one.lower() in whole for one in (*examples.corpus, *asked))


def _owners(count: int, likes: int, generator: np.random.Generator) -> list[tuple[int, int]]:
    """Pairs of different people in which each comes `likes` times: rounds in which everyone is paired once."""
    pairs = []
    for _ in range(likes):
        order = generator.permutation(count).tolist()
        pairs += list(zip(order[::2], order[1::2], strict=True))
    return pairs
