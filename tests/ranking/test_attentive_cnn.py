"""The Attentive CNN against the formulas, word by word; the words of several languages."""

from __future__ import annotations

import importlib.util
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from retrieval.shelf import hit, names

from foveal.errors import InputError, MissingExtra, ModelUnavailable, UnknownName
from foveal.ranking.article_models import load_article_model
from foveal.ranking.attentive_cnn import NUMBER, AttentiveCNN, AttentiveCNNSettings, Vocabulary
from foveal.ranking.sections import SectionRanker
from foveal.text.languages import word_cutter

SMALL = AttentiveCNNSettings(dimension=6, filters=5, attention_units=4, sentence_tokens=4, sentences=5, query_tokens=3)
ARTICLES = [
    ["the pond is wet", "frogs", "ducks swim far away over the pond"],
    ["ducks"],
    ["carp eat", "nobody skates on ice", "the keeper feeds ducks", "frogs sleep"],
]
WORDS = Vocabulary(tuple(sorted({word for article in ARTICLES for one in article for word in one.split()})))


def made(words=WORDS, **settings):
    return AttentiveCNN(words, replace(SMALL, **{"seed": 3, **settings})).eval()


# -- the formulas, in loops --------------------------------------------------------------------------------------------


def attended(attend, features):
    """u = v . tanh(W c + b) + b' for each feature vector."""
    w, b = attend.hidden.weight, attend.hidden.bias
    v, b2 = attend.score.weight[0], attend.score.bias[0]
    return [float(v @ torch.tanh(w @ c + b) + b2) for c in features]


def features_of(tower, vectors):
    """Convolution with 0 beyond both ends, ReLU, layer norm: one vector for each word."""
    weight, bias = tower.convolution.weight, tower.convolution.bias
    zero = torch.zeros(weight.shape[1])
    wide = [zero, *vectors, zero]
    made_of = []
    for place in range(len(vectors)):
        convolved = sum(weight[:, :, offset] @ wide[place + offset] for offset in range(3)) + bias
        kept = torch.relu(convolved)
        normed = (kept - kept.mean()) / torch.sqrt(kept.var(unbiased=False) + 1e-6)
        made_of.append(normed * tower.norm.weight + tower.norm.bias)
    return made_of


def softmax_of(scores):
    highest = max(scores)
    exponentials = [math.exp(score - highest) for score in scores]
    return [one / sum(exponentials) for one in exponentials]


def text_vector(model, tower, ids):
    features = features_of(tower, [model.embedding.weight[number] for number in ids])
    scores = attended(tower.attend, features)
    weights = softmax_of(scores)
    return sum(a * c for a, c in zip(weights, features, strict=True)), scores, weights


def sparsemax_of(z):
    """The simplex's nearest point by trying each number of entries that stay."""
    ordered = sorted(z, reverse=True)
    count = max(k for k in range(1, len(z) + 1) if 1 + k * ordered[k - 1] > sum(ordered[:k]))
    tau = (sum(ordered[:count]) - 1) / count
    return [max(one - tau, 0.0) for one in z]


@torch.no_grad()
def by_definition(model, query, article):
    """Score and sentence weights as the module's head says, in plain loops."""
    settings = model.settings
    q, _, _ = text_vector(model, model.query_tower, model.vocabulary.ids(query)[: settings.query_tokens])
    pieces = []
    for place, sentence in enumerate(article):
        ids = model.vocabulary.ids(sentence)
        pieces += [
            (ids[at : at + settings.sentence_tokens], place) for at in range(0, len(ids), settings.sentence_tokens)
        ]
    pieces = pieces[: settings.sentences]
    tower = model.sentence_tower
    weights = [0.0] * len(article)
    if settings.level == "flat":
        a, _, alpha = text_vector(model, tower, [word for ids, _ in pieces for word in ids])
        for place, share in zip([place for ids, place in pieces for _ in ids], alpha, strict=True):
            weights[place] += share
        return float(q @ a), weights
    read = [text_vector(model, tower, ids) for ids, _ in pieces]
    if settings.level == "learned":
        g = attended(model.attend, [r for r, _, _ in read])
    else:
        bias = torch.relu(tower.convolution.bias)
        nothing = (bias - bias.mean()) / torch.sqrt(bias.var(unbiased=False) + 1e-6)
        padding = attended(tower.attend, [nothing * tower.norm.weight + tower.norm.bias])[0]
        g = []
        for (ids, _), (_, scores, _) in zip(pieces, read, strict=True):
            real = sum(math.exp(u) for u in scores)
            g.append(real / (real + (settings.sentence_tokens - len(ids)) * math.exp(padding)) / len(ids))
    z = [float(model.log_sharpness.exp()) * one for one in g]
    beta = {"sparsemax": sparsemax_of, "softmax": softmax_of}[settings.attention](z)
    for (_, place), share in zip(pieces, beta, strict=True):
        weights[place] += share
    return float(q @ sum(share * r for share, (r, _, _) in zip(beta, read, strict=True))), weights


@pytest.mark.parametrize("level", ["share", "learned", "flat"])
@pytest.mark.parametrize("attention", ["sparsemax", "softmax"])
def test_scores_and_weights_are_those_of_the_formulas(level, attention):
    """Attentive CNN: convolution, word attention, article attention, dot product; HAN-sparsemax, HAN-softmax, flat."""
    model = made(level=level, attention=attention, sharpness=20.0)
    with torch.no_grad():
        for one in model.parameters():  # biases and norms that are not 0 and 1
            one.add_(0.3 * torch.randn(one.shape, generator=torch.Generator().manual_seed(one.numel())))
        model.embedding.weight[0] = 0
    query = "ducks swim far away"
    found = model.weighed(query, model.encoded(ARTICLES))
    logits = model([query], [ARTICLES])[0]
    assert (logits[:, 0] == 0).all()
    for place, article in enumerate(ARTICLES):
        score, weights = by_definition(model, query, article)
        assert logits[place, 1].item() == pytest.approx(score, abs=1e-4)
        assert found[place].score == pytest.approx(score, abs=1e-4)
        assert found[place].weights == pytest.approx(weights, abs=1e-5)
        assert float(found[place].weights.sum()) == pytest.approx(1, abs=1e-5)
    if (level, attention) == ("share", "sparsemax"):
        assert any((one.weights == 0).any() for one in found)


def test_longer_neighbours_change_nothing():
    """Padding invariance: of words in a sentence, of sentences in an article."""
    model = made()
    together = model.encoded([*ARTICLES, ["pond " * 30] * 9])
    for article, (vector, weights) in zip(ARTICLES, together, strict=False):
        alone, own = model.encoded([article])[0]
        np.testing.assert_allclose(alone, vector, atol=1e-5)
        np.testing.assert_allclose(own, weights, atol=1e-5)


def test_the_published_sharpness_keeps_every_sentence_and_ours_need_not():
    """g differs by hundredths: at sharpness 1 sparsemax drops nothing, which is what the learnt factor is for."""
    article = [["pond"], ["the pond is wet"], ["carp eat ducks"], ["frogs"]]
    flat = [one[0] for one in article]
    published, sharp = made(sharpness=1.0), made(sharpness=400.0)
    assert (published.encoded([flat])[0][1] > 0).all()
    assert (sharp.encoded([flat])[0][1] == 0).any()
    assert made().log_sharpness.exp().item() == pytest.approx(SMALL.sentence_tokens)
    assert made(level="learned").log_sharpness.item() == 0


def test_of_a_long_article_the_first_pieces_are_read():
    model = made()
    article = ["one " * 3, "ducks swim " * 5, "frogs"]
    vector, weights = model.encoded([article])[0]
    longer = [*article, "carp eat", "the pond"]
    assert len(weights) == 3
    assert weights[1] > 0
    short = made(sentences=3)
    assert short.encoded([article])[0][1][2] == 0
    np.testing.assert_allclose(model.encoded([longer])[0][0], vector, atol=1e-6)
    assert not np.allclose(made(sentences=7).encoded([longer])[0][0], vector)


def test_dropout_is_off_when_it_judges_and_on_when_it_learns():
    model = made(dropout=0.5).train()
    torch.manual_seed(0)
    drawn = torch.stack([model(["ducks"], [ARTICLES])[..., 1] for _ in range(20)])
    assert drawn.std(0).max() > 0.01  # so small a model is often dropped whole: two draws may be alike
    one, two = (model.encoded(ARTICLES)[0][0] for _ in range(2))
    np.testing.assert_array_equal(one, two)
    assert model.training


def test_words_that_are_not_known():
    """A query with no known token is told apart; a sentence without words is one unknown word."""
    model = made()
    assert not model.knows("quark gluon")
    assert not model.knows("?!")
    assert model.knows("quark ducks")
    vector, weights = model.encoded([["***", "ducks"]])[0]
    assert np.isfinite(vector).all()
    assert len(weights) == 2
    hits = [hit("a", 2.0, "frogs"), hit("b", 1.0, "ducks")]
    assert names(SectionRanker(model).rank("quark gluon", hits)) == ["a", "b"]


def test_it_is_saved_and_loaded(tmp_path):
    """Save and load as a folder of safetensors and JSON; `Ranker` protocol."""
    model = made(level="learned")
    folder = model.save(tmp_path / "cnn")
    again = load_article_model(folder)
    assert (again.settings, again.vocabulary) == (model.settings, model.vocabulary)
    assert (
        again.weighed("ducks", again.encoded(ARTICLES))[2].score
        == model.weighed("ducks", model.encoded(ARTICLES))[2].score
    )
    hits = [hit(f"d{n}", 0.0, "\n".join(article)) for n, article in enumerate(ARTICLES)]
    ranked = SectionRanker.load(folder, cut="lines").rank("ducks swim", hits)
    assert {one.source for one in ranked} == {"attentive-cnn"}
    assert ranked == SectionRanker(model, cut="lines").rank("ducks swim", hits)
    (folder / "model.safetensors").write_bytes(b"")
    with pytest.raises(ModelUnavailable, match="is damaged"):
        load_article_model(folder)


def test_settings_and_vocabularies_are_checked():
    for wrong in (
        {"width": 4},
        {"filters": 0},
        {"dropout": 1.0},
        {"level": "high"},
        {"attention": "x"},
        {"sharpness": -1},
    ):
        with pytest.raises(InputError, match="An Attentive CNN got"):
            replace(SMALL, **wrong)
    for words, language in (((), "plain"), (("a", "a"), "plain"), (("a",), "klingon")):
        with pytest.raises(InputError, match="A vocabulary got"):
            Vocabulary(words, language)
    with pytest.raises(InputError, match="A vocabulary got 0 words"):
        Vocabulary.of(["each word once"])
    with pytest.raises(InputError, match="Article 0 holds no sentence"):
        made().encoded([[]])


# -- words -----------------------------------------------------------------------------------------------------------


def test_a_vocabulary_leaves_out_numbering_and_makes_numbers_one_word():
    """Text preparation: `(1)` and `(iv)` in front are left out, numbers are one word, rare words are unknown."""
    words = Vocabulary.of(["(1) Rent of 300 is due", "(iv) rent of 500 was paid", "a) Rent, again: 7"])
    assert words.words == (NUMBER, "rent", "of")
    assert words.ids("(12) Of rent 99, quarks") == [4, 3, 2, 1]
    assert words.ids("i.e. rent") == [1, 1, 3]
    assert len(words) == 5


def test_words_of_languages():
    """Languages: one form for Vietnamese letters, pairs of signs for Japanese, nothing to install."""
    cut = word_cutter("plain")
    composed = "Điều 5. Quyền sở hữu"
    apart = "Điều 5. Quyền sở hữu"
    assert cut(composed) == cut(apart) == ["điều", "5", "quyền", "sở", "hữu"]
    assert cut("第１条　池は清潔に保つ。") == ["第", "1", "条", "池は", "は清", "清潔", "潔に", "に保", "保つ"]
    assert cut("人々のABC池") == ["人々", "々の", "abc", "池"]
    with pytest.raises(UnknownName, match="There are: plain, ja, vi"):
        word_cutter("klingon")


@pytest.mark.parametrize(
    ("language", "package", "text", "word"),
    [("ja", "fugashi", "池を清潔に保った。", "保つ"), ("vi", "pyvi", "Người lao động có quyền nghỉ phép.", "lao_động")],
)
def test_optional_cutters(language, package, text, word):
    """Languages: dictionary words where the package is installed, and what to install where it is not."""
    if importlib.util.find_spec(package):
        assert word in word_cutter(language)(text)
    else:
        with pytest.raises(MissingExtra, match=r"foveal\[languages\]"):
            word_cutter(language)
