"""Phrases by start and end vectors: scores and both searches against double loops, exact places, real text."""

from __future__ import annotations

import hashlib
import re
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foveal.errors import InputError, LibraryCorrupt, ModelUnavailable
from foveal.models import load_encoder
from foveal.retrieval.phrase_encoders import PassageTokens, PhraseEncoder, PhraseHeads, load_phrase_encoder
from foveal.retrieval.phrases import PhraseIndex, PhraseRetriever, Pruned
from foveal.retrieval.vector_forms import IndexSettings
from foveal.types import Document, Passage, Retriever, Span

WIDTH = 4


class Words:
    """A PhraseVectors: a word of the text is cut into tokens of up to three letters, each with whole numbers as vector.

    Whole numbers make every product exact, so that equal scores are equal whatever the order of the sums.
    """

    name = "words"
    fingerprint = "words-1"

    def passages(self, texts):
        made = []
        for text in texts:
            places = [
                (first, min(first + 3, word.end()), first == word.start(), first + 3 >= word.end())
                for word in re.finditer(r"\S+", text)
                for first in range(word.start(), word.end(), 3)
            ]
            vectors = np.array([self.vector(text[a:b], n) for n, (a, b, _, _) in enumerate(places)], dtype=np.float32)
            offsets = np.array([place[:2] for place in places], dtype=np.int64).reshape(-1, 2)
            begins, ends = (np.array([place[n] for place in places], dtype=bool) for n in (2, 3))
            made.append(PassageTokens(vectors.reshape(-1, WIDTH), offsets, begins, ends))
        return made

    def questions(self, texts):
        found = [[self.vector(text, "start"), self.vector(text, "end")] for text in texts]
        return np.array(found, dtype=np.float32).reshape(-1, 2, WIDTH)

    @staticmethod
    def vector(text, place):
        seed = int.from_bytes(hashlib.sha256(f"{text} {place}".encode("utf-8", "surrogatepass")).digest()[:4], "big")
        return np.random.default_rng(seed).integers(-6, 7, WIDTH)


ENCODER = Words()


def passages_of(*texts, document="d"):
    """Passages that stand one behind the other in one document."""
    starts = np.cumsum([0, *(len(text) for text in texts)])
    return [
        Passage(Span(document, int(at), int(at) + len(text)), text) for at, text in zip(starts, texts, strict=False)
    ]


def scored_by_definition(passages, question, longest, may=lambda *_: True):
    """Every phrase as (score, passage, first character, last), the best first; of equal ones the earlier."""
    found = []
    for row, (passage, tokens) in enumerate(
        zip(passages, ENCODER.passages([passage.text for passage in passages]), strict=True)
    ):
        for first in range(len(tokens.vectors)):
            for last in range(first, min(first + longest, len(tokens.vectors))):
                if tokens.begins[first] and tokens.ends[last] and may(row, first, last):
                    score = question[0] @ tokens.vectors[first] + question[1] @ tokens.vectors[last]
                    at = passage.span.start
                    place = (at + int(tokens.offsets[first, 0]), at + int(tokens.offsets[last, 1]))
                    found.append((float(score), row, *place))
    return sorted(found, key=lambda one: -one[0])


def search_by_definition(found, passages, k):
    """Of phrases that overlap in one document the best."""
    chosen = []
    for one in found:
        name = passages[one[1]].span.document_id
        over = [c for c in chosen if passages[c[1]].span.document_id == name and c[2] < one[3] and c[3] > one[2]]
        if not over and len(chosen) < k:
            chosen.append(one)
    return chosen


def best_by_definition(found, k):
    """The best phrase of each passage."""
    first = {}
    for one in found:
        first.setdefault(one[1], one)
    return list(first.values())[:k]


def shown(hits, passages):
    return [(hit.score, passages.index(hit.passage), hit.start, hit.end) for hit in hits]


WORD = st.text("abcdefgh", min_size=1, max_size=8)
TEXT = st.lists(WORD, min_size=1, max_size=9).map(" ".join)
TEXTS = st.lists(TEXT, min_size=1, max_size=5)


@given(texts=TEXTS, k=st.integers(1, 6), longest=st.integers(1, 6))
@settings(max_examples=80)
def test_the_search_is_every_phrase_scored(texts, k, longest):
    """A4: s = q_start . h_i + q_end . h_j over all i <= j < i + longest of one passage; and pruned by all tokens."""
    passages = passages_of(*texts)
    index = PhraseIndex.build(passages, ENCODER, longest=longest)
    questions = ENCODER.questions(["one", "two"])
    wide = [None, Pruned(tokens=10_000), Pruned(tokens=10_000, index=index.tokens(IndexSettings(kind="flat")))]
    for row, question in enumerate(questions):
        every = scored_by_definition(passages, question, longest)
        for pruned in wide:
            found = index.search(questions, k, pruned)[row]
            assert shown(found, passages) == search_by_definition(every, passages, k)
            assert shown(index.best(questions, k, pruned)[row], passages) == best_by_definition(every, k)
            for hit in found:
                assert hit.text == "".join(texts)[hit.start : hit.end]
                assert hit.span == Span("d", hit.start, hit.end)


@pytest.mark.parametrize("kind", [None, "flat", "ivf"])
def test_a_pruned_search_scores_what_stands_at_the_best_tokens(kind):
    """A4: the k1 best start tokens and end tokens, each with all its partners in the window."""
    rng = np.random.default_rng(0)
    texts = [" ".join("".join(rng.choice([*"abcdefgh"], rng.integers(1, 8))) for _ in range(12)) for _ in range(30)]
    passages = passages_of(*texts)
    index = PhraseIndex.build(passages, ENCODER, longest=4)
    questions = np.random.default_rng(1).normal(size=(3, 2, WIDTH)).astype(np.float32)
    near = index.tokens(IndexSettings(kind=kind, cells=4, probes=4)) if kind else None
    count = 7
    for row, question in enumerate(questions):
        products = question @ np.concatenate([one.vectors for one in ENCODER.passages(texts)]).T
        best = [{int(place) for place in np.argsort(-side)[:count]} for side in products]

        def at_the_best(passage, first, last, best=best):
            at = index.starts[passage]
            return at + first in best[0] or at + last in best[1]

        every = search_by_definition(scored_by_definition(passages, question, 4, at_the_best), passages, 5)
        found = shown(index.search(questions, 5, Pruned(tokens=count, index=near))[row], passages)
        assert [one[1:] for one in found] == [one[1:] for one in every]
        assert [one[0] for one in found] == pytest.approx([one[0] for one in every], abs=1e-4)


def test_bytes_give_about_the_same_and_take_a_quarter():
    """A4: the int8 form; its scores are those of the vectors that its codes stand for."""
    passages = passages_of("ab cde fghab", "cd ef", "gh gfe abcabcab d")
    full, small = (PhraseIndex.build(passages, ENCODER, int8=int8) for int8 in (False, True))
    questions = np.random.default_rng(1).normal(size=(4, 2, WIDTH)).astype(np.float32)
    rounded = replace(full, vectors=small.vectors.codes * small.vectors.scales[:, None])
    for ask in (lambda index: index.search(questions, 9), lambda index: index.search(questions, 9, Pruned(tokens=99))):
        for got, expected in zip(ask(small), ask(rounded), strict=True):
            assert [hit.span for hit in got] == [hit.span for hit in expected]
            assert [hit.score for hit in got] == pytest.approx([hit.score for hit in expected], abs=1e-4)
    assert ENCODER.passages(["ab cde"])[0].vectors == pytest.approx(rounded.vectors[:2], abs=0.05)
    assert small.vectors.codes.nbytes == full.vectors.nbytes / 4


def test_places_in_overlapping_passages_come_once():
    """A4: one span of a document, found in two passages, is one phrase."""
    text = "ab cde fgh abc"
    passages = [Passage(Span("d", 0, 10), text[:10]), Passage(Span("d", 3, 14), text[3:])]
    passages.append(Passage(Span("e", 0, 10), text[:10]))  # the same words elsewhere
    index = PhraseIndex.build(passages, ENCODER)
    questions = ENCODER.questions(["one"])
    found = index.search(questions, 99)[0]
    assert shown(found, passages) == search_by_definition(
        scored_by_definition(passages, questions[0], 10), passages, 99
    )
    spans = sorted((hit.span.document_id, hit.start, hit.end) for hit in found)
    assert all(a[0] != b[0] or a[2] <= b[1] for a, b in pairwise(spans))


def test_more_than_fit_in_one_block_of_products(monkeypatch):
    passages = passages_of("ab cde fghab", "cd ef")
    index, questions = PhraseIndex.build(passages, ENCODER), ENCODER.questions(list("abcdefg"))
    whole = index.search(questions, 3)
    monkeypatch.setattr("foveal.retrieval.phrases.SCORES_AT_ONCE", 40)
    monkeypatch.setattr("foveal.retrieval.phrases.INT8_BLOCK", 3)
    assert index.search(questions, 3) == whole
    small = PhraseIndex.build(passages, ENCODER, int8=True)
    assert [[hit.span for hit in hits] for hits in small.search(questions, 1)] == [
        [hit.span for hit in hits]
        for hits in replace(small, vectors=small.tokens(IndexSettings())._rows["full"]).search(questions, 1)
    ]


# -- keeping, and what is refused ------------------------------------------------------------------------------------


@pytest.mark.parametrize("int8", [False, True])
@pytest.mark.parametrize("mmap", [False, True])
def test_saved_and_loaded_it_finds_the_same(tmp_path, int8, mmap):
    """I9: a snapshot, whole or not at all."""
    passages = [*passages_of("ab cde", "fgh ab"), Passage(Span("ü", 3, 9), "cd \ud800 é", "A > B")]
    index = PhraseIndex.build(passages, ENCODER, longest=3, int8=int8)
    assert index.save(tmp_path / "kept") == 1
    again = PhraseIndex.load(tmp_path / "kept", fingerprint=ENCODER.fingerprint, mmap=mmap)
    questions = ENCODER.questions(["one", "two"])
    assert again.search(questions, 5) == index.search(questions, 5)
    assert (again.passages, again.longest) == (index.passages, 3)


def test_what_is_no_index_or_anothers_is_refused(tmp_path):
    """A4: fingerprint, kind and files are checked."""
    index = PhraseIndex.build(passages_of("ab"), ENCODER)
    index.save(tmp_path)
    with pytest.raises(InputError, match=r"made with another encoder \(fingerprint words-1, not words-2"):
        PhraseIndex.load(tmp_path, fingerprint="words-2")
    other = Words()
    other.fingerprint = "words-2"
    with pytest.raises(InputError, match="another encoder"):
        PhraseRetriever(other, index)
    (tmp_path / "000001" / "offsets.npy").unlink()
    with pytest.raises(LibraryCorrupt, match="missing or damaged"):
        PhraseIndex.load(tmp_path)
    replace(index, begins=np.ones(7, dtype=bool)).save(tmp_path)
    with pytest.raises(LibraryCorrupt, match="do not fit each other"):
        PhraseIndex.load(tmp_path)
    about = tmp_path / "000002" / "about.json"
    about.write_text(about.read_text().replace('"phrases"', '"late interaction"'))
    with pytest.raises(InputError, match="index of another kind"):
        PhraseIndex.load(tmp_path)


def test_passages_that_cannot_be_found_again_are_refused():
    """A4: bad input, each with its name."""
    one = passages_of("ab cd")[0]
    for passages, says in [
        ([], "0 passages"),
        ([one, one], r"start=0, end=5\) twice"),
        ([one, Passage(Span("e", 0, 2), "  ")], r"document_id='e'.*has no token"),
        ([Passage(Span("e", 0, 9), "ab")], "text of 2 characters"),
    ]:
        with pytest.raises(InputError, match=says):
            PhraseIndex.build(passages, ENCODER)
    with pytest.raises(InputError, match="longest=0"):
        PhraseIndex.build([one], ENCODER, longest=0)

    class Broken(Words):
        def passages(self, texts):
            return [replace(tokens, vectors=tokens.vectors * np.nan) for tokens in super().passages(texts)]

    with pytest.raises(InputError, match="NaN"):
        PhraseIndex.build([one], Broken())


def test_questions_that_cannot_be_asked_are_refused():
    index = PhraseIndex.build(passages_of("ab cd"), ENCODER)
    questions = ENCODER.questions(["one"])
    for ask in (index.search, index.best):
        with pytest.raises(InputError, match="k = 0"):
            ask(questions, 0)
        with pytest.raises(InputError, match=r"needs \(Q, 2, 4\)"):
            ask(questions[:, :, :3], 1)
        with pytest.raises(InputError, match="all numbers finite"):
            ask(questions * np.nan, 1)
    with pytest.raises(InputError, match="tokens=0"):
        Pruned(tokens=0)
    more = PhraseIndex.build(passages_of("ab cd ef"), ENCODER)
    with pytest.raises(InputError, match="an index of 3 vectors by ip"):
        index.search(questions, 1, Pruned(index=more.tokens(IndexSettings())))


def test_a_word_longer_than_a_phrase_is_not_found_in_part():
    index = PhraseIndex.build(passages_of("abcdefgh"), ENCODER, longest=2)
    assert index.search(ENCODER.questions(["one"]), 3) == [[]]
    assert index.best(ENCODER.questions(["one"]), 3, Pruned()) == [[]]


def test_the_retriever_gives_passages_by_their_best_phrase():
    """A4: everything behind Retriever.search; an empty query finds nothing."""
    passages = passages_of("ab cde ", "fgh ab ", "cd ef")
    index = PhraseIndex.build(passages, ENCODER)
    for pruned in (None, Pruned(tokens=50)):
        retriever: Retriever = PhraseRetriever(ENCODER, index, pruned)
        found = retriever.search(["one", " ", "two"], 2)
        assert [len(hits) for hits in found] == [2, 0, 2]
        for query, hits in zip(["one", "", "two"], found, strict=True):
            every = scored_by_definition(passages, ENCODER.questions([query])[0], 10)
            expected = best_by_definition(every, 2) if query else []
            assert [(hit.score, passages.index(hit.passage)) for hit in hits] == [one[:2] for one in expected]
            assert {hit.source for hit in hits} <= {"phrases"}
        assert retriever.search([""], 1) == [[]]
        assert retriever.search([], 1) == []
        with pytest.raises(InputError, match="k = 0"):
            retriever.search([""], 0)


# -- real text, and the real model -----------------------------------------------------------------------------------


TEXT_OF_ALL_KINDS = (
    "In Zürich, the café Odeon (1911) served Einstein – and, \u201ereal\u201c Cafe\u0301 au lait cost 5.50 Fr. "
    "東京 is called Tokyo; 🐈 sat on ﬁne naïve façades\u00a0of Dvořák’s house. \ud800 Photoreceptors."
)


@pytest.fixture(scope="module")
def minilm():
    return load_encoder("minilm", dtype="float32")


@pytest.fixture(scope="module")
def plain(minilm):
    return PhraseEncoder(minilm)


@pytest.mark.model
def test_spans_of_real_text_are_exact(plain):
    """A4: a hit's text is document.text[start:end], whole words, whatever the script; MiniLM."""
    document = Document.of("test:all", "Vorwort.\n" + TEXT_OF_ALL_KINDS, "all")
    at = document.text.index("In Z")
    passage = Passage(Span(document.id, at, len(document.text)), document.text[at:])
    retriever = PhraseRetriever(plain, PhraseIndex.build([passage], plain))
    found = retriever.phrases(["coffee in Switzerland"], 99)[0]
    assert len(found) > 3
    assert all(document.quote(hit.span) == hit.text for hit in found)
    tokens = plain.passages([passage.text])[0]
    places = zip(tokens.offsets[tokens.begins, 0], tokens.offsets[tokens.ends, 1], strict=True)
    words = [passage.text[start:end] for start, end in places]
    for word in ("Zürich", "Odeon", "Cafe\u0301", "東", "🐈", "ﬁne", "naïve", "façades", "Dvořák", "Photoreceptors"):
        assert word in words
    assert "".join(words).replace("\ud800", "") == re.sub(r"[\s\ud800]", "", passage.text)


@pytest.mark.model
def test_a_word_of_many_pieces_is_one_phrase(plain):
    """A4: phrases begin and end where words do."""
    tokens = plain.passages(["Photoreceptors, unbelievably"])[0]
    pieces = len(tokens.vectors)
    assert pieces > 3
    assert tokens.begins.sum() == tokens.ends.sum() == 3
    assert tokens.begins[0]
    assert tokens.ends[-1]
    index = PhraseIndex.build(passages_of("Photoreceptors, unbelievably"), plain)
    found = {hit.text for hit in index.search(plain.questions(["eye"]), 9)[0]}
    assert found <= {
        "Photoreceptors",
        "Photoreceptors,",
        ",",
        "unbelievably",
        ", unbelievably",
        "Photoreceptors, unbelievably",
    }


def hidden(minilm, ids):
    import torch

    with torch.inference_mode():
        return minilm.hidden(torch.tensor([ids]), torch.ones(1, len(ids), dtype=torch.bool))[0].float().numpy()


@pytest.mark.model
def test_vectors_are_hidden_states_also_of_long_texts(minilm, plain):
    """A4: contextual token vectors, one pass; a text longer than the window is read in several, no token left out."""
    short = "Rods see in dim light."
    ids = minilm.tokenizer.encode(short).ids
    assert plain.passages([short])[0].vectors == pytest.approx(hidden(minilm, ids)[1:-1], abs=1e-4)
    text = " ".join(f"{n} rods" for n in range(200))
    tokens = plain.passages([short, text])[1]
    inner = minilm.tokenizer.encode(text, add_special_tokens=False)
    assert tokens.offsets.tolist() == [list(pair) for pair in inner.offsets]
    room = minilm.max_tokens - 2
    first = hidden(minilm, [ids[0], *inner.ids[:room], ids[-1]])[1:-1]
    last = hidden(minilm, [ids[0], *inner.ids[-room:], ids[-1]])[1:-1]
    assert tokens.vectors[:200] == pytest.approx(first[:200], abs=1e-4)
    assert tokens.vectors[-60:] == pytest.approx(last[-60:], abs=1e-4)


@pytest.mark.model
@pytest.mark.parametrize("width", [384, 192, 16])
@pytest.mark.parametrize("pooling", ["mean", "cls"])
def test_the_four_heads_make_the_score(minilm, width, pooling):
    """A4: (S'm) . (S h_i) + (E'm) . (E h_j), folded into one vector a token, or as two short ones."""
    rng = np.random.default_rng(0)
    made = [rng.normal(size=(width, 384)).astype(np.float32) / 20 for _ in range(4)]
    encoder = PhraseEncoder(minilm, PhraseHeads(*made, pooling=pooling))
    assert encoder.dimension == min(384, 2 * width)
    tokens, question = encoder.passages(["Rods see in dim light."])[0], encoder.questions(["what sees in the dark?"])[0]
    assert tokens.vectors.shape == (6, encoder.dimension)
    states = hidden(minilm, minilm.tokenizer.encode("Rods see in dim light.").ids)[1:-1]
    asked = hidden(minilm, minilm.tokenizer.encode("what sees in the dark?").ids)
    asked = asked.mean(0) if pooling == "mean" else asked[0]
    start, end, question_start, question_end = made
    assert tokens.vectors @ question[0] == pytest.approx((states @ start.T) @ (question_start @ asked), abs=2e-3)
    assert tokens.vectors @ question[1] == pytest.approx((states @ end.T) @ (question_end @ asked), abs=2e-3)


@pytest.mark.model
def test_heads_decide_the_fingerprint_and_must_fit(minilm, plain):
    """A4: an index of other heads is refused."""
    heads = PhraseHeads.plain(384)
    others = [
        PhraseHeads.plain(384, pooling="cls"),
        replace(heads, end=2 * heads.end),
        replace(heads, start=-heads.start),
    ]
    prints = {PhraseEncoder(minilm, one).fingerprint for one in [heads, *others]}
    assert len(prints) == 4
    assert plain.fingerprint in prints
    index = PhraseIndex.build(passages_of("Rods see."), plain)
    with pytest.raises(InputError, match="another encoder"):
        PhraseRetriever(PhraseEncoder(minilm, others[0]), index)
    with pytest.raises(InputError, match=r"needs \(D', 384\)"):
        PhraseEncoder(minilm, PhraseHeads.plain(8))
    with pytest.raises(InputError, match="four matrices of one shape"):
        replace(heads, end=heads.end[:7])
    with pytest.raises(InputError, match="pooling='last'"):
        PhraseHeads.plain(8, pooling="last")
    with pytest.raises(InputError, match="all numbers finite"):
        replace(heads, end=heads.end * np.nan)


@pytest.mark.model
def test_a_plain_encoder_finds_passages_and_says_its_size(minilm, plain):
    """A4: MiniLM untrained: passages come by meaning, spans are exact, a token takes 1,536 bytes, or 388."""
    encoder = load_phrase_encoder("minilm")
    texts = ["The fovea is where sight is sharpest.\n", "Rods work in dim light.\n", "Tears keep the cornea wet.\n"]
    passages = passages_of(*texts)
    retriever = PhraseRetriever(plain, PhraseIndex.build(passages, plain))
    hit = retriever.search(["what keeps the cornea wet?"], 1)[0][0]
    assert hit.passage is retriever.index.passages[2]
    assert retriever.search(["☃", "", "cornea"], 1) == [[], [], *retriever.search(["cornea"], 1)]
    assert encoder.dimension == 384
    index = PhraseIndex.build(passages, encoder, int8=True)
    count = len(index.offsets)
    assert index.vectors.codes.nbytes + index.vectors.scales.nbytes == 388 * count
    assert retriever.index.vectors.nbytes == 1536 * count
    assert encoder.passages([]) == []
    assert encoder.questions([]).shape == (0, 2, 384)
    assert [len(one.vectors) for one in encoder.passages(["", "rods"])] == [0, 1]


@pytest.mark.model
def test_what_is_no_phrase_encoder_is_said(tmp_path, minilm):
    folder = tmp_path / "model"
    folder.mkdir()
    for path in minilm.folder.rglob("*"):
        if path.is_file():
            place = folder / path.relative_to(minilm.folder)
            place.parent.mkdir(exist_ok=True)
            place.symlink_to(path)
    (folder / "phrases.json").write_text('{"pooling": "mean"}')
    with pytest.raises(ModelUnavailable, match="missing or damaged"):
        load_phrase_encoder(str(folder))
    (folder / "config.json").unlink()
    with pytest.raises(ModelUnavailable):
        load_phrase_encoder(str(folder))
