"""Boundaries: rho and the cuts against their plain definitions, the predictor whole and in pieces, kept and loaded."""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from itertools import pairwise
from pathlib import Path
from pydoc_data.topics import topics
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch import nn

from foveal.attention import boundaries, boundary_training, profiles
from foveal.attention.boundaries import (
    EPSILON,
    BoundaryPredictor,
    Origin,
    boundaries_from,
    fixed_boundaries,
    label_boundaries,
)
from foveal.attention.boundary_training import (
    Progress,
    Recipe,
    Sample,
    TokenText,
    capture,
    chosen_layers,
    cosine_distance,
    fit,
    focal_loss,
    measure,
    sample_of,
    train_boundary_predictor,
)
from foveal.errors import InputError
from foveal.models.language import load_language_model

ORIGIN = Origin(model="tiny", fingerprint="ab12", architecture="qwen2-3x4-32", metrics={"predictor f1": 0.5})
SHIPPED = Path(boundaries.__file__).parent / "shipped"
ENCODERS = ("attn", "cnn", "stack", "tokens")


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(3)


def queries_and_keys(generator, *, heads=4, groups=2, length=40, batch=1, dtype=torch.float64):
    q = torch.randn(batch, heads, length, 8, generator=generator, dtype=dtype)
    return q * 2, torch.randn(batch, groups, length, 8, generator=generator, dtype=dtype)


def attention_by_definition(q, k, query_window, scale):
    """The mean over heads of dense causal attention, (L, L), of one text."""
    heads, length, _ = q.shape
    logits = q @ k.repeat_interleave(heads // k.shape[0], dim=0).transpose(-1, -2) * scale
    distance = torch.arange(length)[:, None] - torch.arange(length)
    hidden = (distance < 0) | (distance >= (query_window or length))
    return logits.masked_fill(hidden, -math.inf).softmax(-1).mean(0).tolist()


def rho_by_definition(p, w, query_window):
    """The paper's sums, term by term."""
    length, rho = len(p), [0.0] * len(p)
    for i in range(2 * w - 1, length - 2 * w):
        last = length - 1 if query_window is None else min(i + w + query_window - 1, length - 1)
        past = future = 0.0
        for r in range(i + w, last + 1):
            for step in range(w):
                past += p[r][i - step]
                future += p[r][i + 1 + step]
        rho[i] = (max(past, future) + EPSILON) / (min(past, future) + EPSILON)
    return rho


# labels


@pytest.mark.parametrize("query_window", [None, 11, 3])
@pytest.mark.parametrize("w", [1, 2, 4])
@pytest.mark.parametrize("numbers", [2**22, 2000, 1], ids=["one block", "two blocks", "small blocks"])
def test_rho_is_that_of_the_definition(generator, monkeypatch, w, query_window, numbers):
    monkeypatch.setattr(boundaries, "_BLOCK_NUMBERS", numbers)
    q, k = queries_and_keys(generator, batch=2)
    found = label_boundaries(q, k, window=w, query_window=query_window, scale=0.3)
    for text in range(2):
        p = attention_by_definition(q[text], k[text], query_window, 0.3)
        expected = torch.tensor(rho_by_definition(p, w, query_window), dtype=torch.float64)
        torch.testing.assert_close(found[text], expected, atol=1e-9, rtol=1e-9)


def test_the_scale_is_that_of_the_head_size_and_low_precision_is_computed_in_float32(generator):
    q, k = (part.bfloat16() for part in queries_and_keys(generator))
    p = attention_by_definition(q[0].double(), k[0].double(), None, 8**-0.5)
    expected = torch.tensor(rho_by_definition(p, 4, None), dtype=torch.float64)
    torch.testing.assert_close(label_boundaries(q, k)[0], expected, atol=0, rtol=1e-4)


def test_rho_peaks_where_chunks_end():
    """Keys of every second segment get much of every query's attention, the others little."""
    lengths = [14, 11, 17, 12, 9, 21, 16]
    liked = torch.cat([torch.full((size,), 6.0 * (place % 2)) for place, size in enumerate(lengths)])
    q, k = torch.ones(1, 1, 100, 1), liked[None, None, :, None]
    rho = label_boundaries(q, k, scale=1.0)[0]
    ends = torch.tensor(lengths).cumsum(0)[:-1]
    for end in ends.tolist():
        assert rho[end - 8 : end + 8].argmax() == 7  # behind the segment's last token, end - 1
    assert boundaries_from(rho, threshold=1.5, block=10, per_block=1).tolist() == [0, *ends.tolist(), 100]


def test_positions_without_a_label_are_zero(generator):
    rho = label_boundaries(*queries_and_keys(generator, length=20))[0]
    assert (rho > 0).nonzero().flatten().tolist() == list(range(7, 12))
    assert not label_boundaries(*queries_and_keys(generator, length=15)).any()


@pytest.mark.parametrize(
    ("q", "k", "window"),
    [
        ((1, 4, 20, 8), (1, 2, 19, 8), 4),
        ((1, 4, 20, 8), (1, 3, 20, 8), 4),
        ((4, 20, 8), (2, 20, 8), 4),
        ((1, 4, 7, 8), (1, 2, 7, 8), 4),
        ((1, 4, 20, 8), (1, 2, 20, 8), 0),
    ],
)
def test_labels_of_what_does_not_fit_are_refused(q, k, window):
    with pytest.raises(InputError, match=r"do not fit|A window of"):
        label_boundaries(torch.zeros(q), torch.zeros(k), window=window)


# cuts


def cut_by_definition(scores, nms, limit, threshold, forced):
    kept = list(forced)
    for place in sorted(range(len(scores) - 1), key=lambda place: (-scores[place], place)):
        clear = all(abs(place + 1 - start) > nms for start in kept)
        if len(kept) < limit + len(forced) and scores[place] > threshold and clear:
            kept.append(place + 1)
    return [0, *sorted(kept), len(scores)]


@given(
    st.lists(st.integers(0, 9), min_size=1, max_size=80),
    st.integers(0, 9),
    st.sampled_from([(8, 1), (16, 2), (5, 5)]),
    st.sampled_from([None, 4.0]),
    st.sampled_from([(), (3,), (30, 12)]),
)
def test_cuts_are_those_of_the_definition(scores, nms, density, threshold, forced):
    block, per_block = density
    forced = tuple(start for start in forced if start < len(scores))
    found = boundaries_from(
        torch.tensor(scores).float(), nms=nms, per_block=per_block, block=block, threshold=threshold, forced=forced
    )
    floor = -math.inf if threshold is None else threshold
    expected = cut_by_definition(scores, nms, len(scores) // block * per_block, floor, sorted(forced))
    assert found.tolist() == expected


def test_where_the_score_is_minus_infinity_nothing_is_cut(generator):
    scores = torch.rand(512, generator=generator)
    scores[300:] = -math.inf
    starts = boundaries_from(scores, forced=[300]).tolist()
    assert starts[-2:] == [300, 512]
    assert min(end - start for start, end in pairwise(starts[1:])) > 8


def test_scores_that_are_none_are_refused():
    for scores in (torch.zeros(0), torch.zeros(2, 5), torch.tensor([0.0, math.nan])):
        with pytest.raises(InputError, match="all numbers"):
            boundaries_from(scores)
    for start in (0, 9, -1):
        with pytest.raises(InputError, match="must lie in 1 to 8"):
            boundaries_from(torch.zeros(9), forced=[start])


def test_fixed_boundaries():
    assert fixed_boundaries(10, 4).tolist() == [0, 4, 8, 10]
    assert fixed_boundaries(8, 4).tolist() == [0, 4, 8]
    with pytest.raises(InputError, match="must be at least 1"):
        fixed_boundaries(0, 4)


# predictor


def predictor_of(encoder="attn", channels=12, **settings):
    torch.manual_seed(1)
    return BoundaryPredictor(channels, **{"window": 3, "hidden": 10, "encoder": encoder} | settings).eval()


def plain(encoder="attn"):
    """A predictor whose features are 12 numbers a token."""
    return predictor_of(encoder, standardise=False)


def attended_by_pytorch(attention, tokens):
    """Self-attention of one window (2w, C), by PyTorch's own module with the same weights."""
    peer = nn.MultiheadAttention(tokens.shape[1], attention.heads, batch_first=True)
    peer.load_state_dict(
        {
            "in_proj_weight": attention.project.weight,
            "in_proj_bias": attention.project.bias,
            "out_proj.weight": attention.out.weight,
            "out_proj.bias": attention.out.bias,
        }
    )
    return peer(*[tokens[None]] * 3)[0][0]


def stacked(encoder, tokens):
    """Encoder "stack" of one window (2w, C)."""
    for block, norm in zip(encoder.blocks, list(encoder.norms)[:4], strict=True):
        tokens = tokens + attended_by_pytorch(block, norm(tokens))
    return encoder.norms[4](tokens)


def convolved_by_hand(encoder, side):
    """Encoder "cnn" of one side (w, C): each channel's kernel meets the side once."""
    summed = (encoder.along.weight[:, 0] * side.T).sum(1) + encoder.along.bias
    return encoder.across(summed.relu()).relu()


def each_alone(encoder, token):
    """Encoder "tokens" of one token (C,)."""
    gelu = nn.functional.gelu
    return gelu(encoder.second(gelu(encoder.first(token))))


def means(encoded, w):
    return encoded[:w].mean(0), encoded[w:].mean(0)


SIDES = {
    "attn": lambda encoder, x, w: means(encoder.norm(attended_by_pytorch(encoder.attention, x)), w),
    "stack": lambda encoder, x, w: means(stacked(encoder, x), w),
    "cnn": lambda encoder, x, w: [convolved_by_hand(encoder, side) for side in (x[:w], x[w:])],
    "tokens": lambda encoder, x, w: means(torch.stack([each_alone(encoder, token) for token in x]), w),
}


def logit_of(predictor, left, right):
    alike = (left @ right / (left.norm() * right.norm()))[None]
    fused = torch.cat([left, right, (left - right).abs(), left * right, alike])
    return predictor.score(predictor.fused(fused).relu())[0]


@torch.no_grad()
@pytest.mark.parametrize("encoder", ENCODERS)
def test_a_logit_is_that_of_the_window_alone(encoder, generator):
    predictor = plain(encoder)
    x, w = torch.randn(9, 12, generator=generator), 3
    around = torch.cat([torch.zeros(w - 1, 12), x, torch.zeros(w, 12)])
    expected = []
    for i in range(9):
        tokens = around[i : i + 2 * w]
        expected.append(logit_of(predictor, *SIDES[encoder](predictor.encoder, tokens, w)))
    torch.testing.assert_close(predictor(x[None])[0], torch.stack(expected), atol=1e-5, rtol=1e-5)


UNPOOLED = {
    "attn": lambda encoder, x: encoder.norm(attended_by_pytorch(encoder.attention, x)),
    "stack": stacked,
    "tokens": lambda encoder, x: torch.stack([each_alone(encoder, token) for token in x]),
}


@torch.no_grad()
@pytest.mark.parametrize("encoder", UNPOOLED)
def test_a_gated_side_weighs_its_tokens(encoder, generator, tmp_path):
    predictor, w = predictor_of(encoder, standardise=False, gated=True), 3
    x = torch.randn(9, 12, generator=generator)
    around = torch.cat([torch.zeros(w - 1, 12), x, torch.zeros(w, 12)])
    gate = predictor.encoder.pooled.gate.weight[0]
    gate *= 5  # so that it matters
    expected, even = [], []
    for i in range(9):
        encoded = UNPOOLED[encoder](predictor.encoder, around[i : i + 2 * w])
        weights = [(side @ gate).softmax(0) for side in (encoded[:w], encoded[w:])]
        sides = [(encoded[:w] * weights[0][:, None]).sum(0), (encoded[w:] * weights[1][:, None]).sum(0)]
        expected.append(logit_of(predictor, *sides))
        even.append(logit_of(predictor, *means(encoded, w)))
    torch.testing.assert_close(predictor(x[None])[0], torch.stack(expected), atol=1e-5, rtol=1e-5)
    predictor.save(tmp_path / "gated.safetensors", ORIGIN, dtype=torch.float32)
    assert torch.equal(BoundaryPredictor.load(tmp_path / "gated.safetensors")(x[None]), predictor(x[None]))
    gate.zero_()
    torch.testing.assert_close(predictor(x[None])[0], torch.stack(even), atol=1e-5, rtol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("encoder", ENCODERS)
def test_some_positions_at_a_time_give_what_all_give(encoder, generator, monkeypatch):
    predictor, x = plain(encoder), torch.randn(2, 50, 12, generator=generator)
    whole = predictor(x)
    assert whole.shape == (2, 50)
    for positions in (1, 7, 49):
        monkeypatch.setattr(boundaries, "_POSITIONS", positions)
        torch.testing.assert_close(predictor(x), whole, atol=1e-5, rtol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("encoder", ENCODERS)
def test_a_logit_sees_its_own_window_and_no_more(encoder, generator):
    predictor, x = plain(encoder), torch.randn(1, 30, 12, generator=generator)
    other = x.clone()
    other[:, 15] = torch.randn(12, generator=generator)
    changed = (predictor(x) - predictor(other)).abs()[0] > 1e-7
    assert changed.nonzero().flatten().tolist() == list(range(12, 18))  # 15 stands in i - 2 … i + 3


def test_the_order_of_the_two_sides_tokens_does_not_matter_to_attention(generator):
    predictor, x = plain("attn"), torch.randn(1, 6, 12, generator=generator)
    turned = x[:, [2, 0, 1, 5, 3, 4]]
    torch.testing.assert_close(predictor(x)[0, 2], predictor(turned)[0, 2])


def test_features_are_all_key_heads_of_a_token(generator):
    k = torch.randn(2, 3, 5, 4, generator=generator)
    x = plain().features(k.bfloat16())
    assert x.dtype == torch.float32
    assert torch.equal(x[1, 4], k.bfloat16().float()[1, :, 4].flatten())
    predictor = predictor_of()
    torch.testing.assert_close(predictor.predict(k), predictor(predictor.features(k)).sigmoid())


def test_keys_in_bfloat16_are_read_in_bfloat16_to_the_same_boundaries(generator):
    k = torch.randn(1, 3, 600, 16, generator=generator).bfloat16()
    predictor = predictor_of(channels=48)
    found, exact = predictor.predict(k), predictor.predict(k.float())
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, exact, atol=0.01, rtol=0)


@pytest.mark.parametrize("probe", ["_is_amx_tile_supported", "_is_avx512_bf16_supported", None])
def test_a_processor_that_multiplies_halves_reads_keys_as_halves(probe, monkeypatch):
    """AMX is one way to do so, AVX-512 another."""
    for name in ("_is_amx_tile_supported", "_is_avx512_bf16_supported"):
        monkeypatch.setattr(torch.cpu, name, lambda name=name: name == probe)
    keys = torch.zeros(1, 1, 2, 4)
    assert boundaries._in_bfloat16(keys.bfloat16()) == (probe is not None)
    assert not boundaries._in_bfloat16(keys)


@pytest.mark.parametrize("length", [1, 2, 1023, 1024, 1025, 2500])
def test_predicting_a_long_text_piece_by_piece_is_predicting_it_whole(generator, length):
    k = torch.randn(1, 3, length, 4, generator=generator)
    predictor = predictor_of()
    whole = predictor(predictor.features(k)).sigmoid()
    torch.testing.assert_close(predictor.predict(k), whole)


def test_features_tell_the_mean_key_apart(generator):
    k, offset = torch.randn(1, 3, 20, 4, generator=generator), torch.arange(4) * 10
    x, moved = predictor_of().features(k), predictor_of().features(k * 5 + offset)
    torch.testing.assert_close(x[..., :12], moved[..., :12], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(x[..., :12].mean(1), torch.zeros(1, 12), atol=1e-6, rtol=0)
    torch.testing.assert_close(x[..., :12].square().mean(1), torch.ones(1, 12))
    for row in moved[0, :, 12:]:
        torch.testing.assert_close(row, (k.mean(2) * 5 + offset).flatten().asinh())
    assert torch.equal(predictor_of().features(k[:, :, :1])[..., :12], torch.zeros(1, 1, 12))


@pytest.mark.parametrize(
    "settings", [{"encoder": "lstm"}, {"channels": 10, "heads": 8}, {"window": 0}, {"encoder": "cnn", "gated": True}]
)
def test_a_predictor_that_cannot_be_is_refused(settings):
    with pytest.raises(InputError, match=r"There are: attn, cnn, stack, tokens|must be positive|no tokens to weigh"):
        predictor_of(**settings)


def test_features_of_another_model_are_refused():
    with pytest.raises(InputError, match=r"features \(B, L, 24\); got \(1, 9, 16\)"):
        predictor_of()(torch.zeros(1, 9, 16))


# kept


@torch.no_grad()
@pytest.mark.parametrize("encoder", ENCODERS)
def test_what_is_saved_is_what_is_loaded(encoder, tmp_path, generator):
    predictor, path = predictor_of(encoder), tmp_path / "new" / "boundaries.safetensors"
    predictor.save(path, ORIGIN)
    loaded = BoundaryPredictor.load(path, channels=12)
    x = torch.randn(1, 20, 24, generator=generator)
    assert loaded.settings == predictor.settings
    assert loaded.origin == ORIGIN
    assert not loaded.training
    torch.testing.assert_close(loaded(x), predictor(x), atol=5e-3, rtol=5e-3)
    predictor.save(path, ORIGIN, dtype=torch.float32)
    assert torch.equal(BoundaryPredictor.load(path)(x), predictor(x))


def rewritten(path, **changes):
    """The file at `path` with another card."""
    card = {"version": 1, **predictor_of().settings, "origin": asdict(ORIGIN)} | changes
    save_file(load_file(path), path, metadata={"foveal": json.dumps(card)})


def test_files_that_do_not_serve_are_refused(tmp_path):
    path = tmp_path / "boundaries.safetensors"
    with pytest.raises(InputError, match="There is no boundary predictor at"):
        BoundaryPredictor.load(path)
    predictor_of().save(path, ORIGIN)
    with pytest.raises(InputError, match="reads the 12 key channels of tiny; this model has 16"):
        BoundaryPredictor.load(path, channels=16)
    rewritten(path, version=2)
    with pytest.raises(InputError, match="another version of Foveal"):
        BoundaryPredictor.load(path)
    rewritten(path, version=2, origin={"later": 1})
    with pytest.raises(InputError, match="another version of Foveal"):
        BoundaryPredictor.load(path)
    for changes in ({"hidden": 11}, {"later": 1}, {"origin": None}, {"origin": {"later": 1}}, {"hidden": "11"}):
        rewritten(path, version=1, **changes)
        with pytest.raises(InputError, match="is damaged"):
            BoundaryPredictor.load(path)
    predictor = predictor_of()
    with torch.no_grad():
        next(predictor.parameters()).view(-1)[0] = torch.nan
    predictor.save(path, ORIGIN)
    with pytest.raises(InputError, match="no numbers"):
        BoundaryPredictor.load(path)
    save_file({"x": torch.zeros(1)}, path)
    with pytest.raises(InputError, match="is no boundary predictor"):
        BoundaryPredictor.load(path)
    path.write_bytes(b"PK")
    with pytest.raises(InputError, match="is no boundary predictor"):
        BoundaryPredictor.load(path)


# training


def text(length=60, seed=0):
    return torch.randint(256, (length,), generator=torch.Generator().manual_seed(seed)).tolist()


def test_capture_shows_every_layer_and_leaves_the_model_as_it_is(model, kind):
    seen, expected = {}, model(input_ids=torch.tensor([text()])).logits
    capture(model, text(), lambda q, k, context: seen.update({context.layer: (q.shape, k.shape, context.mask.window)}))
    groups, width, windows = {"qwen": (2, 8, {None}), "gemma": (1, 16, {8, None})}[kind]
    assert list(seen) == list(range(model.config.num_hidden_layers))
    assert {(q, k) for q, k, _ in seen.values()} == {((1, 4, 60, width), (1, groups, 60, width))}
    assert {window for *_, window in seen.values()} == windows
    assert torch.equal(model(input_ids=torch.tensor([text()])).logits, expected)


@pytest.mark.usefixtures("kind")
def test_labels_are_those_of_the_models_own_attention(attention_models, kind):
    model, ids = attention_models[kind].model, text()
    model.set_attn_implementation("eager")
    attentions = model(input_ids=torch.tensor([ids]), output_attentions=True).attentions
    model.set_attn_implementation("sdpa")
    samples = {}
    capture(model, ids, lambda q, k, context: samples.update({context.layer: sample_of(q, k, context)}))
    for layer, sample in samples.items():
        p = attentions[layer][0].double().mean(0).tolist()
        expected = torch.tensor(rho_by_definition(p, 4, None), dtype=torch.float64)
        torch.testing.assert_close(sample.rho, expected, atol=1e-6, rtol=2e-3)


def test_focal_loss_is_that_of_the_definition():
    for z, y in ((0.3, 1), (0.3, 0), (-2.0, 1), (4.0, 0)):
        p = 1 / (1 + math.exp(-z))
        hit = p if y else 1 - p
        expected = (1 - hit) ** 2 * -math.log(hit) * (1.3 if y else 1)
        logit, target = torch.tensor([z], dtype=torch.float64), torch.tensor([float(y)], dtype=torch.float64)
        found = focal_loss(logit, target, focus=2, positive_weight=1.3)
        assert found.item() == pytest.approx(expected, rel=1e-6)


def test_cosine_distance_is_that_of_adjacent_windows(generator):
    x = torch.randn(12, 5, generator=generator)
    found = cosine_distance(x[None, None], 3)
    for i in range(2, 9):
        left, right = x[i - 2 : i + 1].mean(0), x[i + 1 : i + 4].mean(0)
        assert found[i].item() == pytest.approx(1 - (left @ right / (left.norm() * right.norm())).item(), abs=1e-5)


def learnable(generator, count=6, length=80):
    """Samples whose keys jump where a boundary is."""
    samples = []
    for _ in range(count):
        side = torch.randint(2, (length // 8,), generator=generator).repeat_interleave(8)
        jumps = torch.cat([side.diff().abs() > 0, torch.zeros(1, dtype=torch.bool)])
        rho = torch.where(jumps, 4.0, 1.1)
        rho[:7] = rho[-8:] = 0
        noise = torch.randn(length, 8, generator=generator) / 4
        samples.append(Sample((noise + side[:, None] * 2)[None, None], rho))
    return samples


@pytest.mark.parametrize("encoder", ENCODERS)
def test_training_finds_boundaries_that_can_be_seen(encoder, generator):
    torch.manual_seed(0)
    predictor, losses = BoundaryPredictor(8, hidden=32, encoder=encoder), []
    fit(predictor, learnable(generator), Recipe(epochs=25), lambda progress: losses.append(progress.loss))
    assert sum(losses[-6:]) < 0.9 * sum(losses[:6])
    (unseen,) = learnable(generator, count=1)
    found, valid = predictor.predict(unseen.key)[0] >= 0.5, unseen.rho > 0
    assert (found == (unseen.rho >= 2))[valid].float().mean() > 0.95


def test_a_model_trains_its_predictor_and_the_seed_decides(model, tmp_path):
    texts = [TokenText(text(seed=seed), [9, 30, 50]) for seed in range(5)]
    recipe = Recipe(epochs=6, learning_rate=1e-2, length=50, layers_per_text=2, hidden=16)
    progress: list[Progress] = []
    predictor, metrics = train_boundary_predictor(model, texts, recipe=recipe, on_progress=progress.append)
    losses = [step.loss for step in progress if step.stage == "training"]
    assert len(losses) == 6 * 4 * 2
    assert sum(losses[-8:]) < 0.9 * sum(losses[:8])
    assert list(metrics) == ["predictor", "random", "fixed", "sentences", "cosine"]
    assert metrics == measure(model, predictor, texts[:1], length=50)
    again, _ = train_boundary_predictor(model, texts[1:], held_out=texts[:1], recipe=recipe)
    other, _ = train_boundary_predictor(model, texts, recipe=recipe, seed=1)
    same, x = predictor.state_dict(), torch.zeros(1, 9, 2 * predictor.channels)
    assert all(torch.equal(same[name], weight) for name, weight in again.state_dict().items())
    assert not torch.equal(predictor(x), other(x))


def test_the_baselines_are_counted_as_they_are_defined(attention_models):
    model, ids = attention_models["qwen"].model, text(length=70)
    rhos = []
    capture(model, ids, lambda q, k, context: rhos.append(sample_of(q, k, context).rho))
    rho = torch.stack(rhos)
    valid, true = rho > 0, rho >= 2
    found = measure(model, BoundaryPredictor(16), [TokenText(ids, [20, 33, 34])])
    for name, places in {"sentences": [20, 33, 34], "fixed": [15, 31, 47, 63]}.items():
        marks = torch.zeros_like(valid)
        marks[:, places] = True
        both, marked = int((marks & true).sum()), int((marks & valid).sum())
        assert found[name].precision == pytest.approx(both / marked)
        assert found[name].recall == pytest.approx(both / int(true.sum()))
        assert found[name].f1 == pytest.approx(2 * both / (marked + int(true.sum())))
    assert found["random"].precision == pytest.approx(found["random"].recall)


def test_training_on_nothing_is_refused(attention_models):
    model = attention_models["qwen"].model
    for texts in ([], [TokenText(text())], [TokenText(text()), TokenText(text(length=16))]):
        with pytest.raises(InputError, match="at least 17 tokens, two or more"):
            train_boundary_predictor(model, texts)
    with pytest.raises(InputError, match="A recipe got epochs = 0"):
        Recipe(epochs=0)


# shipped


@pytest.mark.parametrize(("name", "channels"), [("qwen2.5-coder-0.5b", 128), ("gemma3-270m", 256)])
def test_shipped_predictors_say_what_they_are(name, channels):
    path = SHIPPED / f"boundaries-{name}.safetensors"
    predictor = BoundaryPredictor.load(path, channels=channels)
    profile = profiles.read((SHIPPED / f"{name}.json").read_text(), name)
    assert path.stat().st_size <= 1.5e6
    assert (predictor.origin.model, predictor.origin.architecture) == (name, profile.architecture)
    assert predictor.origin.fingerprint == profile.fingerprint
    assert predictor.origin.metrics["predictor f1"] > predictor.origin.metrics["cosine f1"]


@pytest.mark.model
@pytest.mark.slow
def test_a_shipped_predictor_finds_what_its_model_does_in_a_text_that_was_held_out():
    model = load_language_model("gemma3-270m")
    held_out = TokenText(model.encode(topics["debugger"])[:512])
    predictor = BoundaryPredictor.load(SHIPPED / "boundaries-gemma3-270m.safetensors")
    found = measure(model.model, predictor, [held_out], length=512)
    assert found["predictor"].f1 > 1.15 * max(found[name].f1 for name in ("random", "fixed", "sentences", "cosine"))
    assert found["predictor"].overlap > 2 * max(
        found[name].overlap for name in ("random", "fixed", "sentences", "cosine")
    )


def test_only_layers_that_see_the_whole_text_are_learnt_and_measured(attention_models, monkeypatch):
    model, ids = attention_models["gemma"].model, text(length=70)
    whole = [layer for layer, kind in enumerate(model.config.layer_types) if kind == "full_attention"]
    assert chosen_layers(model) == whole == [1, 3]
    asked = []
    monkeypatch.setattr(
        boundary_training, "sample_of", lambda q, k, c, **given: (asked.append(c.layer), sample_of(q, k, c, **given))[1]
    )
    recipe = Recipe(epochs=1, hidden=16)
    train_boundary_predictor(model, [TokenText(ids)] * 2, held_out=[TokenText(ids)], recipe=recipe)
    assert asked == whole * 3
    slides = SimpleNamespace(num_hidden_layers=3, layer_types=["sliding_attention"] * 3)
    slides.get_text_config = lambda: slides
    assert chosen_layers(SimpleNamespace(config=slides)) == [0, 1, 2]
