"""`foveal bench lexsembridge` on a toy SciFact with a tiny BERT: what is asked; what is held out decides nothing."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from training.conftest import FILLERS, make_encoder

from foveal.bench import lexsembridge as bench
from foveal.bench import lexsembridge_data, lexsembridge_images, lexsembridge_parts
from foveal.bench.known_sets import SIZES
from foveal.bench.lexsembridge_data import FineGrained
from foveal.bench.lexsembridge_images import PatchEncoder, image_rows, load
from foveal.bench.people import people
from foveal.bench.quality import bm25s_run
from foveal.bench.settings import BenchSettings
from foveal.errors import InputError
from foveal.evaluation.beir import load_beir
from foveal.evaluation.metrics import evaluate
from foveal.models import load_encoder

pytest.importorskip("bm25s")
pytestmark = pytest.mark.usefixtures("undrawn")

DOCUMENTS, CLAIMS = 40, 24


@dataclass(frozen=True, kw_only=True)
class Settings(BenchSettings):
    folder_of_encoder: Path

    def encoder(self):
        return load_encoder(str(self.folder_of_encoder), dtype="float32")


@pytest.fixture(scope="module")
def settings(tmp_path_factory):
    """Abstracts of words of which the tiny tokenizer knows some; odd claims are test claims."""
    place = tmp_path_factory.mktemp("bench")
    folder, draw = place / "data" / "scifact", np.random.default_rng(0)
    (folder / "qrels").mkdir(parents=True)
    texts = [
        f"a{n % 8} b{n // 8} rare{n:03} word{n % 7:03} {' '.join(draw.choice(FILLERS, size=9))}"
        for n in range(DOCUMENTS)
    ]
    corpus = [json.dumps({"_id": f"d{n}", "title": "", "text": text}) for n, text in enumerate(texts)]
    queries = [json.dumps({"_id": f"q{n}", "text": " ".join(texts[n].split()[:5])}) for n in range(CLAIMS)]
    (folder / "corpus.jsonl").write_text("\n".join(corpus), encoding="utf-8")
    (folder / "queries.jsonl").write_text("\n".join(queries), encoding="utf-8")
    for split, first in (("train", 0), ("test", 1)):
        judged = "".join(f"q{n}\td{n}\t1\n" for n in range(first, CLAIMS, 2))
        (folder / "qrels" / f"{split}.tsv").write_text("query-id\tcorpus-id\tscore\n" + judged, encoding="utf-8")
    encoder = make_encoder(place / "encoder")
    return Settings(data=place / "data", cache=place / "cache", quick=True, folder_of_encoder=encoder)


@pytest.fixture
def data(settings, monkeypatch):
    monkeypatch.setattr(lexsembridge_data, "SPANS", (4, 8))
    return FineGrained(settings, passages=20)


def by_name(rows):
    return {(row.system, row.metric): row for row in rows}


def test_nothing_held_out_is_learnt_from(data):
    """Neither its queries, nor the abstracts that they are made of, nor a test claim."""
    held, claims = set(data.held), set(data.tasks[-1].queries.values())
    for examples in (data.learnt, data.dev):
        synthetic = {query: found for query, found in examples.judged.items() if not query.startswith("q")}
        assert not held & {name for found in synthetic.values() for name in found}
        assert not claims & set(examples.queries.values())
    assert {name for task in data.tasks[:-1] for found in task.qrels.values() for name in found} <= held
    assert not set(data.learnt.queries) & set(data.dev.queries)
    assert [task.name for task in data.tasks] == ["keyword-1", "keyword-3", "P-o-P-4", "P-o-P-8", "query"]


def test_every_arm_is_measured_beside_its_peers_and_held_to_the_bars(data, monkeypatch):
    published = lexsembridge_data.PUBLISHED
    arms = ("SLR", "LLR", published, bench.CONTROL)
    monkeypatch.setattr(bench, "ARMS", {arm: bench.ARMS[arm] for arm in arms})
    monkeypatch.setitem(SIZES, "SciFact", (len(data.corpus), len(data.judged.test.queries)))
    rows = by_name(bench.scifact(data))
    systems = ("MiniLM", "BM25S", "untrained bridge", *arms, "MiniLM and BM25S, reciprocal ranks")
    for task in data.tasks:
        for system in systems:
            assert 0 <= rows[f"{task.name}: {system}", "recall@10"].value <= 1
    plain, made = (rows[f"keyword-1: {system}", "ndcg@10"].value for system in ("MiniLM", "SLR"))
    assert rows["SLR: keyword-3, over MiniLM", "ndcg@10"].value == pytest.approx(
        rows["keyword-3: SLR", "ndcg@10"].value - rows["keyword-3: MiniLM", "ndcg@10"].value
    )
    chosen = next(system for system, _ in rows if "chosen by dev queries: keyword-1, over MiniLM" in system)
    arm = chosen.split(",")[0]
    dev = {one: rows[f"{one}, dev queries", "ndcg@10"].value for one in ("SLR", "LLR")}
    assert dev[arm] == max(dev.values())
    assert rows[chosen, "recall@10"].bar == "≥ 0.05"  # quick: half of 0.1
    if arm == "SLR":
        assert rows[chosen, "ndcg@10"].value == pytest.approx(made - plain)
    asked = {system for (system, _), row in rows.items() if row.bar}
    assert asked >= {"anchor, test claims: BM25S", "methods that gain", "the control gains nothing on one keyword"}
    assert not [
        system for system, _ in rows if system.startswith(f"{published}: keyword")
    ]  # shown, and held to nothing
    again = by_name(bench.scifact(data))  # from the cache: nothing is trained
    assert {key: row.value for key, row in again.items()} == {key: row.value for key, row in rows.items()}


def test_bridges_of_other_code_are_trained_anew(settings, monkeypatch):
    """Those of images, too."""
    homes, folders = [], []

    def nothing(*given, **_):
        folders.append(given[5])
        raise InputError("nothing is trained here")

    monkeypatch.setattr(lexsembridge_images, "fit_on_vectors", nothing)
    images = [np.random.default_rng(n).integers(0, 256, (16, 16, 3)).astype(np.uint8) for n in range(20)]
    for digest in ("one", "one", "two"):
        monkeypatch.setattr(lexsembridge_data, "code_digest", lambda *_, now=digest: now)
        homes.append(FineGrained(settings, passages=20).home)
        with pytest.raises(InputError, match="nothing is trained"):
            list(image_rows(images[:10], images[10:], settings, units=8, steps=2))
    for places in (homes, folders):
        assert places[0] == places[1] != places[2]


def test_the_published_form_has_nothing_of_ours():
    chosen = bench.ARMS[lexsembridge_data.PUBLISHED]
    assert (chosen.units, chosen.from_corpus, chosen.bridge.reach) == ("tokens", False, None)
    assert (chosen.bridge.method, chosen.bridge.variant, chosen.frozen) == ("SLR", "code", True)


def test_the_published_form_is_neither_chosen_nor_counted(data, monkeypatch):
    """However much dev queries gain by it: bars are about our methods."""
    published = lexsembridge_data.PUBLISHED
    dev = {"SLR": 0.1, published: 0.9, bench.CONTROL: 0.95}

    class Told:
        curves = SimpleNamespace(steps=1, seconds=0.0)

        def __init__(self, arm):
            self.measured = {"dev": ({"ndcg@10": 0.0}, {"ndcg@10": dev[arm]})}

    monkeypatch.setattr(bench, "ARMS", {arm: bench.ARMS[arm] for arm in dev})
    monkeypatch.setattr(FineGrained, "trained", lambda _, arm: (None, Told(arm)))
    monkeypatch.setattr(FineGrained, "bridge", lambda self, *_: self.encoder)
    monkeypatch.setattr(type(data.encoder), "encode_query", type(data.encoder).encode, raising=False)
    systems = {system for system, _ in by_name(bench.scifact(data))}
    assert any(system.startswith("SLR, chosen by dev queries") for system in systems)
    assert not [system for system in systems if system.startswith(f"{published}: {bench.CLAIMS}")]


def test_a_method_that_gains_may_lose_no_more_than_a_hundredth_on_full_queries(data, monkeypatch):
    """Each of them, not only the one that dev queries chose."""
    monkeypatch.setattr(bench, "compare", lambda *_: 1.0)
    full = FineGrained.__new__(FineGrained)
    full.settings, full.tasks = replace(data.settings, quick=False), data.tasks
    fused = {"bridge and BM25S, reciprocal ranks": 0.5, "MiniLM and BM25S, reciprocal ranks": 0.5}
    keywords = {"MiniLM": 0.5, "SLR": 0.6, "LLR": 0.6, "CLR": 0.51, bench.CONTROL: 0.5, **fused}
    claims = {**keywords, "SLR": 0.5, "LLR": 0.48, "CLR": 0.3}
    values = {
        system: {
            task.name: dict.fromkeys(bench.METRICS, (claims if task.name == bench.CLAIMS else keywords)[system])
            for task in data.tasks
        }
        for system in keywords
    }
    runs = {system: {query: {} for query in data.queries} for system in keywords}
    rows = by_name(bench.gain_rows(full, runs, values, "SLR"))
    assert rows["SLR: query, over MiniLM", "ndcg@10"].ok
    lost = rows["LLR: query, over MiniLM", "ndcg@10"]
    assert (lost.bar, lost.ok) == ("≥ -0.01", False)
    assert not rows["CLR: query, over MiniLM", "ndcg@10"].bar  # it does not gain
    assert rows["methods that gain", "of 3"].value == 1
    assert not rows["methods that gain", "of 3"].ok


def test_a_bar_is_stricter_without_quick():
    assert bench._bar("keyword-1", "recall@10", 1.0) == 0.10
    assert bench._bar("keyword-3", "ndcg@10", 1.0) == 0.03
    assert bench._bar("query", "ndcg@10", 0.5) == 0.0
    assert bench._bar("P-o-P-16", "ndcg@10", 1.0) == 1e-4  # more than the plain encoder finds
    assert bench._bar("P-o-P-64", "recall@10", 0.5) == 0.0
    assert bench._bar("keyword-1", "ndcg@10", 1.0) is None


def test_costs_are_measured_against_the_plain_encoder(data, monkeypatch):
    monkeypatch.setattr(lexsembridge_parts, "paired", lambda a, b, **_: (a(), b(), Ratio())[-1])
    monkeypatch.setattr(
        lexsembridge_parts.memory_row, "__kwdefaults__", {"units": 5000, "width": 16, "texts": 4, "tokens": 8}
    )
    rows = by_name(lexsembridge_parts.cost_rows(data))
    assert rows["SLR, 64 at a time", "speed of encode_query over plain"].bar == "≥ 0.9524"
    assert rows["SLR, 5,000 units", "numbers in the largest tensor"].ok
    assert rows["LLR, 5,000 units", "numbers in the largest tensor"].ok
    assert rows["untrained bridge, saved and loaded", "largest difference"].ok
    assert rows["the bridge is in use", "largest difference from the plain encoder"].ok is not None


class Ratio:
    median = 1.0


def test_three_readings_of_what_was_trained_together(data, monkeypatch):
    monkeypatch.setattr(lexsembridge_parts, "WINDOW", 24)  # the tiny encoder has positions for 48
    rows = by_name(lexsembridge_parts.both_rows(data))
    readings = [row.value for (system, _), row in rows.items() if system.startswith("test claims: ")]
    assert len(readings) == 4
    assert rows["encoder and bridge", "fall of the loss"].bar
    assert rows["encoder and bridge, saved and loaded", "largest difference"].ok  # with the encoder that was trained
    part = lexsembridge_parts.Part.of(data, 30, 6)
    assert len(part.corpus) == 30
    assert (len(part.learnt.queries) + len(part.dev.queries), len(part.test.queries)) == (6, 6)
    np.testing.assert_array_equal(part.vectors[0], data.vectors[data.ids.index(next(iter(part.corpus)))])


def test_limits_weight_comes_from_other_people(settings, monkeypatch, tmp_path):
    made = people(12, likes=6, seed=3)
    folder = tmp_path / "limit-small"
    (folder / "qrels").mkdir(parents=True)
    for name, texts in (("corpus", made.corpus), ("queries", {f"l{q}": text for q, text in made.queries.items()})):
        lines = (json.dumps({"_id": one, "text": text}) + "\n" for one, text in texts.items())
        (folder / f"{name}.jsonl").write_text("".join(lines))
    judged = [f"l{q}\t{d}\t1\n" for q, found in made.judged.items() for d in found]
    (folder / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\n" + "".join(judged))
    asked = []
    tuned = lexsembridge_parts.tuned_weight

    def watched(runs, qrels, **options):
        asked.append((set(qrels), set(options["held_out"])))
        return tuned(runs, qrels, **options)

    monkeypatch.setattr(lexsembridge_parts, "tuned_weight", watched)
    monkeypatch.setattr(lexsembridge_parts, "limit", lambda _: iter(()))
    monkeypatch.setitem(SIZES, "LIMIT-small", (len(made.corpus), len(made.queries)))
    rows = by_name(lexsembridge_parts.limit_rows(replace(settings, data=tmp_path)))
    assert asked[0][1] == set(load_beir(folder).qrels)
    assert not asked[0][0] & asked[0][1]
    assert rows["LIMIT: bridge and BM25S, weighted", "recall@2"].bar == "≥ 0.95"
    assert rows["LIMIT: bridge and BM25S, weighted", "recall@2"].value > 0.9
    assert rows["LIMIT: bridge, both sides", "recall@2"].bar is None
    added = rows["LIMIT: what the bridge adds to BM25S", "recall@2"]
    assert added.bar is None
    words = bm25s_run(load_beir(folder), stemmed=False)
    alone = evaluate(words, load_beir(folder).qrels, ("recall@2",))["recall@2"]
    fused = rows["LIMIT: bridge and BM25S, weighted", "recall@2"]
    assert added.value == pytest.approx(fused.value - alone)
    assert f"BM25S alone has {alone:.4f}, which meets the bar without a bridge" in fused.note


def test_each_methods_bridge_is_measured_on_limit_by_one_side_and_by_both(data, monkeypatch, tmp_path):
    """Cosines of the vectors that the trained bridge gives, not of the plain encoder's."""
    made = people(6, likes=4, seed=3)
    folder = tmp_path / "limit-small"
    (folder / "qrels").mkdir(parents=True)
    for name, texts in (("corpus", made.corpus), ("queries", made.queries)):
        (folder / f"{name}.jsonl").write_text(
            "".join(json.dumps({"_id": i, "text": t}) + "\n" for i, t in texts.items())
        )
    judged = "".join(f"{q}\t{d}\t1\n" for q, found in made.judged.items() for d in found)
    (folder / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\n" + judged)
    monkeypatch.setattr(lexsembridge_parts, "ARMS", {arm: bench.ARMS[arm] for arm in ("SLR", "LLR", bench.CONTROL)})
    data.settings = replace(data.settings, data=tmp_path)
    seen = {}
    monkeypatch.setattr(
        lexsembridge_parts, "limit_values",
        lambda _, system, run, note: iter(seen.update({system: (run, note)}) or ()),
    )  # fmt: skip
    assert list(lexsembridge_parts.limit_bridges(data)) == []
    assert list(seen) == [f"{arm}, {sides}" for arm in ("SLR", "LLR") for sides in ("queries only", "both sides")]
    bridge = data.bridge(*data.trained("LLR"))
    query, document = next(iter(made.queries.items())), next(iter(made.corpus.items()))
    sides = {"queries only": data.encoder.encode([document[1]]), "both sides": bridge.encode_query([document[1]])}
    for side, vectors in sides.items():
        run, note = seen[f"LLR, {side}"]
        expected = float(bridge.encode_query([query[1]])[0] @ vectors[0])
        assert run[query[0]][document[0]] == pytest.approx(expected, abs=1e-4)
        assert note == "trained on SciFact"


def test_images_are_measured_by_every_crop(settings):
    draw = np.random.default_rng(0)
    images = [np.kron(draw.integers(0, 256, (4, 4, 3)), np.ones((4, 4, 1))).astype(np.uint8) for _ in range(60)]
    rows = by_name(image_rows(images[:30], images[30:], settings, units=32, steps=6))
    for share in ("10%", "20%", "30%", "50%", "80%"):
        for system in ("plain encoder", "untrained bridge", "trained bridge", "control"):
            assert 0 <= rows[f"images, crop of {share}: {system}", "recall@1"].value <= 1
    assert sum(bool(row.bar) for row in rows.values()) == 3
    vectors = PatchEncoder.fit(images[:30]).encode([images[0], images[0][:2, :2]])
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    with pytest.raises(InputError, match="CIFAR-10's small copy"):
        load(settings.data / "nothing.tar.gz", 3)


def test_images_are_read_from_a_tar(tmp_path):
    import io
    import tarfile

    from PIL import Image

    with tarfile.open(tmp_path / "some.tar.gz", "w:gz") as tar:
        for number in range(6):
            made = io.BytesIO()
            Image.fromarray(np.full((8, 8, 3), 40 * number, dtype=np.uint8)).save(made, format="PNG")
            info = tarfile.TarInfo(f"kind{number % 2}/{number:04}.png")
            info.size = made.tell()
            made.seek(0)
            tar.addfile(info, made)
    found = load(tmp_path / "some.tar.gz", 3)
    assert [image.shape for image in found] == [(8, 8, 3)] * 3
    assert [int(image[0, 0, 0]) for image in found] == [0, 160, 200]  # evenly, by name: 0, 2, 4, 1, 3, 5
    assert lexsembridge_images.QUICK < lexsembridge_images.SEARCHED


def test_the_whole_bench_goes_through_its_parts(settings, monkeypatch):
    """In order, each once; a bridge in a cache is used again."""
    called = []
    monkeypatch.setattr(bench, "FineGrained", lambda _: "data")
    parts = ["scifact", "cost_rows", "both_rows", "limit_rows", "limit_bridges", "images"]
    for name in parts:
        monkeypatch.setattr(bench, name, lambda given, name=name: iter(called.append((name, given)) or ()))
    assert list(bench.lexsembridge(settings)) == []
    assert [name for name, _ in called] == parts
