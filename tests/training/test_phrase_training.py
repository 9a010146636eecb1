"""A4: start and end vectors, trained end to end on questions that a tiny BERT can learn to answer."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers
from training.conftest import FILLERS, TOPICS

from foveal.errors import InputError, ModelUnavailable
from foveal.models.phrase_reading import read, windows
from foveal.retrieval.phrase_encoders import PhraseEncoder, load_phrase_encoder
from foveal.retrieval.phrases import PhraseIndex, PhraseRetriever
from foveal.training.loop import LoopSettings
from foveal.training.phrases import (
    HEADS,
    PhraseLoss,
    PhraseModel,
    PhraseRecord,
    PhraseRows,
    PhraseTask,
    PhraseTraining,
    answer_tokens,
    best_phrases,
    collate,
    examples_of,
    phrase_loss,
    train_phrases,
)
from foveal.training.runs import RunSettings
from foveal.types import Passage, Span

pytestmark = pytest.mark.usefixtures("undrawn")

LOOP = LoopSettings(epochs=24, batch=8, learning_rate=0.01, evaluate_every=30, checkpoint_every=1000)
FAST = PhraseTraining(dev_share=0.25, dev_passages=30, longest=3, temperature=1.0, loop=LOOP)


def topic_records(count=6):
    """Questions "a<t> …", each answered by the words "b<t> <filler t>" of a passage of its own."""
    records = []
    for topic in range(TOPICS):
        for n in range(count):
            fill = [FILLERS[(topic + 5 * n + 3 * m) % 12] for m in range(6)]
            passage = f"{fill[0]} {fill[1]}, b{topic} {FILLERS[topic]} {' '.join(fill[2 : 3 + n % 4])}."
            question = f"a{topic} {FILLERS[(7 * n + topic) % 12]}"
            records.append(PhraseRecord.of(question, passage, f"b{topic} {FILLERS[topic]}"))
    return records


def plain_tokenizer(folder):
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer


def made_rows(folder, records, room=22):
    return PhraseRows(records, plain_tokenizer(folder), room=room, seed=0)


# -- end to end ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dimension", [None, 6])
@pytest.mark.slow
def test_a_model_learns_to_find_the_words(tiny_encoder, tmp_path, dimension):
    """A4: exact match of the best phrase over passages rises for questions held out; the folder is then searched."""
    settings = replace(FAST, dimension=dimension)
    records = topic_records()
    test = [one for one in records if one.question.endswith(FILLERS[3])]
    learnt = [one for one in records if one not in test]
    assert test
    folder, report = train_phrases(learnt, str(tiny_encoder), settings, run=RunSettings(home=tmp_path, test=test))
    before, after = report.measured["dev"]
    assert report.kept
    assert folder == tmp_path / "models" / report.name
    assert after["exact"] > before["exact"] + 0.3
    assert report.measured["test"][1]["exact"] > report.measured["test"][0]["exact"]
    assert not list(folder.rglob("*.bin")) + list(folder.rglob("*.pt"))

    encoder = load_phrase_encoder(str(folder))
    assert encoder.dimension == (16 if dimension is None else 12)
    texts = [one.passage for one in test]
    starts = np.cumsum([0, *map(len, texts)])
    passages = [Passage(Span("d", at, at + len(text)), text) for at, text in zip(starts, texts, strict=False)]
    retriever = PhraseRetriever(encoder, PhraseIndex.build(passages, encoder, longest=3))
    model = PhraseModel.of(folder, settings).eval()
    questions = [one.question for one in test]
    by_model = best_phrases(model, plain_tokenizer(folder), questions, texts, 3)
    by_index = [hits[0].text for hits in retriever.phrases(questions, 1)]
    assert by_index == by_model  # two roads: the library's encoder and index, and the model as it was trained
    again = train_phrases(
        learnt,
        str(tiny_encoder),
        settings,
        run=RunSettings(home=tmp_path, test=test, on_progress=lambda _: pytest.fail("it trained")),
    )
    assert again == (folder, report)


def test_a_model_that_finds_no_more_is_not_kept(tiny_encoder, tmp_path):
    """The report says so, and that answers of two words cannot be found as phrases of one."""
    hopeless = replace(FAST, longest=1, loop=replace(LOOP, steps=2, learning_rate=1e-12, evaluate_every=1))
    folder, report = train_phrases(
        topic_records(), str(tiny_encoder), hopeless, run=RunSettings(home=tmp_path, name="hopeless")
    )
    assert folder is None
    assert "36 of 36 answers have more than 1 tokens" in report.notes[0]
    assert "not kept" in report.notes[1]
    assert (tmp_path / "runs" / "train" / "hopeless" / "rejected" / "phrases.safetensors").is_file()


def test_other_answers_are_another_run(tiny_encoder, tmp_path):
    """The places of the answers are part of what a run depends on."""
    hopeless = replace(FAST, loop=replace(LOOP, steps=1, learning_rate=1e-12))
    records = topic_records(2)
    train_phrases(records, str(tiny_encoder), hopeless, run=RunSettings(home=tmp_path, name="one"))
    moved = [replace(one, end=one.end - 3) for one in records]
    with pytest.raises(InputError, match="of another run"):
        train_phrases(moved, str(tiny_encoder), hopeless, run=RunSettings(home=tmp_path, name="one"))


def test_a_trained_model_is_trained_on(tiny_encoder, tmp_path):
    """Heads that a folder has are gone on with, whatever the settings say of new ones."""
    model = PhraseModel.of(tiny_encoder, replace(FAST, dimension=5, pooling="cls"))
    with torch.no_grad():
        model.heads["end"].weight.add_(1)
    again = PhraseModel.of(model.save(tmp_path / "made"), FAST)
    assert (again.dimension, again.pooling) == (5, "cls")
    for name, weight in model.matrices().items():
        assert torch.equal(again.matrices()[name], weight)


# -- the objective ---------------------------------------------------------------------------------------------------


def loss_by_definition(logits, allowed, gold, within):
    """-log of the share of the answer's tokens among all tokens of all passages, and among those of its own."""
    total = 0.0
    size, _, length = logits.shape
    for b in range(size):
        right = sum(math.exp(logits[b, b, t]) for t in range(length) if gold[b, t])
        everywhere = sum(math.exp(logits[b, p, t]) for p in range(size) for t in range(length) if allowed[p, t])
        own = sum(math.exp(logits[b, b, t]) for t in range(length) if allowed[b, t])
        total += -math.log(right / everywhere) - within * math.log(right / own)
    return total / size


@pytest.mark.parametrize("within", [0.0, 0.5])
def test_the_loss_by_its_definition(within):
    """A4: softmax over all start positions of the batch, and the within-passage term."""
    rng = np.random.default_rng(0)
    logits, allowed = rng.normal(size=(3, 3, 6)), rng.random((3, 6)) < 0.6
    gold = np.zeros((3, 6), dtype=bool)
    for row, places in enumerate([[1], [0, 4], [5]]):  # the second has two answers
        gold[row, places] = allowed[row, places] = True
    found = phrase_loss(*(torch.from_numpy(one) for one in (logits, allowed, gold)), within=within)
    assert float(found) == pytest.approx(loss_by_definition(logits, allowed, gold, within), abs=1e-6)


def test_gradients_reach_the_encoder_and_all_heads(tiny_encoder):
    """A4: four heads and the encoder are trained; logits are those of the four matrices."""
    model = PhraseModel.of(tiny_encoder, replace(FAST, dimension=7))
    rows = made_rows(tiny_encoder, topic_records(1))
    batch = collate([rows[place] for place in range(4)])
    starts, ends = model.eval()(batch)
    states = model.hidden(batch["passage"], batch["passage_mask"])
    mask = batch["question_mask"]
    asked = model.hidden(batch["question"], mask)
    weights = model.matrices()
    for b in range(4):
        mean = asked[b][mask[b]].mean(0)
        for p in range(4):
            for side, logits in (("start", starts), ("end", ends)):
                expected = (states[p] @ weights[side].T) @ (weights[f"question_{side}"] @ mean)
                assert torch.allclose(logits[b, p], expected, atol=1e-4)
    PhraseLoss(within=1.0, temperature=2.0)(model, batch).backward()
    for name, weight in model.named_parameters():
        if name.startswith("heads") or "attention.self.query" in name:
            assert weight.grad.abs().max() > 0, name
    assert {f"heads.{name}.weight" for name in HEADS} <= dict(model.named_parameters()).keys()


def test_heads_begin_as_one_rotation_of_the_seed(tiny_encoder):
    whole, short = (PhraseModel.of(tiny_encoder, replace(FAST, dimension=size)) for size in (None, 5))
    other = PhraseModel.of(tiny_encoder, replace(FAST, dimension=5, loop=replace(LOOP, seed=1)))
    assert all(torch.equal(weight, torch.eye(16)) for weight in whole.matrices().values())
    first = short.matrices()["start"]
    assert torch.allclose(first @ first.T, torch.eye(5), atol=1e-5)
    assert all(torch.equal(weight, first) for weight in short.matrices().values())
    assert not torch.equal(other.matrices()["start"], first)
    with pytest.raises(InputError, match="has 16 to give"):
        PhraseModel.of(tiny_encoder, replace(FAST, dimension=17))


# -- rows ------------------------------------------------------------------------------------------------------------


def shown(row, tokenizer):
    """The row's passage as words, and the words at its marks."""
    words = [tokenizer.id_to_token(number) for number in row["passage"]]
    return words, *([word for word, on in zip(words, mask, strict=True) if on] for mask in row["masks"])


def test_a_row_is_question_passage_and_marks(tiny_encoder):
    tokenizer, passage = plain_tokenizer(tiny_encoder), "f1 b2 f3, f4 b2"
    records = [PhraseRecord("a2 f1", passage, 3, 8), PhraseRecord("a2 f1", passage, 13, 15)]
    rows = made_rows(tiny_encoder, records)
    assert len(rows) == 1
    words, begins, ends, first, last = shown(rows[0], tokenizer)
    assert words == ["[CLS]", "f1", "b2", "f3", "[UNK]", "f4", "b2", "[SEP]"]
    assert begins == ends == words[1:-1]
    assert (first, last) == (["b2", "b2"], ["f3", "b2"])  # both answers
    batch = collate([rows[0], made_rows(tiny_encoder, [PhraseRecord("a1 f1 f2", "b1 f4", 0, 2)])[0]])
    assert batch["passage"].shape == batch["gold_ends"].shape == batch["passage_mask"].shape
    assert batch["question_mask"].sum(1).tolist() == [4, 5]
    assert batch["gold_begins"].sum(1).tolist() == [2, 1]
    assert not (batch["begins"] & ~batch["passage_mask"]).any()


def test_a_long_passage_is_read_in_a_window_with_its_answer(tiny_encoder):
    """A4: the window is drawn anew each epoch, and holds the answer whole."""
    passage = " ".join([*["f1"] * 30, "b3", "f7", "f8", *["f2"] * 30])
    rows = made_rows(tiny_encoder, [PhraseRecord.of("a3", passage, "b3 f7 f8")], room=10)
    places = set()
    for epoch in range(20):
        words, _, _, first, last = shown(rows[epoch], rows.tokenizer)
        assert len(words) == 12
        assert (first, last) == (["b3"], ["f8"])
        places.add(words.index("b3"))
    assert len(places) > 3
    assert rows[4] == rows[4]
    with pytest.raises(InputError, match="has 3 tokens; a window holds 2"):
        made_rows(tiny_encoder, [PhraseRecord.of("a3", passage, "b3 f7 f8")], room=2)


@given(count=st.integers(0, 300), room=st.integers(1, 60))
def test_windows_share_out_every_token_once(count, room):
    """A4: each token has one state, from a window that goes on around it."""
    found = windows(count, room)
    taken = [place for _, _, first, last in found for place in range(first, last)]
    assert taken == list(range(count))
    for start, end, first, last in found:
        assert 0 <= start <= first <= last <= end <= count
        assert end - start == min(room, count)
        assert first == 0 or first - start >= room // 8
        assert last == count or end - last >= room // 8


def pieces():
    """A tokenizer of word pieces."""
    vocabulary = ["[UNK]", "photo", "##recep", "##tors", "see", "light", ",", "dim", "cafe", "é"]
    tokenizer = Tokenizer(models.WordPiece({word: n for n, word in enumerate(vocabulary)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return tokenizer


@pytest.mark.parametrize(
    ("answer", "whole"),
    [
        ("recep", "photoreceptors"),
        ("otorec", "photoreceptors"),
        ("tors s", "photoreceptors see"),
        ("light, d", "light, dim"),
        (" see ", "see"),
        (",", ","),
        ("photoreceptors see light, dim", "photoreceptors see light, dim"),
    ],
)
def test_an_answer_that_splits_a_word_snaps_outwards(answer, whole):
    """A4: offsets inside a token, or a word, mean the words that they touch."""
    text = "photoreceptors see light, dim"
    tokens = read(pieces(), [text])[0]
    start = text.index(answer)
    first, last = answer_tokens(tokens, start, start + len(answer))
    assert text[tokens.offsets[first, 0] : tokens.offsets[last, 1]] == whole
    assert tokens.begins.tolist() == [True, False, False, True, True, True, True]
    assert tokens.ends.tolist() == [False, False, True, True, True, True, True]


def test_a_combining_mark_belongs_to_its_word():
    text = "cafe see"
    tokens = read(pieces(), ["cafe\u0301 see", text, ""])
    assert tokens[1].offsets.tolist() == [[0, 4], [5, 8]]
    assert tokens[0].offsets[-1].tolist() == [6, 9]
    assert tokens[2].offsets.shape == (0, 2)


def test_no_passage_of_a_batch_answers_another_question(tiny_encoder):
    """A4: in-batch negatives are wrong ones: passages that answer another question of the batch are apart."""
    passages = ["b1 f1", "b2 f2", "b3 f3"]
    records = [PhraseRecord(f"a{n} f{n}", passages[n % 3], 0, 2) for n in range(9)]
    records.append(PhraseRecord("a0 f0", passages[1], 0, 2))  # one question, two passages
    rows = made_rows(tiny_encoder, records)
    from foveal.training.examples import ApartBatches

    for epoch in range(3):
        batches = ApartBatches(rows.rows, 4)(epoch)
        assert sorted(place % 10 for batch in batches for place in batch) == list(range(10))
        for batch in batches:
            pairs = [rows.rows.pairs[place % 10] for place in batch]
            for question, _ in pairs:
                right = rows.rows.examples.judged[question]
                assert sum(passage in right for _, passage in pairs) == 1


# -- the dev questions -----------------------------------------------------------------------------------------------


def test_the_best_phrase_by_a_double_loop(tiny_encoder):
    """A4: over all passages, phrases of whole words."""
    model, tokenizer = PhraseModel.of(tiny_encoder, replace(FAST, dimension=5)).eval(), plain_tokenizer(tiny_encoder)
    with torch.no_grad():
        for n, weight in enumerate(model.heads.parameters()):
            weight.copy_(torch.from_numpy(np.random.default_rng(n).normal(size=(5, 16))))
    records = topic_records(2)
    questions, passages = [one.question for one in records[:5]], [one.passage for one in records]
    weights = {name: weight.numpy() for name, weight in model.matrices().items()}
    found = best_phrases(model, tokenizer, questions, passages, 3)
    for question, answer in zip(questions, found, strict=True):
        with torch.inference_mode():
            ids = torch.tensor([tokenizer.encode(question).ids])
            asked = model.hidden(ids, torch.ones_like(ids))[0].mean(0).numpy()
        best = (-math.inf, "")
        for passage in passages:
            encoding = tokenizer.encode(passage)
            ids = torch.tensor([encoding.ids])
            with torch.inference_mode():
                states = model.hidden(ids, torch.ones_like(ids))[0].numpy()
            for i in range(1, len(encoding.ids) - 1):
                for j in range(i, min(i + 3, len(encoding.ids) - 1)):
                    start = (weights["question_start"] @ asked) @ (weights["start"] @ states[i])
                    end = (weights["question_end"] @ asked) @ (weights["end"] @ states[j])
                    best = max(best, (start + end, passage[encoding.offsets[i][0] : encoding.offsets[j][1]]))
        assert answer == best[1]


@pytest.mark.model
@pytest.mark.slow
def test_the_library_finds_what_the_model_finds():
    """A4: MiniLM, words of many pieces, a passage of several windows: two roads, one phrase."""
    from foveal.models import load_encoder

    minilm = load_encoder("minilm", dtype="float32")
    model = PhraseModel.of(minilm.folder, PhraseTraining()).eval()
    texts = ["Photoreceptors, unbelievably, outnumber ganglion cells.", " ".join(f"{n} rhodopsins" for n in range(150))]
    questions = ["which cells are many?", "rhodopsins", "unbelievable ganglia", "120"]
    found = best_phrases(model, plain_tokenizer(minilm.folder), questions, texts, 4)
    encoder = PhraseEncoder(minilm)
    index = PhraseIndex.build([Passage(Span(text[:3], 0, len(text)), text) for text in texts], encoder, longest=4)
    assert found == [hits[0].text for hits in PhraseRetriever(encoder, index).phrases(questions, 1)]
    assert all(re.fullmatch(r"\w.*\w|[\w.,]", text) for text in found)
    words = {*re.findall(r"\w+|[.,]", " ".join(texts))}
    assert all(set(re.findall(r"\w+|[.,]", text)) <= words for text in found)


def test_a_task_asks_all_own_passages_and_some_others(tiny_encoder):
    records = topic_records(2)
    task = PhraseTask.of(records[:3], records, 5)
    assert task.passages == tuple(one.passage for one in records[:5])
    assert len(PhraseTask.of(records[:3], records, 1).passages) == 3
    twice = PhraseTask.of([records[0], replace(records[0], end=records[0].end - 3)], (), 1)
    assert list(twice.answers.values()) == [("b0 f0", "b0")]
    assert twice.measure(PhraseModel.of(tiny_encoder, FAST).eval(), plain_tokenizer(tiny_encoder), 3).keys() == {
        "exact",
        "f1",
    }


# -- bad input -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("record", "says"),
    [
        (("a1", "b1 f1", 3, 9), "was to stand at 3 to 9 of a passage of 5"),
        (("a1", "b1 f1", -1, 2), "was to stand at -1 to 2"),
        (("a1", "b1 f1", 2, 2), "was to stand at 2 to 2"),
        (("a1", "b1 f1", 2, 3), "where there is no text"),
        ((" ", "b1 f1", 0, 2), "The question for 'b1 f1' has no text"),
    ],
)
def test_a_record_whose_answer_stands_nowhere_is_refused(record, says):
    """A4: bad input: an answer that is not in the passage."""
    with pytest.raises(InputError, match=says):
        PhraseRecord(*record)


@pytest.mark.parametrize(("answer", "says"), [("b9", "stands 0 times"), ("b1", "stands 2 times"), ("", "stands 0")])
def test_an_answer_that_does_not_stand_there_once_is_refused(answer, says):
    with pytest.raises(InputError, match=says):
        PhraseRecord.of("a1", "b1 f1 b1", answer)


def test_settings_that_cannot_be_trained_with_are_refused():
    for wrong, says in [
        ({"pooling": "last"}, "pooling='last'"),
        ({"dimension": 0}, "dimension = 0"),
        ({"longest": 0}, "longest = 0"),
        ({"dev_passages": 0}, "dev_passages = 0"),
        ({"window": 2}, "window = 2"),
        ({"within": -1}, "within = -1"),
        ({"temperature": 0}, "temperature = 0"),
    ]:
        with pytest.raises(InputError, match=says):
            PhraseTraining(**wrong)


def test_no_records_and_no_encoder_are_refused(tiny_encoder, tmp_path):
    with pytest.raises(InputError, match="holds no document"):
        train_phrases([], str(tiny_encoder), FAST, run=RunSettings(home=tmp_path))
    with pytest.raises(InputError, match="fewer than two different queries"):
        train_phrases(topic_records(1)[:1], str(tiny_encoder), FAST, run=RunSettings(home=tmp_path))
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "config.json").write_text('{"model_type": "gpt2"}')
    with pytest.raises(ModelUnavailable, match="no sentence encoder of the BERT family"):
        PhraseModel.of(tmp_path / "other", FAST)
    with pytest.raises(InputError, match="No token of the passage"):
        answer_tokens(read(pieces(), ["see  light"])[0], 3, 5)


def test_examples_hold_each_text_once():
    records = [*topic_records(1), *topic_records(1)]
    examples = examples_of(records)
    assert (len(examples.queries), len(examples.corpus)) == (TOPICS, TOPICS)
    assert [list(grades) for grades in examples.judged.values()] == [[f"p{n}"] for n in range(TOPICS)]


# -- the page --------------------------------------------------------------------------------------------------------

PAGE = Path(__file__).parents[2] / "docs" / "phrases.md"


@pytest.mark.model
def test_the_code_of_the_page_runs(tmp_path, monkeypatch, capsys, tiny_encoder):
    """A4: as written, but for the encoder that is trained: a tiny one."""
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    for block in re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL):
        exec(block.replace('train_phrases(records, "minilm"', f'train_phrases(records, "{tiny_encoder}"'), names)
    assert names["hits"][0].passage.span.document_id == "tears"
    assert all(names["texts"][one.span.document_id][one.start : one.end] == one.text for one in names["found"])
    assert "exact" in capsys.readouterr().out
