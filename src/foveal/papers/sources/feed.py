"""Feeds: RSS 2.0, RSS 1.0, Atom and JSON Feed (json_feed.py), of any site, as items and as papers.

    items = read_feed(content, url)             # Item(id, title, link, summary, authors, published, updated, …)

Own parser over lxml: no entity is followed, no network is used; broken XML is mended as far as it goes, as in browsers.
Encoding   what the XML names; of what is not in it, nor in UTF-8, what the server names, else Windows-1252 (`_in_utf8`)
Against    arxiv_feed.py, which reads what arXiv puts into its items; here an item's summary is its abstract
Publishers  what they put where a feed has another place for it: publishers.py
Believed   little: a day ahead is today's, a year before 1990 is no date; an item that leads to arXiv only fills what is
           empty of that paper (upserts.py), in whatever version its address names
Listed     on the day of its date; without one on the day on which it is first stored (upserts.py)
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date, datetime, timedelta
from html.entities import name2codepoint
from typing import Any
from urllib.parse import urljoin, urlsplit

from foveal import faults
from foveal.errors import FetchFailed, InputError
from foveal.papers.plain_titles import one_line
from foveal.papers.records import Named, PaperRecord
from foveal.papers.sources import DEFAULTS, Connection, Reading, each
from foveal.papers.sources.feed_items import Item, named
from foveal.papers.sources.json_feed import items_of_json
from foveal.papers.sources.publishers import (
    abstract_of,
    authors_in,
    doi_of,
    in_arxiv,
    is_headed,
    names_of,
    summary_of,
    titled,
    version_of,
)
from foveal.text.arxiv import arxiv_address
from foveal.text.dates import aware, day_of
from foveal.text.fetching import Fetched, fetch
from foveal.text.plain import storable

LONGEST = 100_000
"""Characters of HTML that are read for one abstract."""

_BLANK = b"\xef\xbb\xbf \t\r\n"
"""What may stand before all else: a byte order mark, blanks."""

_VERSION = re.compile(r"v\d+$")
_SUBJECT = re.compile(
    r"(?:cs|econ|eess|math|stat|q-bio|q-fin)\.[A-Z]{2}|(?:astro-ph|cond-mat|nlin|physics)(?:\.[A-Za-z-]{2,20})?"
    r"|gr-qc|hep-(?:ex|lat|ph|th)|math-ph|nucl-(?:ex|th)|quant-ph"
)
"""A subject in arXiv's words: other tags of a feed ("News", "Uncategorized") are none."""

_TAKEN_BACK = re.compile(r"\W{0,3}(?:withdrawn|retracted)(?:\s?[:\])–—]|\s-\s)", re.IGNORECASE)
"""How a publisher's feed begins a title that was taken back: "RETRACTED: …", "[Withdrawn] …"."""

_NAMED = re.compile(rb"\s*<\?xml[^>]{0,200}?encoding=[\"']([\w.:-]+)")
_DECLARED = re.compile(r"\s*<\?xml[^>]{0,300}>")
_EMPTY = re.compile(rb"<(?:item|entry)\b[^>]{0,300}/>")
_AMPERSAND = re.compile(rb"&(?:(#\d{1,9}|#[xX][\da-fA-F]{1,8}|[A-Za-z][A-Za-z\d]{0,30});)?")
_MARKED = re.compile(
    r"</?(?:(?:jats|mml):)?(?:i|b|em|strong|sub|sup|p|span|small|sc|scp|italic|bold|math)"
    r"(?:\s{1,9}[\w:-]{1,60}\s{0,9}=[^<>]{0,300})?>|&\w+;"
)
"""What shows that a title is HTML, or JATS: tags that publishers write there. Others, such as <eos>, are words."""

_BLOCK = re.compile(r"</?(?:p|div|br|li|ul|ol|h\d|blockquote)\b[^>]{0,300}>", re.IGNORECASE)  # unbounded: quadratic
_LESS = re.compile(r"<(?![!?])/?([A-Za-z][\w:-]{0,30})?(\s{0,300}/?>|\s{1,300}[\w:@-]{1,60}\s{0,300}=)?")
"""A <, the name of the tag that it may begin, and what shows that it does: its end, or an attribute."""

_PARTING = tuple(
    f"{{*}}{name}" for name in ("p", "div", "br", "li", "ul", "ol", "blockquote", "h1", "h2", "h3", "h4", "h5", "h6")
)


class Feed:
    """Source: a feed of any site; what is asked for is its address."""

    name = "feed"
    overlap_days = 0
    once_a_day = False
    conditional = True

    def __init__(self, connection: Connection = DEFAULTS) -> None:
        self._connection = connection

    def first_url(self, ask: str, *, since: date, today: date) -> str:  # noqa: ARG002
        """The feed's address."""
        if not _is_web(ask.strip()):
            raise InputError(f"A feed got the address {ask[:80]!r}; it needs one that begins with http:// or https://.")
        return ask.strip()

    def get(self, url: str, headers: Mapping[str, str] | None = None) -> Fetched:
        """The feed, or 304."""
        answer = fetch(url, self._connection.fetch, accept=(200, 304), headers=headers)
        return replace(answer, content=_in_utf8(answer.content, answer.charset))

    def read(self, content: bytes | None, url: str) -> Reading:
        """The items that have a title."""
        if content is None:
            return Reading()
        items, unread = _items(content, url)
        made, wrong = each(record_of, _with_own_dois([item for item in items if item.title]))
        return Reading(records=made, left_out=unread + wrong)


def _items(content: bytes, url: str) -> tuple[tuple[Item, ...], tuple[str, ...]]:
    """The items of a feed of either kind. FetchFailed: it is none."""
    return (items_of_json if content.lstrip(_BLANK)[:1] == b"{" else items_of)(content, url)


def _with_own_dois(items: Sequence[Item]) -> list[Item]:
    """The items; a DOI that several of them give, by other titles, is of the journal, or a slip: none has it then."""
    titles: dict[str, set[str]] = {}
    for item in items:
        titles.setdefault(item.doi.lower(), set()).add(item.title)
    return [replace(item, doi="") if len(titles[item.doi.lower()]) > 1 else item for item in items]


def record_of(item: Item) -> PaperRecord:
    """An item as a record; one whose link leads to arXiv is that paper. No word of it turns others around."""
    of_arxiv = in_arxiv(item.doi)
    address = (arxiv_address(item.link) or arxiv_address(f"arxiv:{of_arxiv}") or "").removeprefix("arxiv:")
    moment, summary = item.published or item.updated, plain(item.summary)
    title = one_line(titled(item.title, item.link))
    return PaperRecord(
        id=_VERSION.sub("", address),
        version=version_of(item.link),
        title=title,
        abstract=one_line(abstract_of(summary, headed=is_headed(item.summary))),
        authors=tuple(Named(name=name) for one in item.authors or authors_in(summary) if (name := one_line(one))),
        published_at=_believed(moment),
        updated_at=_believed(item.updated),
        url=item.link if _is_web(item.link) else "",
        doi="" if of_arxiv else item.doi,
        categories=tuple(dict.fromkeys(name for name in item.categories if _SUBJECT.fullmatch(name))),
        withdrawn=bool(_TAKEN_BACK.match(title)),
        listed_on=day_of(moment, faults.now().date()),
        source=Feed.name,
    )


def _believed(moment: datetime | None) -> datetime | None:
    """An instant, unless it lies more than a day ahead or is a program's zero."""
    ahead = faults.now() + timedelta(days=1)
    return moment if moment and moment <= ahead and day_of(moment, ahead.date()) else None


def _is_web(address: str) -> bool:
    try:
        return urlsplit(address).scheme in ("http", "https")
    except ValueError:  # http://[
        return False


def read_feed(content: bytes, url: str) -> tuple[Item, ...]:
    """The items of a feed, in its order; those that cannot be read are left out. FetchFailed: `content` is no feed."""
    return items_of(content, url)[0]


def items_of(content: bytes, url: str) -> tuple[tuple[Item, ...], tuple[str, ...]]:
    """The items of a feed, and why others could not be read. FetchFailed: `content` is no feed."""
    from lxml import etree

    parser = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False, recover=True, huge_tree=False)
    try:
        root = etree.fromstring(_with_numbers(content.strip()), parser)
    except (etree.XMLSyntaxError, ValueError) as error:
        raise _no_feed(content, url, f"something other than a feed ({error})") from error
    if root is None or _local(root) not in ("rss", "RDF", "feed"):
        raise _no_feed(content, url, "something else" if root is None else f"<{_local(root)}>")
    base, authors = _base(root, url), tuple(_authors_of(root))
    items = [one for one in root.iter() if _local(one) in ("item", "entry")]
    whole = items[:-1] if _breaks_off(content) else items
    made, wrong = each(lambda one: _item(one, base, authors), whole)
    return made, wrong if whole == items else (*wrong, f"{url} breaks off in the midst of its last item.")


def _with_numbers(content: bytes) -> bytes:
    """The XML with its entities as numbers: those of HTML, too, and each & that begins none.

    From the first error on, an &nbsp; say, the parser drops &amp; and &lt; without a word, and numbers alone stay: all
    that follows would lose its marks and the parameters of its addresses. CDATA has no entities.
    """
    named = _NAMED.match(content)
    if b"&" not in content or b"\0" in content[:4] or (named and named[1].lower().startswith(b"iso-2022")):
        return content
    first, *others = content.split(b"<![CDATA[")
    parts = (part.partition(b"]]>") for part in others)
    told = (held + end + _AMPERSAND.sub(_numbered, after) for held, end, after in parts)
    return b"<![CDATA[".join((_AMPERSAND.sub(_numbered, first), *told))


def _numbered(found: re.Match[bytes]) -> bytes:
    name = found[1] or b""
    if name.startswith(b"#"):
        return found[0]
    number = 39 if name == b"apos" else name2codepoint.get(name.decode())
    return b"&#%d;" % number if number else b"&#38;" + found[0][1:]


def _breaks_off(content: bytes) -> bool:
    """Whether the feed ends inside an item: what is cut may be its title, or its address."""
    last = max(content.rfind(b"<item"), content.rfind(b"<entry"))
    left = content[last:] if last >= 0 else b""
    return b">" in left and not (b"</item" in left or b"</entry" in left or _EMPTY.match(left))


def _no_feed(content: bytes, url: str, otherwise: str) -> FetchFailed:
    """What to say of an answer that is no feed: most often it is the site's page, which names its feed."""
    from lxml import etree, html

    begins = content[:1000].lstrip(_BLANK).lower()
    if not begins:
        return FetchFailed(f"{url} answered with nothing. Check the address, or try again later.")
    if begins.startswith(b"{"):
        otherwise = "JSON"
    said = f"{url} answered with {otherwise}, where a feed begins with <rss>, <RDF> or <feed>. Check the address."
    if not (begins.startswith((b"<!doctype html", b"<html")) or b"<html" in begins):
        return FetchFailed(said)
    said = f"{url} answered with a web page, not with a feed."
    try:
        links = html.document_fromstring(content[:LONGEST]).iter("link")
        named = [urljoin(url, str(one.get("href"))) for one in links if one.get("href") and _leads_to_a_feed(one)]
    except (etree.ParserError, ValueError):
        named = []
    if named:
        return FetchFailed(f"{said} The page names its feed: {named[0][:300]}. Put that address in its place.")
    return FetchFailed(f"{said} Check the address: on many sites a link called RSS or Atom leads to the feed.")


def _leads_to_a_feed(link: Any) -> bool:
    return "alternate" in link.get("rel", "").lower() and link.get("type", "").strip().lower() in (
        "application/rss+xml",
        "application/atom+xml",
        "application/feed+json",
    )


def _in_utf8(content: bytes, told: str | None) -> bytes:
    """The feed as it came; in UTF-8 where it is neither that nor in an encoding that it names itself."""
    named = _NAMED.match(content)
    if content.startswith((b"\xff\xfe", b"\xfe\xff")) or (named and named[1].lower() not in (b"utf-8", b"utf8")):
        return content
    text = content.decode("utf-8", "replace")
    wrong = text.count("\ufffd")
    if not wrong:
        return content
    try:
        text = content.decode(told or "")
    except (LookupError, UnicodeDecodeError):
        if wrong <= sum(character > "\x7f" for character in text) - wrong:
            return content  # UTF-8 with a slip
        text = content.decode("windows-1252", "replace")
    return _DECLARED.sub("", text, count=1).encode()


def plain(text: str) -> str:
    """HTML, or text that only looks like it, as one line of text; what stands after LONGEST characters is not read."""
    text = text[:LONGEST]
    if "<" not in text and "&" not in text:
        return " ".join(text.split())
    from lxml import etree, html

    try:
        tree = html.fragment_fromstring(_BLOCK.sub(" ", _LESS.sub(_told_apart, text)), create_parent="div")
    except (etree.ParserError, ValueError):
        return " ".join(text.split())
    for element in tree.xpath(".//script | .//style"):
        element.drop_tree()
    return storable(" ".join(str(tree.text_content()).split()))


def _told_apart(found: re.Match[str]) -> str:
    """A < as it stands where it begins a tag, else as HTML writes it: "for n<m and k>2" has no tag <m and k>."""
    from lxml.html import defs

    name = found[1] or ""
    known = len(name) > 1 and name.lower() in defs.tags
    return found[0] if known or found[2] else "&lt;" + found[0][1:]


def _item(element: Any, base: str, feeds: Sequence[str] = ()) -> Item:
    """`feeds`: the authors of the feed, which are those of an item that names none, by the rules of Atom."""
    base = _base(element, base)
    extra: dict[str, str] = {}
    creators: list[str] = []
    categories: list[str] = []
    identifiers: list[str] = []
    for child in element:
        name, text = _local(child), _text(child)
        if name == "category":
            categories.append(child.get("term") or text)
        elif name == "creator":
            creators.append(named(text))
        elif name == "subject":
            categories.append(text)
        elif name in ("doi", "identifier"):
            identifiers.append(text)
        if text and name not in (*extra, "author", "category", "creator", "subject"):
            extra[name] = text
    link = _link(element, base) or extra.get("guid", "")
    authors = _authors_of(element)
    told = names_of(list(filter(None, [*authors, *(one for one in creators if one not in authors)])))
    return Item(
        id=extra.get("id") or extra.get("guid") or element.get(f"{{{_RDF}}}about") or link,
        title=_titled(element),
        link=link,
        summary=summary_of(extra.get(name, "") for name in ("summary", "description", "content", "encoded")),
        authors=told or tuple(feeds),
        categories=tuple(filter(None, categories)),
        published=aware(extra.get("published") or extra.get("pubDate") or extra.get("date") or extra.get("issued")),
        updated=aware(extra.get("updated") or extra.get("modified")),
        extra=extra,
        doi=doi_of([*identifiers, extra.get("guid", ""), extra.get("id", ""), link]),
    )


def _authors_of(element: Any) -> list[str]:
    """Those of a feed of Atom, or of an item."""
    told = (_text_of(one, "name") or _text(one) for one in element if _local(one) == "author")
    return list(filter(None, map(named, told)))


_RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"


def _titled(element: Any) -> str:
    """The title; one of Atom says whether it is HTML, one of RSS is text in which HTML is common."""
    for child in element:
        if _local(child) == "title":
            text = _text(child)
            marked = child.get("type") in ("html", "xhtml") or _MARKED.search(text)
            return plain(text) if marked else " ".join(text.split())
    return ""


def _link(element: Any, base: str) -> str:
    """The address of the item itself."""
    for child in element:
        if _local(child) == "link" and child.get("rel", "alternate") == "alternate":
            found = str(child.get("href") or _text(child)).strip()
            if found:
                return urljoin(base, found)
    return ""


def _base(root: Any, url: str) -> str:
    told = str(root.get("{http://www.w3.org/XML/1998/namespace}base") or "")
    try:
        return urljoin(url, told)
    except ValueError:
        return url


def _text_of(element: Any, name: str) -> str:
    return next((_text(child) for child in element if _local(child) == name), "")


def _text(element: Any) -> str:
    for one in element.iterdescendants(*_PARTING):  # "<p>One</p><p>Two</p>" are two words
        one.text, one.tail = f" {one.text or ''}", f" {one.tail or ''}"
    return storable("".join(str(part) for part in element.itertext()).strip())


def _local(element: Any) -> str:
    """The name without its namespace; "" for comments and instructions."""
    return element.tag.rpartition("}")[2] if isinstance(element.tag, str) else ""
