"""Files that nobody wrote in good faith: each gives documents, or says in words why not; none hangs, grows or leaks.

A few examples run with the suite; `make fuzz` runs many, of other seeds each time.
"""

from __future__ import annotations

import gzip
import io
import json
import resource
import time
import zipfile
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path

import pytest
from fpdf import FPDF
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from text.books import epub, paragraph, word

from foveal.errors import FovealError, UnreadableSource
from foveal.text.loading import LoadSettings, Skipped, Source, discover, load
from foveal.types import Document

MOST_SECONDS = 10.0
MOST_BYTES = 2 * 2**20
LIMITS = LoadSettings(max_bytes=MOST_BYTES)

HTML = """<!doctype html><html><head><title>Mills &amp; wheels</title><meta charset="utf-8">
<script>var a = "<p>";</script><style>p {}</style></head><body><nav><a href="/x">x</a></nav><main><h1>The mill</h1>
<p>It stands at the river, and <b>nobody</b> may fish there on Sundays.</p><table><tr><td>a</td></tr></table>
<pre>code\n\n code</pre><math><mi>x</mi></math></main></body></html>"""
MARKDOWN = (
    "---\ntitle: The mill\ndate: 2026-05-01\n---\n# The mill\n\n- one\n- two\n\n```py\n# no heading\n```\n\n> q\n\n"
    "| a | b |\n|---|---|\n"
)
JSONL = "\n".join(
    json.dumps({"id": str(n), "title": f"Mill {n}", "text": "It stands at the river. " * 3, "date": "2026-05-01"})
    for n in range(4)
)


@cache
def pdf() -> bytes:
    made = FPDF()
    made.set_title("Tide mills")
    made.set_font("helvetica", size=12)
    for page in range(3):
        made.add_page()
        made.multi_cell(0, 7, f"Page {page}. It stands at the river, and nobody may fish there. " * 6)
    return bytes(made.output())


@cache
def archive() -> bytes:
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("../../evil.md", "# Evil")
        file.writestr("word/document.xml", "<w:document/>")
    return held.getvalue()


SEEDS: dict[str, Callable[[], bytes]] = {
    "page.html": HTML.encode,
    "note.md": MARKDOWN.encode,
    "rows.jsonl": JSONL.encode,
    "rows.jsonl.gz": lambda: gzip.compress(JSONL.encode()),
    "note.txt.gz": lambda: gzip.compress(MARKDOWN.encode()),
    "book.pdf": pdf,
    "book.zip": archive,
    "empty.docx": archive,
    "terms.docx": lambda: word(paragraph("Terms", "H1") + paragraph("words", level=2)),
    "empty.epub": archive,
    "book.epub": lambda: epub({"one.xhtml": "<h1>One</h1><p>The fovea.</p>", "two.xhtml": "<p>The rods.</p>"}),
    "cells.ipynb": b'{"cells": [{"cell_type": "code", "source": ["x = 1"]}, {"source": "words"}]}'.__bytes__,
    "letter.eml": b"From: a@b.example\nSubject: =?utf-8?q?=C3=A9?=\nContent-Type: text/html\n\n<p>Words.</p>".__bytes__,
    "nothing": archive,
    "latin.txt": lambda: "Ein Müller aus Örsta hat große Räder. ".encode("latin-1"),
    "wide.txt": lambda: "Der Müller".encode("utf-16"),
}
EDITS = st.lists(
    st.tuples(
        st.integers(0, 1 << 16),
        st.one_of(
            st.binary(max_size=12),
            st.sampled_from(
                (b"\x00", b"\xff\xfe", b"<", b"<!--", b"<![CDATA[", b"&#x110000;", b"]]>", b"{", b"[" * 400, b"endobj",
                 b"/Length 999999999", b"stream\n", b"%PDF-1.7", b"\x1f\x8b", b"PK\x03\x04", b"\xed\xa0\x80", b"1e999")
            ),
        ),
        st.integers(0, 30),
    ),
    max_size=8,
)  # fmt: skip


def mutated(seed: bytes, edits: list[tuple[int, bytes, int]], repeated: int, cut: int) -> bytes:
    """The seed with pieces put in the place of others, repeated, and cut."""
    found = bytearray(seed)
    for place, new, gone in edits:
        at = place % (len(found) + 1)
        found[at : at + gone] = new
    return bytes(found[: max(0, len(found) - cut)]) * repeated


def held(path: Path, limits: LoadSettings = LIMITS) -> list[Document]:
    """The documents of a file, each of them whole; what is wrong with it is said by an error of ours or a `Skipped`."""
    begun = time.process_time()
    found: list[Document] = []
    for source in discover([path], limits):
        if isinstance(source, Skipped):
            assert source.reason
            continue
        assert isinstance(source, Source)
        with suppress(UnreadableSource):
            for one in load(source, limits):
                if isinstance(one, Skipped):
                    assert one.reason
                else:
                    found.append(one)
    for one in found:
        assert one == Document.of("x", one.text, one.title) or one.text.encode("utf-8")  # it can be stored
        assert "\x00" not in one.title
        assert list(one.pages) == sorted(one.pages)
        assert all(0 <= start <= len(one.text) for start in one.pages)
        assert len(one.text) <= 4 * MOST_BYTES
    assert time.process_time() - begun < MOST_SECONDS
    return found


def test_what_the_seeds_are_without_a_change(tmp_path: Path) -> None:
    counts = {}
    for name, seed in SEEDS.items():
        (tmp_path / name).write_bytes(seed())
        counts[name] = len(held(tmp_path / name))
    assert counts == {
        "page.html": 1, "note.md": 1, "rows.jsonl": 4, "rows.jsonl.gz": 4, "note.txt.gz": 1, "book.pdf": 1,
        "book.zip": 0, "empty.docx": 0, "terms.docx": 1, "empty.epub": 0, "book.epub": 1,
        "cells.ipynb": 1, "letter.eml": 1, "nothing": 0, "latin.txt": 1, "wide.txt": 1,
    }  # fmt: skip


def tried(folder: Path, name: str, content: bytes) -> None:
    path = folder / name
    path.write_bytes(content)
    try:
        held(path)
    except FovealError as error:
        raise AssertionError(f"an error that is no UnreadableSource: {error!r}") from error
    finally:
        path.unlink()


FUZZ = {
    "name": st.sampled_from(sorted(SEEDS)),
    "edits": EDITS,
    "repeated": st.integers(1, 3),
    "cut": st.integers(0, 400),
}


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(**FUZZ)
def test_a_damaged_or_hostile_file_is_read_or_refused_in_words(
    tmp_path: Path, name: str, edits: list[tuple[int, bytes, int]], repeated: int, cut: int
) -> None:
    tried(tmp_path, name, mutated(SEEDS[name](), edits, repeated, cut))


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.binary(max_size=3000), name=st.sampled_from(sorted(SEEDS)))
def test_noise_under_any_name(tmp_path: Path, content: bytes, name: str) -> None:
    tried(tmp_path, name, content)


@pytest.mark.slow
@pytest.mark.fuzz
@settings(
    max_examples=6000,
    derandomize=False,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(**FUZZ)
def test_many_damaged_or_hostile_files(
    tmp_path: Path, name: str, edits: list[tuple[int, bytes, int]], repeated: int, cut: int
) -> None:
    tried(tmp_path, name, mutated(SEEDS[name](), edits, repeated, cut))


@pytest.mark.parametrize("name", ["bomb.txt.gz", "bomb.jsonl.gz"])
def test_a_bomb_of_a_few_kilobytes_does_not_fill_the_memory(tmp_path: Path, name: str) -> None:
    packed = io.BytesIO()
    with gzip.GzipFile(fileobj=packed, mode="wb") as file:
        for _ in range(64):
            file.write(b"\n" * 2**20 if "jsonl" in name else b"a " * 2**19)
    (tmp_path / name).write_bytes(packed.getvalue())
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    tried(tmp_path, name, packed.getvalue())
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100 * 1024  # kB


@pytest.mark.parametrize(
    "content",
    [
        b'<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa">' + b"".join(
            b'<!ENTITY %c "%s">' % (98 + n, b"&%c;" % (97 + n) * 10) for n in range(9)
        ) + b"]><html><body><p>&j;</p></body></html>",
        b'<!DOCTYPE x [<!ENTITY f SYSTEM "file:///etc/passwd">]><html><body><p>&f; words</p></body></html>',
        b"<html><body>" + b"<div>" * 20_000 + b"deep" + b"</div>" * 20_000,
        b"<html><body>" + b"<table><tr><td>" * 800 + b"deep",
        b"<p>" + b"<b><i>" * 30_000,
        b"<html><body><p " + b" ".join(b"a%d=1" % n for n in range(3_000)) + b">x</p>",
    ],
    ids=["billion laughs", "outside entity", "deep", "deep tables", "unclosed", "attributes"],
)  # fmt: skip
def test_html_that_is_made_to_cost(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "page.html").write_bytes(content)
    for one in held(tmp_path / "page.html"):
        assert "root:" not in one.text


@pytest.mark.parametrize(
    "line",
    [
        '{"a":' * 5_000 + "1" + "}" * 5_000,
        "[" * 100_000,
        '{"text": ' + "9" * 10_000 + "}",
        '{"text": 1e999}',
        "nullnull",
    ],
    ids=["deep objects", "deep lists", "a long number", "infinity", "not JSON"],
)
def test_json_that_is_made_to_cost(tmp_path: Path, line: str) -> None:
    (tmp_path / "rows.jsonl").write_text(f'{line}\n{{"text": "It stands at the river, and it is whole."}}\n', "utf-8")
    assert len(held(tmp_path / "rows.jsonl")) >= 1
