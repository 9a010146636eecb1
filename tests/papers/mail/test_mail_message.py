"""The message: its headers after a round trip, its text for people, its HTML for programs, its signature."""

from __future__ import annotations

import email
import re
import time
from dataclasses import replace
from datetime import UTC, datetime
from email.policy import default
from html.parser import HTMLParser

import dkim
import pytest
from hypothesis import given
from hypothesis import strategies as st

from foveal import faults
from foveal.bench.mail_data import SITE, TITLES, composer
from foveal.errors import InputError
from foveal.papers.mail.digest import Entry
from foveal.papers.mail.links import Links
from foveal.papers.mail.message import MOST_BYTES, digest_of, item, single, whole
from foveal.papers.mail.morning import nobody, preview
from foveal.papers.mail.settings import MailSettings
from foveal.papers.mail.signing import Dkim, dkim_of, message_id
from foveal.papers.mail.subscriptions import Preferences, subscriptions
from foveal.papers.periods import Period
from foveal.papers.plain_titles import clipped, one_line, plain_tex
from foveal.papers.store import PaperStore

NOW = datetime(2026, 10, 2, 12, tzinfo=UTC)
DAY = Period.of("day", "2026-10-02")
MAIL = MailSettings(
    host="localhost", sender="Daily Papers <papers@example.org>", bounces="bounces@example.org", url=SITE,
    postal="Example Group, 1 Main Street",
)  # fmt: skip
TOKEN = "t" * 43


@pytest.fixture
def papers(make_site):
    return {paper.id: paper for paper in PaperStore(make_site().database).page(limit=50).papers}


def made(papers, **changes):
    entries = [Entry(one, "Trending", "no. 1") for one in sorted(papers)][:12]
    digest = digest_of(papers, entries, DAY, links=Links(SITE), **changes)
    return whole(
        digest,
        to="ana+x@example.org",
        mail=MAIL,
        links=Links(SITE),
        token=TOKEN,
        message_id="<m@example.org>",
        date=NOW,
    )


def parsed(raw):
    message = email.message_from_bytes(raw, policy=default)
    text, html = message.iter_parts()
    return message, text.get_content().replace("\r\n", "\n"), html.get_content()


def test_headers_survive_a_round_trip(papers):
    message, _, _ = parsed(made(papers))
    assert dict(message.items()) | {"Content-Type": ""} == {
        "From": "Daily Papers <papers@example.org>",
        "To": "ana+x@example.org",
        "Subject": "Daily Papers · Oct 2 · 12 papers: Where to Look When Everything Is Text",
        "Date": "Fri, 02 Oct 2026 12:00:00 +0000",
        "Message-ID": "<m@example.org>",
        "Auto-Submitted": "auto-generated",
        "List-Id": "<daily-papers.example.org>",
        "List-Unsubscribe": f"<{SITE}/u/{TOKEN}>, <mailto:bounces@example.org?subject=unsubscribe%20{TOKEN}>",
        "List-Unsubscribe-Post": "List-Unsubscribe=One-Click",
        "MIME-Version": "1.0",
        "Content-Type": "",
    }
    assert message.get_content_type() == "multipart/alternative"
    assert [part.get_content_type() for part in message.iter_parts()] == ["text/plain", "text/html"]


def test_list_headers_stand_on_one_line_and_no_line_is_too_long(papers):
    raw = made(papers)
    assert b"\n" not in raw.replace(b"\r\n", b"")
    head = raw.partition(b"\r\n\r\n")[0].split(b"\r\n")
    for name in (b"List-Unsubscribe: ", b"List-Unsubscribe-Post: ", b"List-Id: ", b"Message-ID: "):
        place = next(n for n, line in enumerate(head) if line.startswith(name))
        assert not head[place + 1].startswith((b" ", b"\t")), name
    assert max(len(line) for line in raw.split(b"\r\n")) <= 998
    assert raw.isascii()
    assert raw == made(papers)  # a second try is the same message


def test_the_text_is_for_people(papers):
    _, text, _ = parsed(made(papers))
    assert "2. An O(n log n) Bound for α-Mixing Attention\n" in text
    assert "3. Reading a Book in One Pass\n" in text
    assert "6. Schrödinger's Cache: Keys That Are and Are Not\n" in text
    assert "Léa Martin, Bo Li, Ana Sato et al." in text
    assert "(summary by small-model)" in text
    assert f"\nUnsubscribe: {SITE}/u/{TOKEN}\n" in text
    assert "1 Main Street" in text
    assert "ana+x@example.org subscribed" in text
    assert not re.search(r"\$|\\|\u202e", text.replace("at $5 Each", ""))
    assert all(len(line) <= 72 or "://" in line or " " not in line for line in text.splitlines())


class Tags(HTMLParser):
    """Tags and attributes in order; what is open at the end."""

    VOID = ("meta", "br", "img", "hr", "link")

    def __init__(self):
        super().__init__()
        self.seen, self.open = [], []

    def handle_starttag(self, tag, attributes):
        self.seen.append((tag, dict(attributes)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_the_html_needs_nothing_from_elsewhere_and_runs_nothing(papers):
    hostile = replace(
        papers["2610.00000"],
        title='<script>alert(1)</script><img src="http://x.example/p.gif">',
        abstract="<iframe src=javascript:alert(1)>",
        repo_url="javascript:alert(1)",
        summary="",
        authors=(),
        organisation='"><svg onload=alert(1)>',
    )
    raw = made(papers | {hostile.id: hostile})
    _, text, html = parsed(raw)
    tags = Tags()
    tags.feed(html)
    assert tags.open == []
    assert not {tag for tag, _ in tags.seen} & {"script", "img", "iframe", "svg", "link", "form", "object"}
    links = [attributes["href"] for tag, attributes in tags.seen if tag == "a"]
    assert all(link.startswith((f"{SITE}/", "https://arxiv.org/abs/", "https://code.example.org/")) for link in links)
    assert not any(name.startswith("on") or name == "src" for _, attributes in tags.seen for name in attributes)
    assert "url(" not in html
    assert "max-width:600px" in html
    assert "prefers-color-scheme: dark" in html
    assert "javascript" not in "".join(links)
    assert len(html.encode()) < MOST_BYTES
    assert "<script>alert(1)</script>" in text  # as letters


def test_a_large_digest_stays_below_what_readers_cut_off(papers):
    long = {
        one: replace(paper, title="Ünïcode " * 60, abstract="ä" * 9_000, summary="", authors=paper.authors * 500)
        for one, paper in papers.items()
    }
    _, _, html = parsed(made(long))
    assert len(made(long)) < 100_000
    assert len(html.encode()) < MOST_BYTES


def test_a_headline_stands_below_the_authors_title_and_replaces_none(papers):
    _, text, html = parsed(made(papers, headline=lambda _: "Two\nlooks are enough"))
    for shown in (text, html):
        assert "Where to Look When Everything Is Text" in shown
        assert "Two looks are enough" in shown
        assert "In short:" in shown


def test_subjects_hold_no_breaks_and_no_marks_that_turn_the_text(papers):
    evil = replace(papers["2610.00000"], title="Bcc: x@example.org\r\nTo: \u202ey\u2066 $\\alpha$ \x00" + "long " * 60)
    message, _, _ = parsed(made(papers | {evil.id: evil}))
    assert message["Bcc"] is None
    assert message["To"] == "ana+x@example.org"
    assert message["Subject"].startswith("Daily Papers · Oct 2 · 12 papers: Bcc: x@example.org To: y α long long")
    assert message["Subject"].endswith("long…")
    assert len(message["Subject"]) < 160


ENCODED = "=?utf-8?q?x=0d=0aReply-To:_evil@x.example=0d=0a=0d=0aPay_here:http://evil.example?="


@pytest.mark.parametrize("hidden", [ENCODED, ENCODED.replace("=?utf", "=\u200b?utf"), f"é {ENCODED} é"])
def test_encoded_words_of_others_stay_letters(papers, hidden):
    evil = papers["2610.00000"].id
    raw = single(
        replace(MAIL, sender='"=?utf-8?q?x=0d=0aBcc:y?=" <papers@example.org>'),
        to="ana@example.org", subject=f"{hidden} answered you", text="Hello", message_id="<m@example.org>", date=NOW,
    )  # fmt: skip
    digest, _, _ = parsed(made(papers | {evil: replace(papers[evil], title=hidden)}))
    for message in (email.message_from_bytes(raw, policy=default), digest):
        assert message["Reply-To"] is message["Bcc"] is None
        assert "= ?utf-8?q?x=0d=0aReply-To:_evil@x.example=0d=0a" in message["Subject"]
    assert b"\r\nPay" not in raw
    assert email.message_from_bytes(raw, policy=default)["From"].addresses[0].display_name.startswith("= ?utf-8?q")


def test_one_paper_is_one_paper_and_weeks_have_their_names(papers):
    entries = [Entry("2610.00001", "Trending", "")]
    digest = digest_of(papers, entries, Period.of("week", "2026-W40"), cadence="weekly", links=Links(SITE))
    assert digest.subject == "Daily Papers · W40 · 1 paper: An O(n log n) Bound for α-Mixing Attention"
    assert digest_of({}, entries, DAY, links=Links(SITE)).papers == 0


def test_summaries_are_one_sentence_and_say_who_made_them(papers):
    links = Links(SITE)
    assert item(papers["2610.00004"], "", links=links).summary_model == "small-model"
    first = item(papers["2610.00001"], "", links=links)
    assert (first.summary, first.summary_model) == (
        "We ask how a reader finds passage 1 in a library with n pages.",
        "",
    )
    wordy = replace(papers["2610.00001"], abstract="word " * 90)
    assert len(item(wordy, "", links=links).summary.split()) == 40
    bare = replace(papers["2610.00001"], abstract="", authors=(), author_count=0, organisation="")
    assert (item(bare, "", links=links).summary, item(bare, "", links=links).authors) == ("", "")


def test_the_signature_covers_both_list_headers_and_verifies(papers, key):
    signer = Dkim(domain="example.org", selector="test", key=key.pem)
    signed = signer.sign(made(papers))

    def record(name, timeout=5):
        assert name == b"test._domainkey.example.org."
        return key.dkim_record

    assert dkim.verify(signed, dnsfunc=record)
    names = re.search(rb"h=([^;]+);", signed)[1].replace(b"\r\n", b"").split()
    assert names.count(b"list-unsubscribe") == names.count(b"list-unsubscribe-post") == 2
    for old, new in (
        (f"{SITE}/u/", "https://evil.example/u/"),
        ("List-Unsubscribe=One-Click", "List-Unsubscribe=Never"),
        ("Where to Look", "Where to Buy"),
    ):
        assert not dkim.verify(signed.replace(old.encode(), new.encode(), 1), dnsfunc=record)
    assert not dkim.verify(b"List-Unsubscribe: <https://evil.example/>\r\n" + signed, dnsfunc=record)


def test_keys_come_from_files_and_bad_ones_are_named(tmp_path, key):
    (tmp_path / "dkim.pem").write_bytes(key.pem.replace(b"\n", b"\r\n"))
    signer = dkim_of(replace(MAIL, dkim_key="dkim.pem"), tmp_path)
    assert signer is not None
    assert (signer.domain, signer.selector) == ("example.org", "foveal")
    assert "PRIVATE" not in repr(signer)
    assert dkim_of(MAIL, tmp_path) is None
    (tmp_path / "bad.pem").write_text("no key")
    with pytest.raises(InputError, match="openssl genrsa"):
        dkim_of(replace(MAIL, dkim_key="bad.pem"), tmp_path)
    with pytest.raises(InputError, match="cannot be read"):
        dkim_of(replace(MAIL, dkim_key="gone.pem"), tmp_path)


def test_message_ids_are_those_of_run_and_subscription_under_the_secret():
    one = message_id(b"k" * 32, "daily/2026-10-02", "seed", "example.org")
    assert one == message_id(b"k" * 32, "daily/2026-10-02", "seed", "example.org")
    others = {
        message_id(b"l" * 32, "daily/2026-10-02", "seed", "example.org"),
        message_id(b"k" * 32, "daily/2026-10-03", "seed", "example.org"),
        message_id(b"k" * 32, "daily/2026-10-02", "other", "example.org"),
    }
    assert len(others | {one}) == 4


def test_single_mails_are_text_and_say_who_sends_them():
    text = f"Open\n{SITE}/mail/confirm/{TOKEN}\n"
    subject = "Confirm\r\nBcc: x@y.org"
    raw = single(MAIL, to="ana@example.org", subject=subject, text=text, message_id="<m@example.org>", date=NOW)
    message = email.message_from_bytes(raw, policy=default)
    assert message["Subject"] == "Confirm Bcc: x@y.org"
    assert message["Bcc"] is None
    assert message["List-Unsubscribe"] is None
    assert f"\n{SITE}/mail/confirm/{TOKEN}\n" in message.get_content().replace("\r\n", "\n")
    assert "1 Main Street" in message.get_content()


def test_a_preview_is_what_would_be_sent(make_site):
    with faults.injected({}, clock=lambda: NOW):
        site = make_site(1)
        [one] = subscriptions(site.database)
        raw = preview(site.outbox(), composer(site.database, NOW), one, DAY)
        assert raw is not None
        assert (
            preview(site.outbox(), composer(site.database, NOW), nobody(Preferences(query="nothing fits")), DAY) is None
        )
        site.tick()
    assert site.server.taken[0].raw == raw


@pytest.mark.parametrize(
    ("tex", "plain"),
    [
        (r"An $O(n^2)$ bound for $\alpha$-mixing", "An O(n²) bound for α-mixing"),
        ("$5 and $6", "$5 and $6"),
        (r"Erd\H{o}s and Poincar\'e, G\"odel", "Erdős and Poincaré, Gödel"),
        (r"$\mathbb{R}^{d\times d}$, $x_{ij}$, $\frac{1}{2}$", "R^(d×d), x_(ij), 1/2"),
        (r"\textbf{Bold} and \emph{soft}", "Bold and soft"),
        (r"100\% of A~B", "100% of A B"),
        (r"\(k\)-means with $\ell_2$", "k-means with ℓ₂"),
        (r"when $\|QK^\top\|_\infty \leqslant \epsilon$", "when ‖QK^⊤‖_∞≤ε"),
        ("unclosed $ and {braces}", "unclosed $ and {braces}"),
    ],
)
def test_tex_in_letters(tex, plain):
    assert plain_tex(tex) == plain


def test_no_title_takes_long():
    started = time.process_time()
    for piece in ("\\(", "$$", "$a", "\\emph{", "\\frac{a}", "^{"):
        plain_tex(piece * 20_000)
    assert time.process_time() - started < 4


@given(st.text(max_size=80))
def test_plain_text_is_one_safe_line(text):
    for shown in (one_line(text), plain_tex(text)):
        assert not re.search("[\x00-\x1f\x7f-\x9f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069]", shown)
        assert shown == shown.strip()
        shown.encode("utf-8")
    assert len(clipped(text, 20)) <= 20


@given(st.sampled_from(TITLES), st.text(alphabet="$\\{}_^ab1 ", max_size=30))
def test_broken_tex_never_fails(title, noise):
    plain_tex(title + noise)
    plain_tex(noise + title)
