"""Notebooks and mail: what a person wrote is read; pictures and attachments in base64 are not."""

from __future__ import annotations

import base64
import json
import random
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foveal.errors import UnreadableSource
from foveal.text.loading import Skipped, discover, load, read_document
from foveal.text.messages import read_message
from foveal.text.notebooks import notebook_text

BLOB = base64.b64encode(random.Random(0).randbytes(9000)).decode()


def notebook(*cells, **about):
    return json.dumps({"cells": cells, "nbformat": 4, **about})


def test_cells_are_read_and_what_programs_put_out_is_not(tmp_path):
    picture = {"output_type": "display_data", "data": {"image/png": BLOB, "text/plain": ["<Figure>"]}}
    (tmp_path / "a.ipynb").write_text(
        notebook(
            {"cell_type": "markdown", "source": ["# Eyes\n", "\n", "The fovea sees *sharply*.\n"]},
            {"cell_type": "code", "source": "x = 1\nprint(x)\n", "outputs": [picture]},
            {"cell_type": "code", "source": [], "outputs": []},
            {"cell_type": "raw", "source": "as it is"},
            metadata={"language_info": {"name": "julia"}},
        )
    )
    found = read_document(tmp_path / "a.ipynb")
    assert found.text == "# Eyes\n\nThe fovea sees *sharply*.\n\n```julia\nx = 1\nprint(x)\n```\n\nas it is"
    assert (found.title, found.metadata["kind"]) == ("Eyes", "notebook")


def test_a_notebook_of_format_3_and_code_that_holds_fences():
    old = {"worksheets": [{"cells": [
        {"cell_type": "heading", "level": 2, "source": "Rods"}, {"cell_type": "code", "input": "s = '''\n```\n'''"},
    ]}]}  # fmt: skip
    assert notebook_text(json.dumps(old), "a") == "## Rods\n\n````python\ns = '''\n```\n'''\n````"


BROKEN = ["{", "[]", "3", '{"cells": 3}', '{"cells": [3]}', '{"worksheets": [1]}', "[" * 9999]


@pytest.mark.parametrize("content", BROKEN, ids=range(len(BROKEN)))
def test_what_is_no_notebook_says_so(content):
    with pytest.raises(UnreadableSource, match="a is no notebook"):
        notebook_text(content, "a")


def test_a_notebook_without_a_word_is_refused(tmp_path):
    (tmp_path / "a.ipynb").write_text(notebook({"cell_type": "code", "source": " \n"}))
    with pytest.raises(UnreadableSource, match="holds no text"):
        read_document(tmp_path / "a.ipynb")


MAIL = (
    "From: Ada <ada@eyes.example>\r\nTo: Bob <bob@eyes.example>\r\n"
    "Subject: =?utf-8?q?The_fovea_=E2=80=94?=\r\n seen\r\nDate: Mon, 1 Jan 2024 10:00:00 +0200\r\n"
    "MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=x\r\n\r\n"
    "--x\r\nContent-Type: {type}; charset={charset}\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n{body}\r\n"
    f"--x\r\nContent-Type: application/pdf\r\nContent-Transfer-Encoding: base64\r\n\r\n{BLOB}\r\n--x--\r\n"
)


def mail(body, *, kind="text/plain", charset="utf-8"):
    return MAIL.format(type=kind, charset=charset, body=body).encode()


def test_a_mail_is_its_body_with_subject_sender_and_date(tmp_path):
    (tmp_path / "a.eml").write_bytes(mail("Dear Bob,=\r\n\r\nit =E2=80=94 sees."))
    found = read_document(tmp_path / "a.eml")
    assert found.text.strip() == "Dear Bob,\nit — sees."
    assert found.title == "The fovea — seen"
    assert found.published_at == datetime(2024, 1, 1, 8, tzinfo=UTC)
    assert {name: found.metadata[name] for name in ("kind", "author", "to")} == {
        "kind": "mail", "author": "Ada <ada@eyes.example>", "to": "Bob <bob@eyes.example>",
    }  # fmt: skip


def test_a_body_in_html_or_another_encoding():
    words = "The fovea is the small part of the retina that sees sharply. " * 3
    assert read_message(mail(f"<p>{words}</p>", kind="text/html"), name="a").text == words.strip()
    assert read_message(mail("caf=E9", charset="iso-8859-1"), name="a").text.strip() == "café"
    assert read_message(mail("caf=C3=A9", charset="nonsense"), name="a").text.strip() == "café"
    seven_bits = mail("x", charset="iso-2022-jp").replace(b"\r\n\r\nx", b"\r\n\r\n" + "会議".encode("iso2022_jp"))
    assert read_message(seven_bits, name="a").text.strip() == "会議"
    assert read_message(b"From: a\n\nplain words\n", name="a").text == "plain words\n"


def parts(kind, *given):
    inner = "".join(f"--{kind}\r\nContent-Type: {about}\r\n\r\n{body}\r\n" for about, body in given)
    return f"multipart/{kind}; boundary={kind}", f"{inner}--{kind}--\r\n"


PAGE = ("text/html", "<p>The whole of the letter stands here, with its news.</p>")
IMAGE = ("image/png\r\nContent-Disposition: inline; filename=a.png\r\nContent-Transfer-Encoding: base64", "AAAA")
FILE = ("text/plain\r\nContent-Disposition: attachment; filename=a.txt", "Attached.")
FORWARDED = (
    "message/rfc822\r\nContent-Disposition: attachment; filename=old.eml",
    "Subject: The old\r\n lease\r\nFrom: b\r\nDate: Mon, 2 Nov 2026 10:00:00 +0000\r\nX-Id: 7\r\n\r\nIt ends in May.",
)
PACKED = "message/rfc822\r\nContent-Transfer-Encoding: base64"
WITHIN = "Subject: The old lease\nFrom: b\nDate: Mon, 02 Nov 2026 10:00:00 +0000\n\nIt ends in May."
NAMED = ("text/plain; name=notes.txt\r\nContent-Disposition: inline", "Notes.")


@pytest.mark.parametrize(
    ("given", "text"),
    [
        # a mailing list puts its footer behind a page
        (parts("mixed", PAGE, ("text/plain", "To leave, write.")), f"{PAGE[1][3:-4]}\n\nTo leave, write."),
        # Apple Mail puts a picture between two halves
        (parts("mixed", ("text/plain", "First."), IMAGE, ("text/plain", "Second.")), "First.\n\nSecond."),
        (parts("mixed", parts("alternative", ("text/plain", "Said."), PAGE), FILE, NAMED), "Said."),
        (parts("alternative", ("text/plain", " "), PAGE), PAGE[1][3:-4]),
        (parts("alternative", PAGE, ("text/plain", "Said.")), "Said."),
        (parts("alternative", parts("related", PAGE, IMAGE)), PAGE[1][3:-4]),
        (parts("signed", ("text/plain", "Said."), ("application/pgp-signature", "x")), "Said."),
        (parts("mixed", ("text/plain", "Said."), ("text/html", "<p></p>")), "Said."),
        (NAMED, "Notes."),
        (parts("mixed", ("text/plain", "See below."), FORWARDED, FILE), f"See below.\n\n{WITHIN}"),
        (FORWARDED, WITHIN),
        # in a digest a part is a mail without saying so
        (
            (
                "multipart/digest; boundary=d",
                f"--d\r\n\r\n{FORWARDED[1]}\r\n--d\r\n\r\nFrom: c\r\n\r\nSaid.\r\n--d--\r\n",
            ),
            f"{WITHIN}\n\nFrom: c\n\nSaid.",
        ),
        (parts("mixed", ("text/plain", "Said."), ("message/rfc822", "From: b\r\n\r\n")), "Said."),
        (parts("mixed", (PACKED, base64.b64encode(FORWARDED[1].encode()).decode())), WITHIN),
        (parts("mixed", ("text/plain", "Said."), (PACKED, "A")), "Said."),
    ],
)
def test_all_parts_of_a_body_are_read_and_of_alternatives_one_that_says_something(given, text):
    about, body = given
    assert read_message(f"From: a\r\nContent-Type: {about}\r\n\r\n{body}".encode(), name="a").text.strip() == text


@pytest.mark.parametrize("depth", [600, 5000])  # the first is parsed, and is too deep to be read
def test_mails_within_mails_without_end_are_refused(depth):
    with pytest.raises(UnreadableSource, match="mails within mails"):
        read_message(b"From: a\r\n" + b"Content-Type: message/rfc822\r\n\r\n" * depth + b"\r\nhi", name="a")


@pytest.mark.parametrize(
    ("content", "reason"),
    [(b"just words", "is no mail"), (b"", "is no mail"), (b"From: a\n\n", "without text"), (mail(" "), "without text")],
    ids=["words", "empty", "headers", "blank"],
)
def test_what_is_no_mail_or_says_nothing(content, reason):
    with pytest.raises(UnreadableSource, match=reason):
        read_message(content, name="a")


@given(st.data())
def test_a_mail_with_damage_anywhere_is_read_or_refused(data):
    content = bytearray(mail("Dear Bob, it sees.", kind=data.draw(st.sampled_from(["text/plain", "text/html"]))))
    for _ in range(data.draw(st.integers(1, 20))):
        content[data.draw(st.integers(0, 700))] = data.draw(st.integers(0, 255))
    try:
        found = read_message(bytes(content), name="a")
    except UnreadableSource:
        return
    assert "\0" not in found.text + (found.title or "") + (found.author or "")


def test_pictures_are_told_and_locks_of_office_programs_are_no_files(tmp_path):
    (tmp_path / "a.svg").write_text('<svg xmlns="http://www.w3.org/2000/svg"><path d="M1 2"/></svg>')
    (tmp_path / "~$report.docx").write_text("x")
    (tmp_path / "b.txt").write_text("words")
    skipped, source = discover([tmp_path])
    assert isinstance(skipped, Skipped)
    assert "a.svg is a picture" in skipped.reason
    assert [one.title for one in load(source)] == ["b"]


SAVED = """From: <Saved by Blink>
Snapshot-Content-Location: {}
Subject: Tide mills
Content-Type: multipart/related; type="text/html"; boundary="=b"

--=b
Content-Type: text/html; charset=utf-8
Content-Transfer-Encoding: quoted-printable
Content-Location: https://example.org/inner

<html><head><title>Tide mills</title></head><body><p>The mill=E2=80=99s wheel turns with the tide, and nobody =
may fish there.</p></body></html>
--=b
Content-Type: image/png
Content-Transfer-Encoding: base64

iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJ
--=b--
"""


@pytest.mark.parametrize(
    ("name", "seen", "url"),
    [
        ("a.mhtml", "https://example.org/tides", "https://example.org/tides"),
        ("a.mht", "https://example.org/ti\n des", "https://example.org/tides"),
        ("a.MHT", "file:///home/ana/tides.html", "https://example.org/inner"),
    ],
)
def test_a_page_that_a_browser_saved_with_its_pictures_is_a_web_page(tmp_path, name, seen, url):
    (tmp_path / name).write_text(SAVED.format(seen))
    found = read_document(tmp_path / name)
    assert (found.text, found.title) == (
        "The mill’s wheel turns with the tide, and nobody may fish there.", "Tide mills",
    )  # fmt: skip
    assert (found.url, found.metadata["kind"], "author" in found.metadata) == (url, "html", False)
    (tmp_path / name).write_text("From: <Saved by Blink>\nContent-Type: image/png\n\nxx")
    with pytest.raises(UnreadableSource, match="no web page"):
        read_document(tmp_path / name)
