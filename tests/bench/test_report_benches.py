"""`foveal bench report-planners` and `report-library`, on small worlds."""

from __future__ import annotations

from dataclasses import replace

import pytest
from research.recordings import world, written
from research.report_worlds import PAGES, Filler, Pages
from tiny import tiny

from foveal.bench import report_planners
from foveal.bench.report_library import LibrarySizes, library, papers_of, report_rows
from foveal.bench.report_planners import (
    CALLS,
    PASSAGES,
    PLANNERS,
    PlannerSizes,
    RecordedDesk,
    gain,
    kept_answers,
    kept_plans,
    planned,
    planners,
    recorded,
)
from foveal.bench.research_answers import Answering, AnswerSizes
from foveal.bench.research_arms import HOTPOT, Arms, RecordedSet, Sizes
from foveal.bench.settings import BenchSettings
from foveal.models.local_chat import LocalChat
from foveal.research.deep import DeepResearch
from foveal.research.likeness import Likeness
from foveal.research.timing import TIMINGS

SIZES = PlannerSizes(questions=2, sets=(HOTPOT,))


@pytest.fixture(scope="module")
def settings(tmp_path_factory):
    place = tmp_path_factory.mktemp("data")
    for name in ("hotpotqa", "2wiki"):
        written(replace(world(6), name=name), place / "r1searcher" / name)
    return BenchSettings(data=place, cache=place / "cache", quick=True)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return tiny("qwen", tmp_path_factory.mktemp("model"), positions=4096)


@pytest.fixture(scope="module")
def rows(settings, model):
    return list(planners(settings, model, LocalChat(model), SIZES))


@pytest.mark.slow
def test_every_planner_timing_and_share_of_noise_has_its_rows(rows):
    systems = {row.system for row in rows}
    wanted = [f"planner {one}" for one in PLANNERS] + ["ReAct"] + [f"timing {one}" for one in TIMINGS]
    wanted += [f"planner sequential, {share} % noise" for share in (0, 50, 90)]
    assert {f"HotpotQA: {one}" for one in wanted} <= systems
    for metric in ("EM", "F1"):
        assert all(0 <= row.value <= 100 for row in rows if row.metric == metric)
    assert "bamboogle" in next(row.note for row in rows if row.system == "held-out set")


def test_timing_never_does_not_search_and_always_does(rows):
    share = {row.system: row.value for row in rows if row.metric == "share of questions searched for"}
    assert (share["HotpotQA: timing never"], share["HotpotQA: timing always"]) == (0.0, 1.0)


def test_a_second_run_asks_nothing_anew(settings, model, rows):
    kept = {path: path.stat().st_mtime_ns for path in (settings.cache / "research").glob("plans-*.jsonl")}
    again = [row.as_json() for row in planners(settings, model, LocalChat(model), SIZES)]
    assert again == [row.as_json() for row in rows]
    assert kept == {path: path.stat().st_mtime_ns for path in (settings.cache / "research").glob("plans-*.jsonl")}


def test_plans_and_answers_of_other_code_are_made_anew(settings, model, monkeypatch):
    work = Answering(Arms(settings, Sizes.of(settings), model), AnswerSizes(questions=1), LocalChat(model))
    among, folder = recorded(work.arms, HOTPOT), settings.cache / "research"
    there = len(list(folder.glob("plans-*.jsonl")))
    for count, code in ((2, "one"), (2, "one"), (4, "two")):
        monkeypatch.setattr(report_planners, "code_digest", lambda *_, code=code: code)
        kept_plans(work, "single", among, among.runs[:1])
        kept_answers(work, "never", among, among.runs[:1])
        assert len(list(folder.glob("plans-*.jsonl"))) == there + count


@pytest.mark.parametrize("quick", [True, False], ids=["quick", "full"])
def test_parallel_may_lose_little_to_sequential(settings, model, quick):
    own = replace(settings, quick=quick)
    work = Answering(Arms(own, Sizes.of(own), model), AnswerSizes(questions=4), LocalChat(model))
    runs = list(recorded(work.arms, HOTPOT).runs)[:4]
    right = {run.id: list(run.supporting) for run in runs}
    for lost, ok in ((0, True), (1, quick), (2, False)):
        parallel = {run.id: [] if place < lost else right[run.id] for place, run in enumerate(runs)}
        row = gain(work, HOTPOT, runs, {"sequential": right, "parallel": parallel})
        assert (row.value, row.ok) == (25.0 * lost, ok)


def test_planners_keep_to_their_calls_and_passages(settings):
    among = RecordedSet.of(settings, HOTPOT)
    for name in PLANNERS:
        model = Filler({"Next": lambda text: {"action": "search", "query": f"Archi {len(text)}"}})
        desk = RecordedDesk(among, "Who taught the man behind the orra mill?", model, Likeness())
        found = planned(name, desk)
        assert len(found) == len(set(found)) <= PASSAGES
        assert desk.calls <= CALLS
        assert (desk.calls == 0) == (name in ("single", "names"))


def test_a_library_of_papers_and_bars_that_can_fail(tmp_path):
    folder = tmp_path / "scifact"
    (folder / "qrels").mkdir(parents=True)
    text = "Vitamin D acts on the immune system and on its T cells. In a trial of 200 adults it cut infections by 12 %."
    (folder / "corpus.jsonl").write_text(
        "".join(
            f'{{"_id": "{n}", "title": "Vitamin {n}", "text": "{text} Group{n} had {n} cases."}}\n' for n in range(5)
        )
    )
    (folder / "queries.jsonl").write_text('{"_id": "q", "text": "vitamin"}\n')
    (folder / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\nq\t1\t1\n")
    settings = BenchSettings(data=tmp_path, cache=tmp_path / "cache", quick=True)
    sizes = LibrarySizes(questions=1, mode="quick", words=60)

    class Words:
        """An encoder by words."""

        name, dimension, max_tokens, fingerprint = "words", 4096, 256, "words"

        def encode(self, texts):
            return Likeness().vectors(list(texts))

    rows = {(row.system, row.metric): row for row in library(settings, Filler(), Words(), sizes)}
    assert rows["sentences", "cite stored evidence"].ok
    assert rows["evidence", "is word for word where it says"].ok
    report = DeepResearch(Filler(), Pages()).report("What does the Orra mill grind?", mode="quick")
    papers = {one.id: one for one in PAGES}
    lost = replace(report, claims=(replace(report.claims[0], evidence=("e99",), verdict=None), *report.claims[1:]))
    made = {(row.system, row.metric): row for row in report_rows([lost], papers, sizes)}
    assert made["sentences", "cite stored evidence"].ok is False
    assert made["sentences", "borne out by what they cite"].value < 1
    assert papers_of(settings, 2).keys() != papers_of(settings, None).keys()
