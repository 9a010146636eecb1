"""Tables of a report are those of its evidence, cell by cell, and charts are drawn from them."""

from __future__ import annotations

import re

import pytest
from markdown_it import MarkdownIt
from report_worlds import PAGES, Filler, Pages, page

from foveal.research.checking import Ledger, check_report
from foveal.research.deep import DeepResearch
from foveal.research.evidence import Evidence
from foveal.research.outline import Planned
from foveal.research.report_blocks import blocks_of
from foveal.research.report_html import html_of
from foveal.research.report_parts import Section
from foveal.research.report_tables import LONGEST, ROWS, cells_of, with_tables
from foveal.research.verification import Verifier
from foveal.types import Passage, Span

TABLE = "| grain of the Orra mill | sacks |\n| --- | --- |\n| barley | 900 |\n| oats [4] | 350 |\n| rye | 120 |"
GRAIN = page("Mill grain", f"What the Orra mill grinds in a year.\n\n{TABLE}\n\nIt grinds rye, too.", year=2010)


def test_a_table_that_was_read_is_shown_with_its_source_and_can_be_checked_and_drawn():
    verifier = Verifier()
    report = DeepResearch(Filler(), Pages((*PAGES, GRAIN)), checks=verifier).report(
        "How many sacks of each grain does the Orra mill grind?", planner="parallel"
    )
    told = report.to_markdown()
    [number] = [number for number, source in report.bibliography.items() if source.title == "Mill grain"]
    for row in ("barley | 900", "oats | 350", "rye | 120"):
        assert told.count(f"| {row} | [{number}] |") == 1
    drawn = html_of(report)
    assert drawn.count('<figure class="chart">') == 1
    checked = check_report(told, verifier, ledger=Ledger.of(report.ledger()))
    rows = [one.verdict.label for one in checked.claims if one.text.startswith(("barley,", "oats,", "rye,"))]
    assert rows == ["supported"] * 3
    changed = check_report(told.replace("| 350 |", "| 530 |"), verifier, ledger=Ledger.of(report.ledger()))
    assert [one.verdict.label for one in changed.claims if one.text.startswith("oats,")] != ["supported"]


@pytest.mark.parametrize(
    "text",
    [
        "No table at all.",
        "| a | b |\n| --- | --- |",
        "| a | b |\n| c | d |\n| e | f |",
        "| a | b |\n| --- | --- |\n| c | d | e |\n| c | d |",
        f"| a | b |\n| --- | --- |\n| {'c' * (LONGEST + 1)} | d |\n| e | f |",
        "| a | b |\n| --- | --- |\n" + "| c | d |\n" * (ROWS + 1),
        "| a |\n| --- |\n| c |\n| d |",
    ],
)
def test_what_is_no_small_table_is_not_shown(text):
    assert cells_of(text) == []


def test_cells_are_as_they_were_but_for_marks():
    assert cells_of(TABLE)[2] == ("oats", "350")
    assert cells_of("| a \\| b | c |\n|:--|--:|\n| 1 | 2 |")[0] == ("a | b", "c")


@pytest.mark.parametrize("cell", ["[click](https://evil.example/x)", "<img src=x>", "![p](https://t.example/p.png)",
                                  "a | b", "*rye*", "[]][e1][[]"])  # fmt: skip
def test_a_cell_is_words_and_nothing_else(cell):
    table = TABLE.replace("barley", cell.replace("|", "\\|"))
    evidence = {"e1": Evidence(key="e1", source="s1", question="?", passage=Passage(Span("d", 0, len(table)), table))}
    [section] = with_tables(
        [(Planned("Grain", "grain", ("e1",)), None)], [Section(heading="Grain", text="It grinds.")], evidence
    )
    told = section.text
    page = MarkdownIt("commonmark", {"html": True}).enable("table").render(told)
    assert not re.search(r"<(?:a|img|em|strong)\b", page)
    assert told.count("[[e1]]") == 3  # a mark for each row, and no other
    [drawn] = [block for block in blocks_of(told) if block.kind == "table"]
    assert "".join(run.text for run in drawn.rows[1][0]) == cell
    assert "".join(run.text for run in drawn.rows[0][-1]) == "source"
