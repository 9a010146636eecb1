"""A digest as a message: text first, then HTML that needs nothing from elsewhere, and the headers of a good sender.

    digest = digest_of(papers, entries, period, links=links)
    raw = whole(digest, to=address, mail=mail, links=links, token=…, message_id=…, date=now)      # bytes, to be signed

Text       72 columns, an address on a line of its own; mathematics in letters (plain.py)
HTML       at most 600 px wide, its looks in the elements themselves, colours for light and dark; no image, no script,
           nothing that tells us who reads. Below 100 KB, which is where some readers cut off
Headers    both of RFC 8058, each on one line (a fold inside breaks signatures), List-Id, Auto-Submitted
Titles     are the authors'. `headline` may add a line of its own below; it replaces none
"""

from __future__ import annotations

import hashlib
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP, EmailPolicy
from email.utils import format_datetime, parseaddr
from functools import cache, lru_cache
from importlib.resources import files
from itertools import groupby
from typing import Any
from urllib.parse import quote

from foveal.papers.mail.digest import Entry
from foveal.papers.mail.links import Links
from foveal.papers.mail.settings import MailSettings
from foveal.papers.periods import Period
from foveal.papers.plain_titles import clipped, header_line, one_line, plain_tex
from foveal.papers.store import Paper

SITE = "Daily Papers"
MOST_BYTES = 100_000
AUTHORS, SUMMARY_WORDS, TITLE, SUBJECT_TITLE = 3, 40, 300, 110
COLUMNS, LONGEST_URL = 72, 500
ON_ONE_LINE = ("list-unsubscribe", "list-unsubscribe-post", "list-id", "message-id")

Headline = Callable[[Paper], str | None]
"""A line of ours about a paper, None for none."""


@dataclass(frozen=True)
class Item:
    """A paper as a digest shows it: all plain text."""

    title: str
    headline: str
    authors: str
    summary: str
    summary_model: str  # "" = the abstract's first sentence
    why: str
    url: str
    source_url: str  # arXiv or where it stands, "" where unknown
    code_url: str


@dataclass(frozen=True)
class Digest:
    """What is sent to somebody: the papers under their headings."""

    cadence: str
    period: str  # "Oct 2", "W40", "Oct 2026"
    sections: tuple[tuple[str, tuple[Item, ...]], ...]

    @property
    def papers(self) -> int:
        """How many."""
        return sum(len(items) for _, items in self.sections)

    @property
    def subject(self) -> str:
        """ "Daily Papers · Oct 2 · 12 papers: Where to Look"."""
        first = clipped(self.sections[0][1][0].title, SUBJECT_TITLE)
        return f"{SITE} · {self.period} · {self.papers} paper{'s' * (self.papers != 1)}: {first}"


class OneLine(EmailPolicy):
    """SMTP's policy, but headers that carry an address of ours are never folded."""

    def fold_binary(self, name: str, value: str) -> bytes:
        """A header as it is sent."""
        if name.lower() in ON_ONE_LINE:
            return f"{name}: {value}\r\n".encode("ascii")
        folded: bytes = super().fold_binary(name, value)
        return folded


POLICY = OneLine(linesep="\r\n", cte_type="7bit", max_line_length=SMTP.max_line_length)


def digest_of(
    papers: Mapping[str, Paper],
    entries: Sequence[Entry],
    period: Period,
    *,
    cadence: str = "daily",
    links: Links,
    headline: Headline | None = None,
) -> Digest:
    """The entries with what is known of their papers now; one that is gone, or was withdrawn since, is left out."""
    there = [one for one in entries if one.paper_id in papers and not papers[one.paper_id].withdrawn]
    sections = tuple(
        (one_line(section), tuple(item(papers[one.paper_id], one.why, links=links, headline=headline) for one in group))
        for section, group in groupby(there, key=lambda entry: entry.section)
    )
    return Digest(cadence, period.title, sections)


def item(paper: Paper, why: str, *, links: Links, headline: Headline | None = None) -> Item:
    """A paper as plain text."""
    return replace(_about(paper, links, headline), why=one_line(why))


@lru_cache(maxsize=1_000)
def _about(paper: Paper, links: Links, headline: Headline | None) -> Item:
    """The same for all who are sent it: made once."""
    summary, model = sentence_of(paper)
    return Item(
        title=clipped(plain_tex(paper.title), TITLE) or paper.id,
        headline=one_line((headline and headline(paper)) or ""),
        authors=authors_of(paper),
        summary=summary,
        summary_model=model,
        why="",
        url=links.paper(paper.id),
        source_url=web_address(paper.page_url),
        code_url=web_address(paper.repo_url),
    )


def authors_of(paper: Paper) -> str:
    """Three names and "et al."; the organisation where there are none."""
    shown = [one_line(author.name) for author in paper.named_authors][:AUTHORS]
    if not shown:
        count = f"{paper.author_count:,} author{'s' * (paper.author_count != 1)}" if paper.author_count else ""
        return one_line(paper.organisation) or count
    more = max(paper.author_count, len(paper.authors)) > len(shown)
    return clipped(", ".join(shown), 200) + (" et al." if more else "")


def sentence_of(paper: Paper) -> tuple[str, str]:
    """One sentence about a paper, and the model that made it ("": it is the abstract's first)."""
    if paper.summary:
        return _at_most(plain_tex(paper.summary)), one_line(paper.summary_model)
    from foveal.text.units import sentences

    abstract = plain_tex(paper.abstract)
    first = next((abstract[start:end].strip() for start, end in sentences(abstract)), "")
    return _at_most(first), ""


def whole(
    digest: Digest, *, to: str, mail: MailSettings, links: Links, token: str, message_id: str, date: datetime
) -> bytes:
    """The message of a digest to one address, as it is sent but for the signature."""
    words = {
        "digest": digest,
        "why": f"You get this because {to} subscribed to the {digest.cadence} digest of {SITE} and confirmed it.",
        "ways": (("Topics, hour, how often", links.preferences(token)), ("Unsubscribe", links.unsubscribe(token))),
    }
    return listed(
        "digest", words, subject=digest.subject, to=to, mail=mail, links=links, token=token, message_id=message_id,
        date=date,
    )  # fmt: skip


def listed(
    template: str,
    words: Mapping[str, Any],
    *,
    subject: str,
    to: str,
    mail: MailSettings,
    links: Links,
    token: str,
    message_id: str,
    date: datetime,
) -> bytes:
    """A message that can be ended by one click: of two templates, text and HTML, with the headers of a list.

    `words` are the template's own, and those of the frame's foot: `why` somebody gets this, and the `ways` from there,
    (label, address) each.
    """
    known = {"subject": subject, "postal": mail.postal, "home": links.home(), "site": SITE}
    message = _message(mail, to=to, subject=subject, message_id=message_id, date=date)
    message["List-Id"] = f"<{mail.list_name}>"
    write_to = f"<mailto:{quote(mail.return_address, safe='@+')}?subject=unsubscribe%20{token}>"
    message["List-Unsubscribe"] = f"<{links.unsubscribe(token)}>, {write_to}"
    message["List-Unsubscribe-Post"] = "List-Unsubscribe=One-Click"
    text, html = (_template(f"{template}.{kind}").render(known | dict(words)) for kind in ("txt", "html"))
    _fill(message, text, html)
    return message.as_bytes()


def single(mail: MailSettings, *, to: str, subject: str, text: str, message_id: str, date: datetime) -> bytes:
    """A mail that answers a request, such as a link to confirm: text only."""
    message = _message(mail, to=to, subject=subject, message_id=message_id, date=date)
    message.set_content(f"{text.rstrip()}\n\n{mail.postal}\n", cte="quoted-printable")
    return message.as_bytes()


def _message(mail: MailSettings, *, to: str, subject: str, message_id: str, date: datetime) -> EmailMessage:
    message = EmailMessage(policy=POLICY)
    name = header_line(parseaddr(mail.sender)[0]) or SITE
    message["From"] = Address(name, addr_spec=mail.sender_address)
    message["To"] = Address("", addr_spec=to)
    message["Subject"] = header_line(subject)
    message["Date"] = format_datetime(date)
    message["Message-ID"] = message_id
    message["Auto-Submitted"] = "auto-generated"
    return message


def _fill(message: EmailMessage, text: str, html: str) -> None:
    """Text, then HTML; the boundary follows from them, so that a second try is the same message."""
    message.set_content(text, cte="quoted-printable")
    message.add_alternative(html, subtype="html", cte="quoted-printable")
    message.set_boundary(f"=_{hashlib.sha256((text + html).encode()).hexdigest()[:32]}")


def _at_most(sentence: str) -> str:
    words = sentence.split()
    short = " ".join(words[:SUMMARY_WORDS]) + ("…" if len(words) > SUMMARY_WORDS else "")
    return clipped(short, 400)


def web_address(url: str) -> str:
    """The address if it is one of the web, else "": no other kind is linked."""
    plain = "".join(url.split())
    return plain if plain.startswith(("https://", "http://")) and len(plain) <= LONGEST_URL else ""


@lru_cache(maxsize=4_000)
def _wrapped(text: str, indent: int = 0) -> str:
    space = " " * indent
    return "\n".join(
        textwrap.wrap(
            text, COLUMNS, initial_indent=space, subsequent_indent=space, break_long_words=False,
            break_on_hyphens=False,
        )
    )  # fmt: skip


@cache
def _template(name: str) -> Any:
    from foveal.registry import require

    jinja = require("jinja2", extra="mail")
    loader = jinja.FunctionLoader(lambda one: (files(__package__) / "templates" / one).read_text(encoding="utf-8"))
    escape = name.endswith(".html")
    environment = jinja.Environment(
        loader=loader, autoescape=escape, trim_blocks=True, lstrip_blocks=True, undefined=jinja.StrictUndefined
    )
    environment.filters["wrapped"] = _wrapped
    return environment.get_template(name)
