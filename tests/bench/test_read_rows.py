"""The rows of the benches of reading: what a spec asks for is among them, at every length, with its bar."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from foveal.bench import read_needles, read_speed
from foveal.evaluation.haystack import plant_all
from foveal.evaluation.needles import make
from foveal.reading.events import Reading, ReadStats
from foveal.reading.memory import Excerpt
from foveal.reading.published import token_scores

TEXT = " ".join(f"Sentence {number} says nothing of any use." for number in range(200))


def planted(per_kind: int = 2) -> list[Any]:
    found = [needle for kind in read_needles.KINDS for needle in make(kind, per_kind, seed=1)]
    return plant_all(TEXT, found, [20, 70] * len(read_needles.KINDS))


def bench(*, quick: bool, context: int = 10_000) -> Any:
    """A reader that keeps what holds a needle, and a model that finds literal ones in a whole text."""
    known = {one.needle.question: one for one in planted()}

    def read(one: Any) -> Reading:
        kept = tuple(Excerpt(start, end, one.text[start:end], 1.0) for start, end in one.ranges)
        stats = ReadStats(1, 1_000, 1_100, 90, 1.0, 1)
        return replace(Reading(one.needle.answer, question=one.needle.question), excerpts=kept, stats=stats)

    def answer(text: str, ranges: Any, question: str) -> str:
        assert list(ranges) == [(0, len(text))]
        return known[question].needle.answer if known[question].needle.kind == "literal" else "I do not know."

    return SimpleNamespace(
        settings=SimpleNamespace(quick=quick, seed=0),
        model=SimpleNamespace(context_tokens=context),
        reader=SimpleNamespace(read_many=lambda _, questions: tuple(read(known[one]) for one in questions)),
        count=lambda text: len(text.split()),
        answer=answer,
    )


def test_scores_of_tokens_are_held_to_their_definition(monkeypatch):
    draw = torch.Generator().manual_seed(0)
    hidden = torch.full((12, 60), -torch.inf).triu(49)
    attention = (3 * torch.randn(4, 12, 60, generator=draw) + hidden).softmax(-1)
    row = read_speed.token_score_row("tiny", attention, attention)
    assert (row.bar, row.ok) == ("≤ 0.0001", True)
    monkeypatch.setattr(
        read_speed, "token_scores", lambda paid, weights, phrase: token_scores(paid, weights, phrase - 1)
    )
    assert not read_speed.token_score_row("tiny", attention, attention).ok
    monkeypatch.setattr(
        read_speed, "token_scores", lambda paid, weights, phrase: token_scores(paid, weights**0.5, phrase)
    )
    assert not read_speed.token_score_row("tiny", attention, attention).ok


@pytest.mark.parametrize(("quick", "lengths", "compared"), [(False, [16, 64, 256], [16, 64]), (True, [8], [8])])
def test_needles_of_every_length_are_read_and_compared(quick, lengths, compared, monkeypatch, tmp_path):
    monkeypatch.setattr(read_needles, "planted_at", lambda *_: planted())
    asked: dict[str, list[int]] = {"_peers": [], "_whole": []}
    for name, where in asked.items():
        monkeypatch.setattr(read_needles, name, lambda *given, where=where: where.append(given[-1] // 1000) or ())
    for name in ("_controls", "_parts"):
        monkeypatch.setattr(read_needles, name, lambda *_: iter(()))
    rows = list(read_needles.needles(bench(quick=quick), tmp_path))
    assert asked == {"_peers": compared, "_whole": lengths[:1]}
    assert [row.system for row in rows if row.metric == "tokens/s"] == [f"Foveal, needles, {n}k" for n in lengths]
    for length in lengths:
        bars = {row.system: row.bar for row in rows if row.metric == "retention" and row.system.endswith(f" {length}k")}
        assert bars == {
            f"Foveal, literal needles, {length}k": "≥ 1",
            f"Foveal, paraphrase needles, {length}k": "≥ 0.85",
            f"Foveal, two-hop needles, {length}k": None,
        }
    assert all(row.ok is not False for row in rows)


def test_the_whole_text_is_asked_where_it_fits():
    told = list(read_needles._whole(bench(quick=False), planted(), 16_000))
    assert [(row.system, row.value) for row in told] == [
        ("whole text in the prompt, literal needles, 16k", 1.0),
        ("whole text in the prompt, paraphrase needles, 16k", 0.0),
        ("whole text in the prompt, two-hop needles, 16k", 0.0),
    ]
    (row,) = read_needles._whole(bench(quick=False, context=1_000), planted(), 16_000)
    assert row.note.startswith("not run: ")
    assert row.ok is None
