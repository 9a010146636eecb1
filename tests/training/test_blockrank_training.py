"""BlockRank's training: its losses, what is learned of a model, the lists, and a tiny model that learns to look."""

from __future__ import annotations

import copy
import json
import math
from dataclasses import replace

import pytest
import torch
from tiny import tiny
from torch import nn

from foveal.errors import InputError, UnknownName
from foveal.ranking.blockrank import BlockRank, saved_settings
from foveal.ranking.blockrank_forward import signal
from foveal.ranking.blockrank_prompt import Layout
from foveal.ranking.blockrank_training import ListReading, fine_tune
from foveal.ranking.listwise import ListwiseRanker
from foveal.training.blockrank import (
    BlockRankLoss,
    BlockRankSettings,
    DrawnLists,
    ListedDocument,
    RankingList,
    auxiliary_loss,
    fingerprint,
    learned_of,
    lists_of,
    measured,
    read_lists,
    split,
    train_blockrank,
)
from foveal.training.examples import Examples
from foveal.training.loop import LoopSettings
from foveal.training.low_rank import add_low_rank, merge_low_rank
from foveal.training.negatives import filled, top_negatives
from foveal.training.runs import RunSettings
from foveal.types import Hit, Passage, Span

LAYOUT = Layout(query_offset=1024)
PLACES = ["mill", "river", "text", "reader"]


def made_list(number: int, documents: int = 4) -> RankingList:
    """Which document speaks of the key? The answer says so in a word, and all else is drawn."""
    draw = torch.Generator().manual_seed(number)
    right = int(torch.randint(documents, (1,), generator=draw))
    words = [PLACES[int(n)] for n in torch.randint(len(PLACES), (documents,), generator=draw)]
    texts = [f"the {word} is {'key' if n == right else 'very'} of {n * number % 12}" for n, word in enumerate(words)]
    listed = tuple(ListedDocument(str(n), text) for n, text in enumerate(texts))
    return RankingList(f"key of {number}", listed, frozenset({str(right)}), f"q{number}")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return tiny("qwen", tmp_path_factory.mktemp("qwen"))


@pytest.fixture
def own(model):
    """The weights, to be changed."""
    return copy.deepcopy(model.model)


# -- losses ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("positives", [[1], [0, 3]])
def test_the_auxiliary_loss_by_its_definition(positives):
    """Auxiliary contrastive loss: -log of the answers' share, temperature 0.05; no answer is another's negative."""
    scores = torch.tensor([0.1, 0.4, 0.2, 0.3])
    shares = [math.exp(score / 0.05) for score in scores.tolist()]
    expected = -math.log(sum(shares[n] for n in positives) / sum(shares))
    assert float(auxiliary_loss(scores, positives, 0.05)) == pytest.approx(expected, rel=1e-5)


def test_the_completions_loss_is_that_of_the_models_own_forward(model, own):
    """L_NTP: cross entropy of " [3]" alone, after the whole prompt, under full attention as transformers has it."""
    listed = made_list(3)
    reading = ListReading(model, 1, LAYOUT, full=True)
    _, loss = reading(own, listed)
    segments = reading.prompter.segments(listed.query, [one.text for one in listed.documents], [None] * 4, full=True)
    plain = reading.prompter.plain
    answer = [*plain(str(listed.positives()[0])), *plain("]")]
    ids = [*segments.instruction, *(t for one in segments.documents for t in one.ids), *segments.query, *answer]
    logits = own(input_ids=torch.tensor([ids])).logits[0]
    told = len(plain(" [")) + len(answer)
    expected = nn.functional.cross_entropy(logits[-told - 1 : -1], torch.tensor(ids[-told:]))
    assert float(loss.detach()) == pytest.approx(float(expected.detach()), rel=1e-4)


@pytest.mark.parametrize("objective", ["aux", "ntp+aux"])
def test_a_batchs_gradients_are_those_of_the_mean_of_its_lists(model, own, objective):
    settings = BlockRankSettings(objective=objective)
    reading = ListReading(model, 1, LAYOUT, completion=objective != "aux")
    batch = [made_list(n) for n in range(3)]
    loss = BlockRankLoss(own, reading, settings)
    weight = own.model.layers[0].self_attn.q_proj.weight
    told = loss(own, batch)
    told.backward()
    found, weight.grad = weight.grad.clone(), None
    expected = sum(loss.of(listed) for listed in batch) / 3
    expected.backward()
    assert float(told.detach()) == pytest.approx(float(expected.detach()), rel=1e-5)
    torch.testing.assert_close(found, weight.grad, atol=1e-5, rtol=1e-4)


def test_mixed_precision_is_near_and_leaves_the_signals_softmax_alone(model, own):
    """bfloat16 rounds the products of the layers; what is learned from it points the same way."""
    weight, found = own.model.layers[0].self_attn.q_proj.weight, {}
    for mixed in (False, True):
        loop = LoopSettings(bfloat16=mixed)
        settings = BlockRankSettings(objective="aux", loop=loop)
        weight.grad = None
        loss = BlockRankLoss(own, ListReading(model, 1, LAYOUT, completion=False), settings)(own, [made_list(3)])
        assert loss.dtype == torch.float32
        loss.backward()
        found[mixed] = weight.grad.flatten()
    assert not torch.equal(found[False], found[True])
    assert torch.cosine_similarity(found[False], found[True], dim=0) > 0.98
    query, key = torch.randn(2, 4, 2, 8, generator=torch.Generator().manual_seed(0)).unbind()
    with torch.autocast("cpu", torch.bfloat16):
        rounded = signal(query, key, scale=3.0)
    assert torch.equal(rounded, signal(query, key, scale=3.0))


def test_what_is_measured_is_read_as_the_steps_are():
    """In float32 a list of a hundred documents takes minutes where bfloat16 takes seconds."""
    asked = []

    def reading(model, listed):
        asked.append(torch.is_autocast_enabled("cpu"))
        return torch.arange(len(listed.documents)).float(), None

    class Nowhere:
        device = torch.device("cpu")

    for mixed in (False, True):
        measured(Nowhere(), reading, [made_list(1)], bfloat16=mixed)
    assert asked == [False, True]


# -- what is learned ---------------------------------------------------------------------------------------------------


def logits(model):
    with torch.no_grad():
        return model(input_ids=torch.arange(9)[None]).logits


def test_low_rank_changes_begin_at_nothing_and_are_merged_into_plain_layers(own):
    """LoRA over nn.Linear: W + (alpha / rank) B A, and after merging the same, in plain layers."""
    before = logits(own)
    learned = add_low_rank(own, rank=3, alpha=6, layers=[0, 2], targets=["q_proj", "down_proj"], seed=1)
    assert sorted(learned) == ["0-mlp-down_proj", "0-self_attn-q_proj", "2-mlp-down_proj", "2-self_attn-q_proj"]
    assert torch.equal(logits(own), before)
    assert {name for name, weight in own.named_parameters() if weight.requires_grad} == {
        f"model.layers.{n}.{name}.change.{part}"
        for n in (0, 2)
        for name in ("self_attn.q_proj", "mlp.down_proj")
        for part in "ab"
    }
    own(input_ids=torch.arange(9)[None]).logits.square().sum().backward()
    assert all(change.b.grad.abs().sum() > 0 for change in learned.values())
    with torch.no_grad():
        for change in learned.values():
            change.b.normal_(generator=torch.Generator().manual_seed(0))
    change, weight = learned["0-mlp-down_proj"], own.model.layers[0].mlp.down_proj.weight
    expected = weight + 2 * change.b @ change.a
    changed = logits(own)
    assert not torch.allclose(changed, before, atol=1e-2)
    merge_low_rank(own)
    assert {type(module) for module in own.modules() if isinstance(module, nn.Linear)} == {nn.Linear}
    assert own.model.layers[0].mlp.down_proj.weight is weight
    torch.testing.assert_close(weight, expected)
    torch.testing.assert_close(logits(own), changed, atol=1e-4, rtol=1e-4)


def test_low_rank_refuses_what_it_cannot_do(own):
    with pytest.raises(InputError, match="no linear layers called c_attn"):
        add_low_rank(own, targets=["c_attn"])
    with pytest.raises(InputError, match="rank=0"):
        add_low_rank(own, rank=0)


@pytest.mark.parametrize(
    ("learned", "objective", "reached"),
    [
        ("lora", "aux", {0, 1}),
        ("lora", "ntp+aux", {0, 1, 2}),
        ("layers", "ntp+aux", {0, 1}),
        ("full", "aux", {0, 1, 2, None}),
    ],
)
def test_what_is_learned_of_a_model(own, learned, objective, reached):
    """Full fine-tuning, the layers up to the signal's, or LoRA; for the auxiliary loss nothing above the signal."""
    module = learned_of(own, BlockRankSettings(learned=learned, objective=objective), 1)
    trained = [name.split(".") for name, weight in own.named_parameters() if weight.requires_grad]
    assert {int(parts[2]) if parts[1] == "layers" else None for parts in trained} == reached
    assert sum(weight.numel() for weight in module.parameters()) == sum(
        weight.numel() for weight in own.parameters() if weight.requires_grad
    )


# -- lists -------------------------------------------------------------------------------------------------------------


def test_lists_are_drawn_anew_each_epoch_with_their_answers():
    documents = tuple(ListedDocument(f"d{n}", f"text {n}") for n in range(20))
    rows = DrawnLists([RankingList("who?", documents, frozenset({"d3", "d17"}))], 6, seed=4)
    drawn = [rows[place] for place in range(8)]
    for one in drawn:
        assert len(one.documents) == len({d.id for d in one.documents}) == 6
        assert one.answers == {"d3", "d17"}
    assert len({tuple(d.id for d in one.documents) for one in drawn}) == 8
    assert {one.positives()[0] for one in drawn} > {0, 1}  # answers stand anywhere
    assert drawn[5] == DrawnLists(rows.lists, 6, seed=4)[5]
    few = DrawnLists([RankingList("who?", documents[:4], frozenset({"d0", "d1", "d2"}))], 3)[0]
    assert (len(few.documents), len(few.answers)) == (3, 2)  # one that does not answer is always there


def test_what_was_judged_wrong_is_half_of_what_does_not_answer():
    corpus = {f"d{n}": f"text {n}" for n in range(20)}
    examples = Examples({"q": "who?"}, corpus, {"q": {"d3": 2, "d5": 0, "d19": 0}}, aside={"q": {"d7"}})
    found = {"q": {f"d{n}": 1.0 - n / 100 for n in range(10)}}
    lists = lists_of(examples, filled(top_negatives(found, examples, depth=8), examples, 12))
    assert [one.id for one in lists[0].documents[:4]] == ["d3", "d5", "d19", "d0"]
    assert lists[0].irrelevant == {"d5", "d19"}
    assert "d7" not in {one.id for one in lists[0].documents}
    for place in range(6):
        drawn = {one.id for one in DrawnLists(lists, 5, seed=1)[place].documents}
        assert {"d3", "d5", "d19"} < drawn  # two of four
        single = {one.id for one in DrawnLists(lists, 2, seed=1)[place].documents} - {"d3"}
        assert (single <= {"d5", "d19"}) == (place % 2 == 0)
    plain = [replace(lists[0], irrelevant=frozenset())]
    assert fingerprint(lists) != fingerprint(plain)


def line(**changes):
    told = {"query": "q", "documents": [{"doc_id": 1, "title": "T", "text": "a"}, {"doc_id": 2, "text": "b"}]}
    return {**told, "answer_ids": [2], **changes}


def test_lists_come_from_json_lines(tmp_path):
    path = tmp_path / "lists.jsonl"
    path.write_text(json.dumps(line(query_id="7")) + "\n\n" + json.dumps(line()) + "\n", encoding="utf-8")
    first, second = read_lists(path)
    assert first == RankingList("q", (ListedDocument("1", "a", "T"), ListedDocument("2", "b")), frozenset({"2"}), "7")
    assert second.id == ""


def test_lists_are_parted_by_line_ends_alone(tmp_path):
    """JSON may hold other separators as they are; a file may begin with a mark of its encoding, a title be null."""
    told = line(query="one\u2028two", documents=[{"doc_id": "a", "text": "three\x85four", "title": None}])
    path = tmp_path / "lists.jsonl"
    path.write_text("\ufeff" + json.dumps({**told, "answer_ids": ["a"]}, ensure_ascii=False) + "\n", encoding="utf-8")
    document = ListedDocument("a", "three\x85four")
    assert read_lists(path) == [RankingList("one\u2028two", (document,), frozenset({"a"}))]


@pytest.mark.parametrize(
    ("record", "message"),
    [
        (line(answer_ids=[3]), "line 1: The list of 'q' names the answer '3', which is none of its 2"),
        (line(answer_ids=[]), "has no answer"),
        (line(query=" "), "has no query"),
        (line(documents=[{"doc_id": 2, "text": " "}]), "'2' of 'q' has no text"),
        (line(documents=[{"doc_id": 2, "text": "a"}] * 2), "'2' twice"),
        (line(documents=[{"text": "a"}]), "doc_id"),
        ([1], "no list of candidates"),
        (line(answer_ids="21"), "answer_ids is a text"),
        (line(query=None), "query is None"),
        (line(documents=[{"doc_id": 2, "text": None}]), "text is None"),
        (line(documents=[{"doc_id": 2, "text": "a", "title": 3}]), "title is 3"),
    ],
)
def test_a_line_that_is_no_list_is_said(tmp_path, record, message):
    """An unknown answer id, duplicate ids, an empty document, a missing field."""
    path = tmp_path / "lists.jsonl"
    path.write_text(json.dumps(record), encoding="utf-8")
    with pytest.raises(InputError, match=message):
        read_lists(path)


def test_a_file_that_is_not_there_or_no_text(tmp_path):
    path = tmp_path / "lists.jsonl"
    with pytest.raises(InputError, match="no file"):
        read_lists(path)
    path.write_bytes(b'{"query": "\xff"}')
    with pytest.raises(InputError, match="not UTF-8"):
        read_lists(path)


def test_lists_of_judged_examples():
    examples = Examples({"q": "who?"}, {"a": "x", "b": "y", "c": "z"}, {"q": {"a": 1, "b": 2}})
    (found,) = lists_of(examples, {"q": ["c"]})
    assert [one.id for one in found.documents] == ["b", "a", "c"]
    assert found.answers == {"a", "b"}


def test_lists_of_one_query_stay_together():
    lists = [replace(made_list(n % 5), id=str(n)) for n in range(15)]
    train, dev = split(lists, share=0.2, seed=3)
    assert len(dev) == 3
    assert not {one.query for one in train} & {one.query for one in dev}
    with pytest.raises(InputError, match="fewer than two"):
        split(lists[::5], share=0.2)


def test_the_place_in_a_held_out_list_does_not_tell_the_answer():
    """In files the answer stands first, and a model may favour the first ID: a layer is chosen by such lists."""
    documents = tuple(ListedDocument(str(n), f"text {n}") for n in range(4))
    lists = [RankingList(f"query {n}", documents, frozenset({"0"}), str(n)) for n in range(40)]
    train, dev = split(lists, share=0.5)
    assert {one.positives()[0] for one in dev} == {0, 1, 2, 3}
    assert all(sorted(one.documents, key=lambda document: document.id) == list(documents) for one in dev)
    assert (train, dev) == split(lists, share=0.5)
    assert {one.id for one in train} | {one.id for one in dev} == {one.id for one in lists}


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"objective": "mse"}, UnknownName, "objective called 'mse'"),
        ({"learned": "half"}, UnknownName, "way to learn called 'half'"),
        ({"documents": 1}, InputError, "at least 2"),
        ({"temperature": 0.0}, InputError, "above 0"),
    ],
)
def test_settings_that_cannot_be(options, error, message):
    with pytest.raises(error, match=message):
        BlockRankSettings(**options)


# -- training ----------------------------------------------------------------------------------------------------------


LOOP = LoopSettings(steps=45, batch=3, learning_rate=1e-2, evaluate_every=45)
AUX = BlockRankSettings(objective="aux", learned="layers", documents=4, loop=LOOP)


def test_what_is_refused_in_the_end_leaves_the_earlier_model_in_its_place(model, tmp_path, undrawn):
    """Begun anew, better than untrained, but no better than what it would stand behind: the model of before stays."""

    def by_length(trained, listed):  # the longest text answers; a weight says what length is worth, at first the wrong
        lengths = torch.tensor([float(len(one.text)) for one in listed.documents])
        return (-trained.model.norm.weight[0] * lengths).softmax(0), None

    documents = tuple(ListedDocument(str(n), "a" * n) for n in (1, 2, 3))
    lists = [RankingList(f"q{n}", documents, frozenset({"3"})) for n in range(8)]
    earlier = tmp_path / "models" / "mine"
    earlier.mkdir(parents=True)
    (earlier / "weights").write_text("of before")
    run = RunSettings(home=tmp_path, name="mine", dev=lists[:2], anew=True)
    settings = BlockRankSettings(
        learned="full", documents=3, loop=LoopSettings(steps=6, batch=2, learning_rate=1.0, evaluate_every=6)
    )
    folder, report = train_blockrank(
        model, lists[2:], by_length, {"layer": 1}, settings, run=run, decide=lambda of: replace(of, kept=False)
    )
    was, now = report.measured["dev"]
    assert now["mrr@10"] > was["mrr@10"]
    assert (folder, report.kept) == (None, False)
    assert (earlier / "weights").read_text() == "of before"
    assert (tmp_path / "runs" / "train" / "mine" / "rejected" / "blockrank.json").is_file()
    folder, report = train_blockrank(model, lists[2:], by_length, {"layer": 1}, settings, run=run)
    assert (folder, report.kept) == (earlier, True)
    assert not (earlier / "weights").exists()


def test_a_training_draws_its_lists_anew_each_epoch(model, tmp_path, undrawn):
    """The rows can; what trains must ask them for each epoch's own."""
    seen: dict[str, list[tuple[str, ...]]] = {}

    def drawn(trained, listed):
        if torch.is_grad_enabled():
            seen.setdefault(listed.query, []).append(tuple(one.id for one in listed.documents))
        return trained.model.norm.weight[: len(listed.documents)], None

    documents = tuple(ListedDocument(str(n), f"text {n}") for n in range(20))
    lists = [RankingList(f"q{n}", documents, frozenset({"3"})) for n in range(4)]
    loop = LoopSettings(epochs=3, batch=2, learning_rate=1e-3, evaluate_every=6)
    settings = BlockRankSettings(learned="full", documents=6, loop=loop)
    run = RunSettings(home=tmp_path, name="mine", dev=lists[3:])
    train_blockrank(model, lists[:3], drawn, {"layer": 1}, settings, run=run)
    assert {query: len(set(orders)) for query, orders in seen.items()} == {"q0": 3, "q1": 3, "q2": 3}


def test_what_is_measured_is_what_is_saved(model, tmp_path, undrawn):
    """Learnt in float32, but nothing of it is left in the model's own type: no better, so not kept."""

    def by_length(trained, listed):
        lengths = torch.tensor([float(len(one.text)) for one in listed.documents])
        return 1e3 * (trained.model.norm.weight[0].float() - 1 - 1e-5) * lengths, None  # at first the wrong way

    documents = tuple(ListedDocument(str(n), "a" * n) for n in (1, 2, 3))
    lists = [RankingList(f"q{n}", documents, frozenset({"3"})) for n in range(8)]
    settings = BlockRankSettings(
        learned="full", documents=3, loop=LoopSettings(steps=4, batch=2, learning_rate=1e-4, evaluate_every=4)
    )
    for kind, kept in ((torch.float32, True), (torch.bfloat16, False)):
        one = replace(model, model=copy.deepcopy(model.model).to(kind))
        one.model.model.norm.weight.data.fill_(1)
        run = RunSettings(home=tmp_path, name=str(kind), dev=lists[:2])
        folder, report = train_blockrank(one, lists[2:], by_length, {"layer": 1}, settings, run=run)
        assert (folder is not None, report.kept) == (kept, kept)
        assert report.curves.metrics[-1][1]["mrr@10"] == 1  # while it was trained


@pytest.mark.slow
def test_training_makes_attention_find_the_answer(model, tmp_path, undrawn):
    """Decisive: training lifts attention ranking on lists that were held out; the saved model ranks so, too."""
    lists, dev = [made_list(n) for n in range(60)], [made_list(n) for n in range(100, 116)]
    before = logits(model.model)
    folder, report = fine_tune(
        model, lists, AUX, layer=1, layout=LAYOUT, run=RunSettings(home=tmp_path, dev=dev, name="keys")
    )
    was, now = report.measured["dev"]
    assert now["precision@1"] >= was["precision@1"] + 0.25
    assert now["precision@1"] > 0.8
    seen = dict(report.curves.metrics)[report.curves.best_step]
    assert seen["mrr@10"] == pytest.approx(now["mrr@10"])  # looked at with the weights that it then had
    assert torch.equal(logits(model.model), before)  # a copy was trained
    assert folder == tmp_path / "models" / "keys"
    assert saved_settings(folder) == {"layer": 1, "layout": {**vars(LAYOUT)}}
    ranker = BlockRank.load(str(folder))
    assert (ranker.depth, ranker.layout) == (1, LAYOUT)
    first = [ranker.rank(one.query, hits_of(one))[0].passage.span.document_id in one.answers for one in dev]
    assert sum(first) / len(first) == pytest.approx(now["precision@1"], abs=0.13)  # in bfloat16, perhaps
    again, same = fine_tune(
        model, lists, AUX, layer=1, layout=LAYOUT, run=RunSettings(home=tmp_path, dev=dev, name="keys")
    )
    assert (again, same.measured) == (folder, report.measured)  # it is not done twice


def hits_of(listed: RankingList) -> list[Hit]:
    return [Hit(Passage(Span(one.id, 0, len(one.text)), one.text), 0.0, "test") for one in listed.documents]


@pytest.mark.parametrize("learned", ["lora", "full"])
def test_a_model_that_is_no_better_is_not_kept(model, tmp_path, undrawn, learned):
    loop = replace(LOOP, steps=1, learning_rate=1e-12)
    settings = replace(AUX, objective="ntp+aux", learned=learned, loop=loop)
    heard = []
    run = RunSettings(home=tmp_path, on_progress=heard.append)
    folder, report = fine_tune(model, [made_list(n) for n in range(8)], settings, layout=LAYOUT, run=run)
    doing = [(one.doing, one.step, one.steps) for one in heard if one.doing]
    assert doing == [
        ("Choosing the layer: list", 1, 1),
        ("Measuring before training: dev list", 1, 1),
        ("Measuring what was learnt: dev list", 1, 1),
    ]  # each may take minutes on two cores
    assert folder is None
    assert "not kept" in report.notes[0]
    assert not (tmp_path / "models").exists()


@pytest.mark.slow
def test_the_arm_of_full_attention_is_trained_by_the_same_steps(model, tmp_path, undrawn):
    """Full-attention + aux fine-tune: the arm that BlockRank is compared with; it is not taken for a BlockRank."""
    settings = replace(AUX, learned="lora", loop=replace(LOOP, steps=25))
    lists, dev = [made_list(n) for n in range(40)], [made_list(n) for n in range(100, 112)]
    folder, report = fine_tune(
        model, lists, settings, layer=1, layout=LAYOUT, full=True, run=RunSettings(home=tmp_path, dev=dev, name="full")
    )
    assert report.measured["dev"][1]["mrr@10"] > report.measured["dev"][0]["mrr@10"]
    with pytest.raises(InputError, match="ListwiseRanker"):
        BlockRank.load(str(folder))
    ranker = ListwiseRanker.load(str(folder), mode="attention")
    assert ranker.depth == 1
    found = measured(ranker.model.model, ListReading(ranker.model, 1, LAYOUT, full=True), dev)
    assert found["mrr@10"] == pytest.approx(report.measured["dev"][1]["mrr@10"], abs=0.05)  # in bfloat16, perhaps
