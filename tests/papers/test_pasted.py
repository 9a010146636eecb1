"""A pasted or saved page of papers: whatever way a browser writes it out, every field of every paper is right."""

from __future__ import annotations

import json
import random
from dataclasses import dataclass
from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foveal.errors import InputError, UnreadableSource
from foveal.papers.sources.page_lines import lines_of_html, lines_of_text, paper_in
from foveal.papers.sources.pasted import read_page

TODAY = date(2026, 10, 2)


@dataclass(frozen=True)
class Told:
    """A paper as the page shows it."""

    title: str
    abstract: str
    people: str
    day: date
    comments: int = 0
    votes: int | None = None

    @property
    def date(self) -> str:
        """As the page writes it: without the year if it is this one."""
        text = f"{self.day:%b} {self.day.day}"
        return text if self.day.year == TODAY.year else f"{text}, {self.day.year}"


SENTENCE = "Where a model looks decides what it can say, and we measure both for texts of any length."
PAPERS = (
    Told("Where to Look: A Study", f"{SENTENCE} " * 8 + "Code: example.org/c", "18 authors", date(2026, 5, 29), 3),
    Told("$O(n \\log n)$ Attention With a < b", f"{SENTENCE} " * 12, "Some Laboratory", date(2025, 2, 27)),
    Told("Does a Model Rest on What It Later Says It Read?", f"{SENTENCE} " * 5, "1 author", date(2026, 5, 24), 12),
    Told("0", f"{SENTENCE} " * 6, "2,031 authors", date(2024, 12, 31), 105),
    Told("Models", f"{SENTENCE} " * 6, "University of the Northern Coast", date(2026, 10, 2), 1),
    Told("A Short One", "Too short to be long.", "4 authors", date(2026, 1, 12)),
    Told("By the House", f"{SENTENCE} " * 7, "Hugging Face", date(2026, 3, 30)),
    Told("Last: May 3 Be With You", f"{SENTENCE} " * 9, "6 authors", date(2025, 5, 31), 2),
)  # fmt: skip
VOTED = tuple(
    Told(one.title, one.abstract, one.people, one.day, one.comments, votes)
    for one, votes in zip(PAPERS, (12, 0, 1203, 7, 0, 31, 9, 4), strict=True)
)

NAVIGATION = [
    "Hugging Face",
    "Models",
    "Datasets",
    "Spaces",
    "Community",
    "Docs",
    "Enterprise",
    "Pricing",
    "Log In",
    "Sign Up",
]
HEAD = [
    "new",
    "Get trending papers in your email inbox!",
    "Subscribe",
    "Daily Papers",
    "by AK and the research community",
    "Jan 8",
]
FOOT = [
    "Previous",
    "1",
    "2",
    "3",
    "...",
    "100",
    "Next",
    "System theme",
    "Company",
    "TOS",
    "Privacy",
    "About",
    "Careers",
]


def told_of(found) -> list[Told]:
    return [
        Told(
            one.title,
            one.abstract,
            one.organisation or f"{one.author_count:,} author{'s' * (one.author_count != 1)}",
            one.published_at.date(),
            one.comments,
            one.votes,
        )
        for one in found
    ]


def expected(papers) -> list[Told]:
    return [Told(one.title, one.abstract.strip(), one.people, one.day, one.comments, one.votes) for one in papers]


def lines_of(told: Told, tail: str) -> list[str]:
    """One paper; `tail` is how its last lines are written."""
    count = str(told.comments) if told.comments else ""
    last = {
        "one line": [f"{told.people} · {told.date} {count}".strip()],
        "glued": [f"{told.people} · {told.date}{count}"],
        "glued without blanks": [f"{told.people}·{told.date}{count}"],
        "dot alone": [told.people, "·", f"{told.date}{count}"],
        "count below": [told.people, "·", told.date, *filter(None, [count])],
        "dot with people": [f"{told.people} ·", told.date, *filter(None, [count])],
        "dot with date": [told.people, f"· {told.date} {count}".strip()],
        "no dot": [told.people, f"{told.date} {count}".strip()],
    }[tail]
    votes = [] if told.votes is None else [str(told.votes) if told.votes else "-"]
    return [*votes, told.title, told.abstract.strip(), *last]


TAILS = (
    "one line",
    "glued",
    "glued without blanks",
    "dot alone",
    "count below",
    "dot with people",
    "dot with date",
    "no dot",
)


@pytest.mark.parametrize("tail", TAILS)
@pytest.mark.parametrize("head", [HEAD, [*NAVIGATION, *HEAD], ["A bar that nobody saw before", *HEAD], []], ids=len)
@pytest.mark.parametrize("between", ["\n", "\r\n \t\r\n"])
@pytest.mark.parametrize("papers", [PAPERS, VOTED], ids=["no votes", "votes"])
def test_every_field_however_the_page_is_written(tail, head, between, papers):
    lines = [*head, *(line for one in papers for line in lines_of(one, tail)), *FOOT[:1], *FOOT[7:]]
    found = read_page(between.join(lines).encode(), "page.txt", today=TODAY)
    assert told_of(found) == expected(papers)
    assert {one.source for one in found} == {"pasted"}
    assert [one.listed_on for one in found] == [one.day for one in papers]


def test_the_numbers_of_further_pages_are_no_remarks():
    lines = [*HEAD, *(line for one in PAPERS for line in lines_of(one, "one line")), *FOOT[1:]]
    papers = [*PAPERS[:-1], PAPERS[-1]]
    assert told_of(read_page("\n".join(lines).encode(), "page.txt", today=TODAY)) == expected(papers)


def test_a_page_wrapped_at_a_width():
    """As a text browser saves it: paragraphs, wrapped, with blank lines between."""
    import textwrap

    paragraphs = [*HEAD, *(line for one in PAPERS for line in lines_of(one, "one line"))]
    text = "\n\n".join(textwrap.fill(line, 72, break_on_hyphens=False, break_long_words=False) for line in paragraphs)
    assert told_of(read_page(text.encode(), "page.txt", today=TODAY)) == expected(PAPERS)


def test_markdown_as_some_programs_copy_it():
    lines = list(HEAD)
    for n, one in enumerate(PAPERS):
        title, *rest = lines_of(one, "one line")
        lines += [f"### [{title}](https://huggingface.co/papers/2605.0000{n})", *rest]
    found = read_page("\n\n".join(lines).encode(), "page.md", today=TODAY)
    assert told_of(found) == expected(PAPERS)
    assert [one.id for one in found] == [f"2605.0000{n}" for n in range(len(PAPERS))]


def test_lists_as_some_programs_write_them():
    """Faces become empty items, the number of authors another one, and a title may be bold."""
    lines = list(HEAD)
    for one in PAPERS:
        title, abstract, last = lines_of(one, "one line")
        lines += [f"**{title}**", abstract, "- ", "-", "* ", "+106", f"- {last}"]
    assert told_of(read_page("\n".join(lines).encode(), "page.md", today=TODAY)) == expected(PAPERS)


def test_an_abstract_of_several_paragraphs_is_whole():
    long = Told("One", "", "3 authors", date(2026, 5, 3))
    for first in ("", "\n".join(HEAD) + "\n"):
        body = f"{SENTENCE} {SENTENCE} {SENTENCE}\n\nWe also release code.\n"
        text = f"{first}One\n\n{body}\n3 authors\n·\nMay 3\n\nTwo\n\n{body}\n1 author\n·\nMay 4\n"
        found = read_page(text.encode(), "x", today=TODAY)
        assert [one.title for one in found] == [long.title, "Two"]
        assert {one.abstract for one in found} == {f"{SENTENCE} {SENTENCE} {SENTENCE} We also release code."}


def test_both_an_organisation_and_a_number():
    for tail in (
        "Some Lab · 18 authors · May 29 3",
        "Some Lab\n·\n18 authors\n·\nMay 293",
        "Some Lab ·\n18 authors ·\nMay 29\n3",
    ):
        [found] = read_page(f"Title\n{SENTENCE}\n{tail}\n".encode(), "x", today=TODAY)
        assert (found.title, found.organisation, found.author_count, found.comments) == ("Title", "Some Lab", 18, 3)
        assert found.abstract == SENTENCE


# HTML

CARD = """
<article class="card"><div><a href="/papers/{id}"><img src="x.png" alt="a picture"></a>
<label><input type="checkbox" hidden><svg><title>up</title></svg><div>{votes}</div></label></div>
<div><h3><a class="link" href="/papers/{id}">{title}</a></h3><p>{abstract}</p>
<div class="flex"><ul><li title="Ana"><img src="a.png"></li><li></li></ul>{people}<span>·</span>{date}{count}</div>
</div></article>"""


def card(told: Told, number: int, *, times: bool) -> str:
    import html

    shown = f'<time datetime="{told.day}T08:00:00.000Z">{told.date}</time>' if times else f"<span>{told.date}</span>"
    paper = f"2605.0000{number}"
    return CARD.format(
        id=paper,
        votes=told.votes or "-",
        title=html.escape(told.title).replace("Look", "<mark>Look</mark>"),
        abstract=html.escape(told.abstract).replace("model", "<mark>model</mark>"),
        people=f'<a href="/papers/{paper}">{told.people}</a>',
        date=shown,
        count=f'<a href="/papers/{paper}#community"><svg></svg>{told.comments}</a>' if told.comments else "",
    )


def html_page(papers, *, times: bool) -> bytes:
    bar = "".join(f"<li><a href='/{name}'>{name}</a></li>" for name in NAVIGATION)
    said = "by <b>AK</b> and the research community"
    head = f"<nav><ul>{bar}</ul></nav><div>{'</div><div>'.join(HEAD[:4])}</div><h2>{said}</h2>"
    cards = "".join(card(one, n, times=times) for n, one in enumerate(papers))
    script = "<script>var page = {day: 'May 29'};</script><style>p {color: red}</style>"
    body = f"<body>{head}<main>{cards}</main><footer>TOS</footer>"
    return f"<!doctype html><html><head><title>Papers</title>{script}</head>{body}".encode()


@pytest.mark.parametrize("times", [True, False])
def test_a_saved_page_with_its_links(times):
    found = read_page(html_page(VOTED, times=times), "page.html", today=TODAY)
    assert told_of(found) == expected(VOTED)
    assert [one.id for one in found] == [f"2605.0000{n}" for n in range(len(VOTED))]


def test_a_page_that_carries_its_listing_as_data():
    import html

    listing = [
        {"paper": {"id": f"2605.0000{n}", "title": one.title, "summary": one.abstract}} for n, one in enumerate(PAPERS)
    ]
    held = html.escape(json.dumps({"page": {"dailyPapers": listing}, "other": [1, 2]}))
    page = f'<!doctype html><body><div data-props="{{not json"></div><div data-props="{held}"></div></body>'
    found = read_page(page.encode(), "page.html", today=TODAY)
    assert [(one.id, one.title, one.source) for one in found] == [
        (f"2605.0000{n}", one.title, "hf") for n, one in enumerate(PAPERS)
    ]


def test_hidden_words_are_not_read_and_blocks_end_lines():
    page = b"<div>a<span hidden>b</span><p>c<br>d</p><span style='display: none'>e</span>f</div>"
    assert [line.text for line in lines_of_html(page + b"<div class='sr-only'>g</div>", "x")] == ["a", "c", "d", "f"]


def test_a_page_nests_as_deep_as_it_likes():
    deep = 1_500
    said = "<h3>Where to Look</h3><p>We choose where to look, and say what we found there.</p><p>2 authors · May 29</p>"
    page = f"<html><body>{'<div>' * deep}{said}{'</div>' * deep}</body></html>".encode()
    [found] = read_page(page, "x.html", today=TODAY)
    assert (found.title, found.author_count) == ("Where to Look", 2)
    [found] = read_page(page.replace(b"to Look<", b"to <!-- x -->Look<"), "x.html", today=TODAY)
    assert found.title == "Where to Look"


def test_links_lead_to_papers_or_elsewhere():
    assert paper_in("https://huggingface.co/papers/2502.20766#community") == "2502.20766"
    assert paper_in("https://arxiv.org/pdf/2502.20766v2.pdf") == "2502.20766"
    assert paper_in("/papers/trending") == paper_in("/papers/date/2026-10-02") == paper_in("/models") == ""


# dates


@pytest.mark.parametrize(
    ("written", "day", "comments"),
    [
        ("May 29", date(2026, 5, 29), 0),
        ("May 293", date(2026, 5, 29), 3),
        ("May 312", date(2026, 5, 31), 2),
        ("Jun 31", date(2026, 6, 3), 1),
        ("May 290", date(2026, 5, 2), 90),
        ("May 4 12", date(2026, 5, 4), 12),
        ("Oct 2", date(2026, 10, 2), 0),
        ("Oct 3", date(2025, 10, 3), 0),
        ("Dec 31", date(2025, 12, 31), 0),
        ("Feb 29", date(2024, 2, 29), 0),
        ("Feb 27, 2025", date(2025, 2, 27), 0),
        ("Feb 27, 202512", date(2025, 2, 27), 12),
        ("Feb 27, 2025 12", date(2025, 2, 27), 12),
        ("Sept 3, 2025", date(2025, 9, 3), 0),
        ("June 3", date(2026, 6, 3), 0),
    ],
)
def test_a_date_with_what_is_glued_to_it(written, day, comments):
    [found] = read_page(f"Title\n{SENTENCE}\n5 authors · {written}".encode(), "x", today=TODAY)
    assert (found.published_at.date(), found.comments) == (day, comments)


def test_a_page_that_names_last_year_is_of_this_one():
    """ "Oct 21" is last year's, or, on a page that writes "2025" where it means that, the 2nd with a remark."""
    text = "Title\n{0}\n5 authors · Oct 21\nNext\n{0}\n1 author · Feb 27, {1}"
    for year, day, comments in ((2024, date(2025, 10, 21), 0), (2025, date(2026, 10, 2), 1)):
        first, _ = read_page(text.format(SENTENCE, year).encode(), "x", today=TODAY)
        assert (first.published_at.date(), first.comments) == (day, comments)


@given(st.dates(date(2001, 1, 1), TODAY), st.integers(0, 999), st.sampled_from(TAILS))
def test_any_date_with_a_year_and_any_count_is_read_back(day, comments, tail):
    told = Told("A title", f"{SENTENCE} " * 4, "Some Lab", day, comments)
    if day.year == TODAY.year and comments and tail.startswith(("glued", "dot alone")):
        return  # "May 12" is the twelfth, never the first with two remarks: what is glued to a bare day is ambiguous
    text = "\n".join([*lines_of(told, tail), "Next Title", SENTENCE, "2 authors · May 1, 2020"])
    assert told_of(read_page(text.encode(), "x", today=TODAY))[0] == expected([told])[0]


# what is no page of papers


@pytest.mark.parametrize(
    "text", ["", "just words", "Daily Papers\nby AK and the research community\nJan 8\n", "May 29\n" * 9]
)
def test_a_page_without_papers_is_refused_in_a_sentence(text):
    with pytest.raises(UnreadableSource, match="holds no papers: no line says who and when"):
        read_page(text.encode(), "empty.txt", today=TODAY)


def test_json_of_another_kind_is_refused():
    with pytest.raises(InputError, match="no paper in a shape that is known"):
        read_page(b'[{"name": "x"}]', "x.json", today=TODAY)


def test_json_without_an_end_breaks_no_reader():
    deep = "[" * 200_000
    with pytest.raises(UnreadableSource, match="holds no papers"):
        read_page(deep.encode(), "x.json", today=TODAY)
    nested = '{"a":[' * 400 + json.dumps([{"paper": {"id": "2610.00001", "title": "Deep"}}]) + "]}" * 400
    carried = f"<html><body><div data-props='{deep}'></div><div data-props='{nested}'></div></body></html>"
    assert [one.title for one in read_page(carried.encode(), "x.html", today=TODAY)] == ["Deep"]


def test_a_paper_whose_beginning_was_not_copied_is_left_out_and_said(caplog):
    text = f"{SENTENCE * 4}\n3 authors · May 3\nTitle\n{SENTENCE}\n4 authors · May 4\n"
    assert [one.title for one in read_page(text.encode(), "x", today=TODAY)] == ["Title"]
    assert "has no title there" in caplog.text


@given(
    st.lists(
        st.sampled_from([*HEAD, *FOOT, SENTENCE, "5 authors", "·", "May 29", "Feb 27, 20253", "-", "12", ""]),
        max_size=30,
    )
)
def test_no_page_breaks_the_reader(lines):
    try:
        found = read_page("\n".join(lines).encode(), "x", today=TODAY)
    except UnreadableSource:
        return
    assert all(one.title and one.published_at for one in found)


def test_a_long_page_in_a_moment():
    draw = random.Random(0)
    many = [
        Told(f"Paper {n}", f"{SENTENCE} " * draw.randint(4, 20), "5 authors", date(2026, 5, 1), n % 7)
        for n in range(2000)
    ]
    lines = [*HEAD, *(line for one in many for line in lines_of(one, "count below"))]
    assert told_of(read_page("\n".join(lines).encode(), "x", today=TODAY)) == expected(many)


def test_lines_of_text_know_what_stands_free():
    found = lines_of_text("a\nb\n\n \u00a0\nc\u00a0d\n")
    assert [(line.text, line.gap) for line in found] == [("a", True), ("b", False), ("c d", True)]


def test_links_that_nothing_closes():
    (line,) = lines_of_text("[](" * 100_000)
    assert (line.text, line.paper) == ("[](" * 100_000, "")
    (line,) = lines_of_text("A [paper](https://arxiv.org/abs/2605.01234), [one](https://a.example and")
    assert (line.text, line.paper) == ("A paper, [one](https://a.example and", "2605.01234")
