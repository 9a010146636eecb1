"""A landmark model: read in pieces or at once, the blocks that it opens, what it keeps, and what it refuses."""

from __future__ import annotations

import logging

import pytest
import torch
from safetensors.torch import save_file
from tiny import tiny
from torch import Tensor
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    GraniteConfig,
    GraniteForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    PhiConfig,
    PhiForCausalLM,
)

from foveal.attention import LandmarkModel, LandmarkSettings, ReadSettings, attach
from foveal.attention.landmark_cache import LandmarkLayer
from foveal.attention.unrotated import Rotations
from foveal.errors import InputError, ModelUnavailable

VOCABULARY, BLOCK = 60, 8
NEAR = {"atol": 1e-4, "rtol": 1e-4}


def llama(seed: int = 0, **more: object) -> LlamaForCausalLM:
    shape = {
        "vocab_size": VOCABULARY,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "initializer_range": 0.3,
    }
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return LlamaForCausalLM(LlamaConfig(**(shape | more))).double().eval()


@pytest.fixture(scope="module")
def model() -> LandmarkModel:
    return LandmarkModel(llama(), LandmarkSettings(block=BLOCK, train_length=128)).eval()


def text(tokens: int, batch: int = 1, seed: int = 0) -> Tensor:
    return torch.randint(VOCABULARY, (batch, tokens), generator=torch.Generator().manual_seed(seed))


def at_once(model: LandmarkModel, ids: Tensor) -> Tensor:
    with torch.no_grad():
        return model(ids).logits.float().log_softmax(-1)[:, :-1].gather(-1, ids[:, 1:, None])[..., 0]


@pytest.mark.parametrize(
    ("chunk", "selection", "tokens"),
    [(None, "token_and_head", 104), (8, "head", 104), (3, "token", 60), (1, "token_and_head", 33)],
)
def test_read_in_pieces_is_read_at_once_while_nothing_is_left_out(model, chunk, selection, tokens):
    ids = text(tokens, batch=2)
    settings = ReadSettings(top_k=14, chunk=chunk, selection=selection)
    got = model.logprobs(ids, model.make_cache(settings))
    torch.testing.assert_close(got, at_once(model, ids), **NEAR)


def test_read_in_pieces_of_any_length(model):
    ids, cache, parts = text(104), model.make_cache(ReadSettings(top_k=14)), []
    for piece in ids.split([1, 6, 1, 30, 13, 53], 1):
        parts += list(model.states(piece, cache))
    with torch.no_grad():
        wanted = model(ids).logits
    torch.testing.assert_close(model.logits(torch.cat(parts, 1)), wanted, **NEAR)
    assert (cache.tokens, cache.blocks, cache.positions) == (104, 14, 118)


def test_a_window_begins_to_be_left_after_k_blocks(model):
    ids = text(104)
    few = model.logprobs(ids, model.make_cache(ReadSettings(top_k=3, chunk=8)))
    apart = (few - at_once(model, ids))[0].abs() > 1e-4
    assert not apart[: 4 * (BLOCK - 1) - 1].any()  # while a chunk is read, k blocks and itself are all there is
    assert apart.any()


# -- the rules, pair by pair ------------------------------------------------------------------------------------------


def turned(x: Tensor, place: float, base: float = 10_000.0) -> Tensor:
    half = x.shape[-1] // 2
    angle = place * base ** (-torch.arange(half, dtype=torch.float64) / half)
    one, two = x[..., :half], x[..., half:]
    return torch.cat([one * angle.cos() - two * angle.sin(), two * angle.cos() + one * angle.sin()], -1)


def read_by_definition(q: Tensor, k: Tensor, v: Tensor, chunks: list[int], top_k: int, scale: float) -> Tensor:
    """One head: q, k, v (N, D), chunk by chunk with stingy positions."""
    out, done = [], 0
    for size in chunks:
        stored, tail = done // BLOCK, done % BLOCK
        begin = min(stored, top_k + 1) * BLOCK
        for i in range(done, done + size):
            place = begin + tail + i - done
            scored = []
            for block in range(stored):
                from_latest = stored - 1 - block
                slot = block if stored <= top_k else max(0, top_k - from_latest)
                key = turned(k[block * BLOCK + BLOCK - 1], slot * BLOCK + BLOCK - 1)
                scored.append(float(turned(q[i], place) @ key))
            chosen = sorted(sorted(range(stored), key=lambda block: -scored[block])[:top_k])
            keys, values, groups = [], [], []
            for number, block in enumerate(chosen):
                latest = stored > top_k and block >= stored - top_k
                start = (number + latest) * BLOCK
                for j in range(BLOCK):
                    keys.append(turned(k[block * BLOCK + j], start + j))
                    values.append(v[block * BLOCK + j])
                    groups.append((block, j == BLOCK - 1))
            for j in range(stored * BLOCK, i + 1):
                keys.append(turned(k[j], begin + j - stored * BLOCK))
                values.append(v[j])
                groups.append((j // BLOCK, j % BLOCK == BLOCK - 1))
            out.append(grouped(turned(q[i], place), torch.stack(keys), torch.stack(values), groups, i // BLOCK, scale))
        done += size
    return torch.stack(out)


def grouped(q: Tensor, keys: Tensor, values: Tensor, groups: list, own: int, scale: float) -> Tensor:
    scores = keys @ q * scale
    mine = [n for n, (block, mark) in enumerate(groups) if (block == own) != mark]
    first = dict(zip(mine, scores[mine].softmax(-1), strict=True))
    out = sum(first[n] * values[n] for n in mine if not groups[n][1])
    for n in (n for n in mine if groups[n][1]):
        members = [m for m, (block, mark) in enumerate(groups) if block == groups[n][0] and not mark]
        out = out + first[n] * (scores[members].softmax(-1) @ values[members])
    return out


@pytest.mark.parametrize("top_k", [1, 2, 4])
def test_a_layer_looks_where_the_paper_says(top_k):
    rotations = Rotations.take(llama())
    draw = torch.Generator().manual_seed(top_k)
    q, k, v = (torch.randn(1, heads, 90, 8, generator=draw, dtype=torch.float64) for heads in (4, 2, 2))
    chunks = [11, 1, 1, 20, 7, 16, 34]
    layer = LandmarkLayer(0, BLOCK, ReadSettings(top_k=top_k), rotations)
    got = torch.cat(
        [layer.attend(*parts, 0.6) for parts in zip(*(x.split(chunks, 2) for x in (q, k, v)), strict=True)], 2
    )
    for head in range(4):
        wanted = read_by_definition(q[0, head], k[0, head // 2], v[0, head // 2], chunks, top_k, 0.6)
        torch.testing.assert_close(got[0, head], wanted, atol=1e-5, rtol=1e-5)


# -- what is kept, and told -------------------------------------------------------------------------------------------


def test_blocks_in_mapped_files_change_nothing(model, tmp_path):
    ids, more = text(300), text(40, seed=1)
    plain = model.logprobs(more, model.read(ids, model.make_cache(ReadSettings(top_k=3))))
    there = model.make_cache(ReadSettings(top_k=3, folder=tmp_path))
    torch.testing.assert_close(model.logprobs(more, model.read(ids, there)), plain)
    assert there.slow_bytes == 2 * 2 * 2 * 48 * BLOCK * 8 * 8  # layers, keys and values, groups, blocks, …
    assert there.fast_bytes < there.slow_bytes / 8


def test_an_index_of_landmarks_finds_the_same_blocks(model):
    cache = model.read(text(300), model.make_cache(ReadSettings(top_k=3)))
    layer = cache.layers[1]  # in the first one all landmarks are the same vector
    queries = torch.randn(1, 4, 20, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    scored = layer.choose(queries, 0.5)
    cache.build_index("flat")
    assert (layer.choose(queries, 0.5) == scored).all()
    model.read(text(70, seed=1), cache)
    assert layer.indexed == layer.kept - 3 == 49
    found = layer.choose(queries, 0.5)
    layer.index = None
    assert (layer.choose(queries, 0.5) == found).all()


def test_forgotten_blocks_are_opened_no_more(model):
    cache = model.make_cache(ReadSettings(top_k=2, most_blocks=5))
    for piece in text(400).split(100, 1):
        model.read(piece, cache)
    assert cache.blocks == 5
    cache.watch()
    assert model.logprobs(text(30, seed=1), cache).isfinite().all()
    assert (cache.sources()[0] > 0).nonzero().min() >= 400 // (BLOCK - 1) - 5
    assert all((one.blocks >= one.first // BLOCK - 5).all() for one in cache.trace())


def test_landmarks_of_forgotten_blocks_take_no_room(model):
    """A stream without an end is read in bounded memory."""
    cache = model.make_cache(ReadSettings(top_k=2, most_blocks=5))
    layer = cache.layers[0]
    for piece in text(1400).split(60, 1):
        model.read(piece, cache)
        held = layer._marks(layer.first, layer.finished)
        every = torch.arange(layer.kept).expand(1, held.shape[1], 1, -1)
        torch.testing.assert_close(held, layer.store.fetch(every, like=held)[0][:, :, 0, :, -1])
    assert layer.marks.shape[2] == 64 < layer.finished == 200
    assert cache.fast_bytes == 2 * held.nbytes  # of each layer the five that are kept: no block stands open


def test_a_cache_whose_reading_was_stopped_within_a_chunk_is_not_gone_on_with(model):
    def stopped(*_: object) -> None:
        raise KeyboardInterrupt

    cache = model.read(text(20))
    hook = model.base.base_model.layers[0].mlp.register_forward_hook(stopped)
    with pytest.raises(KeyboardInterrupt):
        model.read(text(5), cache)
    hook.remove()
    with pytest.raises(InputError, match="stopped within a chunk"):
        model.read(text(5), cache)


def test_a_folder_that_is_written_over_halfway_is_no_trained_model(tmp_path, monkeypatch, caplog):
    model = LandmarkModel(llama().float(), LandmarkSettings(block=BLOCK, train_length=64))
    model.save_pretrained(tmp_path)
    with torch.no_grad():
        model.base.lm_head.weight.mul_(2)
    monkeypatch.setattr("safetensors.torch.save_file", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        model.save_pretrained(tmp_path)  # the decoder is the new one, the landmark the old one
    with caplog.at_level(logging.WARNING):
        LandmarkModel.from_pretrained(tmp_path)
    assert "was not trained with landmarks" in caplog.text


def test_a_decoder_that_scales_its_logits_is_refused():
    shape = {"vocab_size": 60, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2, "initializer_range": 0.3}
    base = GraniteForCausalLM(GraniteConfig(**shape, **heads, logits_scaling=8.0))
    with pytest.raises(InputError, match="GraniteForCausalLM scales its logits"):
        LandmarkModel(base, LandmarkSettings(block=BLOCK, train_length=64))
    assert base.training
    LandmarkModel(GraniteForCausalLM(GraniteConfig(**shape, **heads)), LandmarkSettings(block=BLOCK, train_length=64))


def test_what_is_told_of_opened_blocks_is_what_they_got(model):
    cache = model.read(text(100), model.make_cache(ReadSettings(top_k=3)))
    cache.watch()
    model.read(text(1, seed=2), cache)
    told = cache.trace()
    assert [one.layer for one in told] == [0, 1]
    assert all(one.blocks.shape == (1, 4, 1, 3) and one.mass.shape == (1, 4, 1, 3) for one in told)
    assert all((one.mass.sum(-1) < 1).all() and (one.mass > 0).all() for one in told)
    assert cache.sources().sum() == pytest.approx(float(sum(one.mass.sum() for one in told)))
    assert cache.token_span(3) == (21, 28)


def test_it_goes_on_writing_as_if_all_were_read_at_once(model):
    start = text(9, batch=2)
    got = model.generate(start, max_new_tokens=40)
    ids = start
    for _ in range(40):
        with torch.no_grad():
            ids = torch.cat([ids, model(ids).logits[:, -1].argmax(-1, keepdim=True)], 1)
    wanted = model.generate(start, max_new_tokens=40, cache=model.make_cache(ReadSettings(top_k=14)))
    assert (wanted == ids).all()
    assert got.shape == ids.shape
    ended = model.generate(start, max_new_tokens=40, eos_token_id=int(wanted[0, 10]))
    assert (ended[0, 10:] == wanted[0, 10]).all()


def test_the_loss_leaves_landmarks_out(model):
    ids = text(70)
    with torch.no_grad():
        out = model(ids, labels=ids)
    assert out.logits.shape == (1, 70, VOCABULARY)
    assert float(out.loss) == pytest.approx(-float(at_once(model, ids).mean()), rel=1e-5)


def test_jumps_move_what_comes_after_a_landmark_in_training_alone():
    made = LandmarkModel(llama(), LandmarkSettings(block=4, train_length=32, jump=10))
    assert (made.eval()._places(12) == torch.arange(12)).all()
    steps = made.train()._places(1200).diff()
    after = torch.arange(1199) % 4 == 3
    assert (steps[~after] == 1).all()
    assert steps[after].min() == 1 and steps[after].max() == 10  # noqa: PT018
    read = made.eval().logprobs(text(60), made.make_cache(ReadSettings(top_k=2, positions="true")))
    assert read.isfinite().all()


def test_saved_and_loaded(model, tmp_path, caplog):
    model.base.float()
    model.float()
    model.save_pretrained(tmp_path / "made")
    loaded = LandmarkModel.from_pretrained(tmp_path / "made")
    assert not caplog.records
    assert loaded.settings == model.settings
    torch.testing.assert_close(at_once(loaded, text(50)), at_once(model, text(50)))
    with pytest.raises(InputError, match="trained with"):
        LandmarkModel.from_pretrained(tmp_path / "made", LandmarkSettings(block=16, train_length=128))
    (tmp_path / "made" / "landmark.json").write_text('{"version": 1, "block": 0}')
    with pytest.raises(ModelUnavailable, match="damaged"):
        LandmarkModel.from_pretrained(tmp_path / "made")
    (tmp_path / "made" / "landmark.json").unlink()
    with caplog.at_level(logging.WARNING):
        LandmarkModel.from_pretrained(tmp_path / "made", LandmarkSettings(block=8, train_length=64))
    assert "not trained with landmarks" in caplog.text
    model.double()


@pytest.mark.parametrize("kind", ["qwen", "gemma"])
def test_other_decoders(kind, tmp_path):
    base = tiny(kind, tmp_path).model
    made = LandmarkModel(
        base, LandmarkSettings(block=2 if kind == "gemma" else 4, train_length=8 if kind == "gemma" else 64)
    )
    tokens = made.settings.window_tokens
    ids = torch.randint(200, (1, tokens), generator=torch.Generator().manual_seed(0))
    most = made.settings.train_length // made.settings.block - 2
    got = made.logprobs(ids, made.make_cache(ReadSettings(top_k=most)))
    torch.testing.assert_close(got[:, :most], at_once(made, ids)[:, :most], atol=2e-4, rtol=2e-4)


def refused(model: LandmarkModel, base: object = None) -> dict:
    return {
        "no tokens": (lambda: model(torch.zeros(1, 0, dtype=torch.long)), "1 or more"),
        "one row": (lambda: model(torch.zeros(4, dtype=torch.long)), "batch"),
        "not whole numbers": (lambda: model(torch.zeros(1, 4)), "whole numbers"),
        "beyond the vocabulary": (lambda: model(torch.tensor([[0, VOCABULARY]])), "there are 0 to 59"),
        "too long at once": (lambda: model(text(113)), "at once it takes 112"),
        "a list of tokens": (lambda: model.read([1, 2]), "a tensor of whole numbers"),
        "other labels": (lambda: model(text(5), labels=text(6)), "labels are"),
        "too many blocks": (lambda: model.make_cache(ReadSettings(top_k=15)), "Open at most 14"),
        "too long a chunk": (lambda: model.make_cache(ReadSettings(top_k=4, chunk=89)), "it can be 88"),
        "true positions": (lambda: model.make_cache(ReadSettings(positions="true")), "trained with jumps"),
        "no such selection": (lambda: ReadSettings(selection="all"), "token_and_head"),
        "no blocks": (lambda: ReadSettings(top_k=0), "at least 1"),
        "fewer kept than opened": (lambda: ReadSettings(most_blocks=2), "keep more"),
        "half a block": (lambda: LandmarkSettings(block=8, train_length=28), "whole ones"),
        "no room to read": (lambda: LandmarkSettings(block=8, train_length=16), "three blocks or more"),
        "no cache": (lambda: model.read(text(5), "a cache"), "another model's"),
        "another batch": (lambda: model.read(text(5, batch=2), model.read(text(5))), "the cache holds 1"),
        "an index of nothing": (lambda: model.read(text(9)).build_index("flat"), "read more first"),
        "an index of a batch": (lambda: model.read(text(99, batch=2)).build_index("flat"), "one text"),
        "taken twice": (lambda: LandmarkModel(model.base), "taken already"),
        "no decoder": (lambda: LandmarkModel(torch.nn.Linear(2, 2)), "AutoModelForCausalLM"),
        "no rotation": (lambda: LandmarkModel(GPT2LMHeadModel(GPT2Config(n_embd=8, n_layer=1, n_head=2))), "no rotary"),
    }


@pytest.mark.parametrize("case", refused(None))
def test_what_does_not_fit_is_refused(model, case):
    call, said = refused(model)[case]
    with pytest.raises(InputError, match=said):
        call()


def test_a_cache_of_another_model_and_capped_or_sliding_layers_are_refused(model, tmp_path):
    other = LandmarkModel(llama(seed=1), model.settings)
    with pytest.raises(InputError, match="another model's"):
        model.read(text(5), other.make_cache())
    with pytest.raises(InputError, match="caps its attention"):
        LandmarkModel(tiny("gemma2", tmp_path).model)
    with pytest.raises(InputError, match="see 8 positions"):
        LandmarkModel(tiny("gemma", tmp_path / "gemma").model, LandmarkSettings(block=4, train_length=64))


def test_a_decoder_that_turns_in_its_own_form_is_refused_and_left_as_it_was():
    class Doubled(torch.nn.Module):
        def __init__(self, inner: torch.nn.Module) -> None:
            super().__init__()
            self.inner = inner

        def forward(self, x: Tensor, position_ids: Tensor) -> tuple[Tensor, Tensor]:
            cos, sin = self.inner(x, position_ids)
            return cos, sin if x.shape[-1] > 1 else -sin

    base = llama()
    base.model.rotary_emb = Doubled(base.model.rotary_emb)
    before = base.model.rotary_emb
    with pytest.raises(InputError, match="form of its own"):
        LandmarkModel(base)
    assert base.model.rotary_emb is before


def test_a_recorder_elsewhere_is_not_disturbed(model):
    plain = llama(seed=3)
    ids = text(12)
    with torch.no_grad():
        before = plain(ids).logits
        with attach(plain):
            model.read(ids)
            assert torch.allclose(plain(ids).logits, before)


def test_a_decoder_that_is_refused_stays_as_it_was():
    config = PhiConfig(
        vocab_size=VOCABULARY, hidden_size=32, intermediate_size=48, num_hidden_layers=1, num_attention_heads=4,
        partial_rotary_factor=0.5, initializer_range=0.3,
    )  # fmt: skip
    base, ids = PhiForCausalLM(config).eval(), torch.arange(20)[None]
    with torch.no_grad():
        before = base(ids).logits
        base.train()
        with pytest.raises(InputError, match="not whole heads"):
            LandmarkModel(base, LandmarkSettings(block=BLOCK, train_length=32))
        assert base.training
        torch.testing.assert_close(base.eval()(ids).logits, before)


@pytest.mark.parametrize("damage", ["missing", "cut off", "another", "no table"])
def test_a_folder_whose_landmark_cannot_be_read_is_told(tmp_path, damage):
    LandmarkModel(
        tiny("qwen", tmp_path / "base").model, LandmarkSettings(block=BLOCK, train_length=32)
    ).save_pretrained(tmp_path)
    path = tmp_path / "landmark.safetensors"
    if damage == "missing":
        path.unlink()
    elif damage == "cut off":
        path.write_bytes(path.read_bytes()[:5])
    elif damage == "another":
        save_file({"landmark": torch.zeros(3)}, str(path))
    else:
        (tmp_path / "landmark.json").write_text("5")
    with pytest.raises(ModelUnavailable, match=r"landmark\.(safetensors|json)"):
        LandmarkModel.from_pretrained(tmp_path)


def test_a_decoder_whose_every_layer_slides_is_trained_within_its_window():
    base = MistralForCausalLM(
        MistralConfig(
            vocab_size=VOCABULARY,
            hidden_size=32,
            intermediate_size=48,
            num_hidden_layers=1,
            num_attention_heads=4,
            num_key_value_heads=2,
            sliding_window=64,
        )
    )
    with pytest.raises(InputError, match="see 64 positions"):
        LandmarkModel(base, LandmarkSettings(block=BLOCK, train_length=128))
