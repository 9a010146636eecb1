"""What the search for a page's main text would lose: blank lines of code, numbers of lists, asides within the text."""

from __future__ import annotations

import pytest

from foveal.text.html import read_html

SENTENCE = "The fovea is the small part of the retina that sees sharply, and the eye turns it to what matters. "
LONG = "An aside: in the dark the rods beside it see better than the fovea does."


def read(part: str) -> str:
    """What a page says behind its first paragraph, with `part` among its sentences."""
    body = f"<article><h1>The fovea</h1><p>{SENTENCE * 3}</p>{part}<p>{SENTENCE * 2}</p></article>"
    text = read_html(f"<body>{body}</body>".encode(), name="a page").text
    assert text.startswith(f"# The fovea\n\n{(SENTENCE * 3).strip()}")
    return text.split("\n", 3)[3].removesuffix((SENTENCE * 2).strip()).strip("\n")


CODE = "def see(x):\n    a = 1\n\n\n    return a\n\ndef look():\n    pass"


def test_blank_lines_of_code_stay():
    assert read(f"<pre><code>{CODE}\n</code></pre>") == f"```\n{CODE}\n```"


def test_lines_in_pieces_are_lines():
    """As programs that colour code write it: blank lines begin in one element and end in another."""
    part = "<pre><span>a</span> = <b>1</b>\n<span>\n</span><span>b = 2</span><span>\n\n</span><i>  \n</i>c = 3</pre>"
    assert [line.rstrip() for line in read(part).split("\n")] == ["```", "a = 1", "", "b = 2", "", "", "c = 3", "```"]


@pytest.mark.parametrize(
    ("attributes", "labels"),
    [
        ("", "1. 2. 3."),
        ("start=5", "5. 6. 7."),
        ("start=0", "0. 1. 2."),
        ("start=x", "1. 2. 3."),
        ("reversed", "3. 2. 1."),
        ("type=a", "a. b. c."),
        ("type=A start=26", "Z. AA. AB."),
        ("type=i start=8", "viii. ix. x."),
    ],
)
def test_items_are_called_as_the_page_calls_them(attributes, labels):
    shown = read(f"<ol {attributes}><li>first part</li><li><p>second part</p></li><li>third part</li></ol>")
    assert [line.split(" ", 1)[0] for line in shown.split("\n") if line] == labels.split()
    assert [line.split(" ", 1)[1] for line in shown.split("\n") if line] == ["first part", "second part", "third part"]


def test_an_item_with_a_number_of_its_own_counts_on():
    shown = read("<ol><li>one</li><li value=7>seven</li><li>eight</li></ol>")
    assert shown.split("\n") == ["1. one", "7. seven", "8. eight"]


def test_a_list_within_a_list_counts_for_itself():
    shown = read(
        f"<ol start=3><li>three {SENTENCE}<ol type=a><li>a part</li><li>b part</li></ol></li><li>four</li></ol>"
    )
    lines = [line.strip() for line in shown.split("\n") if line.strip()]
    assert [line.split()[0] for line in lines] == ["3.", "a.", "b.", "4."]


def test_prose_beside_the_line_of_thought_stays_and_boxes_of_links_go():
    assert read(f"<aside>{LONG}</aside>") == LONG
    assert read(f"<aside class=note><p>Note</p><p>{LONG}</p></aside>").split() == ["Note", *LONG.split()]
    assert read(f"<aside><a href=/a>{LONG}</a></aside>") == ""
    assert read("<aside><p>Buy glasses</p></aside>") == ""
    outside = f"<body><main><p>{SENTENCE * 5}</p></main><aside><p>{LONG}</p></aside></body>"
    assert LONG not in read_html(outside.encode(), name="a page").text


def test_where_no_main_text_is_found_lists_count_too():
    page = read_html(b"<body><ol start=4><li>four<li>five</ol><pre>a\n\nb</pre></body>", name="a page")
    assert [line for line in page.text.split("\n") if line] == ["4. four", "5. five", "a", "b"]
