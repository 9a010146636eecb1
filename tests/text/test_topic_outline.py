"""Topics by level: headings as their author set them, passages cut where they are least alike, steps that nest."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from foveal.text.headings import find_headings
from foveal.text.topic_outline import BEGINS, CLEAR, Topic, TopicOutline, titled, topic_outline

MILLS = "The mill grinds grain and the miller fills sacks of flour at the wheel."
TIDES = "A tide lifts the water twice a day, and the moon pulls the sea to the shore."
HAWKS = "Hawks see a mouse from afar, since their eyes have two foveas in each retina."


def cut(paragraphs):
    """A text of these paragraphs, and their places as passages."""
    text, places = "", []
    for paragraph in paragraphs:
        places.append((len(text), len(text) + len(paragraph) + 2))
        text += f"{paragraph}\n\n"
    return text, places


def starts(topics, places):
    return [[start for start, _ in places].index(one.start) for one in topics]


@pytest.mark.parametrize("by", ["words", "vectors"])
def test_passages_are_cut_where_they_are_least_alike_and_finer_steps_hold_the_coarser(by):
    text, places = cut([f"{one} {n}." for one in (MILLS, TIDES, HAWKS) for n in range(4)])
    kinds = np.repeat(np.eye(3, dtype=np.float32), 4, axis=0)
    wobble = np.random.default_rng(0).normal(0, 0.05, kinds.shape).astype(np.float32)
    outline = topic_outline(text, [], places, kinds + wobble if by == "vectors" else None)
    steps = outline.steps()
    assert starts(outline.down_to(steps[0]), places) == [0, 4, 8]
    assert starts(outline.down_to(steps[-1]), places) == [*range(12)]
    assert all({*outline.down_to(a)} < {*outline.down_to(b)} for a, b in pairwise(steps))
    assert outline.usual() == steps[-1]  # twelve are few


def test_headings_keep_their_levels_and_topics_stand_below_all_of_them():
    paragraphs = [f"{one} {n}." for one in (MILLS, TIDES) for n in range(3)]
    text, _ = cut(["# Water", *paragraphs, "### Deep", TIDES, "# Air", HAWKS, f"{HAWKS} Again."])
    places = [(at, at + 40) for at in range(0, len(text), 90)]
    headings = find_headings(text)
    outline = topic_outline(text, headings, places)
    usual = outline.down_to(outline.usual())
    assert [(one.title, one.level, one.depth) for one in usual] == [("Water", 1, 1), ("Deep", 2, 2), ("Air", 1, 1)]
    assert [one.start for one in usual] == [one.start for one in headings]
    finest = outline.down_to(outline.steps()[-1])
    below = [one for one in finest if not one.heading]
    assert below
    assert min(one.level for one in below) == 3
    assert min(one.depth for one in below) == 2  # below a heading of the top they stand at once
    assert [one.start for one in finest] == sorted(one.start for one in finest)
    assert not {one.start for one in below} & {one.start for one in headings}


def test_titles_are_phrases_that_tell_topics_apart_and_first_words_are_cut_at_one():
    text, places = cut([MILLS, TIDES, HAWKS])
    shown = titled(text, topic_outline(text, [], places).down_to(9))
    assert [one.begins for one in shown] == [f"{one[: one.rindex(' ', 0, BEGINS)]}…" for one in (MILLS, TIDES, HAWKS)]
    assert all(one.title.lower() in text[one.start :].lower() for one in shown)
    assert len({one.title for one in shown}) == 3
    links, places = cut(["**See** [the mill](https://example.org/mill) and `it`.", "Another paragraph."])
    assert topic_outline(links, [], places).topics[0].begins == "See the mill and `it`."


def test_the_first_words_of_a_table_are_its_cells():
    rows = "| mill | grain |\n| --- | --- |\n| Orra | barley \\| oats |\n| Vasa | |"
    text, places = cut([rows, *(f"{one} {n}." for one in (TIDES, HAWKS) for n in range(4))])
    outline = topic_outline(text, [], places, np.repeat(np.eye(3, dtype=np.float32), [1, 4, 4], axis=0))
    first = outline.down_to(outline.steps()[-1])[0]
    assert first.begins == "mill · grain · Orra · barley | oats · Vasa"


@pytest.mark.parametrize("passages", [[], [(0, 5)]], ids=["none", "one"])
def test_a_text_of_one_topic_has_no_steps(passages):
    outline = topic_outline("A text", [], passages)
    assert outline.steps() == []
    assert outline.usual() == 0
    assert titled("A text", outline.down_to(0)) == []


def test_steps_are_clearly_finer_and_the_last_headings_are_one():
    made = [Topic(n, 1, 1, f"{n}", heading=True) for n in range(10)]
    made += [Topic(10, 2, 2, "11", heading=True)]  # one more is no step of its own, but all headings are one
    made += [Topic(n, 3, 3) for n in range(11, 12)] + [Topic(n, 4, 4) for n in range(12, 90)]
    outline = TopicOutline(tuple(made))
    assert outline.steps() == [2, 4]
    assert outline.usual() == 2
    assert outline.steps(most=12) == [2, 3]  # the finest that fits
    assert outline.steps(most=5) == [1]
    assert len(outline.down_to(1, most=5)) == 5


@given(st.lists(st.tuples(st.integers(1, 6), st.booleans()), max_size=60), st.integers(1, 40))
def test_steps_nest_and_grow(levels, most):
    outline = TopicOutline(tuple(Topic(n, level, level, heading=head) for n, (level, head) in enumerate(levels)))
    steps = outline.steps(most)
    counts = [sum(one.level <= step for one in outline.topics) for step in steps]
    assert steps == sorted(set(steps))
    assert all(a < b for a, b in pairwise(counts))
    assert sum(b < CLEAR * a for a, b in pairwise(counts)) <= 1
    assert len(steps) <= 1 or counts[-1] <= most
    assert outline.usual() in (outline.steps() or [0])
