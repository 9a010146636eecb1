"""What would change an answer: read off the ledger, the same in all forms."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest
from docx import Document
from reports import evidence, nothing_found, source, verdict, whole_report

from foveal.research.claims import claims_of
from foveal.research.evidence import Claim
from foveal.research.report import Report
from foveal.research.report_exports import EXPORTS
from foveal.research.report_parts import LEAD, LEFT_OUT, Conflict, Section
from foveal.research.report_view import ReportView
from foveal.research.turning import main_claims, turning_of, turning_points

FAST = Claim(
    text="Dense attention takes 0.59 s on 32,000 tokens", evidence=("e1",), section=LEAD,
    verdict=verdict("s1", "sparse attention takes 0.094 s where dense attention takes 0.59 s."),
)  # fmt: skip
SAFE = Claim(text="Block masks keep 4.6 % of all blocks", evidence=("e2", "e3"), section=LEAD)


def led(**changes):
    sections = (
        Section(heading=LEAD, text="Dense attention takes 0.59 s [[e1]]. Masks [[e2]]."),
        *whole_report().sections,
    )
    return whole_report(**{"sections": sections, "claims": (FAST, SAFE, *whole_report().claims)} | changes)


def test_main_claims_are_those_of_the_short_answer_else_the_best_of_each_section():
    assert main_claims(led()) == [FAST, SAFE]
    assert [one.text for one in main_claims(whole_report())] == [
        "Sparse attention takes 0.094 s on 32,000 tokens",
        "Quality falls by 9 points",
    ]  # fmt: skip  (what cites nothing is none)


def test_the_other_side_of_a_conflict_is_named_where_it_is_about_the_claim_and_only_there():
    first, *_ = turning_points(led())
    assert first.against == (("e3", "newer"),)
    turned = led(
        conflicts=(
            Conflict(about="Dense attention takes 0.41 s or 0.59 s", sides=(("e3",), ("e1",)), preferred="newer"),
        )
    )
    assert turning_points(turned)[0].against == (("e3", "it is itself preferred, as it is newer"),)
    elsewhere = led(conflicts=(Conflict(about="Eyes move three times or twice", sides=(("e1",), ("e3",))),))
    assert turning_points(elsewhere)[0].against == ()


def test_a_claim_that_ends_in_a_full_stop_is_still_emphasised_before_its_number():
    drawn = ReportView.of(led(claims=(replace(FAST, text=f"{FAST.text}."), SAFE))).turning
    assert {run.style for run in drawn.blocks[0].runs if run.text.strip()} == {frozenset({"strong"})}
    assert drawn.cites[0].numbers == (1,)


def test_evidence_that_is_against_the_same_question_is_named_without_a_conflict():
    contrary = replace(evidence("e3", "s3"), stance="contradicts")
    report = led(conflicts=(), evidence=(evidence("e1", "s1"), evidence("e2", "s2"), contrary))
    assert turning_points(report)[0].against == (("e3", ""),)
    assert "Nothing speaks for either" in turning_of(report).text


def test_what_is_thin_is_said_one_source_a_missing_number_no_date():
    alone = turning_points(led())[0]
    assert alone.thin == ("A second source that says otherwise: this rests on one alone.",)
    assert not any("one alone" in one for point in turning_points(led()) if point.claim == SAFE for one in point.thin)
    undated = led(sources=tuple(replace(one, published_at=None) for one in led().sources))
    assert any(one.startswith("A date:") for one in turning_points(undated)[0].thin)
    lacking = replace(FAST, verdict=replace(FAST.verdict, label="partly", missing=("0.7 s",)))
    assert (
        "A source for “0.7 s”: what is cited does not hold it."
        in turning_points(whole_report(claims=(lacking,)))[0].thin
    )


def test_sub_questions_that_stayed_open_stand_at_the_claim_that_they_are_about_and_left_out_sentences_do_not():
    report = led(not_covered=("How many tokens does dense attention take", "Energy", f"{LEFT_OUT}It uses 4 watts."))
    first = turning_points(report)[0]
    assert first.unanswered == ("How many tokens does dense attention take",)
    text = turning_of(report).text
    assert text.splitlines()[-1] == "- An answer to what stayed open: “Energy”"
    assert "watts" not in text


def test_nothing_is_said_where_nothing_is_known_and_no_claim_of_it_is_checked_again():
    assert turning_of(nothing_found()) is None
    sure = replace(SAFE, verdict=verdict("s2", "Block masks keep 4.6 % of all blocks."))
    assert turning_of(whole_report(claims=(sure,), conflicts=(), not_covered=())) is None
    assert not [one for one in claims_of(led().to_markdown()) if "other side" in one.text or "stayed open" in one.text]


@pytest.mark.parametrize("form", ["markdown", "html", "slides", "docx"])
def test_all_forms_tell_it_and_set_the_contradiction_in_a_pair_with_its_citations(form):
    report = led(sections=whole_report().sections[1:])  # no text cites e3 or e1: the conflict does
    made = EXPORTS[form].write(report)
    if form == "docx":
        document = Document(io.BytesIO(made))
        pair = next(one for one in document.tables if one.cell(0, 1).text == "Against it")
        assert [("0.59 s" in one.text, "0.41 s" in one.text) for one in pair.rows[1].cells] == [
            (True, False),
            (False, True),
        ]
        text = "\n".join(one.text for one in document.paragraphs)
    else:
        text = made.decode()
    assert "What would change this answer" in text
    assert "An answer to what stayed open" in text
    assert set(report.bibliography) == {1, 2, 3}
    assert {quote.number for pair in ReportView.of(report).conflicts[0].pairs for quote in pair} == {2, 3}
    assert Report.of_ledger(report.ledger()).turning == report.turning
    assert source("s3").title in "".join(one.title for one in report.bibliography.values())
