"""Archives of mail: one document a mail, which keeps its address; what says nothing is told, and the rest goes on."""

from __future__ import annotations

import gzip
import mailbox as stdlib
from datetime import UTC, datetime
from email.message import EmailMessage

import pytest

from foveal.errors import UnreadableSource
from foveal.library import Library
from foveal.text.loading import Skipped, discover, load
from foveal.text.mailboxes import is_mailbox


def mail(n: int, text: str = "", *, known: bool = True) -> EmailMessage:
    made = EmailMessage()
    made["From"] = "José Núñez <jose@example.org>"
    made["To"] = "ada@example.org"
    made["Subject"] = f"Bearing {n}"
    made["Date"] = "Mon, 4 Mar 2019 10:00:00 +0100"
    if known:
        made["Message-ID"] = f"<{n}@example.org>"
    made.set_content(text or f"The bearing {n} was replaced.\n\nFrom Monday on it turned.\n")
    return made


def archive(path, *mails) -> None:
    held = stdlib.mbox(path)
    for one in mails:
        held.add(one)
    held.close()


def documents(path):
    (source,) = discover([path])
    return list(load(source))


def test_each_mail_is_a_document(tmp_path):
    attached = mail(2)
    attached.add_attachment(b"\0" * 3000, maintype="application", subtype="pdf", filename="a.pdf")
    archive(tmp_path / "a.mbox", mail(1), attached, mail(1))
    first, second = documents(tmp_path / "a.mbox")
    assert first.text == "The bearing 1 was replaced.\n\nFrom Monday on it turned.\n"
    assert first.published_at == datetime(2019, 3, 4, 9, tzinfo=UTC)
    assert first.metadata == {
        "source": (tmp_path / "a.mbox").as_uri(),
        "kind": "mail",
        "author": "José Núñez <jose@example.org>",
        "to": "ada@example.org",
    }
    assert (second.title, second.text.count("\n")) == ("Bearing 2", 3)  # what is attached is left aside


def test_a_line_from_that_no_header_follows_is_part_of_its_mail(tmp_path):
    archive(tmp_path / "a.mbox", mail(1, "We were there.\n\nX\nWe came back.\n"), mail(2))
    written = (tmp_path / "a.mbox").read_bytes()
    begin = b"From what we saw in the spring of 2019\n"
    (tmp_path / "a.mbox").write_bytes(written.replace(b"X\n", begin) + b"\n" + begin)
    first, second = documents(tmp_path / "a.mbox")
    assert first.text == f"We were there.\n\n{begin.decode()}We came back.\n"
    assert second.text.endswith(f"turned.\n\n\n{begin.decode()}")
    twice = b"From a Mon Mar  4 10:00:00 2019\n>From b Mon Mar  4 10:00:00 2019\n"
    (tmp_path / "b.mbox").write_bytes(2 * (twice + b"From: a@example.org\n\nIt turned.\n\n"))
    assert [one.text for one in documents(tmp_path / "b.mbox") if not isinstance(one, Skipped)] == ["It turned.\n"]


def test_a_mail_keeps_its_address_when_others_come_and_go(tmp_path):
    archive(tmp_path / "a.mbox", mail(1), mail(2), mail(3, known=False))
    before = {one.title: one.id for one in documents(tmp_path / "a.mbox")}
    (tmp_path / "a.mbox").unlink()
    archive(tmp_path / "a.mbox", mail(4), mail(3, known=False), mail(2))
    assert {one.title: one.id for one in documents(tmp_path / "a.mbox")}.items() >= {
        title: before[title] for title in ("Bearing 2", "Bearing 3")
    }.items()


def test_a_mail_that_says_nothing_is_told_and_the_rest_goes_on(tmp_path):
    archive(tmp_path / "Inbox", mail(1, " "), mail(2))  # Thunderbird's have no ending
    skipped, read = documents(tmp_path / "Inbox")
    assert isinstance(skipped, Skipped)
    assert "Mail 1 of" in skipped.reason
    assert read.title == "Bearing 2"
    archive(tmp_path / "b.mbox", mail(1, " "))
    with pytest.raises(UnreadableSource, match="no mail that says anything"):
        documents(tmp_path / "b.mbox")
    (tmp_path / "c.mbox.gz").write_bytes(gzip.compress((tmp_path / "Inbox").read_bytes()))
    assert documents(tmp_path / "c.mbox.gz")[1].title == "Bearing 2"


@pytest.mark.parametrize(
    ("head", "so"),
    [
        (b"From - Mon Mar  4 10:00:00 2019\r\nFrom: a\r\n", True),
        (b"From 1@xxx Mon Mar 04 10:00:00 +0000 2019\nX-GM: 1\n", True),
        (b"From the sea in 2019\nwe saw nothing.\n", False),
        (b"From: a@example.org\nDate: 2019\n", False),
        (b"", False),
    ],
    ids=["thunderbird", "gmail", "prose", "mail", "empty"],
)
def test_an_archive_is_known_by_its_first_lines(head, so):
    assert is_mailbox(head) is so


@pytest.mark.parametrize("name", ["a.ost", "a.pst"])
def test_outlooks_own_files_say_what_to_do(tmp_path, name):
    (tmp_path / name).write_bytes(b"\xd0\xcf\x11\xe0")
    [skipped] = discover([tmp_path])
    assert isinstance(skipped, Skipped)
    assert ".eml" in skipped.reason


def test_mails_that_were_deleted_from_an_archive_go_with_prune(tmp_path, own_settings):
    library = Library.open(settings=own_settings, encoder="none")
    archive(tmp_path / "a.mbox", mail(1), mail(2))
    library.add([tmp_path])
    assert len(library.search("bearing", where="kind=mail")) == 2
    (tmp_path / "a.mbox").unlink()
    archive(tmp_path / "a.mbox", mail(2))
    report = library.add([tmp_path / "a.mbox"], prune=True)
    assert (len(report.removed), len(report.unchanged)) == (1, 1)
