"""Mails as Outlook saves them: made here, file by file; Outlook's own were tried by hand."""

import random
import struct
from datetime import UTC, datetime

import pytest
from ole_files import compound

from foveal.errors import UnreadableSource
from foveal.text.loading import read_document
from foveal.text.msg import CODE_PAGE, RECIPIENT_KIND, SENT, read_msg, unpacked

MAY = datetime(2004, 5, 31, 12, 0, tzinfo=UTC)
PACKED = bytes.fromhex(  # of [MS-OXRTFCP], 4.1: what it packs is a document that says "hello world"
    "2d0000002b0000004c5a4675f1c5c7a703000a007263706731323542320af32068656c090020627705b06c647d0a800fa0"
)


def short(head: int, **values: tuple[int, int]) -> bytes:
    """A list of short properties behind so many bytes: names are for people only."""
    return bytes(head) + b"".join(struct.pack("<IIq", key, 6, value) for key, value in values.values())


def ticks(moment: datetime) -> int:
    return int((moment - datetime(1601, 1, 1, tzinfo=UTC)).total_seconds()) * 10**7


def texts(place: str = "", **properties: str) -> dict[str, bytes]:
    """Properties that are texts, as p0037="…"."""
    return {f"{place}__substg1.0_{name[1:]}001F": text.encode("utf-16-le") for name, text in properties.items()}


def mail() -> dict[str, bytes]:
    return {
        "__properties_version1.0": short(32, sent=(SENT, ticks(MAY))),
        **texts(p0037="Water  in the mill", p1000="The river rose.\r\nAll are well. 水車\r\n"),
        **texts(p0C1A="Ada Vale", p0C1F="/O=MILL/CN=ADA", p5D01="ada@mill.example"),
        **recipient(0, 1, "Bo", "bo@mill.example"),
        **recipient(1, 2, "", "cy@mill.example"),
        **recipient(2, 1, "'di@mill.example'", "/O=MILL/CN=DI"),
    }


def recipient(number: int, kind: int, name: str, address: str) -> dict[str, bytes]:
    place = f"__recip_version1.0_#{number:08X}/"
    return {
        f"{place}__properties_version1.0": short(8, kind=(RECIPIENT_KIND, kind)),
        **texts(place, p3001=name, p39FE=address),
    }


def test_a_mail():
    found = read_msg(compound(mail()), name="a.msg")
    assert found.text == "The river rose.\nAll are well. 水車\n"
    assert (found.title, found.author) == ("Water in the mill", "Ada Vale <ada@mill.example>")
    assert (found.to, found.cc) == ("Bo <bo@mill.example>, 'di@mill.example'", "cy@mill.example")
    assert found.published_at == MAY


def test_texts_of_a_code_page():
    files = {
        "__properties_version1.0": short(32, page=(CODE_PAGE, 1251)),
        "__substg1.0_0037001E": "Вода".encode("cp1251"),
        "__substg1.0_1000001E": "Река поднялась.\0".encode("cp1251"),
    }
    found = read_msg(compound(files), name="a.msg")
    assert (found.title, found.text, found.author, found.to, found.published_at) == (
        "Вода",
        "Река поднялась.",
        *[None] * 3,
    )


def test_a_page_or_rtf_where_there_is_no_plain_text():
    page = b"<html><body><p>The river rose by eleven feet.</p></body></html>"
    found = read_msg(compound(mail() | {"__substg1.0_1000001F": b"", "__substg1.0_10130102": page}), name="a.msg")
    assert found.text.strip() == "The river rose by eleven feet."
    files = mail() | {"__substg1.0_1000001F": b"", "__substg1.0_10090102": PACKED}
    assert read_msg(compound(files), name="a.msg").text.strip() == "hello world"


def test_packed_rtf():
    assert unpacked(PACKED) == b"{\\rtf1\\ansi\\ansicpg1252\\pard hello world}\r\n"
    again = bytes.fromhex("1a0000001c0000004c5a4675e2d44b51410004205758595a0d6e7d010eb0")  # 4.2: of itself
    assert unpacked(again) == b"{\\rtf1 WXYZWXYZWXYZWXYZWXYZ}"
    assert unpacked(struct.pack("<IIII", 19, 3, 0x414C454D, 0) + b"abc") == b"abc"
    assert unpacked(b"short") == b""


def test_a_mail_within_a_mail_is_read_below_its_subject():
    place = "__attach_version1.0_#00000000/__substg1.0_3701000D/"
    inner = {
        f"{place}__properties_version1.0": short(24, sent=(SENT, ticks(MAY))),
        **texts(place, p0037="Bread", p1000="It is free.", p0C1A="Bo"),
        "__attach_version1.0_#00000001/__substg1.0_37010102": b"a picture",
    }
    found = read_msg(compound(mail() | inner), name="a.msg")
    assert found.text.endswith("水車\n\nSubject: Bread\nFrom: Bo\nDate: Mon, 31 May 2004 12:00:00 +0000\n\nIt is free.")


def test_mails_that_say_nothing_and_other_files():
    with pytest.raises(UnreadableSource, match=r"a.msg is a mail without text. What is attached"):
        read_msg(compound(mail() | {"__substg1.0_1000001F": b""}), name="a.msg")
    with pytest.raises(UnreadableSource, match=r"a.msg is no mail of Outlook"):
        read_msg(compound({"WordDocument": b"x"}), name="a.msg")
    with pytest.raises(UnreadableSource, match=r"a.msg does not begin as a file of Office"):
        read_msg(b"From: a@b.c\n\nHello", name="a.msg")


def test_damaged_mails_are_read_or_refused():
    content, drawn = compound(mail() | {"__substg1.0_10090102": PACKED}), random.Random(5)
    for _ in range(200):
        damaged = bytearray(content)
        for _ in range(drawn.randint(1, 30)):
            damaged[drawn.randrange(8, len(damaged))] = drawn.randrange(256)
        try:
            assert len(read_msg(bytes(damaged), name="a.msg").text) < len(content)
        except UnreadableSource:
            continue


def test_a_mail_is_loaded(tmp_path):
    (tmp_path / "letter.msg").write_bytes(compound(mail()))
    document = read_document(str(tmp_path / "letter.msg"))
    assert (document.title, document.metadata["author"]) == ("Water in the mill", "Ada Vale <ada@mill.example>")
    assert document.metadata["kind"] == "mail"
    assert (document.metadata["to"], document.published_at) == ("Bo <bo@mill.example>, 'di@mill.example'", MAY)
