"""Writes headlines, by a model that has learnt from the relevant ones only, or by any chat model, and has them judged.

    writer, _ = HeadlineWriter.fit(read_pairs(Path("labelled.csv")), load_language_model("gemma3-270m"), folder=run)
    writer.write(article, n=4, judge=judge)           # [Headline(text, score, judgement), …], the best judged first
    rewrite(writer, "You won't believe this", article, judge)     # the author's headline stays, the new one beside it

Training  only pairs with a label of `train_on` count ("HREL"): fewer and relevant pairs beat many mixed ones (Kanumolu
          et al., LREC-COLING 2024). The model's JSON says which labels, how many pairs, and the licence note of the set
Kept      low-rank changes alone (some MB of safetensors) with the name and fingerprint of the model that they change
Judged    of n candidates the best is that with the highest probability of the best class, of equal ones the likeliest
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

from foveal.errors import InputError, ModelUnavailable
from foveal.evaluation.headlines import TECLASS, HeadlineSet, Taxonomy, check_texts
from foveal.models.chat import ChatModel, Sampling
from foveal.models.language import LanguageModel, load_language_model
from foveal.papers.headline_names import WRITER, writer_folder
from foveal.papers.headline_pairs import split_by_article
from foveal.papers.headlines import HeadlineJudge, Judgement
from foveal.settings import Settings
from foveal.training.checkpoints import load_weights, save_changes
from foveal.training.headline_writers import (
    Prompts,
    TextRows,
    WriterSettings,
    Written,
    changes_of,
    one_line,
    train_writer,
    with_changes,
    write,
)
from foveal.training.loop import Curves, LoopSettings
from foveal.training.watch import Progress

CHANGES = "changes.safetensors"
BASE = "gemma3-270m"
TRAIN_ON = ("HREL",)
DEV_SHARE = 0.1  # of the articles, held out where no dev pairs are given
CHARACTERS = 6000
"""Characters of an article that a chat model is sent."""

INSTRUCTION = (
    "Write one headline for the article below, in the article's own language. Say its main fact, in at most 14 words, "
    "without exaggeration, and nothing that the article does not say. Answer with the headline alone.\n\n{article}"
)


@dataclass(frozen=True)
class Headline:
    """A headline that was written; `score` is its mean log-probability a token, NaN where a server does not say."""

    text: str
    score: float
    judgement: Judgement | None = None


@dataclass(frozen=True)
class Rewritten:
    """The author's headline, as it was, and beside it what was written; `written` is None where nothing was better."""

    author: Headline
    written: Headline | None


class Writer(Protocol):
    """Writes candidates: for each article up to `n` headlines, the likeliest first."""

    def candidates(self, articles: Sequence[str], n: int = 1) -> list[list[Written]]: ...


@dataclass(frozen=True, eq=False)
class HeadlineWriter:
    """A language model with what it has learnt, if anything; `base` itself stays as it is."""

    base: LanguageModel
    settings: WriterSettings = field(default_factory=WriterSettings)
    learned: Any = None  # low-rank changes, or None: the model as it is
    train_on: tuple[str, ...] = ()
    pairs: int = 0
    licence: str = ""

    @cached_property
    def model(self) -> Any:
        """The model that writes."""
        if self.learned is None:
            return self.base.model
        return with_changes(self.base, self.learned, self.settings)

    @classmethod
    def fit(
        cls,
        learnt: HeadlineSet,
        base: LanguageModel,
        settings: WriterSettings | None = None,
        *,
        folder: Path,
        train_on: Sequence[str] = TRAIN_ON,
        taxonomy: Taxonomy = TECLASS,
        dev: HeadlineSet | None = None,
        on_progress: Callable[[Progress], None] = lambda _: None,
    ) -> tuple[HeadlineWriter, Curves]:
        """A writer that learnt from the pairs with these labels, and how it went; `folder` keeps checkpoints.

        InputError: an unknown label, or fewer than two articles with one of these.
        """
        settings = settings or WriterSettings()
        chosen = learnt.only(train_on, taxonomy)
        if not chosen.pairs:
            raise InputError(f"No pair of {learnt.name} has a label of {', '.join(train_on)}. Name others by train_on.")
        if dev is None:
            chosen, held = split_by_article(chosen, share=DEV_SHARE, seed=settings.loop.seed)
        else:
            held = dev.only(train_on, taxonomy)
        learned, curves = train_writer(
            base, _rows(chosen), _rows(held), settings, folder=folder, on_progress=on_progress
        )
        return cls(base, settings, learned, tuple(train_on), len(chosen), learnt.licence), curves

    def candidates(self, articles: Sequence[str], n: int = 1) -> list[list[Written]]:
        """The `n` likeliest headlines of each article."""
        for article in articles:
            check_texts("-", article)
        return write(self.model, Prompts(self.base, self.settings), articles, count=n)

    def write(self, article: str, n: int = 1, *, judge: HeadlineJudge | None = None) -> list[Headline]:
        """Up to `n` headlines, the best first. InputError: the article is empty, or `n` is below 1."""
        return written_by(self, article, n, judge=judge)

    def save(self, folder: Path) -> Path:
        """Write the changes and what they change. InputError: nothing was learnt, or the folder is taken."""
        if self.learned is None:
            raise InputError("This writer has learnt nothing, so there is nothing to save. Name its model instead.")
        told = {
            "base": self.base.name, "fingerprint": self.base.fingerprint, "settings": asdict(self.settings),
            "train_on": self.train_on, "pairs": self.pairs, "licence": self.licence,
        }  # fmt: skip
        return save_changes(self.learned, told, folder, told_in=WRITER, weights=CHANGES)

    @classmethod
    def load(cls, folder: Path, *, base: LanguageModel | None = None, cache: Path | None = None) -> HeadlineWriter:
        """What `save` wrote; `base` is its model, where that has no name. ModelUnavailable: none, or another model."""
        try:
            told = json.loads((folder / WRITER).read_text(encoding="utf-8"))
            kept = {**told["settings"], "loop": LoopSettings(**told["settings"]["loop"])}
            settings, name, known = WriterSettings(**kept), told["base"], told["fingerprint"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ModelUnavailable(
                f"{folder} holds no headline writer ({type(error).__name__}: {error}). Train one: foveal train "
                "headline-writer."
            ) from error
        base = base or load_language_model(name, cache=cache)
        if base.fingerprint != known:
            raise ModelUnavailable(f"{folder} changes another {name} than the one that is here. Train the writer anew.")
        learned = changes_of(copy.deepcopy(base.model), settings)
        load_weights(learned, folder / CHANGES)
        return cls(base, settings, learned, tuple(told["train_on"]), told["pairs"], told["licence"])


@dataclass(frozen=True, eq=False)
class ChatWriter:
    """Any chat model, local or behind a server, as a writer: it is asked, and learns nothing."""

    chat: ChatModel
    temperature: float = 0.8  # of all candidates but the first
    instruction: str = INSTRUCTION

    def candidates(self, articles: Sequence[str], n: int = 1) -> list[list[Written]]:
        """The likeliest headline of each article, and n - 1 that are drawn; equal ones once."""
        found = []
        for article in articles:
            check_texts("-", article)
            asked = [{"role": "user", "content": self.instruction.format(article=article.strip()[:CHARACTERS])}]
            texts = []
            for seed in range(n):
                warmth = self.temperature if seed else 0.0
                sampling = Sampling(max_tokens=64, temperature=warmth, seed=seed)
                texts.append(one_line(self.chat.chat(asked, sampling)))
            found.append([(text, float("nan")) for text in dict.fromkeys(texts) if text])
        return found


def written_by(writer: Writer, article: str, n: int = 1, *, judge: HeadlineJudge | None = None) -> list[Headline]:
    """Up to `n` headlines by any writer, the best first: by the judge, if there is one, then by their likelihood."""
    if n < 1:
        raise InputError(f"{n} headlines were asked for; it needs at least 1.")
    found = [Headline(text, score) for text, score in writer.candidates([article], n)[0]]
    if judge is None or not found:
        return found
    judged = judge.predict_many([(one.text, article) for one in found])
    told = [replace(one, judgement=judgement) for one, judgement in zip(found, judged, strict=True)]
    return sorted(told, key=lambda one: -_relevance(one, judge))


def rewrite(writer: Writer, headline: str, article: str, judge: HeadlineJudge, *, n: int = 4) -> Rewritten:
    """The author's headline with its judgement, and the best candidate, where that is judged better than the author's.

    The author's headline is never replaced: who shows both decides.
    """
    author = Headline(headline, float("nan"), judge.predict(headline, article))
    best = next(iter(written_by(writer, article, n, judge=judge)), None)
    better = best is not None and best.text != headline and _relevance(best, judge) > _relevance(author, judge)
    return Rewritten(author, best if better else None)


def load_writer(name: str, settings: Settings) -> HeadlineWriter:
    """The writer called `name`: HOME/models/NAME, a folder, or a language model as it is. UnknownName: none."""
    folder = writer_folder(name, settings.home)
    if folder is not None:
        return HeadlineWriter.load(folder, cache=settings.cache)
    return HeadlineWriter(load_language_model(name, cache=settings.cache))


def _relevance(one: Headline, judge: HeadlineJudge) -> float:
    return one.judgement.probabilities[judge.labels[0]] if one.judgement else 0.0


def _rows(pairs: HeadlineSet) -> TextRows:
    return TextRows(tuple((one.article, one.headline) for one in pairs.pairs))
