"""A written report as its scores need it: each statement with each address it cites, judged; what its brief asks for.

    judged(markdown, verifier, ledger=ledger)            # [(statement, address, "supported"), …], for `fact`
    untreated(points, markdown, likeness)                # the points of a brief that no sentence treats

FACT      (DeepResearch Bench, arXiv 2506.11763) judges a pair of statement and page by itself: supported is what the
          page bears out, be it in part; unknown, of which no text is stored; unsupported all else, and a number that
          leads nowhere
Coverage  a point is treated by a sentence that is as like it as a section's goal must be (outline.COVERED)
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from foveal.evaluation.reports import Judged
from foveal.research.checking import Ledger
from foveal.research.claims import addresses_of, claims_of
from foveal.research.evidence import Claim, Label
from foveal.research.likeness import Likeness
from foveal.research.outline import uncovered
from foveal.research.verification import Verifier

JUDGED: dict[Label, Judged] = {
    "supported": "supported", "partly": "supported", "unsupported": "unsupported", "contradicted": "unsupported",
}  # fmt: skip


def judged(markdown: str, verifier: Verifier, *, ledger: Ledger) -> list[tuple[str, str, Judged]]:
    """Statement, address and judgement of all that a report cites."""
    addresses = addresses_of(markdown)
    pairs = list(_pairs(claims_of(markdown)))
    cases = [(one.text, ledger.behind(one, addresses)) for one in pairs]
    verdicts = verifier.check_many(cases)
    made: list[tuple[str, str, Judged]] = []
    for one, (_, passages), verdict in zip(pairs, cases, verdicts, strict=True):
        (key,) = one.evidence
        judgement: Judged = JUDGED[verdict.label] if passages else "unknown"
        leads = key in addresses or key in ledger.evidence
        made.append((one.text, addresses.get(key, key), judgement if leads else "unsupported"))
    return made


def _pairs(claims: Sequence[Claim]) -> Iterator[Claim]:
    """Each claim once for each of its citations."""
    for one in claims:
        for key in one.evidence:
            yield replace(one, evidence=(key,))


def untreated(points: Sequence[str], markdown: str, likeness: Likeness) -> list[str]:
    """The points of a brief that no sentence of a report treats."""
    return uncovered(points, [one.text for one in claims_of(markdown)], likeness)
