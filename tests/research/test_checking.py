"""A written report held against its ledger, or against a library: changed sentences, changed texts, numbers to
nowhere."""

from __future__ import annotations

import json
import re

import pytest
from ledgers import DOCUMENT, REPORT, TEXT, ledger

from foveal.errors import InputError, UnknownDocument
from foveal.research.checking import Ledger, check_report, ledger_beside
from foveal.research.evidence import Claim, Evidence, SourceRecord
from foveal.research.report import Brief, Report
from foveal.research.report_parts import Section
from foveal.research.verification import Verifier
from foveal.types import Document, Passage, Span


def labels(checked) -> list[str]:
    return [one.verdict.label for one in checked.claims]


def test_a_report_and_its_ledger():
    checked = check_report(REPORT, Verifier(), ledger=Ledger.of(ledger()))
    assert labels(checked) == ["supported", "contradicted", "unsupported"]
    assert checked.unknown == ("7",)
    assert not checked.good
    assert checked.claims[0].verdict.where == Span(DOCUMENT.id, 7, 49)  # without the blank behind it
    good = check_report(
        REPORT.replace("90 tonnes", "40 tonnes").replace(" It was sold in 1900 [7].", ""),
        Verifier(),
        ledger=Ledger.of(ledger()),
    )
    assert good.good
    assert not check_report("# Nothing\n", Verifier(), ledger=Ledger.of(ledger())).good


@pytest.mark.parametrize(
    "url",
    [
        "https://example.org/a?id=1&page=2",
        "https://example.org/a%20b",
        'https://example.org/a"b',
        "/home/reader/it's a mill.md",
        "/home/reader/<mill>.md",
    ],
)
@pytest.mark.parametrize(
    "beside", [{}, {"licence": "https://eyes.example/terms"}, {"title": "A <b> & https://else.example/x"}]
)
def test_a_report_as_it_was_written_leads_to_its_sources(url, beside):
    report, row = written_again(
        [{"key": "s1", "url": url, "identities": (url,)} | beside], [("e1", "s1", "It grinds 40 tonnes a day.")]
    )
    checked = check_report(report, Verifier(), ledger=row)
    assert (labels(checked), checked.unknown) == (["supported"], ())


def test_records_that_are_one_source_stand_for_each_other_and_for_no_third():
    records = [
        {"key": "s1", "url": "https://press.example/1", "identities": ("doi:10.1/1", "https://press.example/1")},
        {"key": "s2", "url": "https://med.example/1", "identities": ("doi:10.1/1", "https://med.example/1")},
        {"key": "s3", "url": "https://other.example/", "identities": ("https://other.example/",)},
    ]
    said = [
        ("e1", "s1", "It grinds 40 tonnes a day."), ("e2", "s2", "Ada Hart built it in 1820."),
        ("e3", "s3", "It burnt down in 1842."),
    ]  # fmt: skip
    report, row = written_again(records, said)
    assert labels(check_report(report, Verifier(), ledger=row)) == ["supported"] * 3
    moved = report.replace("1842 [2]", "1842 [1]")
    assert moved != report
    assert labels(check_report(moved, Verifier(), ledger=row))[-1] != "supported"


def written_again(records, said) -> tuple[str, Ledger]:
    """A report whose sentences are its evidence's own, as Markdown, and its ledger."""
    kept = {"title": "Mills", "document_id": DOCUMENT.id, "revision": DOCUMENT.revision}
    sources = tuple(SourceRecord(**kept | one) for one in records)
    evidence = tuple(
        Evidence(key=key, source=source, question="?", passage=Passage(Span(DOCUMENT.id, 0, len(text)), text))
        for key, source, text in said
    )
    claims = tuple(Claim(text=text, evidence=(key,)) for key, _, text in said)
    report = Report(
        question="?", brief=Brief(goal="mills"), title="Mills", sources=sources, evidence=evidence, claims=claims,
        sections=(Section(heading="Work", text=" ".join(f"{text} [[{key}]]" for key, _, text in said)),),
    )  # fmt: skip
    markdown = re.sub(r"(\.) (\[\d\])", r" \2.", report.to_markdown())
    return markdown, Ledger.of(report.ledger())


def test_a_number_that_leads_nowhere_is_told_though_another_one_bears_the_sentence_out():
    beside = REPORT.split(" It grinds")[0].replace("[1]", "[1][9]") + REPORT[REPORT.index("\n\n## Sources") :]
    for against in ({"ledger": Ledger.of(ledger())}, {"find": find}):
        checked = check_report(beside, Verifier(), **against)
        assert (labels(checked), checked.unknown, checked.good) == (["supported"], ("9",), False)
        assert check_report(beside.replace("[9]", ""), Verifier(), **against).good


def test_a_report_with_keys_needs_no_numbers():
    checked = check_report(
        "It grinds 40 tonnes a day [[e2]]. It grinds 40 tonnes a day [[e9]].", Verifier(), ledger=Ledger.of(ledger())
    )
    assert labels(checked) == ["supported", "unsupported"]
    assert checked.unknown == ("e9",)


def find(address: str) -> Document:
    if "example.org/mill" not in address:
        raise UnknownDocument(f"nothing from {address}")
    return DOCUMENT


def test_a_report_and_a_library():
    checked = check_report(REPORT, Verifier(), find=find)
    assert labels(checked) == ["supported", "contradicted", "unsupported"]
    assert checked.unknown == ("7",)
    with pytest.raises(InputError, match="nothing to check against"):
        check_report(REPORT, Verifier())


def test_evidence_whose_text_changed_is_named():
    held = Ledger.of(ledger())
    assert held.changed(find) == []
    other = Document.of("https://example.org/mill", TEXT.replace("40", "41"), "Harrow Mill")
    assert held.changed(lambda _: other) == ["e2"]

    row = ledger()
    row["evidence"][1] |= {"url": "https://mirror.example/mill"}
    moved = f"From the archive. {TEXT}"
    at = moved.index("It grinds")
    row["evidence"][1]["passage"] = {
        "span": {"document_id": "m", "start": at, "end": len(moved)},
        "text": moved[at:],
        "heading": None,
    }
    texts = {"https://example.org/mill": TEXT, "https://mirror.example/mill": moved}
    assert Ledger.of(row).changed(lambda url: Document.of(url, texts[url], "Harrow Mill")) == []

    def nothing(address):
        raise UnknownDocument("no")

    assert held.changed(nothing) == []


def test_ledgers_in_files(tmp_path):
    report = tmp_path / "report.md"
    assert ledger_beside(report) is None
    (tmp_path / "report.json").write_text(json.dumps(ledger()))
    assert ledger_beside(report) == tmp_path / "report.json"
    (tmp_path / "report.ledger.json").write_text(json.dumps(ledger()))
    assert ledger_beside(report) == tmp_path / "report.ledger.json"
    assert Ledger.read(tmp_path / "report.json").evidence["e1"].passage.text == TEXT[7:50]
    for wrong, what in (("[]", "is no ledger"), ('{"sources": []}', "no ledger of a report"), ("{", "cannot be read")):
        report.write_text(wrong)
        with pytest.raises(InputError, match=what):
            Ledger.read(report)
