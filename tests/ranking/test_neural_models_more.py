"""DSSM, CDSSM, Match-SRNN, DUET, PACRR, Co-PACRR, DeepRank, HiNT and TK, each against its formula, one pair at a time
in NumPy without any padding; the models score all pairs in one padded batch."""

from __future__ import annotations

import math
import string
from collections import Counter
from dataclasses import replace
from itertools import product
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from foveal.errors import InputError
from foveal.ranking.neural import build
from foveal.ranking.neural.co_pacrr import CoPACRRSettings, best_in_context
from foveal.ranking.neural.duet import DUETSettings
from foveal.ranking.neural.grid_gru import GridGRU, skewed, turned
from foveal.ranking.neural.inputs import Vocabulary, pairs
from foveal.ranking.neural.letters import OWN, LetterGrams, LetterSums
from foveal.ranking.neural.losses import LOSSES, make_loss
from foveal.ranking.neural.vectors import WordVectors

WORDS = [
    "fovea", "sight", "sharp", "eye", "lens", "light", "rod", "cone", "nerve", "cell", "iris", "pupil", "tear", "lash",
    "brow", "gaze", "retina", "macula", "42nm", "été",
]  # fmt: skip
TEXTS = [
    ("sharp sight", "fovea gives the sharp sight sight"),
    ("rod cone cell", "cone rod cone cell eye light rod nerve cell cone lens iris"),
    ("eye eye", "lens iris eye pupil brow eye eye"),
    ("42nm light été", "light"),
    ("gaze", "retina macula fovea lens iris pupil tear lash brow gaze sight light rod cone nerve cell"),
    ("tear lash unseen word", "brow tear another tear lash tear word"),
    ("iris", "pupil brow"),
    ("sharp", ""),
]
SIZES = {
    "dssm": {"features": 97, "hidden": 7, "output": 5},
    "cdssm": {"features": 97, "filters": 6, "output": 5},
    "match-srnn": {"channels": 3, "units": 4},
    "duet": {"query_length": 5, "document_length": 18, "filters": 6, "hidden": 7, "features": 50, "pool": 4},
    "pacrr": {"longest": 3, "filters": 4, "k": 2},
    "co-pacrr": {"query_length": 6, "longest": 3, "filters": 4, "k": 2, "hidden": 9},
    "deeprank": {"places": 3, "around": 2, "filters": 4, "units": 3},
    "hint": {"passage": 5, "passages": 3, "units": 2, "signals": 4, "k": 5},
    "tk": {"heads": 2, "feedforward": 9},
}
VOCABULARY = Vocabulary.of_texts([document for _, document in TEXTS] * 2 + WORDS)


def vectors(dimension=6):
    return WordVectors.random(len(VOCABULARY), dimension, seed=3)


def batch(texts=TEXTS):
    asked, found = zip(*texts, strict=True)
    return pairs(VOCABULARY, asked, found, query_length=20, document_length=40)


def model(name, **sizes):
    """An untrained model of small sizes, with weights away from any special value."""
    made = build(name, vectors(), seed=5, **{**SIZES[name], **sizes})
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for one in made.parameters():
            one.add_(0.3 * torch.randn(one.shape, generator=generator))
    return made.eval()


def single(found, row):
    """One pair of a batch without padding: words, ids, idf (NumPy, float64)."""
    m, n = int(found.query_mask[row].sum()), int(found.document_mask[row].sum())
    return SimpleNamespace(
        q=found.query[row, :m].tolist(), d=found.document[row, :n].tolist(), idf=found.idf[row, :m].double().numpy(),
        q_words=found.query_words[row], d_words=found.document_words[row],
    )  # fmt: skip


def weights(module):
    return {name: value.double().numpy() for name, value in module.state_dict().items()}


# -- the formulas -----------------------------------------------------------------------------------------------------


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def relu(x):
    return np.maximum(x, 0)


def softmax(x):
    e = np.exp(x - x.max())
    return e / e.sum()


def cosine(a, b):
    return float(a @ b / (np.linalg.norm(a) * np.linalg.norm(b)))


def rows(w, ids):
    return [w["vectors.table"][one] for one in ids]


def match_matrix(w, pair):
    table = w["vectors.table"]
    return np.array([[1.0 if a == b else cosine(table[a], table[b]) for b in pair.d] for a in pair.q])


def counts(grams, words):
    """The vector of counts that the letters' table is multiplied with."""
    vector = np.zeros(grams.features)
    for word in words:
        marked = f"#{word}#"
        for size in range(grams.shortest, grams.longest + 1):
            for start in range(len(marked) - size + 1):
                if set(marked[start : start + size]) != {"#"}:
                    vector[grams.place(marked[start : start + size])] += 1
    return vector


def best(values, k):
    return [*sorted(values, reverse=True)[:k], *[0.0] * max(0, k - len(values))]


def perceptron(w, prefix, x):
    places = sorted({int(name.split(".")[-2]) for name in w if name.startswith(f"{prefix}.")})
    for place in places:
        x = w[f"{prefix}.{place}.weight"] @ (x if place == places[0] else relu(x)) + w[f"{prefix}.{place}.bias"]
    return x


def recurrent(w, prefix, inputs, kind, suffix="l0"):
    """The states of an LSTM or GRU by PyTorch's equations."""
    into, over = w[f"{prefix}.weight_ih_{suffix}"], w[f"{prefix}.weight_hh_{suffix}"]
    bias_in, bias_over = w[f"{prefix}.bias_ih_{suffix}"], w[f"{prefix}.bias_hh_{suffix}"]
    state = cell = np.zeros(over.shape[1])
    states = []
    for x in inputs:
        a, b = into @ x + bias_in, over @ state + bias_over
        if kind == "lstm":
            i, f, g, o = np.split(a + b, 4)
            cell = sigmoid(f) * cell + sigmoid(i) * np.tanh(g)
            state = sigmoid(o) * np.tanh(cell)
        else:
            (ar, az, an), (br, bz, bn) = np.split(a, 3), np.split(b, 3)
            z = sigmoid(az + bz)
            state = (1 - z) * np.tanh(an + sigmoid(ar + br) * bn) + z * state
        states.append(state)
    return states


def both_ways(w, prefix, inputs, kind):
    forward = recurrent(w, prefix, inputs, kind)
    return forward, recurrent(w, prefix, inputs[::-1], kind, "l0_reverse")[::-1]


def grid_by_double_loop(w, prefix, s, number=0):
    """h of the last cell of s (m, n, C), cell by cell, by the GRU of that number."""
    of_inputs, bias, of_gates, of_candidate = (
        w[f"{prefix}{name}"][number] for name in ("inputs", "bias", "gates", "candidate")
    )
    units = of_candidate.shape[0]
    zero, h = np.zeros(units), {}
    for i, j in product(range(s.shape[0]), range(s.shape[1])):
        left, up, diag = h.get((i, j - 1), zero), h.get((i - 1, j), zero), h.get((i - 1, j - 1), zero)
        given, states = of_inputs @ s[i, j] + bias, np.concatenate([left, up, diag])
        gates = given[: 7 * units] + of_gates @ states
        r = sigmoid(gates[: 3 * units])
        new = np.tanh(given[7 * units :] + of_candidate @ (r * states))
        z = gates[3 * units :].reshape(4, units)
        z = np.exp(z) / np.exp(z).sum(0)
        h[i, j] = z[0] * left + z[1] * up + z[2] * diag + z[3] * new
    return h[s.shape[0] - 1, s.shape[1] - 1] if s.size else zero


def same_convolution(weight, bias, image):
    """(F, C, s, s) over (C, m, n), zeros around: (s - 1) // 2 before, s // 2 after."""
    filters, size = weight.shape[0], weight.shape[2]
    before, after = (size - 1) // 2, size // 2
    padded = np.pad(image, ((0, 0), (before, after), (before, after)))
    result = np.zeros((filters, *image.shape[1:]))
    for f, i, j in product(range(filters), range(image.shape[1]), range(image.shape[2])):
        result[f, i, j] = (weight[f] * padded[:, i : i + size, j : j + size]).sum() + bias[f]
    return result


def ngram_maps(w, matches, longest):
    return [
        matches,
        *(
            relu(same_convolution(
                w[f"maps.convolutions.{g - 2}.weight"], w[f"maps.convolutions.{g - 2}.bias"], matches[None]
            ).max(0))
            for g in range(2, longest + 1)
        ),
    ]  # fmt: skip


def dssm(w, s, pair):
    def represented(words):
        found = np.tanh(counts(LetterGrams(s.features), words) @ w["letters.table.weight"] + w["bias"])
        for layer in range(s.layers):
            found = np.tanh(w[f"layers.{layer}.weight"] @ found + w[f"layers.{layer}.bias"])
        return found

    return cosine(represented(pair.q_words), represented(pair.d_words))


def cdssm(w, s, pair):
    grams, filters = LetterGrams(s.features), s.filters
    matrix = np.concatenate([w["letters.table.weight"][:, k * filters : (k + 1) * filters] for k in range(3)])

    def represented(words):
        marked = ["", *words, ""]
        windows = [np.concatenate([counts(grams, [one]) for one in marked[t : t + 3]]) for t in range(len(words))]
        highest = np.max([np.tanh(x @ matrix + w["bias"]) for x in windows] or [np.zeros(filters)], axis=0)
        return np.tanh(w["semantic.weight"] @ highest + w["semantic.bias"])

    return cosine(represented(pair.q_words), represented(pair.d_words))


def match_srnn(w, s, pair):
    q, d = rows(w, pair.q), rows(w, pair.d)
    grid = np.zeros((len(q), len(d), s.channels))
    for i, j, c in product(range(len(q)), range(len(d)), range(s.channels)):
        linear = w["of_query.weight"][c] @ q[i] + w["of_document.weight"][c] @ d[j] + w["of_query.bias"][c]
        grid[i, j, c] = max(0.0, q[i] @ w["tensor"][c] @ d[j] + linear)
    return w["output.weight"][0] @ grid_by_double_loop(w, "gru.", grid) + w["output.bias"][0]


def duet(w, s, pair):
    x = np.zeros((s.query_length, s.document_length))
    for i, j in product(range(len(pair.q)), range(len(pair.d))):
        x[i, j] = pair.idf[i] * (pair.q[i] == pair.d[j])
    columns = relu(x @ w["local.columns.weight"].T + w["local.columns.bias"])
    columns[len(pair.q) :] = 0
    local = perceptron(w, "local.scorer", columns.reshape(-1))[0]

    def windows(side, words, length):
        table, bias = w[f"distributed.{side}_letters.table.weight"], w[f"distributed.{side}_bias"]
        grams, padded = LetterGrams(s.features, 1, 5), [*words, *[""] * (length - len(words))]
        found = np.zeros((length - 2, s.filters))
        for t in range(min(len(words), length - 2)):
            parts = [counts(grams, [padded[t + k]]) @ table[:, k * s.filters : (k + 1) * s.filters] for k in range(3)]
            found[t] = relu(sum(parts) + bias)
        return found

    q = windows("query", pair.q_words, s.query_length).max(0)
    q = relu(w["distributed.query_dense.weight"] @ q + w["distributed.query_dense.bias"])
    d = windows("document", pair.d_words, s.document_length)
    products = np.zeros((s.document_length - 2 - s.pool + 1, s.filters))
    for t in range(min(len(pair.d), len(products))):
        highest = d[t : t + s.pool].max(0)
        products[t] = q * relu(w["distributed.document_dense.weight"] @ highest + w["distributed.document_dense.bias"])
    return 0.1 * (local + perceptron(w, "distributed.scorer", products.reshape(-1))[0])


def pacrr(w, s, pair):
    maps, idf = ngram_maps(w, match_matrix(w, pair), s.longest), softmax(pair.idf)
    terms = [np.concatenate([*(best(one[i], s.k) for one in maps), [idf[i]]]) for i in range(len(pair.q))]
    return recurrent(w, "lstm", terms, "lstm")[-1][0]


def co_pacrr_rows(w, s, pair):
    """The rows of the MLP, one for each query word."""
    n, q, d = len(pair.d), rows(w, pair.q), rows(w, pair.d)
    around = [np.mean(d[max(0, j - 2) : j + 4], axis=0) for j in range(n)]
    context = [cosine(np.mean(q, axis=0), one) for one in around]
    found = []
    for i in range(len(pair.q)):
        row = []
        for one in ngram_maps(w, match_matrix(w, pair), s.longest):
            for part in range(1, s.parts + 1):
                first = range(math.ceil(n * part / s.parts))
                order = sorted(first, key=lambda j, values=one[i]: (-round(values[j] * 8192), j))[: s.k]
                missing = [0.0] * (s.k - len(order))
                row += [*(one[i][j] for j in order), *missing, *(context[j] for j in order), *missing]
        found.append([*row, softmax(pair.idf)[i]])
    return np.array(found)


def co_pacrr(w, s, pair):
    found = co_pacrr_rows(w, s, pair)[: s.query_length]
    padded = np.zeros((s.query_length, found.shape[1]))
    padded[: len(found)] = found
    return perceptron(w, "mlp", padded.reshape(-1))[0]


def deeprank(w, s, pair):
    q, d, matches = rows(w, pair.q), rows(w, pair.d), match_matrix(w, pair)
    reduced, total = w["reduced.weight"][0], 0.0
    for i, word in enumerate(pair.q):
        seen = []
        for p in [p for p, other in enumerate(pair.d) if other == word][: s.places]:
            window = range(p - s.around, p + s.around + 1)
            tensor = np.zeros((3, len(q), len(window)))
            for a, (column, b) in product(range(len(q)), enumerate(window)):
                if 0 <= b < len(d):
                    tensor[:, a, column] = reduced @ q[a], reduced @ d[b], matches[a, b]
            values = same_convolution(w["convolution.weight"], w["convolution.bias"], tensor)
            highest = values[:, :, [0 <= b < len(d) for b in window]].max((1, 2))
            seen.append(np.append(np.where(highest > 0, highest, 0.2 * highest), 1 / (p + 1)))
        if seen:
            states = np.concatenate([np.max(one, axis=0) for one in both_ways(w, "gru", seen, "gru")])
            total += (pair.idf[i] + w["learned.weight"][word, 0]) * (w["output.weight"][0] @ states)
    return total + w["output.bias"][0]


def hint(w, s, pair):
    cosines, exact = match_matrix(w, pair), np.equal.outer(pair.q, pair.d).astype(float)
    of_q, of_d = (np.array([w["reduced.weight"][0] @ one for one in rows(w, ids)]) for ids in (pair.q, pair.d))
    evidence = []
    for start in range(0, len(pair.d), s.passage)[: s.passages]:
        cut, states = slice(start, start + s.passage), []
        for number, matches in enumerate((exact, cosines)):
            grid = np.stack([*np.broadcast_arrays(of_q[:, None], of_d[None, cut]), matches[:, cut]], axis=2)
            states.append(grid_by_double_loop(w, "matching.", grid, 2 * number))
            states.append(grid_by_double_loop(w, "matching.", grid[::-1, ::-1], 2 * number + 1))
        evidence.append(np.concatenate(states))
    alone = [np.tanh(w["alone.weight"] @ one + w["alone.bias"]) for one in evidence]
    forward, backward = both_ways(w, "lstm", evidence, "lstm")
    signals = [*alone, *forward, *backward]
    numbers = [best([one[place] for one in signals], s.k) for place in range(s.signals)]
    return w["output.weight"][0] @ np.concatenate(numbers) + w["output.bias"][0]


def transformer(w, prefix, x, heads):
    """One layer of an encoder with layer norms after the sums."""

    def norm(value, name):
        centred = value - value.mean(1, keepdims=True)
        scaled = centred / np.sqrt((centred**2).mean(1, keepdims=True) + 1e-5)
        return scaled * w[f"{prefix}.{name}.weight"] + w[f"{prefix}.{name}.bias"]

    projected = x @ w[f"{prefix}.self_attn.in_proj_weight"].T + w[f"{prefix}.self_attn.in_proj_bias"]
    queries, keys, values = (np.split(part, heads, axis=1) for part in np.split(projected, 3, axis=1))
    mixed = []
    for q, k, v in zip(queries, keys, values, strict=True):
        mixed.append(np.array([softmax(row) for row in q @ k.T / math.sqrt(k.shape[1])]) @ v)
    attended = np.concatenate(mixed, axis=1) @ w[f"{prefix}.self_attn.out_proj.weight"].T
    x = norm(x + attended + w[f"{prefix}.self_attn.out_proj.bias"], "norm1")
    inner = relu(x @ w[f"{prefix}.linear1.weight"].T + w[f"{prefix}.linear1.bias"])
    return norm(x + inner @ w[f"{prefix}.linear2.weight"].T + w[f"{prefix}.linear2.bias"], "norm2")


def tk(w, s, pair):
    def contextual(ids):
        words = np.array(rows(w, ids)) * math.sqrt(6)
        rates = [10_000 ** -(k / 2) for k in range(3)]  # E = 6: three sines, three cosines, 1 to 10,000
        places = [[f(t * rate) for f in (math.sin, math.cos) for rate in rates] for t in range(len(ids))]
        context = words + np.array(places)
        for layer in range(s.layers):
            context = transformer(w, f"contextualise.layers.{layer}", context, s.heads)
        return w["alpha"] * words + (1 - w["alpha"]) * context

    q, d = contextual(pair.q), contextual(pair.d)
    mus = [1.0, 0.9, 0.7, 0.5, 0.3, 0.1, -0.1, -0.3, -0.5, -0.7, -0.9]
    by_log, by_length = np.zeros(11), np.zeros(11)
    for a in q:
        kernel = np.array([sum(math.exp(-((cosine(a, b) - mu) ** 2) / (2 * 0.1**2)) for b in d) for mu in mus])
        by_log += np.log(np.maximum(kernel, 1e-10))
        by_length += kernel / len(d)
    parts = w["log_weights.weight"][0] @ by_log, w["length_weights.weight"][0] @ by_length
    return w["scale"] * (w["mix"] @ np.array(parts))


FORMULAS = {
    "dssm": dssm, "cdssm": cdssm, "match-srnn": match_srnn, "duet": duet, "pacrr": pacrr, "co-pacrr": co_pacrr,
    "deeprank": deeprank, "hint": hint, "tk": tk,
}  # fmt: skip
OTHER_SIZES = {
    "duet": {"query_length": 2, "document_length": 9, "pool": 3, "window": 3}, "pacrr": {"longest": 1, "k": 4},
    "co-pacrr": {"query_length": 2, "longest": 2}, "deeprank": {"places": 1, "around": 6},
    "hint": {"passage": 7, "passages": 2, "units": 3, "signals": 5, "k": 9}, "match-srnn": {"channels": 1, "units": 1},
    "tk": {"layers": 1, "heads": 3},
}  # fmt: skip


@pytest.mark.parametrize("name", FORMULAS)
def test_scores_are_those_of_the_formula(name):
    """Neural rankers, one by one: the exact scoring function of each."""
    found, made = batch(TEXTS[:-1]), model(name)
    w = weights(made)
    with torch.no_grad():
        scores = made(found).numpy()
    expected = [FORMULAS[name](w, made.settings, single(found, row)) for row in range(len(found))]
    assert scores == pytest.approx(expected, abs=2e-5, rel=1e-5)
    assert np.ptp(scores) > 1e-3
    assert not made.bounded or np.abs(scores).max() <= 1


@pytest.mark.parametrize("name", OTHER_SIZES)
def test_no_size_is_fixed_in_the_code(name):
    """HiNT's gates, batch and lengths, DUET's cut of long texts, Co-PACRR's cut queries, one n-gram, one place."""
    texts = TEXTS[:3] if name != "duet" else [TEXTS[2], TEXTS[1], TEXTS[4]]
    sizes = OTHER_SIZES[name]
    if name == "duet":  # a query of 2 words cannot hold a window of 3
        with pytest.raises(InputError, match="both lengths must hold a window"):
            model(name, **sizes)
        sizes = {**sizes, "query_length": 3}
    found, made = batch(texts), model(name, **sizes)
    scores = made(found).detach().numpy()
    expected = [
        FORMULAS[name](weights(made), made.settings, single(cut(found, made), row)) for row in range(len(found))
    ]
    assert scores == pytest.approx(expected, abs=2e-5, rel=1e-5)


def cut(found, made):
    """The batch as DUET sees it: texts cut at its lengths."""
    if made.name != "duet":
        return found
    m, n = made.settings.query_length, made.settings.document_length
    return replace(
        found, query=found.query[:, :m], idf=found.idf[:, :m], document=found.document[:, :n],
        query_words=tuple(words[:m] for words in found.query_words),
        document_words=tuple(words[:n] for words in found.document_words),
    )  # fmt: skip


@pytest.mark.parametrize("name", FORMULAS)
def test_padding_and_the_batch_change_nothing(name):
    """Padding invariance, below 1e-6 (of scores above 1: as a share); a text without words has a score, and no gradient
    is NaN."""
    made, found = model(name), batch([*TEXTS, ("", "fovea sight"), ("", "")])
    scores = made(found)
    assert scores.isfinite().all()
    scores.sum().backward()
    assert all(one.grad.isfinite().all() for one in made.parameters() if one.grad is not None)
    size = scores.detach().abs().clamp(min=1)
    with torch.no_grad():
        assert ((made(found.padded(9, 37)) - scores).abs() / size).max() < 1e-6
        alone = torch.cat([made(batch([text])) for text in TEXTS])
    assert ((alone - scores[: len(TEXTS)]).abs() / size[: len(TEXTS)]).max() < 1e-6


@pytest.mark.parametrize("name", FORMULAS)
def test_twenty_pairs_can_be_learnt_by_heart(name):
    """Overfit: 10 queries, each with a better and a worse document, to a loss below 0.05."""
    assert overfit(name, "softmax") < 0.05


@pytest.mark.slow
@pytest.mark.parametrize("loss", [loss for loss in LOSSES if loss != "softmax"])
@pytest.mark.parametrize("name", FORMULAS)
def test_twenty_pairs_can_be_learnt_by_heart_by_every_loss(name, loss):
    """The same for every model and loss; ListNet ends at the entropy of softmax([1, 0]), not at 0."""
    assert overfit(name, loss) < 0.05


def overfit(name, loss):
    """How far the loss of 20 pairs lies above its least after at most 600 steps of Adam."""
    generator = np.random.default_rng(1)
    texts = []
    for _ in range(10):
        asked = generator.choice(WORDS, 3, replace=False)
        for kept in (2, 1):
            others = generator.choice([word for word in WORDS if word not in asked], 7 - kept, replace=False)
            texts.append((" ".join(asked), " ".join(generator.permutation([*asked[:kept], *others]))))
    found, labels = batch(texts), torch.tensor([[1.0, 0.0]] * 10)
    wider = {"duet": {"filters": 16}, "pacrr": {"filters": 8}}  # fewer learn these pairs by some losses only
    made = build(name, vectors(12), seed=2, **{**SIZES[name], **wider.get(name, {})})
    teacher, mask = make_loss(loss, bounded=made.bounded, middle=made.middle), torch.ones(10, 2, dtype=torch.bool)
    optimiser = torch.optim.Adam(made.parameters(), lr=0.02)
    torch.manual_seed(0)
    value, least = math.inf, 0.582203 if loss == "listnet" else 0.0
    for step in range(600):
        if step % 20 == 0:
            with torch.no_grad():
                value = float(teacher(made.eval()(found).view(10, 2), labels, mask)) - least
            if value < 0.05:
                break
        optimiser.zero_grad()
        teacher(made.train()(found).view(10, 2), labels, mask).backward()
        optimiser.step()
    return value


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("name", FORMULAS)
def test_each_loss_teaches_each_model(name, loss):
    """Learning objectives: all nine for all models; a few steps of Adam lower each. LambdaRank's weights change with
    the order, so that it is judged by what it weights, RankNet."""
    made, found = build(name, vectors(), seed=2, **SIZES[name]).eval(), batch(TEXTS[:6])
    labels, mask = torch.tensor([[2.0, 0.0, 1.0], [0.0, 1.0, 0.0]]), torch.ones(2, 3, dtype=torch.bool)
    teacher = make_loss(loss, bounded=made.bounded)
    judge = make_loss("ranknet" if loss == "lambdarank" else loss, bounded=made.bounded)
    optimiser = torch.optim.Adam(made.parameters(), lr=0.01)
    before = float(judge(made(found).view(2, 3), labels, mask).detach())
    for _ in range(6):
        optimiser.zero_grad()
        teacher(made(found).view(2, 3), labels, mask).backward()
        optimiser.step()
    assert float(judge(made(found).view(2, 3), labels, mask).detach()) < before


# -- the 2-D GRU ------------------------------------------------------------------------------------------------------


@given(st.integers(1, 5), st.integers(1, 6), st.integers(1, 3), st.integers(0, 99))
def test_the_grid_by_anti_diagonals_is_the_double_loop(height, width, units, seed):
    """2-D GRU (Match-SRNN, HiNT): each size of real cells inside a padded grid, from both corners."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        grid, gru = torch.randn(height * width, height, width, 2), GridGRU(2, units, grids=2)
    sizes = torch.tensor(list(product(range(1, height + 1), range(1, width + 1))))
    w = weights(gru)
    with torch.no_grad():
        states = gru(torch.stack([grid, turned(grid, *sizes.T)]), *sizes.T)
    for number, (m, n) in enumerate(sizes.tolist()):
        real = grid[number, :m, :n].double().numpy()
        assert states[0, number].numpy() == pytest.approx(grid_by_double_loop(w, "", real), abs=1e-5)
        assert states[1, number].numpy() == pytest.approx(grid_by_double_loop(w, "", real[::-1, ::-1], 1), abs=1e-5)


def test_a_grid_without_cells_has_the_state_zero():
    gru = GridGRU(2, 3)
    states = gru(torch.randn(1, 3, 2, 4, 2), torch.tensor([0, 2, 2]), torch.tensor([4, 0, 4]))[0]
    assert states[:2].abs().max() == 0
    assert states[2].abs().min() > 0
    assert gru(torch.zeros(1, 2, 3, 0, 2), torch.tensor([3, 3]), torch.tensor([0, 0])).tolist() == [[[0.0] * 3] * 2]
    with pytest.raises(InputError, match="A 2-D GRU got units = 0"):
        GridGRU(2, 0)


def test_skewing_puts_each_anti_diagonal_into_one_step():
    grid = torch.arange(1.0, 13.0).view(1, 3, 4, 1)
    by_step = skewed(grid)[:, 0, :, 0]
    assert by_step.shape == (6, 3)
    for t, i in product(range(6), range(3)):
        assert by_step[t, i] == (grid[0, i, t - i, 0] if 0 <= t - i < 4 else 0)


# -- letters ----------------------------------------------------------------------------------------------------------


def test_trigrams_are_those_of_each_word():
    """DSSM: trigrams by word, none across a space."""
    grams = LetterGrams()
    assert grams.grams("Cat") == ["#ca", "cat", "at#"]
    assert (grams.grams("a"), grams.grams("")) == (["#a#"], [])
    assert LetterGrams(shortest=1, longest=5).grams("ab") == ["a", "b", "#a", "ab", "b#", "#ab", "ab#", "#ab#"]
    together = LetterSums(LetterGrams(101), 4).of_texts([["ab", "cd"], ["abcd"]])
    assert not torch.allclose(together[0], together[1])


def test_trigrams_of_letters_have_places_of_their_own():
    letters = string.ascii_lowercase
    every = [a + b + c for a in f"#{letters}" for b in letters for c in f"{letters}#"]
    grams = LetterGrams(30_000)
    assert sorted(map(grams.place, every)) == list(range(OWN))
    others = [grams.place(one) for one in ("#42", "4nm", "été", "#ж#", "\ud800ab", "c##", "##c", "abcd", "ab")]
    assert min(others) >= OWN
    assert max(others) < 30_000
    assert len(set(others)) > 6
    assert max(map(LetterGrams(7).place, every)) == 6


def test_sums_are_products_with_counts():
    sums = LetterSums(LetterGrams(61, 2, 3), 5)
    texts = [["fovea", "sees", "sees"], [], ["été"]]
    table = sums.table.weight.detach().double().numpy()
    of_texts, of_words = sums.of_texts(texts).detach().numpy(), sums.of_words(texts).detach().numpy()
    assert of_words.shape == (3, 3, 5)
    for row, words in enumerate(texts):
        assert of_texts[row] == pytest.approx(counts(sums.grams, words) @ table, abs=1e-6)
        for place in range(3):
            assert of_words[row, place] == pytest.approx(counts(sums.grams, words[place : place + 1]) @ table, abs=1e-6)
    assert torch.equal(sums.of_words(texts, 2), sums.of_words(texts)[:, :2])
    assert sums.of_words([[], []]).abs().max() == 0
    assert Counter(sums.grams.places("sees")) == Counter(map(sums.grams.place, sums.grams.grams("sees")))


# -- what is particular -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["dssm", "cdssm"])
def test_both_sides_may_change_places(name):
    """Symmetric: f(s, t) = f(t, s)."""
    made = model(name)
    assert made.symmetric
    there, back = made(batch(TEXTS)), made(batch([(document, query) for query, document in TEXTS]))
    torch.testing.assert_close(there, back, atol=1e-6, rtol=0)


def test_untrained_dssm_ranks_by_the_letters_in_common():
    """DSSM: random maps that keep angles give about the cosine of the counts, and no bias covers it."""
    made, found = build("dssm", vectors(), seed=1).eval(), batch(list(product(*zip(*TEXTS[:6], strict=True))))
    sides = [[counts(made.letters.grams, one) for one in side] for side in (found.query_words, found.document_words)]
    expected = np.array([cosine(*both) for both in zip(*sides, strict=True)])
    with torch.no_grad():
        scores = made(found).numpy()
    assert np.abs(scores - expected).max() < 0.3  # 128 random directions: a standard deviation of 0.09
    assert np.corrcoef(scores, expected)[0, 1] > 0.9


@pytest.mark.parametrize("name", ["dssm", "cdssm"])
def test_untrained_models_of_letters_prefer_texts_that_share_words(name):
    """What shares the query's words lies above what shares no letters, whatever the seed."""
    texts = [(query, text) for query in ("sharp sight", "rod cone cell") for text in ("sharp sight", "rod cone cell")]
    for seed in range(5):
        with torch.no_grad():
            scores = build(name, vectors(), seed=seed).eval()(batch(texts)).view(2, 2)
        assert (scores.diagonal() - scores.flip(1).diagonal() > 0.3).all()


@pytest.mark.parametrize("name", ["dssm", "cdssm"])
@pytest.mark.parametrize("loss", LOSSES)
def test_a_text_without_words_does_not_outweigh_the_others(name, loss):
    """A vector of 0 has a cosine whose slope is 1e8: with one in a batch, nothing else of the batch was learnt."""
    made = build(name, vectors(), seed=0)
    texts = [("sharp sight", text) for text in ("sharp sight", "", "rod cone cell", "light")]
    scores = made(batch(texts)).view(1, 4)
    assert scores[0, 1] == 0
    make_loss(loss, bounded=True)(scores, torch.tensor([[1.0, 0, 0, 0]]), torch.ones(1, 4, dtype=torch.bool)).backward()
    found = [one.grad for one in made.parameters() if one.grad is not None]
    assert 0 < max(float(one.abs().max()) for one in found) < 100


def test_match_srnn_changes_places_with_its_weights():
    """Symmetric: s and t change places when T, W and the GRU's left and upper parts do."""
    made, other = model("match-srnn"), model("match-srnn")
    units, state = made.settings.units, made.state_dict()
    left_up = [*range(units, 2 * units), *range(units), *range(2 * units, 3 * units)]  # of r; of the states, too
    gates = [*left_up, *(3 * units + place for place in left_up), *range(6 * units, 8 * units)]
    other.load_state_dict({
        **state,
        "tensor": state["tensor"].transpose(1, 2),
        "of_query.weight": state["of_document.weight"],
        "of_document.weight": state["of_query.weight"],
        "gru.inputs": state["gru.inputs"][:, gates],
        "gru.bias": state["gru.bias"][:, gates],
        "gru.gates": state["gru.gates"][:, gates[: 7 * units]][..., left_up],
        "gru.candidate": state["gru.candidate"][..., left_up],
    })  # fmt: skip
    there, back = made(batch(TEXTS)), other(batch([(document, query) for query, document in TEXTS]))
    torch.testing.assert_close(there, back, atol=1e-5, rtol=0)
    assert made.symmetric


def test_match_srnn_starts_by_cosines():
    """Match-SRNN: T is the identity plus noise at first; dropout is in training only."""
    made, found = build("match-srnn", vectors()).eval(), batch(TEXTS[:1])
    start = made.tensor.mean(0)
    assert start.diagonal().mean() > 0.7
    assert (start - torch.diag(start.diagonal())).abs().mean() < 0.3
    assert torch.equal(made(found), made(found))
    made.train()
    assert not torch.equal(made(found), made(found))


@pytest.mark.parametrize("seed", range(3))
def test_match_srnn_starts_by_keeping_what_its_neighbours_hold(seed):
    """Match-SRNN: more of what the last state depends on lies in other cells than with four equal shares."""
    gru, given = build("match-srnn", vectors(), seed=seed).gru, torch.rand(1, 1, 5, 30, 10)
    elsewhere = []
    for _ in range(2):
        inputs = given.clone().requires_grad_()
        gru(inputs, torch.tensor([5]), torch.tensor([30])).abs().sum().backward()
        reached = inputs.grad[0, 0].norm(dim=-1)
        elsewhere.append(float(1 - reached[4, 29] / reached.sum()))
        torch.nn.init.zeros_(gru.bias)
    assert elsewhere[0] > elsewhere[1] + 0.03


@pytest.mark.parametrize("seed", range(3))
def test_cdssm_starts_by_what_the_texts_share(seed):
    """CDSSM: few filters of a trigram keep shared words through the maximum, where all of them hide them."""
    draw = np.random.default_rng(seed)
    known = ["".join(draw.choice(list("abcdefghijklmnopqrst"), size=6)) for _ in range(400)]
    asked = known[:8]
    shares = [number % 9 for number in range(180)]
    texts = [[*draw.permutation(asked)[:share], *draw.choice(known[8:], size=30 - share)] for share in shares]
    made, scores = build("cdssm", vectors(), seed=seed).eval(), []
    assert (made.letters.table.weight != 0).float().mean() == pytest.approx(15 / 300, rel=0.02)
    for dense in (False, True):
        if dense:
            torch.nn.init.xavier_uniform_(made.letters.table.weight)
        with torch.no_grad():
            rows = made.represented([asked, *([draw.permutation(one).tolist() for one in texts])])
        scores.append(np.corrcoef(torch.cosine_similarity(rows[:1], rows[1:]).numpy(), shares)[0, 1])
    assert scores[0] > scores[1] + 0.1
    assert scores[0] > 0.7


def test_cdssm_drops_numbers_of_its_windows_in_training_only():
    """CDSSM: dropout before the maximum, so that another window's number may be the highest."""
    made, found = build("cdssm", vectors(), dropout=0.5), batch(TEXTS)
    assert torch.equal(made.eval()(found), build("cdssm", vectors())(found))
    made.train()
    assert not torch.equal(made(found), made(found))
    assert torch.equal(model("cdssm", dropout=0.5).eval()(found), model("cdssm")(found))
    with pytest.raises(InputError, match="dropout = 1"):
        build("cdssm", vectors(), dropout=1.0)


@pytest.mark.parametrize("name", ["pacrr", "co-pacrr"])
def test_idf_is_a_number_of_each_row(name):
    """PACRR, Co-PACRR: softmax(idf) reaches the score."""
    made, found = model(name), batch(TEXTS[1:2])
    other = replace(found, idf=found.idf * torch.tensor([2.0, 1.0, 0.5]))
    assert (made(found) - made(other)).abs() > 1e-3
    torch.testing.assert_close(made(found), made(replace(found, idf=found.idf + 3.0)))  # a softmax: only differences


def test_co_pacrr_shuffles_its_rows_in_training_only():
    """Co-PACRR: shuffled rows, the empty ones among them."""
    made, found = model("co-pacrr"), batch(TEXTS)
    assert torch.equal(made(found), made(found))
    filled = torch.nn.functional.pad(made.rows(found), (0, 0, 0, 2))
    assert filled.shape[1] == made.settings.query_length
    made.train()
    torch.manual_seed(4)
    scores = made(found)
    torch.manual_seed(4)
    order = torch.randperm(6)
    assert order.tolist() != list(range(6))
    torch.testing.assert_close(scores, made.mlp(filled[:, order].flatten(1)).squeeze(1))


def test_co_pacrr_takes_the_context_of_the_best_places():
    """Co-PACRR: context similarity and cascade, by hand for one query word."""
    made, found = model("co-pacrr", longest=1, parts=2, k=1, context=1), batch([("eye", "lens eye iris pupil eye")])
    row = made.rows(found)[0, 0]
    table = made.vectors.table[found.document[0]] @ made.vectors.table[found.query[0, 0]]
    assert row[:4].tolist() == pytest.approx([1.0, float(table[1]), 1.0, float(table[1])])  # the first of equal places
    far = made.rows(batch([("eye", "lens brow iris pupil eye")]))[0, 0]
    assert far[0] < 1
    assert far[2] == 1


def test_of_nearly_equal_values_the_first_place_counts():
    """Co-PACRR: rounding does not choose the context."""
    values, context = torch.tensor([[[0.5, 0.50001, 0.7, 0.2]]]), torch.tensor([[1.0, 2.0, 3.0, 4.0]])
    mask = torch.tensor([[[True, True, True, False]]])
    expected = torch.tensor([0.7, 0.5, 0.50001, 0, 3, 1, 2, 0])
    torch.testing.assert_close(best_in_context(values, mask, context, 4)[0, 0], expected)
    torch.testing.assert_close(best_in_context(values, mask, context, 2)[0, 0], expected[[0, 1, 4, 5]])
    assert best_in_context(values, mask, context, 6).shape == (1, 1, 12)


def test_duet_starts_small():
    """DUET: small last layers and a scaled sum against its collapse; the local network by exact matches or cosines."""
    made = build("duet", vectors(), **SIZES["duet"])
    for part in (made.local, made.distributed):
        assert 0 <= part.scorer[-1].weight.min() < part.scorer[-1].weight.max() <= 0.01
    found = batch(TEXTS)
    made.eval()
    double = build("duet", vectors(), **SIZES["duet"], scale=0.2).eval()
    torch.testing.assert_close(double(found), 2 * made(found))
    exact = torch.zeros(2, 6)  # "sharp sight" in "fovea gives the sharp sight sight", by idf
    exact[0, 3], exact[1, 4:] = found.idf[0, 0], found.idf[0, 1]
    torch.testing.assert_close(made.explain(found)[0, :2, :6], exact)
    soft = build("duet", vectors(), **SIZES["duet"], match="cosine", weighted=False).eval()
    matches = soft.explain(found)
    assert matches[0, 0, 3] == 1
    assert 0 < matches[0, 0, 0].abs() < 1
    assert [DUETSettings(document_length=n).pooled for n in (1000, 200, 40)] == [100, 100, 20]


def test_deeprank_adds_up_its_words():
    """DeepRank: a word's weight starts at its idf; words without a match add nothing, nor do places after the first."""
    made, found = build("deeprank", vectors(), **SIZES["deeprank"]).eval(), batch(TEXTS)
    assert made.learned.weight.abs().max() == 0
    terms = made.term_scores(found)
    torch.testing.assert_close(terms.sum(1) + made.output.bias, made(found))
    assert (terms[5, 2], terms[6, 0], terms[7, 0]) == (0, 0, 0)  # "unseen", "iris", an empty document
    torch.testing.assert_close(made(replace(found, idf=2 * found.idf)) - made.output.bias, 2 * terms.sum(1))
    three, four = (made(batch([("eye", "eye eye eye lens lens" + end)])) for end in ("", " eye"))
    torch.testing.assert_close(three, four)  # only the first 3 places are read, 2 words around them
    assert made(batch([("eye", "eye eye eye lens eye")])) != three


def test_tk_says_what_each_word_adds():
    made, found = model("tk"), batch(TEXTS)
    terms = made.term_scores(found)
    torch.testing.assert_close(terms.sum(1), made(found))
    assert terms[~found.query_mask].abs().max() == 0
    shown = made.explain(found)
    assert shown.shape == (8, 4, 16)
    assert shown[0, 0, 3] != 1  # the same word in another context


@pytest.mark.parametrize("name", ["dssm", "cdssm"])
def test_letters_show_which_words_are_alike(name):
    shown = model(name).explain(batch(TEXTS))
    assert shown.shape == (8, 4, 16)
    assert shown[7].abs().max() == 0
    if name == "dssm":
        torch.testing.assert_close(shown[0, 0, 3], torch.tensor(1.0))


@pytest.mark.parametrize(
    ("name", "sizes", "message"),
    [
        ("dssm", {"hidden": 0}, "DSSM got hidden = 0"),
        ("cdssm", {"window": 2}, "an odd number"),
        ("cdssm", {"filters": 0}, "CDSSM got filters = 0"),
        ("match-srnn", {"channels": 0}, "Match-SRNN got channels = 0"),
        ("match-srnn", {"dropout": 1.0}, "Match-SRNN got dropout"),
        ("duet", {"dropout": 1.0}, "DUET got dropout"),
        ("duet", {"pool": 17}, "Lengthen the texts, or take a smaller window or pool"),
        ("duet", {"match": "dot"}, "exact, cosine"),
        ("pacrr", {"k": 0}, "PACRR got k = 0"),
        ("co-pacrr", {"parts": 0}, "Co-PACRR got parts = 0"),
        ("deeprank", {"around": 0}, "DeepRank got around = 0"),
        ("hint", {"passage": 0}, "HiNT got passage = 0"),
        ("tk", {"heads": 4}, "Take 2 heads"),
        ("tk", {"scale": 0.0}, "TK got scale"),
        ("tk", {"sigma": 0.0}, "sigma=0.0"),
    ],
)
def test_sizes_that_do_not_fit_are_refused_when_built(name, sizes, message):
    with pytest.raises(InputError, match=message):
        build(name, vectors(), **{**SIZES[name], **sizes})


@pytest.mark.parametrize("name", ["dssm", "cdssm", "duet"])
def test_models_of_letters_need_words(name):
    made, found = model(name), replace(batch(), query_words=None)
    assert made.needs_words
    with pytest.raises(InputError, match=f"{name} reads the letters of words"):
        made(found)


def test_letter_grams_that_cannot_be_are_refused():
    with pytest.raises(InputError, match="at least 1"):
        LetterGrams(0)
    with pytest.raises(InputError, match="shortest <= longest"):
        LetterGrams(9, 3, 2)
    assert CoPACRRSettings().query_length == 20
