"""Web pages to Markdown: the main text with its headings, tables, lists and code, without menus and ornament.

Encoding  byte order mark, then the server's word, then the page's own, then how the bytes fall (`plain.py`)
Before    page furniture goes (edit links, footnote marks, readings of ideographs), emphasis is dropped, white space is
          folded as a browser does; dates within sentences, and quotations there, stay in them, numbers of lists, blank
          lines of code and asides of prose (`html_kept.py`); main part and code are named (`html_frame.py`)
Text      trafilatura's main text; where it finds none, all of the body
After     backslashes that Markdown wants and a reader does not are taken out, except where a line would change its kind

Title: the first heading where the page's <title> begins with it (what follows is the site's name), else the <title>.
Date: only where the page states it; trafilatura's guesses from the text are switched off.
"""

from __future__ import annotations

import codecs
import re
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from foveal.errors import UnreadableSource
from foveal.text.dates import aware
from foveal.text.html_frame import framed, tell
from foveal.text.html_hidden import drop_hidden
from foveal.text.html_kept import MARK, PROSE, fences_alone, mark_kept, put_back, set_apart, write_items, written
from foveal.text.plain import decode, known_encoding, require_text, storable
from foveal.text.raised import lowered, raised

_DECLARED = re.compile(
    rb"""<meta[^>]{0,200}?charset\s*=\s*["']?([\w.:-]+)|<\?xml[^>]{0,100}?encoding=["']([\w.:-]+)""", re.I
)
_COMMENTED = re.compile(rb"<!--(?:.*?-->|.*\Z)", re.DOTALL)
_XML_DECLARATION = re.compile(r"^\s*<\?xml[^>]*\?>")

_FURNITURE = (
    "//*[contains(concat(' ', @class, ' '), ' mw-editsection ')]",
    "//*[contains(concat(' ', @class, ' '), ' mw-cite-backlink ')]",
    "//sup[.//a[contains(@href, '#')]]",  # a footnote's mark; its digit would stick to the word before it
    "//a[contains(@role, 'doc-backlink')][not(ancestor::dt or ancestor::dfn)]",  # there, it is the word itself
    *("//ruby//rt", "//ruby//rp"),  # how the word below is read; within the line it would cut the word in two
)
_NOTE_LINKS = "//a[contains(concat(' ', @*[name()='epub:type'], ' '), ' noteref ') or contains(@role, 'doc-noteref')]"
_NOTE_MARK = re.compile(r"\W*(?:note|fn)?\W*(?:\d+|[ivxlc]{1,6}|[^\W\d_])?\W*", re.IGNORECASE)
_EMPHASIS = ("b", "strong", "i", "em", "u")
_LOOKS = (*_EMPHASIS, "a", "span", "var", "small", "font")
_HEADINGS = ("h1", "h2", "h3", "h4", "h5", "h6")
_SIGNS = {"msup": "^", "mover": "^", "msub": "_", "munder": "_", "mfrac": "/", "msubsup": "_^", "munderover": "_^"}
_RELATION = re.compile(r"\s*[=<>≠≤≥≈≡∼≅∝→⇒⇔]")
_RUBY = ("ruby", "rb", "rtc")
_PROSE = ("p", "li", "dd", "dt", "td", "th", "blockquote", "figcaption", *_HEADINGS)
_INLINE = (
    *("a", "abbr", "acronym", "bdi", "bdo", "big", "cite", "data", "dfn", "font", "ins", "mark", "nobr", "small"),
    "span",
)
_CROWD = 500  # of them in one element, as in a transcript by words: the extraction is quadratic in them
_VERBATIM = ("pre", "code", "textarea", "script", "style")
_ALNUM = re.compile(r"[^\W_]")
_SPACE = re.compile(r"[ \t\r\n\f]+")
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")  # XML has no place for them
_DEEPEST = 512  # elements within each other, as browsers allow; the search for the main text is quadratic in them

_CODE_OR_ESCAPED = re.compile(r"(^```.*?^```|`[^`\n]+`)|(?<!\\)(\\++)([`*_\[\]<>~])", re.DOTALL | re.MULTILINE)
_BLANK_END = re.compile(r"(?<![ \t])[ \t]++$", re.MULTILINE)
_BLOCKS = (
    *("address", "article", "blockquote", "br", "dd", "div", "dl", "dt", "figure", "footer", "form", "header", "hr"),
    *("li", "main", "nav", "ol", "p", "pre", "section", "table", "td", "th", "tr", "ul"),
    *_HEADINGS,
)


@dataclass(frozen=True)
class HtmlPage:
    """What a page says, as Markdown, and what it says of itself."""

    text: str
    title: str | None
    url: str | None
    published_at: datetime | None
    author: str | None
    licence: str | None = None  # its name, or its address


def read_html(content: bytes, *, name: str, charset: str | None = None) -> HtmlPage:
    """The page in `content`; `charset` is what the server said. UnreadableSource where it has no text."""
    from lxml import etree, html

    source = _XML_DECLARATION.sub("", storable(decode_html(content, name=name, charset=charset)).replace(MARK, ""))
    require_text(source, name)
    try:
        tree = html.document_fromstring(source.encode(), parser=_parser())
    except etree.ParserError as error:
        raise UnreadableSource(f"{name} is no HTML that can be read: {error}. Save the page anew.") from error
    _clean(tree)
    author = _named(tree, "author") or _named(tree, "article:author")
    link, licence = _canonical(tree), _licence(tree)
    shallow = _depth(tree) <= _DEEPEST  # else made to cost: no search for what is the main text
    published_at = _published_at(tree, link) if shallow else None
    drop_hidden(tree)  # but what a page says of itself may stand hidden
    _drop_anchors(tree)
    title = _title(tree)
    if shallow:
        _simplify(tree)
        tell(tree)
        mark_kept(tree)
    text = _headed(storable(written((shallow and _main_text(tree)) or _whole_body(tree))), tree, title)
    if not text:
        raise UnreadableSource(
            f"{name} holds no text. If a browser shows some, scripts draw it: save the page as PDF, and add that."
        )
    return HtmlPage(text, title, link, published_at, author, licence)


def read_chapter(content: bytes, *, name: str) -> str:
    """All that a page of a book says, as Markdown; "" where that is nothing. There are no menus to look past."""
    from lxml import etree, html

    source = _XML_DECLARATION.sub("", storable(decode_html(content, name=name)).replace(MARK, ""))
    try:
        tree = html.document_fromstring(source.encode(), parser=_parser())
    except etree.ParserError:
        return ""
    _clean(tree)
    drop_hidden(tree)
    if _depth(tree) <= _DEEPEST:
        _simplify(tree)
        mark_kept(tree)
    return storable(written(_whole_body(tree)))


def decode_html(content: bytes, *, name: str, charset: str | None = None) -> str:
    """The characters of a page, in the encoding that a browser would choose."""
    if content.startswith((codecs.BOM_UTF8, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return decode(content, name)
    found = _DECLARED.search(_COMMENTED.sub(b"", content[:4096]))
    own = known_encoding((found[1] or found[2]).decode("ascii", "replace")) if found else None
    if own and own.startswith(("utf-16", "utf-32")):  # read as ASCII, so it is neither: HTML says that UTF-8 is meant
        own = "utf-8"
    stated = [encoding for encoding in (known_encoding(charset), own) if encoding]
    for encoding in stated:
        try:
            return content.decode(encoding)
        except UnicodeDecodeError:  # the page says one thing and does another
            continue
    return decode(content, name, stated="utf-8" if "utf-8" in stated else None)


def _parser() -> Any:
    """The extraction would drop the words behind a comment, to the end of the paragraph."""
    from lxml import html

    return html.HTMLParser(encoding="utf-8", huge_tree=True, remove_comments=True, remove_pis=True)


def _clean(tree: Any) -> None:
    """Make spaces of control characters: the parser lets them through, but nothing that holds one can be set again."""
    for element in tree.iter():
        if element.text and _CONTROL.search(element.text) and isinstance(element.tag, str):
            element.text = _CONTROL.sub(" ", element.text)
        if element.tail and _CONTROL.search(element.tail):
            element.tail = _CONTROL.sub(" ", element.tail)
        for name, value in element.attrib.items():
            if _CONTROL.search(value):
                with suppress(ValueError):  # a name that no page should have
                    element.attrib[name] = _CONTROL.sub(" ", value)


def _drop_anchors(tree: Any) -> None:
    """Take out the signs (¶, #) by which a heading links to itself."""
    for heading in tree.iter(*_HEADINGS):
        for link in heading.xpath(".//a[starts-with(@href, '#')]"):
            if not _ALNUM.search(link.text_content()):
                link.drop_tree()


def _depth(tree: Any) -> int:
    """The most elements within each other."""
    from lxml import etree

    depth = deepest = 0
    for event, _ in etree.iterwalk(tree, events=("start", "end")):
        depth += 1 if event == "start" else -1
        deepest = max(deepest, depth)
    return deepest


def _main_text(tree: Any) -> str:
    import trafilatura
    from trafilatura.baseline import basic_cleaning

    body, part = tree.find("body"), framed(tree)
    found = _extracted(tree if part is None else part)
    if part is not None and 2 * len(found) < len(" ".join(body.text_content().split())):  # what went was not all menus
        found = max(found, _extracted(tree), key=len)
    if found and body is not None and "".join(found.split()) == "".join(trafilatura.html2txt(tree).split()):
        basic_cleaning(tree)  # it found none, and gave each piece of the body's text as a line, cut at each link
        _tidy_menus(body)
        return ""
    return _readable(found)


def _extracted(tree: Any) -> str:
    import trafilatura

    try:
        return trafilatura.extract(tree, output_format="markdown", include_comments=False, include_tables=True) or ""
    except RecursionError:  # lists within lists, hundreds deep
        return ""


def _tidy_menus(body: Any) -> None:
    """Take out the menus of a page that says more, and part links and labels that only a style sets apart."""
    menus = body.xpath(".//nav[not(ancestor::nav)]")
    whole, headings = [body], body.xpath(".//*[self::h1 or self::h2][not(ancestor::nav)]")
    said, listed, headed = (sum(len(one.text_content()) for one in of) for of in (whole, menus, headings))
    for one in menus if said - listed - headed > min(listed, PROSE) else ():  # else it is a page of contents
        one.drop_tree()
    for one in body.iter("a", "button", "label", "option"):
        following = one.getnext()
        if not one.tail and following is not None and following.tag == one.tag:
            one.tail = None if next(one.iterancestors(*_VERBATIM), None) is not None else " "


def _headed(text: str, tree: Any, title: str | None) -> str:
    """The text under the page's own heading, which the extraction of short pages may lose."""
    heading = title and _words(tree.find(".//h1")) == title
    return f"# {title}\n\n{text}" if heading and text and not re.search(r"^# ", text, re.MULTILINE) else text


def _whole_body(tree: Any) -> str:
    """All text of the body, one block a paragraph, code, tables and lists as they stand: for pages in which no main
    text can be told."""
    body = tree.find("body")
    if body is None:
        return ""
    for element in body.xpath(".//script | .//style | .//noscript | .//template"):
        element.drop_tree()
    blocks = set_apart(body)
    write_items(body)
    for element in body.iter(*_BLOCKS):
        mark = "#" * int(element.tag[1]) + " " if re.fullmatch("h[1-6]", element.tag) else ""
        element.text = f"\n\n{mark}{element.text or ''}"
        element.tail = f"\n\n{element.tail or ''}"
    lines = (line.strip() for line in "".join(body.itertext()).split("\n"))
    return put_back("\n\n".join(line for line in lines if line.strip("#")), blocks)


def _simplify(tree: Any) -> None:
    """Take out what only looks: furniture, emphasis, the source's line breaks."""
    from lxml import etree

    for path in _FURNITURE:
        for element in tree.xpath(path):
            element.drop_tree()
    for link in tree.xpath(_NOTE_LINKS):
        if _NOTE_MARK.fullmatch("".join(link.itertext())):  # else words of the sentence lead to the note
            link.drop_tree()
    _raise_and_lower(tree)
    _mark_words(tree)
    _keep_words(tree)
    _write_formulas(tree)
    etree.strip_tags(tree, *_EMPHASIS, *_RUBY, "q", "sup", "sub")
    verbatim = {inner for outer in tree.iter(*_VERBATIM) for inner in outer.iter()}
    for element in tree.iter():
        if element.text and isinstance(element.tag, str):  # set anew, too, the pieces that stripping left are one
            element.text = element.text if element in verbatim else _SPACE.sub(" ", element.text)
        if element.tail and element.getparent() not in verbatim:
            element.tail = _SPACE.sub(" ", element.tail)


def _raise_and_lower(tree: Any) -> None:
    """Write what is set higher or lower so that it does not become a part of the number or word before it."""
    for element in list(tree.iter("sup", "sub")):
        if all(inner.tag in _LOOKS for inner in element.iterdescendants()):
            words = "".join(element.itertext())
            made = raised(words, _before(element)) if element.tag == "sup" else lowered(words)
            if made != words:
                for inner in list(element):
                    element.remove(inner)
                element.text = made


def _before(element: Any) -> str:
    """What stands in front of an element, up to the element before that."""
    above, parent = element.getprevious(), element.getparent()
    if above is None:
        return (parent.text or "") if parent is not None else ""
    return above.tail or "".join(above.itertext(with_tail=False))


def _mark_words(tree: Any) -> None:
    """Make a `q`, whose tag is then taken off, of what the search for the main text would take out, or set apart."""
    for element in tree.iter("q"):  # else a paragraph of its own
        element.text, element.tail = f"“{element.text or ''}", f"”{element.tail or ''}"
    for element in list(tree.iter("time", "label")):  # else ornament, which goes with its words
        if next(element.iterancestors(*_PROSE), None) is not None:
            element.tag = "q"  # dropping tags one by one is quadratic
    for parent, count in Counter(element.getparent() for element in tree.iter(*_INLINE)).items():
        for element in parent if count > _CROWD else ():
            element.tag = "q" if element.tag in _INLINE else element.tag


def _keep_words(tree: Any) -> None:
    """Undo what the extraction takes for ornament by a guess from a style or an id, or because of where it stands."""
    for element in tree.iter():
        element.attrib.pop("style", None)  # what is hidden is gone by now; "overflow: hidden" hides nothing
        if element.tag in _PROSE:
            element.attrib.pop("aria-hidden", None)
    for heading in tree.iter(*_HEADINGS):
        for element in heading.iter():
            element.attrib.pop("id", None)
        part = heading.getparent()  # "Related work" by its own name is no box of related pages
        if part is not None and "section" in (part.tag, *(part.get("class") or "").split()) and _names(part, heading):
            del part.attrib["id"]
    for element in tree.iter("figure", "figcaption"):
        element.tag = "div" if element.tag == "figure" else "p"
    for element in list(tree.iter("li", "dt", "dd", "ul", "ol", "dl")):  # lists in cells
        if next(element.iterancestors("td", "th"), None) is not None:
            element.tag = "p" if element.tag in ("li", "dt", "dd") else "q"


def _write_formulas(tree: Any) -> None:
    """Put words in the place of MathML that brings no TeX with it; with TeX, the extraction does."""
    for formula in list(tree.iter("math")):
        if not formula.get("alttext") and next(formula.iter("annotation"), None) is None:
            words = _in_line(formula)
            formula.clear(keep_tail=True)
            formula.tag, formula.text = "q", words


def _names(part: Any, heading: Any) -> bool:
    """Whether an id is made of the words of a heading, as programs that write documentation do it."""
    name, words = ("".join(_ALNUM.findall(one.casefold())) for one in (part.get("id") or "", heading.text_content()))
    return bool(name) and words.lstrip("0123456789") == name.lstrip("0123456789")


def _in_line(formula: Any) -> str:
    """A formula of MathML as one writes it in a line: E=mc^2."""
    for element in list(formula.iter("mtd", "mtr", "mfenced", "msqrt", "mroot")):
        _set_apart_within(element)
    for element in list(formula.iter(*_SIGNS)):
        operands = [child for child in element if isinstance(child.tag, str)]
        for sign, operand in zip(("", *_SIGNS[element.tag]), operands, strict=False):
            begin, end = ("(", ")") if len(operand) > 1 and operand.tag != "mfenced" else ("", "")
            operand.text, operand.tail = f"{sign}{begin}{operand.text or ''}", end
    return " ".join("".join(formula.itertext()).split())


def _set_apart_within(element: Any) -> None:
    """Write the signs that MathML draws: between cells and rows of a matrix, around what is fenced, of a root."""
    inner = [child for child in element if isinstance(child.tag, str)]
    if element.tag in ("mtd", "mtr"):
        following = element.getnext()
        if following is not None:
            goes_on = _RELATION.match(following.text_content())  # of equations set one below the other
            element.tail = "; " if element.tag == "mtr" else "" if goes_on else ", "
    elif element.tag == "mfenced":
        marks = list("".join(element.get("separators", ",").split())) or [""]
        for number, child in enumerate(inner[:-1]):
            child.tail = marks[min(number, len(marks) - 1)]
        element.text = element.get("open", "(")
        _append(element, element.get("close", ")"))
    elif element.tag == "msqrt":
        element.text = "√("
        _append(element, ")")
    elif len(inner) == 2:  # of a root the index stands behind what it is of
        element.text = "√["
        inner[1].tail, inner[0].tail = "](", ")"
        element.insert(0, inner[1])


def _append(element: Any, sign: str) -> None:
    """Put a sign at the end of what an element says."""
    if len(element):
        element[-1].tail = f"{(element[-1].tail or '').rstrip()}{sign}"
    else:
        element.text = f"{element.text or ''}{sign}"


def _readable(markdown: str) -> str:
    """Markdown without the escapes that a reader does not want."""
    text = _BLANK_END.sub("", _CODE_OR_ESCAPED.sub(_unescaped, fences_alone(markdown)))
    return re.sub(r"\n{3,}", "\n\n", text).strip()


def _unescaped(match: re.Match[str]) -> str:
    code, slashes, character = match.groups()
    at_line_start = match.start() == 0 or match.string[match.start() - 1] == "\n"
    if code or len(slashes) % 2 == 0 or (at_line_start and character in "*>~`"):
        return match[0]
    return slashes[: len(slashes) // 2] + character


def _title(tree: Any) -> str | None:
    shown, heading = _words(next(iter(tree.xpath("//title[not(ancestor::svg)]")), None)), _words(tree.find(".//h1"))
    if heading and shown.startswith(heading):
        return heading
    return shown or _named(tree, "og:title") or heading or None


def _words(element: Any) -> str:
    return storable(" ".join(element.text_content().split())) if element is not None else ""


def _named(tree: Any, name: str) -> str | None:
    """The content of `<meta name=...>`, in which people's addresses (URLs) are no names."""
    values = tree.xpath("//meta[@name=$name or @property=$name]/@content", name=name)
    words = " ".join(str(values[0]).split()) if values else ""
    return storable(words) if words and not words.startswith("http") else None


def _canonical(tree: Any) -> str | None:
    links = tree.xpath("//link[@rel='canonical']/@href | //meta[@property='og:url']/@content")
    return next((str(link) for link in links if str(link).startswith(("https://", "http://"))), None)


_CREATIVE = re.compile(
    r"creativecommons\.org/(?:licenses/(?P<kind>by(?:-nc)?(?:-nd|-sa)?)|publicdomain/zero)(?:/(?P<version>\d\.\d))?(?:/|$)",
    re.IGNORECASE,
)
_LINKED = "//*[(self::link or self::a) and @rel and @href][not(ancestor::figure)]"  # a figure's is its picture's
_RIGHTS = {"license", "dcterms.license", "dcterms.rights", "dc.rights"}


def _licence(tree: Any) -> str | None:
    """The licence that a page states of itself; one of Creative Commons by its short name."""
    stated = [_licence_of(one) for one in tree.xpath(_LINKED) if "license" in one.get("rel").lower().split()]
    stated += [one.get("content") for one in tree.xpath("//meta[@name]") if one.get("name").lower() in _RIGHTS]
    said = next((words for one in stated if (words := " ".join((one or "").split()))), "")
    found = _CREATIVE.search(said)
    if found:
        name = f"CC {found['kind'].upper()}" if found["kind"] else "CC0"
        return f"{name} {found['version']}" if found["version"] else name
    return storable(said[:200]) or None


def _licence_of(link: Any) -> str:
    """Where a link of a licence leads; of one that leads elsewhere on its site, its words."""
    leads = str(link.get("href")).strip()
    return leads if leads.startswith(("https://", "http://", "//")) else str(link.text_content())


def _published_at(tree: Any, url: str | None) -> datetime | None:
    """The day that a page states, or its address does; none is guessed from its words."""
    from htmldate import find_date

    found = find_date(tree, extensive_search=False, original_date=True, url=url)
    return aware(found) if found else None
