"""Bytes to text: the encoding is read from a mark, proved (UTF-8), or told from how the bytes fall.

Order     byte order mark; ISO-2022, seven bits with escapes, as Japanese mail has it; UTF-8; UTF-16 without a mark;
          charset-normalizer on a sample around the first odd byte
Gives     the file's characters unchanged: newlines stay as they are, only the byte order mark goes
Refuses   NUL characters and mostly control characters (that is no text), and encodings that cannot be told
Known     a few stray bytes in UTF-8 become U+FFFD; Hungarian in Windows-1250 is read as Windows-1252 (ő as õ)
"""

from __future__ import annotations

import codecs
import re
import unicodedata

from foveal.errors import UnreadableSource

SAMPLE = 2**17  # bytes looked at to tell an encoding: keeps the time bounded for large files
MOST_CONTROLS = 0.1  # share of control characters above which bytes are no text

_MARKS = (  # UTF-32 first: its little-endian mark begins as that of UTF-16
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_FORMATS = (
    (b"%PDF-", "a PDF"),
    (b"PK\x03\x04", "a ZIP archive or an Office document"),
    (b"\xd0\xcf\x11\xe0", "an old Office document"),
    (b"\x89PNG", "an image"),
    (b"\xff\xd8\xff", "an image"),
    (b"GIF8", "an image"),
    (b"\x1f\x8b", "compressed with gzip"),
    (b"\x7fELF", "a program"),
    (b"SQLite format 3", "an SQLite database"),
)
_AS_BROWSERS_READ = {
    **dict.fromkeys(("ascii", "iso8859-1"), "cp1252"),
    **dict.fromkeys(("gb2312", "gbk"), "gb18030"),
    "shift_jis": "cp932",
}
# The legacy encodings that files and pages are found in; others (EBCDIC, Mac) only cause false finds.
_LEGACY = (
    *("cp1252", "cp932", "gb18030", "big5", "euc_jp", "euc_kr", "cp1251", "koi8_r"),
    *("cp1250", "cp1253", "cp1254", "cp1255", "cp1256", "cp1257", "cp1258", "cp874"),
)
_TEXT_ENCODING = re.compile(r"utf-(8|16|32).*|ascii|cp\d+|iso8859-\d+|(koi8|iso2022|euc|shift_jis|gb|big5|tis).*")
_WESTERN = frozenset("àâäáãåæçèéêëìíîïñòóôöõøœùúûüýÿßÀÂÄÁÃÅÆÇÈÉÊËÌÍÎÏÑÒÓÔÖÕØŒÙÚÛÜÝ‘’‚“”„«»‹›–—…•€£§°·¿¡©®™ºª´²³½¼\xa0")
_CONTROLS = re.compile(r"[\x00-\x07\x0e-\x1a\x1c-\x1f\x7f-\x84\x86-\x9f]")
_NOT_PRINTABLE = bytes((*range(9), *range(14, 32), *range(127, 256)))
_ODD_BYTE = re.compile(rb"[\x80-\xff]")
_SEQUENCE = re.compile(r"[^\x00-\x7f\ufffd]")
_VISIBLE = re.compile("[^\\s\ufeff\u200b\u00ad]")
_JAPANESE = re.compile(rb"\x1b\$[@B]((?:[!-~]{2})+)(?=[\x1b\r\n]|\Z)")  # between escapes, two bytes a character
_BACK = re.compile(rb"\x1b\([BJ]")
_KOREAN = b"\x1b$)C"


def decode(data: bytes, name: str, *, stated: str | None = None) -> str:
    """The text of `data`; UnreadableSource says why the bytes of `name` are none.

    `stated` is the encoding that a server named: it is tried after what can be proved, before what can be guessed.
    """
    text = _decoded(data, stated)
    if text is None or "\0" in text or _controls(text) > MOST_CONTROLS:
        raise UnreadableSource(_refusal(data, name, text))
    return text


def require_text(text: str, name: str) -> str:
    """`text`, which must hold more than blanks."""
    if not _VISIBLE.search(text):
        raise UnreadableSource(f"{name} holds no text: it is empty or blank. Leave it out, or check how it was made.")
    return text


def storable(text: str) -> str:
    """`text` without what no store takes: NUL characters go, halves of surrogate pairs become U+FFFD."""
    text = text.replace("\0", "")
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text


def is_text(head: bytes) -> bool:
    """Whether a file that begins with `head` (cut anywhere) looks like text."""
    if any(head.startswith(mark) for mark, _ in _MARKS):
        return True
    if format_of(head) is not None:
        return False
    if 0 in head:
        return _utf16_without_mark(head[: len(head) & ~1], cut=True) is not None
    return _controls(head.decode("latin-1").translate(_UPPER_HALF)) <= MOST_CONTROLS


def known_encoding(name: str | None) -> str | None:
    """Python's name of an encoding, read as browsers read it (latin-1 is Windows-1252, …); None for an unknown one."""
    try:
        encoding = codecs.lookup(name or "").name
    except (LookupError, ValueError):
        return None
    if not _TEXT_ENCODING.fullmatch(encoding):  # Python also knows hex, rot13, unicode_escape, …
        return None
    return _AS_BROWSERS_READ.get(encoding, encoding)


def format_of(head: bytes) -> str | None:
    """What kind of file begins with `head`, where it is a known kind other than text."""
    return next((kind for magic, kind in _FORMATS if head.startswith(magic)), None)


_UPPER_HALF = dict.fromkeys(range(0x80, 0x100))  # in an unknown encoding these bytes may be letters


def _decoded(data: bytes, stated: str | None) -> str | None:
    for mark, encoding in _MARKS:
        if data.startswith(mark):
            return data[len(mark) :].decode(encoding, "replace")
    if (text := _seven_bits(data)) is not None:  # ASCII, and so UTF-8 that says nothing
        return text
    text = _strictly(data, "utf-8")
    if text is None or "\0" in text:
        return _utf16_without_mark(data) or (
            text if 0 in data else _as_stated(data, stated) or _nearly_utf8(data, stated) or _legacy(data)
        )
    return text


def _seven_bits(data: bytes) -> str | None:
    """The text of ISO-2022-JP, with the signs that Windows adds to it (①, ㈱), or ISO-2022-KR; None of all else."""
    if b"\x1b$" not in data or not data.isascii():
        return None
    if _KOREAN in data:
        return _strictly(data, "iso2022_kr")
    shifted, found = _JAPANESE.subn(_as_shift_jis, data)
    text = _strictly(_BACK.sub(b"", shifted), "cp932") if found else None
    if text is not None and "\x1b" not in text:
        return text
    return _strictly(data, "iso2022_jp_ext") or _strictly(data, "iso2022_jp_2")  # half-width kana; Chinese, Korean


def _as_shift_jis(run: re.Match[bytes]) -> bytes:
    """Characters of JIS X 0208 as Shift JIS writes them: two rows in one."""
    made = bytearray()
    for row, cell in zip(run[1][::2], run[1][1::2], strict=True):
        made.append((row + 1) // 2 + (0x70 if row < 0x5F else 0xB0))
        made.append(cell + (0x7E if row % 2 == 0 else 0x20 if cell >= 0x60 else 0x1F))
    return bytes(made)


def _strictly(data: bytes, encoding: str) -> str | None:
    try:
        return data.decode(encoding)
    except UnicodeDecodeError:
        return None


def _as_stated(data: bytes, stated: str | None) -> str | None:
    encoding = known_encoding(stated)
    return _strictly(data, encoding) if encoding else None


def _utf16_without_mark(data: bytes, *, cut: bool = False) -> str | None:
    """ASCII in UTF-16 has a zero in every second byte and hardly one between; `cut`: the end may be half a pair."""
    even, odd = data[:SAMPLE:2].count(0), data[1:SAMPLE:2].count(0)
    if len(data) % 2 or even == odd or min(even, odd) * 20 > max(even, odd) or _has_stray_zeros(data[:SAMPLE]):
        return None
    text = data.decode("utf-16-le" if odd > even else "utf-16-be", "replace" if cut else "ignore")
    sample = text[:SAMPLE]
    unread = sum(unicodedata.category(c) in ("Cn", "Co", "Cc") and not c.isspace() for c in sample)
    return text if unread * 20 <= len(sample) else None


def _has_stray_zeros(sample: bytes) -> bool:
    """Whether the sample is ASCII but for some zeros; read in pairs, that would be Chinese."""
    zeros = sample.count(0)
    return zeros * 4 < len(sample) and len(sample.translate(None, _NOT_PRINTABLE)) >= 0.9 * (len(sample) - zeros)


def _nearly_utf8(data: bytes, stated: str | None = None) -> str | None:
    """UTF-8 with stray bytes: ten good sequences to a bad one (or one, where it is stated), else another encoding."""
    sample = _sample(data).decode("utf-8", "replace")
    good, bad = len(_SEQUENCE.findall(sample)), sample.count("\ufffd")
    least = bad if known_encoding(stated) == "utf-8" else 10 * bad
    return data.decode("utf-8", "replace") if good >= least else None


def _legacy(data: bytes) -> str | None:
    from charset_normalizer import from_bytes

    for mess in (0.2, 0.5):  # a text of few, rare characters counts as messy: then the least messy reading holds
        found = from_bytes(_sample(data), cp_isolation=list(_LEGACY), threshold=mess)
        for encoding in _western_first([match.encoding for match in found], data):
            text = _strictly(data, encoding)
            if text is not None:
                return text
    return None


def _western_first(found: list[str], data: bytes) -> list[str]:
    """Short Western texts fit Central European and Baltic encodings as well: then the commonest letters decide."""
    if found[:1] in (["cp1250"], ["cp1257"], ["cp1258"]):
        letters = set(_sample(data).decode("cp1252", "replace")) - {chr(n) for n in range(0x80)}
        if letters <= _WESTERN:
            return ["cp1252", *found]
    return found


def _sample(data: bytes) -> bytes:
    """At most SAMPLE bytes from near the first byte outside ASCII, ending where no character is cut."""
    first = _ODD_BYTE.search(data)
    start = max(0, first.start() - 256) if first else 0
    sample = data[start : start + SAMPLE]
    if first is None or start + SAMPLE >= len(data):
        return sample
    safe = max(sample.rfind(b"\n"), sample.rfind(b" ")) + 1  # never the second byte of a character
    if safe > SAMPLE // 2:
        return sample[:safe]
    return sample[: SAMPLE - (SAMPLE - (first.start() - start)) % 2]  # whole pairs, as most East Asian text is


def _controls(text: str) -> float:
    sample = text[:SAMPLE]
    return len(_CONTROLS.findall(sample)) / len(sample) if sample else 0.0


def _refusal(data: bytes, name: str, text: str | None) -> str:
    kind = format_of(data)
    if kind:
        return f"{name} is not text: by its first bytes it is {kind}. Convert it to text or PDF, and name it so."
    if 0 in data:
        return f"{name} is not text: it holds NUL bytes, the first at byte {data.index(0)}. Leave it out or convert it."
    if text is None:
        return f"{name} is in an encoding that could not be told. Save it as UTF-8."
    return f"{name} is not text: it is mostly control characters. Leave it out or convert it."
