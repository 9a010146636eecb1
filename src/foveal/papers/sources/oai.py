"""OAI-PMH, for many papers at once: arXiv's own interface, or any archive's that speaks oai_dc.

    "cs:cs:CL"                a set, with metadata of arXiv's form
    "cs:cs:CL arXivRaw"       the same, with all versions' dates; or oai_dc, or "" for all sets

Dates     `from` is a day of the record's last change, not of its submission: new versions come again, as wanted
Pages     each names the next by a resumptionToken, good for a day; one that is refused means: begin anew
Deleted   a record that was taken away has no words left, and is passed over
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import date
from typing import Any
from urllib.parse import urlencode

from foveal import faults
from foveal.errors import FetchFailed, InputError, UnreadableSource
from foveal.papers.records import Named, PaperRecord
from foveal.papers.sources import DEFAULTS, Connection, Reading, each
from foveal.papers.sources.arxiv_api import is_withdrawn, repository_in
from foveal.text.arxiv import ArxivClient, ArxivSettings, arxiv_address
from foveal.text.dates import aware, day_of
from foveal.text.fetching import Fetched
from foveal.text.plain import storable

BASE = "https://oaipmh.arxiv.org/oai"

_IDENTIFIER = re.compile(r"oai:arXiv\.org:(\S+)")
_SET = re.compile(r"[\w:.-]*")
_AND = re.compile(r",\s*(?:and\s+)?|\s+and\s+")
_PARENTHESES = re.compile(r"\s*\([^()]*\)")


class Oai:
    """Source: an archive's OAI-PMH interface."""

    name = "oai"
    overlap_days = 1  # an archive shows a record hours after its day, which may be that of another zone
    once_a_day = True
    conditional = False

    def __init__(self, connection: Connection = DEFAULTS) -> None:
        self._base = connection.base_url or BASE
        settings = ArxivSettings(base_url=self._base, interval_s=connection.interval_s, pace_file=connection.pace_file)
        self._client = ArxivClient(settings, connection.fetch)

    def first_url(self, ask: str, *, since: date, today: date) -> str:  # noqa: ARG002
        """The first ListRecords; `until` is left out, as arXiv asks for."""
        words = ask.split()
        form = words.pop() if words and words[-1] in FORMS else "arXiv"
        if len(words) > 1 or (words and not _SET.fullmatch(words[0])):
            raise InputError(
                f"OAI-PMH got {ask!r}; it needs a set such as cs:cs:CL, and after a blank a form if it is not arXiv "
                f"({', '.join(FORMS)})."
            )
        named = {"set": words[0]} if words else {}
        return f"{self._base}?{urlencode({'verb': 'ListRecords', 'metadataPrefix': form, 'from': str(since), **named})}"

    def get(self, url: str, headers: Mapping[str, str] | None = None) -> Fetched:
        """The answer, at its turn."""
        return self._client.get(url, headers)

    def read(self, content: bytes | None, url: str) -> Reading:
        """The records of a page. UnreadableSource: the archive refuses the request."""
        root = _parsed(content or b"", url)
        refused = root.find(".//{*}error")
        if refused is not None and refused.get("code") == "noRecordsMatch":
            return Reading()
        if refused is not None:
            raise UnreadableSource(
                f"{self._base} refuses the request ({refused.get('code')}: {_words(refused)}). Check the set and form."
            )
        made, wrong = each(_record, root.iterfind(".//{*}record"))
        token = _child(root, ".//{*}resumptionToken")
        following = f"{self._base}?{urlencode({'verb': 'ListRecords', 'resumptionToken': token})}" if token else None
        records = tuple(one for one in made if one is not None)
        return Reading(records=records, next_url=following, left_out=wrong)


def _parsed(content: bytes, url: str) -> Any:
    from lxml import etree

    parser = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False, huge_tree=True)
    try:
        root = etree.fromstring(content, parser)
    except etree.XMLSyntaxError as error:
        raise FetchFailed(f"{url} answered with something other than OAI-PMH ({error}). Try again later.") from error
    if not str(root.tag).endswith("}OAI-PMH"):
        raise FetchFailed(f"{url} answered with <{root.tag}>, where OAI-PMH was expected. Check the address.")
    return root


def _record(element: Any) -> PaperRecord | None:
    """A record of any of the three forms; None where it was deleted, or has no title."""
    metadata = element.find("{*}metadata")
    if metadata is None or not len(metadata):
        return None
    form = str(metadata[0].tag).rpartition("}")[2]
    title = _child(metadata[0], "{*}title")
    if form not in _BY_FORM or not title:
        return None
    identified = _IDENTIFIER.fullmatch(_child(element, "{*}header/{*}identifier"))
    record = _BY_FORM[form](metadata[0], title)
    paper = identified[1] if identified else record.id
    return replace(
        record,
        id=paper,
        url=f"https://arxiv.org/abs/{paper}" if paper else record.url,
        repo_url=repository_in(f"{record.comment} {record.abstract}"),
        withdrawn=is_withdrawn(record.comment, record.abstract),
        listed_on=day_of(record.published_at, faults.now().date()),
    )


def _of_arxiv(held: Any, title: str) -> PaperRecord:
    """Form arXiv: authors in parts, two dates, no version."""
    return PaperRecord(
        **_told(held),
        title=title,
        authors=tuple(_author(one) for one in held.iterfind("{*}authors/{*}author")),
        published_at=aware(_child(held, "{*}created")),
        updated_at=aware(_child(held, "{*}updated") or _child(held, "{*}created")),
        source=Oai.name,
    )


def _of_raw(held: Any, title: str) -> PaperRecord:
    """Form arXivRaw: every version with its time, authors as one line."""
    versions = [
        (int(str(one.get("version", "v1")).lstrip("v") or 1), aware(_child(one, "{*}date")))
        for one in held.iterfind("{*}version")
    ]
    line = _PARENTHESES.sub("", _PARENTHESES.sub("", _child(held, "{*}authors")))
    versions.sort(key=lambda one: one[0])  # a date may be lacking, and is not compared
    first, last = (versions[0], versions[-1]) if versions else ((1, None), (1, None))
    return PaperRecord(
        **_told(held),
        title=title,
        version=last[0],
        authors=tuple(Named(name=name) for name in _AND.split(line) if name.strip()),
        published_at=first[1],
        updated_at=last[1],
        source=Oai.name,
    )


def _of_dublin_core(held: Any, title: str) -> PaperRecord:
    """Form oai_dc: the first description is the abstract, the first date the submission."""
    texts = {
        name: _children(held, name) for name in ("creator", "date", "description", "identifier", "subject", "rights")
    }
    comments = [one.removeprefix("Comment: ") for one in texts["description"][1:] if one.startswith("Comment: ")]
    links = [one for one in texts["identifier"] if one.startswith(("http://", "https://"))]
    address = next((found for one in links if (found := arxiv_address(one))), "")
    dois = [one.removeprefix("doi:") for one in texts["identifier"] if one.startswith("doi:")]
    dates = [aware(one) for one in texts["date"]]
    return PaperRecord(
        title=title,
        id=re.sub(r"v\d+$", "", address.removeprefix("arxiv:")),
        abstract=(texts["description"] or [""])[0],
        authors=tuple(Named(name=_turned(one)) for one in texts["creator"]),
        published_at=dates[0] if dates else None,
        updated_at=dates[-1] if dates else None,
        comment="; ".join(comments),
        doi=(dois or [""])[0],
        licence=(texts["rights"] or [""])[0],
        url=(links or [""])[0],
        source=Oai.name,
    )


FORMS = ("arXiv", "arXivRaw", "oai_dc")
_BY_FORM: dict[str, Callable[[Any, str], PaperRecord]] = {
    "arXiv": _of_arxiv,
    "arXivRaw": _of_raw,
    "dc": _of_dublin_core,
}


def _told(held: Any) -> dict[str, Any]:
    """What both forms of arXiv's own have."""
    return {
        "id": _child(held, "{*}id"),
        "abstract": _child(held, "{*}abstract"),
        "categories": tuple(_child(held, "{*}categories").split()),
        "comment": _child(held, "{*}comments"),
        "journal_ref": _child(held, "{*}journal-ref"),
        "doi": _child(held, "{*}doi"),
        "licence": _child(held, "{*}license"),
    }


def _author(held: Any) -> Named:
    parts = (_child(held, "{*}forenames"), _child(held, "{*}keyname"), _child(held, "{*}suffix"))
    places = "; ".join(_words(one) for one in held.iterfind("{*}affiliation"))
    return Named(name=" ".join(filter(None, parts)), affiliation=places)


def _turned(name: str) -> str:
    """ "Martin, Léa" as it is said: "Léa Martin"."""
    last, comma, first = name.partition(", ")
    return f"{first} {last}" if comma else name


def _children(held: Any, name: str) -> list[str]:
    return [text for one in held.iterfind(f"{{*}}{name}") if (text := _words(one))]


def _child(element: Any, path: str) -> str:
    found = element.find(path)
    return "" if found is None else _words(found)


def _words(element: Any) -> str:
    return storable(" ".join("".join(str(part) for part in element.itertext()).split()))
