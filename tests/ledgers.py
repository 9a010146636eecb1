"""A small report, the document that it cites, and its ledger."""

from __future__ import annotations

from dataclasses import asdict

from foveal.research.evidence import Claim, Evidence, SourceRecord
from foveal.types import Document, Passage, Span

TEXT = "Notes. Harrow Mill was built in 1820 by Ada Hart. It grinds 40 tonnes a day."
DOCUMENT = Document.of("https://example.org/mill", TEXT, "Harrow Mill", url="https://example.org/mill")
REPORT = """# Mills

Harrow Mill was built in 1820 by Ada Hart [1]. It grinds 90 tonnes a day [1]. It was sold in 1900 [7].

## Sources

1. Harrow Mill (no date). <https://www.example.org/mill/>
"""


def ledger() -> dict:
    cut = Span(DOCUMENT.id, 7, 50)
    passages = {"e1": Passage(cut, TEXT[7:50]), "e2": Passage(Span(DOCUMENT.id, 50, len(TEXT)), TEXT[50:])}
    source = SourceRecord(
        key="s1",
        url="https://example.org/mill",
        title="Harrow Mill",
        document_id=DOCUMENT.id,
        revision=DOCUMENT.revision,
    )
    evidence = [Evidence(key=key, source="s1", question="?", passage=one) for key, one in passages.items()]
    claims = [Claim(text="Harrow Mill was built in 1820 by Ada Hart.", evidence=("e1",))]
    rows = {"sources": [asdict(source) | {"later": "field"}], "evidence": [one.to_row() for one in evidence]}
    return {"question": "?", **rows, "claims": [asdict(one) for one in claims], "markdown": REPORT}
