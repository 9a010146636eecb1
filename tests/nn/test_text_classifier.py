"""Text classifiers: words and their places, what is shown of a text, saving, training that goes on, documents."""

from __future__ import annotations

import json
import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from nn.subject_texts import texts
from safetensors.torch import save_file
from tokenizers import Tokenizer, models, pre_tokenizers

from foveal.errors import InputError, ModelUnavailable, UnknownName
from foveal.evaluation.labelled import LabelledText
from foveal.nn import TextClassifier, TextClassifierConfig
from foveal.nn import text_classifier as text_classifier_module
from foveal.nn.classified import Classified, numbers_of
from foveal.nn.stream_training import fit
from foveal.nn.text_classifier import together
from foveal.nn.text_classifier_training import (
    ClassifierSize,
    by_length,
    classes_of,
    classifier_named,
    classifying,
    made,
    text_classifier,
)
from foveal.nn.words import Words, sentences, words_of
from foveal.training.loop import LoopSettings
from foveal.training.runs import RunSettings

SMALL = ClassifierSize(word_dim=16, hidden=8, inside=16, heads=4, dropout=0.0)
WORDS_ALONE = replace(SMALL, encoder="none")
LOOP = LoopSettings(epochs=8, batch=16, learning_rate=5e-2, warm_up=0.0)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    home = tmp_path_factory.mktemp("home")
    folder, report = fit(
        classifying(texts(), texts(30, seed=1), WORDS_ALONE), LOOP, run=RunSettings(home=home, name="subjects")
    )
    return home, folder, report


def model_of(size: ClassifierSize = SMALL, *, classes=("a", "b")) -> TextClassifier:
    return made([one.text for one in texts(9)], classes, size, 0).eval()


# -- words -------------------------------------------------------------------------------------------------------------


def test_words_stand_where_they_are_cut_from():
    text = "Don't stop: 3.5 km, 犬 runs! İstanbul"
    read = Words(("don't", "3.5", "犬", "!")).read(text)
    assert [text[a:b] for a, b in read.spans] == ["Don't", "stop", "3.5", "km", "犬", "runs", "!", "İstanbul"]
    assert read.ids == (2, 1, 3, 1, 4, 1, 5, 1)


@settings(max_examples=30)
@given(st.text(max_size=80), st.integers(1, 9))
def test_sentences_hold_every_word_once_in_order(text, most):
    read = Words(("a",)).read(text)
    cut = sentences(text, read, most=most)
    assert tuple(span for one in cut for span in one.spans) == read.spans
    assert tuple(id_ for one in cut for id_ in one.ids) == read.ids
    assert all(1 <= len(one.ids) <= most for one in cut)


def test_sentences_end_behind_marks_and_before_blank_lines():
    text = "One two. Three!\n\nFour five\nsix\n\nSeven"
    cut = sentences(text, Words(("one",)).read(text), most=9)
    assert [text[one.spans[0][0] : one.spans[-1][1]] for one in cut] == [
        "One two.",
        "Three!",
        "Four five\nsix",
        "Seven",
    ]


def test_the_most_frequent_words_are_known_and_kept(tmp_path):
    words = Words.of(["b a a", "b b c"], least=2)
    assert words.words == ("b", "a")
    words.save(tmp_path / "words.json")
    assert Words.load(tmp_path / "words.json") == words
    with pytest.raises(InputError, match="no word 2 times"):
        Words.of(["a b", "c"])
    (tmp_path / "words.json").write_text("{")
    with pytest.raises(InputError, match="no list of words"):
        Words.load(tmp_path / "words.json")


# -- the model ---------------------------------------------------------------------------------------------------------


def test_marks_are_of_the_letter_before_them():
    def cut(text):
        return [text[start:end] for _, (start, end) in words_of(text)]

    for text in ("పంపు విఫలమైంది", "किताब पढ़ी", "cafe\u0301 au lait", "بِسْمِ ٱللّٰهِ"):
        assert cut(text) == text.split(" ")
    assert cut("夜空に星") == ["夜", "空", "に", "星"]
    assert len(cut("ภาษาไทยนั้นเขียนติดกัน")) > 1  # not parted by blanks: no word as a whole


@pytest.mark.parametrize("encoder", ["gru", "lstm", "cnn", "none"])
@pytest.mark.parametrize("pooling", ["lama", "mean", "max", "attention", "structured", "mha"])
def test_a_text_is_read_alike_alone_and_beside_longer_ones(encoder, pooling):
    size = ClassifierSize(word_dim=8, hidden=4, inside=8, heads=2, encoder=encoder, pooling=pooling)
    model = model_of(size)
    short, long = "The pump of the house.", "It was there again and nobody knew why the old keeper wrote of the river."
    (alone,), (beside, _) = model.classify([short]), model.classify([short, long])
    np.testing.assert_allclose(alone.shares, beside.shares, atol=1e-5)
    np.testing.assert_allclose(alone.weights, beside.weights, atol=1e-5)
    np.testing.assert_allclose(alone.weights.sum(-1), 1, atol=1e-5)
    assert len(alone.spans) == alone.weights.shape[1] == 6


def test_a_document_is_read_by_sentences_and_its_words_shares_add_up_to_one():
    model = model_of(ClassifierSize(word_dim=8, hidden=4, inside=8, heads=2, hierarchical=True))
    text = "The pump failed. " * 40 + "Nobody knew why."
    other = "It was there."
    found, beside = model.classify([text])[0], model.classify([other, text])[1]
    np.testing.assert_allclose(found.weights.sum(-1), 1, atol=1e-5)
    np.testing.assert_allclose(found.shares, beside.shares, atol=1e-6)
    assert [text[a:b] for a, b in found.spans][-2:] == ["why", "."]
    ids = together([model.read(text)])
    assert ids.shape == (1, 41, 4)
    output = model(ids)
    assert output.sentence_attention.shape == (1, 2, 41)
    first = model(ids[:, :1])
    words, pooled = model.tokens(ids[0, :1], ids[0, :1] != 0)[1], None
    pooled = model.sentence_pool(words, ids[0, :1] != 0)
    torch.testing.assert_close(first.attention[0, 0], pooled.attention[0].mean(0))  # one sentence: its own shares
    with pytest.raises(InputError, match="documents, sentences, words"):
        model(ids[0])
    with pytest.raises(InputError, match="without a word"):
        model(torch.zeros_like(ids))


def test_documents_are_read_alike_in_pieces_and_few_at_a_time(monkeypatch):
    model = model_of(ClassifierSize(word_dim=8, hidden=5, inside=8, heads=2, hierarchical=True))
    every = [" ".join(one.text for one in texts(count)) for count in (3, 9, 3, 6)]
    whole, batches = model.classify(every), []
    model.register_forward_pre_hook(lambda _, given: batches.append(given[0].numel()))
    for name, value in (("PIECE", 2), ("CELLS", 40)):
        monkeypatch.setattr(text_classifier_module, name, value)
    for one, other in zip(model.classify(every), whole, strict=True):
        assert (one.text, one.spans, one.label) == (other.text, other.spans, other.label)
        np.testing.assert_allclose(one.weights, other.weights, rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(one.shares, other.shares, rtol=1e-4)
    assert len(batches) == len(every)  # each is longer than all that may be read together


def test_the_mean_word_may_be_the_context():
    model = model_of(ClassifierSize(word_dim=8, hidden=5, inside=8, heads=2, pooler={"context": "mean"}))
    assert model.pool.attend.context_map.weight.shape == (10, 8)
    found = model.classify(["The pump of the house."])[0]
    np.testing.assert_allclose(found.weights.sum(-1), 1, atol=1e-5)


def test_the_loss_is_cross_entropy_and_what_heads_pay():
    size = ClassifierSize(word_dim=8, hidden=4, inside=8, heads=2, dropout=0.0)
    ids, labels = together([model_of(size).read(one.text) for one in texts(4)]), torch.tensor([0, 1, 1, 0])
    plain = model_of(size)(ids, labels=labels)
    told = plain.logits.log_softmax(-1)
    torch.testing.assert_close(plain.loss, -torch.stack([told[n, label] for n, label in enumerate(labels)]).mean())
    penalised = ClassifierSize(word_dim=8, hidden=4, inside=8, heads=2, dropout=0.0, diversity=0.5)
    more = model_of(penalised)(ids, labels=labels)
    pays = [(a @ a.T - torch.eye(2)).square().sum() for a in more.attention]
    torch.testing.assert_close(more.loss, plain.loss + 0.5 * torch.stack(pays).mean())


def test_labels_that_are_passed_over_leave_the_others_or_nothing():
    model, ids = model_of(), torch.tensor([[2, 3], [4, 0]])
    asked = model(ids, labels=torch.tensor([1, -100])).loss
    torch.testing.assert_close(asked, model(ids[:1], labels=torch.tensor([1])).loss)
    nothing = model(ids, labels=torch.tensor([-100, -100])).loss
    nothing.backward()
    assert nothing == 0
    assert all(torch.isfinite(one.grad).all() for one in model.parameters() if one.grad is not None)


def test_parameters_are_told_by_part():
    model = model_of()
    parts = model.parameters_by_part()
    assert sum(parts.values()) == sum(one.numel() for one in model.parameters())
    assert parts["words"] == len(model.words) * 16
    assert parts["pooling"] == model.pool.settings.score_parameters


def test_it_is_loaded_as_it_was_saved(tmp_path):
    model = model_of()
    model.save_pretrained(tmp_path / "one")
    loaded = TextClassifier.from_pretrained(tmp_path / "one")
    assert loaded.words == model.words
    assert loaded.state_dict().keys() == model.state_dict().keys()
    assert all(torch.equal(loaded.state_dict()[name], value) for name, value in model.state_dict().items())
    text = "The pump of the old house."  # products of equal numbers may differ in the last bit, by where they lie
    np.testing.assert_allclose(loaded.classify([text])[0].weights, model.classify([text])[0].weights, rtol=1e-4)
    assert sorted(one.name for one in (tmp_path / "one").iterdir()) == [
        "config.json",
        "model.safetensors",
        "words.json",
    ]
    with pytest.raises(ModelUnavailable, match="no text classifier"):
        TextClassifier.from_pretrained(tmp_path / "none")
    (tmp_path / "one" / "words.json").write_text('["pump"]')
    with pytest.raises(ModelUnavailable, match=r"3 words, and the model .* do not belong together"):
        TextClassifier.from_pretrained(tmp_path / "one")
    (tmp_path / "one" / "model.safetensors").write_bytes(b"half a file")
    with pytest.raises(ModelUnavailable, match="no text classifier"):
        TextClassifier.from_pretrained(tmp_path / "one")


@pytest.mark.slow
def test_it_works_under_autocast_and_compiled():
    model = model_of()
    ids = together([model.read(one.text) for one in texts(3)])
    exact = model(ids)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = model(ids)
    torch.testing.assert_close(found.logits.float(), exact.logits, atol=0.05, rtol=0.05)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PyTorch's compiler uses what PyTorch deprecates
        compiled = torch.compile(model, backend="eager")(ids, labels=torch.tensor([0, 1, 0]))
    torch.testing.assert_close(compiled.logits, exact.logits)


def test_what_cannot_be_read_is_refused():
    model = model_of()
    for wrong in (torch.zeros(2, 0, dtype=torch.long), torch.zeros(3, dtype=torch.long)):
        with pytest.raises(InputError, match=r"texts, words"):
            model(wrong)
    with pytest.raises(InputError, match="attention_mask"):
        model(torch.ones(2, 3, dtype=torch.long), attention_mask=torch.ones(2, 2))
    with pytest.raises(InputError, match="padded on the left"):
        model(torch.tensor([[0, 2, 3]]))
    with pytest.raises(InputError, match="input_ids of 2 to 9999"):
        model(torch.tensor([[2, 9999]]))
    with pytest.raises(InputError, match="labels of 2 to 2"):
        model(torch.tensor([[2, 3]]), labels=torch.tensor([2]))
    with pytest.raises(InputError, match=r"labels are \(2,\); input_ids \(1, 2\) ask one a row"):
        model(torch.tensor([[2, 3]]), labels=torch.tensor([1, 0]))
    for read in (model.classify, model.vectors_of):
        with pytest.raises(InputError, match="batch = 0"):
            read(["The pump"], batch=0)
    with pytest.raises(InputError, match="has no word"):
        model.classify(["The pump", " … "])
    model.words = None
    with pytest.raises(InputError, match="no texts to make vectors of"):
        model.vectors_of([])
    with pytest.raises(InputError, match="knows no words"):
        model.classify(["The pump"])
    for wrong, said in (
        ({"classes": ["a"]}, "needs two"),
        ({"classes": ["a", "a"]}, "different"),
        ({"encoder": "rnn"}, "there are: gru"),
        ({"pooling": "median"}, "there are: lama"),
        ({"dropout": 1.0}, "dropout = 1.0; it needs a number from 0 to below 1"),
        ({"heads": 0}, "heads = 0"),
        ({"pooler": {"width": 2}}, "does not have"),
        ({"pooler": {"output_dim": 3}}, "leave output_dim out"),
        ({"pooler": {"context": "given"}}, "gives no context"),
    ):
        with pytest.raises(InputError, match=said):
            TextClassifier(TextClassifierConfig(**{"vocab_size": 9, "classes": ["a", "b"], **wrong}))


# -- what is shown -----------------------------------------------------------------------------------------------------


def said_of(text: str, weights: list[list[float]], spans, classes=("a", "b"), shares=(0.3, 0.7)) -> Classified:
    return Classified(text, classes, shares, tuple(spans), np.array(weights, dtype=np.float32))


def test_the_words_that_were_looked_at_most_are_named():
    found = said_of("Red red car.", [[0.4, 0.4, 0.1, 0.1], [0.0, 0.2, 0.8, 0.0]], [(0, 3), (4, 7), (8, 11), (11, 12)])
    assert (found.label, found.share) == ("b", 0.7)
    assert found.best(2) == [("red", pytest.approx(0.5)), ("car", pytest.approx(0.45))]
    assert found.best(1, head=1) == [("car", pytest.approx(0.8))]
    np.testing.assert_allclose(found.of_words, [0.8, 1.2, 1.8, 0.2], rtol=1e-6)
    assert found.strengths() == [0, 0, 1, 0]
    assert "." not in dict(found.best(9))
    told = found.as_json()
    assert told["words"][2] == {"start": 8, "end": 11, "text": "car", "weight": 1.8}
    assert list(told["shares"]) == ["b", "a"]
    assert told["heads"] == [[0.4, 0.4, 0.1, 0.1], [0.0, 0.2, 0.8, 0.0]]


@pytest.mark.parametrize(
    ("shares", "rating"), [((0.6, 0.3, 0.1), 10.0), ((0.4, 0.3, 0.3), 2.0), ((0.1, 0.1, 0.8), 1.0)]
)
def test_a_rating_is_the_middle_of_what_is_likely(shares, rating):
    assert said_of("", [[]], [], classes=("10", "2", "1"), shares=shares).rating == rating
    assert said_of("", [[]], [], classes=("1", "2", "x"), shares=shares).rating is None


# -- training ----------------------------------------------------------------------------------------------------------


def test_it_learns(trained):
    home, folder, report = trained
    before, after = report.measured["test"]
    assert before["accuracy"] == pytest.approx(1 / 3)
    assert after["accuracy"] > 0.8
    model = text_classifier(folder)
    found = model.classify(["The old oven was there and nobody of the house knew why dough."])[0]
    assert found.label == "bread"
    np.testing.assert_allclose(found.weights.sum(-1), 1, atol=1e-5)
    assert classifier_named("subjects", home).classes == ["bread", "sky", "water"]
    assert json.loads((folder / "config.json").read_text())["classes"] == ["bread", "sky", "water"]
    with pytest.raises(UnknownName, match=r"'topics'\. There are: subjects"):
        classifier_named("topics", home)


def test_the_same_call_finds_it_done_and_another_one_is_refused(trained):
    home, folder, report = trained
    again, found = fit(
        classifying(texts(), texts(30, seed=1), WORDS_ALONE), LOOP, run=RunSettings(home=home, name="subjects")
    )
    assert again == folder
    assert found.curves == report.curves
    with pytest.raises(InputError, match="is there already"):
        fit(classifying(texts(33), (), WORDS_ALONE), LOOP, run=RunSettings(home=home, name="subjects"))


@pytest.mark.slow
def test_a_run_that_was_stopped_goes_on_to_the_same_weights(tmp_path):
    from foveal.training.watch import Progress

    def stopping(progress: Progress) -> None:
        if progress.step == 6:
            raise KeyboardInterrupt

    loop = LoopSettings(epochs=2, batch=16, learning_rate=1e-2, checkpoint_every=4)
    whole, _ = fit(classifying(texts(), (), SMALL), loop, run=RunSettings(home=tmp_path / "whole", name="x"))
    with pytest.raises(KeyboardInterrupt):
        fit(
            classifying(texts(), (), SMALL),
            loop,
            run=RunSettings(home=tmp_path / "cut", name="x", on_progress=stopping),
        )
    resumed, report = fit(classifying(texts(), (), SMALL), loop, run=RunSettings(home=tmp_path / "cut", name="x"))
    assert report.curves.resumed_at > 0
    for one, other in zip(text_classifier(whole).parameters(), text_classifier(resumed).parameters(), strict=True):
        torch.testing.assert_close(one, other)


def test_labels_that_are_numbers_are_ratings(tmp_path):
    rated = texts(60, labels={"water": "1", "sky": "2", "bread": "10"})
    assert classes_of(rated) == ["1", "2", "10"]
    recipe = classifying(rated, texts(30, seed=1, labels={"water": "1", "sky": "2", "bread": "10"}), SMALL)
    assert (recipe.metric, recipe.lower) == ("mean absolute error", True)
    _, report = fit(recipe, LOOP, run=RunSettings(home=tmp_path))
    before, after = report.measured["test"]
    assert before["mean absolute error"] == pytest.approx((1 + 0 + 8) / 3)
    assert after["mean absolute error"] < 1


def test_equal_numbers_are_one_class_however_they_are_spelled():
    spelled = {"water": ("1", "1.0"), "sky": ("2.50", "2.5"), "bread": ("7", "7")}
    learnt = [replace(one, label=spelled[one.label][n // 3 % 2]) for n, one in enumerate(texts(40))]
    recipe = classifying(learnt, [replace(learnt[0], label="1.00")], WORDS_ALONE)
    assert list(recipe.model.classes) == ["1", "2.5", "7"]
    assert recipe.measure(recipe.model, "test").keys() >= {"mean absolute error"}
    names = [replace(one, label=f"v{one.label}") for one in learnt]  # no numbers, so of each spelling its own
    assert list(classifying(names, [], WORDS_ALONE).model.classes) == ["v1", "v1.0", "v2.5", "v2.50", "v7"]


def test_a_label_that_is_missing_is_no_rating():
    for missing in ("nan", "inf"):
        assert numbers_of(["1", "2", missing]) is None
        recipe = classifying(texts(60, labels={"water": "1", "sky": "2", "bread": missing}), (), SMALL)
        assert (recipe.metric, recipe.lower) == ("accuracy", False)


def test_batches_hold_texts_of_like_length_and_each_text_once():
    lengths = np.random.default_rng(0).integers(1, 100, 500).tolist()
    batches = by_length(lengths, 16, seed=0, epoch=1)
    assert sorted(place for one in batches for place in one) == list(range(500))
    assert np.mean([np.ptp([lengths[place] for place in one]) for one in batches]) < 20
    assert batches != by_length(lengths, 16, seed=0, epoch=2)
    assert batches == by_length(lengths, 16, seed=0, epoch=1)


def test_texts_that_nothing_can_be_learnt_from_are_refused():
    with pytest.raises(InputError, match="no label"):
        classifying([])
    with pytest.raises(InputError, match="'x' only"):
        classifying([LabelledText("a a", "x")] * 3)
    with pytest.raises(InputError, match="no training text has"):
        classifying(texts(), [LabelledText("a a", "x")])
    with pytest.raises(InputError, match="one text only"):
        classifying([LabelledText("a a", "x"), LabelledText("b b", "y")])


# -- words that an encoder knows ---------------------------------------------------------------------------------------


def encoder_of(folder, known):
    """A folder with a table of 6 numbers for each of these words, and nothing else of an encoder."""
    tokenizer = Tokenizer(models.WordLevel({word: n for n, word in enumerate(["[UNK]", *known])}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    folder.mkdir()
    tokenizer.save(str(folder / "tokenizer.json"))
    table = torch.randn(1 + len(known), 6, generator=torch.Generator().manual_seed(1))
    save_file({"embeddings.word_embeddings.weight": table}, str(folder / "model.safetensors"))
    return folder, table[1:]


def test_words_begin_with_an_encoders_vectors(tmp_path):
    """Those that it spells, along their main directions; others, padding and the unknown word as they are drawn."""
    told, classes, size = [one.text for one in texts()], ["a", "b"], replace(WORDS_ALONE, word_dim=4)
    known = ["pump", "oven", "star", "river", "dough", "comet"]
    folder, table = encoder_of(tmp_path / "encoder", known)
    plain, begun = made(told, classes, size, 0), made(told, classes, size, 0, folder)
    rows = [begun.words.read(word).ids[0] for word in known]
    own = begun.embed.weight[rows].detach()
    assert own.norm(dim=1).mean().item() == pytest.approx(0.5 * 4**0.5, rel=1e-5)
    centred = table - table.mean(0)
    expected = np.abs(centred.numpy() @ np.linalg.svd(centred.numpy())[2][:4].T)
    np.testing.assert_allclose(own.abs() / own.norm(), expected / np.linalg.norm(expected), atol=1e-5)
    others = [row for row in range(len(begun.words)) if row not in rows]
    assert torch.equal(begun.embed.weight[others], plain.embed.weight[others])
    recipes = [classifying(texts(), (), size, words_of=one) for one in (None, folder)]
    assert recipes[0].depends_on["words"] != recipes[1].depends_on["words"]


def test_too_few_words_of_an_encoder_are_left_out(tmp_path):
    told, size = [one.text for one in texts()], replace(WORDS_ALONE, word_dim=4)
    folder, _ = encoder_of(tmp_path / "encoder", ["pump", "oven", "unheard"])
    plain, begun = made(told, ["a", "b"], size, 0), made(told, ["a", "b"], size, 0, folder)
    assert torch.equal(begun.embed.weight, plain.embed.weight)


def test_a_folder_without_a_table_is_named(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(ModelUnavailable, match=r"tokenizer\.json|model\.safetensors"):
        made([one.text for one in texts()], ["a", "b"], SMALL, 0, tmp_path / "empty")
