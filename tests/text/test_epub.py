"""Books: all chapters in their order, with headings; what cannot be read says why."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from text.books import epub

from foveal.errors import UnreadableSource
from foveal.text.archives import opened
from foveal.text.epub import read_epub
from foveal.text.loading import LoadSettings, read_document

PAGES = {
    "nav.xhtml": "<nav><ol><li><a href='one.xhtml'>One</a></li></ol></nav>",
    "two words.xhtml": "<h1>Rods</h1><p>They see at <i>night</i>.</p><pre>a\n\nb</pre>",
    "one.xhtml": "<h1>Cones</h1><aside>Seen by day.</aside><h2>Red</h2><ol start='3'><li>third</li></ol>",
    "left.xhtml": "<p>In no order.</p>",
}
ORDER = ["nav.xhtml", "one.xhtml", "two words.xhtml", "one.xhtml"]


def read(content, **given):
    return read_epub(content, name="a.epub", **{"max_bytes": 10**6, **given})


def test_chapters_are_read_in_their_order_each_once(tmp_path):
    (tmp_path / "a.epub").write_bytes(epub(PAGES, spine=ORDER))
    found = read_document(tmp_path / "a.epub")
    lines = [line for line in found.text.split("\n") if line]
    assert lines == [
        "# Cones", "Seen by day.", "## Red", "3. third", "# Rods", "They see at night.", "```", "a", "b", "```",
    ]  # fmt: skip
    assert (found.title, found.metadata["author"], found.metadata["kind"]) == ("Of eyes", "Ada", "epub")
    assert found.published_at == datetime(2001, 2, 3, tzinfo=UTC)


def test_each_chapter_is_told():
    told = list[tuple[int, int]]()
    pages = {"a.xhtml": "<p>One.</p>", "empty.xhtml": "", "b.xhtml": "<p>Two.</p>"}
    read(epub(pages), on_chapter=lambda done, of: told.append((done, of)))
    assert told == [(1, 3), (2, 3), (3, 3)]


def test_a_book_that_says_little_of_itself_and_one_of_two_authors():
    book = read(epub({"a.xhtml": "<p>Words.</p>"}, metadata=""))
    assert (book.text, book.title, book.author, book.published_at) == ("Words.", None, None, None)
    two = "<dc:creator>Ada</dc:creator><dc:creator> Bob\n Hart</dc:creator><dc:creator>Ada</dc:creator>"
    assert read(epub({"a.xhtml": "<p>Words.</p>"}, metadata=two)).author == "Ada; Bob Hart"


LOCK = "<encryption><EncryptedData><CipherReference URI='OEBPS/{}'/></EncryptedData></encryption>"


def test_chapters_that_are_not_there_as_they_are_listed(caplog):
    content = epub({"a.xhtml": "<p>One.</p>", "b.xhtml": "<p>Two.</p>"}).replace(b"OEBPS/text/b", b"OEBPS/text/B")
    assert read(content).text == "One.\n\nTwo."  # as on the file systems that such books are made on
    assert not caplog.messages
    assert read(content.replace(b"OEBPS/text/B", b"OEBPS/text/c")).text == "One."
    [said] = caplog.messages
    assert "lacks 1 of the chapters that it lists (the first is OEBPS/text/b.xhtml)" in said


def test_code_and_tables_of_a_chapter_keep_their_columns():
    code = "<pre><code>def f():\n    if x:\n        return 1\n\n    return [```]<br/></code></pre>"
    head = "<table><caption>Sight</caption><tr><th>a|b</th><th>Of</th></tr>"
    table = f"{head}<tr><td><p>r<span>od</span></p><p>s</p></td><td/></tr></table>"
    laid = "<table><tr><td><ul><li>One</li></ul></td><td>Two</td></tr></table><table><tr><td>Alone</td></tr></table>"
    marks = "&#x205c;&#x2e17;block0&#x205c;&#x2e17; &#x205c;&#x2e17;block9&#x205c;&#x2e17;"
    found = read(epub({"a.xhtml": f"<p>See:</p>{code}<p>And {marks} so</p>{table}{laid}<pre> </pre><p>End.</p>"})).text
    assert found.split("\n\n") == [
        "See:", "````\ndef f():\n    if x:\n        return 1", "    return [```]\n````", "And   so", "Sight",
        "| a\\|b | Of |\n|---|---|\n| rod s |  |", "One", "Two", "Alone", "End.",
    ]  # fmt: skip


def test_a_locked_book_is_told_from_one_with_locked_fonts():
    pages = {"a.xhtml": "<p>Words.</p>"}
    assert read(epub(pages, others={"META-INF/encryption.xml": LOCK.format("font.otf")})).text == "Words."
    with pytest.raises(UnreadableSource, match="locked for one reader"):
        read(epub(pages, others={"META-INF/encryption.xml": LOCK.format("text/a.xhtml")}))


def test_a_book_that_unpacks_to_more_than_the_limit_is_refused(tmp_path):
    content = epub({"a.xhtml": f"<p>{'word ' * 400_000}</p>"})
    assert len(content) < 50_000
    (tmp_path / "a.epub").write_bytes(content)
    with pytest.raises(UnreadableSource, match="more than 1,000,000 bytes"):
        read_document(tmp_path / "a.epub", LoadSettings(max_bytes=10**6))


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"PK\x03\x04", "is damaged"),
        (epub(PAGES)[:-40], "is damaged"),
        (epub({"a.xhtml": ""}), "without text"),
        (epub({}), "without text"),
        (epub(PAGES, others={"META-INF/container.xml": "<container/>"}), "lacks its parts"),
        (epub(PAGES, others={"META-INF/container.xml": ""}), "container.xml is no XML"),
    ],
    ids=["zip", "cut", "blank", "empty", "package", "no-xml"],
)
def test_what_is_no_book_says_so(content, reason):
    with pytest.raises(UnreadableSource, match=reason):
        read(content)


def test_an_address_that_is_none_leads_to_no_chapter():
    package = (
        "<package><manifest><item id='a' media-type='text/html' href='//[a'/><item id='b' media-type='text/html' "
        "href='text/b.xhtml'/></manifest><spine><itemref idref='a'/><itemref idref='b'/></spine></package>"
    )
    assert read(epub({"b.xhtml": "<p>Words.</p>"}, others={"OEBPS/book.opf": package})).text == "Words."


def test_a_mistake_of_the_one_who_reads_an_archive_is_not_told_as_damage():
    with pytest.raises(ValueError, match="ours"), opened(SMALL, "a.epub", max_bytes=10**6):
        raise ValueError("ours")


def test_names_outside_of_the_archive_lead_nowhere():
    assert read(epub({"../../../../etc/passwd": "<p>Inside.</p>", "a.xhtml": "<p>Words.</p>"})).text.endswith("Words.")


@given(st.data())
def test_a_book_with_damage_anywhere_is_read_or_refused(data):
    content = bytearray(SMALL)
    for _ in range(data.draw(st.integers(1, 20))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    try:
        found = read(bytes(content))
    except UnreadableSource:
        return
    assert found.text
    assert "\0" not in found.text


SMALL = epub(PAGES, spine=ORDER)


def test_lists_keep_their_numbers_and_marks_of_notes_do_not_stick_to_words():
    book = epub(
        {
            "one.xhtml": "<ol><li>first<ul><li>a point</li><li/></ul></li><li><p>second</p><p>more</p></li></ol>"
            "<ol type='a' start='3'><li><p>third</p></li></ol>",
            "two.xhtml": "<p>In 1850<a epub:type='noteref' href='#n'>1</a> and 1851<a role='doc-noteref' href='#m'>"
            "<sup>2</sup></a> he wrote <a epub:type='noteref' href='#o'>the whole book</a> and saw"
            "<a role='doc-noteref' href='#p'>[xii]</a>.</p><dl><dt><a role='doc-backlink' href='#c'>Cone</a></dt>"
            "<dd>a cell</dd></dl><aside id='n'><p>The note. <a role='doc-backlink' href='#r'>back</a></p></aside>",
        }
    )
    found = read_epub(book, name="a.epub", max_bytes=10**6).text.split("\n\n")
    assert found == [
        "1. first",
        "- a point",
        "2. second",
        "more",
        "c. third",
        "In 1850 and 1851 he wrote the whole book and saw.",
        "Cone",
        "a cell",
        "The note.",
    ]


def test_what_begins_an_item_of_a_list():
    """No mark stands alone before a heading or code, or doubles one that was typed."""
    page = (
        "<ol><li><h2>Sight</h2><p>It sees.</p></li><li>2. typed</li><li><div><p>deep</p></div></li><li><img/></li></ol>"
        "<ul><li><ol><li><b>x</b></li></ol></li><li>• dot</li><li><pre>a  b</pre></li><li><!-- c --> </li></ul>"
        "<ol start='7'><li><p>far</p></li><li><h3>On</h3></li></ol>"
    )
    found = read_epub(epub({"one.xhtml": page}), name="a.epub", max_bytes=10**6).text.split("\n\n")
    assert found == [
        "## Sight", "It sees.", "2. typed", "3. deep", "1. x", "• dot", "```\na  b\n```", "7. far", "8. ", "### On",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("first", "second", "year"),
    [
        (("2019-01-01", "modification"), ("2001", "publication"), 2001),
        (("2019-01-01", "conversion"), ("1997-05", ""), 1997),
        (("sometime", ""), ("1851-10-18", "original-publication"), 1851),
        (("2019-01-01", "creation"), ("sometime", ""), 2019),
    ],
)
def test_of_several_dates_that_of_publication_counts(first, second, year):
    space = 'xmlns:opf="http://www.idpf.org/2007/opf"'
    said = [f'<dc:date {space} opf:event="{event}">{date}</dc:date>' for date, event in (first, second)]
    book = epub({"a.xhtml": "<p>Words.</p>"}, metadata="".join(said).replace('opf:event=""', ""))
    assert read_epub(book, name="a.epub", max_bytes=10**6).published_at.year == year
