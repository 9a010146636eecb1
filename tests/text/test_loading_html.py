"""Web pages: headings survive, furniture goes, the right encoding is found."""

import time
from contextlib import suppress
from datetime import UTC, datetime

import pytest
from lxml.html import document_fromstring

from foveal.errors import UnreadableSource
from foveal.text.html import _parser, _simplify, decode_html, read_html
from foveal.text.html_hidden import drop_hidden

SENTENCE = (
    "The fovea is the small part of the retina that sees sharply, and the eye turns it to the few places that matter. "
)
ARTICLE = f"""<!doctype html><html><head><title>The fovea - Eyes Weekly</title>
<meta name="author" content="Ada  Lovelace"><meta property="article:published_time" content="2021-03-04T10:00:00Z">
<link rel="canonical" href="https://eyes.example/fovea"></head>
<body><nav><ul><li><a href="/">Home</a></li><li><a href="/shop">Shop our glasses</a></li></ul></nav>
<article><h1>The fovea</h1><p>{SENTENCE * 2}It is <b>small</b>:
   1.5&nbsp;mm<sup>2</sup>, as H<sub>2</sub>O is wet.<sup class="reference"><a href="#note-1">[1]</a></sup></p>
<h2>What it does<span class="mw-editsection">[edit]</span></h2><p>{SENTENCE * 2}</p>
<ul><li>It sees colour.</li><li>It sees detail.</li></ul>
<h3>In code</h3><pre><code>def see(x):
    return x * 2  # _sharp_
</code></pre><p>Call <code>a\\*b</code> or f_o_o [now] *please*. {SENTENCE}</p>
<table><tr><th>Part</th><th>Size</th></tr><tr><td>fovea</td><td>1.5 mm</td></tr></table></article>
<footer><p>Copyright Eyes Weekly. All rights reserved. Cookies.</p></footer>
<script>var x = "scripted";</script></body></html>"""


def read(body, **given):
    return read_html(body.encode(), name="a page", **given)


def test_an_article_with_all_that_it_says_of_itself():
    page = read(ARTICLE)
    assert page.title == "The fovea"
    assert page.author == "Ada Lovelace"
    assert page.url == "https://eyes.example/fovea"
    assert page.published_at == datetime(2021, 3, 4, tzinfo=UTC)


def test_headings_lists_tables_and_code_survive_in_order():
    lines = read(ARTICLE).text.split("\n")
    wanted = [
        "# The fovea",
        "## What it does",
        "- It sees colour.",
        "- It sees detail.",
        "### In code",
        "| fovea | 1.5 mm |",
    ]
    assert [line for line in lines if line in wanted] == wanted
    assert "    return x * 2  # _sharp_" in lines


def test_furniture_emphasis_and_source_line_breaks_go():
    text = read(ARTICLE).text
    for gone in ("Shop our glasses", "[edit]", "[1]", "scripted", "Copyright", "**small**"):
        assert gone not in text
    assert "It is small: 1.5\xa0mm², as H₂O is wet." in text.replace(" mm", "\xa0mm")


@pytest.mark.parametrize("sentence", ["水車小屋がある。" * 20, "水車。"], ids=["long", "short"])
def test_a_word_is_not_cut_by_how_it_is_read(sentence):
    ruby = "<ruby>漢<rp>(</rp><rt>かん</rt><rp>)</rp><rb>字</rb><rt>じ</rt></ruby>"
    assert (
        f"この漢字です。{sentence}" in read(f"<body><article><p>この{ruby}です。{sentence}</p></article></body>").text
    )


@pytest.mark.parametrize("block", ["<p>{}</p>", "<ul><li>{}</li></ul>", "<h2>{}</h2>"])
def test_dates_and_quotations_stay_in_their_sentence(block):
    said = "In <time datetime='1066'><b>October</b> 1066</time> he <q>fell <i>at</i> once</q>, they said."
    inside = f"<p>{SENTENCE * 2}</p>{block.format(said)}<p>{SENTENCE * 2}</p>"
    page = read(f"<body><article>{inside}</article></body>")
    assert "In October 1066 he “fell at once”, they said." in page.text


def test_prose_carries_no_backslashes_and_code_keeps_its_own():
    assert "Call `a\\*b` or f_o_o [now] *please*." in read(ARTICLE).text


@pytest.mark.parametrize("line", ["# is called hash", "* is called star", "> is called greater"])
def test_a_line_that_only_looks_like_markdown_stays_prose(line):
    text = read(f"<body><article><p>{SENTENCE * 3}</p><p>{line}</p><p>{SENTENCE * 3}</p></article></body>").text
    assert f"\n{line}" not in text
    assert line in text


@pytest.mark.parametrize(
    ("title", "heading", "expected"),
    [
        ("Sight | The Eye", "Sight", "Sight"),
        ("The Eye", "Sight", "The Eye"),
        ("", "Sight", "Sight"),
        ("", "", None),
    ],
)
def test_the_title(title, heading, expected):
    body = f"<title>{title}</title><body><h1>{heading}</h1><p>{SENTENCE}</p></body>"
    assert read(body).title == expected


@pytest.mark.parametrize(
    ("stated", "licence"),
    [
        ('<link rel="license" href="https://creativecommons.org/licenses/by-sa/4.0/">', "CC BY-SA 4.0"),
        ('<link rel="license" href="http://creativecommons.org/publicdomain/zero/1.0/">', "CC0 1.0"),
        ('<meta name="dc.rights" content="All  rights reserved">', "All rights reserved"),
        ('<link rel="license" href="https://eyes.example/terms">', "https://eyes.example/terms"),
        (
            "<p>Read the <a rel='nofollow license' href='https://creativecommons.org/licenses/by/3.0'>terms</a></p>",
            "CC BY 3.0",
        ),
        ('<link rel="License" href="https://creativecommons.org/licenses/by-nc-nd/4.0/">', "CC BY-NC-ND 4.0"),
        ('<meta name="DCTERMS.license" content="https://creativecommons.org/licenses/by/4.0">', "CC BY 4.0"),
        ('<link rel="license" href="/terms">', None),
        ("<p><a rel='license' href='/terms'>Free to copy</a></p>", "Free to copy"),
        (
            "<figure><figcaption><a rel='license' href='https://creativecommons.org/licenses/by/2.0/'>Photo</a>"
            "</figcaption></figure>",
            None,
        ),
        (
            '<link rel="license" href="http://creativecommons.org/licenses/sampling+/1.0/">',
            "http://creativecommons.org/licenses/sampling+/1.0/",
        ),
        ("", None),
    ],
)
def test_the_licence_that_a_page_states(stated, licence):
    assert read(f"<html><head>{stated}</head><body><p>{SENTENCE * 3}</p></body></html>").licence == licence


def test_a_page_without_a_date_has_none():
    assert read(f"<body><p>{SENTENCE} In 2011 and on 4 May 2012, eyes.</p></body>").published_at is None


def test_a_page_of_scraps_is_read_whole():
    text = read("<body><h2>Hours</h2><div>Mon<br>Tue</div><script>no()</script></body>").text
    assert "Hours" in text
    assert "Mon" in text
    assert "no()" not in text


@pytest.mark.parametrize(
    "body", ["<html><body></body></html>", "<body><script>draw()</script></body>", " ", "<!-- x -->"]
)
def test_a_page_without_text_is_refused(body):
    with pytest.raises(UnreadableSource):
        read(body)


def test_deep_nesting_is_read_or_refused_but_never_crashes():
    deep = "<div>" * 5000 + SENTENCE + "</div>" * 5000
    with suppress(UnreadableSource):
        assert "fovea" in read(f"<body>{deep}</body>").text


POLISH = "Zażółć gęślą jaźń"


@pytest.mark.parametrize(
    ("content", "charset"),
    [
        (POLISH.encode("utf-8-sig"), "iso-8859-1"),
        (POLISH.encode("utf-16"), None),
        (POLISH.encode("iso8859-2"), "ISO-8859-2"),
        (b'<meta charset="iso-8859-2">' + POLISH.encode("iso8859-2"), None),
        (b"<meta http-equiv=Content-Type content='text/html; charset=cp1250'>" + POLISH.encode("cp1250"), None),
        (b'<?xml version="1.0" encoding="windows-1250"?>' + POLISH.encode("cp1250"), None),
        (b'<meta charset="utf-8">' + POLISH.encode("iso8859-2"), "iso-8859-2"),
        (POLISH.encode(), "no-such-charset"),
        (b'<meta charset="ascii">' + POLISH.encode(), "utf-8"),
        (b'<meta charset="utf-16"> ' + POLISH.encode(), None),  # an even number of bytes: they would pass for Chinese
    ],
)
def test_the_encoding_of_a_page(content, charset):
    assert decode_html(content, name="a page", charset=charset).endswith(POLISH)


@pytest.mark.parametrize(
    ("content", "charset", "text"),
    [
        (b'<meta charset="utf-8">' + "“naïve”".encode() + b" caf\xe9", None, "“naïve” caf\ufffd"),  # one byte is not it
        ("“naïve”".encode() + b" caf\xe9", "utf-8", "“naïve” caf\ufffd"),
        (b'<meta charset="utf-8">' + "灯塔看守人每天晚上写下经过的船只".encode("gb18030") * 9, None, "灯塔看守人每天"),
        (b"<!-- <meta charset=utf-16> --><meta charset=cp1251>" + "Маяк".encode("cp1251"), None, "Маяк"),
    ],
)
def test_a_page_that_is_nearly_what_it_says(content, charset, text):
    assert text in decode_html(content, name="a page", charset=charset)


def test_latin1_means_windows_1252_as_in_browsers():
    assert decode_html("“5 €”".encode("cp1252"), name="a page", charset="iso-8859-1") == "“5 €”"


def test_an_xml_declaration_does_not_disturb():
    page = read(f'<?xml version="1.0" encoding="utf-8"?><html><body><p>{SENTENCE}ü</p></body></html>')
    assert page.text.endswith("ü")


def test_nul_never_reaches_the_text():
    assert "\0" not in read(f"<body><p>a\0b {SENTENCE}</p></body>", charset="utf-8").text


def test_elements_deeper_than_a_browser_keeps_cost_no_search_for_the_main_text(monkeypatch):
    monkeypatch.setattr("trafilatura.extract", lambda *_, **__: pytest.fail("trafilatura is quadratic in the depth"))
    page = read(f"<body><h1>The fovea</h1>{'<div>' * 600}<p>{SENTENCE}</p>{'</div>' * 600}<p>The end.</p></body>")
    assert page.text == f"# The fovea\n\n{SENTENCE.strip()}\n\nThe end."


@pytest.mark.parametrize("block", ["p", "pre"])
def test_a_transcript_by_words_is_one_piece_before_the_main_text_is_sought(block):
    """Each word in an element of its own: the search is quadratic in them, and took minutes for ten thousand."""
    words = "".join(f"<span class=word>word{n}</span> " for n in range(600))
    tree = document_fromstring(f"<body><{block}>{words}</{block}></body>")
    _simplify(tree)
    assert len(tree.xpath(f"//{block}//text()")) == 1
    page = read(f"<body><article><p>{SENTENCE * 2}</p><{block}>{words}</{block}></article></body>")
    assert "word0 word1 word2 " in page.text
    assert "word599" in page.text


def test_control_characters_are_spaces():
    page = read_html(
        b"<title>The\x01eye</title><p class='a\x02'>It \x0b sees, &#31;and\x01 <b>sharp\x03ly</b>\x04 so.", name="x"
    )
    assert page.title == "The eye"
    assert page.text == "It sees, and sharp ly so."
    for name in (b"{foo", b"{}", b"a\x01b"):  # attributes that no tree takes
        assert read_html(b"<p " + name + b"='\x02'>It sees well.", name="x").text == "It sees well."


def in_article(part, style="", heading=""):
    """What a page says that holds `part` among sentences."""
    styled = f"<style>{style}</style>" if style else ""
    body = f"<article>{heading or '<h1>The fovea</h1>'}<p>{SENTENCE * 3}</p>{part}<p>So {SENTENCE * 3}</p></article>"
    return read(f"<html><head><title>The fovea</title>{styled}</head><body>{body}</body></html>").text


@pytest.mark.parametrize(
    ("marks", "style"),
    [
        ("style='color: red; DISPLAY : none !important'", ""),
        ("style='visibility:hidden'", ""),
        ("hidden", ""),
        ("class='x y'", ".x { color: red; display: none }"),
        ("class='x'", "@media screen, print { p.x, .z { display: none; } }"),
        ("class='x' style='display: block'", ".x { display: none !important }"),
        ("class='x'", "/* .x { } */ article > .x { visibility: collapse }"),
        ("class='x'", "h1 ~ .z { display: block } article .x { display: none }"),
        ("class='x'", ".x { display: block } p.x { display: none } .x { display: block }"),
        ("class='a:x'", r".a\:x { content: '}'; background: url(data:x;}); display: none }"),
    ],
)
def test_what_a_browser_hides_is_not_read(marks, style):
    text = in_article(f"<p {marks}>Nobody sees this sentence, whatever it says of the eye.</p>", style)
    assert "Nobody" not in text
    assert text.count("fovea is the small part") == 6


@pytest.mark.parametrize(
    ("marks", "style"),
    [
        ("aria-hidden='true'", ""),
        ("style='overflow: hidden'", ""),
        ("hidden='until-found'", ""),
        ("hidden class='x'", ".x { display: block }"),
        ("class='x'", "@media print { .x { display: none } } @keyframes k { from { display: none } }"),
        ("class='x'", "@media (max-width: 500px) { .x { display: none } }"),
        ("class='x'", ".x { display: none } @media (min-width: 500px) { .x { display: block } }"),
        ("class='x'", ".x { display: none } .x:first-of-type { display: block }"),
        ("class='x'", ".x:hover { display: none } .x::before { display: none } .z .x { display: none }"),
        ("class='x'", "@media (min-width: 1px) { .x:is(p, q) { display: none } } /* .x { display: none }"),
        ("class='x no-js'", ".no-js.x { display: none }"),
        ("id='x'", ".x, p { display: none } #x { display: block }"),
    ],
)
def test_what_a_browser_shows_or_may_show_is_read(marks, style):
    text = in_article(f"<p {marks}>Everybody sees this sentence, whatever it says of the eye.</p>", style)
    assert "Everybody sees this" in text


def test_what_is_visible_within_the_invisible_is_read_and_words_behind_the_hidden_stay():
    part = (
        "<div style='visibility: hidden'>Unseen words. <p style='visibility: visible'>These words are seen.</p></div>"
    )
    text = in_article(
        f"{part}<p>One<span hidden>SECRET</span>word and <b class='x'>no</b>thing.</p>", ".x{display:none}"
    )
    assert "These words are seen." in text
    assert "Oneword and thing." in text
    assert "Unseen" not in text


def test_a_page_that_a_script_will_show_is_read():
    body = f"<body style='display:none'><div hidden><h1>The fovea</h1><p>{SENTENCE}</p></div></body>"
    assert SENTENCE.strip() in read(f"<style>body, p {{ visibility: hidden }}</style>{body}").text


def test_a_hidden_title_is_none():
    hidden = "<h1 style='display:none'>Home of eyes</h1><h1>The fovea</h1>"
    assert in_article("", heading=hidden).startswith("# The fovea\n")
    assert read(f"<body><svg><title>An icon</title></svg><h1>The fovea</h1><p>{SENTENCE}</p>").title == "The fovea"


def test_rules_without_end_cost_no_time():
    rules = "".join(f".x.y{n}{{display:none}}" for n in range(5000)) + "[" * 100_000 + "{}"
    paragraphs = "".join(f"<p class='x z{n}'>{SENTENCE}</p>" for n in range(3000))
    page = f"<style>{'div ' * 1500}p {{display:none}} {rules}</style><body>{'<div>' * 1500}{paragraphs}"
    tree = document_fromstring(page, parser=_parser())
    begun = time.process_time()
    drop_hidden(tree)
    assert time.process_time() - begun < 10  # without its limits, minutes
    assert tree.text_content().count(SENTENCE) == 3000


@pytest.mark.parametrize("inside", ["<!-- -->", "<!-- a comment -->", "<?php echo 1 ?>", "<![CDATA[ x ]]>"])
def test_words_behind_a_comment_stay(inside):
    assert "There are 3 items in it." in in_article(f"<p>There are {inside}3{inside} items in it.</p>")


def test_a_section_named_by_its_heading_is_read():
    for name in ("related-work", "sharing-memory", "footer"):
        words = name.replace("-", " ").capitalize()
        heading = f"<h2>2.1 {words}<a class='headerlink' href='#{name}'>¶</a></h2>"
        text = in_article(f"<section id='{name}'>{heading}<p>Others have seen this before.</p></section>")
        assert f"## 2.1 {words}\n\nOthers have seen" in text
    assert "## Navigation" in in_article(
        "<h2><span class='mw-headline' id='Navigation'>Navigation</span></h2><p>By eye."
    )
    assert "Buy" not in in_article("<section id='related'><h2>Related offers</h2><p>Buy our glasses.</p></section>")


def test_captions_code_and_quotations_in_figures_and_lists_in_cells_are_read():
    text = in_article(
        "<figure><img src='a.png'><figcaption>Figure 1: the retina.</figcaption></figure>"
        "<figure class='highlight'><pre>see(x)</pre></figure>"
        "<figure><blockquote>I see.</blockquote><figcaption>Ada</figcaption></figure>"
        "<table><tr><th>Part</th><th>Cells</th></tr><tr><td>fovea</td>"
        "<td>both:<ul><li>cones<ol><li>red</li></ol></li><li>rods</li></ul></td></tr></table>"
    )
    for words in ("Figure 1: the retina.", "see(x)", "I see.", "Ada", "| fovea | both: cones red rods |"):
        assert words in text


def test_a_short_page_is_not_cut_at_its_links_and_its_heading_is_there_once():
    words = "<h1>Opening</h1><p>We open at <a href='/x'>nine</a>, and on <span>Sundays</span> at ten.</p>"
    menu, end = "<nav><a href='/'>Home</a><a href='/a'>About</a></nav>", "<footer>© Imprint</footer>"
    page = f"<html><body>{menu}{words}<ul><li>No dogs</li></ul>{end}</body></html>"
    assert read_html(page.encode(), name="a.html").text == (
        "# Opening\n\nWe open at nine, and on Sundays at ten.\n\n- No dogs"
    )
    assert read_html(f"<html><body>{menu}</body></html>".encode(), name="a.html").text == "Home About"


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ("<h1>Manual</h1><nav><a href='/a'>Install</a><a href='/b'>Use</a></nav>", "# Manual\n\nInstall Use"),
        ("<nav><nav><a href='/a'>Use</a></nav></nav><p>See <a href='/b'>all</a>.</p>", "See all."),
        ("<p><span>O</span><span>nce there <a href='/a'>was</a> 東</span><span>京</span>.</p>", "Once there was 東京."),
    ],
)
def test_a_page_of_contents_is_kept_and_words_are_not_cut(body, text):
    assert read_html(f"<html><body>{body}</body></html>".encode(), name="a.html").text == text


@pytest.mark.parametrize(
    ("formula", "written"),
    [
        ("<mi>E</mi><mo>=</mo><mi>m</mi><msup><mi>c</mi><mn>2</mn></msup>", "E=mc^2"),
        ("<mfrac><mrow><mi>a</mi><mo>+</mo><mi>b</mi></mrow><msub><mi>c</mi><mi>i</mi></msub></mfrac>", "(a+b)/(c_i)"),
        ("<mtable><mtr><mtd>1</mtd><mtd>2</mtd></mtr><mtr><mtd>3</mtd><mtd>4</mtd></mtr></mtable>", "1, 2; 3, 4"),
        ("<mtable><mtr><mtd>x</mtd><mtd>=1</mtd></mtr><mtr><mtd>y</mtd><mtd>≤2</mtd></mtr></mtable>", "x=1; y≤2"),
        ("<msup><mfenced><mi>x</mi><mi>y</mi></mfenced><mn>2</mn></msup>", "(x,y)^2"),
        ("<msqrt>\n<mi>x</mi>\n</msqrt>", "√(x)"),
        ("<mn>2</mn><msqrt><mi>x</mi><mo>+</mo><mn>1</mn></msqrt>", "2√(x+1)"),
        ("<mroot><mrow><mi>x</mi><mn>1</mn></mrow><mn>3</mn></mroot>", "√[3](x1)"),
        ("<mi>f</mi><mfenced><mi>x</mi><mi>y</mi></mfenced>", "f(x,y)"),
        ("<mfenced open='[' close=')' separators=';'><mn>0</mn><mn>1</mn></mfenced>", "[0;1)"),
        ("<msup><msqrt><mi>x</mi></msqrt><mn>3</mn></msup>", "√(x)^3"),
        ("<semantics><mi>x</mi><annotation encoding='application/x-tex'>x^{2}</annotation></semantics>", "$x^{2}$"),
    ],
)
def test_formulas_are_read(formula, written):
    hidden = f"<span style='display: none'><math>{formula}</math></span><img src='formula.svg'>"
    for part in (f"<math>{formula}</math>", hidden):
        assert f"We see {written} here." in in_article(f"<p>We see {part} here.</p>")
