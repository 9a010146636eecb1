"""A learned ranker is fitted and judged on the lists that a search with it orders."""

from __future__ import annotations

import pytest

from foveal.errors import InputError
from foveal.evaluation.metrics import evaluate
from foveal.ranking import feature_ranker
from foveal.ranking.feature_ranker import METRICS, FeatureRanker, train_features
from foveal.ranking.features import OWN
from foveal.ranking.judged import Judged
from foveal.ranking.judged_training import parted
from foveal.retrieval.pipeline import CANDIDATES
from foveal.training.examples import Examples
from foveal.training.runs import RunSettings
from foveal.types import Hit, Passage, Span

COUNT = 40


@pytest.fixture(scope="module")
def examples() -> Examples:
    """The answer alone holds what is asked."""
    corpus = {f"d{n}": f"thing{n} lies here" for n in range(COUNT)}
    queries = {f"q{n}": f"where is thing{n}" for n in range(COUNT)}
    return Examples(queries, corpus, {f"q{n}": {f"d{n}": 1} for n in range(COUNT)}, name="things")


def test_what_is_measured_is_what_a_search_with_the_ranker_does(examples, tmp_path):
    """Of some queries the answer stands behind those that `search --rank` gives a ranker."""
    asked = []

    def search(queries, k):
        asked.append(k)
        found = []
        for query in queries:
            answer = int(query.rpartition("thing")[2])
            others = [n for n in range(COUNT) if n != answer]
            place = 9 if answer % 2 else 30
            order = [*others[:place], answer, *others[place:]]
            found.append({f"d{n}": 1 / (1 + rank) for rank, n in enumerate(order[:k])})
        return found

    run = RunSettings(home=tmp_path, name="mine")
    folder, report = train_features("pairwise", Judged(examples, search, "a search"), run=run)
    assert set(asked) == {CANDIDATES}
    assert folder is not None
    _, dev = parted(examples)
    ranker, ordered = FeatureRanker(folder), {}
    for query, text in dev.queries.items():
        found = search([text], CANDIDATES)[0]
        hits = [Hit(Passage(Span(d, 0, len(examples.corpus[d])), examples.corpus[d]), s, "") for d, s in found.items()]
        ordered[query] = {hit.passage.span.document_id: hit.score for hit in ranker.rank(text, hits)}
    assert evaluate(ordered, dev.judged, METRICS) == pytest.approx(report.measured["dev"][1])
    assert 0 < report.measured["dev"][1]["mrr@10"] < 1


def test_other_headings_or_other_features_make_another_ranker(examples, tmp_path, monkeypatch):
    """A feature looks at headings, which no text holds; and a model of features that are no more cannot be loaded."""

    def search(queries, k):
        return [
            {f"d{(int(query.rpartition('thing')[2]) + n) % COUNT}": 1 / (1 + n) for n in range(k)} for query in queries
        ]

    def fitted(headings, **how):
        run = RunSettings(home=tmp_path, name="mine", **how)
        return train_features("pairwise", Judged(examples, search, "a search", headings), run=run)[1]

    above = {f"d{n}": f"On thing{n}" for n in range(COUNT)}
    first = fitted(above)
    assert fitted(dict(reversed(above.items()))) == first
    with pytest.raises(InputError, match=r"are of another run \(headings:"):
        fitted(dict.fromkeys(above, "On things"))
    monkeypatch.setattr(feature_ranker, "OWN", (*OWN, "stars"))
    with pytest.raises(InputError, match=r"are of another run \(features:"):
        fitted(above)
