"""Product quantisation, its rotation, and cells, each against its plain definition."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from foveal.errors import InputError
from foveal.retrieval import quantised
from foveal.retrieval.quantised import (
    Cells,
    ProductQuantiser,
    cell_centroids,
    drawn_centroids,
    kmeans,
    nearest,
    nearest_cells,
    table_scores,
)

NUMBERS = st.floats(-4, 4, width=32)


def clustered(count, dimension, *, seed=0, places=12, spread=0.4):
    generator = np.random.default_rng(seed)
    centres = generator.normal(size=(places, dimension))
    noise = generator.normal(size=(count, dimension)) * spread
    return (centres[generator.integers(places, size=count)] + noise).astype(np.float32)


def correlated(count, dimension, *, seed=0):
    """Vectors whose numbers hang together: a few strong directions, turned at random."""
    generator = np.random.default_rng(seed)
    turn, _ = np.linalg.qr(generator.normal(size=(dimension, dimension)))
    return (generator.normal(size=(count, dimension)) * 0.7 ** np.arange(dimension) @ turn).astype(np.float32)


def nearest_by_definition(points, centroids):
    """For each point the centroid of the least squared distance, counted number by number."""
    distances = [
        [sum((float(a) - float(b)) ** 2 for a, b in zip(p, c, strict=True)) for c in centroids] for p in points
    ]
    return [row.index(min(row)) for row in distances]


def averaged_by_definition(points, centroids):
    """One round of Lloyd's k-means; a cluster without points takes the point farthest from its own centroid."""
    near = nearest_by_definition(points, centroids)
    lost = [float(np.sum((point - centroids[one]) ** 2)) for point, one in zip(points, near, strict=True)]
    far = iter(sorted(range(len(points)), key=lambda row: -lost[row]))
    of = {one: [row for row, place in enumerate(near) if place == one] for one in range(len(centroids))}
    return np.array([points[of[one]].mean(axis=0) if of[one] else points[next(far)] for one in of])


@pytest.mark.parametrize("rounds", [1, 3])
def test_kmeans_is_lloyds_rounds_on_each_set(rounds):
    points = np.stack([clustered(60, 5, seed=seed) for seed in range(3)])
    first = drawn_centroids(points, 7, seed=1)
    found = kmeans(points, first, rounds=rounds)
    for one in range(3):
        expected = first[one]
        for _ in range(rounds):
            expected = averaged_by_definition(points[one], expected)
        assert found[one] == pytest.approx(expected, abs=1e-4)


def test_a_centroid_without_points_moves_to_the_point_that_fits_worst():
    points = np.array([[0, 0], [0.5, 0], [10, 0], [14, 0]], dtype=np.float32)[None]
    centroids = np.array([[0, 0], [11, 0], [500, 500]], dtype=np.float32)[None]
    assert kmeans(points, centroids, rounds=1)[0].tolist() == [[0.25, 0], [12, 0], [14, 0]]
    far_out = np.array([[0, 0], [3, 0], [100, 0], [100.5, 0]], dtype=np.float32)[None]  # what is large may fit well
    centroids = np.array([[0, 0], [100, 0], [500, 500]], dtype=np.float32)[None]
    assert kmeans(far_out, centroids, rounds=1)[0].tolist() == [[1.5, 0], [100.25, 0], [3, 0]]


def test_in_blocks_equals_at_once(monkeypatch):
    points, centroids = clustered(100, 6)[None], clustered(9, 6, seed=1)[None]
    whole = nearest(points, centroids), kmeans(points, centroids)
    monkeypatch.setattr(quantised, "DISTANCES_AT_ONCE", 9 * 7)
    assert np.array_equal(nearest(points, centroids), whole[0])
    assert kmeans(points, centroids) == pytest.approx(whole[1], abs=1e-5)


@pytest.mark.parametrize("rotate", [False, True])
def test_codes_are_the_nearest_centroids_of_the_parts(rotate):
    """I3."""
    vectors = clustered(80, 12)
    quantiser = ProductQuantiser.train(vectors, 3, centroids=8, rotate=rotate)
    turned = vectors @ quantiser.rotation if rotate else vectors
    expected = [nearest_by_definition(turned[:, 4 * p : 4 * p + 4], quantiser.centroids[p]) for p in range(3)]
    codes = quantiser.encode(vectors)
    assert codes.dtype == np.uint8
    assert codes.T.tolist() == expected
    decoded = np.concatenate([quantiser.centroids[p][codes[:, p]] for p in range(3)], axis=1)
    assert quantiser.decode(codes) == pytest.approx(decoded @ quantiser.rotation.T if rotate else decoded, abs=1e-5)


@pytest.mark.parametrize("rotate", [False, True])
@given(seed=st.integers(0, 10_000))
@settings(max_examples=15)
def test_table_look_ups_are_products_with_what_codes_stand_for(rotate, seed):
    """I3: the asymmetric distance."""
    generator = np.random.default_rng(seed)
    rotation = np.linalg.qr(generator.normal(size=(6, 6)))[0].astype(np.float32) if rotate else None
    quantiser = ProductQuantiser(generator.normal(size=(3, 5, 2)).astype(np.float32), rotation)
    codes = generator.integers(5, size=(20, 3)).astype(np.uint8)
    queries = generator.normal(size=(4, 6)).astype(np.float32)
    expected = queries @ quantiser.decode(codes).T
    for order in ("C", "F"):
        found = [table_scores(table, np.asarray(codes, order=order)) for table in quantiser.tables(queries)]
        assert np.stack(found) == pytest.approx(expected, abs=1e-4)


def test_training_lowers_the_error_and_more_bytes_lower_it_further():
    """I3."""
    vectors = clustered(600, 16)
    drawn = ProductQuantiser(drawn_centroids(vectors.reshape(600, 4, 4).transpose(1, 0, 2), 16, seed=0))
    errors = [ProductQuantiser.train(vectors, parts, centroids=16).error(vectors) for parts in (2, 4, 8)]
    assert errors[1] < 0.8 * drawn.error(vectors)
    assert errors[0] > errors[1] > errors[2]
    assert errors[1] == pytest.approx(
        np.mean([np.sum((v - d) ** 2) for v, d in zip(vectors, decoded(vectors, 4), strict=True)]), rel=1e-4
    )


def decoded(vectors, parts):
    quantiser = ProductQuantiser.train(vectors, parts, centroids=16)
    return quantiser.decode(quantiser.encode(vectors))


def test_as_many_centroids_as_vectors_lose_nothing():
    vectors = np.random.default_rng(0).normal(size=(32, 8)).astype(np.float32)
    quantiser = ProductQuantiser.train(vectors, 4, centroids=32)
    assert quantiser.decode(quantiser.encode(vectors)) == pytest.approx(vectors, abs=1e-5)


def test_the_rotation_is_orthogonal_and_lowers_the_error_of_correlated_numbers():
    """I3: OPQ."""
    vectors, others = correlated(1200, 16), correlated(1200, 16)[1000:]
    plain = ProductQuantiser.train(vectors[:1000], 4, centroids=16)
    rotated = ProductQuantiser.train(vectors[:1000], 4, centroids=16, rotate=True)
    assert rotated.rotation @ rotated.rotation.T == pytest.approx(np.eye(16), abs=1e-4)
    assert rotated.error(others) < 0.9 * plain.error(others)


def test_the_same_seed_trains_the_same():
    vectors = clustered(300, 8)
    one, two = (ProductQuantiser.train(vectors, 4, centroids=16, rotate=True, seed=3) for _ in range(2))
    assert np.array_equal(one.centroids, two.centroids)
    assert np.array_equal(one.rotation, two.rotation)


@pytest.mark.parametrize("nearest_first", [True, False])
@given(arrays(np.float32, st.tuples(st.integers(1, 9), st.just(3)), elements=NUMBERS), st.integers(1, 12), st.data())
@settings(max_examples=60)
def test_cells_are_probed_best_first_until_they_hold_enough(nearest_first, centroids, probes, data):
    """I2."""
    sizes = data.draw(st.lists(st.integers(0, 4), min_size=len(centroids), max_size=len(centroids)))
    wanted = data.draw(st.integers(0, max(1, sum(sizes))))
    query = np.array([1, -2, 0.5], dtype=np.float32)
    cells = Cells(centroids, np.concatenate([[0], np.cumsum(sizes)]))
    products = cells.products(query)
    assert products == pytest.approx(centroids @ query, abs=1e-4)
    found = cells.probed(products, probes, wanted, nearest_first=nearest_first)
    scores = -((centroids - query) ** 2).sum(axis=1) if nearest_first else centroids @ query
    assert len(set(found.tolist())) == len(found)
    assert scores[found] == pytest.approx(np.sort(scores)[::-1][: len(found)], abs=1e-3)  # the best ones, best first
    held = [sizes[cell] for cell in found]
    assert len(found) >= min(probes, len(centroids))
    assert sum(held) >= min(wanted, sum(sizes))
    if len(found) > min(probes, len(centroids)):
        assert sum(held[:-1]) < wanted  # the last one was needed


def test_vectors_lie_in_the_cell_of_the_nearest_centroid():
    """I2."""
    vectors = clustered(300, 6)
    centroids = cell_centroids(vectors, 10)
    cells = nearest_cells(vectors, centroids)
    assert cells.tolist() == nearest_by_definition(vectors, centroids)
    assert len(np.unique(cells)) == 10
    within = np.mean([np.sum((vectors[row] - centroids[cells[row]]) ** 2) for row in range(300)])
    assert within < 0.3 * np.sum(vectors.var(axis=0))


@pytest.mark.parametrize(
    ("shape", "parts", "centroids", "message"),
    [
        ((300, 10), 4, 256, "4 parts for dimension 10.*Choose one of 1, 2, 5, 10"),
        ((300, 10), 0, 256, "0 parts"),
        ((300, 10), 5, 257, "257 centroids a part; it needs 2 to 256"),
        ((300, 10), 5, 1, "1 centroids a part"),
        ((255, 10), 5, 256, "255 vectors to train 256 centroids"),
    ],
)
def test_what_cannot_be_quantised_is_an_error(shape, parts, centroids, message):
    with pytest.raises(InputError, match=message):
        ProductQuantiser.train(np.ones(shape, dtype=np.float32), parts, centroids=centroids)


def test_two_centroids_are_enough():
    vectors = np.repeat(np.eye(2, dtype=np.float32), 3, axis=0)
    quantiser = ProductQuantiser.train(vectors, 1, centroids=2)
    assert quantiser.decode(quantiser.encode(vectors)) == pytest.approx(vectors)


def test_another_dimension_is_an_error():
    quantiser = ProductQuantiser.train(clustered(20, 6), 3, centroids=4)
    for call in (quantiser.encode, quantiser.tables):
        with pytest.raises(InputError, match=r"dimension 6 got vectors of shape \(2, 5\)"):
            call(np.ones((2, 5), dtype=np.float32))


@pytest.mark.parametrize("cells", [0, 21])
def test_cells_must_be_one_to_the_number_of_vectors(cells):
    with pytest.raises(InputError, match="it needs 1 to 20"):
        cell_centroids(clustered(20, 6), cells)
