"""bench generative, the decoder of CorpusBrain: nothing is trained here.

exact      the 0.5B in float32 over SciFact titles: beams for all against each title alone, no cache, no tree; then 10
           beams against the best of all, in 50 queries
titles     all of SciFact's titles for the test claims, untrained, against BM25 over titles alone
speed      titles a second where every title is scored, beside scoring one title after another; queries a second with 10
           beams, beside transformers' `generate` with a callback over nested dicts (the reference's way): one query at
           a time, in turns, each tree built before
tree       synthetic titles in arrays, in nested dicts and in a MARISA trie: bytes, building, loading, one step
Bars       the same order and 1e-3; 95 % of the first hits; 60 titles a second on the 0.5B, 200 on the small model
           (corpusbrain.py measures that one by `speed_rows`); a step 20 µs, a fifth of the bytes, 60 s, 1 s
"""

from __future__ import annotations

import importlib.util
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
import torch

from foveal.bench.quality import bm25s_run
from foveal.bench.retrieval_fusion import Judged
from foveal.bench.settings import BenchSettings
from foveal.evaluation.beir import Collection, Record
from foveal.evaluation.files import json_lines
from foveal.evaluation.metrics import evaluate
from foveal.evaluation.speed import paired, percentiles, seconds_of
from foveal.evaluation.tables import Row, largest
from foveal.models.language import DEFAULT, load_language_model
from foveal.models.title_models import IGNORED, CausalTitles, Seq2SeqTitles, TitleModel
from foveal.models.title_states import padded
from foveal.registry import require
from foveal.retrieval.constrained_beams import BeamSettings, search_titles
from foveal.retrieval.corpusbrain import told_apart
from foveal.retrieval.title_trie import TitleTrie
from foveal.text.units import sentences

EXACT = 1e-3
"""Most that a title's score may differ by."""

TIE = 1e-4
"""Scores of float32 that lie closer than this have no order."""

SPEED = {"seq2seq": 200.0, "causal": 60.0}
"""Titles a second, by kind of model."""

SIZES = {"titles": 500, "first": 200, "queries": 50, "timed": 500, "alone": 24, "synthetic": 1_000_000}
QUICK = {"titles": 60, "first": 60, "queries": 8, "timed": 300, "alone": 6, "synthetic": 100_000}


def decoder(settings: BenchSettings) -> Iterator[Row]:
    """The rows of `foveal bench generative-decoder`."""
    sizes = QUICK if settings.quick else SIZES
    judged = Judged.of(settings)
    yield from tree_rows(sizes["synthetic"], settings.seed)
    precise = causal("float32")
    titles, queries = asked(judged, precise, sizes["titles"], sizes["queries"], settings.seed)
    yield from exact_rows("0.5B", precise, titles, queries[:1])
    del precise
    model = causal(None)
    yield first_row(model, titles[: sizes["first"]], queries[: sizes["queries"]])
    names = wikipedia_titles(settings)[: sizes["timed"]]
    yield from speed_rows("0.5B", model, names, queries, alone=sizes["alone"])
    yield from zero_shot_rows(judged, model, 20 if settings.quick else None)


def causal(dtype: str | None) -> CausalTitles:
    """The offline 0.5B, asked for a passage's title, which a line end closes."""
    loaded = load_language_model(DEFAULT, dtype=dtype)
    return CausalTitles(loaded.model, loaded.tokenizer, end="\n", max_query=96, fingerprint=loaded.fingerprint)


def asked(judged: Judged, model: TitleModel, titles: int, queries: int, seed: int) -> tuple[list[str], list[str]]:
    """Titles of drawn abstracts, and a sentence from the middle of each of the first ones."""
    records = [one for one in judged.test.corpus.values() if one.title.strip() and len(sentences(one.text)) > 2]
    chosen = [records[place] for place in np.random.default_rng(seed).permutation(len(records))[:titles]]
    cut = [[one.text[start:end].strip() for start, end in sentences(one.text)] for one in chosen[:queries]]
    names = told_apart({one.id: one.title for one in chosen}, model)
    return list(names.values()), [parts[len(parts) // 2] for parts in cut]


def wikipedia_titles(settings: BenchSettings) -> list[str]:
    """Titles of the passages of r1searcher's HotpotQA."""
    folder = settings.folder("r1searcher/hotpotqa", ("corpus.jsonl",))
    path = next(path for path in (folder / "corpus.jsonl", folder / "corpus.jsonl.gz") if path.is_file())
    return list(dict.fromkeys(str(line["title"]) for _, line in json_lines(path)))


# -- exactness -------------------------------------------------------------------------------------------------------


def exact_rows(name: str, model: TitleModel, titles: Sequence[str], queries: Sequence[str]) -> Iterator[Row]:
    """Beams for all titles against each title alone: order, scores; and a control that scales up what is allowed."""
    sequences = model.title_ids(titles)
    lengths = np.array([len(one) for one in sequences])
    trie = TitleTrie.of(sequences, model.end)
    beams = BeamSettings(beams=len(titles), queries_at_once=1)
    found = search_titles(model, trie, queries, len(titles), beams)
    worst, wrong, missed = 0.0, 0, 0
    for query, written in zip(queries, found, strict=True):
        alone = np.concatenate([one_by_one(model, query, sequences[at : at + 8]) for at in range(0, len(titles), 8)])
        plain = alone / lengths
        missed += len(titles) - len({one.title for one in written})
        order = np.array([one.title for one in written])
        worst = largest(worst, float(np.abs(plain[order] - [one.score for one in written]).max()))
        wrong += int((np.diff(plain[order]) > TIE).sum())
    note = f"{len(titles)} titles, {len(queries)} queries, float32; each title alone without cache and tree"
    yield Row.of(f"{name}: beams for all", "largest difference of a score", worst, at_most=EXACT, note=note)
    yield Row.of(f"{name}: beams for all", "titles out of order", wrong, at_most=0, note=f"ties within {TIE}")
    yield Row.of(f"{name}: beams for all", "titles lost", missed, at_most=0)
    forced = forced_share(trie, sequences)
    note = "tokens that are the only way on: a fake that shares 1 among what is allowed gives them for nothing"
    yield Row.of("control: forced tokens", "share of all", forced, at_least=0.1, note=note)


@torch.no_grad()
def one_by_one(model: TitleModel, query: str, sequences: Sequence[Sequence[int]]) -> np.ndarray:
    """The log-probability of each sequence by the plain definition: whole texts, no cache, all in one padded batch."""
    batch = model.collate([query] * len(sequences), sequences)
    labels = batch.pop("labels")
    if isinstance(model, Seq2SeqTitles):
        batch["decoder_input_ids"] = padded([[model.start, *one[:-1]] for one in sequences], model.end)
    logits = model.model(**_where(model, batch), use_cache=False).logits.cpu()
    if not isinstance(model, Seq2SeqTitles):
        logits, labels = logits[:, :-1], labels[:, 1:]
    scores = []
    for row, target in zip(logits, labels, strict=True):
        at = target != IGNORED
        chosen = row[at].float().log_softmax(-1)[torch.arange(int(at.sum())), target[at]]
        scores.append(float(chosen.double().sum()))
    return np.array(scores)


def forced_share(trie: TitleTrie, sequences: Sequence[Sequence[int]]) -> float:
    """The share of the titles' tokens that stand where nothing else is allowed."""
    forced = [len(trie.allowed(one[:at])) == 1 for one in sequences for at in range(len(one))]
    return float(np.mean(forced))


def first_row(model: TitleModel, titles: Sequence[str], queries: Sequence[str]) -> Row:
    """How often 10 beams write the title first that is the best of all."""
    trie = TitleTrie.of(model.title_ids(titles), model.end)
    every = search_titles(model, trie, queries, 1, BeamSettings(beams=len(titles), queries_at_once=4))
    few = search_titles(model, trie, queries, 1, BeamSettings(beams=10))
    share = float(np.mean([one[0].title == two[0].title for one, two in zip(every, few, strict=True)]))
    note = f"{len(queries)} queries, {len(titles)} titles; the best of all by as many beams as titles"
    return Row.of("0.5B: 10 beams", "first hit is the best of all", share, at_least=0.95, note=note)


def zero_shot_rows(judged: Judged, model: TitleModel, claims: int | None) -> Iterator[Row]:
    """nDCG@10 on the test claims: titles written without training, and BM25 that sees titles alone."""
    queries = dict(list(judged.test.queries.items())[:claims])
    qrels = {query: judged.test.qrels[query] for query in queries}
    records = [one for one in judged.test.corpus.values() if one.title.strip()]
    titles = told_apart({one.id: one.title for one in records}, model)
    ids = list(titles)
    trie = TitleTrie.of(model.title_ids([*titles.values()]), model.end)
    found = search_titles(model, trie, list(queries.values()), 10, BeamSettings())
    run = {query: {ids[one.title]: one.score for one in written} for query, written in zip(queries, found, strict=True)}
    note = f"{len(queries)} claims, {len(titles)} titles, 10 beams, no training"
    yield Row.of("0.5B, untrained", "ndcg@10", evaluate(run, qrels, ("ndcg@10",))["ndcg@10"], note=note)
    named = {one.id: Record(one.id, "", one.title) for one in records}
    words = bm25s_run(Collection("titles", named, queries, {}))
    yield Row.of("BM25 over titles", "ndcg@10", evaluate(words, qrels, ("ndcg@10",))["ndcg@10"], note="the same claims")


# -- speed -----------------------------------------------------------------------------------------------------------


def speed_rows(
    name: str, model: TitleModel, titles: Sequence[str], queries: Sequence[str], *, alone: int
) -> Iterator[Row]:
    """Titles a second where all are scored, against one by one; queries a second with 10 beams, against `generate`."""
    sequences = model.title_ids(titles)
    trie = TitleTrie.of(sequences, model.end)
    beams = BeamSettings(beams=len(titles), queries_at_once=4)
    search_titles(model, trie, queries[:1], 10, BeamSettings())  # the first call warms up
    few = list(queries[:4])
    rate = len(few) * len(titles) / seconds_of(partial(search_titles, model, trie, few, len(titles), beams))
    plain = seconds_of(lambda: [one_by_one(model, queries[1], [one]) for one in sequences[:alone]])
    naive = len(sequences[:alone]) / plain
    tokens = float(np.mean([len(one) for one in sequences]))
    note = f"{len(titles)} titles of {tokens:.1f} tokens; one by one {naive:.1f} a second, {rate / naive:.0f}×"
    yield Row.of(f"{name}: every title by beams", "titles a second", rate, at_least=SPEED[model.kind], note=note)
    tree, longest = nested(sequences), max(map(len, sequences))
    theirs, ours = cycle(few), cycle(few)
    ratio = paired(
        lambda: generated(model, tree, next(theirs), longest),
        lambda: search_titles(model, trie, [next(ours)], 10, BeamSettings(beams=10)),
        runs=len(few),
    )
    together = len(few) / seconds_of(partial(search_titles, model, trie, few, 10, BeamSettings(beams=10)))
    note = f"one query at a time, `generate` over nested dicts: {ratio}; ours {len(few)} at once: {together:.2f}"
    yield Row.of(f"{name}: 10 beams over generate", "queries a second, ratio", ratio.median, note=note)


def nested(sequences: Sequence[Sequence[int]]) -> dict[int, Any]:
    """The tree as nested dicts."""
    root: dict[int, Any] = {}
    for one in sequences:
        node = root
        for token in one:
            node = node.setdefault(token, {})
    return root


def generated(model: TitleModel, tree: dict[int, Any], query: str, longest: int) -> Any:
    """Ten titles by transformers' beam search and a callback that walks the dicts for each beam and token.

    `longest`: tokens of the longest title.
    """
    batch = model.collate([query], [[model.end]])
    given: dict[str, Any] = _where(model, {name: batch[name] for name in ("input_ids", "attention_mask")})
    opening = 1
    if isinstance(model, Seq2SeqTitles):
        given["decoder_start_token_id"] = model.start
    else:
        given = {key: value[:, :-1] for key, value in given.items()}
        opening = given["input_ids"].shape[1]

    def allowed(_: int, ids: torch.Tensor) -> list[int]:
        node = tree
        for token in ids[opening:].tolist():
            node = node.get(token, {})
        return list(node) or [model.end]

    options: dict[str, Any] = {"num_beams": 10, "num_return_sequences": 10, "max_new_tokens": longest}
    options |= {"do_sample": False, "eos_token_id": model.end, "pad_token_id": model.end, "length_penalty": 1.0}
    with torch.no_grad():
        return model.model.generate(**given, prefix_allowed_tokens_fn=allowed, **options)


def _where(model: TitleModel, given: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """What a model is given, where its weights lie."""
    return {name: part.to(model.device) for name, part in given.items()}


# -- the tree --------------------------------------------------------------------------------------------------------


def tree_rows(count: int, seed: int) -> Iterator[Row]:
    """Synthetic titles of 3 to 12 tokens, the first ones from few, as in a real collection."""
    sequences = synthetic(count, seed)
    start = time.perf_counter()
    trie = TitleTrie.of(sequences, 1)
    built = time.perf_counter() - start
    note = f"{count:,} titles of 3 to 12 tokens, {trie.nodes:,} nodes"
    yield Row.of("tree", "seconds to build", built, at_most=60, note=note)
    few = sequences[: min(count, 200_000)]  # of both: the more titles, the more of their beginnings are shared
    held, dicts = TitleTrie.of(few, 1).bytes, dict_bytes(nested(few))
    note = f"{len(few):,} titles: {held / len(few):.0f} bytes a title, nested dicts {dicts / len(few):.0f}"
    yield Row.of("tree over nested dicts", "bytes, ratio", held / dicts, at_most=0.2, note=note)
    prefixes = drawn_prefixes(sequences, seed)
    ours = percentiles(trie.allowed, prefixes)
    note = f"worst of {ours.calls} {1e3 * ours.worst_ms:.0f} µs; from the root on each time"
    yield Row.of("tree", "one step, median µs", 1e3 * ours.p50_ms, at_most=20, note=note)
    with tempfile.TemporaryDirectory() as place:
        trie.save(Path(place))
        loaded = seconds_of(lambda: TitleTrie.load(Path(place)).allowed([]))
    yield Row.of("tree", "seconds to load", loaded, at_most=1, note="mapped, with a first step")
    yield from marisa_rows(sequences, prefixes, trie)


def drawn_prefixes(sequences: Sequence[Sequence[int]], seed: int) -> list[Sequence[int]]:
    """The first 1 to 5 tokens of drawn titles."""
    draw = np.random.default_rng(seed + 1)
    return [sequences[place][: int(draw.integers(1, 6))] for place in draw.integers(len(sequences), size=2000)]


def marisa_rows(
    sequences: Sequence[Sequence[int]], prefixes: Sequence[Sequence[int]], trie: TitleTrie
) -> Iterator[Row]:
    """The same titles in a MARISA trie, a token being a letter, as GENRE's code offers it: bytes, building, a step."""
    if importlib.util.find_spec("marisa_trie") is None:
        yield Row.of("marisa-trie", "not run", float("nan"), note="not installed: pip install 'foveal[bench]'")
        return
    marisa = require("marisa_trie", extra="bench")
    keys = ["".join(map(letter, one)) for one in sequences]
    start = time.perf_counter()
    peer = marisa.Trie(keys)
    built = time.perf_counter() - start
    held = len(peer.tobytes())
    note = f"{held / len(keys):.0f} bytes a title; it keeps neither numbers nor counts of titles"
    yield Row.of("marisa-trie", "seconds to build", built, note=note)
    yield Row.of("tree over marisa-trie", "bytes, ratio", trie.bytes / held, note="MARISA is built to be small")

    def allowed(prefix: Sequence[int]) -> list[int]:
        begin = "".join(map(letter, prefix))
        following = dict.fromkeys(key[len(begin)] for key in peer.iterkeys(begin) if len(key) > len(begin))
        return sorted(map(token, following))

    steps = [(trie.allowed(prefix).tolist(), allowed(prefix)) for prefix in prefixes[:200]]
    wrong = sum(ours != theirs for ours, theirs in steps)
    yield Row.of("tree beside marisa-trie", "steps that differ", wrong, at_most=0, note=f"of {len(steps)}")
    theirs = percentiles(allowed, prefixes)
    note = f"worst of {theirs.calls} {1e3 * theirs.worst_ms:.0f} µs; all titles behind the prefix are gone through"
    yield Row.of("marisa-trie", "one step, median µs", 1e3 * theirs.p50_ms, note=note)
    with tempfile.TemporaryDirectory() as place:
        path = str(Path(place) / "titles.marisa")
        peer.save(path)
        loaded = seconds_of(lambda: next(marisa.Trie().mmap(path).iterkeys("")))
    yield Row.of("marisa-trie", "seconds to load", loaded, note="mapped, with a first step")


SURROGATES, SHIFT = 0xD800, 0x800
"""Where the numbers begin that are no letters, and how many there are."""


def letter(one: int) -> str:
    """A token as a letter."""
    return chr(one if one < SURROGATES else one + SHIFT)


def token(one: str) -> int:
    """The inverse of `letter`."""
    return ord(one) if ord(one) < SURROGATES else ord(one) - SHIFT


def synthetic(count: int, seed: int) -> list[list[int]]:
    """Different titles that end with 1."""
    draw = np.random.default_rng(seed)
    made: dict[tuple[int, ...], None] = {}
    while len(made) < count:
        lengths = draw.integers(3, 13, size=count - len(made))
        tokens = (32_000 * draw.random((len(lengths), 12)) ** 3).astype(np.int64) + 2
        made |= dict.fromkeys(tuple(row[:length].tolist()) for row, length in zip(tokens, lengths, strict=True))
    return [[*one, 1] for one in made]


def dict_bytes(tree: dict[int, Any]) -> int:
    """What nested dicts take, their keys left out: small numbers are shared."""
    total, waiting = 0, [tree]
    while waiting:
        node = waiting.pop()
        total += sys.getsizeof(node)
        waiting += node.values()
    return total
