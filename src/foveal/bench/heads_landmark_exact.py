"""bench heads-landmark, exact: what holds of landmark attention to the last digits, with weights drawn from the seed.

definition   the paper's groups written out pair by pair, against the fused form, its gradients, the block kernel
reading      chunk by chunk and token by token against all at once, while no block is left out
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from foveal.attention.landmark import (
    insert_landmarks,
    is_landmark,
    kernel_attention,
    landmark_attention,
    strip_landmarks,
)
from foveal.attention.landmark_cache import ReadSettings
from foveal.attention.landmark_model import LandmarkModel, LandmarkSettings
from foveal.attention.landmark_training import DecoderSize, own_decoder
from foveal.bench.settings import BenchSettings
from foveal.evaluation.output_error import far_apart
from foveal.evaluation.tables import Row, largest

SAME, CACHED = 1e-6, 1e-4
EXAMPLE = (1 / 6, 1 / 6, 0, 1 / 6, 1 / 6, 0, 1 / 3)
"""The paper's: landmarks at 2, 5 and 8, the query at 6, all scores equal (appendix A)."""


def exact(settings: BenchSettings) -> Iterator[Row]:
    """All rows of this module."""
    yield _example()
    yield from _definitions(settings.seed)
    yield _low()
    yield from _inserted()
    yield from _read(settings)


def grouped_weights(scores: Tensor, block: int, lead: int = 0) -> Tensor:
    """The weights (…, Q, K) of scores of the last Q of K positions, by the groups of the paper, pair by pair."""
    queries, keys = scores.shape[-2:]
    marks = is_landmark(keys, block, lead=lead)
    place = torch.arange(keys)
    index = torch.where(marks, place, keys).flip(0).cummin(0).values.flip(0)  # the landmark of each one's block
    weights = torch.zeros_like(scores)
    for row in range(queries):
        i = keys - queries + row
        groups = torch.where(marks, torch.where(index[i] == place, -1, index[i]), index)[: i + 1]
        shares = torch.zeros_like(scores[..., row, : i + 1])
        for group in sorted(set(groups.tolist())):
            members = (groups == group).nonzero()[:, 0]
            shares[..., members] = scores[..., row, members].softmax(-1)
        own = groups == index[i]
        gate = torch.where(own, 1.0, shares[..., index[: i + 1].clamp(max=i)])
        weights[..., row, : i + 1] = torch.where(marks[: i + 1], 0.0, shares * gate)
    return weights


def _example() -> Row:
    nothing = torch.zeros(1, 1, 7, 4)
    got = landmark_attention(nothing, nothing, torch.eye(7)[None, None], block=3)[0][0, 0, 6]
    far = float((got - torch.tensor(EXAMPLE)).abs().max())
    return Row.of(
        "the paper's example", "greatest error", far, at_most=SAME, note="weights 1/6, 1/6, 0, 1/6, 1/6, 0, 1/3"
    )


def _definitions(seed: int) -> Iterator[Row]:
    draw = torch.Generator().manual_seed(seed)
    shapes = [(4, 2, 70, 70, 8, 0), (2, 1, 9, 61, 8, 3), (2, 2, 33, 33, 16, 5), (1, 1, 1, 1, 4, 0)]
    for dtype in (torch.float32, torch.float64):
        far = turned = told = rows = 0.0
        for heads, groups, queries, keys, block, lead in shapes:
            q, k, v = (
                torch.randn(2, many, length, 16, generator=draw, dtype=dtype).requires_grad_()
                for many, length in ((heads, queries), (groups, keys), (groups, keys))
            )
            wide = [part.repeat_interleave(heads // groups, 1) for part in (k, v)]
            weights = grouped_weights(q @ wide[0].mT / 4, block, lead)
            wanted, given = weights @ wide[1], torch.randn(q.shape, generator=draw, dtype=dtype)
            got = landmark_attention(q, k, v, block=block, lead=lead)[0]
            far = largest(far, far_apart(got, wanted))
            pairs = zip(*(torch.autograd.grad(one, (q, k, v), given) for one in (got, wanted)), strict=True)
            turned = largest(turned, *(far_apart(*pair) for pair in pairs))
            if lead == 0 and dtype == torch.float32:
                with torch.no_grad():
                    told = largest(told, far_apart(kernel_attention(q, k, v, block=block), wanted))
                rows = largest(rows, float((weights.detach().sum(-1) - 1).abs().max()))
        name = str(dtype).removeprefix("torch.")
        yield Row.of(f"grouped softmax, {name}", "greatest error of the output", far, at_most=SAME)
        near = 4 * SAME if dtype == torch.float32 else SAME
        yield Row.of(f"grouped softmax, {name}", "greatest error of a gradient", turned, at_most=near)
        if dtype == torch.float32:
            yield Row.of("block kernel with a bias", "greatest error of the output", told, at_most=4 * SAME)
            yield Row.of("rows of the weights", "greatest distance of their sum from 1", rows, at_most=SAME)


def _low() -> Row:
    q, k, v = (torch.full((1, 1, 40, 1), value).requires_grad_() for value in (-200.0, 1.0, 0.5))
    out = landmark_attention(q, k, v, block=8, scale=1.0)[0]
    parts = [out, *torch.autograd.grad(out.sum(), (q, k, v))]
    far = largest(
        far_apart(out, torch.full_like(out, 0.5)), *(0.0 if bool(one.isfinite().all()) else torch.inf for one in parts)
    )
    return Row.of("all scores -200", "greatest error, gradients finite", far, at_most=SAME)


def _inserted() -> Iterator[Row]:
    wrong = 0
    for count in range(1, 70):
        ids = torch.arange(count)[None]
        made = insert_landmarks(ids, 8, -1)
        wrong += int(not torch.equal(strip_landmarks(made, 8), ids) or int((made == -1).sum()) != count // 7)
    yield Row.of("landmarks put in and taken out", "lengths of 69 that differ", wrong, at_most=0)


def _read(settings: BenchSettings) -> Iterator[Row]:
    base = own_decoder(DecoderSize(layers=3, width=64), 300, settings.seed, positions=256)
    model = LandmarkModel(base, LandmarkSettings(block=16, train_length=256)).eval()
    draw = torch.Generator().manual_seed(settings.seed)
    ids = torch.randint(300, (2, 220), generator=draw)
    with torch.no_grad():
        whole = model(ids).logits
        wanted = whole[:, :-1].log_softmax(-1).gather(-1, ids[:, 1:, None])[..., 0]
    yield Row.of("logits, landmarks dropped", "of 220 tokens", whole.shape[1], at_least=220, at_most=220)
    for chunk in (None, 1, 7, 16):
        got = model.logprobs(ids, model.make_cache(ReadSettings(top_k=14, chunk=chunk)))
        name = "as many as fit" if chunk is None else f"{chunk} at a time"
        yield Row.of(f"read, {name}, against at once", "greatest error, nats", far_apart(got, wanted), at_most=CACHED)
