"""foveal bench rank-legal on made-up regulations: what is asked, what may decide, and controls that can fail."""

from __future__ import annotations

import json
import math
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from honest import HashedWords
from training.conftest import make_encoder

from foveal.bench import known_sets, rank_legal, rank_legal_attention, rank_legal_coliee, rank_legal_runs
from foveal.bench.rank_legal_arms import FULL, QUICK, Sizes
from foveal.bench.rank_legal_attention import Planted, attended, planted, projection, sparsemax_rows
from foveal.bench.rank_legal_runs import asked_before, bm25, with_shuffled_labels
from foveal.bench.rank_legal_systems import Systems, chance_error, random_recall
from foveal.bench.settings import BenchSettings
from foveal.errors import InputError
from foveal.evaluation.legal import Article, legal_scores
from foveal.ranking.article_models import Weighed
from foveal.ranking.attentive_cnn import AttentiveCNN, AttentiveCNNSettings, Vocabulary
from foveal.ranking.sparsemax import softmax
from foveal.training.articles import ArticleRows, sentences_in
from foveal.training.examples import Examples
from foveal.training.negatives import top_negatives

pytest.importorskip("bm25s")
pytest.importorskip("sentence_transformers")

TOPICS, ARTICLES, QUESTIONS = 6, 72, 40
SHOWN = {*(f"recall@{depth}" for depth in (5, 10, 20, 30, 100)), "map@10", "ndcg@20"}
SHOWN |= {f"{one} of the first" for one in ("P", "R", "F2")}
SIZES = Sizes(
    counts={8: (1, 2), 24: (1, 2)},
    compared=8,
    steps_dev=3,
    dev=4,
    test=12,
    candidates=30,
    planted=6,
    cnn=AttentiveCNNSettings(dimension=8, filters=8, attention_units=4, sentence_tokens=8, sentences=4),
)


class Settings(BenchSettings):
    def encoder(self):
        return HashedWords(dimension=16)


def article(number):
    """Odd ones are one sentence; a word of its own says which it is."""
    topic = f"B{number % TOPICS} f{number % 5} x{number}"
    return (
        f"{topic} f7 f8 f9."
        if number % 2
        else f"{topic} f1.\nF2 z{number} must not swim.\nF3 z{number} pays the miller."
    )


def write_lines(path, rows):
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")


@pytest.fixture(scope="module")
def settings(tmp_path_factory):
    """ObliQA's layout: a question holds a word of its article; each file of judgements has questions of its own."""
    place = tmp_path_factory.mktemp("legal")
    folder = place / "data" / "obliqa"
    (folder / "qrels").mkdir(parents=True)
    write_lines(folder / "corpus.jsonl", [{"_id": f"d{n}", "text": article(n)} for n in range(ARTICLES)])
    asked = {f"q{n}": f"What of a{n % TOPICS} f{n % 5} f2 x{n}?" for n in range(2 * QUESTIONS) if n < ARTICLES}
    write_lines(folder / "queries.jsonl", [{"_id": name, "text": text} for name, text in asked.items()])
    for split, first in (("dev", 0), ("test", QUESTIONS)):
        judged = "".join(f"q{n}\td{n}\t1\n" for n in range(first, min(first + QUESTIONS, ARTICLES)))
        (folder / "qrels" / f"{split}.tsv").write_text("query-id\tcorpus-id\tscore\n" + judged, encoding="utf-8")
    make_encoder(place / "encoder")
    return Settings(data=place / "data", cache=place / "cache", quick=True)


@pytest.fixture(autouse=True)
def _small(settings, monkeypatch):
    monkeypatch.setattr(rank_legal, "QUICK", SIZES)
    monkeypatch.setattr(rank_legal_coliee, "SIZES", replace(SIZES, counts={24: (1, 2)}, compared=24, cut="lines"))
    monkeypatch.setattr(rank_legal_runs, "ENCODER", str(settings.cache.parent / "encoder"))
    monkeypatch.setattr("foveal.training.report.picture", lambda _, path, **__: path)  # test_report draws them


@pytest.fixture
def law(settings):
    return rank_legal.obliqa(settings, SIZES)


def values(rows):
    return {(row.system, row.metric): row.value for row in rows}


# -- the whole bench ---------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_bench_from_data_to_rows(settings, monkeypatch):
    """Each system alone and fused, bars where they are asked, pictures; a second run scores and trains nothing."""
    tuned_on, asked = rank_legal_runs.tuned_on, []
    monkeypatch.setattr(
        rank_legal_runs, "tuned_on", lambda hits, qrels, how: asked.append(set(qrels)) or tuned_on(hits, qrels, how)
    )
    rows = list(rank_legal.legal(settings))
    found = values(rows)
    assert found["BM25", "recall@10"] == 1.0  # questions hold a word of their article
    trained = ["Paraformer", "Attentive CNN", *(f"{name}, 8 questions" for name in rank_legal_runs.arms(SIZES))]
    trained.remove("Attentive CNN, 8 questions")
    for name in ("MiniLM, whole article", "MiniLM, best sentence", *trained):
        for way in ("alone", "fused"):
            assert {metric for system, metric in found if system == f"{name}, {way}"} >= SHOWN
    barred = {row.system for row in rows if row.bar}
    assert barred >= {
        "Paraformer, alone",
        "Paraformer, fused",
        "Attentive CNN, fused",
        "Attentive CNN, alone, over a random order",
        "Attentive CNN, labels shuffled, alone, over a random order",
        "Paraformer, fused, less BM25",
        "Paraformer, among any",
        "sparsemax",
    }
    assert "Attentive CNN, alone" not in barred
    assert found["Attentive CNN, not trained, alone, over a random order", "recall@20, ratio"] > 0
    assert found["Attentive CNN, control", "weight that moves with the question"] == 0
    assert found["COLIEE", "questions"] == 0
    assert {path.name for path in (settings.cache / "pictures").iterdir()} == {
        "legal-fusion-obliqa.png",
        "legal-learning-obliqa.png",
    }
    held = rank_legal.obliqa(settings, SIZES)
    assert asked
    assert all(one == set(held.dev.judged) for one in asked)  # test questions tune nothing
    monkeypatch.setattr(rank_legal_runs, "ordered", lambda *_: pytest.fail("a model scored again"))
    monkeypatch.setattr("foveal.training.articles.train", lambda *_a, **_b: pytest.fail("a model was trained again"))
    assert [(row.system, row.metric, row.value) for row in rank_legal.legal(settings)] == [
        (row.system, row.metric, row.value) for row in rows
    ]


def test_questions_are_in_one_part_only(law):
    parts = [set(part.queries) for part in (law.learnt, law.dev, law.test)]
    assert [len(part) for part in parts] == [24, 4, 12]
    assert len(set.union(*parts)) == 40
    few, more = law.part(8), law.part(24)
    assert len(few.queries) == 8
    assert set(few.queries) < set(more.queries) == set(law.part(10_000).queries) == parts[0]


def test_values_are_those_of_the_sets_own_scores_and_held_at_each_depth(law):
    """COLIEE's P, R, F2 of the first and R@5, 10, 30; ObliQA's recall and nDCG at 20: shown, and recall and F2 held
    above BM25 and MiniLM where the candidates leave room."""
    systems = Systems(law)
    run = systems.fused(systems.words)
    found = systems.values(run)
    assert set(found) == SHOWN
    own = legal_scores(run, law.test.judged, most=1)
    for name, shown in (("precision", "P of the first"), ("recall", "R of the first"), ("f2", "F2 of the first")):
        assert found[shown] == pytest.approx(own[name])
    for metric in ("recall@5", "recall@10", "recall@20", "recall@30", "ndcg@20"):
        assert found[metric] == pytest.approx(own[metric])
    assert set(systems.bars) == {"recall@5", "recall@10", "recall@20", "F2 of the first", "F2 by the rule"}
    law.sizes = replace(law.sizes, candidates=200)
    assert {"recall@30", "recall@100"} < set(Systems(law).bars)


def test_a_random_order_and_counts_of_judgements_by_hand(law):
    expected = [
        sum(name in law.candidates[query] for name in gold) / len(gold) * 20 / len(law.candidates[query])
        for query, gold in law.test.positives.items()
    ]
    assert random_recall(law) == pytest.approx(np.mean(expected))
    assert asked_before(law.learnt, {"q": {"d1": 0.3, "d71": 0.2}})["q"] == {
        "d1": float(any("d1" in gold for gold in law.learnt.positives.values())),
        "d71": 0.0,
    }


def test_how_far_a_random_order_strays(law):
    """The standard error of its recall, against many random orders."""
    generator, draws = np.random.default_rng(0), []
    for _ in range(3000):
        held = []
        for query, gold in law.test.positives.items():
            found = generator.permutation(law.candidates[query])[:20]
            held.append(len(set(gold) & set(found.tolist())) / len(gold))
        draws.append(np.mean(held))
    assert np.mean(draws) == pytest.approx(random_recall(law), abs=0.01)
    assert chance_error(law) == pytest.approx(np.std(draws), rel=0.06)


def test_even_a_quick_run_asks_the_cnn_for_more_than_a_random_order():
    assert (QUICK.times, FULL.times) == (1.0, 5.0)


def test_a_control_is_chosen_by_no_label(law, monkeypatch):
    """Shuffled labels: no dev question says which step counts, and those that are measured have shuffled ones."""
    asked = {}

    def watched(model, learnt, training, **options):
        asked.update(options, learnt=learnt)
        raise InputError("nothing is trained here")

    monkeypatch.setattr(rank_legal_runs, "train_articles", watched)
    for shuffled in (True, False):
        with pytest.raises(InputError, match="nothing is trained"):
            law.trained("Attentive CNN", 24, shuffled=shuffled)
        assert asked["last"] == shuffled
        real = {query: law.dev.judged[query] for query in asked["run"].dev.queries}
        assert (asked["run"].dev.judged == real) == (not shuffled)
        assert (asked["learnt"].judged == law.part(24).judged) == (not shuffled)


def test_models_of_other_code_are_trained_and_scored_anew(settings, monkeypatch):
    """Their names tell of data and settings alone: by other code the same name is another model."""
    homes, scored = [], []

    def watched(model, learnt, training, *, run, **_):
        homes.append(run.home)
        raise InputError("nothing is trained here")

    def ordered(model, asked, found, depth):
        scored.append(model)
        return {query: dict.fromkeys(found[query], 1.0) for query in asked.queries}

    monkeypatch.setattr(rank_legal_runs, "train_articles", watched)
    monkeypatch.setattr(rank_legal_runs, "ordered", ordered)
    for digest in ("one", "one", "two"):
        monkeypatch.setattr(rank_legal_runs, "code_digest", lambda *_, now=digest, **__: now)
        law = rank_legal.obliqa(settings, SIZES)
        with pytest.raises(InputError, match="nothing is trained"):
            law.trained("Attentive CNN", 24)
        law.scores("paraformer-12345678", lambda now=digest: now)
    assert homes[0] == homes[1] != homes[2]
    assert scored == ["one", "two"]


def test_words_leave_bm25_as_it_is(law):
    """BM25's own system: any weight gives its order."""
    systems = Systems(law)
    for weight in (0.0, 0.3, 1.0):
        run = systems.fused(systems.words, weight)
        for query, found in run.items():
            assert sorted(found, key=found.get) == sorted(found, key=law.found[query].get)


def test_shuffled_labels_say_nothing():
    corpus = {f"d{n}": f"text {n}" for n in range(200)}
    asked = {f"q{n}": "why" for n in range(100)}
    examples = Examples(asked, corpus, {f"q{n}": {f"d{n}": 1} for n in range(100)})
    wrong = with_shuffled_labels(examples, 0)
    assert wrong.queries == examples.queries
    assert len({name for found in wrong.judged.values() for name in found}) == 100
    assert sum(wrong.judged[query] == examples.judged[query] for query in asked) < 5


def test_bm25_by_its_formula(settings):
    texts = {"a": "mill mill stone", "b": "Mill water", "c": "water water water wheel"}
    run = bm25({name: Article(name, text) for name, text in texts.items()}, {"q": "the Mill water mill"}, 3, settings)
    words = {name: Counter(text.lower().split()) for name, text in texts.items()}
    mean = np.mean([sum(one.values()) for one in words.values()])

    def score(name):
        total = 0.0
        for word in ("mill", "water"):
            holding = sum(word in one for one in words.values())
            count = words[name][word]
            norm = 1.2 * (1 - 0.75 + 0.75 * sum(words[name].values()) / mean)
            total += math.log(1 + (3 - holding + 0.5) / (holding + 0.5)) * count / (count + norm)
        return total

    assert run["q"] == pytest.approx({name: score(name) for name in texts}, rel=1e-4)
    assert list(run["q"]) == sorted(texts, key=score, reverse=True)


def test_rows_of_a_batch_share_their_random_negatives(law):
    """`together`: the same articles from anywhere for all rows of a batch, other ones in the next epoch."""
    pools = top_negatives(law.found, law.learnt, depth=30)
    rows = ArticleRows(law.learnt, pools, hard=3, random=4, seed=2, together=9)
    drawn = []
    for epoch in (0, 1):
        for batch in rows.batches(epoch, 9):
            groups = [rows.group(place) for place in batch]
            assert all(len(set(group)) == 8 for group in groups)
            assert all(
                law.learnt.wrong(rows.pairs[p % len(rows)][0], name)
                for p, g in zip(batch, groups, strict=True)
                for name in g[1:]
            )
            random = {name for group in groups for name in group[4:]}
            assert len(random) <= 4 + 6  # a row may hold one of them already
            drawn.append(random)
    assert len({frozenset(one) for one in drawn}) == len(drawn)
    alone = ArticleRows(law.learnt, pools, hard=3, random=4, seed=2)
    assert len({name for place in range(9) for name in alone.group(place)[4:]}) > 12


def test_towers_that_begin_alike_find_the_same_words():
    """The Attentive CNN before any training: an article of the question's words is first; by chance if apart."""
    generator = np.random.default_rng(0)
    words = [f"w{n}" for n in range(300)]
    articles = [[" ".join(generator.choice(words, 12, replace=False))] for _ in range(40)]
    firsts = {}
    for start in ("alike", "apart"):
        model = AttentiveCNN(Vocabulary(tuple(words)), AttentiveCNNSettings(dimension=64, filters=64, start=start))
        encoded = model.encoded(articles)
        scores = [[one.score for one in model.weighed(article[0], encoded)] for article in articles]
        firsts[start] = np.mean(np.argmax(scores, axis=1) == np.arange(40))
    assert firsts["alike"] > 0.9 > firsts["apart"] + 0.6
    with pytest.raises(InputError, match="start = 'near'; there are: alike, apart"):
        AttentiveCNNSettings(start="near")


# -- attention ---------------------------------------------------------------------------------------------------------


def test_sparsemax_is_held_against_another_algorithm(monkeypatch):
    assert projection(np.array([0.5, 0.2, -0.4])) == pytest.approx([0.65, 0.35, 0.0])
    assert projection(np.array([3.0])).tolist() == [1.0]
    rows = list(sparsemax_rows())
    assert all(row.ok for row in rows)
    monkeypatch.setattr(rank_legal_attention, "sparsemax", softmax)
    assert [row.ok for row in sparsemax_rows()] == [False, True, True, True]


@pytest.mark.parametrize("hard", [False, True])
def test_answers_are_planted_among_sentences_that_do_not_answer(law, hard):
    cases = planted(law, hard=hard, seed=0, most=5)
    assert len(cases) == 5
    asked = {text: query for query, text in law.test.queries.items()}
    owner = {line: name for name, text in law.corpus.items() for line in sentences_in(text)}
    for case in cases:
        query = asked[case.question]
        assert len(set(case.sentences)) == 16
        assert [owner[case.sentences[case.place]]] == law.test.positives[query]
        others = [owner[line] for at, line in enumerate(case.sentences) if at != case.place]
        assert all(law.test.wrong(query, name) for name in others)
        if hard:
            assert set(others) <= set(law.candidates[query])
    assert len({case.place for case in cases}) > 1


class LastWord:
    """Looks at sentences that hold the question's last word, evenly; or always at the first two, if it is `blind`."""

    def __init__(self, *, blind):
        self.blind = blind

    def encoded(self, articles):
        return list(articles)

    def weighed(self, query, encoded):
        looks = [
            np.array([at < 2 if self.blind else query.split()[-1] in line for at, line in enumerate(lines)], np.float32)
            for lines in encoded
        ]
        return [Weighed(0.0, one / max(1.0, one.sum())) for one in looks]


def test_what_is_attended_to_is_counted():
    lines = list("abcdefghijklmnop")
    cases = [Planted(f"why {lines[n]}", tuple(np.roll(lines, 3 * n)), (4 * n) % 16) for n in range(16)]
    seen = attended(LastWord(blind=False), cases)
    assert (seen.first, seen.attended, seen.zeros, seen.moved) == (1.0, 1.0, 15 / 16, 1.0)
    assert seen.swapped == 0.0
    blind = attended(LastWord(blind=True), cases)
    assert (blind.attended, blind.moved) == (2.0, 0.0)
    assert blind.first == blind.swapped < 0.5


# -- COLIEE ------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_coliee_is_run_where_it_lies(settings, tmp_path, monkeypatch):
    with_it = replace(settings, data=tmp_path)
    folder = tmp_path / "coliee"
    (folder / "xml").mkdir(parents=True)
    code = "\n".join(f"Article {n + 1} {article(n)}" for n in range(48))
    (folder / "civil_code_en.txt").write_text(code, encoding="utf-8")
    with pytest.raises(InputError, match="lacks COLIEE's training, dev, test; it needs"):
        list(rank_legal_coliee.coliee_rows(with_it))
    for year, numbers in (("H18", range(20)), ("H30", range(20, 26)), ("R01", range(26, 30)), ("R02", range(30, 36))):
        pairs = "".join(
            f'<pair id="{year}-{n}" label="Y"><t1>Article {n + 1} {article(n).splitlines()[0]}</t1>'
            f"<t2>Is a{n % TOPICS} f{n % 5} x{n}?</t2></pair>"
            for n in numbers
        )
        path = folder / "xml" / f"riteval_{year}_en.xml"
        path.write_text(f"<dataset>{pairs}</dataset>", encoding="utf-8")
    kept = ["Paraformer", "Paraformer, frozen encoder", "Paraformer, mean in place of attention", "Attentive CNN"]
    every = rank_legal_runs.arms
    monkeypatch.setattr(rank_legal_runs, "arms", lambda sizes: {name: every(sizes)[name] for name in kept})
    monkeypatch.setitem(known_sets.SIZES, "COLIEE's R02", (6,))
    rows = list(rank_legal_coliee.coliee_rows(with_it))
    found = values(rows)
    assert found["COLIEE, R02, BM25", "F2 of the first"] == 1.0
    assert {row.metric: row.bar for row in rows if row.system == "COLIEE, R02, BM25"} == {
        "F2 of the first": "0.666 to 0.726",
        "P of the first": "0.698 to 0.758",
        "R of the first": "0.661 to 0.721",
        "recall@10": "0.826 to 0.866",
        "recall@100": "0.903 to 0.943",
    }
    assert {row.system for row in rows if row.bar} >= {
        "COLIEE, R02, Paraformer, alone",
        "COLIEE, Paraformer, fused, less BM25",
        "COLIEE, Paraformer less Attentive CNN, alone",
    }
    law = rank_legal_coliee.coliee(folder, with_it)
    assert [len(part.queries) for part in (law.learnt, law.dev, law.test)] == [24, 4, 6]
