"""Nine neural rankers against their formulas, written out word by word in NumPy; all eighteen by what they share."""

from __future__ import annotations

import math
from dataclasses import fields
from itertools import product

import numpy as np
import pytest
import torch

from foveal.errors import InputError, UnknownName
from foveal.ranking.neural import MODELS, build, model_class, settings_class
from foveal.ranking.neural.inputs import Vocabulary, pairs
from foveal.ranking.neural.losses import LOSSES, make_loss
from foveal.ranking.neural.match_pyramid import dynamic_pooling
from foveal.ranking.neural.vectors import WordVectors

MINE = ["knrm", "conv-knrm", "drmm", "drmm-tks", "anmm", "match-pyramid", "arc-i", "arc-ii", "mv-lstm"]
WORDS = ["mill", "wheel", "river", "old", "steam", "engine", "boiler", "grain", "flour", "stone", "water", "lever"]
QUERIES = ["old mill wheel", "steam engine", "water", "grain flour stone mill"]
DOCUMENTS = [
    "the old water mill by the river turns its wheel and the wheel turns the stone",
    "a boiler makes steam",
    "engine engine lever water unheardof",
    "flour",
]
VOCABULARY = Vocabulary.of_texts([" ".join(WORDS), *DOCUMENTS], QUERIES, min_frequency=1, buckets=8)
SIZES = {"arc-i": {"dropout": 0.0}, "arc-ii": {"dropout": 0.0}}


def vectors(dimension=10, **options):
    return WordVectors.random(len(VOCABULARY), dimension, seed=3, **options)


def batch(queries=QUERIES, documents=DOCUMENTS):
    return pairs(VOCABULARY, queries, documents, query_length=10, document_length=40)


def model_of(name, seed=1, **sizes):
    return build(name, vectors(), seed=seed, **sizes).eval()


def scores(model, *texts):
    with torch.no_grad():
        return model(batch(*texts)).numpy()


def table(model):
    return model.vectors.table.detach().numpy().astype(np.float64)


def weights(module):
    return {name: one.detach().numpy().astype(np.float64) for name, one in module.named_parameters()}


def rows(model):
    """For each pair: the ids and vectors of query and document, and the idf, without padding."""
    held, both = table(model), batch()
    for q, d, idf in zip(both.query.tolist(), both.document.tolist(), both.idf.tolist(), strict=True):
        q, d = [one for one in q if one], [one for one in d if one]
        yield q, d, held[q], held[d], idf[: len(q)]


def match(q, d, qv, dv):
    """M by definition: cosines, 1 for equal ids."""
    found = np.zeros((len(q), len(d)))
    for i, j in product(range(len(q)), range(len(d))):
        cosine = qv[i] @ dv[j] / (np.linalg.norm(qv[i]) * np.linalg.norm(dv[j]))
        found[i, j] = 1.0 if q[i] == d[j] else cosine
    return found


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def softmax(x):
    e = np.exp(np.asarray(x) - np.max(x))
    return e / e.sum()


def kernel_logs(matches, sigma=0.1, exact=1e-3, floor=lambda total: math.log(max(total, 1e-10))):
    """Sum over i of the log of the kernels' sums, mu 1, 0.9, 0.7 … -0.9."""
    chosen = [(1.0, exact), *((0.9 - 0.2 * place, sigma) for place in range(10))]
    return [
        sum(floor(sum(math.exp(-((value - mu) ** 2) / (2 * s**2)) for value in row)) for row in matches)
        for mu, s in chosen
    ]


def mlp(network, x):
    """Linear, ReLU, Linear."""
    held = weights(network)
    names = sorted({name.split(".")[0] for name in held}, key=int)
    for place, name in enumerate(names):
        x = held[f"{name}.weight"] @ x + held[f"{name}.bias"]
        x = np.maximum(x, 0) if place < len(names) - 1 else x
    return float(x[0])


# -- each model against its formula -----------------------------------------------------------------------------------


@pytest.mark.parametrize("log", ["clamp", "log1p"])
@pytest.mark.parametrize("words", ["equal", "idf"])
def test_knrm_by_definition(log, words):
    """K-NRM: phi_k = sum_i log max(sum_j K_k(M_ij), 1e-10), by choice times idf_i; f = tanh(w . 0.01 phi + b)."""
    model = model_of("knrm", log=log, words=words)
    held = weights(model.output)
    floor = math.log1p if log == "log1p" else lambda total: math.log(max(total, 1e-10))
    expected = []
    for q, d, qv, dv, idf in rows(model):
        counted = idf if words == "idf" else [1.0] * len(q)
        each = [np.array(kernel_logs(row[None], floor=floor)) for row in match(q, d, qv, dv)]
        phi = sum(0.01 * one * logs for one, logs in zip(counted, each, strict=True))
        expected.append(math.tanh(held["weight"][0] @ phi + held["bias"][0]))
    assert scores(model) == pytest.approx(expected, abs=1e-5)


def test_knrm_by_hand():
    """K-NRM: one query word, a document that holds it twice; all kernels but those near 1 are almost empty."""
    model = model_of("knrm")
    with torch.no_grad():
        model.output.weight.zero_()
        model.output.bias.zero_()
        model.output.weight[0, 0] = 3.0
        found = model(batch(["mill"], ["mill mill"]))
    assert float(found) == pytest.approx(math.tanh(3 * 0.01 * math.log(2)), abs=1e-6)


def test_knrm_tells_the_exact_kernel_by_ids():
    """K-NRM pitfall: words with one vector are no exact match, and equal words are one in any precision."""
    held = vectors().table.clone()
    mill, wheel = VOCABULARY.id_of("mill"), VOCABULARY.id_of("wheel")
    held[wheel] = held[mill]
    model = build("knrm", WordVectors(held), seed=1).eval()
    with torch.no_grad():
        logs = model.logs(batch(["mill", "mill"], ["wheel", "mill"]))[:, 0] / 0.01
    assert float(logs[0, 0]) == pytest.approx(math.log(1e-10))
    assert float(logs[1, 0]) == pytest.approx(0.0)
    assert logs[0, 1:].tolist() == pytest.approx(logs[1, 1:].tolist(), abs=1e-4)


@pytest.mark.parametrize(("cross", "words"), [(True, "equal"), (False, "equal"), (True, "idf")])
def test_conv_knrm_by_definition(cross, words):
    """Conv-KNRM: g^h = ReLU(W_h [q_i .. q_{i+h-1}] + b_h), one M for each pair of lengths, kernel pooling on each; by
    choice what begins at a word times its idf.
    """
    model = model_of("conv-knrm", filters=5, cross=cross, words=words)
    output = weights(model.output)

    def grams(words, length):
        held = weights(model.grams[length - 1])
        padded = np.vstack([words, np.zeros((length - 1, words.shape[1]))])
        return [
            np.maximum(np.einsum("fek,ke->f", held["weight"], padded[i : i + length]) + held["bias"], 0)
            for i in range(len(words))
        ]

    def cosine(a, b):
        return a @ b / max(np.linalg.norm(a) * np.linalg.norm(b), 1e-12)

    expected = []
    for q, _, qv, dv, idf in rows(model):
        counted = idf if words == "idf" else [1.0] * len(q)
        phi = []
        for one, two in product(range(1, 4), range(1, 4)):
            if cross or one == two:
                each = [kernel_logs([[cosine(a, b) for b in grams(dv, two)]]) for a in grams(qv, one)]
                phi += (np.array(counted) @ np.array(each)).tolist()
        expected.append(math.tanh(output["weight"][0] @ (0.01 * np.array(phi)) + output["bias"][0]))
    assert len(model.matched) == (9 if cross else 3)
    assert scores(model) == pytest.approx(expected, abs=2e-5)


def histogram(matches, q, d, count, value):
    """Bins of one query word at a time: equal parts of -1 to 1, the last for exact matches."""
    found = np.zeros((len(q), count))
    for i, j in product(range(len(q)), range(len(d))):
        place = count - 1 if q[i] == d[j] else min(int((matches[i, j] + 1) / 2 * (count - 1)), count - 2)
        found[i, place] += value(matches[i, j])
    return found


def term_network(network, x):
    held = weights(network)
    inner = np.tanh(held["0.weight"] @ x + held["0.bias"])
    return float(np.tanh(held["2.weight"] @ inner + held["2.bias"])[0])


@pytest.mark.parametrize(("kind", "gate"), [("log", "idf"), ("count", "vectors"), ("share", "idf")])
def test_drmm_by_definition(kind, gate):
    """DRMM: h = log(1 + count), z = tanh(w2 tanh(W1 h + b1) + b2), g = softmax(w idf) or softmax(w . q), f = g . z."""
    model = model_of("drmm", histogram=kind, gate=gate)
    gates = weights(model.gate)["weight.weight"][0]
    expected = []
    for q, d, qv, dv, idf in rows(model):
        counts = histogram(match(q, d, qv, dv), q, d, 30, lambda _: 1.0)
        h = {"log": np.log1p(counts), "count": counts, "share": counts / counts.sum(1, keepdims=True)}[kind]
        g = softmax([gates[0] * one for one in idf] if gate == "idf" else qv @ gates)
        expected.append(sum(w * term_network(model.network, row) for w, row in zip(g, h, strict=True)))
    assert scores(model) == pytest.approx(expected, abs=1e-5)


def test_drmm_by_hand():
    """DRMM: "mill" beside "mill mill wheel": two in the exact bin, one in the bin of its cosine."""
    model = model_of("drmm")
    held = table(model)
    mill, wheel = VOCABULARY.id_of("mill"), VOCABULARY.id_of("wheel")
    bin_of_wheel = int((held[mill] @ held[wheel] + 1) / 2 * 29)
    found = model.histograms(batch(["mill"], ["mill mill wheel"]))[0, 0]
    assert float(found[29]) == pytest.approx(math.log(3))
    assert float(found[bin_of_wheel]) == pytest.approx(math.log(2))
    assert int((found > 0).sum()) == 2


def test_drmm_wants_frozen_vectors():
    """DRMM pitfall: no gradient passes a histogram, so word vectors must not be trained."""
    with pytest.raises(InputError, match="Freeze them"):
        build("drmm", vectors(trained=True))
    assert not any(name.startswith("vectors") for name, _ in model_of("drmm").named_parameters())


@pytest.mark.parametrize("gate", ["idf", "vectors"])
def test_drmm_tks_by_definition(gate):
    """DRMM-TKS: the 10 best matches of each word in place of the histogram."""
    model = model_of("drmm-tks", gate=gate)
    gates = weights(model.gate)["weight.weight"][0]
    expected = []
    for q, d, qv, dv, idf in rows(model):
        best = [(sorted(row, reverse=True) + [0.0] * 10)[:10] for row in match(q, d, qv, dv)]
        g = softmax([gates[0] * one for one in idf] if gate == "idf" else qv @ gates)
        expected.append(sum(w * term_network(model.network, np.array(row)) for w, row in zip(g, best, strict=True)))
    assert scores(model) == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("sets", [1, 3])
def test_anmm_by_definition(sets):
    """aNMM-1 and aNMM-2: x_ik sums the matches of bin k, h = sigmoid(w . x), g = softmax(v . q), f = g . h."""
    model = model_of("anmm", sets=sets, bins=20)
    gates, shared = weights(model.gate)["weight.weight"][0], weights(model.shared)["weight"]
    expected = []
    for q, d, qv, dv, _ in rows(model):
        x = histogram(match(q, d, qv, dv), q, d, 20, lambda value: value)
        h = sigmoid(x @ shared.T)
        if sets > 1:
            h = sigmoid(h @ weights(model.combined)["weight"].T)
        expected.append(softmax(qv @ gates) @ h[:, 0])
    assert scores(model) == pytest.approx(expected, abs=1e-5)


def conv2d(maps, held):
    """3 x 3 with zeros around, (C, m, n) -> (F, m, n), then ReLU."""
    edge = held["weight"].shape[-1] // 2
    padded = np.pad(maps, ((0, 0), (edge, edge), (edge, edge)))
    found = np.zeros((len(held["weight"]), *maps.shape[1:]))
    for f, i, j in product(*map(range, found.shape)):
        window = padded[:, i : i + 2 * edge + 1, j : j + 2 * edge + 1]
        found[f, i, j] = (held["weight"][f] * window).sum() + held["bias"][f]
    return np.maximum(found, 0)


@pytest.mark.parametrize("kind", ["cosine", "dot", "indicator"])
def test_match_pyramid_by_definition(kind):
    """MatchPyramid: M as an image, two convolutions, a grid over the true lengths, a network."""
    model = build("match-pyramid", vectors(unit=False), seed=1, match=kind, filters=(2, 3), rows=2, columns=4).eval()
    expected = []
    for q, d, qv, dv, _ in rows(model):
        same = np.equal.outer(q, d).astype(float)
        maps = {"cosine": match(q, d, qv, dv), "dot": qv @ dv.T, "indicator": same}[kind][None]
        for layer in model.layers:
            maps = conv2d(maps, weights(layer))
        m, n = maps.shape[1:]
        grid = np.zeros((3, 2, 4))
        for a, b in product(range(2), range(4)):
            window = maps[:, a * m // 2 : math.ceil((a + 1) * m / 2), b * n // 4 : math.ceil((b + 1) * n / 4)]
            grid[:, a, b] = window.max((1, 2))
        expected.append(mlp(model.network, grid.reshape(-1)))
    assert scores(model) == pytest.approx(expected, abs=1e-5)


def test_match_pyramid_pools_by_true_lengths():
    """MatchPyramid: torch's adaptive pooling of each map alone, cut to its true size."""
    maps = torch.rand(3, 2, 7, 9, generator=torch.Generator().manual_seed(0))
    lengths = [torch.tensor([7, 2, 4]), torch.tensor([5, 9, 1])]
    found = dynamic_pooling(maps, lengths, (3, 4))
    for row, (m, n) in enumerate(zip(*(one.tolist() for one in lengths), strict=True)):
        alone = torch.nn.functional.adaptive_max_pool2d(maps[row : row + 1, :, :m, :n], (3, 4))
        assert torch.equal(found[row], alone[0])


def test_arc_i_by_definition():
    """ARC-I: windows of 3 words past the end see zeros, those of padding alone are 0; pooled by 4, then a network."""
    model = model_of("arc-i", filters=5, query_length=6, document_length=18)
    held = weights(model.layers[0])

    def side(words, length):
        words = np.vstack([words[:length], np.zeros((length + 3, words.shape[1]))])
        count = int((np.abs(words).sum(1) > 0).sum())
        z = np.zeros((length, 5))
        for i in range(min(count, length)):
            z[i] = np.maximum(np.einsum("fek,ke->f", held["weight"], words[i : i + 3]) + held["bias"], 0)
        return np.array([z[first : first + 4].max(0) for first in range(0, length, 4)]).T.reshape(-1)

    expected = [mlp(model.network, np.concatenate([side(qv, 6), side(dv, 18)])) for _, _, qv, dv, _ in rows(model)]
    assert scores(model) == pytest.approx(expected, abs=1e-5)


def pool2d(maps, size):
    c, m, n = maps.shape
    found = np.zeros((c, math.ceil(m / size), math.ceil(n / size)))
    for a, b in product(range(found.shape[1]), range(found.shape[2])):
        found[:, a, b] = maps[:, a * size : (a + 1) * size, b * size : (b + 1) * size].max((1, 2))
    return found


def test_arc_ii_by_definition():
    """ARC-II: z_ij = ReLU(W [q window; d window] + b), 2 x 2 pooling, 3 x 3 convolutions with pooling, a network."""
    model = model_of("arc-ii", filters=3, maps=(4,), pool=3, query_length=6, document_length=20)
    left, right = weights(model.query), weights(model.document)
    w = np.concatenate([left["weight"], right["weight"]], axis=1)  # W over [q; d], 2 E channels
    expected = []
    for _, _, qv, dv, _ in rows(model):
        qp, dp = (np.vstack([one, np.zeros((2, one.shape[1]))]) for one in (qv, dv))
        z, real = np.zeros((3, 6, 20)), np.zeros((1, 6, 20))
        for i, j in product(range(len(qv)), range(len(dv))):
            window = np.concatenate([qp[i : i + 3], dp[j : j + 3]], axis=1)
            z[:, i, j] = np.maximum(np.einsum("fek,ke->f", w, window) + left["bias"], 0)
            real[:, i, j] = 1
        maps, real = pool2d(z, 2), pool2d(real, 2)
        maps, real = pool2d(conv2d(maps, weights(model.layers[0])) * real, 3), pool2d(real, 3)
        expected.append(mlp(model.network, maps.reshape(-1)))
    assert scores(model) == pytest.approx(expected, abs=1e-5)


def lstm(words, held, suffix):
    """One direction by definition: gates input, forget, cell, output, in torch's order."""
    size = held[f"weight_hh_l0{suffix}"].shape[1]
    h, c, found = np.zeros(size), np.zeros(size), []
    for word in words:
        x = held[f"weight_ih_l0{suffix}"] @ word + held[f"bias_ih_l0{suffix}"]
        gates = x + held[f"weight_hh_l0{suffix}"] @ h + held[f"bias_hh_l0{suffix}"]
        i, f, g, o = np.split(gates, 4)
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        h = sigmoid(o) * np.tanh(c)
        found.append(h)
    return np.array(found)


@pytest.mark.parametrize("kind", ["cosine", "bilinear", "tensor"])
def test_mv_lstm_by_definition(kind):
    """MV-LSTM: both directions from the true ends, cosine, bilinear or tensor matches, the 10 best, a network."""
    model = model_of("mv-lstm", states=4, match=kind, channels=2)
    held = weights(model.lstm)

    def states(words):
        return np.hstack([lstm(words, held, ""), lstm(words[::-1], held, "_reverse")[::-1]])

    expected = []
    for _, _, qv, dv, _ in rows(model):
        u, v = states(qv), states(dv)
        if kind == "cosine":
            s = [(u / np.linalg.norm(u, axis=1)[:, None]) @ (v / np.linalg.norm(v, axis=1)[:, None]).T]
        else:
            own = weights(model.match)
            s = [u @ product_ @ v.T + bias for product_, bias in zip(own["products"], own["bias"], strict=True)]
        if kind == "tensor":
            added = (np.add.outer(u @ own["left.weight"][c], v @ own["right.weight"][c]) for c in range(2))
            s = [np.maximum(one + more, 0) for one, more in zip(s, added, strict=True)]
        best = [(sorted(one.reshape(-1), reverse=True) + [0.0] * 10)[:10] for one in s]
        expected.append(mlp(model.network, np.array(best).reshape(-1)))
    assert scores(model) == pytest.approx(expected, abs=1e-5)


# -- what the tags say ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["drmm", "drmm-tks", "knrm", "anmm"])
def test_the_order_of_the_querys_words_changes_nothing(name):
    """DRMM, DRMM-TKS, K-NRM, aNMM: query order invariance; and the order of the document's words, likewise."""
    model = model_of(name)
    turned = [" ".join(reversed(text.split())) for text in QUERIES]
    assert scores(model, turned) == pytest.approx(scores(model), abs=1e-6)
    shuffled = [" ".join(sorted(text.split())) for text in DOCUMENTS]
    assert scores(model, QUERIES, shuffled) == pytest.approx(scores(model), abs=1e-6)


@pytest.mark.parametrize("name", ["conv-knrm", "match-pyramid", "arc-i", "arc-ii", "mv-lstm"])
def test_the_order_of_words_counts_where_phrases_do(name):
    """Conv-KNRM, MatchPyramid, ARC-I, ARC-II, MV-LSTM: no bags of words."""
    turned = [" ".join(reversed(text.split())) for text in DOCUMENTS]
    model = model_of(name)
    assert abs(scores(model, QUERIES, turned) - scores(model)).max() > 1e-5


def exchanged(model, other):
    """`other` with the weights of `model`, those of the two sides exchanged."""
    state = {name: one.clone() for name, one in model.state_dict().items()}
    if model.name == "match-pyramid":
        state = {name: one.transpose(-1, -2) if one.dim() == 4 else one for name, one in state.items()}
        maps, cells = model.settings.filters[-1], (model.settings.rows, model.settings.columns)
        first = state["network.0.weight"].view(-1, maps, *cells)
        state["network.0.weight"] = first.transpose(2, 3).flatten(1)
    if model.name == "arc-i":
        first = state["network.0.weight"].split([model.settings.filters * part for part in model.parts], dim=1)
        state["network.0.weight"] = torch.cat(first[::-1], dim=1)
    if model.name == "arc-ii":
        state = {name: one.transpose(-1, -2) if one.dim() == 4 else one for name, one in state.items()}
        state["query.weight"], state["document.weight"] = state["document.weight"], state["query.weight"]
        first = state["network.0.weight"].view(-1, model.settings.maps[-1], *model.grid)
        state["network.0.weight"] = first.transpose(2, 3).flatten(1)
    other.load_state_dict(state)
    return other.eval()


@pytest.mark.parametrize("name", ["match-pyramid", "arc-i", "arc-ii", "mv-lstm"])
def test_symmetric_ones_are_symmetric(name):
    """Symmetric: query and document may change places, with the weights that belong to each side; and MV-LSTM, whose
    sides share all weights, as it is."""
    assert model_class(name).symmetric
    lengths = {"query_length": 6, "document_length": 18} if name.startswith("arc") else {}
    turned = {"query_length": 18, "document_length": 6} if name.startswith("arc") else {}
    if name == "match-pyramid":
        lengths, turned = {"rows": 2, "columns": 5}, {"rows": 5, "columns": 2}
    model = model_of(name, **lengths)
    other = model if name == "mv-lstm" else exchanged(model, model_of(name, seed=2, **turned))
    cut = [" ".join(text.split()[:10]) for text in DOCUMENTS]  # as long as a query of `batch` may be
    assert scores(other, cut, QUERIES) == pytest.approx(scores(model, QUERIES, cut), abs=1e-5)


@pytest.mark.parametrize("name", ["knrm", "drmm", "drmm-tks", "anmm", "conv-knrm"])
def test_asymmetric_ones_are_not(name):
    """Asymmetric: one part for each word of the query."""
    model = model_of(name)
    cut = [" ".join(text.split()[:10]) for text in DOCUMENTS]
    assert not model_class(name).symmetric
    assert abs(scores(model, cut, QUERIES) - scores(model, QUERIES, cut)).max() > 1e-4


@pytest.mark.parametrize("name", ["drmm", "drmm-tks", "anmm", "knrm", "conv-knrm"])
def test_term_scores_add_up(name):
    """Explain: what the words of the query add makes the score (of K-NRM before bias and tanh)."""
    model = model_of(name)
    with torch.no_grad():
        sums = model.term_scores(batch()).sum(1)
    if "knrm" in name:
        sums = torch.tanh(sums + model.output.bias.detach())
    assert scores(model) == pytest.approx(sums.numpy(), abs=1e-6)


# -- what all eighteen share ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", MODELS)
def test_padding_and_company_change_no_score(name):
    """Padding invariance < 1e-6, for every model: more columns, and being in a batch, change nothing."""
    model, together = model_of(name), batch([*QUERIES, "", "mill"], [*DOCUMENTS, "stone", ""])
    with torch.no_grad():
        found = model(together)
        assert found.shape == (6,)
        assert bool(found.isfinite().all())
        assert float((model(together.padded(10, 40)) - found).abs().max()) < 1e-6
        for row, (query, text) in enumerate(zip([*QUERIES, "", "mill"], [*DOCUMENTS, "stone", ""], strict=True)):
            assert float((model(batch([query], [text])) - found[row]).abs().max()) < 1e-6
        shown = model.explain(together)
    assert shown.shape == (6, together.query.shape[1], together.document.shape[1])
    assert not bool(shown[~(together.query_mask.unsqueeze(2) & together.document_mask.unsqueeze(1))].any())


@pytest.mark.parametrize("name", MODELS)
def test_a_query_without_words_has_one_score(name):
    """Error case: a query of no words scores the same constant for all documents of no words, and gradients stay."""
    model = model_of(name)
    found = model(batch(["", ""], ["", ""]))
    assert found[0].item() == pytest.approx(found[1].item(), abs=1e-7)
    (found.sum() + model(batch()).sum()).backward()
    gradients = [one.grad for one in model.parameters() if one.grad is not None]
    assert all(bool(one.isfinite().all()) for one in gradients)


@pytest.mark.parametrize("name", MODELS)
def test_each_learns_twenty_pairs_by_heart(name):
    """Overfit: 20 pairs, one right and one wrong document for each query, to a loss below 0.05."""
    assert overfit(name, "softmax") < 0.05


@pytest.mark.parametrize("loss", [name for name in LOSSES if name != "softmax"])
@pytest.mark.parametrize("name", MINE)
def test_each_loss_teaches(name, loss):
    """Overfit by every loss: listnet ends at the entropy of softmax([1, 0]), not at 0."""
    least = 0.582203 if loss == "listnet" else 0.0
    assert overfit(name, loss, least=least) - least < 0.05


def overfit(name, loss, least=0.0, steps=400):
    """The loss over 20 pairs after so many steps of Adam."""
    generator = np.random.default_rng(0)
    queries = [f"{a} {b}" for a, b in list(product(WORDS[:5], WORDS[5:9]))[:20]]
    right = [" ".join([*generator.choice(WORDS[9:], 2), *query.split()]) for query in queries]
    wrong = [" ".join([*generator.choice(WORDS[9:], 2), query.split()[0], "unheardof"]) for query in queries]
    both = batch([*queries, *queries], [*right, *wrong])
    held = vectors(10, trained=model_class(name).trains_vectors)
    model = build(name, held, seed=0, **small(name))
    of_scores = make_loss(loss, bounded=model.bounded, middle=model.middle)
    labels, mask = torch.tensor([[1.0, 0.0]] * 20), torch.ones(20, 2, dtype=torch.bool)
    optimiser = torch.optim.Adam(model.parameters(), lr=0.04 if model.bounded else 0.02)
    model.eval()  # no dropout: by heart
    value = torch.tensor(0.0)
    for _ in range(steps):
        value = of_scores(model(both).view(2, 20).T, labels, mask)
        optimiser.zero_grad()
        value.backward()
        optimiser.step()
        if float(value.detach()) - least < 0.045:
            break
    return float(value.detach())


def small(name):
    """Sizes of a model that learns in a second."""
    wanted = {
        "filters": 8, "maps": (8, 8), "hidden": 16, "query_length": 6, "document_length": 12, "states": 8,
        "features": 500, "passage": 8,
    }  # fmt: skip
    if name == "match-pyramid":
        wanted["filters"] = (8, 8)
    known = {one.name for one in fields(settings_class(name))}
    return {key: value for key, value in wanted.items() if key in known}


def test_no_two_models_are_the_same():
    """What a fake gets wrong: one network under many names. Parameter counts and scores all differ."""
    made = {name: model_of(name) for name in MODELS}
    counts = {name: sum(one.numel() for one in model.parameters()) for name, model in made.items()}
    assert len(set(counts.values())) == len(MODELS) == 18
    found = [tuple(scores(model).round(5)) for model in made.values()]
    assert len(set(found)) == 18
    assert all(kind.name == name for name, kind in ((name, model_class(name)) for name in MODELS))


def test_tags_are_those_of_the_survey():
    """Three tags on each class."""
    tags = {name: model_class(name) for name in MODELS}
    symmetric = {"dssm", "cdssm", "arc-i", "arc-ii", "match-pyramid", "mv-lstm", "match-srnn"}
    assert {name for name, kind in tags.items() if kind.symmetric} == symmetric
    assert {name for name, kind in tags.items() if kind.focus == "hybrid"} == {"duet"}
    assert {"dssm", "cdssm", "arc-i"} <= {name for name, kind in tags.items() if kind.focus == "representation"}
    multiple = {name for name, kind in tags.items() if kind.granularity == "multiple"}
    assert {"conv-knrm", "pacrr", "deeprank", "hint"} <= multiple
    assert not multiple & {"dssm", "drmm", "match-pyramid", "anmm"}


def test_names_and_sizes_are_checked():
    """Bad input: an unknown model, an unknown size, sizes that do not fit lengths."""
    with pytest.raises(UnknownName, match="There are: dssm, cdssm"):
        model_class("bert")
    with pytest.raises(InputError, match="knrm has no setting called 'layers'"):
        model_of("knrm", layers=2)
    for name, wrong in (
        ("arc-i", {"query_length": 2}), ("arc-ii", {"window": 50}), ("arc-i", {"filters": 0}),
        ("arc-ii", {"maps": (0,)}),
        ("knrm", {"kernels": 1}), ("knrm", {"log": "ln"}), ("knrm", {"scale": 0.0}), ("conv-knrm", {"longest": 0}),
        ("drmm", {"bins": 1}), ("drmm", {"gate": "none"}), ("drmm-tks", {"k": 0}), ("drmm-tks", {"gate": "none"}),
        ("anmm", {"bins": 1}), ("anmm", {"dropout": 1.0}), ("match-pyramid", {"width": 2}),
        ("match-pyramid", {"match": "l2"}), ("mv-lstm", {"match": "l2"}), ("mv-lstm", {"k": 0}),
    ):  # fmt: skip
        with pytest.raises(InputError):
            model_of(name, **wrong)
