"""TeClass: says how far a headline is borne out by its article, which sentence bears it out, and how sure that is
(Kanumolu et al., LREC-COLING 2024, arXiv 2404.11349).

    judge = HeadlineJudge().fit(read_pairs(Path("labelled.csv")))
    found = judge.predict("Five die in crash", article)
    found.label, found.probabilities, found.evidence_sentence      # "HREL", {"HREL": 0.8, …}, "The crash killed five …"

Texts      any language; features are numbers without a language (headline_features.py), an encoder reads what it knows
Judges     lr, svm, bagging, mlp over features and TF-IDF; pmi, by a language model's likelihood alone; encoder,
           fine-tuned
Sure       probabilities are softmax(decisions / T), T chosen on pairs held out by article; within the `abstain` band
           of the two best the judgement says that it is not sure
Against    the published models give a bare label; ours names the evidence as a span of the article's text
Licence    a judge trained on a set with a licence note (TeClass: research only) keeps it in judge.json, and says it
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from foveal.errors import InputError, ModelUnavailable
from foveal.evaluation.files import whole_file
from foveal.evaluation.headlines import TECLASS, HeadlinePair, HeadlineSet, Taxonomy
from foveal.models import load_chat, load_encoder
from foveal.papers.headline_features import Features, Pair
from foveal.papers.headline_judgements import Judgement, JudgeReport, report_of
from foveal.papers.headline_judges import (
    EncoderScorer,
    FeatureDesign,
    FeatureScorer,
    Scorer,
    classes_of,
    load_features,
    load_scorer,
    read_about,
)
from foveal.papers.headline_likelihood import LikelihoodGain
from foveal.papers.headline_names import JUDGE, judge_folder
from foveal.papers.headline_pairs import split_by_article, with_changed_numbers
from foveal.papers.headline_settings import JudgeSettings, settings_of
from foveal.settings import Settings
from foveal.text.ngrams import CharacterTfIdf
from foveal.text.tokens import words
from foveal.training.linear import softmax, temperature
from foveal.training.pair_classifiers import ClassedPairs, train_pairs
from foveal.training.watch import Progress
from foveal.types import Document, Span

__all__ = ["HeadlineJudge", "JudgeReport", "JudgeSettings", "Judgement", "load_judge"]


@dataclass(frozen=True)
class HeadlineJudge:
    """Judges headlines; without `fit` or `load` it only knows how it would be fitted."""

    settings: JudgeSettings = field(default_factory=JudgeSettings)
    taxonomy: Taxonomy = TECLASS
    features: Features | None = None
    scorer: Scorer | None = None
    temperature: float = 1.0
    licence: str = ""
    trained_on: str = ""
    on_dev: JudgeReport | None = None  # of `fit`: before the classifier learnt from these pairs, too; it is not saved

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels that it gives, best first."""
        return self.taxonomy.labels(self.settings.view)

    # -- learning -------------------------------------------------------------------------------------------------

    def fit(
        self,
        learnt: HeadlineSet,
        dev: HeadlineSet | None = None,
        *,
        folder: Path | None = None,
        cache: Path | None = None,
        on_progress: Callable[[Progress], None] = lambda _: None,
    ) -> HeadlineJudge:
        """A judge that has learnt from labelled pairs; this one stays as it is.

        `dev` stops an MLP or encoder and sets the temperature (default: articles held out); classifiers over features
        then learn from both, and `on_dev` says how right the one was that had not. `folder` keeps an encoder's
        checkpoints. InputError: an unknown label, a pair without one, fewer than two classes.
        """
        if dev is None:
            learnt, dev = split_by_article(learnt, share=self.settings.dev_share, seed=self.settings.fit.seed)
        cache = cache or Settings.load().cache
        labels = [self._classes(one) for one in (learnt, dev)]
        vocabulary = CharacterTfIdf.fit(_texts(learnt.pairs), self.settings.grams)
        features = Features(vocabulary, self.settings.names, self.settings.language, self._likelihood(cache))
        known = replace(self, features=features, licence=learnt.licence or dev.licence, trained_on=learnt.name)
        if self.settings.kind == "encoder":
            return known._with_encoder(learnt, dev, labels, folder, cache, on_progress)
        return known._with_classifier(learnt, dev, labels, cache)

    def _classes(self, pairs: HeadlineSet) -> Any:
        return classes_of(pairs.labelled(self.taxonomy, self.settings.view), self.labels)

    def _likelihood(self, cache: Path) -> LikelihoodGain | None:
        return LikelihoodGain(load_chat(self.settings.chat, cache=cache)) if self.settings.chat else None

    def _with_classifier(
        self, learnt: HeadlineSet, dev: HeadlineSet, labels: Sequence[Any], cache: Path
    ) -> HeadlineJudge:
        assert self.features is not None
        encoder = load_encoder(self.settings.encoder, cache=cache) if self.settings.encoder else None
        design = FeatureDesign(self.features, self.settings.texts and self.settings.kind != "pmi", encoder)
        sides = [_pairs(learnt), _pairs(dev)]
        if self.settings.changed_numbers and "numbers" in self.features.names:
            label = 1 if self.settings.view == "primary" else len(self.labels) - 1  # still about it; or misleading
            more = with_changed_numbers(sides[0], labels[0], label, self.settings.fit.seed)
            sides[0], labels = more[0], [more[1], labels[1]]
        found = [self.features.of(side) for side in sides]
        options: dict[str, Any] = {"count": len(self.labels), "encoder_name": self.settings.encoder}
        held = (sides[1], found[1], labels[1])
        fitted = self.settings.fitted
        scorer = FeatureScorer.fit(design, sides[0], found[0], labels[0], fitted, dev=held, **options)
        t = temperature(scorer.decisions(sides[1], found[1]), labels[1])
        on_dev = replace(self, scorer=scorer, temperature=t).evaluate(dev)
        if fitted.kind != "mlp":
            both = replace(
                found[0],
                values=np.concatenate([one.values for one in found]),
                evidence=(*found[0].evidence, *found[1].evidence),
            )
            scorer = FeatureScorer.fit(
                design, [*sides[0], *sides[1]], both, np.concatenate([labels[0], labels[1]]), fitted, **options
            )
        return replace(self, scorer=scorer, temperature=t, on_dev=on_dev)

    def _with_encoder(
        self,
        learnt: HeadlineSet,
        dev: HeadlineSet,
        labels: Sequence[Any],
        folder: Path | None,
        cache: Path,
        on_progress: Callable[[Progress], None],
    ) -> HeadlineJudge:
        assert self.features is not None
        assert self.settings.encoder is not None
        rows = [
            ClassedPairs(tuple(_pairs(side)), tuple(int(one) for one in held))
            for side, held in zip((learnt, dev), labels, strict=True)
        ]
        with tempfile.TemporaryDirectory() as own:
            classifier, _ = train_pairs(
                rows[0], rows[1], self.settings.encoder, self.settings.pairs, count=len(self.labels),
                folder=folder or Path(own) / "run", cache=cache, on_progress=on_progress,
            )  # fmt: skip
        t = temperature(classifier.decisions(rows[1].pairs), labels[1])
        return replace(self, scorer=EncoderScorer(classifier, self.features), temperature=t)

    # -- judging --------------------------------------------------------------------------------------------------

    def predict(self, headline: str, article: str | Document) -> Judgement:
        """The judgement of one headline. InputError: a text is empty, or the judge was not fitted."""
        return self.predict_many([(headline, article)])[0]

    def predict_many(self, pairs: Sequence[tuple[str, str | Document]]) -> list[Judgement]:
        """The judgement of each (headline, article); an article is read once for all its headlines."""
        if self.scorer is None or self.features is None:
            raise InputError("This headline judge was not fitted. Fit it, or load one: HeadlineJudge.load(folder).")
        texts = [(headline, _text(article)) for headline, article in pairs]
        if not texts:
            return []
        found = self.features.of(texts)
        shares = softmax(self.scorer.decisions(texts, found) / self.temperature)
        return [
            self._judgement(text, article, row, values, place)
            for (_, text), (_, article), row, values, place in zip(
                texts, pairs, shares.tolist(), found.values.tolist(), found.evidence, strict=True
            )
        ]

    def _judgement(
        self,
        text: str,
        article: str | Document,
        shares: Sequence[float],
        values: Sequence[float],
        place: tuple[int, int] | None,
    ) -> Judgement:
        assert self.features is not None
        ordered = sorted(shares, reverse=True)
        span = None if place is None else Span(article.id if isinstance(article, Document) else "", *place)
        return Judgement(
            self.labels[int(np.argmax(shares))],
            dict(zip(self.labels, shares, strict=True)),
            dict(zip(self.features.names, values, strict=True)),
            None if place is None else text[place[0] : place[1]],
            span,
            sure=ordered[0] - ordered[1] >= self.settings.abstain,
        )

    def evaluate(self, pairs: HeadlineSet) -> JudgeReport:
        """How right it is on labelled pairs."""
        gold = pairs.labelled(self.taxonomy, self.settings.view)
        found = self.predict_many(_pairs(pairs))
        return report_of(gold, found, self.labels)

    # -- keeping --------------------------------------------------------------------------------------------------

    def save(self, folder: Path) -> Path:
        """Write the judge into `folder`, which must be new or empty. InputError: it was not fitted, or it is taken."""
        if self.scorer is None:
            raise InputError("A headline judge that was not fitted cannot be saved.")
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise InputError(f"{folder} is there already, and not an empty folder. Name a new one.")
        folder.mkdir(parents=True, exist_ok=True)
        self.scorer.save(folder)
        told = {
            "settings": asdict(self.settings),
            "taxonomy": {**asdict(self.taxonomy), "relevant": sorted(self.taxonomy.relevant)},
            "temperature": self.temperature,
            "licence": self.licence,
            "trained_on": self.trained_on,
        }
        with whole_file(folder / JUDGE) as partial:  # last: a folder without it is no judge
            partial.write_text(json.dumps(told, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
        return folder

    @classmethod
    def load(cls, folder: Path, *, cache: Path | None = None) -> HeadlineJudge:
        """What `save` wrote. ModelUnavailable: there is none, or a part is missing."""
        try:
            told = json.loads((folder / JUDGE).read_text(encoding="utf-8"))
            settings = settings_of(told["settings"])
            kept = told["taxonomy"]
            taxonomy = Taxonomy(
                primary={label: tuple(subs) for label, subs in kept["primary"].items()},
                relevant=frozenset(kept["relevant"]), meanings=kept["meanings"], binary=tuple(kept["binary"]),
            )  # fmt: skip
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ModelUnavailable(
                f"{folder} holds no headline judge ({type(error).__name__}: {error}). Train one: foveal train "
                "headline-judge."
            ) from error
        cache = cache or Settings.load().cache
        judge = cls(settings, taxonomy, temperature=told["temperature"], licence=told["licence"])
        about = read_about(folder)
        features = load_features(folder, about, judge._likelihood(cache))
        pooled = settings.encoder if settings.kind != "encoder" else None
        scorer = load_scorer(folder, features, about, load_encoder(pooled, cache=cache) if pooled else None)
        return replace(judge, features=features, scorer=scorer, trained_on=told["trained_on"])


def load_judge(name: str, settings: Settings) -> HeadlineJudge:
    """The judge called `name`: HOME/models/NAME, or a folder. UnknownName: there is none."""
    return HeadlineJudge.load(judge_folder(name, settings.home), cache=settings.cache)


# -- parts ------------------------------------------------------------------------------------------------------------


def _text(article: str | Document) -> str:
    return article.text if isinstance(article, Document) else article


def _pairs(pairs: HeadlineSet) -> list[Pair]:
    return [(one.headline, one.article) for one in pairs.pairs]


def _texts(pairs: Sequence[HeadlinePair]) -> list[list[str]]:
    """The words of each different text, headlines and articles alike."""
    return [words(text) for text in dict.fromkeys(text for one in pairs for text in (one.headline, one.article))]
