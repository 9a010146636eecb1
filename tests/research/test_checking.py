"""A written report held against its ledger, or against a library: changed sentences, changed texts, numbers to
nowhere."""

from __future__ import annotations

import json

import pytest
from ledgers import DOCUMENT, REPORT, TEXT, ledger

from foveal.errors import InputError, UnknownDocument
from foveal.research.checking import Ledger, check_report, ledger_beside
from foveal.research.verification import Verifier
from foveal.types import Document, Span


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
