"""bench headlines, the writer: does it matter which headlines a model learns from?

One small language model learns from as many pairs of each kind, at one rate and for one pass: A highly related, B
moderately related, C unrelated, D a mix of all three, and A shuffled, where each article has another one's headline.
All write for the same articles that none has read; ROUGE-L against each of an article's highly related headlines, its
mean over these, then over articles. LEAD-1 and the model as it is stand beside. A and D, which are near each other, are
drawn and trained three times.

Kept      trained changes and what was written lie in the bench's cache: a run that was stopped goes on, after the last
          whole checkpoint of a training
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from statistics import fmean
from time import perf_counter

import numpy as np
from torch import Tensor

from foveal.bench.code import code_digest
from foveal.bench.headlines_data import Parts, by_body, fnc
from foveal.bench.runner import SIZE
from foveal.bench.settings import BenchSettings
from foveal.evaluation.files import whole_file
from foveal.evaluation.headlines import HeadlinePair, HeadlineSet
from foveal.evaluation.legal import paired_bootstrap
from foveal.evaluation.rouge import rouge
from foveal.evaluation.tables import Row
from foveal.models import load_language_model
from foveal.models.language import LanguageModel
from foveal.papers.headline_features import ReadArticle
from foveal.papers.headline_writer import HeadlineWriter
from foveal.papers.headlines import HeadlineJudge, JudgeSettings
from foveal.training import checkpoints
from foveal.training.headline_writers import WriterSettings
from foveal.training.loop import LoopSettings
from foveal.training.precision import mixed_precision

GAIN = 0.03
"""ROUGE-L of A above C: what the paper calls about five points, and was asked for here as three."""

ABOVE = 1e-4
"""What is more than nothing: the bar of few pairs, too."""

KINDS: Mapping[str, tuple[str, ...]] = {
    "A, highly related": ("HREL",),
    "B, moderately related": ("MREL",),
    "C, unrelated": ("LREL",),
    "D, mixed": ("HREL", "MREL", "LREL"),
}
SHUFFLED = "A, shuffled"

CLOSE = ("A, highly related", "D, mixed")
"""Those whose difference one draw of pairs and one order of training may turn."""


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """How much is run."""

    pairs: int = 300
    articles: int = 150  # that are written for, at most: all there are, 76 with 474 headlines
    judged: int = 30  # of these: with four candidates, of which a judge takes one
    writer: WriterSettings
    slack: float = 0.0
    draws: int = 1  # of the pairs and of the order of training, of `CLOSE`


def sizes_of(settings: BenchSettings) -> Sizes:
    """Full and quick."""
    loop = LoopSettings(epochs=1, batch=4, learning_rate=5e-4, seed=42, bfloat16=mixed_precision())
    writer = WriterSettings(article_tokens=160, headline_tokens=24, beams=1, dev_pairs=8, loop=loop)
    if settings.quick:
        return Sizes(pairs=60, articles=16, judged=6, writer=writer, slack=0.05)
    return Sizes(writer=writer, draws=3)


class Writing:
    """The model, the pairs of each kind, and what is written for the test articles."""

    def __init__(self, settings: BenchSettings, sizes: Sizes, model: LanguageModel) -> None:
        self.settings, self.sizes, self.model = settings, sizes, model
        self.parts: Parts = by_body(fnc(settings), seed=settings.seed)
        best = [one for one in self.parts.test.pairs if one.label == "HREL"]
        bodies = list(dict.fromkeys(one.url for one in best))
        order = np.random.default_rng(settings.seed).permutation(len(bodies))[: sizes.articles]
        self.articles = {bodies[at]: "" for at in order}
        self.references: dict[str, list[str]] = {name: [] for name in self.articles}
        for one in best:
            if one.url in self.articles:
                self.articles[one.url] = one.article
                self.references[one.url].append(one.headline)

    def drawn(self, kind: str, draw: int = 0) -> HeadlineSet:
        """The pairs that a writer of this kind learns from: as many of each, over as many articles as there are."""
        labels = ("HREL",) if kind == SHUFFLED else KINDS[kind]
        each = [self.sizes.pairs // len(labels) + (n < self.sizes.pairs % len(labels)) for n in range(len(labels))]
        chosen = [one for label, most in zip(labels, each, strict=True) for one in self._of(label, most, draw)]
        if kind == SHUFFLED:
            heads = [one.headline for one in chosen]
            moved = heads[len(heads) // 2 :] + heads[: len(heads) // 2]
            chosen = [replace(one, headline=text) for one, text in zip(chosen, moved, strict=True)]
        return replace(self.parts.learnt, pairs=tuple(chosen))

    def _of(self, label: str, most: int, draw: int) -> list[HeadlinePair]:
        """Pairs with that label, an article's second one only after all articles' first."""
        own = [one for one in self.parts.learnt.pairs if one.label == label]
        own = [own[at] for at in np.random.default_rng(self.settings.seed + draw).permutation(len(own))]
        turn: dict[str, int] = {}
        ordered: list[tuple[int, int, HeadlinePair]] = []
        for one in own:
            ordered.append((turn.get(one.url, 0), len(ordered), one))
            turn[one.url] = turn.get(one.url, 0) + 1
        return [one for _, _, one in sorted(ordered, key=lambda row: row[:2])][:most]

    def writer(self, kind: str, draw: int = 0) -> HeadlineWriter:
        """The writer of that kind, trained at the first call ever."""
        pairs, usual = self.drawn(kind, draw), self.sizes.writer
        settings = replace(usual, loop=replace(usual.loop, seed=usual.loop.seed + draw))
        told = json.dumps([kind, pairs.fingerprint, asdict(settings), self.model.fingerprint, _code()])
        key = hashlib.sha256(told.encode()).hexdigest()[:24]
        folder = self.settings.cache / "headlines" / f"writer-{key}"
        labels = ("HREL",) if kind == SHUFFLED else KINDS[kind]
        dev = replace(self.parts.dev, pairs=tuple(self._dev(labels)))
        return HeadlineWriter.fit(pairs, self.model, settings, folder=folder, train_on=labels, dev=dev)[0]

    def _dev(self, labels: Sequence[str]) -> list[HeadlinePair]:
        own = [one for one in self.parts.dev.pairs if one.label in labels]
        return own[:: max(1, len(own) // self.sizes.writer.dev_pairs)]

    def written(self, name: str, writer: HeadlineWriter, n: int = 1) -> dict[str, list[str]]:
        """Article -> its candidates; what was written before is read from the cache."""
        state = b"" if writer.learned is None else bytes_of(writer.learned.state_dict().values())
        names = list(self.articles)[: self.sizes.judged if n > 1 else None]
        articles = [(one, self.articles[one]) for one in names]  # ids are mere numbers: another set has the same
        told = json.dumps([name, n, articles, asdict(writer.settings), self.model.fingerprint, _code()])
        key = hashlib.sha256(told.encode() + state).hexdigest()[:24]
        path = self.settings.cache / "headlines" / f"written-{key}.json"
        kept = checkpoints.read(path)
        if kept is None:
            found = writer.candidates([self.articles[one] for one in names], n)
            kept = {one: [text for text, _ in texts] for one, texts in zip(names, found, strict=True)}
            with whole_file(path) as partial:
                partial.write_text(json.dumps(kept, ensure_ascii=False), encoding="utf-8")
        return kept

    def scores(self, written: Mapping[str, Sequence[str]]) -> dict[str, float]:
        """Article -> mean ROUGE-L F1 of its first candidate with its references; 0 where nothing was written."""
        return {
            name: fmean(rouge(texts[0], one)["rougeL"].f1 for one in self.references[name]) if texts else 0.0
            for name, texts in written.items()
        }


def writer_rows(settings: BenchSettings, model: LanguageModel | None = None) -> Iterator[Row]:
    """ROUGE-L of all, and what is above what."""
    work = Writing(settings, sizes_of(settings), model or load_language_model("gemma3-270m"))
    yield Row.of("writer: articles that are written for", SIZE, len(work.articles))
    yield Row.of("writer: their highly related headlines", SIZE, sum(map(len, work.references.values())))
    scores: dict[str, dict[str, float]] = {
        "LEAD-1": work.scores({one: [lead(text)] for one, text in work.articles.items()})
    }
    plain = HeadlineWriter(work.model, work.sizes.writer)
    scores["not trained"] = work.scores(work.written("not trained", plain))
    for name in ("LEAD-1", "not trained"):
        yield Row.of(f"writer: {name}", "ROUGE-L", fmean(scores[name].values()))
    for kind in (*KINDS, SHUFFLED):
        started = perf_counter()
        writer = work.writer(kind)
        seconds = perf_counter() - started
        scores[kind] = work.scores(work.written(kind, writer))
        note = f"{len(work.drawn(kind))} pairs, {seconds:.0f} s of training (0: kept)"
        yield Row.of(f"writer: {kind}", "ROUGE-L", fmean(scores[kind].values()), note=note)
    yield from difference_rows(scores, work.sizes.slack)
    yield from close_rows(work, scores)
    yield from loop_rows(work, settings)


def _code() -> str:
    """What a writer is, and how it is taught."""
    return code_digest("foveal.papers.headline_writer", "foveal.training.headline_writers")


def bytes_of(weights: Iterable[Tensor]) -> bytes:
    """All of them, wherever they lie, in float32."""
    return b"".join(one.float().cpu().numpy().tobytes() for one in weights)


def lead(article: str) -> str:
    """The article's first sentence."""
    read = ReadArticle(article)
    return article[slice(*read.sentences[0][:2])] if read.sentences else ""


def difference_rows(scores: Mapping[str, Mapping[str, float]], slack: float) -> Iterator[Row]:
    """A less the others, with the 95 % interval of a bootstrap over articles."""
    a = scores["A, highly related"]
    gain = max(GAIN - slack, ABOVE)  # whoever learns nothing writes the same whatever it was given
    bars = {"C, unrelated": gain, SHUFFLED: gain}
    for name in ("B, moderately related", "C, unrelated", "D, mixed", SHUFFLED, "not trained", "LEAD-1"):
        found = paired_bootstrap(dict(a), dict(scores[name]))
        note = f"95 %: {found.low:+.3f} to {found.high:+.3f}, over {len(a)} articles"
        least = {"at_least": bars[name]} if name in bars else {}
        yield Row.of(f"writer: A less {name}", "ROUGE-L", found.difference, note=note, **least)
        if name == "C, unrelated" and not slack:
            yield Row.of(f"writer: A less {name}", "low end of the interval", found.low, at_least=ABOVE)


def close_rows(work: Writing, scores: Mapping[str, Mapping[str, float]]) -> Iterator[Row]:
    """A less D: an article's mean over the draws, with the 95 % interval of a bootstrap over articles."""
    draws = {kind: [scores[kind]] for kind in CLOSE}
    for draw in range(1, work.sizes.draws):
        for kind, found in draws.items():
            found.append(work.scores(work.written(kind, work.writer(kind, draw))))
            yield Row.of(f"writer: {kind}, draw {draw + 1}", "ROUGE-L", fmean(found[-1].values()))
    best, mixed = ({name: fmean(one[name] for one in found) for name in work.articles} for found in draws.values())
    change = paired_bootstrap(best, mixed)
    each = ", ".join(f"{fmean(a.values()) - fmean(d.values()):+.4f}" for a, d in zip(*draws.values(), strict=True))
    note = f"draws: {each}; 95 % over articles: {change.low:+.3f} to {change.high:+.3f}"
    system = f"writer: A less D, mixed, mean of {work.sizes.draws} draws"
    least = -work.sizes.slack if work.sizes.slack else ABOVE
    yield Row.of(system, "ROUGE-L", change.difference, at_least=least, note=note)


def loop_rows(work: Writing, settings: BenchSettings) -> Iterator[Row]:
    """Greedy, beam search, and the best judged of four: the judge may not make it worse."""
    writer = work.writer("A, highly related")
    greedy = work.scores(work.written("A, highly related", writer))
    found = work.written("A, four candidates", writer, n=4)
    learnt = replace(work.parts.learnt, pairs=work.parts.learnt.pairs[:: 4 if settings.quick else 2])
    judge = HeadlineJudge(JudgeSettings(texts=False)).fit(learnt)
    chosen = {}
    for name, texts in found.items():
        judged = judge.predict_many([(text, work.articles[name]) for text in texts])
        shares = [one.probabilities[judge.labels[0]] for one in judged]
        chosen[name] = [texts[int(np.argmax(shares))]] if texts else []
    beam, best = work.scores(found), work.scores(chosen)
    own = {name: greedy[name] for name in best}
    for name, side in (("greedy", own), ("beam of 4", beam), ("the best judged of 4", best)):
        yield Row.of(f"writer: A, {name}", "ROUGE-L", fmean(side.values()), note=f"{len(side)} articles")
    change = paired_bootstrap(best, own)
    note = f"95 %: {change.low:+.3f} to {change.high:+.3f}"
    yield Row.of("writer: the best judged of 4 less greedy", "ROUGE-L", change.difference,
                 at_least=0.0 - work.sizes.slack, note=note)  # fmt: skip
