"""A memory of where things stand: written with the vectors of passages, asked with that of a question, it gives places.

    memory = PassageMemory(PassageSettings(vector=384))
    state = memory.write(vectors, places, state)       # (n, 384) and whole numbers (n,); some may be the same
    scores = memory.recall(questions, places, state)   # (Q, 384), (m,) -> (Q, m): how strongly each is recalled

The rule is that of the neural memory (memory_rule.py): a passage's key is its projected vector, the value that is to be
given back for it the code of its place, and each is written by a step of gradient descent on what is not known yet. A
code is a vector of signs that follow from the place's number alone, so that no table of places is kept: the state is
the same size after a page and after a thousand books. What is recalled is a blend of codes, each weighing as much as
its key resembles the question; the score of a place is the blend's product with its code.

Steps are small, since a large one writes over what keys alike have written before. What all keys share would then
outweigh what tells them apart: so the second moments M of the last layer's inputs are kept, too, and a question's input
z is read as (M + r I)^-1 z, which makes of many small steps about the least-squares answer.

Untrained, keys and questions are the vectors themselves. `reading.titans_training` trains projections and gates,
through the writing, so that questions find what answers them among thousands of others.

Source    Behrouz, Zhong and Mirrokni, "Titans", 2025 (arXiv 2501.00663), equations 8 to 14, without momentum; M as in
          Kohonen's optimal linear associative memory (1973); places as values, and their codes, are ours
Limits    what is told apart is bounded by the state: after N passages the blend holds N codes, and its noise grows as
          the root of N / codes. A list of all vectors finds more, and grows with the text
"""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass
from itertools import pairwise

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from foveal.errors import InputError
from foveal.nn.inputs import require_numbers
from foveal.nn.memory_rule import Carried, Decays, Gates, Weights, carry, surprise
from foveal.nn.states import State, require_state
from foveal.ranges import COUNT, POSITIVE, require_settings

LARGEST = 0.5, 1e-3
"""Of theta (one passage alone is then learnt at once) and of alpha (half is forgotten after 700 passages)."""

SHARES = 0.01, 0.01
"""What the gates give of these before any training."""

RIDGE = 0.1
"""r, over the mean of M's eigenvalues."""


@dataclass(frozen=True, kw_only=True)
class PassageSettings:
    """A passage memory's shape.

    Checked when made. InputError: a value out of its range.
    """

    vector: int = 384  # numbers of a passage's vector
    codes: int = 1024  # numbers of a place's code; the noise of what is recalled falls with its root
    depth: int = 1  # layers of the memory; deeper ones begin as random features
    hidden: int = 1024  # width between layers, where there are several
    chunk: int = 16  # passages whose gradients are taken at the same weights
    max_surprise: float = 2.0  # longer errors are shortened to this norm

    def __post_init__(self) -> None:
        require_settings(
            "PassageMemory", self, vector=COUNT, codes=COUNT, depth=COUNT, hidden=COUNT, chunk=COUNT,
            max_surprise=POSITIVE,
        )  # fmt: skip
        if self.codes % 64:
            raise InputError(f"PassageMemory got codes = {self.codes}; it needs a multiple of 64.")

    @property
    def shapes(self) -> list[tuple[int, int]]:
        """(out, in) of each layer."""
        widths = [self.vector, *[self.hidden] * (self.depth - 1), self.codes]
        return [(after, before) for before, after in pairwise(widths)]


@dataclass(frozen=True)
class PassageState(State):
    """How far the memory's weights are from where they began, and the second moments of what its last layer read."""

    drift: Weights  # (1, 1, out, in) a layer
    moment: Tensor  # (1, in, in) of the last, a mean
    count: Tensor  # (1,) passages


class PassageMemory(nn.Module):
    """Where things stand: writes vectors of passages (n, vector) with their places, gives places for questions.

    The rule of Titans (Behrouz, Zhong and Mirrokni, 2025, arXiv 2501.00663), equations 8 to 14, without momentum;
    places as values are ours.
    """

    undecayed = ("initial",)  # by weight decay, as those of `NeuralMemory`

    def __init__(self, settings: PassageSettings, *, seed: int = 0) -> None:
        """The weights of layers before the last are drawn from the seed; all else begins the same."""
        super().__init__()
        self.settings = settings
        width = settings.vector
        self.centre = nn.Parameter(torch.zeros(width))
        self.key, self.ask = (nn.Linear(width, width, bias=False) for _ in range(2))
        self.gates = nn.Linear(width, 2)
        self.sharpness = nn.Parameter(torch.tensor(20.0))  # of scores, in the loss alone
        draw = torch.Generator().manual_seed(seed)
        *before, last = settings.shapes
        first = [
            torch.randn(shape, generator=draw) * (1.5 if number == 0 else 2 * shape[1] ** -0.5)
            for number, shape in enumerate(before)
        ]  # keys have a norm of 1, so that random features bend only where weights are near 1
        self.initial = nn.ParameterList([*first, torch.zeros(last)])
        with torch.no_grad():
            for one in (self.key, self.ask):
                one.weight.copy_(torch.eye(width))
            self.gates.weight.zero_()
            self.gates.bias.copy_(torch.tensor(SHARES).logit())

    @property
    def layout(self) -> str:
        """What a state must be of."""
        return f"passage memory, {self.settings.shapes}"

    @property
    def fingerprint(self) -> str:
        """Changes whenever the same passages would make another state."""
        digest = hashlib.sha256(repr(asdict(self.settings)).encode())
        for one in self.state_dict().values():
            digest.update(one.detach().float().cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()

    def init_state(self) -> PassageState:
        """Nothing written yet."""
        width = self.initial[-1].shape[1]
        drift = tuple(torch.zeros_like(one)[None, None] for one in self.initial)
        return PassageState(self.layout, drift, self.centre.new_zeros(1, width, width), self.centre.new_zeros(1))

    def write(self, vectors: Tensor, places: Tensor, state: PassageState | None = None) -> PassageState:
        """Write passages (n, vector) at places (n,), in this order.

        Chunks are counted from the first of them: writing 32 at once, or 16 and 16, gives the same. InputError: wrong
        shapes, vectors that are no numbers, or another's state.
        """
        vectors = self._vectors(vectors)
        if places.shape != vectors.shape[:1] or places.is_floating_point():
            raise InputError(
                f"{len(vectors)} passages came with places {tuple(places.shape)}, {places.dtype}; give one for each, a "
                "whole number."
            )
        state = self.init_state() if state is None else state
        require_state(state, self.init_state(), 1)
        keys, told = F.normalize(self.key(vectors), dim=-1), self.gates(vectors).sigmoid()
        values = codes(places, self.settings.codes).to(keys)
        size = self.settings.chunk
        for at in range(0, len(keys), size):
            some = slice(at, at + size)
            state = self._written(keys[some], values[some], told[some], state)
        return state

    def recall(self, questions: Tensor, places: Tensor, state: PassageState) -> Tensor:
        """How strongly each place (m,) is recalled for each question (Q, vector): (Q, m)."""
        require_state(state, self.init_state(), 1)
        asked = F.normalize(self.ask(self._vectors(questions)), dim=-1)
        *before, last = (one[0, 0] for one in self._weights(state.drift))
        for one in before:
            asked = F.silu(asked @ one.T)
        moment = state.moment[0]
        ridge = RIDGE * moment.diagonal().mean() + 1e-6
        told = torch.linalg.solve(moment + ridge * torch.eye(len(moment)).to(moment), asked.T)  # (in, Q)
        given = F.normalize((last @ told).T, dim=-1)
        found = [given @ codes(some, self.settings.codes).to(given).T for some in torch.split(places, 1024)]
        return torch.cat(found, 1)

    def _written(self, keys: Tensor, values: Tensor, told: Tensor, state: PassageState) -> PassageState:
        """The state after a chunk."""
        theta, alpha = LARGEST[0] * told[:, 0], LARGEST[1] * told[:, 1]
        weights = self._weights(state.drift)
        found = surprise(keys[None, None], values[None, None], weights, self.settings.max_surprise)
        inputs = found.inputs[-1][0, 0]
        if self.settings.depth > 1:  # a step is one of the last layer's output, however long its inputs are
            theta = theta / inputs.square().sum(-1).clamp(min=1)
        idle = torch.zeros_like(theta)
        gates = Gates.of(*(one[None, None] for one in (theta, idle, alpha, torch.ones_like(theta))))
        drift = carry(Carried(state.drift, ()), found, Decays.of(gates, momentum=False)).drift
        count = state.count + len(keys)
        moment = state.moment + (inputs.T @ inputs - len(keys) * state.moment) / count
        return PassageState(state.layout, drift, moment, count)

    def _weights(self, drift: Weights) -> Weights:
        return tuple(one + moved for one, moved in zip(self.initial, drift, strict=True))

    def _vectors(self, vectors: Tensor) -> Tensor:
        if vectors.dim() != 2 or vectors.shape[1] != self.settings.vector:
            raise InputError(
                f"PassageMemory got vectors of shape {tuple(vectors.shape)}; it needs (n, {self.settings.vector})."
            )
        require_numbers("PassageMemory", vectors)
        return vectors.to(self.centre) - self.centre


def codes(places: Tensor, width: int) -> Tensor:
    """The codes of places (n,): (n, width) of +-1 / sqrt(width), which follow from each place's number alone."""
    number = places.cpu().numpy().astype(np.uint64)[:, None]
    block = np.arange(width // 64, dtype=np.uint64)[None]
    with np.errstate(over="ignore"):  # arithmetic modulo 2^64: the finaliser of SplitMix64
        mixed = number * np.uint64(0x9E3779B97F4A7C15) + (block + np.uint64(1)) * np.uint64(0xD1B54A32D192ED03)
        mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        mixed = mixed ^ (mixed >> np.uint64(31))
    bits = np.unpackbits(np.ascontiguousarray(mixed).astype("<u8").view(np.uint8), axis=1)
    return torch.from_numpy((2.0 * bits.astype(np.float32) - 1.0) * width**-0.5)
