"""The needles of the attention benches: what is planted, and which of them count."""

from __future__ import annotations

import re
from types import SimpleNamespace
from typing import Any

import pytest

from foveal.bench import attention_needles
from foveal.evaluation.grid import Cell, key
from foveal.evaluation.ruler import accuracy

TEXT = " ".join(f"Sentence {number} says nothing of any use." for number in range(400))


def reader(*, quick: bool = True) -> Any:
    """Words are tokens."""
    tokenizer = SimpleNamespace(decode=lambda ids, **_: " ".join(ids))
    return SimpleNamespace(
        settings=SimpleNamespace(quick=quick, seed=0),
        model=SimpleNamespace(tokenizer=tokenizer),
        tokens=lambda length: TEXT.split()[:length],
        count=lambda text: len(text.split()),
    )


def test_two_needles_stand_half_a_text_apart():
    made = attention_needles.two_needles(reader(quick=False), 1_000)
    assert tuple(made.values()) == attention_needles.DEPTHS
    for sample, depth in made.items():
        assert 910 < sample.tokens <= 1_000
        (name,) = {found.group(1) for found in re.finditer(r"number of (.+?) is", sample.context)}
        assert name in sample.question
        assert name in sample.prefix
        places = [100 * sample.context.index(f"of {name} is {one}.") / len(sample.context) for one in sample.answers]
        assert places == pytest.approx(sorted([depth, (depth + 50) % 100]), abs=4)
        assert accuracy(" ".join(reversed(sample.answers)), sample) == 1
        assert accuracy(sample.answers[1], sample) == 0.5
    assert len({sample.answers for sample in made}) == len(made)


def test_pairs_count_where_dense_attention_finds_both(monkeypatch):
    """Half a pair is none, and a text that is read densely is no test."""

    def measured(_: Any, methods: Any, samples: Any) -> list[Cell]:
        right = {"dense": (1.0, 1.0, 0.5, 1.0), "flexprefill@0.95": (1.0, 0.5, 1.0, 1.0)}
        return [
            Cell(*name.partition("@")[::2], "", one.length, 0, correct, None, 0.7, 1.0, "", key(one))
            for name in methods
            for one, correct in zip(samples, right[name], strict=True)
        ]

    monkeypatch.setattr(attention_needles, "measured", measured)
    monkeypatch.setattr(attention_needles, "_one_needle", lambda *_: iter(()))
    rows = list(attention_needles.grid(reader(), (1_024, 2_100)))
    assert [(row.system, row.value, row.ok) for row in rows] == [
        ("two needles, 1k, flexprefill@0.95", pytest.approx(2 / 3), None),
        ("two needles, 2k, flexprefill@0.95", pytest.approx(2 / 3), None),
        ("two needles, flexprefill@0.95", pytest.approx(2 / 3), False),
    ]
    assert "3 pairs" in rows[-1].note
