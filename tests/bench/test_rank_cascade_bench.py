"""`foveal bench rank-cascade` on a toy collection and tiny models: what is asked, and by what things are chosen."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from honest import HashedWords
from tiny import tiny

from foveal.bench import rank_cascade, rank_cascade_parts
from foveal.bench.quality import bm25s_run
from foveal.bench.rank_cascade_parts import (
    BLOCK,
    CROSS,
    FULL,
    LATE,
    LATE_FIRST,
    LEARNED,
    Bfloat16,
    Late,
    Parts,
    Sizes,
    Tokens,
    kept_blocks,
)
from foveal.bench.retrieval_fusion import Judged, dense_run, fuse
from foveal.bench.settings import BenchSettings
from foveal.evaluation.metrics import evaluate
from foveal.ranking.blockrank import KEPT, BlockRank
from foveal.ranking.blockrank_cache import BlockCache
from foveal.ranking.cascade import Cascade, CascadeReport, Stage, StageRun
from foveal.retrieval.fusion_weights import GRID
from foveal.retrieval.hybrid import DENSE_WEIGHT
from foveal.retrieval.late import TokenVectors, maxsim
from foveal.training.examples import Examples
from foveal.training.late_encoders import LateEncoderSettings
from foveal.training.loop import Curves
from foveal.training.report import Report

pytest.importorskip("bm25s")
pytest.importorskip("lightgbm")

WORDS = [f"word{number}" for number in range(60)]
DOCUMENTS, CLAIMS = 60, 48
SIZES = Sizes(
    dev=0.25, tokens=False, ranked=20, best=6, lists=4, documents=3, dev_lists=2, document_tokens=120,
    budgets=(300, 5000),
)  # fmt: skip


class Settings(BenchSettings):
    def encoder(self):
        return HashedWords(dimension=48)


class OverlapRanker:
    """What stands for a cross-encoder: words that both hold."""

    def rank(self, query, hits):
        asked = set(query.lower().split())
        ranked = [replace(one, score=float(len(asked & set(one.passage.text.lower().split())))) for one in hits]
        return sorted(ranked, key=lambda one: -one.score)


@pytest.fixture(scope="module")
def settings(tmp_path_factory):
    """A toy SciFact: each claim holds words of its document; odd ones are test claims."""
    place = tmp_path_factory.mktemp("bench")
    draw = np.random.default_rng(0)
    texts = [" ".join(draw.choice(WORDS, size=14)) + "." for _ in range(DOCUMENTS)]
    folder = place / "data" / "scifact"
    (folder / "qrels").mkdir(parents=True)
    corpus = [json.dumps({"_id": f"d{i}", "title": "", "text": text}) for i, text in enumerate(texts)]
    queries = [json.dumps({"_id": f"q{i}", "text": " ".join(texts[i].split()[2:6])}) for i in range(CLAIMS)]
    (folder / "corpus.jsonl").write_text("\n".join(corpus), encoding="utf-8")
    (folder / "queries.jsonl").write_text("\n".join(queries), encoding="utf-8")
    for split, first in (("train", 0), ("test", 1)):
        judged = "".join(f"q{i}\td{i}\t1\n" for i in range(first, CLAIMS, 2))
        (folder / "qrels" / f"{split}.tsv").write_text("query-id\tcorpus-id\tscore\n" + judged, encoding="utf-8")
    return Settings(data=place / "data", cache=place / "cache", quick=True)


@pytest.fixture
def parts(settings):
    return Parts(Judged.of(settings), settings, SIZES)


@pytest.fixture(scope="module")
def qwen(tmp_path_factory):
    return tiny("qwen", tmp_path_factory.mktemp("qwen"), positions=10_000)


def test_one_claim_at_a_time_finds_what_the_whole_runs_find(parts, settings):
    judged = parts.judged
    fused = fuse("weighted", bm25s_run(judged.whole), dense_run(judged, settings), DENSE_WEIGHT)
    for claim, text in parts.test.queries.items():
        hits = parts.first.search([text], 10)[0]
        expected = sorted(fused[claim].values(), reverse=True)[:10]
        assert [one.score for one in hits] == pytest.approx(expected, abs=1e-5)


def test_token_vectors_order_the_firsts_best(parts):
    class Model:
        def queries(self, texts):
            return [HashedWords().encode(text.split()) for text in texts]

    vectors = TokenVectors.of([HashedWords().encode(text.split()) for text in parts.judged.texts])
    claim = next(iter(parts.test.queries.values()))
    found = Tokens(parts.first, Model(), vectors, 8).search([claim], 5)[0]
    best = parts.first.search([claim], 8)[0]
    scores = maxsim(TokenVectors.of(Model().queries([claim])), vectors)[0]
    expected = sorted((float(scores[parts.first.rows[one.passage.span.document_id]]) for one in best), reverse=True)
    assert [one.score for one in found] == pytest.approx(expected[:5], abs=1e-5)


class Hashed:
    """A model of token vectors, one for each word."""

    dimension = 48

    def queries(self, texts):
        return [HashedWords(dimension=48).encode(text.split()) for text in texts]


def test_trained_token_vectors_stand_beside_bm25s(parts):
    """The share times MaxSim and the rest BM25S, each over 0 to 1 among the hits; what BM25S lacks is its least."""
    vectors = TokenVectors.of(Hashed().queries(parts.judged.texts))
    claim = next(iter(parts.test.queries.values()))
    hits = parts.first.search([claim], 12)[0]
    late = Late(Tokens(parts.first, Hashed(), vectors, 12), 0.7)
    found = {one.passage.span.document_id: one.score for one in late.rank(claim, hits)}
    own = maxsim(TokenVectors.of(Hashed().queries([claim])), vectors)[0]
    words = {one.passage.span.document_id: one.score for one in parts.first.found(claim).bm25}
    rows = {one.passage.span.document_id: parts.first.rows[one.passage.span.document_id] for one in hits}
    least = min(words[name] for name in rows if name in words)
    both = [np.array([own[row] for row in rows.values()]), np.array([words.get(name, least) for name in rows])]
    scaled = [(one - one.min()) / np.ptp(one) for one in both]
    assert [found[name] for name in rows] == pytest.approx(list(0.7 * scaled[0] + 0.3 * scaled[1]), abs=1e-5)
    assert list(found.values()) == sorted(found.values(), reverse=True)


def test_token_vectors_are_weighed_by_claims_that_did_not_teach_them(settings, monkeypatch, tmp_path):
    """In a whole run the dev claims are those that `retrieval-late` holds out; only they give the share."""
    whole = Parts(Judged.of(settings), settings, FULL)
    held = Examples.of(whole.judged.train).split(dev=LateEncoderSettings().dev_share, seed=settings.seed)[1]
    assert whole.dev.queries == held.queries
    curves = Curves((), (), 10, 10, "finished", 1.0)
    report = Report("mine", "late", "minilm", curves, {"dev": ({"ndcg@10": 0.4}, {"ndcg@10": 0.5})}, True)
    vectors = TokenVectors.of(Hashed().queries(whole.judged.texts))
    asked = []
    tuned = rank_cascade_parts.tuned_weight

    def watched(runs, qrels, **options):
        asked.append((list(qrels), set(options["held_out"])))
        return tuned(runs, qrels, **options)

    monkeypatch.setattr(rank_cascade_parts, "tuned_weight", watched)
    monkeypatch.setattr(rank_cascade_parts, "claims_model", lambda *_: (tmp_path, report, held))
    monkeypatch.setattr(rank_cascade_parts, "claims_vectors", lambda *_: vectors)
    monkeypatch.setattr(rank_cascade_parts, "load_token_model", lambda _: Hashed())
    assert 0 <= whole.late.share <= 1
    assert asked == [(list(whole.dev.queries), set(whole.test.queries))]  # in their order, whatever a set's is
    assert "untrained 0.400" in whole.notes[LATE]
    assert Parts(whole.judged, settings, SIZES).late is None
    ways = rank_cascade.ways([LEARNED, LATE, LATE_FIRST, CROSS, BLOCK])
    assert {(LATE_FIRST,), (LEARNED, LATE), (LEARNED, LATE, CROSS), (LEARNED, CROSS, BLOCK)} <= set(ways)
    assert all(LATE not in way and LATE_FIRST not in way for way in rank_cascade.ways([LEARNED, CROSS, BLOCK]))


def test_lower_precision_keeps_the_order_of_a_ranker(parts):
    claim = next(iter(parts.test.queries.values()))
    hits = parts.first.search([claim], 6)[0]
    assert Bfloat16(OverlapRanker()).rank(claim, hits) == OverlapRanker().rank(claim, hits)


def test_claims_are_parted(parts):
    learnt, dev, test = (set(part.queries) for part in (parts.taught, parts.dev, parts.test))
    assert len(learnt | dev | test) == len(learnt) + len(dev) + len(test)
    assert set(parts.groups) == learnt | dev
    assert len(parts.learned(learnt).features.names) == 19


@pytest.mark.slow
def test_rows_are_asked_for_what_they_promise(settings, qwen, monkeypatch):
    """The whole bench, with a counter of words for the cross-encoder and an untrained tiny model for BlockRank."""
    monkeypatch.setattr(rank_cascade, "QUICK", SIZES)

    def reranker(self):
        self.notes[CROSS] = "words"
        return OverlapRanker()

    def blockrank(self):
        self.notes[BLOCK] = "untrained"
        return BlockRank(qwen, layout=KEPT, cache=BlockCache(self.settings.cache / "blocks" / "test"))

    monkeypatch.setattr(Parts, "reranker", property(reranker))
    monkeypatch.setattr(Parts, "blockrank", property(blockrank))
    rows = list(rank_cascade.cascade(settings))
    found = {(row.system, row.metric): row for row in rows}
    assert {row.system for row in rows if row.bar} == {"cascade, 300 ms", "cascade, by its counts"}
    assert found["cascade, by its counts", "share of claims in the same order"].value == 1
    assert found["cascade, 5000 ms", "ndcg@10"].value >= found["first stage, BM25S and MiniLM", "ndcg@10"].value
    chosen_among = {(LEARNED,), (LEARNED, CROSS), (LEARNED, BLOCK), (LEARNED, CROSS, BLOCK)}
    assert {row.system for row in rows if row.system.startswith("dev: ")} == {
        f"dev: {', '.join(names)}" for names in chosen_among
    }
    kept = found["blockrank, kept blocks", "bytes"].value
    assert kept == sum(path.stat().st_size for path in (settings.cache / "blocks" / "test").glob("*/*.safetensors")) > 0
    assert (settings.cache / "pictures" / "cascade.png").is_file()


def test_weights_are_those_with_which_the_stage_itself_does_best_on_dev_claims(parts):
    """Its own order, ties as it breaks them; no test claim is asked."""
    tuning = {claim: parts.first.search([text], 6)[0] for claim, text in parts.dev.queries.items()}
    even = {claim: [replace(hit, score=float(hit.score > 0)) for hit in hits] for claim, hits in tuning.items()}
    asked = []

    class Asked(OverlapRanker):
        def rank(self, query, hits):
            asked.append(query)
            return super().rank(query, hits)

    for given in (tuning, even):
        stage = rank_cascade.weighed(parts, Asked(), CROSS, given)
        assert stage.candidates == 6
        reached = {}
        for weight in GRID:
            now = replace(stage, ranker=OverlapRanker(), weight=weight)
            run = {
                claim: rank_cascade.as_ranking(now.ordered(parts.dev.queries[claim], hits))
                for claim, hits in given.items()
            }
            reached[weight] = evaluate(run, parts.dev.judged, "ndcg@10")["ndcg@10"]
        assert reached[stage.weight] == pytest.approx(max(reached.values()))
    assert sorted(asked) == sorted([*parts.dev.queries.values()] * 2)


@pytest.mark.parametrize("kept", [True, False])
def test_a_reranker_is_used_beside_what_came_before_even_if_alone_it_is_worse(parts, tmp_path, monkeypatch, kept):
    curves = Curves((), (), 10, 10, "finished", 1.0)
    report = Report("mine", "reranker", "minilm", curves, {"dev": ({"ndcg@10": 0.5}, {"ndcg@10": 0.4})}, kept)
    monkeypatch.setattr(
        rank_cascade_parts, "train_reranker", lambda *_, **__: (tmp_path / "model" if kept else None, report)
    )
    monkeypatch.setattr(rank_cascade_parts.CrossEncoderRanker, "load", lambda name, **_: name)
    place = tmp_path / "model" if kept else parts.home / "runs" / "train" / "mine" / "rejected"
    assert parts.reranker.ranker == str(place)
    assert "0.400" in parts.notes[CROSS]


def test_blockrank_learns_from_lists_and_keeps_its_blocks(parts, qwen, monkeypatch):
    monkeypatch.setattr(rank_cascade_parts, "load_language_model", lambda **_: qwen)
    monkeypatch.setattr("foveal.training.report.picture", lambda _, path, **__: path)
    ranker = parts.blockrank
    assert ranker.layout.keeps
    assert ranker.layout.document_tokens == SIZES.document_tokens
    assert "4 lists of 3" in parts.notes[BLOCK]
    hits = parts.first.search(["word1 word2"], 5)[0]
    assert list(kept_blocks(ranker, [*hits, *hits], at_once=3)) == [3, 5]
    size = ranker.cache.bytes
    ranker.rank("word3", hits)
    assert ranker.cache.bytes == size > 0


def test_what_is_trained_is_known_by_its_code(parts, settings, monkeypatch):
    again = Parts(parts.judged, settings, SIZES)
    monkeypatch.setattr(rank_cascade_parts, "code_digest", lambda *_, **__: "other")
    other = Parts(parts.judged, settings, SIZES)
    assert parts.home == again.home != other.home


class Backwards:
    """What stands for token vectors: the other way round."""

    def rank(self, _, hits):
        return [replace(hit, score=-float(place)) for place, hit in enumerate(reversed(hits))]


def test_blocks_are_kept_of_all_that_a_cascade_may_give_to_blockrank(parts, qwen, monkeypatch, tmp_path):
    """Whatever stands before it: else a cascade would pay for reading, within the budget that chooses among them."""
    ranker = BlockRank(qwen, layout=KEPT, cache=BlockCache(tmp_path))
    monkeypatch.setattr(Parts, "blockrank", property(lambda _: ranker))
    stages = {LEARNED: Stage(rank_cascade.Given(), 20), LATE: Stage(Backwards(), 20), LATE_FIRST: Stage(Backwards(), 9)}
    taught = OverlapRanker()
    found = {row.metric: row for row in rank_cascade.block_rows(parts, stages, taught)}
    assert "3 order(s)" in found["bytes"].note
    size = ranker.cache.bytes
    for examples, first in ((parts.test, stages), (parts.dev, rank_cascade.with_taught(stages, taught))):
        for names in ((LEARNED,), (LEARNED, LATE), (LATE_FIRST,)):
            for text in examples.queries.values():
                hits = rank_cascade.behind(parts, [first[name] for name in names]).run(text, 6).hits
                assert len(hits) == 6
                ranker.keep(hits)
    assert ranker.cache.bytes == size == found["bytes"].value


def test_what_stages_took_is_told():
    def report(counts):
        runs = tuple(StageRun(name, 9, count, 1.0, 1.0) for name, count in zip("ab", counts, strict=True))
        return CascadeReport(runs, 300, 0, 2)

    found = rank_cascade.Measured({}, {"q1": report((4, 0)), "q2": report((8, 3))})
    assert rank_cascade.taken(found) == "a 6.0; b 1.5, left out 1 times"
    assert Cascade([Stage(rank_cascade.Given(), 2)]).rank("q", []) == []
