"""What publishers write into the items of their feeds, each in a place of its own: DOIs, authors, titles, abstracts.

    doi_of(["doi:10.1101/2026.12.01.700001", …])          # "10.1101/2026.12.01.700001"; "" where none is one
    names_of(["Müller, K., van der Berg, J. P."])         # "K. Müller", "J. P. van der Berg": one string holds them all
    abstract_of("Nature, Published online: 3 December 2026; doi:10.1038/x Readers fixate …")   # "Readers fixate …"

Seen in   bioRxiv and medRxiv, Nature, PubMed, ScienceDirect, Wiley; releases on GitHub
Careful   a string of names is parted where all of its parts are names; else it stays whole, as it came
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from urllib.parse import unquote

_DOI = re.compile(r"\s*(?:doi:\s*|https?://(?:dx\.)?doi\.org/)?(10\.\d{4,9}/[^\s<>\"]{1,200})\s*", re.IGNORECASE)
_IN_ARXIV = re.compile(r"10\.48550/arxiv\.", re.IGNORECASE)
_PREPRINT = re.compile(r"https?://(?:www\.)?(?:bio|med)rxiv\.org/[^?#\s]{1,200}?v(\d{1,3})(?:\.\w{1,20})*(?:[?#]|$)")

_RELEASE = re.compile(
    r"https?://(?:www\.)?github\.com/(?P<repository>[\w.-]{1,100}/[\w.-]{1,100})/releases/tag/(?P<tag>[^?#]{1,200})"
)
_VERSION_ALONE = re.compile(
    r"(?:(?:release|version)\s)?v?\d{1,9}(?:\.\d{1,9}){0,4}(?:[.-]?[a-z]{1,9}[.-]?\d{0,9})?", re.IGNORECASE
)

_INITIALS = re.compile(r"(?:[^\W\d_a-z]\.?[\s-]?){1,4}")
_SUFFIX = re.compile(r"(?:Jr|Sr|I{2,3}|IV)\.?")
_AND = re.compile(r",?\s+(?:and|&)\s+")

_BIBLIOGRAPHY = re.compile(r"[^;]{1,120}, Published online: [^;]{1,40}; doi:10\.\S{1,100}\s*")
_ISSUE = re.compile(r"Publication date: [^:]{1,60} Source: [^:]{1,200}?(?: Author\(s\): (?P<authors>.*))?")
_HEADED = re.compile(r"\s*(?:<[^>]{0,200}>\s*){1,4}abstract\s*[.:]?\s*</", re.IGNORECASE)
_HEADING = re.compile(r"abstract(?![a-z])[\s.:]*", re.IGNORECASE)


def doi_of(told: Iterable[str]) -> str:
    """The first that is a DOI, or the address of one, without what stands before it; "" where none is."""
    return next((found[1].rstrip(".,;") for one in told if (found := _DOI.fullmatch(one))), "")


def in_arxiv(doi: str) -> str:
    """The id of the paper of arXiv that a DOI of arXiv's stands for; "" for others."""
    found = _IN_ARXIV.match(doi)
    return doi[found.end() :] if found else ""


def version_of(address: str) -> int:
    """The version that an address of bioRxiv or medRxiv names; 1 for others."""
    found = _PREPRINT.match(address)
    return max(1, int(found[1])) if found else 1


def names_of(told: Sequence[str]) -> tuple[str, ...]:
    """The authors; where one string names all of them they are parted, and initials go before the name."""
    named = [" ".join(one.split()).strip(" ,;") for one in told]
    return tuple(filter(None, _parted(named[0], lines="\n" in told[0].strip()) if len(named) == 1 else named))


def titled(title: str, link: str) -> str:
    """The title; of a release on GitHub that is called by its version alone, with the repository before it."""
    found = _RELEASE.match(link)
    bare = found and (title == unquote(found["tag"]) or _VERSION_ALONE.fullmatch(title))
    return f"{found['repository']} {title}" if found and bare else title


def authors_in(summary: str) -> tuple[str, ...]:
    """The authors that ScienceDirect names in the place of an abstract, if this is one of its; `summary` is text."""
    found = _ISSUE.fullmatch(summary)
    return names_of([found["authors"]]) if found and found["authors"] else ()


def summary_of(told: Iterable[str]) -> str:
    """Of the texts of an item, HTML each, the one with the heading "Abstract"; else the first that is not empty."""
    some = [one for one in told if one]
    return next((one for one in some if _HEADED.match(one)), some[0] if some else "")


def abstract_of(summary: str, *, headed: bool = False) -> str:
    """The text without what is said of the issue; without the heading "Abstract" where it is `headed`."""
    if _ISSUE.fullmatch(summary):
        return ""
    found = _HEADING.match(summary) if headed else _BIBLIOGRAPHY.match(summary)
    return summary[found.end() :] if found else summary


def is_headed(summary: str) -> bool:
    """Whether the text, HTML, begins with the heading "Abstract"."""
    return _HEADED.match(summary) is not None


def _parted(text: str, *, lines: bool) -> Sequence[str]:
    """The names in one string; the string, where it is one name, or something else."""
    if ";" in text:
        return [part.strip(" ,") for part in text.split(";")]
    parts = [part for part in (one.strip() for one in _AND.sub(", ", text).split(",")) if part]
    if any(map(_INITIALS.fullmatch, parts[1:])):
        return _by_initials(parts)
    return parts if len(parts) > 1 and (lines or all(" " in part for part in parts)) else [text]


def _by_initials(parts: Sequence[str]) -> list[str]:
    """ "Müller", "K.", "van der Berg", "J. P." -> "K. Müller", "J. P. van der Berg"."""
    names: list[str] = []
    for part in parts:
        if names and _INITIALS.fullmatch(part):
            names[-1] = f"{part} {names[-1]}"
        elif names and _SUFFIX.fullmatch(part):
            names[-1] += f" {part}"
        else:
            names.append(part)
    return names
