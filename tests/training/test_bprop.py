"""B-PROP on texts of some words: pairs as input, both losses, training that resumes, and what the model is good for."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
import typer
from transformers import AutoTokenizer, BertForMaskedLM, DistilBertConfig, DistilBertModel

from foveal.cli.train_bprop import bprop as command
from foveal.errors import InputError, UnknownName
from foveal.library import Library
from foveal.models.encoders import load_encoder
from foveal.ranking.by_name import load_ranker
from foveal.training import bprop, checkpoints, model_folders
from foveal.training.bprop import BPropSettings, pretrain_bprop
from foveal.training.bprop_attention import AttentionReader
from foveal.training.bprop_model import Representative, masked_head, measured, rop_loss
from foveal.training.bprop_pairs import PairFeatures, PairRows
from foveal.training.bprop_sampling import Contrast, Pair, RandomTerms, Sets
from foveal.training.loop import LoopSettings
from foveal.training.pretraining import collate
from foveal.training.pretraining_masks import IGNORED
from foveal.training.rerankers import RerankerSettings, Scorer, train_reranker
from foveal.training.runs import RunSettings
from foveal.types import Hit, Passage, Span

TEXTS = {f"d{n}": " ".join(f"f{(n * 5 + k * k) % 12}" for k in range(9)) + f" a{n % 8} b{n % 8} b{n % 8} f{n // 24}"
         for n in range(40)}  # fmt: skip
MANY = " ".join(f"f{k} a{k % 8}" for k in range(9))
LOOP = LoopSettings(steps=60, batch=8, learning_rate=0.01, evaluate_every=30, checkpoint_every=30)
SETTINGS = BPropSettings(
    max_tokens=24, held_out=0.2, sets=Sets(pairs=6, length=2, least=3, left_out=()), loop=LOOP, mlm_weight=0.2
)


@pytest.fixture(scope="module", autouse=True)
def _any_word():
    """The tiny encoder's words hold digits: here they count as words. Curves are not drawn."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("foveal.training.bprop_attention.is_word", str.isalnum)
        patch.setattr("foveal.training.report.picture", lambda _, path, **__: path)
        yield


@pytest.fixture(scope="module")
def home(tiny_encoder, tmp_path_factory):
    """Where the run "mine" of B-PROP is done."""
    place = tmp_path_factory.mktemp("home")
    pretrain_bprop(TEXTS, str(tiny_encoder), SETTINGS, run=RunSettings(home=place, name="mine"))
    return place


@pytest.fixture
def tokenizer(tiny_encoder):
    return AutoTokenizer.from_pretrained(tiny_encoder)


def representative(folder, weights=(1.0, 1.0)):
    made = model_folders.cross_encoder(folder, seed=0, window=24)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Representative(made.model, separator=made.tokenizer.sep_token_id, weights=weights), made


# -- pairs as input --------------------------------------------------------------------------------------------------


def test_a_set_and_its_text_are_one_input_masked_in_the_text_only(tokenizer):
    """[CLS] S [SEP] D [SEP], cut on the side of the text; 15 % of its tokens asked, at most so many."""
    features = PairFeatures.of(tokenizer, 24, rate=0.5, most_masked=4)
    text = features.ids(" ".join(["a1"] * 60))
    assert len(text) == 21
    made = features.of_set(("b1", "b2"), text, np.random.default_rng(0))
    a1, b1, b2 = (tokenizer.convert_tokens_to_ids(word) for word in ("a1", "b1", "b2"))
    assert made["ids"][:4] == [tokenizer.cls_token_id, b1, b2, tokenizer.sep_token_id]
    assert (len(made["ids"]), made["ids"][-1]) == (24, tokenizer.sep_token_id)
    asked = [place for place, label in enumerate(made["labels"]) if label != IGNORED]
    assert len(asked) == 4
    assert min(asked) >= 4
    assert {made["labels"][place] for place in asked} == {a1}
    assert all(made["ids"][place] == a1 for place in range(4, 23) if place not in asked)
    twos = replace(features, masking=replace(features.masking, continues=frozenset({b1})), most_masked=5)
    for seed in range(9):  # words of two tokens: a third one would make six
        labels = twos.of_set(("b2",), [a1, b1] * 10, np.random.default_rng(seed))["labels"]
        assert sum(label != IGNORED for label in labels) == 4
    plain = replace(features, masking=None).of_set(("b1",), text, np.random.default_rng(0))
    assert set(plain["labels"]) == {IGNORED}
    long = features.of_set(("b1",) * 90, text, np.random.default_rng(0))
    assert (len(long["ids"]), long["ids"].index(tokenizer.sep_token_id)) == (24, 11)


def test_each_epoch_takes_as_many_pairs_of_a_text_as_are_used(tokenizer):
    pairs = [Pair((f"b{n}",), ("f1",), 2.0, 1.0) for n in range(4)]
    rows = PairRows({"x": "a1 a2", "y": "a3"}, {"x": pairs, "y": pairs[:1]}, PairFeatures.of(tokenizer, 24), used=2)
    assert len(rows) == 3
    seen = [rows.pair(place) for epoch in (0, 1) for place in range(3 * epoch, 3 * epoch + 3)]
    assert [pair.better[0] for name, pair in seen if name == "x"] == ["b0", "b1", "b2", "b3"]
    assert [pair.better[0] for name, pair in seen if name == "y"] == ["b0", "b0"]
    better, worse = rows[4]
    assert better["ids"][1] == tokenizer.convert_tokens_to_ids("b3")
    assert worse["ids"][1] == tokenizer.convert_tokens_to_ids("f1")
    assert rows[4] == (better, worse)
    planned = [sorted(place for batch in rows.plan(2)(epoch) for place in batch) for epoch in (0, 2)]
    assert planned == [[0, 1, 2], [6, 7, 8]]
    with pytest.raises(InputError, match="No text gave a pair"):
        PairRows({"x": "a1"}, {"x": []}, PairFeatures.of(tokenizer, 24))


# -- losses ----------------------------------------------------------------------------------------------------------


class Counting:
    """A tokenizer that counts how often it is asked for a text."""

    def __init__(self, tokenizer, texts):
        self.tokenizer, self.asked = tokenizer, dict.fromkeys(texts, 0)

    def __getattr__(self, name):
        return getattr(self.tokenizer, name)

    def __len__(self):
        return len(self.tokenizer)

    def __call__(self, text, **options):
        if text in self.asked:
            self.asked[text] += 1
        return self.tokenizer(text, **options)


def test_a_text_is_cut_into_tokens_once_while_there_is_room(tokenizer):
    texts = {"x": "a1 a2 f1 f2", "y": "a3 f3 f4", "z": "a5 f5 f6 f7 f8"}
    pairs = [Pair((f"b{n}",), (f"f{n}",), 1.0, 0.5) for n in range(4)]

    def rows(most):
        counting = Counting(tokenizer, texts.values())
        made = PairRows(
            texts, dict.fromkeys(texts, pairs), PairFeatures.of(counting, 24, rate=0.5), used=2, most_kept=most
        )
        return [made[place] for place in range(3 * len(made))], counting.asked

    anew, asked = rows(0)
    assert set(asked.values()) == {6}  # two pairs in each of three epochs
    kept, asked = rows(12)
    assert kept == anew
    assert set(asked.values()) == {1}
    partly, asked = rows(9)  # x and z, as y finds too little room
    assert partly == anew
    assert list(asked.values()) == [1, 1, 6]


def test_both_forms_of_the_loss_by_their_formulas():
    scores = torch.tensor([[2.0, 1.5], [0.0, 3.0], [9.0, 1.0]])
    hinge = [max(0, 1 - s + t) for s, t in scores.tolist()]
    assert float(rop_loss(scores, "hinge")) == pytest.approx(np.mean(hinge))
    worse = [math.exp(t) / (math.exp(s) + math.exp(t)) for s, t in scores.tolist()]
    assert float(rop_loss(scores, "softmax-margin")) == pytest.approx(2 * np.mean(worse))


def test_the_loss_of_a_batch_is_that_of_its_parts(tiny_encoder, tokenizer):
    """Segments 0 and 1, the pooled [CLS], and the cross-entropy of what is masked: against transformers' own models."""
    model, made = representative(tiny_encoder, (2.0, 0.5))
    model.eval()
    features = PairFeatures.of(tokenizer, 24, rate=0.3)
    sets = [("b1", "b2"), ("f1", "f2", "f3")]
    rows = [features.of_set(one, features.ids(TEXTS["d1"]), np.random.default_rng(n)) for n, one in enumerate(sets)]
    batch = collate(rows, pad_id=tokenizer.pad_token_id)
    with torch.no_grad():
        loss = float(model(**batch)["loss"])
        scores, asked = [], []
        for row in rows:
            ids = torch.tensor([row["ids"]])
            first = row["ids"].index(tokenizer.sep_token_id)
            segments = torch.tensor([[int(place > first) for place in range(len(row["ids"]))]])
            scores.append(float(made.model(ids, token_type_ids=segments).logits))
            hidden = made.model.bert(ids, token_type_ids=segments).last_hidden_state[0]
            shares = model.masked.logits(hidden).log_softmax(-1)
            asked += [-float(shares[place, label]) for place, label in enumerate(row["labels"]) if label != IGNORED]
    assert loss == pytest.approx(2 * max(0, 1 - scores[0] + scores[1]) + 0.5 * np.mean(asked), abs=1e-4)
    alone = representative(tiny_encoder, (0.0, 1.0))[0].eval()
    paired = representative(tiny_encoder, (1.0, 0.0))[0].eval()
    with torch.no_grad():
        assert float(alone(**batch)["loss"]) == pytest.approx(np.mean(asked), abs=1e-4)
        assert float(paired(**batch)["loss"]) == pytest.approx(max(0, 1 - scores[0] + scores[1]), abs=1e-5)


def test_a_base_that_guesses_masked_words_keeps_its_head(tiny_encoder, tmp_path):
    assert masked_head(tiny_encoder) is None  # and its words count 0.1
    made = BertForMaskedLM.from_pretrained(tiny_encoder)
    made.save_pretrained(tmp_path / "masked")
    head = masked_head(tmp_path / "masked")
    base = model_folders.cross_encoder(tiny_encoder, seed=0, window=24)
    for found, weight in ((None, 0.1), (head, 1.0)):
        model = bprop._model(base, tiny_encoder if found is None else tmp_path / "masked", BPropSettings())
        assert model.weights == (1.0, weight)
        same = torch.equal(model.masked.transform.dense.weight, made.cls.predictions.transform.dense.weight)
        assert same == (found is not None)


def test_another_kind_of_model_is_refused(tokenizer, tmp_path):
    with pytest.raises(InputError, match="BERT family"):
        Representative(torch.nn.Linear(2, 2), separator=3)
    config = DistilBertConfig(vocab_size=len(tokenizer), dim=8, n_layers=1, n_heads=2, hidden_dim=8)
    DistilBertModel(config).save_pretrained(tmp_path / "other")
    tokenizer.save_pretrained(tmp_path / "other")
    seen = []
    run = RunSettings(home=tmp_path, on_progress=lambda progress: seen.append(progress.note))
    with pytest.raises(InputError, match=r"DistilBert.* BERT family"):
        pretrain_bprop(TEXTS, str(tmp_path / "other"), SETTINGS, run=run)
    assert not seen  # at once, not when all texts were read


# -- training --------------------------------------------------------------------------------------------------------


def check_trained(folder, report, home, *, rise=0.1):
    before, after = report.measured["held out"]
    assert folder == home / "models" / report.name
    assert report.kept
    assert after["pairs"] > max(0.5, before["pairs"] + rise)
    score = Scorer(folder)([("b1 a1", TEXTS["d1"]), ("f1", TEXTS["d1"])])
    assert len(set(score)) == 2


def test_pretraining_tells_held_out_sets_apart(tiny_encoder, home):
    """And what is done is not done again."""
    folder, report = pretrain_bprop(
        TEXTS,
        str(tiny_encoder),
        SETTINGS,
        run=RunSettings(home=home, name="mine", on_progress=lambda _: pytest.fail("it trained")),
    )
    check_trained(folder, report, home)
    assert RandomTerms.load(folder / "terms.json").texts == len(TEXTS)


def test_prop_is_trained_by_the_same_loop(tiny_encoder, tmp_path):
    settings = replace(SETTINGS, objective="prop", rop_loss="softmax-margin")
    folder, report = pretrain_bprop(TEXTS, str(tiny_encoder), settings, run=RunSettings(home=tmp_path, name="prop"))
    check_trained(folder, report, tmp_path, rise=0.0)  # most of PROP's words here are of other texts
    assert not (folder / "terms.json").exists()


def test_the_folder_is_a_ranker_a_base_for_labels_and_an_encoder(topics, home, tmp_path):
    folder = home / "models" / "mine"
    ranker = load_ranker("mine", home=home)
    hits = [Hit(Passage(Span(name, 0, len(text)), text), 1.0, "words") for name, text in list(TEXTS.items())[:4]]
    ranked = ranker.rank("b1 a1", hits)
    raw = Scorer(folder)([("b1 a1", hit.passage.text) for hit in ranked])
    assert raw == sorted(raw, reverse=True)
    encoder = load_encoder(str(folder))
    found = model_folders.encoding(model_folders.sentence_transformer(folder))(["a1 b1"])
    np.testing.assert_allclose(encoder.encode(["a1 b1"]), found, atol=0.02)
    loop = LoopSettings(steps=2, batch=4)
    settings = RerankerSettings(negatives=2, depth=5, dev_share=0.2, loop=loop)

    def first_stage(queries, k):
        return [dict.fromkeys(list(topics.corpus)[:k], 1.0) for _ in queries]

    _, tuned = train_reranker(topics, first_stage, str(folder), settings, run=RunSettings(home=tmp_path))
    assert tuned.curves.steps == 2


def test_what_is_saved_scores_as_what_was_trained(tiny_encoder, home):
    """The saved head is the trained one: the held-out pairs come out the same."""
    folder, report = pretrain_bprop(TEXTS, str(tiny_encoder), SETTINGS, run=RunSettings(home=home, name="mine"))
    model, made = representative(folder)
    pairs = bprop._pairs(home / "runs" / "train" / "mine", tiny_encoder, TEXTS, SETTINGS)
    _, held = bprop._rows(TEXTS, pairs, made.tokenizer, SETTINGS)
    assert measured(model.eval(), held)["pairs"] == report.measured["held out"][1]["pairs"]


class Stop(Exception):
    """Stands for a kill."""


@pytest.mark.slow
def test_a_run_that_was_killed_goes_on_to_the_same_weights(tiny_encoder, tmp_path):
    settings = replace(SETTINGS, loop=replace(LOOP, steps=12, evaluate_every=4, checkpoint_every=4))

    def killed(progress):
        if progress.step == 6:
            raise Stop

    whole, report = pretrain_bprop(TEXTS, str(tiny_encoder), settings, run=RunSettings(home=tmp_path, name="whole"))
    with pytest.raises(Stop):
        pretrain_bprop(
            TEXTS, str(tiny_encoder), settings, run=RunSettings(home=tmp_path, name="cut", on_progress=killed)
        )
    with pytest.raises(InputError, match="another run"):
        pretrain_bprop(TEXTS, str(tiny_encoder), replace(settings, used=1), run=RunSettings(home=tmp_path, name="cut"))
    cut, resumed = pretrain_bprop(TEXTS, str(tiny_encoder), settings, run=RunSettings(home=tmp_path, name="cut"))
    assert resumed.curves.resumed_at == 4
    assert resumed.curves.metrics == report.curves.metrics
    assert (whole is None) == (cut is None)


def test_a_model_that_tells_sets_no_better_is_not_kept(tiny_encoder, tmp_path):
    settings = replace(SETTINGS, loop=replace(LOOP, steps=1, learning_rate=1e-9))
    folder, report = pretrain_bprop(TEXTS, str(tiny_encoder), settings, run=RunSettings(home=tmp_path))
    assert (folder, report.kept) == (None, False)
    assert "not kept" in report.notes[-1]


@pytest.mark.slow
def test_masked_words_alone_are_measured_by_what_is_guessed(tiny_encoder, tmp_path):
    settings = replace(SETTINGS, rop_weight=0.0, mlm_weight=1.0, mask_rate=0.3, held_out=0.5)
    _, report = pretrain_bprop(TEXTS, str(tiny_encoder), settings, run=RunSettings(home=tmp_path))
    before, after = report.measured["held out"]
    assert report.kept == (after["masked"] > before["masked"])
    assert after["masked"] > before["masked"]


def test_pairs_come_from_attention_against_the_collections(tiny_encoder, tokenizer):
    """The better set of a pair has the larger sum of c(t); PROP's have no attention, and other words of the texts."""
    reader = AttentionReader.load(str(tiny_encoder))
    stray, told = reader.read(["a1 b2 \udcff", "a1 b2 \ufffd"])  # half a surrogate pair, as JSON may escape it
    assert stray.words == told.words
    features = PairFeatures.of(tokenizer, 24)
    assert features.ids("a1 b2 \udcff") == features.ids("a1 b2 \ufffd")
    pairs, random = bprop.draw_pairs(TEXTS, reader, SETTINGS)
    assert random.texts == len(TEXTS)
    own = [set(TEXTS[name].split()) for name in pairs]
    assert all(set(pair.better) <= words for words, found in zip(own, pairs.values(), strict=True) for pair in found)
    assert all(pair.better_score > pair.worse_score for found in pairs.values() for pair in found)
    prop, none = bprop.draw_pairs(TEXTS, reader, replace(SETTINGS, objective="prop"))
    assert none is None
    assert any(not set(pair.better) <= words for words, found in zip(own, prop.values(), strict=True) for pair in found)
    flat, _ = bprop.draw_pairs(TEXTS, reader, replace(SETTINGS, contrast=Contrast(temperature=math.inf)))
    assert flat != pairs
    assert bprop.draw_pairs(TEXTS, reader, SETTINGS)[0] == pairs


def test_a_run_that_held_out_other_texts_cannot_go_on(tiny_encoder, tmp_path):
    """Texts were once held out by the seed: it would be judged by some that it has learnt from."""

    def killed(progress):
        if progress.step == 6:
            raise Stop

    loop = replace(LOOP, steps=12, evaluate_every=4, checkpoint_every=4)
    settings = replace(SETTINGS, loop=loop)
    with pytest.raises(Stop):
        pretrain_bprop(
            TEXTS, str(tiny_encoder), settings, run=RunSettings(home=tmp_path, name="old", on_progress=killed)
        )
    path = tmp_path / "runs" / "train" / "old" / checkpoints.RUN
    begun = checkpoints.read(path)
    del begun["held out"]
    checkpoints.write(path, begun)
    with pytest.raises(
        InputError, match=r"of another run \(held out: nothing there, whatever the seed is now\).*--anew"
    ):
        pretrain_bprop(TEXTS, str(tiny_encoder), settings, run=RunSettings(home=tmp_path, name="old"))


def test_short_texts_are_left_out_as_often_as_asked(tokenizer):
    pairs = {name: [Pair(("b1",), ("f1",), 2.0, 1.0)] for name in TEXTS}
    learnt, held = bprop._rows(TEXTS, pairs, tokenizer, replace(SETTINGS, short_tokens=100, short_left_out=0.5))
    assert 10 < len(learnt.pairs) + len(held.pairs) < 30
    kept, out = bprop._rows(TEXTS, pairs, tokenizer, replace(SETTINGS, short_tokens=3, short_left_out=0.9))
    assert not kept.pairs.keys() & out.pairs.keys()
    assert (len(kept.pairs), len(out.pairs)) == (32, 8)


def test_the_same_texts_are_held_out_whatever_the_seed_and_learnt_from_under_no_name(tokenizer):
    pairs = {name: [Pair(("b1",), ("f1",), 2.0, 1.0)] for name in TEXTS}
    other = replace(SETTINGS, loop=replace(LOOP, seed=7))
    (learnt, held), (_, again) = (bprop._rows(TEXTS, pairs, tokenizer, one) for one in (SETTINGS, other))
    assert held.pairs.keys() == again.pairs.keys()
    none = {**pairs, next(iter(learnt.pairs)): []}  # another seed may give a text no pair
    some = replace(other, short_tokens=100, short_left_out=0.5)
    (_, fewer), (_, shorter), (_, short) = (
        bprop._rows(TEXTS, found, tokenizer, one)
        for found, one in ((none, other), (none, some), (pairs, replace(some, loop=LOOP)))
    )
    assert fewer.pairs.keys() <= held.pairs.keys()
    assert shorter.pairs.keys() <= short.pairs.keys()
    twice = next(iter(held.pairs))
    copy = next(iter(learnt.pairs))
    learnt, held = bprop._rows({**TEXTS, copy: f" {TEXTS[twice]}\n"}, pairs, tokenizer, SETTINGS)
    assert twice in held.pairs
    assert copy not in learnt.pairs


@pytest.mark.parametrize(("texts", "held_out", "out"), [(4, 0.05, 1), (10, 0.05, 2), (40, 0.05, 8), (40, 0.5, 20)])
def test_of_few_texts_a_fifth_is_held_out_with_all_its_pairs(tokenizer, texts, held_out, out):
    pairs = {name: [Pair(("b1",), ("f1",), 2.0, 1.0)] * 6 for name in list(TEXTS)[:texts]}
    learnt, held = bprop._rows(TEXTS, pairs, tokenizer, replace(SETTINGS, held_out=held_out, used=3))
    assert (len(learnt.pairs), len(held.pairs)) == (texts - out, out)
    assert (len(learnt), len(held)) == (3 * (texts - out), 6 * out)


def test_bad_input(tiny_encoder, tmp_path):
    for texts in ({}, {"a": "a1 b1"}, {"a": "a1", "b": "  "}):
        with pytest.raises(InputError, match="two at least"):
            pretrain_bprop(texts, str(tiny_encoder), SETTINGS, run=RunSettings(home=tmp_path))
    with pytest.raises(InputError, match="No text gave a pair"):
        pretrain_bprop({"a": "a1 b1", "b": "a2"}, str(tiny_encoder), SETTINGS, run=RunSettings(home=tmp_path))
    with pytest.raises(UnknownName, match="bprop, prop"):
        BPropSettings(objective="rop")
    with pytest.raises(UnknownName, match="hinge, softmax-margin"):
        BPropSettings(rop_loss="bce")
    for wrong in (
        {"rop_weight": 0, "mlm_weight": 0}, {"mlm_weight": -1}, {"used": 0}, {"max_tokens": 4}, {"mask_rate": 0},
        {"held_out": 0}, {"short_left_out": 1},
    ):  # fmt: skip
        with pytest.raises(InputError):
            BPropSettings(**wrong)


@pytest.mark.slow
def test_the_command_trains_on_a_folder_or_on_the_library(tiny_encoder, tmp_path):
    from typer.testing import CliRunner

    folder = tmp_path / "texts"
    folder.mkdir()
    lines = [json.dumps({"_id": name, "title": "a0", "text": f"{text} {MANY}"}) for name, text in TEXTS.items()]
    (folder / "corpus.jsonl").write_text("\n".join(lines), encoding="utf-8")
    app = typer.Typer()
    app.command()(command)

    def run(*arguments):
        given = ["--base", tiny_encoder, "--steps", 3, "--batch", 4, "--window", 24, "--learning-rate", 0.01, "--json"]
        done = CliRunner().invoke(app, [*map(str, [*given, *arguments])], catch_exceptions=False)
        assert done.exit_code == 0, done.output
        return json.loads(done.stdout)

    told = run("--data", folder, "--home", tmp_path / "home", "--temperature", 0.1, "--pairs", 4, "--margin", 0.1)
    assert (told["curves"]["steps"], told["settings"]["contrast"]["temperature"]) == (3, 0.1)
    assert (told["settings"]["sets"]["pairs"], told["settings"]["used"]) == (4, 2)
    assert (told["settings"]["sets"]["margin"], told["settings"]["contrast"]["unit"]) == (0.1, "deviation")
    (tmp_path / "more").mkdir()
    for n in range(4):
        (tmp_path / "more" / f"{n}.txt").write_text(f"b{n} {MANY} b{n}.")
    Library.open(tmp_path / "shelf", encoder="none").add([tmp_path / "more"])
    assert run("--home", tmp_path / "shelf", "--objective", "prop")["what"] == "prop, pre-training"
    (folder / "corpus.jsonl").write_text("\n".join([*lines, lines[0]]), encoding="utf-8")
    with pytest.raises(InputError, match="repeats the id 'd0'"):
        run("--data", folder, "--home", tmp_path / "home")
    with pytest.raises(InputError, match="no corpus"):
        run("--data", tmp_path, "--home", tmp_path / "home")


def test_settings_are_plain_values(tiny_encoder):
    from foveal.training.report import plain_settings

    told = plain_settings(replace(SETTINGS, contrast=Contrast(temperature=0.5)))
    assert json.loads(json.dumps(told))["contrast"]["temperature"] == 0.5
