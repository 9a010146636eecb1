"""Decoding: what was written comes back, unchanged; what is no text is refused with the reason."""

import codecs
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foveal.errors import UnreadableSource
from foveal.text.plain import SAMPLE, decode, is_text, known_encoding, require_text, storable

written = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1).filter(
    lambda s: s[0] not in "\ufeff\ufffe"
)

FRENCH = "Le cœur a ses raisons ; l’été, à Noël, déjà vu, ça va : « Je m’endors. »\r\n"
GERMAN = "Größe und Äpfel über Straßen, schöne Grüße aus München.\n"
JAPANESE = "吾輩は猫である。名前はまだ無い。どこで生れたかとんと見当がつかぬ。\n"
CHINESE = "话说天下大势，分久必合，合久必分。周末七国分争，并入于秦。\n"
RUSSIAN = "Все счастливые семьи похожи друг на друга, каждая несчастливая семья несчастлива по-своему.\n"
POLISH = "Zażółć gęślą jaźń. Wszyscy ludzie rodzą się wolni i równi pod względem swej godności i swych praw.\n"


@given(written)
def test_utf8_comes_back_unchanged(text):
    assert decode(text.encode(), "a file") == text


@given(written)
@pytest.mark.parametrize(
    ("mark", "encoding"),
    [
        (codecs.BOM_UTF8, "utf-8"),
        (codecs.BOM_UTF16_LE, "utf-16-le"),
        (codecs.BOM_UTF16_BE, "utf-16-be"),
        (codecs.BOM_UTF32_LE, "utf-32-le"),
        (codecs.BOM_UTF32_BE, "utf-32-be"),
    ],
)
def test_a_byte_order_mark_decides_and_goes(mark, encoding, text):
    assert decode(mark + text.encode(encoding), "a file") == text


@given(st.text(st.characters(min_codepoint=32, max_codepoint=126), min_size=1))
@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
def test_utf16_without_mark(encoding, text):
    assert decode(text.encode(encoding), "a file") == text


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
def test_utf16_without_mark_in_chinese_with_line_ends(encoding):
    assert decode((CHINESE * 5).encode(encoding), "a file") == CHINESE * 5


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        (FRENCH, "cp1252"),
        ("Café crème à Paris", "latin-1"),
        (GERMAN, "latin-1"),
        ("El niño comió mañana en España. ¿Qué pasó?", "latin-1"),
        ("Rødgrød med fløde på én gang; æbler og ål.", "latin-1"),
        ("It’s a “smart” text — with dashes… it costs 5 €.", "cp1252"),
        (JAPANESE, "shift_jis"),
        (JAPANESE, "euc_jp"),
        ("吾輩は猫である。\n", "shift_jis"),
        (CHINESE, "gb18030"),
        (CHINESE, "gbk"),
        ("人人生而自由，在尊嚴和權利上一律平等。", "big5"),
        (RUSSIAN, "cp1251"),
        (RUSSIAN, "koi8_r"),
        (POLISH, "cp1250"),
    ],
)
@pytest.mark.parametrize("times", [1, 300])
def test_legacy_encodings(text, encoding, times):
    assert decode((text * times).encode(encoding), "a file") == text * times


def test_a_large_legacy_file_is_told_from_a_sample_that_cuts_no_character():
    ascii_first = "plain words " * 20_000
    for shift in range(4):
        text = ascii_first + "x" * shift + JAPANESE.strip() * (SAMPLE // 40)
        assert decode(text.encode("shift_jis"), "a file") == text


def test_an_encoding_that_the_server_states_is_tried_before_a_guess():
    assert decode("Łódź".encode("iso8859-2"), "a page", stated="ISO-8859-2") == "Łódź"
    assert decode("Łódź".encode(), "a page", stated="ISO-8859-2") == "Łódź"


@pytest.mark.parametrize("name", [None, "", "hex", "rot13", "unicode_escape", "utf-7", "idna", "no-such", "a\0b", "é"])
def test_what_is_no_encoding_of_text_is_not_known(name):
    assert known_encoding(name) is None


def test_newlines_blanks_and_later_marks_stay():
    text = "  a\r\nb\rc\n\n\td\ufeff \n"
    assert decode(codecs.BOM_UTF8 + text.encode(), "a file") == text


def test_a_stray_byte_in_utf8_does_not_spoil_the_rest():
    data = GERMAN.encode() * 10
    assert decode(data + b"\xff" + data, "a log") == GERMAN * 10 + "\ufffd" + GERMAN * 10


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR", "an image"),
        (b"PK\x03\x04\x14\x00\x06\x00", "ZIP archive or an Office document"),
        (b"some words\0and a NUL", "NUL bytes, the first at byte 10"),
        (bytes(range(256)) * 40, "NUL bytes, the first at byte 0"),
        (b"\x01\x02\x03\x04\x05\x06 abc" * 50, "control characters"),
        (os.urandom(3) + b"\0\1" * 4000 + b"x", "NUL bytes"),
    ],
)
def test_binary_is_refused_with_the_reason(data, reason):
    with pytest.raises(UnreadableSource, match=reason):
        decode(data, "a.bin")
    assert not is_text(data)


def test_a_picture_is_no_text_however_its_zeros_fall():
    assert not is_text(b"\x89PNG\r\n\x1a\n" + b"a\0b\0c\0d\0" * 20)


@given(st.binary(max_size=400))
def test_whatever_comes_is_text_that_can_be_stored_or_refused(data):
    try:
        text = decode(data, "a file")
    except UnreadableSource:
        return
    assert "\0" not in text
    text.encode()  # no half of a surrogate pair


def test_a_terminal_log_with_colours_is_text():
    assert decode(b"\x1b[31mred\x1b[0m\n", "log") == "\x1b[31mred\x1b[0m\n"
    assert decode(b"\x1b[31mcosts $B4\x1b(B\x1b[m\n", "log") == "\x1b[31mcosts $B4\x1b(B\x1b[m\n"


@pytest.mark.parametrize(
    ("data", "text"),
    [
        ("会議は三時です。\nOK ですか".encode("iso2022_jp"), "会議は三時です。\nOK ですか"),
        (b"\x1b$B-!-j\x1b(B abc \x1b$B4A;z", "①㈱ abc 漢字"),  # signs that Windows adds; no escape at the end
        (b"\x1b(I6@6E\x1b(B \x1b$B4A;z\x1b(B", "ｶﾀｶﾅ 漢字"),
        ("漢字 한글".encode("iso2022_jp_2"), "漢字 한글"),
        ("안녕 hello".encode("iso2022_kr"), "안녕 hello"),
    ],
)
def test_seven_bits_with_escapes_are_japanese_or_korean_and_no_ascii(data, text):
    assert decode(data, "mail") == text


@pytest.mark.parametrize("text", ["", " \r\n\t", "\u200b \ufeff"])
def test_blank_is_no_text(text):
    with pytest.raises(UnreadableSource, match="holds no text"):
        require_text(text, "a file")


@given(st.text(st.characters(codec=None)))
def test_storable_text_has_no_nul_and_no_half_pairs(text):
    kept = storable(text)
    assert "\0" not in kept
    assert kept.encode().decode() == kept
    if "\0" not in text and not any(0xD800 <= ord(c) < 0xE000 for c in text):
        assert kept == text


def test_two_halves_make_a_character():
    assert storable("\ud83d\ude00 \ud83d x\0y") == "😀 \ufffd xy"
