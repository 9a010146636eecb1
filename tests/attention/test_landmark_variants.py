"""Variants of landmark attention: the context-miss token, dropped groups, masked tokens, by their definitions."""

from __future__ import annotations

import math
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM

from foveal.attention import LandmarkModel, LandmarkSettings, ReadSettings, attach
from foveal.attention.landmark import is_landmark, landmark_attention
from foveal.attention.landmark_masked import MaskedLandmarks, _placed, _Sides
from foveal.attention.landmark_variants import (
    LandmarkVariant,
    LandmarkVariantSettings,
    VariantReadSettings,
    miss_scores,
    variant_attention,
)
from foveal.errors import InputError, ModelUnavailable

VOCABULARY, BLOCK = 60, 8
NEAR = {"atol": 1e-4, "rtol": 1e-4}


def llama(seed: int = 0) -> LlamaForCausalLM:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        shape = {"vocab_size": VOCABULARY, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2}
        heads = {"num_attention_heads": 4, "num_key_value_heads": 2, "initializer_range": 0.3}
        return LlamaForCausalLM(LlamaConfig(**shape, **heads)).double().eval()


def text(tokens: int, batch: int = 1, seed: int = 0) -> Tensor:
    return torch.randint(VOCABULARY, (batch, tokens), generator=torch.Generator().manual_seed(seed))


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


# -- the definition, pair by pair --------------------------------------------------------------------------------------


def weights_by_definition(  # noqa: C901
    scores: Tensor, block: int, *, miss: Tensor | None = None, controlled: tuple[int, ...] = (), causal: bool = True
) -> Tensor:
    """The weights (T, T) of scaled scores (T, T) by groups: own tokens, free landmarks and the context-miss token;
    controlled landmarks; each other block's tokens. `miss` (T,)."""
    length = len(scores)
    marks = is_landmark(length, block).tolist()
    weights = torch.zeros_like(scores)
    for i in range(length):
        groups: dict[object, list[int]] = {}
        for j in range(i + 1 if causal else length):
            at = j // block
            if not marks[j]:
                groups.setdefault("own" if at == i // block else at, []).append(j)
            elif at != i // block:
                groups.setdefault("bound" if at in controlled else "own", []).append(j)
        told = {}
        for name, members in groups.items():
            row = scores[i, members]
            if name == "own" and miss is not None:
                row = torch.cat([row, miss[i : i + 1]])
            told[name] = dict(zip([*members, "miss"], row.softmax(0), strict=False))
        for name, members in groups.items():
            for j in members:
                if marks[j]:
                    continue
                gate, mark = 1.0, (j // block) * block + block - 1
                if name != "own":
                    if mark in told["own"]:
                        gate = told["own"][mark]
                    elif mark in told.get("bound", {}):
                        gate = told["bound"][mark] * told["own"]["miss"]
                    else:
                        gate = 0.0  # a block without its landmark is shut
                weights[i, j] = told[name][j] * gate
    return weights


@pytest.mark.parametrize("controlled", [(), (0, 2), (0, 1, 2, 3)])
@pytest.mark.parametrize("length", [40, 37, 8, 5])
def test_the_context_miss_token_is_its_definition(length, controlled):
    q, k, v = drawn(2, 4, length, 6), drawn(2, 2, length, 6, seed=1), drawn(2, 2, length, 3, seed=2)
    miss = drawn(2, 4, length, seed=3)
    bound = torch.tensor([number in controlled for number in range(-(-length // BLOCK))])
    out, _ = variant_attention(q, k, v, block=BLOCK, scale=0.4, miss=miss, controlled=bound)
    for row in range(2):
        for head in range(4):
            scores = q[row, head] @ k[row, head // 2].T * 0.4
            weights = weights_by_definition(scores, BLOCK, miss=miss[row, head], controlled=controlled)
            torch.testing.assert_close(out[row, head], weights @ v[row, head // 2])


def test_rows_are_whole_where_a_controlled_block_stands_before_and_else_lack_the_tokens_share():
    scores, miss = drawn(40, 40), drawn(40, seed=1)
    sums = weights_by_definition(scores, BLOCK, miss=miss, controlled=(1,)).sum(1)
    torch.testing.assert_close(sums[16:], torch.ones(24, dtype=torch.float64))
    own = [*range(16)]
    for i in own:
        seen = [j for j in range(i + 1) if j // BLOCK == i // BLOCK and j % BLOCK != 7] + ([7] if i > 7 else [])
        share = torch.cat([scores[i, seen], miss[i : i + 1]]).softmax(0)[-1]
        torch.testing.assert_close(sums[i], 1 - share)


def test_without_a_variant_it_is_landmark_attention_and_gradients_are_those_of_the_definition():
    q, k, v = (drawn(1, 2, 37, 6, seed=seed).requires_grad_() for seed in range(3))
    miss = drawn(1, 2, 37, seed=4).requires_grad_()
    bound = torch.tensor([True, False, True, False, False])
    out, _ = variant_attention(q, k, v, block=BLOCK, scale=0.4, miss=miss, controlled=bound)
    goal = drawn(*out.shape, seed=5)
    got = torch.autograd.grad((out * goal).sum(), (q, k, v, miss))
    rows = [
        weights_by_definition(q[0, h] @ k[0, h].T * 0.4, BLOCK, miss=miss[0, h], controlled=(0, 2)) @ v[0, h]
        for h in range(2)
    ]
    wanted = torch.autograd.grad((torch.stack(rows)[None] * goal).sum(), (q, k, v, miss))
    for one, other in zip(got, wanted, strict=True):
        torch.testing.assert_close(one, other)
    plain, sums = landmark_attention(q, k, v, block=BLOCK, scale=0.4)
    out, total = variant_attention(q, k, v, block=BLOCK, scale=0.4)
    torch.testing.assert_close(out, plain)
    torch.testing.assert_close(total, sums)


def test_dropped_groups_are_earlier_blocks_alone():
    q, k, v = drawn(1, 2, 40, 6), drawn(1, 2, 40, 6, seed=1), torch.eye(40, dtype=torch.float64).expand(1, 2, 40, 40)
    whole, _ = variant_attention(q, k, v, block=BLOCK, scale=0.4)
    torch.manual_seed(0)
    out, _ = variant_attention(q, k, v, block=BLOCK, scale=0.4, dropout=0.25)
    torch.manual_seed(0)
    kept = F.dropout(torch.ones(1, 2, 40, 5, dtype=torch.float64), 0.25)  # the same draw: 0 or 4/3
    own = torch.arange(40)[:, None] // BLOCK == torch.arange(5)
    factor = torch.where(own, 1.0, kept).repeat_interleave(BLOCK, -1)
    torch.testing.assert_close(out, whole * factor)
    assert 0.1 < float((kept == 0).double().mean()) < 0.4


@pytest.mark.parametrize("length", [40, 37])
def test_masked_tokens_see_both_sides_by_the_definition(length):
    q, k, v = drawn(1, 2, length, 6), drawn(1, 2, length, 6, seed=1), drawn(1, 2, length, 3, seed=2)
    out, _ = variant_attention(q, k, v, block=BLOCK, scale=0.4, causal=False)
    for head in range(2):
        weights = weights_by_definition(q[0, head] @ k[0, head].T * 0.4, BLOCK, causal=False)
        torch.testing.assert_close(out[0, head], weights @ v[0, head])


# -- the context-miss token in a model ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def missing() -> LandmarkVariant:
    model = LandmarkVariant(llama(), LandmarkVariantSettings(block=BLOCK, train_length=128, miss=0.5)).eval()
    with torch.no_grad():
        model.miss += drawn(32, seed=7) / 4
    return model


def test_the_token_stands_before_the_text_and_knows_nothing_of_it(missing):
    """Its keys are those of a token at -1 that sees nothing; distances to it are those of the text's places + 1."""
    keys = missing.miss_keys()
    assert [keys[layer].shape for layer in (0, 1)] == [(1, 2, 1, 8)] * 2
    q = drawn(1, 4, 3, 8, seed=9)
    found = miss_scores(missing, q, torch.tensor([0, 4, 9]), keys[1], 1)
    half = 10_000.0 ** (-torch.arange(4, dtype=torch.float64) / 4)
    for at, place in enumerate((0, 4, 9)):
        angle = (place + 1) * half
        for head in range(4):
            one, two = q[0, head, at, :4], q[0, head, at, 4:]
            turned = torch.cat([one * angle.cos() - two * angle.sin(), two * angle.cos() + one * angle.sin()])
            torch.testing.assert_close(found[0, head, at], turned @ keys[1][0, head // 2, 0], atol=1e-5, rtol=1e-5)


class ByChunk:
    """Chunk by chunk in one pass: what was finished before a chunk is controlled."""

    def __init__(self, model: LandmarkVariant, chunk: int, opened: bool = True) -> None:
        self.model, self.chunk, self.opened = model, chunk, opened
        self.keys = model.miss_keys()

    def attend(self, query, key, value, context):
        places, layer = torch.arange(query.shape[2]), context.layer
        q, k = (self.model.rotations.turned(part, places, layer) for part in (query, key))
        miss = miss_scores(self.model, query, places, self.keys[layer], layer) * context.scale
        out = torch.zeros_like(q)
        for start in range(0, query.shape[2], self.chunk):
            bound = torch.arange(-(-query.shape[2] // BLOCK)) < start // BLOCK
            how = {"block": BLOCK, "scale": context.scale, "miss": miss}
            whole = variant_attention(q, k, value, **how, controlled=bound)[0]
            if not self.opened:
                hidden = value.clone()
                hidden[:, :, : start // BLOCK * BLOCK] = 0
                whole = variant_attention(q, k, hidden, **how, controlled=bound)[0]
            out[:, :, start : start + self.chunk] = whole[:, :, start : start + self.chunk]
        return out

    def seen(self, rows, context):  # noqa: ARG002
        return None


@torch.no_grad()
def logprobs_by(model: LandmarkVariant, ids: Tensor, method: ByChunk) -> Tensor:
    with attach(model.base, None):
        states = model.hidden(ids, method)
    return model.logits(states).float().log_softmax(-1)[:, :-1].gather(-1, ids[:, 1:, None])[..., 0]


@pytest.mark.parametrize("chunk", [8, 16])
def test_kept_blocks_are_controlled_and_those_of_the_chunk_free(missing, chunk):
    ids = text(84, batch=2)  # 96 positions
    cache = missing.make_cache(VariantReadSettings(top_k=13, chunk=chunk))
    got = missing.logprobs(ids, cache)
    torch.testing.assert_close(got, logprobs_by(missing, ids, ByChunk(missing, chunk)), **NEAR)
    assert cache.skipped_share == 0


def test_blocks_stay_shut_where_the_token_gets_less(missing):
    ids = text(84, batch=2)
    shut = missing.make_cache(VariantReadSettings(top_k=13, chunk=8, cutoff=1.0))
    assert math.isnan(shut.skipped_share)
    got = missing.logprobs(ids, shut)
    assert shut.skipped_share == 1
    torch.testing.assert_close(got, logprobs_by(missing, ids, ByChunk(missing, 8, opened=False)), **NEAR)
    some = missing.make_cache(VariantReadSettings(top_k=13, chunk=8, cutoff=0.1))
    some.watch()
    between = missing.logprobs(ids, some)
    assert 0 < some.skipped_share < 1
    opened = missing.logprobs(ids, missing.make_cache(VariantReadSettings(top_k=13, chunk=8)))
    assert not torch.allclose(between, got, **NEAR)
    assert not torch.allclose(between, opened, **NEAR)
    looked = sum(one.mass.count_nonzero() for one in some.trace())
    assert 0 < looked < sum(one.mass.numel() for one in some.trace())


def test_it_learns_with_a_random_part_of_the_landmarks_controlled(missing):
    model = LandmarkVariant(llama(1), LandmarkVariantSettings(block=BLOCK, train_length=64, miss=0.5)).train()
    ids = text(56, batch=2)
    torch.manual_seed(0)
    one, other = (float(model(ids, labels=ids).loss.detach()) for _ in range(2))
    assert one != other
    model(ids, labels=ids).loss.backward()
    assert float(model.miss.grad.abs().sum()) > 0
    model.eval()
    assert torch.equal(model(ids, labels=ids).loss, model(ids, labels=ids).loss)


def test_it_generates_and_is_kept(missing, tmp_path):
    before = missing.generate(text(60), cache=missing.make_cache(VariantReadSettings(top_k=2)), max_new_tokens=12)
    assert before.shape == (1, 72)
    missing.save_pretrained(tmp_path)
    loaded = LandmarkVariant.from_pretrained(tmp_path, dtype=torch.float64)
    assert loaded.settings == missing.settings
    torch.testing.assert_close(loaded.miss, missing.miss)
    assert torch.equal(
        loaded.generate(text(60), cache=loaded.make_cache(VariantReadSettings(top_k=2)), max_new_tokens=12), before
    )
    with pytest.raises(ModelUnavailable, match="of a variant"):
        LandmarkModel.from_pretrained(tmp_path)
    (tmp_path / "context_miss.safetensors").unlink()
    with pytest.raises(ModelUnavailable, match="context_miss"):
        LandmarkVariant.from_pretrained(tmp_path)


def test_a_plain_landmark_model_is_no_variant(tmp_path):
    LandmarkModel(llama(), LandmarkSettings(block=BLOCK, train_length=64)).save_pretrained(tmp_path)
    with pytest.raises(ModelUnavailable, match="use LandmarkModel"):
        LandmarkVariant.from_pretrained(tmp_path)


@pytest.mark.parametrize(
    "options", [{"miss": 1.5}, {"group_dropout": 1.0}, {"masked": -0.1}, {"masked": 0.2, "jump": 3}]
)
def test_settings_that_cannot_be_are_refused(options):
    with pytest.raises(InputError, match=r"A variant of landmarks|told from both sides"):
        LandmarkVariantSettings(**options)
    with pytest.raises(InputError, match="cutoff"):
        VariantReadSettings(cutoff=2.0)


# -- masked tokens -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def masking() -> MaskedLandmarks:
    model = MaskedLandmarks(llama(), LandmarkVariantSettings(block=BLOCK, train_length=64, masked=0.2)).eval()
    with torch.no_grad():
        model.mask += drawn(32, seed=7) / 4
    return model


def hidden_places(ids: Tensor) -> Tensor:
    masked = torch.zeros(ids.shape, dtype=torch.bool)
    masked[:, 3::7] = True
    return masked


@torch.no_grad()
def test_read_chunk_by_chunk_it_is_the_whole_while_all_blocks_are_near(masking):
    ids = text(7 * 6 + 4)  # six blocks and a part of one: a chunk has one, and opens all others
    masked = hidden_places(ids)
    whole = masking.logits(masking._states(ids, masked, _Sides(masking, None)))
    torch.testing.assert_close(masking.fill(ids, masked, top_k=6), whole, **NEAR)
    few = masking.fill(ids, masked, top_k=1)
    assert not torch.allclose(few, whole, **NEAR)


@torch.no_grad()
def test_what_is_masked_is_not_seen_and_what_stands_behind_is(masking):
    ids = text(7 * 20)
    masked = hidden_places(ids)
    other = ids.clone()
    other[masked] = (ids[masked] + 1) % VOCABULARY
    first = masking.fill(ids, masked)
    torch.testing.assert_close(masking.fill(other, masked), first)
    other = ids.clone()
    other[0, 5] = (ids[0, 5] + 1) % VOCABULARY
    assert not torch.allclose(masking.fill(other, masked)[0, 3], first[0, 3])


def test_blocks_are_put_beside_the_chunk_in_order():
    """k = 3, the chunk from 32 on (4 places before it), 16 long; by hand."""
    apart = torch.tensor([[[-9, -3, -1]], [[-5, -4, 8]], [[0, 1, 7]], [[-1, 0, 3]]])
    starts = _placed(apart, 3, 32, 48, 8)
    assert starts[:, 0].tolist() == [
        [0, 16, 24],  # the far one leaves a place empty
        [8, 16, 56],
        [48, 56, 72],
        [24, 48, 64],
    ]


@torch.no_grad()
def test_a_chunk_opens_for_each_head_what_a_token_of_it_wants_most(masking):  # noqa: C901
    """One layer's attention, head by head, written out."""
    top_k, local = 2, 40  # of 64 positions 3 blocks are beside the chunk
    q, k, v = drawn(1, 4, 120, 8), drawn(1, 2, 120, 8, seed=1), drawn(1, 2, 120, 8, seed=2)
    out = _Sides(masking, top_k).attend(q, k, v, SimpleNamespace(layer=0, scale=0.5))

    def turned(x, place):
        angle = place * 10_000.0 ** (-torch.arange(4, dtype=torch.float64) / 4)
        one, two = x[..., :4], x[..., 4:]
        return torch.cat([one * angle.cos() - two * angle.sin(), two * angle.cos() + one * angle.sin()], -1)

    begin, after = 24, 64
    for head in range(4):
        keys, values = k[0, head // 2], v[0, head // 2]
        for start in range(0, 120, local):
            first, last = start // 8, start // 8 + 5
            asked = torch.stack([turned(q[0, head, start + n], begin + n) for n in range(local)])
            scored, others = [], [b for b in range(15) if not first <= b < last]
            for b in others:
                place = begin + max(b - first, -3) * 8 if b < first else after + min(b - last, 2) * 8
                scored.append(asked @ turned(keys[b * 8 + 7], place + 7) * 0.5)
            votes = torch.stack(scored, 1).softmax(1).amax(0)
            chosen = sorted(others[n] for n in votes.topk(2).indices.tolist())
            before = [b for b in chosen if b < first]
            places = {}
            for b in chosen:
                if b < first:
                    places[b] = begin + (before.index(b) - len(before) - (b - first < -2)) * 8
                else:
                    places[b] = after + (chosen.index(b) - len(before) + (b - last >= 2)) * 8
            for n in range(0, local, 9):
                own = (start + n) // 8
                entries, blocks = [], {}
                for j in range(start, start + local):
                    score = asked[n] @ turned(keys[j], begin + j - start) * 0.5
                    if j % 8 == 7:
                        if j // 8 != own:
                            entries.append((score, ("mark", j // 8)))
                    elif j // 8 == own:
                        entries.append((score, ("token", j)))
                    else:
                        blocks.setdefault(j // 8, []).append((score, j))
                for b in chosen:
                    for inner in range(8):
                        score = asked[n] @ turned(keys[b * 8 + inner], places[b] + inner) * 0.5
                        if inner == 7:
                            entries.append((score, ("mark", b)))
                        else:
                            blocks.setdefault(b, []).append((score, b * 8 + inner))
                shares = torch.stack([score for score, _ in entries]).softmax(0)
                wanted = torch.zeros(8, dtype=torch.float64)
                for share, (_, (kind, what)) in zip(shares, entries, strict=True):
                    if kind == "token":
                        wanted += share * values[what]
                    else:
                        inside = torch.stack([score for score, _ in blocks[what]]).softmax(0)
                        wanted += share * (inside @ values[[j for _, j in blocks[what]]])
                torch.testing.assert_close(out[0, head, start + n], wanted, atol=1e-5, rtol=1e-4)


def test_a_masked_model_learns_is_kept_and_writes_nothing(tmp_path):
    model = MaskedLandmarks(
        llama(2), LandmarkVariantSettings(block=BLOCK, train_length=64, masked=0.3, group_dropout=0.1)
    )
    model.train()
    ids = text(56, batch=4)
    optimiser = torch.optim.Adam(model.parameters(), lr=3e-3)
    losses = []
    for _ in range(12):
        loss = model(ids, labels=ids).loss
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert sum(losses[-3:]) < 0.9 * sum(losses[:3])
    assert float(model.mask.grad.abs().sum()) > 0
    model.eval().save_pretrained(tmp_path)
    loaded = MaskedLandmarks.from_pretrained(tmp_path, dtype=torch.float64)
    torch.testing.assert_close(loaded.logprobs(text(200)), model.logprobs(text(200)))
    assert loaded.logprobs(text(200)).shape == (1, int(model.drawn(text(200)).sum()))
    with pytest.raises(InputError, match="reads none on"):
        loaded.generate(ids)
    with pytest.raises(InputError, match="Use fill"):
        loaded(text(100))
    with pytest.raises(InputError, match="a bool for each"):
        loaded.fill(ids, ids)
    with pytest.raises(InputError, match="is a MaskedLandmarks"):
        LandmarkVariant(llama(), LandmarkVariantSettings(masked=0.2))
    with pytest.raises(InputError, match="masked = 0"):
        MaskedLandmarks(llama(), LandmarkVariantSettings())


def test_reading_plainly_is_as_ever_where_only_groups_are_dropped():
    """Dropout is of training: read, and at once, the variant is the plain model."""
    settings = {"block": BLOCK, "train_length": 64}
    plain = LandmarkModel(llama(3), LandmarkSettings(**settings)).eval()
    model = LandmarkVariant(llama(3), LandmarkVariantSettings(**settings, group_dropout=0.5)).eval()
    ids = text(150)
    torch.testing.assert_close(model.logprobs(ids), plain.logprobs(ids, plain.make_cache(ReadSettings(top_k=4))))
    torch.testing.assert_close(model(ids[:, :56]).logits, plain(ids[:, :56]).logits)
    with pytest.raises(InputError, match="no context-miss token"):
        model.make_cache(VariantReadSettings(cutoff=0.5))
    model.train()
    assert not torch.allclose(model(ids[:, :56]).logits, plain(ids[:, :56]).logits)
