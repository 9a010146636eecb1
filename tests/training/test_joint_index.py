"""Indexes trained with their queries (I7): equations against plain definitions, gradients, and what training gains."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from foveal.errors import InputError
from foveal.retrieval import flat
from foveal.retrieval.quantised import ProductQuantiser, drawn_centroids
from foveal.retrieval.vectors import DenseIndex, IndexSettings
from foveal.training.joint_index import (
    BinaryPassages,
    ConstrainedPQ,
    DistilledPQ,
    JointPQ,
    JointSettings,
    fit,
    hard_negatives,
)
from foveal.training.joint_losses import (
    balanced_codes,
    binary_search,
    decode,
    distilled_loss,
    hamming_margin_loss,
    nearest_codes,
    own_scores,
    sinkhorn,
    soft_signs,
    straight_through,
)
from foveal.training.list_losses import localised_softmax, ranknet

D, N, PARTS, CENTROIDS = 16, 400, 4, 16


@dataclass(frozen=True)
class World:
    """Documents around a few places, and queries that mean one document each but see it through a skewed lens."""

    vectors: np.ndarray  # (N, D), unit
    train: torch.Tensor  # (300, D)
    relevant: list[list[int]]
    held_out: torch.Tensor  # (200, D)
    answers: list[int]


@pytest.fixture(scope="module")
def world():
    generator = np.random.default_rng(0)
    centres = generator.normal(size=(12, D))
    vectors = centres[generator.integers(12, size=N)] + 0.5 * generator.normal(size=(N, D))
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    lens = np.eye(D) + 0.22 * generator.normal(size=(D, D))

    def asked(rows):
        seen = vectors[rows] @ lens + 0.03 * generator.normal(size=(len(rows), D))
        return torch.tensor(seen / np.linalg.norm(seen, axis=1, keepdims=True), dtype=torch.float32)

    trained_on, held_out = generator.integers(N, size=300), generator.integers(N, size=200)
    return World(vectors, asked(trained_on), [[int(row)] for row in trained_on], asked(held_out), held_out.tolist())


@pytest.fixture(scope="module")
def quantiser(world):
    return ProductQuantiser.train(world.vectors, PARTS, centroids=CENTROIDS)


def reciprocal_rank(index, queries, answers):
    """Mean reciprocal rank of the answers among the ten first."""
    found, _ = index.search(queries.detach().numpy(), 10)
    ranks = [row.index(one) + 1 if one in row else math.inf for row, one in zip(found.tolist(), answers, strict=True)]
    return sum(1 / rank for rank in ranks) / len(ranks)


def index_of(world, quantiser, codes):
    made = IndexSettings(kind="pq", metric="ip", rescore="none")
    return DenseIndex.build(range(N), world.vectors, made, quantiser=quantiser, codes=codes)


def parameters_reached(model, loss):
    loss.backward()
    return {name for name, one in model.named_parameters() if one.grad is not None and one.grad.abs().sum() > 0}


# -- the equations ----------------------------------------------------------------------------------------------------


def test_losses_are_their_definitions():
    """I7."""
    scores = torch.tensor([[1.0, 0.5, 2.0], [0.0, -1.0, 0.25]], dtype=torch.float64)
    pairs = [(1.0, 0.5), (1.0, 2.0), (0.0, -1.0), (0.0, 0.25)]
    assert float(ranknet(scores)) == pytest.approx(
        sum(math.log(1 + math.exp(wrong - right)) for right, wrong in pairs) / 4
    )
    assert float(localised_softmax(scores)) == pytest.approx(
        sum(-math.log(math.exp(row[0]) / sum(map(math.exp, row))) for row in scores.tolist()) / 2
    )
    queries = torch.tensor([[1.0, -1.0], [0.5, 1.0]])
    documents = torch.tensor([[[1.0, -1.0], [1.0, 1.0]], [[-1.0, 1.0], [1.0, 1.0]]])
    assert own_scores(queries, documents).tolist() == [[2, 0], [0.5, 1.5]]
    assert float(hamming_margin_loss(queries, documents, margin=2.5)) == pytest.approx((0.5 + 3.5) / 2)


def test_distillation_is_the_cross_entropy_of_each_student_with_the_teacher():
    """I7: Distill-VQ's loss."""
    teacher = torch.tensor([[1.0, 0.0, -1.0]])
    students = [torch.tensor([[0.5, 0.25, 0.0]]), torch.tensor([[2.0, -1.0, 0.0]])]

    def shares(scores):
        weights = [math.exp(one / 0.5) for one in scores]
        return [one / sum(weights) for one in weights]

    wanted = shares(teacher[0].tolist())
    expected = -sum(p * math.log(q) for s in students for p, q in zip(wanted, shares(s[0].tolist()), strict=True))
    assert float(distilled_loss(teacher, students, temperature=0.5)) == pytest.approx(expected)
    same = float(distilled_loss(teacher, [teacher]))
    assert all(float(distilled_loss(teacher, [one])) > same for one in students)  # least where student is teacher
    for wrong in ([], [students[0][:, :2]]):
        with pytest.raises(InputError, match="all need one shape"):
            distilled_loss(teacher, wrong)


def test_codes_stand_for_their_centroids():
    centroids = torch.arange(12.0).reshape(2, 3, 2)
    assert decode(centroids, torch.tensor([[2, 0], [1, 1]])).tolist() == [[4, 5, 6, 7], [2, 3, 8, 9]]
    assert decode(centroids, torch.tensor([[[2, 0]], [[1, 1]]])).shape == (2, 1, 4)


def test_codes_of_both_sides_agree(world, quantiser):
    """I7: what is trained here is what `retrieval.quantised` searches."""
    codes = nearest_codes(torch.from_numpy(world.vectors), torch.from_numpy(quantiser.centroids))
    assert np.array_equal(codes.numpy(), quantiser.encode(world.vectors))
    assert np.allclose(
        decode(torch.from_numpy(quantiser.centroids), codes).numpy(), quantiser.decode(codes.numpy()), atol=1e-6
    )


@given(st.integers(2, 6), st.integers(2, 4), st.integers(0, 1000))
@settings(max_examples=30)
def test_sinkhorn_gives_each_point_one_share_and_each_cluster_as_much(times, clusters, seed):
    """I7: RepCONC's constraint."""
    costs = torch.rand(times * clusters, clusters, generator=torch.Generator().manual_seed(seed))
    shares = sinkhorn(costs, epsilon=0.5, rounds=200)
    assert shares.sum(dim=1) == pytest.approx(torch.ones(len(costs)), abs=1e-4)
    assert shares.sum(dim=0) == pytest.approx(torch.full((clusters,), float(times)), abs=1e-2)


def test_hard_shares_are_the_cheapest_balanced_assignment():
    """I7: against all assignments of six points to three clusters of two."""
    costs = torch.rand(6, 3, generator=torch.Generator().manual_seed(4))
    balanced = [one for one in itertools.product(range(3), repeat=6) if all(one.count(c) == 2 for c in range(3))]
    cheapest = min(balanced, key=lambda one: sum(float(costs[point, c]) for point, c in enumerate(one)))
    assert sinkhorn(costs, epsilon=0.02, rounds=2000).argmax(dim=1).tolist() == list(cheapest)
    nearest = costs.argmin(dim=1).tolist()
    assert sorted(nearest.count(c) for c in range(3)) != [2, 2, 2]  # the constraint matters here


@pytest.mark.parametrize("given", [{"epsilon": 0.0}, {"rounds": 0}])
def test_sinkhorn_refuses_what_cannot_be(given):
    with pytest.raises(InputError, match="Sinkhorn got"):
        sinkhorn(torch.rand(4, 2), **given)


def test_balanced_codes_use_all_centroids_alike_where_the_nearest_do_not():
    """I7."""
    generator = torch.Generator().manual_seed(0)
    vectors = torch.cat([torch.randn(90, 4, generator=generator) * 0.3, torch.randn(6, 4, generator=generator) + 4])
    centroids = torch.stack([vectors[::12, :2], vectors[::12, 2:]])
    used = [torch.stack([part.bincount(minlength=8) for part in codes(vectors, centroids).T]) for codes in
            (nearest_codes, balanced_codes)]  # fmt: skip
    assert used[0].max() >= 20
    assert used[1].max() <= 16  # 12 would be the same for all
    assert used[1].min() >= 8


def test_the_straight_way_through_has_both_gradients():
    vectors, quantised = torch.ones(2, 3, requires_grad=True), torch.zeros(2, 3, requires_grad=True)
    weights = torch.arange(6.0).reshape(2, 3)
    through = straight_through(vectors, quantised)
    assert through.tolist() == quantised.tolist()
    (through * weights).sum().backward()
    assert vectors.grad.tolist() == quantised.grad.tolist() == weights.tolist()


def test_soft_signs_harden():
    """I7: BPR's beta = sqrt(1 + gamma step)."""
    vectors = torch.tensor([[0.3, -0.2, 1.5]])
    assert soft_signs(vectors, 0) == pytest.approx(torch.tanh(vectors))
    assert soft_signs(vectors, 80, gamma=0.1) == pytest.approx(torch.tanh(3 * vectors))
    assert soft_signs(vectors, 10**7) == pytest.approx(torch.tensor([[1.0, -1.0, 1.0]]))


def test_binary_search_is_hamming_then_products(world):
    """I7: BPR's two steps."""
    stored = torch.where(torch.from_numpy(world.vectors) > 0, 1.0, -1.0)
    queries = world.held_out[:6]
    everything, scores = binary_search(queries, stored, 5, candidates=N)
    for row, query in enumerate(queries):
        assert scores[row] == pytest.approx((stored @ query).sort(descending=True).values[:5], abs=1e-5)
        assert (stored @ query)[everything[row]] == pytest.approx(scores[row], abs=1e-5)
    rows, _ = binary_search(queries, stored, 5)
    bits = flat.binarise(world.vectors)
    for row in range(6):
        distances = flat.hamming(bits, flat.binarise(queries[row : row + 1].numpy()))
        assert distances[rows[row].numpy()].max() <= np.sort(distances)[19]
    assert binary_search(queries, stored[:3], 5)[0].shape == (6, 3)
    with pytest.raises(InputError, match="k = 0"):
        binary_search(queries, stored, 0)


# -- negatives and gradients ------------------------------------------------------------------------------------------


def test_negatives_are_among_the_best_and_never_relevant():
    """I7: hard negatives of the index as it is."""
    scores = torch.rand(3, 40, generator=torch.Generator().manual_seed(0))
    relevant = [[0, 5], [int(scores[1].argmax())], []]
    found = hard_negatives(scores, relevant, 6, depth=10, seed=1)
    for row, rows in enumerate(found.tolist()):
        order = [one for one in scores[row].argsort(descending=True).tolist() if one not in relevant[row]]
        assert len(set(rows)) == 6
        assert set(rows) <= set(order[:10])
    assert found.tolist() == hard_negatives(scores, relevant, 6, depth=10, seed=1).tolist()
    assert found.tolist() != hard_negatives(scores, relevant, 6, depth=10, seed=2).tolist()
    assert sorted(hard_negatives(scores, relevant, 38, depth=100, seed=1)[0].tolist()) == [
        one for one in range(40) if one not in (0, 5)
    ]
    with pytest.raises(InputError, match="39 negatives were asked for where 38"):
        hard_negatives(scores, relevant, 39, depth=100, seed=1)


def test_jpq_scores_and_gradients_are_those_of_plain_loops(quantiser):
    """I7: gradients reach the query map and the centroids that the documents use, and nothing else."""
    generator = torch.Generator().manual_seed(0)
    rotation = torch.linalg.qr(torch.randn(D, D, generator=generator)).Q
    codes = torch.randint(CENTROIDS, (30, PARTS), generator=generator)
    model = JointPQ(torch.from_numpy(quantiser.centroids), codes, rotation=rotation, temperature=0.5)
    inputs, rows = torch.randn(5, D, generator=generator), torch.randint(30, (5, 4), generator=generator)
    scores = model.scores(inputs, rows).detach()
    stored = model.document_vectors()
    for query, own in itertools.product(range(5), range(4)):
        assert float(scores[query, own]) == pytest.approx(float(inputs[query] @ stored[rows[query, own]]), abs=1e-4)
    before = codes.clone()
    assert parameters_reached(model, model.loss(inputs, rows, 0)) == {"centroids", "query_map.weight"}
    used = torch.zeros(PARTS, CENTROIDS, dtype=torch.bool)
    for row in rows.flatten().unique():
        used[torch.arange(PARTS), codes[row]] = True
    touched = model.centroids.grad.abs().sum(dim=2) > 0
    assert not touched[~used].any()
    assert touched[used].float().mean() > 0.9  # that of a document in both places of a pair may cancel
    assert torch.equal(model.codes, before)
    assert not model.rotation.requires_grad


def test_jpq_gradients_are_exact():
    """I7."""
    generator = torch.Generator().manual_seed(0)
    centroids = torch.randn(2, 3, 2, generator=generator, dtype=torch.float64, requires_grad=True)
    queries = torch.randn(2, 4, generator=generator, dtype=torch.float64, requires_grad=True)
    codes = torch.tensor([[[0, 1], [2, 2]], [[1, 1], [0, 2]]])

    def loss(asked, known):
        return ranknet(own_scores(asked, decode(known, codes)))

    assert torch.autograd.gradcheck(loss, (queries, centroids))


def test_what_is_frozen_stays(world, quantiser):
    """I7: a query encoder of the caller's own, left as it is."""
    model = JointPQ(
        torch.from_numpy(quantiser.centroids),
        torch.from_numpy(quantiser.encode(world.vectors)),
        queries=nn.Identity(),
    )
    before = model.centroids.detach().clone()
    fit(model, world.train[:32], world.relevant[:32], JointSettings(epochs=1))
    assert not torch.equal(model.centroids, before)
    assert torch.equal(model.query_vectors(world.train), world.train)
    lens = nn.Linear(D, D).requires_grad_(False)
    kept = lens.weight.clone()
    both = JointPQ(model.centroids, model.codes, queries=lens)
    fit(both, world.train[:32], world.relevant[:32], JointSettings(epochs=1, index_rate=0.1))
    assert torch.equal(lens.weight, kept)


def test_gradients_of_the_other_models_reach_both_sides(world, quantiser):
    """I7."""
    vectors, centroids = torch.from_numpy(world.vectors), torch.from_numpy(quantiser.centroids)
    rows = torch.arange(60).reshape(10, 6)
    asked = world.train[:10]
    both = {"query_map.weight", "document_map.weight"}
    constrained = ConstrainedPQ(centroids, vectors)
    assert parameters_reached(constrained, constrained.loss(asked, rows, 0)) == {*both, "centroids"}
    binary = BinaryPassages(vectors)
    assert parameters_reached(binary, binary.loss(asked, rows, 0)) == both
    distilled = DistilledPQ(centroids, torch.from_numpy(quantiser.encode(world.vectors)), vectors)
    assert parameters_reached(distilled, distilled.loss(asked, rows, 0)) == {"query_map.weight", "centroids"}
    for model in (constrained, binary, distilled):
        assert not model.vectors.requires_grad
        assert not model.document_vectors().requires_grad


# -- what training gains ----------------------------------------------------------------------------------------------

FAST = JointSettings(epochs=12, map_rate=3e-3, index_rate=3e-3, depth=50)


def test_jpq_ranks_better_than_the_quantiser_it_began_with(world, quantiser):
    """I7: the same bytes a document, the same assignments, queries that were not trained on."""
    codes = quantiser.encode(world.vectors)
    model = JointPQ(torch.from_numpy(quantiser.centroids), torch.from_numpy(codes))
    before = reciprocal_rank(index_of(world, quantiser, codes), world.held_out, world.answers)
    losses = fit(model, world.train, world.relevant, FAST)
    trained = ProductQuantiser(model.centroids.detach().numpy())
    mapped = model.query_vectors(world.held_out)
    after = reciprocal_rank(index_of(world, trained, codes), mapped, world.answers)
    map_alone = reciprocal_rank(index_of(world, quantiser, codes), mapped, world.answers)
    assert after > before + 0.1, (before, map_alone, after)
    assert after > map_alone  # the centroids have their part in it
    assert losses[-1] < 0.7 * losses[0]
    assert np.array_equal(model.codes.numpy(), codes)
    found = index_of(world, trained, codes).search(mapped.detach().numpy(), 5)[0]
    expected = (mapped @ model.document_vectors().T).topk(5)
    scores = (mapped @ model.document_vectors().T).gather(1, torch.from_numpy(found.astype(np.int64)))
    assert scores.detach() == pytest.approx(expected.values.detach(), abs=1e-4)  # documents of one code tie


@pytest.mark.slow
def test_repconc_learns_to_rank_and_to_lie_close(world):
    """I7: from centroids that were only drawn, reconstruction and ranking improve together."""
    parts = world.vectors.reshape(N, PARTS, -1).transpose(1, 0, 2)
    drawn = ProductQuantiser(drawn_centroids(parts, CENTROIDS, seed=0))
    codes = drawn.encode(world.vectors)
    before = reciprocal_rank(index_of(world, drawn, codes), world.held_out, world.answers)
    model = ConstrainedPQ(torch.from_numpy(drawn.centroids), torch.from_numpy(world.vectors))
    fit(model, world.train, world.relevant, JointSettings(epochs=5, map_rate=5e-3, index_rate=5e-3, depth=50))
    trained = ProductQuantiser(model.centroids.detach().numpy())
    mapped = model.document_map(model.vectors).detach().numpy()

    def lost(quantiser, vectors):  # in units of what the vectors vary
        return quantiser.error(vectors) / vectors.var(axis=0).sum()

    assert lost(trained, mapped) < 0.8 * lost(drawn, world.vectors)
    index = index_of(world, trained, model.codes().numpy())
    after = reciprocal_rank(index, model.query_vectors(world.held_out), world.answers)
    assert after > before + 0.1, (before, after)
    used = [np.bincount(part, minlength=CENTROIDS).min() for part in model.codes().numpy().T]
    assert min(used) >= 1  # no centroid is without documents


def test_bpr_finds_more_by_signs(world):
    """I7."""
    model = BinaryPassages(torch.from_numpy(world.vectors))

    def found():
        with torch.no_grad():
            rows, _ = binary_search(model.query_vectors(world.held_out), model.document_vectors(), 10)
        return np.mean([one in row for one, row in zip(world.answers, rows.tolist(), strict=True)])

    before = found()
    fit(model, world.train, world.relevant, JointSettings(epochs=12, map_rate=1e-2, depth=50))
    assert found() > before + 0.1, (before, found())


def test_distillation_brings_codes_nearer_to_the_order_of_floats(world, quantiser):
    """I7: Distill-VQ needs no true labels; recall of the float order's best ten rises."""
    codes = quantiser.encode(world.vectors)
    vectors = torch.from_numpy(world.vectors)
    model = DistilledPQ(torch.from_numpy(quantiser.centroids), torch.from_numpy(codes), vectors)
    exact = DenseIndex.build(range(N), world.vectors, IndexSettings(metric="ip"))

    def recall(made, queries):
        true = exact.search(world.held_out.numpy(), 10)[0]
        found = index_of(world, made, codes).search(queries.detach().numpy(), 10)[0]
        return np.mean([np.isin(one, other).mean() for one, other in zip(true, found, strict=True)])

    before = recall(quantiser, world.held_out)
    fit(model, world.train, world.relevant, FAST)
    trained = ProductQuantiser(model.centroids.detach().numpy())
    after = recall(trained, model.query_vectors(world.held_out))
    assert after > before + 0.03, (before, after)


def test_the_same_seed_trains_the_same_and_epochs_are_told(world, quantiser):
    runs, told = [], []
    for seed in (1, 1, 2):
        model = JointPQ(torch.from_numpy(quantiser.centroids), torch.from_numpy(quantiser.encode(world.vectors)))
        fit(
            model,
            world.train,
            world.relevant,
            JointSettings(epochs=2, seed=seed, refresh=3),
            on_epoch=lambda epoch, loss: told.append((epoch, loss)),
        )
        runs.append(model.centroids.detach())
    assert torch.equal(runs[0], runs[1])
    assert not torch.equal(runs[0], runs[2])
    assert [epoch for epoch, _ in told] == [0, 1] * 3
    assert told[:2] == told[2:4]


# -- refusals ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"epochs": 0}, "epochs = 0"),
        ({"batch": 0}, "batch = 0"),
        ({"negatives": 0}, "negatives = 0"),
        ({"refresh": 0}, "refresh = 0"),
        ({"depth": 4, "negatives": 8}, "a depth of at least the negatives"),
        ({"map_rate": -1.0}, "map_rate = -1.0"),
    ],
)
def test_settings_that_cannot_be_are_refused(given, message):
    with pytest.raises(InputError, match=message):
        JointSettings(**given)


def test_what_cannot_be_trained_is_an_error(world, quantiser):
    centroids, vectors = torch.from_numpy(quantiser.centroids), torch.from_numpy(world.vectors)
    codes = torch.from_numpy(quantiser.encode(world.vectors))
    for wrong in (codes[:, :2], codes[:0], torch.full((5, PARTS), CENTROIDS), torch.full((5, PARTS), -1)):
        with pytest.raises(InputError, match=f"rows of {PARTS} numbers from 0 to {CENTROIDS - 1}"):
            JointPQ(centroids, wrong)
    for make in (
        lambda: DistilledPQ(centroids, codes, vectors[:3]),
        lambda: ConstrainedPQ(centroids, vectors[:, :4]),
        lambda: BinaryPassages(vectors[:0]),
    ):
        with pytest.raises(InputError, match="document vectors of shape"):
            make()
    model = JointPQ(centroids, codes)
    for relevant in ([[1]], [[] for _ in range(300)]):
        with pytest.raises(InputError, match="it needs a set of rows for each query, and one pair at least"):
            fit(model, world.train, relevant)
