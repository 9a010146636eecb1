"""Poeem (I7): the rotation's step against finite differences, gradients, and what learning the rotation gains."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from foveal.errors import InputError
from foveal.training.joint_index import JointSettings, fit
from foveal.training.joint_losses import decode, nearest_codes
from foveal.training.joint_rotation import RotatedPQ, givens_planes, turned_downhill

D, N, PARTS, CENTROIDS = 12, 300, 3, 8


def turned(seed: int, size: int = D) -> torch.Tensor:
    drawn = torch.randn(size, size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return torch.linalg.qr(drawn).Q


@pytest.mark.parametrize("coarse", [False, True])
@pytest.mark.parametrize("size", [2, 6, 20])
def test_planes_are_disjoint_and_the_steepest_first(size, coarse):
    """One after another by the definition; of equally steep ones (many, of coarse numbers) the first."""
    drawn = torch.randn(size, size, generator=torch.Generator().manual_seed(0))
    pull = (drawn - drawn.T).round() if coarse else drawn - drawn.T
    i, j = (places.tolist() for places in givens_planes(pull))
    assert sorted(i + j) == list(range(size))
    left, expected = set(range(size)), []
    while left:
        pairs = sorted((a, b) for a in left for b in left if a < b)
        best = max(pairs, key=lambda pair: abs(float(pull[pair])))
        expected.append(best)
        left -= set(best)
    assert list(zip(i, j, strict=True)) == expected


def test_an_axis_without_another_stays_where_it_is():
    assert [places.tolist() for places in givens_planes(torch.zeros(5, 5))] == [[0, 2], [1, 3]]
    assert [len(places) for places in givens_planes(torch.zeros(1, 1))] == [0, 0]


def test_a_step_turns_by_the_derivatives_of_the_loss():
    """Each angle is -rate times a finite difference of the loss by the turn of that plane alone."""
    weights = torch.randn(D, D, generator=torch.Generator().manual_seed(1), dtype=torch.float64)

    def loss(rotation):
        return (rotation * weights).sum() + (rotation @ rotation.T @ weights).diagonal().square().sum()

    rotation = turned(0).requires_grad_()
    loss(rotation).backward()
    rate, small, start = 0.01, 1e-6, rotation.detach()
    made = turned_downhill(start, rotation.grad, rate)
    pull = rotation.grad.T @ start
    i, j = givens_planes(pull - pull.T)
    expected = start.clone()
    for one, other in zip(i.tolist(), j.tolist(), strict=True):

        def by(angle, one=one, other=other):
            moved, (c, s) = start.clone(), (np.cos(angle), np.sin(angle))
            moved[:, one] = c * start[:, one] + s * start[:, other]
            moved[:, other] = c * start[:, other] - s * start[:, one]
            return moved

        slope = float(loss(by(small)) - loss(by(-small))) / (2 * small)
        moved = by(-rate * slope)
        expected[:, [one, other]] = moved[:, [one, other]]
    torch.testing.assert_close(made, expected, atol=1e-6, rtol=0)
    torch.testing.assert_close(made.T @ made, torch.eye(D, dtype=torch.float64), atol=1e-10, rtol=0)
    assert loss(made) < loss(start)


@pytest.fixture(scope="module")
def hidden():
    """Vectors that a rotation of their own hides: on other axes, they are a few numbers in each part."""
    generator = np.random.default_rng(0)
    grid = generator.integers(CENTROIDS, size=(N, PARTS))
    centroids = generator.normal(size=(PARTS, CENTROIDS, D // PARTS))
    plain = np.concatenate([centroids[part, grid[:, part]] for part in range(PARTS)], axis=1)
    vectors = torch.tensor(plain + 0.02 * generator.normal(size=plain.shape), dtype=torch.float32) @ turned(3).float()
    return vectors / vectors.norm(dim=1, keepdim=True)


def drawn_from(vectors: torch.Tensor) -> torch.Tensor:
    return torch.stack([part[:CENTROIDS] for part in vectors.reshape(N, PARTS, -1).transpose(0, 1)])


def lost(model: RotatedPQ) -> float:
    with torch.no_grad():
        documents = model.document_map(model.vectors) @ model.rotation
        coded = decode(model.centroids, nearest_codes(documents, model.centroids))
        return float((documents - coded).square().sum(-1).mean() / documents.var(0).sum())


def test_the_rotation_learns_and_stays_one(hidden):
    """With it less is lost in coding than with the first axes, all else alike; queries find what they mean."""
    queries = hidden + 0.02 * torch.randn(N, D, generator=torch.Generator().manual_seed(5))
    settings = JointSettings(epochs=12, map_rate=0.0, index_rate=3e-3, negatives=8, depth=50)
    found = {}
    for rate in (0.0, 0.05):
        model = RotatedPQ(drawn_from(hidden), hidden, rotation_rate=rate, closeness=5.0)
        before = lost(model)
        fit(model, queries, [[row] for row in range(N)], settings)
        eye = model.rotation.detach().T @ model.rotation.detach()
        torch.testing.assert_close(eye, torch.eye(D), atol=1e-4, rtol=0)
        assert torch.equal(model.rotation.detach(), torch.eye(D)) == (rate == 0)
        ranks = (queries @ model.document_vectors().T).argsort(1, descending=True)[:, :10]
        found[rate] = lost(model), float((ranks == torch.arange(N)[:, None]).any(1).float().mean())
        assert found[rate][0] < before
    assert found[0.05][0] < 0.9 * found[0.0][0], found
    assert found[0.05][1] > found[0.0][1], found


def test_gradients_reach_all_that_learns(hidden):
    model = RotatedPQ(drawn_from(hidden), hidden, rotation=turned(0).float())
    rows = torch.arange(60).reshape(10, 6)
    model.loss(hidden[:10], rows, 0).backward()
    reached = {name for name, one in model.named_parameters() if one.grad is not None and one.grad.abs().sum() > 0}
    assert reached == {"centroids", "rotation", "query_map.weight", "document_map.weight"}
    stored = model.document_vectors()
    by_hand = decode(model.centroids, model.codes()) @ model.rotation.T
    assert torch.equal(stored, by_hand.detach())
    assert not stored.requires_grad


def test_a_rotation_stays_on_its_device(hidden):
    """As on a GPU: what is made in the constructor is made beside what was given, not where tensors are made now."""
    maps = {"queries": torch.nn.Identity(), "documents": torch.nn.Identity()}
    centroids = drawn_from(hidden)
    for rotation in (None, turned(0).float()):
        with torch.device("meta"):
            model = RotatedPQ(centroids, hidden, rotation=rotation, **maps)
        assert model.rotation.device == hidden.device


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"rotation": torch.full((D, D), float("nan"))}, "needs an orthogonal matrix"),
        ({"rotation_rate": float("nan")}, "neither may be below 0"),
        ({"rotation": torch.ones(D, D)}, "needs an orthogonal matrix"),
        ({"rotation": torch.eye(D - 1)}, "needs an orthogonal matrix"),
        ({"closeness": -1.0}, "neither may be below 0"),
        ({"rotation_rate": -1.0}, "neither may be below 0"),
    ],
)
def test_what_cannot_be_is_refused(hidden, given, message):
    with pytest.raises(InputError, match=message):
        RotatedPQ(drawn_from(hidden), hidden, **given)
