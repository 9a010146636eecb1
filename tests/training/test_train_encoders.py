"""Encoders trained end to end: on a collection that a tiny BERT can learn, and on the real MiniLM."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch

from foveal.errors import InputError, UnknownName
from foveal.models import load_encoder
from foveal.models.bert import BertEncoder
from foveal.training import encoders, model_folders
from foveal.training.encoders import ARMS, OBJECTIVES, EncoderSettings, train_encoder
from foveal.training.examples import Examples
from foveal.training.loop import LoopSettings
from foveal.training.losses import LossSettings, make_loss
from foveal.training.negatives import spread
from foveal.training.report import read_report
from foveal.training.runs import RunSettings
from foveal.training.searches import WordSearch

pytestmark = pytest.mark.usefixtures("undrawn")

LOOP = LoopSettings(epochs=3, batch=8, learning_rate=0.015, evaluate_every=15, checkpoint_every=100)
FAST = EncoderSettings(arm="in-batch", loop=LOOP, depth=8, dev_share=0.3)


def trained(topics, base, home, settings=FAST, *, teacher=None, teacher_name=None, **run):
    given = {} if teacher_name is None else {"teacher_name": teacher_name}
    return train_encoder(topics, str(base), settings, run=RunSettings(home=home, **run), teacher=teacher, **given)


def test_an_encoder_learns_and_is_loaded_by_its_folder(topics, tiny_encoder, tmp_path):
    """T1 and A1 end to end: dev nDCG@10 rises, and the library's encoder computes what was trained."""
    learnt, test = topics.split(dev=0.2, seed=9)
    folder, report = trained(learnt, tiny_encoder, tmp_path, test=test)
    assert folder == tmp_path / "models" / report.name
    before, after = report.measured["dev"]
    assert report.kept
    assert after["ndcg@10"] > before["ndcg@10"] + 0.2
    assert report.measured["test"][1]["ndcg@10"] > report.measured["test"][0]["ndcg@10"]
    encoder = load_encoder(str(folder), dtype="float32")
    assert isinstance(encoder, BertEncoder)
    assert encoder.max_tokens == 24  # as its base: it is in the file that models.bert reads
    theirs = model_folders.sentence_transformer(folder)
    texts = ["a1 f2", "b3 " + "f1 " * 60]
    np.testing.assert_allclose(encoder.encode(texts), model_folders.encoding(theirs)(texts), atol=1e-5)
    assert not list(folder.rglob("*.bin")) + list(folder.rglob("*.pt"))
    run = tmp_path / "runs" / "train" / report.name
    assert read_report(run) == report
    shown = {(row.system, row.metric): row.value for row in report.rows()}
    assert shown["dev: after", "ndcg@10"] == after["ndcg@10"]


@pytest.mark.slow
def test_what_is_done_is_not_done_again_and_a_name_is_never_reused(topics, tiny_encoder, tmp_path):
    first = trained(topics, tiny_encoder, tmp_path, name="mine")
    again = trained(topics, tiny_encoder, tmp_path, name="mine", on_progress=lambda _: pytest.fail("it trained"))
    assert again == first
    other = replace(FAST, loop=replace(LOOP, seed=1))
    with pytest.raises(InputError, match="a library may use it"):
        trained(topics, tiny_encoder, tmp_path, other, name="mine")
    _, report = trained(topics, tiny_encoder, tmp_path, other, name="mine", anew=True)
    assert report.settings["loop"]["seed"] == 1
    assert report.measured["dev"][1] != first[1].measured["dev"][1]  # of the new model, not of one loaded before
    assert not list((tmp_path / "runs").rglob("*.safetensors"))
    with pytest.raises(InputError, match="plain name"):
        trained(topics, tiny_encoder, tmp_path, name="../elsewhere")


def test_a_worse_model_is_not_kept(topics, tiny_encoder, tmp_path):
    """The held-out guard: the base stays, and the report says so."""
    texts = list(topics.corpus)
    other = {q: {texts[-1 - n % len(texts)]: 1} for n, q in enumerate(topics.queries)}
    wrong = Examples(topics.queries, topics.corpus, other)
    good, _ = trained(topics, tiny_encoder, tmp_path, name="good")
    folder, report = trained(wrong, good, tmp_path, name="worse", dev=topics.only(list(topics.queries)[:12]))
    assert not report.kept
    assert folder == good
    assert "not kept" in report.notes[-1]
    assert not (tmp_path / "models" / "worse").exists()


def oracle(topics):
    """A teacher that knows the answers; its scores are log-odds."""
    right = {(topics.queries[q], topics.corpus[d]) for q, found in topics.positives.items() for d in found}
    return lambda pairs: [9.0 if pair in right else -9.0 for pair in pairs]


QUICK = ("ance", "kl")
"""Arms that go another way than the rest; these are tried at each run, all of them by the slow tests."""


@pytest.mark.parametrize(
    "arm", [pytest.param(arm, marks=() if arm in QUICK else pytest.mark.slow) for arm in ARMS if arm != "in-batch"]
)
def test_every_arm_trains(topics, tiny_encoder, tmp_path, arm):
    """T4 (bm25, mined), T5 (ance), T6 (filtered, denoised, simans), T8 (margin-mse, kl, adversarial) end to end,
    negatives that answer nothing.
    """
    settings = replace(FAST, arm=arm, negatives=2, loop=replace(LOOP, steps=32))
    told = {"teacher": oracle(topics), "teacher_name": "oracle"} if ARMS[arm].teacher != "none" else {}
    folder, report = trained(topics, tiny_encoder, tmp_path, settings, **told)
    assert report.what.startswith(f"encoder, {arm}:")
    run = tmp_path / "runs" / "train" / report.name
    kept = json.loads((run / "negatives.json").read_text())
    assert all(topics.wrong(query, d) for query, pool in kept["negatives"].items() for d in pool)
    assert (kept["scores"] is not None) == (arm in ("margin-mse", "kl", "adversarial"))
    before, after = report.measured["dev"]
    assert after["ndcg@10"] > before["ndcg@10"] + 0.1
    assert load_encoder(str(folder)).dimension == 16


@pytest.mark.parametrize(
    "objective",
    [pytest.param(one, marks=() if one == "cached" else pytest.mark.slow) for one in OBJECTIVES if one != "in-batch"],
)
def test_every_objective_trains(topics, tiny_encoder, tmp_path, monkeypatch, objective):
    """T2 (cached), T3 (memory bank), T9 (passage-centric), T10 (symmetric), T11 (Matryoshka) end to end."""
    made = []
    monkeypatch.setattr(encoders, "make_loss", lambda name, *given: (made.append(name), make_loss(name, *given))[1])
    chosen = LossSettings(mini_batch=3, bank=32, momentum=0.9, dimensions=(16, 8))
    settings = replace(FAST, objective=objective, loss=chosen, loop=replace(LOOP, steps=32))
    _, report = trained(topics, tiny_encoder, tmp_path, settings)
    assert made == [objective]
    assert report.settings["objective"] == objective
    before, after = report.measured["dev"]
    assert after["ndcg@10"] > before["ndcg@10"] + 0.1


def test_without_a_teacher_words_and_base_together_teach(topics, tiny_encoder, tmp_path):
    """T8: the blend's scores, spread as the settings ask; a weak teacher may teach wrongly, which the guard sees."""
    settings = replace(FAST, arm="kl", negatives=2, teacher_spread=3.0, loop=replace(LOOP, steps=1))
    _, report = trained(topics, tiny_encoder, tmp_path, settings)
    kept = json.loads((tmp_path / "runs" / "train" / report.name / "negatives.json").read_text())
    variances = [np.var(list(said.values())) for said in kept["scores"].values()]
    assert np.sqrt(np.mean(variances)) == pytest.approx(3.0)


def test_the_blend_is_the_sum_of_what_words_and_the_base_say_of_the_candidates(
    topics, tiny_encoder, tmp_path, monkeypatch
):
    """T8, by definition; words are asked for the candidates' scores alone, and never to order the whole corpus."""
    asked = []

    class Counted(WordSearch):
        def __call__(self, queries, k):
            asked.append(len(queries))
            return super().__call__(queries, k)

    exact = partial(load_encoder, dtype="float32")  # else many texts may be encoded in int8, one alone is not
    monkeypatch.setattr(encoders, "load_encoder", exact)
    monkeypatch.setattr(encoders, "WordSearch", Counted)
    kept, report = mined(topics, tiny_encoder, tmp_path, "kl")
    assert report.what.startswith("encoder, kl")
    assert len(asked) == 1  # the first search, of all queries together
    words, encoder = WordSearch(topics.corpus), exact(str(tiny_encoder))
    summed = {}
    for query, said in kept["scores"].items():
        found = words([topics.queries[query]], len(topics.corpus))[0]
        parts = (
            [found.get(name, 0.0) for name in said],
            encoder.encode([topics.corpus[name] for name in said]) @ encoder.encode([topics.queries[query]])[0],
        )
        units = [(np.array(part) - min(part)) / (max(part) - min(part)) if np.ptp(part) else 0.5 for part in parts]
        summed[query] = dict(zip(said, (sum(units) * np.ones(len(said))).tolist(), strict=True))
    told = spread(summed, FAST.teacher_spread)
    assert all(kept["scores"][query] == pytest.approx(told[query], abs=1e-3) for query in told)


def mined(topics, base, home, arm, **options):
    """What a run of one step told its queries apart from."""
    settings = replace(FAST, arm=arm, negatives=2, dev_documents=10, loop=replace(LOOP, steps=1))
    _, report = trained(topics, base, home, settings, name=f"{arm}-mined", **options)
    return json.loads((home / "runs" / "train" / report.name / "negatives.json").read_text()), report


ASKED = [arm for arm in ARMS if ARMS[arm].found_by]


@pytest.mark.parametrize("arm", ASKED)
def test_what_was_judged_wrong_is_first_and_what_counts_neither_way_is_nowhere(topics, tiny_encoder, tmp_path, arm):
    """In every arm that mines: whatever its search finds, and whatever its filter leaves out."""
    asked = list(topics.queries)
    far = {query: f"d{(int(query[1]) + 4) % 8}-0" for query in asked}
    judged = {query: {**topics.judged[query], far[query]: 0} for query in asked}
    aside = {query: {d for d in topics.corpus if d[1] == str((int(query[1]) + 1) % 8)} for query in asked}
    given = replace(topics, judged=judged, aside=aside)
    told = {"teacher": oracle(given), "teacher_name": "oracle"} if ARMS[arm].teacher != "none" else {}
    kept, _ = mined(given, tiny_encoder, tmp_path, arm, **told)
    assert kept["negatives"]
    for query, pool in kept["negatives"].items():
        assert pool[0] == far[query]
        assert not set(pool) & aside[query]
        assert kept["scores"] is None or far[query] in kept["scores"][query]


def test_what_a_teacher_is_sure_of(topics, tiny_encoder, tmp_path):
    """T6: RocketQA's bounds on probabilities: negatives, answers that nobody named, and what is left out between."""
    known = {query: {f"d{query[1]}-0": 1} for query in topics.queries}  # of three answers one was named
    sure = oracle(topics)

    def teacher(pairs):
        return [0.0 if text.startswith("b0 ") and "a0 " not in query else score
                for (query, text), score in zip(pairs, sure(pairs), strict=True)]  # fmt: skip

    given = replace(topics, judged=known)
    kept, report = mined(given, tiny_encoder, tmp_path, "denoised", teacher=teacher, teacher_name="oracle")
    assert report.what.startswith("encoder, denoised: what the base finds and a teacher is sure")
    found = kept["pseudo-positives"]
    assert {f"d{query[1]}-0" for query in found} <= {d for d in topics.corpus if d.endswith("-0")}
    assert all(set(pool) <= {f"d{query[1]}-1", f"d{query[1]}-2"} for query, pool in found.items())
    assert sum(map(len, found.values())) > len(found) / 2  # the base finds some of them
    for query, pool in kept["negatives"].items():
        assert all(topics.wrong(query, d) for d in pool if d not in found.get(query, ()))


@pytest.mark.slow
def test_simans_draws_near_the_answers_score(topics, tiny_encoder, tmp_path):
    """T6: of all that the base finds, not of its best; the draw is the seed's."""
    (near, _), (best, _) = (mined(topics, tiny_encoder, tmp_path, arm) for arm in ("simans", "mined"))
    pools = near["negatives"]
    assert all(len(set(pool)) == FAST.depth for pool in pools.values())
    assert all(topics.wrong(query, d) for query, pool in pools.items() for d in pool)
    assert any(set(pool) - set(best["negatives"][query]) for query, pool in pools.items())


def test_a_teacher_that_nobody_asks_is_refused(topics, tiny_encoder, tmp_path):
    for arm in ("in-batch", "mined", "simans"):
        settings = replace(FAST, arm=arm)
        with pytest.raises(InputError, match=f"the arm '{arm}' asks none.*margin-mse, kl, denoised, adversarial"):
            trained(topics, tiny_encoder, tmp_path, settings, teacher=oracle(topics))
    with pytest.raises(InputError, match="'denoised' needs a teacher"):
        trained(topics, tiny_encoder, tmp_path, replace(FAST, arm="denoised"))
    assert not (tmp_path / "runs").exists()


def test_a_game_is_played_with_the_arms_negatives(topics, tiny_encoder, tmp_path):
    """T8, AR2: with one there is none; a number that was left out is the arm's, and the run is the same."""
    settings = replace(FAST, arm="adversarial", dev_documents=10, loop=replace(LOOP, steps=1))
    told = {"teacher": oracle(topics), "teacher_name": "oracle"}
    first = trained(topics, tiny_encoder, tmp_path, settings, **told)
    assert first[1].settings["negatives"] == settings.per_row == 7
    assert trained(topics, tiny_encoder, tmp_path, replace(settings, negatives=7), **told) == first
    assert replace(settings, arm="mined").per_row == 1
    with pytest.raises(InputError, match=r"got 1 negative a row.*no game"):
        replace(settings, negatives=1)


@pytest.mark.slow
def test_a_stopped_training_of_an_encoder_goes_on_exactly(topics, tiny_encoder, tmp_path):
    """Resume, through sentence-transformers' trainer, in the midst of an epoch and with ANCE's negatives."""
    settings = replace(FAST, arm="ance", loop=replace(LOOP, epochs=3, evaluate_every=4, checkpoint_every=2))
    whole, _ = trained(topics, tiny_encoder, tmp_path / "whole", settings)

    def stop(progress):
        if progress.step == 7:
            raise RuntimeError("the plug was pulled")

    with pytest.raises(RuntimeError):
        trained(topics, tiny_encoder, tmp_path / "cut", settings, on_progress=stop)
    folder, report = trained(topics, tiny_encoder, tmp_path / "cut", settings)
    assert report.curves.resumed_at == 6
    texts = list(topics.queries.values())
    vectors = [load_encoder(str(one), dtype="float32").encode(texts) for one in (whole, folder)]
    np.testing.assert_array_equal(*vectors)


def test_texts_longer_than_the_window_are_told(tiny_encoder, tmp_path):
    """Bad input: queries longer than the window are cut, and the report says how many."""
    queries = {f"q{n}": "a1 " * (40 if n == 1 else 1) + f"f{n}" for n in range(4)}
    examples = Examples(queries, {f"d{n}": f"b1 f{n}" for n in range(4)}, {f"q{n}": {f"d{n}": 1} for n in range(4)})
    settings = replace(FAST, loop=replace(LOOP, steps=1))
    _, report = trained(examples, tiny_encoder, tmp_path, settings)
    assert "1 of 4 queries are longer than the 22 tokens" in report.notes[0]


def test_a_smaller_window_holds_while_training_only(topics, tiny_encoder, tmp_path):
    """Only the first three tokens are trained on; what is saved reads as many as its base."""
    settings = replace(FAST, window=4, loop=replace(LOOP, steps=2, evaluate_every=1))
    _, report = trained(topics, tiny_encoder, tmp_path, settings)
    saved = [tmp_path / "models" / report.name, tmp_path / "runs" / "train" / report.name / "rejected"]
    encoder = load_encoder(str(next(one for one in saved if one.is_dir())), dtype="float32")
    assert encoder.max_tokens == 24
    apart = encoder.encode(["a1 f1 f2 f3", "a1 f1 f2 f4"])
    assert not np.allclose(*apart)


def test_a_window_beyond_the_positions_is_refused_before_a_run_begins(topics, tiny_encoder, tmp_path):
    with pytest.raises(InputError, match=r"window of 1,000 tokens .* positions for"):
        trained(topics, tiny_encoder, tmp_path, replace(FAST, window=1000))
    assert not (tmp_path / "runs").exists()


def test_vectors_too_short_to_be_cut_are_refused_before_a_run_begins(topics, tiny_encoder, tmp_path):
    with pytest.raises(InputError, match="have 16: there is nothing to cut"):
        trained(topics, tiny_encoder, tmp_path, replace(FAST, objective="matryoshka"))
    assert not (tmp_path / "runs").exists()


def test_settings_and_sets_are_checked(topics, tiny_encoder, tmp_path):
    with pytest.raises(UnknownName, match="in-batch, bm25, mined, filtered, ance"):
        EncoderSettings(arm="luck")
    for name in ("luck", "kl"):  # kl wants a teacher's scores, which are no matter of the objective
        with pytest.raises(
            UnknownName, match=r"in-batch, symmetric, cached, passage-centric, memory-bank, matryoshka\.$"
        ):
            EncoderSettings(objective=name)
    with pytest.raises(InputError, match="'cached' would count for nothing"):
        EncoderSettings(arm="kl", objective="cached")
    for wrong in ({"negatives": 0}, {"skip": 40}, {"margin": 1.0}, {"window": 2}):
        with pytest.raises(InputError):
            EncoderSettings(**wrong)
    other = Examples({"q": "x"}, {"d": "y"}, {"q": {"d": 1}})
    with pytest.raises(InputError, match="corpus of the examples"):
        trained(topics, tiny_encoder, tmp_path, test=other)


@pytest.mark.model
@pytest.mark.slow
def test_the_real_minilm_is_trained_and_loaded_as_it_was_trained(tmp_path):
    """On MiniLM: a step changes its vectors, and what is loaded by name reads 256 tokens as its base does."""
    corpus = {"e": "The fovea is the part of the retina that sees sharply.", "n": "The nose smells smoke.",
              "s": "The cochlea turns sound into signals.", "t": "The tongue tells sweet from bitter."}  # fmt: skip
    queries = {
        "q1": "where is sight sharpest?",
        "q2": "what smells?",
        "q3": "what hears?",
        "q4": "what tastes?",
    }
    examples = Examples(queries, corpus, {q: {d: 1} for q, d in zip(queries, corpus, strict=True)})
    settings = EncoderSettings(arm="in-batch", loop=LoopSettings(steps=1, batch=4, learning_rate=2e-5, warm_up=0.0))
    _, report = train_encoder(examples, "minilm", settings, run=RunSettings(home=tmp_path, dev=examples))
    made = tmp_path / "runs" / "train" / report.name / "rejected"
    made = made if made.is_dir() else tmp_path / "models" / report.name
    encoder, base = load_encoder(str(made), dtype="float32"), load_encoder("minilm", dtype="float32")
    long = ["word " * 400, *queries.values()]
    theirs = model_folders.encoding(model_folders.sentence_transformer(made))(long)
    np.testing.assert_allclose(encoder.encode(long), theirs, atol=1e-5)
    assert encoder.max_tokens == base.max_tokens == 256
    assert encoder.fingerprint != base.fingerprint
    assert 0.9 < float((encoder.encode(long) * base.encode(long)).sum(1).min()) <= 1.0
    assert torch.get_default_dtype() == torch.float32
