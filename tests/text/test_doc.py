"""Word documents of 97 to 2003: what is read of them, and that damaged ones end in an error that says so.

book.doc and bread.doc are made by us, with LibreOffice; Word's own files were tried by hand.
"""

import io
import random
import struct
from pathlib import Path

import olefile
import pytest
from docx import Document as NewDocument

from foveal.errors import UnreadableSource
from foveal.text import doc, doc_pieces
from foveal.text.doc import read_doc
from foveal.text.doc_pieces import Longer, Word, places_in, sprms_in
from foveal.text.loading import read_document
from foveal.text.ole import opened_ole
from foveal.text.word_lists import Level

HERE = Path(__file__).parent
BOOK, BREAD = (HERE / "book.doc").read_bytes(), (HERE / "bread.doc").read_bytes()
TEXT = """\
# The mill’s book

# Water

The river rose by eleven feet[^1] in May: größer als je, 水車小屋, 😀 10 m². See the letter.

## Rules of the house

1. The key hangs behind the clock.

(a) Nobody takes it at night.

(b) It is oiled in spring.

2. Bread is for who comes in rain.

- one sack

- two sacks

| Year | Sacks | Keeper |
|---|---|---|
| 1801 | 210 and more | Vale |
| 1802 | rye · 7 | none |

After the table[^2], all is told.

[^1]: Measured at the bridge of Orsin.

[^2]: An endnote of the heirs.

In a box: keep dry."""


def changed(tmp_path: Path, content: bytes, name: str, change) -> bytes:
    """A file with one of the files within it changed; its length stays."""
    path = tmp_path / "changed.doc"
    path.write_bytes(content)
    with olefile.OleFileIO(str(path), write_mode=True) as file:
        whole = bytearray(file.openstream(name).read())
        change(whole)
        file.write_stream(name, bytes(whole))
    return path.read_bytes()


def said_by(content: bytes) -> str:
    """What a file says; "" where it is refused."""
    try:
        return read_doc(content, name="a.doc").text
    except UnreadableSource:
        return ""


def test_a_document_as_markdown():
    """Its hidden and its deleted words are not there."""
    found = read_doc(BOOK, name="book.doc")
    assert found.text == TEXT
    assert (found.title, found.author, found.created) == ("The mill's book", "Ada Vale", "2003-05-04T10:20:30")


def test_text_in_one_byte_a_character(tmp_path):
    said = "Bread\rFür alle: “free” — at 5 €.\r"

    def pack(content: bytearray) -> None:
        packed = said.encode("cp1252")
        content[2048 : 2048 + len(packed)] = packed

    def point(table: bytearray) -> None:
        place = clx + 5 + 8 + 2  # behind its head, two places, and two bytes of the piece
        assert table[place : place + 4] == struct.pack("<I", 2048)
        table[place : place + 4] = struct.pack("<I", 4096 | 0x4000_0000)

    with opened_ole(BREAD, "bread.doc") as file:
        word = Word.of(file, "bread.doc")
        assert word.pieces == [(0, len(said), 2048, 2)]
        (clx,) = struct.unpack_from("<I", word.content, doc_pieces.PIECES)
    file = changed(tmp_path, changed(tmp_path, BREAD, "WordDocument", pack), "1Table", point)
    with opened_ole(file, "bread.doc") as opened:
        assert Word.of(opened, "bread.doc").text(0, 33) == said


def test_locked_older_and_other_files(tmp_path):
    locked = changed(tmp_path, BREAD, "WordDocument", lambda whole: whole.__setitem__(0x0B, whole[0x0B] | 1))
    older = changed(tmp_path, BREAD, "WordDocument", lambda whole: whole.__setitem__(slice(2, 4), b"\x65\x00"))
    with pytest.raises(UnreadableSource, match="is locked by a password"):
        read_doc(locked, name="a.doc")
    with pytest.raises(UnreadableSource, match=r"is of Word 95 or older, which is not read. Save it as .docx"):
        read_doc(older, name="a.doc")
    with pytest.raises(UnreadableSource, match="does not begin as a file of Office"):
        read_doc(b"The mill.", name="a.doc")


@pytest.mark.parametrize("content", [BOOK, BREAD])
def test_damaged_files_are_read_or_refused(content):
    drawn = random.Random(7)
    for _ in range(150):
        damaged = bytearray(content)
        for _ in range(drawn.randint(1, 40)):
            damaged[drawn.randrange(512, len(damaged))] = drawn.randrange(256)
        assert len(said_by(bytes(damaged))) < 2 * len(content)
    for length in (0, 8, 511, 600, 2048):
        assert said_by(content[:length]) == ""
    for length in range(2560, len(content), 512):
        said_by(content[:length])


def test_sprms_of_each_length():
    listed = b"".join(
        (
            b"\x16\x24\x01",  # one byte
            b"\x0b\x46\x02\x01",  # two
            b"\x09\x6a\x01\x02\x03\x04",  # four
            b"\x15\xc6\x02\xaa\xbb",  # tells its length
            b"\x08\xd6\x03\x00\xcc\xdd",  # tells it in two bytes, one too many
            b"\x15\xc6\xff\x01\x01\x02\x03\x04\x01\x05\x06\x07",  # changes of tabs, too many for one byte
            b"\x40\x26\x00",
        )
    )
    found = sprms_in(listed)
    assert (found[0x2416], found[0x460B], found[0x2640]) == (b"\x01", b"\x02\x01", b"\x00")
    assert sprms_in(b"\x46\x66\x02\x00\x00\x00", Longer(b"\0\0\x03\x00\x16\x24\x01")) == {
        0x2416: b"\x01"
    }  # lies elsewhere


def test_places_and_what_belongs_to_them():
    assert places_in(struct.pack("<3I2H", 1, 5, 9, 7, 8), 2) == ([1, 5, 9], [b"\x07\x00", b"\x08\x00"])
    assert places_in(b"", 4) == ([], [])


def test_pieces_that_claim_more_than_the_file_are_cut():
    entry = struct.pack("<HIH", 0, 2048, 0)
    listed = b"\x02" + struct.pack("<I", 28) + struct.pack("<3I", 0, 4_000_000_000, 4_100_000_000) + entry * 2
    first, second = doc_pieces._pieces(listed, 10_000)
    assert first == (0, (10_000 - 2048) // 2, 2048, 2)
    assert second == (4_000_000_000, 4_000_000_000 + 2048 // 2, 2048, 2)  # as many bytes as the file has, in all


@pytest.mark.parametrize("name", ["book.doc", "book.dot"])
def test_a_document_is_loaded(tmp_path, name):
    (tmp_path / name).write_bytes(BOOK)
    document = read_document(str(tmp_path / name))
    assert (document.text, document.title) == (TEXT, "The mill's book")
    assert (document.metadata["kind"], document.metadata["author"]) == ("doc", "Ada Vale")


def test_what_only_has_the_name_of_an_old_document_is_read_as_what_it_is(tmp_path):
    new = NewDocument()
    new.add_heading("Bread", 1)
    new.save(packed := io.BytesIO())
    files = {
        "docx": packed.getvalue(),
        "rtf": rb"{\rtf1\ansi Bread is free.\par}",
        "html": b"<!DOCTYPE html><html><body><p>Bread is free for all who come in rain.</p></body></html>",
        "text": b"Bread is free.\n",
    }
    for kind, content in files.items():
        path = tmp_path / f"{kind}.doc"
        path.write_bytes(content)
        document = read_document(str(path))
        assert document.metadata["kind"] == kind
        assert "Bread" in document.text
    (tmp_path / "old.docx").write_bytes(BOOK)
    assert read_document(str(tmp_path / "old.docx")).text == TEXT


def test_a_list_that_begins_anew_or_counts_on():
    uses = [struct.pack("<iIIBBH", 5, 0, 0, begins, 0, 0) for begins in (0, 1, 0)]
    told = [b"\xff" * 4, b"\xff" * 4 + struct.pack("<iI", 1, 0x10), b"\xff" * 4]
    numbers, listed = doc._used(struct.pack("<I", 3) + b"".join([*uses, *told]), {"5": {0: Level("decimal", "%1.", 1)}})
    assert [numbers.label((listed[use], 0)) for use in (0, 0, 1, 1, 0, 2)] == ["1.", "2.", "1.", "2.", "3.", "4."]


def test_a_new_page_within_a_paragraph_does_not_end_it():
    cut = BOOK.replace("is oiled".encode("utf-16-le"), "is\x0coiled".encode("utf-16-le"))
    assert cut != BOOK
    assert said_by(cut) == TEXT.replace("is oiled", "is\noiled")


def test_what_each_paragraph_names_anew_is_read_some_times_only():
    longer = Longer(struct.pack("<H", 6) + b"\x16\x24\x01" * 2)
    assert [bool(longer.at(0)) for _ in range(8)] == [True] * 5 + [False] * 3


def test_a_file_within_that_says_to_be_longer_than_the_file_is_refused():
    place = BOOK.index("WordDocument".encode("utf-16-le")) + 120
    with pytest.raises(UnreadableSource, match="longer than it is itself"):
        read_doc(BOOK[:place] + struct.pack("<I", 1 << 30) + BOOK[place + 4 :], name="a.doc")


def test_letters_below_how_they_are_read():
    told = ' EQ \\* jc3 \\* "Font:Ming" \\* hps12 \\o\\al(\\s\\up 11(かんじ),漢字)'
    assert doc._RUBY.fullmatch(told)[1] == "漢字"


def test_a_box_of_a_form():
    head = bytes(68) + b"\xff" * 4
    states = (0b101, 0b001, 25 << 2 | 1, 0b100)
    forms = [head + struct.pack("<HHHHHH", state, 0, 0, 0, 0, 1) for state in states]
    assert [doc._box(form, 0) for form in forms] == ["☒", "☐", "☒", ""]


def test_behind_a_field_that_does_not_end_the_text_goes_on(monkeypatch):
    monkeypatch.setattr(doc, "LONGEST_FIELD", 30)
    torn = BOOK.replace("The river".encode("utf-16-le"), "The\x13river".encode("utf-16-le"))
    assert torn != BOOK
    assert said_by(torn).startswith("# The mill’s book\n\n# Water\n\nThe\n\n## Rules of the house\n\n1. The key")
