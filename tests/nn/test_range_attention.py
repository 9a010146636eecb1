"""The compiled kernel over runs of keys: it is the masked softmax, backward too; layers give the same without it."""

import subprocess
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from foveal.errors import InputError
from foveal.models.compiled import library
from foveal.nn import range_attention as kernel
from foveal.nn import routing_heads, window_attention
from foveal.nn.jacobians import greatest_stretch
from foveal.nn.range_attention import fits, range_attention
from foveal.nn.routing import RoutingAttention, RoutingSettings
from foveal.nn.window_attention import WindowAttention, WindowSettings


def defined(q, k, v, first, last, scale, order=None):
    """The same, query by query."""
    y = torch.zeros_like(q)
    for b in range(q.shape[0]):
        for h in range(q.shape[1]):
            rows = torch.arange(q.shape[2]) if order is None else order[b, h]
            keys = torch.arange(k.shape[2]) if order is None else order[b, h]
            for place, row in enumerate(rows):
                low, high = (int(one.expand(q.shape[:3])[b, h, place]) for one in (first, last))
                if low <= high:
                    seen = keys[low : high + 1]
                    y[b, h, row] = (q[b, h, row] @ k[b, h, seen].mT * scale).softmax(-1) @ v[b, h, seen]
    return y


def drawn(seed, batch, heads, queries, keys, width):
    draw = torch.Generator().manual_seed(seed)
    q, k, v = (torch.randn(batch, heads, n, width, generator=draw).requires_grad_() for n in (queries, keys, keys))
    return draw, q, k, v


def test_it_is_compiled_here_and_says_what_it_is_not_for():
    assert fits(torch.zeros(1, 1, 3, 32))
    assert fits(torch.zeros(1, 1, 3, 16, dtype=torch.bfloat16))
    assert not fits(torch.zeros(1, 1, 3, 32, dtype=torch.float64))
    assert not fits(torch.zeros(1, 1, 3, 24))
    assert not fits(torch.zeros(1, 1, 0, 32))
    assert not fits(torch.zeros(1, 1, 3, 32, device="meta"))


@settings(max_examples=40, deadline=None)
@given(
    shape=st.tuples(st.integers(1, 2), st.integers(1, 2), st.integers(1, 90), st.integers(1, 90)),
    width=st.sampled_from([16, 32, 48, 64]),
    reach=st.integers(-3, 40),
    ordered=st.booleans(),
    seed=st.integers(0, 99),
)
def test_it_is_the_masked_softmax_forward_and_backward(shape, width, reach, ordered, seed):
    batch, heads, queries, keys = shape
    keys = queries if ordered else keys
    draw, q, k, v = drawn(seed, batch, heads, queries, keys, width)
    first = torch.randint(0, keys, (batch, heads, queries), generator=draw)
    last = (first + torch.randint(-4, max(-3, reach), first.shape, generator=draw)).clamp(max=keys - 1)
    order = torch.rand(first.shape, generator=draw).argsort(-1) if ordered else None
    ours = range_attention(q, k, v, first, last, scale=width**-0.5, order=order)
    theirs = defined(q, k, v, first, last, width**-0.5, order)
    told = torch.randn(theirs.shape, generator=draw)
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)
    if theirs.requires_grad:
        for one, other in zip(
            torch.autograd.grad(ours, (q, k, v), told),
            torch.autograd.grad(theirs, (q, k, v), told, materialize_grads=True),
            strict=True,
        ):
            torch.testing.assert_close(one, other, atol=2e-5, rtol=2e-5)


@pytest.mark.parametrize("reach", [100, 700])
def test_ranges_are_shared_and_threads_change_no_bit(reach):
    place = torch.arange(700)[None, None]
    first, results = (place - reach).clamp(min=0), []
    before = torch.get_num_threads()
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            _, q, k, v = drawn(0, 2, 3, 700, 700, 32)
            y = range_attention(q, k, v, first, place, scale=0.2)
            results.append([y, *torch.autograd.grad(y.square().sum(), (q, k, v))])
    finally:
        torch.set_num_threads(before)
    seen = (place[0, 0][:, None] >= place[0, 0]) & (place[0, 0] >= first[0, 0][:, None])
    exact = torch.nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=seen, scale=0.2)
    for one, other in zip(results[0], [exact, *torch.autograd.grad(exact.square().sum(), (q, k, v))], strict=True):
        torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-4)
    for again in results[1:]:
        assert all(torch.equal(one, other) for one, other in zip(results[0], again, strict=True))


def test_a_task_without_keys_lets_no_two_others_write_at_once():
    """The third 256 queries see what the first saw, and those between see nothing."""
    _, q, k, v = drawn(2, 1, 1, 768, 100, 16)
    first = torch.zeros(1, 1, 768, dtype=torch.long)
    last = torch.full_like(first, 99)
    last[..., 256:512] = -1
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(4)
        for _ in range(20):
            y = range_attention(q, k, v, first, last, scale=0.25)
            made = torch.autograd.grad(y.square().sum(), (q, k, v))
            torch.set_num_threads(1)
            alone = torch.autograd.grad(range_attention(q, k, v, first, last, scale=0.25).square().sum(), (q, k, v))
            torch.set_num_threads(4)
            assert all(torch.equal(one, other) for one, other in zip(made, alone, strict=True))
    finally:
        torch.set_num_threads(before)


def test_keys_that_are_not_there_are_not_read_and_wrong_shapes_are_told():
    _, q, k, v = drawn(3, 1, 2, 9, 7, 16)
    place = torch.arange(9)[None, None]
    whole = range_attention(q, k, v, place * 0, place * 0 + 6, scale=0.25)
    torch.testing.assert_close(range_attention(q, k, v, place - 90, place + 90, scale=0.25), whole)
    assert not range_attention(q, k, v, place + 90, place + 99, scale=0.25).any()
    for wrong in (
        (q, k, v[..., :8], place, place, None),
        (q, k[:, :1], v[:, :1], place, place, None),
        (q, k, v, place[..., :5], place[..., :5], None),
        (q, k, v, place, place, torch.zeros(1, 2, 9, dtype=torch.long)),
    ):
        with pytest.raises(InputError, match="range_attention got"):
            range_attention(*wrong[:5], scale=0.25, order=wrong[5])


@pytest.mark.parametrize("dtype", [torch.int32, torch.int16, torch.float64])
def test_an_order_of_another_type_is_told(dtype):
    """It would be read as whole numbers of 64 bits, and so as places that are not there."""
    _, q, k, v = drawn(3, 1, 2, 9, 9, 16)
    place, order = torch.arange(9)[None, None], torch.arange(9).expand(1, 2, 9)
    range_attention(q, k, v, place, place, scale=0.25, order=order)
    with pytest.raises(InputError, match=rf"order of {dtype}; it needs torch\.int64"):
        range_attention(q, k, v, place, place, scale=0.25, order=order.to(dtype))


FIRST_USE = """
import torch
from foveal.nn.range_attention import fits
from foveal.nn.window_attention import WindowAttention, WindowSettings
layer, x = WindowAttention(WindowSettings(dim=32, heads=2, window=5)), torch.randn(1, 20, 32)
{}
"""


@pytest.mark.parametrize(
    "code",
    [
        "with torch.autocast('cpu', dtype=torch.bfloat16): assert layer(x)[0].dtype == torch.bfloat16",
        "torch.set_default_dtype(torch.float64)\nlayer(x)\nassert fits(x)",
        pytest.param("with torch.device('meta'): assert fits(x)", marks=pytest.mark.slow),
        pytest.param("torch.func.grad(lambda one: layer(one)[0].sum())(x)\nassert fits(x)", marks=pytest.mark.slow),
        "with torch.inference_mode(): layer(x)\nlayer(x)[0].sum().backward()",
    ],
    ids=["autocast", "float64", "meta", "func", "inference"],
)
@pytest.mark.slow
def test_whatever_surrounds_its_first_use(code):
    subprocess.run([sys.executable, "-c", FIRST_USE.format(code)], check=True, timeout=300)


@pytest.mark.filterwarnings("ignore:There is a performance drop")  # PyTorch's own attention, row by row
def test_transforms_of_torch_func_go_the_other_way():
    torch.manual_seed(0)
    layer, x = WindowAttention(WindowSettings(dim=32, heads=2, window=5)), torch.randn(3, 1, 12, 32)
    each = torch.vmap(lambda one: layer(one)[0])(x)
    torch.testing.assert_close(each, torch.stack([layer(one)[0] for one in x]), atol=1e-5, rtol=1e-5)
    slopes = torch.func.grad(lambda one: layer(one)[0].square().sum())(x[0])
    asked = x[0].clone().requires_grad_()
    torch.testing.assert_close(
        slopes, torch.autograd.grad(layer(asked)[0].square().sum(), asked)[0], atol=1e-5, rtol=1e-4
    )
    assert float(greatest_stretch(lambda one: layer(one)[0], x[0])) > 0


def test_great_scores_and_bfloat16():
    _, q, k, v = drawn(1, 1, 1, 40, 40, 16)
    place = torch.arange(40)[None, None]
    y = range_attention(q * 1e3, k * 1e3, v, place * 0, place, scale=1.0)
    torch.testing.assert_close(y, defined(q * 1e3, k * 1e3, v, place * 0, place, 1.0))
    assert torch.isfinite(torch.autograd.grad(y.sum(), q)[0]).all()
    short = [one.detach().bfloat16().requires_grad_() for one in (q, k, v)]
    y = range_attention(*short, place * 0, place, scale=0.25)
    assert y.dtype == torch.bfloat16
    torch.testing.assert_close(
        y.float(), defined(*(one.float() for one in short), place * 0, place, 0.25), atol=0.02, rtol=0.02
    )
    assert torch.autograd.grad(y.sum(), short[1])[0].dtype == torch.bfloat16


# -- the layers that ask for it ----------------------------------------------------------------------------------------

WINDOWS = [
    WindowSettings(dim=32, heads=2, window=window, kind=kind, causal=causal)
    for window in (1, 7, 16)
    for kind in ("sliding", "blocks")
    for causal in (True, False)
]


def both_ways(monkeypatch, module, run):
    """What `run` gives with the kernel, which must have been asked, and without."""
    calls = []

    def counted(*given, **options):
        calls.append(1)
        return range_attention(*given, **options)

    monkeypatch.setattr(module, "range_attention", counted)
    ours = run()
    assert calls
    monkeypatch.setattr(module, "fits", lambda _: False)
    theirs = run()
    monkeypatch.undo()
    return ours, theirs


def gradients(layer, y):
    return torch.autograd.grad(y.square().sum(), list(layer.parameters()), materialize_grads=True)


@pytest.mark.parametrize("chosen", WINDOWS, ids=lambda one: f"{one.kind}-{one.window}-{one.causal}")
def test_windows_are_the_same_with_and_without(chosen, monkeypatch):
    torch.manual_seed(0)
    layer, x = WindowAttention(chosen), torch.randn(2, 53, 32)
    mask = torch.ones(2, 53, dtype=torch.bool)
    mask[1, :9] = False  # padding in front

    def run():
        y, state = layer(x[:, :20], mask=mask[:, :20])
        more, _ = layer(x[:, 20:], state) if chosen.causal else (y, state)
        whole = layer(x)[0]
        return [y, more, whole, *gradients(layer, torch.cat([y, more, whole], 1))]

    for one, other in zip(*both_ways(monkeypatch, window_attention, run), strict=True):
        torch.testing.assert_close(one, other, atol=2e-5, rtol=1e-4)


def test_a_hole_in_the_mask_goes_the_other_way(monkeypatch):
    layer, x = WindowAttention(WindowSettings(dim=32, heads=2, window=5)), torch.randn(1, 20, 32)
    mask = torch.ones(1, 20, dtype=torch.bool)
    mask[0, 8] = False
    monkeypatch.setattr(window_attention, "range_attention", None)
    before = layer(x, mask=mask)[0]
    x[0, 8] = 100.0
    torch.testing.assert_close(layer(x, mask=mask)[0][:, 9:], before[:, 9:])


@pytest.mark.parametrize("scale", ["1/sqrt(d)", "none"])
def test_clusters_are_the_same_with_and_without(scale, monkeypatch):
    torch.manual_seed(0)
    chosen = RoutingSettings(dim=64, heads=3 + 1, routing_heads=3, clusters=5, window=9, logit_scale=scale)
    layer, x = RoutingAttention(chosen).eval(), torch.randn(2, 70, 64)
    mask = torch.rand(2, 40) < 0.8

    def run():
        y, state, loss = layer.routed(x[:, :40], layer.routed.init_state(2), mask)
        more, state, _ = layer.routed(x[:, 40:], state)
        whole, _, _ = layer.routed(x)
        made = [y, more, whole, state.keys, state.values, loss]
        return [*made, *gradients(layer.routed, torch.cat([y, more, whole], 1))]

    for one, other in zip(*both_ways(monkeypatch, routing_heads, run), strict=True):
        torch.testing.assert_close(one, other, atol=2e-5, rtol=1e-4)


def test_streaming_is_parallel_and_no_later_token_is_seen():
    torch.manual_seed(0)
    layer = RoutingAttention(RoutingSettings(dim=64, heads=4, clusters=4, window=6, local_window=5)).eval()
    x = torch.randn(1, 40, 64)
    with torch.no_grad():
        whole, state = layer(x).output, layer.init_state(1)
        for token in range(40):
            y, state, _ = layer.step(x[:, token], state)
            torch.testing.assert_close(y, whole[:, token], atol=1e-5, rtol=1e-5)
        changed = torch.cat([x[:, :20], torch.randn(1, 20, 64)], 1)
        torch.testing.assert_close(layer(changed).output[:, :20], whole[:, :20], atol=0, rtol=0)


def test_without_a_compiler_layers_go_the_other_way(monkeypatch, tmp_path):
    layer, x = WindowAttention(WindowSettings(dim=32, heads=2, window=5)), torch.randn(1, 20, 32)
    expected = layer(x)[0]
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    library.cache_clear()
    kernel._agrees.cache_clear()
    try:
        assert not fits(torch.zeros(1, 1, 3, 32))
        torch.testing.assert_close(layer(x)[0], expected, atol=1e-5, rtol=1e-5)
    finally:
        monkeypatch.undo()
        library.cache_clear()
        kernel._agrees.cache_clear()


@pytest.mark.parametrize("place", [-1, 9, 2**40, 3])
def test_an_order_that_is_none_is_told_before_anything_is_read(place):
    q = torch.randn(1, 2, 9, 16)
    every, order = torch.arange(9)[None, None], torch.arange(9).expand(1, 2, 9).clone()
    order[0, 1, 8] = place
    with pytest.raises(InputError, match="each head needs 0 to 8, each once"):
        range_attention(q, q, q, every, every, scale=0.25, order=order)
