"""`foveal bench headlines` on toy data in the layout of the real sets: rows, bars, and controls that can fail."""

from __future__ import annotations

import csv
import gzip
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from papers.test_headline_judge import PLACES, THINGS, article
from tiny import tiny

from foveal.bench import headlines_judge, headlines_related, headlines_writer
from foveal.bench.headlines import judged
from foveal.bench.headlines_data import LANGUAGES, by_body, by_body_and_headline, clickbait, few, fnc, folds, related
from foveal.bench.headlines_exact import COUNTS, KAPPA, exact_rows, pairs_a_second, plain_f1, table_lcs
from foveal.bench.settings import BenchSettings
from foveal.errors import InputError
from foveal.evaluation.headlines import TECLASS
from foveal.training.headline_writers import WriterSettings
from foveal.training.loop import LoopSettings

pytest.importorskip("sklearn")


def write_csv(path, columns, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "wt", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(rows)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    place = tmp_path_factory.mktemp("headlines") / "data"
    write_csv(place / "fnc1" / "bodies.csv.gz", ("body_id", "text"), [(n, article(n)) for n in range(60)])
    stances = []
    for n in range(60):
        head = f"{THINGS[n % 6]} in {PLACES[n % 8]} left {n + 3} people in hospital"
        stances += [
            ("agree" if n % 2 else "disagree", n, head),
            ("discuss", n, f"Minister opened park in {PLACES[(n + 3) % 8]}"),
        ]
        other = (n + 17) % 60
        stances.append(
            ("unrelated", n, f"{THINGS[other % 6]} in {PLACES[other % 8]} left {other + 3} people in hospital")
        )
    write_csv(place / "fnc1" / "stances.csv", ("label", "body_id", "headline"), stances)
    draw = np.random.default_rng(0)
    for language in LANGUAGES:
        for split in ("train", "dev", "test"):
            if (language, split) not in (("hin", "train"), ("esp", "test")):
                rows = [(f"{n}", *sentences(draw, n / 12), n / 12) for n in range(13)]
                write_csv(place / "semrel" / f"{language}_{split}.csv", ("id", "sentence1", "sentence2", "score"), rows)
    heads = [("clickbait", f"You won't believe these {n} cute things") for n in range(40)]
    heads += [("news", f"Minister meets council on budget {n}") for n in range(40)]
    write_csv(place / "classification" / "clickbait" / "all.csv.gz", ("label", "headline"), heads)
    return place


def sentences(draw, share):
    """Two Telugu sentences that share as many of twelve words."""
    words = [f"{a}{b}" for a in "కచటతప" for b in ("ాలు", "ీరు", "ూత")]
    one = list(draw.permutation(words)[:12])
    other = one[: round(12 * share)] + [f"మ{n}" for n in range(12 - round(12 * share))]
    return " ".join(one), " ".join(other)


@pytest.fixture
def settings(data, tmp_path):
    return BenchSettings(data=data, cache=tmp_path, quick=True)


def test_what_has_one_right_answer_is_met():
    rows = list(exact_rows(0))
    assert all(row.ok for row in rows if row.bar)
    assert len([row for row in rows if row.bar]) > 15


def test_kappa_worked_by_hand():
    agreeing = np.mean([(sum(n * n for n in row) - 14) / (14 * 13) for row in COUNTS])
    shares = np.array(COUNTS).sum(axis=0) / 140
    assert (agreeing - (shares**2).sum()) / (1 - (shares**2).sum()) == pytest.approx(KAPPA, abs=5e-5)


def test_the_plain_definitions_are_no_others():
    assert table_lcs("abcde", "axcxe") == 3
    assert plain_f1("rouge2", "a b c", "b c d") == pytest.approx(0.5)
    assert pairs_a_second([("Minister opened park", article(1))] * 3)[2] == 0


def test_no_body_and_by_choice_no_headline_is_in_two_parts(settings):
    pairs = fnc(settings)
    assert len(pairs) == 180
    parts = by_body(pairs)
    assert [len({one.url for one in part.pairs}) for part in parts] == [42, 9, 9]
    assert not {one.url for one in parts.learnt.pairs} & {one.url for one in parts.test.pairs}
    apart = by_body_and_headline(pairs)
    assert not {one.headline for one in apart.learnt.pairs} & {one.headline for one in apart.test.pairs}
    assert set(pairs.labelled()) == set(TECLASS.primary)
    assert len(few(pairs, 7)) == 7
    assert "Do not ship" in pairs.licence


def test_folds_have_equal_shares(settings):
    _, classes = clickbait(settings)
    parts = folds(classes)
    assert [classes[part].sum() for part in parts] == [8] * 5
    assert sorted(np.concatenate(parts)) == list(range(80))


def test_relatedness_beside_words(settings):
    assert related(settings, "esp").split == "dev"
    assert related(settings, "hin").split == "test"
    rows = list(headlines_related.language_rows(related(settings, "tel")))
    assert rows[0].value > 0.9
    assert rows[0].bar == "≥ 1"  # words in common tell all here, and the feature has to do as well
    assert math.isfinite(rows[1].value)
    same = list(headlines_related.transfer_rows(related(settings, "tel"), settings))
    assert math.isfinite(same[0].value)


def test_clickbait_is_held_against_its_peer(settings):
    ours, peer = headlines_related.clickbait_rows(settings)
    assert ours.value == peer.value == 1
    assert ours.ok


def test_clickbait_is_set_inside_the_training_fold_for_both(settings):
    """C first, then signs; of ties the first; no row that is measured is seen."""
    texts, classes = clickbait(settings)
    learnt = np.setdiff1d(np.arange(len(texts)), folds(classes)[0])
    asked = []

    def accuracies(rows, held, *, signs, cs):
        asked.append((rows, held, signs, cs))
        return {c: {1.0: 0.5, 5.0: 0.9, 20.0: 0.9}[c] + 0.05 * (not signs) for c in cs}

    assert headlines_related.chosen(accuracies, classes, learnt, cs=(1.0, 5.0, 20.0), seed=0) == (5.0, False)
    assert [(signs, cs) for _, _, signs, cs in asked] == [(True, (1.0, 5.0, 20.0)), (False, (5.0,))]
    for rows, held, _, _ in asked:
        assert not set(rows) & set(held)
        assert {*rows, *held} == {*learnt}
        assert classes[held].mean() == 0.5
    for measured in (headlines_related.own_accuracies, headlines_related.peer_accuracies):
        for signs in (True, False):
            found = measured(texts, classes, learnt, folds(classes)[0], signs=signs, cs=(5.0, 20.0))
            assert found == {5.0: 1.0, 20.0: 1.0}


@pytest.mark.slow
def test_the_judges_rows_and_bars(settings, monkeypatch):
    monkeypatch.setattr(headlines_judge, "few", lambda pairs, most, seed=0: few(pairs, max(most, 120), seed=seed))
    kept = {
        name: arm for name, arm in headlines_judge.arms(settings).items() if "MiniLM" not in name and "MLP" not in name
    }
    monkeypatch.setattr(headlines_judge, "arms", lambda _: kept)
    monkeypatch.setattr(headlines_judge, "is_set", lambda *_: True)
    rows = {(row.system, row.metric): row for row in judged(settings)}
    assert rows["all of ours, LR", "macro F1"].value > rows["TF-IDF alone, LR", "macro F1"].value
    assert rows["all of ours, LR, labels shuffled", "macro F1"].bar == "≤ 0.45"
    assert rows["TF-IDF, all five, LR", "macro F1"].bar == "≥ 0.74"
    assert rows["LEAD-1 and oracle, bits against table", "largest difference"].ok
    assert math.isnan(rows["TeClass itself", "macro F1"].value)
    assert rows["all of ours, LR, headlines not seen", "macro F1"].note.startswith(
        ("1", "2", "3", "4", "5", "6", "7", "8", "9")
    )
    before = len(list((settings.cache / "headlines").glob("*.json")))
    assert {
        (row.system, row.metric): row.value for row in headlines_judge.judge_rows(settings) if row.metric != "pairs/s"
    }
    assert len(list((settings.cache / "headlines").glob("*.json"))) == before


def test_the_published_set_has_to_reach_what_was_published(settings, tmp_path, monkeypatch):
    folder = tmp_path / "data" / "teclass"
    folder.mkdir(parents=True)
    for name in ("training", "development", "test"):
        rows = "".join(f"{name}_{n},u,article {n},headline {n},{label}\n" for n, label in enumerate(TECLASS.labels()))
        (folder / f"{name}.csv").write_text(f"id,url,article,headline,label\n{rows}", encoding="utf-8")
    given = TECLASS.labels()
    monkeypatch.setattr(headlines_judge, "answered", lambda *_: headlines_judge.Said(given, given[:1] * 3, (), 1.0))
    own = replace(settings, data=tmp_path / "data")
    part = {row.system: row for row in headlines_judge.teclass_rows(own)}
    assert part["TeClass: TF-IDF, all five, LR"].bar is None  # a part of the set only
    monkeypatch.setattr(headlines_judge, "is_set", lambda *_: True)
    whole = {row.system: row for row in headlines_judge.teclass_rows(own)}
    assert (whole["TeClass: TF-IDF, all five, LR"].bar, whole["TeClass: TF-IDF, all five, LR"].ok) == ("≥ 0.58", False)
    assert whole["TeClass: TF-IDF alone, LR"].bar is None


@pytest.mark.slow
def test_the_writers_rows(settings, tmp_path, monkeypatch):
    loop = LoopSettings(epochs=1, batch=4, learning_rate=1e-2)
    writer = WriterSettings(article_tokens=16, headline_tokens=6, beams=1, dev_pairs=2, rank=2, loop=loop)
    sizes = headlines_writer.Sizes(pairs=12, articles=4, judged=2, writer=writer, slack=0.05, draws=2)
    monkeypatch.setattr(headlines_writer, "sizes_of", lambda _: sizes)
    model = tiny("qwen", tmp_path / "qwen")
    rows = {(row.system, row.metric): row for row in headlines_writer.writer_rows(settings, model)}
    assert rows["writer: LEAD-1", "ROUGE-L"].value > 0.4
    assert rows["writer: A less C, unrelated", "ROUGE-L"].bar == "≥ 0.0001"
    assert "12 pairs" in rows["writer: D, mixed", "ROUGE-L"].note
    close = rows["writer: A less D, mixed, mean of 2 draws", "ROUGE-L"]
    first = rows["writer: A less D, mixed", "ROUGE-L"].value
    second = (
        rows["writer: A, highly related, draw 2", "ROUGE-L"].value - rows["writer: D, mixed, draw 2", "ROUGE-L"].value
    )
    assert close.value == pytest.approx((first + second) / 2, abs=1e-9)
    assert close.bar == "≥ -0.05"
    again = {(row.system, row.metric): row.value for row in headlines_writer.writer_rows(settings, model)}
    assert again == {key: row.value for key, row in rows.items()}


@pytest.mark.parametrize("slack", [0.0, 0.05])
def test_a_writer_that_learns_nothing_meets_no_bar(slack):
    scores = {name: {"a": 0.3, "b": 0.4} for name in (*headlines_writer.KINDS, headlines_writer.SHUFFLED)}
    scores |= {name: {"a": 0.1, "b": 0.2} for name in ("not trained", "LEAD-1")}
    rows = {(row.system, row.metric): row for row in headlines_writer.difference_rows(scores, slack)}
    for other in ("C, unrelated", headlines_writer.SHUFFLED):
        assert rows[f"writer: A less {other}", "ROUGE-L"].ok is False
    assert rows["writer: A less D, mixed", "ROUGE-L"].value == 0


def test_as_many_pairs_of_each_kind_and_the_control_keeps_no_headline(settings, tmp_path):
    work = headlines_writer.Writing(settings, headlines_writer.sizes_of(settings), tiny("qwen", tmp_path / "qwen"))
    kinds = {kind: work.drawn(kind) for kind in (*headlines_writer.KINDS, headlines_writer.SHUFFLED)}
    assert {len(kinds[kind]) for kind in ("A, highly related", "B, moderately related", "C, unrelated")} == {42}
    assert {one.label for one in kinds["D, mixed"].pairs} == {"HREL", "MREL", "LREL"}
    own = {one.id: one.headline for one in kinds["A, highly related"].pairs}
    moved = {one.id: one.headline for one in kinds[headlines_writer.SHUFFLED].pairs}
    assert own.keys() == moved.keys()
    assert all(own[name] != moved[name] for name in own)
    assert not {one.url for one in kinds["A, highly related"].pairs} & set(work.articles)
    assert work.drawn("A, highly related", 1).fingerprint != kinds["A, highly related"].fingerprint


def test_a_set_that_is_not_there_is_named(tmp_path):
    with pytest.raises(InputError, match="fnc1"):
        fnc(BenchSettings(data=tmp_path, cache=tmp_path))


def test_what_a_writer_learned_on_a_gpu_is_told_apart_too():
    """NumPy reads none of it there."""

    class Far:
        def __init__(self, value, *, here=False):
            self.value, self.here = value, here

        def float(self):
            return Far(self.value.float(), here=self.here)

        def cpu(self):
            return Far(self.value, here=True)

        def numpy(self):
            assert self.here, "it lies on a GPU"
            return self.value.numpy()

    weights = [torch.ones(2, dtype=torch.bfloat16), torch.zeros(1)]
    told = headlines_writer.bytes_of(map(Far, weights))
    assert told == headlines_writer.bytes_of(weights) == np.array([1, 1, 0], dtype=np.float32).tobytes()
