"""PowerPoint presentations of 97 to 2003: what is read of them, and that damaged ones end in an error that says so.

deck.ppt is made by us, with LibreOffice; PowerPoint's own files were tried by hand.
"""

import io
import random
import struct
from pathlib import Path

import olefile
import pytest
from ole_files import compound

from foveal.errors import UnreadableSource
from foveal.text.ppt import read_ppt
from foveal.text.ppt_records import OUTLINED, Edits, Record, Text, records, texts_in

DECK = (Path(__file__).parent / "deck.ppt").read_bytes()
TEXT = """\
## Slide 1: The mill’s year

Größer als je

水車小屋 😀

## Slide 2: Water

- The river rose

  - by eleven feet

  - in May

- Nobody drowned

Measured at the bridge

Notes: Tell of the flood.

## Slide 4: Bread

| Year | Sacks |
|---|---|
| 1801 | 210 |
| 1802 | 187 |"""


def parts() -> tuple[bytes, bytes]:
    """The streams of the deck: what it holds, and where its last save lies."""
    with olefile.OleFileIO(io.BytesIO(DECK)) as file:
        return file.openstream("PowerPoint Document").read(), file.openstream("Current User").read()


def read(data: bytes, current: bytes) -> str:
    return read_ppt(compound({"PowerPoint Document": data, "Current User": current}), name="deck.ppt").text


def record(kind: int, body: bytes, head: int = 0) -> bytes:
    return struct.pack("<HHI", head, kind, len(body)) + body


def test_a_deck_is_read_as_it_is_shown():
    told = read_ppt(DECK, name="deck.ppt")
    assert (told.text, told.title, told.author) == (TEXT, "The mill", "Vale")


def test_without_a_word_on_the_last_save_it_is_searched():
    data, current = parts()
    assert read(data, b"") == read(data, current[:16] + bytes([9, 9, 9, 9]) + current[20:]) == TEXT


def test_a_later_save_hides_what_it_replaces():
    data, current = parts()
    edits = Edits.of(data, current)
    slides = [number for number in edits.places if edits.record(number, 0x3EE) is not None]
    place = edits.places[slides[0]]
    old = data[place : place + 8 + int.from_bytes(data[place + 4 : place + 8], "little")]
    new = old.replace("The mill".encode("utf-16-le"), "The fire".encode("utf-16-le"))
    directory = record(0x1772, struct.pack("<II", slides[0] | 1 << 20, len(data)))
    last = _edit_place(current)
    edit = struct.pack("<IIIIIII", 0, 0, last, len(data) + len(new), edits.document, 0, 0)
    saved = data + new + directory + record(0xFF5, edit)
    now = current[:16] + struct.pack("<I", len(data) + len(new) + len(directory)) + current[20:]
    assert read(saved, now) == TEXT.replace("The mill", "The fire")


def _edit_place(current: bytes) -> int:
    return int.from_bytes(current[16:20], "little")


def test_saves_that_refer_to_one_another_in_a_ring():
    data, current = parts()
    place = _edit_place(current)
    ring = data[: place + 16] + struct.pack("<I", place) + data[place + 20 :]
    assert read(ring, current) == TEXT


def test_a_locked_deck():
    data, current = parts()
    with pytest.raises(UnreadableSource, match=r"deck.ppt is locked by a password"):
        read(data, current[:12] + struct.pack("<I", 0xF3D1C4DF) + current[16:])


def test_texts_of_the_outline_are_numbered_with_empty_ones():
    bytes_of = [
        Record(0xF9F, 0, False, bytes(4)),
        Record(0xF9F, 0, False, b"\x01\0\0\0"),
        Record(0xFA8, 0, False, b"\xe9t"),
    ]
    outline = texts_in(bytes_of)
    assert [[one.words for one in text.paragraphs] for text in outline] == [[], ["ét"]]
    left = dict(enumerate(outline))
    refers = [Record(OUTLINED, 0, False, b"\x01\0\0\0")]
    assert texts_in(refers, left) == [outline[1]]
    assert texts_in(refers, left) == []  # told once


def test_numbers_of_slides_and_dates_are_no_text():
    found = texts_in([Record(0xFA8, 0, False, b"*\rword * "), Record(0xFD8, 0, False, bytes(4))])
    assert found == [Text(4, found[0].paragraphs)]
    assert [one.words for one in found[0].paragraphs] == ["word *"]


def test_records_end_where_the_data_does():
    cut = record(0xFA8, b"word")[:-2]
    assert [one.body for one in records(record(1, b"a") + cut)] == [b"a", b"wo"]


def test_other_files():
    with pytest.raises(UnreadableSource, match="is no presentation of PowerPoint 97"):
        read_ppt(compound({"Workbook": b"x"}), name="deck.ppt")
    with pytest.raises(UnreadableSource, match="lacks the list of its slides"):
        read(bytes(100), b"")


def test_damaged_decks_are_read_or_refused():
    random_ = random.Random(7)
    for n in range(200):
        damaged = bytearray(DECK)
        for _ in range(random_.choice((1, 5, 30))):
            damaged[random_.randrange(len(damaged))] = random_.choice((0, 255, random_.randrange(256)))
        try:
            assert read_ppt(
                bytes(damaged[: random_.randrange(len(damaged)) if n % 4 == 0 else None]), name="d.ppt"
            ).text
        except UnreadableSource:
            continue
