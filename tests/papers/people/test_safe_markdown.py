"""Whatever people write, the HTML of it can do nothing, and is made in bounded time."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import html as parser

from foveal.errors import InputError
from foveal.papers.safe_markdown import ALLOWED, LONGEST, html_of

EXTRA = {"a": {"rel"}, "code": {"class"}, "span": {"class"}}
SCHEMES = ("http:", "https:", "mailto:")


def unsafe(html: str) -> list[str]:
    """What a browser would find in it that is not allowed: read as a browser reads it, not as we wrote it."""
    found = []
    for element in parser.fragment_fromstring(html, create_parent="body").iter():
        name = str(element.tag)
        if name == "body":
            continue
        attributes = ALLOWED.get(name, set()) | EXTRA.get(name, set())
        if name not in ALLOWED or not set(element.attrib) <= attributes:
            found.append(parser.tostring(element, encoding="unicode"))
        if name == "a":
            address = element.get("href", "").strip().lower()
            relative = address.startswith(("/", "#", "?")) or ":" not in address
            if not (relative or address.startswith(SCHEMES)) or element.get("rel") != "nofollow ugc noopener":
                found.append(address)
        if name in ("code", "span") and element.get("class", "") not in ("", {"code": "tex", "span": "together"}[name]):
            found.append(element.get("class"))
    return found


HOSTILE = [
    "<script>alert(1)</script>",
    "<svg onload=alert(1)><script>alert(1)</script></svg>",
    "<img src=x onerror=alert(1)>",
    "![x](javascript:alert(1)) ![x](https://example.org/pixel.png)",
    "[x](javascript:alert(1)) [x](JaVaScRiPt:alert(1)) [x](java\tscript:alert(1)) [x](&#106;avascript:alert(1))",
    "[x](data:text/html;base64,PHNjcmlwdD4=) [x](vbscript:x) [x](file:///etc/passwd) [x](blob:x)",
    "<javascript:alert(1)> <data:text/html,x>",
    "[x](https://example.org 'a\" onmouseover=\"alert(1)')",
    "[a]: javascript:alert(1)\n\n[a]",
    "<a href='/logout' hx-post='/settings/delete' hx-trigger='load' data-hx-get='/x'>x</a>",
    "<form action=/settings/delete method=post><button>x</button></form>",
    "<div id=main class=notice style='position:fixed;inset:0'>x</div>",
    "```html onload=alert(1)\n<script>\n```",
    "$\\text{<img src=x onerror=alert(1)>}$",
    "$\\text{</math><script>alert(1)</script>}$",
    "$\\text{<mglyph><style><img src=x onerror=alert(1)></style>}$",
    "$\\href{javascript:alert(1)}{x}$ $\\style{position:fixed}{x}$ $\\class{notice}{x}$ $\\cssId{main}{x}$",
    "$</annotation><script>alert(1)</script>$",
    '<math><mtext><table><mglyph><style><!--</style><img title="--&gt;&lt;img src=1 onerror=alert(1)&gt;">',
    "| a |\n|---|\n| <iframe src=javascript:alert(1)> |",
    "\u202e\u2066evil\u2069 \x00\x08 \ud800 \ufffe",
    "<!-- <script>alert(1)</script> -->",
    '<noscript><p title="</noscript><img src=x onerror=alert(1)>">',
    'https://example.org/"onmouseover="alert(1)',
    "http://example.org/<script>alert(1)</script>",
]


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_is_text(text: str) -> None:
    html = html_of(text)
    assert unsafe(html) == []
    assert "<script" not in html
    assert "<img" not in html


@given(st.text(max_size=300) | st.text("<>[]()$\\{}`*_~|!#&;:\"'/= \nabj0", max_size=200))
def test_no_text_gets_out(text: str) -> None:
    assert unsafe(html_of(text)) == []


@given(st.sampled_from(HOSTILE), st.sampled_from(HOSTILE), st.sampled_from(["", "\n\n", "$", "`", "> ", "[", "**"]))
def test_no_two_get_out_together(first: str, second: str, between: str) -> None:
    assert unsafe(html_of(first + between + second)) == []


def test_the_check_itself_sees_what_is_unsafe() -> None:
    """A test that cannot fail is none."""
    for html in ("<script>1</script>", "<a href='javascript:x'>x</a>", "<p onclick=x>", "<a href=/x>x</a>", "<p id=a>"):
        assert unsafe(html)


@pytest.mark.parametrize(
    ("text", "html"),
    [
        ("**a** *b* ~~c~~ `d`", "<p><strong>a</strong> <em>b</em> <s>c</s> <code>d</code></p>"),
        ("# Title", "<p><strong>Title</strong></p>"),
        ("a\nb", "<p>a<br>\nb</p>"),
        ("it costs $5 and $6", "<p>it costs $5 and $6</p>"),
        ("\\$5 and \\*", "<p>$5 and *</p>"),
        ("a < b & c", "<p>a &lt; b &amp; c</p>"),
        ("`$x$`", "<p><code>$x$</code></p>"),
        (
            "see https://example.org/a_(b).",
            '<p>see <a href="https://example.org/a_(b" rel="nofollow ugc noopener">https://example.org/a_(b</a>).</p>',
        ),
        ("$\\text{<b>x</b>}$ *a*", '<p><code class="tex">\\text{&lt;b&gt;x&lt;/b&gt;}</code> <em>a</em></p>'),
        ("$\\nonsense{x}$", '<p><code class="tex">\\nonsense{x}</code></p>'),
    ],
)
def test_markdown_as_people_write_it(text: str, html: str) -> None:
    assert html_of(text).strip() == html


def test_maths_is_mathml_with_its_tex() -> None:
    html = html_of("In $O(n^2)$, and\n\n$$\\sum_{i=1}^n x_i$$ or \\(a\\)")
    assert '<math display="inline" alttext="O(n^2)">' in html
    assert "<msup><mi>n</mi><mn>2</mn></msup>" in html
    assert '<math display="block" alttext="\\sum_{i=1}^n x_i">' in html
    assert html.count("<math") == 3


BOMBS = {
    "brackets": "[" * LONGEST,
    "pairs": "[" * 5_000 + "]" * 5_000,
    "links": "[a](" * 2_500,
    "whole links": "[a](b)" * 1_600,
    "pictures": "![" * 5_000,
    "quotes": ">" * LONGEST,
    "quoted lists": "> - " * 2_500,
    "lists": "".join(f"{' ' * n}- a\n" for n in range(130)),
    "stars": "*a_ " * 2_500,
    "strong": "**a *b " * 1_400,
    "ticks": "".join("`" * n + " " for n in range(1, 140)),
    "tags": "<" * LONGEST,
    "entities": "&amp;" * 2_000,
    "columns": "|" * 5_000 + "\n" + "|-" * 2_400,
    "rows": "|a|b|\n|-|-|\n" + "|c|d|\n" * 1_600,
    "dollars": "$" * LONGEST,
    "open maths": "$a" * 5_000,
    "round maths": "\\(" * 5_000,
    "formulas": "$x_1$ " * 1_600,
    "fractions": "$" + "\\frac{" * 80 + "$",
    "deep": "$" + "{" * 200 + "}" * 200 + "$",
    "indices": "$" + "x_{" * 150 + "}" * 150 + "$",
    "left": "$" + "\\left(" * 60 + "\\right)" * 60 + "$",
    "addresses": "http://a.b/ " * 800,
    "address": "http://" + "a" * 9_000,
}


@pytest.mark.parametrize("name", BOMBS)
def test_hostile_text_takes_no_longer_than_it_may(name: str) -> None:
    started = time.process_time()
    assert unsafe(html_of(BOMBS[name][:LONGEST])) == []
    assert time.process_time() - started < 1.5  # tenths here; the machine may be slow


def test_a_text_that_is_too_long_is_refused_before_it_is_read() -> None:
    started = time.process_time()
    with pytest.raises(InputError, match="1,000,000 characters; up to 10,000"):
        html_of("[" * 1_000_000)
    assert time.process_time() - started < 0.1
