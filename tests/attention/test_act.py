"""ACT against its N×N definition: sinks, calibrated rows, decoding, padding, groups, windows; what is never changed."""

from __future__ import annotations

import math

import pytest
import torch
from tiny import CACHE, HEADS
from transformers import StaticCache

from foveal.attention import ACT, SinkRule, attach
from foveal.attention.act_chat import CalibratedChat
from foveal.attention.attach import Context
from foveal.attention.dense import dense_attention
from foveal.attention.masks import Mask
from foveal.attention.memory_decoding import MethodDecoder
from foveal.attention.sink_report import SinkReport, find_sinks
from foveal.attention.sinks import Columns, Heads, OtherColumns, calibrated_rows, edited, looked
from foveal.errors import InputError, UnknownName
from foveal.models.chat import Sampling
from foveal.models.decoding import tokens
from foveal.models.language import load_language_model

LAX = SinkRule(rule="least", least=0.02, min_rows=2)
"""A rule by which the tiny models have sinks."""


# -- the definition ----------------------------------------------------------------------------------------------------


def visible(keys, queries, *, window=None, real=None):
    """(Q, K) bool: what each of the last `queries` rows sees."""
    rows = torch.arange(keys - queries, keys)[:, None]
    columns = torch.arange(keys)
    seen = columns <= rows
    if window:
        seen = seen & (rows - columns < window)
    return seen if real is None else seen & real & real[keys - queries :, None]


def weights_of(q, k, seen, scale):
    """Softmax attention (Q, K) of one head in float64, rows that see nothing are 0."""
    return (q.double() @ k.double().T * scale).masked_fill(~seen, -torch.inf).softmax(-1).nan_to_num(0.0)


def sinks_of(weights, seen, rule, first, tokens):
    """The paper's steps 1 and 2, one column after the other."""
    tau = {"max": max(rule.alpha / tokens, rule.least), "alpha": rule.alpha / tokens, "least": rule.least}[rule.rule]
    sums, rows = weights.sum(0).tolist(), seen.sum(0).tolist()
    return [j for j in range(len(sums)) if j != first and rows[j] >= rule.min_rows and sums[j] / rows[j] > tau]


def calibrated(weights, sinks, seen, beta):
    """Step 3; a row that sees nothing but sinks has nobody to give to."""
    is_sink = torch.zeros(weights.shape[1], dtype=torch.bool)
    is_sink[sinks] = True
    w, rest = (weights * is_sink).sum(1, keepdim=True), (weights * ~is_sink).sum(1, keepdim=True)
    told = torch.where(is_sink, beta * weights, weights * (1 + (1 - beta) * w / rest))
    return torch.where((seen & ~is_sink).any(1, keepdim=True), told, weights)


def by_definition(q, k, v, heads, rule, beta, *, window=None, real=None, scale=0.5):
    """The output (B, H, Q, E) with `heads` calibrated."""
    batch, count, queries, _ = q.shape
    share, keys = count // k.shape[1], k.shape[2]
    out = torch.zeros(batch, count, queries, v.shape[3])
    for b in range(batch):
        own = None if real is None else real[b]
        seen = visible(keys, queries, window=window, real=own)
        first = 0 if own is None else int(own.int().argmax())
        size = keys if own is None else int(own.sum())
        for h in range(count):
            weights = weights_of(q[b, h], k[b, h // share], seen, scale)
            if h in heads:
                found = sinks_of(weights, seen, rule, first, min(size, window or size))
                weights = calibrated(weights, found, seen, beta)
            out[b, h] = (weights @ v[b, h // share].double()).float()
    return out


def drawn(batch, queries, keys, *, heads=4, groups=2, width=8, value=None, seed=0):
    """Queries, keys and values with columns that stand out: later sinks beside the first token."""
    draw = torch.Generator().manual_seed(seed)
    q = torch.randn(batch, heads, queries, width, generator=draw) + 0.7
    k, v = (torch.randn(batch, groups, keys, size, generator=draw) for size in (width, value or width))
    for place in (0, 3, keys // 3, keys // 2):
        k[:, :, place % keys] += 0.9
    return q, k, v


def context(batch, queries, keys, *, window=None, real=None, scale=0.5, layer=0):
    mask = Mask.causal(batch, queries, keys, window=window, real=real)
    return Context(layer, None, mask, scale)


def attended(method, q, k, v, **more):
    """What the method gives, or else dense attention."""
    where = context(len(q), q.shape[2], k.shape[2], **more)
    out = method.attend(q, k, v, where)
    return dense_attention(q, k, v, where.mask, scale=where.scale) if out is None else out


RULES = [
    SinkRule(min_rows=4),
    SinkRule(rule="alpha", alpha=3, min_rows=4),
    SinkRule(rule="least", least=0.05, min_rows=2),
]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.rule)
@pytest.mark.parametrize(("keys", "window"), [(7, None), (64, None), (300, None), (64, 20), (300, 90)])
def test_the_output_is_that_of_the_definition(rule, keys, window):
    q, k, v = drawn(3, keys, keys)
    method = ACT({0: [0, 3]}, beta=0.4, rule=rule)
    ours = attended(method, q, k, v, window=window)
    theirs = by_definition(q, k, v, (0, 3), rule, 0.4, window=window)
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)
    if keys == 300 and rule.rule != "max":
        assert method.counts[0, 0].sinks > 3
        plain = by_definition(q, k, v, (), rule, 0.4, window=window)
        assert (ours - plain)[:, [0, 3]].abs().max() > 1e-3
        torch.testing.assert_close(ours[:, [1, 2]], plain[:, [1, 2]], atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("side", ["left", "right"])
def test_padding_counts_for_nothing(side):
    q, k, v = drawn(3, 40, 40)
    real = torch.ones(3, 40, dtype=torch.bool)
    real[1, :9] = real[2, :21] = False
    real = real if side == "left" else real.flip(1)
    ours = attended(ACT({0: range(4)}, rule=RULES[2]), q, k, v, real=real)
    theirs = by_definition(q, k, v, range(4), RULES[2], 0.4, real=real)
    here = real[:, None, :, None].expand_as(ours)
    torch.testing.assert_close(ours[here], theirs[here], atol=1e-5, rtol=1e-5)


def test_the_first_real_token_is_spared_also_where_it_is_no_sink():
    q, k, v = drawn(2, 50, 50, value=50)
    v[:] = torch.eye(50)  # an output is then a row of attention
    real = torch.ones(2, 50, dtype=torch.bool)
    real[1, :7] = False
    k[1, :, 7] -= 3.0  # few look at it
    plain = by_definition(q, k, v, (), RULES[2], 0.4, real=real)
    ours = attended(ACT({0: range(4)}, rule=RULES[2]), q, k, v, real=real)
    for row, first in ((0, 0), (1, 7)):
        assert (ours[row, :, first:, first] >= plain[row, :, first:, first] - 1e-7).all()
    torch.testing.assert_close(ours[real[:, None].expand(2, 4, 50)].sum(-1), torch.ones(4 * int(real.sum())))


def test_rows_before_the_first_sink_and_rows_that_see_only_sinks_stay():
    q, k, v = drawn(1, 30, 30)

    def every_later(columns):  # rows in a window of 3 then see nothing else
        places = torch.arange(columns.sums.shape[2])
        return (places > 5).expand_as(columns.sums)

    ours = attended(ACT({0: [0]}, columns=every_later), q, k, v, window=3)
    plain = by_definition(q, k, v, (), RULES[0], 1.0, window=3)
    torch.testing.assert_close(ours[:, 0, :6], plain[:, 0, :6], atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(ours[:, 0, 8:], plain[:, 0, 8:], atol=1e-6, rtol=1e-6)
    assert (ours[:, 0, 6:8] - plain[:, 0, 6:8]).abs().max() > 1e-3


@pytest.mark.parametrize("pieces", [[20] + [1] * 12, [7, 9, 1, 1, 14], [1] * 32])
@pytest.mark.parametrize("window", [None, 10])
def test_decoding_goes_by_all_rows_so_far(pieces, window):
    q, k, v = drawn(2, 32, 32)
    rule = SinkRule(rule="least", least=0.05, min_rows=3)
    method, done = ACT({0: range(4)}, rule=rule), 0
    for size in pieces:
        end = done + size
        ours = attended(method, q[:, :, done:end], k[:, :, :end], v[:, :, :end], window=window)
        for b in range(2):
            for h in range(4):
                seen = visible(end, end, window=window)
                weights = weights_of(q[b, h, :end], k[b, h // 2, :end], seen, 0.5)
                found = sinks_of(weights, seen, rule, 0, min(end, window or end))
                told = calibrated(weights, found, seen, 0.4)[done:] @ v[b, h // 2, :end].double()
                torch.testing.assert_close(ours[b, h].double(), told, atol=1e-5, rtol=1e-5)
        done = end
    assert method.counts[0, 0].rows == 2 * 32


def test_texts_that_take_turns_or_are_cut_back_keep_their_sums():
    q, k, v = drawn(1, 24, 24)
    other = drawn(1, 24, 24, seed=1)
    rule = SinkRule(rule="least", least=0.05, min_rows=3)

    def step(method, tensors, start, end):
        one, two, three = tensors
        return attended(method, one[:, :, start:end], two[:, :, :end], three[:, :, :end])

    alone, mixed = ACT({0: range(4)}, rule=rule), ACT({0: range(4)}, rule=rule)
    first = [step(alone, (q, k, v), 0, 20), step(alone, (q, k, v), 20, 22)]
    mine = [step(mixed, (q, k, v), 0, 20)]
    step(mixed, other, 0, 20)
    mine.append(step(mixed, (q, k, v), 20, 22))
    step(mixed, other, 20, 21)
    for one, two in zip(first, mine, strict=True):
        torch.testing.assert_close(one, two, atol=0, rtol=0)
    again = step(mixed, (q, k, v), 20, 22)  # rewound, as for another label behind the same prompt
    torch.testing.assert_close(again, mine[1], atol=0, rtol=0)


def test_a_text_is_gone_back_to_after_an_answer_of_any_length():
    q, k, v = drawn(1, 48, 48)
    rule = SinkRule(rule="least", least=0.05, min_rows=3)

    def step(method, start, end):
        return attended(method, q[:, :, start:end], k[:, :, :end], v[:, :, :end])

    method, fresh = ACT({0: range(4)}, rule=rule), ACT({0: range(4)}, rule=rule)
    step(method, 0, 20)
    for place in range(20, 40):  # an answer, token by token
        step(method, place, place + 1)
    step(fresh, 0, 20)
    torch.testing.assert_close(step(method, 20, 26), step(fresh, 20, 26), atol=0, rtol=0)  # another question


def test_what_was_moved_is_counted():
    q, k, v = drawn(2, 60, 60)
    rule = RULES[2]
    method = ACT({0: [1]}, beta=0.25, rule=rule)
    attended(method, q, k, v)
    mass = sinks = changed = 0
    for b in range(2):
        seen = visible(60, 60)
        weights = weights_of(q[b, 1], k[b, 0], seen, 0.5)
        found = sinks_of(weights, seen, rule, 0, 60)
        sinks += len(found)
        mass += 0.75 * float(weights[:, found].sum())
        changed += int((weights[:, found].sum(1) > 0).sum())
    count = method.counts[0, 1]
    assert (count.passes, count.rows, count.sinks, count.changed) == (1, 120, sinks, changed)
    assert count.mass == pytest.approx(mass, rel=1e-4)
    assert count.moved == pytest.approx(mass / 120, rel=1e-4)


def test_the_control_takes_as_many_other_columns():
    q, k, v = drawn(2, 60, 60)
    seen = {}

    def watched(columns: Columns):
        seen["sinks"], seen["others"] = RULES[2](columns), OtherColumns(rule=RULES[2], seed=3)(columns)
        return seen["others"]

    attended(ACT({0: range(4)}, columns=watched), q, k, v)
    assert (seen["sinks"].sum(-1) == seen["others"].sum(-1)).all()
    assert not (seen["sinks"] & seen["others"]).any()
    assert not seen["others"][..., 0].any()
    assert seen["others"].any()


def test_rows_that_were_recorded_are_calibrated_by_their_own_means():
    draw = torch.Generator().manual_seed(0)
    weights = (3 * torch.rand(2, 3, 5, 12, generator=draw)).softmax(-1)
    weights[..., 10:] = 0  # what these rows do not see
    weights = weights / weights.sum(-1, keepdim=True)
    rule = SinkRule(rule="least", least=0.12)
    ours = calibrated_rows(weights, rule, 0.4)
    for b in range(2):
        for h in range(3):
            own = weights[b, h]
            found = [j for j in range(1, 12) if float(own[:, j].mean()) > 0.12]
            told = calibrated(own, found, torch.ones_like(own, dtype=torch.bool), 0.4)
            torch.testing.assert_close(ours[b, h], told)
    torch.testing.assert_close(ours.sum(-1), torch.ones(2, 3, 5))
    assert (ours - weights).abs().max() > 0.01


# -- models ------------------------------------------------------------------------------------------------------------

IDS = torch.randint(3, 90, (2, 40), generator=torch.Generator().manual_seed(0))


def logits(model, method, ids=IDS, **more):
    with torch.inference_mode(), attach(model, method):
        return model(input_ids=ids, **more).logits


def every(model):
    return {layer: range(HEADS) for layer in range(model.config.num_hidden_layers)}


def test_nothing_changes_where_nothing_is_to_be_changed(model):
    plain = logits(model, None)
    methods = {
        "beta 1": ACT(every(model), beta=1.0, rule=LAX),
        "no heads": ACT({}),
        "no sinks": ACT(every(model), rule=SinkRule(rule="least", least=0.999)),
        "too few rows": ACT(every(model), rule=SinkRule(rule="least", least=0.02, min_rows=41)),
    }
    for name, method in methods.items():
        assert torch.equal(logits(model, method), plain), name
    assert (logits(model, ACT(every(model), rule=LAX)) - plain).abs().max() > 1e-3


def test_a_padded_batch_is_as_each_text_alone(model):
    lengths, longest = (25, 40), 40
    ids, mask = torch.zeros(2, longest, dtype=torch.long), torch.zeros(2, longest, dtype=torch.long)
    for row, length in enumerate(lengths):
        ids[row, longest - length :], mask[row, longest - length :] = IDS[row, :length], 1
    positions = (mask.cumsum(1) - 1).clamp(min=0)
    both = logits(model, ACT(every(model), rule=LAX), ids, attention_mask=mask, position_ids=positions)
    for row, length in enumerate(lengths):
        alone = logits(model, ACT(every(model), rule=LAX), IDS[row : row + 1, :length])
        torch.testing.assert_close(both[row, longest - length :], alone[0], atol=2e-4, rtol=1e-3)


def test_in_pieces_as_at_once_where_the_sinks_are_fixed(model):
    def fixed(columns):
        places = (
            torch.arange(columns.sums.shape[2]) - columns.first[:, None]
        )  # in the text, whatever a cache has dropped
        return ((places == 4) | (places == 11) | (places == 30))[:, None].expand_as(columns.sums)

    whole = logits(model, ACT(every(model), columns=fixed))
    method = ACT(every(model), columns=fixed)
    with torch.inference_mode(), attach(model, method):
        read = model(input_ids=IDS[:, :31], use_cache=True)
        told, cache = [read.logits], read.past_key_values
        steps = (IDS[:, place : place + 1] for place in range(31, 40))
        told.extend(model(input_ids=step, **{CACHE: cache}).logits for step in steps)
    torch.testing.assert_close(torch.cat(told, 1), whole, atol=2e-4, rtol=1e-3)


def test_lean_layers_and_transformers_agree(attention_models, kind):
    model, steps = attention_models[kind], ([5], [9], [7])
    decoder = MethodDecoder(model.model, ACT(every(model.model), rule=LAX))
    state = decoder.read(IDS[0].tolist())
    lean = [state.logits]
    for step in steps:
        decoder.step(state, [step])
        lean.append(state.logits)
    with torch.inference_mode(), attach(model.model, ACT(every(model.model), rule=LAX)):
        read = model.model(input_ids=IDS[:1], use_cache=True)
        cache, told = read.past_key_values, [read.logits[:, -1]]
        for step in steps:
            told.append(model.model(input_ids=torch.tensor([step]), **{CACHE: cache}).logits[:, -1])  # noqa: PERF401
    torch.testing.assert_close(torch.cat(lean), torch.cat(told), atol=2e-4, rtol=1e-3)


def test_a_chat_answers_by_it(attention_models, kind):
    model = attention_models[kind]
    method = ACT(every(model.model), rule=LAX, beta=0.0)
    chat = CalibratedChat(model, method)
    messages = [{"role": "user", "content": "the keeper of the mill reads the text in the river of the mill " * 2}]
    told = chat.chat(messages, Sampling(max_tokens=8))
    decoder = MethodDecoder(model.model, ACT(every(model.model), rule=LAX, beta=0.0))
    state = decoder.read(model.encode(model.render(messages)))
    ids = list(tokens(decoder, state, Sampling(max_tokens=8), stop_ids=model.stop_ids))
    assert model.tokenizer.decode(ids, skip_special_tokens=True).startswith(told)  # but for half a character at its end
    assert len(told) > 2
    assert method.counts
    assert chat.chat_many([messages, messages], Sampling(max_tokens=8)) == [told, told]
    scores = chat.score(messages, "the mill is very old")
    with torch.inference_mode(), attach(model.model, ACT(every(model.model), rule=LAX, beta=0.0)):
        prompt, more = model.encode(model.render(messages)), model.encode("the mill is very old")
        read = model.model(input_ids=torch.tensor([prompt]), use_cache=True)
        told = [read.logits[0, -1].log_softmax(-1)[more[0]]]
        rows = model.model(input_ids=torch.tensor([more[:-1]]), **{CACHE: read.past_key_values}).logits[0]
        told += [row.log_softmax(-1)[token] for row, token in zip(rows, more[1:], strict=True)]
    torch.testing.assert_close(torch.tensor(scores), torch.stack(told), atol=2e-4, rtol=1e-3)


def test_sinks_of_a_text_are_reported_and_drawn(attention_models, kind, tmp_path):
    model = attention_models[kind]
    report = find_sinks(model, IDS[0].tolist(), LAX)
    eager = kept_weights(model.model, IDS[:1])
    for layer, weights in enumerate(eager):
        for head in range(HEADS):
            window = getattr(model.model.model.layers[layer].self_attn, "sliding_window", None)
            seen = visible(40, 40, window=window)
            found = sinks_of(weights[0, head], seen, LAX, 0, min(40, window or 40))
            assert report.sinks[layer, head].nonzero().flatten().tolist() == found
            assert report.first[layer, head] == pytest.approx(
                float(weights[0, head, :, 0].sum() / seen[:, 0].sum()), abs=1e-5
            )
    best = report.strongest(3)
    assert best[0].score == pytest.approx(float(report.means.masked_fill(~report.sinks, 0).max()))
    assert sum(times for _, times in report.kinds(99)) == int(report.counts.sum())
    assert report.picture(tmp_path / "sinks.png").read_bytes().startswith(b"\x89PNG")


def test_of_a_long_text_sinks_are_shown_and_beside_them_what_is_looked_at_most():
    sums = torch.tensor([[[9.0, 1.0, 7.0, 2.0, 3.0, 8.0, 1.5, 1.0]]])
    rows = torch.tensor([[10, 10, 10, 10, 10, 10, 2, 1]])  # the last two are looked at much, by rows that are too few
    columns = Columns(sums, rows, torch.zeros(1, dtype=torch.long), torch.tensor([8]))
    report = SinkReport("tiny", tuple("abcdefgh"), (columns,), SinkRule(rule="least", least=0.75, min_rows=3))
    assert report.sinks[0, 0].nonzero().flatten().tolist() == [5]
    assert [report.shown(count) for count in (1, 2, 4, 6)] == [[0], [0, 5], [0, 2, 4, 5], [0, 1, 2, 3, 4, 5]]
    assert report.shown(9) == list(range(8))


def kept_weights(model, ids):
    model.set_attn_implementation("eager")
    try:
        with torch.inference_mode():
            return model(input_ids=ids, output_attentions=True).attentions
    finally:
        model.set_attn_implementation("sdpa")


def test_what_cannot_be_is_told(model):
    for beta in (-0.1, 1.1):
        with pytest.raises(InputError, match="from 0 to 1"):
            ACT({}, beta=beta)
    for wrong in ({"alpha": 0}, {"alpha": math.nan}, {"least": 0}, {"min_rows": 0}):
        with pytest.raises(InputError, match="alpha is above"):
            SinkRule(**wrong)
    with pytest.raises(UnknownName, match="max, alpha, least"):
        SinkRule(rule="both")
    for heads, said in (
        ({0: [4]}, "it has 0 to 3"),
        ({0: [-1]}, "it has 0 to 3"),
        ({9: [0]}, "layers"),
        ({-1: [0]}, "layers"),
    ):
        with pytest.raises(InputError, match=said):
            logits(model, ACT(heads))
    static = StaticCache(config=model.config, max_cache_len=64)
    with pytest.raises(InputError, match="static cache"):
        logits(model, ACT({1: [0]}), **{CACHE: static})
    given = torch.ones(2, 1, 40, 40, dtype=torch.bool).tril()
    with pytest.raises(InputError, match="mask of four dimensions"):
        logits(model, ACT({1: [0]}), attention_mask=given)


@pytest.mark.model
def test_a_real_model_has_sinks_and_its_heads_are_calibrated_exactly():
    loaded = load_language_model()
    text = (
        "The old mill stands by the river. It has been there for a hundred years, and nobody knows who built it.\n\n"
        "In spring the water rises; the keeper opens the gate, and the wheel begins to turn. People come from far. "
    ) * 2
    report = find_sinks(loaded, text)
    assert 0.05 < report.share < 0.9
    assert report.first.mean() > 0.1
    one = report.strongest(1)[0]
    kept = {}

    class Keep(ACT):
        def attend(self, query, key, value, where):
            kept[where.layer] = query, key, value, where.scale
            return super().attend(query, key, value, where)

    method = Keep({one.layer: [one.head]})
    ids = loaded.encode(text)
    changed = MethodDecoder(loaded.model, method).read(ids).logits
    plain = MethodDecoder(loaded.model).read(ids).logits
    assert method.counts[one.layer, one.head].sinks == int(report.counts[one.layer, one.head])
    assert method.counts[one.layer, one.head].moved > 0
    assert not torch.equal(changed, plain)
    query, key, value, scale = kept[one.layer]
    q, k, v = query.float(), key.float(), value.float()
    ours = attended(ACT({0: [one.head]}), q, k, v, scale=scale)
    theirs = by_definition(q, k, v, [one.head], SinkRule(), 0.4, scale=scale)
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("softcap", [None, 2.0])
def test_gradients_are_those_of_the_definition(softcap):
    draw = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(1, 2, 40, 8, generator=draw, requires_grad=True) for _ in range(3))
    heads = Heads.of(q, k, v, [0, 1], Mask.causal(1, 40, 40), 0.4, softcap)
    sinks = torch.zeros(1, 2, 40, dtype=torch.bool)
    sinks[..., [3, 17]] = True
    with torch.inference_mode():  # what it keeps of this must not hinder the other
        looked(heads)
    scores = q @ k.mT * 0.4 if softcap is None else softcap * torch.tanh(q @ k.mT * 0.4 / softcap)
    weights = scores.masked_fill(~torch.ones(40, 40).tril().bool(), -torch.inf).softmax(-1)
    share = (weights * sinks[:, :, None]).sum(-1, keepdim=True)
    wanted = torch.where(sinks[:, :, None], 0.3 * weights, weights * (1 - 0.3 * share) / (1 - share)) @ v
    found = edited(heads, looked(heads), weights @ v, sinks, 0.3).output
    torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-4)
    given = torch.randn(1, 2, 40, 8, generator=draw)
    ours, theirs = (torch.autograd.grad((one * given).sum(), (q, k, v), retain_graph=True) for one in (found, wanted))
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-3)
