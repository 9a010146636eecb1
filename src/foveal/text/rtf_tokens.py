"""The tokens of RTF, one after the other, and what its bytes mean: in the code page of their font, or of the file.

    list(tokens(b"{\\\\b1 a\\\\'e9}"))   # [(OPEN, b"", None), (WORD, b"b", 1), (BYTES, b"a", None), …]
    Font.of("Symbol", charset=2).words(b"a", "cp1252")   # "α"

Signs behind a backslash (\\~, \\{) are words as well. What \\bin announces is passed over.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from foveal.text.plain import known_encoding
from foveal.text.word_signs import plain_signs

OPEN, CLOSE, WORD, BYTES = range(4)

Token = tuple[int, bytes, int | None]
"""Kind, word or bytes, and the number behind a word."""

SIGNS = 2
"""The charset of fonts whose characters are signs of their own."""

_TOKEN = re.compile(
    rb"\\(?:([a-zA-Z]{1,40})(-?[0-9]{1,10})? ?|'([0-9a-fA-F]{2})|(.))|([{}])|[\r\n\0]+|([^\\{}\r\n\0]+)", re.DOTALL
)
_CHARSETS = {
    77: "mac_roman", 78: "shift_jis", 79: "big5", 80: "euc_kr", 81: "mac_arabic", 82: "cp1255", 83: "mac_greek",
    84: "mac_cyrillic", 85: "gb18030", 86: "mac_romanian", 87: "mac_cyrillic", 88: "cp874", 89: "mac_latin2",
    128: "cp932", 129: "cp949", 130: "johab", 134: "gb18030", 136: "cp950", 161: "cp1253", 162: "cp1254", 163: "cp1258",
    177: "cp1255", 178: "cp1256", 186: "cp1257", 204: "cp1251", 222: "cp874", 238: "cp1250", 254: "cp437", 255: "cp850",
}  # fmt: skip


class Font(NamedTuple):
    """What a font's bytes are: in a code page, "" being that of the file; or signs, where it has a name for them."""

    page: str = ""
    signs: str = ""

    @classmethod
    def of(cls, name: str, *, charset: int, page: int = 0) -> Font:
        stated = code_page(page) if page else _CHARSETS.get(charset, "")
        return cls(stated, name if charset == SIGNS else "")

    def words(self, data: bytes, usual: str) -> str:
        """The text that bytes are in this font; `usual` is the code page of the file."""
        if self.signs:
            placed = "".join(chr(0xF000 + byte) for byte in data)
            if (signs := self.sign(placed)) != placed:
                return signs
        return data.decode(self.page or usual, "replace")

    def sign(self, text: str) -> str:
        """Text, in which signs may stand at the private places of a font."""
        return plain_signs(text, self.signs) if self.signs else text


def tokens(content: bytes) -> Iterator[Token]:
    """The tokens of a file; a backslash that nothing follows is left out."""
    place = 0
    while found := _TOKEN.match(content, place):
        place = found.end()
        word, number, code, sign, brace, data = found.groups()
        if data:
            yield BYTES, data, None
        elif code:
            yield BYTES, bytes.fromhex(code.decode()), None
        elif brace:
            yield (OPEN if brace == b"{" else CLOSE), b"", None
        elif word == b"bin":
            place += max(0, int(number or 0))
        elif word:
            yield WORD, word, int(number) if number else None
        elif sign:
            yield WORD, sign, None


def code_page(number: int) -> str:
    """Python's name of a code page; Windows-1252 for one that it does not know."""
    return {65001: "utf-8", 10000: "mac_roman"}.get(number) or known_encoding(f"cp{number}") or "cp1252"
