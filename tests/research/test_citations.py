"""Numbers that never change, one address for one source, and no mark that nothing stands behind."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foveal.research.citations import (
    Marks,
    Origin,
    References,
    canonical,
    cited,
    cited_as_asked,
    fitting,
    invented,
    renumbered,
    resolved,
    said_before,
    traced,
)
from foveal.types import Passage, Span


def origin(url: str, text: str = "The mill was built in 1871. It is red.") -> Origin:
    passage = Passage(Span("d" * 32, 10, 10 + len(text)), text)
    return Origin(url=url, title=f"title of {url}", summary="", passages=(passage,), revision="r")


@pytest.mark.parametrize(
    "written",
    [
        "https://example.org/a",
        "http://example.org/a",
        "HTTPS://WWW.Example.org:443/a/#part",
        "https://example.org/a?utm_source=x&fbclid=y",
    ],
)
def test_one_address_for_one_source(written):
    assert canonical(written) == "https://example.org/a"


@pytest.mark.parametrize("form", ["abs/2407.20183", "pdf/2407.20183v2", "html/2407.20183v1", "pdf/2407.20183.pdf"])
def test_arxiv_is_one_paper(form):
    assert canonical(f"https://arxiv.org/{form}") == "arxiv:2407.20183"


@pytest.mark.parametrize("mark", ["【0】", "【0†source】", " [0]", " [Source 0]", " (0)", "[^0]", " [[0]]"])
def test_a_large_model_may_cite_in_its_own_way(mark):
    """Nothing was cited then: the run had no sources, and its answer was not written."""
    said = f"Sure! Here is the answer:\n\nThe mill is red{mark}."
    assert cited_as_asked(said, {0: origin("https://example.org/a")}) in (
        "The mill is red [[0]].",
        "The mill is red[[0]].",
    )


def test_addresses_that_differ_stay_apart():
    kept = [
        "https://example.org/a?page=1",
        "https://example.org/a?page=2",
        "https://example.org:8080/a",
        "file:///x",
        "x[",
    ]
    assert len({canonical(one) for one in kept}) == len(kept)


def test_numbers_are_appended_and_never_move():
    references = References()
    text, new, bad = references.cite(
        "B [[1]]. A [[0]]. None [[7]].", {0: origin("https://x.org/0"), 1: origin("https://x.org/1")}, "n"
    )
    assert (text, bad) == ("B [[2]]. A [[1]]. None .", 1)
    references.refs |= new
    before = dict(references.refs)
    text, new, bad = references.cite(
        "C [[5]], [[0, 5]].", {0: origin("http://www.x.org/1#z"), 5: origin("https://x.org/5")}, "m"
    )
    assert text == "C [[3]], [[2]][[3]]."
    assert list(new) == [3]
    assert (references.refs, bad) == (before, 0)


def test_an_answer_without_marks_is_traced_to_what_bears_it_out():
    origins = {0: origin("https://x.org/0"), 3: origin("https://x.org/3", "Petra died in 1911. Cats sleep.")}
    assert traced("The mill was built in 1871. Petra died in 1912. Dogs.", origins) == (
        "The mill was built in 1871. [[0]] Petra died in 1912. Dogs."
    )
    assert traced("Petra died. [[0]] Petra died in 1911.", origins) == "Petra died. [[0]] Petra died in 1911."
    assert traced("It died in 1911.", {}) == "It died in 1911."


def test_of_two_sources_that_hold_as_many_words_the_one_with_the_names_is_cited():
    origins = {
        1: origin("https://x.org/1", "The designer of the mill at Orra was Petra."),
        2: origin("https://x.org/2", "She was taught by Olof Brandt in Vasa."),
    }
    assert traced("Olof Brandt taught the designer of the mill.", origins).endswith("[[2]]")
    assert traced("Somebody taught the designer of the mill.", origins).endswith("[[1]]")


def test_what_a_model_said_by_a_source_does_not_outdo_the_words_of_another():
    said = "Olof Brandt taught the architect of the mill."
    origins = {
        1: origin("https://x.org/1", "She was taught by Olof Brandt in Vasa."),
        2: origin("https://x.org/2", "Petra designed the mill. Petra taught the architect of the mill by Olof Brandt."),
    }
    quotes = {1: "She was taught by Olof Brandt in Vasa.", 2: "Petra designed the mill."}
    asked = "Who taught the architect of the mill?"
    assert traced(said, origins).endswith("[[2]]")
    assert traced(said, origins, question=asked, quotes=quotes).endswith("[[1]]")
    assert traced(said, origins, question=asked, quotes={2: quotes[2]}).endswith("[[2]]")  # nobody's words: as before


ASKED = "Who taught the architect of the mill at Orra? 2026-12-03"
FOUND = (
    "Petra Lindqvist designed the mill at Orra in 1871.\n"
    "Petra Lindqvist was taught by Olof Brandt. The mill has 1,200 stones and cost 1.2 million euros."
)


@pytest.mark.parametrize(
    "answer",
    [
        "The mill was built by the British government in 1900.",
        "Ann Other is the one who was asked for.",
        "The mill is of the year 1900.",
        "Die Mühle wurde 1900 gebaut.",
        "建于1900年。",
    ],
)
def test_an_answer_of_names_or_numbers_that_were_nowhere_read_is_invented(answer):
    assert invented(answer, ASKED, FOUND)
    assert not invented(f"{answer} [[1]]", ASKED, FOUND)


@pytest.mark.parametrize(
    "answer",
    [
        "Mr. Brandt, a Swedish teacher.",  # one of its names was found
        "The mill at Orra is still there.",  # they were asked
        "Construction was finished long ago.",  # capitals by their place
        "## Key Findings\n\nNobody is named.",
        "1. The teacher is not named.\n2. The pupil is not, either.",
        "It is 29 years older than its architect.",  # computed
        "It has 1200 stones, and it cost 1,200,000 euros.",  # another way to write them
        "That was in the 1870s.",
        "As of 3 December 2026 it is not known.",
        "The sources do not say it. Consult the archives of the Finnish state.",
        "Das war der gesuchte Lehrer, so die Angaben in den Unterlagen.",
        "Dazu enthalten die gefundenen Unterlagen keine Angaben.",
        "Le maître de l'architecte vivait en Finlande.",
        "磨坊建于1871年，有1200块石头。",
        "بنيت الطاحونة عام ١٨٧١.",
    ],
)
def test_an_honest_answer_without_marks_is_not_taken_for_an_invented_one(answer):
    assert not invented(answer, ASKED, FOUND)


def test_the_quote_is_the_sentence_that_bears_the_statement_out():
    _, new, _ = References().cite("It was built in 1871. [[0]] Other.", {0: origin("https://x.org")}, "n")
    assert new[1]["quote"] == "The mill was built in 1871."
    assert new[1]["span"] == {"document_id": "d" * 32, "start": 10, "end": 37}


def test_each_statement_of_a_source_has_the_sentence_that_bears_it_out():
    references, mill = (
        References(),
        origin("https://x.org", "The mill was built in 1871. Its wheel is of oak. It is red."),
    )
    _, new, _ = references.cite("It was built in 1871 [[0]].", {0: mill}, "n")
    references.refs |= new
    later = "The wheel is of oak [[4]]. It was built in 1871 [[4]]; it is red [[4]][[7]]."
    references.cite(later, {4: mill}, "m")
    found = references.quotes(later, {4: mill})
    assert {number: [one["quote"] for one in held] for number, held in found.items()} == {
        1: ["Its wheel is of oak.", "It is red."]
    }
    for one in found[1]:
        start, end = one["span"]["start"] - 10, one["span"]["end"] - 10
        assert mill.passages[0].text[start:end] == one["quote"]
    assert references.refs == new
    places = [references.refs[1], *found[1]]
    assert fitting("The wheel, said to be of oak", places)["quote"] == "Its wheel is of oak."
    assert fitting("nothing of it", places) is places[0]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("It is red. It is old [[1]].", "It is old"),
        ("It is old. [[1]]", "It is old."),
        ("It is red [[2]], but old [[1]].", ", but old"),
        ("It is old [[2]] [[1]].", "It is old"),
        ("[[1]] It is old.", ""),
    ],
)
def test_what_stands_before_a_mark(text, said):
    assert said_before(text, text.index("[[1]]")) == said


def test_a_mark_that_comes_to_be_as_another_goes_is_not_left():
    references = References()
    text, _, bad = references.cite("A [[0]]. [[[[9]]7]] [[ [[8]] 1]]", {0: origin("https://x.org/0")}, "n")
    assert cited(text) == [1]
    assert bad == 3
    assert resolved("x [[[[9]]7]] [[2]]", {2}) == ("x  [[2]]", 2)


@given(
    st.lists(
        st.sampled_from(["word", " ", "[[1]]", "[[2]]", "[[ 9 ]]", "[[1, 9]]", "[", "]]", "[[", "[[x]]", "ü"]),
        max_size=20,
    ),
    st.integers(1, 9),
)
def test_marks_that_stream_are_those_of_the_whole(parts, size):
    text = "".join(parts)
    marks, shown = Marks({1, 2}.__contains__), []
    for start in range(0, len(text), size):
        shown.append(marks.add(text[start : start + size]))
        assert set(cited("".join(shown))) <= {1, 2}
    shown.append(marks.rest())
    whole, bad = renumbered(text, lambda number: number if number in (1, 2) else None)
    assert ("".join(shown), marks.bad) == (whole, bad)
    assert not re.search(r"\[\[\s*9", "".join(shown))
