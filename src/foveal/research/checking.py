"""A written report checked again: its sentences against the ledger beside it, or against documents of a library.

    checked = check_report(markdown, Verifier(load_encoder()), ledger=Ledger.read(path))
    checked = check_report(markdown, verifier, find=library.get)     # numbers lead to addresses, these to documents

Ledger     question, sources, evidence, claims: a sentence that the ledger has as a claim, and that numbers the same
           sources still, is held against the evidence that the claim cites; one that was changed since, or whose
           numbers were, against all evidence of the sources that it numbers
Library    of a long document the passages with the claim's words are read (`BestPassages`)
Not found  a number that leads nowhere counts as no citation, and is listed
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from foveal.errors import InputError, UnknownDocument
from foveal.research.citations import canonical
from foveal.research.claims import addresses_of, claims_of
from foveal.research.evidence import Claim, Evidence, SourceRecord
from foveal.research.markdown import address
from foveal.research.pages import BestPassages
from foveal.research.report_parts import names_of
from foveal.research.verification import Verifier
from foveal.types import Document, Passage

READ = 6000
"""Characters of a document that a claim is held against."""

Find = Callable[[str], Document]
"""An address -> its document. UnknownDocument: there is none."""


@dataclass(frozen=True)
class Ledger:
    """What a report stands on."""

    question: str
    sources: Mapping[str, SourceRecord]
    evidence: Mapping[str, Evidence]
    claims: tuple[Claim, ...]

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> Ledger:
        """From plain values. InputError: a part is missing, or of another form."""
        try:
            known = {one.name for one in fields(SourceRecord)}
            sources = [SourceRecord(**{name: one[name] for name in known & set(one)}) for one in row["sources"]]
            evidence = [Evidence.from_row(dict(one)) for one in row["evidence"]]
            claims = [Claim(text=one["text"], evidence=tuple(one["evidence"])) for one in row.get("claims", ())]
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(
                f"This is no ledger of a report ({error!r}). Give the JSON that was written beside the report: "
                "question, sources, evidence, claims."
            ) from error
        return cls(
            str(row.get("question", "")),
            {one.key: one for one in sources},
            {one.key: one for one in evidence},
            tuple(claims),
        )

    @classmethod
    def read(cls, path: Path) -> Ledger:
        """From a file. InputError: there is none, or it holds no ledger."""
        try:
            row = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError) as error:
            raise InputError(
                f"{path} cannot be read as a ledger ({error}). Name the JSON beside the report."
            ) from error
        if not isinstance(row, dict):
            raise InputError(f"{path} is no ledger; it needs an object with sources and evidence.")
        return cls.of(row)

    def behind(self, claim: Claim, addresses: Mapping[str, str]) -> list[Passage]:
        """The passages that a claim of the report rests on, each under its source's title."""
        known = next((one for one in self.claims if _same(one.text, claim.text)), None)
        of_claim = [self.evidence[key] for key in (known.evidence if known else ()) if key in self.evidence]
        by_key = [self.evidence[key] for key in claim.evidence if key in self.evidence]
        wanted = {_written(addresses[number]) for number in claim.evidence if number in addresses}
        asked = {self._one_source[key] for key, one in self.sources.items() if _written(one.url) in wanted}
        numbered = [one for one in self.evidence.values() if self._one_source.get(one.source) in asked]
        known_all = wanted <= {_written(one.url) for one in self.sources.values()}
        as_it_was = known_all and {self._one_source.get(one.source) for one in of_claim} == asked
        cited = by_key or (of_claim if of_claim and (as_it_was or not claim.evidence) else numbered)
        return [_under(one.passage, self.sources.get(one.source)) for one in cited]

    def leads(self, key: str, addresses: Mapping[str, str]) -> bool:
        """Whether a key or a number of the report leads to evidence."""
        if key in self.evidence or key not in addresses:
            return key in self.evidence
        wanted = _written(addresses[key])
        named = {self._one_source[which] for which, one in self.sources.items() if _written(one.url) == wanted}
        return any(self._one_source.get(one.source) in named for one in self.evidence.values())

    @cached_property
    def _one_source(self) -> dict[str, str]:
        """By the key of each source, that of one source for all that share a name: a report gives them one number."""
        stands: dict[str, str] = {}  # by name
        for key, one in self.sources.items():
            names = names_of(one)
            same = {stands[name] for name in names if name in stands}
            stands = {name: key if now in same else now for name, now in stands.items()} | dict.fromkeys(names, key)
        return {key: stands[one.url] for key, one in self.sources.items()}

    def changed(self, find: Find) -> list[str]:
        """Keys of the evidence whose text no longer stands where it was read; what is not found is passed over."""
        keys = []
        for one in self.evidence.values():
            source = self.sources.get(one.source)
            try:
                document = find(one.url or source.url) if source else None
            except (InputError, KeyError):
                continue
            span = one.passage.span
            if document and document.text[span.start : span.end] != one.passage.text:
                keys.append(one.key)
        return keys


@dataclass(frozen=True)
class Checked:
    """The claims with their verdicts, and the numbers that lead nowhere."""

    claims: tuple[Claim, ...]
    unknown: tuple[str, ...]

    @property
    def good(self) -> bool:
        """Whether there is something to check, all of it is supported, and each mark leads somewhere."""
        supported = all(one.verdict and one.verdict.label == "supported" for one in self.claims)
        return bool(self.claims) and supported and not self.unknown


def ledger_beside(report: Path) -> Path | None:
    """The ledger of a report's file: report.ledger.json or report.json; None where there is neither."""
    return next((path for end in (".ledger.json", ".json") if (path := report.with_suffix(end)).is_file()), None)


def check_report(
    markdown: str, verifier: Verifier, *, ledger: Ledger | None = None, find: Find | None = None
) -> Checked:
    """The claims of a report with verdicts. InputError: there is neither a ledger nor a library."""
    if ledger is None and find is None:
        raise InputError(
            "There is nothing to check against. Give the report's ledger, or a library that holds its sources."
        )
    addresses = addresses_of(markdown)
    claims = claims_of(markdown)
    cases: list[tuple[str, Sequence[Passage]]] = []
    for one in claims:
        passages = ledger.behind(one, addresses) if ledger else []
        cases.append((one.text, passages or (_documents(one, addresses, find) if find else [])))
    verdicts = verifier.check_many(cases)
    checked = tuple(replace(one, verdict=verdict) for one, verdict in zip(claims, verdicts, strict=True))
    cited = dict.fromkeys(key for one in claims for key in one.evidence)

    def leads(key: str) -> bool:
        named = addresses.get(key, key)
        return bool(ledger and ledger.leads(key, addresses)) or bool(find and _document(named, find))

    return Checked(checked, tuple(key for key in cited if not leads(key)))


def _document(address: str, find: Find) -> Document | None:
    try:
        return find(address)
    except UnknownDocument:
        return None


def _documents(claim: Claim, addresses: Mapping[str, str], find: Find) -> list[Passage]:
    passages: list[Passage] = []
    for number in claim.evidence:
        document = _document(addresses.get(number, number), find)
        if document is None:
            continue
        read = BestPassages().read(document, claim.text, tokens=READ, count=len)
        passages += [replace(one, heading=one.heading or document.title) for one in read]
    return passages


def _under(passage: Passage, source: SourceRecord | None) -> Passage:
    heading = ". ".join(filter(None, (source.title if source else "", passage.heading or "")))
    return replace(passage, heading=heading or None)


def _written(url: str) -> str:
    """An address as it stands in a report, in its canonical form."""
    return canonical(address(url))


def _same(one: str, other: str) -> bool:
    return " ".join(one.split()).rstrip(".") == " ".join(other.split()).rstrip(".")
