"""Words of strangers as HTML: only what is allowed comes out, and every character that came in is still there."""

from __future__ import annotations

import time
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foveal.papers.safe_markdown import html_of as of_remark
from foveal.web.markup import MATHML, Linked, html_of, links_of, mathml, pieces_of

OURS = {"mark", "a", "code", "em", "strong", "span"}


class Reader(HTMLParser):
    """The tags of a page and their attributes, and its text; of maths, the TeX that lies beside it."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "math" not in self.open or "annotation" in self.open:
            self.text += data


def kept(text: str) -> str:
    """The text as it should be read: what each piece says that it shows; maths that does not convert as it came."""
    shown = []
    for piece in pieces_of(text):
        inner = text[piece.shown_start : piece.shown_end]
        whole = piece.kind == "tex" and mathml(inner, display=piece.display) is None
        shown.append(text[piece.start : piece.end] if whole else inner)
    return "".join(shown)


WORDS = st.text(alphabet=st.sampled_from("ab <>&\"'$\\{}()[]^_5 \n\tπ"), max_size=40)
TEX = st.sampled_from(
    ["$x^2$", "$\\frac{a}{b}$", "\\(n\\)", "$$\\sum_i x_i$$", "\\emph{so}", "$\\foo{$", "$5", "<b>x</b>"]
)
TEXTS = st.lists(WORDS | TEX, max_size=8).map("".join)
RANGES = st.lists(st.tuples(st.integers(0, 80), st.integers(0, 80)).map(lambda ends: tuple(sorted(ends))), max_size=5)


@given(TEXTS | st.text(max_size=60), RANGES, RANGES)
def test_only_allowed_tags_come_out_and_no_character_is_lost(text, marks, links):
    html = html_of(text, marks=marks, links=[Linked(start, end, "/papers?q=a&b") for start, end in links])
    page = Reader(str(html))
    assert not page.open
    for tag, attributes in page.tags:
        assert tag in OURS or set(attributes) <= MATHML[tag]
        assert not any(name.startswith("on") or name == "style" for name in attributes)
        if tag == "a":
            assert attributes == {"class": "keyword", "href": "/papers?q=a&b"}
    same = str.maketrans({"\r": "\n", "\x00": "\ufffd"})
    assert page.text.translate(same) == kept(text).translate(same)


@given(TEXTS)
def test_pieces_are_the_text_without_a_gap(text):
    assert "".join(text[piece.start : piece.end] for piece in pieces_of(text)) == text


@pytest.mark.parametrize(
    "text",
    [
        "It costs $5 and $6.",
        "from $5 to $2 for each million",
        "US$5m and US$7m",
        "$10-$20 a day",
        "an unclosed $x",
        "a lone \\( too",
        "5 $ and more $",
        "$ x $",
    ],
)
def test_money_and_unclosed_dollars_are_text(text):
    assert "<math" not in html_of(text)
    assert Reader(str(html_of(text))).text == text


@pytest.mark.parametrize("text", ["$O(n^2)$", "\\(O(n^2)\\)", "$$O(n^2)$$", "\\[O(n^2)\\]", "of $O(n^2)$, or $\\$5$"])
def test_maths_becomes_mathml_with_its_tex_beside_it(text):
    page = Reader(str(html_of(text)))
    assert ("msup", {}) in page.tags
    assert "O(n^2)" in page.text


@pytest.mark.parametrize("of", [html_of, of_remark], ids=["titles", "remarks"])
def test_names_of_functions_have_room_beside_them(of):
    room = '<mspace width="0.17em"></mspace>'
    assert f"<mi>n</mi>{room}<mi>log</mi>{room}<mi>n</mi>" in of("$O(n \\log n)$")


@pytest.mark.parametrize("of", [html_of, of_remark], ids=["titles", "remarks"])
@pytest.mark.parametrize("behind", [",", ").", "-means", ": so", "?"])
def test_no_line_begins_with_what_stands_behind_a_formula(of, behind):
    html = str(of(f"of $x${behind} and $y$ too"))
    mark = behind.rstrip(" abcdefghijklmnopqrstuvwxyz")
    assert f'</math>{mark}</span>{behind.removeprefix(mark)} and <math display="inline"' in html
    assert html.count("<span") == 1
    assert '<span class="together"><math display="inline"' in html


def test_a_marked_formula_keeps_what_stands_behind_it():
    assert "</math></mark>,</span> y" in html_of("of $x$, y", marks=((3, 4),))
    assert "<span" not in html_of("of $$x$$, y")  # it stands on a line of its own


def test_what_does_not_convert_stands_as_it_came():
    assert html_of("a $\\foo{x}$ b") == 'a <code class="tex">$\\foo{x}$</code> b'
    assert html_of("a $x_$ b") == 'a <code class="tex">$x_$</code> b'


def test_a_mark_that_touches_maths_covers_all_of_it_and_a_link_never_cuts_it():
    text = "linear $O(n)$ time"
    marked = html_of(text, marks=((0, 9),))
    assert marked.startswith("<mark>linear </mark><mark><math")
    assert "</math></mark> time" in marked
    assert "<a " not in html_of(text, links=[Linked(0, 9, "/x")])
    assert '<a class="keyword" href="/x">time</a>' in html_of(text, links=[Linked(14, 18, "/x")])


def test_marks_and_links_cross_without_nesting_wrongly():
    html = html_of("sparse attention", marks=((3, 9),), links=[Linked(7, 16, "/x")])
    assert html == 'spa<mark>rse </mark><a class="keyword" href="/x"><mark>at</mark>tention</a>'


def test_commands_of_text_are_elements():
    assert html_of("An \\emph{a<b} \\textbf{c} 5\\% \\texttt{d}") == (
        "An <em>a&lt;b</em> <strong>c</strong> 5% <code>d</code>"
    )


def test_links_of_pieces_point_into_the_joined_text():
    text, links = links_of([("An ", None), ("open book", "open book"), (".", None)], "/papers?q=")
    assert text == "An open book."
    assert [(text[link.start : link.end], link.href) for link in links] == [("open book", "/papers?q=open+book")]


@pytest.mark.parametrize(
    "tex", ["\\href{javascript:alert(1)}{x}", "\\style{color:red}{x}", "<script>", "\\color{red}x"]
)
def test_maths_brings_no_link_style_or_script(tex):
    html = str(html_of(f"${tex}$")).lower()
    assert not {"href", "style", "class", "mathcolor", "onclick"} & {
        name for tag, attributes in Reader(html).tags if tag != "code" for name in attributes
    }
    assert "<script" not in html


@pytest.mark.parametrize(
    "bomb",
    [
        "$" + "{" * 5000 + "}" * 5000 + "$",
        "$" + "\\sqrt" * 120 + "x$",
        "$" + "x^" * 300 + "$",
        "\\(" * 40_000,
        "$a " * 30_000,
        "$$a" * 30_000,
        "$" + "\\begin{matrix}" * 40 + "$",
        "\\emph{" * 20_000,
    ],
)
def test_a_bomb_is_text_before_long(bomb):
    start = time.process_time()
    html = html_of(bomb)
    assert time.process_time() - start < 5
    assert Reader(str(html)).text == kept(bomb)
