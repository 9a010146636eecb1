"""A report as DOCX: headings, tables, and numbers that lead to their sources; the quote shows where a mouse rests.

    docx_of(report)          # bytes

Scripts   paragraphs that begin in one that is written from the right are set from there
Numbers   hyperlinks to a bookmark at the source, whose screen tip holds the quote and its place (Word shows 260
          characters of one; the whole quotes stand below the source)
"""

from __future__ import annotations

import io
import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from foveal.research.report import Report
from foveal.research.report_blocks import Block, Runs
from foveal.research.report_html import web_place
from foveal.research.report_view import Check, Cite, Difference, Quote, ReportView, ShownSection

MOST_TIP = 255
"""Characters of a screen tip."""

MOST_PROPERTY = 255
"""Characters of a property of the document; python-docx refuses more."""

_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def docx_of(report: Report) -> bytes:
    """The report as a file for Word and LibreOffice. MissingExtra: python-docx is not installed."""
    from foveal.registry import require

    docx = require("docx", extra="research")
    view = ReportView.of(report)
    writer = _Writer(docx.Document())
    writer.head(view)
    for section in view.sections:
        writer.section(section, view)
    writer.rest(view)
    _directed(writer.document)
    held = io.BytesIO()
    writer.document.save(held)
    return held.getvalue()


class _Writer:
    """Adds to one document of python-docx."""

    def __init__(self, document: Any) -> None:
        self.document = document
        self._bookmarks = 0

    def head(self, view: ReportView) -> None:
        """Title, how it was made, and what to know first."""
        self.document.core_properties.title = _xml(view.title)[:MOST_PROPERTY]
        self.document.core_properties.author = "Foveal"
        self.document.add_heading(_xml(view.title), 0)
        if view.asked:
            self.document.add_paragraph(_xml(view.asked), style="Subtitle")
        self.document.add_paragraph().add_run(view.about).italic = True
        if view.state:
            self.document.add_paragraph().add_run(view.state).bold = True
        if not view.report.found:
            self.heading("Searches that were tried", 1)
            self.bullets(view.report.queries or ("none",))

    def rest(self, view: ReportView) -> None:
        """What stands behind the sections."""
        if view.conflicts:
            self.heading("Where sources differ", 1)
            for one in view.conflicts:
                self.document.add_paragraph().add_run(_xml(one.about)).bold = True
                self.pairs(one)
        if view.turning:
            self.section(view.turning, view)
        if view.report.not_covered:
            self.heading("Not covered", 1)
            self.bullets(view.report.not_covered)
        if view.experiment:
            self.heading("Experiment", 1)
            self.document.add_paragraph(view.experiment["about"])
            self.code(view.experiment["code"])
            self.code(view.experiment["output"])
            self.document.add_paragraph(_xml(view.experiment["review"]))
        if view.checks:
            self.heading("Checks", 1)
            self.document.add_paragraph(f"{view.counted}. Each claim was held against the passages that it cites.")
            self.checks(view.checks)
        if view.sources:
            self.heading("Sources", 1)
            self.sources(view)

    def section(self, section: ShownSection, view: ReportView) -> None:
        """A section under its heading."""
        self.heading(section.heading, 1)
        for block, cites in view.numbered(section):
            self.block(block, cites)

    def pairs(self, one: Difference) -> None:
        """Who says what, and who says the contrary, side by side."""
        made = self.document.add_table(1, 2, style="Light Grid Accent 1")
        first = f"Preferred, as it is {one.preferred}" if one.preferred else "One side"
        for cell, name in zip(made.rows[0].cells, (first, "Against it"), strict=True):
            cell.text = _xml(name)
        for pair in one.pairs:
            for cell, quote in zip(made.add_row().cells, pair, strict=True):
                if quote is not None:
                    paragraph = cell.paragraphs[0]
                    paragraph.add_run(_xml(f"“{quote.text}” ")).bold = False
                    self.numbers(paragraph, [quote])
                    paragraph.add_run(_xml(f"\n{quote.source.title} · {quote.dated} · {quote.where}")).bold = False
        self.document.add_paragraph(one.weighed)

    def heading(self, text: str, level: int) -> None:
        """A heading."""
        self.document.add_heading(_xml(text), level)

    def bullets(self, lines: Sequence[str]) -> None:
        """A list."""
        for line in lines:
            self.document.add_paragraph(_xml(line), style="List Bullet")

    def block(self, block: Block, cites: Mapping[int, Cite]) -> None:
        """A block of a section."""
        if block.kind == "table":
            self.table(block, cites)
        elif block.kind == "code":
            self.code(block.text)
        elif block.kind == "heading":
            self.runs(self.document.add_heading("", min(4, block.level - 1)), block.runs, cites)
        else:
            self.runs(self.document.add_paragraph(style=_style(block)), block.runs, cites)

    def code(self, text: str) -> None:
        """Lines of code."""
        run = self.document.add_paragraph().add_run(_xml(text))
        run.font.name = "Courier New"

    def runs(self, paragraph: Any, runs: Runs, cites: Mapping[int, Cite], first: int = 0) -> None:
        """Words and numbers into a paragraph."""
        for place, run in enumerate(runs, start=first):
            if place in cites:
                self.numbers(paragraph, cites[place].quotes)
            elif run.text:
                made = paragraph.add_run(_xml(run.text))
                made.bold, made.italic = "strong" in run.style or None, "em" in run.style or None
                if "code" in run.style:
                    made.font.name = "Courier New"

    def numbers(self, paragraph: Any, quotes: Sequence[Quote]) -> None:
        """The numbers of sources, each a link to its source."""
        for number, found in _by_number(quotes):
            tip = " ".join(f"“{one.text}” ({one.where})" for one in found)
            _link(paragraph, f"[{number}]", anchor=f"source_{number}", tip=tip)

    def table(self, block: Block, cites: Mapping[int, Cite]) -> None:
        """A table of a section."""
        columns = max(map(len, block.rows))
        made = self.document.add_table(len(block.rows), max(1, columns), style="Light Grid Accent 1")
        at = 0
        for row, cells in zip(block.rows, made.rows, strict=True):
            for runs, cell in zip(row, cells.cells, strict=False):
                self.runs(cell.paragraphs[0], runs, cites, at)
                at += len(runs)

    def checks(self, checks: Sequence[Check]) -> None:
        """The table of checks."""
        made = self.document.add_table(1, 4, style="Light Grid Accent 1")
        for cell, name in zip(made.rows[0].cells, ("Claim", "Sources", "Verdict", "Quote"), strict=True):
            cell.text = name
        for one in checks:
            claim, sources, verdict, quote = made.add_row().cells
            claim.text = _xml(one.claim)
            self.numbers(sources.paragraphs[0], one.quotes)
            score = "" if one.score is None else f" {one.score:.2f}"
            lacking = f"; {one.lacking}" if one.lacking else ""
            verdict.text = _xml(f"{one.said}{score}{lacking}")
            quote.text = _xml(f"“{one.quotes[0].text}”" if one.quotes else "nothing is cited")

    def sources(self, view: ReportView) -> None:
        """The bibliography, each source with the quotes that were taken from it."""
        for number, record, quotes in view.sources:
            paragraph = self.document.add_paragraph()
            self._bookmarks += 1
            _bookmark(paragraph, f"source_{number}", self._bookmarks)
            paragraph.add_run(f"[{number}] ").bold = True
            address = web_place(quotes[0]) if quotes else ""
            if address:
                _link(paragraph, record.title, address=address)
            else:
                paragraph.add_run(_xml(record.title)).bold = True
            date = record.published_at[:10] if record.published_at else "no date"
            about = " · ".join(
                part for part in (", ".join(record.authors[:6]), date, record.licence, record.url) if part
            )
            paragraph.add_run(f"\n{_xml(about)}")
            self.quotes(quotes)

    def quotes(self, quotes: Sequence[Quote]) -> None:
        """Quotes with their places."""
        for one in quotes:
            paragraph = self.document.add_paragraph(_xml(f"“{one.text}”"), style="Intense Quote")
            paragraph.add_run(_xml(f"\n{one.where}")).italic = False


def _style(block: Block) -> str:
    """The name of Word's style for a block."""
    if block.kind == "item":
        deep = f" {min(3, block.level)}" if block.level > 1 else ""
        return f"List {'Number' if block.number else 'Bullet'}{deep}"
    return {"quote": "Quote"}.get(block.kind, "List Continue" if block.level else "Normal")


def _by_number(quotes: Sequence[Quote]) -> Iterator[tuple[int, list[Quote]]]:
    for number in sorted({one.number for one in quotes if one.number}):
        yield number, [one for one in quotes if one.number == number]


def _link(paragraph: Any, text: str, *, anchor: str = "", address: str = "", tip: str = "") -> None:
    """A hyperlink, within the document or to an address."""
    from docx.opc.constants import RELATIONSHIP_TYPE
    from docx.oxml import OxmlElement
    from docx.oxml.ns import qn

    link = OxmlElement("w:hyperlink")
    if anchor:
        link.set(qn("w:anchor"), anchor)
    else:
        known = paragraph.part.relate_to(_xml(address), RELATIONSHIP_TYPE.HYPERLINK, is_external=True)
        link.set(qn("r:id"), known)
    if tip:
        link.set(qn("w:tooltip"), _xml(tip if len(tip) <= MOST_TIP else f"{tip[: MOST_TIP - 1].rstrip()}…"))
    run = paragraph.add_run(_xml(text))
    run.font.underline = not anchor or None
    link.append(run._r)  # python-docx has no call of its own for links
    paragraph._p.append(link)


def _bookmark(paragraph: Any, name: str, number: int) -> None:
    from docx.oxml import OxmlElement
    from docx.oxml.ns import qn

    for kind in ("Start", "End"):
        mark = OxmlElement(f"w:bookmark{kind}")
        mark.set(qn("w:id"), str(number))
        if kind == "Start":
            mark.set(qn("w:name"), name)
        paragraph._p.append(mark)


def _directed(document: Any) -> None:
    """Set from the right what begins in Arabic, Hebrew and the like: Word does not see it by itself."""
    from docx.oxml import OxmlElement
    from docx.oxml.ns import qn

    for paragraph in document.element.body.iter(qn("w:p")):
        if _is_from_right("".join(one.text or "" for one in paragraph.iter(qn("w:t")))):
            paragraph.get_or_add_pPr().append(OxmlElement("w:bidi"))
            for run in paragraph.iter(qn("w:r")):
                if _is_from_right("".join(one.text or "" for one in run.iter(qn("w:t")))):
                    run.get_or_add_rPr().append(OxmlElement("w:rtl"))


def _is_from_right(text: str) -> bool:
    """Whether the first letter of a text is of a script that is written from the right."""
    kinds = (unicodedata.bidirectional(one) for one in text)
    return next((kind for kind in kinds if kind in ("L", "R", "AL")), "L") != "L"


def _xml(text: str) -> str:
    """The text without characters that XML may not hold."""
    return _NOT_XML.sub("\ufffd", text)
