"""`foveal bench retrieval-stages` on toy collections where the second search has something to find."""

from __future__ import annotations

import pytest
from honest import HashedWords

from foveal.bench import retrieval_stages as bench
from foveal.bench.research_arms import RecordedSet
from foveal.bench.settings import BenchSettings
from foveal.evaluation.beir import Collection, Record
from foveal.research.recorded_search import RecordedSearch
from foveal.research.trajectories import Recorded, Source, Trajectory

pytest.importorskip("bm25s")
pytest.importorskip("Stemmer")


def values(rows):
    return {(row.system, row.metric): row.value for row in rows}


def test_words_of_what_was_found_find_what_the_query_has_no_word_of():
    texts = {
        "first": "quokka marsupial island rottnest wallaby",
        "second": "marsupial wallaby rottnest grazing",
        **{f"other{number}": f"engine piston valve number{number}" for number in range(20)},
    }
    corpus = {name: Record(name, "", text) for name, text in texts.items()}
    collection = Collection("toy", corpus, {"q": "quokka"}, {"q": {"first": 1, "second": 1}})
    found = values(bench.words_rows("toy", collection))
    assert found["toy: BM25S", "recall@100"] == 0.5
    assert found["toy: BM25S and RM3's words", "recall@100"] == 1


class Settings(BenchSettings):
    def encoder(self):
        return HashedWords(dimension=48)


def test_a_second_hop_finds_who_the_first_one_named(tmp_path):
    crowd = {f"c{number}": f"Where the author was born, house {number}" for number in range(30)}
    texts = {"book": "Zorn is a novel by Mira Kell, its author", "birth": "Mira Kell, born 1931, Oslo", **crowd}
    sources = {name: Source(name, "", text) for name, text in texts.items()}
    run = Trajectory("t0", "Where was the author of Zorn born?", ("Oslo",))
    recorded = Recorded("toy", sources, (run,))
    settings = Settings(data=tmp_path, cache=tmp_path)
    rows = values(bench.hop_rows("toy", RecordedSet(recorded, [run], RecordedSearch(recorded)), "toy", settings))
    assert rows["toy, words: one hop", "answer in 9 passages"] == 0
    assert rows["toy, words: two hops", "answer in 9 passages"] == 1
    assert {"toy, words and meaning: one hop", "toy, words and meaning: two hops"} < {system for system, _ in rows}
