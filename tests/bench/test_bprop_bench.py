"""`foveal bench bprop` on toy collections, with a BERT of one layer: what is asked, and that tests decide nothing."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch

from foveal.bench import bprop, bprop_training
from foveal.bench.bprop_training import NONE, ORDER, Arms, Scale, Task, by_chance
from foveal.bench.retrieval_fusion import Judged
from foveal.bench.settings import BenchSettings
from foveal.errors import InputError
from foveal.evaluation.metrics import evaluate
from foveal.models.hub import folder_of
from foveal.models.quiet import quiet
from foveal.settings import Settings
from foveal.training.bprop_attention import Attended
from foveal.training.bprop_sampling import STOP_WORDS

pytest.importorskip("bm25s")

WORDS = [f"{a}{b}{c}" for a in ("ba", "di", "fo") for b in ("ka", "lu", "mi", "no") for c in ("r", "s", "t")]
DOCUMENTS, CLAIMS = 40, 24


def written(folder, splits):
    """A collection whose claims hold words of their document."""
    draw = np.random.default_rng(0)
    texts = [f"The {' '.join(draw.choice(WORDS, size=14))} of it." for _ in range(DOCUMENTS)]
    (folder / "qrels").mkdir(parents=True)
    corpus = [json.dumps({"_id": f"d{n}", "title": "a title", "text": text}) for n, text in enumerate(texts)]
    queries = [json.dumps({"_id": f"q{n}", "text": " ".join(texts[n].split()[1:4])}) for n in range(CLAIMS)]
    (folder / "corpus.jsonl").write_text("\n".join([*corpus, '{"_id": "empty", "text": ""}']), encoding="utf-8")
    (folder / "queries.jsonl").write_text("\n".join(queries), encoding="utf-8")
    for split, places in splits.items():
        judged = "".join(f"q{n}\td{n}\t1\n" for n in places)
        (folder / "qrels" / f"{split}.tsv").write_text("query-id\tcorpus-id\tscore\n" + judged, encoding="utf-8")


@pytest.fixture(scope="module")
def settings(tmp_path_factory):
    place = tmp_path_factory.mktemp("bench")
    written(place / "data" / "scifact", {"train": range(0, CLAIMS, 2), "test": range(1, CLAIMS, 2)})
    written(place / "data" / "cranfield", {"test": range(CLAIMS)})
    return BenchSettings(data=place / "data", cache=place / "cache")


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """MiniLM's tokenizer, and a BERT of one layer."""
    from transformers import BertConfig, BertModel

    folder = tmp_path_factory.mktemp("model") / "tiny"
    shutil.copytree(folder_of("minilm", Settings.load().cache, kind="encoder"), folder)
    config = BertConfig(hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16,
                        max_position_embeddings=64)  # fmt: skip
    with quiet(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        BertModel(config).save_pretrained(folder)
    return str(folder)


pytestmark = pytest.mark.usefixtures("undrawn")


TINY = Scale(
    window=32, steps=4, pairs=4, labels={"scifact": (4,), "cranfield": (4,)}, rows=4, dev=3, tests=9, depth=5,
    zero_shot=(4, 6),
)  # fmt: skip


def test_each_distributions_masses_stand_beside_the_published_ones(settings, base):
    rows = list(bprop.word_rows(bprop.Abstracts.of(Judged.of(settings), name=base)))
    claim = {row.system: row for row in rows if row.metric == "mass on the claim's words"}
    stops = {row.system: row for row in rows if row.metric == "mass on stop words"}
    assert claim.keys() >= bprop.MEASURED.keys()
    assert all(0 < row.value < 1 for row in claim.values())
    assert claim["contrastive, T = 1"].value == pytest.approx(claim["even"].value, rel=0.15)
    assert claim["contrastive, T = 1"].bar.startswith("≤")
    assert {name for name, row in claim.items() if row.bar} == {*bprop.MEASURED, bprop.DRAWN}
    assert claim["unigram"].bar == "0.119 to 0.139"
    assert claim["raw attention"].bar == "≥ 0.147"
    assert claim["contrastive, T = 0.005"].bar == "≥ 0.213"
    others = list(bprop.word_rows(bprop.Abstracts.of(Judged.of(settings), name=base), known=False))  # of another set
    assert {row.system for row in others if row.bar} == {"contrastive, T = 1", "contrastive, T = 0.02", bprop.DRAWN}
    assert [name for name, row in stops.items() if row.bar] == ["contrastive, T = 0.02", bprop.DRAWN]
    assert float(claim[bprop.DRAWN].bar.removeprefix("≥ ")) == pytest.approx(
        1.3 * claim["Dirichlet unigram (PROP)"].value, rel=1e-2
    )
    assert stops[bprop.DRAWN].bar == "≤ 0.02"
    assert claim["TF-IDF"].value != claim["raw attention"].value != claim["contrastive, all tokens' attention"].value


def test_masses_by_hand():
    read = {"d": Attended(("fovea", "the", "pit", "the"), np.array([0.2, 0.1, 0.1, 0.1]), 4)}
    abstracts = bprop.Abstracts(read, read, [(frozenset({"fovea", "the"}), "d")])
    assert "the" in STOP_WORDS
    assert abstracts.masses(lambda _: {"fovea": 0.3, "the": 0.5, "pit": 0.2}) == pytest.approx((0.8, 0.5, 0.6))
    of = bprop.distributions(abstracts)
    assert of["even"]("d") == pytest.approx({"fovea": 1 / 3, "the": 1 / 3, "pit": 1 / 3})
    assert of["unigram"]("d") == pytest.approx({"fovea": 0.25, "the": 0.5, "pit": 0.25})
    assert of["raw attention"]("d") == pytest.approx({"fovea": 0.4, "the": 0.4, "pit": 0.2})


def test_reading_in_batches_is_timed_against_one_by_one(settings, base):
    row = bprop.speed_row(Judged.of(settings), 4, tokens=32, name=base)
    assert row.value > 0
    assert "one by one" in row.note


def test_no_query_is_learnt_from_and_measured(settings):
    judged = Judged.of(settings)
    for task in (Task.scifact(judged, TINY, 0), Task.cranfield(settings, TINY)):
        parts = [set(part.queries) for part in (task.learnt, task.dev, task.test)]
        assert all(parts)
        assert sum(map(len, parts)) == len(set().union(*parts))
        assert len(task.texts) == DOCUMENTS  # the empty one is left out
    assert set(Task.scifact(judged, TINY, 0).test.queries) <= set(judged.test.queries)


def test_chance_is_what_random_orders_are_worth():
    from foveal.training.examples import Examples

    queries = Examples({"q": "x"}, {name: name for name in "abc"}, {"q": {"a": 1}})
    expected = np.mean([1, 1 / np.log2(3), 1 / np.log2(4)])
    assert by_chance({"q": dict.fromkeys("abc", 1.0)}, queries, seed=0, draws=2000) == pytest.approx(expected, abs=0.02)


@pytest.mark.slow
def test_every_arm_is_tuned_alike_and_the_order_is_asked_for(settings, base):
    rows = list(bprop_training.training(settings, TINY, base=base))
    systems = [row.system for row in rows]
    for where in ("scifact, 4 queries", "scifact, 9 queries", "cranfield, 4 queries"):
        named = {system.partition(": ")[2] for system in systems if system.startswith(where)}
        assert named >= {"B-PROP", "PROP", NONE}
    steps = [row for row in rows if " over " in row.system]
    assert {row.system for row in steps if row.system.startswith("scifact, 4")} == {
        f"scifact, 4 queries: {better} over {worse}" for better, worse in (*pairwise(ORDER), (ORDER[0], NONE))
    }
    values = {row.system: row.value for row in rows if row.metric == "ndcg@10"}
    for row in steps:
        where, _, pair = row.system.partition(": ")
        better, worse = (values[f"{where}: {name}"] for name in pair.split(" over "))
        assert row.value == pytest.approx(better - worse)
        assert row.bar == "≥ 0.01"
    assert next(row for row in rows if row.metric == "pairs told apart" and row.system.startswith("B-PROP")).bar
    zero = {row.system: row for row in rows if row.system.startswith("zero-shot")}
    assert zero["zero-shot: B-PROP"].bar == f"≥ {zero['zero-shot: a random order'].value + 0.1:.4g}"


def test_a_bench_that_was_stopped_goes_on(settings, base, monkeypatch):
    """After the test above all is kept: nothing is trained, and the figures are the same."""
    task = Task.scifact(Judged.of(settings), TINY, 0)
    first = Arms(task, settings, TINY, base=base).tuned("PROP", 4)
    monkeypatch.setattr(bprop_training, "train_reranker", lambda *_, **__: pytest.fail("it trained"))
    again = Arms(task, settings, TINY, base=base)
    assert again.tuned("PROP", 4) == first
    assert set(first["test"]) == set(task.test.queries)
    other = replace(TINY, rows=64)  # of other settings nothing is kept
    with pytest.raises(pytest.fail.Exception):
        Arms(task, settings, other, base=base).tuned("PROP", 4)


def test_hits_are_ordered_and_none_is_lost(settings, base):
    task = Task.scifact(Judged.of(settings), TINY, 0)
    arms = Arms(task, settings, TINY, base=base)
    run = arms.zero_shot(NONE, task.test, 3)
    assert {query: set(found) for query, found in run.items()} == {
        query: set(found) for query, found in task.found(task.test, 3).items()
    }
    assert evaluate(run, task.test.judged, ["recall@100"]) == evaluate(
        task.found(task.test, 3), task.test.judged, ["recall@100"]
    )


def test_arms_of_other_code_are_trained_anew(settings, base, monkeypatch):
    """Their names tell of texts and settings alone: by other code the same name is another model."""
    homes = []

    def nothing(_, __, ___, *, run):
        homes.append(run.home)
        raise InputError("nothing is trained here")

    monkeypatch.setattr(bprop_training, "pretrain_bprop", nothing)
    arms = Arms(Task.scifact(Judged.of(settings), TINY, 0), settings, TINY, base=base)
    for digest in ("one", "one", "two"):
        monkeypatch.setattr(bprop_training, "code_digest", lambda *_, now=digest: now)
        with pytest.raises(InputError, match="nothing is trained"):
            arms.pretrained("B-PROP")
    assert homes[0] == homes[1] != homes[2]
