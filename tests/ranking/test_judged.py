"""Judgements over a library become examples: passages by place, documents by their best passage, what is left out."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch
from honest import HashedWords, Lines
from retrieval.shelf import Words
from safetensors.torch import save_file
from tokenizers import Tokenizer, models, pre_tokenizers
from training.conftest import topic_examples

from foveal.errors import InputError
from foveal.evaluation.judgements import Judgement
from foveal.evaluation.metrics import evaluate
from foveal.library import Library
from foveal.ranking.judged import (
    Judged,
    Shelf,
    as_encoded,
    library_search,
    name_of,
    of_headings,
    of_judgements,
    of_qrels,
    vectors_of,
)
from foveal.ranking.judged_training import (
    articles_of,
    held_share,
    most_negatives,
    parted,
    train_articles,
    train_neural,
)
from foveal.ranking.legal_training import LegalForm, examples_of
from foveal.ranking.neural.scorer import Scorer
from foveal.ranking.neural.training import METRICS, NeuralSettings
from foveal.retrieval import tables
from foveal.training.articles import FROM_SCRATCH
from foveal.training.examples import Examples
from foveal.training.loop import LoopSettings
from foveal.training.negatives import filled, top_negatives
from foveal.training.pseudo_queries import Piece
from foveal.training.runs import RunSettings
from foveal.training.searches import WordSearch, run_of
from foveal.types import Document, Span, document_id

LONG = {
    "eyes": ["The fovea sees sharply.", "Rods see in the dark.", "Tears keep it wet."],
    "ears": ["The cochlea hears.", "A drum is struck by sound.", "Wax keeps dust out."],
    "skin": ["It feels warmth.", "Hair grows in the dark."],
}


def text_of(name: str) -> str:
    return "".join(f"{line}\n" for line in LONG[name])


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    made = Library.open(tmp_path_factory.mktemp("home"), encoder="none")
    made.segmenter = Lines()
    made.add_documents([Document.of(f"test:{name}", text_of(name), f"all about {name}") for name in LONG])
    return made


@pytest.fixture(scope="module")
def shelf(library):
    return Shelf.of(library)


def passage(shelf, name, words):
    """The id of the passage of a document that holds the words."""
    return next(
        one for one in shelf.pieces if one.startswith(document_id(f"test:{name}")) and words in shelf.texts[one]
    )


def test_passages_are_those_that_search_finds(library, shelf):
    assert len(shelf.pieces) == sum(map(len, LONG.values()))
    for hit in library.search("dark keeps sound", 10):
        assert shelf.texts[name_of(hit.passage.span)] == hit.passage.text
    assert shelf.headings == {}  # lines have none


class Counted(HashedWords):
    """It counts what it encodes."""

    def encode(self, texts):
        self.__dict__.setdefault("given", []).extend(texts)
        return super().encode(texts)


def test_an_encoder_learns_from_what_the_library_encodes_whose_vectors_are_used_again(tmp_path):
    encoder = Counted()
    made_with = {"encoder": "x", "segmenter": "lines", "fingerprint": encoder.fingerprint, "dimension": "64"}
    tables.create(str(tmp_path / "library"), made_with, 64)
    library = Library.open(tmp_path, create=False)
    library.segmenter, library.encoder = Lines(), encoder
    library.add_documents([Document.of(f"test:{name}", text_of(name), f"all about {name}") for name in LONG])
    shelf, seen = Shelf.of(library), list(encoder.given)
    queries, qrels = {"q1": "dark", "q2": "cochlea"}, {"q1": {"test:eyes": 1}, "q2": {"test:ears": 1}}
    judged = of_qrels(shelf, queries, qrels, library.retriever("lexical"))
    examples = as_encoded(judged)
    assert sorted(examples.corpus.values()) == sorted(seen)
    assert all(text.startswith("all about ") for text in seen)
    assert examples.judged == judged.examples.judged
    encoder.given.clear()
    vectors = vectors_of(library.store, examples.corpus, encoder)
    assert encoder.given == []
    assert (vectors == encoder.encode(list(examples.corpus.values()))).all()
    encoder.given.clear()
    first = next(iter(examples.corpus))
    changed = examples.corpus | {first: "another text"}
    vectors = vectors_of(library.store, changed, encoder)
    assert encoder.given == ["another text"]  # what is not there as it stands is made
    assert (vectors == encoder.encode(list(changed.values()))).all()
    assert vectors_of(library.store, examples.corpus, HashedWords(salt="another")) is None
    assert as_encoded(of_headings(shelf, None)).corpus.keys() == shelf.pieces.keys()
    assert not any(text.startswith("all about") for text in as_encoded(of_headings(shelf, None)).corpus.values())


def test_records_are_named_as_their_file_calls_them(tmp_path):
    rows = [{"_id": str(n), "title": f"t{n}", "text": f"Thing number {n} is here."} for n in (7, 31715818)]
    (tmp_path / "corpus.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    library = Library.open(tmp_path / "home", encoder="none")
    library.add([tmp_path / "corpus.jsonl"])
    held, queries = Shelf.of(library), {"q1": "seven", "q2": "the other"}
    judged = of_qrels(held, queries, {"q1": {"7": 1}, "q2": {"31715818": 2}}, library.retriever())
    texts = {query: [held.texts[name] for name in grades] for query, grades in judged.examples.judged.items()}
    assert texts == {"q1": ["Thing number 7 is here."], "q2": ["Thing number 31715818 is here."]}
    with pytest.raises(InputError, match="does not hold: '8'"):
        of_qrels(held, queries, {"q1": {"8": 1}, "q2": {"7": 1}}, library.retriever())


def test_a_span_is_judged_by_the_passage_that_holds_most_of_it(shelf):
    eyes = document_id("test:eyes")
    second = text_of("eyes").index("Rods")
    assert shelf.at(Span(eyes, second - 3, second + 12)) == passage(shelf, "eyes", "Rods")
    assert shelf.at(Span(eyes, 0, second + 1)) == passage(shelf, "eyes", "fovea")
    assert shelf.at(Span(eyes, 9000, 9001)) is None
    assert shelf.at(Span("0" * 32, 0, 9)) is None


def test_a_document_stands_for_its_best_passage_and_the_others_count_neither_way(library, shelf):
    queries = {"q1": "seeing in the dark", "q2": "cochlea", "q3": "zebra"}
    qrels = {
        "q1": {document_id("test:eyes"): 2, passage(shelf, "skin", "Hair"): 0},
        "q2": {"test:ears": 1, document_id("test:ears")[:10]: 3},
        "q3": {"test:skin": 1},
    }
    judged = of_qrels(shelf, queries, qrels, library.retriever())
    rods, hair = passage(shelf, "eyes", "Rods"), passage(shelf, "skin", "Hair")
    assert judged.examples.judged == {
        "q1": {rods: 2, hair: 0},
        "q2": {passage(shelf, "ears", "cochlea"): 3},  # named twice: the higher grade
        "q3": {passage(shelf, "skin", "warmth"): 1},  # nothing is found: the document's opening
    }
    found = judged.search(["seeing in the dark", "keeps the dark"], 10)
    assert {rods, hair} <= found[0].keys()
    assert passage(shelf, "eyes", "Tears") not in found[0]  # neither right nor wrong
    assert passage(shelf, "eyes", "Tears") in found[1]
    assert list(judged.search(["seeing in the dark"], 1)[0]) == list(found[0])[:1]


def test_no_search_of_a_training_takes_what_counts_neither_way(library, shelf):
    """Trainings that search the passages by themselves ask the examples; words would find the rest of the document."""
    rods, eyes = passage(shelf, "eyes", "Rods"), document_id("test:eyes")
    queries = {"q1": "tears in the dark of the drum", "q2": "cochlea"}
    qrels = {"q1": {passage(shelf, "eyes", "fovea"): 2, eyes: 1}, "q2": {"test:ears": 1}}
    judged = of_qrels(shelf, queries, qrels, library.retriever())
    examples, words = judged.examples, WordSearch(shelf.texts)
    aside = set(examples.aside["q1"])
    assert rods in aside
    assert aside == {name_of(span) for span in shelf.places[eyes]} - examples.judged["q1"].keys()
    assert rods in words([queries["q1"]], 10)[0]
    run = run_of(words, examples, 10)
    assert rods not in run["q1"]
    pools = filled(top_negatives({"q1": words([queries["q1"]], 10)[0]}, examples, depth=10), examples, 2)
    assert not set(pools["q1"]) & aside
    assert most_negatives(examples, 99) == len(shelf.pieces) - 3  # each of both documents is spared as a whole
    learnt, held = parted(examples)
    assert {*learnt.aside, *held.aside} == {"q1", "q2"}
    law = examples_of(articles_of(judged), examples.corpus, examples.aside)
    assert law.aside == examples.aside


def test_models_of_articles_are_told_what_counts_neither_way(library, shelf, tmp_path, monkeypatch):
    """They search by words of their own, so the judged search cannot leave it out for them."""
    queries = {"q1": "seeing in the dark", "q2": "cochlea"}
    judged = of_qrels(shelf, queries, {"q1": {"test:eyes": 2}, "q2": {"test:ears": 1}}, library.retriever())
    asked = {}

    def train_nothing(collection, form, training, **options):
        asked.update(options, room=training.hard + training.random)
        raise InputError("nothing is trained here")

    monkeypatch.setattr("foveal.ranking.legal_training.train_legal", train_nothing)
    run, aside = RunSettings(home=tmp_path), judged.examples.aside
    with pytest.raises(InputError, match="nothing is trained"):
        train_articles(articles_of(judged), LegalForm(engine="attentive-cnn"), FROM_SCRATCH, run=run, aside=aside)
    assert (asked["aside"], asked["room"]) == (aside, len(shelf.pieces) - 3)
    with pytest.raises(InputError, match="holds judged queries out by itself"):
        train_articles(articles_of(judged), LegalForm(), FROM_SCRATCH, run=replace(run, dev=articles_of(judged)))


def test_a_document_that_was_judged_wrong_stands_for_its_best_passage(library, shelf):
    """The passage of it that search puts first was not asked for; its others may be negatives as any."""
    queries = {"q1": "seeing in the dark", "q2": "cochlea"}
    qrels = {"q1": {passage(shelf, "eyes", "fovea"): 1, "test:skin": 0}, "q2": {"test:ears": 1}}
    examples = of_qrels(shelf, queries, qrels, library.retriever()).examples
    hair = passage(shelf, "skin", "Hair")
    assert examples.irrelevant["q1"] == [hair]
    assert "q1" not in examples.aside
    assert examples.wrong("q1", passage(shelf, "skin", "warmth"))


def test_queries_without_a_relevant_passage_teach_nothing(library, shelf):
    ids = [passage(shelf, "eyes", "fovea"), passage(shelf, "ears", "drum")]
    queries = {f"q{n}": f"query {n}" for n in range(3)}
    judged = of_qrels(shelf, queries, {"q0": {ids[0]: 1}, "q1": {ids[1]: 2}, "q2": {ids[0]: 0}}, library.retriever())
    assert list(judged.examples.queries) == ["q0", "q1"]
    assert "1 of 3 judged queries have no relevant passage" in judged.notes[0]
    with pytest.raises(InputError, match="judged queries 1 has a relevant passage"):
        of_qrels(shelf, queries, {"q0": {ids[0]: 1}, "q2": {ids[0]: 0}}, library.retriever())


def test_a_file_s_name_stands_for_its_document_where_no_other_has_it(tmp_path):
    """Judgements made elsewhere name files, not paths; of two files of one name neither is meant."""
    made = Library.open(tmp_path / "home", encoder="none")
    for place in ("a/184.md", "a/185.md", "b/185.md", "b/a note.txt", "a/29.txt", "b/29.md"):
        (tmp_path / place).parent.mkdir(exist_ok=True)
        (tmp_path / place).write_text(f"All of {place} is told here.\n")
    made.add([tmp_path / "a", tmp_path / "b"])
    shelf, ids = Shelf.of(made), {entry.title: entry.id for entry in made.documents()}

    def resolved(name):
        found = of_qrels(shelf, {"q": "told", "r": "all"}, {"q": {name: 1}, "r": {"184": 1}}, made.retriever())
        return next(iter(found.examples.judged["q"])).partition(":")[0]

    assert resolved("184") == resolved("184.md") == ids["184"]
    assert resolved("a note") == resolved("a note.txt") == ids["a note"]
    assert len({resolved("29.txt"), resolved("29.md")}) == 2
    for name in ("185", "185.md", "29"):
        with pytest.raises(InputError, match="a file's name that no other has"):
            resolved(name)


def test_what_is_unknown_is_named(library, shelf):
    retriever = library.retriever()
    eyes = document_id("test:eyes")
    for name in ("nothing.txt", "f" * 32, f"{eyes}:900-950", f"{eyes}:9-9", f"{'f' * 32}:0-9", ""):
        with pytest.raises(InputError, match="a document that the library does not hold") as caught:
            of_qrels(shelf, {"q": "eyes"}, {"q": {name: 1}}, retriever)
        assert repr(name) in str(caught.value)
    with pytest.raises(InputError, match="a query without a text: 'q2'"):
        of_qrels(shelf, {"q": "eyes"}, {"q2": {eyes: 1}}, retriever)


def test_judgements_of_gone_passages_are_left_out_and_told(library, shelf):
    def judge(query, span, revision):
        return Judgement(query, span, revision, 2)

    eyes, revision = document_id("test:eyes"), shelf.revisions[document_id("test:eyes")]
    first, second = (shelf.places[eyes][n] for n in (0, 1))
    given = [
        judge("one", first, revision),
        judge("two", second, revision[:12]),
        judge("three", first, "another text"),
        judge("four", Span("0" * 32, 0, 9), revision),
    ]
    judged = of_judgements(shelf, given, library.retriever())
    assert sorted(judged.examples.queries.values()) == ["one", "two"]
    assert judged.notes[0] == "Judgements: 2 are of passages that the library no longer holds, and are left out."


def test_made_queries_are_searched_where_their_sentences_were_taken_out(shelf):
    judged = of_headings(shelf, None)
    assert judged.stage == "words"
    assert not judged.headings  # a heading may be the query
    assert "queries were made" in judged.notes[0]
    assert judged.search(["tears keep"], 3)[0]


def test_search_gives_no_passage_that_is_not_on_the_shelf(library, shelf):
    """Another process may have added some meanwhile."""
    few = {name: piece for name, piece in shelf.pieces.items() if "eyes" in piece.title}
    found = library_search(library.retriever(), few)(["dark"], 5)
    assert list(found[0]) == [passage(shelf, "eyes", "Rods")]


def test_a_training_searches_as_the_person_who_judged_did(library, shelf):
    """A phrase in the quotes of word processors binds; aside lies what is so by the query as it is kept."""
    hair = passage(shelf, "skin", "Hair")
    for query in ('"grows in the dark"', "\u201cgrows in the dark\u201d"):
        assert list(library_search(library.retriever(), shelf.pieces)([query], 5)[0]) == [hair]
        assert library_search(library.retriever(), shelf.pieces, {query: {hair}})([query], 5) == [{}]


def test_a_query_is_searched_deeper_only_where_what_lies_aside_took_the_places():
    words = Words({f"d{number}": "mill" for number in range(9)})
    pieces = {name_of(one.span): Piece(one.span.document_id, "", "mill") for one in words.passages}
    order = list(pieces)
    found = library_search(words, pieces, {"mill": set(order[:5])})(["mill", "mill mill"], 2)
    assert [list(one) for one in found] == [order[5:7], order[:2]]
    assert words.asked == [("mill", 2), ("mill mill", 2), ("mill", 4), ("mill", 7)]


@pytest.mark.parametrize(("count", "held"), [(2, 1), (10, 3), (20, 6), (50, 10), (100, 10), (1000, 100)])
def test_how_many_queries_are_held_out(count, held):
    assert round(held_share(count) * count) == held


def test_negatives_are_no_more_than_there_are():
    corpus = {"a": "one", "b": "two", "c": "two", "d": "three"}
    examples = Examples({"q": "?", "r": "!"}, corpus, {"q": {"a": 1}, "r": {"b": 1}})
    assert most_negatives(examples, 1) == 1
    assert most_negatives(examples, 7) == 2  # "c" says what "b" says
    assert most_negatives(Examples({"q": "?"}, {"a": "one"}, {"q": {"a": 1}}), 7) == 1


def test_word_vectors_are_no_wider_than_the_encoder_that_they_come_from(tmp_path, monkeypatch):
    """An encoder of six numbers, where a hundred would be taken."""
    monkeypatch.setattr("foveal.training.report.picture", lambda _, path, **__: path)
    topics, encoder = topic_examples(), tmp_path / "encoder"
    pieces = ["[UNK]", *sorted({word for text in topics.corpus.values() for word in text.split()})]
    spelling = Tokenizer(models.WordPiece({piece: n for n, piece in enumerate(pieces)}, unk_token="[UNK]"))
    spelling.pre_tokenizer = pre_tokenizers.Whitespace()
    encoder.mkdir()
    spelling.save(str(encoder / "tokenizer.json"))
    table = torch.randn(len(pieces), 6, generator=torch.Generator().manual_seed(0))
    save_file({"embeddings.word_embeddings.weight": table}, str(encoder / "model.safetensors"))
    settings = NeuralSettings(depth=6, min_frequency=1, loop=LoopSettings(steps=1, batch=4))
    judged = Judged(topics, WordSearch(topics.corpus), "words")
    train_neural("knrm", judged, settings, run=RunSettings(home=tmp_path, name="narrow"), encoder=str(encoder))
    (made,) = tmp_path.rglob("ranker.json")
    assert Scorer.load(made.parent).model.vectors.dimension == 6


@pytest.mark.slow
def test_test_queries_may_have_the_ids_of_others(tmp_path, monkeypatch):
    """What is found for them takes nothing from what is learnt."""
    monkeypatch.setattr("foveal.training.report.picture", lambda _, path, **__: path)
    topics, query = topic_examples(), {"q0-0": "b1 f2"}
    test = replace(topics, queries=query, judged={"q0-0": {"d1-0": 1}})
    settings = NeuralSettings(
        depth=6, dimension=8, min_frequency=1, loop=LoopSettings(epochs=1, batch=40, learning_rate=1e-2)
    )
    judged = Judged(topics, WordSearch(topics.corpus), "words")
    told = {}
    for name, measured in (("with", test), ("without", None)):
        run = RunSettings(home=tmp_path, name=name, test=measured)
        told[name] = train_neural("knrm", judged, settings, run=run, encoder=None)[1]
    assert told["with"].measured["dev"] == told["without"].measured["dev"]
    assert told["with"].curves.losses == told["without"].curves.losses
    (found,) = WordSearch(topics.corpus)(["b1 f2"], 6)
    assert told["with"].measured["test"][0] == evaluate({"q0-0": found}, test.judged, METRICS)
