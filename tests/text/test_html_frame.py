"""Pages without a part that bears a usual name, as of manuals and books; code, links, quotations as they are set."""

from __future__ import annotations

import pytest

from foveal.text.headings import find_headings
from foveal.text.html import read_html

SENTENCE = "The fovea is the small part of the retina that sees sharply, and the eye turns it to what matters. "
MENU = "<ul><li><a href=/>Home</a></li><li><a href=/docs>All manuals</a></li><li><a href=/buy>Buy one</a></li></ul>"


def manual(*parts: str, frame: str = "div") -> str:
    """What a page says that has no article, but for its menus."""
    page = f"<body><{frame}>{''.join(parts)}</{frame}></body>"
    return read_html(f"<title>A manual</title>{page}".encode(), name="a page").text


@pytest.mark.parametrize("frame", ["div", "section", "article"])
def test_headings_and_lists_of_a_page_without_an_article_stay(frame):
    text = manual(
        f"<h1><span>1. </span>Seeing</h1><p>{SENTENCE * 4}</p><h2 id=rods>1.1. Rods</h2><p>{SENTENCE * 3}</p>",
        "<p>They are:</p><ul><li>many in number</li><li>slow to answer</li></ul>",
        frame=frame,
    )
    assert [line for line in text.split("\n") if line.startswith(("#", "-"))] == [
        "# 1. Seeing",
        "## 1.1. Rods",
        "- many in number",
        "- slow to answer",
    ]


def test_menus_of_such_a_page_go():
    text = manual(MENU, f"<h1>Seeing</h1><p>{SENTENCE * 6}</p>", f"<div>{MENU}</div>")
    assert text == f"# Seeing\n\n{(SENTENCE * 6).strip()}"


def test_of_such_a_page_no_more_is_lost_than_of_its_paragraphs_alone():
    """A page that is mostly links: what the search throws away as menus is then its text."""
    links = "".join(f"<p><a href=/{n}>Chapter {n}: {SENTENCE}</a></p>" for n in range(12))
    assert len(manual(f"<h1>Contents</h1>{links}<p>{SENTENCE}</p>")) > 12 * len(SENTENCE)


def test_headings_beside_named_anchors_stay():
    """As DocBook writes them: an anchor that leads nowhere, in boxes within boxes."""
    title = "<div class=titlepage><div><div><h2 class=title><a name=s21></a>2.1. Rods</h2></div></div></div>"
    chapter = f"<h1><a name=ch>Chapter 2. Seeing</a></h1><p>{SENTENCE * 4}</p>{title}<p>{SENTENCE * 4}</p>"
    assert [line for line in manual(chapter).split("\n") if line.startswith("#")] == [
        "# Chapter 2. Seeing",
        "## 2.1. Rods",
    ]


@pytest.mark.parametrize("frame", ["div", "article"])
def test_words_beside_code_within_code_stay(frame):
    one = "<code class=literal><em class=replaceable><code>{}</code></em></code>"
    sentence = (
        f"The sign between {one.format('package')} and {one.format('version')} was changed from <code>-</code> to _."
    )
    text = manual(f"<p>{SENTENCE * 5}</p><p>{sentence}</p><p>{SENTENCE * 2}</p>", frame=frame)
    assert "The sign between `package` and `version` was changed from `-` to _." in text


def test_the_name_that_code_links_to_stays():
    text = manual(
        f"<article><p>{SENTENCE * 5}</p><p>Call <code>see(<a href=/x>Light</a> x)</code> at noon.</p></article>"
    )
    assert "Call `see(Light x)` at noon." in text


@pytest.mark.parametrize("frame", ["div", "article"])
def test_a_comment_of_a_program_is_no_heading(frame):
    """As DocBook and Texinfo write examples: `pre` without `code` in it."""
    code = "# apt-get install mc\n# cd <em>/some/where</em>\n$ ls -l\n"
    text = manual(f"<h1>Mice</h1><p>{SENTENCE * 5}</p><pre class=screen>{code}</pre><p>{SENTENCE}</p>", frame=frame)
    assert "```\n# apt-get install mc\n# cd /some/where\n$ ls -l\n```" in text


@pytest.mark.parametrize(
    ("inner", "lines"),
    [
        ("<code>a = [1]\n# b</code><button>Copy</button>", ["a = [1]", "# b"]),
        ("a = [1]<script>see()</script>\n# b", ["a = [1]", "# b"]),
        ("<ol><li>a = [1]</li><li># b</li></ol>", ["a = [1]", "# b"]),
        ("<div>a = [1]</div><div># b\n</div>", ["a = [1]", "# b"]),
        ("a = [1]<br># b", ["a = [1]", "# b"]),
    ],
)
def test_lines_of_code_stay_lines_and_buttons_beside_it_go(inner, lines):
    text = manual(f"<article><p>{SENTENCE * 5}</p><pre>{inner}</pre><p>{SENTENCE}</p></article>")
    assert "\n".join(["```", *lines, "```"]) in text


def test_boxes_within_code_are_its_lines():
    code = "<code><div>a = [1]</div><div>b = 2</div></code>"
    assert "```\na = [1]\nb = 2\n```" in manual(f"<article><p>{SENTENCE * 5}</p>{code}<p>{SENTENCE}</p></article>")


def test_numbers_of_lines_in_a_column_beside_code_go():
    cells = "<td><pre>1\n2</pre></td><td class=code><pre><b>def</b> see():\n    pass</pre></td>"
    text = manual(f"<article><p>{SENTENCE * 5}</p><table><tr>{cells}</tr></table></article>")
    assert text.endswith("```\ndef see():\n    pass\n```")
    kept = manual(f"<article><p>{SENTENCE * 5}</p><table>{f'<tr>{cells}</tr>' * 2}</table></article>")
    assert kept.count("| 1 2 |") == 2


@pytest.mark.parametrize("item", ["<ul><li>Do{}</li></ul>", "<dl><dt>a</dt><dd><p>Do</p>{}</dd></dl>"])
def test_code_in_an_item_is_fenced_off_from_its_words(item):
    code = "<pre>a = [1]\n# b</pre>"
    text = manual(f"<article><p>{SENTENCE * 5}</p>{item.format(code) * 2}<h2>Next</h2><p>{SENTENCE}</p></article>")
    assert text.count("Do\n```\na = [1]\n# b\n```\n") == 2
    assert [heading.title for heading in find_headings(text)] == ["Next"]


@pytest.mark.parametrize("opened", ["<p>Use</p><pre>x = 1\n", "<tt>use x "])
def test_what_was_opened_as_code_and_never_closed_does_not_take_the_headings(opened):
    text = manual(f"<h1>Seeing</h1><p>{SENTENCE * 5}</p>{opened}<h2>Next</h2><p>{SENTENCE * 4}</p>")
    assert "## Next\n\nThe fovea" in text


def test_words_that_stand_bare_in_a_box_stay_where_they_are():
    boxes = "<div>One of <a href=/x>two</a> lines<br>and another</div><section>Bare <p>Beside it</p> behind</section>"
    text = manual(f"<h1>Seeing</h1><p>{SENTENCE * 9}</p><p>{SENTENCE * 6}</p>{boxes}<p>{SENTENCE * 7}</p>")
    found = [text.find(words) for words in ("One of two lines", "and another", "Bare", "Beside it", "behind")]
    assert -1 not in found
    assert [text.rfind(SENTENCE, 0, found[0]) > 0, *found] == [True, *sorted(found)]


BEFORE = (
    f"<p>{SENTENCE}</p>", "<div><p>In a box.</p></div>", "<section><h2>Head</h2><p>In a part.</p></section>",
    "<pre><code>x = 1</code></pre>", "<figure><img src=a.png><figcaption>Of it.</figcaption></figure>",
    "<details><summary>More</summary><p>Of it.</p></details>", "<header><h2>Head</h2></header>",
    "<ul><li>One</li></ul>",
)  # fmt: skip
BARE = "A sentence that stands bare, <em>here</em> with <a href=/z>a link</a> in it."


@pytest.mark.parametrize("frame", ["article", "main", "div id=content"])
@pytest.mark.parametrize("before", BEFORE, ids=lambda html: html[1 : html.index(">")])
def test_a_sentence_that_stands_bare_beside_paragraphs_of_an_article_stays(frame, before):
    page = f"<{frame}><h1>Seeing</h1><p>{SENTENCE * 4}</p>{before}{BARE}<p>{SENTENCE * 2}</p></{frame.split()[0]}>"
    text = read_html(f"<title>Seeing</title><body>{page}</body>".encode(), name="a page").text
    assert text.count("A sentence that stands bare, here with a link in it.") == 1
    assert SENTENCE.strip() in text.partition("a link in it.")[2]  # where it stood


@pytest.mark.parametrize(
    ("bare", "stays"),
    [
        ("<div><p>x</p></div>眼睛看最重要的地方，其他的都<em>不</em>看。", "眼睛看最重要的地方，其他的都不看。"),
        (f"<div><p>x</p></div>There are <em>two</em> of them:<ul><li>{SENTENCE}</li></ul>", "There are two of them:"),
        (f"<div><p>x</p></div>{'no <em>end</em> of it ' * 8}", "no end of it no end of it"),
    ],
    ids=["no blanks", "leads to a list", "long"],
)
def test_what_else_stands_bare_beside_paragraphs_and_is_no_label_stays(bare, stays):
    page = f"<article><h1>Seeing</h1><p>{SENTENCE * 4}</p>{bare}<p>{SENTENCE * 2}</p></article>"
    assert stays in read_html(f"<body>{page}</body>".encode(), name="a page").text


LABELS = {
    "share": "<div class=share-buttons><p>Share it</p>Share this article with your friends. <a href=f>Book</a></div>",
    "share, bare": "<div><p>x</p></div>Share this page: <a href=/f>Facebook</a> <a href=/t>Twitter</a>",
    "follow": "<div><p>x</p></div>Follow the authors of this at:<ul><li><a href=/f>Facebook</a></li></ul>",
    "cookies": "<div class=cookie-banner><p>Cookies</p>We use cookies to make this better. <button>OK</button></div>",
    "consent": "<div id=cookie-consent><p>Cookies</p>We use <b>cookies</b> to make this better. </div>",
    "menu": "<nav><div><p>Menu</p>All the pages of this site are here. <a href=/>Home</a></div></nav>",
    "way": "<div><p>x</p></div>You are here: <a href=/>Home, sweet home</a> &gt; <a href=/blog>The whole blog</a>",
    "byline": "<div><p>x</p></div>By Ada Byron on 3 May in <a href=/n>News</a>",
    "advertisement": "<div><p>x</p></div>Advertisement",
    "letter": "<form><div><p>Letter</p>Subscribe to our letter to get the <b>best</b> of it.</div></form>",
    "foot": "<footer><div><p>Foot</p>Copyright by the <b>people</b> of the site. All rights reserved.</div></footer>",
    "aside": "<aside><div><p>Ad</p>Buy this <b>wonderful</b> thing today.</div></aside>",
}


@pytest.mark.parametrize("what", sorted(LABELS))
@pytest.mark.parametrize("within", [True, False])
def test_labels_menus_and_banners_do_not_come_in_by_that(what, within):
    junk = LABELS[what]
    inner = f"<h1>Seeing</h1><p>{SENTENCE * 4}</p>{junk if within else ''}<p>Then: {SENTENCE * 4}</p>"
    page = f"<body>{'' if within else junk}<article>{inner}</article></body>"
    text = read_html(page.encode(), name="a page").text
    said = ("Share this", "Follow the", "We use", "All the", "You are", "By Ada", "Advert", "Subscribe", "Copy", "Buy")
    assert [words for words in said if words in text] == []
    assert text.count(SENTENCE.strip()) == 8


def test_nor_is_a_line_of_a_letter_that_was_typed():
    letter = "Dear Ada,\nthank you for the eyes\n# they came on Monday\nand are well kept\nYours\nBabbage"
    text = manual(f"<h1>Letters</h1><p>{SENTENCE * 5}</p><pre>{letter}</pre><p>{SENTENCE}</p>")
    assert [line for line in text.split("\n") if line.startswith("# ")] == ["# Letters"]
    assert "they came on Monday\nand are well kept" in text


def test_a_table_that_is_set_in_as_a_quotation_keeps_its_rows():
    rows = "<tr><th>Sign</th><th>Meaning</th></tr><tr><td>%d</td><td>day of month</td></tr>"
    text = manual(f"<p>{SENTENCE * 5}</p><blockquote><table>{rows}</table></blockquote><p>{SENTENCE}</p>")
    assert "| Sign | Meaning |\n|---|---|\n| %d | day of month |" in text


def test_a_quotation_of_prose_stays_one():
    said = "Sight is the sharpest of the senses, he said, and then the light went out."
    assert said in manual(f"<article><p>{SENTENCE * 5}</p><blockquote><p>{said}</p></blockquote></article>")
