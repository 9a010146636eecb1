"""TextTiling, depth scores and dynamic programming: exact small cases, plain definitions, and any text."""

from dataclasses import dataclass, field
from itertools import accumulate, combinations, pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foveal.errors import InputError
from foveal.text import embedding_segmentation
from foveal.text.embedding_segmentation import (
    DepthSegmenter,
    DynamicProgrammingSegmenter,
    depth_boundaries,
    gap_similarity,
    guided_segments,
    segment_vectors,
)
from foveal.text.texttiling import TextTiling, _nearest, block_similarity, deepest, depths, smoothed, valleys
from foveal.text.units import words
from foveal.types import Document

TEXTS = st.one_of(
    st.text(),
    st.lists(st.sampled_from(["Cats purr. ", "Rain fell! ", "\n\n", "dog ", "漢字。", " ", "x" * 70])).map("".join),
)


@dataclass(frozen=True)
class Topics:
    """An Encoder: a text about "cat" and one about "rain" are at right angles; all else is a mixture."""

    name: str = "topics"
    fingerprint: str = "topics"
    dimension: int = 3
    max_tokens: int = 256
    asked: list[int] = field(default_factory=list, compare=False)

    def encode(self, texts):
        self.asked.append(len(texts))
        counts = np.array([[t.lower().count("cat"), t.lower().count("rain"), 0.01] for t in texts]).reshape(-1, 3)
        return (counts / np.linalg.norm(counts, axis=1, keepdims=True)).astype(np.float32)

    def token_offsets(self, text):
        return words(text)


def document(text):
    return Document.of("test:topics", text, "a title")


def units(rng, count, dimension, runs=1):
    vectors = np.repeat(rng.standard_normal((-(-count // runs), dimension)), runs, axis=0)[:count]
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


# --- dynamic programming ---


def every_segmentation(count):
    for inner in range(count):
        yield from (list(bounds) for bounds in combinations(range(1, count), inner))


def worth(vectors, bounds, penalty, sizes, least, most):
    """(no segment too long, fewest too short, value), by the definition; to be maximised."""
    edges = [0, *bounds, len(vectors)]
    spans = list(pairwise(edges))
    held = all(sum(sizes[a:b]) <= most or b - a == 1 for a, b in spans)
    short = sum(sum(sizes[a:b]) < least for a, b in spans)
    return held, -short, sum(np.linalg.norm(vectors[a:b].sum(axis=0)) - penalty for a, b in spans)


@pytest.mark.parametrize("rows", [1, 3, 16])  # several blocks of ends, or one
def test_the_segmentation_is_the_best_of_all(monkeypatch, rows):
    monkeypatch.setattr(embedding_segmentation, "ROWS", rows)
    rng = np.random.default_rng(rows)
    for case in range(120):
        count, penalty = int(rng.integers(1, 9)), float(rng.choice([0, 0.3, 0.9, 1.2, 2.5]))
        vectors = units(rng, count, int(rng.integers(1, 5)), runs=1 + case % 3)
        sizes = rng.integers(0, 9, count).tolist()
        least, most = (int(rng.integers(0, 10)), int(rng.integers(10, 25))) if case % 2 else (0, 10**9)
        found = segment_vectors(vectors, penalty, sizes=sizes, min_size=least, max_size=most)
        best = max(worth(vectors, bounds, penalty, sizes, least, most) for bounds in every_segmentation(count))
        ours = worth(vectors, found, penalty, sizes, least, most)
        assert ours[:2] == best[:2]
        assert ours[2] == pytest.approx(best[2], abs=1e-9)


def test_dropping_beaten_starts_loses_nothing(monkeypatch):
    rng = np.random.default_rng(5)
    for runs in (1, 4, 9):
        vectors = units(rng, 400, 16, runs=runs)
        found = segment_vectors(vectors, 1.2)
        with monkeypatch.context() as patch:
            patch.setattr(embedding_segmentation, "ROWS", 10**6)  # one block: nothing is dropped
            assert segment_vectors(vectors, 1.2) == found


def test_clear_topics_are_found_and_the_penalty_sets_the_grain():
    vectors = np.repeat(np.eye(4), [3, 5, 1, 4], axis=0)
    assert segment_vectors(vectors, 0.5) == [3, 8, 9]
    assert segment_vectors(vectors, 100.0) == []
    assert segment_vectors(np.eye(4), 0.0) == [1, 2, 3]


def test_size_limits_hold():
    same = np.ones((10, 1))
    assert segment_vectors(same, 1.0, max_size=4) in ([4, 8], [2, 6], [3, 7], [4, 7], [3, 6], [2, 6])
    assert segment_vectors(np.eye(6), 0.0, min_size=3) == [3]
    assert segment_vectors(np.eye(3), 0.0, sizes=[1, 50, 1], max_size=10, min_size=5) == [
        1,
        2,
    ]  # nothing fits: as it is


def test_no_vectors_and_one():
    assert segment_vectors(np.zeros((0, 4))) == segment_vectors(np.ones((1, 4))) == []
    assert depth_boundaries(np.zeros((0, 4))) == depth_boundaries(np.ones((1, 4))) == []


@pytest.mark.parametrize(
    ("vectors", "options", "message"),
    [
        (np.ones(4), {}, "shape"),
        (np.full((2, 2), np.nan), {}, "finite"),
        (np.ones((2, 2)), {"penalty": -1.0}, "penalty"),
        (np.ones((2, 2)), {"sizes": [1]}, "sizes"),
        (np.ones((2, 2)), {"sizes": [1, -1]}, "sizes"),
    ],
)
def test_what_cannot_be_segmented_is_refused(vectors, options, message):
    with pytest.raises(InputError, match=message):
        segment_vectors(vectors, **options)


# --- depth scores ---


def depth_by_definition(scores, gap):
    def peak(step):
        at = gap
        while 0 <= at + step < len(scores) and scores[at + step] >= scores[at]:
            at += step
        return scores[at]

    return peak(-1) + peak(1) - 2 * scores[gap]


def test_depths_are_their_definition():
    rng = np.random.default_rng(0)
    for count in (0, 1, 2, 30, *[3] * 20):
        scores = rng.integers(0, 6, count).astype(float)  # with plateaus
        assert depths(scores).tolist() == [depth_by_definition(scores, gap) for gap in range(count)]


def test_valleys():
    assert valleys(np.array([3.0, 1, 2, 2, 0, 0, 5])).nonzero()[0].tolist() == [1, 4]
    assert valleys(np.array([1.0, 2, 1])).nonzero()[0].tolist() == [0, 2]


@pytest.mark.parametrize("fading", [False, True])
@pytest.mark.parametrize("w", [1, 3, 20])
def test_gap_similarity_is_its_definition(w, fading):
    vectors = units(np.random.default_rng(w), 9, 4)

    def side(chosen):  # the nearest unit first
        weights = [w - at if fading else 1 for at in range(len(chosen))]
        return sum(weight * vector for weight, vector in zip(weights, chosen, strict=True))

    for gap, found in enumerate(gap_similarity(vectors, w, fading=fading), 1):
        left, right = side(vectors[max(0, gap - w) : gap][::-1]), side(vectors[gap : gap + w])
        assert found == pytest.approx(left @ right / np.linalg.norm(left) / np.linalg.norm(right), abs=1e-12)


def test_depth_boundaries_are_where_topics_change():
    noise = 0.1 * np.random.default_rng(1).standard_normal((24, 3))
    vectors = np.repeat(np.eye(3), 8, axis=0) + noise
    assert depth_boundaries(vectors) == depth_boundaries(vectors, 5, 0.5, fading=False) == [8, 16]
    with pytest.raises(InputError, match="w 0"):
        depth_boundaries(vectors, 0)


# --- TextTiling ---


def test_block_similarity_is_the_cosine_of_counts():
    pseudo = [["cat", None, "cat"], ["dog"], ["cat", "dog"], []]
    assert block_similarity(pseudo, 1) == pytest.approx([0, 1 / np.sqrt(2), 0])
    assert block_similarity(pseudo, 2) == pytest.approx([2 / np.sqrt(4 * 5), 3 / np.sqrt(5 * 2), 0])


@given(st.lists(st.integers(1, 6), min_size=1, max_size=8), st.integers(0, 50))
def test_a_gap_moves_to_the_nearest_end_of_a_unit(lengths, position):
    ends = list(accumulate(lengths))
    nearest = min(range(len(ends)), key=lambda at: (abs(ends[at] - position), at))
    assert _nearest(ends, position) == nearest + 1


def test_smoothing_averages_with_the_neighbours():
    assert smoothed(np.array([0.0, 3, 6, 0]), 1) == pytest.approx([1.5, 3, 3, 3])
    assert smoothed(np.array([0.0, 3, 6, 0]), 0) == pytest.approx([0, 3, 6, 0])


def test_the_deepest_valleys_come_first_and_keep_apart():
    scores = np.array([9.0, 1, 8, 0, 9, 9, 9, 9, 2, 9])
    assert deepest(scores, -0.5, 1) == [1, 3, 8]
    assert deepest(scores, -0.5, 4) == [3, 8]
    for turned, apart, taken in ((1, 5, [3, 8]), (1, 6, [3]), (-1, 5, [1, 6]), (-1, 6, [6])):
        assert deepest(scores[::turned], -0.5, apart) == taken  # as near as that is too near, on either side
    assert deepest(scores, 100.0, 1) == deepest(np.zeros(5), -0.5, 1) == deepest(np.zeros(0), -0.5, 1) == []


def test_texttiling_finds_where_the_words_change():
    def about(*names):
        return [f"{names[n % 3]} {names[(n + 1) % 3]} with the {names[n % 2]}. " * 3 for n in range(12)]

    cats, rain = about("cats", "kittens", "fur"), about("rainfall", "clouds", "weather")
    found = TextTiling().segment(document("\n\n".join(cats + rain)))
    assert [passage.text.split()[0] for passage in found] == ["cats", "rainfall"]
    assert all(passage.text.rstrip().endswith(".") for passage in found)
    one_paragraph = TextTiling().segment(document("".join(cats + rain).replace(". ", ". The ")))
    assert len(one_paragraph) == 2
    assert one_paragraph[1].text.startswith("The rainfall")


@pytest.mark.parametrize("settings", [{"sentence_words": 0}, {"block": 0}, {"apart": 0}, {"smoothing": -1}])
def test_impossible_tilings_are_refused(settings):
    with pytest.raises(InputError, match="at least"):
        TextTiling(**settings)


# --- over texts ---


def up_to_last_word(text):
    """`text` without the marks at its end: a table's rule there may exceed the limit."""
    return text[: max((at for at, character in enumerate(text, 1) if character.isalnum()), default=0)]


CATS = "The cat sleeps. A cat purrs. My cat eats. That cat hunts. "
RAIN = "Now rain falls. The rain is cold. More rain comes. It rains on. "


@pytest.mark.parametrize("kind", [DynamicProgrammingSegmenter, DepthSegmenter])
def test_passages_are_about_one_thing(kind):
    encoder = Topics()
    found = kind(encoder=encoder).segment(document(CATS + RAIN + CATS))
    assert [passage.text for passage in found] == [CATS, RAIN, CATS]
    assert encoder.asked == [12]  # each sentence is encoded once
    by_paragraph = kind(encoder=encoder, unit="paragraph", **({"w": 1} if kind is DepthSegmenter else {"penalty": 0.5}))
    assert len(by_paragraph.segment(document(f"{CATS}\n\n{CATS}\n\n{RAIN}\n\n{RAIN}"))) == 2


def test_limits_in_tokens():
    encoder = Topics()
    text = CATS + RAIN + CATS  # 16 tokens, 17, 16
    long = DynamicProgrammingSegmenter(encoder=encoder, max_tokens=10).segment(document(text))
    assert max(len(words(passage.text)) for passage in long) <= 10
    joined = DynamicProgrammingSegmenter(encoder=encoder, min_tokens=30).segment(document(text))
    assert min(len(words(passage.text)) for passage in joined) >= 30 or len(joined) == 1
    huge = DynamicProgrammingSegmenter(encoder=encoder, unit="paragraph", max_tokens=10).segment(document(text))
    assert max(len(words(passage.text)) for passage in huge) <= 10  # one unit above the limit is cut


@pytest.mark.parametrize("kind", [DynamicProgrammingSegmenter, DepthSegmenter])
@pytest.mark.parametrize("options", [{"unit": "line"}, {"max_tokens": 0}, {"max_tokens": 3, "min_tokens": 4}])
def test_impossible_settings_are_refused(kind, options):
    with pytest.raises(InputError):
        kind(encoder=Topics(), **options)


@settings(max_examples=50)
@given(TEXTS, st.sampled_from(["sentence", "paragraph"]), st.sampled_from([None, 1, 5, 20]))
def test_passages_cover_any_text_within_the_limit(text, unit, most):
    for segmenter in (
        DynamicProgrammingSegmenter(encoder=Topics(), unit=unit, max_tokens=most),
        DepthSegmenter(encoder=Topics(), unit=unit, max_tokens=most, min_tokens=1),
        TextTiling(sentence_words=2, block=2, apart=1, max_tokens=most),
    ):
        passages = segmenter.segment(document(text))
        assert "".join(passage.text for passage in passages) == text
        assert all(passage.text == text[passage.span.start : passage.span.end] != "" for passage in passages)
        assert passages == segmenter.segment(document(text))
        assert most is None or all(len(words(up_to_last_word(passage.text))) <= most for passage in passages)


def test_a_guide_makes_valleys_cheaper_and_ridges_dearer():
    vectors = units(np.random.default_rng(3), 40, 6, runs=4)
    similarity = gap_similarity(vectors, 8, fading=True)
    costs = [1.1, *(1.1 + 2.0 * (value - similarity.mean()) for value in similarity)]
    assert guided_segments(vectors, 1.1, 2.0) == segment_vectors(vectors, costs)
    assert guided_segments(vectors, 1.1, 0.0) == segment_vectors(vectors, 1.1)
    assert guided_segments(np.zeros((0, 4))) == guided_segments(np.ones((1, 4))) == []
    with pytest.raises(InputError, match="penalty"):
        guided_segments(vectors, 1.0, -1.0)
