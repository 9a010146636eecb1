"""A model whose server reads less than was known: its searcher shows it less, and goes on."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from worlds import FACTS, RESPOND, Facts, nodes_program

from foveal.bench.research_world import Rules, RulesModel
from foveal.models.chat import GREEDY
from foveal.models.chat_requests import ContextExceeded
from foveal.research.mindsearch import MindSearch

FILLER = "The water was low that year, and the miller wrote nothing of it. " * 60
LONG = {name: f"{FILLER}\n\n{text}\n\n{FILLER}" for name, text in FACTS.items()}


@dataclass
class Narrow(RulesModel):
    """Summaries are refused whose sources take more than `most` characters."""

    rules: Rules = field(default_factory=lambda: Rules((nodes_program(1), RESPOND)))
    most: int = 0
    refused: list[int] = field(default_factory=list)
    shown: str = ""

    def stream(self, messages, sampling=GREEDY, *, cancel=None):
        asked = messages[-1]["content"]
        if "BEGIN SOURCE" in asked and "ANSWER the current problem" in asked and len(asked) > self.most:
            self.refused.append(len(asked))
            raise ContextExceeded("Prompt and answer take more than it reads.", None)
        self.shown = asked if "BEGIN SOURCE" in asked else self.shown
        yield from super().stream(messages, sampling, cancel=cancel)


def test_a_searcher_shows_less_until_it_fits():
    model = Narrow(most=4000)
    answer = MindSearch(model, Facts(LONG)).ask("Who is Petra?")
    assert answer.graph.nodes["n0"].state == "finished"
    assert len(model.refused) > 1
    assert model.refused == sorted(model.refused, reverse=True)
    assert all(text in model.shown for text in FACTS.values())  # what shares words with the question is kept
    assert all(LONG[one.title][one.span.start : one.span.end] == one.quote for one in answer.citations)


@pytest.mark.parametrize("pages", [LONG, FACTS])
def test_where_nothing_fits_the_failure_is_told(pages):
    model = Narrow(most=0)
    answer = MindSearch(model, Facts(pages)).ask("Who is Petra?")
    assert answer.graph.nodes["n0"].state == "failed"
    assert len(model.refused) < 12
    assert "more than it reads" in str(answer.graph.nodes["n0"].error)
