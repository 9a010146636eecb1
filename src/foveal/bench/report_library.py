"""bench report-library: whole reports by a model of 0.5 B over a library of real papers.

Each question is reported on by DeepResearch in its mode: does every sentence cite stored evidence, does the evidence
bear it out, is each quote where it says it is, is the length what was asked for, and what did it take? The papers are
the abstracts of SciFact; the checks are those of the report, so what they say is how the machinery holds together, not
how true the papers are.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import fmean

from foveal.bench.runner import SIZE
from foveal.bench.settings import BenchSettings
from foveal.evaluation.beir import load_beir
from foveal.evaluation.tables import Row, mean
from foveal.models.chat import ChatModel
from foveal.research.deep import DeepResearch, settings_of
from foveal.research.report import Report
from foveal.research.text_sources import DocumentsSource
from foveal.research.verification import Verifier
from foveal.types import Document, Encoder

QUESTIONS = (
    "How does vitamin D affect the immune system?",
    "What are the causes and treatments of Alzheimer's disease?",
    "Does aspirin reduce the risk of cancer?",
)


@dataclass(frozen=True, kw_only=True)
class LibrarySizes:
    """How much is reported on."""

    questions: int = 3
    mode: str = "normal"
    words: int = 600
    papers: int | None = None  # at most; None: all

    @classmethod
    def of(cls, settings: BenchSettings) -> LibrarySizes:
        """Full and quick."""
        return cls(questions=1, mode="quick", words=150, papers=600) if settings.quick else cls()


def library(
    settings: BenchSettings,
    chat: ChatModel | None = None,
    encoder: Encoder | None = None,
    sizes: LibrarySizes | None = None,
) -> Iterator[Row]:
    """The rows of `foveal bench report-library`."""
    of = sizes or LibrarySizes.of(settings)
    papers = papers_of(settings, of.papers)
    yield Row.of("papers", SIZE, len(papers))
    reads = encoder or settings.encoder()
    source = DocumentsSource(papers.values(), name="papers")
    research = DeepResearch(chat or _chat(), source, encoder=reads, checks=Verifier(reads))
    reports, seconds = [], []
    for question in QUESTIONS[: of.questions]:
        begun = time.monotonic()
        own = settings_of(of.mode, research.model, words=of.words)
        reports.append(research.start(question, settings=own).result())
        seconds.append(time.monotonic() - begun)
    yield from report_rows(reports, papers, of)
    calls, pages = (fmean(one.usage[name] for one in reports) for name in ("calls", "pages"))
    note = f"{calls:.0f} calls, {pages:.0f} pages"
    yield Row.of("reports", "seconds", fmean(seconds), note=note)


def report_rows(reports: Sequence[Report], papers: dict[str, Document], of: LibrarySizes) -> Iterator[Row]:
    """What holds of all reports together."""
    claims = [(report, claim) for report in reports for claim in report.claims]
    cited = [bool(claim.evidence) and set(claim.evidence) <= set(report.by_key) for report, claim in claims]
    supported = [claim.verdict is not None and claim.verdict.label == "supported" for _, claim in claims]
    quoted = [
        papers[one.passage.span.document_id].quote(one.passage.span) == one.passage.text
        for report in reports
        for one in report.evidence
    ]
    lengths = [sum(len(claim.text.split()) for claim in report.claims) / of.words for report in reports]
    sources = fmean(len(report.bibliography) for report in reports)
    yield Row.of("sentences", "cite stored evidence", mean(cited), at_least=1.0, note=f"{len(claims)} sentences")
    yield Row.of("sentences", "borne out by what they cite", mean(supported), at_least=1.0)
    yield Row.of(
        "evidence", "is word for word where it says", mean(quoted), at_least=1.0, note=f"{len(quoted)} passages"
    )
    yield Row.of("reports", "nearest to their length", min(1 - abs(1 - one) for one in lengths), at_least=0.85)
    yield Row.of("reports", "sources cited", sources)


def papers_of(settings: BenchSettings, most: int | None) -> dict[str, Document]:
    """SciFact's abstracts by their ids as documents."""
    corpus = load_beir(settings.folder("scifact", ("corpus.jsonl", "queries.jsonl"))).corpus
    made = [
        Document.of(f"scifact:{name}", f"{one.title}\n\n{one.text}", one.title, url=f"scifact:{name}")
        for name, one in list(corpus.items())[:most]
    ]
    return {one.id: one for one in made}


def _chat() -> ChatModel:
    from foveal.models import load_language_model
    from foveal.models.local_chat import LocalChat

    return LocalChat(load_language_model())
