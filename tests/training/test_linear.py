"""Classifiers over dense and sparse rows: the minimum is scikit-learn's; shared texts; MLP; calibration."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from foveal.errors import InputError, UnknownName
from foveal.training.linear import Design, FitSettings, Wide, balance, fit, product, softmax, temperature
from foveal.training.sparse_rows import SparseRows


def made(count=120, classes=3, seed=0):
    draw = np.random.default_rng(seed)
    labels = draw.integers(0, classes, count)
    dense = draw.normal(size=(count, 4)).astype(np.float32)
    dense[np.arange(count), labels] += 1.5
    return dense, labels


def sparse(rows):
    return SparseRows.of([(np.flatnonzero(row), row[np.flatnonzero(row)]) for row in rows], rows.shape[1])


def plain(dense):
    """Features already of mean 0 and deviation 1, so that scaling changes nothing."""
    return ((dense - dense.mean(axis=0)) / dense.std(axis=0)).astype(np.float32)


@pytest.mark.parametrize("balanced", [False, True])
def test_logistic_regression_is_scikit_learns(balanced):
    sklearn = pytest.importorskip("sklearn.linear_model")
    dense, labels = made()
    dense = plain(dense)
    found = fit(Design(dense), labels, FitSettings(c=0.7, balanced=balanced), count=3)
    for one in range(3):
        their = sklearn.LogisticRegression(C=0.7, class_weight="balanced" if balanced else None, tol=1e-8, max_iter=500)
        their.fit(dense, labels == one)
        np.testing.assert_allclose(found.dense[:, one].numpy(), their.coef_[0], atol=2e-3)
        assert float(found.bias[one]) == pytest.approx(float(their.intercept_[0]), abs=2e-3)


def test_the_svm_is_at_its_minimum():
    dense, labels = made()
    dense = plain(dense)
    model = fit(Design(dense), labels, FitSettings(kind="svm", c=0.5, balanced=False), count=3)
    sides = np.where(labels[:, None] == np.arange(3), 1.0, -1.0)

    def loss(weights, bias):
        margins = sides * (dense @ weights + bias)
        return 0.5 * (weights**2).sum() + 0.5 * (np.maximum(0, 1 - margins) ** 2).sum()

    best, draw = loss(model.dense.numpy(), model.bias.numpy()), np.random.default_rng(0)
    for _ in range(50):
        step = draw.normal(size=(5, 3)) * 0.02
        assert loss(model.dense.numpy() + step[:4], model.bias.numpy() + step[4]) > best - 1e-4


def test_shared_texts_are_the_same_as_columns_of_ones_own():
    draw = np.random.default_rng(1)
    texts = (draw.random((6, 5)) * (draw.random((6, 5)) < 0.6)).astype(np.float32)
    which, labels = draw.integers(0, 6, 80), draw.integers(0, 2, 80)
    labels[:2] = (0, 1)
    model = fit(Design(np.zeros((80, 0), np.float32), (sparse(texts),), (which,)), labels, FitSettings(), count=2)
    design = Design(np.zeros((80, 0), np.float32), (sparse(texts[which]),), (np.arange(80),))
    own = fit(design, labels, FitSettings(), count=2)
    np.testing.assert_allclose(model.texts[0].numpy(), own.texts[0].numpy(), atol=1e-3)
    np.testing.assert_allclose(
        model(design).numpy(), texts[which] @ model.texts[0].numpy() + model.bias.numpy(), atol=1e-5
    )


@pytest.mark.parametrize("shape", [(5, 7), (1, 3), (4, 1)])
def test_the_gradient_of_a_product_is_that_of_the_whole_matrix(shape):
    draw = np.random.default_rng(2)
    rows = (draw.random(shape) * (draw.random(shape) < 0.5)).astype(np.float32)
    rows[0] = 0
    weights = torch.from_numpy(draw.normal(size=(shape[1], 2))).requires_grad_()
    told = torch.from_numpy(draw.normal(size=(shape[0], 2)))
    product(sparse(rows), weights).backward(told)
    np.testing.assert_allclose(weights.grad.numpy(), rows.T @ told.numpy(), rtol=1e-6)
    turned = sparse(rows).transposed
    assert (turned.width, len(turned)) == shape
    product(turned, told.clone().requires_grad_()).sum().backward()


def test_a_product_of_sparse_rows():
    rows = np.array([[0, 2, 0], [0, 0, 0], [1, 0, 3]], np.float32)
    weights = torch.arange(6.0).view(3, 2)
    np.testing.assert_allclose(product(sparse(rows), weights).numpy(), rows @ weights.numpy())
    assert not product(sparse(rows[1:2]), weights).any()


@pytest.mark.parametrize("kind", ["lr", "svm", "bagging", "mlp"])
def test_each_kind_learns_and_the_same_seed_gives_the_same(kind):
    dense, labels = made(400)
    texts = sparse(np.eye(3, dtype=np.float32))
    design = Design(dense, (texts,), (labels.astype(np.int64),))
    settings = FitSettings(kind=kind, bags=3, epochs=20, learning_rate=1e-2)
    model, again = (fit(design, labels, settings, count=3) for _ in range(2))
    assert float((model(design).argmax(1).numpy() == labels).mean()) > 0.95
    assert torch.equal(model(design), again(design))


def test_both_sides_of_a_class_weigh_alike():
    sides = torch.tensor([[1.0, -1], [-1, 1], [-1, 1], [-1, 1]])
    weights = torch.tensor([1.0, 1, 1, 2])
    found = weights[:, None] * balance(sides, weights)
    assert torch.allclose((found * (sides > 0)).sum(0), torch.full((2,), 2.5))
    assert torch.allclose((found * (sides < 0)).sum(0), torch.full((2,), 2.5))


def test_a_feature_that_never_changes_counts_nothing():
    dense, labels = made()
    dense[:, 3] = 7
    model = fit(Design(dense), labels, FitSettings(), count=3)
    other = dense.copy()
    other[:, 3] = -100
    assert torch.equal(model(Design(dense)), model(Design(other)))


def test_wrong_input_is_refused():
    dense, labels = made(10)
    with pytest.raises(InputError, match="at least two classes"):
        fit(Design(dense), np.zeros(10, dtype=np.int64), FitSettings(), count=3)
    with pytest.raises(InputError, match="as many labels"):
        fit(Design(dense), labels[:5], FitSettings(), count=3)
    with pytest.raises(UnknownName, match="lr, svm, bagging, mlp"):
        FitSettings(kind="forest")
    with pytest.raises(InputError, match="c = 0"):
        FitSettings(c=0)


def test_a_temperature_undoes_too_much_confidence():
    draw = np.random.default_rng(0)
    logits = draw.normal(size=(4000, 3))
    labels = np.array([draw.choice(3, p=row) for row in softmax(logits)])
    assert temperature(logits * 4, labels) == pytest.approx(4, rel=0.15)
    assert temperature(logits, labels) == pytest.approx(1, rel=0.15)
    assert softmax(np.array([[1e4, 0.0]])).tolist() == [[1, 0]]


def test_an_untrained_model_says_nothing():
    assert not Wide(4, (), 3)(Design(made()[0])).any()
