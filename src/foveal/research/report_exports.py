"""A report to read elsewhere: Markdown, HTML, PDF, DOCX, slides, BibTeX, and its ledger.

    EXPORTS["pdf"].write(report)                     # bytes
    written(report, Path("report.docx"))             # the form by the file's ending; whole, or not there

The ledger holds all that the report stands on (sources with their hashes and both times, evidence, claims, verdicts):
`foveal research verify` checks it again without a network.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from foveal.errors import InputError
from foveal.evaluation.files import whole_file
from foveal.research.answers import UNREAD
from foveal.research.markdown import address
from foveal.research.report import Report
from foveal.text.bibtex import Keys, entry, key_of, tex


@dataclass(frozen=True, slots=True)
class Export:
    """A form: what people call it, the ending of its files, how it is made, and the package that this needs."""

    title: str
    ending: str
    media_type: str
    write: Callable[[Report], bytes]
    needs: str = ""


def form_of(path: Path) -> str:
    """The form that a file's ending says. InputError: none does."""
    found = next((name for name, one in EXPORTS.items() if path.name.lower().endswith(one.ending)), "")
    if not found:
        endings = ", ".join(one.ending for one in EXPORTS.values())
        raise InputError(f"No form of a report is kept in {path.name!r}. Give a file that ends in {endings}.")
    return found


def ready(path: Path) -> str:
    """The form of a file that is to be written later. InputError: no form ends so, or the path is a folder.
    MissingExtra: what makes the form is not installed."""
    from foveal.registry import require

    form = form_of(path)
    if path.is_dir():
        raise InputError(f"{path} is a folder. Name a file for the report.")
    if EXPORTS[form].needs:
        require(EXPORTS[form].needs, extra="research")
    return form


def written(report: Report, path: Path, form: str = "") -> None:
    """Write a report to a file, as `form` or as its ending says. InputError: neither says which form."""
    content = EXPORTS[form if form in EXPORTS else form_of(path)].write(report)
    with whole_file(path) as partial:
        partial.write_bytes(content)


def file_name(report: Report, form: str) -> str:
    """A name for a report's file: a few words of its title."""
    words = re.findall(r"[a-z0-9]+", (report.title or report.question).lower())
    return f"{'-'.join(words[:8])[:60] or 'report'}{EXPORTS[form].ending}"


def bibtex(report: Report) -> str:
    """The sources that the report cites, in the order of their numbers."""
    keys, entries = Keys(), []
    for number, record in report.bibliography.items():
        family = record.authors[0].split()[-1] if record.authors and record.authors[0].split() else "anonymous"
        year = (record.published_at or "")[:4]
        known = dict(one.split(":", 1) for one in record.identities if one.startswith(("arxiv:", "doi:")))
        fields = {
            "title": f"{{{tex(record.title)}}}",
            "author": " and ".join(map(tex, record.authors)),
            "year": year,
            "doi": _unbraced(known.get("doi", "")),
            "eprint": known.get("arxiv", ""),
            "archiveprefix": "arXiv" if "arxiv" in known else "",
            "url": _unbraced(address(record.url)) if record.url.startswith(("http://", "https://")) else "",
            "urldate": (record.fetched_at or "")[:10],
            "note": f"Source {number} of: {tex(report.title or report.question)}"
            + (f". {UNREAD}" if number in report.unread else ""),
        }
        entries.append(entry("misc", keys.fresh(key_of(family, year, record.title)), fields))
    return "\n".join(entries)


def _unbraced(text: str) -> str:
    """An address or DOI whose braces cannot end its field."""
    return text.replace("{", "%7B").replace("}", "%7D")


def _utf8(text: str) -> bytes:
    """The text as files hold it; halves of characters, which a page may hold, are question marks."""
    return text.encode("utf-8", "replace")


def _markdown(report: Report) -> bytes:
    return _utf8(report.to_markdown())


def _ledger(report: Report) -> bytes:
    return _utf8(json.dumps(report.ledger(), ensure_ascii=False, indent=1) + "\n")


def _html(report: Report) -> bytes:
    from foveal.research.report_html import html_of

    return _utf8(html_of(report))


def _slides(report: Report) -> bytes:
    from foveal.research.report_html import slides_of

    return _utf8(slides_of(report))


def _pdf(report: Report) -> bytes:
    from foveal.research.report_pdf import pdf_of

    return pdf_of(report)


def _docx(report: Report) -> bytes:
    from foveal.research.report_docx import docx_of

    return docx_of(report)


WORD = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"
EXPORTS = {
    "slides": Export("Slides", ".slides.html", "text/html", _slides, "jinja2"),
    "html": Export("HTML, one file", ".html", "text/html", _html, "jinja2"),
    "pdf": Export("PDF", ".pdf", "application/pdf", _pdf, "typst"),
    "docx": Export("Word", ".docx", WORD, _docx, "docx"),
    "markdown": Export("Markdown", ".md", "text/markdown", _markdown),
    "bibtex": Export("BibTeX", ".bib", "application/x-bibtex", lambda report: _utf8(bibtex(report))),
    "ledger": Export("Ledger, to check it again", ".json", "application/json", _ledger),
}
