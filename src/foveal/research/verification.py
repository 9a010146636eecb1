"""Whether what a claim cites bears it out: supported, partly, unsupported, or contradicted.

    verifier = Verifier(load_encoder())                      # with a local model: Verifier(encoder, model=chat)
    verifier.check("The mill was built in 1820.", [passage])
    verifier.check_many([(claim, passages), …])              # encodes all windows at once

Window     of each cited passage the one to three sentences in a row that fit the claim best, by words and by meaning;
           what the best windows hold together counts, so that a claim may rest on two sources
Score      a logistic regression over the signals of verification_signals.py, and the log-odds of "Yes" and "No" of a
           local model where one is given (`model.score`). The dozen weights were fitted once by
           docs/dev/verification.py on open data (`credit` in shipped/verification.json) that no bench measures
Label      supported: the score is above the bound, no number, date or name of the claim is missing, no “lack of” of its
           sentence is left out (qualifiers.py), no roles are exchanged (roles.py), and no name stands for another one
           (name_places.py). contradicted: not so, on the same matter, and said the other way round or with another
           number. partly: not supported, and the score is above the lower bound. Else unsupported. With exchanged roles
           or another's name the score is at most the lower bound

Source     the two checks of citation in "Deep Research: A Systematic Survey" (arXiv 2512.02038), section 3.4, and what
           its readers warn of: a verification that always passes is none
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from importlib.resources import files
from typing import TYPE_CHECKING

from foveal.errors import InputError
from foveal.models.chat import Cancel, ChatModel
from foveal.research.anchors import Held, missing
from foveal.research.evidence import Claim, Evidence, Label, Verdict
from foveal.research.name_places import misplaced
from foveal.research.qualifiers import ALL, dropped, joined_over, widened
from foveal.research.quantities import Anchor
from foveal.research.roles import exchanged, resolved
from foveal.research.verification_signals import (
    NAMES,
    Read,
    Window,
    cover,
    nearest_sentence,
    reversed_in,
    signals,
    stems,
    windows,
)
from foveal.text.units import sentences
from foveal.types import Encoder, Passage, Span

if TYPE_CHECKING:
    import numpy as np

MODEL = "model"
"""The signal of a local model: log-odds of "Yes" against "No", held within -8 and 8."""

READ_BY_MODEL = 1500
"""Characters of cited text that a model is shown."""

ON_THE_MATTER = 0.5
"""Share of a claim's words, what is missing aside, that a text must hold to contradict it."""

TAKEN_FROM = 0.7
"""Share of a claim's words that a sentence must hold, so that the claim may have been taken from it."""

JOINED_FROM = 0.5
"""The same where the claim joins words that its sentence parts by a word of lack: they show where it is from."""

Case = tuple[str, Sequence[Passage]]
"""A claim and the passages that it cites; titles stand in the passages' headings."""


@dataclass(frozen=True)
class Weights:
    """How signals add up: sigmoid(bias + sum of weight · signal); `supported` and `partly` are bounds of the score.

    `sure` is the score from which on nine of ten claims that lack nothing are true, where true and false ones are as
    many: above `supported`, at which as many true ones are lost as false ones pass.
    """

    weights: Mapping[str, float]
    bias: float
    supported: float
    partly: float
    sure: float = 0.9

    def score(self, found: Mapping[str, float]) -> float:
        """The score of signals, 0 to 1."""
        total = self.bias + sum(weight * found[name] for name, weight in self.weights.items())
        return 1 / (1 + math.exp(-max(-30.0, min(30.0, total))))


@lru_cache(maxsize=1)
def shipped() -> dict[str, Weights]:
    """The shipped weights: "plain", and "model" where a local model says yes or no, too."""
    text = files("foveal.research").joinpath("shipped/verification.json").read_text(encoding="utf-8")
    return {name: Weights(**one) for name, one in json.loads(text)["weights"].items()}


class Verifier:
    """Checks claims against cited passages; safe to share between threads where its model is."""

    def __init__(
        self, encoder: Encoder | None = None, model: ChatModel | None = None, *, weights: Weights | None = None
    ) -> None:
        """Without an encoder the meaning of windows counts as their share of words; `model` is asked where given."""
        self.encoder = encoder
        self.model = model
        self.weights = weights or shipped()[MODEL if model else "plain"]

    @property
    def sure(self) -> float:
        """The score from which on nine of ten claims are true."""
        return self.weights.sure

    def check(self, claim: str, passages: Sequence[Passage], *, cancel: Cancel | None = None) -> Verdict:
        """The verdict on one claim. InputError: the claim is empty."""
        return self.check_many([(claim, passages)], cancel=cancel)[0]

    def check_many(self, cases: Sequence[Case], *, cancel: Cancel | None = None) -> list[Verdict]:
        """The verdict on each claim, in order. A claim without passages is unsupported, with a score of 0."""
        return [self._verdict(one) for one in self.looked_at(cases, cancel=cancel)]

    def check_claims(
        self, claims: Iterable[Claim], evidence: Mapping[str, Evidence], titles: Mapping[str, str] | None = None
    ) -> list[Claim]:
        """Claims with their verdicts. `titles` are of sources, by key. Unknown keys are no citation."""
        listed = list(claims)
        cases = [
            (one.text, [_titled(evidence[key], titles or {}) for key in one.evidence if key in evidence])
            for one in listed
        ]
        verdicts = self.check_many(cases)
        return [replace(one, verdict=verdict) for one, verdict in zip(listed, verdicts, strict=True)]

    def looked_at(self, cases: Sequence[Case], *, cancel: Cancel | None = None) -> list[Looked]:
        """The best windows and the signals of each claim: what the score is made of."""
        reads = [Read.of(_said(claim)) for claim, _ in cases]
        found = [[windows(one, read) for one in passages] for read, (_, passages) in zip(reads, cases, strict=True)]
        likeness = self._likeness(reads, found)
        looked = [
            _look(read, by_passage, passages, likeness)
            for read, by_passage, (_, passages) in zip(reads, found, cases, strict=True)
        ]
        if self.model is None:
            return looked
        return [self._asked(one, cancel) for one in looked]

    def _likeness(
        self, reads: Sequence[Read], found: Sequence[Sequence[Sequence[Window]]]
    ) -> dict[tuple[str, str], float]:
        """Cosine of each claim with the text of each of its windows."""
        pairs = [(read, window) for read, many in zip(reads, found, strict=True) for some in many for window in some]
        if self.encoder is None:
            return {(read.text, one.passage.text): cover(read, one) for read, one in pairs}
        texts = list(dict.fromkeys(text for read, one in pairs for text in (read.text, one.passage.text)))
        vectors = dict(zip(texts, _vectors(self.encoder, texts), strict=True))
        return {
            (read.text, one.passage.text): float(vectors[read.text] @ vectors[one.passage.text]) for read, one in pairs
        }

    def _asked(self, looked: Looked, cancel: Cancel | None) -> Looked:
        odds = log_odds(self.model, looked, cancel=cancel) if self.model and looked.best else -8.0
        return replace(looked, signals={**looked.signals, MODEL: odds})

    def _verdict(self, looked: Looked) -> Verdict:
        if not looked.best:
            return Verdict(label="unsupported", score=0.0, missing=tuple(one.text for one in looked.read.anchors))
        score = self.weights.score(looked.signals)
        if looked.exchanged or looked.misplaced:
            score = min(score, self.weights.partly)
        return Verdict(
            label=self._label(looked, score),
            score=score,
            where=looked.best[0].passage.span,
            quote=looked.best[0].passage.text,
            missing=tuple(one.text for one in looked.missing),
            signals=tuple(looked.signals.items()),
            left_out=looked.left_out,
            exchanged=looked.exchanged,
            misplaced=looked.misplaced,
        )

    def _label(self, looked: Looked, score: float) -> Label:
        if score >= self.weights.supported and not looked.missing and not looked.reversed and not looked.left_out:
            return "supported"
        if looked.turned or looked.exchanged:
            return "contradicted"
        return "partly" if score >= self.weights.partly else "unsupported"


def entails(verifier: Verifier) -> Callable[[str, str], bool]:
    """A verifier as what ALCE asks for: whether a text bears a sentence out. Each pair is looked at once."""

    @lru_cache(maxsize=4096)
    def held(premise: str, sentence: str) -> bool:
        return verifier.check(sentence, [Passage(Span("", 0, len(premise)), premise)]).label == "supported"

    return held


@dataclass(frozen=True)
class Looked:
    """A claim, its best windows (one of each passage, the best first), what they lack, and the signals."""

    read: Read
    best: tuple[Window, ...]
    missing: tuple[Anchor, ...]
    signals: Mapping[str, float]

    @property
    def reversed(self) -> bool:
        """Whether it is word for word what is cited, but for a word that is the opposite: the score alone, which was
        fitted to paraphrases, would let it pass."""
        return bool(self.best) and reversed_in(self.read, self.best[0])

    @cached_property
    def left_out(self) -> str:
        """The word of lack that the sentence it was taken from hangs on the claim's own words, or the one by which it
        speaks of less than the claim does; "" if there is none."""
        said = nearest_sentence(self.read, self.best[0]) if self.best else ""
        held, wanted = set(stems(said)), set(self.read.words)
        share, but_all = (
            len(some & held) / max(1, len(some)) for some in (wanted, wanted.difference(stems(" ".join(ALL))))
        )
        over = joined_over(self.read.text, said) if share >= JOINED_FROM else ""
        lack = dropped(self.read.text, said) if share >= TAKEN_FROM else ""
        return over or lack or (widened(self.read.text, said) if but_all >= TAKEN_FROM else "")

    @cached_property
    def exchanged(self) -> tuple[str, ...]:
        """Two words of the claim whose roles are exchanged in what is cited."""
        return exchanged(self.read.text, [said for some in self._said for said in (*some, *resolved(some))])

    @cached_property
    def misplaced(self) -> str:
        """A name of the claim that the text has elsewhere, in the place of another one."""
        missing = set(self.missing)
        names = [one for one in self.read.anchors if one.kind == "name" and one not in missing]
        headings = ". ".join(one.whole.heading or "" for one in self.best)
        return misplaced(names, self.read.text, [said for some in self._said for said in some], headings)

    @cached_property
    def _said(self) -> list[list[str]]:
        """The sentences of each cited passage."""
        return [[one.whole.text[start:end] for start, end in sentences(one.whole.text)] for one in self.best]

    @property
    def turned(self) -> bool:
        """Whether the text is on the same matter and says it the other way round, or with another number."""
        lost = {word for one in self.missing for word in stems(one.text)}
        held = {word for one in self.best for word in one.words}
        rest = set(self.read.words) - lost
        if not rest or len(rest & held) < ON_THE_MATTER * len(rest):
            return False
        return any(self.signals[name] for name in ("negated", "opposed", "number_rival"))


def log_odds(model: ChatModel, looked: Looked, *, cancel: Cancel | None = None) -> float:
    """ln P(Yes) - ln P(No) of a local model, asked whether the cited text bears the claim out; within -8 and 8."""
    shown = "\n".join(_shown(one) for one in looked.best)[:READ_BY_MODEL]
    asked = (
        f"Text:\n{shown}\n\nStatement: {looked.read.text}\n\n"
        "Does the text say all that the statement says, with the same numbers and names? Answer Yes or No."
    )
    messages = [{"role": "user", "content": asked}]
    yes, no = (sum(model.score(messages, word, cancel=cancel)) for word in ("Yes", "No"))
    return max(-8.0, min(8.0, yes - no))


def _look(
    read: Read,
    found: Sequence[Sequence[Window]],
    passages: Sequence[Passage],
    likeness: Mapping[tuple[str, str], float],
) -> Looked:
    def fit(window: Window) -> float:
        return cover(read, window) + likeness[read.text, window.passage.text]

    best = sorted((max(some, key=fit) for some in found if some), key=fit, reverse=True)
    held = Held.of("\n".join(f"{one.heading or ''}.\n{one.text}" for one in passages))
    lost = tuple(missing(read.anchors, held))
    if not best:
        return Looked(read, (), lost, dict.fromkeys(NAMES, 0.0))
    cosine = max(likeness[read.text, one.passage.text] for one in best)
    return Looked(read, tuple(best), lost, signals(read, best, held, passages, cosine))


def _titled(one: Evidence, titles: Mapping[str, str]) -> Passage:
    heading = ". ".join(filter(None, (titles.get(one.source, ""), one.passage.heading or "")))
    return replace(one.passage, heading=heading or None)


def _shown(window: Window) -> str:
    heading = window.passage.heading
    return f"{heading}: {window.passage.text}" if heading else window.passage.text


def _said(claim: str) -> str:
    text = " ".join(claim.split())
    if not text:
        raise InputError("A claim is empty, so nothing can be checked. Give the sentence without its marks.")
    return text


def _vectors(encoder: Encoder, texts: Sequence[str]) -> np.ndarray:
    import numpy as np

    order = sorted(range(len(texts)), key=lambda at: len(texts[at]))  # alike lengths together: less padding
    vectors = np.empty((len(texts), encoder.dimension), np.float32)
    vectors[order] = encoder.encode([texts[at] for at in order])
    return vectors
