"""The inverted index of sparse vectors (A5, I9) against plain sums, and the retriever over it."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foveal.errors import InputError, LibraryCorrupt, ModelUnavailable
from foveal.retrieval.sparse import SparseIndex, SparseRetriever
from foveal.retrieval.sparse_encoders import highest, load_sparse_encoder
from foveal.retrieval.sparse_lists import SparseVectors
from foveal.types import Passage, Span

VOCABULARY = 12
WEIGHTS = st.sampled_from([0.25, 0.5, 1.0, 1.5, 3.0])  # halves and quarters: sums are exact, ties are many
VECTORS = st.dictionaries(st.integers(0, VOCABULARY - 1), WEIGHTS, max_size=6)
QUERIES = st.dictionaries(st.integers(0, VOCABULARY - 1), WEIGHTS, min_size=3, max_size=9)
FEW = st.sampled_from([1, 2, 3, 30])


def vectors_of(rows, vocabulary=VOCABULARY) -> SparseVectors:
    return SparseVectors.of_rows([(list(row), list(row.values())) for row in rows], vocabulary)


def best_by_definition(documents, query, k):
    """The plain sum for each document, sorted; ties by the order of the documents."""
    scores = {name: sum(query[t] * w for t, w in row.items() if t in query) for name, row in documents.items()}
    found = sorted((name for name in scores if scores[name] > 0), key=lambda name: -scores[name])
    return [(name, scores[name]) for name in found[:k]]


def zipfian(count, vocabulary=400, seed=0):
    """Vectors whose common terms are light and whose rare ones are heavy, as a trained model's are."""
    rng = np.random.default_rng(seed)
    chance = np.minimum(0.6, 4 / np.arange(1, vocabulary + 1))
    weight = np.linspace(0.2, 2.0, vocabulary)
    matrix = (rng.random((count, vocabulary)) < chance) * weight * rng.uniform(0.5, 1.5, (count, vocabulary))
    return matrix.astype(np.float32)


@settings(max_examples=100)
@given(st.lists(VECTORS, min_size=8, max_size=25), st.lists(QUERIES, min_size=3, max_size=6), FEW)
def test_search_is_the_plain_sum(documents, queries, k):
    """A5: the inverted index."""
    named = {f"d{number}": row for number, row in enumerate(documents)}
    index = SparseIndex.build(list(named), vectors_of(documents))
    assert index.search(vectors_of(queries), k) == [best_by_definition(named, query, k) for query in queries]


@settings(max_examples=60)
@given(
    st.lists(st.tuples(st.sampled_from(["add", "remove", "compact"]), st.lists(VECTORS, max_size=4)), max_size=10),
    QUERIES,
    FEW,
)
def test_search_stays_the_plain_sum_while_documents_come_and_go(steps, query, k):
    """I9: add, remove, compact."""
    index, held, count = SparseIndex(VOCABULARY), {}, 0
    for action, rows in steps:
        if action == "add":
            fresh = {f"d{count + number}": row for number, row in enumerate(rows)}
            count += len(rows)
            index.add(list(fresh), vectors_of(rows))
            held |= fresh
        elif action == "remove":
            gone = list(held)[:: len(rows) + 1]
            index.remove(gone)
            held = {name: row for name, row in held.items() if name not in gone}
        else:
            index.compact()
        assert index.search(vectors_of([query]), k) == [best_by_definition(held, query, k)]
        assert index.ids() == list(held)
        assert len(index) == len(held) == index.stats().documents
        assert index.stats().non_zeros == sum(map(len, held.values()))


@pytest.mark.parametrize("pieces", [1, 7])
@pytest.mark.parametrize("k", [1, 10, 500])
def test_skipping_finds_the_same_and_reads_less(pieces, k):
    """A5: MaxScore is exact to the last bit and pays."""
    matrix = zipfian(3000)
    queries = SparseVectors.of_dense(zipfian(20, seed=1))
    index = SparseIndex(matrix.shape[1])
    for number, part in enumerate(np.array_split(matrix, pieces)):
        index.add([f"{number}-{row}" for row in range(len(part))], SparseVectors.of_dense(part))
    index.remove([f"0-{row}" for row in range(0, 100, 3)])
    dead = np.zeros(3000, dtype=bool)
    dead[0:100:3] = True
    read = {True: 0, False: 0}
    for number in range(len(queries)):
        terms, weights = queries.row(number)
        skipped, whole = (index.find(terms, weights, k, skip=skip) for skip in (True, False))
        assert np.array_equal(skipped.rows, whole.rows)
        assert np.array_equal(skipped.scores, whole.scores)
        sums = matrix[:, terms].astype(np.float64) @ weights.astype(np.float64)
        sums[dead] = 0
        assert skipped.scores == pytest.approx(np.sort(sums)[::-1][: len(skipped.scores)], rel=1e-9)
        read[True] += skipped.read
        read[False] += whole.read
    postings = sum(int((matrix[:, queries.row(number)[0]] > 0).sum()) for number in range(20))
    assert read[False] == postings
    assert read[True] <= {1: 0.5, 10: 0.6, 500: 1.0}[k] * read[False]


def test_a_list_with_too_few_hits_leaves_room_for_the_next():
    """A5: what the first documents score is a bound only once there are k of them."""
    index = SparseIndex.build(["a", "b", "c"], vectors_of([{1: 9}, {}, {}]))
    index.add(["d"], vectors_of([{1: 1}]))
    assert index.search(vectors_of([{1: 1}]), 2) == [[("a", 9.0), ("d", 1.0)]]


def test_ties_go_by_the_order_of_the_documents():
    """A5: the same every time."""
    index = SparseIndex.build(
        [f"d{number}" for number in range(300)], vectors_of([{number % 2: 1} for number in range(300)])
    )
    assert [name for name, _ in index.search(vectors_of([{1: 1}]), 100)[0]] == [f"d{n}" for n in range(1, 200, 2)]


def test_vectors_come_from_rows_or_a_matrix():
    """A5: sparse vectors as (indices, values)."""
    matrix = np.array([[0, 1.5, 0, 2], [0, 0, 0, 0], [3, 0, 0, 0]], dtype=np.float32)
    dense = SparseVectors.of_dense(matrix)
    rows = SparseVectors.of_rows([([3, 1, 0], [2, 1.5, 0]), ([], []), ([0], [3])], 4)
    for vectors in (dense, rows, SparseVectors.joined([dense], 4)):
        assert len(vectors) == 3
        rebuilt = np.zeros_like(matrix)
        for number in range(3):
            terms, weights = vectors.row(number)
            rebuilt[number, terms] = weights
        assert np.array_equal(rebuilt, matrix)
        assert (vectors.weights > 0).all()
    assert highest(np.array([[1.0, 3.0, 3.0, 2.0]]), 2).tolist() == [[0, 3, 3, 0]]


def test_the_index_says_how_sparse_it_is():
    """A5: statistics of non-zeros."""
    index = SparseIndex.build(["a", "b", "c"], vectors_of([{0: 1, 1: 1}, {1: 1}, {2: 1, 3: 2, 4: 1}]))
    index.remove(["b"])
    stats = index.stats()
    assert (stats.documents, stats.removed, stats.non_zeros, stats.non_zeros_mean, stats.non_zeros_most) == (
        2, 1, 5, 2.5, 3,
    )  # fmt: skip
    assert stats.terms_used == 5
    index.compact()
    assert index.stats().removed == 0
    assert index.stats().bytes_per_document == (5 * 8 + VOCABULARY * 12 + 8) / 2


def mapped(array):
    """Whether an array is a view into a mapped file."""
    while isinstance(array, np.ndarray):
        if isinstance(array, np.memmap):
            return True
        array = array.base
    return False


@pytest.mark.parametrize("mmap", [True, False])
def test_a_saved_index_is_the_same_and_goes_on(tmp_path, mmap):
    """I9: save and load, mapped or not."""
    matrix = zipfian(300)
    queries = SparseVectors.of_dense(zipfian(5, seed=1))
    index = SparseIndex.build([f"Dokument {n} ü" for n in range(300)], SparseVectors.of_dense(matrix), fingerprint="f")
    index.remove(["Dokument 3 ü", "Dokument 299 ü"])
    expected = index.search(queries, 20)
    index.save(tmp_path / "index")
    loaded = SparseIndex.load(tmp_path / "index", mmap=mmap)
    assert loaded.search(queries, 20) == expected
    assert (loaded.fingerprint, len(loaded)) == ("f", 298)
    assert mapped(loaded._lists[0].rows) is mmap
    loaded.add(["new"], SparseVectors.of_dense(matrix[3:4]))
    loaded.save(tmp_path / "index")  # over the files that are mapped
    assert loaded.search(queries, 20) == SparseIndex.load(tmp_path / "index").search(queries, 20)


def test_an_empty_index_can_be_saved(tmp_path):
    """I9: all documents removed."""
    index = SparseIndex.build(["a"], vectors_of([{1: 1}]))
    index.remove(["a"])
    assert index.search(vectors_of([{1: 1}]), 3) == [[]]
    index.save(tmp_path)
    loaded = SparseIndex.load(tmp_path)
    assert loaded.search(vectors_of([{1: 1}]), 3) == [[]]
    loaded.add(["b"], vectors_of([{1: 2}]))
    assert loaded.search(vectors_of([{1: 1}]), 3) == [[("b", 2.0)]]


def test_damaged_files_are_named(tmp_path):
    """I9: half a file."""
    index = SparseIndex.build(["a"], vectors_of([{1: 1}]))
    index.save(tmp_path)
    (broken,) = tmp_path.glob("*/weights.npy")
    broken.write_bytes(broken.read_bytes()[:-2])
    with pytest.raises(LibraryCorrupt, match=re.escape(str(tmp_path))):
        SparseIndex.load(tmp_path)
    with pytest.raises(InputError, match="no index"):
        SparseIndex.load(tmp_path / "elsewhere")


@pytest.mark.parametrize(
    ("attempt", "message"),
    [
        (lambda index: index.add(["b", "b"], vectors_of([{}, {}])), "'b' is given twice"),
        (lambda index: index.add(["a"], vectors_of([{}])), "already in the index"),
        (lambda index: index.add(["b"], vectors_of([{}, {}])), "1 ids for 2 vectors"),
        (lambda index: index.add(["b"], vectors_of([{}], 5)), "over 5 terms"),
        (lambda index: index.search(vectors_of([{}], 5), 1), "over 5 terms"),
        (lambda index: index.search(vectors_of([{}]), 0), "k = 0"),
        (lambda index: index.remove(["a", "b"]), "'b' is not in the index"),
        (lambda _: SparseIndex.build([], vectors_of([])), "no documents"),
        (lambda _: SparseIndex(0), "at least 1"),
        (lambda _: SparseVectors.of_rows([([0], [1]), ([1, 2], [1])], 4), "vector 1 has 2 terms and 1 weights"),
        (lambda _: SparseVectors.of_rows([([4], [1])], 4), "outside of 0 to 3"),
        (lambda _: SparseVectors.of_rows([([1, 1], [1, 2])], 4), "a term twice"),
        (lambda _: SparseVectors.of_rows([([1], [-1])], 4), "negative"),
        (lambda _: SparseVectors.of_rows([([1], [np.nan])], 4), "NaN"),
        (lambda _: SparseVectors.of_dense(np.ones(3)), "needs"),
    ],
)
def test_what_cannot_be_indexed_is_an_error_and_changes_nothing(attempt, message):
    """A5, I9: bad input."""
    index = SparseIndex.build(["a"], vectors_of([{1: 1}]))
    with pytest.raises(InputError, match=message):
        attempt(index)
    assert index.search(vectors_of([{1: 1}]), 3) == [[("a", 1.0)]]


# -- the retriever ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class CountedWords:
    """A SparseEncoder: a word's weight is how often it stands there; queries count each once."""

    name: str = "counted-words"
    vocabulary: int = 26
    fingerprint: str = "counted"

    def encode(self, texts: Sequence[str], *, queries: bool = False) -> SparseVectors:
        rows = []
        for text in texts:
            words = [ord(word[0].lower()) - ord("a") for word in text.split()]
            rows.append({word: 1 if queries else words.count(word) for word in words})
        return vectors_of(rows, self.vocabulary)


def passages(*texts):
    return {f"p{n}": Passage(Span("doc", 10 * n, 10 * n + len(text)), text) for n, text in enumerate(texts)}


def test_the_retriever_gives_hits_of_its_passages(tmp_path):
    """A5: SparseRetriever."""
    held = passages("apple apple pear", "pear plum", "quince")
    retriever = SparseRetriever.build(held, CountedWords())
    apples, nothing, unknown = retriever.search(["apple quince", "  ", "zebra"], 2)
    assert [(hit.passage, hit.score, hit.source) for hit in apples] == [
        (held["p0"], 2.0, "sparse"),
        (held["p2"], 1.0, "sparse"),
    ]
    assert nothing == unknown == []
    more = {"p9": Passage(Span("other", 0, 5), "apple")}
    retriever.add(more)
    retriever.remove(["p0"])
    retriever.save(tmp_path)
    for one in (retriever, SparseRetriever.load(tmp_path, CountedWords(), held | more)):
        assert [hit.passage for hit in one.search(["apple"], 5)[0]] == [more["p9"]]


@pytest.mark.parametrize(
    ("attempt", "message"),
    [
        (lambda one: one.search(["apple"], 0), "k = 0"),
        (lambda one: one.search([""], 0), "k = 0"),
        (lambda one: one.add(passages("apple")), "'p0' is already in the index"),
        (lambda one: one.remove(["p7"]), "'p7' is not in the index"),
        (lambda one: SparseRetriever.build({}, one.encoder), "no passages"),
        (lambda one: SparseRetriever(one.index, one.encoder, {}), "without a passage, such as 'p0'"),
        (lambda one: SparseRetriever(one.index, CountedWords(fingerprint="b"), passages("a", "b")), "another encoder"),
    ],
)
def test_the_retriever_refuses_what_does_not_fit(attempt, message):
    """A5: bad input, another encoder's index among it."""
    with pytest.raises(InputError, match=message):
        attempt(SparseRetriever.build(passages("apple", "pear"), CountedWords()))


# -- encoders --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def splade_folder(tmp_path_factory):
    from training.test_pretraining import tiny_bert, tokenizer
    from transformers import BertForMaskedLM

    folder = tmp_path_factory.mktemp("splade")
    tiny_bert(BertForMaskedLM, layers=2).save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    return folder


def test_a_folder_of_sentence_transformers_gives_the_same_weights(splade_folder, tmp_path):
    """A5: sentence-transformers' SparseEncoder, loaded from its own folder, and the same model by ours."""
    sentence_transformers = pytest.importorskip("sentence_transformers")
    from training.test_pretraining import TEXTS

    from foveal.retrieval.sparse_encoders import SentenceTransformersSparse, SpladeEncoder

    sentence_transformers.SparseEncoder(str(splade_folder), device="cpu").save_pretrained(
        str(tmp_path), create_model_card=False
    )
    ours, theirs = load_sparse_encoder(str(splade_folder)), load_sparse_encoder(str(tmp_path))
    assert isinstance(ours, SpladeEncoder)
    assert isinstance(theirs, SentenceTransformersSparse)
    assert ours.vocabulary == theirs.vocabulary
    assert ours.fingerprint != theirs.fingerprint
    assert [one.knows(text) for one in (ours, theirs) for text in ("eye", "☃")] == [True, False] * 2
    texts = [*TEXTS * 4, "", "eye"]
    for queries in (True, False):
        one, two = ours.encode(texts, queries=queries), theirs.encode(texts, queries=queries)
        assert np.array_equal(one.starts, two.starts)
        assert np.array_equal(one.terms, two.terms)
        assert one.weights == pytest.approx(two.weights, abs=1e-5)
    assert len(theirs.encode([])) == len(ours.encode([])) == 0
    for encoder in (ours, theirs):  # a shell's stray byte is no character
        stray, told = (encoder.encode([text]).row(0) for text in ("eye \udcff", "eye \ufffd"))
        np.testing.assert_array_equal(stray, told)
    few = SpladeEncoder(splade_folder, most=3)
    for number in range(len(texts)):
        kept = set(few.encode(texts).row(number)[0].tolist())
        terms, weights = ours.encode(texts).row(number)
        assert kept == set(terms[np.argsort(-weights, kind="stable")[:3]].tolist())


def test_a_text_longer_than_the_positions_is_cut_to_them(tmp_path):
    """A5: RoBERTa's kin count them from behind that of padding: 514 are room for 512 tokens."""
    from training.test_pretraining import TEXTS, tokenizer
    from transformers import RobertaConfig, RobertaForMaskedLM

    from foveal.retrieval.sparse_encoders import SpladeEncoder

    words = tokenizer()
    sizes = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = RobertaConfig(vocab_size=len(words), max_position_embeddings=16, pad_token_id=words.pad_token_id, **sizes)
    RobertaForMaskedLM(config).save_pretrained(tmp_path)
    words.save_pretrained(tmp_path)
    encoder = SpladeEncoder(tmp_path)
    assert encoder.max_tokens == 16 - words.pad_token_id - 1
    assert len(encoder.encode([" ".join(TEXTS * 3)])) == 1


def test_splade_finds_a_text_by_itself(splade_folder):
    """A5: a model's own weights through the whole road; a text's score with itself is its squared length."""
    from training.test_pretraining import TEXTS

    encoder = load_sparse_encoder(str(splade_folder))
    retriever = SparseRetriever.build(passages(*TEXTS), encoder)
    vectors = encoder.encode(TEXTS)
    dense = np.zeros((len(TEXTS), encoder.vocabulary))
    for number in range(len(TEXTS)):
        dense[number, vectors.row(number)[0]] = vectors.row(number)[1]
    for number, hits in enumerate(retriever.search(TEXTS, 3)):
        expected = np.sort(dense @ dense[number])[::-1][:3]
        assert [hit.score for hit in hits] == pytest.approx(expected, rel=1e-5)
    assert retriever.search(["☃", "", TEXTS[0]], 3) == [[], [], *retriever.search(TEXTS[:1], 3)]


def test_what_is_no_sparse_encoder_is_refused(tmp_path, splade_folder):
    """A5: bad input."""
    from transformers import BertConfig

    from foveal.retrieval.sparse_encoders import SpladeEncoder

    with pytest.raises(ModelUnavailable, match="could not be loaded"):
        load_sparse_encoder(str(tmp_path))
    BertConfig(architectures=["BertModel"]).save_pretrained(tmp_path)
    with pytest.raises(ModelUnavailable, match="no masked-language model"):
        load_sparse_encoder(str(tmp_path))
    with pytest.raises(InputError, match="most=0"):
        SpladeEncoder(splade_folder, most=0)
    parts = [{"type": f"sentence_transformers.models.{kind}"} for kind in ("Transformer", "Pooling")]
    (tmp_path / "modules.json").write_text(json.dumps(parts))  # sentence-transformers would make a sparse one of it
    with pytest.raises(ModelUnavailable, match="one vector of a text, no weights of words"):
        load_sparse_encoder(str(tmp_path))
