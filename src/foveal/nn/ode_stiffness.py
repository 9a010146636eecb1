"""The instruments of stiffness.py on a differential equation dx/dt = f(t, x), where what they should say is known.

    path = trajectory_stiffness(van_der_pol(100.0), [2.0, 0.0], (0, 200), method="RK45", rtol=1e-6)
    path.ji, 1 / path.lengths         # a solver's steps are short where JI is great

At each point that the solver went through: SI = |f| / |x|; LI = |f_i - f_(i-1)| / |x_i - x_(i-1)|; JI the greatest
singular value of the Jacobian; ratio the greatest |Re lambda| over the least, of its eigenvalues.

Shapes    x (n,); a path of P points: (P, n), and a number for each point or each of the P - 1 steps
Needs     scipy, which comes with foveal[train]
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from foveal.errors import InputError, UnknownName
from foveal.registry import require

Numbers = npt.NDArray[np.float64]
Right = Callable[[float, Numbers], Numbers]
METHODS = ("Radau", "BDF", "LSODA", "RK45", "DOP853")
TINY = 1e-300


@dataclass(frozen=True, eq=False)
class Path:
    """A solution and what the instruments say along it."""

    t: Numbers  # (P,)
    x: Numbers  # (P, n)
    si: Numbers  # (P,), per unit of time
    li: Numbers  # (P - 1,), per unit of time, of each step
    ji: Numbers  # (P,)
    ratio: Numbers  # (P,); infinite where an eigenvalue has no real part

    @property
    def lengths(self) -> Numbers:
        """The solver's steps (P - 1,)."""
        return np.diff(self.t)


def trajectory_stiffness(
    f: Right,
    x0: Sequence[float],
    span: tuple[float, float],
    *,
    method: str = "Radau",
    rtol: float = 1e-10,
    atol: float = 1e-12,
) -> Path:
    """Solve from x0 over `span` and measure at each point of the solver's own.

    UnknownName: no such method. InputError: nothing to solve, or the solver gave up.
    """
    if method not in METHODS:
        raise UnknownName(f"No solver is called {method!r}. There are: {', '.join(METHODS)}.")
    start = np.asarray(x0, dtype=np.float64)
    if start.ndim != 1 or not len(start) or not span[1] > span[0]:
        raise InputError(f"A path got a start {start.shape} and the span {span}; it needs (n,), and a later end.")
    solved = require("scipy.integrate", extra="train").solve_ivp(f, span, start, method=method, rtol=rtol, atol=atol)
    if not solved.success:
        raise InputError(f"{method} gave up at t = {solved.t[-1]:.4g}: {solved.message}. Loosen rtol, or try Radau.")
    t, x = solved.t, solved.y.T
    moves = np.stack([f(float(at), point) for at, point in zip(t, x, strict=True)])
    jacobians = np.stack([jacobian(f, float(at), point) for at, point in zip(t, x, strict=True)])
    parts = np.abs(np.linalg.eigvals(jacobians).real)
    with np.errstate(divide="ignore"):
        ratio = parts.max(-1) / parts.min(-1)
    norm = np.linalg.norm
    return Path(
        t, x,
        norm(moves, axis=-1) / np.maximum(norm(x, axis=-1), TINY),
        norm(np.diff(moves, axis=0), axis=-1) / np.maximum(norm(np.diff(x, axis=0), axis=-1), TINY),
        norm(jacobians, ord=2, axis=(-2, -1)),
        ratio,
    )  # fmt: skip


def jacobian(f: Right, t: float, x: Numbers) -> Numbers:
    """df/dx (n, n) by central differences."""
    columns = []
    for place in range(len(x)):
        step = np.zeros_like(x)
        step[place] = 1e-6 * max(1.0, abs(float(x[place])))
        columns.append((f(t, x + step) - f(t, x - step)) / (2 * step[place]))
    return np.stack(columns, axis=-1)


def linear(rates: Sequence[float]) -> Right:
    """dx_i/dt = -rate_i x_i."""
    slopes = -np.asarray(rates, dtype=np.float64)
    return lambda _, x: slopes * x


def van_der_pol(mu: float) -> Right:
    """x'' = mu (1 - x^2) x' - x as two equations: slow, then of a sudden fast, the more so the greater mu."""
    return lambda _, x: np.array([x[1], mu * (1 - x[0] ** 2) * x[1] - x[0]])
