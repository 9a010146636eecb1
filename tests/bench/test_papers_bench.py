"""The benches of papers on toy collections: what is counted, what is asked, and that a pool is what was judged."""

from __future__ import annotations

import gzip
import json
import math
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from honest import HashedWords

from foveal.bench import papers_audit, papers_csfcube, papers_known, papers_speed
from foveal.bench.papers_csfcube import DOWN, UP, Pools
from foveal.bench.papers_synthetic import drawn, fill, topic_vectors, vocabulary
from foveal.bench.settings import BenchSettings
from foveal.database import Database
from foveal.errors import FovealError, InputError
from foveal.evaluation.beir import Collection, Record
from foveal.papers.store import PaperStore
from foveal.settings import Settings

PAPERS, PAIRS, POOL = 60, 6, 20


class Toy(BenchSettings):
    def encoder(self):
        return HashedWords(dimension=384)


class Backwards:
    """A ranker that turns the order round."""

    def rank(self, _, hits):
        return list(hits)[::-1]


@pytest.fixture(scope="module")
def settings(tmp_path_factory):
    """A toy CSFCube: papers p and p + 30 have the same words, and grade 3 for each other."""
    place = tmp_path_factory.mktemp("bench")
    folder = place / "data" / "csfcube"
    (folder / "qrels").mkdir(parents=True)
    (folder / "specter_ranking").mkdir()
    draw = np.random.default_rng(0)
    words = vocabulary(3000)
    own = [draw.choice(words, size=60) for _ in range(PAPERS // 2)]
    corpus = [
        {
            "_id": f"d{n}",
            "title": " ".join(own[n % 30][:6]),
            "text": " ".join(draw.permutation(own[n % 30])) + f" n{n}.",
        }
        for n in range(PAPERS)
    ]
    lines, queries = ["query-id\tcorpus-id\tscore"], []
    rankings: dict[str, dict[str, list]] = {"background": {}, "method": {}, "result": {}}
    for n in range(PAIRS):
        facet = list(rankings)[n % 3]
        queries.append({"_id": f"d{n}_{facet}", "text": "not read"})
        pool = [n, n + 30, *(other for other in range(10, 10 + POOL) if other != n)]
        lines += [f"d{n}_{facet}\td{other}\t{3 if other % 30 == n else other % 2}" for other in pool]
        rankings[facet][f"d{n}"] = [[f"d{other}", 1.0 + (other % 30 != n)] for other in range(PAPERS)]
    for name, rows in (("corpus", corpus), ("queries", queries)):
        (folder / f"{name}.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    (folder / "qrels" / "test.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    for facet, ranking in rankings.items():
        (folder / "specter_ranking" / f"{facet}.json").write_text(json.dumps(ranking), encoding="utf-8")
    return Toy(data=place / "data", cache=place / "cache", quick=True)


def test_every_system_orders_every_pool_and_the_fused_ones_have_a_bar(settings):
    pytest.importorskip("sklearn")
    rows = list(papers_csfcube.csfcube(settings, Backwards()))
    found = {(row.system, row.metric): row for row in rows}
    systems = {*papers_csfcube.SINGLE, *papers_csfcube.FUSED, papers_csfcube.RANKED}
    assert {name for name, metric in found if metric == DOWN} == systems
    assert found[papers_csfcube.RANKED, DOWN].value < found["hybrid", DOWN].value  # its double stands last of 20
    for name in ("SPECTER", "tf-idf", "BM25", "MiniLM", "similar papers", "hybrid"):
        assert found[name, DOWN].value > 0.6  # its double stands first
        assert found[name, "MAP"].value == 1
    assert {row.system for row in rows if row.bar} == set(papers_csfcube.FUSED)
    best = max(found[name, DOWN].value for name in papers_csfcube.SINGLE)
    assert found["hybrid", DOWN].ok is (found["hybrid", DOWN].value > best)


def test_a_pool_is_what_was_judged_without_the_paper_itself():
    grades = {"a": 3, "b": 0, "c": 1, "d": 2, "e": 0, "p": 3, "f": 1, "g": 0}
    corpus = {one: Record(one, "t", "x") for one in grades}
    pools = Pools.of(Collection("toy", corpus, {"p_method": ""}, {"p_method": grades}))
    assert pools.judged == {"p_method": {one: grade for one, grade in grades.items() if one != "p"}}
    run = pools.run(lambda paper: {"c": 9.0, "d": 8.0, "a": 7.0, paper: 99.0})
    values = pools.values(run)
    assert values[DOWN]["p_method"] == pytest.approx(1 / 3)  # 20 % of 7 is 1: the first has grade 1 of 3
    assert values[UP]["p_method"] == pytest.approx((1 + 2 / math.log2(3)) / (3 + 2 / math.log2(3)))
    assert values["MAP"]["p_method"] == pytest.approx((1 / 2 + 2 / 3) / 2)
    assert values["R-precision"]["p_method"] == pytest.approx(1 / 2)


def test_a_ranker_orders_the_first_twenty_and_no_others():
    corpus = {f"p{n}": Record(f"p{n}", f"title {n}", "x") for n in range(30)}
    scores = {f"p{n}": float(n) for n in range(30)}
    found = papers_csfcube.reordered(scores, Backwards(), "query", Collection("toy", corpus, {}, {}))
    order = sorted(found, key=lambda one: -found[one])
    assert order == [*(f"p{n}" for n in range(10, 30)), *(f"p{n}" for n in range(9, -1, -1))]


def test_a_ranking_that_lacks_a_paper_is_refused(settings, tmp_path):
    (tmp_path / "specter_ranking").mkdir()
    for facet in papers_csfcube.FACETS:
        (tmp_path / "specter_ranking" / f"{facet}.json").write_text('{"p": [["a", 1]]}', encoding="utf-8")
    pools = Pools(Collection("toy", {}, {}, {}), {"p_method": {"a": 1, "b": 0}})
    with pytest.raises(InputError, match="lacks 1 papers"):
        papers_csfcube.shipped(tmp_path, pools)
    with pytest.raises(InputError, match="ranks nothing for other_method"):
        papers_csfcube.shipped(tmp_path, replace(pools, judged={"other_method": {"a": 1}}))


def test_rankings_may_be_packed(tmp_path):
    (tmp_path / "specter_ranking").mkdir()
    for facet in papers_csfcube.FACETS:
        path = tmp_path / "specter_ranking" / f"{facet}.json.gz"
        path.write_bytes(gzip.compress(b'{"p": [["a", 1], ["b", 2]]}'))
    pools = Pools(Collection("toy", {}, {}, {}), {"p_method": {"a": 1, "b": 0}})
    assert papers_csfcube.shipped(tmp_path, pools) == {"p_method": {"a": -1.0, "b": -2.0}}


@pytest.mark.slow
def test_known_papers_are_found_again_beside_the_peer(settings):
    pytest.importorskip("bm25s")
    rows = list(papers_known.known(settings))
    found = {(row.system, row.metric): row for row in rows}
    assert found["half an abstract: default (hybrid)", "mrr"].value > 0.5  # each paper has a double
    assert found["half an abstract: default (hybrid)", "mrr"].bar == "≥ 0.98"
    typed = found["typed: default (hybrid)", "recall@10"]
    peer = found["typed: BM25S", "recall@10"].value
    count = int(found["typed: BM25S", "recall@10"].note.split()[2])
    assert typed.bar == f"≥ {peer - math.sqrt(peer * (1 - peer) / count):.4g}"
    assert found["typed: default (hybrid)", "mrr"].bar == f"≥ {found['typed: BM25S', 'mrr'].value:.4g}"
    assert typed.value > 0.9
    assert papers_known.first_half("a b c d e") == "a b"


def test_a_serious_rule_that_is_broken_is_told_whatever_the_mark():
    refs = [{"id": "image-alt", "weight": 10}, {"id": "tabindex", "weight": 3}, {"id": "manual", "weight": 0}]
    broken = {
        "categories": {
            "accessibility": {"score": 0.96, "auditRefs": refs},
            "best-practices": {"score": 1, "auditRefs": []},
        },
        "audits": {"image-alt": {"score": 0}, "tabindex": {"score": 0}, "manual": {"score": 0}},
    }
    marks, serious, other = papers_audit._rows("day, light", broken)
    assert (marks.value, marks.ok, marks.note) == (96, True, "image-alt, tabindex")
    assert (serious.value, serious.ok, serious.note) == (1, False, "image-alt")
    assert other.ok
    broken["audits"]["image-alt"]["score"] = None  # of no element on the page
    assert list(papers_audit._rows("day, light", broken))[1].ok


def test_a_page_that_is_never_done_is_named(monkeypatch, tmp_path):
    """What is called is not what looks: npx has Lighthouse for a child."""
    monkeypatch.setattr(papers_audit, "WITHIN_S", 0.5)
    monkeypatch.setattr(papers_audit, "ENDS_S", 0.2)
    command = ["sh", "-c", f"sleep 60 & echo $! > {tmp_path}/child; wait"]
    with pytest.raises(FovealError, match=r"not done with http://there/day after 0\.5 s, and was stopped"):
        papers_audit._marked(command, "chromium", "http://there/day", "light")
    state = Path(f"/proc/{int((tmp_path / 'child').read_text())}/stat")

    def ended():
        """One that nobody has waited for is a Z there."""
        return not state.exists() or state.read_text().rpartition(")")[2].split()[0] == "Z"

    until = time.monotonic() + 20  # a busy machine ends it when it comes to it
    while not ended() and time.monotonic() < until:
        time.sleep(0.05)
    assert ended()


def test_synthetic_papers_repeat_and_have_neighbours(tmp_path):
    assert list(drawn(5, seed=3)) == list(drawn(5, seed=3))
    papers = list(drawn(300))
    assert len({paper.id for paper in papers}) == 300
    vectors = topic_vectors(papers, 64)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    same = np.array([[one.topic == other.topic for other in papers] for one in papers])
    cosines = vectors @ vectors.T
    assert cosines[same].mean() > 0.5 > cosines[~same].mean()
    database = Database.open(Settings(home=tmp_path, cache=tmp_path))
    filled = fill(database, 40)
    stored = PaperStore(database).many([paper.id for paper in filled])
    database.close()
    assert [paper.title for paper in stored] == [paper.title for paper in filled]
    assert all(paper.authors and paper.categories and paper.keywords and paper.listings for paper in stored)


@pytest.mark.slow
def test_speed_is_measured_over_what_was_filled(monkeypatch):
    monkeypatch.setattr(papers_speed, "QUICK_PAPERS", 120)
    monkeypatch.setattr(papers_speed, "QUERIES", 5)
    monkeypatch.setattr(papers_speed, "WARM_UP", 2)
    rows = list(papers_speed.speed(Toy(quick=True)))
    found = {(row.system, row.metric): row for row in rows}
    assert found["papers", "size"].value == 120
    bars = {name for (name, metric), row in found.items() if row.bar}
    assert bars == {"search, 2-6 words", "search, words alone", "search, subject and year"}
    assert all(row.value > 0 for row in rows)
