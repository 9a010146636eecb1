"""Arithmetic over log-probabilities and outputs, of whatever model: what a cheaper attention costs in likelihood.

    nats_per_token(logprobs)                                  # of one text
    perplexity(sums, counts)                                  # over texts, each token of equal weight
    paired(differences, seed=0)                               # does a difference over the same texts differ from 0?
    relative_error(sparse_output, dense_output)               # of the outputs themselves

Units     natural logarithms throughout; a log-probability is at most 0
Arrays    numpy arrays, sequences, or tensors of torch (of any type and device); all sums are in float64
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from foveal.errors import InputError

Floats = npt.NDArray[np.float64]

PIECE = 2**20
"""How many numbers the bootstrap draws at a time."""


@dataclass(frozen=True, slots=True)
class Paired:
    """The mean of `count` differences, and the confidence interval of that mean."""

    mean: float
    low: float
    high: float
    count: int

    @property
    def differs(self) -> bool:
        """Whether 0 lies outside the interval."""
        return self.low > 0 or self.high < 0


def nats_per_token(logprobs: object) -> float:
    """Minus the mean of log-probabilities (of any shape, at least one); infinite where a token was impossible."""
    values = _array(logprobs)
    if values.size == 0 or not (values <= 0).all():
        raise InputError(f"Log-probabilities of shape {values.shape} came; at least one is needed, and none above 0.")
    return float(-values.mean())


def perplexity(sums: object, counts: object) -> float:
    """exp(-sum of sums / sum of counts): `sums` are log-probabilities of whole texts, `counts` their tokens.

    Both are numbers, or arrays of the same shape.
    """
    logprobs, tokens = _array(sums), _array(counts)
    if logprobs.shape != tokens.shape or logprobs.size == 0 or not (logprobs <= 0).all() or not (tokens >= 1).all():
        raise InputError(
            f"Sums of shape {logprobs.shape} came with counts of shape {tokens.shape}; give each text a sum of at most "
            "0 and a count of at least 1."
        )
    with np.errstate(over="ignore"):
        return float(np.exp(-logprobs.sum() / tokens.sum()))


def paired(differences: object, *, seed: int, confidence: float = 0.95, rounds: int = 10_000) -> Paired:
    """The mean of differences (N), one of each pair, with its percentile bootstrap interval (Efron, 1979).

    `rounds` times as many differences are drawn again, with replacement, and averaged; the interval holds the middle
    `confidence` of those means. It is too narrow for few pairs: at 10 normal ones by nearly a fifth against Student's
    t, so that 95 % hold the mean 9 times in 10.
    """
    values = _array(differences)
    if values.ndim != 1 or len(values) < 2 or not np.isfinite(values).all():
        raise InputError(f"Differences of shape {values.shape} came; give at least two, in one row, all finite.")
    if not 0 < confidence < 1 or rounds < 1:
        raise InputError(f"confidence {confidence} and {rounds} rounds came; give one within 0 and 1, and at least 1.")
    means = _bootstrap_means(values, rounds, np.random.default_rng(seed))
    low, high = np.quantile(means, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Paired(float(values.mean()), float(low), float(high), len(values))


def relative_error(output: object, reference: object) -> float:
    """‖output - reference‖ / ‖reference‖ in the Frobenius norm, of arrays of one shape.

    Of a reference of zeros it is 0 where the output is zero too, else infinite.
    """
    difference, wanted = _difference(output, reference)
    return float(_ratio(_norms(difference[None], 0), _norms(wanted[None], 0))[0])


def relative_error_per_head(output: object, reference: object, *, axis: int = 1) -> Floats:
    """`relative_error` of each head: (batch, heads, q_len, head_dim) -> (heads); `axis` is that of the heads."""
    difference, wanted = _difference(output, reference)
    if not -wanted.ndim <= axis < wanted.ndim:
        raise InputError(f"Heads were to be on axis {axis} of an array of shape {wanted.shape}; it has no such axis.")
    return _ratio(_norms(difference, axis), _norms(wanted, axis))


def _bootstrap_means(values: Floats, rounds: int, generator: np.random.Generator) -> Floats:
    """(rounds): means of as many of the values, drawn with replacement."""
    at_once = max(1, PIECE // len(values))
    return np.concatenate(
        [
            values[generator.integers(len(values), size=(min(at_once, rounds - first), len(values)))].mean(axis=1)
            for first in range(0, rounds, at_once)
        ]
    )


def _difference(output: object, reference: object) -> tuple[Floats, Floats]:
    """output - reference, and the reference."""
    given, wanted = _array(output), _array(reference)
    if given.shape != wanted.shape or given.size == 0:
        raise InputError(f"An output is {given.shape}, its reference {wanted.shape}; give two of one shape, not empty.")
    return given - wanted, wanted


def _norms(values: Floats, axis: int) -> Floats:
    norms: Floats = np.linalg.norm(np.moveaxis(values, axis, 0).reshape(values.shape[axis], -1), axis=1)
    return norms


def _ratio(above: Floats, below: Floats) -> Floats:
    """above / below, with 0 / 0 = 0."""
    with np.errstate(divide="ignore"):
        return np.divide(above, below, out=np.zeros_like(above), where=(above != 0) | (below != 0))


def _array(values: Any) -> Floats:
    """As float64; a tensor is first taken off its graph and device, and widened (numpy knows no bfloat16)."""
    if hasattr(values, "detach"):
        values = values.detach().cpu().double().numpy()
    return np.asarray(values, dtype=np.float64)
