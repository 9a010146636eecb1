"""Paraformer, its sparse attention, and ranking sections by their sentences, on an encoder of hashed words."""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from honest import HashedWords, Lines, document
from hypothesis import given, settings
from hypothesis import strategies as st
from retrieval.shelf import hit, names

from foveal.errors import Cancelled, InputError, ModelUnavailable, UnknownName
from foveal.evaluation.legal import Article
from foveal.models.chat import Cancel
from foveal.ranking import article_models
from foveal.ranking.paraformer import PAPER, SCALE, Frozen, Paraformer, ParaformerSettings
from foveal.ranking.sections import (
    Explained,
    SectionRanker,
    SentenceWeight,
    by_document,
    hits_of,
    passage_of,
    places_of,
    sentences_of,
)
from foveal.ranking.sparsemax import ATTENTIONS, entmax15, sparsemax
from foveal.retrieval.pipeline import Pipeline
from foveal.types import Hit, Passage, Span

# -- sparse attention ------------------------------------------------------------------------------------------------


def nearest_by_bisection(z, power):
    """p_i = max(z_i - tau, 0)^power with tau such that they add up to 1, found by halving: slow and plain."""
    z = np.asarray(z, dtype=np.float64)
    low, high = z.max() - 1, z.max()
    for _ in range(60):
        tau = (low + high) / 2
        low, high = (tau, high) if (np.maximum(z - tau, 0) ** power).sum() > 1 else (low, tau)
    return np.maximum(z - high, 0) ** power


def test_sparsemax_is_the_nearest_point_of_the_simplex():
    """Sparse attention: 1,000 random vectors against the definition, error at most 1e-6; zeros are exact."""
    generator = np.random.default_rng(0)
    zeros = 0
    for _ in range(1000):
        z = generator.normal(size=generator.integers(1, 20)) * generator.choice([0.1, 1, 10, 1000]) + generator.normal()
        p = sparsemax(torch.tensor(z, dtype=torch.float32))
        expected = nearest_by_bisection(z.astype(np.float32), 1)
        assert np.abs(p.numpy() - expected).max() <= 1e-6
        assert float(p.sum()) == pytest.approx(1, abs=1e-6)
        assert (p.numpy()[expected == 0] == 0).all()
        assert not np.signbit(p.numpy()).any()
        zeros += int((p == 0).sum())
    assert zeros > 1000
    other = np.full(3, 1 / 3)  # no other point of the simplex is nearer
    z = torch.tensor([0.5, 0.2, -0.4])
    assert ((sparsemax(z) - z) ** 2).sum() < ((torch.tensor(other) - z) ** 2).sum()


def test_entmax_against_its_definition():
    """1.5-entmax: p_i = max(z_i / 2 - tau, 0)^2."""
    generator = np.random.default_rng(1)
    for _ in range(300):
        z = generator.normal(size=generator.integers(1, 20)) * generator.choice([0.1, 1, 10])
        expected = nearest_by_bisection(z / 2, 2)
        np.testing.assert_allclose(entmax15(torch.tensor(z)).numpy(), expected, atol=1e-7)


@pytest.mark.parametrize("weigh", [sparsemax, entmax15])
def test_gradients_of_sparse_attention(weigh):
    """The backward pass, against finite differences in float64, with padding and with an entry that is not attended."""
    z = torch.tensor([[0.3, -0.1, 0.25, -5.0], [1.0, 0.9, 0.2, 0.4]], dtype=torch.float64, requires_grad=True)
    real = torch.tensor([[True, True, True, True], [True, True, True, False]])
    assert torch.autograd.gradcheck(lambda one: weigh(one, real), z)


def test_jacobian_of_sparsemax():
    """diag(s) - s s^T / |S| on the support S."""
    z = torch.tensor([0.6, 0.4, -2.0, 0.3], dtype=torch.float64)
    jacobian = torch.autograd.functional.jacobian(sparsemax, z)
    s = (sparsemax(z) > 0).double()
    torch.testing.assert_close(jacobian, torch.diag(s) - torch.outer(s, s) / s.sum())
    assert s.tolist() == [1, 1, 0, 1]


@settings(max_examples=40)
@given(
    st.lists(st.floats(-50, 50, width=32), min_size=1, max_size=12),
    st.integers(1, 5),
    st.sampled_from(sorted(ATTENTIONS)),
    st.randoms(use_true_random=False),
)
def test_what_is_not_real_changes_nothing(scores, count, name, random):
    """Padding invariance: weights beside padding are those without; padding gets exactly 0."""
    weigh = ATTENTIONS[name]
    alone = weigh(torch.tensor([scores]))
    rows = [(score, True) for score in scores] + [(1e4, False)] * count
    random.shuffle(rows)
    z = torch.tensor([[score for score, _ in rows]])
    real = torch.tensor([[one for _, one in rows]])
    found = weigh(z, real)
    assert (found[~real] == 0).all()
    torch.testing.assert_close(found[real].sort().values, alone[0].sort().values, atol=1e-6, rtol=1e-5)
    assert float(found.sum()) == pytest.approx(1, abs=1e-5)


def test_ties_share_and_infinities_are_no_scores():
    assert sparsemax(torch.zeros(4)).tolist() == [0.25] * 4
    assert sparsemax(torch.tensor([2.0, float("-inf"), 2.0])).tolist() == [0.5, 0, 0.5]
    assert ATTENTIONS["mean"](torch.tensor([1.0, 5.0, 9.0]), torch.tensor([True, True, False])).tolist() == [
        0.5,
        0.5,
        0,
    ]
    for wrong in (torch.tensor([1.0, float("nan")]), torch.tensor([1.0, float("inf")]), torch.empty(0)):
        with pytest.raises(InputError, match="no real, finite entry"):
            sparsemax(wrong)
    with pytest.raises(ValueError, match="Row 1 of the scores"):
        sparsemax(torch.zeros(2, 3), torch.tensor([[True, False, False], [False, False, False]]))


# -- the model -------------------------------------------------------------------------------------------------------

ENCODER = HashedWords(dimension=24)
ARTICLES = [
    ["the pond is wet", "the frog jumps", "nobody skates"],
    ["ducks swim"],
    ["carp eat once a day", "the keeper feeds them", "pike do not", "ice melts", "the frog sleeps"],
]


def made(**settings):
    return Paraformer(Frozen(ENCODER), ParaformerSettings(**settings))


def by_definition(model, query, article):
    """The formulas of the paper for one pair, a sentence at a time; and those of the other head."""
    vectors = [torch.tensor(ENCODER.encode([text])[0], dtype=torch.float64) for text in (query, *article)]
    q, sentences = vectors[0], vectors[1:]
    weight = {name: one.detach().double() * model.settings.head_rate for name, one in model.named_parameters()}
    projected = weight["attention.w_in.weight"] @ q
    scores = [model.settings.sharpness * float(projected @ one) for one in sentences]
    weigh = {
        "sparsemax": lambda z: nearest_by_bisection(z, 1),
        "softmax": lambda z: np.exp(z) / np.exp(z).sum(),
        "mean": lambda z: np.full(len(z), 1 / len(z)),
    }[model.settings.attention]
    alpha = weigh(scores)
    mix = sum(a * one for a, one in zip(alpha, sentences, strict=True))
    if model.settings.head == "paper":
        o = torch.tanh(weight["w_out.weight"] @ torch.cat([mix, projected]))
        return (weight["classifier.weight"] @ o + weight["classifier.bias"]).tolist(), alpha
    a, b = weight["w_query.weight"] @ q, weight["w_article.weight"] @ mix
    return [0.0, SCALE * float(a @ b / (a.norm() * b.norm()))], alpha


@pytest.mark.parametrize("attention", ["sparsemax", "softmax", "mean"])
@pytest.mark.parametrize("head", ["paper", "cosine"])
def test_scores_and_weights_are_those_of_the_formulas(head, attention):
    """Paraformer: W_in, sparse attention, and the head, against the paper's formulas one pair at a time."""
    model = made(head=head, attention=attention, start="random", sharpness=30.0, head_rate=4.0, seed=3)
    found = model.weighed("the frog", model.encoded(ARTICLES))
    logits = model(["the frog"], [ARTICLES])
    assert logits.shape == (1, 3, 2)
    for place, article in enumerate(ARTICLES):
        expected, alpha = by_definition(model, "the frog", article)
        assert logits[0, place].tolist() == pytest.approx(expected, abs=1e-4)
        assert found[place].score == pytest.approx(expected[1], abs=1e-4)
        assert found[place].weights == pytest.approx(alpha, abs=1e-5)
    if attention == "sparsemax":
        assert 0 < (found[2].weights == 0).sum() < 5


def test_longer_neighbours_change_nothing():
    """Padding invariance: an article's score and weights alone and in a batch with longer ones."""
    model = made(start="random", seed=1)
    together = model.weighed("frog pond", model.encoded(ARTICLES))
    for article, one in zip(ARTICLES, together, strict=True):
        alone = model.weighed("frog pond", model.encoded([article]))[0]
        assert alone.score == pytest.approx(one.score, abs=1e-5)
        np.testing.assert_allclose(alone.weights, one.weights, atol=1e-6)
    pair = model(["frog pond", "ducks"], [ARTICLES[:2], ARTICLES[1:]])
    assert pair[0, :, 1].tolist() == pytest.approx([one.score for one in together[:2]], abs=1e-5)


def test_training_begins_at_the_encoders_cosines():
    """The default start: an article scores 20 times its cosine, a sharp one its best sentence's."""
    vectors = ENCODER.encode(["frog sleeps", *ARTICLES[2]])
    cosines = vectors[1:] @ vectors[0]
    sharp = made(sharpness=1e5)
    assert sharp.weighed("frog sleeps", sharp.encoded(ARTICLES[2:]))[0].score == pytest.approx(
        SCALE * cosines.max(), abs=1e-3
    )


def test_the_head_rate_changes_speed_not_function():
    """A step of Adam moves the head's weights `head_rate` times as far."""
    moved = {}
    for rate in (1.0, 50.0):
        model = made(head="paper", start="random", head_rate=rate, seed=2)
        before = model.w_out.rate * model.w_out.weight.detach().clone()
        optimiser = torch.optim.Adam(model.parameters(), lr=1e-3)
        model(["frog"], [ARTICLES])[..., 1].sum().backward()
        optimiser.step()
        moved[rate] = (before, model.w_out.rate * model.w_out.weight.detach() - before)
    torch.testing.assert_close(moved[1.0][0], moved[50.0][0])
    assert float(moved[50.0][1].abs().max() / moved[1.0][1].abs().max()) == pytest.approx(50, rel=0.05)


def test_settings_and_groups_are_checked():
    for wrong in ({"head": "hydra"}, {"attention": "hard"}, {"start": "late"}):
        with pytest.raises(InputError, match=f"A Paraformer got {next(iter(wrong))} = "):
            ParaformerSettings(**wrong)
    for wrong in ({"sharpness": 0}, {"head_rate": float("inf")}):
        with pytest.raises(InputError, match="it needs a number above 0"):
            ParaformerSettings(**wrong)
    model = made()
    with pytest.raises(InputError, match="Article 1 holds no sentence"):
        model(["frog"], [[["a"], []]])
    with pytest.raises(InputError, match="Article 0 holds no sentence"):
        model.encoded([[]])
    with pytest.raises(InputError, match=r"groups of \[1, 2\] articles"):
        model(["frog", "duck"], [[["a"]], [["b"], ["c"]]])
    assert model.weighed("frog", []) == []


# -- folders ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("settings", [PAPER, ParaformerSettings(head_rate=7.0, start="random")])
def test_a_saved_model_is_the_same(tmp_path, settings):
    """Save and load as a folder of safetensors and JSON."""
    model = Paraformer(Frozen(ENCODER), settings)
    folder = model.save(tmp_path / "model")
    assert sorted(path.name for path in folder.iterdir()) == ["article-model.json", "model.safetensors"]
    assert not list(tmp_path.glob(".*"))
    again = article_models.load_article_model(folder, encoder=ENCODER)
    assert again.settings == settings
    before, after = (one.weighed("frog", one.encoded(ARTICLES)) for one in (model, again))
    assert [one.score for one in after] == [one.score for one in before]
    with pytest.raises(InputError, match="is there already"):
        model.save(folder)


def test_another_encoder_is_refused(tmp_path):
    """The encoder's fingerprint is checked."""
    folder = made().save(tmp_path / "model")
    with pytest.raises(ModelUnavailable, match="trained with an encoder of fingerprint hashed-words"):
        Paraformer.load(folder, encoder=HashedWords(dimension=24, salt="other"))
    with pytest.raises(ModelUnavailable, match="model reads by the encoder hashed-words, which is not there"):
        Paraformer.load(folder)


def test_damaged_folders_are_refused(tmp_path):
    folder = made().save(tmp_path / "model")
    weights = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(weights[:-4] + b"\0\0\0\1")
    with pytest.raises(ModelUnavailable, match="is damaged"):
        Paraformer.load(folder, encoder=ENCODER)
    (folder / "model.safetensors").unlink()
    with pytest.raises(ModelUnavailable, match="is damaged"):
        Paraformer.load(folder, encoder=ENCODER)
    with pytest.raises(ModelUnavailable, match="holds no article model"):
        SectionRanker.load(tmp_path)
    about = json.loads((folder / "article-model.json").read_text())
    (folder / "article-model.json").write_text(json.dumps(about | {"kind": "oracle"}))
    with pytest.raises(ModelUnavailable, match="of kind 'oracle'; this Foveal has paraformer, attentive-cnn"):
        SectionRanker.load(folder)
    with pytest.raises(ModelUnavailable, match="'paraformer' is wanted"):
        Paraformer.load(folder)


# -- sections and sentences ------------------------------------------------------------------------------------------


def test_ways_of_cutting():
    """Articles as lists of sentences: lines, sentences, both; places cut exactly what is read."""
    text = "A pond is wet. It is\nround.\n\n  (a) frogs; and\n(b) ducks. Carp too.\n"
    cut = {way: [text[a:b] for a, b in places_of(text, way)] for way in ("lines", "sentences", "clauses")}
    assert cut == {
        "lines": ["A pond is wet. It is", "round.", "(a) frogs; and", "(b) ducks. Carp too."],
        "sentences": ["A pond is wet.", "It is\nround.", "(a) frogs; and", "(b) ducks.", "Carp too."],
        "clauses": ["A pond is wet.", "It is", "round.", "(a) frogs; and", "(b) ducks.", "Carp too."],
    }
    with pytest.raises(UnknownName, match="There are: lines, sentences, clauses"):
        places_of(text, "verses")


@given(st.text(alphabet="aB. \n\t(1)。", max_size=60), st.sampled_from(["lines", "sentences", "clauses"]))
def test_sentences_are_in_order_and_leave_out_only_blank_space(text, way):
    places = places_of(text, way)
    assert "".join("".join(text[a:b].split()) for a, b in places) == "".join(text.split())
    assert all(a < b and text[a:b].strip() == text[a:b] for a, b in places)
    assert all(end <= start for (_, end), (start, _) in pairwise(places))


def test_the_heading_is_read_with_the_first_sentence():
    passage = Passage(Span("d", 7, 24), "One thing.\nTwo.", "Part I > Ponds")
    assert sentences_of(passage, "lines")[1] == ["Part I > Ponds: One thing.", "Two."]
    assert sentences_of(passage, "lines", headings=False)[1] == ["One thing.", "Two."]
    assert sentences_of(passage, "lines")[0] == [(0, 10), (11, 15)]


TEXT = "Preamble.\nThe pond is wet. The frog jumps far. Nobody skates.\nDucks swim.\n"


def test_it_ranks_the_sections_of_a_document_and_says_by_which_sentence():
    """Any sectioned document; explanation by sentence attention as spans of the document."""
    pages = document("ponds", TEXT)
    ranker = SectionRanker(made(sharpness=1e3))
    hits = hits_of(Lines().segment(pages))
    said = ranker.explain("where the frog jumps", hits)
    assert said[0].hit.passage.text.startswith("The pond")
    best = said[0].best
    assert best.text == pages.quote(best.span) == "The frog jumps far."
    assert best.weight == pytest.approx(1.0)
    assert [one.weight for one in said[0].sentences] == [0.0, best.weight, 0.0]
    assert said[0].attended == [best]
    ranked = ranker.rank("where the frog jumps", hits)
    assert ranked == [one.hit for one in said]
    assert {one.source for one in ranked} == {"paraformer"}
    assert [one.score for one in ranked] == sorted((one.score for one in ranked), reverse=True)


def test_what_is_attended_comes_the_heaviest_first():
    weighed = [SentenceWeight(Span("d", at, at + 1), "x", weight) for at, weight in enumerate((0.2, 0.0, 0.7, 0.1))]
    said = Explained(hit("d"), tuple(weighed))
    assert [one.weight for one in said.attended] == [0.7, 0.2, 0.1]
    assert said.best == weighed[2]


def test_documents_are_ranked_by_their_best_section():
    """Hierarchical ranking: document, section, sentence."""
    documents = [document("ponds", TEXT), document("fish", "Carp eat.\nPike do not eat carp.\n")]
    hits = hits_of(passage for one in documents for passage in Lines().segment(one))
    found = by_document(SectionRanker(made()).rank("do pike eat carp", hits))
    assert [one.document_id for one in found] == [documents[1].id, documents[0].id]
    assert found[0].score == found[0].sections[0].score >= found[0].sections[1].score
    assert sum(len(one.sections) for one in found) == 5
    assert by_document([]) == []


def test_the_rest_follows_below_the_budget_and_it_is_a_stage():
    """`Ranker` protocol: a budget; a stage of a pipeline."""
    hits = [hit(f"d{i}", 9.0 - i, " ".join(article)) for i, article in enumerate(ARTICLES)]
    ranker = SectionRanker(made(), budget=2)
    ranked = ranker.rank("ducks swim", hits)
    assert names(ranked) == ["d1", "d0", "d2"]
    assert ranked[2].score < ranked[1].score
    assert names(hits) == ["d0", "d1", "d2"]

    class Given:
        def search(self, queries, k):
            return [hits[:k] for _ in queries]

    assert names(Pipeline([Given(), ranker], [3, 2]).search(["ducks swim"], 3)[0]) == ["d1", "d0", "d2"]
    assert ranker.rank("ducks", []) == []


def test_articles_are_encoded_once_and_few_are_remembered():
    class Counting:
        kind, asked = "counting", []

        def __init__(self):
            self.model = made()

        def knows(self, query):
            return "quark" not in query

        def encoded(self, articles):
            self.asked.append(len(articles))
            return self.model.encoded(articles)

        def weighed(self, query, encoded):
            return self.model.weighed(query, encoded)

    hits = [hit(f"d{i}", -i, f"sentence number {i}") for i in range(5)]
    ranker = SectionRanker(Counting(), batch=2, remembered=3)
    first = ranker.rank("number 3", hits)
    assert ranker.model.asked == [2, 2, 1]
    assert ranker.rank("number 3", hits) == first
    assert ranker.model.asked == [2, 2, 1, 2]
    cancel = Cancel()
    cancel.set()
    with pytest.raises(Cancelled):
        replace(ranker).rank("number 3", hits, cancel=cancel)


def test_a_query_that_the_model_cannot_read_leaves_the_order(caplog):
    """A query with no known token: the order as it was and a warning, never NaN."""

    class Deaf:
        kind = "deaf"

        def knows(self, query):  # noqa: ARG002
            return False

    hits = [hit("b", 2.0), hit("a", 1.0)]
    with caplog.at_level(logging.WARNING, "foveal.ranking"):
        said = SectionRanker(Deaf()).explain("quark", hits)
    assert [one.hit for one in said] == hits
    assert said[0].best is None
    assert "knows no word of 'quark'" in caplog.text


def test_wrong_queries_and_hits_are_refused():
    """Bad input: empty query, an article without a sentence, duplicates, a model gone wrong."""
    ranker = SectionRanker(made())
    with pytest.raises(InputError, match="empty query"):
        ranker.rank("  ", [hit("a")])
    with pytest.raises(InputError, match="of document 'b' holds no sentence"):
        ranker.rank("frog", [hit("a"), hit("b", text=" \n ")])
    with pytest.raises(InputError, match="the same passage"):
        ranker.rank("frog", [hit("a"), hit("a")])
    for wrong in ({"cut": "verses"}, {"budget": 0}, {"batch": 0}, {"remembered": 0}):
        with pytest.raises(InputError, match="A ranker of sections got"):
            SectionRanker(made(), **wrong)
    broken = made()
    with torch.no_grad():
        broken.w_query.weight.fill_(float("nan"))
    with pytest.raises(InputError, match="the score nan"):
        SectionRanker(broken).rank("frog", [hit("a")])
    article = Article("7", "One.\nTwo.", "Part I")
    assert passage_of(article) == Passage(Span("7", 0, 9), "One.\nTwo.", "Part I")


# -- a real encoder --------------------------------------------------------------------------------------------------


@pytest.mark.model
def test_on_minilm_the_sentence_that_answers_is_attended(tmp_path):
    """Paraformer on the real MiniLM, untrained: sections of a document, its folder, and what is attended."""
    lease = (
        "The tenant pays rent on the first day of each month. The deposit is returned within thirty days after the "
        "keys are handed back. Pets need the landlord's written consent."
    )
    work = "Wages are paid monthly. An employee may take twenty days of leave a year. Overtime is paid at double rate."
    hits = [
        Hit(Passage(Span(name, 0, len(text)), text), 0.0, "given") for name, text in (("work", work), ("lease", lease))
    ]
    folder = Paraformer.over("minilm", ParaformerSettings(sharpness=10.0)).save(tmp_path / "model")
    assert not (folder / "encoder").exists()
    said = SectionRanker.load(folder).explain("When do I get my deposit back?", hits)
    assert said[0].hit.passage.span.document_id == "lease"
    assert said[0].best.text.startswith("The deposit is returned")
    assert said[0].hit.score > said[1].hit.score + 1
    other = SectionRanker.load(folder).explain("May I keep a dog?", hits)[0]
    assert other.best.text.startswith("Pets need")
    assert np.isclose(sum(one.weight for one in other.sentences), 1)
