"""A run that is stopped while its searchers write: what they had read by then is told, in its own words if need be."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field

import pytest
from worlds import FACTS, RESPOND, Facts, nodes_program

from foveal.bench.research_world import Rules, RulesModel
from foveal.models.chat import GREEDY
from foveal.research.budget import Budget
from foveal.research.citations import Origin, cut_short
from foveal.research.mindsearch import MindSearch, MindSettings
from foveal.research.searcher import Summary
from foveal.types import Passage, Span
from foveal.web.research_views import said_of

PROGRAMS = (nodes_program(1), RESPOND)


@dataclass
class Stuck(RulesModel):
    """A model that says `first` of each summary, and then nothing more until it is freed."""

    rules: Rules = field(default_factory=lambda: Rules(PROGRAMS))
    first: str = ""
    free: threading.Event = field(default_factory=threading.Event)
    stuck: threading.Event = field(default_factory=threading.Event)

    def stream(self, messages, sampling=GREEDY, *, cancel=None):
        asked = messages[-1]["content"]
        summary = "## Current problem" in asked and '{"queries"' not in asked and '{"selected"' not in asked
        if summary and not self.free.is_set():
            yield self.first
            self.stuck.set()
            while not self.free.wait(0.01):
                cancel.check()
        yield from super().stream(messages, sampling, cancel=cancel)


def stopped(model, how, source=None):
    """A run that was stopped as its summary was written."""
    run = MindSearch(model, source or Facts()).start("Who is Petra?")
    assert model.stuck.wait(10)
    begun = time.monotonic()
    getattr(run, how)()
    answer = run.result(timeout=5)
    assert time.monotonic() - begun < 1.0
    return run, answer


@pytest.mark.parametrize("how", ["answer_now", "cancel"])
def test_pages_that_were_read_answer_in_their_own_words(how):
    _, answer = stopped(Stuck(), how)
    node = answer.graph.nodes["n0"]
    assert (node.state, said_of(node)) == ("cancelled", "cut short")
    assert "“Petra Lindqvist was born in 1871.” [[" in node.answer
    assert answer.found
    assert {one.quote for one in answer.citations} <= set(FACTS.values())
    assert "Petra Lindqvist was born in 1871." in answer.text


def test_whole_sentences_of_a_summary_that_was_begun_are_kept():
    _, answer = stopped(Stuck(first="Petra was taught in Vasa. [[0]] She was b"), "answer_now")
    assert answer.graph.nodes["n0"].answer == "Petra was taught in Vasa. [[1]]"


def test_a_run_that_goes_on_searches_what_was_cut_short_to_its_end():
    model = Stuck()
    source = Facts()
    run, _ = stopped(model, "answer_now", source)
    model.free.set()
    again = MindSearch(model, source).go_on(run.log.so_far()).result()
    assert again.graph.nodes["n0"].state == "finished"
    assert "“" not in again.graph.nodes["n0"].answer


def test_a_budget_that_ends_while_a_summary_is_written_leaves_what_was_read():
    settings = MindSettings().with_budget(Budget(seconds=0.6))
    answer = MindSearch(Stuck(), Facts(), settings=settings).ask("Who is Petra?")
    assert answer.stopped_by == "budget"
    assert "Petra Lindqvist was born in 1871." in answer.text


def test_a_summary_that_was_cut_short_is_not_used_again():
    kept = []

    class Memory:
        def recall(self, problem):  # noqa: ARG002
            return None

        def keep(self, problem, summary):  # noqa: ARG002
            kept.append(summary)

    model = Stuck()
    run = MindSearch(model, Facts(), memory=Memory()).start("q")
    assert model.stuck.wait(10)
    run.answer_now()
    run.result(timeout=5)
    assert kept == []
    assert not Summary("x").cut


def test_a_page_cannot_cite_by_its_own_words():
    text = "# Petra\n\nPetra was born in 1871 [[7]]."
    page = Origin(url="u", title="t", summary="", passages=(Passage(Span("d", 0, len(text)), text),), revision="r")
    assert cut_short("", "When was Petra born?", {0: page}) == "“Petra was born in 1871 .” [[0]]"


@dataclass
class Guessing(Rules):
    """Its searchers add a sentence that no page holds and no number stands behind; its writer repeats it."""

    guess: str = "Hierarchical Planning was born first."

    def text(self, messages):
        text = super().text(messages)
        return f"{text} {self.guess}" if "ANSWER" in messages[-1]["content"] else text


@dataclass
class StuckWriter(RulesModel):
    """A model whose writer says nothing until it is cancelled."""

    rules: Rules = field(default_factory=lambda: Guessing(PROGRAMS))
    stuck: threading.Event = field(default_factory=threading.Event)

    def stream(self, messages, sampling=GREEDY, *, cancel=None):
        if messages[0]["content"].startswith("You answer"):
            self.stuck.set()
            while True:
                cancel.check()
                time.sleep(0.01)
        yield from super().stream(messages, sampling, cancel=cancel)


def test_what_no_page_bears_out_is_told_of_a_partial_answer_too():
    _, answer = stopped(StuckWriter(), "cancel")
    assert answer.text.startswith("The answer was not written to its end (it was cancelled)")
    assert (answer.unsupported, answer.found) == ((Guessing.guess,), True)
    assert Guessing.guess in answer.to_markdown().split("## Not borne out")[1]


def test_a_searchers_guess_is_not_what_was_found():
    answer = MindSearch(RulesModel(Guessing(PROGRAMS)), Facts()).ask("Who is Petra?")
    assert Guessing.guess in answer.text
    assert answer.stopped_by is None
    assert answer.unsupported == (Guessing.guess,)
