from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from retrieval.test_late import TEXTS, WordVectors, ragged, unit

from foveal.errors import InputError, LibraryCorrupt, LibraryTooNew, UnknownDocument
from foveal.retrieval import late_index
from foveal.retrieval.late import Exact, LateInteraction, TokenVectors, maxsim
from foveal.retrieval.late_codes import ResidualCodec, fitted_codec, token_centroids
from foveal.retrieval.late_contents import merged
from foveal.retrieval.late_index import LateIndex, LateIndexSettings, LateSearch, centroids_for
from foveal.types import Passage, Span

WORDS, DOCUMENTS, DIMENSION = 300, 1500, 32
EVERYTHING = LateSearch(probes=1024, threshold=-2, approximated=10_000, scored=10_000)


def texts_of_topics(seed, count, most=24):
    """Token vectors of texts on one of 40 topics each: a topic prefers some words, a word is a place with noise."""
    generator = np.random.default_rng([7, seed])
    words = unit(np.random.default_rng(7).normal(size=(WORDS, DIMENSION)))
    preferred = np.random.default_rng(8).integers(WORDS, size=(40, 20))
    made = []
    for _ in range(count):
        length = generator.integers(8, most)
        topic = preferred[generator.integers(40)]
        drawn = np.where(generator.random(length) < 0.7, generator.choice(topic, length), generator.integers(WORDS))
        made.append(unit(words[drawn] + generator.normal(size=(length, DIMENSION)) * 0.35 / DIMENSION**0.5))
    return made


@pytest.fixture(scope="module")
def documents():
    return texts_of_topics(0, DOCUMENTS)


@pytest.fixture(scope="module")
def ids():
    return [f"d{row}" for row in range(DOCUMENTS)]


@pytest.fixture(scope="module")
def queries():
    return [text[:8] for text in texts_of_topics(1, 40)]


@pytest.fixture
def index(built):
    """An index that a test may change: contents are never changed in place."""
    return LateIndex(built._contents, fingerprint=built.fingerprint)


@pytest.fixture(scope="module")
def built(ids, documents):
    return LateIndex.build(ids, documents, fingerprint="f")


def recall(found, truth, k):
    shares = [
        len({name for name, _ in ours[:k]} & {name for name, _ in true[:k]}) / k
        for ours, true in zip(found, truth, strict=True)
    ]
    return float(np.mean(shares))


def test_pruned_search_finds_what_exact_search_finds_by_a_tenth_of_the_documents(built, ids, documents, queries):
    """I8: candidates by centroids, then exact scores of few; recall@10 >= 0.98 at 10 times fewer scored documents."""
    truth = Exact.build(ids, documents, fingerprint="f").search(queries, 10)
    pruned = LateIndex(built._contents, fingerprint="f", search=LateSearch(approximated=400, scored=DOCUMENTS // 10))
    counted = pruned.search_counted(queries, 10)
    assert max(looked.scored for _, looked in counted) <= DOCUMENTS // 10
    assert max(looked.candidates for _, looked in counted) < DOCUMENTS
    assert all(looked.candidates >= looked.approximated >= looked.scored for _, looked in counted)
    assert recall([found for found, _ in counted], truth, 10) >= 0.98
    random = [[(name, 0.0) for name in ids[:150]] for _ in queries]
    assert recall([found[:150] for found in random], truth, 10) < 0.5


def test_scores_are_maxsim_over_what_the_codes_stand_for(built, ids, queries):
    decoded = built._contents.codec.decode(built._contents.coded)
    exact = Exact(tuple(ids), TokenVectors(decoded, built._contents.starts), "f")
    everything = LateIndex(built._contents, fingerprint="f", search=EVERYTHING)
    for ours, true in zip(everything.search(queries[:8], 20), exact.search(queries[:8], 20), strict=True):
        assert [score for _, score in ours] == pytest.approx([score for _, score in true], abs=1e-4)
        assert ours[0][0] == true[0][0]


def candidates_by_definition(built, query, probes):
    """Documents with a token whose code is among the `probes` best centroids of some query token."""
    contents, found = built._contents, set()
    for token in query:
        best = np.argsort(-(contents.codec.centroids @ token))[:probes]
        for row in range(len(contents.ids)):
            codes = contents.coded.codes[contents.starts[row] : contents.starts[row + 1]]
            found |= {row} & ({row} if set(codes.tolist()) & set(best.tolist()) else set())
    return found


def approximation_by_definition(built, query, row, good):
    """MaxSim with centroids in place of the document's vectors, those that are not good left out."""
    contents = built._contents
    codes = [c for c in contents.coded.codes[contents.starts[row] : contents.starts[row + 1]] if good[c]]
    if not codes:
        return -np.inf
    return sum(max(float(contents.codec.centroids[code] @ token) for code in codes) for token in query)


@pytest.mark.parametrize("probes", [1, 3])
def test_each_stage_is_its_definition(built, queries, probes):
    """I8: the stages one by one."""
    query = queries[0]
    products = query @ built._contents.codec.centroids.T
    rows = late_index._candidates(built._contents, products, probes)
    assert set(rows.tolist()) == candidates_by_definition(built, query, probes)
    for good in (np.ones(products.shape[1], dtype=bool), products.max(axis=0) >= 0.3):
        ours = late_index._approximate(built._contents, products, rows, good)
        expected = [approximation_by_definition(built, query, row, good) for row in rows]
        assert ours == pytest.approx(np.array(expected), abs=1e-4)
    assert late_index._approximate(built._contents, products, rows) == pytest.approx(
        [approximation_by_definition(built, query, row, np.ones(products.shape[1], dtype=bool)) for row in rows],
        abs=1e-4,
    )


def test_centroids_at_which_there_is_no_document_have_empty_lists(built, queries):
    """Of three documents nearly all are such, the last one, too: a search that asks at each finds the three."""
    three = merged([built._contents], [np.isin(np.arange(DOCUMENTS), (3, 4, 5))])
    assert three.coded.codes.max() < len(three.codec.centroids) - 1
    effort = LateSearch(probes=10_000, approximated=8, scored=1)
    ((_, looked),) = LateIndex(three, fingerprint="f", search=effort).search_counted(queries[:1], 1)
    assert (looked.candidates, looked.scored) == (3, 2)


def test_the_stages_leave_some_for_each_of_the_best_however_few_they_were_told(built, queries):
    """Eight in the first approximation, two to be scored."""
    few = LateIndex(built._contents, fingerprint="f", search=LateSearch(probes=3, approximated=1, scored=1))
    ((found, looked),) = few.search_counted(queries[:1], 10)
    assert looked.candidates > 80
    assert (looked.approximated, looked.scored, len(found)) == (80, 20, 10)


@pytest.mark.parametrize("effort", [LateSearch(), LateSearch(probes=3, approximated=200, scored=60)])
def test_an_index_in_parts_finds_what_it_finds_whole(built, queries, effort):
    whole = built._contents
    part_of = np.random.default_rng(0).integers(0, 3, len(whole))
    rows = [np.flatnonzero(part_of == number) for number in range(3)]
    parts = [merged([whole], [part_of == number]) for number in range(3)]
    for query in queries[:8]:
        found, looked = late_index.best_of_parts(parts, [part.alive for part in parts], query, 20, effort)
        true, true_looked = late_index.best_of_parts([whole], [whole.alive], query, 20, effort)
        assert looked == true_looked
        assert {int(rows[part][row]) for part, row, _ in found} == {row for _, row, _ in true}
        assert [score for *_, score in found] == pytest.approx([score for *_, score in true], abs=1e-5)


def test_where_few_may_be_found_all_of_them_are_scored(built, queries):
    """Though hardly any has a token at a probed centroid."""
    contents, alive = built._contents, np.zeros(DOCUMENTS, dtype=bool)
    alive[::50] = True
    decoded = contents.codec.decode(contents.coded)
    scores = maxsim(TokenVectors.of([queries[0]]), TokenVectors(decoded, contents.starts))[0]
    found, looked = late_index.best_of_parts([contents], [alive], queries[0], DOCUMENTS, LateSearch(probes=1))
    assert looked.scored == len(found) == alive.sum()
    assert [row for _, row, _ in found] == [row for row in np.argsort(-scores, kind="stable") if alive[row]]


def codes_by_definition(codec: ResidualCodec, vector):
    """A vector's nearest centroid, and the bucket of each number of its residual's direction."""
    code = min(range(len(codec.centroids)), key=lambda c: float(((vector - codec.centroids[c]) ** 2).sum()))
    residual = vector - codec.centroids[code]
    length = np.linalg.norm(residual)
    buckets = [sum(residual[d] / length > edge for edge in codec.cutoffs[d]) for d in range(len(vector))]
    return code, length, buckets


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
@pytest.mark.parametrize("dimension", [5, 32])
def test_codes_are_centroid_and_buckets(bits, dimension):
    """I8: residuals in 1, 2, 4 or 8 bits."""
    vectors = unit(np.random.default_rng(0).normal(size=(400, dimension)))
    codec = fitted_codec(vectors, token_centroids(vectors, 16), bits=bits)
    coded = codec.encode(vectors[:20])
    decoded = codec.decode(coded)
    assert coded.packed.shape[1] == -(-dimension * bits // 8) == codec.bytes_per_vector - 6
    for row in range(20):
        code, length, buckets = codes_by_definition(codec, vectors[row])
        expected = codec.centroids[code] + np.float16(length) * np.array(
            [codec.weights[d, bucket] for d, bucket in enumerate(buckets)]
        )
        assert coded.codes[row] == code
        assert decoded[row] == pytest.approx(unit(expected), abs=1e-4)


def test_more_bits_keep_more():
    vectors = unit(np.random.default_rng(0).normal(size=(2000, 24)))
    centroids = token_centroids(vectors, 32)
    errors = []
    for bits in (1, 2, 4, 8):
        codec = fitted_codec(vectors, centroids, bits=bits)
        errors.append(float(((codec.decode(codec.encode(vectors)) - vectors) ** 2).sum(axis=1).mean()))
    assert errors[0] > 2 * errors[1] > 8 * errors[2] > 80 * errors[3]
    assert errors[2] < 0.01


def test_buckets_are_better_than_even_ones():
    """The buckets of the paper hold equal shares; after Lloyd's steps the squared error is well below theirs."""
    vectors = unit(np.random.default_rng(1).normal(size=(4000, 16)))
    codec = fitted_codec(vectors, np.zeros((1, 16), dtype=np.float32), bits=4)  # what is left of a vector is itself
    ours = float(((codec.decode(codec.encode(vectors)) - vectors) ** 2).sum(axis=1).mean())
    even = np.empty_like(vectors)
    for d, numbers in enumerate(vectors.T):
        bucket = np.searchsorted(np.quantile(numbers, np.arange(1, 16) / 16), numbers)
        even[:, d] = [numbers[bucket == b].mean() for b in range(16)] @ np.eye(16)[:, bucket]
    assert (np.diff(codec.cutoffs, axis=1) > 0).all()
    assert ours < 0.7 * float(((unit(even) - vectors) ** 2).sum(axis=1).mean())


def test_the_number_of_centroids_is_a_power_of_two_near_four_roots():
    assert [centroids_for(count) for count in (1, 2, 16, 1000, 1_000_000)] == [1, 2, 16, 128, 4096]


def test_added_documents_are_found_and_removed_ones_are_not(index, documents, queries):
    """I9: add and remove."""
    extra = texts_of_topics(2, 30)
    names = [f"new{row}" for row in range(30)]
    index.add(names, extra, fingerprint="f")
    assert [index.search([text], 1)[0][0][0] for text in extra] == names
    index.remove(["new3", "d7"])
    assert index.search([extra[3]], 1)[0][0][0] != "new3"
    assert not {"new3", "d7"} & set(index.ids)
    everything = LateIndex(index._contents, fingerprint="f", search=EVERYTHING)
    found = everything.search([extra[3], documents[7]], 2000)
    assert all(len(hits) == DOCUMENTS + 28 and not {"new3", "d7"} & dict(hits).keys() for hits in found)
    assert (index.stats().documents, index.stats().removed) == (DOCUMENTS + 28, 2)
    index.add(["new3"], [extra[3]], fingerprint="f")  # the id is free again
    assert index.search([extra[3]], 1)[0][0][0] == "new3"


def test_compacting_changes_no_answer(index, queries):
    """I9: compaction."""
    index.remove([f"d{row}" for row in range(0, DOCUMENTS, 3)])
    before, bytes_before = index.search(queries, 20), index._contents.bytes
    index.compact()
    after = index.search(queries, 20)
    assert [dict(hits).keys() for hits in after] == [dict(hits).keys() for hits in before]
    assert [score for hits in after for _, score in hits] == pytest.approx([s for hits in before for _, s in hits])
    assert index.stats().removed == 0
    assert index._contents.bytes < 0.75 * bytes_before


def test_all_removed_leaves_an_index_that_finds_nothing(ids):
    index = LateIndex.build(["a", "b"], ragged(0, 2), fingerprint="f")
    index.remove(["a", "b"])
    assert index.search(ragged(1, 2), 3) == [[], []]
    with pytest.raises(InputError, match="without documents"):
        index.compact()


@pytest.mark.parametrize("mmap", [True, False])
def test_a_saved_index_is_the_same_when_loaded(index, queries, tmp_path, mmap):
    """I9: snapshots, memory-mapped load."""
    index.remove(["d3"])
    index.save(tmp_path / "late")
    loaded = LateIndex.load(tmp_path / "late", mmap=mmap, fingerprint="f")
    assert isinstance(loaded._contents.coded.packed, np.memmap) == mmap
    assert loaded.ids == index.ids
    assert loaded.search(queries, 10) == index.search(queries, 10)
    loaded.add(["more"], [queries[0]], fingerprint="f")
    loaded.compact()
    loaded.save(tmp_path / "late")  # in place of what it was read from
    again = LateIndex.load(tmp_path / "late", mmap=mmap)
    assert again.search(queries[:1], 1)[0][0][0] == "more"
    assert len([path for path in (tmp_path / "late").iterdir() if path.is_dir()]) == 1


def test_older_snapshots_stay_where_they_are_kept(index, tmp_path):
    """I9: versioned snapshots."""
    first = index.save(tmp_path)
    index.remove(["d0"])
    assert index.save(tmp_path, keep=2) == first + 1
    assert "d0" in LateIndex.load(tmp_path, snapshot=first).ids
    assert "d0" not in LateIndex.load(tmp_path).ids


def test_a_write_that_fails_leaves_the_old_index(index, tmp_path, monkeypatch):
    index.save(tmp_path)
    before = LateIndex.load(tmp_path).ids
    index.remove(["d0"])
    saved, written = np.save, []

    def full(path, array, **options):
        if len(written) == 3:
            raise OSError(28, "No space left on device")
        written.append(path)
        saved(path, array, **options)

    with monkeypatch.context() as patched:
        patched.setattr(np, "save", full)
        with pytest.raises(OSError, match="No space left"):
            index.save(tmp_path)
    assert len(written) == 3
    assert LateIndex.load(tmp_path).ids == before


def test_what_is_no_index_or_damaged_is_said(index, tmp_path):
    with pytest.raises(InputError, match="holds no index"):
        LateIndex.load(tmp_path / "nothing")
    index.save(tmp_path)
    with pytest.raises(InputError, match="made with another encoder"):
        LateIndex.load(tmp_path, fingerprint="g")
    about = next(tmp_path.glob("*/about.json"))
    whole = json.loads(about.read_text(encoding="utf-8"))
    for change, error, message in (
        ({"format": 99}, LibraryTooNew, "Update Foveal"),
        ({"kind": "flat"}, InputError, "another kind"),
        ({"ids": whole["ids"][1:]}, LibraryCorrupt, "do not fit"),
    ):
        about.write_text(json.dumps(whole | change), encoding="utf-8")
        with pytest.raises(error, match=message):
            LateIndex.load(tmp_path)
    about.write_text(json.dumps(whole), encoding="utf-8")
    cut_short(about.parent / "packed.npy")
    with pytest.raises(LibraryCorrupt):
        LateIndex.load(tmp_path)


def cut_short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def test_stats_count_bytes_and_scored_documents(index, queries):
    """I8: bytes per vector, documents scored per query."""
    stats = index.stats(queries[:5], k=3)
    assert stats.bytes_per_vector == 4 + 2 + DIMENSION * 4 // 8
    assert stats.bytes_per_document == pytest.approx(index._contents.bytes / DOCUMENTS)
    assert 0 < stats.scored_per_query <= index.effort.scored
    assert stats.scored_per_query <= stats.candidates_per_query <= DOCUMENTS
    assert (stats.documents, stats.bits, index.stats().scored_per_query) == (DOCUMENTS, 4, 0)


def test_many_wanted_are_found_though_few_are_scored_by_default(index, queries):
    small = LateIndex(index._contents, fingerprint="f", search=LateSearch(approximated=20, scored=10))
    assert all(len(hits) == 100 for hits in small.search(queries[:3], 100))
    assert all(looked.scored == 10 for _, looked in small.search_counted(queries[:3], 2))


def test_the_same_seed_builds_the_same_index(documents, ids):
    one, other = (LateIndex.build(ids[:50], documents[:50], fingerprint="f") for _ in range(2))
    for name, array in one._contents.arrays.items():
        assert np.array_equal(array, other._contents.arrays[name]), name


def test_stacked_half_floats_from_a_read_only_file_build_an_index(documents, ids, tmp_path):
    stacked = TokenVectors.of(documents[:100])
    np.save(tmp_path / "vectors.npy", stacked.vectors.astype(np.float16))
    mapped = TokenVectors(np.load(tmp_path / "vectors.npy", mmap_mode="r"), stacked.starts)
    index = LateIndex.build(ids[:100], mapped, fingerprint="f")
    assert [index.search([text], 1)[0][0][0] for text in documents[:100]] == ids[:100]


def test_it_serves_a_retriever(ids):
    """I8 behind the `Retriever` protocol."""
    passages = {name: Passage(Span(name, 0, len(text)), text) for name, text in TEXTS.items()}
    model = WordVectors()
    index = LateIndex.build(list(TEXTS), model.documents(TEXTS.values()), fingerprint=model.fingerprint)
    hits = LateInteraction(model, passages, index).search(["dim light"], 1)[0]
    assert hits[0].passage.span.document_id == "rods"
    with pytest.raises(InputError, match="another encoder"):
        LateInteraction(WordVectors(salt="x"), passages, index)


@pytest.mark.parametrize(
    ("ids", "vectors", "settings", "message"),
    [
        ([], [], {}, "no documents"),
        (["a", "a"], [np.eye(2)] * 2, {}, "'a' twice"),
        (["a"], [np.array([[1, np.nan]])], {}, "'a' hold NaN"),
        (["a", "b"], [np.eye(2), 3 * np.eye(2)], {}, "'b' has the length 3; the index needs unit"),
        (["a", "b"], [np.eye(2)] * 2, {"centroids": 8}, "4 token vectors for 8 centroids"),
    ],
)
def test_what_cannot_be_built_is_an_error(ids, vectors, settings, message):
    with pytest.raises(InputError, match=message):
        LateIndex.build(ids, vectors, fingerprint="f", settings=LateIndexSettings(**settings))


def test_what_an_index_refuses(index, queries):
    for call, error, message in (
        (lambda: index.search(queries, 0), InputError, "k = 0"),
        (lambda: index.search([np.eye(3)], 1), InputError, "vectors of 32 numbers and got some of 3"),
        (lambda: index.search([np.full((1, 32), np.nan)], 1), InputError, "NaN"),
        (lambda: index.add(["d0"], queries[:1], fingerprint="f"), InputError, "already holds the document 'd0'"),
        (lambda: index.add(["x"], queries[:1], fingerprint="g"), InputError, "cannot be compared"),
        (lambda: index.add(["x"], [np.eye(3)], fingerprint="f"), InputError, "numbers and got some of 3"),
        (lambda: index.remove(["d0", "nowhere"]), UnknownDocument, "'nowhere'"),
    ):
        with pytest.raises(error, match=message):
            call()
    assert index.search([], 1) == []
    assert "d0" in index.ids


@pytest.mark.parametrize(
    "wrong", [{"bits": 3}, {"centroids": 12}, {"centroids": 0}, {"rounds": 0}, {"sampled": 0}], ids=str
)
def test_wrong_settings_are_refused(wrong):
    with pytest.raises(InputError, match="A late index got"):
        LateIndexSettings(**wrong)


@pytest.mark.parametrize("wrong", [{"probes": 0}, {"scored": 0}, {"scored": 100, "approximated": 50}], ids=str)
def test_wrong_effort_is_refused(wrong):
    with pytest.raises(InputError, match="A late search got"):
        LateSearch(**wrong)
