"""What stands in a small model's report: sentences on its question, in the words of their passages."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from report_worlds import Filler
from test_deep_writing import evidence, source

from foveal.research.checks import WordChecks
from foveal.research.deep import MODES, PLAIN_HITS, settings_of
from foveal.research.likeness import Likeness
from foveal.research.outline import Planned, outline
from foveal.research.planning import Finding, SubQuery
from foveal.research.report import Brief
from foveal.research.report_assembly import Assembly
from foveal.research.report_drafts import Draft
from foveal.research.report_writing import SectionWriter, Sentence, held_by
from foveal.types import Passage, Span

ON = "The mill of the valley grinds barley for four villages."
OTHER = "The mill of the valley was painted green in the last summer."
OFF = "A ship from the north brought salt and a great many letters."


class Topics:
    """Vectors of three numbers: how much of the mill, of grinding, of anything else."""

    dimension = 3

    def encode(self, texts):
        rows = [[text.count("mill"), 2 * text.count("grind"), 0.5 + 2 * text.count("ship")] for text in texts]
        vectors = np.asarray(rows, np.float32)
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def writer(held, *, goal="What does the mill grind?", encoder=True):
    sources = {one.source: source(one.source) for one in held.values()}
    likeness = Likeness(Topics() if encoder else None)  # type: ignore[arg-type]
    return SectionWriter(held, sources, likeness, WordChecks(), plain=True, brief=Brief(goal=goal))


def held_in(*texts):
    return {f"e{n}": evidence(f"e{n}", text, source=f"s{n}") for n, text in enumerate(texts, 1)}


def section(held, goal="What does the mill grind?"):
    return Planned("Grinding", goal, tuple(held), words=200)


def said(sentences):
    return [one.text for one in sentences]


def test_a_sentence_off_the_matter_fills_up_no_report():
    held = held_in(f"{ON} {OFF}", OFF)
    assert said(writer(held).quotes(section(held))) == [ON]
    assert set(said(writer(held, encoder=False).quotes(section(held)))) == {ON, OFF}  # words alone cannot tell


def test_a_section_of_nothing_else_keeps_the_nearest_of_each_passage():
    held = held_in(OFF)
    assert said(writer(held).quotes(section(held))) == [OFF]
    model = Filler({"chat": lambda _: "Dragons live there."})
    assert said(writer(held).write(section(held), model)) == [OFF]


def test_a_goal_that_wandered_off_does_not_bring_its_sentences():
    held = held_in(f"{OFF} {ON}")
    assert said(writer(held).quotes(section(held, goal="What did the ship bring to the mill to grind?")))[0] == ON


@pytest.mark.parametrize(
    ("text", "held"),
    [
        ("The mill grinds barley.", True),
        ("The mill grinds barley for villages quickly.", True),  # one word of its own
        ("The old wooden mill of the valley grinds barley for four villages.", False),  # two in a copy
        ("The mill of the valley was sold.", False),
    ],
)
def test_a_small_models_sentence_is_held_by_its_passage(text, held):
    assert held_by(text, [Passage(Span("d", 0, len(ON)), ON)]) is held


def test_what_a_small_model_adds_is_replaced_by_the_passage():
    held = held_in(ON)
    model = Filler(
        {"chat": lambda _: "The holy mill feeds dragons: the mill of the valley grinds barley for villages."}
    )
    made = writer(held).write(section(held), model)
    assert [(one.text, one.quoted) for one in made] == [(ON, True)]


def test_the_section_that_answers_the_question_stands_first():
    held = held_in(OTHER, ON)
    found = [
        Finding("a", SubQuery("q1", "The ship, the ship"), ("e1",)),
        Finding("b", SubQuery("q2", "What do mills grind?"), ("e2",)),
    ]
    brief = Brief(goal="What does the mill grind?", words=600)
    planned = outline(found, held, Likeness(Topics()), brief)  # type: ignore[arg-type]
    assert [one.heading for one in planned] == ["What do mills grind?", "The ship, the ship"]
    itself = [*found, Finding("c", SubQuery("q3", brief.goal), ("e1", "e2"))]
    assert outline(itself, held, Likeness(Topics()), brief)[0].heading == brief.goal  # type: ignore[arg-type]
    alone = outline(found, held, Likeness(Topics()), replace(brief, goal="A ship"))  # type: ignore[arg-type]
    assert alone[0].heading == "The ship, the ship"


@pytest.mark.parametrize("mode", list(MODES))
def test_for_a_small_model_more_pages_are_read(mode):
    small = Filler()
    small.language_model = object()  # type: ignore[attr-defined]
    assert settings_of(mode, small).desk.hits == MODES[mode].hits * PLAIN_HITS
    assert settings_of(mode, Filler()).desk.hits == MODES[mode].hits


def test_a_short_sentence_answers_no_question_where_longer_ones_do():
    short, long = "The mill grinds.", [f"The mill grinds barley for the village number {n}." for n in range(5)]
    desk = SimpleNamespace(question="The mill grinds?", likeness=Likeness(Topics()))  # type: ignore[arg-type]
    assembly = Assembly(desk=desk, checks=WordChecks(), settings=settings_of("normal", Filler()))  # type: ignore[arg-type]
    sentences = tuple(Sentence(text, ("e1",)) for text in (short, *long))
    lead, rest = assembly._moved(Draft(((Planned("Grinding", "g", ("e1",)), sentences),)))
    assert [one.text for one in lead] == long[:2]
    assert [one.text for one in rest.sections[0][1]] == [short, *long[2:]]
