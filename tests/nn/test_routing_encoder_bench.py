"""bench nn-routing, encoder: equal excerpts for all, margins, and what an arm that was trained is known by."""

from __future__ import annotations

import gzip
from dataclasses import dataclass, field
from itertools import chain, count, islice

import numpy as np
import pytest

from foveal.bench import nn_routing_encoder as bench
from foveal.bench.settings import BenchSettings


@dataclass
class Watched:
    """What the bench asked for: rows of the learnt texts by number, and the arms."""

    rows: set[int] = field(default_factory=set)
    plans: list[set[int]] = field(default_factory=list)
    told: list[dict] = field(default_factory=list)


def run(tmp_path, monkeypatch, *, quick=True, letters=b"abcdefg"):
    """The bench over drawn texts, none of its arms trained."""
    draw, seen = np.random.default_rng(0), Watched()
    (tmp_path / "text").mkdir(exist_ok=True)
    for number, name in enumerate(bench.TEXTS):
        text = draw.choice(list(letters[number : number + 4]), size=20_000).astype(np.uint8)
        (tmp_path / "text" / f"{name}.txt.gz").write_bytes(gzip.compress(text.tobytes()))

    class Excerpts(bench.Excerpts):
        def __getitem__(self, number):
            if self.seed == 0:  # those that are learnt from
                seen.rows.add(number)
            return super().__getitem__(number)

    def train_nothing(_, __, ___, ____, _____, ______, plan, loop, told, **____together):
        seen.plans.append(set(chain.from_iterable(islice(chain.from_iterable(map(plan, count())), loop.steps))))
        seen.told.append(told)

    monkeypatch.setattr(bench, "trained", train_nothing)
    monkeypatch.setattr(bench, "Excerpts", Excerpts)
    monkeypatch.setattr(bench, "ASKED", 4)
    rows = {row.system: row for row in bench.encoder(BenchSettings(data=tmp_path, cache=tmp_path, quick=quick))}
    monkeypatch.undo()
    return seen, rows["encoder, routing less full attention"]


@pytest.mark.parametrize(("quick", "excerpts", "bar"), [(True, 960, "≥ -0.1"), (False, 6_400, "≥ -0.02")])
def test_letters_alone_learn_from_what_the_arms_see(tmp_path, monkeypatch, quick, excerpts, bar):
    seen, below = run(tmp_path, monkeypatch, quick=quick)
    assert seen.rows == set(range(excerpts))
    assert seen.plans == [seen.rows] * 3
    assert below.bar == bar


def test_other_texts_or_layers_are_other_arms(tmp_path, monkeypatch):
    first, again = run(tmp_path, monkeypatch)[0].told, run(tmp_path, monkeypatch)[0].told
    assert first == again
    changed = run(tmp_path, monkeypatch, letters=b"abcdefx")[0].told  # the last text alone
    monkeypatch.setattr(bench, "LAYERS", 1)
    flatter = run(tmp_path, monkeypatch)[0].told
    for one, *others in zip(first, changed, flatter, strict=True):
        assert all(one != other for other in others)
