"""The postings of terms against a dictionary of dictionaries, while clusters come and go."""

from __future__ import annotations

import math

import numpy as np

from foveal.retrieval.event_holders import Holders


def by_hand(held, lengths, weights, k):
    sums: dict[str, float] = {}
    for term, weight in weights.items():
        for name, own in held.get(term, {}).items():
            sums[name] = sums.get(name, 0.0) + weight * own
    order = sorted((-total / lengths[name], name) for name, total in sums.items() if total)
    return [name for _, name in order[:k]]


def test_they_are_a_dictionary_of_dictionaries():
    draw = np.random.default_rng(0)
    holders, held, lengths = Holders(), {}, {}
    for step in range(3000):
        name, term = f"e{draw.integers(40)}", f"t{draw.integers(25)}"
        kind = draw.random()
        if kind < 0.7 or name not in lengths:
            weight, length = float(draw.random()), float(1 + draw.integers(3))
            holders.hold(name, {term: weight})
            holders.length(name, length)
            held.setdefault(term, {})[name] = weight
            lengths[name] = length
        elif kind < 0.8:
            holders.drop(name, term)
            held.get(term, {}).pop(name, None)
        elif kind < 0.85:
            holders.forget(name)
            lengths.pop(name)
            for own in held.values():
                own.pop(name, None)
        if step % 10 == 0:
            weights = {f"t{number}": float(draw.random()) for number in draw.integers(30, size=6)}
            assert holders.nearest(weights, 5) == by_hand(held, lengths, weights, 5)
    assert {term: holders.of(term) for term in held if held[term]} == {term: own for term, own in held.items() if own}
    again = Holders.restored(holders.state())
    for name, length in lengths.items():
        again.length(name, length)
    assert again.nearest({"t1": 1.0, "t2": 0.5}, 9) == holders.nearest({"t1": 1.0, "t2": 0.5}, 9)
    assert len(again) == len(holders)


def test_equal_ones_come_by_name_and_unknown_terms_find_nothing():
    holders = Holders()
    assert holders.nearest({"a": 1.0}, 3) == []
    for name in ("e3", "e1", "e2", "e0"):
        holders.hold(name, {"a": 1.0})
        holders.length(name, math.sqrt(2))
    assert holders.nearest({"a": 1.0, "b": 2.0}, 3) == ["e0", "e1", "e2"]
    holders.drop("nobody", "a")
    holders.forget("nobody")
    assert holders.of("a").keys() == {"e0", "e1", "e2", "e3"}
    assert holders.of("b") == {}
