from __future__ import annotations

import itertools

import pytest
from honest import HashedWords
from retrieval.shelf import Shelf, Words, hit, names

from foveal.errors import InputError
from foveal.library import Library
from foveal.models import load_encoder
from foveal.retrieval.multi_hop import MultiHopRetriever, Path
from foveal.types import Document

TEXTS = {
    "film": "the film Nightjar director Okonkwo",
    "person": "Okonkwo born Lisbon",
    "city": "Lisbon river Tagus",
    "bird": "nightjar bird insects dusk",
    "noise": "steam engine boiler",
}


def paths_by_definition(retriever, query, hops, beam):
    """Each path of each hop with its mean score: the beam's paths, continued by each of their best new passages."""
    every, beams = [], [((), [])]
    for _ in range(hops):
        longer = []
        for path, scores in beams:
            asked = " ".join([query, *(TEXTS[name] for name in path)])
            new = [one for one in retriever.search([asked], 99)[0] if names([one])[0] not in path][:beam]
            longer += [((*path, *names([one])), [*scores, one.score]) for one in new]
        longer.sort(key=lambda found: -sum(found[1]) / len(found[1]))
        every += longer
        beams = longer[:beam]
    return every, beams


@pytest.mark.parametrize(("hops", "beam"), list(itertools.product([1, 2, 3], [1, 2, 4])))
def test_paths_and_merged_hits_by_definition(hops, beam):
    """P8: re-encode query + found passage, a beam of paths, merged."""
    shelf = Shelf(TEXTS)
    retriever = MultiHopRetriever(shelf, hops=hops, beam=beam)
    every, beams = paths_by_definition(Shelf(TEXTS), "Nightjar director", hops, beam)
    found = retriever.paths("Nightjar director")
    assert [tuple(names(path.hits)) for path in found] == [path for path, _ in beams]
    assert [path.score for path in found] == pytest.approx([sum(scores) / hops for _, scores in beams])
    best, way = {}, {}
    for path, scores in every:
        if (score := sum(scores) / len(scores)) > best.get(path[-1], -9):
            best[path[-1]], way[path[-1]] = score, path[:-1]
    hits = retriever.search(["Nightjar director"], beam)[0]
    assert [one.score for one in hits] == pytest.approx(sorted(best.values(), reverse=True)[:beam])
    assert all(best[names([one])[0]] == pytest.approx(one.score) and one.source == "multi-hop" for one in hits)
    assert [tuple(span.document_id for span in one.via) for one in hits] == [way[name] for name in names(hits)]


def test_a_chain_is_followed_to_what_the_query_does_not_name():
    """P8: the third passage of a chain shares no word with the question."""
    plain = names(Words(TEXTS).search(["Nightjar film director"], 9)[0])
    assert "city" not in plain
    retriever = MultiHopRetriever(Words(TEXTS), hops=3, beam=2, by_rank=True)
    assert "city" in names(retriever.search(["Nightjar film director"], 9)[0])
    assert ("film", "person", "city") in [tuple(names(path.hits)) for path in retriever.paths("Nightjar film director")]


def test_by_rank_the_scores_are_those_of_ranks():
    """P8: for retrievers whose scores grow with the query."""
    found = MultiHopRetriever(Words(TEXTS), hops=2, beam=1, by_rank=True).paths("Nightjar film director")[0]
    assert found.score == pytest.approx(1 / 61)
    assert [one.score for one in found.hits] == [1 / 61, 1 / 61]
    merged = MultiHopRetriever(Words(TEXTS), hops=1, by_rank=True).search(["Nightjar film director"], 9)[0]
    assert [one.score for one in merged] == [1 / 61, 1 / 62]


def test_one_hop_is_the_retriever_itself():
    """P8: with one hop, scores and order are the retriever's."""
    plain = Shelf(TEXTS).search(["Okonkwo", " "], 3)
    found = MultiHopRetriever(Shelf(TEXTS), hops=1).search(["Okonkwo", " "], 3)
    assert [[(one.passage, one.score) for one in hits] for hits in found] == [
        [(one.passage, one.score) for one in hits] for hits in plain
    ]


def test_where_nothing_continues_the_path_stays():
    only = Words({"film": TEXTS["film"]})
    retriever = MultiHopRetriever(only, hops=3, beam=2)
    assert [names(path.hits) for path in retriever.paths("film")] == [["film"]]
    assert names(retriever.search(["film"], 5)[0]) == ["film"]
    assert retriever.paths("") == []


def test_quotes_of_a_passage_are_no_phrases_of_the_next_query():
    """P8: a quoted phrase must stand in what is found, so a passage's own quotes are left out."""
    retriever = MultiHopRetriever(Shelf(TEXTS), passage_characters=12)
    path = Path((hit("a", text='He said "no" twice'), hit("b", text="  and left")))
    assert retriever.next_query('a "mill"', path) == 'a "mill" He said  no and left'


@pytest.mark.parametrize("wrong", [{"hops": 0}, {"beam": 0}, {"passage_characters": 0}])
def test_wrong_settings_are_refused(wrong):
    with pytest.raises(InputError, match="each must be at least 1"):
        MultiHopRetriever(Shelf(TEXTS), **wrong)
    with pytest.raises(InputError, match="at least 1"):
        MultiHopRetriever(Shelf(TEXTS)).search(["a"], 0)


@pytest.mark.parametrize("encoder", ["none", "hashed"])
def test_a_library_is_searched_in_hops_by_name(tmp_path, monkeypatch, encoder):
    monkeypatch.setattr("foveal.models.load_encoder", lambda *_, **__: HashedWords(dimension=64))
    library = Library.open(tmp_path, encoder=encoder)
    library.add_documents([Document.of(f"test:{name}", text, name) for name, text in TEXTS.items()])
    query = "director Nightjar"

    def found(retriever):
        return [hit.passage.text for hit in library.search(query, k=3, retriever=retriever)]

    assert TEXTS["person"] in found("multi-hop")
    assert found("lexical")[0] == found("multi-hop")[0] == TEXTS["film"]
    assert TEXTS["person"] not in found("lexical")
    with pytest.raises(InputError, match="beam=0"):
        library.retriever("multi-hop", beam=0)


@pytest.mark.model
def test_real_vectors_make_the_second_hop():
    """P8 on MiniLM: the second passage of a chain rises once the first one stands in the query."""
    texts = {
        "director": "Amelie is a 2001 film directed by Jean-Pierre Jeunet.",
        "born": "Jean-Pierre Jeunet was born in Roanne in the Loire valley.",
        "similar": "Sideways is a 2004 film that was praised by critics.",
        "town": "Many film makers were born in large cities.",
        "noise": "Tomatoes need six hours of sun a day.",
    }
    shelf = Shelf(texts, load_encoder("minilm"))
    query = "Where was the maker of Amelie born?"
    plain, hopped = (names(one.search([query], 5)[0]) for one in (shelf, MultiHopRetriever(shelf, beam=2)))
    assert plain[:3] == ["director", "town", "born"]
    assert hopped[:3] == ["director", "born", "town"]
