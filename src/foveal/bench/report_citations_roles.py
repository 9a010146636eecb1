"""Claims with the words of their source and exchanged roles: "B sued A" for "A sued B".

names      sentences of HotpotQA's passages with two names and a word between them that is theirs in one order only;
           retold once as they are, once with the names exchanged. Every second text; the verifier's rules were looked
           at on the others, and on 2Wiki's
written    sentences by hand, each with a true paraphrase and one with exchanged roles (report_citations_written.py):
           half of those that were written; the rules were looked at on the other half, which the tests hold

What holds both ways is this bench's own list, not the verifier's.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np

from foveal.bench.report_citations_data import TRUE, Pair, worn
from foveal.bench.report_citations_written import WRITTEN
from foveal.evaluation.tables import Row, mean
from foveal.research.evidence import Verdict
from foveal.research.verification import Verifier
from foveal.text.units import sentences
from foveal.types import Passage, Span

EXCHANGED = "names exchanged"
NAMES_FLAGGED, WRITTEN_FLAGGED, FALSE_ALARMS, TOUCHED = 0.60, 0.85, 0.10, 0.005
"""The bars: false ones flagged, true ones flagged, and true ones that the rules of roles and names' places touch."""

WORDS = range(6, 41)
"""Of a sentence."""
BETWEEN = 8
"""Most words between two names."""

_NAME = re.compile(r"(?<![\w.'’-])[A-Z][\w'’-]+(?: (?:of |de |van |von )?[A-Z][\w'’-]+)*(?![\w-])")
_BOTH_WAYS = re.compile(
    r"\b(?:and|or|with|between|married|marry|met|meets|wed|wife|husband|spouse|sisters?|brothers?|siblings?|cousins?"
    r"|twins?|borders?|near|together|same|similar|equals?|both|known|called|named|versus|vs|to|until)\b|[,;:()\[\]\"“”/–—-]"
)
_OPENERS = (
    "The It In He She His Her This They A An At On After Its These As For When Their There During While From By "
    "Although Both Since One Some With Many However Most Other To Also Another All That If But Where Who Which Along "
    "Under Over January February March April May June July August September October November December No Not"
)
_NO_NAMES = frozenset(_OPENERS.split())


def name_pairs(texts: Sequence[tuple[str, str, str]], *, seed: int, most: int) -> list[Pair]:
    """True and false claims, at most one sentence of a text (id, title, text), and at most `most` of each."""
    draw = np.random.default_rng([seed, 7])
    pairs: list[Pair] = []
    for place in draw.permutation(len(texts)):
        name, title, text = texts[place]
        found = [(said, other) for said in _pieces(text) for other in with_names_exchanged(said)]
        if not found or len(pairs) >= 2 * most:
            continue
        said, other = found[int(draw.integers(len(found)))]
        cited = (Passage(Span(name, 0, len(text)), text, title),)
        pairs += [Pair(worn(said, draw, 0.0), cited, TRUE, name), Pair(worn(other, draw, 0.0), cited, EXCHANGED, name)]
    return pairs


def with_names_exchanged(said: str) -> Iterator[str]:
    """A sentence with two names in a row exchanged, for each such pair with a word between that is no "and"."""
    names = [one for one in _NAME.finditer(said) if one[0] not in _NO_NAMES and one[0].split()[0] not in _NO_NAMES]
    for one, other in pairwise(names):
        between = said[one.end() : other.start()]
        alike = set(one[0].split()) & set(other[0].split())
        twice = any(said.count(word) > 1 for word in (*one[0].split(), *other[0].split()))
        own_words = [word for word in between.split() if len(word) > 3 and word.islower()]
        if own_words and len(between.split()) <= BETWEEN and not (alike or twice or _BOTH_WAYS.search(between)):
            yield f"{said[: one.start()]}{other[0]}{between}{one[0]}{said[other.end() :]}"


def _pieces(text: str) -> list[str]:
    said = [text[start:end].strip() for start, end in sentences(text)]
    return [one for one in said if len(one.split()) in WORDS]


def role_rows(texts: Sequence[tuple[str, str, str]], verifier: Verifier, *, seed: int, most: int) -> Iterator[Row]:
    """What of both sets is flagged."""
    pairs = name_pairs(texts, seed=seed, most=most)
    verdicts = verifier.check_many([(one.claim, one.passages) for one in pairs])
    false = [verdict for one, verdict in zip(pairs, verdicts, strict=True) if not one.true]
    true = [verdict for one, verdict in zip(pairs, verdicts, strict=True) if one.true]
    note = f"{len(false)} sentences, each once as it is and once with two names exchanged"
    yield Row.of("two names exchanged", "flagged", _flagged(false), at_least=NAMES_FLAGGED, note=note)
    yield Row.of("two names exchanged", "said to be", _said(false))
    yield Row.of("the same as it is", "flagged", _flagged(true), at_most=FALSE_ALARMS, note=note)
    yield Row.of("the same as it is", "said to be exchanged", _said(true), at_most=TOUCHED)
    yield from written_rows(verifier)


def written_rows(verifier: Verifier) -> Iterator[Row]:
    """What is flagged of the sentences by hand."""
    sources = [(Passage(Span(f"w{at}", 0, len(row[0])), row[0]),) for at, row in enumerate(WRITTEN)]
    true, false = (
        verifier.check_many([(row[place], cited) for row, cited in zip(WRITTEN, sources, strict=True)])
        for place in (1, 2)
    )
    note = f"{len(WRITTEN)} sentences"
    yield Row.of("by hand, roles exchanged", "flagged", _flagged(false), at_least=WRITTEN_FLAGGED, note=note)
    yield Row.of("by hand, roles exchanged", "said to be", _said(false))
    yield Row.of("by hand, told otherwise", "flagged", _flagged(true), note=note)
    yield Row.of("by hand, told otherwise", "said to be exchanged", _said(true), at_most=1 / len(WRITTEN))


def role_touched_row(pairs: Sequence[Pair], verdicts: Sequence[Verdict]) -> Row:
    """True claims of the other sets that the rules of roles and of names' places touch."""
    hit = [_touched(verdict) for one, verdict in zip(pairs, verdicts, strict=True) if one.true]
    note = f"{sum(hit)} of {len(hit)} true claims of the sets above"
    return Row.of("true claims, said to exchange roles or names", "share", mean(hit), at_most=TOUCHED, note=note)


def _touched(verdict: Verdict) -> bool:
    return bool(verdict.exchanged or verdict.misplaced)


def _said(verdicts: Sequence[Verdict]) -> float:
    return mean([_touched(one) for one in verdicts])


def _flagged(verdicts: Sequence[Verdict]) -> float:
    return mean([one.label != "supported" for one in verdicts])
