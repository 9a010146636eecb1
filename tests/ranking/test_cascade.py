"""The cascade by a clock of the test's own: what a stage takes, what it is foretold to cost, what is left out."""

from __future__ import annotations

import inspect
import pkgutil
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from retrieval.shelf import ByTruth, Words, hit, names
from typer.testing import CliRunner

from foveal.cli.main import app
from foveal.errors import Cancelled, InputError, UnknownName
from foveal.library import Library
from foveal.models.chat import Cancel
from foveal.ranking import by_name
from foveal.ranking.by_name import load_ranker
from foveal.ranking.cascade import Cascade, CascadeSearch, Stage
from foveal.ranking.stage_cost import GROWTH, TRY_AGAIN, StageCost
from foveal.retrieval.pipeline import followed_by

NAMES = [f"d{number}" for number in range(100)]
HITS = [hit(name, score=-float(place)) for place, name in enumerate(NAMES)]


@dataclass
class Clock:
    now: float = 0.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Timed:
    """A ranker that puts hits in reverse order; a run takes `fixed` and `each` milliseconds, the first `cold` more."""

    clock: Clock
    each: float
    fixed: float = 0.0
    cold: float = 0.0
    given: list[int] = field(default_factory=list)

    def rank(self, query, hits):  # noqa: ARG002
        self.clock.now += (self.fixed + self.each * len(hits) + (0 if self.given else self.cold)) / 1e3
        self.given.append(len(hits))
        return [replace(one, score=-float(place), source="timed") for place, one in enumerate(reversed(hits))]


@pytest.fixture
def clock():
    return Clock()


def timed(clock, each, candidates, *, least=5, **times):
    return Stage(Timed(clock, each, **times), candidates, least=least)


# -- the order ---------------------------------------------------------------------------------------------------------


@given(st.lists(st.integers(0, 12), min_size=1, max_size=3))
def test_each_stage_orders_the_first_few_and_the_rest_stays_behind(counts):
    cascade = Cascade([Stage(Timed(Clock(), 1), 12) for _ in counts])
    expected = NAMES[:10]
    for count in counts:
        expected = [*expected[:count][::-1], *expected[count:]]
    done = cascade.run("q", HITS[:10], counts=counts)
    assert names(done.hits) == expected
    assert done.report.counts == tuple(min(count, 10) for count in counts)
    scores = [one.score for one in done.hits]
    assert scores == sorted(scores, reverse=True)


def test_the_same_counts_give_the_same_order_whatever_the_clock_says(clock):
    truth = {name: (7 * place) % 31 for place, name in enumerate(NAMES)}
    quick = Cascade([Stage(ByTruth(truth), 40), timed(clock, 1, 20)], 300, clock=clock)
    slow = replace(quick, stages=[Stage(ByTruth(truth), 40), timed(clock, 80, 20)])
    quick.rank("q", HITS)
    first, second = (cascade.run("q", HITS) for cascade in (quick, slow))
    assert names(first.hits) != names(second.hits)
    assert names(slow.run("q", HITS, counts=first.report.counts).hits) == names(first.hits)


def test_without_a_budget_every_stage_takes_its_candidates(clock):
    done = Cascade([timed(clock, 900, 30), timed(clock, 900, 7)], clock=clock).run("q", HITS)
    assert done.report.counts == (30, 7)
    assert Cascade([timed(clock, 1, 30)]).rank("q", []) == []


def test_scores_are_weighed_beside_those_that_were_given():
    given_scores, own = [4.0, 3.0, 2.0], {"d0": 0.0, "d1": 5.0, "d2": 10.0}
    hits = [hit(name, score) for name, score in zip(own, given_scores, strict=True)]
    for weight in (0.0, 0.3, 0.9, 1.0):
        expected = {name: (1 - weight) * (score - 2) / 2 + weight * own[name] / 10 for name, score in
                    zip(own, given_scores, strict=True)}  # fmt: skip
        found = Cascade([Stage(ByTruth(own), 3, weight=weight)]).rank("q", hits)
        assert names(found) == sorted(own, key=lambda name: -expected[name])
        if weight < 1:
            assert [one.score for one in found] == pytest.approx(sorted(expected.values(), reverse=True))


@pytest.mark.parametrize("weight", [0.0, 0.5])
def test_where_both_say_the_same_the_order_stays_as_it_was_given(weight):
    """Trees often give several hits one score: a ranker without any weight must not order these."""
    hits = [hit(name, score) for name, score in (("d0", 2.0), ("d1", 2.0), ("d2", 2.0), ("d3", 1.0))]
    own = {"d0": 1.0, "d1": 1.0, "d2": 9.0, "d3": 0.0}
    found = names(Stage(ByTruth(own), 4, weight=weight).ordered("q", hits))
    assert found == (["d0", "d1", "d2", "d3"] if weight == 0 else ["d2", "d0", "d1", "d3"])
    backwards = Stage(Timed(Clock(), 1), 4, weight=0.0).ordered("q", hits)
    assert names(backwards) == ["d0", "d1", "d2", "d3"]


@dataclass
class Few(Timed):
    """The same with a budget of its own: it reads the first hits, and the rest follows below."""

    budget: int = 4

    def rank(self, query, hits):
        return followed_by(super().rank(query, hits[: self.budget]), hits)


@pytest.mark.parametrize("weight", [0.55, 1.0])
def test_what_a_ranker_does_not_read_is_not_ordered_nor_counted_nor_part_of_the_scale(clock, weight):
    """A person's own budget holds, and what is told is what was read; scores below it would flatten those that were."""
    stage = Stage(Few(clock, 1), 10, weight=weight)
    hits = [replace(one, score=score) for one, score in zip(HITS, [9.0, 8.5, 8.2, 8.0, 0, -1, -2, -3], strict=False)]
    done = Cascade([stage], clock=clock).run("q", hits)
    assert stage.ranker.given == [4]
    assert (done.report.counts, done.report.stages[0].given) == ((4,), 8)
    own, first = [0, 1 / 3, 2 / 3, 1], [1, 0.5, 0.2, 0]
    both = {f"d{n}": 0.55 * own[n] + 0.45 * first[n] for n in range(4)}
    expected = sorted(both, key=lambda name: -both[name]) if weight < 1 else ["d3", "d2", "d1", "d0"]
    assert names(done.hits) == [*expected, "d4", "d5", "d6", "d7"]
    if weight < 1:
        assert [one.score for one in done.hits[:4]] == pytest.approx(sorted(both.values(), reverse=True))
    assert [one.score for one in done.hits] == sorted((one.score for one in done.hits), reverse=True)
    assert names(stage.ordered("q", hits)) == names(done.hits)
    assert Cascade([stage], clock=clock).run("q", hits, counts=(8,)).report.counts == (4,)


def test_a_stage_learns_what_a_hit_costs_that_was_read(clock):
    stage = Stage(Few(clock, 10, budget=20), 80)
    cascade = Cascade([stage], 150, clock=clock)
    reports = [cascade.run("q", HITS).report for _ in range(3)]
    assert [report.counts for report in reports] == [(15,)] * 3
    assert max(stage.ranker.given) == 20
    assert cascade.costs[0].ms(20) == pytest.approx(200)


def test_a_ranker_reads_all_that_it_is_given_unless_told_otherwise():
    """Stage and search say how many: a number inside would be read in place of what was ordered."""
    kinds = [
        "late_ranker:LateRanker", "cross_encoder:CrossEncoderRanker", "neural.ranker:Neural",
        "listwise:ListwiseRanker", "listwise:PointwiseRanker", "listwise:RetrievalHeads", "sections:SectionRanker",
        "pairwise:PairwiseRanker", "legal_ranker:LegalRanker", "goal_ranker:GoalRanker",
    ]  # fmt: skip
    for kind in kinds:
        made = pkgutil.resolve_name(f"foveal.ranking.{kind}")
        assert inspect.signature(made).parameters["budget"].default is None, kind


# -- the budget --------------------------------------------------------------------------------------------------------


def test_a_stage_takes_what_the_rest_of_the_budget_allows(clock):
    cascade = Cascade([timed(clock, 1, 50), timed(clock, 10, 20)], 150, clock=clock)
    reports = [cascade.run("q", HITS).report for _ in range(4)]
    assert reports[-1].counts == (50, 10)  # 50 ms, then 100 ms
    assert reports[-1].ms == pytest.approx(150)
    assert [stage.expected_ms for stage in reports[-1].stages] == pytest.approx([50, 100])
    assert all(report.ms <= 150.001 for report in reports)
    tight = replace(cascade, budget_ms=70.5)
    assert tight.run("q", HITS).report.counts == (20, 5)  # the least of the second stage is kept free


def test_a_stage_whose_least_does_not_fit_is_left_out_and_told(clock):
    told = []
    cascade = Cascade([timed(clock, 1, 50), timed(clock, 30, 20)], 120, clock=clock, on_report=told.append)
    done = cascade.run("q", HITS)
    assert told == [done.report]
    assert done.report.counts == (50, 0)  # nothing is kept free for what would not fit
    assert done.report.stages[1].left_out == "its least of 5 takes 150 ms, and 70 are left"
    assert str(done.report) == (
        "Timed 50 of 100 in 50 ms; Timed left out: its least of 5 takes 150 ms, and 70 are left. 50 of 120 ms."
    )
    spent = cascade.run("q", HITS, spent_ms=130).report
    assert spent.counts == (0, 0)
    assert [stage.left_out for stage in spent.stages] == ["no time is left"] * 2


def test_a_cold_first_run_does_not_spoil_what_is_foretold(clock):
    stage = timed(clock, 2, 40, cold=9000)
    cascade = Cascade([stage], 60, clock=clock)
    assert cascade.run("q", HITS).report.counts == (30,)
    assert stage.ranker.given[:3] == [5, 5, 20]  # cold, then timed while that is cheap
    unwarmed = Cascade([timed(clock, 2, 40, cold=9000)], 60, clock=clock, warms=False)
    taken = [unwarmed.run("q", HITS).report.counts[0] for _ in range(6)]
    assert taken == [5, 5, 10, 20, 30, 30]  # its least until it was timed, then at most `GROWTH` times as many


def test_a_stage_that_is_left_out_is_tried_again(clock):
    stage = timed(clock, 100, 20)
    cascade = Cascade([stage], 50, clock=clock)
    counts = [cascade.run("q", HITS).report.counts[0] for _ in range(2 * TRY_AGAIN)]
    assert [place for place, count in enumerate(counts, start=1) if count] == [TRY_AGAIN, 2 * TRY_AGAIN]
    stage.ranker.each = 1  # the machine is idle again
    counts = [cascade.run("q", HITS).report.counts[0] for _ in range(20 * TRY_AGAIN)]
    assert counts[-1] == 20


def test_few_hits_are_no_reason_to_leave_a_stage_out(clock):
    cascade = Cascade([timed(clock, 1, 50), timed(clock, 10, 20)], 100, clock=clock)
    assert cascade.run("q", HITS[:2]).report.counts == (2, 2)
    done = cascade.run("q", [])
    assert (done.hits, done.report.stages[0].left_out) == ([], "there is nothing to rank")


def test_the_search_counts_against_the_budget(clock):
    class Slow(Words):
        def search(self, queries, k):
            clock.now += 0.09 if self.asked else 9  # the first time it loads something
            return super().search(queries, k)

    shelf = Slow({f"d{number}": "mill " * (20 - number) for number in range(20)})
    search = CascadeSearch(shelf, Cascade([timed(clock, 1, 20)], 100, clock=clock), depth=15)
    done = search.run("mill", 4)
    assert shelf.asked == [("mill", 1), ("mill", 15)]
    assert (done.report.spent_ms, done.report.counts) == (pytest.approx(90), (10,))
    assert names(done.hits) == ["d9", "d8", "d7", "d6"]
    assert [names(hits) for hits in search.search(["mill", "mill"], 1)] == [["d9"], ["d9"]]


# -- what is foretold --------------------------------------------------------------------------------------------------


@given(st.floats(0, 100), st.floats(0.1, 50), st.sets(st.integers(1, 200), min_size=3, max_size=12))
def test_times_on_a_line_are_foretold_and_turned_into_counts(fixed, each, sizes):
    """ms = fixed + each · n, whatever sizes were timed, as long as they differ by more than a factor of two."""
    cost = StageCost()
    for size in [1, *sorted(sizes), 512, 1]:
        cost.add(size, fixed + each * size)
    assert cost.ms(100) == pytest.approx(fixed + 100 * each, rel=1e-6)
    assert cost.most(fixed + 40.5 * each, 1000) == 40
    assert cost.most(1e9, 10**6) == GROWTH * 512
    assert cost.most(fixed / 2, 1000) == 0 or fixed < 1e-6


def test_one_slow_moment_changes_little_and_margins_hold():
    cost = StageCost()
    for ms in (9999, 10, 10, 11, 10, 500, 10, 10, 10):
        cost.add(5, ms)
    assert 10 <= cost.ms(5) <= 12
    for size, ms in ((20, 40), (20, 44), (20, 36)):
        cost.add(size, ms)
    assert cost.ms(20) >= 40


@pytest.mark.parametrize(
    ("runs", "foretold"),
    [
        ([(1, 30), (8, 10)], {1: 30, 8: 30, 100: 30}),  # more took less: what is foretold falls for none
        ([(2, 1), (10, 100)], {0: 0, 10: 10 * (2 * 1 + 10 * 100) / (2**2 + 10**2)}),  # nothing takes less than no time
        ([(10, ms) for ms in (10, 10, 10, 30, 10, 10, 10, 12, 10, 10)], {10: 12, 5: 6}),  # nine of ten took no longer
        ([(10, 99)] * 4 + [(10, 20)] * 16, {10: 20}),  # the last sixteen count
    ],
)
def test_a_line_goes_through_the_runs_and_lies_above_nearly_all(runs, foretold):
    cost = StageCost()
    for size, ms in [(1, 5000), *runs]:
        cost.add(size, ms)
    assert {size: cost.ms(size) for size in foretold} == pytest.approx(foretold)


def test_a_stage_that_was_not_timed_foretells_nothing():
    cost = StageCost()
    assert (cost.known, cost.ms(10)) == (False, 0)
    cost.add(5, 900)
    assert not cost.known


# -- what is refused ---------------------------------------------------------------------------------------------------


@dataclass
class Wrong:
    hits: list

    def rank(self, query, hits):  # noqa: ARG002
        return self.hits


def test_bad_cascades_are_refused(clock):
    stage = timed(clock, 1, 20)
    for options, said in (
        ({"stages": []}, "no stage"),
        ({"stages": [stage], "budget_ms": 0}, "budget of 0 ms"),
        ({"stages": [stage], "budget_ms": -1.0}, "more than 0"),
        ({"stages": [stage], "budget_ms": float("nan")}, "budget of nan"),
        ({"stages": [stage, timed(clock, 1, 30)]}, "20, 30 candidates"),
    ):
        with pytest.raises(InputError, match=said):
            Cascade(**options)
    for options in ({"candidates": 0}, {"least": 0}, {"weight": 1.5}):
        with pytest.raises(InputError, match="A stage got"):
            replace(stage, **options)
    with pytest.raises(InputError, match="no rank"):
        Stage(object(), 5)
    for counts in ((1, 2), (-1,)):
        with pytest.raises(InputError, match="counts"):
            Cascade([stage]).run("q", HITS, counts=counts)
    for given_hits in ([HITS[0], HITS[0]], [HITS[50]]):
        with pytest.raises(InputError, match="Wrong gave a passage twice"):
            Cascade([Stage(Wrong(given_hits), 5)]).rank("q", HITS)
    for times in ({}, {"budget_ms": 100}):  # not the stage's fault
        with pytest.raises(InputError, match=r"Candidates 1 and 3 are the same passage \(.*d1"):
            Cascade([stage], **times).rank("q", [*HITS[:3], HITS[1]])
    with pytest.raises(InputError, match="depth of 0"):
        CascadeSearch(Words({"a": "a"}), Cascade([stage]), depth=0)
    cancel = Cancel()
    cancel.set()
    with pytest.raises(Cancelled):
        Cascade([stage]).run("q", HITS, cancel=cancel)


# -- by name -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def loaded(monkeypatch, tmp_path):
    """Folders that hold rankers which need no time."""
    asked = []

    def load(name):
        asked.append(name.rpartition("/")[2])
        return Timed(Clock(), 0)

    for name in ("cheap", "dear", "dearest"):
        (tmp_path / "models" / name).mkdir(parents=True)
    monkeypatch.setattr(by_name, "_kind", lambda _: load)
    return asked


def test_names_with_commas_are_a_cascade(loaded, tmp_path):
    cascade = load_ranker("cheap, dear:30 ,dearest", home=tmp_path)
    assert loaded == ["cheap", "dear", "dearest"]
    assert [(stage.called, stage.candidates) for stage in cascade.stages] == [
        ("cheap", 150), ("dear", 30), ("dearest", 20),
    ]  # fmt: skip
    assert cascade.budget_ms is None
    one = load_ranker("cheap:50", home=tmp_path, budget_ms=300)
    assert (one.budget_ms, one.stages[0].candidates) == (300, 50)
    assert load_ranker("cheap:50", home=tmp_path).stages[0].candidates == 50  # alone and without a budget, too
    by_name.require_ranker("cheap:50", home=tmp_path)


def test_article_models_are_told_by_their_files(monkeypatch, tmp_path):
    asked = []
    for kind in ("sections.SectionRanker", "legal_ranker.LegalRanker"):
        monkeypatch.setattr(f"foveal.ranking.{kind}.load", lambda _, kind=kind: asked.append(kind))
    for name, files in (("alone", ["article-model.json"]), ("beside", ["article-model.json", "legal.json"])):
        for file in files:
            (tmp_path / "models" / name).mkdir(parents=True, exist_ok=True)
            (tmp_path / "models" / name / file).write_text("{}", encoding="utf-8")
        load_ranker(name, home=tmp_path)
    assert asked == ["sections.SectionRanker", "legal_ranker.LegalRanker"]


def test_cascades_that_cannot_be_are_refused_before_models_are_loaded(loaded, tmp_path):
    for names_, budget, said in (
        ("cheap,,dear", None, "lacks a name"), ("cheap,", None, "lacks a name"),
        ("cheap:0,dear", None, "no candidates"), ("cheap,dear", 0, "budget of 0 ms"), ("cheap", -5, "budget of -5 ms"),
        ("cheap:5,dear:10", None, "must not grow"),
    ):  # fmt: skip
        with pytest.raises(InputError, match=said):
            load_ranker(names_, home=tmp_path, budget_ms=budget)
    assert loaded == []
    with pytest.raises(UnknownName, match="'nobody'"):
        load_ranker("cheap,nobody:5", home=tmp_path)
    with pytest.raises(UnknownName, match="'nobody'"):
        load_ranker("nobody:5", home=tmp_path)


@pytest.fixture
def library(tmp_path):
    texts = tmp_path / "texts"
    texts.mkdir()
    for number in range(8):
        (texts / f"{number}.txt").write_text(f"The fox number {number} is red. " + "fox " * number, encoding="utf-8")
    made = Library.open(tmp_path, encoder="none")
    made.add([str(texts)])
    return made


def test_the_library_searches_by_a_cascade(library, loaded):
    first = [one.passage.span for one in library.search("fox", 8)]
    found = library.search("fox", 8, rank="cheap:6,dear:2", budget_ms=10_000)
    assert [one.passage.span for one in found] == [*first[4:6], *first[:4][::-1], *first[6:]]
    assert len(library.search("fox", 8, rank="cheap:3,dear:2")) == 8
    with pytest.raises(InputError, match="A budget is for rankers by name"):
        library.search("fox", rank=ByTruth({}), budget_ms=100)


def test_the_command_tells_what_the_cascade_did(library, loaded):
    home = ["--home", str(library.settings.home)]
    done = CliRunner().invoke(app, ["search", "fox", "--rank", "cheap:6,dear", "--budget", "5000", "--json", *home])
    assert done.exit_code == 0, done.output
    assert '"name": "dear"' in done.stdout
    assert '"budget_ms": 5000.0' in done.stdout
    alone = CliRunner().invoke(app, ["search", "fox", "--budget", "5", *home])
    assert alone.exit_code == 2
