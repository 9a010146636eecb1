"""bench heads, attribution: what an answer was copied from, and whether its text holds an answer at all.

place      each value asked for stands in two sentences of a text, once as the answer and once as something else; the
           right one must be pointed at. Every other of the wrong ones repeats the question. Beside it: the first of the
           two, the one with more of the question's words (as citations went before), and both together (as they go now:
           of the words, those that do not stand in a question)
meter      questions whose answer stands in the text, and as many whose does not: do the copies of the answer's tokens,
           or the first token's share of the look, tell them apart? Area under the ROC curve

Texts are paragraphs of essays; the model answers by itself, greedily. Needs the data set essays.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import fmean

from foveal.attention.head_tracing import Trace, traced
from foveal.attention.retrieval_heads import HeadScores, head_scores
from foveal.bench.attention_models import QWEN
from foveal.bench.heads_data import essays
from foveal.bench.settings import BenchSettings
from foveal.evaluation.haystack import haystack, plant_all, shuffled
from foveal.evaluation.needles import Needle, make
from foveal.evaluation.segmentation import same_auc
from foveal.evaluation.tables import Row
from foveal.models.chat import Sampling
from foveal.models.language import LanguageModel, load_language_model
from foveal.models.local_chat import LocalChat
from foveal.reading.answering import stated
from foveal.reading.skim import content_words

TOKENS = 250
ASK = "{text}\n\nAnswer from the text, in few words.\nQuestion: {question}\nAnswer:"
OTHERS = (
    "Somebody had written {answer} on the wall, and nobody knew why.",
    "“{question}” the children sang, and then: {answer}, but it was only a game.",
)
"""Sentences with the value that do not answer: without the question's words, and with all of them."""


@dataclass(frozen=True)
class Told:
    """A question's text, the model's answer, what it was copied from; the sentence and its double, in the prompt."""

    needle: Needle
    prompt: str
    trace: Trace
    right: tuple[int, int]
    double: tuple[int, int]


def attribution(settings: BenchSettings) -> Iterator[Row]:
    """The rows of `foveal bench heads-attribution`."""
    model = load_language_model(QWEN)
    scores = head_scores(model)
    count = 20 if settings.quick else 100
    needles = make("literal", count, settings.seed + 50)
    texts = essays(settings)
    held = [_told(model, scores, texts, needle, seed, planted=True) for seed, needle in enumerate(needles)]
    yield from _place_rows(held)
    missing = [_told(model, scores, texts, needle, seed, planted=False) for seed, needle in enumerate(needles)]
    yield from _meter_rows(held, missing)


def _told(
    model: LanguageModel, scores: HeadScores, texts: Sequence[str], needle: Needle, seed: int, *, planted: bool
) -> Told:
    """The model's answer; without the sentence its double stays out as well."""
    draw = random.Random(seed)
    hay = haystack([shuffled(texts[seed % len(texts)], seed), *texts], TOKENS, lambda text: len(model.encode(text)))
    right = double = (0, 0)
    if planted:
        said = OTHERS[seed % 2].format(answer=needle.answer, question=needle.question)
        other = Needle("literal", (said,), needle.question, needle.answer)
        both = plant_all(hay, [needle, other], draw.sample([20.0, 80.0], 2))
        hay, (right,), (double,) = both[0].text, both[0].ranges, both[1].ranges
    talk = [
        {"role": "system", "content": ""},
        {"role": "user", "content": ASK.format(text=hay, question=needle.question)},
    ]
    prompt = model.render(talk)
    answer = LocalChat(model).chat(talk, Sampling(max_tokens=24))
    start = prompt.find(hay)
    trace = traced(model, prompt, answer, scores, sources=[(start, start + len(hay))])
    return Told(needle, prompt, trace, *((start + a, start + b) for a, b in (right, double)))


# -- place -------------------------------------------------------------------------------------------------------------


def _place_rows(held: Sequence[Told]) -> Iterator[Row]:
    """Of the answers that hold the value, those whose value is traced to the right sentence."""
    given = [one for one in held if one.needle.answer.lower() in one.trace.answer.lower()]
    yield Row.of("answers that hold the value", "share", len(given) / len(held), note=f"{len(held)} questions")
    if not given:  # no number meets no bar
        for name in ("the one that was copied", "both together, as citations go"):
            yield Row.of(name, "share", float("nan"), at_least=0.8, note="not run: no answer holds the value")
        return
    first = fmean(one.right < one.double for one in given)
    yield Row.of("control: the first of the two", "share", first, note=f"{len(given)} answers; both hold the value")
    words = fmean(_words(one, one.right) > _words(one, one.double) for one in given)
    yield Row.of("control: the one with more of the question's words", "share", words)
    right = fmean(_copied(one, one.right) > _copied(one, one.double) for one in given)
    yield Row.of("the one that was copied", "share", right, at_least=0.8)
    both = fmean(_both(one, one.right) > _both(one, one.double) for one in given)
    yield Row.of("both together, as citations go", "share", both, at_least=max(0.8, words))


def _copied(one: Told, place: tuple[int, int]) -> float:
    """Of the votes for the value's tokens in the two sentences, the share in the one at `place`."""
    start = one.trace.answer.lower().find(one.needle.answer.lower())
    end = start + len(one.needle.answer)
    votes = {one.right: 0.0, one.double: 0.0}
    for token in one.trace.tokens:
        if token.source and token.start < end and token.end > start:
            for a, b in votes:
                votes[a, b] += token.share if a <= token.source[0] < b else 0.0
    return votes[place] / (sum(votes.values()) or 1.0)


def _words(one: Told, place: tuple[int, int]) -> float:
    """The share of the question's words that the sentence holds."""
    asked = content_words(one.needle.question)
    return len(asked & content_words(one.prompt[slice(*place)])) / max(1, len(asked))


def _both(one: Told, place: tuple[int, int]) -> float:
    asked = content_words(one.needle.question)
    return len(asked & stated(one.prompt[slice(*place)])) / max(1, len(asked)) + _copied(one, place)


# -- meter -------------------------------------------------------------------------------------------------------------


def _meter_rows(held: Sequence[Told], missing: Sequence[Told]) -> Iterator[Row]:
    """Whether a text holds the answer, by what the heads did while the model answered."""
    there = [True] * len(held) + [False] * len(missing)
    every = [*held, *missing]
    note = f"{len(held)} questions that the text answers, {len(missing)} that it does not"
    copies = [_asserted(one) for one in every]
    yield Row.of("copied from the text", "area under the ROC curve", same_auc(copies, there), at_least=0.8, note=note)
    grounded = [one.trace.grounded for one in every]
    yield Row.of("the same over all tokens", "area under the ROC curve", same_auc(grounded, there))
    sinks = [-one.trace.sink for one in every]
    yield Row.of("first token's share, turned round", "area under the ROC curve", same_auc(sinks, there))
    length = [-len(one.trace.answer) for one in every]
    yield Row.of("control: a short answer", "area under the ROC curve", same_auc(length, there))


def _asserted(one: Told) -> float:
    """The share copied, over the tokens of words that the question does not hold: what the answer adds."""
    asked = set(re.findall(r"\w+", one.needle.question.lower()))
    shares = []
    for word in re.finditer(r"\w+", one.trace.answer):
        if word.group().lower() not in asked:
            shares += [t.share for t in one.trace.tokens if t.start < word.end() and t.end > word.start()]
    return fmean(shares) if shares else 0.0
