"""Encoders pre-trained on texts alone, end to end: every task, the guard, what is held out, the command."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from training.conftest import FILLERS, TOPICS, make_encoder
from transformers import BertConfig, BertModel
from typer.testing import CliRunner

from foveal.errors import InputError, UnknownName
from foveal.models import load_encoder
from foveal.models.bert import pooling_of
from foveal.models.quiet import quiet
from foveal.training import model_folders, pretrained_encoders
from foveal.training.examples import Examples
from foveal.training.loop import LoopSettings
from foveal.training.pretrained_encoders import OF_CLS, TASKS, PretrainingSettings, pretrain_encoder
from foveal.training.runs import RunSettings

pytestmark = pytest.mark.usefixtures("undrawn")

LOOP = LoopSettings(steps=40, batch=8, learning_rate=0.01, evaluate_every=20, checkpoint_every=20)
FAST = PretrainingSettings(window=20, held_out=0.2, queue=32, momentum=0.9, loop=LOOP)


@pytest.fixture(scope="module")
def tiny_two_layers(tmp_path_factory):
    """Condenser's head gets a middle layer, so that one layer is too few; SimCSE's views differ by dropout."""
    folder = make_encoder(tmp_path_factory.mktemp("tiny") / "tiny-bert", dropout=0.1)
    config = BertConfig.from_pretrained(folder, num_hidden_layers=2)
    with quiet(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        BertModel(config).save_pretrained(folder)
    return folder


def sentences(text):
    """Parts that end with a full stop."""
    ends = [place + 1 for place, sign in enumerate(text) if sign == "."]
    return list(zip([0, *ends], ends, strict=False))


def collection():
    """Three texts a topic: half of their sentences have its one word, half its other, and fillers stand about."""
    draw = np.random.default_rng(0)

    def sentence(word):
        return " ".join(draw.permutation([word, word, *draw.choice(FILLERS, 4)])) + "."

    return {
        f"t{topic}-{n}": " ".join(sentence(f"{'ab'[n % 2]}{topic}") for n in range(4))
        for topic in range(TOPICS) for n in range(3)
    }  # fmt: skip


TEXTS = collection()


def trained(base, home, settings=FAST, texts=TEXTS, **run):
    return pretrain_encoder(texts, str(base), settings, sentences=sentences, run=RunSettings(home=home, **run))


@pytest.mark.parametrize(
    "task", [pytest.param(one, marks=() if one in ("ict", "retromae") else pytest.mark.slow) for one in TASKS]
)
def test_every_task_trains_and_its_folder_is_an_encoder(tiny_two_layers, tmp_path, task):
    """T13 end to end: the loss falls, and the folder pools as the task trained it."""
    settings = replace(FAST, task=task)
    folder, report = trained(tiny_two_layers, tmp_path, settings)
    first, last = report.curves.losses[0][1], report.curves.losses[-1][1]
    assert report.curves.steps == 40
    assert last < first
    made = folder or tmp_path / "runs" / "train" / report.name / "rejected"
    assert pooling_of(made) == ("cls" if task in OF_CLS else "mean")
    assert load_encoder(str(made)).encode(["a1 f2"]).shape == (1, 16)
    assert report.kept == (report.measured["dev"][1]["ndcg@10"] > report.measured["dev"][0]["ndcg@10"])
    assert not (tmp_path / "runs" / "train" / report.name / "begun").exists()
    assert trained(tiny_two_layers, tmp_path, settings, on_progress=lambda _: pytest.fail("it trained")) == (
        folder, report,
    )  # fmt: skip


def test_sentences_that_ask_are_of_texts_that_are_not_learnt_from():
    learnt, dev = pretrained_encoders._parted(TEXTS, sentences, FAST)
    held = {document for found in dev.positives.values() for document in found}
    assert len(held) == len(dev.queries) == 5  # a fifth of 24
    assert sorted(learnt) == sorted(" ".join(TEXTS[name].split()) for name in TEXTS if name not in held)
    assert set(dev.corpus) == set(TEXTS)  # all of them are searched
    for query, found in dev.positives.items():
        assert dev.queries[query] in TEXTS[found[0]]
        assert dev.queries[query] not in dev.corpus[found[0]]


def test_no_copy_of_a_text_that_asks_is_learnt_from():
    copies = {f"{name} again": f"{text}\n" for name, text in TEXTS.items()}
    learnt, dev = pretrained_encoders._parted({**TEXTS, **copies}, sentences, FAST)
    assert not [query for query in dev.queries.values() if any(query in text for text in learnt)]


@pytest.mark.parametrize("count", range(4, 20))
def test_a_footer_takes_no_collection_out_of_what_is_learnt(count):
    """Were it what asks, all that hold it would be held out."""
    own = (f"Of part {n} the first sentence speaks. Of part {n} the second one does, too." for n in range(count))
    texts = {f"d{n}": f"{text} All rights to this text are reserved by us." for n, text in enumerate(own)}
    learnt, dev = pretrained_encoders._parted(texts, sentences, FAST)
    assert len(learnt) == count - len(dev.queries)
    assert not any("All rights" in query for query in dev.queries.values())


def test_a_sentence_without_a_letter_asks_for_nothing(tiny_two_layers):
    """A control sign gives no token with BERT's own tokenizer, which would end a training in its midst."""
    model = model_folders.sentence_transformer(tiny_two_layers)
    odd = [f"{text} \x07." for text in TEXTS.values()]
    _, examples = pretrained_encoders._task(model, "mean", tiny_two_layers, odd, sentences, FAST)
    assert [len(parts) for parts in examples.items] == [4] * len(odd)
    assert "\x07" not in "".join(part for parts in examples.items for part in parts)


def test_judged_queries_may_decide(tiny_two_layers, tmp_path):
    """Then all texts are learnt from, and the judged corpus is searched."""
    dev = Examples({"q": "a1 f1"}, {"d": "a1 f2", "e": "b3 f4"}, {"q": {"d": 1}})
    loop = replace(LOOP, steps=None, epochs=1.5, evaluate_every=None, checkpoint_every=None)
    folder, report = trained(tiny_two_layers, tmp_path, replace(FAST, loop=loop), dev=dev)
    assert report.curves.steps == 5  # one and a half passes over 24 texts by eights
    assert [step for step, _ in report.curves.metrics] == [0, 3, 5]
    assert report.measured["dev"][0]["recall@100"] == 1
    assert (folder is None) == (not report.kept)


def test_what_cannot_be_pretrained_is_refused(tiny_two_layers, tmp_path):
    with pytest.raises(UnknownName, match="ict, simcse, contriever, condenser, cocondenser, retromae, bow"):
        PretrainingSettings(task="bfs")
    for wrong in ({"window": 2}, {"held_out": 1.0}, {"held_out_texts": 0}):
        with pytest.raises(InputError, match=f"Pre-training got {next(iter(wrong))} = "):
            PretrainingSettings(**wrong)
    with pytest.raises(InputError, match="got 1 texts; it needs two"):
        trained(tiny_two_layers, tmp_path, texts={"a": "f1.", "b": " "})
    assert pretrained_encoders._parted(TEXTS, sentences, replace(FAST, loop=replace(LOOP, seed=7))) == (
        pretrained_encoders._parted(TEXTS, sentences, FAST)
    )  # whatever the seed is, the same queries are held out
    with pytest.raises(InputError, match="No query could be made of 2 passages"):
        trained(tiny_two_layers, tmp_path, texts={"a": "f1 f2.", "b": "f3."})


def test_the_command_pretrains_on_a_folder(tiny_two_layers, tmp_path):
    import typer

    from foveal.cli.train_pretraining import pretraining

    app = typer.Typer()
    app.command()(pretraining)
    whole = {name: " ".join(part.strip().capitalize() + "." for part in text.split(".") if part.strip())
             for name, text in TEXTS.items()}  # fmt: skip
    lines = [{"_id": name, "title": "", "text": text} for name, text in whole.items()]
    (tmp_path / "corpus.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    given = ["--data", tmp_path, "--base", tiny_two_layers, "--task", "simcse", "--steps", 2, "--batch", 4, "--json"]
    given += ["--name", "mine", "--home", tmp_path / "home"]
    done = CliRunner().invoke(app, list(map(str, given)), catch_exceptions=False)
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert (told["name"], told["what"], told["curves"]["steps"]) == ("mine", "encoder, pre-training: simcse", 2)
    with pytest.raises(UnknownName, match="No pre-training task is called 'luck'"):
        CliRunner().invoke(app, ["--data", str(tmp_path), "--task", "luck"], catch_exceptions=False)
