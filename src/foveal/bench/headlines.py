"""bench headlines: are headlines borne out by their articles, clickbait, relatedness in seven languages, writing.

exact       ROUGE and kappa against another implementation and by hand, novel n-grams         headlines_exact.py
judge       Fake News Challenge by body: TF-IDF alone, + cosine, + all five features, the five alone, all of ours;
            SVM, bagging, MLP, encoders, a language model's likelihood                         headlines_judge.py
controls    labels shuffled; headlines not seen; a changed number; probabilities before and after the temperature
semrel      Spearman of `cosine` with human scores, beside words; English -> Telugu           headlines_related.py
clickbait   five folds, beside scikit-learn on words and pairs of words
writer      one small model trained on as many pairs of each kind, scored by ROUGE-L          headlines_writer.py

TeClass itself is not here: its licence allows research only and its files are not in the data folder. Where the folder
`teclass` holds one's own copy, the judge is measured on it, too.
"""

from __future__ import annotations

from collections.abc import Iterator

from foveal.bench.headlines_exact import exact_rows
from foveal.bench.headlines_judge import judge_rows, teclass_rows
from foveal.bench.headlines_related import clickbait_rows, related_rows
from foveal.bench.headlines_writer import writer_rows
from foveal.bench.parts import each
from foveal.bench.settings import BenchSettings
from foveal.evaluation.tables import Row

JUDGED = (related_rows, clickbait_rows, judge_rows, teclass_rows)


def headlines(settings: BenchSettings) -> Iterator[Row]:
    """The rows of `foveal bench headlines`."""
    yield from exact_rows(settings.seed)
    yield from each((*JUDGED, writer_rows), settings)


def judged(settings: BenchSettings) -> Iterator[Row]:
    """All but the writer: minutes."""
    yield from each(JUDGED, settings)
