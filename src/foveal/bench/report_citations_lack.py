"""Claims that leave out the word on which their sentence hangs: "a low level of D raises the risk" told without "low".

Made of sentences with one such word, retold; the true claim keeps it, the false one is the same without it. The words
are this bench's own list, not the verifier's: what it does not know, it is to be seen not to know. Passages are
SciFact's abstracts and HotpotQA's texts.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

import numpy as np

from foveal.bench.report_citations_data import TRUE, Pair, worn
from foveal.evaluation.tables import Row, mean
from foveal.research.evidence import Verdict
from foveal.research.verification import Verifier
from foveal.text.units import sentences
from foveal.types import Passage, Span

WORDS = {
    "low …": (
        r"(?<!\bwas )(?<!\bwere )(?<!\bis )(?<!\bare )(?<!\bbe )(?<!ly )(?<!\bto )(?<!\btoo )\b"
        r"(?:low|lower|reduced|decreased|impaired|diminished|insufficient|inadequate|defective|scarce|weak|weakened"
        r"|downregulated|minimal|poor|failed|former|unsuccessful) "
        r"(?!(?:than|by|in|to|and|or|with|at|on|for|the|of|when|from) )(?=[a-z])"
    ),
    "lack of …": (
        r"\b(?:an? |the )?(?:lack|loss|absence|inhibition|depletion|deletion|knockdown|reduction|failure|removal"
        r"|blockade|decline|suppression|shortage|abolition|rejection) (?:of|in) (?=[\w])"
    ),
    "… deficiency": (
        r"(?<=[a-z0-9]) (?:deficiency|insufficiency|inhibitors?|antagonists?|knockout|depletion|blockade|deprivation"
        r"|withdrawal|loss|shortage|ban)\b(?!['’-])"
    ),
    "anti-…": r"\banti-(?=[a-z])",
}
"""The kinds, and what of a sentence is left out."""

ANY = re.compile(
    "|".join(WORDS.values()) + r"|n't\b|\b(?:not?|never|none|nor|neither|without|cannot|few|fewer|less|little|fails?"
    r"|prevents?|prevented|blocks?|blocked|inhibits?|inhibited|reduces?|reducing|decreases?|lacks?|lacking|against)\b"
)
LEAST = 8
"""Words of a sentence."""

FLAGGED, FALSE_ALARMS = 0.90, 0.10
TOUCHED = 0.01
"""The bars: false ones flagged, true ones flagged, and true claims of the other sets taken for such."""


def lack_pairs(texts: Sequence[tuple[str, str, str]], *, seed: int, most: int) -> list[Pair]:
    """True and false claims, at most one sentence of a text (id, title, text) and at most `most` of each kind."""
    draw = np.random.default_rng([seed, 6])
    patterns = {kind: re.compile(pattern) for kind, pattern in WORDS.items()}
    pairs: list[Pair] = []
    taken = dict.fromkeys(WORDS, 0)
    for place in draw.permutation(len(texts)):
        name, title, text = texts[place]
        found = [(kind, said) for said in _single(text) for kind, one in patterns.items() if one.search(said)]
        found = [(kind, said) for kind, said in found if taken[kind] < most]
        if not found:
            continue
        kind, said = found[int(draw.integers(len(found)))]
        told = _retold(said, patterns[kind], draw)
        if told is None:
            continue
        taken[kind] += 1
        cited = (Passage(Span(name, 0, len(text)), text, title),)
        short = patterns[kind].sub("", told, count=1)
        pairs += [Pair(told, cited, TRUE, name), Pair(f"{short[:1].upper()}{short[1:]}", cited, kind, name)]
    return pairs


def _single(text: str) -> list[str]:
    """Its sentences with one word of lack and no other denial."""
    said = [text[start:end].strip() for start, end in sentences(text)]
    return [one for one in said if len(one.split()) >= LEAST and len(ANY.findall(one)) == 1]


def _retold(said: str, pattern: re.Pattern[str], draw: np.random.Generator) -> str | None:
    """The sentence retold so that its word of lack still stands; None where every draw lost it."""
    told = (worn(said, draw, 0.15) for _ in range(10))
    return next((one for one in told if pattern.search(one)), None)


def lack_rows(texts: Sequence[tuple[str, str, str]], verifier: Verifier, *, seed: int, most: int) -> Iterator[Row]:
    """What of both is flagged, in all and by kind."""
    pairs = lack_pairs(texts, seed=seed, most=most)
    verdicts = verifier.check_many([(one.claim, one.passages) for one in pairs])
    flagged = {kind: _flags(pairs, verdicts, kind) for kind in (TRUE, *WORDS)}
    false = [flag for kind in WORDS for flag in flagged[kind]]
    note = f"{len(false)} sentences, each once with its word of lack and once without it"
    yield Row.of("word of lack left out", "flagged", mean(false), at_least=FLAGGED, note=note)
    yield Row.of("word of lack kept", "flagged", mean(flagged[TRUE]), at_most=FALSE_ALARMS, note=note)
    for kind in WORDS:
        yield Row.of(f"left out: {kind}", "flagged", mean(flagged[kind]), note=f"{len(flagged[kind])} claims")


def touched_row(pairs: Sequence[Pair], verdicts: Sequence[Verdict]) -> Row:
    """True claims of the other sets that the rule of words of lack touches."""
    hit = [bool(verdict.left_out) for one, verdict in zip(pairs, verdicts, strict=True) if one.true]
    note = f"{sum(hit)} of {len(hit)} true claims of the sets above"
    return Row.of("true claims, said to leave out a word of lack", "share", mean(hit), at_most=TOUCHED, note=note)


def _flags(pairs: Sequence[Pair], verdicts: Sequence[Verdict], kind: str) -> list[bool]:
    return [verdict.label != "supported" for one, verdict in zip(pairs, verdicts, strict=True) if one.kind == kind]
