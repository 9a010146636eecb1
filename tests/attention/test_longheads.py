"""LongHeads: what it computes is its definition, taken token by token, and nothing of it sees its future."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from tiny import CACHE, FULL, tiny
from transformers import (
    Cohere2Config,
    Cohere2ForCausalLM,
    CohereConfig,
    CohereForCausalLM,
    Exaone4Config,
    Exaone4ForCausalLM,
    GlmConfig,
    GlmForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    ModernBertDecoderConfig,
    ModernBertDecoderForCausalLM,
    Phi3Config,
    Phi3ForCausalLM,
)

from foveal.attention import LongHeads, Recorder, RetrievalAttention, attach, longheads_choice, memory_by_name
from foveal.attention.longheads_layers import ChunkedText, Shape
from foveal.attention.memory_decoding import MemoryDecoder
from foveal.attention.memory_parts import Scores
from foveal.attention.prefill import prefill
from foveal.attention.rotation import rotations_of
from foveal.errors import InputError, UnknownName
from foveal.models import load_language_model
from foveal.models.chat import Sampling
from foveal.models.decoding import tokens as decoded

L, K, N = 4, 5, 67
SHAPE = Shape(L, K, L * K)
SMALL = LongHeads(chunk_size=8, attention_length=64)
SCALE = 8**-0.5


# -- the definition ----------------------------------------------------------------------------------------------------


def turn(x: torch.Tensor, position: int) -> torch.Tensor:
    """R(p) x of a vector, in halves, at base 10,000."""
    half = len(x) // 2
    angles = position * 10_000.0 ** (-torch.arange(half, dtype=torch.float64) / half)
    a, b = x[:half], x[half:]
    return torch.cat([a * angles.cos() - b * angles.sin(), b * angles.cos() + a * angles.sin()])


def vector_of(kind: str, q, k, v) -> torch.Tensor:
    """Of one whole chunk of one head, queries and keys (l, D) not turned."""
    turned_q, turned_k = (torch.stack([turn(row, place) for place, row in enumerate(x)]) for x in (q, k))
    if kind == "mean":
        return k.mean(0)
    if kind == "mean_rope":
        return turned_k.mean(0)
    if kind == "minmax":
        return torch.stack([turned_k.amax(0), turned_k.amin(0)])
    outputs = (turned_q @ turned_k.T * SCALE).softmax(-1) @ v
    return (outputs.mean(0) @ turned_k.T * SCALE).softmax(-1) @ turned_k


def chosen_by(scores: torch.Tensor, chunk: int) -> list[int]:
    """The forced ones, and of chunks 1 to chunk - 2 the best K - 3."""
    free = sorted(range(1, chunk - 1), key=lambda one: -float(scores[one]))[: K - 3]
    return sorted({0, chunk - 1, chunk, *free})


def by_definition(method: LongHeads, q, k, v) -> torch.Tensor:
    """Queries (H, N, D), keys and values (G, N, D), not turned, in float64: token by token."""
    heads, share = len(q), len(q) // len(k)
    pieces = [slice(one * L, one * L + L) for one in range(N // L)]
    vectors = torch.stack(
        [
            torch.stack([vector_of(method.representation, q[h, p], k[h // share, p], v[h // share, p]) for p in pieces])
            for h in range(heads)
        ]
    )
    if method.representation == "minmax":  # of each dimension the bound with the larger product
        wanted = (q[:, :, None, None] * vectors[:, None]).amax(3).sum(-1)
    else:
        wanted = q @ vectors.transpose(1, 2)  # (H, N, m)
    if method.selection == "block":  # a chunk's queries together, but for those of the last two chunks
        for piece in pieces[: max(0, (N - 1) // L - 1)]:
            wanted[:, piece] = wanted[:, piece].mean(1, keepdim=True)
    if method.share == "group":
        wanted = wanted.view(len(k), share, N, -1).sum(1).repeat_interleave(share, 0)
    out = torch.zeros_like(q)
    for h in range(heads):
        for j in range(N):
            chunk = j // L
            seen = list(range(chunk + 1)) if j < SHAPE.begin else chosen_by(wanted[h, j], chunk)
            keys, values = [], []
            for rank, one in enumerate(seen):
                for offset in range(L):
                    if one * L + offset <= j:
                        place = (rank if method.remap else one) * L + offset
                        keys.append(turn(k[h // share, one * L + offset], place))
                        values.append(v[h // share, one * L + offset])
            place = ((len(seen) - 1) if method.remap else chunk) * L + j % L
            weights = (torch.stack(keys) @ turn(q[h, j], place) * SCALE).softmax(0)
            out[h, j] = weights @ torch.stack(values)
    return out


@pytest.fixture(scope="module")
def rotation(attention_models):
    return rotations_of(attention_models["qwen"].model).of("full_attention")


@pytest.fixture(scope="module")
def drawn():
    draw = torch.Generator().manual_seed(1)
    return [torch.randn(count, N, 8, generator=draw) * 1.5 for count in (4, 2, 2)]


def read(method, rotation, parts, cuts=(N,)):
    q, k, v = (part[None] for part in parts)
    text = ChunkedText.empty(SHAPE, method, rotation, q.shape[1], k, v)
    told, start = [], 0
    for end in cuts:
        told.append(text.read(*(part[:, :, start:end] for part in (q, k, v)), Scores(SCALE))[0])
        start = end
    return torch.cat(told, 2)[0]


TOKEN = LongHeads(selection="token")


@pytest.mark.parametrize(
    "method",
    [
        TOKEN,
        LongHeads(),
        replace(TOKEN, share="group"),
        LongHeads(share="group"),
        replace(TOKEN, remap=False),
        LongHeads(remap=False),
        LongHeads(representation="mean"),
        replace(TOKEN, representation="mean_rope"),
        replace(TOKEN, representation="minmax"),
        LongHeads(representation="minmax"),
        LongHeads(representation="minmax", share="group"),
    ],
    ids=lambda one: f"{one.selection}-{one.share}-{one.remap}-{one.representation}",
)
def test_it_is_its_definition(method, rotation, drawn):
    exact = by_definition(method, *(part.double() for part in drawn))
    torch.testing.assert_close(read(method, rotation, drawn), exact.float(), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("cuts", [(3, N), (19, 20, 21, N), (30, 41, 47, 48, N), (N - 1, N)])
def test_a_text_may_come_in_pieces(cuts, rotation, drawn):
    torch.testing.assert_close(read(TOKEN, rotation, drawn, cuts), read(TOKEN, rotation, drawn))
    last = read(LongHeads(), rotation, drawn)[:, -1]  # the last chunks choose by token, whatever came before
    torch.testing.assert_close(read(LongHeads(), rotation, drawn, cuts)[:, -1], last)


def test_without_remapping_it_is_dense_attention_under_a_mask(rotation, drawn):
    """The control that tells a mask from the real thing: remapped, the output is another."""
    moved, still = (read(replace(TOKEN, remap=remap), rotation, drawn) for remap in (True, False))
    torch.testing.assert_close(moved[:, : SHAPE.begin], still[:, : SHAPE.begin])
    assert (moved - still)[:, SHAPE.begin :].abs().max() > 0.1


@pytest.mark.parametrize("selection", ["token", "block"])
def test_no_query_sees_its_future(selection, rotation, drawn):
    method = LongHeads(selection=selection)
    before = read(method, rotation, drawn)
    cut = 48 if selection == "block" else 50  # by chunks, the queries of a chunk choose together
    later = [torch.cat([part[:, :cut], 5 * torch.randn_like(part[:, cut:])], 1) for part in drawn]
    torch.testing.assert_close(read(method, rotation, later)[:, : cut - 2 * L], before[:, : cut - 2 * L])
    if selection == "token":
        torch.testing.assert_close(read(method, rotation, later)[:, :cut], before[:, :cut])


def test_bounds_score_no_less_than_any_key_of_their_chunk(rotation):
    from foveal.attention.longheads_choice import represent, scores

    queries, keys = torch.randn(2, 3, L, 8), torch.randn(1, 3, L, 8)
    vectors = represent("minmax", queries, keys, keys, SCALE, rotation)
    asked = torch.randn(2, 7, 8)
    best = torch.einsum("hqd,mld->hqml", asked, keys[0]).amax(-1)
    assert (scores("minmax", asked, vectors) >= best - 1e-5).all()


@pytest.mark.parametrize("share", ["head", "group"])
@pytest.mark.parametrize("kind", ["attention", "minmax"])
def test_a_choice_can_be_had_alone(kind, share, attention_models):
    model = attention_models["qwen"].model
    method = LongHeads(chunk_size=L, attention_length=K * L, representation=kind, share=share)
    draw = torch.Generator().manual_seed(4)
    q, k, v = (torch.randn(heads, N, 8, generator=draw) for heads in (4, 2, 2))
    chosen = method.select(q, k, v, model)
    pieces = [slice(one * L, one * L + L) for one in range(N // L)]
    wanted = torch.zeros(4, len(pieces), len(pieces))
    for h in range(4):
        for number, p in enumerate(pieces):
            vector = vector_of(kind, *(part.double() for part in (q[h, p], k[h // 2, p], v[h // 2, p])))
            for j in range(len(pieces) * L):  # a chunk's queries together
                asked = q[h, j].double() * vector
                wanted[h, j // L, number] += (asked.amax(0) if kind == "minmax" else asked).sum() / L
    if share == "group":
        wanted = wanted.view(2, 2, N // L, -1).sum(1)
    told = [[chosen_by(own[chunk], chunk) for chunk in range(K, N // L)] for own in wanted]
    assert chosen.tolist() == told
    assert method.select(q[:, : K * L], k[:, : K * L], v[:, : K * L], model).shape[1] == 0
    with pytest.raises(InputError, match=r"needs \(heads, tokens, width\)"):
        method.select(q, k[:, 1:], v, model)


# -- on models ---------------------------------------------------------------------------------------------------------

IDS = torch.randint(200, (1, 150), generator=torch.Generator().manual_seed(3))


@torch.inference_mode()
def logits(model, method, cuts=(150,), ids=IDS):
    with attach(model, method):
        memory, start, told = method.make_cache(model), 0, []
        for end in cuts:
            told.append(model(input_ids=ids[:, start:end], **{CACHE: memory}).logits)
            start = end
    return torch.cat(told, 1), memory


@pytest.fixture(scope="module", params=["qwen", "gemma", "gemma2"])
def any_model(request, attention_models, tmp_path_factory):
    if request.param == "gemma2":
        return tiny("gemma2", tmp_path_factory.mktemp("gemma2")).model
    return attention_models[request.param].model


@torch.inference_mode()
def test_a_text_within_the_window_is_read_as_ever(any_model):
    dense = any_model(input_ids=IDS).logits
    wide = LongHeads(chunk_size=8, attention_length=160)
    torch.testing.assert_close(logits(any_model, wide)[0], dense, atol=2e-4, rtol=1e-4)
    torch.testing.assert_close(logits(any_model, wide, (100, 101, 109, 150))[0], dense, atol=2e-4, rtol=1e-4)
    with attach(any_model, SMALL):
        short = any_model(input_ids=IDS[:, :64], use_cache=False).logits
    torch.testing.assert_close(short, dense[:, :64], atol=2e-4, rtol=1e-4)
    torch.testing.assert_close(any_model(input_ids=IDS).logits, dense)  # and afterwards


def test_decoding_goes_on_where_reading_ended(any_model):
    token = replace(SMALL, selection="token")
    whole, _ = logits(any_model, token)
    torch.testing.assert_close(logits(any_model, token, (97, 98, 99, 130, 150))[0], whole, atol=2e-4, rtol=1e-4)
    once, again = (logits(any_model, SMALL, cuts)[0][:, -1] for cuts in ((150,), (149, 150)))
    torch.testing.assert_close(once, again, atol=2e-4, rtol=1e-4)


def test_lean_layers_give_what_transformers_gives(model):
    memory = SMALL.make_cache(model)
    first = prefill(model, IDS, memory.layers, method=SMALL)
    whole, theirs = logits(model, SMALL)
    torch.testing.assert_close(first, whole[:, -1], atol=1e-4, rtol=1e-4)
    for number, shares in memory.choices().items():
        torch.testing.assert_close(shares, theirs.choices()[number])


def test_generate_goes_past_the_window(tmp_path):
    model = tiny("qwen", tmp_path / "model", positions=64).model
    method = LongHeads(selection="token")  # 4 tokens a chunk, 64 in all
    with attach(model, method):
        ours = model.generate(IDS, max_new_tokens=6, do_sample=False, **{CACHE: method.make_cache(model)})
    told, ids = [], IDS
    for _ in range(6):
        told.append(int(logits(model, method, (ids.shape[1],), ids)[0][0, -1].argmax()))
        ids = torch.cat([ids, torch.tensor([told[-1:]])], 1)
    assert ours[0, 150:].tolist() == told


def test_texts_of_one_length_may_be_a_batch(model):
    both = torch.cat([IDS, IDS.flip(1)])
    together, _ = logits(model, SMALL, (120, 150), both)
    apart = torch.cat([logits(model, SMALL, (120, 150), one[None])[0] for one in both])
    torch.testing.assert_close(together, apart, atol=1e-4, rtol=1e-4)


def test_what_was_chosen_is_told_and_drawn(attention_models, kind, tmp_path):
    model = attention_models[kind].model
    _, memory = logits(model, SMALL, (140, 141))
    assert set(memory.choices()) == set(FULL[kind])
    memory.watch({number: [0, 3] for number in FULL[kind]})
    assert memory.statistics()["mean"] == {}
    with torch.inference_mode(), attach(model, SMALL):
        for place in range(141, 150):
            model(input_ids=IDS[:, place : place + 1], **{CACHE: memory})
    shares = memory.choices()[FULL[kind][0]]
    assert shares.shape == (4, 19)
    torch.testing.assert_close(shares.sum(1), torch.full((4,), 8.0))  # 8 chunks each
    torch.testing.assert_close(shares[:, 0], torch.ones(4))
    looked = memory.looked()
    torch.testing.assert_close(looked.sum(), torch.tensor(9 * 2.0 * len(FULL[kind])))
    told = memory.statistics()
    assert told["tokens"] == 150
    assert told["mean"]["steps"] == 9
    assert told["mean"]["seen"] == pytest.approx(8 / 19)
    assert 0 < told["mean"]["agreed"] <= 1
    assert "heads agree" in memory.explain()
    assert memory.picture(tmp_path / "chosen.png").stat().st_size > 5_000


def test_controls_choose_otherwise(model):
    ours, _ = logits(model, SMALL)
    for kind, chunks in (("random", 8), ("none", 3)):
        theirs, memory = logits(model, replace(SMALL, representation=kind), (140, 150))
        memory.watch({})
        assert (theirs - ours)[:, 64:].abs().max() > 0.01
        with torch.inference_mode(), attach(model, memory.method):
            model(input_ids=IDS[:, :1], **{CACHE: memory})
        counts = {float(shares.sum(1)[0]) for shares in memory.choices().values()}
        assert counts == {chunks}


def looks_by(model, method, *, passes=(120, 150)) -> dict[int, torch.Tensor]:
    """The share (H, chunks) of looks at each chunk of the last token, by layer."""
    _, memory = logits(model, method, passes)
    memory.watch({})
    with torch.inference_mode(), attach(model, method):
        model(input_ids=IDS[:, :1], **{CACHE: memory})
    return memory.choices()


def test_random_chunks_differ_by_layer_token_and_text_and_can_be_repeated(attention_models):
    model, random = attention_models["qwen"].model, replace(SMALL, representation="random")
    first = looks_by(model, random)
    for layer, again in looks_by(model, random, passes=(40, 41, 150)).items():  # however the text came
        assert torch.equal(first[layer], again)
    ones = [tuple(shares[0].tolist()) for shares in first.values()]
    assert len(set(ones)) == len(ones)  # of the same head, in each layer
    assert not torch.equal(first[0][0], first[0][1])
    assert not torch.equal(first[0], looks_by(model, replace(random, seed=1))[0])
    many = longheads_choice.drawn((0, 1), torch.arange(40), 2, 30)
    assert len({tuple(row) for row in many[0].topk(5).indices.sort().values.tolist()}) == 40
    few = longheads_choice.drawn((0, 1), torch.arange(40), 2, 12)
    torch.testing.assert_close(few, many[..., :12])  # whatever was read since


def test_what_does_not_go_together_is_refused(model, attention_models):
    config = model.config
    for wrong, match in (
        ({"attention_length": 60, "chunk_size": 8}, "multiple"),
        ({"attention_length": 24, "chunk_size": 8}, "at least 4 times"),
        ({"attention_length": 64, "chunk_size": 8, "begin": 70}, "multiple of chunk_size"),
        ({"attention_length": 64, "chunk_size": 8, "begin": 32}, "at least attention_length"),
    ):
        with pytest.raises(InputError, match=match):
            LongHeads(**wrong).make_cache(model)
    with pytest.raises(UnknownName, match="minmax"):
        LongHeads(representation="mode")
    with pytest.raises(InputError, match="selects by"):
        LongHeads(selection="row")
    with pytest.raises(InputError, match="at least 1"):
        LongHeads(chunk_size=-3)
    with pytest.raises(InputError, match="seed -1"):
        LongHeads(seed=-1)
    assert LongHeads().shape_for(config) == Shape(256, 16, 4096)
    assert LongHeads(attention_length=512).shape_for(config) == Shape(32, 16, 512)
    assert memory_by_name("longheads", chunk_size=8, attention_length=64) == SMALL
    with pytest.raises(InputError, match="no option top_k"):
        memory_by_name("longheads", top_k=3)
    with pytest.raises(InputError, match=r"chunk_size=64\.5; it needs a whole number"):
        memory_by_name("longheads", chunk_size=64.5)


def test_more_than_the_window_is_warned_of(tmp_path, caplog):
    small = tiny("qwen", tmp_path / "model", positions=32).model
    LongHeads(chunk_size=8, attention_length=64).shape_for(small.config)
    assert "trained for 32 tokens" in caplog.text


@torch.inference_mode()
def test_what_it_cannot_read_is_refused(attention_models):
    model = attention_models["qwen"].model
    padded = torch.ones_like(IDS)
    padded[:, :5] = 0
    with attach(model, SMALL):
        with pytest.raises(InputError, match="padded batch"):
            model(input_ids=IDS, attention_mask=padded, use_cache=False)
        with pytest.raises(InputError, match="mask of one's own"):
            model(input_ids=IDS, attention_mask=torch.ones(1, 1, 150, 150).tril().log(), use_cache=False)
        past = model(input_ids=IDS).past_key_values
        with pytest.raises(InputError, match="a cache of its own"):
            model(input_ids=IDS[:, :1], **{CACHE: past})
        foreign = RetrievalAttention().make_cache(model)
        with pytest.raises(InputError, match="a cache of its own"):
            model(input_ids=IDS, **{CACHE: foreign})
        memory = SMALL.make_cache(model)
        model(input_ids=IDS, **{CACHE: memory})
        with pytest.raises(InputError, match="another number"):
            model(input_ids=IDS.repeat(2, 1), **{CACHE: memory})
        with pytest.raises(InputError, match="several beams"):
            memory.layers[0].reorder_cache(torch.zeros(1))
    memory = SMALL.make_cache(model)
    with pytest.raises(InputError, match="while its method is attached"):
        model(input_ids=IDS, **{CACHE: memory})
    for other in ({"layers": [0]}, {"heads": {0: [1]}}, {"recorder": Recorder(torch.tensor([[1]]), {0: None})}):
        with pytest.raises(InputError, match="all layers and heads"), attach(model, SMALL, **other):
            pass


def test_nesting_counts_the_inner_method(attention_models):
    model = attention_models["qwen"].model
    with torch.inference_mode(), attach(model, SMALL):
        outer = model(input_ids=IDS, use_cache=False).logits
        with attach(model):
            plain = model(input_ids=IDS, use_cache=False).logits
        torch.testing.assert_close(model(input_ids=IDS, use_cache=False).logits, outer)
    torch.testing.assert_close(plain, model(input_ids=IDS).logits)
    assert not model.model.rotary_emb._forward_hooks


# -- positions of other models -----------------------------------------------------------------------------------------

SIZES = {
    "vocab_size": 200,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
    "pad_token_id": 0,
    "bos_token_id": None,
    "eos_token_id": None,
    "initializer_range": 0.2,
}
LONG = {
    "rope_type": "longrope",
    "factor": 4.0,
    "original_max_position_embeddings": 64,
    "rope_theta": 10_000.0,
    "short_factor": [1.0, 1.0, 1.0, 1.0],
    "long_factor": [1.0, 1.5, 2.0, 4.0],
}
YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64, "rope_theta": 10_000.0}


@pytest.mark.parametrize(
    ("made", "layout"),
    [
        (lambda: CohereForCausalLM(CohereConfig(**SIZES)), "pairs"),
        (lambda: GlmForCausalLM(GlmConfig(**SIZES, head_dim=8, partial_rotary_factor=0.5)), "pairs"),
        (lambda: LlamaForCausalLM(LlamaConfig(**SIZES, rope_parameters=YARN)), "halves"),
        (lambda: LlamaForCausalLM(LlamaConfig(**SIZES, rope_parameters=LONG)), "halves"),
    ],
    ids=["cohere", "glm", "yarn", "longrope"],
)
@torch.inference_mode()
def test_other_rotary_positions_are_taken_in_hand(made, layout):
    model = made().eval()
    ids = IDS % 200
    dense = model(input_ids=ids).logits
    assert rotations_of(model).of("full_attention").layout == layout
    wide = LongHeads(chunk_size=8, attention_length=160)
    torch.testing.assert_close(logits(model, wide, (100, 101, 150), ids)[0], dense, atol=2e-4, rtol=1e-3)


KINDS_OF_LAYERS = {"layer_types": ["sliding_attention", "full_attention"], "sliding_window": 16}


@torch.inference_mode()
def test_layers_that_turn_by_other_angles_are_turned_by_theirs():
    """Their attention does not say of which kind it is; the configuration does."""
    angles = {"full_attention": 1_000_000.0, "sliding_attention": 100.0}
    parameters = {kind: {"rope_type": "default", "rope_theta": base} for kind, base in angles.items()}
    model = ModernBertDecoderForCausalLM(
        ModernBertDecoderConfig(**SIZES | {"bos_token_id": 1}, **KINDS_OF_LAYERS, rope_parameters=parameters)
    ).eval()
    ids = IDS % 200
    wide = LongHeads(chunk_size=8, attention_length=160)
    torch.testing.assert_close(
        logits(model, wide, (100, 150), ids)[0], model(input_ids=ids).logits, atol=2e-4, rtol=1e-3
    )


@pytest.mark.parametrize(
    "made",
    [
        lambda: Cohere2ForCausalLM(Cohere2Config(**SIZES, **KINDS_OF_LAYERS)),
        lambda: Exaone4ForCausalLM(Exaone4Config(**SIZES, **KINDS_OF_LAYERS)),
    ],
    ids=["cohere2", "exaone4"],
)
def test_models_that_turn_only_some_layers_are_refused(made):
    """Their configuration does not say so; their keys do."""
    model = made().eval()
    before = model(input_ids=IDS % 200).logits
    with pytest.raises(InputError, match="turns queries and keys of its layers 1 not at all"), attach(model, SMALL):
        pass
    assert torch.equal(model(input_ids=IDS % 200).logits, before)


@pytest.mark.parametrize("reach", [64, 128])
def test_angles_do_not_depend_on_what_was_asked_before(reach):
    """Of a model that turns otherwise in longer texts, which it has just read."""
    parameters = {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 10_000.0}
    model = LlamaForCausalLM(LlamaConfig(**SIZES | {"max_position_embeddings": 64}, rope_parameters=parameters))
    ground = 10_000.0 * (2.0 * reach / 64 - 1.0) ** (8 / 6)  # NTK's, of a text of `reach` tokens
    places = torch.arange(200)
    known = (places[:, None] * ground ** -(torch.arange(0, 8, 2) / 8)).cos().repeat(1, 2)
    model(input_ids=torch.zeros(1, 300, dtype=torch.long))
    for _ in range(2):
        rotation = rotations_of(model, reach=reach).of("full_attention")
        for some in (places, places[:5], places[reach - 1 :]):
            torch.testing.assert_close(rotation.angles(some)[0], known[some], atol=1e-5, rtol=0)
        model(input_ids=torch.zeros(1, 300, dtype=torch.long))


def test_models_without_rotary_positions_are_refused():
    sizes = {"n_layer": 1, "n_head": 2, "n_embd": 8, "vocab_size": 50, "bos_token_id": None, "eos_token_id": None}
    with pytest.raises(InputError, match="with RoPE"), attach(GPT2LMHeadModel(GPT2Config(**sizes)), SMALL):
        pass


# -- a real model ------------------------------------------------------------------------------------------------------


@pytest.mark.model
@pytest.mark.slow
def test_a_real_model_finds_what_lies_far_behind():
    loaded = load_language_model("gemma3-270m", dtype="bfloat16")
    filler = "The grass is green. The sky is blue. The sun is yellow. Here we go. There and back again. "
    key = "The pass key is 48213. Remember it. 48213 is the pass key. "
    text = "<bos>" + filler * 20 + key + filler * 40 + "What is the pass key? The pass key is"
    method = LongHeads(chunk_size=32, attention_length=512)
    ids = loaded.encode(text)
    memory = method.make_cache(loaded.model)
    said = {}
    for name, one in (("ours", method), ("first and last", replace(method, representation="none"))):
        memory = one.make_cache(loaded.model)
        decoder = MemoryDecoder(loaded.model, one)
        state = decoder.reading(memory, ids)
        out = list(decoded(decoder, state, Sampling(max_tokens=6), stop_ids=loaded.stop_ids))
        said[name] = loaded.tokenizer.decode(out)
    assert "48213" in said["ours"]
    assert "48213" not in said["first and last"]


@pytest.mark.parametrize("name", ["chunk_size", "attention_length", "begin"])
def test_no_tokens_are_no_default(name):
    with pytest.raises(InputError, match="must be at least 1"):
        LongHeads(**{name: 0})


@torch.inference_mode()
def test_what_was_looked_at_is_told_where_later_tokens_were_not_noted(attention_models):
    """A pass of many early tokens attends densely, and notes nothing."""
    model, method = attention_models["qwen"].model, LongHeads(chunk_size=4, attention_length=16, begin=64)
    memory = method.make_cache(model)
    with attach(model, method):
        model(input_ids=IDS[:, :17], **{CACHE: memory})
        memory.watch({0: [0]})
        model(input_ids=IDS[:, 17:18], **{CACHE: memory})
        before = memory.looked()
        model(input_ids=IDS[:, 18:31], **{CACHE: memory})
    assert before.shape == (18,)
    torch.testing.assert_close(memory.looked(), torch.nn.functional.pad(before, (0, 13)))


@pytest.mark.parametrize("method", [SMALL, RetrievalAttention(n_sink=4, n_local=8, top_k=16)])
def test_a_window_as_long_as_the_models_positions_is_none(method):
    """Phi-3 of 128k names one of twice that; taken for one, no layer of it would be the method's."""
    small = {
        "vocab_size": 97, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
        "num_key_value_heads": 2, "max_position_embeddings": 256, "pad_token_id": 0, "initializer_range": 0.4,
    }  # fmt: skip
    ids, told = torch.randint(97, (1, 200), generator=torch.Generator().manual_seed(0)), []
    for window in (None, 512):
        torch.manual_seed(0)
        model = Phi3ForCausalLM(Phi3Config(**small, sliding_window=window)).eval()
        with attach(model, method), torch.inference_mode():
            memory = method.make_cache(model)
            model(ids[:, :190], **{CACHE: memory})
            told.append(torch.cat([model(ids[:, [place]], **{CACHE: memory}).logits for place in range(190, 200)]))
    assert torch.equal(*told)
    dense = model(ids).logits[0, 190:]
    assert not torch.allclose(told[1][:, 0], dense, atol=1e-3)  # it does look elsewhere
