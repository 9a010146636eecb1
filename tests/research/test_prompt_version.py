"""Prompts have a version, which every trace names: other words need another one."""

from __future__ import annotations

import hashlib
import json
from datetime import date

from report_worlds import Filler
from worlds import FACTS, Facts, model_of

from foveal.research import acquisition, planning, prompts, report_writing, timing
from foveal.research.graph import ROOT, Graph, Node
from foveal.research.mindsearch import MindSearch
from foveal.research.plans import PastTurn, Turn
from foveal.research.report import Brief
from foveal.types import Passage, Span

VERSION, DIGEST = 2, "aa6d68878dc0a8e0"
"""Changed a prompt? Raise prompts.VERSION by one, and write both anew here."""

DAY = date(2026, 1, 20)
PASSAGE = Passage(Span("d", 0, 8), "A mill. It grinds.", "Mills")


def every_prompt():
    """What models are sent for one small case of each kind."""
    graph = Graph()
    graph.add(Node(ROOT, "Who?", "root"))
    graph.add(Node("n1", "Who designed it?", answer="Petra [[1]]."))
    turn = Turn(question="Who?", graph=graph, past=(PastTurn("program", "observation"),), number=2, most=2, today=DAY)
    problem = prompts.Problem(root="Who?", question="Which?", before=(("Where?", "There [[1]]."),), today=DAY)
    shown, model = [(0, "https://a.example", "A", [PASSAGE])], Filler()
    results = [{"index": 0, "url": "https://a.example", "title": "A", "summ": "s"}]
    brief = Brief(goal="g", must_cover=("a",), out_of_scope=("b",))
    yield from (prompts.code_messages(turn, model), prompts.json_messages(turn, model))
    yield from (prompts.query_messages(problem, 3, ["q"]), prompts.select_messages(problem, results, 4))
    yield from (prompts.answer_messages(problem, shown), prompts.plain_messages(problem, shown))
    yield prompts.writer_messages("Who?", graph, model, today=DAY, room=100)
    yield prompts.plain_writer_messages("Who?", graph, model, room=100)
    yield planning.next_messages("Who?", ["line"], ["asked"], again=True)
    yield from (planning.query_messages("Who?", 3, ["line"]), planning.goal_messages("Who?", 3, ["line"], brief))
    yield acquisition.summary_messages("Who?", PASSAGE, 60)
    yield from (report_writing.sentence_messages("g", "p"), report_writing.answer_messages("Who?", ["s"], "Swedish"))
    yield report_writing.WRITER
    yield timing.Moment("Who?", (PASSAGE,), ("So.",)).messages()


def test_other_words_are_another_version():
    told = json.dumps(list(every_prompt()), sort_keys=True, ensure_ascii=False)
    assert (prompts.VERSION, hashlib.sha256(told.encode()).hexdigest()[:16]) == (VERSION, DIGEST)


def test_each_run_names_its_version():
    run = MindSearch(model_of(), Facts(FACTS)).start("Who taught the architect?")
    run.result()
    assert run.state.run["prompts"] == prompts.VERSION
