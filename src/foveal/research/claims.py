"""The claims of a report in Markdown: its sentences, with what each cites.

    claims_of("The mill was built in 1820 [1][2]. It burnt down [[e3]].")    # two claims, citing "1", "2" and "e3"
    addresses_of(markdown)                                                   # "1" -> address, from its list of sources

Marks      [[e3]], [[e3, e4]], [1], [1, 2], [1](address), [^1]; one behind the full stop belongs to the sentence
           before it
Left out   headings (they become a claim's section), code, pictures, rules, the sections that list sources or checks,
           and, in any section, lines that say what a mark stands for: "[1]: address", "[^1]: note"
Uncited    a sentence without marks is a claim where it states a number, a date or a name, and ends as a sentence does
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from foveal.research.anchors import anchors
from foveal.research.evidence import Claim
from foveal.text.units import sentences

# Pages of others are looked through by these: no part may be matched in two ways, or a long one takes for ever.
_KEY = r"(?:[A-Za-z]{0,8}-)?\w{1,32}"
_KEYS, _NUMBERS = rf"{_KEY}(?:\s*[,;]\s*{_KEY})*", r"\d{1,4}(?:\s*[,;–-]\s*\d{1,4})*"
_ADDRESSED, _TITLE = r"[^)\s]{1,4000}+", r"(?:\s[^)]{0,1000}+)?+"
_MARK = re.compile(
    rf"\[\[\s*(?P<keys>{_KEYS})\s*\]\]|\[\^?(?P<numbers>{_NUMBERS})\](?:\((?P<address>{_ADDRESSED}){_TITLE}\))?"
)
_BEHIND = re.compile(
    rf"(?P<stop>(?<![.!?…。！？])[.!?…。！？]+[\"'”’)]*)(?P<marks>(?:\s*(?:\[\[\s*{_KEYS}\s*\]\]|\[\^?{_NUMBERS}\](?:\({_ADDRESSED}{_TITLE}\))?))+)"
)
_HEADING = re.compile(r"^#{1,6}\s+(?P<title>.+)$")
_LIST = re.compile(r"^\s*(?:[-*+•]|\d{1,3}[.)])\s+")
_RULE = re.compile(r"^\s*(?:[-*_]\s*){3,}$|^(?=[^|]*\|)[\s:|-]{2,}$")
_FENCE = re.compile(r"^\s*(`{3,}|~{3,})")
_LISTS = r"sources?|references?|bibliography|works cited|quellen|literatur"
_SOURCES = re.compile(_LISTS, re.IGNORECASE)
_APART = re.compile(
    rf"{_LISTS}|checks?|verification|not covered|not found|experiment|where sources differ"
    r"|what would change this answer|further reading|not borne out.*",
    re.IGNORECASE,
)
_LINK = re.compile(rf"\[([^\[\]]++)\]\({_ADDRESSED}{_TITLE}\)")
_ENTRY = re.compile(r"^\s*(?:\[\^?(?P<marked>\d{1,4})\]:?|(?P<listed>\d{1,4})[.)])\s+(?P<rest>.+)$")
_DEFINED = re.compile(r"^ {0,3}\[\^?\d{1,4}\]:\s")
_POINTED = re.compile(r"(?<!\\)<([^<>\s]+)>")
_ADDRESS = re.compile(r"\]\((?P<linked>[^)\s]+)|(?P<bare>(?:https?|file|arxiv):[^\s<>)\]]+)")


def claims_of(markdown: str) -> list[Claim]:
    """The claims of a report, in its order."""
    claims = []
    for section, block in _blocks(markdown):
        text = _BEHIND.sub(lambda found: f"{found['marks']}{found['stop']}", block)
        for start, end in sentences(text):
            claim = _claim(text[start:end], section)
            if claim:
                claims.append(claim)
    return claims


def cited(text: str) -> tuple[str, ...]:
    """The keys and numbers that a text cites, in order, each once; "[2-4]" is three."""
    keys: list[str] = []
    for found in _MARK.finditer(text):
        if found["keys"]:
            keys += re.split(r"\s*[,;]\s*", found["keys"])
        else:
            keys += _numbers(found["numbers"])
    return tuple(dict.fromkeys(keys))


def without_marks(text: str) -> str:
    """A text without marks, links and emphasis."""
    bare = re.sub(r"!\[[^\]]{0,1000}+\]\([^)]{0,4000}+\)", " ", _MARK.sub("", text))
    bare = re.sub(r"(?<!\w)([*_]{1,3})(\S(?:.{0,1000}?\S)?)\1(?!\w)", r"\2", _LINK.sub(r"\1", bare))
    return re.sub(r"\s+([.,;:!?])", r"\1", " ".join(re.sub(r"\\([\\`*_\[\]<>!#|.)+])", r"\1", bare).split()))


def marks_left_out(text: str) -> str:
    """A text quoted from elsewhere, with "[…]" for each mark of its own: "[12]" would point to a source of ours."""
    return _MARK.sub("[…]", text)


def addresses_of(markdown: str) -> dict[str, str]:
    """Number -> address, of the links that marks carry and of the report's list of sources; where no heading says which
    list that is, of any numbered one."""
    found = {
        number: one["address"]
        for one in _MARK.finditer(markdown)
        if one["address"]
        for number in _numbers(one["numbers"])
    }
    named: dict[str, str] = {}
    other: dict[str, str] = {}
    into = other
    for line in markdown.splitlines():
        if heading := _HEADING.match(line):
            into = named if _SOURCES.fullmatch(_titled(heading)) else other
        entry = _ENTRY.match(line)
        address = _address(entry["rest"]) if entry else None
        if entry and address:
            into.setdefault(str(int(entry["marked"] or entry["listed"])), address)
    return other | named | found


def _titled(heading: re.Match[str]) -> str:
    """A heading's words, without the signs that may close it."""
    said = heading["title"]
    return without_marks(said.rstrip("#").rstrip() or said[:1])


def _address(entry: str) -> str | None:
    """The address of an entry: the last between < and >, for titles and licences may name others; else the first."""
    pointed = _POINTED.findall(entry)
    found = None if pointed else _ADDRESS.search(entry)
    if not pointed and not found:
        return None
    written = str(pointed[-1] if pointed else next(filter(None, found.groups() if found else ())))
    return written if written.startswith("http") else written.replace("%20", " ")


def _numbers(text: str) -> list[str]:
    numbers: list[str] = []
    for part in re.split(r"\s*[,;]\s*", text):
        first, *rest = [int(one) for one in re.findall(r"\d+", part)]
        last = rest[0] if rest else first
        numbers += [str(one) for one in range(first, last + 1)] if last - first < 50 else [str(first), str(last)]
    return numbers


def _claim(text: str, section: str) -> Claim | None:
    said = without_marks(text).strip()
    keys = cited(text)
    if not re.search(r"\w", said):
        return None
    states = said[-1:] in ".!…。！｡۔।॥" and bool(anchors(said))
    return Claim(text=said, evidence=keys, section=section) if keys or states else None


def _blocks(markdown: str) -> Iterator[tuple[str, str]]:
    """Section and text of each paragraph, list item and table row."""
    section, fence, apart = "", "", False
    lines: list[str] = []
    for line in [*markdown.splitlines(), ""]:
        opened = _FENCE.match(line)
        if fence or opened:
            if opened and (not fence or opened[1].startswith(fence)):
                fence = "" if fence else opened[1]
            line = ""
        if _DEFINED.match(line):
            line = ""
        heading = _HEADING.match(line)
        if (
            heading or not line.strip() or _LIST.match(line) or line.lstrip().startswith("|") or _RULE.match(line)
        ) and lines:
            if not apart:
                yield section, " ".join(lines)
            lines = []
        if heading:
            section = _titled(heading)
            apart = _APART.fullmatch(section) is not None
        elif line.strip() and not _RULE.match(line):
            lines.append(_cells(_LIST.sub("", line)).strip().lstrip("> "))


def _cells(line: str) -> str:
    """A table's row as a sentence: its cells, with commas between."""
    if not line.lstrip().startswith("|"):
        return line
    return ", ".join(cell.strip() for cell in line.strip().strip("|").split("|") if cell.strip())
