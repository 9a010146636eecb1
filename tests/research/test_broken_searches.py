"""Searches that failed: told apart from those that found nothing, and made again by a run that goes on."""

from __future__ import annotations

from concurrent.futures import Future
from dataclasses import dataclass, field

import pytest
from report_worlds import QUESTION as REPORT_QUESTION
from report_worlds import Filler, Pages
from worlds import FACTS, TWO_HOPS, Facts, model_of

from foveal.bench.research_world import Rules, RulesModel
from foveal.errors import FetchFailed
from foveal.models.chat import GREEDY, Cancel
from foveal.research.deep import DeepResearch
from foveal.research.mindsearch import MindSearch
from foveal.research.report_parts import NOT_SEARCHED
from foveal.research.searcher import waited
from foveal.research.sources import Sources
from foveal.research.turning import unanswered

QUESTION = "Who taught the architect?"
ARCHITECT, TEACHER = "Who designed the mill at Orra?", "Who taught that architect?"


@dataclass
class Once(Facts):
    """Facts whose first searches fail, for queries that hold `word`."""

    word: str = ""
    times: int = 0
    failed: list[str] = field(default_factory=list)

    def search(self, query: str, k: int, *, cancel: Cancel | None = None):
        if self.word in query and len(self.failed) < self.times:
            self.failed.append(query)
            raise FetchFailed("The search is down.")
        return super().search(query, k, cancel=cancel)


class JustNow(Future[str]):
    """A task that ends between a look at it that came too early and the next."""

    def result(self, timeout: float | None = None) -> str:
        if not self.done():
            self.set_result("found")
            raise TimeoutError
        return super().result(timeout)


def test_a_search_that_ends_just_as_nobody_looks_is_no_failure():
    """The searcher broke where the processor was busy, once in some hundred runs."""
    assert waited(JustNow(), Cancel()) == "found"
    own: Future[str] = Future()
    own.set_exception(TimeoutError("its own"))
    with pytest.raises(TimeoutError, match="its own"):
        waited(own, Cancel())


@dataclass
class Down(Facts):
    """A source that never answers."""

    name: str = "far"

    def search(self, query: str, k: int, *, cancel: Cancel | None = None):  # noqa: ARG002
        self.queries.append(query)
        raise FetchFailed("Nobody is there.")


def gone_on(run, source, model=None):
    """The run of these events, once more."""
    search = MindSearch(model or model_of(), source)
    again = search.go_on(run.log.so_far())
    return again, again.result()


def test_a_node_whose_search_failed_is_searched_again_and_so_is_what_builds_on_it():
    source = Once(word="designed", times=9)
    run = MindSearch(model_of(), source).start(QUESTION)
    first = run.result()
    assert [question for question, _ in first.missing] == [ARCHITECT]
    assert first.graph.nodes["architect"].broken
    source.queries.clear()
    source.times = 0  # it is back
    again, answer = gone_on(run, source)
    assert source.queries == [ARCHITECT, TEACHER]  # the second was asked without the first one's answer
    assert not answer.missing
    assert "Petra Lindqvist designed" in answer.text
    prompts = [one for one in again.parts.model.prompts if "Historical problem" in str(one)]
    assert "Petra Lindqvist designed" in str(prompts[-1])


def test_what_found_nothing_is_not_searched_again():
    source = Facts({"teacher": FACTS["teacher"]})
    run = MindSearch(model_of((TWO_HOPS[0].replace("designed the mill at Orra", "xyz"), TWO_HOPS[1])), source).start(
        "q"
    )
    first = run.result()
    assert [question for question, _ in first.missing] == ["Who xyz?"]
    assert "These queries found nothing" in first.missing[0][1]
    source.queries.clear()
    gone_on(run, source)
    assert source.queries == []


def test_while_it_is_still_down_nothing_that_was_found_is_searched_again():
    source = Once(word="designed", times=99)
    run = MindSearch(model_of(), source).start(QUESTION)
    run.result()
    source.queries.clear()
    _, answer = gone_on(run, source)
    assert source.queries == []
    assert [question for question, _ in answer.missing] == [ARCHITECT]


def test_a_planner_that_goes_on_is_told_what_was_found_the_second_time():
    source = Once(word="designed", times=9)
    run = MindSearch(model_of((TWO_HOPS[0],)), source)  # it never answers, so the run ends by its turns
    first = run.start(QUESTION)
    first.result()
    source.times = 0
    again, _ = gone_on(first, source, model_of((TWO_HOPS[0],)))
    assert "Petra Lindqvist designed" in again.state.turns[0].observation or any(
        "Petra Lindqvist designed" in one.observation for one in again.state.turns
    )


def test_a_search_that_is_down_is_not_asked_round_after_round():
    source = Down()
    answer = MindSearch(model_of(), source).ask(QUESTION)
    assert len(source.queries) == 2  # one for each sub-question
    assert all(reason.startswith("The search failed: Nobody is there.") for _, reason in answer.missing)


@dataclass
class Breaks(RulesModel):
    """A model whose server breaks off in the middle of its first words, so often, where the prompt begins so."""

    rules: Rules = field(default_factory=lambda: Rules(TWO_HOPS))
    at: str = "You plan"
    left: int = 1

    def stream(self, messages, sampling=GREEDY, *, cancel=None):
        if messages[0]["content"].startswith(self.at) and self.left:
            self.left -= 1
            yield "Olof in Par"
            raise FetchFailed("m at http://x broke off. Is the server running?")
        yield from super().stream(messages, sampling, cancel=cancel)


@pytest.mark.parametrize("at", ["You plan", "You answer"])
def test_a_server_that_breaks_off_in_the_middle_is_asked_once_more(at):
    answer = MindSearch(Breaks(at=at), Facts()).ask(QUESTION)
    assert answer.stopped_by is None
    assert "Olof Brandt" in answer.text
    assert "Olof in Par" not in answer.text
    again = MindSearch(Breaks(at="You answer", left=2), Facts()).ask(QUESTION)
    assert (again.stopped_by, "Olof Brandt" in again.text) == ("model", True)
    with pytest.raises(FetchFailed, match="broke off"):
        MindSearch(Breaks(at="You plan", left=2), Facts()).ask(QUESTION)


def test_a_source_that_did_not_answer_beside_others_is_told():
    answer = MindSearch(model_of(), Sources([Facts(), Down()])).ask(QUESTION)
    assert not answer.missing
    assert answer.unsearched == (("far", "Nobody is there."),)
    assert answer.to_json()["unsearched"] == [{"source": "far", "reason": "Nobody is there."}]
    assert "## Not searched to the end\n\n- far: Nobody is there." in answer.to_markdown()
    assert MindSearch(model_of(), Sources([Facts(), Facts(name="near")])).ask(QUESTION).unsearched == ()


@pytest.mark.parametrize("form", ["markdown", "ledger"])
def test_a_report_says_which_of_its_sources_did_not_answer(form):
    research = DeepResearch(Filler(), [Pages(), Down()])
    run = research.start(REPORT_QUESTION, mode="quick")
    report = run.result()
    told = f"{NOT_SEARCHED}far: Nobody is there."
    assert told in report.not_covered
    assert told in (report.to_markdown() if form == "markdown" else report.ledger()["not_covered"])
    assert told not in unanswered(report)
    whole = DeepResearch(Filler(), [Pages(), Pages(name="far")]).go_on(run.log.so_far()).result()  # it is back
    assert not any(one.startswith(NOT_SEARCHED) for one in whole.not_covered)
