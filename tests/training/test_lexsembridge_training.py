"""Bridges trained end to end on a collection that a tiny BERT can learn: alone, and with the encoder."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from training.conftest import make_encoder
from typer.testing import CliRunner

from foveal.errors import InputError, ModelUnavailable
from foveal.evaluation.fine_grained import make_part_of_passage_task
from foveal.models import load_encoder
from foveal.models.lexsembridge import BridgeSettings, Reading
from foveal.models.lexsembridge_reading import ENCODER, Reader, Units, bridged
from foveal.retrieval.lexsembridge import LexSemBridge
from foveal.training import model_folders
from foveal.training.encoders import dev_metrics
from foveal.training.examples import Examples, Rows
from foveal.training.lexsembridge import begun, train_lexsembridge, with_tasks
from foveal.training.lexsembridge_both import BridgedEncoder
from foveal.training.lexsembridge_frozen import Frozen, FrozenRows, collate, joined, single
from foveal.training.lexsembridge_losses import info_nce, own_only, presence_loss
from foveal.training.lexsembridge_settings import LexSemBridgeSettings
from foveal.training.loop import LoopSettings
from foveal.training.runs import RunSettings
from foveal.training.searches import VectorSearch

pytestmark = pytest.mark.usefixtures("undrawn")

LOOP = LoopSettings(steps=60, batch=16, learning_rate=0.1, evaluate_every=20, checkpoint_every=100)
FAST = LexSemBridgeSettings(loop=LOOP, dev_share=0.3, temperature=0.05)


def turned(examples):
    """The same queries with their words in another order: what was learnt of a word holds there, too."""
    queries = {f"{one} turned": " ".join(reversed(text.split())) for one, text in examples.queries.items()}
    return Examples(queries, examples.corpus, {f"{one} turned": found for one, found in examples.judged.items()})


def trained(topics, base, home, settings=FAST, **run):
    return train_lexsembridge(topics, str(base), settings, run=RunSettings(home=home, **run))


# -- losses -----------------------------------------------------------------------------------------------------------


def test_the_loss_is_info_nce_by_definition():
    """Target of query i is i · G among all B · G, or among its own G."""
    queries, candidates = torch.randn(3, 4), torch.randn(6, 4)
    targets, tau = torch.tensor([0, 2, 4]), 0.3
    for allowed, chosen in ((None, lambda _: range(6)), (own_only(3, 2), lambda row: (2 * row, 2 * row + 1))):
        expected = 0.0
        for row in range(3):
            scores = {place: float(torch.exp(queries[row] @ candidates[place] / tau)) for place in chosen(row)}
            expected -= np.log(scores[2 * row] / sum(scores.values())) / 3
        assert float(info_nce(queries, candidates, targets, temperature=tau, allowed=allowed)) == pytest.approx(
            expected, rel=1e-4
        )


def test_gradients_reach_all_that_is_trained(tiny_encoder):
    """Backbone, W, c, and s, a or the head."""
    encoder = load_encoder(str(tiny_encoder), dtype="float32")
    for method, names in (
        ("SLR", {"scale"}),
        ("LLR", {"place.weight", "place.bias"}),
        ("CLR", {"head.dense.weight", "head.bias"}),
    ):
        settings = LexSemBridgeSettings(
            bridge=BridgeSettings(method=method), units="tokens", from_corpus=False, init_mlm_head=method == "CLR"
        )
        bridge, units = begun(encoder, {"d": "a1"}, np.ones((1, 16), np.float32), settings)
        torch.nn.init.normal_(bridge.weight)
        model = BridgedEncoder(model_folders.sentence_transformer(tiny_encoder), bridge, units, pooling="mean")
        vectors = model.queries(model.read(["a1 f1", "b2"], 24))
        info_nce(vectors, torch.randn(2, 16), torch.arange(2), temperature=0.1).backward()
        moved = {
            name for name, parameter in bridge.named_parameters() if parameter.grad is not None and parameter.grad.any()
        }
        assert moved >= names | {"weight", "bias"}, method
        assert any(parameter.grad is not None and parameter.grad.any() for parameter in model.encoder.parameters())


def test_a_fresh_head_learns_which_tokens_a_text_has(tiny_encoder):
    encoder = load_encoder(str(tiny_encoder), dtype="float32")
    settings = BridgeSettings(method="CLR")
    chosen = LexSemBridgeSettings(bridge=settings, units="tokens", from_corpus=False, init_mlm_head=True)
    bridge, units = begun(encoder, {"d": "a1"}, np.ones((1, 16), np.float32), chosen)
    reading = Reader(encoder, units, settings)([f"a{n} b{n} f{n}" for n in range(8)])
    optimiser = torch.optim.Adam(bridge.head.parameters(), lr=0.05)
    before = float(presence_loss(bridge, reading).detach())
    for _ in range(60):
        optimiser.zero_grad()
        loss = presence_loss(bridge, reading)
        loss.backward()
        optimiser.step()
    assert float(loss.detach()) < 0.8 * before
    said = torch.log_softmax(bridge.head(reading.first), dim=-1).detach()
    expected = -np.mean([[float(said[row, unit]) for unit in reading.ids[row, 1:4]] for row in range(8)])
    assert float(presence_loss(bridge, reading).detach()) == pytest.approx(expected, rel=1e-4)


# -- the bridge alone -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["SLR", "LLR"])
def test_a_bridge_learns_is_kept_and_is_in_use(topics, tiny_encoder, tmp_path, method):
    """The loss falls, dev queries are found better, and the folder gives just the vectors that were measured."""
    settings = replace(FAST, bridge=BridgeSettings(method=method))
    dev, asked = turned(topics), {"dev": turned(topics), "test": topics}
    folder, report = trained(topics, tiny_encoder, tmp_path, settings, **asked)
    before, after = report.measured["dev"]
    assert report.kept
    assert folder == tmp_path / "models" / report.name
    assert after["ndcg@10"] > before["ndcg@10"] + 0.05
    assert report.measured["test"][1]["ndcg@10"] > report.measured["test"][0]["ndcg@10"]
    losses = [loss for _, loss in report.curves.losses]
    assert np.mean(losses[-5:]) < np.mean(losses[:5])
    bridge, encoder = LexSemBridge.load(folder), load_encoder(str(tiny_encoder))
    assert bridge.encoder.fingerprint == encoder.fingerprint
    search = VectorSearch(list(dev.corpus), encoder.encode(list(dev.corpus.values())), bridge.encode_query)
    assert dev_metrics(dev, search)["ndcg@10"] == pytest.approx(after["ndcg@10"], abs=0.02)
    assert dev_metrics(dev, replace(search, encode=encoder.encode))["ndcg@10"] == pytest.approx(before["ndcg@10"])
    assert not list(folder.rglob("*.bin")) + list(folder.rglob("*.pt"))
    again = trained(topics, tiny_encoder, tmp_path, settings, **asked, on_progress=lambda _: pytest.fail("it trained"))
    assert again == (folder, report)


def test_clr_trains_with_a_fresh_head(topics, tiny_encoder, tmp_path):
    settings = replace(FAST, bridge=BridgeSettings(method="CLR"), units="tokens", init_mlm_head=True)
    folder, report = trained(topics, tiny_encoder, tmp_path, settings, name="clr")
    assert report.curves.losses[-1][1] < report.curves.losses[0][1]
    where = folder or tmp_path / "runs" / "train" / "clr" / "rejected"
    assert LexSemBridge.load(where).encode_query(["a1 f2"]).shape == (1, 16)
    with pytest.raises(InputError, match="init_mlm_head=True"):
        trained(topics, tiny_encoder, tmp_path, replace(settings, init_mlm_head=False), name="headless")


def test_a_run_that_was_stopped_goes_on_as_if_it_had_not_been(topics, tiny_encoder, tmp_path):
    """Ctrl-C in the midst; the second start ends with the very weights of a run in one go."""
    settings = replace(FAST, loop=replace(LOOP, steps=12, evaluate_every=4, checkpoint_every=4))
    whole, report = trained(topics, tiny_encoder, tmp_path / "one", settings, name="mine")

    def stop(progress):
        if progress.step == 6:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        trained(topics, tiny_encoder, tmp_path / "two", settings, name="mine", on_progress=stop)
    assert not (tmp_path / "two" / "models").exists()
    parted, second = trained(topics, tiny_encoder, tmp_path / "two", settings, name="mine")
    assert second.curves.resumed_at == 4
    assert second.measured == report.measured
    if whole and parted:
        texts = ["a1 f2", "a3"]
        np.testing.assert_array_equal(*(LexSemBridge.load(one).encode_query(texts) for one in (whole, parted)))


def test_a_bridge_that_finds_no_more_is_not_kept(topics, tiny_encoder, tmp_path):
    settings = replace(FAST, from_corpus=False, loop=replace(LOOP, steps=2, learning_rate=1e-12, evaluate_every=1))
    folder, report = trained(topics, tiny_encoder, tmp_path, settings, name="no-more")
    assert folder is None
    assert "not kept" in report.notes[0]
    with pytest.raises(InputError, match="of another run"):
        trained(topics, tiny_encoder, tmp_path, FAST, name="no-more")


def test_the_batchs_passages_will_do_in_place_of_all(topics, tiny_encoder, tmp_path):
    """Also a query's own negatives alone."""
    for name, options in (("batch", {}), ("own", {"in_batch": False, "negatives": 2})):
        settings = replace(FAST, whole_corpus=False, **options)
        _, report = trained(topics, tiny_encoder, tmp_path, settings, name=name)
        losses = [loss for _, loss in report.curves.losses]
        assert np.mean(losses[-5:]) < np.mean(losses[:5])


def test_other_relevant_passages_are_no_negatives(topics, tiny_encoder):
    """Also those of an equal text under another id."""
    texts = {**topics.corpus, "twin": topics.corpus["d0-0"]}
    rows = Rows(Examples(topics.queries, texts, topics.judged))
    encoder = load_encoder(str(tiny_encoder), dtype="float32")
    units = Units.of_words(texts.values())
    readings = single(Reader(encoder, units, BridgeSettings()), list(topics.queries.values()))
    places = {name: place for place, name in enumerate(texts)}
    found = FrozenRows(rows, readings, places)[0]
    assert found["documents"] == [places["d0-0"]]
    assert set(found["also"]) == {places[name] for name in ("d0-0", "d0-1", "d0-2", "twin")}
    batch = collate([found, FrozenRows(rows, readings, places)[20]])
    assert batch["also"].shape == (2, 4)
    assert batch["also"].min() == -1


@pytest.mark.parametrize("method", ["SLR", "LLR", "CLR"])
def test_readings_joined_are_the_readings_of_a_batch(tiny_encoder, method):
    """One at a time, without padding, and together: the same vectors."""
    encoder = load_encoder(str(tiny_encoder), dtype="float32")
    settings = LexSemBridgeSettings(bridge=BridgeSettings(method=method), units="tokens", init_mlm_head=True)
    bridge, units = begun(encoder, {"d": "a1 b2", "e": "f1"}, np.eye(2, 16, dtype=np.float32), settings)
    reader, texts = Reader(encoder, units, settings.bridge), ["a1", "b2 f3 f4 a5 a1", "f1 f1"]
    with torch.no_grad():
        parted = bridge(joined(single(reader, texts))).numpy()
    np.testing.assert_allclose(parted, bridged(bridge, reader, texts), atol=2e-2)  # states are kept in two bytes


class Elsewhere(torch.nn.Module):
    """Lies on another device than readings do, as a bridge does that learns on a GPU, and takes nothing of this one."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.empty(1, device="meta"))

    def forward(self, reading):
        given = (reading.vectors, reading.ids, reading.states, reading.first)
        assert {one.device.type for one in given} == {"meta"}
        return torch.zeros(len(reading.vectors), 16)


def test_readings_go_where_the_bridge_is_when_it_is_measured(topics, tiny_encoder):
    encoder = load_encoder(str(tiny_encoder), dtype="float32")
    settings = LexSemBridgeSettings(
        bridge=BridgeSettings(method="LLR"), units="tokens", from_corpus=False, loop=LoopSettings(batch=8)
    )
    plain = VectorSearch.over(topics.corpus, encoder.encode)
    trainee = Frozen(*begun(encoder, topics.corpus, plain.vectors, settings), encoder, plain, settings)
    metrics = trainee.job(Rows(topics), topics).evaluate(Elsewhere())
    assert set(metrics) == {"ndcg@10", "recall@100"}


def test_the_shuffled_control_has_as_much_to_train_and_other_rows(topics, tiny_encoder):
    encoder = load_encoder(str(tiny_encoder))
    vectors = encoder.encode(list(topics.corpus.values()))
    bridge, units = begun(encoder, topics.corpus, vectors, FAST)
    control, exchanged = begun(encoder, topics.corpus, vectors, replace(FAST, shuffled=True))
    assert torch.equal(bridge.weight, control.weight)
    assert sorted(units.words) == sorted(exchanged.words)
    assert sum(a == b for a, b in zip(units.words, exchanged.words, strict=True)) < len(units.words) / 2


def test_tasks_join_the_examples(topics):
    task = make_part_of_passage_task(topics.corpus, 2)
    both = with_tasks(topics, [task])
    assert len(both.queries) == len(topics.queries) + len(task.queries)
    assert both.judged["P-o-P-2:d0-0"] == {"d0-0": 1}
    with pytest.raises(InputError, match="there already"):
        with_tasks(both, [task])


# -- bridge and encoder -----------------------------------------------------------------------------------------------

BOTH = replace(
    FAST,
    encoder="both",
    temperature=0.1,
    loop=replace(LOOP, steps=40, batch=8, learning_rate=0.01),
    bridge=BridgeSettings(),
)


def test_encoder_and_bridge_learn_together_and_are_saved_together(topics, tiny_encoder, tmp_path):
    """The loss falls; loaded, the vectors are those that were measured, with the bridge in use."""
    folder, report = trained(topics, tiny_encoder, tmp_path, BOTH, name="both")
    losses = [loss for _, loss in report.curves.losses]
    assert np.mean(losses[-5:]) < np.mean(losses[:5])
    assert report.kept
    bridge = LexSemBridge.load(folder)
    assert bridge.encoder.fingerprint != load_encoder(str(tiny_encoder)).fingerprint
    texts = ["a1 f2", "a7"]
    again = LexSemBridge.load(folder)
    assert np.abs(again.encode_query(texts) - bridge.encode_query(texts)).max() < 1e-6
    alone = load_encoder(
        str(folder / ENCODER)
    )  # the other reading: the bridge was there while it learnt, and is left out
    assert np.abs(alone.encode(texts) - bridge.encode_query(texts)).max() > 1e-3
    np.testing.assert_array_equal(bridge.encode_document(texts), alone.encode(texts))


def test_the_encoder_learns_in_bfloat16_where_that_is_asked(topics, tiny_encoder, tmp_path, monkeypatch):
    mixed = []

    def told(_, args):
        mixed.append(torch.is_autocast_enabled("cpu") if torch.is_grad_enabled() else None)

    plain = BridgedEncoder.__init__

    def watched(self, *args, **options):
        plain(self, *args, **options)
        self.encoder.register_forward_pre_hook(told)
        self.encoder[0].auto_model.register_forward_pre_hook(told)

    monkeypatch.setattr(BridgedEncoder, "__init__", watched)
    settings = replace(BOTH, loop=replace(BOTH.loop, steps=2, bfloat16=True))
    trained(topics, tiny_encoder, tmp_path, settings, name="mixed")
    assert {one for one in mixed if one is not None} == {True}


def test_passages_may_go_through_the_bridge_too(topics, tiny_encoder, tmp_path):
    settings = replace(BOTH, bridge=BridgeSettings(fuse_passage=True), loop=replace(BOTH.loop, steps=6))
    folder, _ = trained(topics, tiny_encoder, tmp_path, settings, name="sides")
    bridge = LexSemBridge.load(folder or tmp_path / "runs" / "train" / "sides" / "rejected")
    assert np.abs(bridge.encode_document(["a1 f2"]) - bridge.encoder.encode(["a1 f2"])).max() > 1e-3


def test_training_and_search_read_alike(topics, tiny_encoder):
    """By sentence-transformers while training, by our own forward pass afterwards; padded on either side."""
    encoder = load_encoder(str(tiny_encoder), dtype="float32")
    for method in ("SLR", "LLR", "CLR"):
        chosen = LexSemBridgeSettings(bridge=BridgeSettings(method=method), units="tokens", init_mlm_head=True)
        bridge, units = begun(encoder, topics.corpus, encoder.encode(list(topics.corpus.values())), chosen)
        model = BridgedEncoder(model_folders.sentence_transformer(tiny_encoder), bridge, units, pooling="mean").eval()
        texts = ["a1 f2 f3", "a7", "f1 f2 f3 f4 f5"]
        expected = LexSemBridge(encoder, bridge, units).encode_query(texts)
        np.testing.assert_allclose(model.encoded(texts, model.queries, 24), expected, atol=1e-4)
        features = model.read(texts, 24)
        left = {}
        for name, values in features.items():
            rows = [row.roll(int((~mask).sum())) for row, mask in zip(values, features["mask"], strict=True)]
            left[name] = torch.stack(rows)
        with torch.no_grad():
            reading, other = model(features), model(left)
        assert not left["mask"][1, 0]  # [CLS] is not at place 0
        assert isinstance(reading, Reading)
        # Positions differ by the padding, as absolute ones do; the first token is found all the same.
        row = int(left["mask"][1].long().argmax())
        torch.testing.assert_close(other.first[1], other.states[1, row])
        assert left["units"][1, :row].tolist() == [-1] * row


# -- what is refused --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"temperature": 0}, "temperature = 0"),
        ({"temperature": 0.6}, "at most 0.5"),
        ({"units": "letters"}, "words, tokens"),
        ({"encoder": "thawed"}, "frozen, both"),
        ({"depth": 0}, "depth = 0"),
        ({"query_tokens": 2}, "query_tokens = 2"),
        ({"bridge": BridgeSettings(method="CLR")}, 'units="tokens"'),
        ({"shuffled": True, "units": "tokens"}, "exchanges words"),
        ({"bridge": BridgeSettings(rank=2)}, "from_corpus=False"),
        ({"bridge": BridgeSettings(fuse_passage=True)}, 'encoder="both"'),
        ({"in_batch": False, "negatives": 0}, "negatives=1"),
    ],
)
def test_settings_that_cannot_be_trained_with_are_refused(wrong, says):
    with pytest.raises(InputError, match=says):
        LexSemBridgeSettings(**wrong)


def test_a_low_rank_w_trains(topics, tiny_encoder, tmp_path):
    settings = replace(FAST, bridge=BridgeSettings(rank=4), from_corpus=False)
    folder, report = trained(topics, tiny_encoder, tmp_path, settings, dev=turned(topics))
    assert report.kept
    assert LexSemBridge.load(folder).bridge.mix.shape == (4, 16)


def test_other_corpora_and_damaged_bases_are_refused(topics, tiny_encoder, tmp_path):
    other = replace(topics, corpus={**topics.corpus, "more": "f1 f2"})
    with pytest.raises(InputError, match="must have the corpus"):
        trained(topics, tiny_encoder, tmp_path, test=other)
    folder = make_encoder(tmp_path / "base")
    (folder / "config.json").unlink()
    with pytest.raises(ModelUnavailable):
        trained(topics, folder, tmp_path)


# -- the command ------------------------------------------------------------------------------------------------------


def written(topics, folder):
    """The collection in BEIR's layout."""
    (folder / "qrels").mkdir(parents=True)
    for name, texts in (("corpus", topics.corpus), ("queries", topics.queries)):
        lines = (json.dumps({"_id": one, "text": text}) + "\n" for one, text in texts.items())
        (folder / f"{name}.jsonl").write_text("".join(lines))
    judged = [f"{q}\t{d}\t{grade}\n" for q, found in topics.judged.items() for d, grade in found.items()]
    (folder / "qrels" / "train.tsv").write_text("query-id\tcorpus-id\tscore\n" + "".join(judged))
    return folder


def test_the_command_trains_on_a_collection(topics, tiny_encoder, tmp_path):
    """From a folder in BEIR's layout; its tasks join the judged queries."""
    import typer

    from foveal.cli.train_lexsembridge import lexsembridge

    app = typer.Typer()
    app.command()(lexsembridge)
    folder = written(topics, tmp_path / "topics")
    asked = ["--data", folder, "--base", tiny_encoder, "--name", "mine", "--steps", "8", "--batch", "8", "--json"]
    asked += ["--home", tmp_path / "home", "--spans", "3", "--keywords", "1"]
    done = CliRunner().invoke(app, list(map(str, asked)), catch_exceptions=False)
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert told["curves"]["steps"] == 8
    assert told["what"] == "LexSemBridge, SLR over words, encoder frozen"
    assert (told["model"] is None) == (not told["kept"])
    if told["model"]:
        assert LexSemBridge.load(Path(told["model"])).units.kind == "words"


def test_the_command_trains_an_encoder_in_mixed_precision_where_that_is_faster(topics, tmp_path, monkeypatch):
    import typer

    from foveal.cli import train_lexsembridge as command

    seen = []

    def nothing(_, __, settings, **___):
        seen.append((settings.encoder, settings.loop.bfloat16))
        raise InputError("nothing is trained here")

    monkeypatch.setattr("foveal.training.lexsembridge.train_lexsembridge", nothing)
    monkeypatch.setattr("foveal.training.precision.mixed_precision", lambda: True)
    folder = written(topics, tmp_path / "topics")
    app = typer.Typer()
    app.command()(command.lexsembridge)
    for more in ((), ("--train-encoder",)):
        asked = ["--data", folder, "--home", tmp_path / "home", "--spans", "3", "--keywords", "1", *more]
        assert "nothing is trained" in str(CliRunner().invoke(app, list(map(str, asked))).exception)
    assert seen == [("frozen", False), ("both", True)]
