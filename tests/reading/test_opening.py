"""What a person names, opened: paths, pages, arXiv ids, standard input, and files too large to hold."""

from __future__ import annotations

import codecs
import gzip
import io
import sys
from dataclasses import replace

import pytest
from servers import dead_url, page, serving
from text.test_arxiv import entry, feed

from foveal.errors import FetchFailed, InputError, UnreadableSource
from foveal.reading.opening import opened
from foveal.reading.sources import DocumentText, FileText, text_of
from foveal.text.arxiv import ArxivSettings
from foveal.text.fetching import FetchSettings
from foveal.text.loading import LoadSettings
from foveal.types import Document, document_id

SMALL = LoadSettings(max_bytes=1000)
LINE = "The mill stood by the river.\n"


@pytest.fixture
def local(tmp_path) -> LoadSettings:
    """Settings that reach a server on this machine."""
    return LoadSettings(fetch=FetchSettings(allow_private=True, timeout_s=5, backoff_s=0.01, cache=tmp_path / "cache"))


def whole(text) -> str:
    return "".join(text.blocks())


def given(monkeypatch, data: bytes) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))


def test_a_file_is_the_document_that_add_would_store(tmp_path):
    (tmp_path / "a.md").write_bytes(b"\xef\xbb\xbf# The mill\r\n\r\nIt stood.\r\n")
    text = opened(str(tmp_path / "a.md"))
    assert (whole(text), text.title) == ("# The mill\r\n\r\nIt stood.\r\n", "The mill")
    assert text.document_id == document_id((tmp_path / "a.md").resolve().as_uri())


def test_standard_input(monkeypatch):
    given(monkeypatch, "Die Mühle.\r\n".encode())
    text = opened("-")
    assert (whole(text), text.title) == ("Die Mühle.\r\n", "Standard input")


def test_standard_input_in_another_encoding(monkeypatch):
    given(monkeypatch, "水車小屋".encode("shift_jis"))
    assert whole(opened("-", encoding="shift_jis")) == "水車小屋"


@pytest.mark.parametrize(("data", "said"), [(b"", "empty or blank"), (b" \n", "empty or blank"), (b"a\0b", "NUL")])
def test_standard_input_without_text(monkeypatch, data, said):
    given(monkeypatch, data)
    with pytest.raises(UnreadableSource, match=said):
        opened("-")


def test_a_file_without_text_says_what_to_do(tmp_path):
    (tmp_path / "a.txt").write_text(" \n")
    with pytest.raises(UnreadableSource, match=r"a\.txt holds no text: it is empty or blank\. Name a file with text"):
        FileText(tmp_path / "a.txt")


def test_standard_input_without_end_is_refused(monkeypatch):
    given(monkeypatch, b"x" * 1001)
    with pytest.raises(UnreadableSource, match="Standard input holds more than 1,000 bytes"):
        opened("-", SMALL)


def test_a_page(local):
    article = "<title>Mills</title><article><p>The keeper of the mill is Orsin Vale, who came in March.</p></article>"
    with serving({"/mills": page(article)}) as server:
        text = opened(server.url("/mills"), local)
        assert "The keeper of the mill is Orsin Vale" in whole(text)
        assert (text.title, text.url) == ("Mills", server.url("/mills"))


def test_a_page_that_is_not_there(local):
    with serving({}) as server, pytest.raises(FetchFailed, match="404"):
        opened(server.url("/gone"), local)
    with pytest.raises(FetchFailed):
        opened(dead_url(), local)


@pytest.mark.parametrize("source", ["arxiv:2101.00001", "arXiv: 2101.00001", "https://arxiv.org/abs/2101.00001"])
def test_an_arxiv_id(local, source):
    with serving({"/api": page(feed(entry()), "application/atom+xml")}) as server:
        arxiv = ArxivSettings(base_url=server.url("/api"), full_text=False, interval_s=0)
        text = opened(source, replace(local, arxiv=arxiv))
        assert text.document_id == document_id("arxiv:2101.00001")
        assert "in the fovea" in whole(text)


def test_a_text_above_the_limit_is_read_as_it_goes(tmp_path):
    (tmp_path / "log.txt").write_text(LINE * 100)
    text = opened(tmp_path / "log.txt", SMALL)
    assert isinstance(text, FileText)
    assert whole(text) == LINE * 100
    assert (text.characters, text.title, text.url, text.page(3)) == (len(LINE) * 100, "log", None, None)
    assert isinstance(opened(tmp_path / "log.txt"), DocumentText)


def test_other_kinds_above_the_limit_are_refused(tmp_path):
    (tmp_path / "a.html").write_text(f"<p>{LINE * 100}</p>")
    (tmp_path / "a.txt.gz").write_bytes(gzip.compress(bytes(range(32, 127)) * 100))
    for name in ("a.html", "a.txt.gz"):
        with pytest.raises(UnreadableSource, match=r"at most 1,000|more than 1,000"):
            opened(tmp_path / name, SMALL)


ENCODED = {
    "utf-8": "Die Mühle – 水車。\r\n".encode(),
    "utf-8 with its mark": codecs.BOM_UTF8 + "Die Mühle.\r\n".encode(),
    "utf-16": "Die Mühle. 👩‍👧\r\n".encode("utf-16"),
    "utf-8 with stray bytes": ("Die Mühle über dem Fluß. " * 9).encode() + b"\xff\n",
}


@pytest.mark.parametrize("kind", ENCODED)
def test_a_large_file_reads_as_a_small_one(tmp_path, kind):
    (tmp_path / "a.txt").write_bytes(ENCODED[kind] if kind == "utf-16" else ENCODED[kind] * 20)
    assert whole(FileText(tmp_path / "a.txt")) == whole(opened(tmp_path / "a.txt"))


@pytest.mark.parametrize("cut", range(2**17 - 4, 2**17 + 4))
def test_a_character_across_the_end_of_the_sample_is_no_stray(tmp_path, cut):
    (tmp_path / "a.txt").write_bytes(b"x" * cut + "水車".encode() + b"y" * 50)
    assert whole(FileText(tmp_path / "a.txt")) == "x" * cut + "水車" + "y" * 50


@pytest.mark.parametrize("encoding", ["cp1252", "gb18030", "utf-16-le", "utf-32"])
def test_a_large_file_in_an_encoding_that_cannot_be_told_is_refused_until_it_is_named(tmp_path, encoding):
    line = "水車小屋がある。\r\n" if encoding != "cp1252" else "Die Mühle über dem Fluß.\r\n"
    (tmp_path / "a.txt").write_bytes((line * 99).encode(encoding))
    with pytest.raises(UnreadableSource, match=r"--encoding|NUL"):
        FileText(tmp_path / "a.txt")
    text = opened(tmp_path / "a.txt", SMALL, encoding=encoding)
    assert isinstance(text, FileText)
    assert whole(text) == line * 99


@pytest.mark.parametrize("data", [b"", b" \r\n\t" * 9, bytes(range(256)) * 9, b"%PDF-1.4\n" + b"\xff\0" * 99])
def test_a_large_file_without_text_is_refused(tmp_path, data):
    (tmp_path / "a.txt").write_bytes(data)
    with pytest.raises(UnreadableSource, match=r"a\.txt"):
        FileText(tmp_path / "a.txt")


def test_the_revision_of_a_large_file_changes_with_it(tmp_path):
    (tmp_path / "a.txt").write_text(LINE)
    before = FileText(tmp_path / "a.txt").revision
    assert FileText(tmp_path / "a.txt").revision == before
    (tmp_path / "a.txt").write_text(LINE + ".")
    assert FileText(tmp_path / "a.txt").revision != before


@pytest.mark.parametrize("kind", ENCODED)
def test_the_revision_of_a_large_file_is_that_of_its_text(tmp_path, kind):
    (tmp_path / "a.txt").write_bytes(ENCODED[kind] * 99)
    large, small = FileText(tmp_path / "a.txt"), opened(tmp_path / "a.txt")
    assert large.revision == small.revision
    assert FileText(tmp_path / "a.txt", "cp437").revision != large.revision  # no state of one goes on in the other


def test_a_file_that_goes_away_while_it_is_read(tmp_path):
    (tmp_path / "a.txt").write_text(LINE)
    text = FileText(tmp_path / "a.txt")
    (tmp_path / "a.txt").unlink()
    with pytest.raises(UnreadableSource, match="cannot be read any further"):
        whole(text)


def test_an_encoding_that_was_named_holds(tmp_path):
    (tmp_path / "a.txt").write_bytes("Die Mühle".encode("cp1252"))
    assert whole(opened(tmp_path / "a.txt", encoding="cp1252")) == "Die Mühle"
    assert whole(opened(tmp_path / "a.txt", encoding="cp1251")) == "Die Mьhle"


@pytest.mark.parametrize(
    ("encoding", "error", "said"),
    [
        ("ebcdick", InputError, "No encoding is called 'ebcdick'"),
        ("rot13", InputError, "No encoding is called 'rot13'"),
        ("utf-8", UnreadableSource, "is not utf-8: byte 5"),
        ("undefined", UnreadableSource, "undefined"),
        ("idna", UnreadableSource, "idna"),
    ],
)
@pytest.mark.parametrize("settings", [LoadSettings(), LoadSettings(max_bytes=5)])
def test_an_encoding_that_does_not_fit(tmp_path, encoding, error, said, settings):
    (tmp_path / "a.txt").write_bytes("Die Mühle".encode("cp1252"))
    if encoding == "utf-8" and settings.max_bytes == 5:
        assert whole(opened(tmp_path / "a.txt", settings, encoding=encoding)) == "Die M\ufffdhle"
        return
    with pytest.raises(error, match=said):
        opened(tmp_path / "a.txt", settings, encoding=encoding)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-16-le"])
@pytest.mark.parametrize("settings", [LoadSettings(), LoadSettings(max_bytes=5)], ids=["small", "large"])
def test_the_mark_of_an_encoding_that_was_named_is_no_part_of_the_text(tmp_path, encoding, settings):
    data = LINE.encode(encoding)
    mark = codecs.BOM_UTF8 if encoding == "utf-8" else codecs.BOM_UTF16_LE
    (tmp_path / "a.txt").write_bytes(mark + data.removeprefix(codecs.BOM_UTF16_LE))
    assert whole(opened(tmp_path / "a.txt", settings, encoding=encoding)) == LINE


def test_a_large_file_in_utf16_without_its_mark_is_refused_by_name(tmp_path):
    (tmp_path / "a.txt").write_bytes(LINE.encode("utf-16-le"))
    with pytest.raises(UnreadableSource, match="utf-16-le"):
        whole(opened(tmp_path / "a.txt", LoadSettings(max_bytes=5), encoding="utf-16"))


def test_an_encoding_goes_with_a_file():
    with pytest.raises(InputError, match="no file"):
        opened("https://example.org/", encoding="utf-8")


def test_what_is_not_there_or_is_several(tmp_path):
    with pytest.raises(InputError, match="no file or folder"):
        opened(tmp_path / "nothing.txt")
    (tmp_path / "a.txt").write_text("one")
    (tmp_path / "b.txt").write_text("two")
    with pytest.raises(InputError, match="exactly one document"):
        opened(tmp_path)


def test_a_text_of_a_string_or_a_document():
    text = text_of("The mill.")
    assert (whole(text), text.characters, text.title) == ("The mill.", 9, "the text")
    assert text_of(text) is text
    document = Document.of("test:a", "One.\fTwo.", "A", url="https://example.org/a", pages=(0, 5))
    text = text_of(document)
    assert [text.page(place) for place in (0, 4, 5, 8)] == [1, 1, 2, 2]
    assert (text.url, text.revision) == (document.url, document.revision)
    for blank in ("", " \n\t"):
        with pytest.raises(InputError, match="no text to read"):
            text_of(blank)
