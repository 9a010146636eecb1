"""A report in each of its forms: what must stand in it, exact quotes and places, no markup of a page's."""

from __future__ import annotations

import io
import json
import re
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import pypdfium2
import pytest
from lxml import html
from reports import QUESTION, TEXTS, claims, evidence, nothing_found, source, verdict, whole_report

from foveal.errors import InputError, MissingExtra
from foveal.research.answers import UNREAD
from foveal.research.claims import claims_of
from foveal.research.evidence import Claim, SourceRecord
from foveal.research.report import Report
from foveal.research.report_blocks import Block, blocks_of
from foveal.research.report_charts import chart_of
from foveal.research.report_exports import EXPORTS, bibtex, file_name, ready, written
from foveal.research.report_html import html_of, slides_of, web_place
from foveal.research.report_parts import Section
from foveal.research.report_view import ReportView
from foveal.research.report_writing import Sentence


def said(blocks: tuple[Block, ...]) -> list[tuple[str, str, tuple[str, ...]]]:
    """Kind, words and keys of each block."""
    return [(one.kind, one.text, tuple(key for run in one.runs for key in run.keys)) for one in blocks if not one.rows]


def test_blocks_hold_words_marks_and_no_markup_of_others() -> None:
    text = (
        "A **bold [[e1]]** claim [[e2]] [[e3]]. [x](http://evil.example) ![y](z) <b>raw</b>\n\n1. one\n\n"
        "   more\n2. two\n   - deep\n\n> said\n\n#### Head\n\n```\na < b\n```\n"
    )
    blocks = blocks_of(text, lambda key: key != "e9")
    assert said(blocks) == [
        ("paragraph", "A bold claim. [x](http://evil.example) ![y](z) <b>raw</b>", ("e1", "e2", "e3")),
        ("item", "one", ()),
        ("paragraph", "more", ()),
        ("item", "two", ()),
        ("item", "deep", ()),
        ("quote", "said", ()),
        ("heading", "Head", ()),
        ("code", "a < b", ()),
    ]
    assert [run.keys for run in blocks[0].runs if run.keys] == [("e1",), ("e2", "e3")]  # marks that touch are one
    assert [(one.level, one.number) for one in blocks if one.kind == "item"] == [(1, 1), (1, 2), (2, 0)]
    assert said(blocks_of("Gone [[e9]].", lambda key: key != "e9")) == [("paragraph", "Gone.", ())]
    assert said(blocks_of("\ue0000\ue001 ours")) == [("paragraph", "0 ours", ())]


def test_a_quote_is_where_the_claims_check_points_else_the_best_sentence_and_always_the_sources_words() -> None:
    report = whole_report()
    view = ReportView.of(report)
    quotes = {cite.id: cite.quotes for section in view.sections for cite in section.cites}
    first, second = quotes["c1-1"]
    assert first.text == "On 32,000 tokens, sparse attention takes 0.094 s where dense attention takes 0.59 s."
    assert second.text == "Block masks keep 4.6 % of all blocks."  # e2 bears other claims out: its best sentence here
    assert [one.text for one in quotes["c2-1"]] == ["Quality falls by 0.3 points."]
    for one in (quote for found in quotes.values() for quote in found):
        text = TEXTS[next(key for key, (url, *_) in TEXTS.items() if url == one.source.url)][2]
        assert text[one.start - 100 : one.end - 100] == one.text
        assert f"{one.before}{one.text}{one.after}" in text or "…" in one.before + one.after
    assert [one.numbers for one in view.checks] == [(1,), (2,), (2,), ()]
    assert view.conflicts[0].sides[1][0].text == "Dense attention takes 0.41 s on the same machine."
    assert "99" not in str(view.report.numbers)


def test_each_mark_leads_to_the_claim_that_stands_before_it() -> None:
    """Two claims on one passage: each mark shows the place that its own claim was checked at."""
    text = "Block masks keep few blocks [[e2]]. Nothing beyond 16,000 tokens was measured [[e2]]."
    claims = tuple(
        Claim(text=words, evidence=("e2",), section="S", verdict=verdict("s2", quote))
        for words, quote in (
            ("Block masks keep few blocks", "Block masks keep 4.6 % of all blocks."),
            ("Nothing beyond 16,000 tokens was measured", "Nothing was measured beyond 16,000 tokens."),
        )
    )
    view = ReportView.of(whole_report(sections=(Section(heading="S", text=text),), claims=claims))
    assert [cite.quotes[0].text for cite in view.sections[0].cites] == [
        "Block masks keep 4.6 % of all blocks.",
        "Nothing was measured beyond 16,000 tokens.",
    ]


def test_the_html_is_one_safe_file_whose_numbers_open_quotes() -> None:
    made = html_of(whole_report())
    page = html.fromstring(made)
    assert not page.xpath("//script | //link | //img | //*[@src] | //*[@style] | //*[starts-with(name(@*), 'on')]")
    assert "<script>alert" not in made
    ids = page.xpath("//@id")
    assert len(ids) == len(set(ids))
    for button in page.xpath("//button[@class='cite']"):
        (popup,) = page.xpath(f"//*[@id='{button.get('popovertarget')}'][@popover]")
        assert popup.xpath(".//q")
    first = page.xpath("//button[@class='cite']")[0]
    popup = page.get_element_by_id(first.get("popovertarget")).text_content()
    for part in (
        "On 32,000 tokens, sparse attention takes 0.094 s",
        "Results > Speed · characters 122 to 205",
        "2026-03-02",
    ):
        assert part in popup
    assert {one for one in page.xpath("//a/@href") if not one.startswith("#")} == {
        one for one in page.xpath("//a/@href") if one.startswith(("https://papers.example/", "https://arxiv.org/"))
    }
    for target in page.xpath("//a[starts-with(@href, '#')]/@href"):
        assert page.get_element_by_id(target[1:]) is not None
    rows = [[cell.text_content().strip() for cell in row] for row in page.xpath("//table[@class='checks']/tbody/tr")]
    assert [row[0] for row in rows] == [one.text for one in whole_report().claims]
    assert rows[2][2].replace("\n", " ") == "contradicted 0.10not in the source: 9"
    assert page.xpath("//figure//text[@class='bar-value']/text()") == ["0.094 s", "0.59 s"]
    assert "Not covered" in page.text_content()
    assert page.xpath("//ol//ol | //ul//ol")  # lists within lists
    assert "prefers-color-scheme: dark" in made
    assert "@media print" in made


def test_no_line_is_broken_between_a_number_and_what_it_belongs_to() -> None:
    text = "It calls `__get__` [[e1]]. A word [[e2]] [[e1]], more; alone\n\n[[e3]] first"
    made = html.fromstring(html_of(whole_report(sections=(Section(heading="S", text=text),), claims=())))
    kept = made.xpath("//span[@class='kept']")
    assert [one.text_content().split()[0].rstrip("12,") for one in kept] == ["__get__", "word"]
    assert [one[-1].tail for one in kept] == [".", ","]
    assert not made.xpath("//code[not(node())]")
    assert made.xpath("//p[span[@class='cited']]")[0].text_content().endswith(" first")


def test_a_report_of_nothing_says_so_in_every_form() -> None:
    for form in ("html", "slides", "markdown"):
        text = EXPORTS[form].write(nothing_found()).decode()
        assert "This cannot be answered from these sources." in text
    assert "block masks quality" in html_of(nothing_found())
    stopped = replace(nothing_found(), stopped_by="budget")
    for form in ("html", "slides", "markdown"):  # who did not look to the end cannot say so
        text = EXPORTS[form].write(stopped).decode()
        assert "Not complete: the budget was spent. Nothing was found until then." in text
        assert "cannot be answered" not in text
    assert pdf_text(EXPORTS["pdf"].write(nothing_found())).count("Searches that were tried") == 1
    assert "This cannot be answered" in docx_text(EXPORTS["docx"].write(nothing_found()))


def pdf_text(content: bytes) -> str:
    """The words of a PDF."""
    pages = pypdfium2.PdfDocument(content)
    return " ".join(" ".join(page.get_textpage().get_text_bounded().split()) for page in pages)


def docx_text(content: bytes) -> str:
    """The words of a DOCX."""
    from docx import Document

    document = Document(io.BytesIO(content))
    cells = (cell.text for table in document.tables for row in table.rows for cell in row.cells)
    return "\n".join([*(one.text for one in document.paragraphs), *cells])


PARTS = (
    "Sparse attention on long texts",
    QUESTION,
    "Where sources differ",
    "Preferred, as it is newer",
    "Against it",
    "Dense attention takes 0.41 s on the same machine.",
    "What would change this answer",
    "A second source that says otherwise: this rests on one alone.",
    "An answer to what stayed open: “Energy”",
    "Texts beyond [a million] tokens",
    "not in the source: 9",
    "4 claims: 1 supported, 1 partly supported, 1 contradicted, 1 not checked",
    "within <script>alert(1)</script>",
    "Where to Look <b>When</b> Everything Is Text",
    "characters 122 to 205",
    "ὀφθαλμοί",
    "print('<b>', 6 * 7)",
    "<b> 42",
    "It was done, with the seed 3.",
    "Reviewed: 7 of 10. It ran #once.",
    "#x $y$ *b* @ref \\ _u_",
)


def hostile() -> Report:
    """A report with what Typst, XML or UTF-8 may choke on."""
    report = whole_report()
    last = Section(heading="#x $y$ *b* @ref \\ _u_", text="#panic() [[e1]] \ud800 \x00 `#x` `` ` ``\n\n    #code(\n")
    tried = {"code": "print('<b>', 6 * 7)", "status": "done", "seed": 3, "output": "<b> 42"}
    tried["review"] = {"score": 7, "strengths": ["It ran #once."], "weaknesses": []}
    gaps = (*report.not_covered, "]] } ) \x0b")
    return replace(report, sections=(*report.sections, last), not_covered=gaps, experiment=tried)


def test_the_pdf_holds_all_of_it_and_leads_to_sources() -> None:
    content = EXPORTS["pdf"].write(hostile())
    text = pdf_text(content)
    for part in PARTS:
        assert part in text, part
    assert "#panic()" in text
    document = pypdfium2.PdfDocument(content)
    assert document.get_metadata_value("Title") == "Sparse attention on long texts"
    assert [one.get_title() for one in document.get_toc()][:3] == ["Speed", "Quality", "#x $y$ *b* @ref \\ _u_"]
    assert b"/StructTreeRoot" in content  # tagged for screen readers


def test_the_docx_holds_all_of_it_and_shows_quotes_on_numbers() -> None:
    content = EXPORTS["docx"].write(hostile())
    text = docx_text(content)
    for part in PARTS:
        assert part in text, part
    body = zipfile.ZipFile(io.BytesIO(content)).read("word/document.xml").decode()
    anchors, marks = (
        set(re.findall(r'w:anchor="([^"]+)"', body)),
        set(re.findall(r'w:bookmarkStart [^>]*w:name="([^"]+)"', body)),
    )
    assert anchors == marks == {"source_1", "source_2", "source_3"}
    tips = re.findall(r'w:tooltip="([^"]+)"', body)
    assert any("On 32,000 tokens, sparse attention takes 0.094 s" in one for one in tips)
    assert max(map(len, tips)) <= 255


def test_what_is_written_from_the_right_is_set_from_there_and_nothing_else() -> None:
    from docx import Document
    from docx.oxml.ns import qn

    arabic = "تطحن طاحونة أورا الشعير"
    report = replace(
        whole_report(), title=arabic, sections=(Section(heading="In short", text=f"- {arabic} [[e1]]\n  - It grinds."),)
    )
    written = {
        "".join(one.text or "" for one in line.iter(qn("w:t"))): line
        for line in Document(io.BytesIO(EXPORTS["docx"].write(report))).element.body.iter(qn("w:p"))
    }
    from_right = {text for text, line in written.items() if next(line.iter(qn("w:bidi")), None) is not None}
    assert from_right == {arabic, f"{arabic}[1]"}
    words = next(written[f"{arabic}[1]"].iter(qn("w:r")))
    assert next(words.iter(qn("w:rtl")), None) is not None
    assert f'<ul dir="auto"><li dir="auto">{arabic[:5]}' in html_of(report)
    assert '<ul dir="auto"><li dir="auto">It grinds.' in html_of(report)


def test_a_long_title_is_whole_in_every_form() -> None:
    words = " ".join(f"word{n}" for n in range(200))
    for form, text in (
        ("docx", docx_text),
        ("html", lambda made: made.decode()),
        ("markdown", lambda made: made.decode()),
    ):
        assert words in text(EXPORTS[form].write(replace(whole_report(), title=words))), form


def test_a_form_that_cannot_be_made_is_known_before_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert [ready(tmp_path / f"r{one.ending}") for one in EXPORTS.values()] == list(EXPORTS)
    (tmp_path / "r.md").mkdir()
    with pytest.raises(InputError, match="is a folder"):
        ready(tmp_path / "r.md")
    for ending, module in ((".pdf", "typst"), (".docx", "docx"), (".html", "jinja2")):
        monkeypatch.setitem(sys.modules, module, None)
        with pytest.raises(MissingExtra, match=module):
            ready(tmp_path / f"r{ending}")


@pytest.mark.parametrize(
    "text",
    ["The grid has 2*3*4 cells of a<b>c.", "It calls `a*b*c<d>` and 2*3*4.", "Of `one, 2*3*4 are left.", "*5* it."],
)
def test_no_sign_of_a_models_sentence_is_lost_to_formatting(text: str) -> None:
    (block,) = blocks_of(Sentence(text, ("e1",)).shown())
    assert block.text.strip() == text.replace("`a*b*c<d>`", "a*b*c<d>")


def test_a_long_quote_of_the_checks_says_that_it_goes_on() -> None:
    words = "The mill | ground " + "sacks of barley " * 30
    report = whole_report(claims=(replace(claims()[0], verdict=replace(claims()[0].verdict, quote=words)),))
    (row,) = [one for one in report.to_markdown().splitlines() if "The mill" in one]
    assert row.endswith(("sacks of … |", "barley … |", "sacks … |"))
    assert r"mill \| ground" in row


def test_what_was_run_stands_in_the_report_as_it_was() -> None:
    ran = {"code": "print('~~~')", "output": "~~~\n# no heading", "status": "done", "seed": 1}
    text = whole_report(experiment=ran).to_markdown()
    assert "~~~~python\nprint('~~~')\n~~~~" in text
    assert "~~~~\n~~~\n# no heading\n~~~~" in text
    apart = text.replace("## Experiment", "## Trial").replace("# no heading", "# no heading [1].")
    assert not [one for one in claims_of(apart) if "heading" in one.text]


def test_an_experiment_stands_in_the_html() -> None:
    shown = " ".join(html.fromstring(html_of(hostile())).text_content().split())
    assert "It was done, with the seed 3. print('<b>', 6 * 7) <b> 42 Reviewed: 7 of 10. It ran #once." in shown


def test_slides_say_what_was_borne_out_and_fit_their_count() -> None:
    page = html.fromstring(slides_of(whole_report()))
    slides = page.xpath("//section[contains(@class, 'slide')]")
    assert [one.xpath("string(.//h1|.//h2)") for one in slides] == [
        "Sparse attention on long texts",
        *(
            "Speed",
            "Quality",
            "Where sources differ",
            "What would change this answer",
            "Not covered",
            "Checks",
            "Sources",
        ),
    ]
    points = [one.text_content().split("\n")[0].strip() for one in slides[1].xpath(".//li")]
    assert points == ["Sparse attention takes 0.094 s on 32,000 tokens 1", "Block masks keep 4.6 % of the blocks 2"]
    assert "9 points" not in slides[2].text_content()  # it is contradicted
    assert "contradicted: Quality falls by 9 points" in " ".join(slides[6].text_content().split())
    assert [one.get("href") for one in page.xpath("//a[@rel='next']")] == [f"#slide-{n}" for n in range(2, 9)]
    assert page.xpath("//nav/span/text()") == [f"{n} of 8" for n in range(1, 9)]


def test_bibtex_lists_the_cited_sources_once() -> None:
    entries = bibtex(whole_report()).split("\n\n")
    assert [re.match(r"@misc\{([^,]+)", one)[1] for one in entries] == [  # type: ignore[index]
        "martin2026where", "anaruiz2025block", "anonymousnotes",
    ]  # fmt: skip
    assert "eprint = {2510.01234}" in entries[1]
    assert "Block Masks, Measured \\& Compared" in entries[1]
    twin = replace(source("s2"), key="s9", url="https://mirror.example/x")
    more = whole_report(
        conflicts=(),
        sources=(*whole_report().sources, twin),
        evidence=(*whole_report().evidence, replace(evidence("e9", "s2"), source="s9")),
        sections=(Section(heading="S", text="One [[e2]]. The same from elsewhere [[e9]]."),),
    )
    assert bibtex(more).count("@misc") == 1
    names = ("doi:10.1000/a},note={b", "https://a.example/x")
    odd = replace(source("s2"), url="https://a.example/x}\n,title={mine", identities=names)
    assert "url = {https://a.example/x%7D%0A,title=%7Bmine}," in bibtex(with_source(odd))
    assert "doi = {10.1000/a%7D,note=%7Bb}," in bibtex(with_source(odd))


def with_source(one: SourceRecord) -> Report:
    """The whole report with another record in the place of one."""
    return whole_report(sources=tuple(one if old.key == one.key else old for old in whole_report().sources))


def test_an_address_or_a_text_that_no_file_can_hold_stops_no_export() -> None:
    known = whole_report().evidence
    halves = [replace(one, passage=replace(one.passage, text=f"\ud800{one.passage.text[1:]}")) for one in known]
    for url in ("https://a.example/\x01x", "https://a.example/\ufffex", "https://a.example/x\n\n# Ours"):
        odd = with_source(replace(source("s2"), url=url, identities=(url,)))
        for report in (odd, replace(odd, evidence=tuple(halves), claims=())):
            for form in EXPORTS.values():
                assert form.write(report)
            assert "\n# Ours" not in report.to_markdown()


def test_in_markdown_what_a_model_wrote_is_no_html() -> None:
    wrote = Sentence("Masks keep <img src=//evil.example/x> 4.6 % of p < 0.05 blocks.", ("e2",))
    section = Section(heading="On <b>masks</b>", text=wrote.shown())
    report = whole_report(sections=(section,), claims=(Claim(text=wrote.claim, evidence=("e2",)),), conflicts=())
    assert re.findall(r"(?<!\\)<(?!https://)", report.to_markdown()) == []
    assert claims_of(report.to_markdown())[0].text == wrote.claim
    assert wrote.text in " ".join(html.fromstring(html_of(report)).text_content().split()).replace(" .", ".")


def test_a_quote_of_a_page_that_was_not_read_leads_to_no_place_in_it() -> None:
    report = whole_report()
    unread = replace(report, evidence=tuple(replace(one, unread=one.source == "s1") for one in report.evidence))
    (place,) = {web_place(one) for _, record, own in ReportView.of(unread).sources for one in own if record.key == "s1"}
    assert place == TEXTS["s1"][0]  # its words may not stand there
    assert UNREAD in docx_text(EXPORTS["docx"].write(unread))
    assert UNREAD not in docx_text(EXPORTS["docx"].write(report))


def test_the_ledger_comes_back_and_files_are_whole(tmp_path: Path) -> None:
    report = whole_report()
    for form, one in EXPORTS.items():
        path = tmp_path / file_name(report, form)
        written(report, path)
        assert path.read_bytes()[:4] == one.write(report)[:4]
    ledger = json.loads((tmp_path / "sparse-attention-on-long-texts.json").read_text(encoding="utf-8"))
    assert Report.of_ledger(ledger) == report
    assert (tmp_path / "sparse-attention-on-long-texts.slides.html").read_text().count('<section class="slide') == 8
    with pytest.raises(InputError, match=r"ends in \.slides\.html, \.html, \.pdf"):
        written(report, tmp_path / "report.odt")
    assert sorted(one.suffix for one in tmp_path.iterdir()) == [
        ".bib",
        ".docx",
        ".html",
        ".html",
        ".json",
        ".md",
        ".pdf",
    ]


def chart(*rows: str) -> tuple[str, list[float]] | None:
    """Title and values of the chart of a table."""
    (table,) = blocks_of("\n".join(["| name | note | value |", "| --- | --- | --- |", *rows]))
    found = chart_of(table)
    return (found.title, [one.value for one in found.bars]) if found else None


def test_a_chart_holds_cited_numbers_of_one_unit_and_nothing_else() -> None:
    assert chart("| a | x | 1,204 [[e1]] |", "| b | y | −3.5 [[e2]] |") == ("value", [1204.0, -3.5])
    assert chart("| a | x | 12 % [[e1]] |", "| b | y | 7 % [[e2]] |") == ("value", [12.0, 7.0])
    assert chart("| a | x | 1 [[e1]] |", "| b | y | 2 |") is None  # nobody found that
    assert chart("| a | x | 1,5 [[e1]] |", "| b | y | 2,25 [[e2]] |") is None  # one and a half, not fifteen
    assert chart("| a | x | 1 s [[e1]] |", "| b | y | 2 ms [[e2]] |") is None
    assert chart("| a | x | 1 [[e1]] |", "| b | y | about two [[e2]] |") is None
    assert chart("| a | x | 1 [[e1]] |") is None
    assert chart("| a | x | 0 [[e1]] |", "| b | y | 0 [[e1]] |") is None
    (table,) = blocks_of("| a | v |\n| --- | --- |\n| x | -5 [[e1]] |\n| y | 15 [[e1]] |")
    made = chart_of(table)
    assert made is not None
    assert [(made.offset(one), made.share(one)) for one in made.bars] == [(0.0, 0.25), (0.25, 0.75)]


def test_blanks_without_end_before_no_mark():
    for text in (f"a{' ' * 300_000}b", f"a [[e1{' ' * 300_000}b"):
        assert [block.kind for block in blocks_of(text)] == ["paragraph"]
