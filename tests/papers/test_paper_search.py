"""Search over papers: what is typed, what is found and marked, and an index that follows the database."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from honest import HashedWords
from sqlalchemy import delete, event

from foveal import faults
from foveal.database import Database
from foveal.errors import InputError, LibraryBusy, UnknownName, UnknownPaper
from foveal.papers import paper_index, paper_search
from foveal.papers.paper_filters import Filters, metadata_of
from foveal.papers.paper_index import TAIL, PaperIndex, document_of
from foveal.papers.paper_marks import marks_of
from foveal.papers.paper_search import PaperSearch, dense_weight
from foveal.papers.records import Named, PaperRecord
from foveal.papers.schema import AuthorRow, PaperRow
from foveal.papers.similar import Similar, postings
from foveal.papers.store import PaperStore
from foveal.papers.upserts import upsert
from foveal.ranking.cascade import Cascade, Stage
from foveal.retrieval import remade
from foveal.retrieval.remade import Remade
from foveal.retrieval.terms import terms
from foveal.settings import Settings

ABSTRACTS = {
    "Sparse Attention for Long Texts": "We choose blocks of keys by a small estimator. Attention skips the rest.",
    "Attention Sparse and Dense": "Dense layers alternate with sparse ones. Blocks of keys are kept.",
    "Protein Folding by Diffusion": "Structures of proteins are sampled with a diffusion model.",
    "Naïve Bayes Revisited": "Spam is filtered by naive Bayes with smoothed counts.",
    "Retrieval of Documents by Words": "Retrieving documents by words needs an inverted index.",
    "A Survey of Spam": "Filters of spam are surveyed, from naive Bayes to neural models.",
}


def records() -> list[PaperRecord]:
    people = [("Léa N. Martin", "Bo Li"), ("Bo Li",), ("Ada Martin",), ("Lea Smith",), ("Wei Martinez",), ()]
    subjects = [("cs.CL", "cs.LG"), ("cs.LG",), ("q-bio.BM",), ("stat.ML",), ("cs.IR",), ("hep-th",)]
    return [
        PaperRecord(
            id=f"26{number + 1:02d}.0000{number}",
            title=title,
            abstract=abstract,
            authors=tuple(Named(name=name) for name in people[number]),
            categories=subjects[number],
            published_at=datetime(2021 + number, 3, 1, tzinfo=UTC),
            organisation="University of Somewhere" if number < 2 else "",
            repo_url="https://example.org/r" if number % 2 else "",
            source="arxiv",
        )
        for number, (title, abstract) in enumerate(ABSTRACTS.items())
    ]


@pytest.fixture(scope="module")
def search(tmp_path_factory: pytest.TempPathFactory):
    settings = Settings(home=tmp_path_factory.mktemp("home"), cache=Settings.load().cache, encoder="none")
    made_search = PaperSearch.open(settings)
    upsert(made_search.database, records())
    made_search.sync()
    yield made_search
    made_search.database.close()


def ids(found) -> list[str]:
    return [hit.paper.id for hit in found.hits]


def words_marked(paper, marks) -> list[str]:
    return [paper.title[slice(*span)] for span in marks.title] + [
        paper.abstract[slice(*span)] for span in marks.abstract
    ]


# -- what is typed -----------------------------------------------------------------------------------------------------


def test_words_find_and_a_title_weighs_three_times(search):
    found = search.search("sparse attention")
    assert set(ids(found)[:2]) == {"2601.00000", "2602.00001"}
    assert (found.retriever, found.ranker, found.total, found.note) == ("lexical", None, 2, "")
    assert search.search("spam").hits[0].paper.title == "A Survey of Spam"


@pytest.mark.parametrize(
    "query", ["2603.00002", "arXiv:2603.00002v2", "https://arxiv.org/pdf/2603.00002v1.pdf", "see 2603.00002, spam"]
)
def test_what_is_named_comes_first(search, query):
    found = search.search(query)
    assert ids(found)[0] == "2603.00002"
    assert len(set(ids(found))) == len(found.hits)


def test_a_whole_title_comes_first_however_it_is_typed(search):
    assert ids(search.search("attention  SPARSE and dense!"))[0] == "2602.00001"


def test_a_phrase_must_stand_there(search):
    assert ids(search.search('"sparse attention"')) == ["2601.00000"]
    assert ids(search.search('"naive bayes" spam')) != []
    assert ids(search.search('"attention blocks"')) == []
    assert ids(search.search('"long texts we"')) == []  # title and abstract are two fields
    assert sorted(ids(search.search('"bo li"'))) == ["2601.00000", "2602.00001"]


@pytest.mark.parametrize(
    ("query", "numbers"),
    [
        ("au:martin", {0, 2}),
        ('au:"lea martin"', {0}),
        ("au:lea", {0, 3}),
        ('au:"Léa N. Martin"', {0}),
        ('au:"lea li"', set()),  # of two authors of one paper
        ("cat:cs.LG", {0, 1}),
        ("cat:CS.lg", {0, 1}),
        ("cat:cs.*", {0, 1, 4}),
        ("cat:cs", {0, 1, 4}),
        ("cat:hep-th", {5}),
        ("cat:q-bio.*", {2}),
        ("cat:c", set()),
        ("year:2022", {1}),
        ("year:2022-2024", {1, 2, 3}),
        ("year:2025-", {4, 5}),
        ("org:somewhere", {0, 1}),
        ('org:"university somewhere"', {0, 1}),
        ("code:yes", {1, 3, 5}),
        ("code:no cat:cs", {0, 4}),
        ("cat:cs.CL cat:cs.LG year:2021", {0}),
    ],
)
def test_filters_alone_and_with_words(search, query, numbers):
    expected = {f"26{number + 1:02d}.0000{number}" for number in numbers}
    alone = search.search(query)
    assert set(ids(alone)) == expected
    assert alone.total == len(expected)
    dates = [hit.paper.published_at for hit in alone.hits]
    assert dates == sorted(dates, reverse=True)
    every = " ".join(sorted({word for text in ABSTRACTS.values() for word in text.rstrip(".").split()}))
    assert set(ids(search.search(f"{every} {query}"))) == expected


def test_of_all_papers_that_pass_the_filters_one_page_is_read(search):
    """Thousands were read whole, to ask each for its authors once more: six seconds for 50,000."""
    read = list[int]()  # papers, by each statement that reads whole ones

    def hear(*told: Any) -> None:
        if "paper.abstract" in told[2]:
            read.append(len(told[3]))

    listen = (search.database.engine, "before_cursor_execute", hear)
    event.listen(*listen)
    try:
        pages = [search.search("au:martin org:somewhere code:no", k=1), search.search("au:martin", k=1, page=1)]
    finally:
        event.remove(*listen)
    assert [(ids(one), one.total) for one in pages] == [(["2601.00000"], 1), (["2601.00000"], 2)]
    assert read == [1, 1]


def test_papers_that_pass_are_found_behind_many_that_do_not(tmp_path, monkeypatch):
    """Of the authors "Wei Li" and "Bo Zhang" the index knows both words of au:"wei zhang", and lets them through."""
    near = [
        PaperRecord(
            id=f"2601.{number:05d}", title=f"Attention {number}", abstract="Attention.", source="arxiv",
            authors=(Named(name="Wei Li"), Named(name="Bo Zhang")),
        )
        for number in range(70)
    ]  # fmt: skip
    far = [
        PaperRecord(
            id=f"2602.{number:05d}", title=f"Other Things {number}", source="arxiv", authors=(Named(name="Wei Zhang"),),
            abstract="Many words stand before one that comes late in a long text, and that one is attention.",
        )
        for number in range(20)
    ]  # fmt: skip
    made = PaperSearch.open(Settings(home=tmp_path, cache=tmp_path, encoder="none"))
    upsert(made.database, [*near, *far])
    made.sync()
    pages = [made.search('attention au:"wei zhang"', 12, page=page) for page in range(2)]
    assert {one for page in pages for one in ids(page)} == {one.id for one in far}
    assert [(len(page.hits), page.total) for page in pages] == [(12, None), (8, 20)]
    monkeypatch.setattr(paper_search, "DEEPEST", 60)
    assert (ids(made.search('attention au:"wei zhang"', 12)), made.search("attention", 12).total) == ([], None)
    assert made.search('attention au:"wei zhang"', 12).total is None  # nobody looked further
    made.database.close()


def test_filters_as_arguments(search):
    assert ids(search.search("", author="Bo Li", year=2022, code=True)) == ["2602.00001"]
    assert ids(search.search("spam", category="stat.ML", organisation=None)) == ["2604.00003"]


@pytest.mark.parametrize(
    ("query", "said"),
    [("year:now", "year: got 'now'"), ("cat:!", "cat: got"), ("code:maybe", "yes or no"), ('au:"?"', "needs a name"),
     ("code:yes code:no", "with code and")],
)  # fmt: skip
def test_filters_that_are_none_are_named(search, query, said):
    with pytest.raises(InputError, match=re.escape(said)):
        search.search(query)


@pytest.mark.parametrize(
    "query", ["", "   ", "???", "zzzqqq", '""', '"', "foo:bar", "\u2029", "a" * 5000, "' OR 1=1 --"]
)
def test_odd_queries_find_nothing_and_say_so(search, query):
    found = search.search(query)
    assert found.hits == () or query == "' OR 1=1 --"
    assert found.total is not None
    assert found.note or query.strip()


def test_pages_follow_each_other(search):
    whole = ids(search.search("blocks spam proteins documents", 10))
    pages = [ids(search.search("blocks spam proteins documents", 2, page=page)) for page in range(4)]
    assert [one for page in pages for one in page] == whole
    with pytest.raises(InputError, match="page=-1"):
        search.search("spam", page=-1)
    with pytest.raises(UnknownName, match="No retriever"):
        search.search("spam", retriever="magic")
    with pytest.raises(UnknownName, match="No ranker"):
        search.search("spam", rank="magic")


class Longest:
    """A ranker: the longest text first."""

    def rank(self, query, hits):  # noqa: ARG002
        scored = [replace(hit, score=float(len(hit.passage.text))) for hit in hits]
        return sorted(scored, key=lambda hit: -hit.score)


def test_a_ranker_orders_the_first_candidates_and_reads_title_and_abstract(search):
    plain = search.search("spam filters blocks")
    found = search.search("spam filters blocks", rank=Longest(), candidates=2)
    assert found.ranker == "Longest"
    assert set(ids(found)[:2]) == set(ids(plain)[:2])
    assert ids(found)[2:] == ids(plain)[2:]
    lengths = [len(f"{hit.paper.title}. {hit.paper.abstract}") for hit in found.hits[:2]]
    assert [hit.score for hit in found.hits[:2]] == lengths == sorted(lengths, reverse=True)


def test_a_ranker_orders_as_many_papers_as_it_would_of_passages(search):
    """As many as its share was fitted over; a cascade as many as its first stage takes."""
    given = []

    class Fitted(Longest):
        fitted_over = 3

        def rank(self, query, hits):
            given.append(len(hits))
            return super().rank(query, hits)

    for ranker in (Fitted(), Cascade([Stage(Fitted(), 2)])):
        search.search("spam filters blocks keys", k=1, rank=ranker)
    search.search("spam filters blocks keys", k=1, rank=Fitted(), candidates=4)
    assert given == [3, 2, 4]


# -- marks -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("query", "text", "marked"),
    [
        ("how do readers find it", "Do Readers Find What They Read, and How?", ["Readers", "Find", "Read"]),
        ("how do they", "How Do They Do It?", ["How", "Do", "Do"]),
        ("of the", "The End of the Road", ["The", "of", "the"]),
    ],
)
def test_words_that_only_ask_are_marked_where_nothing_else_was_asked_for(query, text, marked):
    assert [text[start:end] for start, end in marks_of(query, text, "").title] == marked


@pytest.mark.parametrize(
    ("query", "text", "marked"),
    [
        ("稀疏注意力", "长文档的稀疏注意力机制", ["稀疏注意力"]),
        ("疎な注意", "注意と疎な機構", ["注意", "疎な"]),
        ("力", "注意力", ["力"]),
        ("注意 attention", "注意机制 for Attention", ["注意", "Attention"]),
        ("文献", "長い文書", []),
    ],
)
def test_words_that_no_space_parts_are_marked_by_their_pairs(query, text, marked):
    assert [text[start:end] for start, end in marks_of(query, text, "").title] == marked


def test_marks_know_stems_and_accents(search):
    hit = search.search("retrieve document")
    assert words_marked(hit.hits[0].paper, hit.hits[0].marks) == ["Retrieval", "Documents", "Retrieving", "documents"]
    hit = search.search("naive bayes of")
    assert words_marked(hit.hits[0].paper, hit.hits[0].marks) == ["Naïve", "Bayes", "naive", "Bayes"]
    marks = marks_of('"attention skips" keys', *next(iter(ABSTRACTS.items())))
    assert [next(iter(ABSTRACTS.values()))[slice(*span)] for span in marks.abstract] == ["keys", "Attention", "skips"]


# -- filters: three ways to ask one thing ------------------------------------------------------------------------------


def test_the_index_lets_every_paper_through_that_holds(search):
    for paper in search.store.page(limit=50).papers:
        metadata = metadata_of(paper)
        assert all(isinstance(value, str | int) for value in metadata.values())
        own = Filters(
            authors=("martin",) if "-martin-" in metadata["authors"] else (),
            categories=tuple(one.lower() for one in paper.categories),
            years=((paper.published_at.year, paper.published_at.year),),
            code=bool(paper.repo_url),
        )
        assert own.holds(paper)


# -- the index follows the database ------------------------------------------------------------------------------------


@pytest.fixture
def own(tmp_path: Path):
    made_search = PaperSearch.open(Settings(home=tmp_path, cache=Settings.load().cache, encoder="none"))
    upsert(made_search.database, records()[:3])
    yield made_search
    made_search.database.close()


def test_sync_adds_updates_removes_and_does_nothing_twice(own):
    assert len(own.sync().added) == 3
    assert own.sync() == paper_index.Synced()
    upsert(own.database, [replace(records()[0], version=2, abstract="About zebras now."), records()[3]])
    with own.database.writing() as session:
        session.execute(delete(PaperRow).where(PaperRow.id == "2603.00002"))
    done = own.sync()
    assert (done.added, done.updated, done.removed) == (["2604.00003"], ["2601.00000"], ["2603.00002"])
    assert ids(own.search("zebras")) == ["2601.00000"]
    assert ids(own.search("protein")) == []


def test_few_new_papers_are_found_at_once_and_many_are_announced(own, monkeypatch):
    assert ids(own.search("protein")) == ["2603.00002"]
    monkeypatch.setattr("foveal.papers.paper_search.SYNC_AT_ONCE", 1)
    monkeypatch.setattr("foveal.papers.paper_search.ASK_AGAIN_S", 0.0)
    own._nothing_waits_until = 0.0
    upsert(own.database, records()[3:])
    found = own.search("bayes")
    assert "3 new or changed papers" in found.note
    own.sync()
    assert (own.search("bayes").note, len(own.search("bayes").hits)) == ("", 2)


def test_a_paper_that_is_gone_is_not_shown(own):
    own.sync()
    with own.database.writing() as session:
        session.execute(delete(PaperRow).where(PaperRow.id == "2603.00002"))
    own._nothing_waits_until = float("inf")
    assert ids(own.search("protein")) == []


def test_what_the_index_lost_is_repaired_from_the_database(own):
    own.sync()
    library = own.index.library
    library.remove(library.find("paper:2603.00002"))
    assert own.sync().added == ["2603.00002"]
    assert ids(own.search("protein")) == ["2603.00002"]


def test_a_sync_that_was_killed_is_done_again(own, monkeypatch):
    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("foveal.papers.paper_index.tables.write_setting", killed)
        with pytest.raises(KeyboardInterrupt):
            own.sync()
    assert own.index.waiting() == 3
    assert len(own.sync().added) in (0, 3)
    assert own.index.waiting() == 0
    assert ids(own.search("protein")) == ["2603.00002"]


def test_a_clock_that_was_ahead_hides_no_later_change(own):
    def at(**later: int) -> Any:
        return faults.injected({}, clock=lambda: datetime(2026, 12, 1, tzinfo=UTC) + timedelta(**later))

    first, second, *_ = records()
    with at(days=3000):
        upsert(own.database, [replace(first, version=2, title="Zebras"), second])
        own.sync()
    with at(hours=1):
        upsert(own.database, [replace(first, version=3, title="Giraffes of the Plain")])
    with at(hours=2):
        assert own.index.waiting() > 0
        own.sync()
        assert ids(own.search("giraffes")) == [first.id]
        assert own.index.waiting() == 0  # what has a time to come is not indexed at each search


def test_another_process_at_the_index_does_not_stop_a_search(own):
    own.sync()
    upsert(own.database, records()[3:])
    with own.index.library.store.writing():
        with pytest.raises(LibraryBusy):
            own.sync()
        found = own.search("attention")
    assert found.hits
    assert "not searched yet" in found.note
    assert found.waiting == 3


def test_nothing_is_read_again_while_nothing_changed(tmp_path):
    settings = Settings(home=tmp_path, cache=Settings.load().cache, encoder="none")
    own = PaperSearch.open(settings)
    upsert(own.database, records()[:2])
    state = own.index.unindexed(None)
    own.sync()
    assert own.index.unindexed(state) == state  # a transaction as old may yet be stored
    later = datetime.now(UTC) + paper_index.OVERLAP + timedelta(seconds=1)
    with faults.injected({}, clock=lambda: later):
        assert own.index.unindexed(state) is None
        upsert(own.database, records()[2:3])
        assert own.index.unindexed(state) is not None
    own.database.close()


# -- meaning -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def meaning(tmp_path_factory: pytest.TempPathFactory):
    """A search with vectors: MiniLM is what the settings name, hashed words stand in for it."""
    settings = Settings(home=tmp_path_factory.mktemp("home"), cache=Settings.load().cache)
    database = Database.open(settings)
    double = replace(records()[0], id="2701.00009", title="Sparse attention for long TEXTS")
    upsert(database, [*records(), double])
    made_search = PaperSearch(settings, database, PaperIndex.open(settings, database, encoder=HashedWords(384)))
    made_search.sync()
    yield made_search
    database.close()


def test_vectors_are_of_title_and_abstract_alone(meaning):
    paper = meaning.store.get("2601.00000")
    document = document_of(paper)
    assert document.text.startswith(f"{paper.title}. {paper.abstract}{TAIL}")
    assert document.text.count(paper.title) == 3
    stored = meaning.index.library.store.vector(document.id)
    expected = HashedWords(384).encode([f"{paper.title}. {paper.abstract}"])[0]
    np.testing.assert_allclose(stored, expected, atol=1e-6)
    assert meaning.index.library.store.vector("0" * 32) is None


def test_hybrid_is_the_default_and_any_retriever_may_be_named(meaning):
    found = meaning.search("sparse attention blocks", 3)
    assert (found.retriever, found.total) == ("hybrid", None)
    for name in ("lexical", "dense", "hybrid", "fresh"):
        named = meaning.search("sparse attention blocks", 3, retriever=name)
        assert named.retriever == name
        assert named.hits[0].paper.title.casefold().startswith(("sparse attention", "attention sparse"))
        assert all(
            "Martin" in str(hit.paper.authors) for hit in meaning.search("sparse au:martin", retriever=name).hits
        )
    assert "nearest in meaning" in meaning.search("qqq zzz").note


@pytest.mark.parametrize(
    "query", ["Martin", "Somewhere", "q-bio.BM", "2602.00001", "https://arxiv.org/abs/2602.00001", "Protein"]
)
def test_what_names_a_paper_or_stands_beside_its_text_is_no_word_that_nothing_holds(meaning, query):
    found = meaning.search(query)
    assert found.hits
    assert found.note == ""


@pytest.mark.parametrize(
    ("query", "holding"),
    [
        ("protein folding", {"2603.00002"}),
        ("Smith", {"2604.00003"}),
        ("2602.00001", {"2602.00001"}),
        ("qqq zzz", set()),
        ("cat:cs.LG", {"2601.00000", "2602.00001", "2701.00009"}),
    ],
)
def test_of_what_is_found_by_meaning_feeds_and_mails_take_what_holds_a_word(meaning, monkeypatch, query, holding):
    monkeypatch.setattr(meaning, "_waiting", lambda: 100)  # that some are not indexed yet says nothing of the others
    found = meaning.search(query)
    assert len(found.hits) == len(records()) + 1 or query.startswith("cat:")
    assert {paper.id for paper in found.holding} == holding


def test_quotes_in_a_pasted_paragraph_are_no_phrases(meaning):
    paper = meaning.store.get("2602.00001")
    words = " ".join(f"filler{number}" for number in range(31))
    text = f'{paper.title}. {paper.abstract} "not a phrase" {words}'
    assert ids(meaning.search(text, 3))[0] == paper.id
    assert ids(meaning.search(f"{text} cat:hep-th", 3)) == ["2606.00005"]
    assert meaning.search('"not a phrase"').hits == ()


def test_words_decide_of_few_words_and_meaning_of_a_paragraph():
    weights = [dense_weight(" ".join(["word"] * count)) for count in (1, 6, 7, 30, 31, 500)]
    assert weights == sorted(weights)
    assert len(set(weights)) == 3
    assert dense_weight("where is the most of it in all of these") == weights[0]  # function words do not count


def test_threads_share_one_search(meaning):
    queries = ["sparse attention", "protein folding", "naive bayes", "retrieval words"] * 5
    alone = [ids(meaning.search(query, 3)) for query in queries]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda query: ids(meaning.search(query, 3)), queries)) == alone


def cosines_by_definition(paper, others):
    texts = [f"{one.title}. {one.abstract}" for one in others]
    holding = {word: sum(word in terms(text) for text in texts) for text in texts for word in terms(text)}

    def row(text):
        own = terms(text)
        idf = {word: np.log((1 + len(texts)) / (1 + holding[word])) + 1 for word in own}
        weights = {word: (1 + np.log(own.count(word))) * idf[word] for word in own}
        length = np.sqrt(sum(value**2 for value in weights.values()))
        return {word: value / length for word, value in weights.items()}

    own = row(f"{paper.title}. {paper.abstract}")
    return {
        one.id: sum(own.get(word, 0) * value for word, value in row(text).items())
        for one, text in zip(others, texts, strict=True)
    }


def test_similar_papers_blend_two_cosines_by_definition(meaning):
    everything = PaperStore(meaning.database).page(limit=50, sort="published").papers
    paper = meaning.store.get("2602.00001")
    words = cosines_by_definition(paper, everything)
    vectors = HashedWords(384).encode([f"{one.title}. {one.abstract}" for one in everything])
    own = HashedWords(384).encode([f"{paper.title}. {paper.abstract}"])[0]
    expected = {one.id: 0.7 * float(vectors[at] @ own) + 0.3 * words[one.id] for at, one in enumerate(everything)}
    scores, by_words = Similar(meaning.index).scores(paper.id)
    assert by_words == pytest.approx(words, abs=1e-5)
    assert scores == pytest.approx(expected, abs=1e-4)
    found = [one.id for one in meaning.similar("2602.00001", 3)]
    del expected["2602.00001"]
    assert found == sorted(expected, key=lambda one: (-expected[one], one))[:3]


def test_a_paper_and_its_doubles_are_not_similar_to_it(meaning):
    found = [one.id for one in meaning.similar("2601.00000", 10)]
    assert "2601.00000" not in found
    assert "2701.00009" not in found
    assert found[0] == "2602.00001"
    with pytest.raises(UnknownPaper):
        meaning.similar("2601.99999")


def test_without_vectors_words_alone_decide_and_follow_the_database(own):
    own.sync()
    own._similar.words._postings = Remade(quick_s=float("inf"))  # however long this machine takes
    assert own.similar("2601.00000", 2)[0].id == "2602.00001"
    upsert(own.database, [replace(records()[3], abstract=ABSTRACTS["Sparse Attention for Long Texts"] + " Indeed so.")])
    assert [one.id for one in own.similar("2601.00000", 1)] == ["2604.00003"]


def test_where_all_words_take_long_to_list_those_of_before_serve_and_are_then_those_of_listing_anew(own, monkeypatch):
    monkeypatch.setattr(remade, "REST", 0.0)
    kept = Similar(own.index)
    kept.words._postings = Remade(quick_s=-1.0)  # as in a database of a hundred thousand papers
    before = kept.scores("2601.00000")
    more = ABSTRACTS["Sparse Attention for Long Texts"] + " Indeed so."
    upsert(own.database, [records()[4], replace(records()[2], version=2, abstract=more)])
    with own.database.writing() as session:
        session.execute(delete(AuthorRow).where(AuthorRow.paper_id == "2602.00001"))
        session.execute(delete(PaperRow).where(PaperRow.id == "2602.00001"))
    assert kept.scores("2601.00000")[1].keys() == before[1].keys()
    kept.words._postings.settle()
    after = kept.scores("2601.00000")
    assert after[1]["2603.00002"] > 2 * before[1]["2603.00002"]
    assert after[1].keys() == {"2601.00000", "2603.00002", "2605.00004"}
    assert after[1] == pytest.approx(Similar(own.index).scores("2601.00000")[1])


def test_a_paper_that_came_since_all_were_listed_has_those_like_it(own):
    kept = Similar(own.index)
    kept.words._postings = Remade(quick_s=-1.0)
    kept.scores("2601.00000")
    upsert(own.database, [replace(records()[1], id="2606.00009", title=f"{records()[1].title} Again")])
    kept.words._postings._next_at = float("inf")  # no making begins
    found = kept.scores("2606.00009")[1]
    assert max(found, key=found.__getitem__) == records()[1].id
    assert found[records()[1].id] > 0.5
    assert set(kept.scores("9999.00000")[1].values()) == {0.0}


def test_postings_of_nothing_are_empty():
    none = postings([], [], 0)
    assert none.cosines(np.zeros(0, np.int32), np.zeros(0, np.float32)).shape == (0,)


def test_a_visitor_cannot_fill_the_memory_with_rankers(search, monkeypatch):
    loaded = []

    class Same:
        def rank(self, _, hits):
            return list(hits)

    monkeypatch.setattr("foveal.ranking.by_name.load_ranker", lambda name, **_: loaded.append(name) or Same())
    for name in ("blockrank:1", "blockrank:2", "blockrank:2", "blockrank:3", "blockrank:2"):
        search.search("spam", rank=name)
    assert loaded == ["blockrank:1", "blockrank:2", "blockrank:3"]
    assert [name for name, _ in search._rankers] == ["blockrank:3", "blockrank:2"]


def test_a_ranker_that_was_trained_anew_is_loaded_anew(search, monkeypatch):
    trained, loaded = [1], []

    class Same:
        def rank(self, _, hits):
            return list(hits)

    monkeypatch.setattr("foveal.ranking.by_name.edition", lambda *_: tuple(trained))
    monkeypatch.setattr("foveal.ranking.by_name.load_ranker", lambda *_, **__: loaded.append(trained[0]) or Same())
    for time in (1, 1, 2):
        trained[0] = time
        search.search("spam", rank="mine")
    assert loaded == [1, 2]


def test_an_author_who_is_hidden_is_not_found_by_name(search):
    [paper] = PaperStore(search.database).many(["2603.00002"])
    hidden = replace(paper, authors=(replace(paper.authors[0], status="hidden"),))
    assert "Ada Martin" in document_of(paper).text
    assert "Martin" not in document_of(hidden).text
    assert metadata_of(hidden)["authors"] == ""
    assert [Filters(authors=("martin",)).holds(one) for one in (paper, hidden)] == [True, False]
    with search.database.writing() as session:
        row = session.get_one(AuthorRow, ("2603.00002", 0))
        row.status = "hidden"
    try:
        assert PaperStore(search.database).page(author="Ada Martin").total == 0
        assert ids(search.search("au:ada")) == []
    finally:
        with search.database.writing() as session:
            session.get_one(AuthorRow, ("2603.00002", 0)).status = "none"
