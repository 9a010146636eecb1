"""Sources for a list of references: BibTeX, CSL-JSON and RIS, of documents and papers alike.

    source = Reference.of(title="On sight", metadata=document.metadata, published_at=…, url=…, places=("page 3",))
    FORMS["csl"].write([source])                       # one text; also "bibtex" and "ris"
    form_of("answer.bib")                              # "bibtex": by a file's ending

Authors   of documents as their metadata has them: several with "; " or " and " between, or commas between whole names
          A suffix belongs to its name, "Ada Lovelace, Jr."; a degree does so behind a whole name alone, as
          "Islam, MD" is turned
Note      what of the source is cited: pages and characters of its text, and the beginning of its text's hash, by which
          just this text is found again
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import PurePath
from typing import Any

from foveal.errors import InputError
from foveal.text.bibtex import Keys, entry, key_of, tex

MOST_AUTHORS = 1000
"""Names that are written of one source."""

_ARXIV = re.compile(r"arxiv:(.+?)(?:v\d+)?", re.IGNORECASE)
_AND = re.compile(r"\s*;\s*|\s+(?:and|und|et)\s+")
_AFTER_A_NAME = re.compile(r"(?:(?i:jr|sr)\.?|I{2,3}|IV)")
_DEGREE = re.compile(r"Ph\.?D\.?|M\.?D\.?")
_WRITTEN_TO = re.compile(r"(?<!\s)\s*+<[^<>]*>")

CSL_KINDS = {"epub": "book", "mail": "personal_communication", "url": "webpage", "html": "webpage"}
RIS_KINDS = {"epub": "BOOK", "mail": "PCOMM", "url": "ELEC", "html": "ELEC", "paper": "UNPB"}
"""What a kind of document is in the words of the format; all else is a document, or with an arXiv id a preprint."""


@dataclass(frozen=True, kw_only=True)
class Reference:
    """A source, as a list of references has it; names are as people write them, "Ada Lovelace"."""

    title: str
    authors: tuple[str, ...] = ()
    organisation: str = ""  # whose it is, for the key of a source without authors
    dated: date | None = None
    kind: str = ""  # of a document's metadata; "paper"
    url: str = ""
    seen: date | None = None  # when what is at `url` was read
    file: str = ""  # its name or path, where it has no address that others can open
    journal: str = ""
    doi: str = ""
    arxiv: str = ""
    category: str = ""  # arXiv's
    note: str = ""
    keywords: tuple[str, ...] = ()
    abstract: str = ""
    pdf: str = ""  # its address
    id: str = ""  # what it is called where it comes from

    @classmethod
    def of(
        cls,
        *,
        title: str,
        metadata: Mapping[str, object],
        published_at: datetime | None = None,
        url: str | None = None,
        file: str = "",
        added_at: datetime | None = None,
        places: Sequence[str] = (),
        revision: str | None = None,
    ) -> Reference:
        """A document of which `places` are cited; `file` is shown where it has no `url`."""
        known = {key: str(metadata.get(key) or "") for key in ("doi", "journal_ref", "kind", "primary_category")}
        arxiv = _ARXIV.fullmatch(str(metadata.get("source") or ""))
        said = [f"Cited: {'; '.join(places)}"] if places else []
        said += [f"text {revision[:16]}"] if revision else []
        open_url = url if url and url.startswith(("https://", "http://")) else ""
        return cls(
            title=_line(title) or "Untitled",
            authors=names_in(str(metadata.get("authors") or metadata.get("author") or "")),
            dated=published_at.date() if published_at else None,
            kind=known["kind"],
            url=open_url,
            seen=added_at.date() if added_at and open_url else None,
            file="" if open_url else _line(file),
            journal=known["journal_ref"],
            doi=known["doi"],
            arxiv=arxiv[1] if arxiv else "",
            category=known["primary_category"] if arxiv else "",
            note=". ".join(said),
        )


@dataclass(frozen=True, slots=True)
class Form:
    """A format of references: what people call it, the ending of its files, their media type, how it is written."""

    title: str
    ending: str
    media_type: str
    write: Callable[[Sequence[Reference]], str]


def form_of(name: str | PurePath) -> str:
    """The format that a file's name says. InputError: none."""
    ending = PurePath(name).suffix.lower()
    found = next((form for form, one in FORMS.items() if one.ending == ending), "")
    if not found:
        told = ", ".join(f"{one.ending} ({one.title})" for one in FORMS.values())
        raise InputError(f"No format of references is kept in {str(name)!r}. Give a file that ends in {told}.")
    return found


def names_in(said: str) -> tuple[str, ...]:
    """The names in a line: "Ada Lovelace; Babbage, Charles", "A. Lovelace and C. Babbage", "Ada L., Charles B."."""
    line = _line(_WRITTEN_TO.sub("", said))
    parts = [_with_suffixes(part) for part in _AND.split(line)]
    whole = [one for part in parts for one in part.split(",") if one.strip()]
    if ";" not in line and all(_parted(one)[1] for one in whole):  # else commas turn names
        parts = whole
    return tuple(_forward(one.strip()) for one in parts[:MOST_AUTHORS] if one.strip())


def family_of(name: str) -> str:
    """The family name: the last word before a suffix."""
    return _parted(name)[0]


def _parted(name: str) -> tuple[str, str, str]:
    """Family name, the given ones, and suffixes: the last word, those before it, "Jr."; one word is a family name."""
    words = name.split() or [""]
    last = len(words)
    while last > 1 and _is_suffix(words[last - 1]):
        last -= 1
    return words[last - 1], " ".join(words[: last - 1]), " ".join(words[last:])


def _is_suffix(word: str) -> bool:
    return bool(_AFTER_A_NAME.fullmatch(word) or _DEGREE.fullmatch(word))


def _with_suffixes(said: str) -> str:
    """Names between commas, those without one before a suffix."""
    parts = [part.strip() for part in said.split(",")]
    found = parts[:1]
    for part in parts[1:]:
        behind = len(found) > 1 or len(found[-1].split()) > 1
        if _AFTER_A_NAME.fullmatch(part) or (behind and _DEGREE.fullmatch(part)):
            found[-1] += f" {part}"
        else:
            found.append(part)
    return ", ".join(found)


def bibtex(sources: Sequence[Reference]) -> str:
    """One entry for each source, with keys that differ."""
    keys = Keys()
    return "\n".join(_bibtex(one, keys) for one in sources)


def csl(sources: Sequence[Reference]) -> str:
    """A list of items, as Zotero, Pandoc and citeproc read them."""
    keys = Keys()
    return json.dumps([_csl(one, keys) for one in sources], ensure_ascii=False, indent=1) + "\n"


def ris(sources: Sequence[Reference]) -> str:
    """One record for each source, lines ended as the format has them."""
    return "".join(f"{line}\r\n" for one in sources for line in _ris(one))


def _bibtex(one: Reference, keys: Keys) -> str:
    fields = {
        "title": f"{{{tex(one.title)}}}",
        "author": " and ".join(_bibtex_name(name) for name in one.authors),
        "year": str(one.dated.year) if one.dated else "",
        "month": f"{one.dated:%b}".lower() if one.dated else "",
        "journal": tex(one.journal),
        "doi": _unbraced(one.doi),
        "eprint": _unbraced(one.arxiv),
        "archiveprefix": "arXiv" if one.arxiv else "",
        "primaryclass": one.category,
        "url": _unbraced(one.url),
        "urldate": one.seen.isoformat() if one.seen else "",
        "howpublished": tex(one.file),
        "note": tex(one.note),
        "keywords": tex(", ".join(one.keywords)),
        "abstract": tex(one.abstract),
    }
    kind = "article" if one.journal else "book" if one.kind == "epub" and one.authors else "misc"
    return entry(kind, keys.fresh(_key(one)), fields)


def _csl(one: Reference, keys: Keys) -> dict[str, Any]:
    preprint = one.arxiv and not one.journal
    item: dict[str, Any] = {
        "id": keys.fresh(_key(one)),
        "type": "article-journal" if one.journal else "article" if preprint else CSL_KINDS.get(one.kind, "document"),
        "title": one.title,
        "author": [_csl_name(name) for name in one.authors],
        "issued": _parts(one.dated),
        "container-title": one.journal,
        "publisher": "arXiv" if preprint else "",
        "number": f"arXiv:{one.arxiv}" if one.arxiv else "",
        "DOI": one.doi,
        "URL": one.url,
        "accessed": _parts(one.seen),
        "source": one.file,
        "note": one.note,
        "keyword": ", ".join(one.keywords),
        "abstract": one.abstract,
    }
    return {name: value for name, value in item.items() if value}


def _ris(one: Reference) -> Iterator[str]:
    kind = "JOUR" if one.journal else "UNPB" if one.arxiv else RIS_KINDS.get(one.kind, "GEN")
    yield f"TY  - {kind}"
    fields = [
        ("TI", one.title),
        *(("AU", _last_first(name)) for name in one.authors),
        ("PY", str(one.dated.year) if one.dated else ""),
        ("DA", f"{one.dated:%Y/%m/%d}" if one.dated else ""),
        ("JO", one.journal),
        ("DO", one.doi),
        ("UR", one.url),
        ("Y2", f"{one.seen:%Y/%m/%d}" if one.seen else ""),
        ("M3", f"arXiv:{one.arxiv}" if one.arxiv else ""),
        ("L1", one.pdf or one.file),
        *(("KW", word) for word in one.keywords),
        ("N1", one.note),
        ("AB", one.abstract),
        ("ID", one.id),
    ]
    yield from (f"{tag}  - {_line(value)}" for tag, value in fields if value)
    yield "ER  - "


def _key(one: Reference) -> str:
    family = family_of(one.authors[0]) if one.authors else one.organisation or "anonymous"
    return key_of(family, one.dated.year if one.dated else "", one.title)


def _bibtex_name(name: str) -> str:
    """A name in which no "and" parts it in two; with a suffix as the format wants it, "Lovelace, Jr., Ada"."""
    if " and " in f" {name.lower()} ":
        return f"{{{tex(name)}}}"
    family, given, suffix = _parted(name)
    return tex(f"{family}, {suffix}, {given}" if given and suffix else name)


def _csl_name(name: str) -> dict[str, str]:
    family, given, suffix = _parted(name)
    if not given:
        return {"literal": name}
    return {"family": family, "given": given} | ({"suffix": suffix} if suffix else {})


def _last_first(name: str) -> str:
    """ "Ada Lovelace" as RIS wants it."""
    family, given, suffix = _parted(name)
    return ", ".join(filter(None, (family, given, suffix))) if given else name


def _forward(name: str) -> str:
    """ "Lovelace, Ada" as people write it."""
    family, comma, given = name.partition(",")
    if not comma or not given.strip() or "," in given:
        return name.strip(" ,")
    last, first, suffix = _parted(given)
    return " ".join(filter(None, (first, last, family.strip(), suffix)))


def _parts(day: date | None) -> dict[str, list[list[int]]]:
    return {"date-parts": [[day.year, day.month, day.day]]} if day else {}


def _unbraced(text: str) -> str:
    """An address or DOI whose braces cannot end its field."""
    return text.replace("{", "%7B").replace("}", "%7D").replace("\\", "%5C")


def _line(text: str) -> str:
    return " ".join("".join(one if one.isprintable() or one.isspace() else "" for one in text).split())


FORMS: Mapping[str, Form] = {
    "bibtex": Form("BibTeX", ".bib", "text/x-bibtex", bibtex),
    "csl": Form("CSL-JSON", ".json", "application/vnd.citationstyles.csl+json", csl),
    "ris": Form("RIS", ".ris", "application/x-research-info-systems", ris),
}
