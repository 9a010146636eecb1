"""Reports for tests: one with all that a report can have, over texts whose every span cuts what it says."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from foveal.research.evidence import Claim, Evidence, SourceRecord, Verdict
from foveal.research.report import Brief, Report
from foveal.research.report_parts import Conflict, Section
from foveal.types import Passage, Span, document_id, revision_of

TEXTS = {
    "s1": (
        "https://papers.example/sparse",
        "Where to Look <b>When</b> Everything Is Text",
        "Attention is costly. On 32,000 tokens, sparse attention takes 0.094 s where dense attention takes 0.59 s. "
        "The gain grows with the length of the text. We measured on one core.",
    ),
    "s2": (
        "https://arxiv.org/abs/2510.01234",
        "Block Masks, Measured & Compared",
        "Block masks keep 4.6 % of all blocks. Quality falls by 0.3 points. Nothing was measured beyond 16,000 tokens.",
    ),
    "s3": (
        "library:notes.txt",
        "Notes on “dense” attention",
        "Dense attention takes 0.41 s on the same machine. Eyes – ὀφθαλμοί, 眼 – move three times a second.",
    ),
}
QUESTION = "How fast is sparse attention on long texts?"


def source(key: str, **more: Any) -> SourceRecord:
    """A source of `TEXTS`."""
    url, title, text = TEXTS[key]
    known = {
        "published_at": {"s1": "2026-03-02", "s2": "2025-10-02", "s3": None}[key],
        "authors": {"s1": ("Léa Martin", "Bo Chen"), "s2": ("Ana_Ruiz",), "s3": ()}[key],
        "identities": ("arxiv:2510.01234",) if key == "s2" else (),
    }
    return SourceRecord(
        key=key, url=url, title=title, document_id=document_id(url), revision=revision_of(text), **(known | more)
    )


def evidence(key: str, of: str, **more: Any) -> Evidence:
    """The whole text of a source as one passage, 100 characters into its document."""
    url, _, text = TEXTS[of]
    span = Span(document_id(url), 100, 100 + len(text))
    passage = Passage(span, text, "Results > Speed" if of == "s1" else None)
    return Evidence(key=key, source=of, question=QUESTION, passage=passage, summary="A summary, not a quote.", **more)


def verdict(of: str, words: str, label: str = "supported", score: float = 0.9, **more: Any) -> Verdict:
    """A verdict that points to `words` of a source."""
    url, _, text = TEXTS[of]
    start = 100 + text.index(words)
    where = Span(document_id(url), start, start + len(words))
    return Verdict(label=label, score=score, where=where, quote=words, **more)  # type: ignore[arg-type]


def claims() -> tuple[Claim, ...]:
    """The claims of `whole_report`."""
    fast = "On 32,000 tokens, sparse attention takes 0.094 s where dense attention takes 0.59 s."
    return (
        Claim(
            text="Sparse attention takes 0.094 s on 32,000 tokens",
            evidence=("e1",),
            section="Speed",
            verdict=verdict("s1", fast),
        ),
        Claim(
            text="Block masks keep 4.6 % of the blocks",
            evidence=("e2",),
            section="Speed",
            verdict=verdict("s2", "Block masks keep 4.6 % of all blocks.", "partly", 0.6),
        ),
        Claim(
            text="Quality falls by 9 points",
            evidence=("e2",),
            section="Quality",
            verdict=Verdict(label="contradicted", score=0.1, missing=("9",)),
        ),
        Claim(text="Everybody uses it", evidence=(), section="Quality"),
    )


def whole_report(**changes: Any) -> Report:
    """A report with sections, a table, conflicts, checks and gaps."""
    speed = (
        "Sparse attention takes 0.094 s on 32,000 tokens [[e1]] [[e2]]. "
        "**Block masks** keep 4.6 % of the blocks [[e2]]."
        "\n\n| method | time |\n| --- | --- |\n| sparse | 0.094 s [[e1]] |\n| dense | 0.59 s [[e1]] |\n\n"
        "- one *thing* [[e3]]\n- another `x < y`\n  1. within <script>alert(1)</script>\n"
    )
    quality = "Quality falls by 9 points [[e2]]. Everybody uses it [[e99]].\n\n> A quote of $O(n)$ & more"
    made = Report(
        question=QUESTION,
        brief=Brief(goal=QUESTION),
        title="Sparse attention on long texts",
        sections=(Section(heading="Speed", text=speed), Section(heading="Quality", text=quality)),
        sources=(source("s1"), source("s2"), source("s3")),
        evidence=(evidence("e1", "s1"), evidence("e2", "s2"), evidence("e3", "s3")),
        claims=claims(),
        usage={"tokens": 12345, "calls": 17},
        not_covered=("Energy", "Texts beyond [a million] tokens"),
        key="0" * 32,
        conflicts=(
            Conflict(about="Dense attention takes 0.59 s or 0.41 s", sides=(("e1",), ("e3",)), preferred="newer"),
        ),
        queries=("sparse attention speed", "block masks quality"),
        created_at="2026-11-02T08:00:00+00:00",
    )
    return replace(made, **changes)


def nothing_found() -> Report:
    """A report of a run that found nothing."""
    return whole_report(sections=(), claims=(), conflicts=(), sources=(), evidence=(), not_covered=(), title="")
