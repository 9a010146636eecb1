"""Bars that could not fail: a bench that measured nothing says so, and ratios are medians of what they are called."""

from __future__ import annotations

import asyncio
import itertools
import math
from types import SimpleNamespace

import pytest
import torch

from foveal.bench import (
    attention_kernel,
    attention_needles,
    bprop,
    headlines_writer,
    heads_attribution,
    heads_masking,
    heads_ranking,
    layers_stepnet,
    nn_titans,
    papers_serve,
    rank_blockrank_exact,
    rank_legal_attention,
    rank_neural_adhoc,
    report_citations,
    report_library,
    research_retrieval,
    scale_web,
)
from foveal.bench.report_citations_data import NAME, NUMBER, TRUE, Pair
from foveal.bench.retrieval_fusion import Judged
from foveal.bench.settings import BenchSettings
from foveal.errors import InputError
from foveal.evaluation import speed
from foveal.evaluation.beir import Collection, Record
from foveal.research.evidence import Verdict


def test_needles_that_dense_attention_does_not_find_are_no_success():
    kept = {"flexprefill@0.95": [(1024, 50, 1.0)], "streaming": []}  # read densely: no test
    rows = list(attention_needles._kept_rows(kept))
    assert [row.ok for row in rows] == [False, False]


def test_where_no_answer_holds_the_value_nothing_is_attributed():
    told = heads_attribution.Told(
        heads_attribution.Needle("literal", ("The code is 48.",), "?", "48"), "", heads_attribution.Trace("no", ()),
        (0, 1), (2, 3),
    )  # fmt: skip
    rows = list(heads_attribution._place_rows([told]))
    assert {row.system: row.ok for row in rows if row.bar} == {
        "the one that was copied": False,
        "both together, as citations go": False,
    }


def test_where_nothing_is_given_unmasked_nothing_can_be_lost(monkeypatch):
    nothing = [heads_masking.Ablated(name, 3, 0.0, 9.0) for name in ("nothing", "3 strongest", "3 others, 1")]
    monkeypatch.setattr(heads_masking, "head_scores", lambda _: None)
    monkeypatch.setattr(heads_masking, "essays", lambda _: [])
    monkeypatch.setattr(heads_masking, "ablate", lambda *_, **__: nothing)
    rows = list(heads_masking.other_rows(BenchSettings(quick=True), type("Model", (), {"name": "m"})()))
    assert [row.ok for row in rows] == [False, True, True]


def test_time_over_dense_is_the_median_of_that_ratio(monkeypatch):
    """Of two pairs, the inverse of the mean speed is below the mean time: in favour of whoever wanders more."""
    ours, dense = iter([1.0, 3.0, 4.0] * 99), iter([1.0, 1.0, 1.0] * 99)

    def paired(a, b, *, runs):
        now, of_ours = [0.0], a.__class__.__name__ == "partial"

        def timed(times):
            def call():
                now[0] += next(times)

            return call

        first, second = (ours, dense) if of_ours else (dense, ours)
        return speed.paired(timed(first), timed(second), runs=runs, warmup=0, clock=lambda: now[0])

    monkeypatch.setattr(attention_kernel, "paired", paired)
    rows = list(attention_kernel.cost(256, BenchSettings(quick=True)))
    assert [row.value for row in rows] == pytest.approx([3.0] * len(rows))
    assert rows[0].note == "3.00 s against 1.00"


def test_reports_that_say_nothing_fall_short():
    nothing = SimpleNamespace(claims=(), evidence=(), bibliography=(), by_key={})
    rows = list(report_library.report_rows([nothing], {}, report_library.LibrarySizes()))
    assert [(row.system, row.ok) for row in rows if row.bar] == [
        ("sentences", False), ("sentences", False), ("evidence", False), ("reports", False),
    ]  # fmt: skip


def test_a_kind_of_false_claim_that_could_not_be_made_falls_short():
    pairs = [Pair("It rained.", (), kind, "1") for kind in (TRUE, NUMBER)]
    measured = report_citations.Measured(
        pairs, [Verdict(label="supported", score=0.9), Verdict(label="unsupported", score=0.1)]
    )
    rows = {row.system: row for row in report_citations.auroc_rows("HotpotQA, retold", measured)}
    number, name = (rows[f"HotpotQA, retold: {kind}"] for kind in (NUMBER, NAME))
    assert (number.ok, name.ok) == (True, False)
    assert "none could be made" in name.note


def test_a_control_that_learns_no_less_than_nothing_falls_short(monkeypatch):
    """Where the real judgements taught nothing, the control's share of it is no number."""
    data = SimpleNamespace(name="toy", values=lambda run: run)
    arm = SimpleNamespace(alone={"q": 0.1}, fused={"q": 0.1})
    monkeypatch.setattr(rank_neural_adhoc, "arm", lambda *_, **__: arm)
    monkeypatch.setattr(rank_neural_adhoc, "by_chance", lambda _: {"q": 0.2})

    def share(real):
        rows = rank_neural_adhoc.control_rows("drmm", data, None, BenchSettings(quick=True), {"q": real}, {"q": 0.5})
        return next(iter(rows)).ok

    assert [share(0.6), share(0.2), share(0.15)] == [True, False, False]


def test_a_planner_that_reads_nothing_is_no_better_than_its_controls(monkeypatch):
    among = SimpleNamespace(hits=lambda plans: dict.fromkeys(plans, 50.0))
    sizes = SimpleNamespace(compared=4, slack=0.0)
    arms = SimpleNamespace(
        two_wiki=among, taught=lambda _: (None, None), others=lambda _: [], sizes=sizes,
        plans=lambda *_: {"1": (), "2": ()},
    )  # fmt: skip
    rows = [row for row in research_retrieval.control_rows(arms) if row.bar]
    assert [(row.value, row.ok) for row in rows] == [(0.0, False)] * 2


def test_documents_that_no_text_moves_show_nothing(monkeypatch):
    segments = SimpleNamespace(documents=(document("a"), document("b")))
    config = SimpleNamespace(model=SimpleNamespace(config=None))
    case = SimpleNamespace(segments=segments, model=config)
    monkeypatch.setattr(rank_blockrank_exact, "replace", lambda one, **new: SimpleNamespace(**(vars(one) | new)))
    monkeypatch.setattr(rank_blockrank_exact, "full_layers", lambda _: [0])
    for reads, wanted in ((True, True), (False, False)):

        def read(_, one, __, reads=reads):
            blocks = [[torch.zeros(1)], *[[torch.tensor(part.ids if reads else (0,))] for part in one.documents]]
            return SimpleNamespace(blocks=lambda: blocks)

        monkeypatch.setattr(rank_blockrank_exact, "read", read)
        assert rank_blockrank_exact.apart_row(case).ok is wanted


def document(name):
    return SimpleNamespace(ids=(ord(name), 0))


def test_attention_that_could_not_be_looked_at_is_no_success(monkeypatch):
    monkeypatch.setattr(rank_legal_attention, "planted", lambda *_, **__: [])
    law = SimpleNamespace(settings=BenchSettings())
    rows = list(rank_legal_attention.attention_rows(law, {}, asked="Paraformer", most=3))
    assert [row.ok for row in rows] == [False, None]
    assert all("not run" in row.note for row in rows)


def test_a_site_that_refuses_nobody_or_answers_nobody_falls_short(monkeypatch):
    got = scale_web.Asked(waits_ms=[5.0])

    async def crowd(*_):
        return got

    async def watched(*_):
        return scale_web.Asked(errors=["ConnectError"]), [10, 10, 10]

    monkeypatch.setattr(scale_web, "crowd", crowd)
    monkeypatch.setattr(scale_web, "_watched", watched)
    rows = {row.metric: row for row in scale_web.crowd_rows("overload", "", [], BenchSettings())}
    assert rows["p99 of a refusal, ms"].ok is False
    rows = {row.metric: row for row in scale_web.reader_rows("", 1, [], 1, BenchSettings())}
    assert rows["errors and refusals"].ok is False


def test_requests_without_an_answer_are_counted(monkeypatch):
    import httpx

    async def get(_, path):
        if path == "/gone":
            raise httpx.ReadTimeout("none came")
        return httpx.Response(200, content=b"<html></html>")

    monkeypatch.setattr(httpx.AsyncClient, "get", get)
    waits, sizes, failed = asyncio.run(papers_serve._asked("http://127.0.0.1:9", ["/", "/gone"], 1))
    assert (len(waits), max(sizes), failed) == (20, 13, 10)


@pytest.mark.parametrize("where", [0, 7], ids=["at once", "later"])
def test_a_stream_that_comes_to_no_number_has_diverged(where):
    """Python's `max(1.0, nan)` is 1.0: the largest logit of a stream that became NaN was that of its first piece."""
    pieces = itertools.count()

    def model(ids, *, state, keep_state):
        logits = torch.full((1, ids.shape[1], 2), math.nan if next(pieces) >= where else 1.0)
        return SimpleNamespace(logits=logits, state=state)

    model.init_state = lambda _: SimpleNamespace(nbytes=8)
    arms = SimpleNamespace(
        settings=BenchSettings(quick=True), tokens=torch.zeros(5000, dtype=torch.uint8), arm=lambda _: model
    )
    rows = {row.metric: row.ok for row in nn_titans.stream(arms)}
    assert rows["largest logit"] is False


def test_the_least_of_three_seeds_is_none_where_one_of_them_diverged(monkeypatch):
    def told(error, follows=None):
        return SimpleNamespace(error=error, follows=follows)

    def passed(error, follows):
        drawn = [{"f": told(900.0), "x and f": told(1.0, -0.99)}, {"f": told(900.0), "x and f": told(error, follows)}]
        monkeypatch.setattr(layers_stepnet, "errors", lambda seed: drawn[seed == 1])
        rows = layers_stepnet.mechanism(BenchSettings())
        return [row.ok for row in rows if row.bar and row.metric != "mean squared error"]

    assert passed(1.0, -0.98) == [True, True]
    assert passed(math.nan, -0.98) == [False, True]
    assert passed(1.0, math.nan) == [True, False]
    assert passed(10.0, -0.5) == [False, False]


def test_what_changes_nothing_is_no_gain(monkeypatch):
    """A memory whose updates do nothing, a writer that ignores what it learns from, sets of heads that rank alike."""
    monkeypatch.setattr(nn_titans, "count_of", lambda _: 1)
    monkeypatch.setattr(nn_titans, "clozes", lambda *_: [])
    monkeypatch.setattr(nn_titans, "cloze_share", lambda *_: 0.1)
    monkeypatch.setattr(nn_titans, "measured", lambda _, model: {"": 2.0, ", updates off": 2.0} if model else {"": 2.1})
    arms = SimpleNamespace(
        settings=BenchSettings(quick=True), held=torch.zeros(1, dtype=torch.uint8), rare_nats=lambda _: 1.0,
        arm=lambda name: name == "mag",
    )  # fmt: skip
    rows = {row.system: row.ok for row in nn_titans.novels(arms)}
    assert rows["novels: mag / window"]
    assert rows["novels: mag, updates off / on"] is False
    names = ("A, highly related", "B, moderately related", "C, unrelated", "D, mixed", "not trained", "LEAD-1")
    alike = {name: {"1": 0.5, "2": 0.25} for name in (*names, headlines_writer.SHUFFLED)}
    rows = [row for row in headlines_writer.difference_rows(alike, 0.0) if row.system == "writer: A less C, unrelated"]
    assert [row.ok for row in rows] == [False, False]
    assert [row.ok for row in heads_ranking.order_rows(dict.fromkeys(heads_ranking.ORDER, 0.4))] == [False] * 3


def test_an_abstract_of_grade_0_is_no_answer(monkeypatch):
    """It is one of the collection, as it was judged; no claim's words are looked for in it."""
    reader = SimpleNamespace(words=lambda texts: [text.split() for text in texts], read=lambda texts: texts)
    monkeypatch.setattr(bprop.AttentionReader, "load", lambda *_: reader)

    def abstracts(qrels):
        corpus = {name: Record(name, "", f"text of {name}") for name in ("d0", "d1", "d2")}
        made = Collection("scifact", corpus, {"q0": "one claim", "q1": "another"}, qrels)
        return bprop.Abstracts.of(Judged(made, made))

    found = abstracts({"q0": {"d0": 0, "d1": 1}, "q1": {"d2": 0}})
    assert [document for _, document in found.pairs] == ["d1"]
    assert list(found.read) == ["d0", "d1", "d2"]
    with pytest.raises(InputError, match="grade 1 or more"):
        abstracts({"q0": {"d0": 0}, "q1": {"d2": -1}})
