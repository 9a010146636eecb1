"""One query over the nearest of listed keys: the compiled kernel and the fall-back beside a plain definition."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from foveal.attention import nearest_attention as module
from foveal.attention.nearest_attention import Runs, nearest_attention, plain
from foveal.errors import InputError

HEADS, GROUPS, KEYS, WIDTH, VALUES = 6, 2, 90, 24, 16


def drawn(dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor, Tensor]:
    draw = torch.Generator().manual_seed(0)
    shapes = ((HEADS, 1, WIDTH), (GROUPS, KEYS, WIDTH), (GROUPS, KEYS, VALUES))
    return tuple(torch.randn(1, *shape, generator=draw).to(dtype) for shape in shapes)  # type: ignore[return-value]


def some_runs() -> Runs:
    """Runs of other places and lengths in each head, 30 keys in all; one of them is empty."""
    starts = torch.tensor([[head, 20 + head, 40, 70] for head in range(HEADS)])
    lengths = torch.tensor([[4 + head, 0, 12, 14 - head] for head in range(HEADS)])
    return Runs(starts, lengths)


def by_hand(
    q: Tensor, k: Tensor, v: Tensor, runs: Runs, count: int, scale: float, softcap: float | None = None
) -> Tensor:
    """Head by head, key by key."""
    made = []
    for head in range(HEADS):
        pairs = zip(runs.starts[head].tolist(), runs.lengths[head].tolist(), strict=True)
        listed = [place for start, length in pairs for place in range(start, start + length)]
        group = head // (HEADS // GROUPS)
        score = {place: float(q[0, head, 0].double() @ k[0, group, place].double()) for place in listed}
        best = sorted(listed, key=lambda place, score=score: -score[place])[:count]
        scores = torch.tensor([score[place] * scale for place in best], dtype=torch.float64)
        scores = scores if softcap is None else softcap * torch.tanh(scores / softcap)
        made.append(scores.softmax(0) @ v[0, group, best].double())
    return torch.stack(made)[None, :, None]


@torch.inference_mode()
@pytest.mark.parametrize("softcap", [None, 1.5])
@pytest.mark.parametrize("count", [1, 11, 30])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_nearest_of_the_listed_keys_are_attended(dtype, count, softcap):
    q, k, v = drawn(dtype)
    expected = by_hand(q, k, v, some_runs(), count, 0.3, softcap)
    near = {"atol": 1e-5, "rtol": 1e-5} if dtype == torch.float32 else {"atol": 0.02, "rtol": 0.02}
    for function in (nearest_attention, plain):
        found = function(q, k, v, some_runs(), count=count, scale=0.3, softcap=softcap)
        assert found.dtype == dtype
        torch.testing.assert_close(found.double(), expected, **near)


@torch.inference_mode()
def test_the_kernel_reads_keys_where_they_lie(monkeypatch):
    """Keys of a cache with room behind them, and of another order of dimensions; what is contiguous is not copied."""
    q, k, v = drawn()
    expected = plain(q, k, v, some_runs(), count=11, scale=0.3)
    roomy = [torch.cat([part, torch.full_like(part, torch.nan)], 2)[:, :, :KEYS] for part in (k, v)]
    turned = [part.transpose(1, 2).contiguous().transpose(1, 2) for part in (k, v)]
    called = []
    native = module._native
    monkeypatch.setattr(module, "_native", lambda *given: called.append(1) or native(*given))
    for keys, values in (roomy, turned, [part.mT.contiguous().mT for part in (k, v)]):
        torch.testing.assert_close(nearest_attention(q, keys, values, some_runs(), count=11, scale=0.3), expected)
    assert len(called) == 3


def test_without_a_compiler_and_with_gradients_keys_are_gathered(monkeypatch):
    q, k, v = drawn()
    with torch.inference_mode():
        expected = nearest_attention(q, k, v, some_runs(), count=11, scale=0.3)
    torch.testing.assert_close(nearest_attention(q, k.requires_grad_(), v, some_runs(), count=11, scale=0.3), expected)
    monkeypatch.setattr(module, "library", lambda _: None)
    with torch.inference_mode():
        torch.testing.assert_close(nearest_attention(q, k, v, some_runs(), count=11, scale=0.3), expected)


@torch.inference_mode()
@pytest.mark.parametrize("broken", [torch.nan, torch.inf])
def test_keys_that_are_no_numbers_give_none_and_do_no_harm(broken):
    q, k, v = drawn()
    k[0, 0, 41] = broken
    found = nearest_attention(q, k, v, some_runs(), count=11, scale=0.3)
    assert found[:, : HEADS // GROUPS].isnan().all()
    assert found[:, HEADS // GROUPS :].isfinite().all()


def test_places_of_runs():
    runs = Runs(torch.tensor([[0, 5, 7], [2, 2, 9]]), torch.tensor([[2, 0, 3], [1, 1, 3]]))
    assert runs.listed == 5
    assert runs.places().tolist() == [[0, 1, 7, 8, 9], [2, 2, 9, 10, 11]]
    assert Runs.whole(2, 3).places().tolist() == [[0, 1, 2]] * 2


@pytest.mark.parametrize("count", [0, 31])
def test_what_cannot_be_asked_for_is_refused(count):
    with pytest.raises(InputError, match=f"{count} nearest of 30 keys"):
        nearest_attention(*drawn(), some_runs(), count=count, scale=0.3)
    q, k, v = drawn()
    of_more = [part[:, :1].expand(-1, HEADS - 1, -1, -1) for part in (k, v)]
    for keys, values in ((k, v[:, :, 1:]), (k[..., 1:], v), of_more):
        with pytest.raises(InputError, match="do not fit"):
            nearest_attention(q, keys, values, some_runs(), count=3, scale=0.3)
    with pytest.raises(InputError, match="one text"):
        nearest_attention(q, k.expand(2, -1, -1, -1), v.expand(2, -1, -1, -1), some_runs(), count=3, scale=0.3)
    with pytest.raises(InputError, match="one query of one text"):
        nearest_attention(q.expand(-1, -1, 2, -1), k, v, some_runs(), count=3, scale=0.3)
    with pytest.raises(InputError, match="for each of its heads"):
        nearest_attention(q[:, :2], k, v, some_runs(), count=3, scale=0.3)


@torch.inference_mode()
@pytest.mark.parametrize("compiled", [True, False])
@pytest.mark.parametrize("wrong", ["unequal", "beyond", "negative", "int32"])
def test_runs_of_keys_that_are_not_there_are_refused(monkeypatch, wrong, compiled):
    if not compiled:
        monkeypatch.setattr(module, "library", lambda _: None)
    runs = some_runs()
    if wrong == "unequal":
        runs.lengths[2, 0] += 40
    elif wrong == "beyond":
        runs.starts[2, 3] = KEYS - 1
    elif wrong == "negative":
        runs.starts[2, 0] = -1
    else:
        runs = Runs(runs.starts.int(), runs.lengths.int())
    with pytest.raises(InputError):
        nearest_attention(*drawn(), runs, count=5, scale=0.2)
