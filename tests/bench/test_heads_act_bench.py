"""bench heads-act: its examples, its definition, its verdicts, and a run over a tiny model that goes on."""

from __future__ import annotations

import gzip
import json
import sys
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from tiny import tiny

from foveal.attention.act import ACT
from foveal.attention.act_controls import OURS, PLAIN
from foveal.attention.act_files import Calibration, HeadGain
from foveal.attention.attach import Context
from foveal.attention.masks import Mask
from foveal.attention.profiles import architecture_of
from foveal.attention.sinks import SinkRule
from foveal.bench import heads_act_exact, heads_act_gain
from foveal.bench.heads_act_cost import LOST, given_row, harm_row, memory_rows
from foveal.bench.heads_act_data import SEARCH, TEST, examples, search_parts, words
from foveal.bench.heads_act_exact import _compared, _drawn, by_definition, still_rows
from foveal.bench.heads_act_gain import (
    OTHERS,
    SINKS,
    Cell,
    _cells,
    _counted,
    _drawn_gains,
    _drawn_rows,
    _test_rows,
    histogram,
    spread_of,
    strongest,
    trials_of,
)
from foveal.bench.known_sets import SIZES
from foveal.bench.settings import BenchSettings
from foveal.evaluation.labelled import Labelled
from foveal.evaluation.selection import Gain


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return tiny("qwen", tmp_path_factory.mktemp("act-bench"))


@pytest.fixture(scope="module")
def settings(tmp_path_factory):
    data = tmp_path_factory.mktemp("data")
    columns = {"clickbait": "headline", "20ng": "subject"}
    for task in (*SEARCH, *TEST):
        path = data / task.file
        path.parent.mkdir(parents=True, exist_ok=True)
        text = columns.get(task.name, "text")
        extra = ",title" if task.name == "ag_news" else ""
        rows = [f"label,{text}{extra}"]
        for label in task.labels:
            rows += [f"{label},{label} in the mill {n}{',The mill' if extra else ''}" for n in range(12)]
        path.write_text("\n".join(rows) + "\nunknown,nothing" + (",x" if extra else ""))
    (data / "xquad").mkdir()
    questions = [{"question": f"What {n}?", "answers": [{"text": f"answer {n}"}]} for n in range(5)]
    articles = [{"paragraphs": [{"context": "The mill is old.", "qas": questions}]}] * 3
    (data / "xquad" / "xquad.en.json").write_text(json.dumps({"data": articles}))
    return BenchSettings(data=data, cache=tmp_path_factory.mktemp("cache"), quick=True)


def calibration(model, **more) -> Calibration:
    config = model.model.config
    fields = {"model": model.name, "fingerprint": model.fingerprint, "architecture": architecture_of(config)}
    fields |= {"layers": 3, "heads_a_layer": 4, "template": "0", "heads": ((2, 1),)}
    return Calibration(**{**fields, "rule": SinkRule(rule="least", least=0.02, min_rows=2), **more})


def test_labels_are_balanced_and_parts_disjoint(settings):
    for task in (*SEARCH, *TEST):
        labels = tuple(dict.fromkeys(task.labels.values()))
        found = examples(settings, task, 2 * len(labels))
        assert [sum(one.gold == n for one in found) for n in range(len(labels))] == [2] * len(labels), task.name
    own, others = search_parts(settings, 4, 6)
    assert (len(own), len(others)) == (12, 18)
    assert not {one.prompt for one in own} & {one.prompt for one in others}
    assert {one.name for one in SEARCH}.isdisjoint(one.name for one in TEST)


def test_questions_may_be_packed(settings, tmp_path):
    (tmp_path / "xquad").mkdir()
    content = (settings.data / "xquad" / "xquad.en.json").read_bytes()
    (tmp_path / "xquad" / "xquad.en.json.gz").write_bytes(gzip.compress(content))
    packed = BenchSettings(data=tmp_path, cache=tmp_path, quick=True)
    assert words(packed, 4) == words(settings, 4)


def test_options_hold_the_answer_under_its_letter(settings):
    options, open_ = words(settings, 4)
    for one, told in zip(options, open_, strict=True):
        line = one.prompt.splitlines()[-5:-1][one.gold]
        assert line == f"{one.choices[one.gold]}. {told.answers[0]}"


def test_the_definition_is_the_papers_for_a_case_made_by_hand():
    q, k = torch.zeros(1, 1, 4, 2), torch.zeros(1, 1, 4, 2)  # every row looks evenly at what it sees
    rule = SinkRule(rule="least", least=0.3, min_rows=2)
    where = Context(0, torch.nn.Identity(), Mask.causal(1, 4, 4), 1.0)
    before, after = by_definition(q, k, where, rule, window=None, real=None)
    assert before[0, 0, 3].tolist() == [0.25] * 4
    # column 1: (1/2 + 1/3 + 1/4) / 3 = 0.361 is a sink, column 2: (1/3 + 1/4) / 2 = 0.292 is none, 3 has one row
    wanted = torch.tensor([0.3, 0.1, 0.3, 0.3], dtype=torch.float64)
    torch.testing.assert_close(after[0, 0, 3], wanted)
    torch.testing.assert_close(after[0, 0, 1], torch.tensor([0.8, 0.2, 0, 0], dtype=torch.float64))
    assert _compared(*_drawn(2, 40, torch.Generator().manual_seed(0)))[0] < 1e-5


class FirstPassAlone(ACT):
    """A fake that calibrates whole texts, and no token that comes behind one."""

    def attend(self, query, key, value, context):
        return None if query.shape[2] < key.shape[2] else super().attend(query, key, value, context)


class EveryHead(ACT):
    """A fake that calibrates heads which nobody chose."""

    def __init__(self, heads, **how):
        super().__init__({layer: range(4) for layer in heads}, **how)


@pytest.mark.parametrize(
    ("method", "wrong"),
    [
        (ACT, None),
        (FirstPassAlone, "a text in pieces, against at once"),
        (EveryHead, "heads 0 and 3 of 4 chosen"),
    ],
)
def test_what_must_stay_as_it_is_is_held_to_that(monkeypatch, method, wrong):
    monkeypatch.setattr("foveal.bench.heads_act_exact.ACT", method)
    rows = list(still_rows(torch.Generator().manual_seed(0)))
    assert len(rows) == 4
    assert [row.system for row in rows if not row.ok] == ([wrong] if wrong else [])


def test_cells_go_on_where_they_were_stopped(model, settings, monkeypatch):
    monkeypatch.setattr(heads_act_gain, "_arms", lambda _, model, made: {PLAIN: None, OURS: made.method(model)})
    made = calibration(model)
    small = replace(settings, seed=1)
    found = _cells(small, model, made)
    assert len(found) == 2 * len(TEST)
    monkeypatch.setattr(heads_act_gain, "scored", None)  # nothing is asked again
    assert _cells(small, model, made) == found


def test_a_gain_is_held_against_chance_and_drawn_heads():
    def cell(arm: str, right: int) -> Cell:
        return Cell(arm, "sst2", [1.0] * right + [0.0] * (100 - right), [0.5] * 100)

    cells = {(one.arm, one.task): one for one in (cell(PLAIN, 60), cell(OURS, 68), cell("3 heads, draw 1", 61))}
    rows = list(_test_rows(cells, {"sst2": 1 / 2}, confirmed=True))
    verdict = {(row.system, row.metric): row for row in rows}
    assert verdict["calibrated as searched", "points gained"].value == pytest.approx(8)
    assert all(row.ok for row in rows if row.ok is not None)
    nothing = list(
        _test_rows(cells, {"sst2": 1 / 2}, confirmed=False)
    )  # an empty calibration gains nothing, whatever heads might
    assert [row.ok for row in nothing[-3:]] == [False, False, False]
    assert nothing[-3].value == 0


def head_gain(head: int, gain: float, p: float, width: float, count: int = 9) -> HeadGain:
    low, high = gain - width, gain + width
    return HeadGain(layer=2, head=head, gain=gain, low=low, high=high, p=p, shrunk=gain / 2, accuracy=0.0, count=count)


def test_trials_of_other_code_are_not_taken_for_ones_own(settings, monkeypatch):
    before = trials_of(settings, "search-abc")
    assert trials_of(settings, "search-abc") == before
    monkeypatch.setattr(heads_act_gain, "code_digest", lambda name, within: f"other {name} {within}")
    assert trials_of(settings, "search-abc") != before


def test_gains_are_drawn_beside_their_controls(model, tmp_path):
    gains = tuple(head_gain(n, n - 1.5, 0.5, 0.5) for n in range(4))
    drawn = {name: [Gain(0.1 * n, 0.01, 0.5, 0.0, 9) for n in range(3)] for name in (SINKS, OTHERS)}
    path = histogram(calibration(model, gains=gains), drawn, tmp_path / "gain.png")
    assert path.read_bytes().startswith(b"\x89PNG")


def test_heads_are_counted_by_what_luck_does_not_explain():
    """One of many heads that is sure by itself is expected by luck; so is one that loses."""
    sure = [head_gain(0, 0.5, 1e-6, 0.1), head_gain(1, -0.5, 1 - 1e-6, 0.1)]
    lucky = [head_gain(2, 0.2, 0.02, 0.1), head_gain(3, -0.2, 0.98, 0.1)]
    given_up = [head_gain(4, 0.9, 1e-9, 0.1, count=3)]
    rows = list(_counted([*sure, *lucky, *given_up, *(head_gain(n, 0.0, 0.5, 1.0) for n in range(40))], 9))
    assert [(row.system, row.value) for row in rows] == [("heads whose sinks harm", 1), ("heads whose sinks help", 1)]
    assert "over 45 heads; by its own 95 % interval, uncorrected: 3" in rows[0].note
    assert "uncorrected: 2" in rows[1].note


def test_drawn_heads_are_tried_with_their_sinks_and_with_other_columns(model, settings):
    own = [Labelled(f"{n} the keeper of the mill is in the", ("keeper", "mill"), n % 2) for n in range(6)]
    drawn = _drawn_gains(settings, model, own)
    assert [len(one) for one in drawn.values()] == [4, 4]  # one layer of the tiny model may be calibrated
    assert _drawn_gains(settings, model, own) == drawn
    rows = list(_drawn_rows({SINKS: [Gain(x, 0.0, 0.5, 0.0, 9) for x in (0.1, -0.1)], OTHERS: drawn[OTHERS]}))
    assert [row.ok for row in rows] == [True, None]
    assert rows[0].value == pytest.approx(1000 * 2**0.5 / 10)
    assert spread_of([Gain(x, 0.5, 0.5, 0.0, 9) for x in (0.1, -0.1)]) == 0.0  # all of it is luck


def test_where_no_head_was_confirmed_the_strongest_are_tried_and_so_called(model):
    gains = tuple(head_gain(n % 4, n, 0.5, 0.5) for n in range(12))
    tried, name = strongest(calibration(model, gains=gains, heads=()))
    assert (len(tried.heads), name) == (8, "8 strongest heads, not confirmed")
    confirmed = calibration(model, gains=gains)
    assert strongest(confirmed) == (confirmed, "calibrated")


def test_harm_is_what_calibration_loses():
    before, after = [(True, 0.5), (True, 0.1)] * 36, [(True, 0.5), (True, 0.1)] * 35 + [(True, 0.5), (False, 9.0)]
    row = harm_row("calibrated, all lengths", before, after, at_least=-LOST)
    assert (round(row.value, 2), row.ok) == (-1.39, True)
    assert harm_row("", before, [(False, 1.0), *after[1:]], at_least=-LOST).ok is False  # two of 72
    assert "72 codes; 1.00 before" in row.note


def test_of_codes_that_are_not_given_none_can_be_lost():
    none, some = [(False, 9.0)] * 72, [(True, 0.1)] * 6 + [(False, 9.0)] * 66
    assert harm_row("", none, none, at_least=-LOST).ok  # which says nothing
    assert given_row(none, -LOST).ok is False
    assert given_row(some, -LOST).ok
    assert given_row(some[:8], -12.5).bar == "≥ 0.25"  # one of eight is 12.5 points


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="a process tells its peak on Linux alone")
def test_a_matrix_of_tokens_by_tokens_shows_above_the_model(model, settings, monkeypatch):
    """At 2,048 tokens it is little beside the model itself."""
    model_bytes, dense, matrix = 2_900_000_000, 250_000_000, 2048 * 2048 * 4 * 3
    reader = SimpleNamespace(tokens=lambda count: [0] * count)
    monkeypatch.setattr("foveal.bench.heads_act_cost.PromptReader", lambda _: reader)
    for more, told in ((0, [True, True]), (matrix, [True, False])):
        peaks = iter([model_bytes + dense, model_bytes + dense + more])
        monkeypatch.setattr("foveal.bench.heads_act_cost._peak", lambda *_, peaks=peaks: (next(peaks), model_bytes))
        assert [row.ok for row in memory_rows(replace(settings, quick=True), [(0, 1)])] == told


def test_what_was_measured_on_essays_is_asked_of_these_essays(model, settings, monkeypatch):
    reader = SimpleNamespace(essays=["one essay", "another"], tokens=range)
    monkeypatch.setattr(heads_act_exact, "PromptReader", lambda _: reader)
    told = SimpleNamespace(first=torch.zeros(1), share=0.0, counts=torch.zeros(1))
    told.under = lambda _: told
    monkeypatch.setattr(heads_act_exact, "find_sinks", lambda *_: told)
    others = list(heads_act_exact._as_measured(model, settings))
    assert [row.ok for row in others] == [None] * len(heads_act_exact.MEASURED)
    assert all("is of the 49 essays" in row.note for row in others)
    monkeypatch.setitem(SIZES, "the 49 essays", (2, 16))
    assert [row.ok for row in heads_act_exact._as_measured(model, settings)] == [False] * len(others)
